"""The one place where losses are reduced: weighted sums over pairs and responses."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .._autograd import tensor
from .._types import Array
from ..bandit import Bandit
from ..bandit.rankings import Choices
from ..numerics import namespace
from .base import Objective, PairObjective, RewardObjective
from .data import LOG_PROBABILITIES
from .facts import anything
from .responses import at_ends, edges_of, refuse_undefined, response_data, reward_of
from .unpaired import on


def risk(objective: Objective, bandit: Bandit, log_policy: Array, reward: Array | None = None) -> Array:
    r"""The objective's value on each prompt, sum_ij wins_ij loss(i beats j) + lam D(pi, pi_ref).

    The same number is the population risk (weights from p*), the empirical risk (weights from counts), and for `RLHF`
    E_pi[-r] + lam D_f, with the bandit's own rewards, or else r = log pi*, unless ``reward`` is given.

    Args:
        log_policy: log pi, shape (..., n), broadcasting against the bandit's policies; numpy, or torch for autograd.
        reward: r, shape (..., n), for `RLHF` only; needed where the bandit holds counts.

    Returns:
        Shape (...): one number per prompt. Their mean under ``bandit.prompt_weights`` is the risk over all prompts.
    """
    if log_policy.shape[-1] != bandit.n:
        raise ValueError(f"log_policy must have {bandit.n} responses on its last axis, got {tuple(log_policy.shape)}")
    xp, like = namespace(log_policy), _like(log_policy)
    shape = np.broadcast_shapes(tuple(log_policy.shape), bandit.reference.shape)
    log_policy = xp.broadcast_to(log_policy, shape)
    log_reference = xp.broadcast_to(like(np.log(bandit.reference)), shape)
    if isinstance(objective, RewardObjective):
        if reward is None:
            stated = reward_of(bandit)
            if stated is None:
                raise ValueError("reward must be given for RLHF on win counts, where pi* is not known")
            reward = like(stated)
        return xp.sum(objective.reward_terms(log_policy, reward), axis=-1) + objective.lam * objective.regulariser(
            log_policy, log_reference
        )
    if not isinstance(objective, PairObjective):
        raise TypeError(f"objective must be RLHF or a PairObjective, got {type(objective).__name__}")
    if reward is not None:
        raise ValueError(f"reward is not used by {type(objective).__name__}")
    refuse_coupled(objective)
    objective = on(bandit, objective)
    if objective.listwise and bandit.choices is not None:
        total = loss_of_choices(objective, bandit.choices, log_policy, log_reference)
    else:
        total = _of_pairs(objective, bandit, log_policy, log_reference)
    regulariser = objective.regulariser
    return total if regulariser is None else total + objective.lam * regulariser(log_policy, log_reference)


def _like(log_policy: Array) -> Callable[[np.ndarray], Array]:
    """Arrays of the namespace and dtype of this one."""
    xp = namespace(log_policy)
    return lambda array: xp.asarray(array, dtype=log_policy.dtype)


def _of_pairs(objective: PairObjective, bandit: Bandit, log_policy: Array, log_reference: Array) -> Array:
    """The pairs' part of `risk`."""
    xp, like = namespace(log_policy), _like(log_policy)
    if objective.data:
        _refuse_once(objective.with_lam(1.0), bandit)
    winner, loser, third, weight = edges_of(objective, bandit)
    read = (log_policy, log_reference) if objective.facts.needs_reference else (log_policy,)
    ends = (xp.moveaxis(array, -1, 0)[end] for array in read for end in (winner, loser))
    of_responses = {
        kind: xp.moveaxis(xp.broadcast_to(like(x.T.reshape(bandit.reference.shape)), log_policy.shape), -1, 0)
        for kind, x in response_data(objective, bandit).items()
    }
    of_responses["logp"] = xp.moveaxis(log_policy, -1, 0)
    data = at_ends(objective, of_responses, (winner, loser, third))
    weighted = like(weight) * xp.moveaxis(objective.loss(*ends, **data), 0, -1)
    if not (weight > 0).all():  # pairs of other prompts have weight 0, and must not turn an infinite loss into nan
        weighted = xp.where(like(weight) > 0, weighted, like(0.0 * weight))
    return xp.sum(weighted, axis=-1)


@lru_cache(maxsize=64)
def _refuse_once(objective: PairObjective, bandit: Bandit) -> None:
    refuse_undefined(objective, bandit, bandit.wins > 0)


def refuse_coupled(objective: Objective) -> None:
    """Raise where a loss couples the pairs of a batch, so that no weights of single pairs give a risk."""
    if isinstance(objective, PairObjective) and objective.facts.couples_pairs:
        if not _is_coupled(objective):
            raise ValueError(
                f"claims of {type(objective).__name__} must not have couples_pairs = True: every pair that was tried "
                "has the same loss alone as with others"
            )
        raise ValueError(
            f"objective must be a loss of single pairs: {type(objective).__name__} couples the pairs of a batch and "
            "has no risk over weighted pairs; call its loss on a batch of pairs instead"
        )


def _is_coupled(objective: PairObjective) -> bool:
    """Whether a pair has another loss with others than alone, of a few; whether that cannot be told."""
    known = anything()
    pairs = [tensor(known[name][:, 0]) for name in (*LOG_PROBABILITIES, *objective.data)]
    pairs = [x.clamp(min=-30.0) + 0.1 * k for k, x in enumerate(pairs)]
    try:
        together = objective.pair_loss(*pairs)
        alone = [objective.pair_loss(*(x[[i]] for x in pairs))[0] for i in range(len(pairs[0]))]
        return any(
            bool((one - other).abs() > 1e-12 * (1 + one.abs())) for one, other in zip(together, alone, strict=True)
        )
    except Exception:  # a user's code may raise anything
        return True


def loss_of_choices(objective: PairObjective, data: Choices, log_policy: Array, log_reference: Array) -> Array:
    """The weighted sum of -log softmax(s)_c over choices, the loss of a pair being -log sigma(s_w - s_l); (...)."""
    xp = namespace(log_policy)
    (term,) = objective.facts.terms
    score = term.statistic.scale * (log_policy - log_reference if objective.facts.needs_reference else log_policy)
    blocked = xp.asarray(np.where(data.members, 0.0, -np.inf), dtype=score.dtype)
    among = score[..., None, :] + blocked
    top = xp.max(among, axis=-1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(among - top), axis=-1)) + top[..., 0]
    loss = total - xp.take(score, xp.asarray(data.chosen), axis=-1)
    weight = xp.asarray(data.weight, dtype=score.dtype)
    return xp.sum(weight * xp.where(weight > 0, loss, 0.0 * weight), axis=-1)
