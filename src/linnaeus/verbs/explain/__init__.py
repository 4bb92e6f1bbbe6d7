"""explain: show what an answer rests on, by several methods, and test which of them to believe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from linnaeus.classifier import Classifier
from linnaeus.errors import SettingsError
from linnaeus.records import Place
from linnaeus.run import Run
from linnaeus.talk import Talk
from linnaeus.verbs.explain.checks import Check, Checks, check, readable_cases
from linnaeus.verbs.explain.explained import Desk, Explained
from linnaeus.verbs.explain.methods import DEFAULT, METHODS, Method, choose, file_part
from linnaeus.verbs.explain.neighbours import Examples, Neighbour
from linnaeus.verbs.explain.of_run import explain_run
from linnaeus.verbs.explain.overlay import overlay
from linnaeus.verbs.explain.subject import Subject

__all__ = [
    "DEFAULT",
    "METHODS",
    "Check",
    "Checks",
    "Explained",
    "Method",
    "Neighbour",
    "check_methods",
    "explain",
    "explain_run",
    "overlay",
]


def explain(
    classifier: Classifier,
    paths: Iterable[str],
    methods: Sequence[str] = DEFAULT,
    out: Path | None = None,
    talk: Talk | None = None,
    *,
    run: Run | None = None,
    class_name: str = "",
    seed: int = 0,
) -> Iterator[Explained]:
    """Explain the classifier's answers for files; one result for every input, readable or not, in order.

    The classifier's network is left as it is: all work is done on a copy.

    Args:
        classifier: What answers.
        paths: Files; any number, taken as they come.
        methods: Names from METHODS, or "all" for those whose packages are installed.
        out: Folder for a sheet per picture and a PNG per picture and method; nothing is written without.
        talk: Where words and progress go.
        run: Where the nearest training pictures are looked for; there are none without.
        class_name: Explain what speaks for this class instead of for the answer.
        seed: Of methods that draw (LIME).

    Raises:
        SettingsError: No such method or class, a package is missing, or `out` cannot take results.
        ModelError: The network has no feature map, and a method needs one.
    """
    talk = talk or Talk()
    chosen, left_out = choose(methods)
    k = _class_number(classifier, class_name)
    if out is not None and out.is_file():
        raise SettingsError("--out should be a folder.", got=f"{out}, a file", fix=f"--out {out.with_suffix('')}")
    subject = Subject.of(classifier)
    subject.refuse_unfit(chosen)
    if left_out:
        talk.say(f'not installed: {", ".join(left_out)}; pip install "linnaeus[explain]" brings them.')
    examples = Examples.of_run(subject, run, talk) if run is not None else None
    return _explain_all(Desk(subject, chosen, examples, seed), paths, k, out, talk)


def check_methods(
    classifier: Classifier,
    paths: Iterable[str],
    methods: Sequence[str] = DEFAULT,
    talk: Talk | None = None,
    *,
    seed: int = 0,
) -> Checks:
    """Test which method to believe: sanity check with random weights, deletion and insertion curves.

    Args:
        classifier: What answers; it is left as it is.
        paths: Files; the first few that can be read are used, for the class that the classifier names.
        methods: As for `explain`.
        talk: Where progress goes.
        seed: Of the random weights, and of methods that draw.

    Raises:
        SettingsError: As for `explain`; or none of the pictures can be read.
        ModelError: As for `explain`.
    """
    chosen, _ = choose(methods)
    subject = Subject.of(classifier)
    subject.refuse_unfit(chosen)
    cases = readable_cases(subject, (Place(path) for path in paths))
    if not cases:
        raise SettingsError("a check needs pictures.", got="none that can be read", fix="name one that can be.")
    return check(subject, cases, chosen, talk or Talk(), seed)


def _explain_all(desk: Desk, paths: Iterable[str], k: int | None, out: Path | None, talk: Talk) -> Iterator[Explained]:
    for number, path in enumerate(paths, start=1):
        talk.progress("explaining", number - 1, None)
        if out is None:
            yield desk.explain(path, Place(path), {}, k=k)
            continue
        if Path(path).resolve().parent == out.resolve():
            raise SettingsError(
                "--out should be another folder than that of the pictures.", got=str(out), fix=f"--out {out}-explained"
            )
        name = f"{number:03}-{_file_name(path)}"
        files = {one.name: out / f"{name}-{file_part(one)}.png" for one in desk.methods}
        yield desk.explain(path, Place(path), files, sheet=out / f"{name}.png", k=k)


def _class_number(classifier: Classifier, name: str) -> int | None:
    if not name:
        return None
    if name in classifier.classes:
        return classifier.classes.index(name)
    near = get_close_matches(name, classifier.classes, n=2, cutoff=0.5)
    fix = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(classifier.classes[:10])}"
    raise SettingsError(f"the model knows no class {name!r}.", fix=fix)


def _file_name(path: str) -> str:
    """Make a file's name of a picture's: letters and digits of any script stay."""
    return re.sub(r"[^\w.-]+", "-", Path(path).stem)[:60].strip("-.") or "picture"
