"""What premises of theorems read off a loss's formula, at every lambda at once.

Terms are made with a symbol for lambda: what has numbers only is the same for all lambdas.
"""

from __future__ import annotations

from functools import cached_property

from ..._symbols import Symbol
from ...divergences import DIVERGENCES, Divergence
from ...losses import Facts, Objective, PairObjective
from ...losses.psi import Logistic
from ...losses.statistics import h, is_number
from ...losses.terms import Sum
from ..subject import facts_of


class Formula:
    """The formula of a loss as theorems see it. Every property is False, or None, where it cannot be told."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @cached_property
    def facts(self) -> Facts:
        """What is known at the loss's own lambda, which is what is known at every other."""
        return facts_of(self.objective)

    @cached_property
    def symbolic(self) -> tuple[Sum, Divergence | None] | None:
        """The terms and the divergence with a symbol for lambda; None for a loss that is no sum of terms."""
        if not (isinstance(self.objective, PairObjective) and self.objective.states_terms):
            return None
        try:
            anywhere = self.objective.with_lam(Symbol("lam"))
            terms, regulariser = anywhere.terms, anywhere.regulariser
        except Exception:  # somebody's terms may do anything with lambda
            return None
        return None if terms is None or regulariser != self.objective.regulariser else (terms, regulariser)

    @cached_property
    def is_explicit(self) -> bool:
        """Whether it is the Bradley-Terry likelihood of the policy's own log-ratios plus lambda times a divergence."""
        if self.symbolic is None or len(self.symbolic[0].terms) != 1:
            return False
        (term,), regulariser = self.symbolic
        psi, statistic = term.psi, term.statistic
        if type(psi) is not Logistic or not all(
            isinstance(x, int | float) for x in (psi.kept, psi.flipped, term.weight)
        ):
            return False
        shifts = (statistic.centre, statistic.offset)
        plain = statistic.base == h.base and is_number(statistic.scale, 1) and all(is_number(x, 0) for x in shifts)
        return plain and type(regulariser) in DIVERGENCES.values() and psi.flipped == 0 and psi.kept * term.weight > 0
