"""No speed-up changes results: each is compared, weight by weight, with a training loop of 25 lines of plain PyTorch.

The loop knows nothing of Linnaeus but the order of the pictures and what was drawn for them. Where a speed-up may round
otherwise, `CLOSE` says by how much; all others give the same bits.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.config import AugmentSettings, OptimSettings
from linnaeus.data.batches import Feed
from linnaeus.learn.captured import Captured, Twin, make_recordable
from linnaeus.learn.engine import Engine
from linnaeus.learn.frozen import FrozenFeed
from linnaeus.learn.infer import infer
from linnaeus.learn.loop import train
from linnaeus.learn.objectives import supervised
from linnaeus.learn.optim import make_optimizer
from linnaeus.learn.resident import Resident, Streamed
from linnaeus.nn import stages
from linnaeus.nn.cut import cut
from linnaeus.nn.input import FromBytes
from linnaeus.records import Preprocessing
from linnaeus.talk import Talk

MEAN, STD, SIZE, STEPS = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), 12, 24
HOW = Preprocessing(size_px=SIZE, resize="squash", mean=MEAN, std=STD)
MOVES = AugmentSettings(flip="alternating", shift=0.2, fill="reflect")
SAME = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
"""For what adds up the same numbers in another order: float32 keeps seven digits."""


class Pictures(list):
    """Stored pictures as `Pixels` gives them."""

    uniform = None

    @property
    def sizes(self):
        return np.array([picture.shape[:2] for picture in self], np.int32)


def feed(settings=MOVES):
    stored = Pictures(np.random.default_rng(0).integers(0, 256, (30, SIZE, SIZE, 3), dtype=np.uint8))
    return Feed(stored, np.arange(26), np.arange(30) % 4, settings, SIZE, batch_size=8, seed=5)


def network(norm=True):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, bias=not norm), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, bias=not norm), *([nn.BatchNorm2d(8)] if norm else []), nn.GELU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 4),
    )


def normalised(pictures):
    """As torchvision does it: bytes to 0..1, then the mean, then the deviation."""
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, STD))
    return (pictures.permute(0, 3, 1, 2) / 255 - mean) / std


def plain_loop(net, given, memory_format=torch.contiguous_format, fused=None, normalise=normalised):
    """Train as anybody would."""
    net.to(memory_format=memory_format)
    trained = [one for one in net.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=fused)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / STEPS)
        epoch, place = divmod(step, given.steps_per_epoch)
        rows = given.order(epoch)[place]
        moves = given.changes(rows, np.full((len(rows), 2), SIZE), epoch, place).maps
        pictures = torch.from_numpy(
            np.stack([moved(given.pictures[r], one) for r, one in zip(rows, moves, strict=True)])
        )
        x = normalise(pictures).contiguous(memory_format=memory_format)
        loss = functional.cross_entropy(net(x), torch.from_numpy(given.labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.state_dict()


def moved(picture, move):
    """Mirror and shift a picture as a map from output to input says; beyond the edge it is mirrored."""
    far = np.pad(picture, ((SIZE, SIZE), (SIZE, SIZE), (0, 0)), mode="symmetric")
    places = np.arange(SIZE) + 0.5
    x, y = (np.floor(move[axis, axis] * places + move[axis, 2]).astype(int) + SIZE for axis in (0, 1))
    return far[y[:, None], x[None]]


@dataclass(frozen=True)
class Way:
    """A speed-up: how it trains, what it is compared with, and how close it must come."""

    pieces: int = 1
    resident: bool = False
    replayed: bool = False
    frozen: bool = False
    norm: bool = True
    settings: AugmentSettings = MOVES
    plain: dict = None
    close: dict = None


LIKE_OURS = {"memory_format": torch.channels_last, "fused": True, "normalise": FromBytes(MEAN, STD)}
"""What rounds otherwise, each compared with the plainer way by a line of its own in `WAYS`; with all of them in the plain
loop, the rest must give the same bits."""
NOTHING = AugmentSettings(flip="none", shift=0, color=0, fill="reflect")
WAYS = {
    "everything together": Way(resident=True, replayed=True, plain={"fused": None}, close=CLOSE),
    "channels last": Way(plain=LIKE_OURS | {"memory_format": torch.contiguous_format}, close=CLOSE),
    "fused optimizer": Way(plain=LIKE_OURS | {"fused": False}, close=CLOSE),
    "normalised by one product and one sum": Way(plain=LIKE_OURS | {"normalise": normalised}, close=CLOSE),
    "batches made ahead by threads": Way(),
    "resident pictures": Way(resident=True),
    "replayed steps": Way(replayed=True),
    "resident pictures, replayed steps": Way(resident=True, replayed=True),
    # Batch norms would see a piece each, which is another training: docs/decisions.md tells why that is taken.
    "a batch shared between two cores": Way(pieces=2, norm=False, close=CLOSE),
    "frozen stages computed once": Way(frozen=True, settings=NOTHING, close=CLOSE),
}


def replaying(take, net, compiling=None):
    return Captured(take, net, Twin(), compiling)


def our_loop(net, given, way, quicken=replaying):
    engine, normalise = Engine(), FromBytes(MEAN, STD)
    upper, batches = engine.place(net), None
    if way.frozen:
        lower, upper = cut(net, torch.randn(2, 3, SIZE, SIZE))
        batches = FrozenFeed.make(lower, given, 1, HOW, engine, Talk()).batches(0, STEPS, engine.device)
        stages.train_mode(net)
    elif way.resident:
        batches = Resident(given.rows, given.pictures, normalise, engine).batches(given, 0, STEPS)
    else:
        batches = Streamed(normalise, engine).batches(given, 0, STEPS)
    settings = OptimSettings(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)
    optimizer = make_optimizer(net, settings, set(), {})
    if way.replayed:
        make_recordable(optimizer, engine.device)
    quicken = quicken if way.replayed else partial
    with engine.sharing(upper, way.pieces):
        for _ in train(upper, batches, supervised(), optimizer, lambda s: 1 - s / STEPS, engine, quicken=quicken):
            pass
    return net.state_dict()


def ready(way):
    net = network(way.norm).train()
    if way.frozen:
        stages.freeze(net, 1)
        stages.train_mode(net)
    return net


@pytest.mark.parametrize("name", WAYS)
def test_a_speed_up_gives_the_weights_of_the_plain_loop(name):
    way = WAYS[name]
    plain = plain_loop(ready(way), feed(way.settings), **(way.plain or LIKE_OURS))
    ours = our_loop(ready(way), feed(way.settings), way)
    assert list(plain) == list(ours)
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, **(way.close or SAME), msg=lambda told, key=key: f"{key}: {told}")


def test_the_plain_loop_learns_so_that_equal_weights_mean_something():
    before, after = network().state_dict(), plain_loop(network().train(), feed())
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_another_order_of_pictures_would_be_noticed():
    one, other = (plain_loop(network().train(), replace(feed(), seed=seed), **LIKE_OURS) for seed in (5, 6))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(one["3.weight"], other["3.weight"], **CLOSE)


def test_batch_norms_folded_into_convolutions_answer_as_before():
    net = network().train()
    plain_loop(net, feed())
    blocks = np.stack(feed().pictures)
    with torch.no_grad():
        plain = net.eval()(normalised(torch.from_numpy(blocks)))
    torch.testing.assert_close(torch.cat(list(infer(net, [blocks], HOW, Engine()))), plain, **CLOSE)


ALONE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import test_plain_loop as t
"""
PLAIN = """
from linnaeus import malloc
malloc._set = lambda setting, value: None
torch.save(t.plain_loop(t.network().train(), t.feed(), **t.LIKE_OURS), sys.argv[2])
"""
COMPILED = """
from linnaeus.learn.compiled import Compiling
compiling, taken = Compiling("on", t.STEPS, "a test"), []
def quicken(take, net):
    taken.append(t.replaying(take, net, compiling))
    return taken[0]
weights = t.our_loop(t.network().train(), t.feed(), t.Way(replayed=True), quicken)
assert compiling.reason == "as asked for"
assert not taken[0].trouble, taken[0].trouble
assert "compiled" in taken[0].step_s
torch.save(weights, sys.argv[2])
"""


def trained_alone(code, request, tmp_path):
    """Train in a process of its own; weights by name."""
    command = [sys.executable, "-c", ALONE + code, str(request.path.parent), str(tmp_path / "weights.pt")]
    cache = {"LINNAEUS_CACHE": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "code")}
    done = subprocess.run(command, env=os.environ | cache, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(tmp_path / "weights.pt")


def test_keeping_freed_memory_changes_no_weight(tmp_path, request):
    """Memory that was used before holds old numbers; a process in which it is given back trains to the same bits."""
    Engine()
    kept = plain_loop(network().train(), feed(), **LIKE_OURS)
    for key, value in trained_alone(PLAIN, request, tmp_path).items():
        assert torch.equal(kept[key], value), key


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_steps_give_the_weights_of_the_plain_loop(tmp_path, request):
    plain = plain_loop(network().train(), feed(), **LIKE_OURS)
    ours = trained_alone(COMPILED, request, tmp_path)
    assert list((tmp_path / "code").rglob("*.so"))
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, **CLOSE)
