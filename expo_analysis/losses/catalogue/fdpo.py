"""f-DPO, and chi-PO, which is f-DPO with a divergence of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...divergences import Divergence, resolve_divergence
from ..base import PairObjective
from ..psi import Logistic
from ..statistics import linked
from ..terms import Sum


@dataclass(frozen=True)
class FDPO(PairObjective):
    r"""f-DPO: -log sigma(lam [f'(u_w) - f'(u_l)]), u = pi/pi_ref; reverse KL gives DPO back.

    ``divergence`` is ``"jensen_shannon"``, ``"forward_kl"``, ``"reverse_kl"``, ``"alpha"`` (with ``alpha`` > 0),
    ``"chi_square"``, or a `Divergence`.

    Population optimum when f'(0+) = -inf and the pairs are connected: that of `RLHF` with D_f. With
    chi-square the two can part, as RLHF's optimum may lie on the boundary of the simplex.

    Source: Wang et al. 2023 (arXiv 2309.16240), theorem 1 and table 1.
    """

    divergence: str | Divergence = "jensen_shannon"
    alpha: float | None = None
    name: ClassVar[str] = "fdpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve_divergence(self.divergence, self.alpha)  # bad options are refused now

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * linked(resolve_divergence(self.divergence, self.alpha)))


@dataclass(frozen=True)
class ChiPO(PairObjective):
    r"""chi-PO: -log sigma(lam [phi(u_w) - phi(u_l)]), phi(u) = u + log u, u = pi/pi_ref.

    f-DPO with KL plus half of chi-square, which punishes large ratios. The paper clips the margin at +-2 R_max, R_max a
    bound on the reward; where rewards keep to that bound the clip does not move the population's optimum, and it is
    left out here, because it would make psi flat where a pair is ranked badly.

    Population optimum (connected pairs): `RLHF` with ``divergence="mixed_chi_square"``.

    Source: Huang et al. 2024 (arXiv 2407.13399), algorithm 1.
    """

    name: ClassVar[str] = "chi_po"

    @property
    def terms(self) -> Sum:
        return FDPO(self.lam, divergence="mixed_chi_square").terms
