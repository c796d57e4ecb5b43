"""EXPO in its two forms, and the explicit family that its compositional form belongs to."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from .._array import Array, sigmoid
from ..divergences import Divergence, ForwardKL, resolve_divergence
from .base import Claims, PairObjective, check_option
from .logistic import Logistic

BRADLEY_TERRY = Logistic()
"""-log sigma(h), as a function of a log-ratio h."""


def bradley_terry_nll(logp_w: Array, logp_l: Array) -> Array:
    """-log p_theta(w > l) = -log sigma(log pi_w - log pi_l): on the population, KL(p* || p_theta) up to a constant."""
    return BRADLEY_TERRY(logp_w - logp_l)


@dataclass(frozen=True)
class ExplicitObjective(PairObjective):
    """The Bradley-Terry likelihood of the policy's own log-ratios, plus lam times some divergence."""

    @property
    @abstractmethod
    def regulariser(self) -> Divergence: ...

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return bradley_terry_nll(logp_w, logp_l)

    def logistic(self, ref_log_ratio: Array = None) -> Logistic:
        return BRADLEY_TERRY

    @property
    def claims(self) -> Claims:
        return Claims(
            convex=self.regulariser.convex_in_logits,
            closed_form=False,  # for two responses only, see optima.closed_forms
            needs_reference=False,
            log_ratio_only=True,
            self_concordance=1.0 if isinstance(self.regulariser, ForwardKL) else None,
        )


@dataclass(frozen=True)
class EXPO(ExplicitObjective):
    r"""Compositional EXPO: E KL(p* || p_theta) + lam KL(pi_ref || pi), p_theta(i > j) = sigma(log pi_i - log pi_j).

    Per pair -log sigma(h), with h the policy's own log-ratio (no reference in it); the regulariser is explicit. One
    minimiser for every lam > 0 and every data set: strictly convex in the logits and coercive. For n = 2 it is
    (pi* + lam pi_ref)/(1 + lam). [ours]

    Source: the EXPO paper (arXiv 2506.07492), compositional form.
    """

    name: ClassVar[str] = "expo"

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()


@dataclass(frozen=True)
class ExplicitPO(ExplicitObjective):
    r"""Explicit preference optimisation with any divergence: -log sigma(h) + lam D(pi, pi_ref), h = log(pi_w/pi_l).

    ``divergence`` names D = D_f(pi || pi_ref): ``"forward_kl"`` is `EXPO`, ``"reverse_kl"`` is SPO (arXiv 2405.00747),
    and ``"jensen_shannon"``, ``"alpha"`` (with ``alpha`` > 0), ``"chi_square"`` or a `Divergence` are free to choose.
    The objective is convex in the logits for forward KL and for alpha >= 1.
    """

    divergence: str | Divergence = "forward_kl"
    alpha: float | None = None
    name: ClassVar[str] = "explicit_po"

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve_divergence(self.divergence, self.alpha)  # bad options are refused now

    @property
    def regulariser(self) -> Divergence:
        return resolve_divergence(self.divergence, self.alpha)


@dataclass(frozen=True)
class RegressionEXPO(PairObjective):
    r"""Regression EXPO: fit p_theta(w > l) to t = (1 + lam p_ref)/(1 + lam), p_ref = sigma(log pi_ref,w/pi_ref,l).

    * ``criterion="squared_error"``: (sigma(h) - t)^2, not convex in the logits;
    * ``criterion="cross_entropy"``: -t log sigma(h) - (1-t) log sigma(-h), convex.

    In expectation over labels the target is (p* + lam p_ref)/(1 + lam). The paper's abstract announces a regression
    form and gives no formula: this formulation is this package's own.
    """

    criterion: str = "squared_error"
    name: ClassVar[str] = "regression_expo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("criterion", self.criterion, ("squared_error", "cross_entropy"))

    def _miss(self, h_ref: Array) -> Array:
        """1 - t, which unlike t keeps its digits when it is small."""
        return self.lam * sigmoid(-h_ref) / (1 + self.lam)

    def logistic(self, ref_log_ratio: Array = None) -> Logistic | None:
        if self.criterion == "squared_error":
            return None
        miss = self._miss(ref_log_ratio)
        return Logistic(1.0, 1 - miss, miss)

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        h, h_ref = logp_w - logp_l, ref_logp_w - ref_logp_l
        cross_entropy = self.logistic(h_ref)
        return (self._miss(h_ref) - sigmoid(-h)) ** 2 if cross_entropy is None else cross_entropy(h)

    @property
    def claims(self) -> Claims:
        convex = self.criterion == "cross_entropy"
        return Claims(
            convex=convex,
            closed_form=False,
            needs_reference=True,
            log_ratio_only=True,
            self_concordance=1.0 if convex else None,
        )
