from linnaeus.data.ties import even_number, unite


def test_copies_and_groups_that_share_a_picture_have_one_key():
    one = unite(["g", "", "h", ""], ["a", "b", "c", "d"], ["a", "a", "", ""])
    assert one[0] == one[1]
    assert len({one[0], one[2], one[3]}) == 3


def test_the_key_of_a_group_is_its_name_whatever_is_added():
    before = unite(["g", "g"], ["b", "c"], ["", ""])
    assert unite(["g", "g", ""], ["b", "c", "a"], ["a", "", "a"])[:2] == before


def test_equal_bytes_are_tied_without_clusters():
    one = unite(["", "", ""], ["x", "x", "y"], ["", "", ""])
    assert one[0] == one[1] != one[2]


def test_numbers_are_even_and_depend_on_the_salt():
    numbers = [even_number("s", str(k)) for k in range(2000)]
    assert 0 <= min(numbers) < 0.01 < 0.99 < max(numbers) < 1
    assert even_number("t", "0") != numbers[0]
