"""Hinge losses: on reference-relative log-ratios (RSO), and on the policy's own, with cross-entropy (SLiC-HF)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._array import Array, namespace
from ..divergences import Divergence, ForwardKL
from .base import Claims, PairObjective, QuasiconvexObjective, check_number


def hinge(x: Array) -> Array:
    """max(0, x), with derivative 0 at its kink."""
    return namespace(x).where(x > 0, x, 0.0 * x)


@dataclass(frozen=True)
class Hinge(QuasiconvexObjective):
    r"""max(0, 1 - lam hbar), hbar = log(pi_w/pi_l) - log(pi_ref,w/pi_ref,l): RSO's hinge. TRL: ``"hinge"``.

    SLiC's hinge on DPO's rewards. Piecewise linear in the margins: a minimiser exists for every data set, separable
    ones too, and need not be unique. With two responses it is pi_w/pi_l = pi_ref,w/pi_ref,l exp(1/lam) for the one that
    wins more often, whatever p* is otherwise. [ours]

    Source: Liu et al. 2023, RSO (arXiv 2309.06657), its loss "hinge-norm", with gamma = lam.
    """

    name: ClassVar[str] = "hinge"

    def psi(self, margin: Array) -> Array:
        return hinge(1 - self.lam * margin)

    def psi_slopes(self) -> tuple[Any, Any]:
        return -self.lam, 0.0 * self.lam

    @property
    def psi_self_concordance(self) -> Any:
        return None

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...]:
        return (-self.lam, 1.0), (0.0 * self.lam, 0.0)

    @property
    def claims(self) -> Claims:
        return Claims(convex=True, closed_form=False, needs_reference=True, log_ratio_only=True)


@dataclass(frozen=True)
class SLiC(PairObjective):
    r"""SLiC-HF: max(0, margin - h) + lam E_{y~pi_ref}[-log pi(y)], h = log pi_w/pi_l.

    The paper's second term is the likelihood of target responses from the supervised policy. Here these are drawn from
    pi_ref, so the term is KL(pi_ref || pi) up to a constant, the regulariser of `EXPO`; and so, as for EXPO, a unique
    minimiser exists for every data set and each component of the comparison graph keeps its mass. [ours]

    Args:
        margin: delta > 0, the log-ratio beyond which a pair is left alone.

    Source: Zhao et al. 2023, SLiC-HF (arXiv 2305.10425), its rank calibration loss.
    """

    margin: float = 1.0
    name: ClassVar[str] = "slic"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("margin", self.margin, 0.0)

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return hinge(self.margin - (logp_w - logp_l))

    @property
    def claims(self) -> Claims:
        return Claims(convex=True, closed_form=False, needs_reference=False, log_ratio_only=True)
