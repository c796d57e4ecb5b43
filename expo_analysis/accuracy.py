"""How often a reward prefers the response that is preferred: of a reward model, or of the one that a policy implies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._checks import as_floats, first_where
from ._types import Floats
from .bandit import Bandit

__all__ = ["implicit_reward_accuracy", "reward_accuracy"]


def reward_accuracy(reward: ArrayLike, bandit: Bandit) -> Any:
    r"""The expected share of a bandit's comparisons whose winner has the higher reward; equal rewards count half.

    sum_x rho(x) sum_ij wins_ij ([r_i > r_j] + [r_i = r_j]/2), with wins as the bandit has them: of a population 2 q_ij
    p*(i > j), so that nothing is sampled; of counts their shares, as accuracy on held-out pairs is. The most that any
    reward can have on a population is that of r* = log pi*.

    Args:
        reward: r, shape (..., *prompts, n): finite, or -inf. Leading axes are rewards that are judged at once.
        bandit: the comparisons.

    Returns:
        A number in [0, 1], of shape (...).

    Raises:
        ValueError: another shape, nan or +inf in the reward, or a bandit none of whose prompts has a comparison.

    Example:
        >>> import expo_analysis as ea
        >>> bandit = ea.Bandit(reference=[0.4, 0.4, 0.2], optimal=[0.6, 0.3, 0.1])
        >>> round(ea.reward_accuracy([2.0, 1.0, 1.0], bandit), 4)
        0.6746
    """
    r = _rewards("reward", reward, bandit)
    right = (r[..., :, None] > r[..., None, :]) + (r[..., :, None] == r[..., None, :]) / 2
    own = (bandit.wins * right).sum(axis=(-1, -2))
    # a prompt without a comparison has nothing to say
    weights = np.asarray(bandit.prompt_weights) * (bandit.wins.sum(axis=(-1, -2)) > 0.5)
    if not weights.sum() > 0:
        raise ValueError("bandit must have a comparison on a prompt of positive weight")
    shares = weights / weights.sum()
    found = own * shares if bandit.prompts is None else own @ shares
    return found if np.ndim(found) else float(found)


def implicit_reward_accuracy(log_policy: ArrayLike, bandit: Bandit, *, relative: bool = True) -> Any:
    r"""`reward_accuracy` of the reward that a policy implies, beta log pi/pi_ref, which no beta > 0 changes.

    The implicit reward is what a loss of log-ratios to the reference fits, as DPO does; f-DPO's, beta f'(pi/pi_ref),
    puts responses in the same order. Losses without a reference, such as SimPO, fit beta log pi: ``relative=False``.

    Args:
        log_policy: log pi, shape (..., *prompts, n); `Solution.log_policy` is one.
        bandit: the comparisons, and pi_ref.
        relative: whether to the reference.

    Returns:
        A number in [0, 1], of shape (...).

    Raises:
        ValueError: as `reward_accuracy`.

    Source: what "On the Limited Generalization Capability of the Implicit Reward Model Induced by Direct Preference
    Optimization" (arXiv 2409.03650; abstract seen) measures, here in expectation.

    Example:
        >>> import expo_analysis as ea
        >>> bandit = ea.Bandit(reference=[0.2, 0.6, 0.2], optimal=[0.6, 0.3, 0.1])
        >>> solution = ea.solve(ea.DPO(lam=3.0), bandit)  # proportional to pi_ref (pi*)^(1/3): the second is likeliest
        >>> [round(ea.implicit_reward_accuracy(solution.log_policy, bandit, relative=r), 4) for r in (True, False)]
        [0.7579, 0.6468]
    """
    logp = _rewards("log_policy", log_policy, bandit)
    return reward_accuracy(logp - np.log(bandit.reference) if relative else logp, bandit)


def _rewards(name: str, value: ArrayLike, bandit: Bandit) -> Floats:
    array = as_floats(name, value)
    shape = bandit.reference.shape
    if array.shape[array.ndim - len(shape) :] != shape or array.ndim < len(shape):
        raise ValueError(f"{name} must have shape (..., {', '.join(map(str, shape))}), got {array.shape}")
    bad = np.isnan(array) | (array == np.inf)
    if bad.any():
        raise ValueError(f"{name} must hold finite numbers or -inf, got {first_where(array, bad)}")
    return array
