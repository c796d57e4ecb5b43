"""Signs of numbers that depend on lambda, for all lambda > 0 at once.

Terms that are made with a `Sign` in the place of lambda tell which of their parameters are positive, negative or zero
whatever lambda is. What needs more than the rules of signs is not known, and what asks for a comparison of it raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from ..._symbols import Symbol
from ...numerics import exp, sigmoid

POSITIVE_FUNCTIONS = ("exp", "exp2", "expit")
"""Functions of numpy's and scipy's that are positive everywhere, by their names."""

POSITIVE = (exp, sigmoid, np.exp, np.exp2, expit)
"""The same, and this package's own, as functions: another may go by any name."""


def is_positive(function: Callable[..., Any]) -> bool:
    """Whether a function is known to be positive everywhere."""
    return any(function is known for known in POSITIVE)


class Unknown(TypeError):
    """A comparison whose outcome signs do not tell."""


class Sign(Symbol):
    """A number of which the sign is known (1, -1 or 0), or nothing (None).

    Example:
        >>> lam = Sign(1)
        >>> (0.5 / lam).sign, (lam / (1 + lam)).sign, (lam - 2).sign
        (1, 1, None)
    """

    sign: int | None

    def __init__(self, sign: int | None) -> None:
        super().__init__("λ")
        object.__setattr__(self, "sign", sign)

    def __add__(self, other: Any) -> Any:
        return _apply(total, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _apply(lambda a, b: total(a, minus(b)), self, other)

    def __rsub__(self, other: Any) -> Any:
        return _apply(lambda a, b: total(minus(a), b), self, other)

    def __mul__(self, other: Any) -> Any:
        return _apply(product, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _apply(quotient, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _apply(lambda a, b: quotient(b, a), self, other)

    def __pow__(self, power: Any) -> Sign:
        even = isinstance(power, int) and power % 2 == 0 and self.sign is not None
        return Sign(abs(self.sign or 0)) if even else Sign(self.sign if self.sign == 1 else None)

    def __neg__(self) -> Sign:
        return Sign(minus(self.sign))

    def __abs__(self) -> Sign:
        return Sign(None if self.sign is None else abs(self.sign))

    def of(self, function: str) -> Sign:
        return Sign(None)

    def mapped(self, function: Callable[..., Any]) -> Sign:
        return Sign(1 if is_positive(function) else None)

    def __eq__(self, other: object) -> bool:
        theirs = sign_of(other)
        if self.sign is None or theirs is None or (self.sign == theirs and theirs != 0):
            raise Unknown("whether a number of which signs are known is another one")
        return self.sign == theirs

    def __hash__(self) -> int:
        raise Unknown("a number of which signs are known is in no table")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        operators: dict[str, Callable[..., Any]] = {
            **{"add": total, "multiply": product, "divide": quotient, "true_divide": quotient},
            "subtract": lambda a, b: total(a, minus(b)),
        }
        signs = [sign_of(x) for x in inputs]
        if ufunc.__name__ in operators:
            return Sign(operators[ufunc.__name__](*signs))
        if ufunc.__name__ == "negative":
            return Sign(minus(signs[0]))
        return Sign(1 if ufunc.__name__ in POSITIVE_FUNCTIONS else None)

    def __bool__(self) -> bool:
        return bool(self._compared(0.0) != 0)

    def __ge__(self, other: Any) -> bool:
        return self._compared(other) >= 0

    def __gt__(self, other: Any) -> bool:
        return self._compared(other) > 0

    def __le__(self, other: Any) -> bool:
        return self._compared(other) <= 0

    def __lt__(self, other: Any) -> bool:
        return self._compared(other) < 0

    def _compared(self, other: Any) -> int:
        """1 where it is above a number, -1 below, 0 where both are 0.

        Raises:
            Unknown: that is not known for all lambdas.
        """
        theirs = sign_of(other)
        if self.sign is None or theirs is None or self.sign * theirs > 0:
            raise Unknown("whether a number that depends on lambda is above another one")
        return self.sign - theirs


def sign_of(value: Any) -> int | None:
    """1, -1 or 0 where a number, every number of an array, or a `Sign` is positive, negative or zero; else None."""
    if isinstance(value, Sign):
        return value.sign
    if isinstance(value, Symbol):
        return None
    try:
        array = np.asarray(value)
        if array.dtype == object:
            found = {sign_of(x) for x in array.reshape(-1)}
            return found.pop() if len(found) == 1 else None
        numbers = array.astype(np.float64)
    except (TypeError, ValueError):
        return None
    for sign, holds in ((1, numbers > 0), (-1, numbers < 0), (0, numbers == 0)):
        if numbers.size and holds.all():
            return sign
    return None


def _apply(rule: Callable[[int | None, int | None], int | None], first: Sign, second: Any) -> Any:
    if getattr(second, "__array_ufunc__", ()) is None:  # data, statistics and sums of terms know what to make of it
        return NotImplemented
    return Sign(rule(first.sign, sign_of(second)))


def total(a: int | None, b: int | None) -> int | None:
    """The sign of a sum."""
    if a == 0 or b == 0:
        return b if a == 0 else a
    return a if a == b else None


def minus(a: int | None) -> int | None:
    """The sign of the negative."""
    return None if a is None else -a


def product(a: int | None, b: int | None) -> int | None:
    """The sign of a product."""
    if a == 0 or b == 0:
        return 0
    return None if a is None or b is None else a * b


def quotient(a: int | None, b: int | None) -> int | None:
    """The sign of a quotient."""
    return None if b is None or b == 0 else product(a, b)
