"""The checks of arguments: each raises one sentence that names the argument, what is accepted and what was given."""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

from ._errors import did_you_mean
from ._symbols import Symbol
from ._types import Array, Floats, Mask, Policies
from .numerics import namespace

SUM_TOLERANCE = 1e-6
"""How far from one probabilities may sum; they are then divided by their sum."""


# ------------------------------------------------------------------------------------------------------------- options


MANY = 9
"""More values than these are a long list to read."""


def check_option(name: str, value: Any, accepted: Sequence[Any]) -> None:
    """Raise unless an option has one of its accepted values; the nearest one is named where it was nearly hit.

    Raises:
        ValueError: "NAME must be one of [...], got VALUE", and the nearest one: before it, where that is a long list.
    """
    if value not in accepted:
        hint, what = did_you_mean(value, accepted), f"{name} must be one of {list(accepted)}, got {value!r}"
        if hint and len(accepted) > MANY:
            raise ValueError(f"{hint.removeprefix('; ')} {what}")
        raise ValueError(f"{what}{hint}")


def check_whole(name: str, value: Any, least: int = 0) -> None:
    """Raise unless an option is a whole number of at least ``least``.

    Raises:
        ValueError: "NAME must be a whole number of at least LEAST, got VALUE".
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_too: bool = False,
    high_too: bool = False,
    kind: str = "number",
) -> None:
    """Raise unless an option is a finite number between ``low`` and ``high``, which ``low_too``, ``high_too`` include.

    Args:
        kind: what to call it, such as a "share" or a "probability".

    Raises:
        ValueError: "NAME must be a finite number above LOW, got VALUE", or what is accepted instead.
    """
    if isinstance(value, Symbol):
        return  # it stands for a number
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    finite = number and abs(value) <= sys.float_info.max  # math.isfinite overflows on whole numbers of many digits
    above = finite and (low < value or (low_too and low == value))
    below = finite and (value < high or (high_too and high == value))
    if above and below:
        return
    if low == -math.inf:
        accepted = f"a finite {kind}"
    elif high == math.inf:
        accepted = f"a finite {kind} {'of at least' if low_too else 'above'} {low:g}"
    elif low_too and high_too:
        accepted = f"a {kind} from {low:g} to {high:g}"
    else:
        accepted = f"a {kind} in {'[' if low_too else '('}{low:g}, {high:g}{']' if high_too else ')'}"
    raise ValueError(f"{name} must be {accepted}, got {value!r}")


# -------------------------------------------------------------------------------------------------------------- arrays


def as_floats(name: str, value: Any) -> Floats:
    """A copy as an array of float64, of any shape.

    Raises:
        ValueError: it is ragged, or holds something else than real numbers; text is not read as numbers.
    """
    try:
        given = np.asarray(value)
        # objects are Fraction, Decimal, whole numbers of many digits
        objects = given.dtype.kind == "O" and not any(isinstance(item, str | bytes) for item in given.flat)
        if objects or given.dtype.kind in "biuf":
            return np.array(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor that requires grad
        pass
    raise ValueError(f"{name} must be an array of numbers, got {reprlib.repr(value)}") from None


def check_shape(name: str, array: Array, *accepted: tuple[int, ...]) -> None:
    """Raise unless an array has one of the shapes."""
    if tuple(array.shape) not in accepted:
        raise ValueError(f"{name} must have shape {' or '.join(map(str, accepted))}, got {tuple(array.shape)}")


def check_policy(name: str, value: Any, least: int = 1) -> Policies:
    """Policies of shape (n,) or (prompts, n), divided by their sums.

    Args:
        least: how many responses there must be.

    Raises:
        ValueError: another shape, a probability that is not positive and finite (with its index), or a sum that is
            further from one than `SUM_TOLERANCE`.
    """
    array = as_floats(name, value)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must have shape (n,) or (prompts, n), got {array.shape}")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        raise ValueError(f"{name} must hold positive finite probabilities, got {first_where(array, bad)}")
    total = array.sum(axis=-1, keepdims=True)
    if (np.abs(total - 1) > SUM_TOLERANCE).any():
        worst = total.flat[np.abs(total - 1).argmax()]
        raise ValueError(f"{name} must sum to one within {SUM_TOLERANCE:g}, got a sum of {worst:.9g}")
    if array.shape[-1] < least:
        words = {2: "two"}.get(least, str(least))
        raise ValueError(f"{name} must have at least {words} responses, got shape {array.shape}")
    return np.asarray(array / total)


def first_where(array: Floats, bad: Mask) -> str:
    """The first entry of an array, of any shape, where ``bad`` holds: "VALUE at index INDEX"."""
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{array[where]} at index {where[0] if len(where) == 1 else where}"


def check_same_shape(**arrays: Array) -> None:
    """Raise unless all named arrays are floating-point arrays of one kind, shape and dtype.

    Raises:
        TypeError: something is no array, or holds no floats, or kinds or dtypes are mixed.
        ValueError: a shape is not that of the first array.
    """
    names = list(arrays)
    for name, array in arrays.items():
        if not array_api_compat.is_array_api_obj(array):
            raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(array).__name__}")
    xp = namespace(*arrays.values())
    first = arrays[names[0]]
    for name, array in arrays.items():
        if not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(f"{name} must hold floats, got dtype {array.dtype}")
        if array.shape != first.shape:
            raise ValueError(
                f"{name} must have the shape of {names[0]}, {tuple(first.shape)}; got {tuple(array.shape)}"
            )
        if array.dtype != first.dtype:
            raise TypeError(f"{name} must have the dtype of {names[0]}, {first.dtype}; got {array.dtype}")
