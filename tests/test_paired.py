import json

import numpy as np
import pytest

from linnaeus.errors import SourceError
from linnaeus.metrics.paired import compare_pairs, match, mcnemar, tango
from linnaeus.metrics.scores import score
from linnaeus.records import Predictions

NAMES = tuple("abcdefghijklmnopqrstuvwxyz")


def model(right, labels, K=3, seed=0, ids=None):
    """Predictions that are right where said, with random confidence."""
    draw = np.random.default_rng(seed)
    labels, right = np.asarray(labels), np.asarray(right, dtype=bool)
    predicted = np.where(right, labels, (labels + 1) % K)
    probabilities = draw.dirichlet(np.ones(K), len(labels)) * 0.4
    probabilities[np.arange(len(labels)), predicted] += 0.6
    return Predictions(probabilities, labels, ids or tuple(f"{i}.png" for i in range(len(labels))), NAMES[:K])


def two(N=300, K=3, seed=0, first=0.8, second=0.9):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, K, N)
    return model(draw.random(N) < first, labels, K, 1), model(draw.random(N) < second, labels.copy(), K, 2)


def pair_of(*models, **options):
    return compare_pairs(match(models), **{"resamples": 500, **options})[0]


def reordered(one, rows, classes):
    """The same predictions with rows and classes in another order."""
    columns = [one.classes.index(name) for name in classes]
    labels = np.array([classes.index(one.classes[one.labels[row]]) for row in rows])
    return Predictions(one.probabilities[np.ix_(rows, columns)], labels, tuple(one.ids[row] for row in rows), classes)


def test_every_difference_is_that_of_the_two_scores():
    first, second = two()
    found = pair_of(first, second).differences
    one, other = score(first).overall, score(second).overall
    for name, difference in found.items():
        assert difference.value == pytest.approx(other[name].value - one[name].value, abs=1e-12)
        assert difference.low <= difference.value <= difference.high


def test_order_of_rows_and_of_classes_changes_nothing():
    first, second = two(100)
    other = reordered(second, np.random.default_rng(5).permutation(100), ("c", "a", "b"))
    assert pair_of(first, other) == pair_of(first, second)


def test_who_is_right_where_the_other_is_wrong_is_told_by_id():
    labels = [0, 1, 2, 0]
    found = pair_of(model([1, 1, 0, 0], labels), model([1, 0, 1, 0], labels))
    assert (found.only_first, found.only_second) == (("1.png",), ("2.png",))
    assert (found.both_right, found.both_wrong) == (1, 1)


def test_pictures_that_one_lacks_are_left_out_and_named():
    first, second = two(50)
    shorter = reordered(second, np.arange(3, 50), second.classes)
    matched = match([first, shorter])
    assert matched.missing == ((), ("0.png", "1.png", "2.png"))
    assert matched.predictions[0].ids == matched.predictions[1].ids == first.ids[3:]


def test_pictures_with_another_label_in_the_other_are_left_out_and_named():
    first, second = two(50)
    second.labels[7] = (second.labels[7] + 1) % 3
    matched = match([first, second])
    assert matched.relabelled == ("7.png",)
    assert len(matched.predictions[0]) == 49


def test_a_label_that_only_one_knows_serves_both():
    first, second = two(50)
    second.labels[:10] = -1
    first.labels[0] = -1
    matched = match([first, second])
    assert matched.unlabelled == ("0.png",)
    assert (matched.predictions[1].labels == first.labels[1:]).all()


def test_a_class_that_one_model_does_not_know_is_a_column_of_zeros():
    wide, labels = model(np.ones(6), [0, 1, 2, 0, 1, 2]), np.array([1, 0, -1, 1, 0, -1])
    narrow = Predictions(np.tile([0.9, 0.1], (6, 1)), labels, wide.ids, ("b", "a"))
    matched = match([narrow, wide])
    assert matched.predictions[0].classes == ("b", "a", "c")
    assert matched.predictions[0].probabilities[:, 2].tolist() == [0] * 6
    assert matched.predictions[1].labels.tolist() == [1, 0, 2, 1, 0, 2]


def test_nothing_in_common_is_refused():
    first, second = two(5)
    other = Predictions(second.probabilities, second.labels, tuple("vwxyz"), second.classes)
    with pytest.raises(SourceError, match="same labelled pictures"):
        match([first, other])


def test_an_id_that_stands_twice_is_refused():
    first, second = two(3)
    twice = Predictions(second.probabilities, second.labels, ("0.png", "1.png", "1.png"), second.classes)
    with pytest.raises(SourceError, match="one row for each"):
        match([first, twice])


def test_nan_is_refused():
    first, second = two(5)
    second.probabilities[2] = np.nan
    with pytest.raises(SourceError, match="should be numbers"):
        match([first, second])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 9), (10, 10), (15, 40), (0, 6)])
def test_p_is_that_of_the_exact_binomial_test(b, c):
    from scipy.stats import binomtest

    assert mcnemar(b, c) == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)


def test_p_is_that_of_mcnemar_in_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert mcnemar(6, 16) == pytest.approx(tables.mcnemar([[59, 6], [16, 80]], exact=True).pvalue)


def test_p_values_of_several_models_are_corrected_over_all_pairs():
    from linnaeus.metrics.multiple import holm

    labels = np.random.default_rng(0).integers(0, 3, 300)
    models = [model(np.random.default_rng(k).random(300) < rate, labels) for k, rate in enumerate((0.6, 0.8, 0.82))]
    pairs = compare_pairs(match(models), resamples=100)
    assert [(one.first, one.second) for one in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [one.p_adjusted for one in pairs] == holm(np.array([one.p for one in pairs])).tolist()
    assert [one.shown for one in pairs] == [True, True, False]


@pytest.mark.parametrize(("b", "c", "n"), [(3, 9, 60), (0, 0, 40), (0, 5, 20), (12, 2, 50), (20, 0, 20), (1, 0, 1)])
def test_the_interval_holds_just_the_differences_that_the_score_test_does_not_reject(b, c, n):
    from scipy.optimize import minimize_scalar

    def statistic(difference):
        def lost(q):
            terms = ((c, q + difference), (b, q), (n - b - c, 1 - 2 * q - difference))
            return -sum(count * np.log(max(share, 1e-300)) for count, share in terms if count)

        bounds = (max(0.0, -difference), (1 - difference) / 2)
        q = minimize_scalar(lost, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return (c - b - n * difference) / (n * (2 * q + difference * (1 - difference))) ** 0.5

    found = tango(b, c, n)
    for end in (found.low, found.high):
        if abs(end) < 1:
            assert abs(statistic(end)) == pytest.approx(1.96, abs=0.01)


def test_models_that_never_disagree_have_the_interval_known_in_closed_form():
    found = tango(0, 0, 100)
    assert found.high == -found.low == pytest.approx(1.959964**2 / (100 + 1.959964**2), abs=1e-6)


def test_the_interval_of_a_difference_holds_the_truth_nineteen_times_of_twenty():
    draw = np.random.default_rng(0)
    drawn = draw.multinomial(80, [0.15, 0.05, 0.8], size=1000)
    held = [(one := tango(int(b), int(c), 80)).low <= -0.1 <= one.high for b, c, _ in drawn]
    assert 0.93 < np.mean(held) < 0.975


def test_paired_intervals_of_similar_models_are_narrower_than_unpaired():
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 3, 500)
    right = draw.random(500) < 0.8
    first, second = model(right, labels, seed=1), model(right ^ (draw.random(500) < 0.03), labels, seed=1)
    paired, alone = pair_of(first, second).differences, score(first).overall
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert paired[name].high - paired[name].low < 0.7 * (alone[name].high - alone[name].low)


def test_the_interval_of_the_log_loss_is_about_that_of_a_paired_t_test():
    from scipy.stats import t

    first, second = two(400)
    rows = np.arange(400)
    losses = -np.log(second.probabilities[rows, second.labels]) + np.log(first.probabilities[rows, first.labels])
    low, high = t.interval(0.95, 399, losses.mean(), losses.std(ddof=1) / 20)
    found = pair_of(first, second, resamples=4000).differences["log_loss"]
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_model_against_itself_differs_by_nothing_but_not_surely_nothing():
    first, _ = two(100)
    found = pair_of(first, first)
    assert found.p == 1
    assert found.differences["log_loss"].high == 0
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert found.differences[name].value == 0
        assert found.differences[name].high > 0.03


def test_groups_widen_the_intervals():
    draw = np.random.default_rng(4)
    groups = [f"patient {i // 20}" for i in range(400)]
    labels = draw.integers(0, 2, 400)
    luck = np.repeat(draw.random(20) < 0.5, 20)
    first, second = model(draw.random(400) < 0.8, labels, 2), model(luck, labels, 2)
    alone, grouped = pair_of(first, second), pair_of(first, second, groups=groups)
    for name in ("accuracy", "balanced_accuracy", "brier"):
        one, other = alone.differences[name], grouped.differences[name]
        assert other.high - other.low > 1.5 * (one.high - one.low)


def test_each_class_has_its_difference_and_a_corrected_p():
    labels = np.repeat([0, 1, 2], 40)
    first, second = model(labels != 1, labels), model(np.ones(120), labels)
    found = {one.name: one for one in pair_of(first, second).per_class}
    assert (found["b"].first, found["b"].second, found["b"].difference.value) == (0, 1, 1)
    assert found["b"].p_adjusted == pytest.approx(3 * found["b"].p)
    assert found["a"].p_adjusted == 1


def test_a_class_without_pictures_has_no_difference():
    labels = np.repeat([0, 2], 20)
    found = pair_of(model(np.ones(40), labels), model(np.ones(40), labels))
    assert [one.name for one in found.per_class] == ["a", "c"]
    assert found.differences["balanced_accuracy"].value == 0


def test_one_picture_can_be_compared():
    found = pair_of(model([1], [0]), model([0], [0]))
    assert found.differences["accuracy"].value == -1
    assert found.p == 1
    assert found.smallest_difference is None


def test_two_classes_and_a_thousand_can_be_compared():
    for K in (2, 1000):
        draw = np.random.default_rng(K)
        labels = draw.integers(0, K, 400)
        probabilities = draw.dirichlet(np.full(K, 0.1), 400)
        names = tuple(map(str, range(K)))
        one = Predictions(probabilities, labels, tuple(map(str, range(400))), names)
        other = Predictions(probabilities[::-1].copy(), labels, one.ids, names)
        found = pair_of(one, other, resamples=100).differences
        expected = score(other).overall["macro_f1"].value - score(one).overall["macro_f1"].value
        assert found["macro_f1"].value == pytest.approx(expected, abs=1e-12)


def test_the_smallest_difference_allows_for_the_number_of_pairs():
    labels = np.random.default_rng(0).integers(0, 3, 300)
    models = [model(np.random.default_rng(k).random(300) < 0.8, labels) for k in range(3)]
    of_three, of_two = compare_pairs(match(models), resamples=50)[0], pair_of(*models[:2], resamples=50)
    assert of_three.smallest_difference > of_two.smallest_difference > 0.05


def test_the_same_seed_gives_the_same_intervals_and_another_does_not():
    first, second = two(100)
    assert pair_of(first, second, seed=1) == pair_of(first, second, seed=1)
    assert pair_of(first, second, seed=1) != pair_of(first, second, seed=2)


def test_the_document_is_json():
    back = json.loads(json.dumps(pair_of(*two(50)).document(), allow_nan=False))
    assert back["differences"]["accuracy"]["method"] == "tango"
    assert back["per_class"][0]["name"] == "a"


def test_a_class_of_few_pictures_leaves_the_difference_of_balanced_accuracy_open():
    labels = np.array([0] * 300 + [1] * 5)
    right, other = np.eye(2)[labels], np.eye(2)[np.where(np.arange(305) < 9, 1 - labels, labels)]
    ids = tuple(map(str, range(305)))
    pair = pair_of(*(Predictions(one, labels, ids, ("a", "b")) for one in (right, other)))
    rare, balanced = pair.per_class[1].difference, pair.differences["balanced_accuracy"]
    assert rare.low < -0.3
    assert balanced.low < rare.low / 2.1
