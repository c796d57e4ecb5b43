"""Numbers that come with a datum, as symbols: a loss is written with them, and evaluated where data are at hand."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .._symbols import Symbol
from .._types import Array

Datum = Mapping[str, Array]
"""What a batch of data carries, by name: `LOG_PROBABILITIES`, and what a loss reads beside them."""

LOG_PROBABILITIES = ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")
"""What every datum carries: log pi and log pi_ref of winner and loser."""

RESPONSE_DATA = ("length_l", "length_w", "reward_l", "reward_w")
"""What a loss may read beside them: numbers of tokens, and rewards."""


@dataclass(frozen=True, eq=False)
class Data:
    """A function of what a datum carries, ``reads`` naming it; sums, products and quotients of such are others.

    Example:
        >>> from expo_analysis.losses.data import reference_log_ratio
        >>> sorted((0.5 * reference_log_ratio).reads)
        ['ref_logp_l', 'ref_logp_w']
    """

    of: Callable[[Datum], Array]
    reads: frozenset[str]

    __array_ufunc__ = None  # numpy's arrays leave arithmetic to the methods below

    def __call__(self, datum: Datum) -> Array:
        return self.of(datum)

    def map(self, function: Callable[[Array], Array]) -> Data:
        """An elementwise function of it."""

        def mapped(datum: Datum) -> Array:
            value = self.of(datum)
            return value.mapped(function) if isinstance(value, Symbol) else function(value)

        return Data(mapped, self.reads)

    def _with(self, other: Any, combine: Callable[[Any, Any], Any]) -> Data:
        if not isinstance(other, Data) and getattr(other, "__array_ufunc__", ()) is None:
            return NotImplemented  # statistics and sums of terms know what to make of data
        reads = self.reads | (other.reads if isinstance(other, Data) else frozenset())
        return Data(lambda datum: combine(self.of(datum), evaluate(other, datum)), reads)

    def __add__(self, other: Any) -> Data:
        return self._with(other, operator.add)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Data:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> Data:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Data:
        return self._with(other, operator.mul)

    def __rmul__(self, other: Any) -> Data:
        return self._with(other, lambda a, b: b * a)

    def __truediv__(self, other: Any) -> Data:
        return self._with(other, operator.truediv)

    def __rtruediv__(self, other: Any) -> Data:
        return self._with(other, lambda a, b: b / a)

    def __neg__(self) -> Data:
        return Data(lambda datum: -self.of(datum), self.reads)


def evaluate(value: Any, datum: Datum) -> Any:
    """A number, an array, or what `Data` has to say of a datum."""
    return value(datum) if isinstance(value, Data) else value


reference_log_ratio = Data(
    lambda datum: datum["ref_logp_w"] - datum["ref_logp_l"], frozenset({"ref_logp_w", "ref_logp_l"})
)
"""log(pi_ref,w / pi_ref,l) of a pair."""


def of_datum(name: str) -> Data:
    """What a datum carries under this name."""
    return Data(operator.itemgetter(name), frozenset({name}))


length_l, length_w, reward_l, reward_w = map(of_datum, RESPONSE_DATA)
"""Numbers of tokens, and known rewards or noisy scores, of winner and loser."""

reward_gap = reward_w - reward_l
"""r_w - r_l."""
