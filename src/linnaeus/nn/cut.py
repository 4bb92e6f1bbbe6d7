"""Cut a network in two where its frozen part ends, so that the frozen part need run only once per picture."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from linnaeus.errors import ModelError


class _Tracer(fx.Tracer):
    """Go into blocks, not into layers: what a layer does may depend on its mode, which changes later."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Take torch's and timm's layers, and all modules without children, as they are."""
        library = m.__module__.startswith(("torch.nn", "timm.layers"))
        container = isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        return (library and not container) or next(m.children(), None) is None


def cut(network: nn.Module, example: Tensor) -> tuple[nn.Module, nn.Module] | None:
    """Split a network into what comes before its first trained parameter and what comes after.

    Both halves share the network's layers: training the upper half trains the network. The cut is checked on the
    example; where the network cannot be followed or split at one tensor, there is no cut.

    Args:
        network: In the mode in which it is trained; parameters without requires_grad stay as they are.
        example: Normalised pictures [N, C, H, W].

    Returns:
        Lower and upper half, or None.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:
        # Tracing runs the network's own code on symbols; code that looks at values can fail in any way.
        return None
    nodes = list(graph.nodes)
    place = _last_cut(nodes, network)
    if place is None:
        return None
    lower, upper = _halves(network, graph, nodes[place])
    return (lower, upper) if _agrees(network, lower, upper, example) else None


def _last_cut(nodes: list[fx.Node], network: nn.Module) -> int | None:
    """Find the last node before which nothing is learned and that alone is needed afterwards."""
    best = None
    for place, node in enumerate(nodes[:-1]):
        if _learns(node, network):
            break
        alive = [one for one in nodes[: place + 1] if any(nodes.index(user) > place for user in one.users)]
        if alive == [node] and node.op == "call_module":
            best = place
    return best


def _learns(node: fx.Node, network: nn.Module) -> bool:
    """Tell whether a step of the network changes with training: by parameters, or by the statistics of a norm."""
    if node.op == "get_attr":
        return any(name == node.target and value.requires_grad for name, value in network.named_parameters())
    if node.op != "call_module":
        return False
    layer = network.get_submodule(str(node.target))
    norms = [inner for inner in layer.modules() if isinstance(inner, _BatchNorm)]
    return any(value.requires_grad for value in layer.parameters()) or any(norm.training for norm in norms)


def _halves(network: nn.Module, graph: fx.Graph, last: fx.Node) -> tuple[nn.Module, nn.Module]:
    lower, upper = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copies[node] = lower.node_copy(node, copies.__getitem__)
        if node is last:
            break
    lower.output(copies[last])
    rest = {last: upper.placeholder("x")}
    after = list(graph.nodes)
    for node in after[after.index(last) + 1 :]:
        rest[node] = upper.node_copy(node, rest.__getitem__)
    return fx.GraphModule(network, lower), fx.GraphModule(network, upper)


def _agrees(network: nn.Module, lower: nn.Module, upper: nn.Module, example: Tensor) -> bool:
    modes = {name: layer.training for name, layer in network.named_modules()}
    network.eval()
    try:
        with torch.no_grad():
            return bool(torch.allclose(upper(lower(example)), network(example), atol=1e-4, rtol=1e-4))
    except (RuntimeError, TypeError, ModelError):
        return False
    finally:
        for name, layer in network.named_modules():
            layer.training = modes[name]
