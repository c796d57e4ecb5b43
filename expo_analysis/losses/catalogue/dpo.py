"""DPO and its label-smoothed forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..base import PairObjective, check_number
from ..psi import Logistic
from ..statistics import hbar
from ..terms import Sum


@dataclass(frozen=True)
class DPO(PairObjective):
    r"""Direct preference optimisation: -log sigma(lam hbar), hbar = log(pi_w/pi_l) - log(pi_ref,w/pi_ref,l).

    With ``label_smoothing`` eps in [0, 1/2), the assumed rate of flipped labels:

    * conservative (cDPO): -(1-eps) log sigma(lam hbar) - eps log sigma(-lam hbar);
    * ``robust=True``: [-(1-eps) log sigma(lam hbar) + eps log sigma(-lam hbar)] / (1 - 2 eps), unbiased under flips.

    Population optimum (eps = 0, connected pairs): pi proportional to pi_ref (pi*)^(1/lam).

    Raises:
        ValueError: lam not positive and finite, eps outside [0, 1/2), or ``robust`` without label smoothing.

    Sources: Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; Mitchell 2023, "A note on DPO with noisy preferences";
    Chowdhury et al. 2024 (arXiv 2403.00409), eq. 12.
    """

    label_smoothing: float = 0.0
    robust: bool = False
    name: ClassVar[str] = "dpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("label_smoothing", self.label_smoothing, 0.0, 0.5, low_too=True)
        if not isinstance(self.robust, bool):
            raise TypeError(f"robust must be True or False, got {self.robust!r}")
        if self.robust and self.label_smoothing == 0:
            raise ValueError("robust=True is not used without label_smoothing; give label_smoothing in (0, 0.5)")

    @property
    def terms(self) -> Sum:
        eps = self.label_smoothing
        kept, flipped = ((1 - eps) / (1 - 2 * eps), -eps / (1 - 2 * eps)) if self.robust else (1 - eps, eps)
        return Logistic(kept, flipped)(self.lam * hbar)
