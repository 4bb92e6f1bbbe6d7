import math

import pytest
import torch
from torch import nn

from linnaeus.config import OptimSettings
from linnaeus.learn.optim import Average, Muon, make_optimizer, make_schedule, orthogonalise, set_rate
from linnaeus.nn.stages import exempt, layer_scales


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(4))


@pytest.fixture
def net():
    made = network()
    made(torch.zeros(2, 3, 6, 6))
    return made


def gradients(net, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (72, 8)])
def test_orthogonalising_brings_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(orthogonalise(matrix, steps=5))
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_orthogonalising_keeps_the_singular_vectors():
    left, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    matrix = left @ torch.diag(torch.tensor([1, 0.9, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64))
    inside = left.T @ orthogonalise(matrix, steps=5)
    assert torch.allclose(inside, torch.diag(inside.diagonal()), atol=1e-9)


def test_a_zero_gradient_is_orthogonalised_to_zero():
    assert torch.equal(orthogonalise(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_muon_holds_filters_at_the_root_of_their_number():
    net = nn.Sequential(nn.Conv2d(3, 16, 3))
    with torch.no_grad():
        net[0].weight.mul_(50)
    optimizer = make_optimizer(net, OptimSettings(name="muon", lr=1e-6, weight_decay=0.1), exempt(net), {})
    for step in range(3):
        gradients(net, step)
        optimizer.step()
    assert net[0].weight.norm().item() == pytest.approx(4, rel=1e-4)


def test_muon_moves_every_direction_of_a_filter_bank_alike():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False))
    optimizer = make_optimizer(net, OptimSettings(name="muon", lr=1.0, momentum=0), exempt(net), {})
    unit = net[0].weight.detach() * (8**0.5 / net[0].weight.detach().norm())
    gradients(net)
    optimizer.step()
    moved = torch.linalg.svdvals((unit - net[0].weight.detach()).reshape(8, -1))
    assert 0.3 < moved.min() < moved.max() < 1.6


def test_muon_trains_the_rest_as_nesterov_sgd_does():
    ours, theirs = (nn.Linear(5, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    muon = Muon([{"params": list(ours.parameters())}], lr=0.1, momentum=0.6, weight_decay=0.01)
    sgd = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.6, nesterov=True, weight_decay=0.01)
    for step in range(4):
        gradients(ours, step)
        gradients(theirs, step)
        muon.step()
        sgd.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-6)


def test_muon_gives_filters_and_the_rest_rates_of_their_own(net):
    settings = OptimSettings(name="muon", lr=0.3, sgd_lr=0.02)
    groups = make_optimizer(net, settings, exempt(net), {}).param_groups
    assert {(group["filters"], group["lr"]) for group in groups} == {(True, 0.3), (False, 0.02)}


@pytest.mark.parametrize(("asked", "filters", "rest"), [({}, 0.9, 0.9), ({"momentum": 0.5}, 0.5, 0.5)])
@pytest.mark.parametrize("own", [None, 0.85])
def test_muon_gives_filters_and_the_rest_momenta_of_their_own(net, asked, filters, rest, own):
    settings = OptimSettings(name="muon", lr=0.3, sgd_momentum=own, **asked)
    groups = make_optimizer(net, settings, exempt(net), {}).param_groups
    assert {(group["filters"], group["momentum"]) for group in groups} == {(True, filters), (False, own or rest)}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_norms_and_biases_do_not_decay(net, name):
    optimizer = make_optimizer(net, OptimSettings(name=name, lr=0.1, weight_decay=0.5), exempt(net), {})
    names = {parameter: key for key, parameter in net.named_parameters()}
    decay = {names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {"0.weight": 0.5, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0.5, "3.bias": 0}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_norms_and_biases_decay_where_that_is_asked_for(net, name):
    settings = OptimSettings(name=name, lr=0.1, weight_decay=0.5, bias_decay=0.25)
    optimizer = make_optimizer(net, settings, exempt(net), {})
    names = {parameter: key for key, parameter in net.named_parameters()}
    decay = {names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {"0.weight": 0.5, "0.bias": 0.25, "1.weight": 0.25, "1.bias": 0.25, "3.weight": 0.5, "3.bias": 0.25}


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_the_order_of_parameters_does_not_hang_on_their_decay(net, name):
    """A checkpoint keeps moments by place."""

    def order(weights, biases):
        settings = OptimSettings(name=name, lr=0.1, weight_decay=weights, bias_decay=biases)
        groups = make_optimizer(net, settings, exempt(net), {}).param_groups
        return [[id(parameter) for parameter in group["params"]] for group in groups]

    assert order(0.5, 0) == order(0, 0) == order(0.5, 0.5)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_every_optimizer_goes_downhill_and_leaves_frozen_weights_alone(net, name):
    net[1].requires_grad_(False)
    frozen, x = net[1].weight.detach().clone(), torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    optimizer = make_optimizer(net, OptimSettings(name=name, lr=0.01), set(), {})
    first = net(x).square().mean()
    for _ in range(10):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < first
    assert torch.equal(net[1].weight, frozen)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_weights_that_thaw_later_are_trained_by_every_optimizer(net, name):
    optimizer = make_optimizer(net, OptimSettings(name=name, lr=0.01), set(), {})
    net[0].requires_grad_(False)
    before = net[0].weight.detach().clone()
    for thawed in (False, True):
        net[0].requires_grad_(thawed)
        net(torch.ones(2, 3, 6, 6)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(net[0].weight, before) is not thawed


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_gives_the_weights_of_torchs_own_to_the_last_bit(net, momentum):
    theirs = network()
    theirs(torch.zeros(2, 3, 6, 6))
    settings = OptimSettings(name="sgd", lr=0.1, momentum=momentum, weight_decay=5e-4)
    ours = make_optimizer(net, settings, set(), {})
    plain = torch.optim.SGD(
        theirs.parameters(), 0.1, momentum=momentum, nesterov=momentum > 0, weight_decay=5e-4, fused=True
    )
    for step in range(4):
        gradients(net, step)
        gradients(theirs, step)
        ours.step()
        plain.step()
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), theirs.parameters(), strict=True))


def test_lower_layers_get_lower_rates(net):
    scales = layer_scales(net, 0.5)
    optimizer = make_optimizer(net, OptimSettings(name="sgd", lr=0.8), set(), scales)
    names = {parameter: key for key, parameter in net.named_parameters()}
    rates = {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates["3.weight"] == 0.8
    assert rates["0.weight"] < rates["1.weight"] < rates["3.weight"]
    assert rates["0.weight"] == pytest.approx(0.8 * scales["0.weight"])


def test_the_rate_of_a_group_is_its_own_peak_times_the_factor(net):
    optimizer = make_optimizer(net, OptimSettings(name="sgd", lr=0.8), set(), layer_scales(net, 0.5))
    peaks = [group["peak_lr"] for group in optimizer.param_groups]
    set_rate(optimizer, 0.25)
    set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [peak / 2 for peak in peaks]


def course(steps=100, per_epoch=10, **settings):
    made = make_schedule(OptimSettings(**settings), steps, per_epoch)
    return [made(step) for step in range(steps)]


def test_a_constant_rate_stays():
    assert set(course(schedule="constant")) == {1.0}


def test_a_step_rate_falls_by_gamma_every_so_many_epochs():
    values = course(schedule="step", step_epochs=3, gamma=0.5)
    assert [values[0], values[29], values[30], values[60], values[99]] == [1, 1, 0.5, 0.25, 0.125]


def test_a_cosine_rate_starts_at_one_and_is_half_in_the_middle():
    values = course(schedule="cosine")
    assert values[0] == 1
    assert values[50] == pytest.approx(0.5)
    assert values[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))


def test_a_linear_rate_with_warm_up_rises_and_falls_to_nearly_nothing():
    values = course(schedule="linear", warmup=0.2)
    assert values[0] == 1 / 20
    assert values[19] == values[20] == 1
    assert values[60] == pytest.approx(0.5)
    assert values[99] == pytest.approx(1 / 80)


def test_a_step_rate_with_warm_up_keeps_its_epochs():
    values = course(schedule="step", step_epochs=3, gamma=0.5, warmup=0.1)
    assert values[:2] == [0.1, 0.2]
    assert values[29:31] == [1, 0.5]


def test_a_one_cycle_rate_is_that_of_torch_to_a_percent():
    steps = 400
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    torch_cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps,
        pct_start=0.25,
        div_factor=25,
        final_div_factor=4e3,
        cycle_momentum=False,
    )
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torch_cycle.step()
    got = course(steps, schedule="one-cycle")
    assert got[0] == pytest.approx(1 / 25)
    # torch spreads its phases over steps - 1, we over steps: half a step apart.
    assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) < 0.02


@pytest.mark.parametrize(
    ("schedule", "warmup"),
    [(name, warmup) for name in ("constant", "step", "cosine", "linear") for warmup in (0, 0.3)] + [("one-cycle", 0)],
)
def test_every_course_stays_between_nothing_and_the_peak_even_beyond_its_end(schedule, warmup):
    made = make_schedule(OptimSettings(schedule=schedule, warmup=warmup), 30, 7)
    assert all(0 <= made(step) <= 1 for step in range(30))
    assert max(made(step) for step in range(30)) == pytest.approx(1, abs=0.05)


def test_a_run_of_one_step_has_a_rate():
    assert all(
        0 < course(1, 1, schedule=name)[0] <= 1 for name in ("constant", "step", "cosine", "one-cycle", "linear")
    )


def test_the_average_follows_its_formula_and_forgets_the_start(net):
    average = Average(net, 0.9)
    expected = net[0].weight.detach().clone()
    for update in range(1, 31):
        with torch.no_grad():
            net[0].weight.add_(0.1)
        average.update(net)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    torch.testing.assert_close(average.values["0.weight"], expected, rtol=0, atol=1e-5)


def test_the_average_is_that_of_one_tensor_after_the_other_to_the_last_bit(net):
    average = Average(net, 0.9)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    for update in range(1, 12):
        for value in net.state_dict().values():
            value.add_(torch.randn(value.shape, generator=draw) if value.dtype.is_floating_point else 1)
        average.update(net)
        weight = 1 - min(0.9, (1 + update) / (10 + update))
        for name, value in net.state_dict().items():
            expected[name] = expected[name].lerp(value, weight) if value.dtype.is_floating_point else value.clone()
    assert all(torch.equal(average.values[name], value) for name, value in expected.items())


def test_the_average_copies_counters_and_averages_statistics(net):
    average = Average(net, 0.999)
    net(torch.ones(4, 3, 6, 6))
    average.update(net)
    assert average.values["1.num_batches_tracked"] == net[1].num_batches_tracked
    assert not torch.equal(average.values["1.running_mean"], net[1].running_mean)


def test_the_average_is_no_view_of_the_network(net):
    average = Average(net, 0.5)
    before = average.values["0.weight"].clone()
    with torch.no_grad():
        net[0].weight.zero_()
    assert torch.equal(average.values["0.weight"], before)
