"""One term of a loss of pairs at all lambdas at once: what rises and falls in what. See `shapes`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...losses.data import Data, Datum, evaluate
from ...losses.psi import BernoulliKL, Linear, Logistic, Psi, Sigmoid, SquaredSigmoid, TargetKL
from ...losses.statistics import SLOTS, THIRD, Atom, PerToken, Shortfall
from ...losses.terms import Term, bound
from .signs import Sign, sign_of


class Trend(NamedTuple):
    """1 where something never falls, -1 where it never rises, 0 where it is constant; strict: not flat anywhere."""

    way: int
    strict: bool


@dataclass(frozen=True, eq=False)
class Part:
    """One term: psi with its parameters, signs of weight and scale, and the atoms with their coefficients.

    atoms: (coefficient, atom) in slots w and l. shifts: centre and offset of the statistic. reads_data: whether a
    number in it is one of a pair's data.
    """

    psi: Psi
    weight: Any
    scale: Any
    atoms: tuple[tuple[float, Atom], ...]
    shifts: tuple[Any, Any]
    reads_data: bool = False

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


def part_of(term: Term) -> Part:
    datum, statistic = _any_datum(), term.statistic
    atoms: dict[Atom, float] = {}
    size = max((abs(c) for c, _ in statistic.parts if isinstance(c, int | float)), default=0.0)
    for c, atom in statistic.parts:
        if not isinstance(c, int | float):
            raise TypeError("coefficients that depend on lambda are not read")
        plain = atom.atom if isinstance(atom, PerToken) else atom
        one = dataclasses.replace(plain, slot="w" if plain.slot == THIRD else plain.slot)
        atoms[one] = atoms.get(one, 0.0) + c
    kept = tuple((c, atom) for atom, c in atoms.items() if abs(c) > 1e-15 * size)
    weight, scale = (_evaluated(x, datum) for x in (term.weight, statistic.scale))
    shifts = (statistic.centre, statistic.offset)
    reads = bool(term.psi.reads) or any(isinstance(x, Data) for x in (term.weight, statistic.scale, *shifts))
    return Part(bound(term.psi, datum), weight, scale, kept, shifts, reads)


def fits(part: Part, numeric: Part) -> bool:
    """Whether a term that was made with a number for lambda has all signs that are known of it."""
    if type(part.psi) is not type(numeric.psi) or part.atoms != numeric.atoms:
        return False
    known, found = (_signs(one) for one in (part, numeric))
    return all(a is None or a == b for a, b in zip(known, found, strict=True))


def _signs(part: Part) -> list[Any]:
    """Of weight, scale and slopes, and whether psi is convex and bounded; None where that is not known."""
    found: list[Any] = [part.weighs, sign_of(part.scale)]
    for statement in STATEMENTS:
        try:
            found.append(statement(part.psi))
        except Exception:  # that depends on lambda
            found.append(None)
    return found


def _evaluated(value: Any, datum: Datum) -> Any:
    try:
        return evaluate(value, datum)
    except Exception:  # data that are not here
        return Sign(None)


def _any_datum() -> dict[str, Any]:
    """Signs of a pair's data, all that is known of them: log-probabilities are negative, responses of one token."""
    logs = {f"{kind}_{slot}": Sign(-1) for kind in ("logp", "ref_logp") for slot in (*SLOTS, THIRD)}
    given = {f"{kind}_{slot}": Sign(None) for kind in ("reward", "value", "goal") for slot in SLOTS}
    return {**logs, **given, **{f"length_{slot}": 1.0 for slot in SLOTS}}


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
        # |psi'''| <= M psi'' makes psi'' positive everywhere, or 0 everywhere; a rate may be stated of what is level
        bent = psi.self_concordance is not None and {left, right} in ({0, -1}, {0, 1})
    except Exception:
        return None
    if right in (0, -1):
        return Trend(-1, right == -1 or bent)
    return Trend(1, left == 1 or bent) if left in (0, 1) else None


def well(psi: Psi) -> bool:
    """Whether psi falls up to some finite margin, and rises from some finite margin on, both strictly."""
    if type(psi) in (BernoulliKL, TargetKL):
        return True
    if type(psi) is SquaredSigmoid:
        return sign_of(psi.target) == sign_of(psi.miss) == 1
    if psi.convex and psi.slopes is not None and sign_of(psi.slopes[0]) == -1 and sign_of(psi.slopes[1]) == 1:
        return True
    return psi.well is not None and bool(np.isfinite(np.asarray(psi.well.at, dtype=np.float64)).all())


def end_signs(part: Part) -> tuple[int | None, int | None]:
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


STATEMENTS: tuple[Callable[[Psi], Any], ...] = (
    lambda psi: sign_of(psi.slopes[0]) if psi.slopes else None,
    lambda psi: sign_of(psi.slopes[1]) if psi.slopes else None,
    lambda psi: True if psi.convex else None,
    lambda psi: True if bounded(psi) else None,
)
"""What a psi states of itself that `Part` goes by; None, or an error, where it is not known."""


def bounded(psi: Psi) -> bool:
    if type(psi) is Logistic:
        return sign_of(psi.kept) in (0, 1) and sign_of(psi.flipped) in (0, 1)
    if type(psi) is TargetKL:
        return True
    return psi.lower_bound is not None and bool(np.isfinite(np.asarray(psi.lower_bound, dtype=np.float64)).all())


def held_up(part: Part) -> bool:
    """Whether psi never rises, and its statistic, of log-probabilities alone, has an upper bound: as -log pi."""
    way, scale = trend(part.psi), sign_of(part.scale)
    upwards = all(c > 0 and (atom.plain or isinstance(atom, Shortfall)) for c, atom in part.atoms)
    return way is not None and way.way <= 0 and scale == 1 and upwards


def rises_on_the_left(psi: Psi) -> bool:
    """Whether psi tends to infinity at -inf."""
    return psi.slopes is not None and sign_of(psi.slopes[0]) == -1


def composes(part: Part) -> bool:
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


def bends(part: Part) -> bool:
    """Whether a convex term is strictly convex in the logits, but for their common shift."""
    way, scale = trend(part.psi), sign_of(part.scale)
    return part.total is not None and part.total != 0.0 and scale in (1, -1) and way is not None and way.strict


def of_one_number(parts: Iterable[Part]) -> bool:
    kinds = {antisymmetric(part) for part in parts}
    return len(kinds) == 1 and None not in kinds


def raised_by_shortfall(part: Part) -> bool:
    """Whether psi is convex and a shortfall, if there is one, can but raise it."""
    own, held = trend(part.psi), [c for c, atom in part.atoms if isinstance(atom, Shortfall)]
    falls = own is not None and own.way <= 0 and sign_of(part.scale) == 1 and all(c > 0 for c in held)
    return part.weighs == 1 and part.psi.convex and (falls or not held)


def without_shortfall(part: Part) -> Part:
    kept = tuple((c, atom) for c, atom in part.atoms if not isinstance(atom, Shortfall))
    return dataclasses.replace(part, atoms=kept)


def antisymmetric(part: Part) -> Any:
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


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
