"""How fast exported files are on this machine: all side by side, in turns, so that a busy machine slows each alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np

from linnaeus.machine import cores_here
from linnaeus.targets.target import Runner, Target

ROUNDS = 200
FEWEST_ROUNDS = 40
IN_A_ROW = 2
"""Timed calls of one turn. An untimed one goes before them: the caches hold what the others left there."""
ENOUGH_S = 30.0
"""After so many seconds the fewest rounds will do, and one lap."""
BATCHES = (1, 4, 16)
"""Larger ones fall out of a processor's caches, and a batch of 16 shows already whether batches pay."""
LAPS, LAP_S = 3, 0.25
WARM_UP = 3


@dataclass(frozen=True)
class Subject:
    """Something whose speed is measured.

    Attributes:
        open: Makes it ready to answer.
        path: Its file or folder, whose size counts; None of what has none.
    """

    open: Callable[[], Runner]
    path: Path | None = None

    @classmethod
    def of(cls, target: Target, path: Path, threads: int = 1) -> Subject:
        """Take an exported file, and so many threads for one call."""
        return cls(lambda: target.open(path, threads), path)


@dataclass(frozen=True)
class Speed:
    """How fast a file answers.

    Attributes:
        load_s: Seconds to open the file, its library being in memory already.
        p50_ms: Milliseconds for one picture, with one thread: half of the calls took no longer.
        p95_ms: 95 % of the calls took no longer.
        p99_ms: 99 % of the calls took no longer.
        rounds: Calls that were timed.
        threads: Of one call.
        per_second: Pictures per second with all cores: calls at once, each with batches of its own, of the best size.
        batch: That batch size.
        by_batch: Pictures per second of each batch size that was tried.
        calls: So many calls at once.
        size_bytes: Of the file, or of all files of the folder; None of what has none.
        memory_bytes: Main memory that it takes to be open and to answer one picture; None where it cannot be told.
    """

    load_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rounds: int
    threads: int
    per_second: float
    batch: int
    by_batch: Mapping[int, float]
    calls: int
    size_bytes: int | None
    memory_bytes: int | None


def measure(
    subjects: Mapping[str, Subject],
    pictures: np.ndarray,
    *,
    rounds: int = ROUNDS,
    batches: Sequence[int] = BATCHES,
    lap_s: float = LAP_S,
    threads: int = 1,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, Speed]:
    """Measure how fast each subject answers.

    Args:
        subjects: By name.
        pictures: What they answer, uint8 [N, S, S, C], at least one; of graphs for any size [1, H, W, 3].
        rounds: Timed calls with one picture; p99 needs a hundred of them.
        batches: Batch sizes to try for throughput; graphs for any size take one picture at a time: (1,).
        lap_s: Seconds for which each batch size of each subject is tried, three times; the middle one counts.
        threads: So many the subjects have for one call: there are so many fewer calls at once.
        progress: Takes what is being done, how much is done, and how much there is.

    Returns:
        By the same names.
    """
    told = progress or (lambda _what, _done, _total: None)
    opened = {name: _open(subject, pictures[:1]) for name, subject in subjects.items()}
    runners = {name: one.runner for name, one in opened.items()}
    milliseconds = time_in_turns(runners, pictures, rounds, told)
    calls = max(1, cores_here() // threads)
    by_batch = race(runners, pictures, batches, lap_s, calls, told)
    return {
        name: _speed(one, subjects[name].path, milliseconds[name], by_batch[name], threads, calls)
        for name, one in opened.items()
    }


@dataclass(frozen=True)
class _Opened:
    runner: Runner
    load_s: float
    memory_bytes: int | None


def _open(subject: Subject, picture: np.ndarray) -> _Opened:
    """Open twice: the first time brings the library along, and what it keeps for itself."""
    first = subject.open()
    first.run(picture)
    _give_back_freed_memory()
    before, started = resident_bytes(), time.perf_counter()
    runner = subject.open()
    load_s = time.perf_counter() - started
    runner.run(picture)
    after = resident_bytes()
    # The first one lives until here: memory that it gives back would count for nothing with the second.
    del first
    return _Opened(runner, load_s, None if before is None or after is None else max(0, after - before))


def time_in_turns(
    runners: Mapping[str, Runner],
    pictures: np.ndarray,
    rounds: int = ROUNDS,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, np.ndarray]:
    """Time calls with one picture, alternately; who begins changes from turn to turn.

    Returns:
        Milliseconds of each call, by name.
    """
    names, taken = list(runners), {name: list[float]() for name in runners}
    for runner in runners.values():
        for _ in range(WARM_UP):
            runner.run(pictures[:1])
    began, turns = time.perf_counter(), -(-rounds // IN_A_ROW)
    for turn in range(turns):
        row = turn % len(pictures)
        one = pictures[row : row + 1]
        for step in range(len(names)):
            name = names[(turn + step) % len(names)]
            runners[name].run(one)
            for _ in range(min(IN_A_ROW, rounds - turn * IN_A_ROW)):
                started = time.perf_counter()
                runners[name].run(one)
                taken[name].append(1000 * (time.perf_counter() - started))
        if progress is not None:
            progress("measuring one picture", turn + 1, turns)
        if (turn + 1) * IN_A_ROW >= FEWEST_ROUNDS and time.perf_counter() - began > ENOUGH_S:
            break
    if progress is not None:
        progress("measuring one picture", turns, turns)
    return {name: np.array(one) for name, one in taken.items()}


def race(
    runners: Mapping[str, Runner],
    pictures: np.ndarray,
    batches: Sequence[int] = BATCHES,
    lap_s: float = LAP_S,
    calls: int | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, dict[int, float]]:
    """Measure pictures per second for each batch size, with so many calls at once, in laps that take turns.

    Args:
        runners: By name.
        pictures: As `measure` takes them.
        batches: Batch sizes.
        lap_s: Seconds of a lap.
        calls: At once; by default one for each core.
        progress: As `measure` takes it.

    Returns:
        Pictures per second by batch size, by name.
    """
    tasks = [(name, size) for name in runners for size in batches]
    laps = {task: list[float]() for task in tasks}
    lanes, began, whole = calls or cores_here(), time.perf_counter(), LAPS * len(tasks)
    with ThreadPoolExecutor(lanes, "race") as pool:
        for lap in range(LAPS):
            for step in range(len(tasks)):
                name, size = task = tasks[(step + lap * len(batches)) % len(tasks)]
                batch = np.ascontiguousarray(pictures[np.arange(size) % len(pictures)])
                laps[task].append(_lap(runners[name], batch, lap_s, lanes, pool, warm_up=lap == 0))
                if progress is not None:
                    progress("measuring many pictures", lap * len(tasks) + step + 1, whole)
            if time.perf_counter() - began > ENOUGH_S:
                break
    if progress is not None:
        progress("measuring many pictures", whole, whole)
    return {name: {size: float(np.median(laps[name, size])) for size in batches} for name in runners}


def _lap(
    runner: Runner, batch: np.ndarray, lap_s: float, lanes: int, pool: ThreadPoolExecutor, *, warm_up: bool
) -> float:
    """Answer batches in every lane for some time; return pictures per second of all together."""
    together = Barrier(lanes)

    def work() -> float:
        try:
            if warm_up:
                runner.run(batch)
        except BaseException:
            # The others would wait for ever.
            together.abort()
            raise
        together.wait()
        started, done = time.perf_counter(), 0
        while (now := time.perf_counter()) - started < lap_s or not done:
            runner.run(batch)
            done += len(batch)
        return done / (now - started) if now > started else 0.0

    waiting = [pool.submit(work) for _ in range(lanes)]
    failed = [error for error in (one.exception() for one in waiting) if error is not None]
    if failed:
        raise next((error for error in failed if not isinstance(error, BrokenBarrierError)), failed[0])
    return sum(one.result() for one in waiting)


def _speed(
    one: _Opened, path: Path | None, milliseconds: np.ndarray, by_batch: Mapping[int, float], threads: int, calls: int
) -> Speed:
    best = max(by_batch, key=lambda size: by_batch[size])
    p50, p95, p99 = (float(value) for value in np.quantile(milliseconds, (0.5, 0.95, 0.99)))
    return Speed(
        load_s=one.load_s,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        rounds=len(milliseconds),
        threads=threads,
        per_second=by_batch[best],
        batch=best,
        by_batch=dict(by_batch),
        calls=calls,
        size_bytes=size_bytes(path) if path is not None else None,
        memory_bytes=one.memory_bytes,
    )


def size_bytes(path: Path) -> int:
    """Add up the bytes of a folder, or of a file and of the weights that some formats keep beside it."""
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    beside = (path.with_name(f"{path.name}.data"), *((path.with_suffix(".bin"),) if path.suffix == ".xml" else ()))
    return path.stat().st_size + sum(one.stat().st_size for one in beside if one.is_file())


def resident_bytes() -> int | None:
    """Say how much main memory this process holds; None on a system that does not tell it in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource

    return pages * resource.getpagesize()


def _give_back_freed_memory() -> None:
    """Make the C library return what it holds free, so that what is taken next shows; only glibc can."""
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return
