"""The objective's value at each policy that was found."""

from __future__ import annotations

import numpy as np

from .._types import Floats
from ..bandit import Bandit
from ..losses.base import Objective, PairObjective, RewardObjective
from ..losses.responses import reward_of
from ..losses.risk import risk


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
