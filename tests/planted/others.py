"""IPO and other squares, RLHF, and losses that are flat somewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

import expo_analysis as ea
from expo_analysis.losses import PairObjective
from expo_analysis.numerics import exp, log_sigmoid
from expo_analysis.terms import Square, hbar

from .dpo import Both, Margins
from .expo import Bare, convex
from .known import COERCIVE, DPO, EXPO, IPO, Planted, answers, but

# ------------------------------------------------------------------------------------------- IPO and squares


@dataclass(frozen=True)
class DoubleTarget(Margins):
    """IPO at half of lambda."""

    def psi(self, margin):
        return (margin - 1 / self.lam) ** 2

    def psi_slopes(self):
        return -np.inf, np.inf

    @property
    def psi_self_concordance(self):
        return 0.0


@dataclass(frozen=True)
class ShiftedIPO(ea.IPO):
    """A subclass of IPO with another target, at lambdas between two bounds."""

    shift: float = 1.0
    above: float = 0.0
    below: float = math.inf

    @property
    def terms(self):
        inside = (self.lam > self.above) & (self.lam < self.below)
        return Square()(hbar - (0.5 / self.lam + self.shift * inside))


@dataclass(frozen=True)
class TargetlessIPO(ea.IPO):
    """A subclass of IPO whose target is 0 at lambdas below a bound."""

    below: float = 0.05

    @property
    def terms(self):
        return Square()(hbar - 0.5 / self.lam * (self.lam >= self.below))


@dataclass(frozen=True)
class SquaredHinge(Margins):
    """max(0, 1 - lam hbar)^2."""

    def psi(self, margin):
        return (1 - self.lam * margin).clip(min=0) ** 2

    def psi_slopes(self):
        return -np.inf, 0.0 * self.lam

    @property
    def psi_self_concordance(self):
        return None


@dataclass(frozen=True)
class SubclassedHinge(ea.Hinge):
    """A subclass of the hinge with a square: the parent's straight lines are not its own."""

    def psi(self, margin):
        return (1 - self.lam * margin).clip(min=0) ** 2

    def psi_slopes(self):
        return -np.inf, 0.0 * self.lam


@dataclass(frozen=True)
class Exponential(PairObjective):
    """exp(-lam hbar), the example of CONTRIBUTING.md."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return exp(-self.lam * ((logp_w - ref_logp_w) - (logp_l - ref_logp_l)))

    @property
    def claims(self):
        return convex(self.lam)


@dataclass(frozen=True)
class LabelsOnly(ea.RegressionEXPO):
    """A subclass of the regression form that fits the labels alone, so that its optimum is pi* at every lambda."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return torch.sigmoid(logp_l - logp_w) ** 2


@dataclass(frozen=True)
class SmoothSLiC(ea.SLiC):
    """A subclass of SLiC-HF with EXPO's preference term in the place of the hinge."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l)


@dataclass(frozen=True)
class PlainDPOP(ea.DPOP):
    """A subclass of DPOP without the penalty: DPO."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(self.lam * (logp_w - ref_logp_w - logp_l + ref_logp_l))


@dataclass(frozen=True)
class Unrewarding(ea.RLHF):
    """RLHF that wants the reward to be small."""

    def reward_terms(self, log_policy, reward):
        return -super().reward_terms(log_policy, reward)


# ------------------------------------------------------------------------------------------- flat ones


@dataclass(frozen=True)
class Flat(PairObjective):
    """The same number for every pair."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return 0.0 * (logp_w + logp_l) + 1.0


@dataclass(frozen=True)
class OnlyWinner(PairObjective):
    """-log sigma(lam log u_w): the loser is not read."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(self.lam * (logp_w - ref_logp_w))


@dataclass(frozen=True)
class Capped(Bare):
    """EXPO's preference term, which does not count log-ratios beyond 2: with its lam KL it still has its minimiser."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return torch.tanh((logp_l - logp_w) / 2) if isinstance(logp_w, torch.Tensor) else np.tanh(logp_l - logp_w)


PLANTED = (
    # IPO and squares
    Planted(
        "IPO with twice the target",
        DoubleTarget(1.0),
        IPO,
        "it is IPO at lam / 2",
        decided="reference_limit strong_interpolation preservation existence uniqueness",
    ),
    Planted(
        "subclass of IPO",
        ShiftedIPO(1.0),
        answers(
            "existence consistency",
            "reference_limit strong_interpolation preservation uniqueness conservation first_step",
        ),
        "its target tends to 1 as lambda grows",
        decided="reference_limit preservation",
    ),
    Planted(
        "subclass of IPO, wrong above 30",
        ShiftedIPO(1.0, above=30.0),
        answers("existence consistency", "reference_limit preservation uniqueness conservation first_step"),
        "its target tends to 1 as lambda grows; the parent's closed form does not apply",
        decided="reference_limit",
    ),
    Planted(
        "subclass of IPO, wrong below 0.05",
        TargetlessIPO(1.0),
        answers("existence consistency", "weak_interpolation strong_interpolation uniqueness conservation"),
        "below 0.05 its optimum is the reference",
        decided="weak_interpolation",
    ),
    Planted(
        "hinge",
        ea.Hinge(1.0),
        answers("existence", "strong_interpolation preservation uniqueness conservation first_step"),
        "psi'(0) is not 0, and straight lines attain their minimum",
        decided="first_step preservation",
    ),
    Planted(
        "squared hinge",
        SquaredHinge(1.0),
        answers("existence", "strong_interpolation preservation uniqueness conservation first_step"),
        "psi'(0) is not 0, and from a margin of 1 on the loss is 0",
        decided="preservation first_step uniqueness",
        slow=True,
    ),
    Planted(
        "squared hinge, of the hinge",
        SubclassedHinge(1.0),
        answers("existence", "strong_interpolation preservation uniqueness conservation first_step"),
        "as the squared hinge; the parent's straight lines do not apply",
        decided="first_step",
        slow=True,
    ),
    Planted(
        "exponential",
        Exponential(1.0),
        but(DPO, unknown="constraint_robustness"),
        "on a Bradley-Terry population its optima are DPO's at 2 lam",
        decided="strong_interpolation preservation existence first_step",
    ),
    Planted(
        "EXPO + DPO",
        Both(1.0),
        {
            **COERCIVE,
            **answers("reference_limit strong_interpolation", "weak_interpolation preservation first_step improvement"),
        },
        "DPO's part vanishes as lambda falls, and pulls away from pi* otherwise",
        decided="strong_interpolation preservation first_step uniqueness conservation",
    ),
    Planted(
        "regression without its reference",
        LabelsOnly(1.0),
        answers("strong_interpolation preservation improvement first_step", "reference_limit weak_interpolation"),
        "its optimum is pi* at every lambda; the parent's closed form does not apply",
        decided="reference_limit",
        slow=True,
    ),
    Planted("EXPO as SLiC", SmoothSLiC(1.0), EXPO, "it is EXPO; the parent's solver does not apply", slow=True),
    Planted("DPO as DPOP", PlainDPOP(1.0), DPO, "it is DPO; the parent's solver does not apply", slow=True),
    # RLHF
    Planted(
        "RLHF",
        ea.RLHF(1.0),
        answers(
            "reference_limit weak_interpolation constraint_robustness",
            "strong_interpolation preservation improvement first_step",
        ),
        "pi is proportional to pi_ref pi* to the power 1/lam",
        decided="reference_limit strong_interpolation weak_interpolation preservation",
    ),
    Planted(
        "RLHF with Jensen-Shannon",
        ea.RLHF(1.0, "jensen_shannon"),
        answers(
            "reference_limit weak_interpolation constraint_robustness", "strong_interpolation preservation first_step"
        ),
        "a bounded divergence never outweighs the reward as lambda falls",
        decided="strong_interpolation preservation",
    ),
    Planted(
        "RLHF with chi-square",
        ea.RLHF(1.0, "chi_square"),
        answers("reference_limit weak_interpolation constraint_robustness", "strong_interpolation preservation"),
        "the reward outweighs the divergence as lambda falls",
        decided="preservation",
    ),
    Planted(
        "RLHF the wrong way",
        Unrewarding(1.0),
        answers("reference_limit", "weak_interpolation strong_interpolation preservation"),
        "it tends to the worst response; the parent's closed form does not apply",
        remark="RLHF",
    ),
    # flat ones
    Planted(
        "constant",
        Flat(1.0),
        answers("existence first_step", "uniqueness conservation"),
        "every policy is a minimiser",
        decided="uniqueness first_step",
    ),
    Planted(
        "loser ignored",
        OnlyWinner(1.0),
        answers("", "preservation first_step"),
        "at pi_ref its gradient is that of the shares of wins",
        decided="first_step",
        slow=True,
    ),
    Planted(
        "bounded preferences",
        Capped(1.0),
        answers("reference_limit existence"),
        "a bounded term against lam KL",
        slow=True,
    ),
)
