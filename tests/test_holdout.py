import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import QUICK
from linnaeus import story
from linnaeus.config import SplitSettings, load_recipe
from linnaeus.data.exif import EXIF, TAKEN
from linnaeus.data.holdout import hold_out
from linnaeus.data.sources import open_source
from linnaeus.errors import SettingsError
from linnaeus.periods import period_of
from linnaeus.records import Dataset, Example, Place
from linnaeus.story.divided import divide


def table(rows):
    """Build a dataset of {content, label, group, split, time}; what is left out is empty."""
    examples = tuple(
        Example(
            str(number),
            Place(f"/none/{number}"),
            row.get("label", "a"),
            row.get("split", ""),
            row.get("group", ""),
            (("time", row["time"]),) if "time" in row else (),
        )
        for number, row in enumerate(rows)
    )
    hashes = [hashlib.sha256(str(row.get("content", number)).encode()).hexdigest() for number, row in enumerate(rows)]
    return Dataset("d", "d", examples, tuple(sorted({one.label for one in examples}))), hashes


class Seen:
    """The columns of a scan that dividing reads."""

    def __init__(self, hashes):
        self.hashes = tuple(hashes)

    def take(self, rows):
        return Seen(self.hashes[row] for row in rows)


def divided(rows, clusters=(), **settings):
    dataset, hashes = table(rows)
    accounted = {"found": len(rows), "used": len(rows)}
    return divide(dataset, Seen(hashes), accounted, SplitSettings(**settings), clusters=clusters)


def ids_tested(result):
    return [
        example.id for example, part in zip(result.dataset.examples, result.split.parts, strict=True) if part == "test"
    ]


def clinics(n=40):
    return [{"group": f"clinic {'ABCD'[number % 4]}", "label": "ab"[number // 4 % 2]} for number in range(n)]


def test_the_named_groups_are_the_test_part_and_nothing_else_is():
    result = divided(clinics(), hold_out=("clinic B",))
    assert ids_tested(result) == [str(number) for number in range(1, 40, 4)]
    assert set(result.split.why[result.split.rows("test")]) == {"held out"}
    assert len(result.dataset) == 40


def test_val_is_drawn_by_groups_from_the_rest():
    rows = [{"group": f"g{number // 5}"} for number in range(500)]
    result = divided(rows, hold_out=("g3", "g4"), val=0.3)
    sides = {}
    for example, part in zip(result.dataset.examples, result.split.parts, strict=True):
        sides.setdefault(example.group, set()).add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert abs(len(result.split.rows("val")) - 0.3 * 490) < 4 * 5 * np.sqrt(98 * 0.3 * 0.7)
    assert len(ids_tested(result)) == 10


def test_what_is_held_out_does_not_move_the_rest():
    rows = [{"group": f"g{number // 5}"} for number in range(100)]
    one, both = divided(rows, hold_out=("g3",)), divided(rows, hold_out=("g3", "g4"))
    same = [row for row in range(100) if row // 5 not in (3, 4)]
    assert (one.split.parts[same] == both.split.parts[same]).all()


def test_a_copy_of_a_held_out_picture_is_not_used_and_is_counted():
    rows = [*clinics(), {"group": "clinic A", "content": 1}]
    result = divided(rows, hold_out=("clinic B",))
    (told,) = [one for one in result.findings if one.severity == "set aside"]
    assert (told.kind, told.ids) == ("copy of a held-out picture", ("40",))
    assert result.accounted == {"found": 41, "used": 40, "copy of a held-out picture": 1}
    assert len(result.dataset) == len(result.scan.hashes) == len(result.split.parts) == 40


def test_a_near_duplicate_of_a_held_out_picture_is_not_used_but_the_rest_of_its_group_is():
    rows = clinics()
    _, hashes = table(rows)
    clusters = list(hashes)
    clusters[0] = clusters[1] = min(hashes[:2])
    result = divided(rows, clusters, hold_out=("clinic B",))
    (told,) = [one for one in result.findings if one.severity == "set aside"]
    assert (told.kind, told.ids) == ("near-duplicate of a held-out picture", ("0",))
    assert {"4", "8"} <= {example.id for example in result.dataset.examples}


def test_nothing_that_trains_is_tied_to_what_is_held_out():
    draw = np.random.default_rng(0)
    rows = [{"group": f"g{draw.integers(30)}", "content": int(draw.integers(250))} for _ in range(400)]
    hashes = table(rows)[1]
    smallest = {}
    cluster_of = {digest: int(digest[:2], 16) for digest in hashes}
    for digest, number in cluster_of.items():
        smallest[number] = min(digest, smallest.get(number, digest))
    clusters = [smallest[cluster_of[digest]] for digest in hashes]
    result = divided(rows, clusters, hold_out=("g1", "g2"), val=0.2)
    used = [int(example.id) for example in result.dataset.examples]
    for keys in (hashes, clusters, [row["group"] for row in rows]):
        sides = {"test": set(), "train": set(), "val": set()}
        for row, part in zip(used, result.split.parts, strict=True):
            sides[part].add(keys[row])
        assert not sides["test"] & (sides["train"] | sides["val"])
    assert not [one for one in result.split.findings if one.kind == "leak"]
    assert sum(result.accounted[name] for name in result.accounted if name != "found") == 400


def days(*times):
    return [{"time": time, "label": "ab"[number % 2]} for number, time in enumerate(times)]


YEAR = days(*(f"2024-{month:02}-15T12:00:00" for month in range(1, 13)))


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        ("2024-06-15", None, range(6, 13)),
        ("2024-06-16", None, range(7, 13)),
        (None, "2024-03-15", range(1, 4)),
        (None, "2024-03-14", range(1, 3)),
        ("2024-03", "2024-05", range(3, 6)),
        ("2024-06-15T12:00:00", "2024-06-15T12:00:00", range(6, 7)),
        ("2024-11-15T13:00+02:00", None, range(12, 13)),
    ],
)
def test_a_time_range_is_held_out_with_both_its_ends(start, end, months):
    result = divided(YEAR, hold_out_from=start, hold_out_to=end)
    assert ids_tested(result) == [str(month - 1) for month in months]


def test_times_with_zones_are_compared_as_moments():
    rows = days("2024-06-01T01:00+05:00", "2024-06-01T01:00+00:00", "2024-05-01T01:00+00:00")
    assert ids_tested(divided(rows, hold_out_from="2024-06-01T00:00+00:00")) == ["1"]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-12", "2024-12-01", "2025-01-01"),
        ("20240228", "2024-02-28", "2024-02-29"),
    ],
)
def test_a_coarse_time_is_a_period(text, start, end):
    assert [str(one.date()) for one in period_of(text)] == [start, end]


def test_times_of_pictures_are_read_from_exif(tmp_path):
    for number in range(1, 7):
        exif = Image.Exif()
        exif[EXIF] = {TAKEN: f"2024:{number:02}:01 10:00:00"}
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path, exif=exif)
    dataset = open_source(str(tmp_path / "photos"), cache_dir=tmp_path / "cache")
    out = hold_out(dataset, list("123456"), SplitSettings(hold_out_from="2024-05-01"))
    assert {one.id for one, held in zip(dataset.examples, out.held, strict=True) if held} == {"b/5.jpg", "a/6.jpg"}


def test_a_column_called_date_is_as_good():
    examples = tuple(Example(k, Place(k), "a", extra=(("Date", f"2024-0{k}"),)) for k in "123")
    out = hold_out(Dataset("d", "d", examples, ("a",)), list("abc"), SplitSettings(hold_out_from="2024-03"))
    assert out.held.tolist() == [False, False, True]


def test_pictures_without_a_time_are_told():
    result = divided(days("2024-01-01", "2024-02-01", "31/12/2024"), hold_out_from="2024-02-01")
    (told,) = [one for one in result.findings if one.kind == "no time"]
    assert (told.ids, told.severity) == (("2",), "warning")
    assert "'31/12/2024'" in told.evidence


def test_a_group_that_a_time_cuts_in_two_is_not_trained_on():
    rows = [{"time": f"2024-0{1 + k % 4}-01", "group": "ann" if k % 4 in (0, 3) else f"p{k}"} for k in range(12)]
    result = divided(rows, hold_out_from="2024-04")
    assert set(ids_tested(result)) == {"3", "7", "11"}
    assert not {"0", "4", "8"} & {example.id for example in result.dataset.examples}
    assert result.accounted["group is held out in part"] == 3


def test_groups_and_times_are_held_out_together():
    rows = [{**row, "group": f"g{number}"} for number, row in enumerate(YEAR)]
    assert ids_tested(divided(rows, hold_out=("g0",), hold_out_from="2024-12")) == ["0", "11"]


def test_a_group_that_the_source_gives_for_training_can_be_held_out():
    rows = [{"group": f"g{number % 5}", "split": "train" if number % 2 else ""} for number in range(200)]
    result = divided(rows, hold_out=("g1",))
    assert ids_tested(result) == [str(number) for number in range(1, 200, 5)]


def test_what_the_source_gives_for_val_stays():
    rows = [{"group": f"g{number % 5}", "split": "val" if number % 5 == 4 else ""} for number in range(50)]
    result = divided(rows, hold_out=("g1",))
    assert result.split.rows("val").tolist() == list(range(4, 50, 5))


def test_a_class_that_is_held_out_as_a_whole_is_told():
    rows = [{"group": "g1", "label": "b"}, *({"group": f"g{number}"} for number in range(2, 30))]
    assert "unknown class" in [one.kind for one in divided(rows, hold_out=("g1",)).split.findings]


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        (clinics(), {"hold_out": ("clinic b",)}, "did you mean 'clinic B'"),
        (clinics(), {"hold_out": ("clnic C",)}, "did you mean 'clinic C'"),
        (clinics(), {"hold_out": ("xyz",)}, "clinic A, clinic B, clinic C, clinic D"),
        ([{}, {}], {"hold_out": ("g",)}, "split.group_by"),
        (clinics(), {"hold_out": tuple(f"clinic {one}" for one in "ABCD")}, "leave pictures for training"),
        (YEAR, {"hold_out_from": "2025"}, "pictures from 2024-01-15 12:00 to 2024-12-15 12:00"),
        (YEAR, {"hold_out_from": "2023"}, "12 of 12 pictures held out"),
        ([{}, {}], {"hold_out_from": "2023"}, "no column time or date"),
        (days("June", "July"), {"hold_out_from": "2023"}, "says 'June'"),
        ([{"time": f"2024-0{k}", "group": "cam"} for k in (1, 2)], {"hold_out_from": "2024-02"}, "smaller groups"),
        ([*clinics(), {"split": "test"}], {"hold_out": ("clinic A",)}, "none of its own"),
    ],
)
def test_what_cannot_be_held_out_is_refused_in_words(rows, settings, said):
    with pytest.raises(SettingsError) as caught:
        divided(rows, **settings)
    assert said in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    "given",
    [
        {"split.hold_out_from": "June"},
        {"split.hold_out_from": "2024-06", "split.hold_out_to": "2024-05"},
        {"split.hold_out": "a", "split.folds": 5},
    ],
)
def test_settings_that_do_not_hold_are_refused_at_once(given):
    with pytest.raises(SettingsError):
        load_recipe(None, given)


@pytest.mark.parametrize(("written", "read"), [("clinic B", ("clinic B",)), ('["a", "b"]', ("a", "b")), ("7", ("7",))])
def test_one_name_or_several_can_be_given_on_the_command_line(written, read):
    assert load_recipe(None, {"split.hold_out": written}).split.hold_out == read


@pytest.mark.parametrize(("written", "read"), [("2024-06-01", "2024-06-01"), ("2024", "2024"), ("2024-06", "2024-06")])
def test_a_time_need_not_be_quoted(written, read):
    assert load_recipe(None, {"split.hold_out_from": written}).split.hold_out_from == read


@pytest.fixture
def by_place(photos, tmp_path):
    """Pictures of four places, with a copy of one of place 3 in place 1."""
    folder = shutil.copytree(photos, tmp_path / "places")
    for path in sorted(folder.rglob("*.png")):
        path.rename(path.with_name(f"place{int(path.stem) % 4}-{path.name}"))
    shutil.copy(folder / "red" / "place3-003.png", folder / "red" / "place1-copy.png")
    return folder


PLACES = {"split.group_by": r"path:(place\d)-", "split.hold_out": "place3"}


def test_a_training_tests_the_held_out_place_and_accounts_for_every_file(by_place, train_quickly, read_csv):
    run = train_quickly(by_place, **PLACES)
    assert len(run.predictions("test")) == 18
    assert all("place3" in id for id in run.predictions("test").ids)
    accounted = run.accounted()
    assert accounted["found"] == 73 == sum(count for name, count in accounted.items() if name != "found")
    (row,) = read_csv(run.set_aside_path)
    assert (row["id"], row["reason"]) == ("red/place1-copy.png", "copy of a held-out picture")


def test_a_training_with_a_held_out_place_can_be_resumed(by_place, train_quickly):
    run = train_quickly(by_place, **PLACES)
    before = run.predictions("test").probabilities
    (run.folder / "summary.json").unlink()
    assert np.array_equal(story.resume(run.folder).predictions("test").probabilities, before)


def test_what_is_set_aside_for_the_held_out_is_no_fault_of_the_files(by_place, tmp_path, no_report):
    recipe = load_recipe(None, QUICK | PLACES | {"train.epochs": 1})
    assert story.tell(str(by_place), recipe, out=tmp_path / "run", strict=True).is_complete()
