"""Formulas that only take torch tensors, as expressions: torch records operations, which are written down one by one.

`expo_analysis.explorer.trace` is tried first; this is for losses that call torch, such as ``F.logsigmoid(lam * h)``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from . import expression as ex
from .expression import Node
from .trace import NotTraceable, Traced


def traced_by_torch(function: Callable[..., Any], *arrays: Traced) -> Node:
    """The expression of an elementwise function of tensors.

    Raises:
        NotTraceable: naming the operation that has no counterpart, or what torch says.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from .._threads import one_thread

    given = [torch.from_numpy(np.ascontiguousarray(array.numbers)) for array in arrays]
    try:
        with one_thread(), torch.no_grad():
            graph = make_fx(function)(*given)
    except Exception as error:
        text = " ".join(str(error).split())
        raise NotTraceable(f"torch cannot record it: {type(error).__name__}: {text[:200]}") from error
    nodes = iter(array.expression for array in arrays)
    known: dict[Any, Any] = {}
    for step in graph.graph.nodes:
        if step.op == "placeholder":
            known[step] = next(nodes)
        elif step.op == "get_attr":
            known[step] = _constant(getattr(graph, step.target))
        elif step.op == "call_function":
            known[step] = _called(step, [_argument(x, known) for x in step.args], _options(step, known))
        elif step.op == "output":
            found = step.args[0]
            found = found[0] if isinstance(found, (tuple, list)) else found
            return known[found] if isinstance(known[found], Node) else ex.number(float(known[found]))
    raise NotTraceable("it returns nothing")


def _options(step: Any, known: dict[Any, Any]) -> dict[str, Any]:
    return {name: _argument(value, known) for name, value in step.kwargs.items()}


def _argument(value: Any, known: dict[Any, Any]) -> Any:
    import torch

    if isinstance(value, torch.fx.Node):
        return known[value]
    if isinstance(value, bool):
        return value
    return ex.number(float(value)) if isinstance(value, (int, float)) else value


def _constant(tensor: Any) -> Node:
    values = tensor.detach().numpy().reshape(-1)
    if values.size == 0 or not (values == values[0]).all():
        raise NotTraceable("it computes with a tensor that has a number of its own for every pair of a batch")
    return ex.number(float(values[0]))


def _called(step: Any, given: list[Any], options: dict[str, Any]) -> Any:
    if step.target is operator.getitem:
        if isinstance(given[0], tuple):
            return given[0][int(given[1].value)]
        raise NotTraceable("it takes single pairs out of a batch")
    name = step.target.overloadpacket.__name__ if hasattr(step.target, "overloadpacket") else str(step.target)
    rule = RULES.get(name)
    if rule is None:
        raise NotTraceable(f"it calls torch's {name}, which the explorer cannot write in JavaScript")
    made: Any = rule(*given, **{key: value for key, value in options.items() if key in KEPT.get(name, ())})
    return made


KEPT = {"add": ("alpha",), "sub": ("alpha",), "rsub": ("alpha",), "clamp": ("min", "max"), "softplus": ("beta",)}
"""Options that change values; others are about types and memory."""


def _op(name: str) -> Callable[..., Node]:
    return lambda *on: ex.apply(name, *on)


def _swapped(name: str) -> Callable[..., Node]:
    return lambda a, b: ex.apply(name, b, a)


def _scaled(a: Node, alpha: Node | None) -> Node:
    return a if alpha is None else ex.multiply(alpha, a)


def _clamp(x: Node, min: Node | None = None, max: Node | None = None) -> Node:
    x = x if min is None else ex.apply("maximum", x, min)
    return x if max is None else ex.apply("minimum", x, max)


def _softplus(x: Node, beta: Node | None = None, threshold: Any = None) -> Node:
    inner = x if beta is None else ex.multiply(beta, x)
    found = ex.negative(ex.log_sigmoid(ex.negative(inner)))
    return found if beta is None else ex.divide(found, beta)


def _filled(value: float) -> Callable[..., Node]:
    return lambda *given: ex.number(value)


def _same(x: Node, *given: Any) -> Node:
    return x


ONE, ZERO = ex.number(1.0), ex.number(0.0)

RULES: dict[str, Callable[..., Any]] = {
    "add": lambda a, b, alpha=None: ex.add(a, _scaled(b, alpha)),
    "sub": lambda a, b, alpha=None: ex.subtract(a, _scaled(b, alpha)),
    "rsub": lambda a, b, alpha=None: ex.subtract(b, _scaled(a, alpha)),
    **{"mul": ex.multiply, "div": ex.divide, "neg": ex.negative, "pow": _op("power")},
    **{name: _op(name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "abs", "tanh", "sigmoid", "erf", "sin")},
    **{"cos": _op("cos"), "atan": _op("atan"), "sign": _op("sign"), "sgn": _op("sign"), "isnan": _op("isnan")},
    "log_sigmoid_forward": lambda x: (ex.log_sigmoid(x), ZERO),
    "softplus": _softplus,
    **{"minimum": _op("minimum"), "maximum": _op("maximum"), "clamp": _clamp},
    **{"clamp_min": lambda x, low: _clamp(x, low), "clamp_max": lambda x, high: _clamp(x, None, high)},
    "relu": lambda x: ex.apply("where", ex.apply("less", ZERO, x), x, ZERO),
    **{"lt": _op("less"), "le": _op("less_equal"), "gt": _swapped("less"), "ge": _swapped("less_equal")},
    **{"eq": _op("equal"), "ne": lambda a, b: ex.apply("not", ex.apply("equal", a, b))},
    **{"where": _op("where"), "logical_and": _op("and"), "logical_or": _op("or"), "logical_not": _op("not")},
    **{"bitwise_and": _op("and"), "bitwise_or": _op("or"), "bitwise_not": _op("not")},
    **{"reciprocal": lambda x: ex.divide(ONE, x), "square": lambda x: ex.multiply(x, x)},
    "logaddexp": lambda a, b: ex.subtract(a, ex.log_sigmoid(ex.subtract(a, b))),
    **{name: _same for name in ("detach", "alias", "clone", "_to_copy", "view", "expand", "unsqueeze", "squeeze")},
    **{name: _same for name in ("reshape", "_unsafe_view", "lift_fresh_copy", "lift_fresh", "contiguous")},
    **{name: _filled(0.0) for name in ("zeros_like", "new_zeros")},
    **{name: _filled(1.0) for name in ("ones_like", "new_ones")},
    "full_like": lambda x, value: value,
    "scalar_tensor": lambda value: value,
    "nan_to_num": lambda x, nan=ZERO, *rest: ex.apply("where", ex.apply("isnan", x), nan or ZERO, x),
}
"""What is known of torch's operations of single numbers."""
