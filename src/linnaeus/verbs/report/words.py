"""What the numbers mean, in plain words: the part of the report that most people read."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from markupsafe import Markup

from linnaeus.records import ClassScores, Estimate
from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.svg import shorten

FEW_PICTURES = 100
FEW_OF_A_CLASS = 10

MEANINGS = {
    "accuracy": ("Accuracy", "share of pictures named right"),
    "balanced_accuracy": ("Balanced accuracy", "mean over classes of the share found; each class counts the same"),
    "weighted_accuracy": ("Weighted accuracy", "the same mean weighted by class size: equals accuracy by definition"),
    "top5_accuracy": ("Top-5 accuracy", "share where the right name is among the five most probable"),
    "macro_f1": ("Macro F1", "mean F1 of the classes; each class counts the same"),
    "weighted_f1": ("Weighted F1", "mean F1 of the classes, weighted by class size"),
    "mcc": ("Matthews correlation", "1 is perfect, 0 is guessing; fair to unequal classes"),
    "log_loss": ("Log loss", "how little probability the right name got; 0 is best"),
    "brier": ("Brier score", "squared error of the probabilities, 0 to 2; 0 is best"),
    "ece": ("Calibration error (ECE)", "mean distance between confidence and accuracy; 0 is best"),
}
IN_PERCENT = {"accuracy", "balanced_accuracy", "weighted_accuracy", "top5_accuracy", "ece"}


@dataclass(frozen=True)
class Answer:
    """The head of the report.

    Attributes:
        sentences: What it tells apart, how good it is, where it fails, whether its probabilities can be trusted.
        warnings: What a careful reader should know before relying on it.
        command: What to type next.
    """

    sentences: tuple[Markup, ...]
    warnings: tuple[Markup, ...]
    command: str


def answer(evidence: Evidence) -> Answer:
    """Say what a careful person asks first."""
    sentences = [_task(evidence)]
    if evidence.scores is None:
        sentences.append(
            Markup("No labelled picture was kept for judging it, so nothing can be said of how good it is.")
        )
    else:
        sentences += [_quality(evidence), _guessing(evidence), _weakness(evidence), _trust(evidence)]
    return Answer(
        tuple(sentences),
        tuple(_warnings(evidence)),
        f"linnaeus predict {shlex.quote(str(evidence.run.folder))} PICTURES",
    )


def named(name: str, most: int = 60) -> Markup:
    """Write a class name so that no script, tag or writing direction in it touches what stands around it."""
    return Markup('<bdi class="class" title="{}">{}</bdi>').format(name, shorten(name, most))


def counted(n: int, noun: str = "picture") -> str:
    """Write "1 picture" or "2,521 pictures"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s" if not noun.endswith("s") else "es")


def value_words(name: str, estimate: Estimate) -> tuple[str, str]:
    """Write a score and its interval, in percent where it is a share."""
    if name in IN_PERCENT:
        return f"{100 * estimate.value:.1f} %", f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _task(evidence: Evidence) -> Markup:
    names = [named(name) for name in evidence.classes[:8]]
    if len(evidence.classes) > 8:
        listed = Markup(", ").join(names[:6]) + f" and {len(evidence.classes) - 6} more"
    else:
        listed = (
            Markup(", ").join(names[:-1]) + Markup(" and ") + names[-1] if len(names) > 1 else Markup("").join(names)
        )
    return Markup("This model looks at a picture and says which of {} it shows: {}.").format(
        counted(len(evidence.classes), "class"), listed
    )


def _quality(evidence: Evidence) -> Markup:
    assert evidence.scores is not None
    accuracy = evidence.scores.overall["accuracy"]
    of = 1000 if accuracy.value > 0.985 or accuracy.value < 0.015 else 100
    value, low, high = (round(of * share) for share in (accuracy.value, accuracy.low, accuracy.high))
    judged = "which it never saw in training" if evidence.part == "test" else "which were also used to choose it"
    return Markup(
        "Of {:,} new pictures like these, it names <strong>about {:,} right</strong> (with 95&nbsp;% confidence "
        "between {:,} and {:,}). This rests on {}, {}."
    ).format(of, value, low, high, counted(accuracy.n), judged)


def _guessing(evidence: Evidence) -> Markup:
    assert evidence.scores is not None
    name, share = evidence.commonest()
    accuracy = evidence.scores.overall["accuracy"]
    verdict = (
        Markup("")
        if accuracy.low > share
        else Markup(" <strong>These pictures do not show that the model does better than that.</strong>")
    )
    return Markup("Always answering the commonest class, {}, would be right for {} of 100.{}").format(
        named(name), round(100 * share), verdict
    )


def _weakness(evidence: Evidence) -> Markup:
    assert evidence.scores is not None
    found = evidence.confusions(1)
    if not found:
        return Markup("It made no mistake on these pictures; that does not mean that it never will: see the intervals.")
    worst = weakest(evidence.scores.per_class)[0]
    hits = round(worst.recall.value * worst.support)
    pair = found[0]
    return Markup(
        "It fails most often on {}: it found {:,} of {:,}, which is {}. "
        "Its most frequent mistake is to take {} for {}, {} of {:,} times."
    ).format(
        named(worst.name),
        hits,
        worst.support,
        worst.recall.percent(),
        named(pair.true),
        named(pair.called),
        pair.count,
        pair.support,
    )


def weakest(per_class: tuple[ClassScores, ...]) -> list[ClassScores]:
    """Sort the classes that have pictures by recall, the weakest first; of equals the one with more pictures."""
    return sorted((one for one in per_class if one.support), key=lambda one: (one.recall.value, -one.support))


def _trust(evidence: Evidence) -> Markup:
    assert evidence.predictions is not None
    assert evidence.scores is not None
    ece = evidence.scores.overall["ece"]
    known = evidence.predictions.labels >= 0
    lean = (
        float(evidence.predictions.probabilities[known].max(axis=1).mean()) - evidence.scores.overall["accuracy"].value
    )
    points = f"{100 * ece.value:.1f}"
    if ece.high <= 0.05:
        verdict = "can be taken at their word"
    elif ece.low <= 0.05:
        verdict = "can be taken as a rough guide"
    else:
        verdict = f"should not be taken at their word: it is too {'sure of itself' if lean > 0 else 'modest'}"
    return Markup(
        "Its probabilities {}: on average they are {} percentage points away from how often it is right "
        "({:.1f} to {:.1f})."
    ).format(verdict, points, 100 * ece.low, 100 * ece.high)


def _warnings(evidence: Evidence) -> list[Markup]:
    warnings = [
        Markup("{}: {}").format(one.kind.capitalize(), shorten(one.evidence, 300))
        for one in evidence.findings
        if one.severity == "warning"
    ]
    warnings += [Markup("{}").format(note) for note in (evidence.scores.notes if evidence.scores else ())]
    if evidence.scores is not None:
        warnings += _thin_ground(evidence, evidence.scores.per_class)
    found, used = evidence.accounted.get("found"), evidence.accounted.get("used")
    aside = sum(count for reason, count in evidence.accounted.items() if reason not in ("found", "used"))
    if found is not None and used is not None and found != used + aside:
        warnings.append(Markup("{:,} files were found, but {:,} are accounted for.").format(found, used + aside))
    if not evidence.summary and not evidence.stages:
        warnings.append(Markup("The run has not come to its end."))
    return warnings


def _thin_ground(evidence: Evidence, per_class: tuple[ClassScores, ...]) -> list[Markup]:
    assert evidence.scores is not None
    warnings = []
    n = evidence.scores.overall["accuracy"].n
    if evidence.part == "val":
        warnings.append(Markup("There is no test part: the scores are of the validation part and a little too good."))
    if n < FEW_PICTURES:
        warnings.append(Markup("Only {} to judge it by: the intervals are wide.").format(counted(n)))
    small = [one for one in per_class if 0 < one.support < FEW_OF_A_CLASS]
    if small:
        listed = Markup(", ").join(named(one.name, 30) for one in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        warnings.append(
            Markup("Fewer than {} pictures to judge {}{} by: their rows say little.").format(
                FEW_OF_A_CLASS, listed, more
            )
        )
    return warnings
