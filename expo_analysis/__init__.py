"""expo_analysis: what preference losses really do, from exact optima on small problems to language models."""

from .bandit import Bandit
from .divergences import Alpha, ChiSquare, Divergence, ForwardKL, JensenShannon, ReverseKL
from .losses import (
    CATALOGUE,
    DPO,
    EXPO,
    FDPO,
    IPO,
    QPO,
    RLHF,
    Claims,
    ExplicitPO,
    Objective,
    PairObjective,
    QuasiconvexObjective,
    RegressionEXPO,
    objective,
    risk,
)
from .optima import Path, Solution, solve, solve_path

__version__ = "0.1.0"

__all__ = [
    "CATALOGUE",
    "DPO",
    "EXPO",
    "FDPO",
    "IPO",
    "QPO",
    "RLHF",
    "Alpha",
    "Bandit",
    "ChiSquare",
    "Claims",
    "Divergence",
    "ExplicitPO",
    "ForwardKL",
    "JensenShannon",
    "Objective",
    "PairObjective",
    "Path",
    "QuasiconvexObjective",
    "RegressionEXPO",
    "ReverseKL",
    "Solution",
    "objective",
    "risk",
    "solve",
    "solve_path",
]
