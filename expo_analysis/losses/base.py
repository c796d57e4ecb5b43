"""What an objective is: a per-pair loss, possibly lambda times a regulariser, and what is known of the two."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np
import torch

from .._checks import check_number as check_number
from .._checks import check_option as check_option
from .._checks import check_same_shape
from .._checks import check_whole as check_whole
from .._types import Array
from ..divergences import Divergence, ReverseKL
from .logistic import Logistic

Self = TypeVar("Self", bound="Objective")
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Claims:
    """What is known of an objective. The solvers rely on every one of these, and the tests check each.

    convex            convex in the logits of a softmax policy, whatever the pairs
    closed_form       the minimiser has a closed form (up to a 1-D root or a linear solve) when p* is Bradley-Terry
    needs_reference   the pair loss reads the reference's log-probabilities
    log_ratio_only    the pair loss depends on log pi_w - log pi_l alone, not on how much mass the pair has
    self_concordance  the least known M with |D3 f[v,v,u]| <= M range(u) D2 f[v,v] in the logits, the condition of the
                      error bounds; 0 for quadratics, None where no such M is known
    couples_pairs     the loss is one of a whole batch, and no sum over its pairs: it has no risk and no optimum here
    """

    convex: bool
    closed_form: bool
    needs_reference: bool
    log_ratio_only: bool
    self_concordance: Any = None
    couples_pairs: bool = False


@dataclass(frozen=True)
class Objective(ABC):
    """An objective with trade-off parameter ``lam`` (the paper's lambda; ``beta`` in TRL), a positive finite number.

    Inside the solvers ``lam`` may also be an array that broadcasts against the pairs.
    """

    lam: Any
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if isinstance(self.lam, (bool, np.bool_, str)) or self.lam is None:
            raise TypeError(f"lam must be a positive finite number, got {self.lam!r}")
        if isinstance(self.lam, torch.Tensor) and self.lam.ndim:
            return  # from a trainer; in the midst of one of torch's transformations it has no values to look at
        try:
            values = np.asarray(self.lam, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"lam must be a positive finite number, got {self.lam!r}") from None
        if not np.all((values > 0) & (values < np.inf)):
            raise ValueError(f"lam must be a positive finite number, got {self.lam!r}")
        if values.ndim == 0:  # a Python float never changes the dtype of what it meets
            object.__setattr__(self, "lam", float(values))

    def with_lam(self: Self, lam: Any) -> Self:
        """The same objective at another lambda."""
        return dataclasses.replace(self, lam=lam)

    @property
    @abstractmethod
    def claims(self) -> Claims:
        """What is known of this objective."""


@dataclass(frozen=True)
class PairObjective(Objective):
    """An objective whose preference term is a loss of (winner, loser) log-probabilities.

    risk = mean over pairs of ``loss`` + lam * ``regulariser``(pi, pi_ref); see `expo_analysis.losses.risk`.
    """

    @property
    def regulariser(self) -> Divergence | None:
        """The explicit divergence from the reference, weighted by lam; None where there is none."""
        return None

    def ratio_slopes(self) -> tuple[Any, Any] | None:
        """Limits of the derivative in log pi_w/pi_l at -inf and +inf, of a convex loss of the log-ratio alone.

        They decide whether separable data have a minimiser; None, where they are not known, leaves that to the search.
        """
        return None

    @property
    def claims(self) -> Claims:
        """Nothing but that the loss may read all it is given: true of every loss, and enough for every tool here."""
        return Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=False)

    def loss(
        self, logp_w: Array, logp_l: Array, ref_logp_w: Array | None = None, ref_logp_l: Array | None = None
    ) -> Array:
        """One loss per pair, unreduced.

        Args:
            logp_w, logp_l: log pi(winner), log pi(loser): numpy arrays or torch tensors of one shape and dtype.
            ref_logp_w, ref_logp_l: the same under pi_ref; may be left out where ``claims.needs_reference`` is False.

        Returns:
            An array of the same kind, shape and dtype, differentiable by torch.

        Raises:
            TypeError, ValueError: naming the argument whose kind, dtype or shape is wrong, or that is missing.
        """
        if self.claims.needs_reference:
            for name, value in (("ref_logp_w", ref_logp_w), ("ref_logp_l", ref_logp_l)):
                if value is None:
                    raise TypeError(f"{name} must be given: {type(self).__name__} compares with the reference")
        given = {"logp_w": logp_w, "logp_l": logp_l, "ref_logp_w": ref_logp_w, "ref_logp_l": ref_logp_l}
        check_same_shape(**{name: value for name, value in given.items() if value is not None})
        result = self.pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)
        if getattr(result, "shape", None) != logp_w.shape:
            raise ValueError(
                f"{type(self).__name__} must return one loss per pair, shape {tuple(logp_w.shape)}; "
                f"got {tuple(getattr(result, 'shape', ()))}"
            )
        return result

    @abstractmethod
    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        """The formula of `loss`, on checked arguments. This is the one method a new loss must write."""

    def logistic(self, ref_log_ratio: Array = None) -> Logistic | None:
        """The loss as a `Logistic` of its margin, where it is one: the formula and its derivatives both follow from it.

        None, as for most losses, leaves the derivatives to torch.

        Args:
            ref_log_ratio: log(pi_ref,w / pi_ref,l) of each pair, for parameters that depend on it; None where
                ``claims.needs_reference`` is False.
        """
        return None

    def stated(self, ref_log_ratio: Array = None) -> Logistic | None:
        """`logistic`, for whoever computes with it: None where a subclass wrote the formula anew, but not the terms."""
        written = {"logistic", "pair_loss", "psi"}
        latest = next(cls for cls in type(self).__mro__ if not written.isdisjoint(vars(cls)))
        return self.logistic(ref_log_ratio) if "logistic" in vars(latest) else None


@dataclass(frozen=True)
class MarginObjective(PairObjective):
    r"""psi(mu(u_w) - mu(u_l)), u = pi/pi_ref, with mu = f' of a divergence, and any psi."""

    @property
    def link(self) -> Divergence:
        """The divergence whose derivative is mu; reverse KL gives mu = log."""
        return ReverseKL()

    @abstractmethod
    def psi(self, margin: Array) -> Array:
        """psi as a function of the margin mu(u_w) - mu(u_l)."""

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        mu = self.link.mu
        return self.psi(mu(logp_w - ref_logp_w) - mu(logp_l - ref_logp_l))


@dataclass(frozen=True)
class QuasiconvexObjective(MarginObjective):
    r"""psi(mu(u_w) - mu(u_l)), u = pi/pi_ref, with psi convex and mu = f' of a divergence: the paper's QPO family.

    A convex psi makes the problem convex in the *scores* s = mu(u), for whatever mu, and on a connected comparison
    graph every score vector is reached by exactly one policy, found by a one-dimensional root. So the solvers need psi
    and the divergence only. [ours]
    """

    @abstractmethod
    def psi_slopes(self) -> tuple[Any, Any]:
        """Limits of psi' at -inf and +inf: they decide whether separable data have a minimiser."""

    @property
    @abstractmethod
    def psi_self_concordance(self) -> Any:
        """The least known M with |psi'''| <= M psi''; it is ``claims.self_concordance`` where mu is the logarithm.

        None where there is none, as for a psi with kinks.
        """

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...] | None:
        """(slope, intercept) of each piece of a psi that is a maximum of straight lines; None for any other psi."""
        return None

    @property
    def bradley_terry_margin(self) -> bool:
        """Whether lam * (s_i - s_j) = log p*_ij / p*_ji minimises the expected psi of every single pair."""
        return False


def has_formula_of(objective: Any, cls: type[Kind]) -> TypeGuard[Kind]:
    """Whether an objective is of this class and computes what the class computes.

    A subclass may have a formula of its own, and then what is known of its parent does not hold for it.
    """
    formula = ("pair_loss", "psi", "regulariser", "reward_terms")
    own = type(objective)
    return isinstance(objective, cls) and all(getattr(own, x, None) is getattr(cls, x, None) for x in formula)
