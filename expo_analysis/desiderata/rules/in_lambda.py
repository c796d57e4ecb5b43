"""Lambda as a number that remembers how it was used: what a formula does with it, at all its values at once."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..._symbols import Symbol

Polynomial = tuple[Fraction, ...]
"""Coefficients of 1, lambda, lambda^2 ..."""


@dataclass(frozen=True, eq=False)
class InLambda(Symbol):
    """A quotient of polynomials in lambda, with exact coefficients.

    Arithmetic with numbers gives others. Whatever else is tried raises: a comparison (but whether it is 0, where its
    coefficients tell), a function such as the logarithm, an array. So code that gets through has done with lambda what
    the quotient says, whatever lambda is.

    Example:
        >>> lam = InLambda.itself()
        >>> (0.5 / lam * lam).constant, (lam / (1 + lam)).constant, (3 * lam**2 / lam).per_lambda
        (0.5, None, 3.0)
    """

    text: str = "lambda"
    top: Polynomial = (Fraction(0), Fraction(1))
    bottom: Polynomial = (Fraction(1),)

    @classmethod
    def itself(cls) -> InLambda:
        """Lambda."""
        return cls()

    @classmethod
    def of_number(cls, value: float) -> InLambda:
        """A number that does not depend on lambda."""
        return cls(top=(Fraction(float(value)),))

    def at(self, lam: float) -> float:
        """Its value at one lambda."""
        x = Fraction(lam)
        top, bottom = (sum((c * x**k for k, c in enumerate(side)), Fraction(0)) for side in (self.top, self.bottom))
        return float(top / bottom)

    @property
    def constant(self) -> float | None:
        """Its value, where it does not depend on lambda; else None."""
        ratio = _last(self.top) / _last(self.bottom)
        same = _trimmed(self.top) == _trimmed(tuple(ratio * x for x in self.bottom))
        return float(ratio) if same else None

    @property
    def per_lambda(self) -> float | None:
        """c where it is c lambda; else None."""
        return (self / InLambda.itself()).constant

    def limit(self, end: str) -> InLambda | None:
        """Its limit as lambda tends to ``"zero"`` or ``"infinity"``; None where that is infinite."""
        if not any(self.top):
            return self
        sides = (self.top, self.bottom) if end == "zero" else (_trimmed(self.top)[::-1], _trimmed(self.bottom)[::-1])
        leads = [next(k for k, x in enumerate(side) if x) for side in sides]
        # the power of lambda, or of 1/lambda, with which it vanishes
        power = leads[0] - leads[1] if end == "zero" else len(sides[1]) - len(sides[0])
        if power > 0:
            return InLambda.of_number(0.0)
        return None if power < 0 else InLambda(top=(sides[0][leads[0]] / sides[1][leads[1]],))

    @property
    def sign(self) -> int:
        """1 or -1 where all coefficients show that it has this sign at every lambda > 0; else 0."""
        signs = [{(x > 0) - (x < 0) for x in side if x} for side in (self.top, self.bottom)]
        return next(iter(signs[0])) * next(iter(signs[1])) if all(len(s) == 1 for s in signs) else 0

    def __str__(self) -> str:
        return f"{list(map(float, self.top))} / {list(map(float, self.bottom))} in powers of lambda"

    def __bool__(self) -> bool:
        raise TypeError("lambda is neither true nor false")

    def __eq__(self, other: object) -> bool:
        nothing = not any(self.top)
        if isinstance(other, int | float) and other == 0 and (nothing or self.sign):
            return nothing
        raise TypeError("lambda stands for all its values, and cannot be compared")

    def __hash__(self) -> int:
        raise TypeError("lambda stands for all its values, and is in no table")

    def of(self, function: str) -> Symbol:
        raise TypeError(f"{function} of lambda is no quotient of polynomials")

    def __abs__(self) -> InLambda:
        if not self.sign:
            raise TypeError("the sign depends on lambda")
        return self if self.sign > 0 else -self

    def __neg__(self) -> InLambda:
        return InLambda(top=tuple(-x for x in self.top), bottom=self.bottom)

    def __add__(self, other: Any) -> Any:
        return _combined(self, other, _sum)

    def __sub__(self, other: Any) -> Any:
        return _combined(self, other, lambda a, b: _sum(a, -b))

    def __rsub__(self, other: Any) -> Any:
        return _combined(self, other, lambda a, b: _sum(b, -a))

    def __mul__(self, other: Any) -> Any:
        return _combined(self, other, _times)

    def __truediv__(self, other: Any) -> Any:
        return _combined(self, other, lambda a, b: _times(a, _inverse(b)))

    def __rtruediv__(self, other: Any) -> Any:
        return _combined(self, other, lambda a, b: _times(b, _inverse(a)))

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, power: int) -> InLambda:
        if not (isinstance(power, int) and power >= 0):
            raise TypeError(f"lambda to the power of {power!r} is no quotient of polynomials")
        result = InLambda.of_number(1.0)
        for _ in range(power):
            result = _times(result, self)
        return result

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Numpy's arithmetic with single numbers."""
        known = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv}
        single = all(isinstance(x, InLambda) or np.ndim(x) == 0 for x in inputs)
        if method != "__call__" or options or not single:
            return NotImplemented
        plain = [x if isinstance(x, InLambda) else float(x) for x in inputs]
        if ufunc.__name__ == "negative":
            return -plain[0]
        return known[ufunc.__name__](*plain) if ufunc.__name__ in known else NotImplemented


def of_lambda(value: Any) -> InLambda:
    """A number, or a quotient in lambda, as such a quotient.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, InLambda):
        return value
    if isinstance(value, bool) or np.ndim(value) or not np.isfinite(float(value)):
        raise TypeError(f"{value!r} is no finite number")
    return InLambda.of_number(float(value))


def _combined(one: InLambda, other: Any, operation: Callable[[InLambda, InLambda], InLambda]) -> Any:
    if not isinstance(other, InLambda | int | float | np.floating):
        return NotImplemented
    return operation(one, of_lambda(other))


def _sum(a: InLambda, b: InLambda) -> InLambda:
    first, second = _product(a.top, b.bottom), _product(b.top, a.bottom)
    length = max(len(first), len(second))
    padded = ((*x, *[Fraction(0)] * (length - len(x))) for x in (first, second))
    return InLambda(top=tuple(x + y for x, y in zip(*padded, strict=True)), bottom=_product(a.bottom, b.bottom))


def _times(a: InLambda, b: InLambda) -> InLambda:
    return InLambda(top=_product(a.top, b.top), bottom=_product(a.bottom, b.bottom))


def _inverse(a: InLambda) -> InLambda:
    if not any(a.top):
        raise ZeroDivisionError("division by zero")
    return InLambda(top=a.bottom, bottom=a.top)


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    found = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            found[i + j] += x * y
    return tuple(found)


def _trimmed(a: Polynomial) -> Polynomial:
    length = max((k + 1 for k, x in enumerate(a) if x), default=0)
    return a[:length]


def _last(a: Polynomial) -> Fraction:
    return next((x for x in reversed(a) if x), Fraction(0))
