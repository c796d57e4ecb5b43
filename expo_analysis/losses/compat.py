"""How losses were stated before there were terms; such classes keep working, and their facts become those of a psi."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .._types import Array
from ..divergences import Divergence, ReverseKL
from .base import PairObjective
from .psi import Slopes, Stated
from .stated import seen_decay
from .statistics import linked
from .terms import Sum


@dataclass(frozen=True)
class MarginObjective(PairObjective):
    r"""psi(mu(u_w) - mu(u_l)), u = pi/pi_ref, with mu = f' of a divergence, and any psi, by methods."""

    @property
    def link(self) -> Divergence:
        """The divergence whose derivative is mu; reverse KL gives mu = log."""
        return ReverseKL()

    @abstractmethod
    def psi(self, margin: Array) -> Array:
        """psi as a function of the margin mu(u_w) - mu(u_l)."""

    @property
    def terms(self) -> Sum:
        return Stated(self.psi)(linked(self.link))


@dataclass(frozen=True)
class QuasiconvexObjective(MarginObjective):
    """psi(mu(u_w) - mu(u_l)) with psi convex: the paper's QPO family, by methods."""

    @abstractmethod
    def psi_slopes(self) -> Slopes:
        """Limits of psi' at -inf and +inf: they decide whether separable data have a minimiser."""

    @property
    @abstractmethod
    def psi_self_concordance(self) -> Any:
        """The least known M with |psi'''| <= M psi''; None where there is none, as for a psi with kinks."""

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...] | None:
        """(slope, intercept) of each piece of a psi that is a maximum of straight lines; None for any other psi."""
        return None

    @property
    def bradley_terry_margin(self) -> bool:
        """Whether lam * (s_i - s_j) = log p*_ij / p*_ji minimises the expected psi of every single pair."""
        return False

    @property
    def terms(self) -> Sum:
        psi = Stated(
            self.psi,
            slopes=self.psi_slopes(),
            convex=True,
            self_concordance=self.psi_self_concordance,
            linear_pieces=self.linear_pieces,
            decay=self._decay(),
            log_odds_scale=self.lam if self.bradley_terry_margin else None,
        )
        return psi(linked(self.link))

    def _decay(self) -> tuple[float, float]:
        one = self.with_lam(1.0)
        try:
            return _seen(one)
        except TypeError:  # an option that cannot be hashed
            return seen_decay(one.psi, one.psi_slopes())


@lru_cache(maxsize=64)
def _seen(one: QuasiconvexObjective) -> tuple[float, float]:
    """The decay of a psi at lambda 1, which is asked for wherever its terms are."""
    return seen_decay(one.psi, one.psi_slopes())


def terms_of_psi(objective: Any) -> Sum:
    """psi(mu(u_w) - mu(u_l)) for a ``psi`` that a subclass writes anew: of it nothing is known, whatever its parent."""
    return Stated(objective.psi)(linked(getattr(objective, "link", ReverseKL())))
