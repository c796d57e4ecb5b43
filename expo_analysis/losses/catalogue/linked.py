"""Any loss of margins with another divergence in the place of reverse KL, as TRL's ``f_divergence_type`` does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from ..._frozen import set_fields
from ...divergences import Divergence, ReverseKL, resolve_divergence
from ..base import PairObjective
from ..statistics import hbar, linked
from ..terms import Sum
from .dpo import DPO
from .fdpo import FDPO


def with_divergence(
    objective: PairObjective, divergence: str | Divergence, alpha: float | None = None
) -> PairObjective:
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
    terms = objective.terms if isinstance(objective, PairObjective) and objective.is_made_of_terms else None
    if terms is None or any(term.statistic.base != hbar.base for term in terms) or objective.regulariser is not None:
        raise TypeError(
            "objective must be a loss of the reference-relative log-ratio, such as DPO, IPO, Hinge, EXO or DiscoPOP; "
            f"got {type(objective).__name__}"
        )
    link = resolve_divergence(divergence, alpha)
    if isinstance(link, ReverseKL):
        return objective
    if objective == DPO(objective.lam):
        return FDPO(objective.lam, divergence=link)
    return Linked(objective.lam, objective, link)


@dataclass(frozen=True)
class Linked(PairObjective):
    """The terms of ``of``, with mu of ``divergence`` in the place of the logarithm: made by `with_divergence`."""

    of: Any
    divergence: Divergence
    name: ClassVar[str] = "linked"

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, of=self.of.with_lam(self.lam))  # one lambda, not two

    @property
    def terms(self) -> Sum:
        parts = linked(self.divergence).parts
        terms = self.of.terms
        return Sum(
            tuple(dataclasses.replace(t, statistic=dataclasses.replace(t.statistic, parts=parts)) for t in terms)
        )
