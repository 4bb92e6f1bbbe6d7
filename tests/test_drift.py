import json
from pathlib import Path

import numpy as np
import pytest

from linnaeus.data.traits import MEASURED, Traits
from linnaeus.errors import SourceError
from linnaeus.records import Dataset, Example, Place
from linnaeus.verbs.audit.drift import find_drift


def made(N, seed=0, darker=0.0, share=0.3, formats=None):
    """Examples, parts by chance, and traits of which brightness may be lower in the test part."""
    draw = np.random.default_rng(seed)
    parts = np.where(draw.random(N) < share, "test", "train")
    numbers = {name: draw.normal(size=N) for name in ("width", "height", "megapixels", "aspect_ratio", *MEASURED)}
    numbers["brightness"] = numbers["brightness"] - darker * (parts == "test")
    ids = tuple(f"{n}.png" for n in range(N))
    labels = draw.choice(["a", "b"], N)
    dataset = Dataset(
        "made",
        "made",
        tuple(Example(id, Place("none"), label) for id, label in zip(ids, labels, strict=True)),
        ("a", "b"),
    )
    words = tuple(formats(parts, draw)) if formats else ("PNG",) * N
    texts = {"format": words, "folder": tuple(parts.tolist()), "group": ("",) * N}
    return dataset, parts, Traits(ids, numbers, texts, {})


def test_parts_by_chance_show_no_drift():
    found = find_drift(*made(600))
    assert found.findings == ()
    assert found.p > 0.01
    assert found.auroc.low < 0.5 < found.auroc.high + 0.05


def test_darker_test_pictures_are_found_and_brightness_is_named():
    found = find_drift(*made(600, darker=1.5))
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("drift", "warning")
    assert found.by[0].trait == "brightness"
    assert found.by[0].auroc < 0.3
    assert "brightness: median" in finding.evidence


def test_the_pictures_that_stand_out_most_come_first():
    dataset, parts, traits = made(600, darker=1.5)
    ids = find_drift(dataset, parts, traits).findings[0].ids
    rows = [int(id.partition(".")[0]) for id in ids[:20]]
    assert (parts[rows] == "test").all()
    assert traits.numbers["brightness"][rows].mean() < traits.numbers["brightness"][parts == "test"].mean()


def test_another_file_type_in_the_test_part_is_found():
    found = find_drift(
        *made(
            400,
            formats=lambda parts, draw: np.where((parts == "test") & (draw.random(400) < 0.8), "JPEG", "PNG").tolist(),
        )
    )
    assert found.by[0].trait == "format"
    assert found.by[0].what.startswith("format: '")
    assert found.findings[0].severity == "warning"


def test_classes_that_are_shared_out_otherwise_are_named():
    dataset, parts, traits = made(600, darker=1.5)
    examples = tuple(
        Example(one.id, one.place, "a" if part == "test" else one.label)
        for one, part in zip(dataset.examples, parts, strict=True)
    )
    found = find_drift(Dataset("made", "made", examples, ("a", "b")), parts, traits)
    assert "class" in {one.trait for one in found.by}


def test_drift_in_features_only_is_found():
    dataset, parts, traits = made(600)
    features = np.random.default_rng(1).normal(size=(600, 40)).astype(np.float32)
    features[parts == "test", :4] += 0.7
    found = find_drift(dataset, parts, traits, features=features)
    assert (found.on, found.by) == ("features", ())
    assert found.findings[0].kind == "drift"
    assert find_drift(dataset, parts, traits).findings == ()


def test_the_auroc_is_that_of_logistic_regression_but_for_a_few_hundredths():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    dataset, parts, traits = made(800)
    features = np.random.default_rng(1).normal(size=(800, 30))
    features[parts == "test", :3] += 0.6
    answers = cross_val_predict(
        LogisticRegression(max_iter=500), features, parts == "test", cv=5, method="decision_function"
    )
    found = find_drift(dataset, parts, traits, features=features)
    assert found.auroc.value == pytest.approx(roc_auc_score(parts == "test", answers), abs=0.03)


def test_p_values_are_even_where_there_is_no_drift():
    p = np.array([find_drift(*made(150, seed), seed=seed).p for seed in range(60)])
    assert (p <= 0.05).mean() <= 0.15
    assert 0.35 < p.mean() < 0.65


def test_copies_that_were_split_together_look_like_drift_unless_they_are_named():
    draw = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 6)
    parts = np.where(draw.random(40) < 0.5, "test", "train")[clusters]
    dataset, _, traits = made(240)
    features = draw.normal(size=(40, 30))[clusters] + draw.normal(0, 0.05, (240, 30))
    plain = find_drift(dataset, parts, traits, features=features)
    named = find_drift(dataset, parts, traits, features=features, clusters=[str(k) for k in clusters])
    assert plain.auroc.value > 0.8
    assert plain.p <= 0.01 < named.p


def test_a_column_that_is_missing_in_one_part_is_itself_a_difference():
    dataset, parts, traits = made(400)
    traits.numbers["sharpness"][parts == "test"] = np.nan
    assert find_drift(dataset, parts, traits).auroc.value > 0.9


def test_where_pictures_lie_is_not_held_against_the_split():
    assert "folder" not in {one.trait for one in find_drift(*made(400)).by}


@pytest.mark.parametrize("share", [0.0, 0.03, 1.0])
def test_too_few_pictures_in_a_part_are_not_judged(share):
    found = find_drift(*made(200, share=share))
    assert (found.auroc, found.p, found.findings) == (None, 1.0, ())


def test_features_of_other_pictures_are_refused():
    with pytest.raises(SourceError, match="one row for each picture"):
        find_drift(*made(100), features=np.zeros((99, 8)))


def test_rows_that_are_no_numbers_are_left_out_and_equal_features_tell_nothing():
    dataset, parts, traits = made(200)
    features = np.ones((200, 8), np.float32)
    features[:10] = np.nan
    found = find_drift(dataset, parts, traits, features=features)
    assert found.auroc.n == 190
    assert found.auroc.value == 0.5
    assert found.p == 1.0


def test_the_document_is_plain_and_the_same_each_time():
    one, other = (find_drift(*made(300, darker=1.0)).document() for _ in range(2))
    assert json.loads(json.dumps(one)) == json.loads(json.dumps(other))
    assert set(one) == {"auroc", "p", "by", "on"}


def test_a_split_by_our_hash_shows_no_drift_and_a_planted_one_does(tmp_path):
    flowers = Path(__file__).parents[2] / "shared" / "data" / "flowers"
    if not flowers.is_dir():
        pytest.skip("no shared data")
    from linnaeus.config import SplitSettings
    from linnaeus.data.cache import scan
    from linnaeus.data.sources import open_source
    from linnaeus.data.traits import measure
    from linnaeus.records import Preprocessing
    from linnaeus.verbs.split import split

    dataset = open_source(str(flowers), cache_dir=tmp_path)
    dataset = dataset.take(np.arange(0, len(dataset), 4))
    found = scan(dataset, Preprocessing(64), cache_dir=tmp_path, cache_gb=1)
    traits = measure(dataset, found, Preprocessing(64))
    parts = split(dataset, found.hashes, SplitSettings(test=0.3)).parts
    assert find_drift(dataset, parts, traits).findings == ()
    dark = np.where(traits.numbers["brightness"] < np.quantile(traits.numbers["brightness"], 0.3), "test", "train")
    assert find_drift(dataset, dark, traits).by[0].trait == "brightness"
