import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.errors import SettingsError
from linnaeus.records import Place
from linnaeus.verbs import report as package
from linnaeus.verbs.report import report, report_audit
from linnaeus.verbs.report.audited import Audited
from linnaeus.verbs.report.language import LANGUAGES
from linnaeus.verbs.report.thumbnails import whole_picture
from test_report import MARKUP, Page, make_run, said

DOCS = Path(__file__).parent.parent / "docs" / "findings.md"


def share(value, low, high, n=300):
    return {"value": value, "low": low, "high": high, "n": n, "method": "wilson"}


def finding(kind, ids=(), evidence="seen", severity="warning", count=None):
    return {"kind": kind, "ids": list(ids), "evidence": evidence, "severity": severity, "count": count or len(ids)}


def made_audit(ids):
    """What an audit writes, for ids of pictures in three classes: one wrong label, one pair, and what was measured."""
    family = {"majority": 0.34, "shuffled": 0.33, "p": 0.001, "given_away": []}
    return {
        "source": "my photos",
        "accounted": {"found": len(ids) + 1, "used": len(ids), "truncated": 1},
        "classes": {"apple": 30, "banana": 20, "cherry": 10},
        "findings": [
            finding("truncated", ["apple/half.png"], "ends in the middle", "set aside"),
            finding("likely wrong label", ids[:2], "2 pictures labelled 'apple' look like 'banana'"),
            finding("shortcut", ["apple"], "size alone tells the class of 80 %"),
            finding("leak", ids[2:4], "near-duplicate pictures on different sides"),
            finding("near-duplicates", ids[4:6], "details agree", "note"),
            finding("near-duplicates", ids[6:8], "details agree", "note"),
        ],
        "table": {
            "id": ids[:8],
            "label": ["apple"] * 8,
            "suggested": ["banana", "banana"] + [""] * 6,
            "quality": [0.12, 0.03, *[0.9] * 5, None],
            "cluster": ["", "", "x", "x", "y", "y", "z", "z"],
        },
        "balance": {"classes": {"apple": 30, "banana": 20, "cherry": 10}, "effective": 2.7, "ratio": 3.0},
        "shortcuts": {
            "pictures": 60,
            "families": [
                family | {"name": "size", "derived": "file", "accuracy": share(0.8, 0.7, 0.88), "skill": 0.7,
                          "far": True, "telling": "width: median 64 in 'apple'"},
                family | {"name": "colour", "derived": "pixels", "accuracy": share(0.4, 0.3, 0.5), "skill": 0.09,
                          "far": False, "telling": ""},
            ],
            "model": None,
        },
        "drift": {
            "auroc": share(0.72, 0.65, 0.79), "p": 0.002, "on": "features", "findings": [],
            "by": [{"trait": "brightness", "what": "0.3 in train, 0.5 in test", "auroc": 0.7, "p": 1e-4, "p_adjusted": 1e-3}],
        },
        "labels": {
            "checked": 58, "likely": 2, "wrong": share(0.04, 0.02, 0.09),
            "classes": [{"name": "apple", "noise": share(0.07, 0.02, 0.2), "likely": 2},
                        {"name": "empty", "noise": share(None, None, None, 0), "likely": 0}],
            "overlaps": [{"first": "apple", "second": "cherry", "confused": share(0.1, 0.05, 0.2),
                          "mislabelled": share(0.02, 0.01, 0.05)}],
        },
        "enough": {
            "points": [{"share": k / 10, "n": 5 * k, "accuracy": share(0.6 + k / 40, 0.5 + k / 40, 0.7 + k / 40)}
                       for k in range(1, 11)],
            "twice": share(0.03, 0.01, 0.05), "half the error needs": 4321, "words": "",
        },
        "seconds": {"open": 0.1, "features": 2.0},
    }  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Eight little pictures, wider than high."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = {}
    for k in range(8):
        path = folder / f"{k}.png"
        Image.fromarray(rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)).save(path)
        found[f"apple/{k}.png"] = Place(str(path))
    return found


@pytest.fixture
def written(places, tmp_path):
    """Write an audit's page, changed as asked: written(drift=None) -> (Page, Markdown, JSON)."""

    def write(language="en", document=None, **changes):
        document = made_audit(list(places)) | changes if document is None else document
        out = report_audit(document, places, tmp_path / "audit.html", "fruit", language)
        page = Page(out.read_text(encoding="utf-8"))
        assert page.open == []
        return page, out.with_suffix(".md").read_text("utf-8"), json.loads(out.with_suffix(".json").read_text("utf-8"))

    return write


def kinds_of_the_docs():
    heads = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted({kind for head in heads for kind in re.findall("`([^`]+)`", head)})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_the_docs_has_a_title_a_meaning_and_advice(language):
    known = LANGUAGES[language].findings
    kinds = kinds_of_the_docs()
    assert len(kinds) > 40
    assert [kind for kind in kinds if not all(known.get(kind, ("",)))] == []


def test_every_kind_that_the_code_can_find_is_known_too():
    package_of = Path(package.__file__).parents[2]
    code = "\n".join(path.read_text(encoding="utf-8") for path in package_of.rglob("*.py"))
    found = set(re.findall(r"""Finding\(\s*"([a-z -]+)",""", code))
    assert len(found) > 30
    assert sorted(found - LANGUAGES["en"].findings.keys()) == []


def test_the_page_begins_with_the_account_the_three_gravest_and_the_command(written):
    page, _, machine = written()
    begin = said(page).split("What was found")[0]
    assert "9 files found, 8 used, 1 set aside (1 truncated)" in begin
    order = [
        begin.index(title)
        for title in ("Leak between the parts (2 pictures)", "Shortcut (1 finding)", "Likely wrong labels (2")
    ]
    assert order == sorted(order)
    assert "Truncated" not in begin
    assert "linnaeus review 'my photos'" in begin
    assert machine["answer"]["command"] == "linnaeus review 'my photos'"
    assert len(machine["answer"]["mend"]) == 3


def test_findings_of_one_kind_stand_together(written):
    _, _, machine = written()
    told = {one["kind"]: (one["findings"], one["count"]) for one in machine["kinds"]}
    assert told["near-duplicates"] == (2, 4)


def test_wrong_labels_show_both_labels_and_quality_the_worst_first(written):
    page, *_ = written()
    words = said(page).replace("\u00a0", " ")
    worst, better = (words.index(f"quality {quality} %, apple/{k}.png") for quality, k in (("3.0", 1), ("12.0", 0)))
    assert worst < better
    assert "apple → banana" in words


def test_near_duplicates_stand_side_by_side(written):
    page, *_ = written()
    sets = [one for one in re.split('<div class="strip">', page.text) if "2 pictures together" in one]
    assert [set(re.findall("apple/[0-9].png(?=</code>)", one.split("</div>")[0])) for one in sets] == [
        {f"apple/{k}.png", f"apple/{k + 1}.png"} for k in (2, 4, 6)
    ]


def test_a_set_is_told_by_the_cluster_where_one_finding_names_many():
    document = {
        "findings": [finding("leak", ["a", "b", "c", "d"])],
        "table": {"id": ["a", "b", "c", "d"], "cluster": ["x", "y", "x", "y"]},
    }
    audited = Audited.read(document)
    assert audited.sets(audited.kinds[0]) == [("a", "c"), ("b", "d")]


def test_thumbnails_are_upright_and_whole(tmp_path):
    picture = Image.fromarray(np.zeros((100, 300, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    uri, tiny, trouble = whole_picture(Place(str(tmp_path / "turned.jpg")))
    import base64
    import io

    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as small:
        assert small.size == (48, 144)
    assert (tiny, trouble) == (False, "")


def test_every_measurement_is_told_with_its_interval(written):
    words = said(written()[0]).replace("\u00a0", " ")
    for told in (
        "58 labels were checked", "about 4.0 % (2.0 to 9.0 %) are wrong", "apple and cherry",
        "Far above chance: size.", "70.0 to 88.0 %", "as varied as 2.7 equally large ones", "AUROC of 0.720 (0.650 to 0.790)",
        "brightness", "about +3.0 percentage points (+1.0 to +5.0)", "about 4,321 pictures",
    ):  # fmt: skip
        assert told in words, told


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "fitted in an earlier audit, to 1,200 pictures (since then: 13 new, 0 gone, 2 with another label)"),
        ("zh", "用 1,200 张图片拟合的（此后新增 13 张，减少 0 张，2 张换了标签）"),
    ],
)
def test_of_a_folder_that_has_grown_it_is_told_what_the_models_knew(written, language, told):
    growth = {"fitted": 1200, "new": 13, "gone": 0, "relabelled": 2}
    assert told in said(written(language, growth=growth)[0]).replace("\u00a0", " ")
    assert told not in said(written(language, growth=None)[0]).replace("\u00a0", " ")


def test_the_learning_curve_goes_on_to_twice_the_pictures_with_a_band(written):
    text = written()[0].text
    chart = text[text.index('<svg class="chart"') :].split("</svg>")[0]
    assert chart.count('<polygon class="band') == 2
    assert "extrapolated 100: 88.0" in chart


def test_chance_is_drawn_across_the_intervals_of_shortcuts(written):
    assert '<span class="guess" style="left:34.00%">' in written()[0].text


@pytest.mark.parametrize("key", sorted(made_audit(["a"] * 8)))
def test_any_key_may_be_missing(places, written, key):
    document = made_audit(list(places))
    del document[key]
    page, markdown, _ = written(document=document)
    assert "form that this report does not know" not in page.words
    assert markdown.startswith("# fruit")


def test_an_audit_of_nothing_still_gives_a_page(written):
    page, *_ = written(document={})
    assert "Nothing was found that has to be mended." in page.words


def test_what_was_not_asked_is_said(written):
    page, *_ = written(drift=None)
    assert "too few pictures for it" in page.words.split("Is the test like the training?")[1][:200]


def test_a_part_of_another_form_costs_only_itself(written):
    page, *_ = written(drift={"auroc": "high"}, enough={"points": [{"n": 3}]})
    assert page.words.count("form that this report does not know") == 2
    assert "58 labels were checked" in page.words


def test_hostile_names_are_shown_as_they_are_and_do_nothing(places, written):
    document = json.loads(json.dumps(made_audit(list(places))).replace("banana", MARKUP[1].replace('"', '\\"')))
    document["source"] = document["findings"][0]["evidence"] = document["findings"][0]["ids"][0] = MARKUP[0] + "`|\n# x"
    document["shortcuts"]["families"][0]["name"] = document["findings"][2]["kind"] = MARKUP[0]
    document["seconds"] = {MARKUP[0]: 1.0}
    document["accounted"] = {"found": 3, "used": 2, MARKUP[0]: 1}
    page, markdown, _ = written(document=document)
    assert page.all("script") == [{}]
    assert all(one["src"].startswith("data:") for one in page.all("img"))
    assert MARKUP[0] in page.words
    assert "<script" not in re.sub(r"```.*?```|`[^\n]*`", "", markdown, flags=re.DOTALL).replace(r"\<script", "")
    assert "\n# x" not in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


def test_files_that_do_not_add_up_are_told(written):
    page, *_ = written(accounted={"found": 10, "used": 8, "truncated": 1})
    assert "10 files were found, but 9 are accounted for." in page.words


def test_a_thousand_classes_and_a_hundred_thousand_findings_stay_small(places, written):
    names = [f"class {k} with a name of some length" for k in range(1000)]
    ids = [f"{names[k % 1000]}/a-rather-long-file-name-{k}.jpg" for k in range(100_000)]
    noise = share(0.1, 0.05, 0.2)
    kinds = sorted(LANGUAGES["en"].findings)
    page, markdown, _ = written(
        document={
            "classes": dict.fromkeys(names, 100),
            "findings": [finding(kinds[k % len(kinds)], [id], "e" * 200) for k, id in enumerate(ids)],
            "table": {"id": ids, "label": names * 100, "suggested": names * 100, "quality": [0.1] * 100_000},
            "labels": {
                "classes": [{"name": name, "noise": noise, "likely": 1} for name in names],
                "overlaps": [{"first": "a", "second": name, "confused": noise, "mislabelled": noise} for name in names],
            },
        }
    )
    assert len(page.text.encode()) < 5_000_000
    assert len(markdown.encode()) < 5_000_000
    assert "more are in audit.csv" in page.words


def test_pictures_give_way_where_a_page_would_grow_too_large(written, monkeypatch):
    whole = len(written()[0].text)
    monkeypatch.setattr(package, "MOST_BYTES", whole - 10_000)
    page, *_ = written()
    assert len(page.text) < whole - 10_000
    assert "no room" in page.words or not page.all("img")


def test_one_kind_does_not_take_the_room_of_all_others(places, written, monkeypatch):
    monkeypatch.setattr(package, "ROOMS", (60_000,))
    ids = list(places)
    document = {"table": {"id": ids}, "findings": [finding(kind, ids) for kind in ("outlier", "dark", "bright")]}
    page, *_ = written(document=document)
    shown = [one.count("<img") for one in page.text.split('<article class="notice')[1:]]
    assert min(shown) >= 1
    assert max(shown) < len(ids)


def test_chinese_has_the_same_parts(written):
    english, chinese = written()[0], written("zh")[0]
    ids = [[one["id"] for one in page.all("section")] for page in (english, chinese)]
    assert ids[0] == ids[1]
    assert "首先要处理的问题" in chinese.words
    assert {"lang": "en"} in chinese.all("ul")


def test_a_language_that_there_is_not_is_refused(written):
    with pytest.raises(SettingsError, match="en, zh"):
        written("tlh")


@pytest.fixture
def in_a_run(tmp_path, monkeypatch):
    """Write the report of a run with an audit's document: in_a_run({...}) -> Page."""
    monkeypatch.setattr("linnaeus.verbs.report.pictures.write_pictures", lambda *_: None)

    def write(document):
        run = make_run(tmp_path)
        if document is not None:
            run.write_result("audit", document)
        return Page(report(run).read_text(encoding="utf-8"))

    return write


def section_of(page):
    return page.text.split('<section id="audit"')[1].split("</section>")[0]


def test_a_run_tells_its_audit_in_a_section(in_a_run):
    text = section_of(in_a_run(made_audit([f"0/{k:03}.png" for k in range(8)])))
    assert "What to mend first" in text
    assert text.count("<img") >= 6
    assert "AUROC of" in text
    # The data's own section has these bars.
    assert "the largest first" not in text


def test_a_run_without_an_audit_says_which_command_makes_one(in_a_run):
    assert "linnaeus audit photos" in section_of(in_a_run(None))


def test_a_run_with_an_audit_of_another_form_keeps_the_rest(in_a_run):
    page = in_a_run({"findings": 3})
    assert "results/audit.json" in section_of(page)
    assert 'id="scores"' in page.text


@pytest.mark.parametrize(("language", "width"), [("en", 360), ("en", 1280), ("zh", 360)])
def test_nothing_sticks_out_sideways_in_a_browser(browser, places, tmp_path, language, width):
    document = made_audit(list(places))
    document["findings"].append(finding("outlier", ["apple/7.png"], "long" * 200, "note"))
    out = report_audit(document, places, tmp_path / "audit.html", "fruit", language)
    page, complaints = browser(width=width), []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(out.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
    assert complaints == []
    page.context.close()
