"""Losses of any terms, for tests of what is derived from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import expo_analysis as ea
from expo_analysis.divergences import Divergence
from expo_analysis.numerics import exp, expm1, namespace


class Own(ea.PairObjective):
    """Any terms, and any divergence, of classes that `own` makes."""

    name = "own"


def own(terms: Callable[[Any], Any], divergence: ea.Divergence | None = None) -> ea.PairObjective:
    """An objective with these terms, a function of lam, and this regulariser."""

    class Made(Own):
        @property
        def terms(self) -> Any:
            return terms(self.lam)

        @property
        def regulariser(self) -> ea.Divergence | None:
            return divergence

    return Made(0.7)


@dataclass(frozen=True)
class Cubic(Divergence):
    """f(u) = (u^4 - 4u + 3)/4, f'(u) - f'(1) = u^3 - 1: finite at 0 as chi-square's is, and its scores are no straight
    lines."""

    name: ClassVar[str] = "cubic"
    mu_at_zero: ClassVar[float] = -1.0

    def f(self, u: Any) -> Any:
        return (u**4 - 4 * u + 3) / 4

    def mu(self, log_u: Any) -> Any:
        return expm1(3 * log_u)

    def descend(self, log_u: Any, gap: Any) -> Any:
        xp, left = namespace(log_u), exp(3 * log_u) - gap
        return xp.log(xp.where(left > 0, left, 0 * left)) / 3

    def terms(self, log_policy: Any, log_reference: Any) -> Any:
        return exp(log_reference) * self.f(exp(log_policy - log_reference))
