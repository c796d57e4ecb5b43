"""IPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..base import PairObjective
from ..psi import Square
from ..statistics import hbar
from ..terms import Sum


@dataclass(frozen=True)
class IPO(PairObjective):
    r"""Identity preference optimisation: (hbar - 1/(2 lam))^2, hbar = log(pi_w/pi_l) - log(pi_ref,w/pi_ref,l).

    Optimum: weighted least squares on the comparison graph, a Laplacian solve. On the complete graph with uniform
    pairs log(pi_i/pi_ref,i) = mean_j (2 p*_ij - 1) / (2 lam) + const, the mean over all n responses. [ours]

    Source: Azar et al. 2023 (arXiv 2310.12036), eq. 17, with tau = lam. Whether a sequence's log-probability is a sum
    or a mean over tokens is settled before this loss is called.
    """

    name: ClassVar[str] = "ipo"

    @property
    def terms(self) -> Sum:
        return Square()(hbar - 0.5 / self.lam)
