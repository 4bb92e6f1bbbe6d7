"""Sets that have grown a little: what is judged, by which heads, and when everything is fitted again."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from linnaeus.learn.discriminant import FoldSums, Heads
from linnaeus.records import Dataset, Example, Place
from linnaeus.verbs.audit import grown
from linnaeus.verbs.audit.labels import audit_labels

K, EACH, D, NEW = 4, 60, 16, 10


class Pictures:
    """Features of classes that overlap a little, some labels wrong; the last are to come later."""

    def __init__(self):
        draw = np.random.default_rng(0)
        self.right = draw.integers(0, K, K * EACH + NEW)
        self.given = self.right.copy()
        self.flipped = draw.permutation(K * EACH)[:16]
        self.given[self.flipped] = (self.right[self.flipped] + 1) % K
        self.features = (draw.normal(0, 1.6, (K, D))[self.right] + draw.normal(0, 1.2, (len(self.right), D))).astype(
            "f"
        )
        self.hashes = [hashlib.sha256(bytes([row % 256, row // 256])).hexdigest() for row in range(len(self.right))]
        self.keys = [f"hash:{one}" for one in self.hashes]

    def of(self, rows):
        """Give some of them as an audit takes them."""
        names = [f"class {k}" for k in range(K + 1)]
        examples = tuple(Example(f"{row}.png", Place(""), names[self.given[row]]) for row in rows)
        classes = tuple(sorted({one.label for one in examples}))
        hashes, keys = ([some[row] for row in rows] for some in (self.hashes, self.keys))
        return Dataset("made", "made", examples, classes), hashes, keys, self.features[list(rows)]


@pytest.fixture
def pictures():
    return Pictures()


@pytest.fixture
def audit(tmp_path, pictures):
    """Audit rows of the pictures; all but the last were audited before."""

    def audit(rows, cache=tmp_path):
        return grown.opinions_on(cache, "made", *pictures.of(rows))

    audit(range(K * EACH))
    return audit


@pytest.fixture
def judged(monkeypatch):
    """Features and folds that were given to heads."""
    asked, judge = [], Heads.judge

    def judged(self, features, folds):
        asked.append((features, folds))
        return judge(self, features, folds)

    monkeypatch.setattr(Heads, "judge", judged)
    return asked


def test_only_new_pictures_are_judged_and_nothing_is_fitted(audit, judged, monkeypatch, pictures):
    monkeypatch.setattr(FoldSums, "of", lambda *_: pytest.fail("fitted again"))
    _, _, growth = audit(range(K * EACH + NEW))
    np.testing.assert_array_equal(np.concatenate([features for features, _ in judged]), pictures.features[-NEW:])
    assert growth == grown.Growth(K * EACH, NEW, 0, 0)


def test_pictures_that_were_there_keep_their_out_of_fold_answers(audit, tmp_path):
    before, _, _ = audit(range(K * EACH), tmp_path / "fresh")
    after, _, _ = audit(range(K * EACH + NEW))
    np.testing.assert_array_equal(after.found.logits[:-NEW], before.found.logits)
    np.testing.assert_array_equal(after.found.strangeness[:-NEW], before.found.strangeness)


def test_answers_are_nearly_those_of_a_fit_from_scratch(audit, tmp_path, pictures):
    rows = range(K * EACH + NEW)
    dataset, _, keys, features = pictures.of(rows)
    (grew, _, growth), (fresh, _, none) = audit(rows), audit(rows, tmp_path / "fresh")
    assert growth
    assert none is None
    ours, theirs = (audit_labels(dataset, features, keys, some) for some in (grew, fresh))
    quality = np.array([[row.quality for row in some.rows] for some in (ours, theirs)])
    outlier = np.array([[row.outlier for row in some.rows] for some in (ours, theirs)])
    assert np.abs(quality[0] - quality[1]).max() < 0.1
    assert np.abs(quality[0] - quality[1]).mean() < 0.01
    assert np.corrcoef(outlier)[0, 1] > 0.99


def test_a_new_picture_with_a_wrong_label_is_found(audit, pictures):
    clear = K * EACH + int(np.argmax([pictures.given[row] == 0 for row in range(K * EACH, K * EACH + NEW)]))
    own = pictures.features[: K * EACH][pictures.right[: K * EACH] == 2].mean(axis=0)
    pictures.features[clear], pictures.given[clear] = own, 0
    dataset, _, keys, features = pictures.of(range(K * EACH + NEW))
    row = audit_labels(dataset, features, keys, audit(range(K * EACH + NEW))[0]).rows[clear]
    assert (row.suggested, row.issue) == ("class 2", "likely wrong label")


def test_a_label_that_was_mended_is_no_longer_suspected(audit, pictures):
    rows = range(K * EACH)

    def suspected():
        dataset, _, keys, features = pictures.of(rows)
        opinions, _, growth = audit(rows)
        found = audit_labels(dataset, features, keys, opinions)
        return {row for row, one in enumerate(found.rows) if one.suggested}, growth

    before, _ = suspected()
    mended = sorted(before & set(pictures.flipped.tolist()))[:8]
    pictures.given[mended] = pictures.right[mended]
    after, growth = suspected()
    assert growth.relabelled == len(mended) == 8
    assert not after & set(mended)


def test_a_picture_that_is_gone_is_dropped(audit, judged):
    opinions, _, growth = audit(range(5, K * EACH))
    assert growth == grown.Growth(K * EACH, 0, 5, 0)
    assert len(opinions.found.rows) == K * EACH - 5
    assert not sum(len(features) for features, _ in judged)


def test_a_new_copy_is_judged_by_the_head_that_has_not_seen_the_original(audit, judged, pictures, tmp_path):
    row, original = K * EACH, 7
    fold = grown.folds_of_keys([pictures.keys[original]])[0]
    # Its content gives the cluster another name, by which it would be dealt into another fold.
    name = next(one for one in (f"hash:{number}" for number in range(99)) if grown.folds_of_keys([one])[0] != fold)
    pictures.keys[original] = pictures.keys[row] = name
    _, _, growth = audit(range(row + 1))
    assert growth.new == 1
    assert [folds.tolist() for _, folds in judged] == [[fold]]


def refit(audit, rows):
    return audit(rows)[2] is None


def test_all_is_fitted_again_where_a_new_picture_ties_two_folds_together(audit, pictures):
    folds = grown.folds_of_keys(pictures.keys)
    other = int(np.argmax(folds[: K * EACH] != folds[0]))
    pictures.keys[0] = pictures.keys[other] = pictures.keys[K * EACH]
    assert refit(audit, range(K * EACH + 1))


def test_all_is_fitted_again_where_what_is_new_may_be_a_copy_of_what_is_gone(audit):
    assert refit(audit, range(1, K * EACH + 1))


def test_all_is_fitted_again_where_more_than_a_tenth_has_changed(audit, monkeypatch):
    monkeypatch.setattr(grown, "MOST_NEW", NEW / (K * EACH) - 1e-6)
    assert refit(audit, range(K * EACH + NEW))
    assert not refit(audit, range(K * EACH + NEW))


def test_all_is_fitted_again_where_another_class_can_be_judged(audit, pictures):
    pictures.given[K * EACH :] = K
    assert refit(audit, range(K * EACH + NEW))


def test_all_is_fitted_again_where_what_was_kept_is_damaged(audit, tmp_path):
    (kept,) = (tmp_path / "fits").iterdir()
    kept.write_bytes(kept.read_bytes()[:5000])
    assert refit(audit, range(K * EACH + NEW))


def test_the_learning_curve_is_that_of_the_set_that_was_fitted(audit, tmp_path):
    (_, before, _), (_, after, _) = audit(range(K * EACH), tmp_path / "fresh"), audit(range(K * EACH + NEW))
    assert after == before


def test_what_another_user_fitted_is_used(audit, only_readable):
    assert not refit(audit, range(K * EACH + NEW))
