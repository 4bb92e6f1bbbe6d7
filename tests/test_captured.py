import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from linnaeus.config import OptimSettings
from linnaeus.learn.captured import WARM_UP, Captured, Graphs, Twin, make_recordable
from linnaeus.learn.compiled import Compiling
from linnaeus.learn.engine import Engine
from linnaeus.learn.late import Late
from linnaeus.learn.loop import train
from linnaeus.learn.objectives import Batch, Outcome, supervised
from linnaeus.learn.optim import make_optimizer
from linnaeus.nn.stages import exempt


class Told(Twin):
    """A twin whose clock shows what it was told: seconds by the number of the timed step."""

    def __init__(self, *seconds, fails=False):
        self.seconds, self.recorded, self.replayed, self.fails = list(seconds), 0, 0, fails

    def record(self, work):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        self.recorded += 1
        replay, found = super().record(work)

        def counted():
            self.replayed += 1
            replay()

        return counted, found

    def timed(self, work):
        return work(), self.seconds.pop(0) if self.seconds else 1.0


def network():
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Dropout(0.3), nn.Linear(8, 4)).to(memory_format=torch.channels_last)


def batches(sizes):
    draw = torch.Generator().manual_seed(1)
    for number, size in enumerate(sizes):
        pictures = torch.randn(size, 3, 9, 9, generator=draw).to(memory_format=torch.channels_last)
        yield Batch(pictures, torch.randint(4, (size,), generator=draw), (0, number))


def learn(name="sgd", recorder=None, sizes=(6,) * 12, device="cpu", watched=None, **options):
    engine, net = Engine(seed=3), network().to(device).train()
    optimizer = make_optimizer(net, OptimSettings(name=name, lr=0.05, weight_decay=0.01), exempt(net), {})
    given = [Batch(one.pictures.to(device), one.labels.to(device), one.seed) for one in batches(sizes)]
    quicken = {}
    if recorder is not None:
        make_recordable(optimizer, engine.device)
        quicken["quicken"] = lambda take, net: Captured(take, net, recorder, **options)
    steps = train(net, given, supervised(), optimizer, lambda step: 1 / (1 + step), engine, clip_norm=1.0, **quicken)
    with watched or torch.enable_grad():
        done = list(steps)
    told = {
        "loss": [one.loss.item() for one in done],
        "right": [int(one.right) for one in done],
        "n": [one.n for one in done],
    }
    return net.state_dict(), told


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_replayed_steps_give_the_weights_and_losses_of_usual_ones(name):
    recorder = Told()
    (usual, told), (replayed, told_late) = learn(name), learn(name, recorder)
    assert recorder.replayed == 12 - WARM_UP
    assert told["loss"] == pytest.approx(told_late["loss"], rel=1e-6)
    assert told["right"] == told_late["right"]
    for key, value in usual.items():
        assert torch.allclose(value.double(), replayed[key].double(), rtol=1e-5, atol=1e-7), key


def test_each_size_of_batch_has_a_recording_of_its_own():
    recorder, sizes = Told(), (6, 6, 5) * 6
    usual, replayed = learn(sizes=sizes)[1], learn(recorder=recorder, sizes=sizes)[1]
    assert usual["loss"] == pytest.approx(replayed["loss"])
    assert usual["n"] == replayed["n"] == list(sizes)
    assert recorder.recorded == 2
    assert recorder.replayed == 18 - 2 * WARM_UP


def test_a_stage_that_freezes_on_the_way_stands_still_in_what_is_replayed():
    def halfway(recorder):
        net, engine = network().train(), Engine(seed=3)
        optimizer = make_optimizer(net, OptimSettings(name="sgd", lr=0.05), set(), {})
        quicken = partial
        if recorder is not None:
            make_recordable(optimizer, engine.device)
            quicken = partial(Captured, recorder=recorder)
        seen = []
        for step in train(net, batches((6,) * 20), supervised(), optimizer, lambda _: 1.0, engine, quicken=quicken):
            seen.append(net[0].weight.detach().clone())
            net[0].weight.requires_grad_(step.number < 9)
        return seen

    recorder = Told()
    usual, replayed = halfway(None), halfway(recorder)
    assert recorder.recorded == 2
    assert all(torch.equal(one, other) for one, other in zip(usual, replayed, strict=True))
    assert not torch.equal(replayed[9], replayed[8])
    assert torch.equal(replayed[10], replayed[19])


def test_a_recording_that_is_slower_is_not_used():
    recorder = Told(0.01, 0.02)
    learn(recorder=recorder)
    assert recorder.replayed == 2  # the one that follows recording, and the one that is timed


def test_a_step_that_cannot_be_recorded_is_taken_as_usual():
    made = []

    def quicken(take, net, recorder, **options):
        made.append(Captured(take, net, recorder, **options))
        return made[0]

    recorder = Told(fails=True)
    usual = learn()[0]
    net, engine = network().train(), Engine(seed=3)
    optimizer = make_optimizer(net, OptimSettings(name="sgd", lr=0.05, weight_decay=0.01), exempt(net), {})
    make_recordable(optimizer, engine.device)
    steps = train(
        net, batches((6,) * 12), supervised(), optimizer, lambda step: 1 / (1 + step), engine,
        clip_norm=1.0, quicken=lambda take, net: quicken(take, net, recorder),
    )  # fmt: skip
    assert len(list(steps)) == 12
    assert made[0].trouble == "recording did not work: operation not permitted when stream is capturing"
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in usual.items())


def test_gradients_of_a_recording_that_broke_off_are_not_learned_from(monkeypatch):
    """On a GPU they were never computed; what raises at the end of a capture hides what broke it."""

    class Breaking(Told):
        def record(self, work):
            with monkeypatch.context() as patch:
                patch.setattr(nn.utils, "clip_grad_norm_", lambda *given: torch.zeros(2).view(3))
                try:
                    work()
                finally:
                    raise RuntimeError("the capture was invalidated")

    def weights(recorder):
        torch.manual_seed(0)
        net, engine = nn.Sequential(nn.Flatten(), nn.Linear(243, 4)), Engine()
        optimizer = make_optimizer(net, OptimSettings(name="sgd", lr=0.05), set(), {})
        captured = []

        def quicken(take, net):
            captured.append(Captured(take, net, recorder))
            return captured[0]

        make_recordable(optimizer, engine.device)
        steps = train(
            net, batches((6,) * 8), supervised(), optimizer, lambda _: 1.0, engine, clip_norm=100.0, quicken=quicken
        )
        assert len(list(steps)) == 8
        return net[1].weight, captured[0].trouble

    (usual, none), (same, trouble) = weights(Told()), weights(Breaking())
    assert torch.equal(usual, same)
    assert none == ""
    assert "shape '[3]' is invalid" in trouble


def test_what_does_not_record_is_never_recorded():
    recorder = Told()
    learn(recorder=recorder, records=False)
    assert recorder.recorded == 0


def test_a_loss_that_is_read_late_is_that_of_its_own_step():
    read_late = learn(recorder=Told())[1]["loss"]
    assert len(set(read_late)) == 12
    assert all(math.isfinite(loss) for loss in read_late)


def test_whoever_keeps_something_made_of_the_weights_hears_of_a_replay():
    """A GPU's replay writes where PyTorch does not look: here, numpy does."""
    net = nn.Linear(2, 2, bias=False)
    found = Outcome(torch.zeros(()), torch.zeros((), dtype=torch.int64), 0, torch.zeros(()))

    class Behind(Told):
        def record(self, work):
            def replay():
                net.weight.detach().numpy()[:] += 1

            return replay, found

    captured = Captured(lambda net, batch: found, net, Behind(1.0, 0.5))
    batch = Batch(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    for _ in range(WARM_UP):
        captured(batch)
    versions = [net.weight._version]
    for _ in range(4):
        captured(batch)
        versions.append(net.weight._version)
    assert versions == sorted(set(versions))


class FakeCompiling(Compiling):
    """Compiles by copying the function that calls the network, but for batches of one size or for all."""

    def __init__(self, pays, broken=False, refused=0):
        self.answer, self.broken, self.refused = pays, broken, refused
        self.compiled_calls, self.seconds, self.kept = 0, [], None

    def pays(self, step_s):
        self.asked_s = step_s
        return self.answer

    def compiled(self, network):
        def call(x):
            self.compiled_calls += 1
            if self.broken or len(x) == self.refused:
                raise RuntimeError("no compiler here")
            return network(x)

        return call

    def took(self, seconds):
        self.seconds.append(seconds)

    def remember(self, step_s):
        self.kept = dict(step_s)


def test_a_network_is_compiled_where_that_pays_against_a_replay_and_recorded_then():
    recorder, compiling = Told(0.04, 0.02, 30.0, 0.03, 0.01), FakeCompiling(True)
    usual, compiled = learn(), learn(recorder=recorder, compiling=compiling)
    assert compiling.asked_s == 0.02
    assert compiling.seconds == [30.0]
    assert compiling.kept == {"as usual": 0.04, "replayed": 0.02, "compiled": 0.03, "compiled and replayed": 0.01}
    assert recorder.replayed == 12 - 2 * WARM_UP - 1
    assert all(torch.equal(usual[0][key], compiled[0][key]) for key in usual[0])


def test_a_compiled_network_that_is_slower_is_not_used():
    compiling = FakeCompiling(True)
    learn(recorder=Told(0.04, 0.02, 30.0, 0.05, 0.03), compiling=compiling, sizes=(6,) * 30)
    assert (
        compiling.compiled_calls == 1 + WARM_UP + 2
    )  # what compiles; usual steps; two replays, which a twin takes anew


def test_a_network_is_left_as_it_is_where_compiling_does_not_pay():
    recorder, compiling = Told(), FakeCompiling(False)
    learn(recorder=recorder, compiling=compiling)
    assert compiling.compiled_calls == 0


def test_where_compiling_fails_steps_are_recorded_all_the_same():
    recorder, compiling = Told(), FakeCompiling(True, broken=True)
    usual, same = learn(), learn(recorder=recorder, compiling=compiling)
    assert compiling.compiled_calls == 1
    assert recorder.replayed == 12 - WARM_UP - 1
    assert all(torch.equal(usual[0][key], same[0][key]) for key in usual[0])


def test_the_seconds_of_every_step_that_compiles_are_told():
    recorder, compiling = Told(), FakeCompiling(True)
    usual = learn(sizes=(6,) * 12 + (5,) * 12)
    compiled = learn(recorder=recorder, compiling=compiling, sizes=(6,) * 12 + (5,) * 12)
    assert compiling.seconds == [1.0, 1.0]
    assert all(torch.equal(usual[0][key], compiled[0][key]) for key in usual[0])


def test_a_further_kind_of_step_that_cannot_be_compiled_is_taken_as_the_network_stands():
    sizes = (6,) * 12 + (5,) * 12
    recorder, compiling = Told(), FakeCompiling(True, refused=5)
    usual, same = learn(sizes=sizes), learn(recorder=recorder, compiling=compiling, sizes=sizes)
    assert compiling.seconds == [1.0]
    assert recorder.recorded == 3  # as usual and compiled, then as usual
    assert all(torch.equal(usual[0][key], same[0][key]) for key in usual[0])


def test_the_times_of_one_kind_of_step_are_told():
    def take(network, batch):
        return Outcome(torch.zeros(()), torch.zeros((), dtype=torch.int64), len(batch.labels), torch.zeros(()))

    made = Captured(take, network(), Told(0.04, 0.02, 0.03, 0.01))
    for batch in batches((6,) * 6 + (5,) * 6):
        made(batch)
    assert made.step_s == {"as usual": 0.04, "replayed": 0.02}


class NoReading(TorchDispatchMode):
    """Forbid what makes the host wait for a GPU: reading a number, or asking how many there are."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        asks = name == "index" and any(one is not None and one.dtype is torch.bool for one in args[1])
        if name in self.WAITS or asks:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_no_step_asks_the_device_for_a_value(name):
    learn(name, Told(), watched=NoReading())


def test_the_watch_sees_a_value_that_is_read():
    with NoReading(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3).sum().item()
    with NoReading(), pytest.raises(AssertionError, match="waits"):
        torch.arange(3)[torch.tensor([True, False, True])]


def test_rates_that_are_tensors_follow_the_schedule():
    net = network()
    optimizer = make_optimizer(net, OptimSettings(name="adamw", lr=0.1), set(), {})
    plain = copy.deepcopy([group["lr"] for group in optimizer.param_groups])
    make_recordable(optimizer, torch.device("cpu"))
    assert [group["lr"].item() for group in optimizer.param_groups] == pytest.approx(plain)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_a_cuda_graph_gives_the_weights_of_usual_steps(name):
    usual, replayed = learn(name, device="cuda"), learn(name, Graphs(), device="cuda")
    assert usual[1]["loss"] == pytest.approx(replayed[1]["loss"], rel=1e-4)
    for key, value in usual[0].items():
        assert torch.allclose(value.double(), replayed[0][key].double(), rtol=1e-4, atol=1e-5), key


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_makes_the_host_wait_for_a_gpu():
    engine, net = Engine(seed=3), network().to("cuda").train()
    optimizer = make_optimizer(net, OptimSettings(name="muon", lr=0.05), exempt(net), {})
    make_recordable(optimizer, engine.device)
    given = [Batch(one.pictures.to("cuda"), one.labels.to("cuda"), one.seed) for one in batches((6,) * 70)]
    late, read = Late(), []
    steps = train(
        net, given, supervised(), optimizer, lambda _: 1.0, engine, quicken=partial(Captured, recorder=Graphs())
    )
    try:
        for step in steps:
            read += late.note(step)
            torch.cuda.set_sync_debug_mode("error" if step.number > 2 * WARM_UP else "default")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(read + late.everything()) == 70
