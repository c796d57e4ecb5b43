"""Losses of single responses with a score each; of a pair they are the mean over its two responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_number, check_option
from ..._types import Array
from ...numerics import exp, namespace
from ..base import PairObjective
from ..data import Data, of_datum, reward_l, reward_w
from ..psi import Square
from ..statistics import log_u_l, log_u_w
from ..terms import Sum


@dataclass(frozen=True)
class AStarPO(PairObjective):
    r"""A*-PO: [lam log u - (r - V)]^2 of each response, V = beta log E_{y~pi_ref} exp(r/beta), a prompt's value.

    With beta = lam no policy but pi_ref exp(r/lam), normalised, has a loss of 0; with another beta none has. [ours]

    Args:
        beta: of the value, > 0; None takes lam. The public code's are beta = 0.5 and lam = 0.001.

    Source: arXiv 2505.20686, in the form of TRL's port, which estimates V from samples; here it is exact.
    """

    beta: float | None = None
    name: ClassVar[str] = "a_star_po"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is not None:
            check_number("beta", self.beta, 0.0)

    @property
    def terms(self) -> Sum:
        return of_each(self, reward_w - of_datum("value_w"), reward_l - of_datum("value_l"))

    def derived(self, known: Mapping[str, Array]) -> Mapping[str, Array]:
        beta = self.lam if self.beta is None else self.beta
        return {"value": 0.0 * known["reward"] + beta * _log_mean_exp(known["ref_logp"], known["reward"] / beta)}


@dataclass(frozen=True)
class QRPO(PairObjective):
    r"""QRPO: [q - lam log Z - lam log u]^2 of each response, q the share of pi_ref with a reward of at most its own.

    * ``partition="continuous"``: Z = lam (e^(1/lam) - 1), what it is where q is uniform under pi_ref, as for rewards
      that never tie; the public code has log Z = log lam + 1/lam, which is 0.46 too much at lam = 1;
    * ``"exact"``: Z = E_{y~pi_ref} exp(q/lam), with which pi_ref exp(q/lam)/Z has a loss of 0.

    Source: arXiv 2507.08068, without a transformation of q, after its public reference function.
    """

    partition: str = "continuous"
    name: ClassVar[str] = "qrpo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("partition", self.partition, ("continuous", "exact"))

    @property
    def terms(self) -> Sum:
        return of_each(self, of_datum("goal_w"), of_datum("goal_l"))

    @property
    def reads_rewards(self) -> bool:
        return True

    def derived(self, known: Mapping[str, Array]) -> Mapping[str, Array]:
        quantile = known["quantile"] if "quantile" in known else _at_most(known["reward"], known["ref_logp"])
        xp = namespace(quantile)
        if self.partition == "exact":
            log_z = _log_mean_exp(known["ref_logp"], quantile / self.lam)
        else:
            log_z = _log_mean_of_uniform(xp, 0.0 * quantile + 1 / self.lam)
        return {"goal": quantile - self.lam * log_z}


def of_each(objective: PairObjective, goal_w: Data, goal_l: Data) -> Sum:
    """The mean over both responses of [lam log u - goal]^2."""
    return (Square()(objective.lam * log_u_w - goal_w) + Square()(objective.lam * log_u_l - goal_l)) * 0.5


def _log_mean_of_uniform(xp: Any, x: Array) -> Array:
    """log((e^x - 1)/x), x > 0, elementwise: of small x by the series of x/2 + log(sinh(x/2)/(x/2)), for its digits."""
    small = x < 0.1
    square = xp.where(small, x, 0.1) ** 2
    series = x / 2 + square / 24 - square**2 / 2880 + square**3 / 181440 - square**4 / 9676800
    plain = xp.where(small, 0.1, x)
    return xp.where(small, series, plain + xp.log1p(-exp(-plain)) - xp.log(plain))


def _at_most(reward: Array, ref_logp: Array) -> Array:
    """The share of the reference with a reward of at most each one's."""
    xp = namespace(reward)
    at_most = xp.astype(reward[None] <= reward[:, None], reward.dtype)
    return xp.sum(at_most * exp(ref_logp)[None], axis=1)


def _log_mean_exp(log_weight: Array, x: Array) -> Array:
    """log sum exp(log_weight + x) over the first axis, which stays, with one entry."""
    xp = namespace(x)
    total = log_weight + x
    top = xp.max(total, axis=0, keepdims=True)
    return top + xp.log(xp.sum(exp(total - top), axis=0, keepdims=True))
