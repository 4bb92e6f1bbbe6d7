import os
import unicodedata
from pathlib import Path

import pytest

from linnaeus.data.tree import list_folder
from linnaeus.errors import SourceError
from linnaeus.records import Dataset


def photos(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    return root


def listed(root: Path) -> Dataset:
    return list_folder(root, name=root.name, source=str(root))


def ids(dataset: Dataset) -> list[str]:
    return [example.id for example in dataset.examples]


def found(dataset: Dataset, kind: str) -> list[tuple[str, ...]]:
    return [finding.ids for finding in dataset.findings if finding.kind == kind]


def test_a_sub_folder_is_a_class_and_its_pictures_lie_at_any_depth(tmp_path):
    dataset = listed(photos(tmp_path, "cat/a.jpg", "cat/2024/may/b.PNG", "dog/c.webp"))
    assert dataset.classes == ("cat", "dog")
    assert ids(dataset) == ["cat/2024/may/b.PNG", "cat/a.jpg", "dog/c.webp"]
    assert [example.label for example in dataset.examples] == ["cat", "cat", "dog"]
    assert dataset.examples[1].place.path == str(tmp_path / "cat/a.jpg")


def test_every_picture_ending_is_taken_in_any_case(tmp_path):
    endings = "jpg jpeg jpe jfif png webp avif bmp dib tif tiff gif mpo JPG Png".split()
    dataset = listed(photos(tmp_path, *(f"cat/{n}.{ending}" for n, ending in enumerate(endings)), "dog/a.jpg"))
    assert dataset.counts() == {"cat": len(endings), "dog": 1}


@pytest.mark.parametrize("words", [("train", "val", "test"), ("Training", "VALID", "Testing"), ("train", "validation")])
def test_split_folders_above_the_classes_give_the_split(tmp_path, words):
    dataset = listed(photos(tmp_path, *(f"{word}/{label}/a.jpg" for word in words for label in ("cat", "dog"))))
    assert dataset.classes == ("cat", "dog")
    assert {example.split for example in dataset.examples} == set(("train", "val", "test")[: len(words)])


def test_a_train_folder_alone_is_a_split(tmp_path):
    dataset = listed(photos(tmp_path, "train/cat/a.jpg", "train/dog/a.jpg"))
    assert dataset.classes == ("cat", "dog")


def test_a_folder_named_test_among_others_is_a_class(tmp_path):
    dataset = listed(photos(tmp_path, "test/deep/a.jpg", "control/a.jpg"))
    assert dataset.classes == ("control", "test")
    assert {example.split for example in dataset.examples} == {""}


def test_folders_named_like_splits_that_hold_pictures_only_are_classes(tmp_path):
    assert listed(photos(tmp_path, "train/a.jpg", "test/b.jpg")).classes == ("test", "train")


def test_what_lies_beside_train_and_test_is_set_aside(tmp_path):
    dataset = listed(photos(tmp_path, "train/cat/a.jpg", "test/cat/b.jpg", "extra/c.jpg", "README.md"))
    assert ids(dataset) == ["test/cat/b.jpg", "train/cat/a.jpg"]
    assert found(dataset, "outside the splits") == [("extra/c.jpg",)]
    assert found(dataset, "other files") == [("README.md",)]


def test_a_flat_test_folder_beside_train_is_no_class_whatever_lies_beside_them(tmp_path):
    dataset = listed(photos(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "test/1.jpg", "extra/x.jpg"))
    assert dataset.classes == ("cat", "dog")
    assert found(dataset, "no class") == [("test/1.jpg",)]
    assert found(dataset, "outside the splits") == [("extra/x.jpg",)]


def test_hidden_files_are_one_note(tmp_path):
    hidden = [".DS_Store", "cat/._a.jpg", "cat/Thumbs.db", "cat/desktop.ini", "__MACOSX/x.jpg"]
    dataset = listed(photos(tmp_path, "cat/a.jpg", "dog/a.jpg", ".ipynb_checkpoints/b.jpg", *hidden))
    (note,) = [finding for finding in dataset.findings if finding.kind == "hidden files"]
    assert note.severity == "note"
    assert set(note.ids) == {*hidden[:4], "__MACOSX", ".ipynb_checkpoints"}
    assert dataset.classes == ("cat", "dog")


def test_each_file_that_is_no_picture_is_set_aside_with_its_path(tmp_path):
    dataset = listed(photos(tmp_path, "cat/a.jpg", "cat/notes.txt", "cat/deep/a.xml", "dog/a.jpg"))
    aside = [finding for finding in dataset.findings if finding.severity == "set aside"]
    assert [(finding.kind, finding.ids) for finding in aside] == [
        ("not a picture", ("cat/deep/a.xml",)),
        ("not a picture", ("cat/notes.txt",)),
    ]


def test_a_picture_without_class_folder_is_set_aside(tmp_path):
    assert found(listed(photos(tmp_path, "a.jpg", "cat/a.jpg", "dog/b.jpg")), "no class") == [("a.jpg",)]


def test_an_empty_class_stays_a_class_with_a_warning(tmp_path):
    (tmp_path / "bird").mkdir()
    dataset = listed(photos(tmp_path, "cat/a.jpg", "dog/b.jpg"))
    assert dataset.classes == ("bird", "cat", "dog")
    assert found(dataset, "empty class") == [("bird",)]


def test_a_single_class_is_listed_with_a_warning_that_names_the_folder_below(tmp_path):
    dataset = listed(photos(tmp_path, "flowers/rose/a.jpg", "flowers/tulip/b.jpg"))
    (warning,) = [finding for finding in dataset.findings if finding.kind == "single class"]
    assert warning.severity == "warning"
    assert "pass its folder flowers" in warning.evidence


def test_class_names_that_differ_in_case_or_unicode_form_are_kept_apart(tmp_path):
    forms = [unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD")]
    dataset = listed(photos(tmp_path, "Cat/a.jpg", "cat/b.jpg", *(f"{form}/a.jpg" for form in forms)))
    assert len(dataset.classes) == 4
    assert sorted(map(sorted, found(dataset, "similar class names"))) == sorted([["Cat", "cat"], sorted(forms)])


def test_classes_that_are_all_numbers_are_ordered_by_value(tmp_path):
    assert listed(photos(tmp_path, "10/a.jpg", "9/a.jpg", "0/a.jpg")).classes == ("0", "9", "10")


def test_classes_of_which_one_is_no_number_are_ordered_as_words(tmp_path):
    assert listed(photos(tmp_path, "10/a.jpg", "9/a.jpg", "x/a.jpg")).classes == ("10", "9", "x")


def test_a_link_in_a_circle_is_noted_and_not_entered(tmp_path):
    photos(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "cat/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop").symlink_to(tmp_path.parent, target_is_directory=True)
    dataset = listed(tmp_path)
    assert ids(dataset) == ["cat/a.jpg", "dog/b.jpg"]
    assert dataset.classes == ("cat", "dog")
    assert found(dataset, "circular link") == [("cat/up",), ("loop",)]


def test_links_to_files_and_folders_are_followed(tmp_path):
    photos(tmp_path, "store/many/a.jpg", "store/one.jpg", "data/dog/b.jpg")
    (tmp_path / "data/cat").symlink_to(tmp_path / "store/many", target_is_directory=True)
    (tmp_path / "data/dog/c.jpg").symlink_to(tmp_path / "store/one.jpg")
    assert ids(listed(tmp_path / "data")) == ["cat/a.jpg", "dog/b.jpg", "dog/c.jpg"]


def test_links_that_lead_nowhere_or_to_themselves_are_set_aside_as_missing(tmp_path):
    photos(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "cat/gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "cat/self.jpg").symlink_to(tmp_path / "cat/self.jpg")
    assert found(listed(tmp_path), "missing") == [("cat/gone.jpg",), ("cat/self.jpg",)]


def test_a_pipe_is_set_aside_and_never_opened(tmp_path):
    photos(tmp_path, "cat/a.jpg", "dog/b.jpg")
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    assert found(listed(tmp_path), "not a picture") == [("cat/pipe.jpg",)]


def test_a_folder_that_cannot_be_listed_is_set_aside(tmp_path, monkeypatch):
    photos(tmp_path, "cat/a.jpg", "cat/locked/b.jpg", "dog/c.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(listed(tmp_path), "unreadable") == [("cat/locked",)]


def test_unicode_and_very_long_names_work(tmp_path):
    long = "/".join(["x" * 200] * 5)
    dataset = listed(photos(tmp_path, f"猫/{long}/写真.jpg", f"{'d' * 255}/b.jpg"))
    assert dataset.classes == ("d" * 255, "猫")
    assert Path(dataset.examples[1].place.path).read_bytes() == b"picture"


def test_a_name_that_is_not_utf_8_can_be_printed_and_opened(tmp_path):
    photos(tmp_path, "cat/a.jpg", "dog/b.jpg")
    with open(os.fsencode(tmp_path / "cat") + b"/\xff.jpg", "wb") as file:
        file.write(b"odd")
    odd = listed(tmp_path).examples[0]
    assert odd.id == r"cat/\xff.jpg"
    assert Path(odd.place.path).read_bytes() == b"odd"


def test_a_folder_without_pictures_is_refused_as_the_style_says(tmp_path):
    with pytest.raises(SourceError, match="should hold pictures, one folder per class") as error:
        listed(photos(tmp_path, "docs/a.txt"))
    assert "0 files ending in .jpg" in error.value.got
    assert "columns path,label" in error.value.fix


def test_loose_pictures_alone_are_refused_with_their_number(tmp_path):
    with pytest.raises(SourceError) as error:
        listed(photos(tmp_path, "a.jpg", "b.jpg"))
    assert error.value.got == "2 pictures that lie in no class folder"


def test_every_file_is_accounted_for_once(tmp_path):
    photos(tmp_path, "a.jpg", "LICENSE", "cat/a.jpg", "cat/x.txt", "cat/.hid", "cat/deep/b.gif", "dog/c.jpg")
    dataset = listed(tmp_path)
    accounted = ids(dataset) + [id for finding in dataset.findings for id in finding.ids]
    present = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(accounted) == sorted(present)


def test_a_link_that_leads_nowhere_beside_the_classes_is_set_aside(tmp_path):
    photos(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "latest").symlink_to("gone")
    dataset = listed(tmp_path)
    assert ids(dataset) == ["cat/a.jpg", "dog/b.jpg"]
    assert found(dataset, "missing") == [("latest",)]


def test_a_part_with_two_names_is_read_once(tmp_path):
    photos(tmp_path, *(f"{part}/{label}/a.jpg" for part in ("train", "valid") for label in ("cat", "dog")))
    (tmp_path / "val").symlink_to("valid")
    dataset = listed(tmp_path)
    assert sorted(one.split for one in dataset.examples) == ["train", "train", "val", "val"]
    assert found(dataset, "circular link") == [("val",)]


def test_folders_of_the_system_are_no_classes_and_hold_no_pictures(tmp_path):
    dataset = listed(
        photos(
            tmp_path, "cat/a.jpg", "cat/@eaDir/a.jpg/SYNO_THUMB.jpg", "dog/b.jpg", "@eaDir/c.jpg", "lost+found/d.jpg"
        )
    )
    assert ids(dataset) == ["cat/a.jpg", "dog/b.jpg"]
    assert dataset.classes == ("cat", "dog")
