"""AutoAttack, by the Adversarial Robustness Toolbox (the extra `attacks`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linnaeus.errors import SettingsError
from linnaeus.verbs.stress.sample import Sample
from linnaeus.verbs.stress.target import Target

AT_ONCE = 32
STEPS, QUERIES = 100, 5000
"""Of each gradient attack, and of Square, as in the paper."""


def auto_survivors(target: Target, sample: Sample, places: np.ndarray, radius: float, seed: int) -> np.ndarray:
    """Tell which pictures of the sample are still answered rightly after AutoAttack; others than `places` are not tried.

    The toolbox's ensemble: APGD on the cross-entropy and on the difference of logits ratio, DeepFool (where the paper has
    FAB), and Square, which needs no gradient; each on what the ones before it left.

    Args:
        target: The network.
        sample: The pictures.
        places: Which of them.
        radius: L-infinity, in bytes.
        seed: Of everything random.

    Returns:
        bool [n]; False outside of `places`.

    Raises:
        SettingsError: The toolbox is not installed.

    Source:
        Croce and Hein (2020), arXiv:2003.01690.
    """
    ensemble = _ensemble(target, sample, radius)
    standing = np.zeros(len(sample), dtype=bool)
    # The toolbox draws from numpy's and torch's global generators: both are set, and put back.
    before, torch_before = np.random.get_state(), torch.get_rng_state()
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        for some, pictures, labels in target.batches(sample, places, AT_ONCE):
            plain = pictures.permute(0, 3, 1, 2).cpu().numpy()
            changed = ensemble.generate(plain, np.eye(target.classes, dtype=np.float32)[sample.labels[some]])
            points = torch.from_numpy(np.clip(changed, plain - radius, plain + radius).clip(0, 255))
            with torch.no_grad():
                answers = target.decide(target.network(points.permute(0, 2, 3, 1).to(target.engine.device)))
            standing[some] = answers == labels.cpu().numpy()
    finally:
        np.random.set_state(before)
        torch.set_rng_state(torch_before)
    return standing


def _ensemble(target: Target, sample: Sample, radius: float) -> Any:
    try:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier
    except ImportError:
        raise SettingsError(
            "autoattack needs the Adversarial Robustness Toolbox.",
            got="not installed",
            fix="pip install 'linnaeus[attacks]'",
        ) from None
    shape = sample.pictures(slice(1)).shape
    network = PyTorchClassifier(
        _ChannelsFirst(target.network),
        loss=nn.CrossEntropyLoss(),
        input_shape=(shape[3], *shape[1:3]),
        nb_classes=target.classes,
        clip_values=(0.0, 255.0),
        device_type="gpu" if target.engine.device.type == "cuda" else "cpu",
    )
    within: dict[str, Any] = {"norm": np.inf, "eps": radius}
    climb = within | {"eps_step": 2 * radius, "max_iter": STEPS, "nb_random_init": 1, "batch_size": AT_ONCE}
    # The difference of logits ratio needs three classes.
    losses = ("cross_entropy", "difference_logits_ratio") if target.classes > 2 else ("cross_entropy",)
    attacks = [
        *(evasion.AutoProjectedGradientDescent(network, loss_type=loss, verbose=False, **climb) for loss in losses),
        evasion.DeepFool(network, max_iter=STEPS, batch_size=AT_ONCE, verbose=False),
        evasion.SquareAttack(network, max_iter=QUERIES, nb_restarts=1, batch_size=AT_ONCE, verbose=False, **within),
    ]
    return evasion.AutoAttack(network, eps_step=radius / 4, attacks=attacks, batch_size=AT_ONCE, **within)


class _ChannelsFirst(nn.Module):
    """Take [N, C, H, W], as the toolbox gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(pictures.permute(0, 2, 3, 1))
