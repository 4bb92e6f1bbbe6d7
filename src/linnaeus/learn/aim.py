"""What one training makes small: the loss, a teacher's answers, attacks, and classes of unequal size, in one objective."""

from __future__ import annotations

from torch import nn

from linnaeus.config import Recipe
from linnaeus.data.batches import Sampling
from linnaeus.errors import SettingsError
from linnaeus.learn.adversarial import adversarial
from linnaeus.learn.balance import Balance, loss_of, sampling_of
from linnaeus.learn.distill import distilled
from linnaeus.learn.engine import Engine
from linnaeus.learn.material import UNLABELLED, Material
from linnaeus.learn.objectives import Objective, supervised
from linnaeus.nn.input import FromBytes


def objective_of(
    recipe: Recipe,
    material: Material,
    balance: Balance,
    from_bytes: FromBytes,
    teacher: nn.Module | None,
    engine: Engine,
) -> Objective:
    """Build the objective that a recipe asks for.

    Args:
        recipe: Nothing left open.
        material: Whose class sizes count.
        balance: What is done about them.
        from_bytes: The network's normalisation, for attacks on the picture itself.
        teacher: Gives logits [N, K] for the network's input.
        engine: Where the loss is computed.
    """
    settings, changes = recipe.train, recipe.augment
    loss = loss_of(settings, material.counts(), balance).to(engine.device)
    objective = supervised(loss, mixup=changes.mixup, cutmix=changes.cutmix)
    if teacher is not None:
        assert settings.teacher_weight is not None
        assert settings.teacher_temperature is not None
        objective = distilled(
            teacher,
            loss,
            settings.teacher_temperature,
            settings.teacher_weight,
            mixup=changes.mixup,
            cutmix=changes.cutmix,
        )
    if not settings.adversarial:
        return objective
    return adversarial(objective, from_bytes, radius=settings.adversarial, steps=settings.adversarial_steps)


def sampling_for(balance: Balance, material: Material) -> Sampling:
    """Say which pictures make an epoch.

    Raises:
        SettingsError: They are to be chosen by their label, and some have none.
    """
    sampling = sampling_of(balance)
    if sampling != "all" and len(material.split.rows(UNLABELLED)):
        raise SettingsError(
            f"train.balance = {balance} chooses pictures by their label.",
            got="pictures without one, too",
            fix="take train.balance=weights, or leave train.unlabelled out.",
        )
    return sampling
