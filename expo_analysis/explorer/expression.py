"""Expressions: what a traced loss computed, as a graph that can be simplified, differentiated and evaluated.

A `Node` is an operation and the nodes that it is done on. Equal nodes are one object, so that what a formula uses twice
is computed once. `derivative` differentiates symbolically, and where functions saturate it keeps their digits: the
derivative of log sigma is a sigma, not a quotient of exponentials.

Example:
    >>> x = variable("x")
    >>> evaluate(derivative(log_sigmoid(x), x), {x: np.array([0.0])})
    array([0.5])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from ..numerics import log_sigmoid as log_sigmoid_of


@dataclass(frozen=True, eq=False)
class Node:
    """An operation of `OPERATIONS` on others, a number (``"number"``) or a variable (``"variable"``).

    value: the number, or the variable's name; None for operations. key: what makes it equal to another.
    """

    operation: str
    on: tuple[Node, ...] = ()
    value: Any = None

    def __repr__(self) -> str:
        if self.operation in ("number", "variable"):
            return str(self.value)
        return f"{self.operation}({', '.join(map(repr, self.on))})"


_KNOWN: dict[tuple[Any, ...], Node] = {}


def _node(operation: str, on: tuple[Node, ...] = (), value: Any = None) -> Node:
    # 0.0 and -0.0 are equal, and 1/x tells them apart
    own = (operation, *map(id, on), repr(value))
    if own not in _KNOWN:
        _KNOWN[own] = Node(operation, on, value)
    return _KNOWN[own]


def number(value: float) -> Node:
    """A number as a node."""
    return _node("number", value=float(value))


def variable(name: str) -> Node:
    """A variable; of one name there is one."""
    return _node("variable", value=name)


def _is(node: Node, value: float) -> bool:
    return node.operation == "number" and node.value == value


# ----------------------------------------------------------------------------------------------------------- operations


def _log(x: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


def _divided(a: Any, b: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(a, b)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": _divided,
    "negative": np.negative,
    "power": np.power,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": _log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "tanh": np.tanh,
    "erf": lambda x: np.vectorize(math.erf, otypes=[float])(x),
    "atan": np.arctan,
    "sin": np.sin,
    "cos": np.cos,
    "sigmoid": expit,
    "log_sigmoid": lambda x: log_sigmoid_of(np.asarray(x, dtype=float)),
    "log1p_exp_of_minus_abs": lambda x: np.log1p(np.exp(-np.abs(x))),
    "minimum": np.minimum,
    "maximum": np.maximum,
    "where": np.where,
    "less": np.less,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "isnan": np.isnan,
}
"""What can be done to nodes, and how numpy does it."""


def apply(operation: str, *on: Node) -> Node:
    """The operation on nodes, simplified as far as no value changes but for nan and infinity times 0."""
    if operation not in OPERATIONS:
        raise KeyError(operation)
    if all(node.operation == "number" for node in on) and operation not in ("less", "less_equal", "equal", "isnan"):
        with np.errstate(all="ignore"):
            return number(float(OPERATIONS[operation](*(node.value for node in on))))
    simpler = _SIMPLER.get(operation)
    found = simpler(*on) if simpler else None
    return _node(operation, on) if found is None else found


def _add(a: Node, b: Node) -> Node | None:
    if _is(a, 0):
        return b
    if _is(b, 0):
        return a
    if b.operation == "negative":
        return subtract(a, b.on[0])
    return subtract(b, a.on[0]) if a.operation == "negative" else None


def _subtract(a: Node, b: Node) -> Node | None:
    if _is(b, 0):
        return a
    if _is(a, 0):
        return negative(b)
    if a is b:
        return number(0.0)
    if b.operation == "negative":
        return add(a, b.on[0])
    return _as_log_sigmoid(a, b)


def _as_log_sigmoid(a: Node, b: Node) -> Node | None:
    """min(x, 0) - log(1 + e^-|x|) is log sigma(x), and -max(x, 0) - log(1 + e^-|x|) log sigma(-x).

    So `expo_analysis.numerics` writes them; as one function they can be differentiated at 0, too.
    """
    if b.operation != "log1p_exp_of_minus_abs":
        return None
    x = b.on[0]
    if a is apply("minimum", x, number(0.0)):
        return log_sigmoid(x)
    return log_sigmoid(negative(x)) if a is negative(apply("maximum", x, number(0.0))) else None


def _multiply(a: Node, b: Node) -> Node | None:
    for one, other in ((a, b), (b, a)):
        if _is(one, 0):
            return number(0.0)
        if _is(one, 1):
            return other
        if _is(one, -1):
            return negative(other)
        if one.operation == "negative":
            return negative(multiply(one.on[0], other))
    return None


def _divide(a: Node, b: Node) -> Node | None:
    if _is(b, 1):
        return a
    if _is(a, 0):
        return a
    return negative(divide(a.on[0], b)) if a.operation == "negative" else None


def _negative(a: Node) -> Node | None:
    if a.operation == "negative":
        return a.on[0]
    return subtract(a.on[1], a.on[0]) if a.operation == "subtract" else None


def _power(a: Node, b: Node) -> Node | None:
    if _is(b, 1):
        return a
    if _is(b, 0):
        return number(1.0)
    if _is(b, 2):
        return multiply(a, a)
    return apply("sqrt", a) if _is(b, 0.5) else None


def _log1p(a: Node) -> Node | None:
    """log(1 + e^(min(x, 0) - max(x, 0))), half of what `log_sigmoids` computes."""
    if a.operation != "exp" or a.on[0].operation != "subtract":
        return None
    low, high = a.on[0].on
    zero = number(0.0)
    if low.operation == "minimum" and low.on[1] is zero and high is apply("maximum", low.on[0], zero):
        return _node("log1p_exp_of_minus_abs", (low.on[0],))
    return None


def _where(condition: Node, a: Node, b: Node) -> Node | None:
    if a is b:
        return a
    return (a if condition.value else b) if condition.operation == "number" else None


_SIMPLER: dict[str, Callable[..., Node | None]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _negative,
    "power": _power,
    "log1p": _log1p,
    "where": _where,
}


def add(a: Node, b: Node) -> Node:
    """a + b."""
    return apply("add", a, b)


def subtract(a: Node, b: Node) -> Node:
    """a - b."""
    return apply("subtract", a, b)


def multiply(a: Node, b: Node) -> Node:
    """a b."""
    return apply("multiply", a, b)


def divide(a: Node, b: Node) -> Node:
    """a / b."""
    return apply("divide", a, b)


def negative(a: Node) -> Node:
    """-a."""
    return apply("negative", a)


def log_sigmoid(a: Node) -> Node:
    """log sigma(a)."""
    return apply("log_sigmoid", a)


def sigmoid(a: Node) -> Node:
    """sigma(a)."""
    return apply("sigmoid", a)


def total(nodes: Iterable[Node]) -> Node:
    """Their sum."""
    found = number(0.0)
    for node in nodes:
        found = add(found, node)
    return found


# ---------------------------------------------------------------------------------- order, replacement and evaluation


def in_order(roots: Iterable[Node]) -> list[Node]:
    """Every node that the roots are made of, each after those that it is done on."""
    found: dict[Node, None] = {}
    waiting = [(root, False) for root in reversed(list(roots))]
    while waiting:
        node, done = waiting.pop()
        if node in found:
            continue
        if done:
            found[node] = None
        else:
            waiting.append((node, True))
            waiting += [(other, False) for other in reversed(node.on)]
    return list(found)


def replaced(root: Node, by: Mapping[Node, Node]) -> Node:
    """The same with other nodes in the place of some."""
    made: dict[Node, Node] = {}
    for node in in_order([root]):
        made[node] = by.get(node) or (apply(node.operation, *(made[x] for x in node.on)) if node.on else node)
    return made[root]


def reads(root: Node) -> set[str]:
    """The names of the variables in it."""
    return {node.value for node in in_order([root]) if node.operation == "variable"}


def evaluate(root: Node, at: Mapping[Node, Any]) -> Any:
    """Its value where variables have these numbers or arrays."""
    values: dict[Node, Any] = dict(at)
    with np.errstate(all="ignore"):
        for node in in_order([root]):
            if node in values:
                continue
            if node.operation == "variable":
                raise KeyError(node.value)
            known = node.operation == "number"
            values[node] = node.value if known else OPERATIONS[node.operation](*(values[x] for x in node.on))
    return values[root]


# ------------------------------------------------------------------------------------------------------ differentiation


def derivative(root: Node, by: Node) -> Node:
    """d root / d by, symbolically; at kinks the derivative of the side that the operation's own comparison names."""
    slopes: dict[Node, Node] = {}
    for node in in_order([root]):
        if node is by:
            slopes[node] = number(1.0)
        elif not node.on or all(_is(slopes[x], 0) for x in node.on) or node.operation in FLAT:
            slopes[node] = number(0.0)
        else:
            slopes[node] = _RULES[node.operation](node, *(slopes[x] for x in node.on))
    return slopes[root]


FLAT = frozenset({"less", "less_equal", "equal", "and", "or", "not", "isnan", "sign"})
"""Operations whose values are steps."""


def _chain(slope: Callable[[Node], Node]) -> Callable[..., Node]:
    """The rule of a function of one node whose derivative is ``slope`` of the node."""
    return lambda node, inner: multiply(slope(node), inner)


def _of_product(node: Node, da: Node, db: Node) -> Node:
    a, b = node.on
    return add(multiply(da, b), multiply(a, db))


def _of_quotient(node: Node, da: Node, db: Node) -> Node:
    # (a / b)' = (a' - (a / b) b') / b
    return divide(subtract(da, multiply(node, db)), node.on[1])


def _of_power(node: Node, da: Node, db: Node) -> Node:
    base, exponent = node.on
    found = number(0.0)
    if not _is(da, 0):
        lower = apply("power", base, subtract(exponent, number(1.0)))
        found = multiply(multiply(exponent, lower), da)
    return found if _is(db, 0) else add(found, multiply(multiply(node, apply("log", base)), db))


def _of_where(node: Node, dc: Node, da: Node, db: Node) -> Node:
    return apply("where", node.on[0], da, db)


def _of_extreme(node: Node, da: Node, db: Node) -> Node:
    a, b = node.on
    first = apply("less", a, b) if node.operation == "minimum" else apply("less", b, a)
    return apply("where", first, da, db)


def _one(value: float = 1.0) -> Node:
    return number(value)


_RULES: dict[str, Callable[..., Node]] = {
    "add": lambda node, da, db: add(da, db),
    "subtract": lambda node, da, db: subtract(da, db),
    "multiply": _of_product,
    "divide": _of_quotient,
    "negative": lambda node, da: negative(da),
    "power": _of_power,
    "exp": _chain(lambda node: node),
    "expm1": _chain(lambda node: apply("exp", node.on[0])),
    "log": _chain(lambda node: divide(_one(), node.on[0])),
    "log1p": _chain(lambda node: divide(_one(), add(_one(), node.on[0]))),
    "sqrt": _chain(lambda node: divide(_one(0.5), node)),
    "abs": _chain(lambda node: apply("sign", node.on[0])),
    "tanh": _chain(lambda node: subtract(_one(), multiply(node, node))),
    "erf": _chain(
        lambda node: multiply(_one(2 / math.sqrt(math.pi)), apply("exp", negative(multiply(node.on[0], node.on[0]))))
    ),
    "atan": _chain(lambda node: divide(_one(), add(_one(), multiply(node.on[0], node.on[0])))),
    "sin": _chain(lambda node: apply("cos", node.on[0])),
    "cos": _chain(lambda node: negative(apply("sin", node.on[0]))),
    "sigmoid": _chain(lambda node: multiply(node, sigmoid(negative(node.on[0])))),
    "log_sigmoid": _chain(lambda node: sigmoid(negative(node.on[0]))),
    "log1p_exp_of_minus_abs": _chain(
        lambda node: negative(multiply(apply("sign", node.on[0]), sigmoid(negative(apply("abs", node.on[0])))))
    ),
    "minimum": _of_extreme,
    "maximum": _of_extreme,
    "where": _of_where,
}
