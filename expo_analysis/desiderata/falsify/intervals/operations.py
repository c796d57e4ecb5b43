"""What torch's functions are of tensors that hold bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import functions
from .jets import Jet
from .rounding import ARITHMETIC, ELEMENTARY, outward
from .tensors import Condition, Enclosed, Unknown, decided, lift


def _of(function: Callable[..., Jet]) -> Callable[..., Enclosed]:
    return lambda *args: Enclosed(function(*map(lift, args)))


def _divided(x: Jet, y: Jet) -> Jet:
    if y.is_point and np.all(y.value[0] != 0):
        return x * Jet.constant(1 / y.value[0])
    return x * functions.reciprocal(y)


def _scaled_sum(sign: float) -> Callable[..., Enclosed]:
    def add(input: Any, other: Any, alpha: float = 1) -> Enclosed:
        if input is other and sign * alpha == -1:  # as in x - x.detach(): nothing is left, not even its slope
            return Enclosed(Jet.constant(np.zeros(input.jet.shape)))
        return Enclosed(lift(input) + Jet.constant(sign * alpha) * lift(other))

    return add


def _power(x: Any, exponent: Any) -> Enclosed:
    if isinstance(exponent, torch.Tensor) and not isinstance(exponent, Enclosed) and exponent.numel() == 1:
        exponent = exponent.item()
    if not isinstance(exponent, (int, float)):
        raise Unknown("a power that is no number")
    base = lift(x)
    if float(exponent).is_integer() and abs(exponent) <= 64:
        return Enclosed(_whole_power(base, int(exponent)))
    if exponent == 0.5:
        return Enclosed(functions.sqrt(base))
    return Enclosed(functions.exp(Jet.constant(float(exponent)) * functions.log(base)))


def _whole_power(x: Jet, power: int) -> Jet:
    if power < 0:
        return functions.reciprocal(_whole_power(x, -power))
    if power == 0:
        return Jet.constant(np.ones(x.shape))
    if power % 2 == 0:
        half = x if power == 2 else _whole_power(x, power // 2)
        return functions.square(half)
    if power == 1:
        return x
    low, high = x.value
    value = outward(low**power, high**power, power * ELEMENTARY)
    return x.through(value, (Jet.constant(float(power)) * _whole_power(Jet(x.value), power - 1)).value)


def _clamped(input: Any, min: Any = None, max: Any = None) -> Enclosed:
    found = lift(input)
    if isinstance(min, (int, float)) and min <= -1e300:  # as good as none: it stands for -inf
        min = None
    if min is not None:
        found = functions.larger(found, lift(min))
    return Enclosed(found if max is None else -functions.larger(-found, -lift(max)))


def _smaller(x: Jet, y: Jet) -> Jet:
    return -functions.larger(-x, -y)


def _softplus(input: Any, beta: float = 1, threshold: float = 20) -> Enclosed:
    """log(1 + e^(beta x))/beta, and x beyond the threshold, where torch's function jumps."""
    scaled = Jet.constant(float(beta)) * lift(input)
    low, high = scaled.value
    exact = -functions.log_sigmoid(-scaled)
    beyond, within = low > threshold, high <= threshold
    value = np.where(beyond, low, np.where(within, exact.value[0], np.minimum(exact.value[0], threshold)))
    top = np.where(beyond, high, exact.value[1])
    one = np.ones_like(low)
    slope = functions.sigmoid(scaled).value
    curved = Jet((value, top)) if scaled.slope is None else scaled.through((value, top), slope)
    straight = scaled.through((value, top), (one, one))
    return Enclosed(functions.choose(within, beyond, curved, straight) * Jet.constant(1 / float(beta)))


def _compared(above: bool, strict: bool) -> Callable[[Any, Any], Condition]:
    """x > y, x >= y, x < y or x <= y."""

    def compare(input: Any, other: Any) -> Condition:
        x, y = lift(input).value, lift(other).value
        if not above:
            x, y = y, x
        yes, no = (x[0] > y[1], x[1] <= y[0]) if strict else (x[0] >= y[1], x[1] < y[0])
        both = np.broadcast_arrays(yes, no)
        return Condition(both[0], both[1], lift(input) - lift(other))

    return compare


def _where(condition: Any, input: Any, other: Any) -> Enclosed:
    known, x, y = _condition(condition), lift(input), lift(other)
    if known.margin is not None and _meet(x - y, known.margin):
        return Enclosed(functions.either(known.yes, known.no, x, y))
    return Enclosed(functions.choose(known.yes, known.no, x, y))


def _meet(apart: Jet, margin: Jet) -> bool:
    """Whether a difference is a multiple of the margin, and so 0 where the choice changes: no jump, but a kink."""
    a, b = apart.linear, margin.linear
    if a is None or b is None:
        return False
    pairs = ((a.steps, b.steps), (a.of_log, b.of_log), *zip(a.constant, b.constant, strict=True))
    return any(
        all(
            np.shape(x) == np.shape(y) and np.allclose(x, k * y, rtol=0, atol=1e-300 + 4 * ARITHMETIC * np.abs(y))
            for x, y in pairs
        )
        for k in (1.0, -1.0, 2.0, -2.0)
    )


def _condition(x: Any) -> Condition:
    if isinstance(x, Condition):
        return x
    plain = np.asarray(x.numpy() if isinstance(x, torch.Tensor) else x, dtype=bool)
    return Condition(plain, ~plain)


def _any(x: Condition) -> bool:
    return not _all(~x)


def _all(x: Condition) -> bool:
    return decided(x)


def _either(x: Any, y: Any) -> Condition:
    a, b = _condition(x), _condition(y)
    return Condition(a.yes | b.yes, a.no & b.no)


def _sine(x: Jet) -> Jet:
    """Bounds of a sine: known from its ends and the peaks between them."""
    return x.through(_wave(x.value, 0.25), _wave(x.value, 0.0))


def _wave(x: tuple[Any, Any], shift: float) -> tuple[Any, Any]:
    """Bounds of cos(v - 2 pi shift); far out, where digits are lost, from -1 to 1."""
    turns = tuple(v / (2 * np.pi) - shift for v in x)
    wide = ~(np.abs(turns[0]) < 1e6) | ~(np.abs(turns[1]) < 1e6) | (turns[1] - turns[0] >= 1)
    with np.errstate(invalid="ignore"):
        ends = [np.cos(2 * np.pi * np.where(wide, 0.0, t)) for t in turns]
        slack = 1e-9
        top = np.floor(turns[1] + slack) >= np.ceil(turns[0] - slack)
        bottom = np.floor(turns[1] + 0.5 + slack) >= np.ceil(turns[0] + 0.5 - slack)
    low = np.where(wide | bottom, -1.0, np.minimum(*ends) - slack)
    return low, np.where(wide | top, 1.0, np.maximum(*ends) + slack)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "radd"), _scaled_sum(1.0)),
    **dict.fromkeys(("sub", "subtract"), _scaled_sum(-1.0)),
    **dict.fromkeys(("rsub",), lambda x, y, alpha=1: _scaled_sum(-1.0)(y, x, alpha)),
    **dict.fromkeys(("mul", "rmul", "multiply"), _of(lambda x, y: x * y)),
    **dict.fromkeys(("div", "divide", "truediv", "true_divide"), _of(_divided)),
    **dict.fromkeys(("rdiv", "rtruediv"), _of(lambda x, y: _divided(y, x))),
    **dict.fromkeys(("neg", "negative"), _of(lambda x: -x)),
    **dict.fromkeys(("abs", "absolute"), _of(functions.absolute)),
    **dict.fromkeys(("exp", "special_exp"), _of(functions.exp)),
    **dict.fromkeys(("expm1", "special_expm1"), _of(functions.expm1)),
    "exp2": _of(lambda x: functions.exp(Jet.constant(np.log(2.0)) * x)),
    "log": _of(functions.log),
    **dict.fromkeys(("log1p", "special_log1p"), _of(functions.log1p)),
    **dict.fromkeys(("sigmoid", "expit", "special_expit"), _of(functions.sigmoid)),
    **dict.fromkeys(("log_sigmoid", "logsigmoid"), _of(functions.log_sigmoid)),
    "softplus": _softplus,
    "tanh": _of(functions.tanh),
    **dict.fromkeys(("atan", "arctan"), _of(functions.arctan)),
    "sqrt": _of(functions.sqrt),
    "square": _of(functions.square),
    "reciprocal": _of(functions.reciprocal),
    **dict.fromkeys(("relu", "hinge"), lambda x, inplace=False: _clamped(x, min=0.0)),
    **dict.fromkeys(("clamp", "clip"), _clamped),
    "clamp_min": lambda x, min: _clamped(x, min=min),
    "clamp_max": lambda x, max: _clamped(x, max=max),
    **dict.fromkeys(("maximum", "max"), _of(functions.larger)),
    **dict.fromkeys(("minimum", "min"), _of(_smaller)),
    "logaddexp": _of(lambda x, y: y - functions.log_sigmoid(y - x)),
    **dict.fromkeys(("pow", "float_power"), _power),
    "sin": _of(_sine),
    "cos": _of(lambda x: _sine(x + Jet.constant(np.pi / 2))),
    **dict.fromkeys(("gt", "greater"), _compared(above=True, strict=True)),
    **dict.fromkeys(("ge", "greater_equal"), _compared(above=True, strict=False)),
    **dict.fromkeys(("lt", "less"), _compared(above=False, strict=True)),
    **dict.fromkeys(("le", "less_equal"), _compared(above=False, strict=False)),
    "where": _where,
    **dict.fromkeys(("logical_not", "bitwise_not", "invert"), lambda x: ~_condition(x)),
    **dict.fromkeys(("logical_or", "bitwise_or", "or"), _either),
    **dict.fromkeys(("logical_and", "bitwise_and", "and"), lambda x, y: ~_either(~_condition(x), ~_condition(y))),
    "any": _any,
    "all": _all,
    "bool": decided,
    "isnan": lambda x: _condition(np.zeros(tuple(x.shape), dtype=bool)),
}
"""Functions of tensors by their names in torch, without underscores."""
