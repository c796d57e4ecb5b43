"""Hinge losses: on reference-relative log-ratios (RSO), and on the policy's own, with cross-entropy (SLiC-HF)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number
from ...divergences import Divergence, ForwardKL
from ..base import PairObjective
from ..psi import Hinge as HingePsi
from ..statistics import h, hbar
from ..terms import Sum


@dataclass(frozen=True)
class Hinge(PairObjective):
    r"""max(0, 1 - lam hbar), hbar = log(pi_w/pi_l) - log(pi_ref,w/pi_ref,l): RSO's hinge. TRL: ``"hinge"``.

    SLiC's hinge on DPO's rewards. Piecewise linear in the margins: a minimiser exists for every data set, separable
    ones too, and need not be unique. With two responses it is pi_w/pi_l = pi_ref,w/pi_ref,l exp(1/lam) for the one that
    wins more often, whatever p* is otherwise. [ours]

    Source: Liu et al. 2023, RSO (arXiv 2309.06657), its loss "hinge-norm", with gamma = lam.
    """

    name: ClassVar[str] = "hinge"

    @property
    def terms(self) -> Sum:
        return HingePsi()(self.lam * hbar)


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
    def terms(self) -> Sum:
        return HingePsi(self.margin)(h)

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()
