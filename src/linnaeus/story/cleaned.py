"""Leave training pictures out whose labels are wrong beyond doubt (`train.clean = auto`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from linnaeus.config import Recipe
from linnaeus.data.folders import default_cache_dir
from linnaeus.data.ties import unite
from linnaeus.learn.clean import clean
from linnaeus.learn.embeddings import embed
from linnaeus.learn.engine import one_blas_thread
from linnaeus.records import Finding
from linnaeus.story.divided import Divided
from linnaeus.story.pictures import Looked
from linnaeus.talk import Talk
from linnaeus.verbs.plan import preprocessing

LEFT_OUT = "cleaned"
"""What stands in place of "train" for a picture that is left out."""


def cleaned(divided: Divided, looked: Looked, used: Recipe, talk: Talk) -> Divided:
    """Take likely wrong labels out of the training part; validation and test stay as they were given.

    Args:
        divided: Pictures with their side.
        looked: Where their near-duplicates are known.
        used: The recipe, nothing left open.
        talk: Where words and progress go.
    """
    rows = divided.split.rows("train")
    how, data, cache_dir = preprocessing(used), used.data, default_cache_dir() / "pixels"
    clusters = looked.clusters or [""] * len(looked.dataset)
    key_of = dict(zip((one.id for one in looked.dataset.examples), clusters, strict=True))
    examples = [divided.dataset.examples[row] for row in rows]
    with talk.stage("clean"):
        scan = divided.scan.take(rows)
        features = embed(scan, how, cache_dir=cache_dir, cache_gb=data.cache_gb, memory_gb=data.memory_gb, talk=talk)
        keys = unite([one.group for one in examples], scan.hashes, [key_of[one.id] for one in examples])
        with one_blas_thread():
            found = clean(features, divided.dataset.labels[rows], keys)
    parts, why = divided.split.parts.astype("<U7"), divided.split.why.astype(object)
    settled = looked.settled()
    out = [row for row in sorted(found.reasons) if examples[row].id not in settled]
    parts[rows[out]] = LEFT_OUT
    why[rows[out]] = [found.reasons[row] for row in out]
    words, confirmed = found.words(), len(found.reasons) - len(out)
    if confirmed:
        words = f"{words}, of which {confirmed:,} stay, as a person confirmed them"
    talk.say(f"clean: {words}")
    findings = divided.findings
    if out:
        ids = tuple(examples[row].id for row in out)
        findings = (*findings, Finding("cleaned", ids, f"{words}; linnaeus review shows them", "note"))
    return replace(
        divided, split=replace(divided.split, parts=parts, why=np.asarray(why, dtype=np.str_)), findings=findings
    )
