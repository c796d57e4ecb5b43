"""`audit_many`: an audit of each of many losses, in processes of their own."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from typing import Any

from .._progress import Progress, silent
from ..losses import Objective
from .audit import audit, chosen, unjudged
from .report.provenance import provenance
from .report.report_card import ReportCard, ReportCards


def audit_many(
    objectives: Mapping[str, Objective | Exception],
    *,
    workers: int = 2,
    progress: Progress = silent,
    effort: float = 1.0,
    seed: int = 0,
    only: str | Iterable[str] | None = None,
) -> ReportCards:
    """`audit` for each loss, in processes of their own, so that no loss can harm another.

    Args:
        objectives: by name. An exception stands for a loss that could not be built; its card says what happened.
        workers: how many processes.
        progress: called with the fraction done of a loss, what is being done, and the loss's name as the task.
    """
    settings: dict[str, Any] = {"effort": effort, "seed": seed, "only": chosen(only)}
    cards: dict[str, ReportCard] = {}
    sound = {}
    for name, objective in objectives.items():
        if isinstance(objective, Exception):
            cards[name] = unjudged(name, None, [described(objective)], 0.0, settings["only"])
            progress(1.0, what="not judged", task=name)
        else:
            sound[name] = objective
    here = sound if workers == 1 or len(sound) == 1 else {k: v for k, v in sound.items() if not _can_travel(v)}
    elsewhere = {name: objective for name, objective in sound.items() if name not in here}
    if elsewhere:
        cards |= _in_processes(elsewhere, workers, progress, settings)
    for name, objective in here.items():
        cards[name] = _guarded(name, objective, settings, partial(progress, task=name))
        progress(1.0, what="done", task=name)
    return ReportCards(_told(cards[name], settings) for name in objectives)


def _told(card: ReportCard, settings: Mapping[str, Any]) -> ReportCard:
    """The card, with how it was made where it says nothing of that: no audit came to its end."""
    if card.made is not None:
        return card
    return replace(card, made=provenance("ea.audit_many", settings["effort"], settings["seed"]))


def _can_travel(objective: Objective) -> bool:
    """Whether it can be sent to another process; what is defined in a notebook, or made of lambdas, cannot."""
    try:
        pickle.dumps(objective)
    except Exception:
        return False
    return type(objective).__module__ != "__main__"


def _in_processes(
    objectives: Mapping[str, Objective], workers: int, progress: Progress, settings: dict[str, Any]
) -> dict[str, ReportCard]:
    """Each loss in a fresh process: one that crashes takes only its own card with it."""
    context = multiprocessing.get_context("spawn")
    cards: dict[str, ReportCard] = {}
    waiting = list(objectives)
    with context.Manager() as manager:
        channel = manager.Queue()
        retry: list[str] = []
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            running: dict[Future[ReportCard], str] = {
                pool.submit(_remote, name, objectives[name], settings, channel): name for name in waiting
            }
            while running:
                done, _ = wait(running, timeout=0.1, return_when="FIRST_COMPLETED")
                while not channel.empty():
                    name, stage, fraction = channel.get()
                    progress(fraction, what=stage, task=name)
                for future in done:
                    name = running.pop(future)
                    try:
                        cards[name] = future.result()
                        progress(1.0, what="done", task=name)
                    except BrokenProcessPool:
                        retry.append(name)
                    except Exception as error:
                        cards[name] = unjudged(name, objectives[name], [described(error)], 0.0, settings["only"])
                        progress(1.0, what="not judged", task=name)
        for name in retry:  # one of them took the pool down: each gets a process to itself
            with ProcessPoolExecutor(1, mp_context=context) as alone:
                try:
                    cards[name] = alone.submit(_remote, name, objectives[name], settings, channel).result()
                except BrokenProcessPool:
                    cards[name] = unjudged(
                        name, objectives[name], ["it ended the process that computed it"], 0.0, settings["only"]
                    )
            progress(1.0, what="done", task=name)
    return cards


def _remote(name: str, objective: Objective, settings: dict[str, Any], channel: Any) -> ReportCard:
    def tell(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        channel.put((name, what, done / total))

    return _guarded(name, objective, settings, tell)


def _guarded(name: str, objective: Objective, settings: dict[str, Any], progress: Progress) -> ReportCard:
    try:
        return audit(objective, name=name, progress=progress, **settings)
    except Exception as error:
        return unjudged(name, objective, [described(error)], 0.0, settings["only"])


def described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
