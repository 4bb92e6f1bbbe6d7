"""How well pictures of no class are told from those of the classes: real ones, not those that chose the detector.

    python benchmarks/unknown.py [--flowers RUN] [--pictures 400]

A classifier of the flowers (trained here, unless a run is named) looks at test pictures of CIFAR-10, handwritten
digits, noise, blank and inverted pictures. Prints the AUROC of every detector against the flowers' test part, and what
the chosen one catches at its threshold. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import bench
from linnaeus.classifier import Classifier
from linnaeus.config import Recipe
from linnaeus.metrics.unknown import Seen, detector_auroc, fit_detectors
from linnaeus.run import Run
from linnaeus.story.pictures import Looked, look_at_all, open_pictures, where_of
from linnaeus.talk import Talk
from linnaeus.verbs.evaluate import outliers, seen_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flowers", type=Path, help="a finished run on the flowers")
    parser.add_argument("--pictures", type=int, default=400, help="of each kind")
    asked = parser.parse_args()
    print(bench.header())
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(asked.flowers or bench.train_run(bench.FLOWERS, Path(folder) / "run"))
        classifier = Classifier.load(run.folder)
        flowers = looked(classifier, str(run.source()["source"]))
        strange = looked(classifier, bench.cifar10(Path(folder)))
        measure(classifier, run, flowers, strange, asked.pictures)


def looked(classifier: Classifier, source: str) -> Looked:
    where = where_of(source)
    return look_at_all(open_pictures(where, Talk()), where, classifier.preprocessing, Recipe().data.cache_gb, Talk())


def measure(classifier: Classifier, run: Run, flowers: Looked, cifar: Looked, pictures: int) -> None:
    part_of = dict(zip(run.split()["id"], run.split()["split"], strict=True))
    parts = np.array([part_of[one.id] for one in flowers.dataset.examples])
    rng = np.random.default_rng(0)
    train = np.sort(rng.permutation(np.flatnonzero(parts == "train"))[:800])
    test = np.flatnonzero(parts == "test")
    tested = np.array([one.split == "test" for one in cifar.dataset.examples])
    others = np.sort(rng.permutation(np.flatnonzero(tested))[:pictures])
    known = seen_of(classifier, flowers.scan, test, Talk())
    detectors = fit_detectors(seen_of(classifier, flowers.scan, train, Talk()).features, flowers.dataset.labels[train])
    made = outliers(flowers.scan.pixels.block(test[:pictures], classifier.preprocessing.size_px), seed=7)
    kinds: dict[str, Seen] = {"CIFAR-10": seen_of(classifier, cifar.scan, others, Talk())}
    kinds |= {name: classifier.embed([made[name]]) for name in ("digits", "noise", "blank", "inverted")}
    judgement = classifier.judgement
    assert judgement is not None
    assert judgement.detector is not None
    chosen = judgement.detector.name
    print(
        f"\nAUROC against {len(test)} test pictures of the flowers (95 % interval); chosen at the training: {chosen}\n"
    )
    print("| detector | " + " | ".join(kinds) + " |")
    print("| --- |" + " --- |" * len(kinds))
    for detector in detectors:
        inside = detector.score(known)
        cells = [detector_auroc(inside, detector.score(seen)) for seen in kinds.values()]
        shown = " | ".join(f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in cells)
        print(f"| {detector.name} | {shown} |")
    alarms = judgement.strange(known.logits, known.features)[1].mean()
    caught = " | ".join(f"{judgement.strange(seen.logits, seen.features)[1].mean():.0%}" for seen in kinds.values())
    print(f"| answered `unknown` (of the flowers {alarms:.1%}) | {caught} |")


if __name__ == "__main__":
    main()
