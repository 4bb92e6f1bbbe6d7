import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import SettingsError
from linnaeus.learn.adversarial import Ball, climb, cross_entropy, margin
from linnaeus.metrics.calibration import Calibration
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk
from linnaeus.verbs.stress.attacks import Attack, attack, planned, survivors
from linnaeus.verbs.stress.patches import patches, stick
from linnaeus.verbs.stress.sample import Sample
from linnaeus.verbs.stress.target import Target


class Reference(nn.Module):
    """The network for which torchattacks was asked; it takes bytes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 5))
        draw = np.random.default_rng(0)
        with torch.no_grad():
            for one in self.parameters():
                one.copy_(torch.from_numpy(draw.normal(0, 0.3, tuple(one.shape)).astype(np.float32)))

    def forward(self, pictures):
        return self.layers((pictures / 255).permute(0, 3, 1, 2))


@pytest.fixture
def reference():
    pictures = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 6, 6, 3)).astype(np.float32))
    return Reference().eval(), pictures, torch.tensor([0, 3, 4])


def climbed(network, pictures, labels, ball, length, steps):
    changed = pictures
    for _ in range(steps):
        changed, _ = climb(network, pictures, changed, labels, ball, length)
    return changed


# Origin: torchattacks 3.5.1 (FGSM eps 8/255; PGD eps 8/255, alpha 2/255, 7 steps; PGDL2 eps 0.5, alpha 0.1, 7 steps; no random
# start) with torch 2.15 on a CPU, in an environment of its own, since it asks for an old requests. Changes in bytes.
@pytest.mark.parametrize(
    ("ball", "length", "steps", "size", "first", "losses"),
    [
        (Ball("Linf", 8), 8, 1, 2562.0, (-8, -6, -8, -8, -8, 8), (5.20183, 6.22869, 8.0762)),
        (Ball("Linf", 8), 2, 7, 2526.0, (-8, -6, -8, -8, -8, 8), (5.20356, 6.22982, 8.07985)),
        (Ball("L2", 127.5), 25.5, 7, 3112.489, (-19.2966, -1.6468, -14.2413, -0.3675, -2.5404, 14.4534), (6.38177, 7.30764, 9.2941)),
    ],
    ids=["FGSM", "PGD", "PGDL2"],
)  # fmt: skip
def test_it_finds_what_torchattacks_finds(reference, ball, length, steps, size, first, losses):
    network, pictures, labels = reference
    changed = climbed(network, pictures, labels, ball, length, steps)
    assert float((changed - pictures).abs().sum()) == pytest.approx(size, rel=1e-4)
    assert (changed - pictures)[1, 2, 2:4].flatten().tolist() == pytest.approx(first, abs=5e-3)
    assert cross_entropy(network(changed), labels).tolist() == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("ball", [Ball("Linf", 6.5), Ball("L2", 90.0)])
def test_no_change_leaves_the_ball_or_the_bytes(reference, ball):
    network, pictures, labels = reference
    start = torch.stack([ball.draw((6, 6, 3), np.random.default_rng(number)) for number in range(3)])
    changed = (pictures + start).clamp(0, 255)
    for length in (100.0, 3.0, 0.0):
        changed, _ = climb(network, pictures, changed, labels, ball, length)
        change = (changed - pictures).flatten(1)
        size = change.abs().max() if ball.norm == "Linf" else change.norm(dim=1).max()
        assert float(size) <= ball.radius * (1 + 1e-4)
        assert float(changed.min()) >= 0 and float(changed.max()) <= 255


def test_the_margin_still_has_a_gradient_where_the_cross_entropy_has_none():
    logits = torch.tensor([[300.0, 0.0, 10.0]], requires_grad=True)
    label = torch.tensor([0])
    assert torch.autograd.grad(cross_entropy(logits, label).sum(), logits)[0].abs().sum() == 0
    assert torch.autograd.grad(margin(logits, label).sum(), logits)[0].tolist() == [[-1, 0, 1]]


class Stored:
    """Pictures in memory, as `Pixels` gives them."""

    def __init__(self, pictures):
        self.pictures = pictures

    def block(self, rows, size_px):
        return self.pictures[rows]


class Brightness(nn.Module):
    """Says 1 where the mean byte is above 127.5: its nearest wrong answer is known exactly."""

    def forward(self, pictures):
        bright = pictures.mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright], dim=1) * 20


def plain(levels, size_px=8, **changes):
    pictures = np.array([np.full((size_px, size_px, 3), level) for level in levels], np.uint8)
    labels = (np.array(levels) > 127).astype(np.int64)
    how = Preprocessing(size_px, mean=(0.5,) * 3, std=(0.5,) * 3)
    classifier = Classifier(Brightness(), "own", ("dark", "bright"), how, **changes)
    ids = tuple(f"{level}.png" for level in levels)
    return Target(classifier), Sample(Stored(pictures), np.arange(len(levels)), labels, ids, None, size_px)


def test_fgsm_and_pgd_break_exactly_what_is_within_reach():
    target, sample = plain([100, 122, 126, 129, 133, 140])
    everything = np.arange(6)
    for name, steps in (("FGSM", 1), ("PGD", 40)):
        standing = survivors(target, sample, everything, Attack(name, Ball("Linf", 4), steps), 0)
        assert standing.tolist() == [True, True, False, False, True, True]
    # 4 bytes on each of 192 values are 55.4 in L2.
    l2 = survivors(target, sample, everything, Attack("PGD", Ball("L2", 56), 40), 0)
    assert l2.tolist() == [True, True, False, False, True, True]


def test_what_was_not_asked_for_is_not_tried():
    target, sample = plain([100, 140])
    assert survivors(target, sample, np.array([1]), Attack("FGSM", Ball("Linf", 1), 1), 0).tolist() == [False, True]


def test_robust_accuracy_counts_wrong_answers_and_falls_with_the_radius():
    target, sample = plain([100, 122, 126, 129, 133, 140])
    right = np.array([True] * 5 + [False])
    found = attack(target, sample, right, ("fgsm", "pgd"), 0, Talk())
    linf = [one["accuracy"]["value"] for one in found if one["name"] == "PGD" and one["norm"] == "Linf"]
    assert linf == pytest.approx([5 / 6, 3 / 6, 3 / 6, 1 / 6])
    assert [one["radius_255"] for one in found if one["norm"] == "Linf"] == [1, 2, 4, 8] * 2
    assert found[0]["radius"] == pytest.approx(1 / 255)
    assert found[0]["accuracy"]["n"] == 6


def test_the_decision_is_that_of_the_calibrated_classifier():
    """Vector scaling that adds to "bright" moves the border by ten bytes: 119 is then answered bright."""
    calibration = Calibration("vector", 1.0, (1.0, 1.0), (0.0, 40.0 * 20 / 255))
    target, _ = plain([127], calibration=calibration)
    levels = torch.tensor([100.0, 119.0, 124.0])[:, None, None, None].expand(3, 8, 8, 3)
    expected = calibration.probabilities((Brightness()((levels - 127.5) / 127.5)).numpy()).argmax(1)
    assert target.decide(target.network(levels)).tolist() == expected.tolist() == [0, 1, 1]


def test_isotonic_regression_decides_as_well():
    """Its second class is raised so far that only a very dark picture is still called dark."""
    knots = (((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.4), (1.0, 1.0)))
    calibration = Calibration("isotonic", 1.0, knots=knots)
    target, _ = plain([127], calibration=calibration)
    logits = torch.tensor([[3.0, -3.0], [0.2, -0.2], [-1.0, 1.0]])
    assert (
        target.decide(logits).tolist()
        == calibration.probabilities(logits.double().numpy()).argmax(1).tolist()
        == [0, 1, 1]
    )


def test_an_unknown_attack_is_named():
    with pytest.raises(SettingsError, match="'cw' does not exist"):
        planned(("fgsm", "cw"), 32)


def test_small_pictures_are_attacked_within_the_radii_of_cifar():
    l2 = {size: [one.ball.radius / 255 for one in planned(("pgd",), size)[1]] for size in (32, 224)}
    assert l2 == {32: [0.25, 0.5, 1.0], 224: [0.5, 1.5, 3.0]}


def test_autoattack_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "art.attacks", None)
    target, sample = plain([100, 140])
    with pytest.raises(SettingsError, match="Adversarial Robustness Toolbox") as told:
        attack(target, sample, np.array([True, True]), ("autoattack",), 0, Talk())
    assert "linnaeus[attacks]" in told.value.fix


def test_autoattack_breaks_exactly_what_is_within_reach():
    pytest.importorskip("art", reason="the extra `attacks` is not installed")
    from linnaeus.verbs.stress.autoattack import auto_survivors

    target, sample = plain([100, 126, 133])
    state = np.random.get_state()[1].copy()
    assert auto_survivors(target, sample, np.arange(3), 4.0, 0).tolist() == [True, False, True]
    assert np.array_equal(state, np.random.get_state()[1])


def test_a_patch_lies_where_it_was_put_and_nowhere_else():
    pictures = torch.zeros(2, 6, 6, 3)
    patch = torch.arange(12.0).reshape(2, 2, 3) + 1
    covered = stick(pictures, patch, [np.array([0, 4]), np.array([3, 1])])
    assert torch.equal(covered[0, 0:2, 4:6], patch)
    assert torch.equal(covered[1, 3:5, 1:3], patch)
    assert int((covered != 0).sum()) == 24


def test_a_patch_is_learned_on_one_half_and_judged_on_the_other():
    target, sample = plain([110, 112, 114, 116, 118, 119, 120, 121])
    found = patches(target, sample, np.ones(8, bool), 0, Talk())
    assert [one["accuracy"]["n"] for one in found] == [4, 4, 4]
    # White on a tenth of the picture lifts the mean by 13: enough for all; noise lifts it by nothing.
    assert found[-1]["accuracy"]["value"] == 0
    assert found[-1]["noise_accuracy"]["value"] == 1


def test_one_picture_is_too_few_for_a_patch():
    target, sample = plain([110])
    assert patches(target, sample, np.ones(1, bool), 0, Talk()) == []
