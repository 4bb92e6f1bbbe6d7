"""The sections on exported files and on smaller, faster versions, made of documents alone."""

import itertools
import re

import pytest

from linnaeus.metrics import score, wilson
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.front import Asked, Point, front_chart, front_key, log_ticks
from linnaeus.verbs.report.language import LANGUAGES
from linnaeus.verbs.report.markdown import markdown
from linnaeus.verbs.report.sections.shipping import compression, exports
from made_results import compress, export
from test_report import Page
from test_report_results import predict

ENGLISH = LANGUAGES["en"]
JUDGED = predict(("apple", "banana", "cherry"), 300)
SCORES = score(JUDGED, resamples=3)


@pytest.fixture
def exported():
    return export(JUDGED)


@pytest.fixture
def compressed():
    return compress(JUDGED)


def told(verb, found, language="en"):
    """Tell one document as plain words."""
    evidence = Evidence.outside(JUDGED, SCORES, {verb: found}, "made")
    section = (exports if verb == "export" else compression)(evidence, LANGUAGES[language])
    return markdown(evidence, [section], LANGUAGES[language]).replace("\u00a0", " ").replace("**", "").replace("\\", "")


def drawn(found):
    evidence = Evidence.outside(JUDGED, SCORES, {"compress": found}, "made")
    return next(one for one in compression(evidence, ENGLISH).blocks if one.kind == "drawing")


def points(*places):
    """The model at 4 ms with 90 %, and candidates at (ms, accuracy); the first of them is the chosen one."""
    made = [Point("the model", "the model", 4.0, wilson(180, 200), "original")]
    for k, (ms, accuracy) in enumerate(places, start=1):
        made.append(Point(f"{k}", f"{k}. name", ms, wilson(round(200 * accuracy), 200), "passed", True, k == 1))
    return made


def labels(svg):
    """List labels with where they begin, end (guessed) and stand."""
    found = re.findall(r'<text class="label([^"]*)" x="([^"]*)" y="([^"]*)">([^<]*)<', str(svg))
    spans = [(float(x) - 7 * len(name) * ("end" in look), float(y), name) for look, x, y, name in found]
    return [(name, (x, x + 7 * len(name), y)) for x, y, name in spans]


def test_only_what_is_equal_is_counted_as_equal(exported):
    words = told("export", exported)
    assert "Proved equal: 2 of 5 files." in words
    assert "free to differ: 1 file (LiteRT int8)" in words
    assert "Failed, and not to be used: 1 file (TensorFlow.js)" in words
    assert "not run on this machine: 1 file (Core ML)" in words


def test_the_reason_stands_beside_what_failed_and_what_was_not_run(exported):
    words = told("export", exported)
    assert "failed (a probability differs by 0.21; 0.0001 is allowed)" in words
    assert "not run here (Core ML runs on macOS only)" in words


def test_a_file_that_failed_is_never_taken(exported):
    exported["files"]["tfjs"]["speed"] |= {"p50_ms": 0.01, "per_second": 1e6}
    assert "For single pictures and for many take OpenVINO" in told("export", exported)


def test_a_faster_file_that_is_not_equal_is_offered_with_what_it_costs(exported):
    assert "LiteRT int8 takes only 1.92 ms for one picture, but is not equal: its accuracy differs by −0.9" in told(
        "export", exported
    )
    exported["files"]["litert"]["speed"]["p50_ms"] = 9.0
    assert "LiteRT int8 takes" not in told("export", exported)


def test_single_pictures_and_many_may_want_different_files(exported):
    exported["files"]["onnx"]["speed"] |= {"per_second": 2000.0, "p50_ms": 8.0}
    words = told("export", exported)
    assert "For single pictures take OpenVINO: half of the calls took at most 4.31 ms" in words
    assert "For many take ONNX: 2,000 pictures a second" in words


def test_of_files_that_are_equally_fast_for_one_picture_the_one_for_many_is_taken_for_both(exported):
    exported["files"]["onnx"]["speed"] |= {"p50_ms": 4.32, "per_second": 2000.0}
    assert "For single pictures and for many take ONNX" in told("export", exported)


def test_where_nothing_is_equal_what_may_differ_is_taken(exported):
    exported["files"] = {"litert": exported["files"]["litert"]}
    words = told("export", exported)
    assert "Proved equal: 0 of 1 file." in words
    assert "take LiteRT int8" in words
    assert "Equal means" not in words


def test_pictures_without_labels_have_no_accuracy(exported):
    for one in exported["files"].values():
        if "proof" in one:
            one["proof"] |= {"accuracy": None, "accuracy_before": None, "difference": None, "tested": 0}
    words = told("export", exported)
    assert re.search(r"\| OpenVINO \(float32\) \| equal \| 1.9 × 10⁻⁶ \| 100.0 %[^|]*\| 13.5 \|", words)
    assert "LiteRT int8 takes" not in words, "its cost is not known"


def test_sizes_that_nobody_knows_are_left_empty(exported):
    exported["files"]["onnx"]["speed"]["size_bytes"] = None
    assert re.search(r"\| ONNX .*\|  \| 0.30 \| 4.52", told("export", exported))


def test_an_export_of_nothing_is_told():
    assert "Nothing was exported." in told("export", {"pictures": 0, "outputs": [], "files": {}})


def test_what_was_chosen_is_told_with_what_it_costs(compressed):
    words = told("compress", compressed)
    assert "Asked for: 2 times as fast, losing at most 1 percentage point of accuracy" in words
    assert "Chosen: pruned, int8, run by OpenVINO. It is 4.2 times as fast" in words
    assert "a difference of −0.4 percentage points (−0.7 to −0.1; 98.3 % interval)" in words
    assert "Why: the fastest of 3 that passed" in words


def test_where_nothing_was_chosen_the_reason_is_told(compressed):
    compressed |= {"chosen": None, "why": "398 pictures cannot show a loss below 0.68 points"}
    words = told("compress", compressed)
    assert "None was chosen." in words
    assert "Why: 398 pictures cannot show a loss below 0.68 points" in words


def test_every_candidate_stands_in_the_table_with_its_verdict(compressed):
    words = told("compress", compressed)
    for row in ("1. distilled (", "2. distilled, int8 (", "chosen: 3. pruned, int8 (", "4. int8 (", "6. weights ("):
        assert f"| {row}" in words
    assert words.count("loses too much") == 2
    assert "not shown either way" in words


def test_the_level_that_the_candidates_share_is_told_with_their_differences(compressed):
    words = told("compress", compressed)
    assert "the whole 98.3 % interval of its difference" in words
    assert "(points, 98.3 %)" in words
    assert "All candidates together share a chance of 5 %" in words


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ({"latency": None, "size": 4.0}, "Asked for: a file 4 times smaller, losing"),
        ({"latency": 1.5, "size": 4.0}, "Asked for: 1.5 times as fast and a file 4 times smaller, losing"),
        ({"latency": None, "size": None}, "Asked for: to lose at most 0.5 percentage points of accuracy"),
    ],
)
def test_what_was_asked_for_is_told(compressed, target, asked):
    compressed |= {"target": target, "max_drop": 0.01 if target["size"] else 0.005}
    assert asked in told("compress", compressed)


def test_a_search_that_tried_nothing_is_told(compressed):
    compressed |= {"candidates": [], "chosen": None, "why": "no runtime is installed"}
    words = told("compress", compressed)
    assert "Nothing was tried." in words
    assert "no runtime is installed" in words


def test_the_drawing_marks_what_passed_what_did_not_and_the_model(compressed):
    svg = str(drawn(compressed).svg)
    assert svg.count('class="spot original"') == 1
    assert svg.count('<circle class="spot passed"') == 3
    assert svg.count('<circle class="spot failed"') == 2
    assert svg.count('<polygon class="spot failed"') == 1, "41 points lost: at the lower edge"
    assert svg.count('class="ring"') == 1


def test_the_points_of_the_front_are_joined_from_fast_to_slow(compressed):
    course = re.search(r'<polyline class="line s1" points="([^"]*)"', str(drawn(compressed).svg))[1]
    xs = [float(place.split(",")[0]) for place in course.split()]
    assert len(xs) == 3
    assert xs == sorted(xs)


def test_the_text_alternative_names_the_front(compressed):
    words = drawn(compressed).alt.replace("\u00a0", " ")
    assert "The front, from fast to slow: 1. distilled, 0.61 ms" in words
    assert Page(str(drawn(compressed).svg)).open == []


def test_the_legend_explains_no_mark_that_is_not_there(compressed):
    names = [name for _, name in drawn(compressed).key]
    assert "further down" in names
    compressed["candidates"] = [one for one in compressed["candidates"] if one["verdict"] == "passed"]
    names = [name for _, name in drawn(compressed).key]
    assert {"further down", "did not pass"}.isdisjoint(names)


def test_times_far_apart_get_a_logarithmic_axis():
    axis = ENGLISH.front_axes_log[0]
    asked = Asked(2.0, 0.89)
    assert axis in front_chart(points((0.5, 0.9)), asked, "", ENGLISH)
    assert axis not in front_chart(points((2.0, 0.9)), asked, "", ENGLISH)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.61, 4.6, [0.5, 1, 2, 5]),
        (1.0, 10.0, [1, 2, 5, 10]),
        (0.02, 900.0, [0.01, 0.1, 1, 10, 100, 1000]),
        (3.0, 3.0, [2, 5]),
    ],
)
def test_ticks_of_a_logarithmic_axis_enclose_the_times(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_the_area_of_what_was_asked_for_ends_at_the_time_and_the_accuracy():
    def zone(ms):
        svg = str(front_chart(points((2.0, 0.9)), Asked(ms, 0.89), "", ENGLISH))
        return float(re.search(r'class="zone"[^>]* width="([\d.]+)"', svg)[1])

    assert zone(2.0) == pytest.approx(zone(None) * 2.0 / 4.0)
    assert zone(1.0) < zone(2.0)


def test_what_loses_much_stays_in_sight_where_much_may_be_lost():
    some = points((2.0, 0.7))
    assert "further down" in [name for _, name in front_key(some, Asked(None, 0.89), ENGLISH)]
    assert "further down" not in [name for _, name in front_key(some, Asked(None, 0.75), ENGLISH)]


def test_labels_do_not_stand_on_each_other():
    crowd = points(*[(4.0 + 0.01 * k, 0.9) for k in range(12)])
    found = labels(front_chart(crowd, Asked(2.0, 0.89), "", ENGLISH))
    assert {"the model", "1. name"} <= {label for label, _ in found}
    for (_, one), (_, other) in itertools.combinations(found, 2):
        assert abs(one[2] - other[2]) >= 13 or one[1] <= other[0] or other[1] <= one[0]


def test_names_cannot_leave_the_drawing(compressed):
    compressed["candidates"][0]["name"] = compressed["chosen"] = "<script>alert(1)</script>"
    svg = drawn(compressed).svg
    assert "<script" not in svg
    assert "&lt;script" in svg


def test_the_chinese_sections_have_the_same_numbers(exported, compressed):
    for verb, found in (("export", exported), ("compress", compressed)):
        numbers = [sorted(re.findall(r"\d+\.\d+", told(verb, found, language))) for language in ("en", "zh")]
        assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0"), (0.21, "0.21"), (1e-4, "10⁻⁴"), (2.34e-6, "2.3 × 10⁻⁶"), (9.99e-7, "10⁻⁶")]
)
def test_tiny_differences_are_written_as_powers(value, written):
    assert ENGLISH.tiny(value).replace("\u00a0", " ") == written


def test_amounts_have_three_digits():
    assert [ENGLISH.amount(value) for value in (0.614, 4.312, 15.66, 157.4, 2400.0)] == [
        "0.61",
        "4.31",
        "15.7",
        "157",
        "2,400",
    ]
