import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.data.corrections import Corrections, apply, default_path, find, read, silence
from linnaeus.data.diary import HEADER, Correction, Diary
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Finding, Place
from linnaeus.verbs.audit import account


def dataset(**labels):
    """Make a dataset from names and labels: dataset(x="a") has one example x of class a."""
    examples = tuple(Example(id, Place(f"/{id}"), label) for id, label in labels.items())
    return Dataset("d", "d", examples, ("a", "b", "c"))


def said(id, action, label="a", new_label="", hash=None):
    return Correction(id, hash or f"#{id}", action, label, new_label)


def corrected(data, *lines, hashes=None, **more):
    hashes = hashes or [f"#{example.id}" for example in data.examples]
    return apply(data, hashes, Corrections("d.corrections.csv", tuple(lines), **more))


def labels(data):
    return {example.id: example.label for example in data.examples}


def told(findings):
    return {(one.kind, one.severity): one.ids for one in findings}


def test_relabelled_pictures_get_the_new_label():
    data, findings = corrected(dataset(x="a", y="a"), said("x", "relabel", new_label="b"))
    assert labels(data) == {"x": "b", "y": "a"}
    assert told(findings) == {("relabelled by review", "note"): ("x",)}
    assert "1 from 'a' to 'b'" in findings[0].evidence


def test_excluded_pictures_and_those_of_no_class_are_set_aside_and_accounted_for():
    before = dataset(x="a", y="b", z="c")
    data, findings = corrected(before, said("x", "exclude"), said("y", "not-a-class", "b"))
    assert labels(data) == {"z": "c"}
    assert account(before, findings) == {"found": 3, "used": 1, "excluded by review": 1, "not a class": 1}
    assert data.findings == tuple(findings)


def test_without_corrections_nothing_changes():
    before = dataset(x="a")
    assert apply(before, ["#x"], Corrections()) == (before, [])


def test_keep_changes_nothing():
    before = dataset(x="a")
    assert corrected(before, said("x", "keep")) == (before, [])


def test_a_renamed_picture_is_found_by_its_content():
    data, findings = corrected(dataset(new="a"), said("old", "exclude", hash="#new"))
    assert labels(data) == {}
    assert told(findings)[("correction followed", "note")] == ("new",)


def test_pictures_that_were_added_change_nothing():
    data, findings = corrected(dataset(new="a", x="a", z="c"), said("x", "relabel", new_label="b"))
    assert labels(data) == {"new": "a", "x": "b", "z": "c"}
    assert len(findings) == 1


def test_a_picture_whose_content_changed_is_reported_and_left_alone():
    data, findings = corrected(dataset(x="a"), said("x", "exclude", hash="#other"))
    assert labels(data) == {"x": "a"}
    assert told(findings) == {("correction not applied", "warning"): ("x",)}
    assert "other content" in findings[0].evidence


def test_a_picture_that_is_no_longer_there_is_reported():
    _, findings = corrected(dataset(x="a"), said("gone", "relabel", new_label="b"))
    assert told(findings) == {("correction not applied", "warning"): ("gone",)}


def test_a_picture_that_was_excluded_and_then_deleted_is_only_a_note():
    _, findings = corrected(dataset(x="a"), said("gone", "exclude"))
    assert told(findings) == {("correction not applied", "note"): ("gone",)}


def test_a_picture_that_lies_in_another_class_since_is_no_deleted_one():
    data, findings = corrected(dataset(moved="b"), said("old", "exclude", hash="#moved"))
    assert labels(data) == {"moved": "b"}
    assert told(findings) == {("correction not applied", "warning"): ("old",)}
    assert "another label" in findings[0].evidence


def test_a_picture_that_the_source_has_relabelled_since_is_reported_and_left_alone():
    data, findings = corrected(dataset(x="c"), said("x", "relabel", "a", "b"))
    assert labels(data) == {"x": "c"}
    assert "was 'a' in review and is 'c' now" in findings[0].evidence


def test_a_picture_moved_to_its_right_class_needs_no_correction():
    data, findings = corrected(dataset(x="b"), said("a/x", "relabel", "a", "b", hash="#x"))
    assert labels(data) == {"x": "b"}
    assert not [one for one in findings if one.severity == "warning"]


def test_a_class_that_does_not_exist_is_not_made_by_a_slip():
    data, findings = corrected(dataset(x="a"), said("x", "relabel", new_label="bb"))
    assert labels(data) == {"x": "a"} and data.classes == ("a", "b", "c")
    assert "'bb' is no class" in findings[0].evidence


def test_a_class_that_was_added_in_review_takes_its_place_in_the_order():
    data, _ = corrected(dataset(x="a"), said("x", "relabel", new_label="aa"), new_classes=("aa", "unused"))
    assert data.classes == ("a", "aa", "b", "c")
    assert data.labels.tolist() == [1]


def test_classes_in_an_order_of_their_own_keep_their_numbers():
    before = Dataset("d", "d", (Example("x", Place("/x"), "z"),), ("z", "b"))
    data, _ = corrected(before, said("x", "relabel", "z", "a"), new_classes=("a",))
    assert data.classes == ("z", "b", "a")


def test_a_relabelled_picture_takes_its_byte_identical_copies_of_that_label_along():
    data, _ = corrected(
        dataset(x="a", y="a", z="c"), said("x", "relabel", new_label="b", hash="#"), hashes=["#", "#", "#"]
    )
    assert labels(data) == {"x": "b", "y": "b", "z": "c"}


def test_one_of_two_copies_can_be_excluded_alone():
    data, _ = corrected(dataset(x="a", y="a"), said("x", "exclude", hash="#"), hashes=["#", "#"])
    assert labels(data) == {"y": "a"}


def test_a_copy_in_another_class_is_not_taken_for_a_deleted_picture():
    data, findings = corrected(dataset(y="b"), said("x", "exclude", "a", hash="#"), hashes=["#"])
    assert labels(data) == {"y": "b"}
    assert told(findings) == {("correction not applied", "warning"): ("x",)}
    # Unless a person has said what the copy is.
    decided = said("x", "exclude", "a", hash="#"), said("y", "keep", "b", hash="#")
    _, findings = corrected(dataset(y="b"), *decided, hashes=["#"])
    assert told(findings) == {("correction not applied", "note"): ("x",)}


def test_several_labels_are_checked_one_by_one():
    data, findings = corrected(
        dataset(x="a", y="a"), said("x", "relabel", new_label="b|c"), said("y", "relabel", new_label="b|d")
    )
    assert labels(data) == {"x": "b|c", "y": "a"}
    assert "'b|d' is no class" in findings[-1].evidence


def test_lines_that_could_not_be_read_are_reported_with_the_data():
    _, findings = corrected(dataset(x="a"), problems=("c.csv, line 3: 2 of 7 cells",))
    assert [one.evidence for one in findings] == ["c.csv, line 3: 2 of 7 cells"]


ACTIONS = st.sampled_from(["keep", "relabel", "not-a-class", "exclude"])


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), ACTIONS, st.sampled_from("abc")), max_size=6),
)
def test_counts_add_up_whatever_was_decided(classes, lines):
    before = dataset(**{f"p{n}": label for n, label in enumerate(classes)})
    hashes = [f"#{n % 4}" for n in range(len(classes))]
    decided = {n: Correction(f"p{n}", f"#{h}", action, "a", label) for n, h, action, label in lines}
    data, findings = corrected(before, *decided.values(), hashes=hashes)
    accounted = account(before, findings)
    assert accounted["used"] == len(data)
    assert accounted["found"] == len(before)
    assert {example.label for example in data.examples} <= set(data.classes)
    again, _ = corrected(before, *decided.values(), hashes=hashes)
    assert again == data


# Findings that a person has settled


def quiet(findings, data, *lines, hashes=None):
    hashes = hashes or [f"#{example.id}" for example in data.examples]
    return silence(findings, data, hashes, Corrections("c.csv", tuple(lines)))


def test_a_kept_picture_is_no_longer_a_finding():
    dark = Finding("dark", ("x", "y"), "2 dark")
    (left,) = quiet([dark, Finding("dark", ("x",), "1 dark")], dataset(x="a", y="a"), said("x", "keep"))
    assert left.ids == ("y",)
    assert left.evidence == "2 dark; 1 settled in review"


def test_a_relabelled_picture_is_settled_too():
    doubt = [Finding("likely wrong label", ("x",), "says b")]
    assert quiet(doubt, dataset(x="b"), said("x", "relabel", "a", "b")) == []


def test_keeping_does_not_mend_a_broken_file():
    broken = [Finding("truncated", ("x",), "x", "set aside")]
    assert quiet(broken, dataset(x="a"), said("x", "keep")) == broken


def test_copies_stay_a_finding_until_all_of_them_are_settled():
    copies = [Finding("copies", ("x", "y"), "same bytes", "note")]
    data = dataset(x="a", y="a")
    assert quiet(copies, data, said("x", "keep")) == copies
    assert quiet(copies, data, said("x", "keep"), said("y", "keep")) == []


def test_of_conflicting_copies_the_one_that_was_kept_is_used():
    conflict = [Finding("conflict", ("x", "y"), "same bytes", "set aside")]
    data = dataset(x="a", y="b")
    (left,) = quiet(conflict, data, said("x", "keep", hash="#"), hashes=["#", "#"])
    assert left.ids == ("y",)
    both = said("x", "keep", hash="#"), said("y", "keep", "b", hash="#")
    assert quiet(conflict, data, *both, hashes=["#", "#"]) == conflict


# Where the table is


def test_the_table_lies_beside_a_folder_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "labels.csv").touch()
    assert default_path(tmp_path / "photos") == tmp_path / "photos.corrections.csv"
    assert default_path(f"{tmp_path}/photos/") == tmp_path / "photos.corrections.csv"
    assert default_path(tmp_path / "labels.csv") == tmp_path / "labels.csv.corrections.csv"
    monkeypatch.chdir(tmp_path / "photos")
    assert default_path(".") == tmp_path / "photos.corrections.csv"


def test_a_built_in_name_has_its_table_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(default_path("digits")) == "digits.corrections.csv"


def test_the_table_beside_the_source_is_found_without_being_asked_for(tmp_path):
    (tmp_path / "photos").mkdir()
    assert len(find(tmp_path / "photos")) == 0
    Diary(tmp_path / "photos.corrections.csv").append([said("x", "exclude")])
    assert find(tmp_path / "photos").standing == (said("x", "exclude"),)
    assert find(tmp_path / "photos", "none") == Corrections()


def test_a_table_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(SourceError, match="should be a table of corrections"):
        find(tmp_path, tmp_path / "no.csv")


def test_what_was_undone_does_not_stand(tmp_path):
    path = tmp_path / "c.csv"
    Diary(path).append([said("x", "exclude"), said("y", "keep"), said("x", "undo")])
    assert [one.id for one in read(path).standing] == ["y"]


def test_added_classes_are_read(tmp_path):
    Diary(tmp_path / "c.csv").append([Correction("", "", "add-class", "", "moss")])
    assert read(tmp_path / "c.csv").new_classes == ("moss",)


def test_an_empty_table_has_no_corrections(tmp_path):
    (tmp_path / "c.csv").write_bytes(HEADER)
    assert len(read(tmp_path / "c.csv")) == 0
