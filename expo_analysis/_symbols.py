"""Formulas as text, made by arithmetic: the same code that computes with numbers writes with symbols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

SUM, PRODUCT, WHOLE = 0, 1, 2
"""How tightly a text binds: a sum, a product, and what needs no parentheses anywhere."""


def _of_numbers(operation: Callable[[Symbol, Symbol], Symbol]) -> Callable[[Symbol, Any], Any]:
    """An operator with numbers; what leaves arithmetic with numpy's arrays to itself does so with symbols too."""

    @wraps(operation)
    def operator(self: Symbol, other: Any) -> Any:
        return NotImplemented if getattr(other, "__array_ufunc__", ()) is None else operation(self, symbol(other))

    return operator


@dataclass(frozen=True, eq=False)
class Symbol:
    """A number that is known by how it is written; sums, products and quotients with numbers are others.

    text, level: the numerator without its sign, and how tightly it binds. minus: whether it is negative. under,
    under_level: the denominator, empty where there is none.

    Example:
        >>> lam = Symbol("λ")
        >>> print(0.5 / lam, lam / (1 + lam), -(lam - 2) * lam)
        1/(2λ) λ/(1 + λ) -(λ - 2)λ
    """

    text: str
    level: int = WHOLE
    minus: bool = False
    under: str = ""
    under_level: int = WHOLE

    def __str__(self) -> str:
        return ("-" + _inside(self.text, self.level) if self.minus else self._plain) + self._quotient

    @property
    def _plain(self) -> str:
        return _inside(self.text, self.level) if self.under else self.text

    @property
    def _quotient(self) -> str:
        under = f"({self.under})" if self.under_level < WHOLE else self.under
        return f"/{under}" if under else ""

    def __abs__(self) -> Symbol:
        return Symbol(self.text, self.level, False, self.under, self.under_level)

    def __neg__(self) -> Symbol:
        return Symbol(self.text, self.level, not self.minus, self.under, self.under_level)

    @_of_numbers
    def __add__(self, other: Symbol) -> Symbol:
        if "0" in (self.text, other.text):
            return other if self.text == "0" else self
        return Symbol(f"{self} {'-' if other.minus else '+'} {abs(other)._summand}", SUM)

    @_of_numbers
    def __radd__(self, other: Symbol) -> Symbol:
        return other + self

    @_of_numbers
    def __sub__(self, other: Symbol) -> Symbol:
        return self + -other

    @_of_numbers
    def __rsub__(self, other: Symbol) -> Symbol:
        return other - self

    @property
    def _summand(self) -> str:
        """As it stands behind a sign."""
        return _inside(self.text, self.level) + self._quotient

    @_of_numbers
    def __mul__(self, other: Symbol) -> Symbol:
        if "0" in (self.text, other.text):
            return symbol(0)
        over = _product(self.text, self.level, other.text, other.level)
        under = _product(self.under or "1", self.under_level, other.under or "1", other.under_level)
        minus = self.minus != other.minus
        return Symbol(*over, minus) if under[0] == "1" else Symbol(*over, minus, *under)

    @_of_numbers
    def __rmul__(self, other: Symbol) -> Symbol:
        return other * self

    @_of_numbers
    def __truediv__(self, other: Symbol) -> Symbol:
        return self * Symbol(other.under or "1", other.under_level, other.minus, other.text, other.level)

    @_of_numbers
    def __rtruediv__(self, other: Symbol) -> Symbol:
        return other / self

    def __pow__(self, power: int) -> Symbol:
        raised = {2: "²", 3: "³"}.get(power, f"^{power}")
        return Symbol((str(self) if _is_short(str(self)) else f"({self})") + raised)

    def of(self, function: str) -> Symbol:
        """A function of it, by the function's name."""
        return Symbol(f"{FUNCTIONS.get(function, function)}({self})")

    def mapped(self, function: Callable[..., Any]) -> Symbol:
        """A Python function of it."""
        return self.of(function.__name__)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """What numpy's and scipy's functions of it are: others of its kind."""
        if method != "__call__" or options:
            return NotImplemented
        first, *rest = map(symbol, inputs)
        if not rest:
            return -first if ufunc.__name__ == "negative" else first.of(ufunc.__name__)
        (second,) = rest
        match ufunc.__name__:
            case "add":
                return first + second
            case "subtract":
                return first - second
            case "multiply":
                return first * second
            case "divide" | "true_divide":
                return first / second
        return Symbol(f"{FUNCTIONS.get(ufunc.__name__, ufunc.__name__)}({first}, {second})")


FUNCTIONS = {
    **{"expit": "σ", "sigmoid": "σ", "log_sigmoid": "log σ", "log_expit": "log σ"},
    **{"maximum": "max", "minimum": "min", "absolute": "abs"},
}
"""How functions are written whose Python name is another."""


FRACTIONS = {0.5: ("1", "2"), 0.25: ("1", "4"), 0.75: ("3", "4"), 1.5: ("3", "2")}


def symbol(value: Any) -> Symbol:
    """A number, or an array in short, as a symbol; a symbol is one."""
    if isinstance(value, Symbol):
        return value
    if np.ndim(value):
        return Symbol(np.array2string(np.asarray(value), precision=4, threshold=4, edgeitems=1, separator=", "))
    number = float(value)
    size = abs(number)
    if size in FRACTIONS:
        over, under = FRACTIONS[size]
        return Symbol(over, WHOLE, number < 0, under)
    return Symbol(f"{size:.6g}", WHOLE, number < 0)


def _inside(text: str, level: int) -> str:
    """A text as a factor."""
    return f"({text})" if level == SUM else text


def _product(first: str, first_level: int, second: str, second_level: int) -> tuple[str, int]:
    """Two texts side by side, as a text and how tightly it binds."""
    if first == "1":
        return second, second_level
    if second == "1":
        return first, first_level
    first, second = _inside(first, first_level), _inside(second, second_level)
    close = second.startswith("(") or (_is_short(first) and _is_short(second) and not second.isdigit())
    return first + ("" if close else " ") + second, PRODUCT


def _is_short(text: str) -> bool:
    """Whether it is one letter or digit, with or without a bar over it."""
    return len(text.replace("\u0304", "")) == 1
