"""f-DPO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .._array import Array
from ..divergences import Divergence, ReverseKL, resolve_divergence
from .base import Claims, QuasiconvexObjective
from .logistic import Logistic


@dataclass(frozen=True)
class FDPO(QuasiconvexObjective):
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
    def link(self) -> Divergence:
        return resolve_divergence(self.divergence, self.alpha)

    def logistic(self, ref_log_ratio: Array = None) -> Logistic:
        return Logistic(self.lam, relative=True)

    def psi(self, margin: Array) -> Array:
        return self.logistic()(margin)

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
        is_dpo = isinstance(self.link, ReverseKL)
        return Claims(
            convex=is_dpo,
            closed_form=self.link.mu_at_zero == -math.inf,
            needs_reference=True,
            log_ratio_only=is_dpo,
            self_concordance=self.psi_self_concordance if is_dpo else None,
        )
