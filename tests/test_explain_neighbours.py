"""explain/neighbours: the training pictures most like a picture."""

import shutil

import numpy as np
import pytest

from linnaeus.run import Run
from linnaeus.talk import Talk
from linnaeus.verbs.explain.neighbours import Examples, balanced, pixels_at
from linnaeus.verbs.explain.subject import Subject


@pytest.fixture(scope="module")
def subject(classifier):
    return Subject.of(classifier)


@pytest.fixture(scope="module")
def examples(subject, trained):
    return Examples.of_run(subject, trained, Talk())


def test_only_training_pictures_are_compared(examples, trained):
    split = trained.split()
    train = {id for id, part in zip(split["id"], split["split"], strict=True) if part == "train"}
    assert set(examples.ids) == train and examples.unreadable == 0


def test_a_training_picture_is_its_own_nearest_neighbour(examples, subject):
    pixels = pixels_at(examples.places[4], subject.classifier.preprocessing)
    near = examples.nearest(subject.features(pixels[None])[0])
    assert near[0].id == examples.ids[4] and near[0].similarity == pytest.approx(1, abs=1e-5)
    assert [one.similarity for one in near] == sorted((one.similarity for one in near), reverse=True)
    assert len(near) == 5


def test_similarity_is_the_cosine_of_the_features(examples):
    from sklearn.metrics.pairwise import cosine_similarity

    draw = np.random.default_rng(0).normal(size=examples.features.shape[1])
    near = examples.nearest((draw / np.linalg.norm(draw)).astype(np.float32), 3)
    assert near[0].similarity == pytest.approx(cosine_similarity(examples.features, draw[None]).max(), abs=1e-5)


def test_the_sample_is_bounded_and_balanced(subject, trained):
    some = Examples.of_run(subject, trained, Talk(), most=6)
    assert sorted(some.labels) == sorted(2 * list(subject.classifier.classes))


def test_small_classes_give_all_they_have():
    labels = ["a"] * 10 + ["b"]
    rows = balanced(list(range(11)), labels, [str(n) for n in range(11)], 5)
    assert len(rows) == len(set(rows)) == 5 and 10 in rows


def test_the_sample_does_not_depend_on_the_order_of_the_rows():
    labels, ids = ["a", "b"] * 10, [str(n) for n in range(20)]
    assert balanced(list(range(20)), labels, ids, 6) == balanced(list(range(20))[::-1], labels, ids, 6)


def test_training_pictures_that_are_gone_are_counted(subject, photos, train_quickly, tmp_path):
    source = shutil.copytree(photos, tmp_path / "photos")
    run = train_quickly(source)
    split = run.split()
    row = split["split"].index("train")
    (source / split["id"][row]).unlink()
    said = []
    found = Examples.of_run(subject, Run.open(run.folder), Talk(say=said.append))
    assert found.unreadable == 1 and "1 of" in said[0] and split["id"][row] not in found.ids


def test_a_network_without_a_linear_head_has_no_neighbours(trained, subject):
    from torch import nn

    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    said = []
    assert Examples.of_run(subject.with_network(network.eval()), trained, Talk(say=said.append)) is None
    assert "no nearest training pictures" in said[0]
