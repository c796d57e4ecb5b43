"""Losses written in terms: psis, atoms and data that state what is false, and some that tell the truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis.divergences import ForwardKL
from expo_analysis.numerics import exp, log_sigmoid
from expo_analysis.terms import Atom, Data, Logistic, Psi, Square, Stated, Statistic, Sum, h, hbar

from .known import COERCIVE, DPO, EXPO, Planted, answers, but


@dataclass(frozen=True)
class Written(ea.PairObjective):
    """Terms made of lambda by the function of this number in `FORMULAS`, with or without lam KL(pi_ref || pi)."""

    formula: int
    anchored: bool = False

    name = "written"

    @property
    def terms(self):
        return FORMULAS[self.formula](self.lam)

    @property
    def regulariser(self):
        return ForwardKL() if self.anchored else None


FORMULAS: list[Callable[[Any], Sum]] = []
"""By number, so that a loss is what its repr says, in another process too."""


def written(lam: float, made: Callable[[Any], Sum], anchored: bool = False) -> Written:
    """A loss made of lambda by a function."""
    FORMULAS.append(made)
    return Written(lam, len(FORMULAS) - 1, anchored)


def logistic(m):
    return -log_sigmoid(m)


TRUE = {
    **{"slopes": (-1.0, 0.0), "convex": True, "self_concordance": 1.0, "lower_bound": 0.0},
    **{"decay": (1.0, 1.0), "log_odds_scale": 1.0},
}
"""What is true of -log sigma(m)."""


def claimed(**false: Any) -> Stated:
    """-log sigma with what is true of it, but for some."""
    return Stated(logistic, **{**TRUE, **false})


FALSE_PSIS: dict[str, tuple[Psi, str]] = {
    "M": (claimed(self_concordance=0.5), "self_concordance = 0.5 is false"),
    "M of a square with a kink": (
        Stated(lambda m: (1 - m).clip(min=0) ** 2, slopes=(-math.inf, 0.0), convex=True, self_concordance=0.0),
        "slope of psi is exact|self_concordance = 0 is false",
    ),
    "slopes": (claimed(slopes=(-2.0, 0.0)), r"slopes = \(-2, 0\) is false"),
    "a slope that is finite": (
        Stated(lambda m: m**2, slopes=(-math.inf, 1e3), convex=True),
        r"slopes = \(-inf, 1000\) is false",
    ),
    "a slope that is infinite": (claimed(slopes=(-math.inf, 0.0)), r"slopes = \(-inf, 0\) is false"),
    "convexity": (Stated(lambda m: -log_sigmoid(m) - 3 * exp(-((m - 25) ** 2)), convex=True), "convex is false"),
    "convexity, at a kink": (Stated(lambda m: -log_sigmoid(m.clip(-5, 5)), convex=True), "convex is false"),
    "decay": (claimed(decay=(1.0, 2.0)), "decay = 2 is false"),
    "decay of a power": (
        Stated(lambda m: (1 + m**2) ** 0.5 - m, slopes=(-2.0, 0.0), convex=True, decay=(None, 1.0)),
        "decay = 1 is false",
    ),
    "a straight end": (claimed(decay=(1.0, math.inf)), "decay = inf is false"),
    "log odds": (claimed(log_odds_scale=2.0), "log_odds_scale is false"),
    "log odds of a square": (
        Stated(lambda m: (m - 1) ** 2, convex=True, log_odds_scale=1.0),
        "log_odds_scale is false",
    ),
    "log odds, with a kink far out": (
        Stated(lambda m: -log_sigmoid(m) + 0.1 * (m - 15).clip(min=0), convex=True, log_odds_scale=1.0),
        "log_odds_scale is false",
    ),
    "log odds, with a well far out": (
        Stated(lambda m: -log_sigmoid(m) - 30 * exp(-((m - 25) ** 2)), log_odds_scale=1.0),
        "log_odds_scale is false",
    ),
    "lower bound": (claimed(lower_bound=0.1), "lower_bound = 0.1 is false"),
    "lower bound, none": (Stated(lambda m: -m, lower_bound=0.0), "lower_bound = 0 is false"),
    "pieces": (
        Stated(lambda m: (1 - m).clip(min=0), convex=True, linear_pieces=((-1.0, 2.0), (0.0, 0.0))),
        "linear_pieces is false",
    ),
}
"""A psi with one false statement, and what is to be said of it."""


class WithDerivatives(Logistic):
    """-log sigma whose derivatives are made by hand."""

    def derivatives(self, m):
        first, second = super().derivatives(m)
        return self.by_hand(first, second)

    def by_hand(self, first, second):
        return first, second


class WrongSlope(WithDerivatives):
    def by_hand(self, first, second):
        return -first, second


class WrongBend(WithDerivatives):
    def by_hand(self, first, second):
        return first, 2 * second


class SmallSlope(Logistic):
    def slope_size(self, m):
        return 0.5 * super().slope_size(m)


class Rising(Logistic):
    decreasing, increasing = False, True


class Falling(Square):
    decreasing = True


FALSE_PSIS |= {
    "first derivative": (WrongSlope(), "derivatives that psi states are false"),
    "second derivative": (WrongBend(), "derivatives that psi states are false"),
    "size of the slope": (SmallSlope(), "slope_size is false"),
    "that it rises": (Rising(), "never decreases is false"),
    "that it falls": (Falling(), "never increases is false"),
}


@dataclass(frozen=True)
class Half(Atom):
    """log pi / 2, said to be log pi."""

    def value(self, logp, ref_logp):
        return 0.5 * logp


@dataclass(frozen=True)
class WrongRate(Atom):
    """-(log pi)^2, said to have the slope of log pi."""

    plain = False
    curvature = "unknown"

    def value(self, logp, ref_logp):
        return -(logp**2)


@dataclass(frozen=True)
class FalselyConcave(Atom):
    """pi itself, which is no concave function of the logits."""

    plain = False

    def value(self, logp, ref_logp):
        return exp(logp)

    def derivatives(self, logp, ref_logp):
        return np.exp(logp), np.exp(logp)


@dataclass(frozen=True)
class SecretlyRelative(Atom):
    """log pi plus a number that it remembers of the last pairs: of the reference, as it is given none."""

    def value(self, logp, ref_logp):
        return logp if ref_logp is None else logp - ref_logp


FALSE_ATOMS: dict[str, tuple[Atom, str]] = {
    "that it is log pi": (Half("w"), "that Half is log pi .* is false"),
    "its derivatives": (WrongRate("w"), "the derivatives that WrongRate states are false"),
    "that it is concave": (FalselyConcave("w"), "that FalselyConcave is concave in the logits is false"),
    "that it reads no reference": (SecretlyRelative("w"), "that SecretlyRelative does not read the reference is false"),
}
"""An atom with one false statement, and what is to be said of it."""


def statistic(atom: Atom) -> Statistic:
    """An atom of the winner minus the same of the loser."""
    return Statistic(((1.0, atom), (-1.0, dataclasses.replace(atom, slot="l"))))


FALSE_DATA: dict[str, Data] = {
    "it reads more than it names": Data(lambda d: d["ref_logp_w"] - d["ref_logp_l"], frozenset({"ref_logp_w"})),
    "it reads the policy": Data(lambda d: d["logp_w"] - d["ref_logp_w"], frozenset({"ref_logp_w"})),
    "it says that it reads the policy": Data(lambda d: d["logp_w"], frozenset({"logp_w"})),
}
"""Offsets that are no functions of the reference's log-probabilities that they name."""


@dataclass(frozen=True)
class OtherFormula(Written):
    """Terms beside a formula that is not theirs, whose author repeats what was known of the terms."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l - 0.5)


@dataclass(frozen=True)
class Cancelling(Written):
    """EXPO whose log-ratio loses ten of its digits, and says that it is the sum of its terms."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid((logp_w + 1e6) - (logp_l + 1e6))


def bumped(m):
    return -log_sigmoid(m) - 30 * exp(-((m - 25) ** 2))


def clipped(m):
    return -log_sigmoid(m.clip(-5, 5))


PLANTED = (
    Planted(
        "terms: EXPO", written(1.0, lambda lam: claimed()(h), True), EXPO, "it is EXPO", decided="strong_interpolation"
    ),
    Planted("terms: DPO", written(1.0, lambda lam: claimed()(lam * hbar)), DPO, "it is DPO", decided="existence"),
    Planted(
        "terms: false M",
        written(1.0, lambda lam: claimed(self_concordance=0.1)(h), True),
        EXPO,
        "it is EXPO",
        remark=r"self_concordance = 0\.1 is false",
        slow=True,
    ),
    Planted(
        "terms: false slopes",
        written(1.0, lambda lam: claimed(slopes=(-1.0, 1.0))(lam * hbar)),
        DPO,
        "it is DPO",
        remark=r"slopes = \(-1, 1\) is false",
        slow=True,
    ),
    Planted(
        "terms: false log-odds",
        written(1.0, lambda lam: claimed(log_odds_scale=2.0)(lam * hbar)),
        DPO,
        "it is DPO",
        remark="log_odds_scale is false",
        slow=True,
    ),
    Planted(
        "terms: a bump far out",
        written(1.0, lambda lam: Stated(bumped, **TRUE)(h), True),
        answers("", "preservation strong_interpolation"),
        "where lambda is small, a log-ratio of 25 costs least, whatever pi* is",
        remark="psi is convex is false",
        slow=True,
    ),
    Planted(
        "terms: clipped",
        written(1.0, lambda lam: Stated(clipped, **TRUE)(h), True),
        answers("", "strong_interpolation"),
        "log-ratios beyond 5 count as 5",
        remark="psi is convex is false",
        slow=True,
    ),
    Planted(
        "terms: a formula that is not theirs",
        OtherFormula(1.0, written(1.0, lambda lam: Logistic()(h)).formula, True),
        but(
            {**EXPO, **COERCIVE},
            fails="preservation first_step improvement strong_interpolation",
            unknown="constraint_robustness monotone_path",
        ),
        "it has a margin, of which its terms know nothing",
        slow=True,
    ),
    Planted(
        "terms: a formula that loses digits",
        Cancelling(1.0, written(1.0, lambda lam: Logistic()(h)).formula, True),
        EXPO,
        "it is EXPO, to ten digits",
        slow=True,
    ),
)
