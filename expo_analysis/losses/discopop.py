"""DiscoPOP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .._array import Array, exp, log_sigmoid, sigmoid
from .base import Claims, MarginObjective, check_number


@dataclass(frozen=True)
class DiscoPOP(MarginObjective):
    r"""The log-ratio modulated loss that a language model discovered. TRL: ``"discopop"``.

    (1 - sigma(m/tau)) (-log sigma(m)) + sigma(m/tau) exp(-m),  m = lam hbar: logistic for pairs ranked badly,
    exponential for those ranked well. Not convex in the margin at the paper's tau.

    Args:
        tau: > 0, the width of the change between the two; the paper's is 0.05.

    Source: Lu et al. 2024 (arXiv 2406.08414), eq. 5, with beta = lam.
    """

    tau: float = 0.05
    name: ClassVar[str] = "discopop"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tau", self.tau, 0.0)

    def psi(self, margin: Array) -> Array:
        logits = self.lam * margin
        modulation = logits / self.tau
        # sigma(m/tau) exp(-m) as one exponential: for tau < 1 it is at most 1, though exp(-m) alone overflows
        return -sigmoid(-modulation) * log_sigmoid(logits) + exp(log_sigmoid(modulation) - logits)

    @property
    def claims(self) -> Claims:
        return Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=True)
