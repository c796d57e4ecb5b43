"""Optima over log-linear policies theta(x, y) = base(x, y) + features(x, y) w, whose w all prompts share.

A family of problems (`family`) is a sum over prompts (`cells`), and goes to the first method that accepts it
(`methods`): Newton's method with a carried-over error bound (`newton`, `certificate`), linear programs (`linear`,
`existence`), kinks (`kinked`), branch and bound along one parameter (`line`), or many starts (`search`).
"""

from .arguments import LogLinearClass
from .methods import NAMES
from .optima import RestrictedOptima, along_lambdas, restricted_optima, restricted_values
from .reward import Reward, RewardLikelihood
from .whole import WholeClass

__all__ = [
    "NAMES",
    "LogLinearClass",
    "RestrictedOptima",
    "Reward",
    "RewardLikelihood",
    "WholeClass",
    "along_lambdas",
    "restricted_optima",
    "restricted_values",
]
