import numpy as np
import pytest
import torch

from linnaeus.learn import head as heads
from linnaeus.learn.head import solve_head
from linnaeus.learn.many import discriminant_head
from linnaeus.learn.objectives import CROSS_ENTROPY, Loss


def problem(classes=30, each=40, width=24, spread=2.0):
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=draw)
    labels = torch.arange(classes).repeat(each)
    features = centres[labels] + spread * 0.4 * torch.randn(len(labels), width, generator=draw)
    return features, labels, np.arange(len(labels)) // classes % 3


def test_it_is_as_good_as_the_solved_regression():
    features, labels, folds = problem()
    learn, judge = torch.from_numpy(folds != 2), torch.from_numpy(folds == 2)
    weight, bias, _, scores = discriminant_head(features[learn], labels[learn], 30, folds[learn.numpy()], CROSS_ENTROPY)
    solved = solve_head(features[learn], labels[learn], 30, folds[learn.numpy()])
    right = [
        ((features[judge] @ w.T + b).argmax(1) == labels[judge]).float().mean().item()
        for w, b in ((weight, bias), (solved.weight, solved.bias))
    ]
    assert right[0] > right[1] - 0.03
    assert min(scores.values()) < 1.3 * min(solved.scores.values())


@pytest.mark.parametrize(("many", "memory_gb"), [(1, 5.0), (heads.MANY, 1e-6)])
def test_very_many_classes_or_little_memory_take_the_closed_form(monkeypatch, many, memory_gb):
    monkeypatch.setattr(heads, "MANY", many)
    monkeypatch.setattr(heads, "_solve", lambda *rest: pytest.fail("the regression was solved"))
    found = solve_head(*problem()[:2], 30, problem()[2], memory_gb=memory_gb)
    assert found.weight.shape == (30, 24)
    assert found.held_out is None


def test_a_single_fold_gives_a_head_without_scores():
    features, labels, _ = problem()
    weight, bias, _, scores = discriminant_head(features, labels, 30, np.zeros(len(labels)), CROSS_ENTROPY)
    assert scores == {}
    assert torch.isfinite(weight).all() and torch.isfinite(bias).all()


@pytest.mark.parametrize("weights", [None, torch.ones(31)])
def test_a_class_without_pictures_is_never_answered(weights):
    features, labels, folds = problem(spread=4.0)
    weight, bias, _, _ = discriminant_head(features, labels, 31, folds, Loss(class_weights=weights))
    assert 30 not in (features @ weight.T + bias).argmax(1).tolist()


def test_rows_that_were_made_up_do_not_judge():
    features, labels, folds = problem()
    plain = discriminant_head(features, labels, 30, folds, CROSS_ENTROPY)
    twice = discriminant_head(
        features,
        labels,
        30,
        folds,
        CROSS_ENTROPY,
        lambda some, named: (torch.cat([some, some]), torch.cat([named, named])),
    )
    assert twice[3] == plain[3]
    assert torch.allclose(twice[0], plain[0], atol=1e-5)


def test_class_weights_make_the_priors_equal():
    features, labels, folds = problem(classes=2, each=300, width=4, spread=6.0)
    keep = torch.from_numpy((labels.numpy() == 0) | (np.arange(600) % 20 < 2))
    some = features[keep], labels[keep], 2, folds[keep.numpy()]
    plain = discriminant_head(*some, CROSS_ENTROPY)
    equal = discriminant_head(*some, Loss(class_weights=torch.tensor([0.5, 5.0])))
    rare = [((features @ w.T + b).argmax(1) == 1).sum() for w, b, *_ in (plain, equal)]
    assert rare[1] > rare[0]


def test_no_more_logits_are_judged_than_fit(monkeypatch):
    monkeypatch.setattr("linnaeus.learn.many.JUDGED_NUMBERS", 300)
    seen = []

    class Judge(Loss):
        def mean(self, logits, labels):
            seen.append(len(logits))
            return super().mean(logits, labels)

    features, labels, folds = problem()
    discriminant_head(features, labels, 30, folds, Judge())
    assert set(seen) == {10}
