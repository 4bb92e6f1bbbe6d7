import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.config import SplitSettings
from linnaeus.errors import SettingsError
from linnaeus.records import PARTS, Dataset, Example, Place
from linnaeus.verbs.split import split

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
DEFAULT = SplitSettings()


def table(rows):
    """Build a dataset of (content, label, split, group); what is left out is empty."""
    filled = [(*row, *("a", "", "")[len(row) - 1 :]) for row in rows]
    examples = tuple(
        Example(str(number), Place(f"/{number}"), label, part, group)
        for number, (_, label, part, group) in enumerate(filled)
    )
    classes = tuple(sorted({example.label for example in examples}))
    return Dataset("d", "d", examples, classes), [digest(content) for content, *_ in filled]


def digest(content):
    return hashlib.sha256(str(content).encode()).hexdigest()


def of_kind(result, kind):
    return [finding for finding in result.findings if finding.kind == kind]


def many(n=1000, **fields):
    extra = (fields.get("label", "a"), fields.get("split", ""), fields.get("group", ""))
    return [(f"{fields}{number}", *extra) for number in range(n)]


CONTENTS = st.lists(st.integers(0, 60), min_size=1, max_size=60)
SALTS = st.text(max_size=5)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), min_size=1, max_size=60), SALTS)
def test_every_picture_has_exactly_one_part_and_a_reason(rows, salt):
    dataset, hashes = table(rows)
    result = split(dataset, hashes, SplitSettings(salt=salt))
    assert len(result.parts) == len(result.why) == len(rows)
    assert set(result.parts) <= set(PARTS)
    assert sum(len(result.rows(part)) for part in PARTS) == len(rows)
    assert all(result.why)


@given(CONTENTS)
def test_the_same_pictures_are_split_the_same(contents):
    first, second = (split(*table([(content,) for content in contents]), DEFAULT) for _ in range(2))
    assert (first.parts == second.parts).all()


@given(CONTENTS, st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_means_nothing(contents, random):
    rows = [(content, "abc"[content % 3]) for content in contents]
    order = list(range(len(rows)))
    random.shuffle(order)
    straight = split(*table(rows), DEFAULT).parts
    shuffled = split(*table([rows[number] for number in order]), DEFAULT).parts
    assert (straight[order] == shuffled).all()


@given(CONTENTS, CONTENTS)
def test_adding_pictures_moves_none_of_the_old_ones(old, new):
    rows = [(content, "abc"[content % 3]) for content in old + new]
    before = split(*table(rows[: len(old)]), DEFAULT)
    after = split(*table(rows), DEFAULT)
    rescued = before.why == "only one of a small class"
    assert (before.parts == after.parts[: len(old)])[~rescued].all()


@given(st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["", "p", "q", "r"])), min_size=1, max_size=50))
def test_groups_and_copies_stay_together(rows):
    dataset, hashes = table([(content, "a", "", group) for content, group in rows])
    parts = split(dataset, hashes, DEFAULT).parts
    for key in (lambda row: hashes[row], lambda row: dataset.examples[row].group or row):
        sides = {}
        for row, part in enumerate(parts):
            sides.setdefault(key(row), set()).add(part)
        assert all(len(side) == 1 for side in sides.values())


@given(st.lists(st.sampled_from("pqrst"), min_size=1, max_size=30), st.lists(st.sampled_from("pqrstuv"), max_size=30))
def test_a_growing_group_stays_on_its_side(old, new):
    rows = [(number, "a", "", group) for number, group in enumerate(old + new)]
    before, after = split(*table(rows[: len(old)]), DEFAULT), split(*table(rows), DEFAULT)
    rescued = before.why == "only one of a small class"
    assert (before.parts == after.parts[: len(old)])[~rescued].all()


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", *PARTS]), st.sampled_from(["", "p", "q"])), max_size=40)
)
def test_given_val_and_test_are_kept_and_train_is_only_cut_for_missing_parts(rows):
    dataset, hashes = table([(content, "a", part, group) for content, part, group in rows])
    parts, named = split(dataset, hashes, DEFAULT).parts, {part for _, part, _ in rows}
    for (_, part, _), now in zip(rows, parts, strict=True):
        assert not part or now == part or (part == "train" and now not in named)


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["", "train"])), max_size=40))
def test_pictures_without_a_part_never_leak_from_given_ones(rows):
    dataset, hashes = table([(content, "a", part) for content, part in rows] + many(5, split="test"))
    assert not of_kind(split(dataset, hashes, DEFAULT), "leak")


def test_shares_hold_within_what_chance_allows():
    counts = Counter(split(*table(many(10_000)), SplitSettings(val=0.2, test=0.1)).parts.tolist())
    assert abs(counts["test"] - 1000) < 4 * 30
    assert abs(counts["val"] - 2000) < 4 * 40


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="shared/data/flowers is not here")
def test_real_classes_are_split_in_their_shares():
    files = sorted(FLOWERS.glob("*/*.jpg"))
    examples = tuple(Example(str(path), Place(str(path)), path.parent.name) for path in files)
    dataset = Dataset("flowers", "", examples, tuple(sorted({example.label for example in examples})))
    result = split(dataset, [hashlib.sha256(path.read_bytes()).hexdigest() for path in files], DEFAULT)
    for number, (name, n) in enumerate(dataset.counts().items()):
        for part in ("val", "test"):
            got = int((result.parts[dataset.labels == number] == part).sum())
            assert abs(got - 0.15 * n) < 4 * np.sqrt(n * 0.15 * 0.85), (name, part)


def test_another_salt_gives_another_split():
    dataset, hashes = table(many(200))
    assert (split(dataset, hashes, SplitSettings(salt="x")).parts != split(dataset, hashes, DEFAULT).parts).any()


def test_the_number_is_the_first_eight_bytes_of_the_hash():
    dataset, hashes = table(many(300))
    parts = split(dataset, hashes, SplitSettings(val=0.25, test=0.25)).parts
    keys = [hashlib.sha256(f"linnaeus\0hash:{one}".encode()).digest() for one in hashes]
    numbers = [int.from_bytes(key[:8], "big") / 2**64 for key in keys]
    assert parts.tolist() == ["test" if u < 0.25 else "val" if u < 0.5 else "train" for u in numbers]


def test_a_bridge_between_two_groups_makes_them_one():
    rows = [*many(20, group="p"), *many(20, group="q"), ("same", "a", "", "p"), ("same", "a", "", "q")]
    assert len(set(split(*table(rows), DEFAULT).parts)) == 1


def test_a_class_without_a_training_picture_keeps_its_last_one():
    settings = SplitSettings(val=0.45, test=0.45)
    lonely = next(
        number for number in range(100) if split(*table([(number, "b"), *many(50)]), settings).why[0].startswith("only")
    )
    result = split(*table([(lonely, "b"), *many(50)]), settings)
    assert result.parts[0] == "train"
    (finding,) = of_kind(result, "small class")
    assert finding.ids == ("0",)
    assert "'b'" in finding.evidence


def test_a_class_without_a_test_picture_is_warned_of():
    result = split(*table([("only", "b"), *many(100)]), DEFAULT)
    assert [finding.ids for finding in of_kind(result, "not tested")] == [("b",)]
    assert of_kind(result, "not tested")[0].severity == "warning"
    assert of_kind(result, "not validated")[0].severity == "note"


def test_no_test_part_at_all_is_told_once():
    result = split(*table(many(50) + many(50, label="b")), SplitSettings(test=0))
    (finding,) = of_kind(result, "not tested")
    assert finding.evidence == "there is no test part"


def test_a_complete_given_split_is_kept():
    rows = many(20, split="train") + many(5, split="val") + many(5, split="test")
    result = split(*table(rows), DEFAULT)
    assert Counter(result.parts.tolist()) == {"train": 20, "val": 5, "test": 5}
    assert set(result.why) == {"given"}
    assert result.findings == ()


def test_val_is_cut_out_of_train_where_only_train_and_test_are_given():
    result = split(*table(many(2000, split="train") + many(100, split="test")), SplitSettings(val=0.1))
    assert len(result.rows("test")) == 100
    assert abs(len(result.rows("val")) - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)
    assert set(result.why[result.rows("val")]) == {"hash of content"}


def test_test_is_cut_out_of_train_where_only_train_and_val_are_given():
    result = split(*table(many(2000, split="train") + many(100, split="val")), SplitSettings(test=0.1))
    assert len(result.rows("val")) == 100
    assert abs(len(result.rows("test")) - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)


def test_both_are_cut_out_of_train_where_only_train_is_given():
    rows = many(500)
    given = split(*table([(content, "a", "train") for content, *_ in rows]), DEFAULT)
    assert (given.parts == split(*table(rows), DEFAULT).parts).all()


def test_a_given_test_part_alone_leaves_the_rest_to_train_and_val():
    result = split(*table(many(300) + many(20, split="test")), DEFAULT)
    assert len(result.rows("test")) == 20
    assert len(result.rows("val")) > 0


def test_pictures_without_a_part_among_given_ones_are_dealt_by_hash():
    rows = many(30, split="train") + many(30, split="val") + many(30, split="test") + many(400)
    result = split(*table(rows), DEFAULT)
    assert set(result.why[90:]) == {"hash of content"}
    assert set(result.parts[90:]) == set(PARTS)


def test_a_copy_without_a_part_follows_its_given_original():
    rows = [("same", "a", "test"), ("same",), *many(50, split="train"), *many(10, split="val")]
    result = split(*table(rows), DEFAULT)
    assert result.parts[1] == "test"
    assert result.why[1] == "with its given copy or group"


def test_copies_across_given_parts_are_a_leak():
    rows = [("same", "a", "train"), ("same", "a", "test"), *many(9, split="train"), *many(9, split="val")]
    (leak,) = of_kind(split(*table(rows), DEFAULT), "leak")
    assert leak.ids == ("0", "1")
    assert leak.severity == "warning"
    assert "2 pictures in 1 set" in leak.evidence
    assert "0 (train), 1 (test)" in leak.evidence


def test_near_duplicates_across_given_parts_are_a_leak():
    rows = [("x", "a", "train"), ("y", "a", "test"), *many(9, split="train"), *many(9, split="val")]
    dataset, hashes = table(rows)
    clusters = [min(hashes[:2])] * 2 + hashes[2:]
    (leak,) = of_kind(split(dataset, hashes, DEFAULT, clusters=clusters), "leak")
    assert leak.ids == ("0", "1")
    assert "near-duplicate" in leak.evidence


def test_equal_bytes_across_given_parts_are_told_once():
    dataset, hashes = table([("same", "a", "train"), ("same", "a", "test"), *many(5, split="val")])
    assert len(of_kind(split(dataset, hashes, DEFAULT, clusters=hashes), "leak")) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=1, max_size=50))
def test_near_duplicates_stay_together(rows):
    contents = dict(rows)
    dataset, hashes = table([(content,) for content in contents])
    smallest = {}
    for one, number in zip(hashes, contents.values(), strict=True):
        smallest[number] = min(one, smallest.get(number, one))
    clusters = [smallest[number] for number in contents.values()]
    parts = split(dataset, hashes, DEFAULT, clusters=clusters).parts
    sides = {}
    for number, part in zip(contents.values(), parts, strict=True):
        sides.setdefault(number, set()).add(part)
    assert all(len(side) == 1 for side in sides.values())


def test_pictures_without_near_duplicates_are_split_as_ever():
    dataset, hashes = table(many(300))
    with_clusters, blank = (split(dataset, hashes, DEFAULT, clusters=keys).parts for keys in (hashes, [""] * 300))
    assert (with_clusters == split(dataset, hashes, DEFAULT).parts).all()
    assert (blank == with_clusters).all()


def test_a_near_duplicate_in_a_group_takes_its_whole_cluster_along():
    rows = [("x", "a", "", "p"), ("y",), *many(20, group="p")]
    dataset, hashes = table(rows)
    parts = split(dataset, hashes, DEFAULT, clusters=[min(hashes[:2])] * 2 + hashes[2:]).parts
    assert len(set(parts)) == 1


def test_a_copy_without_a_part_follows_its_given_near_duplicate():
    rows = [("x", "a", "test"), ("y",), *many(50, split="train"), *many(10, split="val")]
    dataset, hashes = table(rows)
    result = split(dataset, hashes, DEFAULT, clusters=[min(hashes[:2])] * 2 + hashes[2:])
    assert result.parts[1] == "test"


def test_groups_across_given_parts_are_a_leak():
    rows = many(3, split="train", group="camera") + many(3, split="test", group="camera") + many(3, split="val")
    (leak,) = of_kind(split(*table(rows), DEFAULT), "leak")
    assert "group" in leak.evidence
    assert len(leak.ids) == 6


def test_a_class_that_only_the_test_part_has_is_unknown():
    rows = many(9, split="train") + many(9, split="val") + many(9, split="test") + many(2, split="test", label="new")
    result = split(*table(rows), DEFAULT)
    (finding,) = of_kind(result, "unknown class")
    assert finding.ids == ("new",)
    assert (result.parts[-2:] == "test").all()


def test_a_class_missing_in_the_given_test_part_is_warned_of():
    rows = many(9, split="train") + many(9, split="train", label="b") + many(9, split="val") + many(9, split="test")
    (finding,) = of_kind(split(*table(rows), DEFAULT), "not tested")
    assert finding.ids == ("b",)
    assert "given test part" in finding.evidence


def test_shares_that_leave_nothing_for_training_are_refused():
    with pytest.raises(SettingsError, match="leave pictures for training"):
        split(*table(many(3)), SplitSettings(val=0.5, test=0.5))


def test_an_empty_dataset_splits_to_nothing():
    assert len(split(Dataset("d", "d", (), ()), [], DEFAULT).parts) == 0


@settings(max_examples=30)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=20))
def test_any_text_may_name_a_group(groups):
    dataset, hashes = table([(number, "a", "", group) for number, group in enumerate(groups)])
    assert len(split(dataset, hashes, DEFAULT).parts) == len(groups)


def test_of_several_labels_each_is_a_class():
    labels = ["cat|dog"] * 30 + ["dog"] * 30 + ["cat|fox"]
    examples = tuple(Example(f"{n}.jpg", Place(f"/{n}.jpg"), label) for n, label in enumerate(labels))
    dataset = Dataset("d", "d", examples, ("cat", "dog", "fox"), multilabel=True)
    result = split(dataset, [digest(f"{n}".encode()) for n in range(61)], SplitSettings())
    assert not [one for one in result.findings if "|" in one.evidence]
    assert result.parts[60] == "train", "the only fox"
