r"""Preferences fitted to a mixture of pi*'s and the reference's own: the regression forms of EXPO. [ours]

The loss of a pair is a sum over k, with weights w_k(lam) > 0, of (sigma(h) - t_k)^2, or of the cross-entropies -t_k log
sigma(h) - (1-t_k) log sigma(-h); h = log pi_w/pi_l, and there is no divergence. Targets t_k read lam and the
reference's preference s_wl = sigma(log pi_ref,w/pi_ref,l) alone, and with W = sum_k w_k

    sum_k w_k t_k / W = a(lam) + b(lam) s_wl,  a > 0, b > 0, a + b = 1.

**One target.** sum_k w_k (x - t_k)^2 is W (x - sum_k w_k t_k/W)^2 and a constant, and cross-entropies are straight
lines in t. Of a pair that i wins with p_ij the two directions add up in the same way: the target of the other one, of
sigma(-h), is a + b (1 - s_ij), so that x = sigma(h_ij) is fitted, with the weight W, to

    m_ij = p_ij (a + b s_ij) + (1 - p_ij)(1 - a - b (1 - s_ij)) = a p_ij + b s_ij,

by D(x, m) = (x - m)^2, or D = KL(m || x), and a constant. D >= 0, and D = 0 at x = m alone. As 0 < m < 1, optima exist
on all data (`existence`, gaps close). Comparisons are connected, and p_ij = sigma(log pi*_i/pi*_j).

**pi_ref = pi*** means s = p, hence m = p at every lam. All D are 0 at pi*, and only where all h_ij are those of pi*,
hence at pi* alone: it is the one optimum. Each pair's loss is smooth and least there, so that the gradient is 0.

**lam -> 0, where a -> 1.** For an optimum pi_lam the sum of q_ij D(sigma(h_ij), m_ij) is at most that of pi*, of q_ij
D(p_ij, m_ij), which tends to 0 as m_ij -> p_ij, in (0, 1). So every compared pair has D -> 0, hence sigma(h_ij) - m_ij
-> 0, h_ij -> log pi*_i/pi*_j, and pi_lam -> pi*. (With `margins`: a limit that is pi* is no point mass.)

**lam -> infinity, where b -> 1**: the same, with s for p and pi_ref for pi*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from ..._symbols import Symbol
from ...losses.data import Data
from ...losses.psi import Logistic, Psi, SquaredSigmoid
from ...losses.statistics import h, is_number
from ...losses.terms import Term
from ...numerics import sigmoid
from ..verdict import HOLDS
from .formula import Formula
from .given import ForAllValues
from .in_lambda import InLambda, of_lambda
from .parts import SAME, TRIED, parts_of, probes
from .rule import Conclusion, Known, Rule

NOTHING, ONE = InLambda.of_number(0.0), InLambda.of_number(1.0)


@dataclass(frozen=True, eq=False)
class OfReference(ForAllValues):
    """A number that is read off the reference, at all references at once. What is followed no further raises."""

    text: str = "x"

    def _not_followed(self, *others: Any) -> Any:
        raise TypeError("what is made of data is not followed")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _not_followed
    __neg__ = __abs__ = __pow__ = _not_followed
    __array_ufunc__ = None  # type: ignore[assignment]  # numpy's numbers leave arithmetic to the methods above

    def of(self, function: str) -> Symbol:
        raise TypeError(f"{function} of data is not followed")

    def mapped(self, function: Callable[..., Any]) -> Symbol:
        raise TypeError("a function of data is not followed")


@dataclass(frozen=True, eq=False)
class LogProbability(OfReference):
    """winner log pi_ref,w + loser log pi_ref,l."""

    winner: int = 0
    loser: int = 0

    def __neg__(self) -> LogProbability:
        return replace(self, winner=-self.winner, loser=-self.loser)

    def __sub__(self, other: Any) -> Any:
        if not isinstance(other, LogProbability):
            return self._not_followed(other)
        return replace(self, winner=self.winner - other.winner, loser=self.loser - other.loser)

    def mapped(self, function: Callable[..., Any]) -> Share:
        if not any(function is known for known in (sigmoid, expit)) or (self.winner, self.loser) not in SHARES:
            raise TypeError("a function of the reference that is not its preference is not followed")
        return SHARES[self.winner, self.loser]


@dataclass(frozen=True, eq=False)
class Share(OfReference):
    """own + reference s, s the preference of the reference for the winner."""

    own: InLambda = NOTHING
    reference: InLambda = NOTHING

    def __add__(self, other: Any) -> Any:
        theirs = other if isinstance(other, Share) else Share(own=of_lambda(other))
        return Share(own=self.own + theirs.own, reference=self.reference + theirs.reference)

    def __mul__(self, other: Any) -> Any:
        factor = of_lambda(other)
        return Share(own=self.own * factor, reference=self.reference * factor)

    def __neg__(self) -> Share:
        return self * -1.0

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        return self * (1 / of_lambda(other))

    __radd__, __rmul__ = __add__, __mul__


SHARES = {(1, -1): Share(reference=ONE), (-1, 1): Share(own=ONE, reference=-ONE)}
"""sigma of log pi_ref,w/pi_ref,l, and of its negative, which is 1 minus it."""

REFERENCE = {"ref_logp_w": LogProbability(winner=1), "ref_logp_l": LogProbability(loser=1)}
FITS: dict[type[Psi], tuple[str, str]] = {SquaredSigmoid: ("target", "miss"), Logistic: ("kept", "flipped")}
"""The target and 1 minus it, as psis call them."""


class Mixture(NamedTuple):
    """a, the weight of pi*'s own preferences, and b, that of the reference's."""

    own: InLambda
    reference: InLambda


def mixture_of(formula: Formula) -> Mixture | None:
    """a and b of the module's docstring; None where the loss is none of these."""
    if formula.symbolic is None or formula.regulariser is not None or formula.derives or formula.is_reward_objective:
        return None
    terms = formula.symbolic[0]
    kinds = {type(term.psi) for term in terms}
    if len(kinds) != 1 or not kinds <= set(FITS) or not all(map(_is_of_log_ratio, terms)):
        return None
    try:
        weights = [of_lambda(term.weight) for term in terms]
        target, miss = (_mean([_read(term.psi, k) for term in terms], weights) for k in (0, 1))
        whole = target + miss
        exact = whole.own.constant == 1.0 and whole.reference.constant == 0.0
        shares = target.own.sign > 0 and target.reference.sign > 0 and (target.own + target.reference).constant == 1.0
        sound = exact and shares and all(weight.sign > 0 for weight in weights)
        found = Mixture(target.own, target.reference)
        return found if sound and all(_numbers_agree(formula, found, kinds, lam) for lam in TRIED) else None
    except Exception:  # somebody's code may do anything with lambda, and with data
        return None


def _is_of_log_ratio(term: Term) -> bool:
    statistic = term.statistic
    plain = is_number(statistic.scale, 1) and is_number(statistic.centre, 0) and is_number(statistic.offset, 0)
    return plain and statistic.base == h.base


def _read(psi: Psi, place: int) -> Share:
    """A target of a psi (place 0), or 1 minus it (place 1), at all references."""
    value = getattr(psi, FITS[type(psi)][place])
    found = value(REFERENCE) if isinstance(value, Data) else value
    return found if isinstance(found, Share) else Share(own=of_lambda(found))


def _mean(targets: list[Share], weights: list[InLambda]) -> Share:
    total = sum((weight * ONE for weight in weights), NOTHING)
    return sum((target * weight for target, weight in zip(targets, weights, strict=True)), Share()) / total


def _numbers_agree(formula: Formula, mixture: Mixture, kinds: set[type[Psi]], lam: float) -> bool:
    """Whether numbers in the place of symbols give the same: code may ask what kind of a thing it is given."""
    if getattr(formula.objective.with_lam(lam), "regulariser", None) is not None:
        return False
    own, reference = (share.at(lam) for share in mixture)
    for datum, parts in zip(probes(), parts_of(formula.terms_at(lam), probes()), strict=True):
        plain = all(part.offset.constant == 0 and _is_ratio(part.coefficients) for part in parts)
        weights = np.array([part.weight.constant for part in parts])
        if not plain or {type(part.psi) for part in parts} != kinds or not (weights > 0).all():
            return False
        preference = float(expit(datum["ref_logp_w"] - datum["ref_logp_l"]))
        asked = own + reference * preference, reference * (1 - preference)
        fitted = np.array([[getattr(part.psi, name) for name in FITS[type(part.psi)]] for part in parts])
        if not np.allclose(weights @ fitted / weights.sum(), asked, rtol=SAME, atol=0.0):
            return False
    return True


def _is_ratio(coefficients: Any) -> bool:
    return frozenset((c.constant, atom) for c, atom in coefficients) == h.base


def _preserves(summary: str) -> Callable[[Known], Conclusion | None]:
    return lambda known: None if mixture_of(known.formula) is None else Conclusion(HOLDS, summary)


def _strong(known: Known) -> Conclusion | None:
    mixture = mixture_of(known.formula)
    return Conclusion(HOLDS, "as λ → 0 the optimum tends to π*") if _is_1(mixture and mixture.own, "zero") else None


def _reference(known: Known) -> Conclusion | None:
    mixture = mixture_of(known.formula)
    tends = _is_1(mixture and mixture.reference, "infinity")
    return Conclusion(HOLDS, "as λ → ∞ the optimum tends to π_ref") if tends else None


def _is_1(share: InLambda | None, end: str) -> bool:
    limit = None if share is None else share.limit(end)
    return limit is not None and limit.constant == 1.0


NAME = "a_mixture_is_fitted"

RULES = (
    Rule(
        NAME,
        "reference_limit",
        "Each pair's preference is fitted to a mixture of π*'s and π_ref's, in which π_ref's has all weight as λ → ∞.",
        _reference,
    ),
    Rule(
        NAME,
        "strong_interpolation",
        "Each pair's preference is fitted to a mixture of π*'s and π_ref's, in which π*'s has all weight as λ → 0.",
        _strong,
    ),
    Rule(
        NAME,
        "preservation",
        "Where π_ref = π*, a mixture of their preferences is that of π*, which fits every pair.",
        _preserves("where π_ref = π*, the optimum is π* at every λ"),
    ),
    Rule(
        NAME,
        "first_step",
        "Where π_ref = π*, a mixture of their preferences is that of π*, at which every pair's loss is least.",
        _preserves("the first step stays at a reference that is already π*"),
    ),
)
