"""Losses that are broken or claim what is false, and losses written in plain Python."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

import expo_analysis as ea
from expo_analysis.divergences import ForwardKL
from expo_analysis.losses import PairObjective
from expo_analysis.numerics import log_sigmoid

from .dpo import Concave, FalselyBradleyTerry, Margins, TooConcordant, WrongSlopes
from .expo import LOGISTIC, Bare, Explicit, WrongInverse, convex, where
from .known import DPO, EXPO, Planted, answers, but


@dataclass(frozen=True)
class Broken(Bare):
    """EXPO with something wrong; ``how`` says what."""

    how: str = ""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        loss = -log_sigmoid(logp_w - logp_l)
        scalar = np.ndim(self.lam) == 0
        match self.how:
            case "nan":
                return loss * math.nan
            case "nan far out":
                return where(logp_l < -300, math.nan, loss)
            case "nan at large lambda":
                return loss * where(torch.as_tensor(self.lam) > 100, math.nan, 1.0)
            case "raises":
                raise RuntimeError("no such thing")
            case "raises at large lambda":
                if scalar and self.lam > 100:
                    raise ArithmeticError("lambda is too large")
                return loss
            case "raises at small lambda":
                if np.min(np.asarray(self.lam)) < 1e-3:
                    raise ArithmeticError("lambda is too small")
                return loss
            case "shape":
                return loss[..., None]
            case "reduces":
                return loss.mean()
            case "float":
                return 1.0
            case "nothing":
                return None
            case "detached":
                return loss.detach()
            case "rounds":
                return torch.round(loss)
            case "sign":
                return torch.sign(logp_l - logp_w)
            case "random":
                return loss * (1 + 1e-3 * torch.rand(()))
            case "batch":
                return loss - loss.mean()
            case "position":
                return loss * torch.linspace(1, 2, loss.shape[0], dtype=loss.dtype).reshape(-1, *[1] * (loss.ndim - 1))
            case "modifies":
                ref_logp_w += 1.0
                return loss + 0.0 * ref_logp_w
            case "prints":
                print("loss", float(loss.detach().sum()))
                return loss
            case "sleeps":
                time.sleep(0.002)
                return loss
            case "wrong gradient":
                return (2 * loss).detach() - loss.detach() + loss * 0 + (loss - loss.detach()) * 3
            case "backward without lambda":
                factor = (1 + self.lam) / 2
                return loss + ((factor - 1) * loss).detach()
            case "float32":
                return loss.float()
            case "complains":
                raise KeyboardInterrupt if False else ValueError("a\nmessage of\nthree lines")
        raise AssertionError(self.how)


@dataclass(frozen=True)
class FalselyConvexLoss(PairObjective):
    """tanh of a log-ratio, said to be convex."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return torch.tanh(self.lam * (logp_l - logp_w))

    @property
    def claims(self):
        return LOGISTIC


@dataclass(frozen=True)
class FalselyLogRatio(PairObjective):
    """The winner's likelihood beside EXPO's preference term, said to be of log-ratios."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) - logp_w

    @property
    def regulariser(self):
        return ForwardKL()

    @property
    def claims(self):
        return LOGISTIC


@dataclass(frozen=True)
class SecretReader(PairObjective):
    """DPO, said not to read the reference."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l))

    @property
    def claims(self):
        return convex(self.lam, needs_reference=False)


@dataclass(frozen=True)
class UnclaimableClaims(Explicit):
    """EXPO whose claims raise."""

    @property
    def claims(self):
        raise OSError("the claims are in a file that is lost")


@dataclass(frozen=True)
class PlainPython(Explicit):
    """EXPO in Python that takes one lambda only."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        factor = 1.0 if self.lam > 1 else math.exp(0.0 * self.lam)
        return -factor * log_sigmoid(logp_w - logp_l)


@dataclass(frozen=True)
class PlainPythonDPO(Margins):
    """DPO in Python that takes one lambda only."""

    def psi(self, margin):
        return -log_sigmoid((self.lam if self.lam > 1 else math.exp(math.log(self.lam))) * margin)


BROKEN = answers()
"""Nothing: whatever is said of such a loss, it is not to be computed with."""
SLOW = ("raises at small lambda", "nan far out", "nan at large lambda", "prints", "sleeps")


PLANTED = (
    # broken ones
    *(
        Planted(f"broken: {how}", Broken(1.0, how), known, why, remark=remark, slow=how in SLOW)
        for how, known, why, remark in (
            ("nan", BROKEN, "it is no number", "NaN"),
            ("nan far out", EXPO, "it is EXPO wherever it is finite", ""),
            ("nan at large lambda", BROKEN, "it is no number above 100", r"lambda = 1000.*NaN"),
            ("raises", BROKEN, "it raises", "RuntimeError: no such thing"),
            ("raises at large lambda", BROKEN, "it raises above 100", "lambda = 1000.*ArithmeticError"),
            ("raises at small lambda", BROKEN, "it raises below 1e-3", "lambda = 1e-06.*ArithmeticError"),
            ("shape", BROKEN, "one axis too many", "shape"),
            ("reduces", BROKEN, "it takes the mean", "reduces"),
            ("float", BROKEN, "a Python float", "float"),
            ("nothing", BROKEN, "it returns nothing", "NoneType"),
            ("detached", BROKEN, "no gradient", "not differentiable"),
            (
                "rounds",
                answers("", "uniqueness conservation"),
                "it is constant almost everywhere",
                "gradient|differentiable",
            ),
            ("sign", answers("existence"), "it is constant almost everywhere", "gradient|differentiable"),
            ("random", BROKEN, "it is random", "different values"),
            ("batch", BROKEN, "it takes the mean of the batch away", "depends on"),
            ("position", BROKEN, "it counts later pairs more", "depends on"),
            ("modifies", BROKEN, "it changes the reference", "modifies|changes"),
            ("prints", EXPO, "it is EXPO", ""),
            ("sleeps", EXPO, "it is EXPO", ""),
            ("wrong gradient", BROKEN, "its gradient is three times too large", "gradient"),
            ("backward without lambda", BROKEN, "its gradient is wrong unless lambda is 1", r"lambda = .*gradient"),
            ("float32", BROKEN, "it loses half of its digits", "float32|precision|dtype"),
            ("complains", BROKEN, "it raises", "ValueError: a message of three lines"),
        )
    ),
    Planted("claims that raise", UnclaimableClaims(1.0), BROKEN, "its claims raise", remark="OSError"),
    # false claims
    Planted(
        "false: convex",
        FalselyConvexLoss(1.0),
        answers("", "uniqueness conservation existence"),
        "it is made of log-ratios, bounded, and falls all the way",
        remark="convex = True is false",
        slow=True,
    ),
    Planted(
        "false: log_ratio_only",
        FalselyLogRatio(1.0),
        answers("reference_limit existence", "conservation preservation first_step"),
        "the winner's likelihood draws mass from what was never compared",
        remark="log_ratio_only = True is false",
        decided="first_step",
        slow=True,
    ),
    Planted(
        "false: needs_reference",
        SecretReader(1.0),
        DPO,
        "it is DPO",
        remark="needs_reference = False is false",
        decided="first_step preservation",
    ),
    Planted(
        "false: bradley_terry_margin",
        FalselyBradleyTerry(1.0),
        but(DPO, unknown="weak_interpolation constraint_robustness monotone_path"),
        "as DPO with a margin",
        remark="log_odds_scale is false",
        slow=True,
    ),
    Planted("false: psi_slopes", WrongSlopes(1.0), DPO, "it is DPO", remark="slopes = .* is false", slow=True),
    Planted(
        "false: self-concordance",
        TooConcordant(1.0),
        DPO,
        "it is DPO",
        remark="self_concordance = .* is false",
        slow=True,
    ),
    Planted(
        "false: psi convex",
        Concave(1.0),
        answers("", "existence uniqueness conservation first_step"),
        "it has no lower bound",
        remark="psi is convex is false",
        decided="first_step",
        slow=True,
    ),
    Planted(
        "false: inverse of mu",
        ea.FDPO(1.0, divergence=WrongInverse()),
        DPO,
        "mu is the logarithm, so it is DPO",
        remark="false",
        slow=True,
    ),
    # plain Python
    Planted(
        "plain Python",
        PlainPython(1.0),
        EXPO,
        "it is EXPO",
        remark="one lambda at a time",
        decided="first_step",
        slow=True,
    ),
    Planted(
        "plain Python, DPO",
        PlainPythonDPO(1.0),
        DPO,
        "it is DPO",
        remark="one lambda at a time",
        decided="first_step",
        slow=True,
    ),
)
