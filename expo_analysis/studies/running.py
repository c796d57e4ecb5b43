"""Several studies at once, one a process: numbers, pictures and words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .. import tasks
from .._progress import Progress, part
from .study import Study, Tables

DRAWING = 2.0
"""About the seconds that a study's pictures take."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

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
    if given.keys() >= studies.keys():  # quickly done
        return [_section(study, given[name]) for name, study in studies.items()]
    done = dict.fromkeys(studies, 0.0)

    def tell(fraction: float, count: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        if task not in done:
            return
        done[task] = fraction / count
        if task not in given:
            progress(done[task], task=task)
        share = sum(done[name] * seconds[name] for name in studies) / total
        progress(min(share, 1.0), what=", ".join(name for name in studies if 0 < done[name] < 1) or "running")

    longest = sorted(studies, key=lambda name: -seconds[name])
    jobs = {name: (studies[name], given.get(name), full) for name in longest}
    with _one_thread_each():
        found = tasks.run(_run, jobs, workers=min(len(studies), os.cpu_count() or 1), progress=tell)
    return [found[name] for name in studies]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are begun meanwhile compute on one thread, unless the environment says otherwise: there is one
    for each core, and the threads of small matrices wait for each other at full speed."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _run(study: Study, tables: Tables | None, full: bool, *, progress: Progress) -> Section:
    progress(1e-9)
    if tables is None:
        last = DRAWING / (DRAWING + study.seconds)
        tables = study.run(study.settings(full), part(progress, 0.0, 1.0 - last))
    return _section(study, tables)


def _section(study: Study, tables: Tables) -> Section:
    shown = study.show(tables)
    return shown.files(), shown.text
