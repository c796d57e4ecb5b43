"""A step of training as a list of tensor operations, without the Python that made it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

MADE_ANEW = (torch.ops.aten.ones_like.default, torch.ops.aten.zeros_like.default, torch.ops.aten.new_zeros.default)
"""What they give depends on nothing but the shape of their argument, which is the same at every step."""


def recorded(step: Callable[..., Any], example: tuple[Any, ...]) -> Callable[..., Any]:
    """The step as a fixed list of tensor operations, run without Python: about ten times faster on small tensors.

    A loss whose Python branches on the values of its arguments cannot be recorded, and is called anew at each step.
    """
    try:
        graph = make_fx(step)(*example)
    except RuntimeError:
        return step
    if not any(_keeps_nothing_apart(node) for node in graph.graph.nodes):
        without_idle_work(graph, example)
    parameters, state, *rest = example
    states = len(state)

    def flat(parameters: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        parameters, state = graph(parameters, more[:states], *more[states:])
        return (parameters, *state)

    try:
        with warnings.catch_warnings():  # the tracer is to be replaced some day; without it there is still the graph
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(flat, (parameters, *state, *rest), check_trace=False)
    except (AttributeError, RuntimeError):  # gone, or an operation that it does not know
        return graph

    def replay(parameters: Tensor, state: tuple[Tensor, ...], *rest: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.inference_mode():
            parameters, *after = traced(parameters, *state, *rest)
        return parameters, tuple(after)

    return replay


def _keeps_nothing_apart(node: fx.Node) -> bool:
    """Whether an operation writes into its arguments, draws at random, or is none of torch's: then nothing is moved."""
    if node.op != "call_function" or getattr(node.target, "__module__", "") == "_operator":
        return False
    if not isinstance(node.target, torch._ops.OpOverload):
        return True
    return bool(node.target._schema.is_mutable) or torch.Tag.nondeterministic_seeded in node.target.tags


def without_idle_work(graph: fx.GraphModule, example: tuple[Any, ...]) -> None:
    """Take out, in place, what no step needs: the results are the same to the last bit.

    Gradients are asked of a sum whose value nobody reads, only its shape (``ones_like``): with that shape known, the
    operations that lead to the value go. What no argument has a say in is computed once.
    """
    known: dict[fx.Node, Any] = {}

    class Once(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            found = super().run_node(node)
            fixed = node.op == "get_attr" or node.target in MADE_ANEW
            fixed |= node.op == "call_function" and all(one in known for one in node.all_input_nodes)
            if fixed:
                known[node] = found
            return found

    with torch.no_grad():
        Once(graph).run(*torch.utils._pytree.tree_leaves(example))
    for k, (node, value) in enumerate(known.items()):
        if node.op == "call_function" and isinstance(value, Tensor):
            graph.register_buffer(f"_known{k}", value, persistent=False)
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(f"_known{k}"))
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
