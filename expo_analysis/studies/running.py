"""Several studies at once, one a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, MutableMapping
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

from .._progress import Progress, fraction_to
from .study import Study, Tables

LOOK = 0.5
"""Seconds between two looks at how far they are."""


def run_all(studies: Mapping[str, Study], full: bool, progress: Progress) -> dict[str, Tables]:
    """The tables of every study, in their order, on as many processes as there are cores.

    Those that take longest are begun first, so that the last ones to end are short.

    Args:
        progress: called with the fraction done of all of them together, from 0 to 1, and what is being done; and with
            that of each, as a task.
    """
    total = sum(study.seconds for study in studies.values())
    done: MutableMapping[str, float] = dict.fromkeys(studies, 0.0)
    told: dict[str, float] = {}

    def tell() -> None:
        for name in studies:
            if (so_far := done[name]) > told.get(name, 0.0):
                progress(so_far, task=name)
                told[name] = so_far
        running = [name for name in studies if 0 < done[name] < 1]
        share = sum(done[name] * study.seconds for name, study in studies.items()) / total
        progress(min(share, 1.0), what=", ".join(running) or "running")

    if not studies:
        return {}
    longest = sorted(studies, key=lambda name: -studies[name].seconds)
    workers = min(len(studies), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
    with context.Manager() as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        done = manager.dict(done)
        running = {name: pool.submit(_run, studies[name], full, done) for name in longest}
        waiting = set(running.values())
        while waiting:
            finished, waiting = wait(waiting, LOOK, FIRST_EXCEPTION)
            for future in finished:
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                future.result()
            tell()
        return {name: running[name].result() for name in studies}


def _run(study: Study, full: bool, done: MutableMapping[str, float]) -> Tables:
    def tell(fraction: float) -> None:
        done[study.name] = fraction

    tell(1e-9)
    tables = study.run(study.settings(full), fraction_to(tell))
    tell(1.0)
    return tables
