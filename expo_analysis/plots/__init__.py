"""Figures: one function each, from pandas frames to a matplotlib Figure; they select and draw, and compute nothing."""

from .constraints import constraints
from .convergence import convergence
from .displacement import displacement
from .estimators import estimators
from .finite_data import finite_data
from .fusion import fusion
from .implicit_reward import implicit_reward
from .interpolation import interpolation
from .language_model import lm_displacement, lm_frontier, lm_preservation
from .misspecified import misspecified
from .on_policy import on_policy
from .preservation import preservation
from .report_table import report_table
from .restricted_reversal import restricted_reversal
from .reward_aware import reward_aware
from .section5 import section5
from .simplex import simplex

__all__ = [
    "constraints",
    "convergence",
    "displacement",
    "estimators",
    "finite_data",
    "fusion",
    "implicit_reward",
    "interpolation",
    "lm_displacement",
    "lm_frontier",
    "lm_preservation",
    "misspecified",
    "on_policy",
    "preservation",
    "report_table",
    "restricted_reversal",
    "reward_aware",
    "section5",
    "simplex",
]
