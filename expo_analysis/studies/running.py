"""Several studies at once, one a process: numbers, pictures and words."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, MutableMapping
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

from .._progress import Progress, fraction_to, part
from .study import Study, Tables

LOOK = 0.5
"""Seconds between two looks at how far they are."""


DRAWING = 2.0
"""About the seconds that a study's pictures take."""

Section = tuple[dict[str, bytes], str]
"""Files by name, and what the page says of them."""


def run_all(studies: Mapping[str, Study], given: Mapping[str, Tables], full: bool, progress: Progress) -> list[Section]:
    """The files and the words of every study, in their order, on as many processes as there are cores.

    Those that take longest are begun first, so that the last ones to end are short.

    Args:
        given: tables of studies that are not run, but drawn.
        progress: called with the fraction done of all of them together, from 0 to 1, and what is being done; and with
            that of each, as a task.
    """
    seconds = {name: DRAWING + (0.0 if name in given else study.seconds) for name, study in studies.items()}
    total = sum(seconds.values())
    done: MutableMapping[str, float] = dict.fromkeys(studies, 0.0)
    told: dict[str, float] = {}

    def tell() -> None:
        for name in studies:
            if name not in given and (so_far := done[name]) > told.get(name, 0.0):
                progress(so_far, task=name)
                told[name] = so_far
        running = [name for name in studies if 0 < done[name] < 1]
        share = sum(done[name] * seconds[name] for name in studies) / total
        progress(min(share, 1.0), what=", ".join(running) or "running")

    if given.keys() >= studies.keys():  # quickly done
        return [_section(study, given[name]) for name, study in studies.items()]
    longest = sorted(studies, key=lambda name: -seconds[name])
    workers = min(len(studies), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
    with context.Manager() as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        done = manager.dict(done)
        running = {name: pool.submit(_run, studies[name], given.get(name), full, done) for name in longest}
        waiting = set(running.values())
        while waiting:
            finished, waiting = wait(waiting, LOOK, FIRST_EXCEPTION)
            for future in finished:
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                future.result()
            tell()
        return [running[name].result() for name in studies]


def _run(study: Study, tables: Tables | None, full: bool, done: MutableMapping[str, float]) -> Section:
    def tell(fraction: float) -> None:
        done[study.name] = fraction

    tell(1e-9)
    if tables is None:
        last = DRAWING / (DRAWING + study.seconds)
        tables = study.run(study.settings(full), part(fraction_to(tell), 0.0, 1.0 - last))
    section = _section(study, tables)
    tell(1.0)
    return section


def _section(study: Study, tables: Tables) -> Section:
    shown = study.show(tables)
    return shown.files(), shown.text
