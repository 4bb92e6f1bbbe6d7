from dataclasses import replace

from linnaeus.config import Recipe
from linnaeus.provenance import fingerprint, write_tensorboard
from linnaeus.records import Dataset, Example, Place
from linnaeus.run import Run


def dataset(*labels):
    examples = tuple(Example(f"{n}.png", Place(f"/{n}.png"), label) for n, label in enumerate(labels))
    return Dataset("d", "d", examples, ("a", "b"))


def test_the_fingerprint_is_of_content_and_labels_not_of_names_or_order():
    one, hashes = dataset("a", "b"), ("11", "22")
    turned = replace(one, examples=one.examples[::-1])
    renamed = replace(one, examples=tuple(replace(example, id=f"x{example.id}") for example in one.examples))
    assert fingerprint(one, hashes) == fingerprint(turned, hashes[::-1]) == fingerprint(renamed, hashes)
    assert fingerprint(one, hashes) != fingerprint(one, ("11", "33"))
    assert fingerprint(one, hashes) != fingerprint(dataset("b", "a"), hashes)


def test_a_run_says_what_is_needed_to_repeat_it(trained, photos):
    stored = trained.provenance()
    assert stored["data"]["found"] == stored["data"]["used"] == 72
    assert stored["data"]["source"] == str(photos)
    assert {"python", "torch", "timm", "linnaeus"} <= set(stored["versions"])
    assert stored["hardware"]["cores"] >= 1
    assert stored["seed"] == 0


def test_the_model_carries_its_data_recipe_and_scores(classifier, trained):
    about = classifier.about
    assert about["data"] == trained.provenance()["data"]
    assert about["recipe"]["optim"]["lr"] == trained.plan()["used"]["optim"]["lr"]
    accuracy = trained.scores("test").overall["accuracy"]
    assert about["scores"]["test"]["accuracy"] == [accuracy.value, accuracy.low, accuracy.high, accuracy.n]


def test_events_for_tensorboard_are_written_without_loading_tensorflow(trained, tmp_path):
    import shutil
    import subprocess
    import sys

    shutil.copytree(trained.folder, tmp_path / "run")
    code = (
        "import sys\nfrom pathlib import Path\nfrom linnaeus.provenance import write_tensorboard\n"
        "from linnaeus.run import Run\n"
        f"write_tensorboard(Run(Path({str(tmp_path / 'run')!r})))\nassert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run/tensorboard").glob("events.*"))


def test_a_run_without_epochs_has_no_events_for_tensorboard(tmp_path):
    run = Run.create(tmp_path / "run", "x", Recipe(), {})
    write_tensorboard(run)
    assert not run.tensorboard_dir.exists()
