"""The contract of every target: what it writes answers as PyTorch does and says what it is."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from linnaeus.errors import ModelError
from linnaeus.targets import TARGETS
from made_exports import (
    QUICK,
    RUNNABLE,
    TOLERANCE,
    assert_same_card,
    each_pair,
    each_runnable,
    each_target,
    expected,
    export,
    fresh,
    grouped,
    opened,
    pictures,
    require_here,
)

pytestmark = pytest.mark.runtimes


@each_pair
def test_it_answers_batches_of_1_3_and_16_as_pytorch_does(name, network):
    runner, truth = opened(name, network), expected(network)["probabilities"]
    assert len(set(truth.argmax(1))) > 2, "answers that are all alike would prove nothing"
    for N in (1, 3, 16):
        found = runner.run(pictures(network)[:N])["probabilities"]
        assert found.shape == (N, 5) and found.dtype == np.float32
        assert np.abs(found - truth[:N]).max() < TOLERANCE
        assert (found.argmax(1) == truth[:N].argmax(1)).all()


@each_pair
def test_it_gives_its_outputs_by_name(name, network):
    found, truth = opened(name, network).run(pictures(network)[:3]), expected(network, 3)
    assert list(found) == list(truth)
    for output, values in truth.items():
        assert found[output].shape == values.shape
        assert np.abs(found[output] - values).max() < 2e-4 * np.abs(values).max(), output


@each_pair
def test_its_card_survives(name, network):
    assert_same_card(opened(name, network).card, export.blueprint(network).card)


@each_runnable
def test_several_threads_may_ask_at_once(name):
    runner, shown = opened(name), pictures(QUICK)
    alone = [runner.run(shown[at : at + 2])["probabilities"] for at in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: runner.run(shown[at % 8 : at % 8 + 2])["probabilities"], range(64)))
    assert all(np.allclose(one, alone[at % 8], atol=1e-6) for at, one in enumerate(found))


@each_runnable
def test_pictures_may_lie_in_any_order_in_memory(name):
    shown = pictures(QUICK)[:3]
    turned = np.ascontiguousarray(shown.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    turned.flags.writeable = False
    found, straight = (opened(name).run(one)["probabilities"] for one in (turned, shown))
    assert np.array_equal(found, straight)


@each_runnable
def test_an_answer_stays_when_the_next_is_asked(name):
    first = opened(name).run(pictures(QUICK)[:2])
    kept = {output: values.copy() for output, values in first.items()}
    opened(name).run(pictures(QUICK)[2:4])
    assert all(np.array_equal(first[output], kept[output]) for output in kept)


@each_runnable
def test_colour_pictures_are_turned_grey_as_the_decoder_does(name):
    colour = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    flat = (colour.astype(int) @ [19595, 38470, 7471] + 32768) >> 16
    found, meant = (opened(name).run(one)["probabilities"] for one in (colour, flat[..., None].astype(np.uint8)))
    assert np.allclose(found, meant, atol=1e-6)


@pytest.mark.parametrize("name", grouped([name for name in RUNNABLE if TARGETS[name].any_size]))
def test_a_graph_for_any_size_resizes_as_it_does_in_pytorch(name, tmp_path):
    require_here(TARGETS[name])
    blueprint = fresh(tmp_path, outputs=("probabilities",), any_size=True)
    graph, runner = blueprint.graph, TARGETS[name].open(TARGETS[name].write(blueprint, tmp_path))
    assert runner.card.any_size
    for H, W in ((50, 80), (40, 33), (20, 90)):
        picture = np.random.default_rng(H).integers(0, 256, (1, H, W, 3), dtype=np.uint8)
        with torch.no_grad():
            assert np.abs(runner.run(picture)["probabilities"] - graph(torch.from_numpy(picture)).numpy()).max() < 1e-3


@each_target
def test_it_writes_nothing_on_the_terminal(name, tmp_path, capfd):
    if name == "aotinductor":
        pytest.skip("compiling once more would take ten seconds")
    require_here(TARGETS[name])
    # Most are made of what these two make.
    blueprint = fresh(tmp_path) if name in ("onnx", "torch") else export.blueprint(QUICK)
    capfd.readouterr()
    path = TARGETS[name].write(blueprint, tmp_path)
    with contextlib.suppress(ModelError):
        TARGETS[name].open(path).run(pictures(QUICK)[:1])
    said = capfd.readouterr()
    assert said.out + said.err == ""
