"""Tensors that hold bounds in the place of numbers: a loss's own code, run on them, gives bounds of the loss.

`Enclosed` is given to a loss as log-probabilities. Every torch function that it meets there is replaced by the one of
`intervals`; one that has no such counterpart raises `Unknown`, and so nothing is said of the loss. Conditions on bounds
are known to be true, known to be false, or neither. What autograd is told beside the values (``detach``, a backward of
one's own) is of no account here: what is enclosed are the values, and their true slopes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..._types import Mask
from . import intervals
from .intervals import Jet


class Unknown(TypeError):
    """A function of tensors that bounds are not known for."""


class Enclosed(torch.Tensor):
    """Bounds of numbers, ``jet``, as a tensor of float64 of their shape."""

    jet: Jet

    @staticmethod
    def __new__(cls, jet: Jet) -> Enclosed:
        found = torch.Tensor._make_wrapper_subclass(cls, jet.shape, dtype=torch.float64)  # type: ignore[attr-defined]
        found.jet = jet
        return found  # type: ignore[no-any-return]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Unknown(str(func))


class Condition(torch.Tensor):
    """Where a condition is known to be true, ``yes``, and where it is known to be false, ``no``.

    margin: what is compared with 0, where it is that.
    """

    yes: Mask
    no: Mask
    margin: Jet | None

    @staticmethod
    def __new__(cls, yes: Mask, no: Mask, margin: Jet | None = None) -> Condition:
        found = torch.Tensor._make_wrapper_subclass(cls, np.shape(yes), dtype=torch.bool)  # type: ignore[attr-defined]
        found.yes, found.no, found.margin = yes, no, margin
        return found  # type: ignore[no-any-return]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Unknown(str(func))

    def __invert__(self) -> Condition:
        return Condition(self.no, self.yes, self.margin)

    def __bool__(self) -> bool:
        return _decided(self)


SHAPES = {"size", "dim", "numel", "is_floating_point", "is_complex", "ndimension", "__len__", "is_nested"}
"""Methods that ask for nothing but shape and type."""

GETTERS = {"shape", "ndim", "dtype", "device", "layout", "is_sparse", "is_nested", "itemsize"}

SAME = {"detach", "clone", "contiguous", "double", "positive", "view_as", "expand_as"}

FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0}


def _called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", str(func))
    if name == "__get__":
        name = getattr(func.__self__, "__name__", "")
        if name == "requires_grad":
            return False
        if name in GETTERS:
            return _as_tensor(func, args, kwargs)
        raise Unknown(f"{name} of a tensor")
    if name in SHAPES:
        return _as_tensor(func, args, kwargs)
    if name.endswith("_") and not name.endswith("__"):
        raise Unknown(f"{name}, which changes its argument")
    plain = name.strip("_")
    if plain in SAME and (plain[-3:] != "_as" or args[0].shape == args[1].shape):
        return args[0]
    if plain == "to" or plain == "type":
        return _converted(args, kwargs)
    if plain in FILLED and (plain.endswith("_like") or args[1:]):
        shape = args[0].shape if plain.endswith("_like") else args[1]
        return torch.full(tuple(np.atleast_1d(shape)), FILLED[plain], dtype=torch.float64)
    if plain == "full_like":
        return torch.full(tuple(args[0].shape), float(args[1]), dtype=torch.float64)
    if plain in ("new_tensor", "asarray", "as_tensor"):
        value = args[1] if plain == "new_tensor" else args[0]
        return value if isinstance(value, Enclosed) else torch.as_tensor(value, dtype=torch.float64)
    known = FUNCTIONS.get(plain)
    if known is None or any(
        not (name in PASSED and value == PASSED[name]) for name, value in kwargs.items() if name not in NAMED
    ):
        raise Unknown(f"{name}{f' with {sorted(kwargs)}' if kwargs else ''}")
    named = {name: value for name, value in kwargs.items() if name in NAMED}
    return known(*args, **named)


NAMED = {"min", "max", "input", "other", "condition", "exponent", "threshold", "beta", "alpha"}
PASSED: dict[str, Any] = {"rounding_mode": None, "out": None, "inplace": False}


def _as_tensor(func: Any, args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def _converted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    kinds = [x for x in (*args[1:], *kwargs.values()) if isinstance(x, torch.dtype)]
    others = [x for x in args[1:] if isinstance(x, torch.Tensor)]
    if any(kind != torch.float64 for kind in [*kinds, *(x.dtype for x in others)]):
        raise Unknown("a tensor of less than float64")
    return args[0]


def lift(x: Any) -> Jet:
    """The bounds of anything that a loss may put into a formula.

    Raises:
        Unknown: it is no number.
    """
    if isinstance(x, Enclosed):
        return x.jet
    if isinstance(x, Condition):
        if not np.all(x.yes | x.no):
            raise Unknown("arithmetic with a condition that is not known")
        return Jet.constant(np.where(x.yes, 1.0, 0.0))
    if isinstance(x, torch.Tensor):
        if x.dtype not in (torch.float64, torch.int64, torch.int32, torch.bool) and x.ndim:
            raise Unknown("a tensor of less than float64")
        return Jet.constant(x.detach().double().numpy())
    if isinstance(x, (int, float, np.ndarray, np.generic)):
        return Jet.constant(np.asarray(x, dtype=np.float64))
    raise Unknown(f"arithmetic with {type(x).__name__}")


def _of(function: Callable[..., Jet]) -> Callable[..., Enclosed]:
    return lambda *args: Enclosed(function(*map(lift, args)))


def _divided(x: Jet, y: Jet) -> Jet:
    if y.is_point and np.all(y.value[0] != 0):
        return x * Jet.constant(1 / y.value[0])
    return x * intervals.reciprocal(y)


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
        return Enclosed(intervals.sqrt(base))
    return Enclosed(intervals.exp(Jet.constant(float(exponent)) * intervals.log(base)))


def _whole_power(x: Jet, power: int) -> Jet:
    if power < 0:
        return intervals.reciprocal(_whole_power(x, -power))
    if power == 0:
        return Jet.constant(np.ones(x.shape))
    if power % 2 == 0:
        half = x if power == 2 else _whole_power(x, power // 2)
        return intervals.square(half)
    if power == 1:
        return x
    low, high = x.value
    value = intervals.outward(low**power, high**power, power * intervals.ELEMENTARY)
    return x.through(value, (Jet.constant(float(power)) * _whole_power(Jet(x.value), power - 1)).value)


def _clamped(input: Any, min: Any = None, max: Any = None) -> Enclosed:
    found = lift(input)
    if isinstance(min, (int, float)) and min <= -1e300:  # as good as none: it stands for -inf
        min = None
    if min is not None:
        found = intervals.larger(found, lift(min))
    return Enclosed(found if max is None else -intervals.larger(-found, -lift(max)))


def _smaller(x: Jet, y: Jet) -> Jet:
    return -intervals.larger(-x, -y)


def _softplus(input: Any, beta: float = 1, threshold: float = 20) -> Enclosed:
    """log(1 + e^(beta x))/beta, and x beyond the threshold: torch's function jumps there by less than its bounds do."""
    scaled = Jet.constant(float(beta)) * lift(input)
    exact = -intervals.log_sigmoid(-scaled)
    value = np.where(scaled.value[1] > threshold, np.minimum(exact.value[0], scaled.value[0]), exact.value[0])
    value = np.where(scaled.value[0] > threshold, scaled.value[0], np.minimum(value, exact.value[0]))
    return Enclosed(Jet((value, exact.value[1]), exact.slope) * Jet.constant(1 / float(beta)))


def _compared(above: bool, strict: bool) -> Callable[[Any, Any], Condition]:
    """x > y, x >= y, x < y or x <= y."""

    def compare(input: Any, other: Any) -> Condition:
        x, y = lift(input).value, lift(other).value
        if not above:
            x, y = y, x
        yes, no = (x[0] > y[1], x[1] <= y[0]) if strict else (x[0] >= y[1], x[1] < y[0])
        return Condition(*np.broadcast_arrays(yes, no), lift(input) - lift(other))

    return compare


def _where(condition: Any, input: Any, other: Any) -> Enclosed:
    known, x, y = _condition(condition), lift(input), lift(other)
    if known.margin is not None and _meet(x - y, known.margin):
        return Enclosed(intervals.either(known.yes, known.no, x, y))
    return Enclosed(intervals.choose(known.yes, known.no, x, y))


def _meet(apart: Jet, margin: Jet) -> bool:
    """Whether a difference is a multiple of the margin, and so 0 where the choice changes: no jump, but a kink."""
    a, b = apart.linear, margin.linear
    if a is None or b is None:
        return False
    pairs = ((a.steps, b.steps), (a.of_log, b.of_log), *zip(a.constant, b.constant, strict=True))
    return any(
        all(
            np.shape(x) == np.shape(y)
            and np.allclose(x, k * y, rtol=0, atol=1e-300 + 4 * intervals.ARITHMETIC * np.abs(y))
            for x, y in pairs
        )
        for k in (1.0, -1.0, 2.0, -2.0)
    )


def _condition(x: Any) -> Condition:
    if isinstance(x, Condition):
        return x
    plain = np.asarray(x.numpy() if isinstance(x, torch.Tensor) else x, dtype=bool)
    return Condition(plain, ~plain)


def _decided(x: Condition) -> bool:
    if np.all(x.yes):
        return True
    if np.any(x.no):
        return False
    raise Unknown("a condition that is not known")


def _any(x: Condition) -> bool:
    return not _all(~x)


def _all(x: Condition) -> bool:
    return _decided(x)


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
    **dict.fromkeys(("abs", "absolute"), _of(intervals.absolute)),
    **dict.fromkeys(("exp", "special_exp"), _of(intervals.exp)),
    **dict.fromkeys(("expm1", "special_expm1"), _of(intervals.expm1)),
    "exp2": _of(lambda x: intervals.exp(Jet.constant(np.log(2.0)) * x)),
    "log": _of(intervals.log),
    **dict.fromkeys(("log1p", "special_log1p"), _of(intervals.log1p)),
    **dict.fromkeys(("sigmoid", "expit", "special_expit"), _of(intervals.sigmoid)),
    **dict.fromkeys(("log_sigmoid", "logsigmoid"), _of(intervals.log_sigmoid)),
    "softplus": _softplus,
    "tanh": _of(intervals.tanh),
    **dict.fromkeys(("atan", "arctan"), _of(intervals.arctan)),
    "sqrt": _of(intervals.sqrt),
    "square": _of(intervals.square),
    "reciprocal": _of(intervals.reciprocal),
    **dict.fromkeys(("relu", "hinge"), lambda x, inplace=False: _clamped(x, min=0.0)),
    **dict.fromkeys(("clamp", "clip"), _clamped),
    "clamp_min": lambda x, min: _clamped(x, min=min),
    "clamp_max": lambda x, max: _clamped(x, max=max),
    **dict.fromkeys(("maximum", "max"), _of(intervals.larger)),
    **dict.fromkeys(("minimum", "min"), _of(_smaller)),
    "logaddexp": _of(lambda x, y: y - intervals.log_sigmoid(y - x)),
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
    "bool": _decided,
    "isnan": lambda x: _condition(np.zeros(tuple(x.shape), dtype=bool)),
}
"""Functions of tensors by their names in torch, without underscores."""
