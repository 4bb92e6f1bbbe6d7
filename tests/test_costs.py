from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.errors import SettingsError, SourceError
from linnaeus.metrics.costs import cheapest, cost_scores, costs_of_sizes, read_costs, threshold
from linnaeus.records import Predictions

CLASSES = ("cat", "dog", "blau, kühl")
TABLE = 'true,cat,dog,"blau, kühl"\ndog,2,0,3\ncat,,1,5\n"blau, kühl",7,8,-1\n'
WANTED = [[0, 1, 5], [2, 0, 3], [7, 8, -1]]


@pytest.fixture
def file(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "costs.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def clouds(n=400, K=3, seed=0, sharp=1.0):
    """Calibrated by the way they are made: the label is drawn from the probabilities; sharp > 1 makes them too sure."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.ones(K), n)
    labels = (p.cumsum(1) < draw.random((n, 1))).sum(1).clip(max=K - 1)
    shown = p**sharp / (p**sharp).sum(1, keepdims=True)
    return Predictions(shown, labels, tuple(map(str, range(n))), tuple("abcdefgh"[:K]))


def test_a_square_table_is_read_by_names_whatever_their_order(file):
    assert read_costs(file(TABLE), CLASSES).tolist() == WANTED
    assert read_costs(file(TABLE, "utf-8-sig"), CLASSES).tolist() == WANTED


def test_a_list_says_the_same_as_a_table(file):
    lines = [f'"{a}","{b}",{WANTED[i][j]}' for (i, a), (j, b) in product(enumerate(CLASSES), repeat=2)]
    assert read_costs(file("\n".join(["true,predicted,cost", *lines])), CLASSES).tolist() == WANTED


def test_in_a_list_a_star_stands_for_all_that_is_not_named_more_precisely(file):
    found = read_costs(file("Cost,predicted,true\n1,*,*\n9,*,dog\n4,dog,*\n7,cat,dog\n"), CLASSES)
    assert found.tolist() == [[0, 4, 1], [7, 0, 9], [1, 4, 0]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (TABLE.replace("dog", "dgo"), "did you mean dog"),
        ("true,cat,dog\ncat,0,1\ndog,1,0\n", "no blau, kühl"),
        (TABLE.replace("cat,,1", "dog,,1"), "dog twice"),
        (TABLE.replace("8", "x"), "'x'"),
        (TABLE.replace("8", "nan"), "'nan'"),
        (TABLE.replace("8", ""), "blau, kühl called dog"),
        (TABLE.replace(",8", ""), "line 4"),
        ("true,predicted,cost\ncat,dog,1\n", "cat called blau, kühl"),
        ("true,predicted,cost\ncat,dog,1\ncat,dog,2\n", "twice"),
        ("true,predicted,cost\ncat,cow,1\n", "'cow'"),
        ("true;cat;dog\ncat;0;1\n", "commas"),
        ("", "0 lines"),
    ],
)
def test_what_is_missing_unknown_or_no_number_is_refused_in_words(file, text, names):
    with pytest.raises(SettingsError, match="--cost") as caught:
        read_costs(file(text), CLASSES)
    assert names in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path, file):
    with pytest.raises(SettingsError, match="--cost"):
        read_costs(tmp_path / "none.csv", CLASSES)
    with pytest.raises(SettingsError, match="UTF-8"):
        read_costs(file(TABLE, "latin-1"), CLASSES)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), K=st.integers(2, 6))
def test_no_other_decision_is_expected_to_cost_less(seed, K):
    draw = np.random.default_rng(seed)
    p, costs = draw.dirichlet(np.ones(K), 20), draw.normal(size=(K, K))
    chosen = cheapest(p, costs)
    for row in range(20):
        expected = [sum(p[row, true] * costs[true, k] for true in range(K)) for k in range(K)]
        assert expected[chosen[row]] == pytest.approx(min(expected))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), K=st.sampled_from([2, 3, 10, 300]))
def test_equal_costs_decide_for_the_most_probable_class(seed, K):
    p = np.random.default_rng(seed).dirichlet(np.ones(K), 30).round(3)
    assert np.array_equal(cheapest(p, 3.7 * (1 - np.eye(K))), p.argmax(1))


def test_a_dear_mistake_is_avoided_from_the_known_threshold_on():
    costs = np.array([[0.0, 1.0], [9.0, 0.0]])
    p = np.array([0.05, 0.099, 0.101, 0.5])
    assert cheapest(np.stack([1 - p, p], 1), costs).tolist() == [0, 0, 1, 1]
    assert "above 10 %" in threshold(("well", "sick"), costs)
    assert "sick for well costs 9 times" in threshold(("well", "sick"), costs)


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ([[0, 1], [1, 0]], "above 50 %"),
        ([[0, 4], [1, 0]], "above 80 %"),
        ([[0, 0], [1, 0]], "Always say sick"),
        ([[0, 1], [0, 0]], "Always say well"),
        ([[5, 0], [0, 5]], "check the table"),
    ],
)
def test_the_rule_for_two_classes_fits_the_decision(costs, words):
    costs = np.array(costs, dtype=float)
    assert words in threshold(("well", "sick"), costs)
    p = np.linspace(0.001, 0.999, 201)
    called = cheapest(np.stack([1 - p, p], 1), costs)
    if "above" in words:
        limit = float(words.split()[1]) / 100
        clear = np.abs(p - limit) > 1e-3
        assert np.array_equal(called[clear], (p > limit)[clear])


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.2])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(SourceError, match="probabilities"):
        cheapest(np.array([[0.5, 0.5], [bad, 0.5]]), 1 - np.eye(2))


def test_the_scores_are_the_mean_costs_of_both_ways_to_decide():
    one, costs = clouds(), np.array([[0, 1, 20], [1, 0, 5], [1, 2, 0.0]])
    found = cost_scores(one, costs, resamples=300)
    cheap, likely = costs[one.labels, cheapest(one.probabilities, costs)], costs[one.labels, one.predicted]
    assert found["mean_cost"]["value"] == pytest.approx(cheap.mean())
    assert found["argmax_cost"]["value"] == pytest.approx(likely.mean())
    assert found["saved"]["value"] == pytest.approx((likely - cheap).mean())
    assert found["changed"] == (cheapest(one.probabilities, costs) != one.predicted).sum()
    assert found["saved"]["low"] > 0
    assert found["rule"] == ""


def test_calibrated_probabilities_promise_what_is_paid_and_overconfident_ones_too_little():
    costs = np.array([[0, 1, 20], [1, 0, 5], [1, 2, 0.0]])
    honest, bold = (cost_scores(clouds(3000, sharp=sharp), costs, resamples=300) for sharp in (1, 4))
    assert honest["mean_cost"]["low"] < honest["expected_cost"]["value"] < honest["mean_cost"]["high"]
    assert bold["expected_cost"]["high"] < bold["mean_cost"]["low"]


def test_equal_costs_change_nothing_and_the_interval_says_what_n_pictures_can_hide():
    found = cost_scores(clouds(60), 1 - np.eye(3), resamples=200)
    assert found["changed"] == 0
    assert found["saved"]["value"] == 0
    assert found["saved"]["low"] < 0 < found["saved"]["high"] < 0.1


def test_paired_differences_have_a_narrower_interval_than_the_costs_themselves():
    found = cost_scores(clouds(1000), np.array([[0, 1, 2], [1, 0, 1], [1, 1, 0.0]]), resamples=500)
    width = {name: found[name]["high"] - found[name]["low"] for name in ("mean_cost", "saved")}
    assert width["saved"] < width["mean_cost"]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    costs = np.array([[0, 1], [10, 0.0]])
    whole = clouds(200_000, 2, seed=1)
    truth = costs[whole.labels, cheapest(whole.probabilities, costs)].mean()
    saved = costs[whole.labels, whole.predicted].mean() - truth
    held = np.zeros(2)
    for trial in range(100):
        found = cost_scores(clouds(80, 2, seed=100 + trial), costs, resamples=300)
        held += [
            found[name]["low"] <= one <= found[name]["high"] for name, one in (("mean_cost", truth), ("saved", saved))
        ]
    assert (held >= 88).all()


@pytest.mark.parametrize("labels", [[0], [1, 1, 1], [0, 1, -1]])
def test_few_pictures_and_pictures_without_label_give_finite_intervals(labels):
    p = np.random.default_rng(0).dirichlet(np.ones(2), len(labels))
    one = Predictions(p, np.array(labels), tuple(map(str, range(len(labels)))), ("well", "sick"))
    found = cost_scores(one, np.array([[0, 1], [9, 0.0]]), resamples=100)
    assert found["n"] == sum(label >= 0 for label in labels)
    for name in ("mean_cost", "argmax_cost", "saved", "expected_cost"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert np.isfinite([found[name]["low"], found[name]["high"]]).all()


def test_costs_that_are_all_alike_are_no_error():
    found = cost_scores(clouds(40), np.full((3, 3), 2.0), resamples=100)
    assert found["mean_cost"]["value"] == 2
    assert found["changed"] == 0


def test_groups_widen_the_interval():
    one, costs = clouds(300), np.array([[0, 1, 20], [1, 0, 5], [1, 2, 0.0]])
    groups = [f"{int(label)}-{row % 4}" for row, label in enumerate(one.labels)]
    alone, grouped = (cost_scores(one, costs, groups=given, resamples=300)["mean_cost"] for given in (None, groups))
    assert "group" in grouped["method"]
    assert grouped["high"] - grouped["low"] > alone["high"] - alone["low"]


def test_the_same_pictures_in_another_order_give_the_same_document():
    one, costs = clouds(100), np.array([[0, 1, 20], [1, 0, 5], [1, 2, 0.0]])
    order = np.random.default_rng(1).permutation(100)
    other = Predictions(one.probabilities[order], one.labels[order], tuple(one.ids[row] for row in order), one.classes)
    assert cost_scores(one, costs, resamples=100) == cost_scores(other, costs, resamples=100)


def test_costs_by_class_size_find_the_rare_class_with_calibrated_probabilities():
    draw = np.random.default_rng(0)
    labels = (draw.random(20_000) < 0.05).astype(int)
    x = draw.normal(size=20_000) + 2 * labels
    odds = 0.05 / 0.95 * np.exp(2 * x - 2)
    p = np.stack([1 / (1 + odds), odds / (1 + odds)], 1)
    even = cheapest(p, costs_of_sizes(np.bincount(labels)))
    recalls = [[(named[labels == k] == k).mean() for k in (0, 1)] for named in (even, p.argmax(1))]
    assert recalls[0] == pytest.approx([0.841, 0.841], abs=0.03)
    assert recalls[1][1] < 0.5


def test_costs_by_class_size_of_equal_classes_are_all_one():
    assert costs_of_sizes(np.array([5, 5])).tolist() == [[0, 1], [1, 0]]
    assert np.isfinite(costs_of_sizes(np.array([5, 0, 2]))).all()
