"""One gradient training: the caller's side of the loop, with evaluation, checkpoints, budget and patience."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from linnaeus.config import Recipe
from linnaeus.data.batches import Feed
from linnaeus.errors import Interrupted, RunError
from linnaeus.learn.aim import objective_of, sampling_for
from linnaeus.learn.balance import Settled, certain
from linnaeus.learn.budget import Budget
from linnaeus.learn.checkpoint import TrainState
from linnaeus.learn.course import Fitted, Pulse
from linnaeus.learn.distill import lesson_of
from linnaeus.learn.engine import Engine
from linnaeus.learn.frozen import FrozenFeed, halves_of
from linnaeus.learn.infer import infer_tensors
from linnaeus.learn.interrupt import interruptible
from linnaeus.learn.late import Late, Read
from linnaeus.learn.loop import Step, check_answers, check_finite, too_large, train
from linnaeus.learn.material import UNLABELLED, Material
from linnaeus.learn.objectives import Batch
from linnaeus.learn.optim import Average, Schedule, make_schedule, optimizer_for
from linnaeus.learn.pace import seconds_per_picture, seconds_per_step
from linnaeus.learn.pieces import piece_count
from linnaeus.learn.quick import Quick
from linnaeus.learn.resident import Resident, Streamed, supply_of
from linnaeus.learn.spill import gather_features
from linnaeus.learn.validation import Level, Validation
from linnaeus.nn import stages
from linnaeus.nn.depthwise import ease_depthwise, release_depthwise
from linnaeus.nn.head import headless
from linnaeus.nn.input import FromBytes
from linnaeus.nn.own_code import source_of
from linnaeus.nn.sparse import hold_zeros
from linnaeus.records import Decision
from linnaeus.run import Run
from linnaeus.talk import Clock, Talk


class Fit:
    """One gradient training.

    Args:
        run: Gets the journal and the checkpoints; a checkpoint in it is gone on from.
        network: Is trained in place.
        material: What to learn from.
        recipe: Nothing left open.
        engine: The machine.
        clock: The budget.
        talk: Where words and progress go.
        begin: Gives the network its start, unless there is a checkpoint, and settles what is done about classes of
            unequal size; it is told the features of the training pictures where they are known anyhow, else None.
        teacher: Gives logits [N, K] for the network's input; it is learned from, on unlabelled pictures as well.
    """

    def __init__(
        self,
        run: Run,
        network: nn.Module,
        material: Material,
        recipe: Recipe,
        engine: Engine,
        clock: Clock,
        talk: Talk,
        begin: Callable[[torch.Tensor | None], Settled],
        teacher: nn.Module | None = None,
    ) -> None:
        assert recipe.train.batch_size
        assert recipe.train.epochs
        self.run, self.network, self.material, self.recipe = run, network, material, recipe
        self.engine, self.clock, self.talk, self.begin = engine, clock, talk, begin
        self.teacher, self.budget = teacher, Budget(clock)
        self.feed = Feed(
            pictures=material.pixels,
            # Those without a label come last: a head is solved on the first ones.
            rows=np.concatenate([material.split.rows("train"), material.split.rows(UNLABELLED)]),
            labels=material.labels,
            settings=recipe.augment,
            size_px=material.preprocessing.size_px,
            batch_size=recipe.train.batch_size,
            seed=recipe.seed,
        )
        self.from_bytes = FromBytes(material.preprocessing.mean, material.preprocessing.std).to(engine.device)
        self.frozen: FrozenFeed | None = None
        self._balance(recipe.train.balance)
        self.groups = len(stages.stages(self.network))
        self.freezing: list[int] = []
        if recipe.model.freeze_after:
            # Complains at once where there are fewer stages.
            stages.freeze(self.network, len(recipe.model.freeze_after))
        if not recipe.model.unfreeze_every:
            stages.freeze(self.network, recipe.model.freeze or "none")
        ease_depthwise(self.network, hold=bool(recipe.model.hold_depthwise))
        optimizer = optimizer_for(self.network, recipe)
        average = Average(self.network, recipe.optim.ema) if recipe.optim.ema else None
        self.state = TrainState(self.network, optimizer, average)
        self.upper: nn.Module = self.network
        self.validation = Validation(material, engine)
        self.decisions: list[Decision] = []
        self.late, self.pulse = Late(), Pulse()
        self.supply: Resident | Streamed | None = None
        self.quick: Quick | None = None
        self.saved_at, self.began_at = time.monotonic(), time.perf_counter()

    def run_through(self) -> Fitted:
        """Train to the end; save on the way and when interrupted.

        Raises:
            SettingsError: The device's memory holds no batch of this size.
        """
        try:
            return self._run_through()
        except torch.OutOfMemoryError as error:
            raise too_large(self.feed.batch_size, self.material.preprocessing.size_px, error) from None

    def _run_through(self) -> Fitted:
        resumed = self._load()
        if resumed:
            self._settle()
        elif self.recipe.train.start != "head":
            self._begin(None)
        per_epoch, total = self.feed.steps_per_epoch, self._length()
        # Without a checkpoint the journal may still hold an epoch: it is written first.
        self.run.rewind_journal(self.state.progress.step if resumed else -1)
        if not resumed and self.recipe.train.start == "head":
            self._begin(self._features())
            self._end_epoch(0, lambda _: 0.0)
        schedule = make_schedule(self.recipe.optim, total, per_epoch)
        self.freezing = stages.freezing_steps(self.recipe.model.freeze_after or (), total)
        self._hold_stages(self.state.progress.step)
        steps, self.began_at = self._steps(schedule, 0 if self.state.progress.ended else total), time.perf_counter()
        with interruptible() as interrupted, self.engine.sharing(self.upper, self._pieces()):
            for step in steps:
                self._note(step)
                done = step.number + 1
                if done % per_epoch == 0 or done == total:
                    self._end_epoch(done, schedule)
                elif done in self.freezing:
                    self._hold_stages(done)
                if self._ends_early(done, schedule):
                    break
                if interrupted.is_set():
                    self._save()
                    raise Interrupted(str(self.run.folder))
                if time.monotonic() - self.saved_at > self.recipe.train.checkpoint_every_s:
                    self._save()
        return self._result(self.state.progress.ended or ("all epochs done" if total else "budget"))

    def _load(self) -> bool:
        """Take up a checkpoint, if there is one that was learning the same lesson."""
        rows = self.material.split.rows(UNLABELLED)
        lesson = lesson_of(self.teacher, [self.material.hashes[row] for row in rows]) if self.teacher else ""
        resumed = self.state.load(self.run.checkpoint_path)
        hold_zeros(self.network)
        if resumed and self.state.progress.lesson != lesson:
            raise RunError(
                f"{self.run.folder} was begun with another teacher, or other unlabelled pictures.",
                got="weights or pictures that changed since",
                fix="start anew.",
            )
        self.state.progress.lesson = lesson
        source = source_of(self.network)
        code = hashlib.sha256(source.encode()).hexdigest() if source else ""
        if resumed and self.state.progress.code not in ("", code):
            raise RunError(
                f"{self.run.folder} was begun with other code.",
                got=f"{self.recipe.model.name.rpartition(':')[0]} changed since" if self.recipe.model.name else "",
                fix="put it back as it was, or start anew.",
            )
        self.state.progress.code = code
        return resumed

    def _begin(self, features: torch.Tensor | None) -> None:
        settled, progress = self.begin(features), self.state.progress
        if self.state.average is not None:
            # It was made of weights that have had no start yet.
            self.state.average = Average(self.network, self.state.average.decay)
        progress.balance, progress.balance_reason = settled.balance, settled.reason
        self._settle()

    def _settle(self) -> None:
        """Do about classes of unequal size what was settled, and say so where the program chose."""
        progress = self.state.progress
        self._balance(progress.balance)
        if progress.balance_reason:
            self._decide("train.balance", progress.balance, progress.balance_reason)

    def _decide(self, setting: str, value: object, reason: str) -> None:
        self.decisions.append(Decision(setting, value, reason))
        self.talk.say(f"{setting} = {value}: {reason}")

    def _balance(self, settled: str | None) -> None:
        """Set loss and sampling; what "auto" may come to leaves the length of an epoch as it is."""
        balance, material = certain(settled), self.material
        self.objective = objective_of(self.recipe, material, balance, self.from_bytes, self.teacher, self.engine)
        self.feed = replace(self.feed, sampling=sampling_for(balance, material))
        if self.frozen is not None:
            self.frozen = replace(self.frozen, feed=self.feed)

    def _ends_early(self, done: int, schedule: Schedule) -> bool:
        """End the training for want of gain or of time; the reason is saved, so that a resumed run ends as well."""
        progress, patience = self.state.progress, self.recipe.train.patience
        if patience is not None and progress.epochs_without_gain >= patience:
            progress.ended = "patience"
        elif self.budget.is_spent:
            progress.ended = "budget"
            if self.late or progress.seen:
                self._end_epoch(done, schedule)
        if progress.ended:
            self._save()
        return bool(progress.ended)

    def _steps(self, schedule: Schedule, total: int) -> Iterator[Step]:
        first = self.state.progress.step
        self.quick = Quick(self.recipe, self.engine, self.state.optimizer, total)
        return train(
            self.upper,
            self.pulse.watch(self._batches(first, total)),
            self.objective,
            self.state.optimizer,
            schedule,
            self.engine,
            first=first,
            clip_norm=self.recipe.optim.clip_norm,
            quicken=self.quick,
        )

    def _batches(self, first: int, stop: int) -> Iterator[Batch]:
        if self.frozen is not None:
            return self.frozen.batches(first, stop, self.engine.device)
        if self.supply is None:
            self.supply, decided = supply_of(self.feed.rows, self.material.pixels, self.from_bytes, self.engine)
            self.decisions += decided
        return self.supply.batches(self.feed, first, stop)

    def _pieces(self) -> int:
        size_px, batch_size = self.material.preprocessing.size_px, self.feed.batch_size
        count = piece_count(self.network, batch_size, size_px, self.recipe.train.pieces or self.engine.cores)
        # No piece may be empty: few pictures make batches that are smaller than the setting says.
        return max(1, min(count, self.feed.pictures_per_epoch // self.feed.steps_per_epoch // 2))

    def _halves(self) -> tuple[nn.Module, nn.Module] | None:
        """Cut the network above its frozen stages, where their outputs can be computed once and kept."""
        # What is computed once has no gradient down to the picture, which an attack needs.
        views = 0 if self.recipe.train.adversarial else self.recipe.train.views
        if not views or self.recipe.model.unfreeze_every:
            return None
        self._hold_stages(0)
        example = self.from_bytes(torch.from_numpy(self._sample(2)).to(self.engine.device))
        seen = views * len(self.feed.rows)
        answers = 4 * seen * len(self.material.classes) if self.teacher is not None else 0
        kept = seen + len(self.validation.rows)
        halves, why_not = halves_of(self.network, example, kept, self.recipe, self.engine, more_bytes=answers)
        if why_not:
            self._decide("train.views", 0, why_not)
        return halves

    def _use(self, halves: tuple[nn.Module, nn.Module] | None, views: int) -> None:
        """Compute what the frozen half gives for some views, and train the other half on that."""
        if halves is None or not views:
            return
        lower, self.upper = halves
        how = self.material.preprocessing
        with self.talk.stage("frozen stages"):
            self.frozen = FrozenFeed.make(lower, self.feed, views, how, self.engine, self.talk, self.teacher)
            self.validation.keep_outputs(lower, self.frozen.outputs.dtype)

    def _features(self) -> torch.Tensor | None:
        """Compute what the linear head reads from what the frozen half gave for the whole pictures."""
        if self.frozen is None:
            return None
        with headless(self.upper):
            count = len(self.material.split.rows("train"))
            parts = infer_tensors(self.upper.eval(), self.frozen.first_view(count), self.engine)
            return gather_features(parts, count, self.recipe.data.memory_gb)

    def _sample(self, count: int) -> np.ndarray:
        return self.material.pixels.block(self.feed.rows[:count], self.feed.size_px)

    def _length(self) -> int:
        """Count the steps to be done; a budget may allow fewer than were asked for, and fewer views."""
        assert self.recipe.train.epochs
        progress, views = self.state.progress, self.recipe.train.views or 0
        wanted = max(1, round(self.recipe.train.epochs * self.feed.steps_per_epoch))
        halves = self._halves()
        self.budget = Budget(self.clock, progress.evaluation_s)
        if self.recipe.budget_s is None or progress.steps_planned >= 0:
            self._use(halves, views if progress.steps_planned < 0 else progress.views)
            return wanted if progress.steps_planned < 0 else progress.steps_planned
        progress.evaluation_s = self.material.judged * self._seconds_per_picture(self.network, "fp32")
        self.budget = Budget(self.clock, progress.evaluation_s)
        if halves is not None:
            seers = [halves[0], *([self.teacher] if self.teacher is not None else [])]
            picture_s = sum(self._seconds_per_picture(one, self.engine.precision) for one in seers)
            views = self.budget.views(views, len(self.feed.rows) * picture_s)
        self._use(halves, views)
        progress.views, progress.steps_planned = views, self._affordable(wanted)
        return progress.steps_planned

    def _affordable(self, wanted: int) -> int:
        """Count the steps that fit into the budget, and say so where they are fewer than wanted."""
        self._hold_stages(0)
        step_s = seconds_per_step(
            self.upper, self._batches(0, 5), self.objective, self.recipe.optim, self.engine, self._pieces()
        )
        per_epoch = self.feed.steps_per_epoch
        validation_s = len(self.validation.rows) * self._seconds_per_picture(self.network, self.engine.precision)
        at_least = 0 if self.recipe.train.start == "head" else 1
        planned = self.budget.steps(wanted, step_s + validation_s / per_epoch, at_least)
        if planned < wanted:
            reason = f"the budget leaves {max(0, self.budget.room_s):.0f} s, at {1000 * step_s:.0f} ms a step"
            self._decide("train.epochs", round(planned / per_epoch, 2), reason)
        return planned

    def _seconds_per_picture(self, network: nn.Module, precision: str) -> float:
        engine = self.engine if precision == self.engine.precision else Engine(precision)
        return seconds_per_picture(network, self._sample(64), self.material.preprocessing, engine)

    def _note(self, step: Step) -> None:
        hold_zeros(self.network)
        if self.state.average:
            self.state.average.update(self.network)
        if read := self.late.note(step):
            self._count(read)
        self.pulse.stepped(step.n)

    def _count(self, read: list[Read]) -> None:
        """Take in what steps found, as far as it is known."""
        progress = self.state.progress
        for one in read:
            check_finite(one.loss, one.step.number, self.network, self.recipe.optim)
            progress.loss_sum += one.loss * one.step.n
            progress.right += one.right
            progress.seen += one.step.n
            progress.step = one.step.number + 1
        epoch = progress.step / self.feed.steps_per_epoch
        total = progress.steps_planned
        if total < 0:
            total = round((self.recipe.train.epochs or 0) * self.feed.steps_per_epoch)
        shown = f"train: epoch {epoch:.1f}, loss {progress.loss_sum / max(1, progress.seen):.3f}"
        self.talk.progress(shown, progress.step, total)

    def _end_epoch(self, done: int, schedule: Schedule) -> None:
        """Measure on the validation part, remember the best weights, write the journal, save."""
        self._count(self.late.everything())
        if self.pulse.pictures:
            self.pulse.stepped(0)
        train_s = time.perf_counter() - self.began_at
        progress, epoch = self.state.progress, done / self.feed.steps_per_epoch
        event: dict[str, Any] = {
            "event": "epoch",
            "time": time.time(),
            "step": done,
            "epoch": round(epoch, 4),
            "lr": (self.recipe.optim.lr or 0) * schedule(max(0, done - 1)),
        }
        if progress.seen:
            event |= {"train_loss": progress.loss_sum / progress.seen, "train_accuracy": progress.right / progress.seen}
            event["train_s"] = round(train_s, 4)
        level = self._validate()
        if level is not None:
            event |= {f"val_{name}": value for name, value in vars(level).items()}
        loss = level.loss_calibrated if level is not None else None
        gained = loss is not None and loss < progress.best_loss
        if loss is None or gained or self.recipe.train.keep == "last":
            self.state.best = {name: value.detach().clone() for name, value in self._weights().items()}
            progress.best_epoch = epoch
        progress.best_loss = min(progress.best_loss, loss if loss is not None else progress.best_loss)
        progress.epochs_without_gain = 0 if gained or loss is None else progress.epochs_without_gain + 1
        progress.loss_sum, progress.right, progress.seen = 0.0, 0, 0
        self.run.log(event)
        self._hold_stages(done)
        self._save()
        self.began_at = time.perf_counter()

    def _validate(self) -> Level | None:
        """Measure how good the network is on the validation part; None where there is none."""
        if not len(self.validation.rows):
            return None
        network, upper = self.network, None if self.state.average else self.upper
        if self.state.average:
            network = copy.deepcopy(self.network)
            network.load_state_dict(self.state.average.values)
        answers = torch.cat([part.double() for part in self.validation.logits(network, upper)])
        check_answers(answers, self.state.progress.step, self.network, self.recipe.optim)
        return self.validation.level(answers.numpy())

    def _weights(self) -> dict[str, torch.Tensor]:
        return self.state.average.values if self.state.average else self.network.state_dict()

    def _hold_stages(self, done: int) -> None:
        """Say which stages are trained after so many steps: thawed from the top, or frozen from below."""
        every = self.recipe.model.unfreeze_every
        if every:
            thawed = stages.unfrozen_stages(done // self.feed.steps_per_epoch, every, self.groups)
            stages.freeze(self.network, self.groups - thawed)
        elif self.freezing:
            stages.freeze(self.network, sum(done >= step for step in self.freezing))
        stages.train_mode(self.network, keep_statistics=bool(self.recipe.model.keep_statistics))

    def _save(self) -> None:
        self._count(self.late.everything())
        self.state.save(self.run.checkpoint_path)
        self.saved_at = time.monotonic()

    def _result(self, stopped: str) -> Fitted:
        progress = self.state.progress
        self.network.load_state_dict(self.state.best)
        hold_zeros(self.network)
        release_depthwise(self.network)
        self.network.eval()
        decisions = [*self.decisions, *(self.quick.decisions() if self.quick is not None else ())]
        epochs, pulse = progress.step / self.feed.steps_per_epoch, self.pulse
        return Fitted(epochs, progress.best_epoch, stopped, tuple(decisions), pulse.waited, pulse.pictures_per_s)
