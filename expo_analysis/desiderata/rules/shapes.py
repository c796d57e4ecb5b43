"""The shape of a loss of pairs at all lambdas at once: what rises and falls in what. Premises of theorems.

Terms are made with a `Sign` in the place of lambda. A property is False, or None, where it cannot be told. Responses
are of one token, as those of all problems here, and the third response of a pair is its winner.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...divergences import DIVERGENCES, Alpha, Divergence, ForwardKL
from ...losses import Objective, PairObjective
from ...losses.data import RESPONSE_DATA, Datum, evaluate
from ...losses.psi import BernoulliKL, Exponential, Linear, Logistic, Modulated, Psi, Sigmoid, SquaredSigmoid, TargetKL
from ...losses.statistics import SLOTS, THIRD, Atom, PerToken, Shortfall
from ...losses.terms import Term, bound
from ..falsify.runaway import finite_at_zero
from .signs import Sign, sign_of

APPROACHED = (Exponential, Modulated)
"""Psis that are positive everywhere and tend to 0 at +inf, besides -log sigma."""


class Trend(NamedTuple):
    """1 where something never falls, -1 where it never rises, 0 where it is constant; strict: not flat anywhere."""

    way: int
    strict: bool


@dataclass(frozen=True, eq=False)
class Part:
    """One term: psi with its parameters, signs of weight and scale, and the atoms with their coefficients.

    atoms: (coefficient, atom) in slots w and l. shifts: centre and offset of the statistic.
    """

    psi: Psi
    weight: Any
    scale: Any
    atoms: tuple[tuple[float, Atom], ...]
    shifts: tuple[Any, Any]

    @property
    def weighs(self) -> int | None:
        """The sign of its weight."""
        return sign_of(self.weight)

    def along(self, slot: str) -> Trend | None:
        """How it moves as the log-probability of one slot rises and the other stays; None where that is not told."""
        ways = [_sign(c) for c, atom in self.atoms if atom.slot == slot]
        strict = any(not isinstance(atom, Shortfall) for _, atom in self.atoms if atom.slot == slot)
        return self._composed(ways, strict)

    @property
    def along_win(self) -> Trend | None:
        """How it moves as mass goes from the loser to the winner of a pair."""
        ways = [_sign(c) * (1 if atom.slot == "w" else -1) for c, atom in self.atoms]
        strict = any(not isinstance(atom, Shortfall) for _, atom in self.atoms)
        return self._composed(ways, strict)

    @property
    def along_both(self) -> Trend | None:
        """How it moves as both log-probabilities rise by as much."""
        plain = sum(c for c, atom in self.atoms if atom.plain)
        size = sum(abs(c) for c, atom in self.atoms if atom.plain)
        total = 0.0 if abs(plain) <= 1e-15 * size else plain
        others = [_sign(c) for c, atom in self.atoms if not atom.plain]
        firm = total != 0 or any(not (atom.plain or isinstance(atom, Shortfall)) for _, atom in self.atoms)
        return self._composed([_sign(total), *others], firm)

    def _composed(self, ways: Iterable[int], strict: bool) -> Trend | None:
        found = set(ways) - {0}
        if not found:
            return Trend(0, False)
        own, scale = trend(self.psi), sign_of(self.scale)
        if len(found) > 1 or own is None or scale is None or self.weighs is None:
            return None
        way = found.pop() * own.way * scale * self.weighs
        return Trend(way, way != 0 and strict and own.strict)

    @property
    def total(self) -> float | None:
        """The sum of the coefficients of plain atoms; None beside others."""
        if not all(atom.plain for _, atom in self.atoms):
            return None
        total = sum(c for c, _ in self.atoms)
        return 0.0 if abs(total) <= 1e-15 * sum(abs(c) for c, _ in self.atoms) else total

    @property
    def is_likelihood(self) -> bool:
        """Whether it is a falling straight line in log-probabilities, each with a positive coefficient."""
        falls = isinstance(self.psi, Linear) and sign_of(self.psi.slope) == -1 and sign_of(self.scale) == 1
        return falls and self.weighs == 1 and all(c > 0 and atom.plain for c, atom in self.atoms)

    @property
    def of_log_ratio(self) -> bool:
        """Whether it reads c log pi_w/pi_l and nothing else."""
        return self.total == 0.0 and bool(self.atoms)


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
            return tuple(_part(term) for term in terms.merged)
        except Exception:  # somebody's terms may do anything with lambda
            return None

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
        return self.of_log_ratios or (bool(self.parts) and _of_one_number(self.parts or ()))

    @cached_property
    def only_shortfalls_beside_it(self) -> bool:
        """Whether it is one, with convex psis, but for shortfalls min(log u, 0), which can but raise the loss."""
        return self._all(_raised_by_shortfall) and _of_one_number([_without_shortfall(x) for x in self.parts or ()])

    @cached_property
    def finite_scores(self) -> bool:
        """Whether a margin stays finite where a probability is 0, so that optima may lie on the boundary."""
        return any(finite_at_zero(atom) for part in self.parts or () for _, atom in part.atoms)

    @cached_property
    def finite_everywhere(self) -> bool:
        """Whether all margins are, so that the loss is a continuous function on the closed simplex."""
        return bool(self.parts) and all(finite_at_zero(atom) for part in self.parts or () for _, atom in part.atoms)

    @cached_property
    def bounded_below(self) -> bool:
        return self._all(lambda part: part.weighs in (0, 1) and (_bounded(part.psi) or _held_up(part)))

    @cached_property
    def has_wells(self) -> bool:
        """Whether a loss of log-ratios falls up to some finite log-ratio, and rises from some finite one on: each psi
        does, or all are convex, none falls at the end or rises at the start, and some do the opposite."""
        if self._all(lambda part: part.weighs == 1 and sign_of(part.scale) in (1, -1) and well(part.psi)):
            return True
        if not (self.psis_convex and self.of_log_ratios):
            return False
        ends = [_ends(part) for part in self.parts or ()]
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
        return self.psis_convex and self._all(_composes)

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
        return any(part.weighs == 1 and _bends(part) for part in self.parts or ())

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
        return some and self.psis_convex and (not rest or _of_one_number(rest))

    @cached_property
    def attained_both_ways(self) -> bool:
        """Whether two responses that both win have a minimiser for a loss of log-ratios: it is least somewhere."""
        if not self.of_log_ratios:
            return False
        rises = self._all(lambda part: sign_of(part.scale) in (1, -1)) and any(
            part.weighs == 1 and _rises_on_the_left(part.psi) for part in self.parts or ()
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
        if len(parts) != 2 or {slot for part in parts for slot in _slots(part)} != set(SLOTS):
            return False
        first, second = parts if _slots(parts[0]) == {"w"} else parts[::-1]
        if _slots(first) != {"w"} or _slots(second) != {"l"} or not self.wants_the_loser_lower:
            return False
        flipped = type(first.psi) is type(second.psi) is Sigmoid and _opposite(first, second, turned=True)
        return flipped or (_same_psi(first.psi, second.psi) and _opposite(first, second, turned=False))


def _part(term: Term) -> Part:
    datum, statistic = _ordinary(), term.statistic
    atoms: dict[Atom, float] = {}
    for c, atom in statistic.parts:
        if not isinstance(c, int | float):
            raise TypeError("coefficients that depend on lambda are not read")
        plain = atom.atom if isinstance(atom, PerToken) else atom
        one = dataclasses.replace(plain, slot="w" if plain.slot == THIRD else plain.slot)
        atoms[one] = atoms.get(one, 0.0) + c
    kept = tuple((c, atom) for atom, c in atoms.items() if abs(c) > 1e-15)
    weight, scale = (_evaluated(x, datum) for x in (term.weight, statistic.scale))
    return Part(bound(term.psi, datum), weight, scale, kept, (statistic.centre, statistic.offset))


def _evaluated(value: Any, datum: Datum) -> Any:
    try:
        return evaluate(value, datum)
    except Exception:  # data that are not here
        return Sign(None)


def _ordinary() -> Datum:
    """Data of a few pairs, as `anything` in the facts of losses, but without what underflows."""
    levels = -np.array([1e-2, 0.5, 3.0, 20.0])
    one, other = (x.reshape(-1, 1) for x in np.meshgrid(levels, levels))
    named = {name: one if name.endswith("w") else other for name in (*RESPONSE_DATA, "logp_w", "logp_l")}
    named |= {f"{kind}_{slot}": named[f"reward_{slot}"] for kind in ("value", "goal") for slot in SLOTS}
    named |= {f"length_{slot}": np.ones_like(one) for slot in SLOTS}
    return {**named, "ref_logp_w": other, "ref_logp_l": one, "logp_t": one, "ref_logp_t": other}


def trend(psi: Psi) -> Trend | None:
    """How psi moves over all margins; None where it both rises and falls, or that is not told."""
    if isinstance(psi, Linear):
        sign = sign_of(psi.slope)
        return None if sign is None else Trend(sign, sign != 0)
    if type(psi) is Sigmoid:
        return Trend(1, True)
    try:
        if not (psi.convex and psi.slopes is not None):
            return None
        left, right = (sign_of(x) for x in psi.slopes)
        bent = [rate is not None and 0 < rate < math.inf for rate in psi.decay]
    except Exception:
        return None
    if right in (0, -1):
        return Trend(-1, right == -1 or bent[1])
    return Trend(1, left == 1 or bent[0]) if left in (0, 1) else None


def well(psi: Psi) -> bool:
    """Whether psi falls up to some finite margin, and rises from some finite margin on, both strictly."""
    if type(psi) in (BernoulliKL, TargetKL):
        return True
    if type(psi) is SquaredSigmoid:
        return sign_of(psi.target) == sign_of(psi.miss) == 1
    if psi.convex and psi.slopes is not None and sign_of(psi.slopes[0]) == -1 and sign_of(psi.slopes[1]) == 1:
        return True
    return psi.well is not None and bool(np.isfinite(np.asarray(psi.well.at, dtype=np.float64)).all())


def _ends(part: Part) -> tuple[int | None, int | None]:
    """The signs of a term's slope in the log-ratio far on the left and far on the right; None where not known."""
    way = sum(c for c, atom in part.atoms if atom.slot == "w")
    turn = sign_of(part.scale)
    try:
        slopes = part.psi.slopes
    except Exception:
        return None, None
    if slopes is None or turn is None or part.weighs is None:
        return None, None
    left, right = (sign_of(x) for x in slopes)
    if left is None or right is None:
        return None, None
    turn = turn * _sign(way) * part.weighs
    return (turn * left, turn * right) if turn >= 0 else (turn * right, turn * left)


def _bounded(psi: Psi) -> bool:
    if type(psi) is Logistic:
        return sign_of(psi.kept) in (0, 1) and sign_of(psi.flipped) in (0, 1)
    if type(psi) is TargetKL:
        return True
    return psi.lower_bound is not None and bool(np.isfinite(np.asarray(psi.lower_bound, dtype=np.float64)).all())


def _held_up(part: Part) -> bool:
    """Whether psi never rises, and its statistic, of log-probabilities alone, has an upper bound: as -log pi."""
    way, scale = trend(part.psi), sign_of(part.scale)
    upwards = all(c > 0 and (atom.plain or isinstance(atom, Shortfall)) for c, atom in part.atoms)
    return way is not None and way.way <= 0 and scale == 1 and upwards


def _rises_on_the_left(psi: Psi) -> bool:
    """Whether psi tends to infinity at -inf."""
    return psi.slopes is not None and sign_of(psi.slopes[0]) == -1


def _composes(part: Part) -> bool:
    """Whether a convex psi of the statistic is convex in the logits: `expo_analysis.losses.facts`."""
    if part.total == 0.0:
        return True
    concave = all(atom.curvature == "concave" for _, atom in part.atoms)
    plain = sum(c for c, atom in part.atoms if atom.plain)
    others = [c for c, atom in part.atoms if not atom.plain]
    scale, way = sign_of(part.scale), trend(part.psi)
    if not concave or scale is None or way is None:
        return False
    if plain >= 0 and all(c >= 0 for c in others):
        return way.way * scale <= 0
    return plain <= 0 and all(c <= 0 for c in others) and way.way * scale >= 0


def _bends(part: Part) -> bool:
    """Whether a convex term is strictly convex in the logits, but for their common shift."""
    way, scale = trend(part.psi), sign_of(part.scale)
    return part.total is not None and part.total != 0.0 and scale in (1, -1) and way is not None and way.strict


def _of_one_number(parts: Iterable[Part]) -> bool:
    kinds = {_antisymmetric(part) for part in parts}
    return len(kinds) == 1 and None not in kinds


def _raised_by_shortfall(part: Part) -> bool:
    """Whether psi is convex and a shortfall, if there is one, can but raise it."""
    own, held = trend(part.psi), [c for c, atom in part.atoms if isinstance(atom, Shortfall)]
    falls = own is not None and own.way <= 0 and sign_of(part.scale) == 1 and all(c > 0 for c in held)
    return part.weighs == 1 and part.psi.convex and (falls or not held)


def _without_shortfall(part: Part) -> Part:
    kept = tuple((c, atom) for c, atom in part.atoms if not isinstance(atom, Shortfall))
    return dataclasses.replace(part, atoms=kept)


def _antisymmetric(part: Part) -> Any:
    """What kind of s it reads as c (s(w) - s(l)), c != 0; None for any other."""
    if len(part.atoms) != 2:
        return None
    (one, first), (two, second) = part.atoms
    if one + two != 0 or {first.slot, second.slot} != set(SLOTS):
        return None
    return (
        first
        if dataclasses.replace(second, slot=first.slot) == first and first.slot == "w"
        else (second if dataclasses.replace(first, slot=second.slot) == second else None)
    )


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


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def infinite_at_zero(divergence: Divergence) -> bool:
    """Whether a divergence is infinite where a response that the reference knows has no probability."""
    return type(divergence) is ForwardKL or (type(divergence) is Alpha and divergence.alpha >= 1)
