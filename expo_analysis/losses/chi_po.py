"""chi-PO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._array import Array, log_sigmoid
from ..divergences import Divergence, MixedChiSquare
from .base import Claims, QuasiconvexObjective


@dataclass(frozen=True)
class ChiPO(QuasiconvexObjective):
    r"""chi-PO: -log sigma(lam [phi(u_w) - phi(u_l)]), phi(u) = u + log u, u = pi/pi_ref.

    f-DPO with KL plus half of chi-square, which punishes large ratios. The paper clips the margin at +-2 R_max, R_max a
    bound on the reward; where rewards keep to that bound the clip does not move the population's optimum, and it is
    left out here, because it would make psi flat where a pair is ranked badly.

    Population optimum (connected pairs): `RLHF` with ``divergence="mixed_chi_square"``.

    Source: Huang et al. 2024 (arXiv 2407.13399), algorithm 1.
    """

    name: ClassVar[str] = "chi_po"

    @property
    def link(self) -> Divergence:
        return MixedChiSquare()

    def psi(self, margin: Array) -> Array:
        return -log_sigmoid(self.lam * margin)

    def psi_slopes(self) -> tuple[Any, Any]:
        return -self.lam, 0.0 * self.lam

    @property
    def psi_self_concordance(self) -> Any:
        return self.lam

    @property
    def bradley_terry_margin(self) -> bool:
        return True

    @property
    def claims(self) -> Claims:
        return Claims(convex=False, closed_form=True, needs_reference=True, log_ratio_only=False)
