"""Losses of three responses on plain pairs, where the third is the winner."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .base import PairObjective
from .derived import DerivedObjective
from .statistics import SLOTS, THIRD, Atom, Statistic
from .terms import Sum


@dataclass(frozen=True)
class OfPairs(DerivedObjective):
    """The same terms with the winner in the place of the third response: what is known of pairs is known of it."""

    @property
    def terms(self) -> Sum:
        assert self.of.terms is not None
        return Sum(tuple(dataclasses.replace(t, statistic=_of_winner(t.statistic)) for t in self.of.terms))


def can_be_of_pairs(objective: PairObjective) -> bool:
    """Whether a loss reads a third response's log-probabilities, and nothing else of it."""
    if not objective.is_made_of_terms:
        return False
    third = {name for name in objective.data if name.endswith(f"_{THIRD}")}
    return bool(third) and third <= {f"logp_{THIRD}", f"ref_logp_{THIRD}"}


def _of_winner(statistic: Statistic) -> Statistic:
    total: dict[Atom, float] = {}
    for c, atom in statistic.parts:
        own = dataclasses.replace(atom, slot=SLOTS[0]) if atom.slot == THIRD else atom
        total[own] = total.get(own, 0.0) + c
    return dataclasses.replace(statistic, parts=tuple((c, atom) for atom, c in total.items()))
