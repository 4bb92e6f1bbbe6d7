"""Learn from a trained network: its answers to the very pictures that the student sees, labelled or not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.errors import SettingsError
from linnaeus.learn.objectives import CROSS_ENTROPY, Batch, Loss, Objective, Outcome, mix
from linnaeus.records import Preprocessing


class Teacher(nn.Module):
    """A trained network that answers to pictures as a student gets them: in the student's size, normalisation, classes.

    Args:
        network: The teacher's; its parameters are held fixed.
        seen: How pictures become the teacher's input.
        given: How they become the student's.
        columns: For each class of the student, the number of the teacher's.
    """

    def __init__(self, network: nn.Module, seen: Preprocessing, given: Preprocessing, columns: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        self.seen, self.given, self.columns = seen, given, list(columns)
        self.same = (seen.mean, seen.std, seen.channels) == (given.mean, given.std, given.channels)
        self.in_order = list(columns) == list(range(len(columns)))
        self.train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode: a teacher does not learn."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Compute the teacher's logits, float32 [N, K] in the student's order, for the student's input [N, C, H, W]."""
        x = pictures if self.same else self._renormalised(pictures)
        size_px = self.seen.size_px
        if x.shape[-1] != size_px:
            x = functional.interpolate(
                x.float(), (size_px, size_px), mode="bilinear", antialias=True, align_corners=False
            )
        logits = self.network(x).float()
        return logits if self.in_order else logits[:, self.columns]

    def _renormalised(self, pictures: Tensor) -> Tensor:
        x = pictures * _per_channel(self.given.std, pictures) + _per_channel(self.given.mean, pictures)
        if self.seen.channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        elif self.seen.channels == 1 and x.shape[1] == 3:
            # ITU-R 601, as grey pictures are made everywhere.
            x = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        return (x - _per_channel(self.seen.mean, x)) / _per_channel(self.seen.std, x)


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1)


def same_classes(teacher: Sequence[str], student: Sequence[str], name: str) -> tuple[int, ...]:
    """Find the teacher's number of each of the student's classes.

    Raises:
        SettingsError: They do not know the same classes.
    """
    missing, strange = sorted(set(student) - set(teacher)), sorted(set(teacher) - set(student))
    if missing or strange:
        got = [f"it does not know {', '.join(missing[:3])}"] if missing else []
        got += [f"it knows {', '.join(strange[:3])} as well"] if strange else []
        raise SettingsError(
            f"the teacher {name} should know the classes of these pictures.",
            got=" and ".join(got),
            fix="take a run that was trained on the same classes.",
        )
    return tuple(list(teacher).index(one) for one in student)


def lesson_of(teacher: nn.Module, hashes: Sequence[str]) -> str:
    """Take the fingerprint of what is taught: the teacher's weights, and the contents of the unlabelled pictures."""
    digest = hashlib.sha256("\n".join(hashes).encode())
    for name, value in teacher.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def distilled(
    teacher: nn.Module | None,
    loss: Loss = CROSS_ENTROPY,
    temperature: float = 1.0,
    weight: float = 0.9,
    *,
    mixup: float = 0,
    cutmix: float = 0,
) -> Objective:
    """Make the objective of learning from a teacher: soft answers for all pictures, labels for those that have one.

    The teacher sees the very pictures of the batch, changed and mixed alike ("consistent teaching"). Where a batch brings
    the teacher's answers along (`Batch.taught`), they are taken. A picture without a label (-1) has the teacher's
    term only, and is right where it is named as the teacher names it.

    Args:
        teacher: Gives logits [N, K] for the student's input; not needed where all batches bring answers along.
        loss: Of the labels.
        temperature: Divides both networks' logits; above 1, the teacher's small probabilities count for more.
        weight: Of the teacher's term, 0..1; the labels have the rest.
        mixup: Alpha; 0 is off.
        cutmix: Alpha; 0 is off.

    Source:
        Hinton, Vinyals, Dean (2015), arXiv:1503.02531: the term times temperature squared, so that its gradient keeps its
        size. Beyer et al. (2022), arXiv:2106.05237: same picture, same crop for both. Deviation: the divergence of
        Kullback and Leibler instead of the cross-entropy, so that 0 is a perfect student; the gradient is the same.
    """

    def learn(network: nn.Module, batch: Batch) -> Outcome:
        pictures, partner, share = batch.pictures, None, 1.0
        if mixup or cutmix:
            pictures, partner, share = mix(batch, mixup, cutmix)
        answers = _answers(teacher, batch, pictures, partner, share, temperature)
        logits = network(pictures).float()
        found = (1 - weight) * share * _of_labels(loss, logits, batch.labels)
        if partner is not None:
            found = found + (1 - weight) * (1 - share) * _of_labels(loss, logits, batch.labels[partner])
        soft = functional.kl_div((logits / temperature).log_softmax(1), answers, reduction="sum")
        n = len(batch.labels)
        truth = torch.where(batch.labels >= 0, batch.labels, answers.argmax(1))
        right = (logits.detach().argmax(1) == truth).sum()
        return Outcome((found + weight * temperature**2 * soft) / n, right, n, torch.tensor(float(n)))

    return learn


def _answers(
    teacher: nn.Module | None, batch: Batch, pictures: Tensor, partner: Tensor | None, share: float, temperature: float
) -> Tensor:
    """Get the teacher's probabilities, [N, K]; answers that were brought along are mixed as the pictures are."""
    if batch.taught is None:
        assert teacher is not None, "a teacher, or answers that were brought along"
        return (teacher(pictures) / temperature).softmax(1)
    known = (batch.taught.float() / temperature).softmax(1)
    return known if partner is None else known.lerp(known[partner], 1 - share)


def _of_labels(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """Sum the loss of the pictures that have a label."""
    known = labels >= 0
    return loss.total(logits[known], labels[known]) if bool(known.any()) else logits.sum() * 0
