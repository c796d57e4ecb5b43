"""The reward of RLHF over restricted policies: r* = log pi*, or its fit to counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from ..._types import Floats
from ...losses.base import PairObjective
from ...losses.psi import Logistic
from ...losses.statistics import h
from ...losses.terms import Sum


@dataclass(frozen=True)
class RewardLikelihood(PairObjective):
    """-log sigma(h): whatever policy it is least for, over all policies, is exp of the fitted reward."""

    name: ClassVar[str] = "reward_likelihood"

    @property
    def terms(self) -> Sum:
        return Logistic()(h)


@dataclass(frozen=True, eq=False)
class Reward:
    """What is maximised, (prompts, n), and by how much it may be off on each prompt."""

    reward: Annotated[Floats, "prompts n"]
    error: Annotated[Floats, "prompts"]

    @classmethod
    def of(cls, log_policy: Floats, bound: Floats | None = None) -> Reward:
        """log of a policy (prompts, n), known up to 1-norm bounds (prompts,)."""
        if bound is None:
            return cls(log_policy, np.zeros(len(log_policy)))
        policy = np.exp(log_policy)
        with np.errstate(invalid="ignore", divide="ignore"):
            # a probability known up to e has a logarithm known up to e/(pi - e)
            error = (bound[:, None] / np.maximum(policy - bound[:, None], 0.0)).max(axis=1)
        known = np.isfinite(error) & np.isfinite(log_policy).all(axis=1)
        return cls(np.where(known[:, None], log_policy, 0.0), np.where(known, error, np.inf))
