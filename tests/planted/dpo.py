"""DPO with something changed, and losses of a user's own psi and mu."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import expo_analysis as ea
from expo_analysis.divergences import ForwardKL
from expo_analysis.losses import PairObjective, QuasiconvexObjective
from expo_analysis.numerics import log_sigmoid, namespace

from .expo import NOTHING, convex
from .known import COERCIVE, DPO, IPO, Planted, answers, but


class Margins(QuasiconvexObjective):
    """What is said of a psi with DPO's claims; a base for mistakes."""

    @property
    def psi_self_concordance(self):
        return self.lam

    def psi_slopes(self):
        return -self.lam, 0.0 * self.lam

    @property
    def claims(self):
        return convex(self.psi_self_concordance)


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
        return convex(self.lam, needs_reference=False)


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
        return convex(np.maximum(1.0, np.asarray(self.lam)))


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
    """A subclass of DPO whose psi is another one: the parent's Bradley-Terry margin is not its own."""

    def psi(self, margin):
        return -log_sigmoid(self.lam * margin - 0.5)


@dataclass(frozen=True)
class DirectDPO(ea.DPO):
    """A subclass of DPO that overrides the pair loss, so that psi is no longer what is minimised."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -log_sigmoid(logp_w - logp_l)


# ------------------------------------------------------------------------------------------- own psi and mu


def logistic_psi(margin, lam):
    return -log_sigmoid(lam * margin)


def squared_psi(margin, lam):
    return (margin - 0.5 / lam) ** 2


def log_mu(u):
    return namespace(u).log(u)


def root_mu(u):
    return u**0.5


PLANTED = (
    Planted(
        "DPO as QPO", ea.QPO(1.0, logistic_psi, log_mu), DPO, "it is DPO", decided="preservation first_step", slow=True
    ),
    Planted(
        "IPO as QPO", ea.QPO(1.0, squared_psi, log_mu), IPO, "it is IPO", decided="preservation first_step", slow=True
    ),
    Planted(
        "QPO with a root",
        ea.QPO(1.0, logistic_psi, root_mu),
        answers("reference_limit", "preservation first_step"),
        "psi'(0) is not 0, so no member of the family preserves",
        decided="preservation first_step",
        slow=True,
    ),
    Planted(
        "DPO without lambda",
        NoLambda(1.0),
        answers(
            "consistency",
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
        but(DPO, unknown="reference_limit constraint_robustness"),
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
        slow=True,
    ),
    Planted(
        "DPO + 1e-14 KL without claims",
        BareTinyKL(1.0, 1e14),
        {**COERCIVE, **answers("reference_limit", "preservation first_step strong_interpolation")},
        "any KL(pi_ref || pi) makes it coercive and strictly convex",
        slow=True,
    ),
    Planted(
        "DPO + 1e-14 KL",
        TinyKL(1.0, 1e14),
        {**COERCIVE, **answers("reference_limit", "preservation first_step strong_interpolation")},
        "any KL(pi_ref || pi) makes it coercive and strictly convex",
        slow=True,
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
        decided="preservation first_step",
        slow=True,
    ),
    Planted(
        "subclass of DPO with its own pair loss",
        DirectDPO(1.0),
        answers("strong_interpolation preservation first_step consistency", "weak_interpolation"),
        "its optimum is pi* at every lambda",
        slow=True,
    ),
)
