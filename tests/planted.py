"""Losses planted under the report card, with the answers that mathematics gives for them.

An answer is listed only where it is sure; a desideratum that is not listed may be decided either way. Most are `EXPO`,
`DPO` or `IPO` with one thing changed, whose answers follow from those of the loss they were made of.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import expo_analysis as ea
from expo_analysis._array import exp, log_sigmoid, namespace
from expo_analysis.divergences import ForwardKL, ReverseKL
from expo_analysis.losses import Claims, PairObjective, QuasiconvexObjective

HOLDS, FAILS = "holds", "fails"

ALL = list(ea.DESIDERATA)


def answers(holds: str = "", fails: str = "") -> dict[str, str]:
    """Known answers from two lists of desiderata."""
    known = {key: HOLDS for key in holds.split()} | {key: FAILS for key in fails.split()}
    assert set(known) <= set(ALL), set(known) - set(ALL)
    return known


EXPO = answers(
    "reference_limit strong_interpolation preservation improvement existence uniqueness conservation "
    "constraint_robustness first_step consistency",
    "weak_interpolation monotone_path",
)
DPO = answers(
    "reference_limit weak_interpolation consistency",
    "strong_interpolation preservation improvement monotone_path existence uniqueness conservation "
    "constraint_robustness first_step",
)
IPO = answers(
    "reference_limit existence consistency",
    "strong_interpolation weak_interpolation preservation improvement uniqueness conservation first_step",
)
COERCIVE = answers("existence uniqueness conservation consistency")
"""What a convex function of log-ratios plus lam KL(pi_ref || pi) always has."""


def but(known: Mapping[str, str], holds: str = "", fails: str = "", unknown: str = "") -> dict[str, str]:
    """The same answers but for some."""
    return {k: v for k, v in {**known, **answers(holds, fails)}.items() if k not in unknown.split()}


@dataclass(frozen=True)
class Planted:
    """A loss, what is known of it, and one sentence why.

    decided: desiderata that the report card has to decide. remark: what one of its remarks must match.
    """

    name: str
    objective: Any
    known: Mapping[str, str]
    why: str
    decided: str = ""
    remark: str = ""
    effort: float = 0.1

    @property
    def slow(self) -> bool:
        """Whether an audit takes more than some seconds: many local searches, or one lambda at a time."""
        return self.name in SLOW


SLOW = {
    "subclass of DPO with a margin",
    "false: self-concordance",
    "false: inverse of mu",
    "broken: raises at small lambda",
    "squared hinge, of the hinge",
    "EXPO + 1e12 without claims",
    "DPO as DPOP",
    "EXPO without claims",
    "EXPO + 1e4 without claims",
    "reverse KL",
    "reverse KL as forward KL",
    "false convexity of a divergence",
    "wrong for rare responses",
    "wrong for rare responses, under EXPO's claims",
    "EXPO, carelessly written",
    "DPO as QPO",
    "IPO as QPO",
    "QPO with a root",
    "DPO + 1e-6 KL",
    "DPO + 1e-14 KL",
    "DPO + 1e-14 KL without claims",
    "EXPO as SLiC",
    "loser ignored",
    "bounded preferences",
    "broken: nan far out",
    "broken: nan at large lambda",
    "broken: prints",
    "broken: sleeps",
    "false: convex",
    "false: psi convex",
    "false: log_ratio_only",
    "plain Python",
    "plain Python, DPO",
}


LOGISTIC = Claims(convex=True, closed_form=False, needs_reference=False, log_ratio_only=True, self_concordance=1.0)


@dataclass(frozen=True)
class Explicit(PairObjective):
    """EXPO written by a user: -log sigma(h) and lam times forward KL."""

    name = "explicit"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l)

    @property
    def regulariser(self):
        return ForwardKL()

    @property
    def claims(self):
        return LOGISTIC


NOTHING = Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=False)


@dataclass(frozen=True)
class Bare(Explicit):
    """EXPO without claims."""

    @property
    def claims(self):
        return NOTHING


def log1p(lam):
    return torch.log1p(torch.as_tensor(lam)) if isinstance(lam, torch.Tensor) else np.log1p(lam)


def where(condition, x, y):
    return torch.where(torch.as_tensor(condition), torch.as_tensor(x), torch.as_tensor(y))


# ------------------------------------------------------------------------------------------- EXPO, lambda changed


@dataclass(frozen=True)
class SquaredLambda(Explicit):
    """1/lam times EXPO at lam**2."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) / self.lam


@dataclass(frozen=True)
class LogLambda(Explicit):
    """EXPO at log(1 + lam), times a number."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) * (self.lam / log1p(self.lam))


@dataclass(frozen=True)
class BoundedLambda(Explicit):
    """EXPO at lam / (1 + lam), times a number."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) * (1 + self.lam)


@dataclass(frozen=True)
class RaisedLambda(Explicit):
    """EXPO at lam + raised, times a number."""

    raised: float = 0.01

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) * (self.lam / (self.lam + self.raised))


@dataclass(frozen=True)
class Stretched(Explicit):
    """The preference term alone times a constant."""

    factor: float = 1000.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -self.factor * log_sigmoid(logp_w - logp_l)


# ------------------------------------------------------------------------------------------- EXPO, regulariser changed


@dataclass(frozen=True)
class ScaledKL(ForwardKL):
    """Forward KL times a constant."""

    name = "scaled"
    factor: float = 7.0

    def terms(self, log_policy, log_reference):
        return self.factor * super().terms(log_policy, log_reference)


@dataclass(frozen=True)
class MixedKL(ForwardKL):
    """Forward KL from the reference with 0.02 added to every probability."""

    name = "mixed"
    added: float = 0.02

    def terms(self, log_policy, log_reference):
        xp = namespace(log_reference)
        return super().terms(log_policy, xp.log(xp.exp(log_reference) + self.added))


@dataclass(frozen=True)
class MeanKL(ForwardKL):
    """Forward KL averaged over the responses, so that it is not the sum of its terms."""

    name = "mean"

    def __call__(self, log_policy, log_reference):
        return super().__call__(log_policy, log_reference) / log_policy.shape[-1]


@dataclass(frozen=True)
class LargeMixedKL(MixedKL):
    """`MixedKL` for four responses or more, which its terms cannot know."""

    name = "large_mixed"

    def __call__(self, log_policy, log_reference):
        kind = MixedKL if log_policy.shape[-1] >= 4 else ForwardKL
        return kind.__call__(self, log_policy, log_reference)

    def terms(self, log_policy, log_reference):
        large = max(log_policy.shape[0], log_policy.shape[-1]) >= 4
        return (super() if large else ForwardKL()).terms(log_policy, log_reference)


@dataclass(frozen=True)
class TurnedKL(ForwardKL):
    """Reverse KL under forward KL's name, and so with its claims."""

    name = "turned"

    def terms(self, log_policy, log_reference):
        return ReverseKL().terms(log_policy, log_reference)


@dataclass(frozen=True)
class FalselyConvex(ReverseKL):
    """Reverse KL that says that it is convex in the logits."""

    name = "falsely_convex"

    @property
    def convex_in_logits(self):
        return True


@dataclass(frozen=True)
class WrongInverse(ReverseKL):
    """Reverse KL whose inverse is not that of its mu."""

    name = "wrong_inverse"

    def descend(self, log_u, gap):
        return log_u - 2 * gap


@dataclass(frozen=True)
class Regularised(Explicit):
    """-log sigma(h) with a divergence of the test's own; all of them convex."""

    divergence: Any = None

    @property
    def regulariser(self):
        return self.divergence


@dataclass(frozen=True)
class RegularisedEXPO(ea.EXPO):
    """The same as a subclass of EXPO."""

    divergence: Any = None

    @property
    def regulariser(self):
        return self.divergence


@dataclass(frozen=True)
class Unregularised(Explicit):
    """The preference term alone, at every lambda."""

    @property
    def regulariser(self):
        return None


# ------------------------------------------------------------------------------------------- EXPO, preferences changed


@dataclass(frozen=True)
class Constant(Explicit):
    """EXPO plus a constant."""

    constant: float = 1.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l) + self.constant


@dataclass(frozen=True)
class BareConstant(Constant):
    """EXPO plus a constant, without claims."""

    @property
    def claims(self):
        return NOTHING


@dataclass(frozen=True)
class Shifted(Explicit):
    """EXPO with a margin, at lambdas between two bounds."""

    shift: float = 0.5
    above: float = 0.0
    below: float = math.inf

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        inside = (self.lam > self.above) & (self.lam < self.below)
        return -log_sigmoid(logp_w - logp_l - self.shift * inside)


@dataclass(frozen=True)
class ShiftedEXPO(ea.EXPO):
    """The same as a subclass of EXPO, which has a closed form for two responses."""

    shift: float = 0.5
    above: float = 0.0
    below: float = math.inf

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        inside = (self.lam > self.above) & (self.lam < self.below)
        return -log_sigmoid(logp_w - logp_l - self.shift * inside)


@dataclass(frozen=True)
class Rare(Explicit):
    """EXPO that holds losers up once their probability is below 1e-3."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        low = (math.log(1e-3) - logp_l).clip(min=0)
        return -log_sigmoid(logp_w - logp_l) + low**2

    @property
    def claims(self):
        return Claims(convex=True, closed_form=False, needs_reference=False, log_ratio_only=False)


@dataclass(frozen=True)
class RareClaimed(Rare):
    """The same under EXPO's claims, which are false of it."""

    @property
    def claims(self):
        return LOGISTIC


@dataclass(frozen=True)
class Careless(Bare):
    """EXPO by way of sigma, which underflows far out."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return (
            -torch.log(torch.sigmoid(logp_w - logp_l))
            if isinstance(logp_w, torch.Tensor)
            else np.log1p(np.exp(logp_l - logp_w))
        )


# ------------------------------------------------------------------------------------------- DPO, changed


class Margins(QuasiconvexObjective):
    """What is said of a psi with DPO's claims; a base for mistakes."""

    @property
    def psi_self_concordance(self):
        return self.lam

    def psi_slopes(self):
        return -self.lam, 0.0 * self.lam

    @property
    def claims(self):
        m = self.psi_self_concordance
        return Claims(convex=True, closed_form=False, needs_reference=True, log_ratio_only=True, self_concordance=m)


@dataclass(frozen=True)
class NoLambda(Margins):
    """DPO at lambda 1, whatever lambda is."""

    def psi(self, margin):
        return -log_sigmoid(margin)

    def psi_slopes(self):
        return -1.0 + 0.0 * self.lam, 0.0 * self.lam

    @property
    def psi_self_concordance(self):
        return 1.0


@dataclass(frozen=True)
class NoReference(PairObjective):
    """DPO without the reference."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(self.lam * (logp_w - logp_l))

    @property
    def claims(self):
        return Claims(
            convex=True, closed_form=False, needs_reference=False, log_ratio_only=True, self_concordance=self.lam
        )


@dataclass(frozen=True)
class Swapped(Margins):
    """DPO with winner and loser exchanged."""

    def psi(self, margin):
        return -log_sigmoid(-self.lam * margin)

    def psi_slopes(self):
        return 0.0 * self.lam, self.lam


@dataclass(frozen=True)
class WithMargin(Margins):
    """DPO with a target margin."""

    gamma: float = 0.5

    def psi(self, margin):
        return -log_sigmoid(self.lam * margin - self.gamma)


@dataclass(frozen=True)
class FalselyBradleyTerry(WithMargin):
    """The same, said to have Bradley-Terry margins."""

    @property
    def bradley_terry_margin(self):
        return True


@dataclass(frozen=True)
class WrongSlopes(Margins):
    """DPO whose psi is said to grow on both sides."""

    def psi(self, margin):
        return -log_sigmoid(self.lam * margin)

    def psi_slopes(self):
        return -self.lam, self.lam


@dataclass(frozen=True)
class TooConcordant(Margins):
    """DPO with a tenth of its self-concordance."""

    def psi(self, margin):
        return -log_sigmoid(self.lam * margin)

    @property
    def psi_self_concordance(self):
        return 0.1 * self.lam


@dataclass(frozen=True)
class Concave(Margins):
    """log sigma(-lam hbar), whose psi is concave and has no lower bound."""

    def psi(self, margin):
        return log_sigmoid(-self.lam * margin)


@dataclass(frozen=True)
class TinyKL(PairObjective):
    """DPO plus a tiny forward KL, both times a large number."""

    large: float = 1e6

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -self.large * log_sigmoid(self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l))

    @property
    def regulariser(self):
        return ForwardKL()

    @property
    def claims(self):
        one = np.maximum(1.0, np.asarray(self.lam))
        return Claims(convex=True, closed_form=False, needs_reference=True, log_ratio_only=True, self_concordance=one)


@dataclass(frozen=True)
class BareTinyKL(TinyKL):
    """The same without claims."""

    @property
    def claims(self):
        return NOTHING


@dataclass(frozen=True)
class Both(TinyKL):
    """EXPO plus DPO."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        h = logp_w - logp_l
        return -log_sigmoid(h) - log_sigmoid(self.lam * (h - ref_logp_w + ref_logp_l))


@dataclass(frozen=True)
class SubclassedDPO(ea.DPO):
    """A subclass of DPO whose psi is another one, while the parent's Bradley-Terry margin is inherited."""

    def psi(self, margin):
        return -log_sigmoid(self.lam * margin - 0.5)


@dataclass(frozen=True)
class DirectDPO(ea.DPO):
    """A subclass of DPO that overrides the pair loss, so that psi is no longer what is minimised."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l)


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

    def psi(self, margin):
        inside = (self.lam > self.above) & (self.lam < self.below)
        return (margin - 0.5 / self.lam - self.shift * inside) ** 2


@dataclass(frozen=True)
class TargetlessIPO(ea.IPO):
    """A subclass of IPO whose target is 0 at lambdas below a bound."""

    below: float = 0.05

    def psi(self, margin):
        return (margin - 0.5 / self.lam * (self.lam >= self.below)) ** 2


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
    """A subclass of the hinge with a square, while the parent's straight lines are inherited."""

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
        return Claims(
            convex=True, closed_form=False, needs_reference=True, log_ratio_only=True, self_concordance=self.lam
        )


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


# ------------------------------------------------------------------------------------------- own psi and mu


def logistic_psi(margin, lam):
    return -log_sigmoid(lam * margin)


def squared_psi(margin, lam):
    return (margin - 0.5 / lam) ** 2


def log_mu(u):
    return namespace(u).log(u)


def root_mu(u):
    return u**0.5


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


# ------------------------------------------------------------------------------------------- broken ones


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
        return Claims(
            convex=True, closed_form=False, needs_reference=False, log_ratio_only=True, self_concordance=self.lam
        )


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
UNKNOWN = answers()

PLANTED: tuple[Planted, ...] = (
    # lambda
    Planted("EXPO by a user", Explicit(1.0), EXPO, "it is EXPO", decided=" ".join(set(ALL) - {"monotone_path"})),
    Planted("EXPO without claims", Bare(1.0), EXPO, "it is EXPO", decided="weak_interpolation first_step"),
    Planted(
        "lambda squared",
        SquaredLambda(1.0),
        EXPO,
        "its optima are EXPO's at lam**2",
        decided="reference_limit strong_interpolation weak_interpolation preservation existence uniqueness "
        "conservation",
    ),
    Planted("log of lambda", LogLambda(1.0), EXPO, "its optima are EXPO's at log(1 + lam), which is unbounded"),
    Planted(
        "bounded lambda",
        BoundedLambda(1.0),
        but(EXPO, fails="reference_limit"),
        "lam / (1 + lam) never exceeds 1, and EXPO at 1 is not the reference",
        decided="reference_limit strong_interpolation preservation",
    ),
    Planted(
        "lambda raised by 0.01",
        RaisedLambda(1.0),
        but(EXPO, fails="strong_interpolation"),
        "it tends to EXPO at 0.01",
        decided="strong_interpolation reference_limit preservation",
    ),
    Planted(
        "lambda raised by 1e-7",
        RaisedLambda(1.0, 1e-7),
        but(EXPO, fails="strong_interpolation"),
        "it tends to EXPO at 1e-7, which is not pi*",
    ),
    Planted("preferences times 1000", Stretched(1.0), EXPO, "its optima are EXPO's at lam / 1000", "preservation"),
    # regulariser
    Planted(
        "KL times 7",
        Regularised(1.0, ScaledKL()),
        EXPO,
        "its optima are EXPO's at 7 lam",
        decided="reference_limit strong_interpolation preservation existence uniqueness conservation",
    ),
    Planted(
        "KL times 7, of EXPO",
        RegularisedEXPO(1.0, ScaledKL()),
        EXPO,
        "its optima are EXPO's at 7 lam",
        decided="reference_limit strong_interpolation",
    ),
    Planted(
        "mean for sum",
        Regularised(1.0, ScaledKL(1 / 3)),
        but(EXPO),
        "its optima are EXPO's at lam / 3",
        decided="preservation",
    ),
    Planted(
        "no sum of its terms", Regularised(1.0, MeanKL()), EXPO, "its optima are EXPO's at lam / n", remark="divergence"
    ),
    Planted(
        "reverse KL",
        ea.ExplicitPO(1.0, "reverse_kl"),
        answers("reference_limit strong_interpolation preservation first_step", "weak_interpolation conservation"),
        "pi* minimises both terms where it is the reference; components get mass by exp(-KL inside them)",
        decided="first_step",
    ),
    Planted(
        "reverse KL as forward KL",
        RegularisedEXPO(1.0, TurnedKL()),
        answers("reference_limit strong_interpolation preservation first_step", "weak_interpolation conservation"),
        "as reverse KL, whatever its class is",
        remark="false",
    ),
    Planted(
        "false convexity of a divergence",
        ea.ExplicitPO(1.0, FalselyConvex()),
        answers("reference_limit strong_interpolation preservation first_step", "weak_interpolation conservation"),
        "as reverse KL, whatever it claims",
        remark="convex = True is false",
    ),
    Planted(
        "mixed reference",
        Regularised(1.0, MixedKL()),
        answers(
            "strong_interpolation existence uniqueness consistency",
            "reference_limit weak_interpolation preservation improvement conservation first_step",
        ),
        "it is pulled to the mixture of the reference with the uniform policy",
        decided="reference_limit preservation first_step improvement conservation",
    ),
    Planted(
        "mixed reference, of EXPO",
        RegularisedEXPO(1.0, MixedKL()),
        answers(
            "strong_interpolation existence uniqueness consistency",
            "reference_limit weak_interpolation preservation improvement conservation first_step",
        ),
        "it is pulled to the mixture of the reference with the uniform policy",
        decided="first_step",
    ),
    Planted(
        "mixed reference from 4 responses on",
        Regularised(1.0, LargeMixedKL()),
        answers("strong_interpolation", "reference_limit weak_interpolation preservation first_step"),
        "with four responses it is pulled to the mixture of the reference with the uniform policy",
        remark="divergence",
    ),
    Planted(
        "without a regulariser",
        Unregularised(1.0),
        answers(
            "strong_interpolation preservation improvement monotone_path constraint_robustness first_step consistency",
            "reference_limit weak_interpolation existence uniqueness conservation",
        ),
        "its optimum on connected pairs is pi* at every lambda",
        decided="reference_limit strong_interpolation weak_interpolation preservation uniqueness first_step",
    ),
    # preferences
    Planted("EXPO + 1", Constant(1.0), EXPO, "a constant moves no minimiser", decided="preservation existence"),
    Planted("EXPO + 1e8", Constant(1.0, 1e8), EXPO, "a constant moves no minimiser"),
    Planted("EXPO + 1e12", Constant(1.0, 1e12), EXPO, "a constant moves no minimiser"),
    Planted("EXPO + 1e4 without claims", BareConstant(1.0, 1e4), EXPO, "a constant moves no minimiser"),
    Planted("EXPO + 1e12 without claims", BareConstant(1.0, 1e12), EXPO, "a constant moves no minimiser"),
    Planted(
        "wrong above 1e3",
        Shifted(1.0, above=1e3),
        but({**EXPO, **COERCIVE}, fails="preservation first_step improvement", unknown="constraint_robustness"),
        "above 1e3 it has a margin that pi* does not meet; near pi* that moves it away",
        decided="preservation first_step strong_interpolation",
    ),
    Planted(
        "wrong below 1e-4",
        Shifted(1.0, below=1e-4),
        but(
            {**EXPO, **COERCIVE},
            fails="preservation first_step improvement strong_interpolation",
            unknown="constraint_robustness",
        ),
        "below 1e-4 it has a margin, and tends to no Bradley-Terry policy",
        decided="strong_interpolation",
    ),
    Planted(
        "wrong above 1e3, of EXPO",
        ShiftedEXPO(1.0, above=1e3),
        but({**EXPO, **COERCIVE}, fails="preservation first_step improvement", unknown="constraint_robustness"),
        "as before; EXPO's closed form for two responses does not apply",
        decided="first_step",
    ),
    Planted(
        "margin of 0.5, of EXPO",
        ShiftedEXPO(1.0),
        but(
            {**EXPO, **COERCIVE},
            fails="preservation first_step improvement strong_interpolation",
            unknown="constraint_robustness monotone_path",
        ),
        "it has a margin; EXPO's closed form for two responses does not apply",
        decided="preservation first_step",
    ),
    Planted(
        "target off by 1e-6",
        Shifted(1.0, 1e-6),
        but(
            {**EXPO, **COERCIVE},
            fails="preservation first_step strong_interpolation",
            unknown="improvement monotone_path",
        ),
        "a margin of 1e-6",
        decided="preservation first_step",
    ),
    Planted(
        "target off by 1e-9",
        Shifted(1.0, 1e-9),
        but(
            {**EXPO, **COERCIVE},
            fails="preservation first_step strong_interpolation",
            unknown="improvement monotone_path",
        ),
        "a margin of 1e-9",
    ),
    Planted(
        "wrong for rare responses",
        Rare(1.0),
        answers("reference_limit", "weak_interpolation preservation first_step strong_interpolation"),
        "a pi* with a probability below 1e-3 is left",
        decided="first_step",
    ),
    Planted(
        "wrong for rare responses, under EXPO's claims",
        RareClaimed(1.0),
        answers("reference_limit", "weak_interpolation preservation first_step strong_interpolation"),
        "a pi* with a probability below 1e-3 is left",
        remark="log_ratio_only = True is false",
    ),
    Planted("EXPO, carelessly written", Careless(1.0), EXPO, "it is EXPO wherever it is finite"),
    # DPO
    Planted(
        "DPO as QPO",
        ea.QPO(1.0, logistic_psi, log_mu),
        DPO,
        "it is DPO",
        decided="preservation first_step",
    ),
    Planted(
        "IPO as QPO",
        ea.QPO(1.0, squared_psi, log_mu),
        IPO,
        "it is IPO",
        decided="preservation first_step",
    ),
    Planted(
        "QPO with a root",
        ea.QPO(1.0, logistic_psi, root_mu),
        answers("reference_limit", "preservation first_step"),
        "psi'(0) is not 0, so no member of the family preserves",
        decided="preservation first_step",
    ),
    Planted(
        "DPO without lambda",
        NoLambda(1.0),
        answers(
            "monotone_path consistency",
            "reference_limit strong_interpolation weak_interpolation preservation improvement existence uniqueness "
            "conservation first_step constraint_robustness",
        ),
        "its optimum is proportional to pi_ref pi* at every lambda",
        decided="reference_limit strong_interpolation weak_interpolation preservation improvement existence uniqueness "
        "conservation first_step",
    ),
    Planted(
        "DPO without its reference",
        NoReference(1.0),
        but(DPO, fails="reference_limit", unknown="constraint_robustness"),
        "its optimum is proportional to pi* to the power 1/lam, and tends to the uniform policy",
        decided="strong_interpolation weak_interpolation preservation",
    ),
    Planted(
        "DPO swapped",
        Swapped(1.0),
        but(DPO, fails="weak_interpolation"),
        "it prefers the loser, and tends to the worst response",
        decided="strong_interpolation weak_interpolation preservation improvement monotone_path",
    ),
    Planted(
        "DPO + 1e-6 KL",
        TinyKL(1.0),
        {
            **COERCIVE,
            **answers("reference_limit weak_interpolation", "preservation first_step strong_interpolation improvement"),
        },
        "any KL(pi_ref || pi) makes it coercive and strictly convex",
        decided="preservation first_step",
    ),
    Planted(
        "DPO + 1e-14 KL without claims",
        BareTinyKL(1.0, 1e14),
        {**COERCIVE, **answers("reference_limit", "preservation first_step strong_interpolation")},
        "any KL(pi_ref || pi) makes it coercive and strictly convex",
    ),
    Planted(
        "DPO + 1e-14 KL",
        TinyKL(1.0, 1e14),
        {**COERCIVE, **answers("reference_limit", "preservation first_step strong_interpolation")},
        "any KL(pi_ref || pi) makes it coercive and strictly convex",
    ),
    Planted(
        "DPO with a margin",
        WithMargin(1.0),
        but(DPO, unknown="weak_interpolation constraint_robustness monotone_path"),
        "its margins are too large, and psi'(0) is not 0",
        decided="preservation first_step existence",
    ),
    Planted(
        "DPO smoothed",
        ea.DPO(1.0, label_smoothing=0.1),
        but(DPO, holds="existence", unknown="weak_interpolation constraint_robustness monotone_path improvement"),
        "psi grows on both sides, so that separable data have a minimiser; psi'(0) is not 0",
        decided="preservation existence uniqueness",
    ),
    Planted(
        "subclass of DPO with a margin",
        SubclassedDPO(1.0),
        but(DPO, unknown="weak_interpolation constraint_robustness monotone_path"),
        "as DPO with a margin; the parent's closed form does not apply",
        remark="bradley_terry_margin = True is false",
        decided="preservation first_step",
    ),
    Planted(
        "subclass of DPO with its own pair loss",
        DirectDPO(1.0),
        answers("strong_interpolation preservation first_step consistency", "reference_limit weak_interpolation"),
        "its optimum is pi* at every lambda",
        remark="to be psi",
    ),
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
    ),
    Planted(
        "squared hinge, of the hinge",
        SubclassedHinge(1.0),
        answers("existence", "strong_interpolation preservation uniqueness conservation first_step"),
        "as the squared hinge; the parent's straight lines do not apply",
        decided="first_step",
        remark="linear_pieces|false",
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
    ),
    Planted("EXPO as SLiC", SmoothSLiC(1.0), EXPO, "it is EXPO; the parent's solver does not apply"),
    Planted("DPO as DPOP", PlainDPOP(1.0), DPO, "it is DPO; the parent's solver does not apply"),
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
    ),
    Planted("bounded preferences", Capped(1.0), answers("reference_limit existence"), "a bounded term against lam KL"),
    # broken ones
    *(
        Planted(f"broken: {how}", Broken(1.0, how), known, why, remark=remark)
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
    ),
    Planted(
        "false: log_ratio_only",
        FalselyLogRatio(1.0),
        answers("reference_limit existence", "conservation preservation first_step"),
        "the winner's likelihood draws mass from what was never compared",
        remark="log_ratio_only = True is false",
        decided="first_step",
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
        remark="bradley_terry_margin = True is false",
    ),
    Planted("false: psi_slopes", WrongSlopes(1.0), DPO, "it is DPO", remark="psi_slopes = .* is false"),
    Planted(
        "false: self-concordance",
        TooConcordant(1.0),
        DPO,
        "it is DPO",
        remark="psi_self_concordance = .* is false",
    ),
    Planted(
        "false: psi convex",
        Concave(1.0),
        answers("", "existence uniqueness conservation first_step"),
        "it has no lower bound",
        remark="psi is convex is false",
        decided="first_step",
    ),
    Planted(
        "false: inverse of mu",
        ea.FDPO(1.0, divergence=WrongInverse()),
        DPO,
        "mu is the logarithm, so it is DPO",
        remark="false",
    ),
    # plain Python
    Planted(
        "plain Python",
        PlainPython(1.0),
        EXPO,
        "it is EXPO",
        remark="one lambda at a time",
        decided="first_step",
    ),
    Planted(
        "plain Python, DPO",
        PlainPythonDPO(1.0),
        DPO,
        "it is DPO",
        remark="one lambda at a time",
        decided="first_step",
    ),
)
