"""EXO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .._array import Array, log_sigmoid, sigmoid
from .base import Claims, MarginObjective, check_number


@dataclass(frozen=True)
class EXO(MarginObjective):
    r"""EXO on pairs: the reverse KL((q, 1-q) || (1-eps, eps)), q = sigma(lam hbar). TRL: ``"exo_pair"``.

    Args:
        label_smoothing: eps in (0, 1/2); the paper recommends 1e-3. At 0 the loss would be infinite.

    psi is least where q = 1 - eps and bounded on both sides: quasi-convex, not convex. Where a pair is ranked badly its
    gradient fades. (`EXPO` is another method.)

    Source: Ji et al. 2024 (arXiv 2402.00856), eq. 16, with beta_pi = lam.
    """

    label_smoothing: float = 1e-3
    name: ClassVar[str] = "exo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("label_smoothing", self.label_smoothing, 0.0, 0.5)

    def psi(self, margin: Array) -> Array:
        logits, eps = self.lam * margin, self.label_smoothing
        kept = sigmoid(logits) * (log_sigmoid(logits) - math.log1p(-eps))
        return kept + sigmoid(-logits) * (log_sigmoid(-logits) - math.log(eps))

    @property
    def claims(self) -> Claims:
        return Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=True)
