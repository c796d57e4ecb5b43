"""DPO, its label-smoothed forms, and DPO with a change or a term more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...divergences import Divergence, ForwardKL
from ..base import PairObjective, check_number
from ..psi import Logistic, Square
from ..statistics import hbar, log_u_l, log_u_w, per_token
from ..terms import Sum


@dataclass(frozen=True)
class DPO(PairObjective):
    r"""Direct preference optimisation: -log sigma(lam hbar), hbar = log(pi_w/pi_l) - log(pi_ref,w/pi_ref,l).

    With ``label_smoothing`` eps in [0, 1/2), the assumed rate of flipped labels:

    * conservative (cDPO): -(1-eps) log sigma(lam hbar) - eps log sigma(-lam hbar);
    * ``robust=True``: [-(1-eps) log sigma(lam hbar) + eps log sigma(-lam hbar)] / (1 - 2 eps), unbiased under flips.

    Population optimum (eps = 0, connected pairs): pi proportional to pi_ref (pi*)^(1/lam).

    Raises:
        ValueError: lam not positive and finite, eps outside [0, 1/2), or ``robust`` without label smoothing.

    Sources: Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; Mitchell 2023, "A note on DPO with noisy preferences";
    Chowdhury et al. 2024 (arXiv 2403.00409), eq. 12.
    """

    label_smoothing: float = 0.0
    robust: bool = False
    name: ClassVar[str] = "dpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("label_smoothing", self.label_smoothing, 0.0, 0.5, low_too=True)
        if not isinstance(self.robust, bool):
            raise TypeError(f"robust must be True or False, got {self.robust!r}")
        if self.robust and self.label_smoothing == 0:
            raise ValueError("robust=True is not used without label_smoothing; give label_smoothing in (0, 0.5)")

    @property
    def terms(self) -> Sum:
        eps = self.label_smoothing
        kept, flipped = ((1 - eps) / (1 - 2 * eps), -eps / (1 - 2 * eps)) if self.robust else (1 - eps, eps)
        return Logistic(kept, flipped)(self.lam * hbar)


@dataclass(frozen=True)
class AuxDPO(PairObjective):
    r"""DPO with auxiliary variables: -log sigma(lam [hbar + delta_w - delta_l]), minimised over pi and delta.

    delta has a number for every response, in the null space of the matrix with columns s_x pi_ref(y|x) grad log
    pi(y|x), the gradient at pi = pi_ref and s_x the prompts' shares: what it holds does not change, to first order, to
    which policies of the class RLHF would go. Over all policies the null space holds no difference of two responses,
    and this is `DPO`. Over restricted ones, as ``solve(AuxDPO(lam), bandit, features=F)`` has them, w is one natural
    gradient step from pi_ref towards the reward that DPO fits over all policies: see
    `expo_analysis.optima.restricted.auxiliary`. [ours]

    Simulators and the trainer refuse it where policies are restricted: they hold no delta.

    Source: Gopalan et al. 2025 (arXiv 2510.20413); its abstract and summaries of it were read, its text and code not.
    """

    name: ClassVar[str] = "aux_dpo"
    auxiliary: ClassVar[bool] = True

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar)


@dataclass(frozen=True)
class PessimisticDPO(PairObjective):
    r"""DPO's term with EXPO's regulariser: -log sigma(beta hbar) + lam KL(pi_ref || pi).

    Args:
        beta: DPO's own trade-off, > 0; lam weighs the regulariser, whose pessimism keeps pi from leaving pi_ref.

    Convex in the logits, and one minimiser for every data set: DPO's term is convex, and KL(pi_ref || pi) strictly so
    and coercive. [ours]

    Source: Fisch et al. 2024 (arXiv 2405.19316), its pessimistic form, whose own text was not read; the divergence is
    the one of `EXPO`.
    """

    beta: float = 0.1
    name: ClassVar[str] = "pessimistic_dpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, 0.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.beta * hbar)

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()


@dataclass(frozen=True)
class LengthNormalisedDPO(PairObjective):
    r"""DPO on averages over tokens: -log sigma(lam (log u_w/|w| - log u_l/|l|)), |y| a response's number of tokens.

    It wants far larger lam than DPO: open-instruct's scripts have 5. TRL: ``"sigmoid_norm"``.

    Source: the public code of TRL and open-instruct, the latter's ``dpo_norm``; lengths of 1 give `DPO`.
    """

    name: ClassVar[str] = "length_normalised_dpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * per_token(hbar))


@dataclass(frozen=True)
class DPOShift(PairObjective):
    r"""DPO that takes the loser less seriously: -log sigma(lam (log u_w - shift log u_l)).

    Args:
        shift: in (0, 1]; 1 is `DPO`, and less keeps winners from losing probability. The paper's code has 1 by default
            and lets it go linearly between 0.5 and 1 in training.

    Convex in the logits: the margin is concave in them for shift <= 1. [ours]

    Source: Yang et al. 2025 (arXiv 2502.07599), f(lambda) there, in the form of its public code (DPO-Shift).
    """

    shift: float = 0.75
    name: ClassVar[str] = "dpo_shift"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("shift", self.shift, 0.0, 1.0, high_too=True)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * (log_u_w - self.shift * log_u_l))


@dataclass(frozen=True)
class CalDPO(PairObjective):
    r"""Calibrated DPO: -log sigma(hbar) + strength [(log u_w - 1/(2 lam))^2 + (log u_l + 1/(2 lam))^2].

    Args:
        strength: of the calibration, > 0; 1/2 in the authors' code. Without the first term it is `SPPO`.

    Source: Xiao et al. 2024 (arXiv 2412.14516), in the form of its public code (tengxiao1/Cal-DPO), with beta = lam.
    """

    strength: float = 0.5
    name: ClassVar[str] = "cal_dpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("strength", self.strength, 0.0)

    @property
    def terms(self) -> Sum:
        goal = 0.5 / self.lam
        return Logistic()(hbar) + self.strength * (Square()(log_u_w - goal) + Square()(log_u_l + goal))


@dataclass(frozen=True)
class PRO(PairObjective):
    r"""Proximalized preference optimisation of a pair: -log sigma(lam hbar) + K(lam log u_w) + K(lam log u_l).

    K(m) = -[log sigma(m) + log sigma(-m)]/2 pulls each response to its reference. The paper compares with a third
    response too, all others together, whose reward lam log u its experiments set to 0: that form is this one.

    Source: PRO 2025 (arXiv 2505.23316); its displayed formulas could not be read, and the pair form is that of
    third-party code, which agrees with the inline ones.
    """

    name: ClassVar[str] = "pro"

    @property
    def terms(self) -> Sum:
        held = Logistic(0.5, 0.5)
        return Logistic()(self.lam * hbar) + held(self.lam * log_u_w) + held(self.lam * log_u_l)
