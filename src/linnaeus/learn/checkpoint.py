"""The state of a training, in one safetensors file that is whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from linnaeus.atomic import whole
from linnaeus.errors import RunError
from linnaeus.learn.optim import Average


@dataclass
class Progress:
    """Everything of a training that is not a tensor.

    Attributes:
        step: Steps done.
        best_loss: Least validation loss so far.
        best_epoch: When that was.
        epochs_without_gain: For early stopping.
        loss_sum: Over the present epoch, for the learning curve.
        right: Pictures classified rightly in the present epoch.
        seen: Pictures of the present epoch.
        steps_planned: Length of the run as a budget allowed it; -1 without a budget.
        views: Views of each picture as a budget allowed them.
        ended: Why the training ended before its length was reached; "" if it did not.
        evaluation_s: Seconds that evaluating val and test takes, as measured for the budget.
        balance: What is done about classes of unequal size; "" before that is settled.
        balance_reason: Why, where the program chose.
        lesson: Fingerprint of the teacher and of the unlabelled pictures; "" without a teacher.
        code: Fingerprint of the user's code that built the network; "" of other networks.
    """

    step: int = 0
    best_loss: float = float("inf")
    best_epoch: float = 0
    epochs_without_gain: int = 0
    loss_sum: float = 0
    right: int = 0
    seen: int = 0
    steps_planned: int = -1
    views: int = 0
    ended: str = ""
    evaluation_s: float = 0
    balance: str = ""
    balance_reason: str = ""
    lesson: str = ""
    code: str = ""


@dataclass
class TrainState:
    """What a training is at one moment, apart from the data.

    Attributes:
        network: Weights and statistics.
        optimizer: Its moments.
        average: Moving average, if any.
        best: Weights of the best validation loss so far.
        progress: Counters.
    """

    network: nn.Module
    optimizer: Optimizer
    average: Average | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)

    def save(self, path: Path) -> None:
        """Write the whole state; the old one stays until the new one is complete."""
        with whole(path) as unfinished:
            save_file(self._tensors(), unfinished, {"progress": json.dumps(vars(self.progress)), **self._counters()})

    def load(self, path: Path) -> bool:
        """Take up the state of a checkpoint; tell whether there was one.

        Raises:
            RunError: The checkpoint belongs to another network or optimizer.
        """
        if not path.is_file():
            return False
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata()
        groups = _by_prefix(tensors)
        try:
            self.network.load_state_dict(groups.get("network", {}))
        except RuntimeError as error:
            raise RunError(f"{path} should fit the network.", got=str(error), fix="train anew.") from None
        self._load_moments(groups.get("optimizer", {}))
        self.best = groups.get("best", {})
        if self.average:
            for name, value in groups["average"].items():
                self.average.values[name].copy_(value)
            self.average.updates = int(metadata["updates"])
        self.progress = Progress(**json.loads(metadata["progress"]))
        return True

    def _tensors(self) -> dict[str, Tensor]:
        named: dict[str, Mapping[str, Any]] = {"network": self.network.state_dict(), "best": self.best}
        if self.average:
            named["average"] = self.average.values
        named["optimizer"] = {
            f"{row}.{name}": value
            for row, parameter in enumerate(_parameters(self.optimizer))
            for name, value in self.optimizer.state[parameter].items()
            if isinstance(value, Tensor)
        }
        # Tensors may share memory (the best weights with the present ones) or be channels last: safetensors wants neither.
        return {
            f"{kind}/{name}": value.detach().clone().contiguous()
            for kind, group in named.items()
            for name, value in group.items()
        }

    def _counters(self) -> dict[str, str]:
        return {"updates": str(self.average.updates)} if self.average else {}

    def _load_moments(self, moments: Mapping[str, Tensor]) -> None:
        parameters = _parameters(self.optimizer)
        for dotted, value in moments.items():
            row, name = dotted.split(".", 1)
            parameter = parameters[int(row)]
            place = value.to(parameter.device)
            if place.shape == parameter.shape:
                # The moments keep the parameter's memory format, or the sums would be rounded in another order.
                place = parameter.detach().clone().copy_(place)
            self.optimizer.state[parameter][name] = place


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _by_prefix(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for dotted, value in tensors.items():
        kind, name = dotted.split("/", 1)
        groups.setdefault(kind, {})[name] = value
    return groups
