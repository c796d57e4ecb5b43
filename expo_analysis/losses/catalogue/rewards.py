"""Losses that read rewards, known or noisy, of both responses: r_w and r_l.

`RewardAwarePO`, `REBEL` and `RewardDistillation` fit the log-ratio relative to the reference to the difference of the
rewards, whoever won: over all policies they share one optimum, pi proportional to pi_ref exp(eta r/lam), that of `RLHF`
with this reward. `ODPO` and `MADPO` are DPO with rewards in an offset or a weight. On a bandit that states no rewards
they are r* = log pi*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..._checks import check_number, check_option
from ..._types import Array
from ...numerics import exp, log_sigmoid, namespace
from ..base import PairObjective
from ..data import reward_gap
from ..psi import BernoulliKL, Logistic, Square, TargetKL
from ..statistics import hbar
from ..terms import Sum

DISTANCES = {"squared": Square, "backward_kl": TargetKL, "forward_kl": BernoulliKL}


@dataclass(frozen=True)
class RewardAwarePO(PairObjective):
    r"""Reward-aware preference optimisation: a distance between lam hbar and eta (r_w - r_l).

    * ``distance="squared"``: [lam hbar - eta (r_w - r_l)]^2;
    * ``"backward_kl"``: KL(Bernoulli(sigma(eta (r_w - r_l))) || Bernoulli(sigma(lam hbar))), the target first: convex,
      and `DPO` for eta -> inf;
    * ``"forward_kl"``: KL(Bernoulli(sigma(lam hbar)) || Bernoulli(sigma(eta (r_w - r_l)))), not convex.

    Args:
        eta: scale of the rewards, > 0.

    Source: Sun et al. 2025 (arXiv 2502.00203); the forms are those of NeMo-Aligner's ``rpo_sq``, ``rpo_bwd_kl`` and
    ``rpo_fwd_kl``, whose ``ref_policy_kl_penalty`` is lam and whose ``gt_reward_scale`` is eta.
    """

    distance: str = "backward_kl"
    eta: float = 1.0
    name: ClassVar[str] = "reward_aware_po"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("distance", self.distance, tuple(DISTANCES))
        check_number("eta", self.eta, 0.0)

    @property
    def terms(self) -> Sum:
        goal = self.eta * reward_gap
        if self.distance == "squared":
            return Square()(self.lam * hbar - goal)
        return DISTANCES[self.distance](goal)(self.lam * hbar)


@dataclass(frozen=True)
class REBEL(PairObjective):
    r"""REBEL: [hbar - (r_w - r_l)/lam]^2, regression to relative rewards.

    The regression of its paper's public code, whose ``eta`` is 1/lam; pi_ref is the policy at the start of an
    iteration. lam^2 times it is ``RewardAwarePO(lam, "squared")``, and so is distillation of a reward model.

    Source: Gao et al. 2024 (arXiv 2404.16767), in the form of its public code (ZhaolinGao/REBEL).
    """

    name: ClassVar[str] = "rebel"

    @property
    def terms(self) -> Sum:
        return Square()(hbar - reward_gap / self.lam)


@dataclass(frozen=True)
class RewardDistillation(PairObjective):
    r"""Reward-model distillation: [lam hbar - (r_w - r_l)]^2. Rewards r are those of a reward model.

    Source: Fisch et al. 2024 (arXiv 2405.19316), its distilled DPO (d-DPO); the paper's own text was not read.
    """

    name: ClassVar[str] = "reward_distillation"

    @property
    def terms(self) -> Sum:
        return Square()(self.lam * hbar - reward_gap)


@dataclass(frozen=True)
class ODPO(PairObjective):
    r"""DPO with an offset: -log sigma(lam hbar - alpha f(r_w - r_l)).

    Args:
        alpha: weight of the offset, > 0.
        scale: f. ``"linear"``: f(x) = x, for any rewards. ``"log"``: f(x) = log x, of the paper's public code, for
            pairs whose winner has the higher reward; for others it is nan.

    Source: Amini et al. 2024 (arXiv 2402.10571), and its public code (rycolab/odpo), with beta = lam.
    """

    alpha: float = 1.0
    scale: str = "linear"
    name: ClassVar[str] = "odpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0)
        check_option("scale", self.scale, ("linear", "log"))

    @property
    def terms(self) -> Sum:
        offset = reward_gap if self.scale == "linear" else reward_gap.map(log)
        return Logistic()(self.lam * hbar - self.alpha * offset)


def log(x: Array) -> Array:
    """The logarithm, nan where there is none."""
    xp = namespace(x)
    return xp.log(xp.where(x > 0, x, x * math.nan))


@dataclass(frozen=True)
class MADPO(PairObjective):
    r"""Margin-adaptive DPO: -weight log sigma(lam hbar), the weight a number for each pair, by g = r_w - r_l.

    weight = sigma(c g)/sigma(g) for g > -tau, else 1, with an amplification c(|g|) that falls from ``most`` at small
    differences to ``least`` at large ones and is 1 at tau:  c = least + (most - least)/(1 + k e^(rate (|g| - tau))),
    k = (most - 1)/(1 - least).

    Where labels are Bradley-Terry's of r and |g| <= tau, the optimum of a pair alone is lam hbar = c(|g|) g. [ours]

    Args:
        tau: > 0. most: > 1. least: in (0, 1). rate: > 0, how fast c falls.

    Source: MADPO 2025 (arXiv 2510.05342), in the form of its public code (``MADPOLoss``), whose defaults these are; the
    paper's own text was not read.
    """

    tau: float = 2.0
    most: float = 2.0
    least: float = 0.5
    rate: float = 1.0
    name: ClassVar[str] = "madpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tau", self.tau, 0.0)
        check_number("most", self.most, 1.0)
        check_number("least", self.least, 0.0, 1.0)
        check_number("rate", self.rate, 0.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar) * reward_gap.map(self.log_weight).map(exp)

    def log_weight(self, gap: Array) -> Array:
        """The logarithm of the weight of pairs with these r_w - r_l."""
        xp, size = namespace(gap), abs(gap)
        k = (self.most - 1) / (1 - self.least)
        c = self.least + (self.most - self.least) / (1 + k * exp(self.rate * (size - self.tau)))
        ratio = log_sigmoid(c * gap) - log_sigmoid(gap)  # of sigmas, which themselves underflow
        return xp.where(gap > -self.tau, ratio, xp.zeros_like(gap))
