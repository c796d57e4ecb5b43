"""The simulations by name: experiments of `simulators.experiments`, each with its picture and its words, one a file."""

from __future__ import annotations

from pathlib import Path

from .._checks import check_option
from .._files import made
from .._progress import Progress, silent
from ..results import write_result
from . import (
    constraints,
    displacement,
    estimators,
    finite_data,
    fusion,
    implicit_reward,
    misspecified,
    on_policy,
    restricted_reversal,
    reward_aware,
    section5,
)
from .running import run_all
from .simulation import Simulation

__all__ = ["SIMULATIONS", "Simulation", "run_all", "simulate"]

SIMULATIONS: dict[str, Simulation] = {
    "section5": section5.SIMULATION,
    "finite_data": finite_data.SIMULATION,
    "constraints": constraints.SIMULATION,
    "displacement": displacement.SIMULATION,
    "estimators": estimators.SIMULATION,
    "misspecified": misspecified.SIMULATION,
    "on_policy": on_policy.SIMULATION,
    "reward_aware": reward_aware.SIMULATION,
    "fusion": fusion.SIMULATION,
    "implicit_reward": implicit_reward.SIMULATION,
    "restricted_reversal": restricted_reversal.SIMULATION,
}


def simulate(name: str, directory: Path, *, full: bool = False, progress: Progress = silent) -> list[Path]:
    """Run one simulation; write its tables (CSV) and its figure (PNG and PDF).

    Args:
        name: one of `SIMULATIONS`.
        directory: made if it does not exist.
        full: as many steps, seeds and settings as are worth waiting for.
        progress: called with the fraction done, from 0 to 1.

    Returns:
        The files written.

    Raises:
        ValueError: no such simulation.
        NotADirectoryError: ``directory`` is a file.
    """
    check_option("name", name, list(SIMULATIONS))
    directory = made(directory)
    return write_result(directory, SIMULATIONS[name].result(full, progress))
