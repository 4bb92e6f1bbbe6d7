"""Benchmarks refuse to print a ratio whose two sides did different work."""

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import plots

    monkeypatch.setattr(plots, "bars", lambda *_: None)
    monkeypatch.setattr(plots, "into_page", lambda *_: None)


def kept(name):
    return json.loads((ROOT / f"docs/{name}.json").read_text(encoding="utf-8"))


def test_decoding_is_not_compared_where_pixels_differ():
    import decode

    means = {"Pillow: draft and resize": np.array([90.0, 120.0]), decode.OURS: np.array([90.5, 119.0])}
    decode.check("small", means)
    for other in (np.array([90.0, 122.0]), np.array([90.0])):
        with pytest.raises(SystemExit, match="torchvision did other work"):
            decode.check("small", means | {"torchvision": other})


def test_fine_tuning_is_not_compared_where_networks_or_sizes_differ():
    import fine_tune

    speed = kept("fine-tune")["speed"]
    assert "times** fastai" in fine_tune.speed_words(speed)
    speed["sides"]["timm"]["work"][-1] = 224
    with pytest.raises(SystemExit, match="different work"):
        fine_tune.speed_words(speed)


def test_rounds_of_fine_tuning_are_put_together():
    import fine_tune

    once = kept("fine-tune")["speed"]
    twice = once | fine_tune.merged(once, once)
    assert fine_tune.rates(twice) == fine_tune.rates(once)
    assert f"{2 * len(once['sides']['timm']['pictures_per_s'])} rounds" in fine_tune.speed_words(twice)


def test_first_models_are_not_compared_on_other_pictures(capsys):
    import first_model

    both = kept("first-model")
    first_model.draw(both)
    assert "times as soon" in capsys.readouterr().out
    both["fastai"][0]["train"] += 1
    with pytest.raises(SystemExit, match="different work"):
        first_model.draw(both)


def test_predictions_are_not_compared_where_answers_differ():
    import predict

    rivals = kept("predict-speed")["rivals"]
    assert "other answers" not in predict.draw_rivals(rivals)
    rivals["agreement"]["fastai get_preds"] = 0.9
    (row,) = (line for line in predict.draw_rivals(rivals).splitlines() if line.startswith("| fastai"))
    assert row.endswith("| other answers | other answers |")


def test_a_lesson_that_is_more_accurate_than_ours_gets_no_ratio(monkeypatch, tmp_path):
    import cifar10

    lessons = kept("cifar10-lessons")
    lessons["lessons"][0]["accuracy"] = 0.99
    monkeypatch.setattr(cifar10, "LESSONS", tmp_path / "lessons.json")
    cifar10.LESSONS.write_text(json.dumps(lessons))
    (row,) = (line for line in cifar10.lessons_table().splitlines() if line.startswith("| Keras"))
    assert row.endswith("| none | none |")
