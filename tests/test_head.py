import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from linnaeus.learn import head
from linnaeus.learn.blend import Blend
from linnaeus.learn.head import STRENGTHS, folds_of, solve_head
from linnaeus.learn.objectives import Loss


def clouds(n=240, classes=3, dimensions=6, spread=1.5, seed=0):
    """Overlapping Gaussian clouds, with features of very different scale."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=n)
    centres = draw.normal(size=(classes, dimensions))
    features = (centres[labels] + draw.normal(size=(n, dimensions)) * spread) * 10.0 ** np.arange(dimensions) / 100 + 5
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def three_folds(n):
    return np.arange(n) % 3


def standardised(features):
    """Features as the head sees them, float64, and what they were divided by."""
    deviation = features.std(0)
    scale = (deviation * deviation.mean()).sqrt()
    return ((features - features.mean(0)) / scale).double().numpy(), scale


@pytest.fixture
def alone(monkeypatch):
    """The regression without the discriminant."""
    zero = torch.zeros(1)
    monkeypatch.setattr(head, "blend", lambda _sums, _labels, held_out, _loss: Blend(1.0, zero, zero, held_out))


def test_the_solution_is_that_of_scikit_learn(alone):
    features, labels = clouds()
    found = solve_head(features, labels, 3, three_folds(len(labels)))
    scaled, _ = standardised(features)
    theirs = LogisticRegression(C=1 / (found.strength * len(labels)), tol=1e-10, max_iter=10_000)
    expected = theirs.fit(scaled, labels.numpy()).predict_proba(scaled)
    ours = torch.softmax(features @ found.weight.T + found.bias, 1).numpy()
    assert np.abs(ours - expected).max() < 2e-3


def test_answers_that_are_sure_are_solved_to_the_end(alone):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(1200) % 40
    apart = torch.randn(40, 96, generator=draw)[labels] + 0.35 * torch.randn(1200, 96, generator=draw)
    features = apart @ (torch.randn(96, 96, generator=draw) * torch.logspace(0, -2, 96))
    found = solve_head(features, labels, 40, np.arange(1200) // 40 % 3, strengths=(1e-4,))
    scaled, scale = standardised(features)
    theirs = LogisticRegression(C=1 / (1e-4 * len(labels)), tol=1e-8, max_iter=10_000).fit(scaled, labels)

    def cost(logits, weight):
        return log_loss(labels, softmax(logits, axis=1)) + 0.5e-4 * np.square(weight).sum()

    least = cost(theirs.decision_function(scaled), theirs.coef_)
    ours = cost((features @ found.weight.T + found.bias).numpy(), (found.weight * scale).numpy())
    assert ours == pytest.approx(least, rel=3e-4)


def test_noise_asks_for_a_strong_penalty_and_clear_features_for_a_weak_one():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (90,), generator=draw)
    noise = torch.randn(90, 200, generator=draw)
    clear = torch.nn.functional.one_hot(labels, 3).float() * 4 + torch.randn(90, 3, generator=draw)
    strong = solve_head(noise, labels, 3, three_folds(90)).strength
    weak = solve_head(clear, labels, 3, three_folds(90)).strength
    assert strong > weak


def test_the_chosen_strength_has_the_least_cross_validated_loss():
    features, labels = clouds()
    found = solve_head(features, labels, 3, three_folds(len(labels)))
    assert found.strength in STRENGTHS
    assert found.scores[found.strength] == min(found.scores.values())


def test_identical_pictures_share_a_fold():
    hashes = [f"{value:064x}" for value in (5, 6, 7, 5, 6, 7, 5)]
    folds = folds_of(hashes)
    assert folds[0] == folds[3] == folds[6]
    assert folds[1] == folds[4]
    assert set(folds_of([f"{value * 7919:064x}" for value in range(99)])) == {0, 1, 2}


def test_separable_classes_give_finite_weights():
    labels = torch.arange(30) % 3
    features = torch.nn.functional.one_hot(labels, 3).float() * 100
    found = solve_head(features, labels, 3, three_folds(30))
    assert torch.isfinite(found.weight).all()
    assert ((features @ found.weight.T + found.bias).argmax(1) == labels).all()


def test_a_fold_of_one_class_does_not_matter():
    features, labels = clouds(90)
    folds = np.where(labels.numpy() == 0, 0, 1 + np.arange(90) % 2)
    found = solve_head(features, labels, 3, folds)
    assert torch.isfinite(found.weight).all()


def test_a_single_fold_takes_a_middling_strength():
    features, labels = clouds(30)
    found = solve_head(features, labels, 3, np.zeros(30, dtype=np.int64))
    assert STRENGTHS[0] < found.strength < STRENGTHS[-1]


def test_a_class_without_training_pictures_is_improbable():
    features, labels = clouds(90)
    found = solve_head(features, labels, 5, three_folds(90))
    probabilities = torch.softmax(features @ found.weight.T + found.bias, 1)
    assert found.weight.shape == (5, 6)
    assert probabilities[:, 3:].max() < 0.05


def test_a_feature_that_never_changes_is_harmless():
    features, labels = clouds(90)
    features[:, 2] = 3.0
    found = solve_head(features, labels, 3, three_folds(90))
    assert torch.isfinite(found.weight).all()
    assert torch.isfinite(found.bias).all()


def test_class_weights_help_the_rare_class():
    features, labels = clouds(300, classes=2, spread=3)
    rare = (labels == 1).nonzero().flatten()[15:]
    keep = torch.ones(300, dtype=torch.bool).scatter(0, rare, False)
    features, labels = features[keep], labels[keep]

    def recall(weights):
        found = solve_head(features, labels, 2, three_folds(len(labels)), Loss(class_weights=weights))
        right = (features @ found.weight.T + found.bias).argmax(1) == labels
        return right[labels == 1].float().mean()

    counts = torch.bincount(labels).float()
    assert recall(len(labels) / (2 * counts)) > recall(None)


def test_the_search_stops_where_weaker_penalties_only_get_worse():
    draw = torch.Generator().manual_seed(0)
    noise, labels = torch.randn(60, 100, generator=draw), torch.randint(3, (60,), generator=draw)
    assert len(solve_head(noise, labels, 3, three_folds(60)).scores) < len(STRENGTHS)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_data_give_the_same_head(seed):
    features, labels = clouds(seed=seed)
    one, two = (solve_head(features, labels, 3, three_folds(len(labels))) for _ in range(2))
    assert torch.equal(one.weight, two.weight)


def test_held_out_logits_come_from_heads_that_did_not_see_the_row(alone):
    features, labels = clouds()
    found = solve_head(features, labels, 3, three_folds(len(labels)))
    loss = torch.nn.functional.cross_entropy(found.held_out, labels).item()
    assert loss == pytest.approx(found.scores[found.strength], rel=1e-5)
    seen = torch.nn.functional.cross_entropy(features @ found.weight.T + found.bias, labels).item()
    assert seen < loss


def test_without_folds_nothing_is_held_out():
    features, labels = clouds(30)
    assert solve_head(features, labels, 3, np.zeros(30, dtype=np.int64)).held_out is None


def test_resampling_sees_the_rows_of_the_other_folds_only_and_then_all():
    features, labels = clouds(90)
    sizes = []

    def keep(some, named):
        sizes.append(len(named))
        return some, named

    same, plain = (solve_head(features, labels, 3, three_folds(90), resample=one) for one in (keep, None))
    assert sizes == [60, 60, 60, 90]
    assert torch.equal(same.weight, plain.weight)


def test_the_search_goes_on_where_it_gets_better():
    def tried(scores):
        known, order = {}, []
        for strength in head._downhill(STRENGTHS, known):
            order.append(STRENGTHS.index(strength))
            known[strength] = scores[order[-1]]
        return order

    assert tried([9, 8, 7, 6, 5, 4, 3, 4, 5]) == [6, 5, 7]
    assert tried([9, 8, 7, 3, 4, 5, 6, 7, 8]) == [6, 5, 4, 3, 2]
    assert tried([9, 8, 7, 6, 5, 4, 3, 2, 1]) == [6, 5, 7, 8]
    assert tried([1, 2, 3, 4, 5, 6, 7, 8, 9]) == [6, 5, 4, 3, 2, 1, 0]
