"""AOT, which is a loss of batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number
from ..._types import Array
from ...numerics import namespace
from ..base import PairObjective
from ..facts import Claims
from ..psi import Logistic


@dataclass(frozen=True)
class AOT(PairObjective):
    r"""Alignment via optimal transport: DPO's loss between sorted batches, -log sigma(lam (a_(k) - b_(k))).

    a_(1) <= a_(2) <= ... are sorted along the last axis, the batch, and so are the b:

    * paired (default): a = log pi_w/pi_l, b = log pi_ref,w/pi_ref,l. TRL: ``"aot"``;
    * ``unpaired=True``: a = log pi_w/pi_ref,w, b = log pi_l/pi_ref,l. TRL: ``"aot_unpaired"``.

    The mean over the batch is a convex relaxation of first-order stochastic dominance. The k-th number that `loss`
    returns belongs to the k-th quantile and to no pair: `risk` and `solve`, which weigh single pairs, refuse AOT. A
    batch of one is `DPO`.

    Args:
        label_smoothing: in [0, 1/2), as for conservative `DPO`.

    Source: Melnyk et al. 2024 (arXiv 2406.05882), with the logistic loss and beta = lam.
    """

    label_smoothing: float = 0.0
    unpaired: bool = False
    name: ClassVar[str] = "aot"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("label_smoothing", self.label_smoothing, 0.0, 0.5, low_too=True)
        if not isinstance(self.unpaired, bool):
            raise TypeError(f"unpaired must be True or False, got {self.unpaired!r}")

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        if self.unpaired:
            upper, lower = logp_w - ref_logp_w, logp_l - ref_logp_l
        else:
            upper, lower = logp_w - logp_l, ref_logp_w - ref_logp_l
        if upper.ndim > 0:  # a single pair is sorted
            xp = namespace(upper)
            upper, lower = xp.sort(upper, axis=-1), xp.sort(lower, axis=-1)
        eps = self.label_smoothing
        return Logistic(1 - eps, eps).value(self.lam * (upper - lower))

    @property
    def claims(self) -> Claims:
        return Claims(
            convex=False,
            closed_form=False,
            needs_reference=True,
            log_ratio_only=not self.unpaired,
            couples_pairs=True,
        )
