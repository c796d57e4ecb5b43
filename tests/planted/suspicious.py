"""Losses that are not what they seem: by their claims, their gradients, their digits, or by what else they do."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import torch

import expo_analysis as ea
from expo_analysis.divergences import ForwardKL
from expo_analysis.losses import Claims, PairObjective
from expo_analysis.numerics import exp, log_sigmoid

from .expo import NOTHING, Explicit, ScaledKL, convex
from .known import COERCIVE, DPO, EXPO, Planted, answers

# ------------------------------------------------------------------------------------------------------ false convexity


@dataclass(frozen=True)
class Bump(Explicit):
    """EXPO with a well in its preferences, under EXPO's claims."""

    at: float = 25.0
    width: float = 1.0
    depth: float = 30.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        h = logp_w - logp_l
        return -log_sigmoid(h) - self.depth * exp(-(((h - self.at) / self.width) ** 2))


@dataclass(frozen=True)
class Clipped(Explicit):
    """EXPO whose log-ratio is clipped, which makes a concave kink, under EXPO's claims."""

    at: float = 5.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid((logp_w - logp_l).clip(-self.at, self.at))


@dataclass(frozen=True)
class Margin(PairObjective):
    """A psi of lam hbar under DPO's claims; a base for mistakes."""

    def of(self, margin):
        return -log_sigmoid(margin)

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return self.of(self.lam * ((logp_w - ref_logp_w) - (logp_l - ref_logp_l)))

    @property
    def claims(self):
        return convex(self.lam)

    def ratio_slopes(self):
        return -self.lam, 0.0 * self.lam


@dataclass(frozen=True)
class ClippedMargin(Margin):
    """DPO whose margin is clipped: at small lambda a log-ratio of millions."""

    def of(self, margin):
        return -log_sigmoid(margin.clip(-30.0, 30.0))


@dataclass(frozen=True)
class Rippled(Margin):
    """DPO with a ripple, of which is said what is true: that it is one of log-ratios."""

    def of(self, margin):
        return -log_sigmoid(margin) + 1e-3 * (torch.cos(margin) if isinstance(margin, torch.Tensor) else np.cos(margin))

    @property
    def claims(self):
        return Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=True)

    def ratio_slopes(self):
        return None


# ------------------------------------------------------------------------------------------------------------ gradients


class ForgetsLambda(torch.autograd.Function):
    """-(1 + lam)/2 log sigma(h), whose backward is that of -log sigma(h)."""

    @staticmethod
    def forward(ctx, h, lam):
        ctx.save_for_backward(h)
        return -(1 + lam) / 2 * log_sigmoid(h)

    @staticmethod
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return -gradient * torch.sigmoid(-h), None


class OffByLittle(torch.autograd.Function):
    """-log sigma(h), whose backward is wrong by a part of it."""

    @staticmethod
    def forward(ctx, h, part):
        ctx.save_for_backward(h)
        ctx.part = part
        return -log_sigmoid(h)

    @staticmethod
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return -gradient * torch.sigmoid(-h) * (1 + ctx.part), None


@dataclass(frozen=True)
class Backward(Explicit):
    """EXPO with a backward of its own: forgetful, off by little, a clip that goes straight through, or a step."""

    how: str = ""
    size: float = 0.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        h = logp_w - logp_l
        match self.how:
            case "forgets lambda":
                return ForgetsLambda.apply(h, self.lam)
            case "off":
                return OffByLittle.apply(h, self.size)
            case "off within 5":
                return OffByLittle.apply(h, self.size * (h.detach().abs() < 5))
            case "straight through":
                return -log_sigmoid(h + (h.clip(-self.size, self.size) - h).detach())
            case "step":
                return -log_sigmoid(h) + 0.1 * (h > self.size)
        raise AssertionError(self.how)


# --------------------------------------------------------------------------------------------------------------- digits


@dataclass(frozen=True)
class FewDigits(Explicit):
    """EXPO with fewer digits than it is given."""

    how: str = ""
    size: float = 0.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        h = logp_w - logp_l
        match self.how:
            case "cancels":
                return -log_sigmoid((logp_w + self.size) - (logp_l + self.size))
            case "float32 but at 1":
                single = -log_sigmoid(h.float()).double()
                return -log_sigmoid(h) if np.ndim(self.lam) == 0 and self.lam == 1 else single
            case "float32 arguments":
                return -log_sigmoid(logp_w.float().double() - logp_l.float().double())
        raise AssertionError(self.how)


@dataclass(frozen=True)
class TensorLambda(Margin):
    """DPO that makes a tensor of its lambda, in torch's default precision."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        single = np.ndim(self.lam) == 0 and isinstance(logp_w, torch.Tensor)
        lam = torch.tensor(self.lam) if single else self.lam
        return -log_sigmoid(lam * ((logp_w - ref_logp_w) - (logp_l - ref_logp_l)))


@dataclass(frozen=True)
class LittleMass(Explicit):
    """EXPO with ten billionths of the winner's likelihood, said to be one of log-ratios."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) - 1e-10 * logp_w


@dataclass(frozen=True)
class LittleFactor(Explicit):
    """EXPO whose pairs count a little more the more mass they have, said to be one of log-ratios."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) * (1 + 5e-8 * (exp(logp_w) + exp(logp_l)))


# ---------------------------------------------------------------------------------------------------------- other faces


@dataclass(frozen=True)
class OtherArrays(Explicit):
    """EXPO for tensors, and with a margin for arrays."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l - (0.0 if isinstance(logp_w, torch.Tensor) else 0.5))


@dataclass(frozen=True)
class PublicLoss(ea.EXPO):
    """EXPO with a margin, written where users call it."""

    def loss(self, logp_w, logp_l, ref_logp_w=None, ref_logp_l=None, **data):
        return -log_sigmoid(logp_w - logp_l - 0.5)


@dataclass(frozen=True)
class OneLambda(Explicit):
    """EXPO at 7 lam up to a lambda of 10, and at lam beyond, by ``if``."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l)

    @property
    def regulariser(self):
        return ForwardKL() if self.lam > 10 else ScaledKL(7.0)


@dataclass(frozen=True)
class Third(Explicit):
    """EXPO and a pull on what is left of the mass, pi_w + pi_l < 1; ``beside`` keeps it finite where nothing is."""

    beside: float = 1e-3

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) - 0.1 * torch.log(1 - exp(logp_w) - exp(logp_l) + self.beside)

    @property
    def claims(self):
        return NOTHING


@dataclass(frozen=True)
class Hostile(Explicit):
    """EXPO that does what no loss should."""

    how: str = ""

    @property
    def claims(self):
        return NOTHING

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        match self.how:
            case "exits":
                sys.exit(0)
            case "exits above 100":
                if np.max(np.asarray(self.lam)) > 100:
                    sys.exit(0)
            case "interrupts":
                raise KeyboardInterrupt
            case "recursion":
                return self.pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)
            case "memory":
                raise MemoryError
            case "size of the batch":
                return -log_sigmoid(logp_w - logp_l - 0.5 * (math.prod(logp_w.shape) > 1000))
        return -log_sigmoid(logp_w - logp_l)


BROKEN = answers()
"""Nothing: whatever is said of such a loss, it is not to be computed with."""

PLANTED = (
    Planted(
        "suspicious: a well far out",
        Bump(1.0),
        answers("", "preservation strong_interpolation"),
        "where lambda is small, a log-ratio of 25 costs least, whatever pi* is",
        remark="convex = True is false: its slope falls",
        slow=True,
    ),
    Planted(
        "suspicious: clipped",
        Clipped(1.0),
        answers("", "strong_interpolation"),
        "log-ratios beyond 5 count as 5, so that pi* = (.999, .001) goes to 5",
        remark="convex = True is false: its slope falls",
        slow=True,
    ),
    Planted(
        "suspicious: clipped in units of 1/lambda",
        ClippedMargin(1.0),
        answers("existence", "strong_interpolation preservation first_step"),
        "it reads clipped margins alone, of which every limit is attained",
        remark="convex = True is false: its slope falls",
        slow=True,
    ),
    Planted(
        "suspicious: rippled",
        Rippled(1.0),
        answers("", "strong_interpolation preservation first_step uniqueness conservation"),
        "its scores do not depend on lambda, its slope at 0 is not 0, and it reads log-ratios alone",
        decided="first_step preservation",
        slow=True,
    ),
    Planted(
        "suspicious: little mass",
        LittleMass(1.0),
        answers("reference_limit existence", "conservation preservation first_step"),
        "a group's mass is (1e-10 S + lam R)/(1e-10 + lam), S its share of wins, R its mass under pi_ref",
        remark="log_ratio_only = True is false",
        slow=True,
    ),
    Planted(
        "suspicious: little factor",
        LittleFactor(1.0),
        answers("reference_limit existence", "conservation"),
        "pairs cost less the less mass they have",
        remark="log_ratio_only = True is false",
        slow=True,
    ),
    Planted(
        "suspicious: digits cancel",
        FewDigits(1.0, "cancels", 1e6),
        EXPO,
        "it is EXPO, to ten digits",
        remark="only 10 digits .* cancel",
        slow=True,
    ),
    Planted(
        "suspicious: lambda in float32",
        TensorLambda(1.0),
        DPO,
        "it is DPO, at lambdas that are off by a part in ten million",
        decided="preservation first_step",
        remark=r"rounds lambda to float32, as torch\.tensor\(self\.lam\)",
        slow=True,
    ),
    Planted(
        "suspicious: other numbers for arrays",
        OtherArrays(1.0),
        EXPO,
        "it is EXPO, for tensors",
        remark="numpy arrays",
        decided="preservation",
    ),
    Planted(
        "suspicious: if lambda in the regulariser",
        OneLambda(1.0),
        {**EXPO, **COERCIVE},
        "it is EXPO at another lambda",
        remark="regulariser does not accept an array of lambdas",
        decided="preservation existence uniqueness conservation first_step",
        slow=True,
    ),
    Planted(
        "suspicious: reads what is left",
        Third(1.0),
        answers("reference_limit existence", "preservation first_step"),
        "it pulls mass to what is in no pair, and is bounded below",
        decided="first_step",
        slow=True,
    ),
    Planted(
        "suspicious: reads what is left, of two",
        Third(1.0, 0.0),
        answers("", "preservation first_step"),
        "it pulls mass to what is in no pair",
        decided="first_step",
        remark=r"it is (NaN|infinite) where pi_w \+ pi_l = 1",
        slow=True,
    ),
    *(
        Planted(f"suspicious: {name}", objective, known, why, remark=remark)
        for name, objective, known, why, remark in (
            (
                "a backward that forgets lambda",
                Backward(1.0, "forgets lambda"),
                BROKEN,
                "by its values it is EXPO at 2 lam/(1 + lam), by its gradient at lam",
                "lambda = .*gradient.*right at lambda = 1, as from a backward written by hand that forgets lambda",
            ),
            (
                "a clip straight through",
                Backward(1.0, "straight through", 2.0),
                BROKEN,
                "beyond 2 its gradient is not that of its values",
                "gradient.*a clip whose backward goes straight through",
            ),
            (
                "a clip straight through, far out",
                Backward(1.0, "straight through", 20.0),
                BROKEN,
                "beyond 20 its gradient is not that of its values",
                "gradient.*at a log-ratio of -2[0-9]",
            ),
            (
                "a backward off by 5e-5",
                Backward(1.0, "off", 5e-5),
                BROKEN,
                "its gradient is wrong",
                "off by 5e-05|4.9e-05",
            ),
            ("a step", Backward(1.0, "step", 3.3), BROKEN, "it is not continuous", "jump by 0.1 at a log-ratio of 3.3"),
            (
                "float32 but at lambda 1",
                FewDigits(1.0, "float32 but at 1"),
                EXPO,
                "it is EXPO, to seven digits",
                r"float32.*\.float\(\)",
            ),
            (
                "float32 arguments",
                FewDigits(1.0, "float32 arguments"),
                EXPO,
                "it is EXPO, to seven digits",
                r"float32.*\.float\(\)",
            ),
            (
                "the public loss",
                PublicLoss(1.0),
                BROKEN,
                "its loss is another one than its pair_loss",
                "overrides loss",
            ),
            ("exits", Hostile(1.0, "exits"), BROKEN, "it exits", "raises SystemExit: 0"),
            ("interrupts", Hostile(1.0, "interrupts"), BROKEN, "nobody asked for it", "raises KeyboardInterrupt"),
            ("recursion", Hostile(1.0, "recursion"), BROKEN, "it never returns", "raises RecursionError"),
            ("memory", Hostile(1.0, "memory"), BROKEN, "it has none", "raises MemoryError"),
            (
                "size of the batch",
                Hostile(1.0, "size of the batch"),
                BROKEN,
                "it is another loss on many pairs",
                "depends on which other pairs",
            ),
        )
    ),
)
