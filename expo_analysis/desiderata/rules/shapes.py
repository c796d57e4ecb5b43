"""The shape of a loss of pairs at all lambdas at once: what rises and falls in what. Premises of theorems.

Terms are made with a `Sign` in the place of lambda, and of what they read of data. A property is False, or None, where
it cannot be told. Responses are of one token, as those of all problems here, and the third response of a pair is its
winner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

from ...divergences import DIVERGENCES, Divergence
from ...losses import Objective, PairObjective
from ...losses.psi import Exponential, Modulated, Psi, Sigmoid
from ...losses.statistics import SLOTS, Atom, Linked, Powered
from ...losses.terms import Sum
from ..falsify.runaway import finite_at_zero
from .parts import TRIED
from .signs import Sign, sign_of
from .terms_shape import (
    Part,
    Trend,
    bends,
    bounded,
    composes,
    end_signs,
    fits,
    held_up,
    of_one_number,
    part_of,
    raised_by_shortfall,
    rises_on_the_left,
    well,
    without_shortfall,
)

APPROACHED = (Exponential, Modulated)
"""Psis that are positive everywhere and tend to 0 at +inf, besides -log sigma."""


class Shape:
    """The terms of a loss at every lambda > 0. ``parts`` is None for what is no sum of terms."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @cached_property
    def parts(self) -> tuple[Part, ...] | None:
        if not (isinstance(self.objective, PairObjective) and self.objective.states_terms):
            return None
        try:
            anywhere = self.objective.with_lam(Sign(1))
            terms = anywhere.terms
            if terms is None or anywhere.regulariser != self.objective.regulariser:
                return None
            if not all(self._agrees(terms, lam) for lam in TRIED):
                return None
            return tuple(part_of(term) for term in terms.merged)
        except Exception:  # somebody's terms may do anything with lambda
            return None

    def _agrees(self, anywhere: Sum, lam: float) -> bool:
        """Whether the terms at one lambda are what signs tell of them: code may ask what kind of a thing lambda is."""
        assert isinstance(self.objective, PairObjective)
        here = self.objective.with_lam(lam)
        if here.terms is None or here.regulariser != self.objective.regulariser:
            return False
        one, other = ([part_of(term) for term in terms] for terms in (anywhere, here.terms))
        return len(one) == len(other) and all(fits(a, b) for a, b in zip(one, other, strict=True))

    @property
    def regulariser(self) -> Divergence | None:
        return self.objective.regulariser if isinstance(self.objective, PairObjective) else None

    def _all(self, condition: Callable[[Part], Any]) -> bool:
        if self.parts is None:
            return False
        try:
            return all(bool(condition(part)) for part in self.parts)
        except Exception:  # a psi of somebody's may state anything of itself, or signs do not tell
            return False

    @cached_property
    def alone(self) -> bool:
        """Whether it is a sum of terms without a divergence."""
        return self.parts is not None and self.regulariser is None

    @cached_property
    def of_log_ratios(self) -> bool:
        """Whether the pair loss reads log pi_w/pi_l alone."""
        return self._all(lambda part: part.of_log_ratio)

    @cached_property
    def of_one_number(self) -> bool:
        """Whether the pair loss is a function of s(pi_w) - s(pi_l) for one increasing s, whatever the reference."""
        return self.of_log_ratios or (bool(self.parts) and of_one_number(self.parts or ()))

    @cached_property
    def only_shortfalls_beside_it(self) -> bool:
        """Whether it is one, with convex psis, but for shortfalls min(log u, 0), which can but raise the loss."""
        return self._all(raised_by_shortfall) and of_one_number([without_shortfall(x) for x in self.parts or ()])

    @cached_property
    def finite_scores(self) -> bool:
        """Whether a margin stays finite where a probability is 0, so that optima may lie on the boundary."""
        return any(finite_at_zero(atom) for part in self.parts or () for _, atom in part.atoms)

    @cached_property
    def finite_everywhere(self) -> bool:
        """Whether all margins are, so that the loss is a continuous function on the closed simplex."""
        return bool(self.parts) and all(_is_continuous(atom) for part in self.parts or () for _, atom in part.atoms)

    @cached_property
    def bounded_below(self) -> bool:
        return self._all(lambda part: part.weighs in (0, 1) and (bounded(part.psi) or held_up(part)))

    @cached_property
    def has_wells(self) -> bool:
        """Whether a loss of log-ratios falls up to some finite log-ratio, and rises from some finite one on: each psi
        does, or all are convex, none falls at the end or rises at the start, and some do the opposite."""
        if self._all(lambda part: part.weighs == 1 and sign_of(part.scale) in (1, -1) and well(part.psi)):
            return True
        if not (self.psis_convex and self.of_log_ratios):
            return False
        ends = [end_signs(part) for part in self.parts or ()]
        starts, lasts = zip(*ends, strict=True) if ends else ((), ())
        return set(starts) <= {0, -1} and -1 in starts and set(lasts) <= {0, 1} and 1 in lasts

    @cached_property
    def polyhedral(self) -> bool:
        return self._all(lambda part: part.weighs in (0, 1) and part.psi.linear_pieces is not None)

    @cached_property
    def psis_convex(self) -> bool:
        return self._all(lambda part: part.weighs in (0, 1) and part.psi.convex)

    @cached_property
    def convex(self) -> bool:
        """Whether the pair loss is convex in the logits."""
        return self.psis_convex and self._all(composes)

    @cached_property
    def strictly_convex(self) -> bool:
        """Whether the objective is strictly convex in the logits but for their common shift, on any data at all.

        A log-sum-exp is; so is a convex psi that strictly falls, of a statistic with some of it.
        """
        if not self.convex:
            return False
        regulariser = self.regulariser
        if regulariser is not None and not regulariser.convex_in_logits:
            return False
        if regulariser is not None and type(regulariser) in DIVERGENCES.values():
            return True
        return any(part.weighs == 1 and bends(part) for part in self.parts or ())

    @cached_property
    def falls_with_each_win(self) -> bool:
        """Whether one comparison alone always asks for more: the loss strictly falls as the winner gains on the
        loser."""
        return self._downhill([None if part is None else part.along_win for part in self.parts or ()])

    @cached_property
    def wants_the_loser_lower(self) -> bool:
        """Whether the pair loss strictly rises in the loser's log-probability, the winner's given."""
        found = [part.along("l") for part in self.parts or ()]
        return self._downhill([None if x is None else Trend(-x.way, x.strict) for x in found])

    @cached_property
    def wants_the_winner_higher(self) -> bool:
        """Whether the pair loss strictly falls in the winner's log-probability, the loser's given."""
        return self._downhill([part.along("w") for part in self.parts or ()])

    @cached_property
    def along_both(self) -> int:
        """1 or -1 where the pair loss strictly rises or falls as both log-probabilities rise by as much, else 0."""
        found = [part.along_both for part in self.parts or ()]
        if self._downhill(found):
            return -1
        return int(self._downhill([None if x is None else Trend(-x.way, x.strict) for x in found]))

    @cached_property
    def likelihood_beside_one_number(self) -> bool:
        """Whether it is -log pi_w, or several of its kind, beside convex psis of s(pi_w) - s(pi_l)."""
        rest = [part for part in self.parts or () if not part.is_likelihood]
        some = any(part.is_likelihood for part in self.parts or ())
        return some and self.psis_convex and (not rest or of_one_number(rest))

    @cached_property
    def attained_both_ways(self) -> bool:
        """Whether two responses that both win have a minimiser for a loss of log-ratios: it is least somewhere."""
        if not self.of_log_ratios:
            return False
        rises = self._all(lambda part: sign_of(part.scale) in (1, -1)) and any(
            part.weighs == 1 and rises_on_the_left(part.psi) for part in self.parts or ()
        )
        return self.has_wells or (self.bounded_below and rises)

    @staticmethod
    def _downhill(found: list[Trend | None]) -> bool:
        known = [x for x in found if x is not None]
        return (
            bool(known)
            and len(known) == len(found)
            and all(x.way <= 0 for x in known)
            and any(x.way < 0 and x.strict for x in known)
        )

    @cached_property
    def approaches_zero(self) -> bool:
        """Whether the pair loss is positive everywhere, and tends to 0 as the winner takes the loser's mass."""
        return self._all(
            lambda part: (
                part.weighs == 1
                and type(part.psi) in APPROACHED
                and part.of_log_ratio
                and sign_of(part.scale) == 1
                and sum(c for c, atom in part.atoms if atom.slot == "w") > 0
            )
        )

    @cached_property
    def is_a_difference(self) -> bool:
        """Whether the pair loss is a constant plus G(x_l) - G(x_w), G strictly increasing in x = log pi or log u."""
        parts = list(self.parts or ())
        if any(part.reads_data for part in parts):  # G would be another one for each pair
            return False
        if len(parts) != 2 or {slot for part in parts for slot in _slots(part)} != set(SLOTS):
            return False
        first, second = parts if _slots(parts[0]) == {"w"} else parts[::-1]
        if _slots(first) != {"w"} or _slots(second) != {"l"} or not self.wants_the_loser_lower:
            return False
        flipped = type(first.psi) is type(second.psi) is Sigmoid and _opposite(first, second, turned=True)
        return flipped or (_same_psi(first.psi, second.psi) and _opposite(first, second, turned=False))


def _is_continuous(atom: Atom) -> bool:
    """Whether it is a continuous function of a probability, 0 and 1 included: others may be infinite at 1."""
    if type(atom) is Linked and type(atom.divergence) not in DIVERGENCES.values():
        return False
    return type(atom) in (Linked, Powered) and finite_at_zero(atom)


def _slots(part: Part) -> set[str]:
    return {atom.slot for _, atom in part.atoms}


def _same_psi(first: Psi, second: Psi) -> bool:
    own = (type(first), *(getattr(first, f.name) for f in dataclasses.fields(first)))
    other = (type(second), *(getattr(second, f.name) for f in dataclasses.fields(second)))
    return len(own) == len(other) and all(_alike(a, b) for a, b in zip(own, other, strict=True))


def _alike(a: Any, b: Any) -> bool:
    """Whether two parameters are one: the same object, or equal numbers."""
    return a is b or (isinstance(a, int | float) and isinstance(b, int | float) and a == b)


def _opposite(first: Part, second: Part, turned: bool) -> bool:
    """Whether a winner's and a loser's term differ in nothing but the slot, and in the sign of the statistic (turned)
    or of the weight."""
    sign = -1.0 if turned else 1.0
    atoms = {dataclasses.replace(atom, slot="l"): sign * c for c, atom in first.atoms}
    same_atoms = atoms == {atom: c for c, atom in second.atoms}
    weights = (first.weight, second.weight)
    matched = _alike(*weights) if turned else _negated(*weights)
    return (
        same_atoms
        and matched
        and _alike(first.scale, second.scale)
        and all((_negated if turned else _alike)(a, b) for a, b in zip(first.shifts, second.shifts, strict=True))
    )


def _negated(a: Any, b: Any) -> bool:
    return isinstance(a, int | float) and isinstance(b, int | float) and a == -b
