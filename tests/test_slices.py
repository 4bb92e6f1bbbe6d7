import json

import numpy as np
import pytest
from scipy.stats import fisher_exact

from linnaeus.errors import SourceError
from linnaeus.metrics.slices import find_slices, newcombe
from linnaeus.records import Predictions


def judged(right, seed=0, K=3):
    """Predictions of which those marked are right."""
    draw = np.random.default_rng(seed)
    right = np.asarray(right, dtype=bool)
    labels = draw.integers(0, K, len(right))
    predicted = np.where(right, labels, (labels + 1) % K)
    probabilities = np.full((len(right), K), 0.3 / max(1, K - 1))
    probabilities[np.arange(len(right)), predicted] = 0.7
    return Predictions(probabilities, labels, tuple(f"{i}.png" for i in range(len(right))), tuple(map(str, range(K))))


def world(N, seed, worse=None, share=0.9):
    """Traits without effect, and predictions that are right 60 % of the time where `worse` says so."""
    draw = np.random.default_rng(seed)
    columns = {name: draw.normal(size=N) for name in ("light", "blur", "size", "age")}
    columns["camera"] = draw.choice(["A7", "A9", "X1"], N)
    rate = np.full(N, share) if worse is None else np.where(worse(columns), 0.6, share)
    return judged(draw.random(N) < rate, seed), columns


def test_a_planted_slice_of_numbers_is_found_first_and_alone():
    found = find_slices(*world(1000, 1, lambda columns: columns["light"] < -0.84))
    assert [one.trait for one in found.worse] == ["light"]
    assert found.slices[0].what.startswith("light -")
    assert found.slices[0].accuracy.value < 0.7 < 0.85 < found.slices[0].rest.value


def test_a_planted_slice_of_words_is_found():
    found = find_slices(*world(1000, 2, lambda columns: columns["camera"] == "X1"))
    assert [one.what for one in found.worse] == ["camera X1"]


def test_a_planted_slice_of_two_traits_together_is_found():
    found = find_slices(*world(1500, 3, lambda columns: (columns["blur"] > 0.43) & (columns["camera"] == "A9")))
    assert found.worse[0].trait == "blur and camera"
    assert found.worse[0].what.endswith("camera A9")


def test_without_any_effect_false_alarms_stay_within_five_percent():
    alarms = [bool(find_slices(*world(300, seed)).worse) for seed in range(120)]
    assert np.mean(alarms) <= 0.05


def test_counts_tests_and_intervals_are_those_of_the_slice():
    predictions, columns = world(600, 4, lambda columns: columns["camera"] == "A7")
    one = find_slices(predictions, {"camera": columns["camera"]}).slices[0]
    inside = columns["camera"] == "A7"
    right = predictions.predicted == predictions.labels
    table = [[(right & inside).sum(), (~right & inside).sum()], [(right & ~inside).sum(), (~right & ~inside).sum()]]
    assert one.n == inside.sum()
    assert one.accuracy.value == right[inside].mean()
    assert one.rest.value == right[~inside].mean()
    assert one.p == pytest.approx(fisher_exact(table, alternative="less")[1], rel=1e-6)
    assert one.p_adjusted == pytest.approx(3 * one.p)


def test_the_ids_are_the_first_wrong_ones_of_the_slice():
    predictions, columns = world(600, 4, lambda columns: columns["camera"] == "A7")
    one = find_slices(predictions, {"camera": columns["camera"]}).slices[0]
    wrong = (predictions.predicted != predictions.labels) & (columns["camera"] == "A7")
    assert one.ids == tuple(predictions.ids[row] for row in np.flatnonzero(wrong)[:12])


def test_differences_are_those_of_newcombe_in_statsmodels():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for counts in ((7, 30, 80, 90), (0, 20, 20, 20), (56, 70, 48, 80), (20, 20, 35, 35)):
        one = newcombe(*counts)
        low, high = proportion.confint_proportions_2indep(*counts, method="newcomb", compare="diff")
        assert (one.low, one.high) == pytest.approx((low, high), abs=1e-9)


def test_the_published_example_of_newcombe():
    one = newcombe(56, 70, 48, 80)
    assert (round(one.low, 4), round(one.high, 4)) == (0.0524, 0.3339)


def test_numbers_are_cut_into_at_most_five_bins_of_about_equal_size():
    predictions, columns = world(1000, 5)
    found = find_slices(predictions, {"light": columns["light"]}, pairs=False, shown=99)
    assert found.tested == 5
    assert {one.n for one in found.slices} == {200}


def test_of_fewer_pictures_there_are_fewer_bins():
    found = find_slices(judged(np.arange(70) % 3 > 0), {"light": np.arange(70)}, pairs=False)
    assert found.tested == 3


def test_few_distinct_numbers_are_bins_of_their_own_with_plain_names():
    predictions, _ = world(600, 6)
    values = np.repeat([640, 1024, 12000], 200)
    found = find_slices(predictions, {"width": values}, shown=9)
    assert found.tested == 3
    assert {one.what for one in found.slices} <= {"width 640", "width 1,024", "width 12,000"}


def test_equal_numbers_are_never_cut_apart():
    predictions, _ = world(500, 7)
    values = np.r_[np.zeros(300), np.arange(1, 201)]
    found = find_slices(predictions, {"age": values}, pairs=False, shown=9)
    assert found.tested == 3


def test_ranges_are_told_with_as_many_digits_as_are_needed():
    right = np.r_[np.zeros(40), np.ones(160)]
    found = find_slices(judged(right), {"share": np.linspace(0.0211, 0.0911, 200)}, pairs=False)
    assert found.slices[0].what == "share 0.021 to 0.035"


def test_what_is_missing_is_in_no_slice_of_its_column():
    right = np.r_[np.zeros(100), np.ones(200)]
    columns = {"dose": np.r_[np.full(100, np.nan), np.arange(200)], "site": [""] * 100 + ["x"] * 100 + ["y"] * 100}
    assert find_slices(judged(right), columns).worse == ()


def test_words_of_too_few_pictures_are_not_tested():
    predictions, _ = world(200, 8)
    found = find_slices(predictions, {"site": ["rare"] * 19 + ["common"] * 181})
    assert found.tested == 0
    assert "nothing was tested" in found.notes[0]


def test_the_same_pictures_under_another_name_are_tested_once():
    predictions, columns = world(400, 9)
    once = find_slices(predictions, {"width": columns["size"]}, pairs=False)
    twice = find_slices(predictions, {"width": columns["size"], "height": 2 * columns["size"]}, pairs=False)
    assert twice.tested == once.tested


def test_a_constant_trait_is_no_slice():
    predictions, _ = world(200, 10)
    assert find_slices(predictions, {"width": np.full(200, 8.0), "format": ["PNG"] * 200}).tested == 0


def test_slices_that_only_share_pictures_with_a_worse_one_are_not_listed():
    predictions, columns = world(2000, 11, lambda columns: columns["light"] < -0.84)
    columns["copy"] = columns["light"] + 0.05 * np.random.default_rng(0).normal(size=2000)
    assert len(find_slices(predictions, columns).worse) == 1


@pytest.mark.parametrize("right", [np.zeros(100), np.ones(100)])
def test_where_all_are_right_or_all_wrong_no_slice_is_worse(right):
    assert find_slices(judged(right), {"light": np.arange(100)}).slices == ()


@pytest.mark.parametrize("N", [1, 2, 39])
def test_of_a_few_pictures_nothing_is_tested(N):
    found = find_slices(judged(np.zeros(N)), {"light": np.arange(N), "site": ["x"] * N})
    assert (found.tested, found.slices) == (0, ())


def test_the_smallest_size_is_one_percent_of_many_pictures():
    predictions, columns = world(5000, 12)
    assert find_slices(predictions, {"light": columns["light"]}).min_size == 50


def test_pictures_without_a_label_are_left_out_and_counted():
    predictions = judged(np.ones(100))
    predictions.labels[:30] = -1
    found = find_slices(predictions, {"light": np.arange(100)}, pairs=False)
    assert found.notes == ("30 pictures have no known label and are in no slice.",)
    assert found.tested == 3


def test_a_column_of_another_length_is_refused():
    with pytest.raises(SourceError, match="light should have one value for each"):
        find_slices(judged(np.ones(50)), {"light": np.arange(49)})


def test_nan_among_the_probabilities_is_refused():
    predictions = judged(np.ones(50))
    predictions.probabilities[3, 0] = np.nan
    with pytest.raises(SourceError, match="should be numbers"):
        find_slices(predictions, {"light": np.arange(50)})


def test_the_document_is_json_with_the_agreed_keys():
    document = find_slices(*world(1000, 1, lambda columns: columns["light"] < -0.84)).document()
    back = json.loads(json.dumps(document, allow_nan=False))
    assert {"tested", "correction", "slices", "min_size"} <= set(back)
    assert set(back["slices"][0]) == {
        "trait", "what", "n", "accuracy", "rest", "difference", "p", "p_adjusted", "worse", "ids",
    }  # fmt: skip
    assert back["correction"] == "Holm"


def test_the_same_input_gives_the_same_slices():
    assert find_slices(*world(500, 13)) == find_slices(*world(500, 13))
