"""The head of the report: what a careful person asks before relying on a classifier, answered in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from linnaeus.records import ClassScores, Estimate
from linnaeus.verbs.report.document import Block, Bullets, Gauge, Paragraph, Section
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Name, Sentence, Text, joined, say, shorten

FEW_PICTURES = 100
FEW_OF_A_CLASS = 10
MOST_WARNINGS = 12
SURE = 0.9
WIDE = 0.03
"""Half of an interval from which on more test pictures are worth their work."""
CALIBRATED = 0.05
HALF = 0.5


def answer(evidence: Evidence, words: Words) -> Section:
    """Say what it is good for, how good, where it fails, whether to trust its probabilities, and what to do next."""
    title, short = words.sections["answer"]
    sentences = list(told(evidence, words))
    blocks: list[Block] = [_gauge(evidence, words)] if evidence.scores else []
    blocks += [Paragraph(one) for one in sentences]
    warned = warnings(evidence, words)
    if len(warned) > MOST_WARNINGS:
        warned = [*warned[:MOST_WARNINGS], say(words.more_warnings, n=words.whole(len(warned) - MOST_WARNINGS))]
    blocks += [Bullets(tuple(warned), words.before_you_rely)] if warned else []
    steps = next_steps(evidence, words)
    blocks += [Bullets(tuple(steps), words.next_title, ordered=True)] if steps else []
    return Section("answer", title, short, tuple(blocks))


def told(evidence: Evidence, words: Words) -> Iterator[Text]:
    """Answer, a paragraph for each question."""
    yield _task(evidence, words)
    if evidence.scores is None:
        yield words.not_judged
        return
    yield joined([_fit(evidence, words), _quality(evidence, words), _guessing(evidence, words)], words.between)
    yield joined(list(_weakness(evidence, words)), words.between)
    yield joined(list(_trust(evidence, words)), words.between)


def weakest(per_class: tuple[ClassScores, ...]) -> list[ClassScores]:
    """Sort the classes that have pictures by recall, the weakest first; of equals the one with more pictures."""
    return sorted((one for one in per_class if one.support), key=lambda one: (one.recall.value, -one.support))


def trusted(evidence: Evidence) -> tuple[Estimate, str]:
    """Judge the calibration error of what the model says now: "word", "guide", "sure" (too sure) or "modest"."""
    assert evidence.predictions is not None
    assert evidence.scores is not None
    after = evidence.results.get("calibration", {}).get("after")
    ece = estimate(after["ece"]) if isinstance(after, Mapping) and "ece" in after else evidence.scores.overall["ece"]
    known = evidence.predictions.known()
    lean = float(known.confidence.mean()) - evidence.scores.overall["accuracy"].value
    if ece.low <= CALIBRATED:
        return ece, "word" if ece.high <= CALIBRATED else "guide"
    return ece, "sure" if lean > 0 else "modest"


def _gauge(evidence: Evidence, words: Words) -> Gauge:
    assert evidence.scores is not None
    accuracy = evidence.scores.overall["accuracy"]
    guess = evidence.commonest()[1]
    return Gauge(
        estimate=accuracy,
        guess=guess,
        value=f"{100 * accuracy.value:.1f}",
        caption=say(words.named_right, pictures=words.counted(accuracy.n, words.part_pictures[evidence.part])),
        interval=say(words.with_confidence, interval=words.interval(accuracy)),
        guessing=say(words.by_guessing, share=words.percent(guess, 0)),
    )


def _task(evidence: Evidence, words: Words) -> Sentence:
    names: list[Text] = [Name(name) for name in evidence.classes]
    K = len(names)
    listed = (
        words.listed(names)
        if K <= 8
        else say(words.and_more, names=joined(names[:6], words.comma), n=words.whole(K - 6))
    )
    return say(words.task, classes=words.counted(K, "class"), names=listed)


def _fit(evidence: Evidence, words: Words) -> Text:
    assert evidence.scores is not None
    low, guess = evidence.scores.overall["accuracy"].low, evidence.commonest()[1]
    if low <= guess:
        return say(words.fit["none"])
    return say(words.fit["alone" if low >= 0.95 else "first" if low >= 0.8 else "hint"])


def _quality(evidence: Evidence, words: Words) -> Sentence:
    assert evidence.scores is not None
    accuracy = evidence.scores.overall["accuracy"]
    of = 1000 if accuracy.value > 0.985 or accuracy.value < 0.015 else 100
    value, low, high = (words.whole(round(of * share)) for share in (accuracy.value, accuracy.low, accuracy.high))
    rests = say(words.rests_on[evidence.part], pictures=words.counted(accuracy.n, "picture"))
    return joined([say(words.quality, of=words.whole(of), right=value, low=low, high=high), rests], words.between)


def _guessing(evidence: Evidence, words: Words) -> Sentence:
    assert evidence.scores is not None
    name, share = evidence.commonest()
    told = say(words.guessing, name=Name(name), share=words.whole(round(100 * share)))
    better = evidence.scores.overall["accuracy"].low > share
    return told if better else joined([told, say(words.no_better)], words.between)


def _weakness(evidence: Evidence, words: Words) -> Iterator[Text]:
    assert evidence.scores is not None
    found = evidence.confusions(1)
    if not found:
        yield words.no_mistake
    else:
        worst = weakest(evidence.scores.per_class)[0]
        yield say(
            words.weakest,
            name=Name(worst.name),
            hits=words.whole(round(worst.recall.value * worst.support)),
            support=words.whole(worst.support),
            recall=words.with_interval(worst.recall),
        )
        pair = found[0]
        yield say(
            words.commonest_mistake,
            true=Name(pair.true),
            called=Name(pair.called),
            count=words.whole(pair.count),
            support=words.whole(pair.support),
        )
    yield from _as_far_as_readable(_worst_slice, evidence, words)
    yield from _as_far_as_readable(_worst_damage, evidence, words)


def _as_far_as_readable(
    tell: Callable[[Evidence, Words], Iterator[Text]], evidence: Evidence, words: Words
) -> list[Text]:
    """Leave out what a document in another form would have told: its own section says that it cannot be read."""
    try:
        return list(tell(evidence, words))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return []


def _worst_slice(evidence: Evidence, words: Words) -> Iterator[Text]:
    found = evidence.results.get("slices", {}).get("slices", [])
    for one in [one for one in found if one["worse"]][:1]:
        yield say(
            words.worst_slice,
            what=shorten(words.slice_name(str(one["trait"]), str(one["what"])), 200),
            accuracy=words.percent(estimate(one["accuracy"]).value),
            rest=words.percent(estimate(one["rest"]).value),
        )


def _worst_damage(evidence: Evidence, words: Words) -> Iterator[Text]:
    stress = evidence.results.get("stress", {})
    for hit in [one for one in stress.get("corruptions", []) if one["kind"] == stress["weakest"]]:
        yield say(
            words.weakest_against,
            kind=words.name(stress["weakest"]),
            accuracy=words.percent(estimate(hit["accuracy"][-1]).value),
            clean=words.percent(estimate(stress["clean"]).value),
        )


def _trust(evidence: Evidence, words: Words) -> Iterator[Text]:
    ece, verdict = trusted(evidence)
    yield say(
        words.trust,
        verdict=say(words.verdicts[verdict]),
        points=f"{100 * ece.value:.1f}",
        low=f"{100 * ece.low:.1f}",
        high=f"{100 * ece.high:.1f}",
    )
    yield from _as_far_as_readable(_promise, evidence, words)


def _promise(evidence: Evidence, words: Words) -> Iterator[Text]:
    promises = evidence.results.get("abstention", {}).get("promises", [])
    kept = [one for one in promises if one["possible"] and one["coverage"] and one["threshold"]]
    # The strictest that still answers most pictures, else the one that answers most.
    useful = [one for one in kept if estimate(one["coverage"]).value >= HALF]
    for best in (useful or kept[-1:])[:1]:
        yield say(
            words.promise_kept,
            threshold=words.percent(float(best["threshold"])),
            coverage=words.percent(estimate(best["coverage"]).value),
            error=words.percent(float(best["max_error"])),
            level=words.percent(float(best["confidence_level"]), 0),
        )


def warnings(evidence: Evidence, words: Words) -> list[Text]:
    """List what a careful reader should know before relying on it."""
    found: list[Text] = [
        say(words.warning, kind=words.headed(one.kind), evidence=shorten(one.evidence, 300))
        for one in evidence.findings
        if one.severity == "warning"
    ]
    found += [shorten(note, 300) for note in evidence.scores.notes] if evidence.scores else []
    if evidence.scores is not None:
        found += _thin_ground(evidence, words, evidence.scores.per_class)
    n_found, used = evidence.accounted.get("found"), evidence.accounted.get("used")
    aside = sum(count for reason, count in evidence.accounted.items() if reason not in ("found", "used"))
    if n_found is not None and used is not None and n_found != used + aside:
        found.append(say(words.unaccounted, found=words.whole(n_found), told=words.whole(used + aside)))
    if evidence.run and not evidence.summary and not evidence.stages:
        found.append(words.not_ended)
    return found


def _thin_ground(evidence: Evidence, words: Words, per_class: tuple[ClassScores, ...]) -> Iterator[Text]:
    assert evidence.scores is not None
    n = evidence.scores.overall["accuracy"].n
    if evidence.part == "val":
        yield words.no_test_part
    if n < FEW_PICTURES:
        yield say(words.few_pictures, pictures=words.counted(n, "picture"))
    small: list[Text] = [Name(shorten(one.name, 30)) for one in per_class if 0 < one.support < FEW_OF_A_CLASS]
    if small:
        names = (
            words.listed(small)
            if len(small) <= 5
            else say(words.and_more, names=joined(small[:5], words.comma), n=words.whole(len(small) - 5))
        )
        yield say(words.few_of_a_class, n=words.whole(FEW_OF_A_CLASS), names=names)


def next_steps(evidence: Evidence, words: Words) -> list[Text]:
    """Say what to do next, what pays most first."""
    steps = list(_better(evidence, words)) if evidence.scores else []
    if evidence.run:
        missing = [verb for verb in ("stress", "explain") if verb not in evidence.results]
        steps += [say(words.ask_next[verb], command=Code(command(verb, evidence))) for verb in missing]
        steps.append(say(words.use_it, command=Code(f"linnaeus predict {evidence.folder} PICTURES")))
    return steps


def _better(evidence: Evidence, words: Words) -> Iterator[Text]:
    judged, scores = evidence.predictions, evidence.scores
    assert judged is not None
    assert scores is not None
    accuracy = scores.overall["accuracy"]
    known = judged.known()
    sure = int(np.sum((known.predicted != known.labels) & (known.confidence >= SURE)))
    if sure:
        yield say(words.look_at_mistakes, answers=words.counted(sure, "wrong answer"), share=words.percent(SURE, 0))
    worst = weakest(scores.per_class)[0]
    called = next((one.called for one in evidence.confusions(len(scores.per_class) ** 2) if one.true == worst.name), "")
    if called and worst.recall.value < accuracy.value:
        yield say(words.add_pictures, name=Name(worst.name), called=Name(called))
    if (accuracy.high - accuracy.low) / 2 > WIDE:
        yield say(words.judge_by_more, more=words.counted(4 * accuracy.n, "picture"), n=words.whole(accuracy.n))


def command(verb: str, evidence: Evidence) -> str:
    """Tell which command makes a verb's document."""
    if evidence.run is None:
        return "linnaeus evaluate --predictions PREDICTIONS.csv --report PAGE.html"
    return {
        "stress": f"linnaeus stress {evidence.folder}",
        "explain": f"linnaeus explain {evidence.folder}",
        "export": f"linnaeus export {evidence.folder} --to onnx",
        "compress": f"linnaeus compress {evidence.folder} --target latency=2x",
    }.get(verb, f"linnaeus evaluate {evidence.folder} SOURCE")


def notes(found: Mapping[str, Any]) -> list[Paragraph]:
    """Show what a verb noted beside its numbers: what it could not do, and why."""
    return [Paragraph(shorten(str(note), 400), "quiet") for note in found.get("notes", [])[:MOST_WARNINGS]]
