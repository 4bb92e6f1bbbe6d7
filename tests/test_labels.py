"""Label noise from out-of-fold outputs, and what an audit says of labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from linnaeus.errors import SettingsError
from linnaeus.learn import components as turning
from linnaeus.learn.components import components
from linnaeus.learn.crossfit import cross_fit, folds_of_keys, judgeable
from linnaeus.metrics.labels import (
    class_noise,
    far_from_neighbours,
    fit_noise,
    judge_labels,
    outliers,
    overall_noise,
    overlapping,
)
from linnaeus.records import Dataset, Example, Place
from linnaeus.verbs.audit.labels import audit_labels


def blobs(K=4, each=80, D=20, apart=1.6, seed=0):
    """Features and labels of classes that overlap a little."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), each)
    centres = draw.normal(0, apart, (K, D))
    return (centres[labels] + draw.normal(0, 1.5, (len(labels), D))).astype(np.float32), labels


def flip(labels, share, K, seed=1, to=None):
    draw, dirty = np.random.default_rng(seed), labels.copy()
    rows = draw.permutation(len(labels))[: round(share * len(labels))]
    dirty[rows] = (labels[rows] + draw.integers(1, K, len(rows))) % K if to is None else to
    return dirty


def dataset(labels, groups=None, names="abcdefghij"):
    examples = tuple(
        Example(f"{row:04}.png", Place(""), names[k] if k >= 0 else "", group=groups[row] if groups else "")
        for row, k in enumerate(labels)
    )
    return Dataset("blobs", "blobs", examples, tuple(names[: max(labels) + 1]))


def keys(n):
    return [f"key {row}" for row in range(n)]


@pytest.fixture(scope="module")
def dirty():
    """Features, right labels, labels of which 15 % are flipped, and what was found."""
    x, y = blobs()
    given = flip(y, 0.15, 4)
    return x, y, given, cross_fit(x, given, folds_of_keys(keys(len(y))))


def test_most_planted_errors_are_found_and_most_findings_are_errors(dirty):
    _, y, given, found = dirty
    likely = judge_labels(found.noise, given).likely
    bad = given != y
    assert (likely & bad).sum() > 0.8 * bad.sum()
    assert (likely & bad).sum() > 0.8 * likely.sum()


def test_the_suggested_class_is_mostly_the_right_one(dirty):
    _, y, given, found = dirty
    judged = judge_labels(found.noise, given)
    hit = judged.likely & (given != y)
    assert (judged.suggested[hit] == y[hit]).mean() > 0.85


def test_the_interval_of_the_noise_holds_the_planted_share(dirty):
    *_, given, found = dirty
    noise = overall_noise(judge_labels(found.noise, given).wrong)
    assert noise.low < 0.15 < noise.high


def test_the_order_is_better_than_that_of_cleanlab_on_the_same_features():
    rank = pytest.importorskip("cleanlab.rank", reason="the reference library cleanlab is not installed")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    # Mistakes all go one way: what the mixing matrix can learn, and a score of each picture alone cannot.
    x, y = blobs(each=150, apart=0.9)
    given = flip(y, 0.2, 4, to=2)
    folds, theirs = folds_of_keys(keys(len(y))), np.zeros((len(y), 4))
    for fold in range(5):
        model = LogisticRegression(max_iter=500).fit(x[folds != fold], given[folds != fold])
        theirs[folds == fold] = model.predict_proba(x[folds == fold])
    ours = judge_labels(cross_fit(x, given, folds).noise, given).wrong
    score = 1 - rank.get_label_quality_scores(given, theirs)
    bad = given != y
    assert average_precision_score(bad, ours) > average_precision_score(bad, score) + 0.05


def test_right_labels_are_left_alone():
    x, y = blobs(apart=2.5)
    found = cross_fit(x, y, folds_of_keys(keys(len(y))))
    assert judge_labels(found.noise, y).likely.sum() <= 2


def test_probabilities_of_an_outside_model_serve_as_well():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 600)
    given = flip(y, 0.1, 3)
    outside = np.full((600, 3), 0.2)
    outside[np.arange(600), y] = 0.6
    likely = judge_labels(fit_noise(np.log(outside), given), given).likely
    assert (likely == (given != y)).all()


def test_the_matrix_shows_which_class_is_mistaken_for_which():
    x, y = blobs(apart=2.5)
    given = y.copy()
    given[np.flatnonzero(y == 1)[:24]] = 3
    found = cross_fit(x, given, folds_of_keys(keys(len(y))))
    off = found.noise.transition - np.diag(np.diag(found.noise.transition))
    assert np.unravel_index(off.argmax(), off.shape) == (1, 3)
    assert off.max() == pytest.approx(0.3, abs=0.08)


def test_only_the_noisy_label_is_estimated_to_be_noisy():
    x, y = blobs(apart=2.5)
    given = y.copy()
    given[np.flatnonzero(y == 1)[:24]] = 3
    found = cross_fit(x, given, folds_of_keys(keys(len(y))))
    shares = class_noise(judge_labels(found.noise, given).wrong, given, 4)
    assert [share.low > 0.02 for share in shares] == [False, False, False, True]
    assert shares[3].low < 24 / 104 < shares[3].high


def test_two_classes_that_are_one_are_the_first_to_overlap():
    x, y = blobs(apart=2.5)
    x[y == 2] = x[y == 0] + np.random.default_rng(3).normal(0, 0.5, x[y == 0].shape)
    worst = overlapping(cross_fit(x, y, folds_of_keys(keys(len(y)))).noise, y)[0]
    assert (worst.first, worst.second) == (0, 2)
    assert worst.confused.low > 0.05


def test_the_fit_is_the_same_each_time(dirty):
    x, _, given, found = dirty
    again = cross_fit(x, given, folds_of_keys(keys(len(given))))
    assert np.array_equal(again.noise.posterior, found.noise.posterior)


def test_the_posterior_sums_to_one(dirty):
    found = dirty[-1]
    assert found.noise.posterior.sum(axis=1) == pytest.approx(np.ones(len(found.rows)), abs=1e-5)
    assert found.noise.transition.sum(axis=1) == pytest.approx(np.ones(4))


@pytest.mark.parametrize("K", [2, 200])
def test_two_classes_and_very_many_work(K):
    x, y = blobs(K=K, each=12, apart=3)
    given = flip(y, 0.05, K)
    found = cross_fit(x, given, folds_of_keys(keys(len(y))))
    judged = judge_labels(found.noise, found.labels)
    bad = given[found.rows] != y[found.rows]
    assert (judged.likely & bad).sum() >= 0.5 * bad.sum()


def test_a_class_of_very_few_pictures_is_not_judged():
    x, y = blobs(K=3, each=30)
    y[y == 2] = 1
    y[:2] = 2
    assert set(y[judgeable(x, y, folds_of_keys(keys(len(y))))]) == {0, 1}


def test_pictures_without_label_or_features_are_left_out():
    x, y = blobs(K=3, each=30)
    y[4], x[7] = -1, np.nan
    assert not {4, 7} & set(cross_fit(x, y, folds_of_keys(keys(len(y)))).rows.tolist())


def test_one_class_is_refused():
    with pytest.raises(SettingsError, match="two classes"):
        cross_fit(np.ones((30, 4), np.float32), np.zeros(30, np.int64), folds_of_keys(keys(30)))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.full((3, 2), np.nan), [0, 1, 0]),
        (np.zeros((3, 2)), [0, 1, 2]),
        (np.zeros((3, 2)), [0, -1, 1]),
        (np.zeros((3, 2)), [0]),
    ],
)
def test_what_cannot_be_fitted_is_refused(logits, labels):
    with pytest.raises(SettingsError):
        fit_noise(logits, np.array(labels))


def test_components_keep_distances():
    x, _ = blobs(K=2, each=40, D=30)
    whole, cut = components(x), components(x, 29)
    assert cut.shape == (80, 29)
    assert np.linalg.norm(cut[0] - cut[1]) == pytest.approx(np.linalg.norm(whole[0] - whole[1]), rel=0.2)


def test_components_of_some_rows_are_those_of_a_table_of_them():
    x, _ = blobs(K=3, each=50, D=30)
    rows = np.array([5, 3, 140, 77, 20, 21, 22, 90, 91, 130])
    np.testing.assert_allclose(components(x, rows=rows), components(x[rows]), rtol=1e-4, atol=1e-5)


def test_components_do_not_depend_on_the_size_of_blocks(monkeypatch):
    x, _ = blobs(K=3, each=50, D=30)
    whole = components(x, 12)
    monkeypatch.setattr(turning, "BLOCK", 7)
    np.testing.assert_allclose(np.abs(components(x, 12)), np.abs(whole), rtol=1e-3, atol=1e-4)


def test_components_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    x, _ = blobs(K=3, each=50, D=30)
    expected = PCA(5).fit_transform(StandardScaler().fit_transform(x))
    np.testing.assert_allclose(np.abs(components(x, 5)), np.abs(expected), rtol=1e-2, atol=1e-3)


def test_a_picture_far_from_all_others_is_strange():
    near = np.full((60, 10), 0.8) + np.random.default_rng(0).normal(0, 0.02, (60, 1))
    near[7] = 0.1
    assert outliers(far_from_neighbours(near)).strange.nonzero()[0].tolist() == [7]


@pytest.mark.parametrize("tail", ["normal", "exponential", "lognormal", "chisquare"])
def test_of_usual_pictures_about_as_many_are_told_as_stated(tail):
    draw = np.random.default_rng(0)
    values = {
        "normal": draw.normal(size=20_000),
        "exponential": draw.exponential(size=20_000),
        "lognormal": draw.lognormal(0, 0.8, 20_000),
        "chisquare": draw.chisquare(3, 20_000),
    }[tail]
    found = outliers(values)
    assert found.by_chance == pytest.approx(60)
    assert found.strange.sum() < 3 * found.by_chance


@pytest.mark.parametrize("share", [0.002, 0.02, 0.05])
def test_strange_pictures_do_not_hide_each_other(share):
    values = np.random.default_rng(1).exponential(size=2000)
    values[: round(2000 * share)] += 20
    found = outliers(values).strange
    assert found[: round(2000 * share)].all()
    assert found.sum() <= 2000 * share + 15


def test_the_finding_says_how_many_would_be_told_by_chance():
    x, y = blobs(each=200, apart=2.5)
    x += 6
    x[11] = 6 - 3 * (x[11] - 6)
    told = next(one for one in audit_labels(dataset(y), x).findings if one.kind == "outlier")
    assert "of usual pictures about 2 would be, by chance" in told.evidence


def test_equal_distances_make_no_outlier():
    assert not outliers(np.full(30, 0.5)).strange.any()


def test_a_planted_picture_of_no_class_is_the_strangest():
    x, y = blobs(apart=2.5)
    x += 6  # features of a network have a common part
    x[11] = 6 - 3 * (x[11] - 6)
    audit = audit_labels(dataset(y), x)
    told = next(one for one in audit.findings if one.kind == "outlier")
    assert told.ids[0] == "0011.png"
    assert "outlier" in audit.rows[11].issue


def test_a_wrong_label_is_told_with_its_class_and_picture():
    x, y = blobs(apart=2.5)
    given = y.copy()
    given[np.flatnonzero(y == 1)[:10]] = 3
    audit = audit_labels(dataset(given), x)
    told = next(one for one in audit.findings if one.kind == "likely wrong label")
    assert "labelled 'd' look like 'b'" in told.evidence
    assert set(told.ids) <= {f"{row:04}.png" for row in np.flatnonzero(given != y)}


def test_the_table_has_a_row_for_every_picture_in_order():
    x, y = blobs(apart=2.5)
    y[3], x[5] = -1, np.nan
    rows = audit_labels(dataset(y), x).rows
    assert [row.id for row in rows] == [f"{row:04}.png" for row in range(len(y))]
    assert (rows[3].quality, rows[3].issue, rows[5].quality, rows[5].outlier) == (None, "", None, None)
    assert rows[5].issue == "label not checked"


def test_copies_of_a_wrong_picture_do_not_vouch_for_each_other():
    x, y = blobs(apart=2.5)
    given = y.copy()
    given[:8], x[:8] = 3, x[0]
    keys = ["one"] * 8 + [str(row) for row in range(8, len(y))]
    told = [row.suggested for row in audit_labels(dataset(given), x, keys).rows[:8]]
    assert told == ["a"] * 8


def test_the_document_is_json_and_counts_what_was_found(dirty):
    x, _, given, _ = dirty
    audit = audit_labels(dataset(given), x)
    document = json.loads(json.dumps(audit.document, allow_nan=False))
    assert document["likely"] == sum(row.suggested != "" for row in audit.rows) == len(document["suspects"])
    assert document["checked"] == document["pictures"] == len(given)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_next_to_no_pictures_are_not_checked_and_told_so(n):
    audit = audit_labels(dataset([0] * n) if n else Dataset("x", "x", (), ()), np.zeros((n, 4), np.float32))
    assert audit.document["checked"] == 0
    assert [finding.kind for finding in audit.findings] == (["label not checked"] if n else [])


@pytest.mark.parametrize("seed", range(4))
def test_confident_learning_is_that_of_its_authors(seed):
    from linnaeus.metrics.labels import confident_learning

    cleanlab = pytest.importorskip("cleanlab.filter")
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 4, 400)
    logits = draw.normal(size=(400, 4)) + 2 * np.eye(4)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(draw.random(400) < 0.15, draw.integers(0, 4, 400), true)
    expected = cleanlab.find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    assert (confident_learning(probabilities, labels) == expected).all()
    assert expected.sum() > 20
