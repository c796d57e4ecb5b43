"""Numpy arrays that remember how they were computed: a loss is run on them, and what comes out is its formula.

A `Traced` array holds numbers, as any array does, and beside them an expression
(`expo_analysis.explorer.expression`). Ufuncs and ``where`` go on both. So a loss runs through the package's own code,
and whatever it computes is written down: nothing is parsed, and no formula is stated a second time. What leaves the
trace (a Python ``if`` on values, a sort, a random number) is refused, with the reason.

The last axis of the numbers is a batch of sample points. Further axes in front of it, such as a prompt's responses, are
axes of the expressions too, so that a loss may sum over them.

Example:
    >>> x = symbol("x", np.linspace(-1.0, 1.0, 5))
    >>> (2 * np.exp(x) - 1).expression
    subtract(multiply(2.0, exp(x)), 1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import scipy.special

from . import expression as ex
from .expression import Node


class NotTraceable(Exception):
    """A loss did something that cannot be written as a formula; the message says what."""


class Traced(np.ndarray):
    """A numpy array with ``nodes``, expressions in the shape of all its axes but the last; see the module."""

    nodes: Any

    def __array_finalize__(self, of: Any) -> None:
        if not hasattr(self, "nodes"):
            self.nodes = None

    @property
    def expression(self) -> Node:
        """The expression of an array without further axes."""
        node = self.nodes[()] if isinstance(self.nodes, np.ndarray) else self.nodes
        if not isinstance(node, Node):
            raise NotTraceable("it rearranges the pairs of a batch")
        return node

    @property
    def numbers(self) -> np.ndarray:
        """Its numbers alone."""
        return np.ndarray.view(self, np.ndarray)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        own = [x.numbers if isinstance(x, Traced) else x for x in inputs]
        if method == "reduce" and ufunc in REDUCTIONS:
            return _reduced(ufunc, inputs[0], **options)
        if method != "__call__" or out is not None or set(options) - {"dtype", "casting"}:
            raise NotTraceable(f"it calls numpy.{ufunc.__name__}.{method} on a batch")
        with np.errstate(all="ignore"):
            values = ufunc(*own)
        if ufunc in CHECKS:
            return values
        if ufunc not in UFUNCS:
            raise NotTraceable(f"it calls {ufunc.__name__}, which the explorer cannot write in JavaScript")
        return _made(values, _over_nodes(UFUNCS[ufunc], *map(_nodes, inputs)))

    def __array_function__(self, function: Any, types: Any, given: Any, options: Any) -> Any:
        if function not in FUNCTIONS:
            raise NotTraceable(f"it calls numpy.{function.__name__}, which the explorer cannot write in JavaScript")
        return FUNCTIONS[function](*given, **options)

    def __bool__(self) -> NoReturn:
        raise NotTraceable("its Python branches on values: use where(condition, a, b)")

    def __float__(self) -> NoReturn:
        raise NotTraceable("it makes one Python number of an array")

    __int__ = __index__ = __float__

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise NotTraceable("it assigns to parts of an array: use where(condition, a, b)")

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        taken = [k for k in keys if k is not None]
        if self.nodes is None or len(taken) >= self.ndim or any(isinstance(k, (np.ndarray, list)) for k in taken):
            if key == () or key is ...:
                return self
            raise NotTraceable("it takes single pairs out of a batch")
        return _made(self.numbers[key], self.nodes[key])

    def clip(self, min: Any = None, max: Any = None, **options: Any) -> Any:  # type: ignore[override]
        return _clip(self, min, max)

    def astype(self, dtype: Any, *given: Any, **options: Any) -> Any:
        return _made(self.numbers.astype(float), self.nodes)

    def sum(self, axis: Any = None, **options: Any) -> Any:  # type: ignore[override]
        return np.add.reduce(self, axis=axis, **options)

    def max(self, axis: Any = None, **options: Any) -> Any:  # type: ignore[override]
        return np.maximum.reduce(self, axis=axis, **options)

    def sort(self, *given: Any, **options: Any) -> NoReturn:
        raise NotTraceable("it sorts the pairs of a batch")

    def mean(self, *given: Any, **options: Any) -> NoReturn:
        raise NotTraceable("it averages over the pairs of a batch")


def symbol(name: str, numbers: np.ndarray) -> Traced:
    """A variable, with sample points (batch,)."""
    return _made(np.asarray(numbers, dtype=np.float64), _single(ex.variable(name)))


def of_expression(node: Node, numbers: np.ndarray) -> Traced:
    """An array with a known expression."""
    return _made(np.asarray(numbers), _single(node))


def stacked(rows: list[Traced]) -> Traced:
    """Arrays (batch,) as one (rows, batch)."""
    nodes = np.empty(len(rows), dtype=object)
    nodes[:] = [row.expression for row in rows]
    return _made(np.stack([row.numbers for row in rows]), nodes)


def _single(node: Node) -> np.ndarray:
    nodes = np.empty((), dtype=object)
    nodes[()] = node
    return nodes


def _made(numbers: Any, nodes: np.ndarray) -> Traced:
    found = np.asarray(numbers).view(Traced)
    found.nodes = nodes
    return found


def _nodes(value: Any) -> np.ndarray:
    """Expressions of an argument: a traced array's own, and numbers otherwise."""
    if isinstance(value, Traced):
        if value.nodes is None:
            raise NotTraceable("it copies an array in a way that loses track of how it was computed")
        return value.nodes
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise NotTraceable(f"it computes with {type(value).__name__}")
    if array.ndim == 0:
        return _single(ex.number(float(array)))
    first = array[..., :1]
    same = (array == first) | (np.isnan(array) & np.isnan(first)) if array.dtype.kind == "f" else array == first
    if not same.all():
        raise NotTraceable("it computes with an array that has a number of its own for every pair of a batch")
    return np.frompyfunc(lambda x: ex.number(float(x)), 1, 1)(np.asarray(array[..., 0], dtype=object).astype(object))


def _over_nodes(function: Callable[..., Node], *nodes: np.ndarray) -> np.ndarray:
    found = np.frompyfunc(function, len(nodes), 1)(*(np.asarray(x, dtype=object) for x in nodes))
    return found if isinstance(found, np.ndarray) else _single(found)


def _operation(name: str) -> Callable[..., Node]:
    return lambda *on: ex.apply(name, *on)


def _swapped(name: str) -> Callable[..., Node]:
    return lambda a, b: ex.apply(name, b, a)


def _square(a: Node) -> Node:
    return ex.multiply(a, a)


UFUNCS: dict[Any, Callable[..., Node]] = {
    **{getattr(np, name): _operation(name) for name in ("add", "subtract", "multiply", "divide", "negative", "power")},
    **{getattr(np, name): _operation(name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "sign", "tanh")},
    **{getattr(np, name): _operation(name) for name in ("minimum", "maximum", "less", "less_equal", "equal", "isnan")},
    **{np.absolute: _operation("abs"), np.fabs: _operation("abs"), np.arctan: _operation("atan")},
    **{np.sin: _operation("sin"), np.cos: _operation("cos"), np.float_power: _operation("power")},
    **{np.greater: _swapped("less"), np.greater_equal: _swapped("less_equal")},
    np.not_equal: lambda a, b: ex.apply("not", ex.apply("equal", a, b)),
    **{np.logical_and: _operation("and"), np.bitwise_and: _operation("and")},
    **{np.logical_or: _operation("or"), np.bitwise_or: _operation("or")},
    **{np.logical_not: _operation("not"), np.invert: _operation("not")},
    **{np.square: _square, np.positive: lambda a: a, np.reciprocal: lambda a: ex.divide(ex.number(1.0), a)},
    np.logaddexp: lambda a, b: ex.add(a, ex.negative(ex.log_sigmoid(ex.subtract(a, b)))),
    **{scipy.special.expit: ex.sigmoid, scipy.special.log_expit: ex.log_sigmoid},
    scipy.special.erf: _operation("erf"),
}
"""What is known of numpy's and scipy's functions of single numbers."""

REDUCTIONS = {np.add: ex.add, np.maximum: _operation("maximum"), np.minimum: _operation("minimum")}

CHECKS = {np.isfinite, np.isinf, np.isneginf if isinstance(np.isneginf, np.ufunc) else np.isfinite}
"""Answers that only warnings and refusals are made of."""


def _reduced(ufunc: Any, array: Any, axis: Any = 0, keepdims: bool = False, **options: Any) -> Any:
    """A sum or an extreme over axes in front of the batch."""
    if axis is None or not isinstance(axis, (int, np.integer)):
        raise NotTraceable("it reduces a batch to one number: a loss has one number for each pair")
    place = int(axis) % array.ndim
    if place == array.ndim - 1:
        raise NotTraceable("it reduces over the pairs of a batch: a loss has one number for each pair")
    nodes = np.moveaxis(array.nodes, place, 0)
    found = nodes[0] if isinstance(nodes[0], np.ndarray) else _single(nodes[0])
    for other in nodes[1:]:
        found = _over_nodes(REDUCTIONS[ufunc], found, other if isinstance(other, np.ndarray) else _single(other))
    if keepdims:
        found = np.expand_dims(found, place)
    return _made(ufunc.reduce(array.numbers, axis=place, keepdims=keepdims), found)


def _numbers(value: Any) -> Any:
    return value.numbers if isinstance(value, Traced) else value


def _where(condition: Any, a: Any, b: Any) -> Traced:
    with np.errstate(all="ignore"):
        values = np.where(_numbers(condition), _numbers(a), _numbers(b))
    return _made(values, _over_nodes(_operation("where"), *map(_nodes, (condition, a, b))))


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, **options: Any) -> Any:
    low, high = (min if a_min is None else a_min), (max if a_max is None else a_max)
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _filled(value: float) -> Callable[..., Any]:
    return lambda x, *given, **options: np.full(x.shape, value)


def _shaped(x: Any, shape: Any, **options: Any) -> Any:
    """broadcast_to, for the shapes that an array has already and for a new axis of one entry in front."""
    numbers = np.broadcast_to(_numbers(x), shape)
    return _made(numbers, np.broadcast_to(_nodes(x), numbers.shape[:-1]))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.where: _where,
    np.clip: _clip,
    np.full_like: lambda x, value, *given, **options: np.full(x.shape, value),
    np.zeros_like: _filled(0.0),
    np.ones_like: _filled(1.0),
    np.broadcast_to: _shaped,
    np.sum: lambda x, axis=None, keepdims=False, **options: _reduced(np.add, x, axis, keepdims),
    np.max: lambda x, axis=None, keepdims=False, **options: _reduced(np.maximum, x, axis, keepdims),
    np.amax: lambda x, axis=None, keepdims=False, **options: _reduced(np.maximum, x, axis, keepdims),
    np.min: lambda x, axis=None, keepdims=False, **options: _reduced(np.minimum, x, axis, keepdims),
    np.shape: lambda x: x.numbers.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.numbers.size,
    np.real_if_close: lambda x, **options: x,
    np.nan_to_num: lambda x, nan=0.0, **options: _where(np.isnan(x), nan, x),
}
"""What is known of numpy's other functions."""
