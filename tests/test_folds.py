import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from linnaeus.config import SplitSettings, load_recipe
from linnaeus.errors import RunError, SettingsError
from linnaeus.metrics import score
from linnaeus.records import Dataset, Example, Place, Predictions, Split
from linnaeus.run import Run
from linnaeus.story.divided import fold_split
from linnaeus.verbs.folds import check_folds, deal_folds, join, ties


def digest(content):
    return hashlib.sha256(str(content).encode()).hexdigest()


def table(rows):
    """Build a dataset of (content, label, group, split); what is left out is empty."""
    filled = [(*row, *("a", "", "")[len(row) - 1 :]) for row in rows]
    examples = tuple(
        Example(str(number), Place(f"/none/{number}"), label, part, group)
        for number, (_, label, group, part) in enumerate(filled)
    )
    return Dataset("d", "d", examples, tuple(sorted({one.label for one in examples}))), [
        digest(content) for content, *_ in filled
    ]


ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from("abc"), st.sampled_from(["", "", "p", "q", "r"])),
    min_size=1,
    max_size=60,
)


def planted(rows):
    """Build a dataset with near-duplicates: contents that are equal modulo 7 below 20 are copies of each other."""
    dataset, hashes = table(rows)
    smallest = {}
    for (content, *_), one in zip(rows, hashes, strict=True):
        name = content % 7 if content < 20 else content
        smallest[name] = min(one, smallest.get(name, one))
    clusters = [smallest[content % 7 if content < 20 else content] for content, *_ in rows]
    return dataset, hashes, clusters


@given(ROWS, st.integers(2, 6))
def test_what_is_tied_together_is_in_one_fold(rows, folds):
    dataset, hashes, clusters = planted(rows)
    dealt = deal_folds(dataset, hashes, clusters, folds=folds)
    assert set(dealt.tolist()) <= set(range(folds))
    for keys in (hashes, clusters, [one.group or one.id for one in dataset.examples]):
        where = {}
        for key, fold in zip(keys, dealt, strict=True):
            where.setdefault(key, set()).add(fold)
        assert all(len(one) == 1 for one in where.values())


@given(ROWS, st.integers(2, 5))
def test_nothing_that_a_fold_trains_or_chooses_with_is_tied_to_what_it_tests(rows, folds):
    dataset, hashes, clusters = planted(rows)
    for fold in range(1, folds + 1):
        settings = SplitSettings(folds=folds, fold=fold, val=0.2)
        split = fold_split(dataset, hashes, settings, clusters=clusters)
        for keys in (hashes, clusters, [one.group or one.id for one in dataset.examples]):
            sides = {part: {keys[row] for row in split.rows(part)} for part in ("train", "val", "test")}
            assert not sides["test"] & (sides["train"] | sides["val"])
            assert not sides["val"] & sides["train"]
        assert not [one for one in split.findings if one.kind == "leak"]


@given(ROWS, st.integers(2, 5))
def test_every_picture_is_tested_in_exactly_one_fold(rows, folds):
    dataset, hashes, clusters = planted(rows)
    splits = [
        fold_split(dataset, hashes, SplitSettings(folds=folds, fold=fold, val=0.2), clusters=clusters)
        for fold in range(1, folds + 1)
    ]
    assert (sum((one.parts == "test").astype(int) for one in splits) == 1).all()


@given(ROWS, ROWS)
def test_adding_pictures_moves_none_of_the_old_ones(old, new):
    rows = [(content, label, "") for content, label, _ in old + new]
    before = deal_folds(*table(rows[: len(old)]), folds=5)
    assert (before == deal_folds(*table(rows), folds=5)[: len(old)]).all()


def test_folds_are_equally_large_and_classes_evenly_spread_within_what_chance_allows():
    rows = [(number, "abc"[number % 3]) for number in range(9000)]
    dataset, hashes = table(rows)
    dealt = deal_folds(dataset, hashes, folds=5)
    for k in range(3):
        counts = np.bincount(dealt[dataset.labels == k], minlength=5)
        assert (abs(counts - 600) < 4 * np.sqrt(3000 * 0.2 * 0.8)).all()


def test_val_has_its_share_of_all_pictures_and_does_not_follow_the_folds():
    dataset, hashes = table([(number,) for number in range(9000)])
    splits = [fold_split(dataset, hashes, SplitSettings(folds=3, fold=fold, val=0.15)) for fold in (1, 2)]
    assert all(abs(len(one.rows("val")) - 1350) < 4 * 35 for one in splits)
    never = (splits[0].parts != "test") & (splits[1].parts != "test")
    assert (splits[0].parts[never] == splits[1].parts[never]).all()
    assert 0 < (splits[0].parts[never] == "val").mean() < 0.5


def test_another_salt_deals_other_folds():
    dataset, hashes = table([(number,) for number in range(100)])
    assert (deal_folds(dataset, hashes, folds=5) != deal_folds(dataset, hashes, folds=5, salt="x")).any()


def test_the_reason_says_which_fold():
    dataset, hashes = table([(number,) for number in range(50)])
    split = fold_split(dataset, hashes, SplitSettings(folds=5, fold=2))
    assert set(split.why[split.rows("test")]) == {"fold 2 of 5"}


def test_a_given_split_is_not_followed_and_that_is_told():
    dataset, hashes = table([(number, "a", "", "test") for number in range(50)])
    split = fold_split(dataset, hashes, SplitSettings(folds=5, fold=2))
    assert len(split.rows("train")) > 20
    assert "given split" in [one.kind for one in split.findings]


def test_a_class_of_one_picture_is_told():
    dataset, hashes = table([("lonely", "rare"), *((number, "ab"[number % 2]) for number in range(50))])
    dealt = deal_folds(dataset, hashes, folds=4)
    (told,) = check_folds(dataset, dealt, ties(dataset, hashes), 4)
    assert told.ids == ("rare",)
    assert f"fold {dealt[0] + 1} alone" in told.evidence


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(number, "ab"[number % 2]) for number in range(3)], "are empty"),
        ([(number, "ab"[number % 2], "one") for number in range(30)], "1 of them independent"),
        ([*((number, "a") for number in range(30)), *((number, "b", "b") for number in range(99, 120))], "two classes"),
    ],
)
def test_what_cannot_be_dealt_is_refused_in_words(rows, said):
    dataset, hashes = table(rows)
    with pytest.raises(SettingsError) as caught:
        check_folds(dataset, deal_folds(dataset, hashes, folds=5), ties(dataset, hashes), 5)
    assert said in str(caught.value)


def test_a_val_share_that_leaves_nothing_is_refused():
    with pytest.raises(SettingsError, match="leave pictures for training"):
        fold_split(*table([(1,), (2,)]), SplitSettings(folds=2, fold=1, val=0.5))


@pytest.mark.parametrize("wrong", [{"split.fold": 6, "split.folds": 5}, {"split.fold": 1}, {"split.folds": 1}])
def test_a_fold_that_is_none_is_refused(wrong):
    with pytest.raises(SettingsError):
        load_recipe(None, wrong)


def made_run(folder, ids, right, classes=("a", "b")):
    """Write what `join` reads of a fold."""
    labels = np.arange(len(ids)) % 2
    p = np.where(right, 0.8, 0.3)
    one = Predictions(
        np.stack([np.where(labels == 0, p, 1 - p), np.where(labels == 0, 1 - p, p)], 1), labels, tuple(ids), classes
    )
    run = Run.create(folder, "x", load_recipe(), {})
    run.write_predictions("test", one)
    run.write_scores("test", score(one, resamples=100))
    examples = tuple(Example(id, Place("/none"), "a") for id in ids)
    parts = Split(np.array(["test"] * len(ids)), np.array(["x"] * len(ids)))
    run.write_split(Dataset("d", "d", examples, classes), parts, [digest(id) for id in ids])
    run.write_summary({"stages": {"train": 1.0}})
    return run


@pytest.fixture
def made(tmp_path):
    """Three folds with accuracies 100, 50 and 75 %."""
    share = ([True] * 8, [True, True, False, False] * 2, [True, True, True, False] * 2)
    return [made_run(tmp_path / f"f{k}", [f"{k}{n}" for n in range(8)], right) for k, right in enumerate(share)]


def tied_of(runs, by=lambda id: id):
    return {id: by(id) for run in runs for id in run.predictions("test").ids}


def test_the_mean_over_folds_has_students_interval(made):
    mean = join(made, tied_of(made)).document["mean"]["accuracy"]
    values = [1.0, 0.5, 0.75]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean["value"] == pytest.approx(0.75)
    assert mean["low"] == pytest.approx(max(0, low))
    assert mean["high"] == pytest.approx(min(1, high))
    assert mean["n"] == 3


def test_the_pooled_score_is_that_of_all_pictures_together(made):
    joined = join(made, tied_of(made))
    assert joined.document["pooled"]["overall"]["accuracy"]["value"] == 18 / 24
    assert joined.scores.overall["accuracy"].method == "wilson"
    assert list(joined.predictions.ids) == sorted(joined.predictions.ids)
    assert np.bincount(joined.folds).tolist() == [0, 8, 8, 8]


def test_the_pooled_interval_is_wider_where_pictures_are_tied_together(made):
    alone, tied = join(made, tied_of(made)), join(made, tied_of(made, by=lambda id: id[0]))
    one, other = (joined.scores.overall["accuracy"] for joined in (alone, tied))
    assert other.high - other.low > 1.2 * (one.high - one.low)
    assert "by group" in other.method
    assert tied.document["independent"] == 3


def test_what_each_score_means_is_said_in_words(made):
    document = join(made, tied_of(made)).document
    assert set(document["words"]) == {"fold", "mean", "pooled"}
    assert "Bengio & Grandvalet 2004" in document["words"]["mean"]
    assert document["words"]["mean"] != document["words"]["pooled"]
    assert [one["fold"] for one in document["each"]] == [1, 2, 3]
    json.dumps(document)


def test_a_picture_that_was_tested_twice_or_never_is_refused(made):
    tied = tied_of(made)
    for wrong in (tied | {"more": "x"}, dict(list(tied.items())[1:])):
        with pytest.raises(RunError, match="every picture once"):
            join(made, wrong)


def test_folds_with_other_classes_are_refused(made, tmp_path):
    other = made_run(tmp_path / "other", ["x"] * 1 + ["y"], [True, True], ("a", "c"))
    with pytest.raises(RunError, match="classes"):
        join([*made, other], {})
