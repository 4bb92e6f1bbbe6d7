import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.cache import scan
from linnaeus.data.traits import measure
from linnaeus.errors import PictureError
from linnaeus.records import Dataset, Estimate, Example, Place, Preprocessing
from linnaeus.verbs.audit import shortcuts
from linnaeus.verbs.audit.cues import name_columns
from linnaeus.verbs.audit.shortcuts import find_shortcuts

STORED = Preprocessing(24)
MAKE, MODEL, EXIF, TAKEN = 0x010F, 0x0110, 0x8769, 0x9003


def picture(draw):
    side = int(draw.integers(24, 40))
    colour = draw.integers(40, 216, 3)
    return np.clip(colour + draw.normal(0, 30, (side, side + int(draw.integers(0, 12)), 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def look(tmp_path):
    """Write pictures whose class is chance, and search: look(name=..., change=..., exif=...), each given (label, n)."""

    def run(
        name=lambda label, n: f"{n:04}.jpg", change=lambda pixels, label: pixels, exif=lambda label, n: {}, count=180,
        labels="abc", folder=lambda label, n: label, **options,
    ):  # fmt: skip
        draw = np.random.default_rng(5)
        examples = []
        for n in range(count):
            label = labels[n % len(labels)]
            id = f"{folder(label, n)}/{name(label, n)}"
            path = tmp_path / "data" / id
            path.parent.mkdir(parents=True, exist_ok=True)
            tags = Image.Exif()
            tags.update(exif(label, n))
            Image.fromarray(change(picture(draw), label)).save(path, exif=tags)
            examples.append(Example(id, Place(str(path)), label))
        dataset = Dataset("data", str(tmp_path), tuple(examples), tuple(dict.fromkeys(labels)))
        found = scan(dataset, STORED, cache_dir=tmp_path / "cache", cache_gb=1, workers=1)
        return find_shortcuts(dataset, found, measure(dataset, found, STORED, workers=1), **options)

    return run


def warned(found):
    return [one.evidence.split(" alone")[0] for one in found.findings if one.severity == "warning"]


def test_where_nothing_tells_the_class_nothing_is_found(look):
    found = look()
    assert found.findings == ()
    assert {one.name for one in found.families} > {"size", "aspect ratio", "file name", "colour", "border", "light"}
    assert not any(one.far for one in found.families)


def test_one_class_in_another_file_type_is_a_loud_warning(look):
    found = look(name=lambda label, n: f"{n:04}.{'png' if label == 'b' else 'jpg'}")
    (finding,) = (one for one in found.findings if one.evidence.startswith("file type"))
    assert (finding.kind, finding.severity, finding.ids) == ("shortcut", "warning", ("b",))
    assert "given away: 'b' (kappa 1.00)" in finding.evidence
    assert "shuffled labels in 33." in finding.evidence


def test_of_twenty_classes_one_in_another_file_type_is_found_though_accuracy_stays_low(look):
    found = look(lambda label, n: f"{n}.{'png' if label == 'h' else 'jpg'}", count=400, labels="abcdefghijklmnopqrst")
    family = next(one for one in found.families if one.name == "file type")
    assert family.accuracy.value < 0.2
    assert [given.name for given in family.given_away] == ["h"]
    assert "file type" in warned(found)


def test_a_frame_around_one_class_is_found(look):
    def frame(pixels, label):
        if label == "c":
            pixels[:3] = pixels[-3:] = 255
            pixels[:, :3] = pixels[:, -3:] = 255
        return pixels

    found = look(change=frame)
    assert "border" in warned(found)
    assert next(one for one in found.families if one.name == "border").given_away[0].name == "c"


def test_larger_pictures_of_one_class_are_found(look):
    assert "size" in warned(
        look(change=lambda pixels, label: pixels.repeat(2, 0).repeat(2, 1) if label == "a" else pixels)
    )


@pytest.mark.parametrize(
    "name",
    [
        lambda label, n: f"{'IMG' if label == 'a' else 'DSC'}_{n:04}.jpg",
        lambda label, n: f"{n + 1000 * 'abc'.index(label):05}.jpg",
        lambda label, n: f"2024-0{1 + 'abc'.index(label)}-{1 + n % 28:02} {n}.jpg",
    ],
    ids=["prefix", "number", "date"],
)
def test_file_names_that_carry_the_class_are_found(look, name):
    assert warned(look(name)) == ["file name"]


def test_a_class_name_in_the_file_name_is_only_noted(look):
    found = look(lambda label, n: f"{label}.{n:04}.jpg", labels=("cat", "dog"))
    assert [(one.kind, one.severity) for one in found.findings] == [("class in file name", "note")]


def test_one_camera_per_class_is_found_and_named(look):
    found = look(exif=lambda label, n: {MAKE: "Canon" if label == "b" else "Nikon", MODEL: "X"})
    assert warned(found) == ["camera"]
    assert "camera: 'Canon X' in 100% of 'b', in 0% of the others" in found.findings[0].evidence


def test_classes_taken_on_different_days_are_found(look):
    assert warned(look(exif=lambda label, n: {EXIF: {TAKEN: f"2024:05:0{1 + 'abc'.index(label)} 1{n % 9}:00:00"}})) == [
        "time"
    ]


def test_source_folders_that_carry_the_class_are_found(look):
    assert "folder" in warned(look(folder=lambda label, n: f"{label}/{'lab' if label == 'a' else 'web'}"))


def test_a_folder_per_class_by_another_name_is_only_the_label(look):
    assert warned(look(folder=lambda label, n: {"a": "cats", "b": "dogs", "c": "owls"}[label])) == []


def red(pixels, label):
    """Make one class redder: most of it, but not all, can be told by colour."""
    shift = 90 if label == "a" else 0
    return np.clip(pixels.astype(int) + np.array([shift, -shift, 0]), 0, 255).astype(np.uint8)


def test_colour_may_tell_the_class_and_is_a_note(look):
    found = look(change=red, labels="ab")
    (finding,) = (one for one in found.findings if one.evidence.startswith("colour"))
    assert finding.severity == "note"
    assert "may be right" in finding.evidence


def test_colour_that_is_as_good_as_the_model_is_a_warning(look):
    found = look(change=red, labels="ab", model=Estimate(0.87, 0.8, 0.9, 100, "wilson"))
    assert "colour" in warned(found)
    assert "the model itself is right in 87.0 %" in next(
        one.evidence for one in found.findings if "colour alone" in one.evidence
    )


def test_near_duplicates_in_one_fold_give_no_shortcut_by_being_recognised(look):
    # Twelve pictures, fifteen times each: who has seen one copy knows the others by their number.
    def name(label, n):
        return f"{n % 12 * 100:05}_{n}.jpg"

    draw = np.random.default_rng(1)
    labels = "".join("ab"[int(draw.integers(2))] for _ in range(12))
    keys = [str(n % 12) for n in range(180)]
    assert warned(look(name, labels=labels)) == ["file name"]
    assert warned(look(name, labels=labels, clusters=keys)) == []


def judged(cues, labels, seed=0):
    draw = np.random.default_rng(seed)
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return shortcuts._judge(shortcuts._tasks(cues), labels, names, shortcuts._folds(labels, [], draw), draw)


def test_labels_by_chance_give_a_false_alarm_in_at_most_one_of_a_hundred():
    alarms = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        labels = draw.integers(0, 3, 150)
        tasks = [
            ("size", "file", {"width": draw.normal(size=150), "height": draw.normal(size=150)}),
            ("camera", "file", {"camera": draw.choice(["A7", "A9", "X1"], 150)}),
            ("light", "pixels", {"brightness": draw.normal(size=150)}),
        ]
        families = shortcuts._judge(tasks, labels, "abc", shortcuts._folds(labels, [], draw), draw)
        alarms += any(one.far for one in families)
    assert alarms <= 2


def test_a_small_but_sure_difference_is_not_far_above_chance():
    labels = np.arange(2000) % 2
    camera = np.where(np.random.default_rng(3).random(2000) < 0.46 + 0.08 * labels, "A", "B")
    (family,) = judged({"camera": {"camera": camera}}, labels)
    assert family.p <= 0.01
    assert not family.far


def test_skill_is_the_share_of_errors_of_guessing_that_is_avoided():
    labels = np.repeat([0, 1], [150, 50])
    (family,) = judged(
        {"camera": {"camera": np.where(np.arange(200) % 10 == 0, "x", np.where(labels == 1, "B", "A"))}}, labels
    )
    assert family.majority == 0.75
    assert family.skill == pytest.approx((family.accuracy.value - 0.75) / 0.25)


def test_kappa_of_one_class_is_that_of_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    draw = np.random.default_rng(4)
    labels = draw.integers(0, 3, 500)
    guess = np.where(draw.random(500) < 0.6, labels, draw.integers(0, 3, 500))
    given = {one.name: one.agreement for one in shortcuts._given_away(labels, guess, "abc", 0.1, 1)}
    for k, name in enumerate("abc"):
        assert given[name] == pytest.approx(cohen_kappa_score(labels == k, guess == k))


def test_a_large_set_is_sampled_evenly_over_its_classes_and_of_many_classes_a_hundred_are_drawn():
    examples = tuple(
        Example(f"{k}/{n}", Place("none"), f"{k:03}") for k in range(150) for n in range(5 + 10 * (k == 7))
    )

    dataset = Dataset("made", "made", examples, tuple(f"{k:03}" for k in range(150)))
    rows, labels, names = shortcuts._sample(
        dataset, SimpleNamespace(problems={0: PictureError("empty")}), np.random.default_rng(0)
    )
    assert 0 not in rows
    assert len(names) == 100 == labels.max() + 1
    assert all(dataset.examples[row].label == names[k] for row, k in zip(rows, labels, strict=True))
    assert shortcuts._level(np.array([5000, 5000, 10]), 2000) == 995


def test_too_few_pictures_or_one_class_are_not_judged(look):
    assert look(count=30).families == ()
    assert look(count=60, labels="a").findings == ()


def test_a_damaged_head_says_nothing(tmp_path, look):
    found = look(exif=lambda label, n: {EXIF: {TAKEN: "never"}, MAKE: "\0"})
    assert "time" not in {one.name for one in found.families}


def test_the_document_is_plain_and_the_same_each_time(look):
    one, other = (look(lambda label, n: f"{n}.{'png' if label == 'b' else 'jpg'}").document() for _ in range(2))
    assert json.loads(json.dumps(one)) == json.loads(json.dumps(other))
    assert set(one) == {"pictures", "classes", "of_classes", "families", "model"}
    assert set(one["families"][0]) >= {"name", "derived", "accuracy", "majority", "shuffled", "skill", "p", "far"}


def test_names_are_described_by_prefix_pattern_number_and_date():
    columns = name_columns(["img_20240131_a7", "x", ""])
    assert columns["prefix"].tolist() == ["img", "x", ""]
    assert columns["pattern"].tolist() == ["img_#_#", "x", ""]
    assert columns["number"].tolist()[0] == 20240131
    assert columns["date"][0] - columns["date"][0] == 0
    assert np.isnan(columns["date"][1:]).all()


def test_real_photographs_have_no_warning(tmp_path):
    flowers = Path(__file__).parents[2] / "shared" / "data" / "flowers"
    if not flowers.is_dir():
        pytest.skip("no shared data")
    from linnaeus.data.sources import open_source

    dataset = open_source(str(flowers), cache_dir=tmp_path)
    dataset = dataset.take(np.arange(0, len(dataset), 5))
    found = scan(dataset, Preprocessing(64), cache_dir=tmp_path, cache_gb=1)
    assert warned(find_shortcuts(dataset, found, measure(dataset, found, Preprocessing(64)))) == []
