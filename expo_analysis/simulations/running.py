"""Several simulations at once, one a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import MutableMapping
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

import pandas as pd

from .._progress import Progress, fraction_to
from .simulation import Run, Simulation

Tables = dict[str, pd.DataFrame]

LOOK = 0.5
"""Seconds between two looks at how far they are."""


def run_all(simulations: dict[str, Simulation], full: bool, progress: Progress) -> dict[str, Tables]:
    """The tables of every simulation, in their order, on as many processes as there are cores.

    Args:
        progress: called with the fraction done of all of them together, from 0 to 1.
    """
    workers = min(len(simulations), os.cpu_count() or 1)
    if workers < 2:
        return {name: simulation.run(full, progress) for name, simulation in simulations.items()}
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
    with context.Manager() as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        done: MutableMapping[str, float] = manager.dict()
        running = {name: pool.submit(_run, one.run, full, name, done) for name, one in simulations.items()}
        waiting = set(running.values())
        while waiting:
            finished, waiting = wait(waiting, LOOK, FIRST_EXCEPTION)
            for future in finished:
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                future.result()
            progress(sum(done.values()) / len(simulations))
        return {name: future.result() for name, future in running.items()}


def _run(run: Run, full: bool, name: str, done: MutableMapping[str, float]) -> Tables:
    def tell(fraction: float) -> None:
        done[name] = fraction

    tables = run(full, fraction_to(tell))
    tell(1.0)
    return tables
