"""What a formula makes of a pair's data, at all data and all lambdas at once.

Premises must hold whatever the rewards and the reference are, so no value of a datum tells. Terms are evaluated at a
datum of `Given` numbers, which remember what was made of them: a quotient of polynomials in lambda times a number that
does not see lambda, with its sign where that follows from how it is made, and its coefficients where it is linear. What
is followed no further raises: a comparison, a sum of two with different lambdas, a float. Of an elementwise function
nothing is known but that it is positive, if it is one of a few (`is_positive`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..._symbols import Symbol
from ...losses.data import RESPONSE_DATA, Data
from .in_lambda import InLambda, of_lambda
from .signs import POSITIVE_FUNCTIONS, is_positive, product, total

CONSTANT = ""
"""The name of what is added to a linear combination of data."""

ONE = InLambda.of_number(1.0)

Linear = Mapping[str, Fraction]


class ForAllValues(Symbol):
    """What stands for all values of data at once: code that asks which one it is cannot be followed."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("data stand for all their values, and cannot be compared")

    def __hash__(self) -> int:
        raise TypeError("data stand for all their values, and are in no table")

    def __bool__(self) -> bool:
        raise TypeError("data are neither true nor false")


@dataclass(frozen=True, eq=False)
class Given(ForAllValues):
    """lambda's ``factor`` times g(data).

    sign: of g at all data; None where it is not known. linear: g's coefficients by the names of data; None where it is
    not linear. of_gap: whether g is a function of the gap of rewards alone.

    Example:
        >>> gap = given("reward_w") - given("reward_l")
        >>> (gap / InLambda.itself()).gap_coefficient, (gap + 1).gap_coefficient, (gap * gap).of_gap
        (1.0, None, True)
    """

    text: str = "x"
    factor: InLambda = ONE
    sign: int | None = None
    linear: Linear | None = None
    of_gap: bool = False

    @property
    def gap_coefficient(self) -> float | None:
        """c > 0 or < 0 where g is c (r_w - r_l) exactly; None for any other."""
        kept = {name: c for name, c in (self.linear or {}).items() if c}
        gap = set(kept) == {"reward_w", "reward_l"} and kept["reward_w"] == -kept["reward_l"]
        return float(kept["reward_w"]) if gap else None

    def mapped(self, function: Callable[..., Any]) -> Given:
        """A function of it, of which its name says nothing."""
        return self._unknown(1 if is_positive(function) else None)

    def of(self, function: str) -> Given:
        raise TypeError(f"nothing is known of what goes by the name of {function}")

    def _unknown(self, sign: int | None) -> Given:
        if self.factor.constant is None:
            raise TypeError("a function of what depends on lambda and on data is not followed")
        return Given(sign=sign, of_gap=self.of_gap)

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, Given):
            scalar = _scalar(other)
            return NotImplemented if scalar is None else replace(self, factor=self.factor * scalar)
        sign = product(self.sign, other.sign)
        return Given(factor=self.factor * other.factor, sign=sign, of_gap=self.of_gap and other.of_gap)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, Given):
            scalar = _scalar(other)
            if scalar is None:
                return NotImplemented
            if not any(scalar.top):
                return self
            other = Given(factor=scalar, sign=1, linear={CONSTANT: Fraction(1)}, of_gap=True)
        ratio = (other.factor / self.factor).constant
        if ratio is None:
            raise TypeError("a sum of data with different functions of lambda is not followed")
        sign = total(self.sign, product(other.sign, (ratio > 0) - (ratio < 0)))
        linear = None if self.linear is None or other.linear is None else _sum(self.linear, other.linear, ratio)
        return Given(factor=self.factor, sign=sign, linear=linear, of_gap=_gap(linear, self.of_gap and other.of_gap))

    def __neg__(self) -> Given:
        return replace(self, factor=-self.factor)

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, Given):
            return self * (1 / other)
        scalar = _scalar(other)
        return NotImplemented if scalar is None else replace(self, factor=self.factor / scalar)

    def __rtruediv__(self, other: Any) -> Any:
        if self.sign not in (1, -1):
            raise TypeError("a quotient by what may be 0 is not followed")
        return Given(factor=1 / self.factor, sign=self.sign, of_gap=self.of_gap) * other

    __radd__, __rmul__ = __add__, __mul__

    def __abs__(self) -> Given:
        return Given(factor=abs(self.factor), sign=None if self.sign is None else abs(self.sign), of_gap=self.of_gap)

    def __pow__(self, power: int) -> Given:
        if not (isinstance(power, int) and power >= 1):
            raise TypeError(f"data to the power of {power!r} are not followed")
        return self if power == 1 else self * self ** (power - 1)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        if len(inputs) == 1:
            return -self if ufunc.__name__ == "negative" else self._unknown(_positive(ufunc.__name__))
        found = [x if isinstance(x, Given) else _scalar(x) for x in inputs]
        first, second = (x for x in found if x is not None)
        match ufunc.__name__:
            case "add":
                return first + second
            case "subtract":
                return first - second
            case "multiply":
                return first * second
            case "divide" | "true_divide":
                return first / second
        return NotImplemented


def given(name: str) -> Given:
    """What goes by this name in a datum: a log-probability is negative, and nothing is known of a reward."""
    reward = name.startswith("reward_")
    return Given(sign=None if reward else -1, linear={name: Fraction(1)})


def any_datum() -> dict[str, Any]:
    """Every datum of a pair at once; responses are of one token."""
    names = (*(name for name in RESPONSE_DATA if name.startswith("reward_")), "ref_logp_w", "ref_logp_l")
    return {"length_w": 1.0, "length_l": 1.0, **{name: given(name) for name in names}}


def as_given(value: Any) -> Given | InLambda:
    """A parameter of a term, whatever the data.

    Raises:
        Exception: what it does with data, or with lambda, is not followed.
    """
    found = value(any_datum()) if isinstance(value, Data) else value
    return found if isinstance(found, Given) else of_lambda(found)


def _scalar(value: Any) -> InLambda | None:
    try:
        return of_lambda(value)
    except (TypeError, ValueError):
        return None


def _positive(name: str) -> int | None:
    return 1 if name in POSITIVE_FUNCTIONS else None


def _sum(first: Linear, second: Linear, ratio: float) -> Linear:
    times = Fraction(ratio)
    return {name: first.get(name, Fraction(0)) + times * second.get(name, Fraction(0)) for name in {*first, *second}}


def _gap(linear: Linear | None, otherwise: bool) -> bool:
    """Whether a sum is a function of the gap of rewards, by its coefficients where it is linear."""
    if linear is None:
        return otherwise
    kept = {name: c for name, c in linear.items() if c and name != CONSTANT}
    return not kept or (set(kept) == {"reward_w", "reward_l"} and kept["reward_w"] == -kept["reward_l"])
