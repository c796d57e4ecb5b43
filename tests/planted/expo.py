"""EXPO with its lambda, its regulariser or its preferences changed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import expo_analysis as ea
from expo_analysis.divergences import ForwardKL, ReverseKL
from expo_analysis.losses import Claims, PairObjective
from expo_analysis.numerics import log_sigmoid, namespace

from .known import ALL, COERCIVE, EXPO, Planted, answers, but


def convex(m=None, *, needs_reference=True, log_ratio_only=True):
    """Claims of a loss that is convex, with self-concordance ``m``."""
    return Claims(True, False, needs_reference, log_ratio_only, self_concordance=m)


LOGISTIC = convex(1.0, needs_reference=False)


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


@dataclass(frozen=True)
class SaysBatch(Explicit):
    """EXPO that says it is a loss of batches, of which nothing can be asked."""

    @property
    def claims(self):
        return replace(LOGISTIC, couples_pairs=True)


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
        return convex(needs_reference=False, log_ratio_only=False)


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


PLANTED = (
    # lambda
    Planted("EXPO by a user", Explicit(1.0), EXPO, "it is EXPO", decided=" ".join(set(ALL) - {"monotone_path"})),
    Planted("EXPO without claims", Bare(1.0), EXPO, "it is EXPO", decided="weak_interpolation first_step", slow=True),
    Planted(
        "EXPO that says it couples pairs",
        SaysBatch(1.0),
        EXPO,
        "it is EXPO, and has a risk",
        decided="weak_interpolation first_step",
        remark="couples_pairs = True is false",
        slow=True,
    ),
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
        slow=True,
    ),
    Planted(
        "reverse KL as forward KL",
        RegularisedEXPO(1.0, TurnedKL()),
        answers("reference_limit strong_interpolation preservation first_step", "weak_interpolation conservation"),
        "as reverse KL, whatever its class is",
        remark="false",
        slow=True,
    ),
    Planted(
        "false convexity of a divergence",
        ea.ExplicitPO(1.0, FalselyConvex()),
        answers("reference_limit strong_interpolation preservation first_step", "weak_interpolation conservation"),
        "as reverse KL, whatever it claims",
        remark="convex = True is false",
        slow=True,
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
            "strong_interpolation preservation improvement constraint_robustness first_step consistency",
            "weak_interpolation existence uniqueness conservation",
        ),
        "its optimum on connected pairs is pi* at every lambda",
        decided="strong_interpolation weak_interpolation preservation uniqueness first_step",
    ),
    # preferences
    Planted("EXPO + 1", Constant(1.0), EXPO, "a constant moves no minimiser", decided="preservation existence"),
    Planted("EXPO + 1e8", Constant(1.0, 1e8), EXPO, "a constant moves no minimiser"),
    Planted("EXPO + 1e12", Constant(1.0, 1e12), EXPO, "a constant moves no minimiser"),
    Planted("EXPO + 1e4 without claims", BareConstant(1.0, 1e4), EXPO, "a constant moves no minimiser", slow=True),
    Planted("EXPO + 1e12 without claims", BareConstant(1.0, 1e12), EXPO, "a constant moves no minimiser", slow=True),
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
        slow=True,
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
        slow=True,
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
        slow=True,
    ),
    Planted(
        "wrong for rare responses, under EXPO's claims",
        RareClaimed(1.0),
        answers("reference_limit", "weak_interpolation preservation first_step strong_interpolation"),
        "a pi* with a probability below 1e-3 is left",
        remark="log_ratio_only = True is false",
        slow=True,
    ),
    Planted("EXPO, carelessly written", Careless(1.0), EXPO, "it is EXPO wherever it is finite", slow=True),
)
