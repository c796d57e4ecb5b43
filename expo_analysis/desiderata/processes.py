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

from .._effects import set_apart
from .._progress import Progress, silent
from ..losses import Objective
from ..losses.from_function import FunctionLoss
from ..own_file import in_words
from .audit import audit, chosen, is_own, unjudged
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
    time_limit: float | None = None,
) -> ReportCards:
    """`audit` for each loss, in processes of their own, so that no loss can harm another or this process.

    A loss that cannot be sent to another process (of a notebook, of a lambda) is audited here, and so is the package's
    own where it is alone.

    Args:
        objectives: by name. An exception stands for a loss that could not be built; its card says what happened.
        workers: how many processes.
        progress: called with the fraction done of a loss, what is being done, and the loss's name as the task.
        time_limit: seconds for each loss, as in `audit`.
    """
    settings: dict[str, Any] = {"effort": effort, "seed": seed, "only": chosen(only), "time_limit": time_limit}
    cards: dict[str, ReportCard] = {}
    sound = {}
    for name, objective in objectives.items():
        if isinstance(objective, Exception):
            cards[name] = unjudged(name, None, [in_words(objective)], 0.0, settings["only"])
            progress(1.0, what="not judged", task=name)
        else:
            sound[name] = objective
    alone = workers == 1 or len(sound) == 1
    here = {k: v for k, v in sound.items() if (alone and not is_own(v)) or not _can_travel(v)}
    elsewhere = {name: objective for name, objective in sound.items() if name not in here}
    if elsewhere:
        cards |= _in_processes(elsewhere, min(workers, len(elsewhere)), progress, settings)
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
    made_here = objective.call.f if isinstance(objective, FunctionLoss) else type(objective)
    return getattr(made_here, "__module__", "__main__") != "__main__"


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
        with ProcessPoolExecutor(workers, mp_context=context, initializer=set_apart) as pool:
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
                    card = _card(future, name, objectives[name], settings)
                    if card is None:
                        retry.append(name)
                    else:
                        cards[name] = card
                        progress(1.0, what="done", task=name)
        for name in retry:  # one of them took the pool down: each gets a process to itself
            with ProcessPoolExecutor(1, mp_context=context, initializer=set_apart) as alone:
                future = alone.submit(_remote, name, objectives[name], settings, channel)
                ended = "it ended the process that computed it"
                cards[name] = _card(future, name, objectives[name], settings) or unjudged(
                    name, objectives[name], [ended], 0.0, settings["only"]
                )
            progress(1.0, what="done", task=name)
    return cards


def _card(future: Future[ReportCard], name: str, objective: Objective, settings: dict[str, Any]) -> ReportCard | None:
    """What became of an audit in another process; None where that process ended."""
    error = future.exception()  # whatever it is: result() would raise it here, also what ends a process
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        return None
    return unjudged(name, objective, [in_words(error)], 0.0, settings["only"])


def _remote(name: str, objective: Objective, settings: dict[str, Any], channel: Any) -> ReportCard:
    def tell(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        channel.put((name, what, done / total))

    return _guarded(name, objective, settings, tell)


def _guarded(name: str, objective: Objective, settings: dict[str, Any], progress: Progress) -> ReportCard:
    try:
        return audit(objective, name=name, progress=progress, **settings)
    except Exception as error:
        return unjudged(name, objective, [in_words(error)], 0.0, settings["only"])
