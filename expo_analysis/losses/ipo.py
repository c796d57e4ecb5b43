"""IPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._array import Array
from .base import Claims, QuasiconvexObjective


@dataclass(frozen=True)
class IPO(QuasiconvexObjective):
    r"""Identity preference optimisation: (hbar - 1/(2 lam))^2, hbar = log(pi_w/pi_l) - log(pi_ref,w/pi_ref,l).

    Optimum: weighted least squares on the comparison graph, a Laplacian solve. On the complete graph with uniform
    pairs log(pi_i/pi_ref,i) = mean_j (2 p*_ij - 1) / (2 lam) + const, the mean over all n responses. [ours]

    Source: Azar et al. 2023 (arXiv 2310.12036), eq. 17, with tau = lam. Whether a sequence's log-probability is a sum
    or a mean over tokens is settled before this loss is called.
    """

    name: ClassVar[str] = "ipo"

    def psi(self, margin: Array) -> Array:
        return (margin - 0.5 / self.lam) ** 2

    def psi_slopes(self) -> tuple[Any, Any]:
        return -np.inf, np.inf

    @property
    def psi_self_concordance(self) -> Any:
        return 0.0

    @property
    def claims(self) -> Claims:
        return Claims(
            convex=True,
            closed_form=True,
            needs_reference=True,
            log_ratio_only=True,
            self_concordance=self.psi_self_concordance,
        )
