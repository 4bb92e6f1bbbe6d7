"""Which method to believe here: does its map depend on what was learned, and does it point at what counts?"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from linnaeus.nn.stages import stages
from linnaeus.records import Estimate, Place
from linnaeus.verbs.explain.likeness import rank_correlation, smaller, structural_similarity
from linnaeus.verbs.explain.neighbours import pixels_at
from linnaeus.verbs.explain.perturbations import blurred

if TYPE_CHECKING:
    from linnaeus.talk import Talk
    from linnaeus.verbs.explain.methods import Method
    from linnaeus.verbs.explain.subject import Subject

STEPS = 20
"""Points of the deletion and insertion curves: 5 % of the pixels each."""
ALIKE = 0.5
"""Maps of the trained and of a random network with a higher rank correlation are called alike."""
QUICK_PICTURES, SLOW_PICTURES = 8, 4
DRAWS = 4
"""Networks with different random weights; each picture meets one of them."""
SHARES = ("top stage", "upper half", "all")
"""How much of the network is random, from the top down; slow methods only meet the last."""


@dataclass(frozen=True)
class Case:
    """One picture, uint8 [S, S, C], and the class that is explained."""

    pixels: np.ndarray
    k: int


@dataclass(frozen=True)
class Check:
    """What is known of one method on this network.

    Attributes:
        randomisation: Rank correlation of the maps of the trained network and of one with random weights; low is good.
        structure: The same by structural similarity.
        cascade: Rank correlation after each step from the top down: share of the stages that are random -> mean.
        deletion: Area under the class's probability as the hottest pixels are taken away first; low is good.
        insertion: Area as they are put in first; high is good.
        gain: Insertion minus deletion.
        seconds: For one map.
    """

    randomisation: Estimate
    structure: Estimate
    cascade: Mapping[str, float]
    deletion: Estimate
    insertion: Estimate
    gain: Estimate
    seconds: float

    @property
    def sane(self) -> bool:
        """Tell whether the map changes with the weights."""
        return self.randomisation.value < ALIKE


@dataclass(frozen=True)
class Checks:
    """What is known of all methods.

    Attributes:
        methods: By name.
        chance: Gain of pixels in random order: a method should be better.
        believe: The sane method with the greatest gain, if that is greater than by chance; else None.
    """

    methods: Mapping[str, Check]
    chance: Estimate
    believe: str | None

    def document(self) -> dict[str, Any]:
        """Write as plain values, by method."""
        return {name: asdict(one) | {"sane": one.sane} for name, one in self.methods.items()}

    def words(self) -> list[str]:
        """Say it to a person, one line per method and one with the conclusion."""
        lines = []
        for name, one in self.methods.items():
            verdict = "changes" if one.sane else "stays much the same"
            warning = "" if one.sane else ", so it shows the picture more than the network"
            lines.append(
                f"{name}: {verdict} when the weights are random (likeness {one.randomisation.value:.2f}){warning}; "
                f"deletion {one.deletion.value:.2f}, insertion {one.insertion.value:.2f}, gain {one.gain.value:.2f} "
                f"({one.gain.low:.2f} to {one.gain.high:.2f}, {one.gain.n} pictures)"
            )
        chance = f"pixels in random order gain {self.chance.value:.2f}"
        if self.believe is None:
            return [*lines, f"believe none of these here: none changes and gains more than chance; {chance}"]
        return [*lines, f"believe {self.believe} here: it changes, and gains most; {chance}"]


def check(subject: Subject, cases: Sequence[Case], methods: Sequence[Method], talk: Talk, seed: int = 0) -> Checks:
    """Test methods on some pictures.

    Args:
        subject: The trained network.
        cases: At least one; quick methods take the first QUICK_PICTURES, slow ones the first SLOW_PICTURES.
        methods: To be tested.
        talk: Where progress goes.
        seed: Of the random weights and of methods that draw.
    """
    assert cases, "a check needs pictures"
    trials = [_Trial.of(subject, cases, method, talk, seed) for method in methods]
    pictures = np.stack([case.pixels for case in cases[:QUICK_PICTURES]])
    for done, (share, draw) in enumerate(itertools.product(SHARES, range(DRAWS))):
        talk.progress("checking: random weights", done, len(SHARES) * DRAWS)
        # One at a time: a large network would not fit into memory many times over.
        other = _random_from_top(subject, share, pictures, seed + draw)
        for trial in trials:
            trial.compare(other, share, draw)
    talk.progress("checking: random weights", len(SHARES) * DRAWS, len(SHARES) * DRAWS)
    found = {trial.method.name: trial.result() for trial in trials}
    random = np.random.default_rng(seed)
    blind = [_areas(subject, case, random.random(case.pixels.shape[:2]), seed) for case in cases[:QUICK_PICTURES]]
    chance = mean([insertion - deletion for deletion, insertion in blind], -1, 1)
    fine = [name for name, one in found.items() if one.sane and one.gain.value > chance.value]
    return Checks(found, chance, max(fine, key=lambda name: found[name].gain.value) if fine else None)


def readable_cases(subject: Subject, places: Iterable[Place]) -> list[Case]:
    """Read the first pictures that can be read, as many as the checks use, with the classes that the network names."""
    cases: list[Case] = []
    for place in places:
        pixels = pixels_at(place, subject.classifier.preprocessing)
        if isinstance(pixels, np.ndarray):
            cases.append(Case(pixels, int(subject.probabilities(pixels[None])[0].argmax())))
        if len(cases) == QUICK_PICTURES:
            break
    return cases


def mean(values: Sequence[float], lowest: float, highest: float) -> Estimate:
    """Average over pictures, with Student's interval; of one picture nothing is known but the range."""
    from scipy.stats import t

    n, value = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(value, lowest, highest, n, "range")
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)
    return Estimate(value, max(lowest, value - half), min(highest, value + half), n, "student")


def shuffle_weights(network: nn.Module, names: Sequence[str], seed: int) -> nn.Module:
    """Copy a network with the numbers inside each of the named parameters in random order.

    That keeps their distribution, so that signals neither explode nor vanish on their way, and nothing of what they
    knew. A parameter is shuffled alike whatever else is.
    """
    shuffled = copy.deepcopy(network)
    wanted = set(names)
    with torch.no_grad():
        for number, (name, value) in enumerate(shuffled.named_parameters()):
            if name in wanted:
                order = torch.from_numpy(np.random.default_rng((seed, number)).permutation(value.numel()))
                value.copy_(value.flatten()[order.to(value.device)].view_as(value))
    return shuffled


def deletion_curve(subject: Subject, case: Case, heat: np.ndarray, seed: int = 0) -> np.ndarray:
    """Watch the class's probability as the hottest pixels take the picture's mean colour, [STEPS + 1].

    Source:
        V. Petsiuk et al. (2018), BMVC, arXiv:1806.07421. Deviation: mean colour instead of one grey for all.
    """
    blank = np.rint(case.pixels.mean(axis=(0, 1))).astype(np.uint8)
    return _curve(subject, case, heat, case.pixels, np.broadcast_to(blank, case.pixels.shape), seed)


def insertion_curve(subject: Subject, case: Case, heat: np.ndarray, seed: int = 0) -> np.ndarray:
    """Watch the class's probability as the hottest pixels become sharp in a blurred picture, [STEPS + 1].

    Source:
        V. Petsiuk et al. (2018), BMVC, arXiv:1806.07421.
    """
    return _curve(subject, case, heat, blurred(case.pixels), case.pixels, seed)


@dataclass
class _Trial:
    """One method under test: its maps for the trained network, and what has been compared with them."""

    method: Method
    cases: Sequence[Case]
    heat: list[np.ndarray]
    areas: list[tuple[float, float]]
    seconds: float
    seed: int
    ranks: dict[str, list[float]] = field(default_factory=dict)
    structures: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, subject: Subject, cases: Sequence[Case], method: Method, talk: Talk, seed: int) -> _Trial:
        """Draw the maps and follow their curves."""
        some = cases[: QUICK_PICTURES if method.quick else SLOW_PICTURES]
        heat, areas, seconds = [], [], []
        for number, case in enumerate(some):
            talk.progress(f"checking: {method.name}", number, len(some))
            started = time.perf_counter()
            heat.append(method.draw(subject, case.pixels, case.k, seed))
            seconds.append(time.perf_counter() - started)
            areas.append(_areas(subject, case, heat[-1], seed))
        talk.progress(f"checking: {method.name}", len(some), len(some))
        # The first map may have had to load or compile something.
        return cls(method, some, heat, areas, float(np.median(seconds)), seed)

    def compare(self, other: Subject, share: str, draw: int) -> None:
        """Draw the maps of a network with random weights for the pictures whose turn it is."""
        if share != "all" and not self.method.quick:
            return
        for number in range(draw, len(self.cases), DRAWS):
            case = self.cases[number]
            changed = smaller(self.method.draw(other, case.pixels, case.k, self.seed))
            self.ranks.setdefault(share, []).append(rank_correlation(smaller(self.heat[number]), changed))
            if share == "all":
                self.structures.append(structural_similarity(smaller(self.heat[number]), changed))

    def result(self) -> Check:
        """Average over the pictures."""
        return Check(
            randomisation=mean(self.ranks["all"], -1, 1),
            structure=mean(self.structures, -1, 1),
            cascade={share: float(np.mean(values)) for share, values in self.ranks.items()},
            deletion=mean([deletion for deletion, _ in self.areas], 0, 1),
            insertion=mean([insertion for _, insertion in self.areas], 0, 1),
            gain=mean([insertion - deletion for deletion, insertion in self.areas], -1, 1),
            seconds=self.seconds,
        )


def _random_from_top(subject: Subject, share: str, pictures: np.ndarray, seed: int) -> Subject:
    """Randomise the network from the head down.

    Source:
        J. Adebayo et al. (2018), NeurIPS, arXiv:1810.03292 (cascading randomisation). Deviations: shuffled instead of
        newly drawn weights, and batch norms measure their statistics anew.
    """
    groups = stages(subject.network)
    count = {"top stage": 1, "upper half": -(-len(groups) // 2), "all": len(groups)}[share]
    names = [name for group in groups[-count:] for name in group]
    other = subject.with_network(shuffle_weights(subject.network, names, seed))
    _measure_norms(other, pictures)
    return other


def _measure_norms(subject: Subject, pictures: np.ndarray) -> None:
    """Let the batch norms follow the new weights: with statistics of the old ones, signals would explode."""
    norms = [
        layer for layer in subject.network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    # Mirrored too: a norm cannot learn statistics from one value.
    both = torch.cat([subject.normalised(one) for one in (*pictures, *pictures[:, :, ::-1])])
    with torch.no_grad():
        subject.network(both)
    for norm in norms:
        norm.eval()


def _areas(subject: Subject, case: Case, heat: np.ndarray, seed: int) -> tuple[float, float]:
    curves = (deletion_curve(subject, case, heat, seed), insertion_curve(subject, case, heat, seed))
    deletion, insertion = (float(np.trapezoid(curve, dx=1 / STEPS)) for curve in curves)
    return deletion, insertion


def _curve(
    subject: Subject, case: Case, heat: np.ndarray, before: np.ndarray, after: np.ndarray, seed: int
) -> np.ndarray:
    S = case.pixels.shape[0]
    # Places of equal heat, such as all where it is 0, are taken in random order and not row by row.
    order = np.lexsort((np.random.default_rng(seed).random(S * S), -heat.ravel()))
    turn = np.empty(S * S, np.int64)
    turn[order] = np.arange(S * S)
    turn = turn.reshape(S, S, 1)
    pictures = np.stack([np.where(turn < S * S * step // STEPS, after, before) for step in range(STEPS + 1)])
    return subject.probabilities(pictures)[:, case.k]
