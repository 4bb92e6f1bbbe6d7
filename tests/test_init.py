"""The public names: there, lazy, and the same as in their modules."""

import subprocess
import sys

import numpy as np
import pytest

import linnaeus
from linnaeus.config import Recipe


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def told(monkeypatch, tmp_path):
    """What `train` hands to the story."""
    from linnaeus import story

    calls = []
    monkeypatch.setattr(story, "tell", lambda source, recipe, **rest: calls.append((source, recipe, rest)) or "a run")
    return calls


def test_importing_the_package_imports_neither_torch_nor_numpy():
    heavy = run_python("import sys, linnaeus; print(sorted({'torch', 'numpy', 'timm', 'pydantic'} & set(sys.modules)))")
    assert heavy == "[]"


def test_every_public_name_is_there_and_documented():
    for name in linnaeus.__all__:
        assert getattr(linnaeus, name).__doc__


def test_dir_lists_the_public_names_before_they_are_imported():
    assert run_python("import linnaeus; print(set(linnaeus.__all__) <= set(dir(linnaeus)))") == "True"


def test_a_name_is_the_same_thing_as_in_its_module():
    from linnaeus.run import Run

    assert linnaeus.Run is Run
    assert linnaeus.Recipe is Recipe


def test_train_and_load_stay_functions_after_their_modules_are_imported():
    import linnaeus.story
    import linnaeus.verbs.train

    assert callable(linnaeus.train)
    assert callable(linnaeus.load)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        linnaeus.tarin  # noqa: B018


def test_train_turns_its_arguments_into_a_recipe(told, tmp_path):
    linnaeus.train(
        "digits", epochs=2, budget_s=60, seed=3, overrides={"optim.lr": 0.01}, out=str(tmp_path), strict=True
    )
    source, recipe, rest = told[0]
    assert source == "digits"
    assert (recipe.train.epochs, recipe.budget_s, recipe.seed, recipe.optim.lr) == (2, 60, 3, 0.01)
    assert rest["out"] == tmp_path
    assert rest["strict"]


def test_train_takes_the_recipe_of_a_lesson_with_its_network(told):
    linnaeus.train("cifar10", model="keras-cifar10")
    assert told[0][1].train.batch_size == 64


def test_train_takes_a_recipe_and_changes_only_what_is_given(told):
    asked = linnaeus.load_recipe("torch-simplecnn")
    linnaeus.train("cifar10", recipe=asked, epochs=1)
    assert told[0][1] == asked.model_copy(update={"train": asked.train.model_copy(update={"epochs": 1})})


def test_a_misspelt_override_is_an_error_with_the_nearest_name(told):
    with pytest.raises(linnaeus.LinnaeusError, match=r"did you mean.*optim\.lr"):
        linnaeus.train("digits", overrides={"optim.lrr": 0.1})
    assert not told


def test_train_and_load_work_together(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    run = linnaeus.train("digits", epochs=0.5, out=tmp_path / "run")
    classifier = linnaeus.load(run.folder)
    probabilities = classifier.predict_proba(np.zeros((2, 8, 8, 1), np.uint8))
    assert probabilities.shape == (2, 10)
    assert list(classifier.classes_) == list("0123456789")
