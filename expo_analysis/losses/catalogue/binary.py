"""Losses that score winner and loser one by one, as good and bad examples: KTO, APO, BCO, NCA, SPPO.

They read log u = log pi/pi_ref of each response, not the pair's log-ratio alone; none is convex in the logits. KTO and
BCO shift their rewards by a number that the papers estimate from the batch and do not differentiate: here it is an
argument, ``reference_point``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number
from ..base import PairObjective
from ..psi import Logistic, Sigmoid, Square
from ..statistics import hbar, log_u_l, log_u_w
from ..terms import Sum


@dataclass(frozen=True)
class KTO(PairObjective):
    r"""KTO on pairs: lambda_D sigma(-lam (log u_w - z0)) + lambda_U sigma(lam (log u_l - z0)), u = pi/pi_ref.

    The sum of a winner's and a loser's loss lambda_y - v(y), v being the paper's value function.

    Args:
        desirable_weight, undesirable_weight: lambda_D and lambda_U, > 0.
        reference_point: z0 >= 0, in the paper a batch's estimate of KL(pi || pi_ref), which is not differentiated.

    At z0 = 0 and weights 1 it is `APOZero`.

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 7, with beta = lam.
    """

    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    reference_point: float = 0.0
    name: ClassVar[str] = "kto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("desirable_weight", self.desirable_weight, 0.0)
        check_number("undesirable_weight", self.undesirable_weight, 0.0)
        check_number("reference_point", self.reference_point, 0.0, low_too=True)

    @property
    def terms(self) -> Sum:
        won, lost = self.lam * (log_u_w - self.reference_point), self.lam * (log_u_l - self.reference_point)
        return self.desirable_weight * Sigmoid()(-won) + self.undesirable_weight * Sigmoid()(lost)


@dataclass(frozen=True)
class APOZero(PairObjective):
    r"""Anchored preference optimisation, zero: sigma(-lam log u_w) + sigma(lam log u_l), u = pi/pi_ref.

    Raises the winner and lowers the loser. TRL: ``"apo_zero"``. `KTO` on pairs with its reference point at 0.

    Source: D'Oosterlinck et al. 2024 (arXiv 2408.06266), eq. 7, up to a constant, with beta = lam.
    """

    name: ClassVar[str] = "apo_zero"

    @property
    def terms(self) -> Sum:
        return KTO(self.lam).terms


@dataclass(frozen=True)
class APODown(PairObjective):
    r"""Anchored preference optimisation, down: sigma(lam log u_w) + sigma(-lam hbar), u = pi/pi_ref.

    Lowers both responses, the loser more. TRL: ``"apo_down"``.

    Source: D'Oosterlinck et al. 2024 (arXiv 2408.06266), eq. 8, up to a constant, with beta = lam.
    """

    name: ClassVar[str] = "apo_down"

    @property
    def terms(self) -> Sum:
        return Sigmoid()(self.lam * log_u_w) + Sigmoid()(-(self.lam * hbar))


@dataclass(frozen=True)
class BCO(PairObjective):
    r"""Binary classifier optimisation on pairs: -log sigma(r_w - delta) - log sigma(delta - r_l), r = lam log u.

    TRL: ``"bco_pair"``, which has delta = 0.

    Args:
        reference_point: delta, the shift of the rewards; in the paper the running mean of the winners' and losers'
            rewards, which is not differentiated. Any finite number.

    Source: Jung et al. 2024 (arXiv 2404.04656), its loss with reward shift, with beta = lam.
    """

    reference_point: float = 0.0
    name: ClassVar[str] = "bco"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("reference_point", self.reference_point)

    @property
    def terms(self) -> Sum:
        won, lost = self.lam * log_u_w - self.reference_point, self.lam * log_u_l - self.reference_point
        return Logistic()(won) + Logistic()(-lost)


@dataclass(frozen=True)
class NCA(PairObjective):
    r"""Noise-contrastive alignment on pairs: -log sigma(r_w) - [log sigma(-r_w) + log sigma(-r_l)]/2, r = lam log u.

    TRL: ``"nca_pair"``. Its sibling InfoNCA with hard labels is `DPO` on pairs.

    Source: Chen et al. 2024 (arXiv 2402.05369), the form for pairs, with beta = lam.
    """

    name: ClassVar[str] = "nca"

    @property
    def terms(self) -> Sum:
        return Logistic(1.0, 0.5)(self.lam * log_u_w) + 0.5 * Logistic()(-(self.lam * log_u_l))


@dataclass(frozen=True)
class SPPO(PairObjective):
    r"""Self-play preference optimisation with hard labels: (log u_w - 1/(2 lam))^2 + (log u_l + 1/(2 lam))^2.

    TRL: ``"sppo_hard"``. u = pi/pi_ref; the paper's eta is 1/lam, and its win probabilities are 1 for the winner and 0
    for the loser.

    Source: Wu et al. 2024 (arXiv 2405.00675), its squared loss, eq. 4.7 of the preprint.
    """

    name: ClassVar[str] = "sppo"

    @property
    def terms(self) -> Sum:
        target = 0.5 / self.lam
        return Square()(log_u_w - target) + Square()(log_u_l + target)
