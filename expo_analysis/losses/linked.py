"""Any loss of margins with another divergence in the place of reverse KL, as TRL's ``f_divergence_type`` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._array import Array
from ..divergences import Divergence, ReverseKL, resolve_divergence
from .base import MarginObjective, QuasiconvexObjective
from .dpo import DPO
from .fdpo import FDPO


def with_divergence(
    objective: MarginObjective, divergence: str | Divergence, alpha: float | None = None
) -> MarginObjective:
    """psi(f'(u_w) - f'(u_l)) for the psi of an objective that has mu = log; plain `DPO` becomes `FDPO`.

    Exact optima and error bounds come along wherever psi is convex.

    Args:
        objective: a loss of the reference-relative log-ratio, such as `DPO`, `IPO`, `Hinge`, `EXO` or `DiscoPOP`.
        divergence, alpha: as for `FDPO`.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> import expo_analysis as ea
        >>> squared = ea.with_divergence(ea.IPO(lam=0.5), "jensen_shannon")
        >>> ea.solve(squared, ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])).status
        'optimal'
    """
    if not isinstance(objective, MarginObjective) or not isinstance(objective.link, ReverseKL):
        raise TypeError(
            "objective must be a loss of the reference-relative log-ratio, such as DPO, IPO, Hinge, EXO or DiscoPOP; "
            f"got {type(objective).__name__}"
        )
    link = resolve_divergence(divergence, alpha)
    if isinstance(link, ReverseKL):
        return objective
    if objective == DPO(objective.lam):
        return FDPO(objective.lam, divergence=link)
    kind = ConvexLinked if isinstance(objective, QuasiconvexObjective) else Linked
    return kind(objective.lam, objective, link)


@dataclass(frozen=True)
class Linked(MarginObjective):
    """psi of ``of``, mu of ``divergence``: made by `with_divergence`."""

    of: Any
    divergence: Divergence
    name: ClassVar[str] = "linked"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "of", self.of.with_lam(self.lam))

    @property
    def link(self) -> Divergence:
        return self.divergence

    def psi(self, margin: Array) -> Array:
        return self.of.psi(margin)


@dataclass(frozen=True)
class ConvexLinked(Linked, QuasiconvexObjective):
    """The same for a convex psi."""

    def psi_slopes(self) -> tuple[Any, Any]:
        return self.of.psi_slopes()

    @property
    def psi_self_concordance(self) -> Any:
        return self.of.psi_self_concordance

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...] | None:
        return self.of.linear_pieces

    @property
    def bradley_terry_margin(self) -> bool:
        return self.of.bradley_terry_margin
