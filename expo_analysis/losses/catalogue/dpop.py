"""DPO-positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number
from ..base import PairObjective
from ..psi import Logistic
from ..statistics import hbar, shortfall_w
from ..terms import Sum


@dataclass(frozen=True)
class DPOP(PairObjective):
    r"""DPO-positive: -log sigma(lam [hbar - penalty max(0, log pi_ref,w/pi_w)]).

    DPO with its margin reduced for every winner that is less likely than under the reference.

    Args:
        penalty: > 0, called lambda in the paper, whose experiments use 5 and 50. Without it the loss is `DPO`.

    Convex in the logits: the margin is concave in them, and the loss falls in the margin. It has a kink where
    pi_w = pi_ref,w, and optima like to lie there. [ours]

    Source: Pal et al. 2024, "Smaug" (arXiv 2402.13228), its definition of DPOP, with beta = lam.
    """

    penalty: float = 50.0
    name: ClassVar[str] = "dpop"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("penalty", self.penalty, 0.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * (hbar + self.penalty * shortfall_w))
