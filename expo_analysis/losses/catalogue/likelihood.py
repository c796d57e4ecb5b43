"""Losses that are, or contain, a likelihood: of the winner, of the comparison, or of both.

Papers average some of these terms over a response's tokens: log pi/|y| stands for log pi there. Where no lengths are
given responses have one token each, or log-probabilities are averages before a loss is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number
from ..base import PairObjective
from ..psi import Exponential, Linear, Logistic
from ..statistics import h, hbar, log_odds, log_pi_l, log_pi_w, per_token, powered
from ..terms import Sum

NLL = Linear(-1.0)(log_pi_w)
"""-log pi_w, the winner's negative log-likelihood."""


@dataclass(frozen=True)
class SFT(PairObjective):
    r"""-log pi_w: supervised fine-tuning on the winners. TRL: ``"sft"``.

    ``lam`` takes no part: there is nothing to trade off. Optimum: pi_i is the share of comparisons that i wins. [ours]

    TRL averages over all tokens of the batch's winners, so that long responses count more.
    """

    name: ClassVar[str] = "sft"

    @property
    def terms(self) -> Sum:
        return NLL


@dataclass(frozen=True)
class BradleyTerry(PairObjective):
    r"""-log sigma(lam h), h = log pi_w/pi_l: the likelihood of comparisons under rewards lam log pi.

    `DPO` with a uniform reference, CPO's preference term and, at lam = 1, that of `EXPO`. Population optimum on
    connected pairs: pi proportional to (pi*)^(1/lam).

    Source: Bradley and Terry 1952, Biometrika 39.
    """

    name: ClassVar[str] = "bradley_terry"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h)


@dataclass(frozen=True)
class SimPO(PairObjective):
    r"""-log sigma(lam (log pi_w/|w| - log pi_l/|l|) - gamma): averages over tokens, and no reference.

    Args:
        gamma: target margin of the rewards, >= 0. TRL (its CPO trainer's ``"simpo"``) calls it ``simpo_gamma``.

    With responses of one length, gamma > 0 pushes the population's margins beyond Bradley-Terry's, by up to gamma/lam
    where both orders occur. With several lengths the loss is not convex in the logits.

    Source: Meng et al. 2024 (arXiv 2405.14734), eq. 6, with beta = lam.
    """

    gamma: float = 0.5
    name: ClassVar[str] = "simpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("gamma", self.gamma, 0.0, low_too=True)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * per_token(h) - self.gamma)


@dataclass(frozen=True)
class AlphaPO(PairObjective):
    r"""SimPO with another shape of reward: -log sigma(lam (g(w) - g(l)) - gamma), g(y) = (1 - pi_y^(-alpha/|y|))/alpha.

    Args:
        alpha: any number; 0 is `SimPO`. Positive ones make the reward steeper where probabilities are small.
        gamma: target margin, >= 0.

    Source: Gupta et al. 2025 (arXiv 2501.03884), in the form of TRL's ``"alphapo"``, whose documentation quotes the
    paper's alpha = 0.25, beta = 2.5, gamma = 0.1.
    """

    alpha: float = 0.25
    gamma: float = 0.1
    name: ClassVar[str] = "alpha_po"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha)
        check_number("gamma", self.gamma, 0.0, low_too=True)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * per_token(powered(self.alpha)) - self.gamma)


@dataclass(frozen=True)
class SimPER(PairObjective):
    r"""-pi_w^(1/|w|) + pi_l^(1/|l|): the inverse perplexities of loser and winner; no reference, and lam takes no part.

    With responses of one token it is linear in the policy: an optimum has all mass on one response. [ours]

    Source: Xiao et al. 2025, SimPER (ICLR), in the form of its public code (tengxiao1/SimPER).
    """

    name: ClassVar[str] = "simper"

    @property
    def terms(self) -> Sum:
        return Exponential()(-per_token(log_pi_l)) - Exponential()(-per_token(log_pi_w))


@dataclass(frozen=True)
class CPO(PairObjective):
    r"""Contrastive preference optimisation: -log sigma(lam h) - alpha log pi_w, h = log pi_w/pi_l.

    Args:
        alpha: weight of the likelihood, > 0; 1 in the paper. TRL (its CPO trainer) calls it ``cpo_alpha``.
            Without it the loss is `BradleyTerry`.

    Source: Xu et al. 2024 (arXiv 2401.08417), L_prefer + L_NLL, with beta = lam.
    """

    alpha: float = 1.0
    name: ClassVar[str] = "cpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0)

    @property
    def terms(self) -> Sum:
        return BradleyTerry(self.lam).terms + self.alpha * NLL


@dataclass(frozen=True)
class RPO(PairObjective):
    r"""DPO with the winner's likelihood: -log sigma(lam hbar) - alpha log pi_w.

    Args:
        alpha: weight of the likelihood, > 0; 1 in Pang et al. Without it the loss is `DPO`.

    The tabular form takes every response to have length 1: Pang et al. divide the likelihood by the length.

    Sources: Pang et al. 2024, iterative reasoning preference optimisation (arXiv 2404.19733), eq. 1; Liu et al. 2024
    (arXiv 2405.16436), where the likelihood is derived from pessimism.
    """

    alpha: float = 1.0
    name: ClassVar[str] = "rpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar) + self.alpha * NLL


@dataclass(frozen=True)
class ORPO(PairObjective):
    r"""Odds-ratio preference optimisation: -log pi_w - lam log sigma(log odds_w - log odds_l), odds = pi/(1 - pi).

    For sequences pi is the geometric mean over tokens, pi^(1/|y|). A certain response, log pi = 0, has infinite odds:
    they saturate, see `expo_analysis.numerics.log_odds`.

    Not convex in the logits once there are three responses: a response's log-odds are concave in them.

    Source: Hong et al. 2024 (arXiv 2403.07691), eqs. 4 to 7, with lambda = lam. TRL's ORPO trainer calls it ``beta``.
    """

    name: ClassVar[str] = "orpo"

    @property
    def terms(self) -> Sum:
        return Linear(-1.0)(per_token(log_pi_w)) + self.lam * Logistic()(per_token(log_odds))
