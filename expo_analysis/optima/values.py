"""The objective's value at each policy that was found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Floats, Mask
from ..bandit import Bandit
from ..bandit.labels import called
from ..losses.base import Objective, PairObjective, RewardObjective
from ..losses.responses import reward_of
from ..losses.risk import risk
from .contradictions import contradicted
from .faces import TINIEST, has_closed_domain
from .solution import Certificate, Status

UNDEFINED = "the objective has no value (nan) at the policy that was reached"
INFINITE = "the objective's value overflows at the policy that was reached"
NOWHERE = "no policy was reached: what it is made of overflows; the reference stands in its place"


def without_value(value: Floats, log_policy: Floats, status: NDArray[Any]) -> Mask:
    """Where something is said of a policy that is none, or whose value is not finite: (...), from log pi (..., n)."""
    said = (status != Status.NO_MINIMISER) & (status != Status.FAILED)
    return np.asarray(said & ~np.isfinite(value) | np.isnan(log_policy).any(axis=-1))


def settle_values(objective: Objective, bandit: Bandit, lams: Floats, flat: Any) -> None:
    """Enter values where there are none, and take back what was said of policies that have none.

    A policy on the boundary at which the objective has no value, as it reads log(0/0), is a limit and no minimiser.
    What is continuous on the closed simplex has a value next to its boundary, if its code has none there.
    """
    lost = flat.status == Status.NO_MINIMISER
    if (np.isnan(flat.value) & ~lost).any():
        flat.value = np.where(lost, np.nan, values_of(objective, bandit, lams, flat.log_policy, flat.reward))
    undefined = without_value(flat.value, flat.log_policy, flat.status)
    if isinstance(objective, RewardObjective):  # of components that are not compared no reward is known, and no value
        undefined &= flat.status != Status.NOT_UNIQUE
    if undefined.any() and has_closed_domain(objective.with_lam(lams[0])):
        rows = undefined & np.isneginf(flat.log_policy).any(axis=-1)
        flat.log_policy[rows] = np.maximum(flat.log_policy[rows], TINIEST)
        again = values_of(objective, bandit, lams, flat.log_policy, flat.reward)
        flat.value = np.where(rows, again, flat.value)
        undefined = without_value(flat.value, flat.log_policy, flat.status)
    nowhere = np.isnan(flat.log_policy).any(axis=-1)
    flat.log_policy[nowhere] = np.log(np.tile(bandit.reference.reshape(-1, bandit.n), (len(lams), 1)))[nowhere]
    for row in np.flatnonzero(undefined):
        zero = np.flatnonzero(np.isneginf(flat.log_policy[row]))
        why = NOWHERE if nowhere[row] else UNDEFINED if np.isnan(flat.value[row]) else INFINITE
        flat.value[row] = flat.error_bound[row] = np.nan
        flat.status[row], flat.certificate[row], flat.message[row] = Status.FAILED, Certificate.NONE, why
        if len(zero) and why == UNDEFINED:
            flat.status[row], flat.certificate[row] = Status.NO_MINIMISER, Certificate.SEARCH
            flat.message[row] = (
                "no minimiser was reached: the lowest values are approached as the probability of responses "
                f"{called(zero.tolist(), bandit.responses)} tends to 0, where the objective has no value (not proven)"
            )
    if isinstance(objective, PairObjective) and not objective.is_made_of_terms:
        _take_back(objective, bandit, lams, flat)


def _take_back(objective: PairObjective, bandit: Bandit, lams: Floats, flat: Any) -> None:
    """Say of what rests on a claim that is false where it led that it does.

    Of many lambdas a few are looked at, and all if one of those is contradicted.
    """
    prompts, last = bandit.prompts or 1, len(lams) - 1
    few = sorted({0, last // 2, last})

    def at(k: int) -> dict[int, str]:
        own = objective.with_lam(lams[k])

        def value(log_policy: Floats) -> Floats:
            return np.atleast_1d(_risk(own, bandit, log_policy.reshape(bandit.reference.shape), None))

        return contradicted(own, bandit, flat.log_policy[k * prompts : (k + 1) * prompts], value)

    found = {k: at(k) for k in few}
    if any(found.values()):
        found |= {k: at(k) for k in range(len(lams)) if k not in found}
    for k, claims in found.items():
        for prompt, claim in claims.items():
            row = k * prompts + prompt
            if flat.status[row] not in (Status.NO_MINIMISER, Status.FAILED):
                flat.status[row], flat.certificate[row] = Status.FAILED, Certificate.NONE
                flat.error_bound[row] = np.nan
                flat.message[row] = f"a claim of {type(objective).__name__} is false: {claim}"


def values_of(objective: Objective, bandit: Bandit, lams: Floats, log_policy: Floats, fit: Floats) -> Floats:
    """The objective at each policy (lambdas x prompts), from log-probabilities, which do not underflow.

    Args:
        log_policy, fit: of each policy its logarithm, and the rewards that were fitted, (lambdas x prompts, n).
    """
    shape = (len(lams), *bandit.reference.shape)
    log_policy, reward = (x.reshape(shape) for x in (log_policy, fit))
    fitted = isinstance(objective, RewardObjective) and reward_of(bandit) is None
    values = [
        _risk(objective.with_lam(lam), bandit, log_policy[k], reward[k] if fitted else None)
        for k, lam in enumerate(lams)
    ]
    return np.stack(values).reshape(-1)


def _risk(objective: Objective, bandit: Bandit, log_policy: Floats, reward: Floats | None) -> Floats:
    """The risk, by torch for a bare formula, which need not take numpy arrays."""
    with np.errstate(invalid="ignore", over="ignore"):
        if not isinstance(objective, PairObjective) or objective.is_made_of_terms:
            return np.asarray(risk(objective, bandit, log_policy, reward))
        import torch

        return np.asarray(risk(objective, bandit, torch.from_numpy(log_policy)).detach().numpy())
