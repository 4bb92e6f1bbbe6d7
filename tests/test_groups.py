from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from linnaeus.config import load_recipe
from linnaeus.data.exif import EXIF, MAKE, MODEL, SERIAL, TAKEN, Shot, read_shot, read_shots
from linnaeus.data.groups import groups_of
from linnaeus.data.sources import open_source
from linnaeus.errors import SettingsError
from linnaeus.records import Dataset, Example, Place


def table(*rows):
    """Build a dataset of (path, {column: value}) or paths alone."""
    filled = [row if isinstance(row, tuple) else (row, {}) for row in rows]
    examples = tuple(Example(path, Place(f"/none/{path}"), "a", extra=tuple(more.items())) for path, more in filled)
    return Dataset("d", "d", examples, ("a",))


def groups(dataset, rule):
    return [example.group for example in groups_of(dataset, rule)[0].examples]


def kinds(dataset, rule):
    return [one.kind for one in groups_of(dataset, rule)[1]]


def shoot(path, *, make="", model="", taken="", serial=""):
    """Save a picture with EXIF."""
    exif = Image.Exif()
    for tag, value in ((MAKE, make), (MODEL, model)):
        if value:
            exif[tag] = value
    inner = exif.get_ifd(EXIF)
    inner.update({tag: value for tag, value in ((TAKEN, taken), (SERIAL, serial)) if value})
    exif[EXIF] = dict(inner)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, exif=exif)
    return Place(str(path))


def test_a_column_gives_the_groups():
    data = table(("1", {"patient": "ann"}), ("2", {"patient": "ben"}), ("3", {"patient": "ann"}))
    assert groups(data, "column:patient") == ["ann", "ben", "ann"]


def test_the_column_group_can_be_named_like_any_other():
    data = table("1", "2")
    data = replace(data, examples=tuple(replace(one, group="g") for one in data.examples))
    assert groups(data, "column:group") == ["g", "g"]


def test_a_column_of_a_real_table_gives_the_groups(tmp_path):
    for name in "abc":
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("path,label,Patient\na.png,x,7\nb.png,y,8\nc.png,x,7\n")
    assert groups(open_source(str(tmp_path / "t.csv"), cache_dir=tmp_path / "cache"), "column:Patient") == [
        "7",
        "8",
        "7",
    ]


def test_the_first_group_of_the_expression_names_the_group():
    assert groups(table("red/p1_03.jpg", "blue/p2_1.jpg"), r"path:(\w+)_\d+\.jpg") == ["p1", "p2"]


def test_an_expression_without_groups_counts_as_a_whole():
    assert groups(table("red/cam7-1.jpg", "red/cam8-2.jpg", "red/cam7-9.jpg"), "path:cam[0-9]") == [
        "cam7",
        "cam8",
        "cam7",
    ]


def test_a_path_that_does_not_match_has_no_group_and_is_told():
    data = table("p1_1.jpg", "p1_2.jpg", "holiday.jpg", "p2_1.jpg", "p2_2.jpg")
    grouped, findings = groups_of(data, r"path:(p\d)_")
    assert grouped.examples[2].group == ""
    (told,) = findings
    assert (told.kind, told.ids, told.severity) == ("no group", ("holiday.jpg",), "warning")
    assert "1 of 5 pictures" in told.evidence


def test_an_optional_group_that_did_not_take_part_is_no_group():
    assert groups(table("a1.jpg", "b.jpg"), r"path:[ab](\d)?\.jpg") == ["1", ""]


def test_without_a_rule_the_source_is_followed():
    data = table("1")
    data = replace(data, examples=(replace(data.examples[0], group="g"),))
    assert groups(data, None) == ["g"]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_camera_and_time_are_read_from(tmp_path, ending):
    place = shoot(
        tmp_path / f"x.{ending}", make="Canon", model="Canon EOS R5", taken="2024:06:01 14:30:05", serial="42"
    )
    assert read_shot(place) == Shot("Canon EOS R5 42", datetime(2024, 6, 1, 14, 30, 5))


def test_exif_behind_the_pixels_of_a_png_is_found_without_decoding_them(tmp_path, monkeypatch):
    whole = (tmp_path / "x.png", tmp_path / "late.png")
    shoot(whole[0], model="Late")
    data = whole[0].read_bytes()
    at = data.index(b"eXIf") - 4
    size = int.from_bytes(data[at : at + 4], "big") + 12
    chunk, rest = data[at : at + size], data[:at] + data[at + size :]
    end = rest.index(b"IEND") - 4
    whole[1].write_bytes(rest[:end] + chunk + rest[end:])
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    assert read_shot(Place(str(whole[1]))).camera == "Late"


def test_a_picture_inside_of_another_file_is_read_where_it_lies(tmp_path):
    data = Path(shoot(tmp_path / "x.jpg", model="Inner").path).read_bytes()
    (tmp_path / "shard.tar").write_bytes(b"?" * 100 + data + b"?" * 50)
    assert read_shot(Place(str(tmp_path / "shard.tar"), 100, len(data))).camera == "Inner"


@pytest.mark.parametrize("time", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_a_clock_that_was_not_set_tells_no_time(tmp_path, time):
    assert read_shot(shoot(tmp_path / "x.jpg", model="M", taken=time)).taken is None


def test_what_is_no_picture_tells_nothing(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "half.jpg").write_bytes(Path(shoot(tmp_path / "x.jpg", model="M").path).read_bytes()[:30])
    places = [*(Place(str(tmp_path / name)) for name in ("text.jpg", "half.jpg", "gone.jpg")), Place(str(tmp_path))]
    assert read_shots([*places, Place("/none", layout="1x8x8")]) == [Shot()] * 5


def test_many_pictures_keep_their_order(tmp_path):
    places = [shoot(tmp_path / f"{number}.jpg", model=f"M{number}") for number in range(150)]
    assert [one.camera for one in read_shots(places, workers=3)] == [f"M{number}" for number in range(150)]


@pytest.mark.parametrize(
    ("rule", "name"), [("exif:camera", "Sony A7"), ("exif:day", "2024-06-01"), ("exif:hour", "2024-06-01 14h")]
)
def test_exif_gives_the_groups(tmp_path, rule, name):
    places = [shoot(tmp_path / f"{k}.jpg", make="Sony", model="A7", taken="2024:06:01 14:30:05") for k in range(2)]
    data = Dataset("d", "d", tuple(Example(one.path, one) for one in places), ())
    assert groups(data, rule) == [name, name]


def test_pictures_without_exif_are_told(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.jpg")
    places = [*(shoot(tmp_path / f"{k}.jpg", model=f"M{k // 2}") for k in range(4)), Place(str(tmp_path / "plain.jpg"))]
    data = Dataset("d", "d", tuple(Example(one.path[-5:], one) for one in places), ())
    (told,) = groups_of(data, "exif:camera")[1]
    assert told.ids == ("n.jpg",)


def test_a_group_of_more_than_half_is_warned_of():
    data = table(*(f"a_{k}" for k in range(6)), *(f"b_{k}" for k in range(4)))
    (told,) = groups_of(data, "path:^[ab]")[1]
    assert (told.kind, told.ids, told.severity) == ("large group", ("a",), "warning")
    assert "6 of 10 pictures (60 %)" in told.evidence
    assert kinds(table("a_1", "a_2", "b_1", "b_2"), "path:^[ab]") == []


def test_groups_that_tie_nothing_together_are_told():
    assert "single groups" in kinds(table("a1", "a2", "a3"), "path:.*")


def test_a_large_group_of_the_source_itself_is_told_as_well():
    data = table("1", "2", "3")
    data = replace(data, examples=tuple(replace(one, group="all") for one in data.examples))
    assert kinds(data, None) == ["large group"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("column:pateint", "did you mean column:patient"),
        ("column:PATIENT", "did you mean column:patient"),
        ("column:zzz", "columns patient, day"),
        ("column:day", "empty in every row"),
        ("path:nothing", "such as p1.jpg, p2.jpg"),
        ("path:(", "unterminated"),
        ("exif:camera", "none of 2 pictures"),
        ("exif:lens", "column:NAME, path:EXPRESSION"),
        ("patient", "for example column:patient"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused_in_words(rule, said):
    data = table(("p1.jpg", {"patient": "1", "day": ""}), ("p2.jpg", {"patient": "1", "day": ""}))
    with pytest.raises(SettingsError) as caught:
        groups_of(data, rule)
    assert said in str(caught.value)
    assert caught.value.fix


def test_a_source_without_columns_is_told_what_else_there_is():
    with pytest.raises(SettingsError, match="path:EXPRESSION"):
        groups_of(table("1"), "column:patient")


@pytest.mark.parametrize("rule", ["patient", "path:(", "exif:lens", "column:", "colour:x"])
def test_a_rule_that_cannot_hold_is_refused_before_any_picture_is_read(rule):
    with pytest.raises(SettingsError, match=r"split\.group_by"):
        load_recipe(None, {"split.group_by": rule})


def test_nothing_is_grouped_of_nothing():
    assert groups_of(Dataset("d", "d", (), ()), "exif:day")[1] == []
