"""Losses that read a third response beside winner and loser; on plain pairs the third is the winner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number
from ..base import PairObjective
from ..psi import Linear, Logistic
from ..statistics import h, log_pi_t, log_u_l, log_u_t, log_u_w
from ..terms import Sum


@dataclass(frozen=True)
class WRPO(PairObjective):
    r"""Weighted-reward fusion: -log sigma(lam [a log u_t + (1 - a) log u_w - log u_l]).

    The third response t is a source model's best, w and l are the target model's best and worst. Convex in the logits,
    as the coefficients add up to 0. [ours] On plain pairs, or at a = 0, it is `DPO`.

    Args:
        alpha: a, in [0, 1]: 0.1 in the public code, which lets it rise there from 0 during training.

    Source: Yang et al. 2024 (arXiv 2412.03187), in the form of its public code (yangzy39/WRPO).
    """

    alpha: float = 0.1
    name: ClassVar[str] = "wrpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0, 1.0, low_too=True, high_too=True)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * (self.alpha * log_u_t + (1 - self.alpha) * log_u_w - log_u_l))


@dataclass(frozen=True)
class TPO(PairObjective):
    r"""Triple preference optimisation: -log sigma(lam h) - alpha log pi_t, t a gold response, and no reference.

    Args:
        alpha: weight of the gold response's likelihood, > 0.

    TRL's port averages the likelihood over the tokens of a batch. On plain pairs it is `CPO`.

    Source: Saeidi et al. 2024 (arXiv 2405.16681), in the form of TRL's port.
    """

    alpha: float = 1.0
    name: ClassVar[str] = "tpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h) + self.alpha * Linear(-1.0)(log_pi_t)
