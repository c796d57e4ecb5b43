"""EXPO in its two forms, and the explicit family that its compositional form belongs to: SPO and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number, check_option
from ...divergences import Divergence, ForwardKL, ReverseKL, resolve_divergence
from ...numerics import sigmoid
from ..base import PairObjective
from ..data import reference_log_ratio
from ..psi import Logistic, SquaredSigmoid
from ..statistics import h
from ..terms import Sum

BRADLEY_TERRY_NLL = Logistic()(h)
"""-log p_theta(w > l) = -log sigma(log pi_w - log pi_l): on the population, KL(p* || p_theta) up to a constant."""


@dataclass(frozen=True)
class EXPO(PairObjective):
    r"""Compositional EXPO: E KL(p* || p_theta) + lam KL(pi_ref || pi), p_theta(i > j) = sigma(log pi_i - log pi_j).

    Per pair -log sigma(h), with h the policy's own log-ratio (no reference in it); the regulariser is explicit. One
    minimiser for every lam > 0 and every data set: strictly convex in the logits and coercive. For n = 2 it is
    (pi* + lam pi_ref)/(1 + lam). [ours]

    Source: the EXPO paper (arXiv 2506.07492), compositional form.
    """

    name: ClassVar[str] = "expo"

    @property
    def terms(self) -> Sum:
        return BRADLEY_TERRY_NLL

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()


@dataclass(frozen=True)
class ExplicitPO(PairObjective):
    r"""Explicit preference optimisation with any divergence: -log sigma(h) + lam D(pi, pi_ref), h = log(pi_w/pi_l).

    ``divergence`` names D = D_f(pi || pi_ref): ``"forward_kl"`` is `EXPO`, ``"reverse_kl"`` is SPO (arXiv 2405.00747),
    and ``"jensen_shannon"``, ``"alpha"`` (with ``alpha`` > 0), ``"chi_square"`` or a `Divergence` are free to choose.
    The objective is convex in the logits for forward KL and for alpha >= 1.

    Source: the EXPO paper (arXiv 2506.07492), its explicit objectives.
    """

    divergence: str | Divergence = "forward_kl"
    alpha: float | None = None
    name: ClassVar[str] = "explicit_po"

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve_divergence(self.divergence, self.alpha)  # bad options are refused now

    @property
    def terms(self) -> Sum:
        return BRADLEY_TERRY_NLL

    @property
    def regulariser(self) -> Divergence:
        return resolve_divergence(self.divergence, self.alpha)


@dataclass(frozen=True)
class RegressionEXPO(PairObjective):
    r"""Regression EXPO: fit p_theta(w > l) to t = (1 + lam p_ref)/(1 + lam), p_ref = sigma(log pi_ref,w/pi_ref,l).

    * ``criterion="squared_error"``: (sigma(h) - t)^2, not convex in the logits;
    * ``criterion="cross_entropy"``: -t log sigma(h) - (1-t) log sigma(-h), convex.

    In expectation over labels the target is (p* + lam p_ref)/(1 + lam).

    Source: this package's own formulation. Public reviews of the EXPO paper (arXiv 2506.07492) speak of a regression
    objective; its abstract does not, and the paper's formula was not seen. The literal (sigma(h) - z)^2 + lam
    (sigma(h) - p_ref)^2 with labels z has the same minimiser, as it is (1 + lam)(sigma(h) - t)^2 and a constant.
    """

    criterion: str = "squared_error"
    name: ClassVar[str] = "regression_expo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("criterion", self.criterion, ("squared_error", "cross_entropy"))

    @property
    def terms(self) -> Sum:
        # t and 1 - t, each of which may be small
        target = (1 + self.lam * reference_log_ratio.map(sigmoid)) / (1 + self.lam)
        miss = self.lam / (1 + self.lam) * (-reference_log_ratio).map(sigmoid)
        return SquaredSigmoid(target, miss)(h) if self.criterion == "squared_error" else Logistic(target, miss)(h)


@dataclass(frozen=True)
class SPO(PairObjective):
    r"""Soft preference optimisation: -log sigma(alpha h)/alpha + lam KL(pi || pi_ref), h = log pi_w/pi_l.

    Args:
        alpha: the softness, > 0. At 1 it is `ExplicitPO` with reverse KL. As lam -> 0 the population's optimum tends to
            pi proportional to (pi*)^(1/alpha).

    Source: Sharifnassab et al. 2024 (arXiv 2405.00747), the unweighted loss with its global regulariser.
    """

    alpha: float = 1.0
    name: ClassVar[str] = "spo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.alpha * h) / self.alpha

    @property
    def regulariser(self) -> Divergence:
        return ReverseKL()
