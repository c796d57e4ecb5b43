"""A step of training as a list of tensor operations, without the Python that made it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._guards import TracingContext, tracing
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from .replay import Replay

SHAPED = (torch.ops.aten.ones_like.default, torch.ops.aten.zeros_like.default, torch.ops.aten.new_zeros.default)
"""Of their argument they read the shape only, which is the same at every step."""


def recorded(step: Callable[..., Any], example: tuple[Any, ...]) -> Callable[..., Any]:
    """The step as a fixed list of tensor operations in memory of its own, run without the Python that made it.

    It returns the same tensors at every call, with other numbers in them. A loss whose Python branches on the values
    of its arguments cannot be recorded, and is called anew at each step.
    """
    try:
        graph = operations(step, example)
    except RuntimeError:
        return step
    without_idle_work(graph, example)
    return Replay(graph, example) if all(map(_steady, graph.graph.nodes)) else graph


def operations(step: Callable[..., Any], example: tuple[Any, ...]) -> fx.GraphModule:
    """The tensor operations that a step calls, in their order.

    torch keeps the shape of every result as a tensor without numbers. The mode that these need takes longer to make
    than they do; so there is one for all of them.
    """
    with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):
        return make_fx(step)(*example)


def without_idle_work(graph: fx.GraphModule, example: tuple[Any, ...]) -> None:
    """Take out of a step, in place, what it does not need: its results are the same to the last bit.

    The gradient is that of a sum whose value nobody reads, only its shape (`SHAPED`): with that shape known, all goes
    that leads to the value alone. What no argument has a say in is computed once. A step that writes into its
    arguments, or draws at random, is left as it is.
    """
    if not all(map(_pure, graph.graph.nodes)):
        return
    for k, (node, value) in enumerate(_known(graph, example).items()):
        graph.register_buffer(f"_known{k}", value, persistent=False)
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.get_attr(f"_known{k}"))
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _pure(node: fx.Node) -> bool:
    """Whether an operation is one of torch's that writes nowhere and draws nothing."""
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    if not isinstance(node.target, OpOverload):
        return False
    return not node.target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def _steady(node: fx.Node) -> bool:
    """Whether an operation always does the same: it is pure, and its result's shape follows from the arguments'."""
    dynamic = isinstance(node.target, OpOverload) and torch.Tag.dynamic_output_shape in node.target.tags
    return _pure(node) and not dynamic


def _known(graph: fx.GraphModule, example: tuple[Any, ...]) -> dict[fx.Node, Tensor]:
    """The operations that give the same at every step, and what they give."""
    fixed: set[fx.Node] = set()
    found: dict[fx.Node, Tensor] = {}

    class Once(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            called = node.op == "call_function"
            if node.op == "get_attr" or (called and (node.target in SHAPED or fixed.issuperset(node.all_input_nodes))):
                fixed.add(node)
                if called and isinstance(value, Tensor):
                    found[node] = value
            return value

    parameters, state, *rest = example
    with torch.no_grad():
        Once(graph).run(parameters, *state, *rest)
    return found
