"""Exact optima with proven error bounds."""

from .choose import LambdaChoice, choose_lambda
from .implicit import Gradients, optimum
from .ragged import solve_ragged
from .resampling import BootstrapResult, bootstrap
from .restricted import RestrictedOptima, restricted_optima, restricted_values
from .solution import Certificate, Path, Solution, Status
from .solution import Path as SolutionPath
from .solve import solve, solve_path, stepped_optima

__all__ = [
    "BootstrapResult",
    "Certificate",
    "Gradients",
    "LambdaChoice",
    "Path",
    "RestrictedOptima",
    "Solution",
    "SolutionPath",
    "Status",
    "bootstrap",
    "choose_lambda",
    "optimum",
    "restricted_optima",
    "restricted_values",
    "solve",
    "solve_path",
    "solve_ragged",
    "stepped_optima",
]
