"""What studies share: the paper's losses solved on its problems; and how Adam is kept from amplifying rounding."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import _rounding, paper
from .._types import Floats
from ..bandit import Bandit
from ..divergences import kl
from ..optima import SolutionPath, solve_path
from ..paper import LOSSES

RESPONSES = ["y1", "y2", "y3"]

EPS = 1e-6
"""Adam's, in training that is not the authors'. Where a gradient is zero but for rounding, a step is rounding divided
by this: at Adam's own 1e-8 the 17th digit of a gradient is the 9th of a policy, and other processors have another.
Where it is zero at a minimum of curvature h, steps leave that minimum unless lr h < 38 eps: see `estimators`."""

DECIMALS = 13
"""Numbers are rounded to this many decimals, below which there is only rounding error, and written to 12 digits."""


def exact(table: pd.DataFrame) -> pd.DataFrame:
    """Without what is only rounding error, so that every run draws and writes the same numbers."""
    return _rounding.rounded(table, DECIMALS, digits=None)


def solved(loss: str, bandit: Bandit, lams: Floats) -> SolutionPath:
    """The path of a loss; nothing is drawn but optima, and the best that was found where that is not proven."""
    path = solve_path(LOSSES[loss], bandit, lams)
    failed = ~np.isin(path.status, ("optimal", "best_found"))
    if failed.any():
        raise RuntimeError(f"{loss} has no optimum to draw: {path.message[failed][0]}")
    return path


def policies(loss: str, lams: Floats, found: Floats) -> pd.DataFrame:
    """One row per lambda and response, from policies (L, 3)."""
    return pd.DataFrame(
        {
            "loss": loss,
            "lam": np.repeat(lams, len(RESPONSES)),
            "response": np.tile(RESPONSES, len(lams)),
            "policy": found.reshape(-1),
        }
    )


def divergences(loss: str, log_lams: Floats, lams: Floats, log_policies: Floats) -> pd.DataFrame:
    """One row per lambda and prompt of the preservation experiment, from log-policies (L, 2, 3)."""
    log_optimal = np.log(paper.preservation().optimal)
    return pd.DataFrame(
        {
            "prompt": np.tile(paper.PROMPTS, len(lams)),
            "loss": loss,
            "log_lam": np.repeat(log_lams, len(paper.PROMPTS)),
            "lam": np.repeat(lams, len(paper.PROMPTS)),
            "kl_optimal_policy": kl(log_optimal, log_policies).reshape(-1),
            "kl_policy_optimal": kl(log_policies, log_optimal).reshape(-1),
        }
    )


def recorded_log_policy(end: paper.TrainingEnd) -> Floats:
    """Logarithm of a policy recorded to six decimals, a recorded 0 taken at the most it can be."""
    policy = np.maximum(end.policy, paper.RECORDED_STEP / 2)
    return np.log(policy / policy.sum(axis=-1, keepdims=True))
