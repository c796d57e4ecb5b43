"""Losses of three responses on plain pairs, where the third is the winner."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._types import Array
from ..divergences import Divergence
from .base import PairObjective
from .statistics import SLOTS, THIRD, Atom, Statistic
from .terms import Sum


@dataclass(frozen=True)
class OfPairs(PairObjective):
    """The same terms with the winner in the place of the third response: what is known of pairs is known of it."""

    of: PairObjective

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.of.name

    def with_lam(self, lam: Any) -> OfPairs:
        return OfPairs(lam, self.of.with_lam(lam))

    @property
    def terms(self) -> Sum:
        assert self.of.terms is not None
        return Sum(tuple(dataclasses.replace(t, statistic=_of_winner(t.statistic)) for t in self.of.terms))

    @property
    def regulariser(self) -> Divergence | None:
        return self.of.regulariser

    def derived(self, known: Mapping[str, Array]) -> Mapping[str, Array]:
        return self.of.derived(known)


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
