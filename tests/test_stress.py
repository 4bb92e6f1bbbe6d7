import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError, SettingsError, SourceError
from linnaeus.records import Dataset, Example, Place, Preprocessing
from linnaeus.verbs.stress import stress, tell
from linnaeus.verbs.stress.sample import draw, stratified
from test_attacks import Stored

CLASSES = ("dark", "bright")


class Untrained(nn.Module):
    """Tells dark from bright, with a dropout and a batch norm that would show if it were not left in peace."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm2d(3), nn.Dropout(0.5)
        self.bias = nn.Parameter(torch.tensor([0.0, bias]))

    def forward(self, pictures):
        bright = self.dropout(self.norm(pictures)).mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright], dim=1) * 9 + self.bias


def material(n=40, labels=None, size_px=12, classes=CLASSES):
    random = np.random.default_rng(0)
    truth = np.arange(n) % 2 if labels is None else np.array(labels)
    level = np.where(np.arange(n) % 2, 165, 90)[:, None, None, None]
    pictures = np.clip(
        level + random.normal(0, 30, (n, 1, 1, 1)) + random.normal(0, 30, (n, size_px, size_px, 3)), 0, 255
    )
    names = (*classes, "")
    examples = tuple(Example(f"{row}.png", Place(""), names[truth[row]]) for row in range(n))
    return Dataset("lamps", "lamps/", examples, classes), Stored(pictures.astype(np.uint8))


def made(bias=0.0, size_px=12, classes=CLASSES):
    return Classifier(Untrained(bias), "own", classes, Preprocessing(size_px, mean=(0.5,) * 3, std=(0.5,) * 3))


@pytest.fixture(scope="module")
def document():
    return stress(made(), *material(), certify=0.25)


def estimates(value):
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high", "n", "method"}:
            yield value
        else:
            for one in value.values():
                yield from estimates(one)
    elif isinstance(value, list):
        for one in value:
            yield from estimates(one)


def test_every_kind_has_five_accuracies_with_intervals(document):
    assert len(document["corruptions"]) == 15
    assert all(len(one["accuracy"]) == 5 for one in document["corruptions"])
    found = list(estimates(document))
    assert len(found) > 100
    assert all(one["low"] <= one["value"] <= one["high"] for one in found)


def test_it_can_be_written_as_json(document):
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_mean_corruption_accuracy_is_the_mean_of_all(document):
    mean = np.mean([one["value"] for kind in document["corruptions"] for one in kind["accuracy"]])
    assert document["mean_corruption_accuracy"]["value"] == pytest.approx(mean)
    assert document["mce"]["value"] == pytest.approx(1 - mean)
    assert document["relative_mce"]["value"] == pytest.approx(document["clean"]["value"] - mean)
    assert "not divided" in document["mce_normalisation"]


def test_the_weakest_kind_has_the_lowest_mean(document):
    means = {one["kind"]: sum(each["value"] for each in one["accuracy"]) for one in document["corruptions"]}
    assert means[document["weakest"]] == min(means.values())
    assert means["brightness"] < means["defocus blur"]


def test_the_same_arguments_give_the_same_numbers_and_another_seed_others(document):
    assert stress(made(), *material(), certify=0.25) == document
    other = stress(made(), *material(), attacks=(), seed=1)
    assert other["corruptions"] != document["corruptions"]
    assert other["attacks"] == other["patches"] == []
    assert other["certified"] is None


def test_the_network_stays_as_it_was():
    classifier = made()
    classifier.network.train()
    classifier.network.norm.eval()
    before = copy.deepcopy(classifier.network.state_dict())
    stress(classifier, *material(), pictures=8)
    assert classifier.network.training
    assert not classifier.network.norm.training
    assert all(one.requires_grad and one.grad is None for one in classifier.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in classifier.network.state_dict().items())


def test_global_random_numbers_stay_as_they_were():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    stress(made(), *material(), pictures=8)
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert torch.equal(torch_state, torch.get_rng_state())


def test_clean_answers_are_those_of_predict(classifier, trained, tmp_path):
    from linnaeus.data.cache import scan

    columns = trained.split()
    rows = [row for row, part in enumerate(columns["split"]) if part == "test"]
    examples = tuple(Example(columns["id"][row], columns["place"][row], columns["label"][row]) for row in rows)
    dataset = Dataset("test", "test", examples, classifier.classes)
    stored = scan(dataset, classifier.preprocessing, cache_dir=tmp_path, cache_gb=1).pixels
    found = stress(classifier, dataset, stored, attacks=("fgsm",))
    assert found["clean"]["value"] == trained.scores("test").overall["accuracy"].value
    assert found["pictures"] == len(rows)
    assert found["attacks"][0]["accuracy"]["value"] <= found["clean"]["value"]


def test_a_sample_keeps_the_share_of_each_class():
    labels = np.array([0] * 600 + [1] * 300 + [2] * 100)
    places = stratified(labels, 50, seed=3)
    assert np.bincount(labels[places]).tolist() == [30, 15, 5]
    assert len(set(places.tolist())) == 50
    assert not np.array_equal(places, stratified(labels, 50, seed=4))
    assert np.array_equal(stratified(labels, 1000, 0), np.arange(1000))


def test_a_sample_is_said_to_be_one():
    found = stress(made(), *material(), pictures=10, attacks=())
    assert (found["pictures"], found["of"], found["clean"]["n"]) == (10, 40, 10)
    assert any("a sample of 10 of 40" in note for note in found["notes"])


def test_a_picture_is_damaged_alike_whatever_else_is_in_the_sample():
    dataset, pixels = material()
    whole = draw(made(), dataset, pixels, 40, 0)
    part = draw(made(), dataset, pixels, 10, 0)
    numbers = dict(zip(whole.ids, whole.numbers, strict=True))
    assert [numbers[id] for id in part.ids] == part.numbers


def test_one_picture_alone_claims_nothing():
    dataset, pixels = material(1)
    found = stress(made(), dataset, pixels)
    assert (found["mean_corruption_accuracy"]["low"], found["mean_corruption_accuracy"]["high"]) == (0, 1)
    assert found["patches"] == []
    assert any("no patch" in note for note in found["notes"])


@pytest.mark.parametrize(("bias", "labels", "value"), [(1e4, [1] * 12, 1.0), (1e4, [0] * 12, 0.0)])
def test_all_right_and_all_wrong_have_open_intervals(bias, labels, value):
    found = stress(made(bias), *material(12, labels))
    assert found["clean"]["value"] == found["mean_corruption_accuracy"]["value"] == value
    assert found["mean_corruption_accuracy"]["high"] - found["mean_corruption_accuracy"]["low"] > 0.2
    assert all(one["accuracy"]["value"] == value for one in found["attacks"])
    assert all(flip["value"] == 0 for one in found["shifts"] for flip in one["flips"])


def test_pictures_without_a_label_are_left_out_and_counted():
    found = stress(made(), *material(6, [0, 1, 2, 1, 0, 2]), attacks=())
    assert found["pictures"] == 4
    assert any("2 pictures have no label" in note for note in found["notes"])


def test_a_class_that_the_model_does_not_know_counts_as_wrong():
    dataset, pixels = material(6, [0, 1, 2, 1, 0, 2], classes=(*CLASSES, "lamp"))
    found = stress(made(), dataset, pixels)
    assert found["pictures"] == 6
    assert found["clean"]["value"] <= 4 / 6
    assert any("lamp" in note for note in found["notes"])


def test_classes_are_matched_by_name():
    dataset, pixels = material()
    turned = replace(dataset, classes=CLASSES[::-1])
    assert stress(made(), turned, pixels, attacks=())["clean"] == stress(made(), dataset, pixels, attacks=())["clean"]


def test_grey_pictures_and_a_thousand_classes_work():
    classes = tuple(f"class {k:03}" for k in range(1000))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))
    how = Preprocessing(8, channels=1, mean=(0.5,), std=(0.5,))
    examples = tuple(Example(f"{row}", Place(""), classes[7 * row]) for row in range(5))
    pictures = Stored(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8))
    found = stress(
        Classifier(network, "own", classes, how), Dataset("g", "g", examples, classes), pictures, certify=0.1
    )
    assert found["pictures"] == 5


def test_other_classes_altogether_are_an_error():
    dataset, pixels = material(4, classes=("cat", "dog"))
    with pytest.raises(SourceError, match="letter by letter"):
        stress(made(), dataset, pixels)


def test_no_labels_at_all_are_an_error():
    with pytest.raises(SourceError, match="no labelled pictures"):
        stress(made(), *material(4, [2, 2, 2, 2]))


@pytest.mark.parametrize("wrong", [{"pictures": 0}, {"certify": 0.0}, {"certify": 64.0}, {"attacks": ("cw",)}])
def test_wrong_options_are_errors(wrong):
    with pytest.raises(SettingsError):
        stress(made(), *material(4), **wrong)


def test_a_network_that_gives_nan_is_refused():
    with pytest.raises(ModelError, match="finite"):
        stress(made(float("nan")), *material(4))


def test_the_words_name_what_matters(document):
    told = tell(document)
    assert told.startswith("accuracy ")
    assert f"weakest:  {document['weakest']}" in told
    assert "PGD within Linf 8/255" in told
    assert "certified within L2" in told
    assert "answers flipped by rotation" in told
