import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.cache import scan
from linnaeus.records import Dataset, Example, Finding, Place, Preprocessing
from linnaeus.verbs.audit import account, audit


def picture(seed, format="PNG", **options):
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def judge(tmp_path):
    def judge(files, classes=(), listed=()):
        """Write {"class/name": bytes}, scan and audit."""
        examples = []
        for id, data in files.items():
            path = tmp_path / "data" / id
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            examples.append(Example(id, Place(str(path)), id.split("/")[0]))
        names = tuple(classes) or tuple(sorted({example.label for example in examples}))
        dataset = Dataset("data", str(tmp_path / "data"), tuple(examples), names, tuple(listed))
        found = scan(dataset, Preprocessing(10), cache_dir=tmp_path / "cache", cache_gb=1, workers=1)
        return dataset, audit(dataset, found)

    return judge


def of_kind(findings, kind):
    return [finding for finding in findings if finding.kind == kind]


SOUND = {f"{label}/{number}.png": picture((ord(label), number)) for label in "ab" for number in range(3)}


def test_sound_pictures_give_no_findings(judge):
    assert judge(SOUND)[1] == []


def test_each_broken_picture_is_set_aside_with_path_and_reason(judge):
    _, findings = judge({**SOUND, "a/x.png": b"", "b/y.jpg": picture(1, "JPEG")[:300], "b/z.gif": b"hello"})
    assert [(finding.kind, finding.ids) for finding in findings] == [
        ("empty", ("a/x.png",)),
        ("truncated", ("b/y.jpg",)),
        ("not a picture", ("b/z.gif",)),
    ]
    assert {finding.severity for finding in findings} == {"set aside"}
    assert Path("a", "x.png").as_posix() in findings[0].evidence


def test_equal_bytes_under_different_labels_are_all_set_aside(judge):
    dataset, findings = judge({**SOUND, "a/copy.png": SOUND["b/1.png"]})
    (conflict,) = of_kind(findings, "conflict")
    assert conflict.ids == ("b/1.png", "a/copy.png")
    assert "b/1.png (b)" in conflict.evidence
    assert "a/copy.png (a)" in conflict.evidence
    assert len(dataset.without(findings)) == 5


def test_equal_bytes_within_a_class_stay_and_are_noted(judge):
    dataset, findings = judge({**SOUND, "a/copy.png": SOUND["a/1.png"]})
    (copies,) = of_kind(findings, "copies")
    assert (copies.ids, copies.severity) == (("a/1.png", "a/copy.png"), "note")
    assert len(dataset.without(findings)) == len(dataset)


def test_two_empty_files_of_different_classes_are_empty_not_in_conflict(judge):
    _, findings = judge({**SOUND, "a/x.png": b"", "b/x.png": b""})
    assert [finding.kind for finding in findings] == ["empty", "empty"]


def test_a_wrong_extension_is_noted_and_the_picture_used(judge):
    dataset, findings = judge({**SOUND, "a/really.jpg": picture(9), "b/FINE.JPG": picture(8, "JPEG")})
    (wrong,) = findings
    assert (wrong.kind, wrong.ids, wrong.severity) == ("wrong extension", ("a/really.jpg",), "note")
    assert "PNG inside" in wrong.evidence
    assert len(dataset.without(findings)) == 8


def test_turned_pictures_are_one_note(judge):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {f"a/{number}.jpg": picture(number, "JPEG", exif=exif) for number in range(4)}
    (finding,) = judge({**SOUND, **turned})[1]
    assert (finding.kind, len(finding.ids), finding.severity) == ("turned", 4, "note")
    assert "4 pictures" in finding.evidence


def test_a_class_that_lost_all_its_pictures_is_warned_of(judge):
    findings = judge({**SOUND, "c/1.png": b"", "c/2.png": b"no"})[1]
    (finding,) = of_kind(findings, "empty class")
    assert (finding.ids, finding.severity) == (("c",), "warning")


def test_a_class_with_one_picture_left_is_warned_of(judge):
    findings = judge({**SOUND, "c/1.png": picture(77), "c/2.png": b"no"})[1]
    assert [finding.ids for finding in of_kind(findings, "small class")] == [("c",)]


def test_a_single_class_left_is_warned_of_once(judge):
    only_a = {id: data for id, data in SOUND.items() if id.startswith("a")}
    assert of_kind(judge({**only_a, "b/1.png": b""})[1], "single class")
    listed = Finding("single class", ("a",), "said while listing")
    assert not of_kind(judge(only_a, listed=[listed])[1], "single class")


def test_the_numbers_of_found_used_and_set_aside_add_up(judge):
    listed = [Finding("no label", ("m.png", "n.png"), "", "set aside"), Finding("hidden files", (".x",), "", "note")]
    files = {**SOUND, "a/e.png": b"", "b/t.png": SOUND["a/0.png"][:200], "b/c.png": SOUND["a/1.png"]}
    dataset, findings = judge(files, listed=listed)
    counts = account(dataset, findings)
    assert counts == {"found": 11, "used": 5, "no label": 2, "empty": 1, "truncated": 1, "conflict": 2}
    assert counts["used"] == len(dataset.without(findings))
    assert counts["found"] == counts["used"] + sum(n for key, n in counts.items() if key not in ("found", "used"))


def test_a_file_with_two_reasons_counts_once():
    dataset = Dataset("d", "d", (Example("x", Place("x"), "a"), Example("y", Place("y"), "a")), ("a",))
    findings = [Finding("empty", ("x",), "", "set aside"), Finding("conflict", ("x",), "", "set aside")]
    assert account(dataset, findings) == {"found": 2, "used": 1, "empty": 1}
