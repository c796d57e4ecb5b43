"""Objectives: one family a file, each loss written once."""

from .base import Claims, Objective, PairObjective, QuasiconvexObjective
from .catalogue import CATALOGUE, objective
from .dpo import DPO
from .expo import EXPO, ExplicitPO, RegressionEXPO
from .fdpo import FDPO
from .ipo import IPO
from .qpo import QPO
from .risk import risk
from .rlhf import RLHF

__all__ = [
    "CATALOGUE",
    "DPO",
    "EXPO",
    "FDPO",
    "IPO",
    "QPO",
    "RLHF",
    "Claims",
    "ExplicitPO",
    "Objective",
    "PairObjective",
    "QuasiconvexObjective",
    "RegressionEXPO",
    "objective",
    "risk",
]
