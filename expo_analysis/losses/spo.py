"""Soft preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .._array import Array
from ..divergences import Divergence, ReverseKL
from .base import check_number
from .dpo import DPO
from .expo import ExplicitObjective


@dataclass(frozen=True)
class SPO(ExplicitObjective):
    r"""Soft preference optimisation: -log sigma(alpha h)/alpha + lam KL(pi || pi_ref), h = log pi_w/pi_l.

    Args:
        alpha: the softness, > 0. At 1 it is `ExplicitPO` with reverse KL. As lam -> 0 the population's optimum tends to
            pi proportional to (pi*)^(1/alpha).

    Source: Sharifnassab et al. 2024 (arXiv 2405.00747), the unweighted loss with its global regulariser.
    """

    alpha: float = 1.0
    name: ClassVar[str] = "spo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0)

    @property
    def regulariser(self) -> Divergence:
        return ReverseKL()

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return DPO(self.alpha).psi(logp_w - logp_l) / self.alpha
