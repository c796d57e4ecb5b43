"""RLHF: the two-stage objective that the others are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...divergences import Divergence, resolve_divergence
from ..base import RewardObjective


@dataclass(frozen=True)
class RLHF(RewardObjective):
    r"""E_{y~pi}[-r*(y)] + lam D_f(pi || pi_ref), with the Bradley-Terry reward r* = log pi*.

    The default reverse KL has the optimum pi proportional to pi_ref (pi*)^(1/lam). On win counts the reward is the
    Bradley-Terry maximum-likelihood fit, as in RLHF's own first stage.

    Sources: the EXPO paper (arXiv 2506.07492), its RLHF objective; Wang et al. 2023 (arXiv 2309.16240) for D_f.
    """

    divergence: str | Divergence = "reverse_kl"
    alpha: float | None = None
    name: ClassVar[str] = "rlhf"

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve_divergence(self.divergence, self.alpha)  # bad options are refused now

    @property
    def regulariser(self) -> Divergence:
        """The divergence that keeps the policy near the reference."""
        return resolve_divergence(self.divergence, self.alpha)
