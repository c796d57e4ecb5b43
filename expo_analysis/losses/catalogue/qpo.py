"""The general quasi-convex family, with the user's own psi and mu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..._types import Array
from ...numerics import cap_exponent, namespace
from ..base import PairObjective


@dataclass(frozen=True)
class QPO(PairObjective):
    r"""Quasi-convex preference optimisation: psi(mu(u_w) - mu(u_l), lam), u = pi/pi_ref.

    Args:
        psi: ``psi(margin, lam)``, elementwise, quasi-convex in the margin.
        mu: ``mu(u)``, elementwise, increasing on u > 0. It is given u itself, which saturates at both ends with room
            to square it and its inverse: at exp(+-338) in float64, exp(+-28) in float32.

    Both must accept torch tensors (and numpy arrays, if `loss` is to be called on those). Nothing is assumed of them,
    so `solve` uses many starts and proves nothing; the named members of the family (`DPO`, `IPO`, `FDPO`) get exact
    answers.

    Source: the EXPO paper (arXiv 2506.07492), its definition of the QPO family.
    """

    psi: Callable[[Array, Any], Array]
    mu: Callable[[Array], Array]
    name: ClassVar[str] = "qpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("psi", "mu"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} must be a function, got {type(getattr(self, name)).__name__}")

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return self.psi(self.mu(_ratio(logp_w - ref_logp_w)) - self.mu(_ratio(logp_l - ref_logp_l)), self.lam)


def _ratio(log_u: Array) -> Array:
    """u = exp(log u), neither 0 nor infinite."""
    return namespace(log_u).exp(-cap_exponent(-cap_exponent(log_u, power=2), power=2))
