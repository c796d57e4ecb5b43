"""Functions of numbers as expressions, and how a loss's own functions become such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import expression as ex
from .expression import Node
from .torch_trace import traced_by_torch
from .trace import NotTraceable, Traced

POINTS = 24
"""Sample points that a trace runs on and is checked at."""

PAIR = ("lam", "logp_w", "logp_l", "ref_logp_w", "ref_logp_l")
"""Arguments of every pair loss."""


class NotCompiled(Exception):
    """A loss has no place in the explorer; the message says why, in a sentence that begins after its name."""


@dataclass(frozen=True)
class Function:
    """A function of numbers: names of its arguments in order, and the expressions that it returns."""

    arguments: tuple[str, ...]
    results: tuple[Node, ...]


def function_of(arguments: tuple[str, ...], *results: Any) -> Function:
    nodes = tuple(node_of(x) for x in results)
    strange = set().union(*map(ex.reads, nodes)) - set(arguments)
    if strange:
        raise NotTraceable(f"it reads {', '.join(sorted(strange))}")
    return Function(arguments, nodes)


def node_of(value: Any) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, Traced):
        return value.expression
    array = np.asarray(value)
    if array.size and np.all(array == array.reshape(-1)[0]):
        return ex.number(float(array.reshape(-1)[0]))
    raise NotTraceable("it loses track of how its numbers were computed, as numpy.asarray(x) does")


def traced(function: Callable[..., Any], *arrays: Any) -> Node:
    """An elementwise function's expression: of numpy arrays, or of torch tensors, whichever it takes."""
    try:
        return node_of(function(*arrays))
    except NotTraceable as reason:
        try:
            return traced_by_torch(function, *arrays)
        except NotTraceable:
            raise reason from None
    except Exception:
        return traced_by_torch(function, *arrays)


def with_derivatives(value: Node) -> tuple[Node, ...]:
    """A function of log pi_w and log pi_l with its first and second derivatives, as ``pair`` has them."""
    w, l = ex.variable("logp_w"), ex.variable("logp_l")  # noqa: E741
    first = [ex.derivative(value, by) for by in (w, l)]
    return value, *first, ex.derivative(first[0], w), ex.derivative(first[0], l), ex.derivative(first[1], l)
