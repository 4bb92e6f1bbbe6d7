"""train: learn a classifier from pictures that were scanned and split."""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.data.batches import BytesBatch, Feed
from linnaeus.data.pixels import Pixels
from linnaeus.errors import Interrupted
from linnaeus.learn.checkpoint import TrainState
from linnaeus.learn.engine import Engine
from linnaeus.learn.head import folds_of, solve_head
from linnaeus.learn.infer import infer
from linnaeus.learn.loop import Step, check_finite
from linnaeus.learn.loop import train as steps_of
from linnaeus.learn.objectives import Batch, Objective, inverse_frequency, supervised
from linnaeus.learn.optim import Average, Schedule, make_optimizer, make_schedule
from linnaeus.metrics import fit_temperature
from linnaeus.nn import stages, zoo
from linnaeus.nn.head import features, headless, set_head
from linnaeus.nn.input import FromBytes
from linnaeus.nn.small import SmallNet
from linnaeus.records import Decision, Preprocessing, Split
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk

EVALUATE_AT_ONCE = 250
READ_LOSSES_EVERY = 20
FINISH_S = 12.0
"""Seconds of a budget that are kept for the report."""


@dataclass(frozen=True)
class Material:
    """What there is to learn from.

    Attributes:
        pixels: Stored pictures by row number.
        labels: Class numbers, int64 [N].
        hashes: Content hash of each picture.
        split: Which row is train, val or test.
        classes: K names.
        preprocessing: How pictures become the network's input.
    """

    pixels: Pixels
    labels: np.ndarray
    hashes: tuple[str, ...]
    split: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    def blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield pictures as evaluation sees them, some at a time: uint8 [n, S, S, C]."""
        for first in range(0, len(rows), EVALUATE_AT_ONCE):
            yield self.pixels.block(rows[first : first + EVALUATE_AT_ONCE], self.preprocessing.size_px)

    def counts(self) -> np.ndarray:
        """Count the training pictures of each class, [K]."""
        return np.bincount(self.labels[self.split.rows("train")], minlength=len(self.classes))


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Attributes:
        classifier: Calibrated.
        epochs: Passes done.
        best_epoch: After how many of them the kept weights were reached.
        stopped: Why it ended: "all epochs done", "patience", "budget".
        decisions: What was decided on the way.
    """

    classifier: Classifier
    epochs: float
    best_epoch: float
    stopped: str
    decisions: tuple[Decision, ...] = ()


def train(run: Run, material: Material, recipe: Recipe, *, clock: Clock, talk: Talk) -> Trained:
    """Learn a classifier; go on from the run's checkpoint if it has one.

    Args:
        run: Gets the journal and the checkpoints.
        material: What to learn from.
        recipe: Nothing left open.
        clock: The budget.
        talk: Where words and progress go.

    Raises:
        NonFiniteError: The loss left the finite numbers.
        Interrupted: Ctrl-C; the state is saved.
    """
    assert recipe.model.name and recipe.model.weights and recipe.train.precision
    torch.manual_seed(recipe.seed)
    engine = Engine(recipe.train.precision, recipe.seed)
    network = zoo.create(
        recipe.model.name,
        num_classes=len(material.classes),
        channels=material.preprocessing.channels,
        size_px=material.preprocessing.size_px,
        weights=recipe.model.weights,
        options=recipe.model.options,
    )
    classifier = Classifier(
        network=network,
        architecture=recipe.model.name,
        classes=material.classes,
        preprocessing=material.preprocessing,
        options=recipe.model.options,
    )
    resumed = (run.checkpoint_dir / "state.safetensors").is_file()
    if not resumed:
        _begin(network, material, recipe, engine, talk)
    engine.place(network)
    trained = Trained(classifier, 0, 0, "the head is solved, nothing else was trained")
    if recipe.train.epochs:
        trained = _Fit(run, material, recipe, engine, classifier, clock, talk).run_through()
    return replace(trained, classifier=_calibrate(trained.classifier, material, recipe))


def _begin(network: nn.Module, material: Material, recipe: Recipe, engine: Engine, talk: Talk) -> None:
    """Give the network its start: statistics of the data, or a solved head."""
    rows = material.split.rows("train")
    if isinstance(network, SmallNet) and recipe.model.weights == "none":
        some = np.random.default_rng(recipe.seed).permutation(rows)[:5000]
        from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
        network.init_from(from_bytes(torch.from_numpy(np.concatenate(list(material.blocks(some))))))
    if recipe.train.start == "head":
        with talk.stage("features"):
            found = _features(network, material, rows, engine, talk)
        labels = torch.from_numpy(material.labels[rows])
        with talk.stage("head"):
            head = solve_head(
                found,
                labels,
                len(material.classes),
                folds_of([material.hashes[row] for row in rows]),
                inverse_frequency(material.counts()) if recipe.train.class_weights else None,
            )
        set_head(network, head.weight, head.bias)


def _features(network: nn.Module, material: Material, rows: np.ndarray, engine: Engine, talk: Talk) -> torch.Tensor:
    """Compute what the linear head reads, float32 [N, D]."""
    from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std)
    first = from_bytes(torch.from_numpy(material.pixels.block(rows[:1], material.preprocessing.size_px)))
    with torch.no_grad():
        features(network.eval(), first)  # tells whether this network's features are what its head reads
    parts, done = [], 0
    with headless(network):
        for part in infer(network, material.blocks(rows), material.preprocessing, engine):
            parts.append(part)
            done += len(part)
            talk.progress("features", done, len(rows))
    return torch.cat(parts)


class _Fit:
    """One gradient training: the caller's side of the loop."""

    def __init__(
        self,
        run: Run,
        material: Material,
        recipe: Recipe,
        engine: Engine,
        classifier: Classifier,
        clock: Clock,
        talk: Talk,
    ) -> None:
        assert recipe.train.batch_size and recipe.train.epochs
        self.run, self.material, self.recipe, self.engine = run, material, recipe, engine
        self.classifier, self.network, self.clock, self.talk = classifier, classifier.network, clock, talk
        self.feed = Feed(
            pictures=material.pixels,
            rows=material.split.rows("train"),
            labels=material.labels,
            settings=recipe.augment,
            size_px=material.preprocessing.size_px,
            batch_size=recipe.train.batch_size,
            seed=recipe.seed,
        )
        self.from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std).to(engine.device)
        self.objective = self._objective()
        self.groups = len(stages.stages(self.network))
        if not recipe.model.unfreeze_every:
            stages.freeze(self.network, recipe.model.freeze)
        optimizer = make_optimizer(
            self.network,
            recipe.optim,
            stages.no_decay(self.network),
            stages.layer_scales(self.network, recipe.model.layer_decay) if recipe.model.layer_decay < 1 else {},
        )
        average = Average(self.network, recipe.optim.ema) if recipe.optim.ema else None
        self.state = TrainState(self.network, optimizer, average)
        self.decisions: list[Decision] = []
        self.waiting: list[Step] = []
        self.saved_at = time.monotonic()

    def run_through(self) -> Trained:
        """Train to the end; save on the way and when interrupted."""
        if self.state.load(self.run.checkpoint_dir):
            self.run.rewind_journal(self.state.progress.step)
        per_epoch = self.feed.steps_per_epoch
        total = self._length()
        schedule = make_schedule(self.recipe.optim, total, per_epoch)
        stopped = "all epochs done"
        with _interruptible() as interrupted:
            for step in self._steps(schedule, total):
                self._note(step)
                done = step.number + 1
                if done % per_epoch == 0 or done == total:
                    self._end_epoch(done, schedule)
                    if self._out_of_patience():
                        stopped = "patience"
                        break
                if self.clock.left() < FINISH_S + self.evaluation_s:
                    self._end_epoch(done, schedule)
                    stopped = "budget"
                    break
                if interrupted.is_set():
                    self._save()
                    raise Interrupted(str(self.run.folder))
                if time.monotonic() - self.saved_at > self.recipe.train.checkpoint_every_s:
                    self._save()
        return self._result(stopped)

    def _steps(self, schedule: Schedule, total: int) -> Iterator[Step]:
        self._thaw(self.state.progress.step // self.feed.steps_per_epoch)
        return steps_of(
            self.network,
            map(self._to_batch, self.feed.batches(self.state.progress.step, total)),
            self.objective,
            self.state.optimizer,
            schedule,
            self.engine,
            first=self.state.progress.step,
            clip_norm=self.recipe.optim.clip_norm,
        )

    def _to_batch(self, made: BytesBatch) -> Batch:
        device = self.engine.device
        pictures = self.from_bytes(torch.from_numpy(made.pictures).to(device, non_blocking=True))
        return Batch(pictures, torch.from_numpy(made.labels).to(device, non_blocking=True), made.seed)

    def _objective(self) -> Objective:
        settings = self.recipe
        weights = inverse_frequency(self.material.counts()) if settings.train.class_weights else None
        return supervised(
            label_smoothing=settings.train.label_smoothing,
            class_weights=None if weights is None else weights.to(self.engine.device),
            mixup=settings.augment.mixup,
            cutmix=settings.augment.cutmix,
        )

    def _length(self) -> int:
        """Count the steps to be done; a budget may allow fewer than were asked for."""
        assert self.recipe.train.epochs
        wanted = max(1, round(self.recipe.train.epochs * self.feed.steps_per_epoch))
        progress = self.state.progress
        self.evaluation_s = progress.evaluation_s
        if self.recipe.budget_s is None or progress.steps_planned:
            return progress.steps_planned or wanted
        step_s, self.evaluation_s = self._pace()
        progress.evaluation_s = self.evaluation_s
        epoch_s = step_s * self.feed.steps_per_epoch + self._val_share() * self.evaluation_s
        room = self.clock.left() - FINISH_S - self.evaluation_s
        fits = int(0.9 * room / epoch_s * self.feed.steps_per_epoch)
        progress.steps_planned = max(1, min(wanted, fits))
        if progress.steps_planned < wanted:
            epochs = round(progress.steps_planned / self.feed.steps_per_epoch, 2)
            reason = f"the budget leaves {room:.0f} s at {epoch_s:.1f} s an epoch"
            self.decisions.append(Decision("train.epochs", epochs, reason))
            self.talk.say(f"train.epochs = {epochs}: {reason}")
        return progress.steps_planned

    def _pace(self) -> tuple[float, float]:
        """Measure seconds per step, and seconds to evaluate val and test, on a throw-away copy."""
        twin = copy.deepcopy(self.network)
        optimizer = make_optimizer(twin, self.recipe.optim, set(), {})
        batches = map(self._to_batch, self.feed.batches(0, 5))
        marks = []
        stages.train_mode(twin)
        for _ in steps_of(twin, batches, self.objective, optimizer, lambda _: 0.0, self.engine):
            marks.append(time.monotonic())
        rows = np.flatnonzero(self.material.split.parts != "train")
        if not len(rows):
            return float(np.median(np.diff(marks))), 0.0
        some = list(self.material.blocks(rows[:EVALUATE_AT_ONCE]))
        started = time.monotonic()
        replace(self.classifier, network=twin).log_probabilities(some)
        return float(np.median(np.diff(marks))), (time.monotonic() - started) * len(rows) / len(some[0])

    def _val_share(self) -> float:
        parts = self.material.split.parts
        return float((parts == "val").sum() / max(1, (parts != "train").sum()))

    def _note(self, step: Step) -> None:
        self.waiting.append(step)
        if self.state.average:
            self.state.average.update(self.network)
        if len(self.waiting) >= READ_LOSSES_EVERY:
            self._read_losses()

    def _read_losses(self) -> None:
        """Read the losses of the last steps; late, so that a GPU is not kept waiting."""
        progress = self.state.progress
        for step in self.waiting:
            check_finite(step, self.network, self.state.optimizer)
            progress.loss_sum += step.loss.item() * step.n
            progress.right += int(step.right)
            progress.seen += step.n
            progress.step = step.number + 1
        self.waiting.clear()
        epoch = progress.step / self.feed.steps_per_epoch
        total = progress.steps_planned or round((self.recipe.train.epochs or 0) * self.feed.steps_per_epoch)
        shown = f"train: epoch {epoch:.1f}, loss {progress.loss_sum / max(1, progress.seen):.3f}"
        self.talk.progress(shown, progress.step, total)

    def _end_epoch(self, done: int, schedule: Schedule) -> None:
        """Measure on the validation part, remember the best weights, write the journal, save."""
        self._read_losses()
        progress, epoch = self.state.progress, done / self.feed.steps_per_epoch
        event: dict[str, Any] = {
            "event": "epoch",
            "time": time.time(),
            "step": done,
            "epoch": round(epoch, 4),
            "train_loss": progress.loss_sum / max(1, progress.seen),
            "train_accuracy": progress.right / max(1, progress.seen),
            "lr": (self.recipe.optim.lr or 0) * schedule(done - 1),
        }
        loss, accuracy = self._validate()
        if loss is not None:
            event |= {"val_loss": loss, "val_accuracy": accuracy}
        gained = loss is not None and loss < progress.best_loss
        if loss is None or gained or self.recipe.train.keep == "last":
            self.state.best = {name: value.detach().clone() for name, value in self._weights().items()}
            progress.best_epoch = epoch
        progress.best_loss = min(progress.best_loss, loss if loss is not None else progress.best_loss)
        progress.epochs_without_gain = 0 if gained else progress.epochs_without_gain + 1
        progress.loss_sum, progress.right, progress.seen = 0.0, 0, 0
        self.run.log(event)
        self._thaw(done // self.feed.steps_per_epoch)
        self._save()

    def _validate(self) -> tuple[float | None, float | None]:
        rows = self.material.split.rows("val")
        if not len(rows):
            return None, None
        network = self.network
        if self.state.average:
            network = copy.deepcopy(self.network)
            network.load_state_dict(self.state.average.values)
        logs = replace(self.classifier, network=network).log_probabilities(self.material.blocks(rows), self.engine)
        labels = self.material.labels[rows]
        known = labels >= 0
        loss = float(-logs[known, labels[known]].mean())
        return loss, float((logs.argmax(1) == labels)[known].mean())

    def _weights(self) -> dict[str, torch.Tensor]:
        return self.state.average.values if self.state.average else self.network.state_dict()

    def _thaw(self, epoch: int) -> None:
        every = self.recipe.model.unfreeze_every
        if every:
            stages.freeze(self.network, self.groups - stages.unfrozen_stages(epoch, every, self.groups))
        stages.train_mode(self.network)

    def _out_of_patience(self) -> bool:
        patience = self.recipe.train.patience
        return patience is not None and self.state.progress.epochs_without_gain >= patience

    def _save(self) -> None:
        self._read_losses()
        self.state.save(self.run.checkpoint_dir)
        self.saved_at = time.monotonic()

    def _result(self, stopped: str) -> Trained:
        progress = self.state.progress
        self.network.load_state_dict(self.state.best)
        self.network.eval()
        epochs = progress.step / self.feed.steps_per_epoch
        return Trained(self.classifier, epochs, progress.best_epoch, stopped, tuple(self.decisions))


def _calibrate(classifier: Classifier, material: Material, recipe: Recipe) -> Classifier:
    """Fit the temperature on the validation part."""
    rows = material.split.rows("val")
    rows = rows[material.labels[rows] >= 0]
    if not recipe.train.calibrate or len(rows) < 2:
        return classifier
    logs = classifier.log_probabilities(material.blocks(rows))
    return replace(classifier, temperature=fit_temperature(logs, material.labels[rows]))


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into an event, so that a step is never torn apart; the second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def remember(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
