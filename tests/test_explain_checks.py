"""explain/checks: which method to believe."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.records import Estimate, Place, Preprocessing
from linnaeus.talk import Talk
from linnaeus.verbs.explain import checks
from linnaeus.verbs.explain.checks import (
    Case,
    check,
    deletion_curve,
    insertion_curve,
    mean,
    readable_cases,
    shuffle_weights,
)
from linnaeus.verbs.explain.methods import METHODS, Method
from linnaeus.verbs.explain.subject import Subject


class CountsBrightCorner(nn.Module):
    """The probability of class 1 grows with the brightness of the upper left quarter; the weights say where."""

    def __init__(self, side=16):
        super().__init__()
        mask = torch.zeros(side, side)
        mask[: side // 2, : side // 2] = 4 / side**2
        self.where = nn.Parameter(mask)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        score = ((self.norm(x).mean(dim=1) + 1) * self.where).sum(dim=(1, 2))
        return torch.stack([torch.full_like(score, 1.0), 4 * score], dim=1)


def corner(picture):
    heat = np.zeros(picture.shape[:2], np.float32)
    heat[: len(heat) // 2, : len(heat) // 2] = 1
    return heat


def gradient(subject, picture, k, seed):
    x = subject.normalised(picture).requires_grad_()
    (found,) = torch.autograd.grad(subject.network(x)[0, k], x)
    heat = found[0].abs().sum(0).numpy()
    return heat / heat.max()


def edges(subject, picture, k, seed):
    """An edge detector that asks the network nothing."""
    grey = picture.astype(np.float32).mean(axis=2)
    return np.hypot(*np.gradient(grey)) / 255


HONEST = Method("honest", gradient, (), True, "asks the network")
BLIND = Method("blind", edges, (), True, "asks only the picture")


@pytest.fixture(scope="module")
def subject():
    network = CountsBrightCorner()
    return Subject.of(Classifier(network, "own", ("dark", "bright"), Preprocessing(size_px=16)))


@pytest.fixture(scope="module")
def cases():
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 80, (6, 16, 16, 3)).astype(np.uint8)
    pictures[:, :8, :8] += 150
    return [Case(picture, 1) for picture in pictures]


def test_a_method_that_never_asks_the_network_is_flagged_and_not_believed(subject, cases):
    found = check(subject, cases, [HONEST, BLIND], Talk())
    assert found.methods["blind"].randomisation.value == pytest.approx(1)
    assert not found.methods["blind"].sane
    assert found.methods["honest"].sane and found.believe == "honest"
    assert "stays much the same" in found.words()[1] and found.words()[-1].startswith("believe honest")


def test_a_method_that_points_nowhere_in_particular_is_not_believed(subject, cases):
    def noise(subject, picture, k, seed):
        bits = int(1e6 * float(subject.probabilities(picture[None])[0, k]))
        return np.random.default_rng(bits).random(picture.shape[:2]).astype(np.float32)

    found = check(subject, cases, [Method("noise", noise, (), True, "")], Talk())
    gain, chance = found.methods["noise"].gain.value, found.chance.value
    assert found.believe is None or gain - chance < 0.05


def test_the_words_say_so_when_nothing_is_to_be_believed(subject, cases):
    found = check(subject, cases, [BLIND], Talk())
    assert found.believe is None and "believe none" in found.words()[-1]


def test_a_good_map_deletes_early_and_inserts_early(subject, cases):
    good, bad = corner(cases[0].pixels), 1 - corner(cases[0].pixels)
    assert deletion_curve(subject, cases[0], good).mean() < deletion_curve(subject, cases[0], bad).mean() - 0.1
    assert insertion_curve(subject, cases[0], good).mean() > insertion_curve(subject, cases[0], bad).mean()


def test_the_curves_begin_and_end_at_the_whole_picture(subject, cases):
    whole = subject.probabilities(cases[0].pixels[None])[0, 1]
    heat = corner(cases[0].pixels)
    assert len(deletion_curve(subject, cases[0], heat)) == checks.STEPS + 1
    assert deletion_curve(subject, cases[0], heat)[0] == pytest.approx(whole)
    assert insertion_curve(subject, cases[0], heat)[-1] == pytest.approx(whole)


def test_equal_heat_is_taken_in_random_order_and_not_row_by_row(subject, cases):
    flat = np.zeros((16, 16), np.float32)
    early = deletion_curve(subject, cases[0], flat)[checks.STEPS // 4]
    by_row = deletion_curve(subject, cases[0], -np.arange(256.0).reshape(16, 16))[checks.STEPS // 4]
    assert early > by_row, "the first quarter of the rows holds half of what counts"


def test_the_check_is_the_same_every_time(subject, cases):
    first, second = (check(subject, cases, [HONEST], Talk(), seed=3).document()["honest"] for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_the_document_holds_estimates_as_plain_values(subject, cases):
    one = check(subject, cases, [HONEST], Talk()).document()["honest"]
    for name in ("randomisation", "structure", "deletion", "insertion", "gain"):
        assert Estimate(**one[name]).n == 6
        assert one[name]["low"] <= one[name]["value"] <= one[name]["high"]
    assert set(one["cascade"]) == set(checks.SHARES) and one["sane"] is True


def test_slow_methods_see_fewer_pictures(subject, cases):
    one = check(subject, cases, [replace(HONEST, quick=False)], Talk()).methods["honest"]
    assert one.deletion.n == checks.SLOW_PICTURES and set(one.cascade) == {"all"}


def test_one_picture_is_enough_for_a_check_that_promises_little(subject, cases):
    one = check(subject, cases[:1], [HONEST], Talk()).methods["honest"]
    assert (one.gain.n, one.gain.low, one.gain.high) == (1, -1, 1)


def test_checking_leaves_the_trained_network_alone(subject, cases):
    before = {name: value.clone() for name, value in subject.network.state_dict().items()}
    check(subject, cases, [HONEST], Talk())
    assert all(torch.equal(value, before[name]) for name, value in subject.network.state_dict().items())
    assert not any(layer.training for layer in subject.network.modules())


def test_shuffled_weights_hold_the_same_numbers_elsewhere():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    other = shuffle_weights(network, ["1.weight"], 0)
    assert torch.equal(other[0].weight, network[0].weight)
    assert not torch.equal(other[1].weight, network[1].weight)
    assert torch.equal(other[1].weight.flatten().sort()[0], network[1].weight.flatten().sort()[0])


def test_a_parameter_is_shuffled_alike_whatever_else_is():
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    one, both = shuffle_weights(network, ["1.weight"], 5), shuffle_weights(network, ["0.weight", "1.weight"], 5)
    assert torch.equal(one[1].weight, both[1].weight)


def test_the_mean_has_students_interval():
    from scipy import stats

    values = [0.2, 0.5, 0.4, 0.6]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = mean(values, 0, 1)
    assert (found.value, found.low, found.high) == pytest.approx((0.425, low, high))
    assert mean([0.99, 0.5], 0, 1).high == 1


def test_cases_are_the_first_pictures_that_can_be_read(subject, photos, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    paths = [tmp_path / "broken.jpg", *sorted(photos.rglob("*.png"))]
    found = readable_cases(subject, [Place(str(path)) for path in paths])
    assert len(found) == checks.QUICK_PICTURES and found[0].pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients"])
def test_real_methods_change_with_the_weights_of_a_trained_network(method, classifier, photos):
    pytest.importorskip(METHODS[method].needs[0])
    subject = Subject.of(classifier)
    cases = readable_cases(subject, [Place(str(path)) for path in sorted(photos.rglob("*.png"))[::9]])
    found = check(subject, cases, [METHODS[method]], Talk()).methods[method]
    assert found.randomisation.value < 0.9 and -1 <= found.gain.value <= 1
