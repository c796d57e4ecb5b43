"""`audit_many`: an audit of each of many losses, in processes of their own."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import tasks
from .._effects import set_apart
from .._progress import Progress, silent
from ..losses import Objective
from ..losses.from_function import FunctionLoss
from ..own_file import in_words
from .audit import audit, chosen, is_own, unjudged
from .report.provenance import VERSION, provenance
from .report.report_card import ReportCard, ReportCards


def audit_many(
    objectives: Mapping[str, Objective | Exception],
    *,
    workers: int = 2,
    executor: Executor | None = None,
    keep: str | Path | None = None,
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
        workers: how many processes of this machine, or ``executor``, such as that of a cluster; docs/cluster.md.
        keep: a folder where each card is kept as soon as it is there, and found again where nothing that it depends on
            has changed: the package's version, the settings, the loss and, of your own, the file that it is written in.
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
    alone = (workers == 1 or len(sound) == 1) and executor is None and keep is None
    here = {k: v for k, v in sound.items() if (alone and not is_own(v)) or not _can_travel(v)}
    elsewhere = {name: objective for name, objective in sound.items() if name not in here}
    if elsewhere:
        given = {"executor": executor, "keep": keep, "workers": min(workers, len(elsewhere)), "progress": progress}
        cards |= _in_processes(elsewhere, settings, **given)
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


def _in_processes(objectives: Mapping[str, Objective], settings: dict[str, Any], **given: Any) -> dict[str, ReportCard]:
    """Each loss in a process that is not this one: one that crashes takes only its own card with it."""

    def failed(name: str, error: BaseException) -> ReportCard:
        why = "it ended the process that computed it" if isinstance(error, tasks.Lost) else in_words(error)
        return unjudged(name, objectives[name], [why], 0.0, settings["only"])

    jobs = {name: (name, objective, settings) for name, objective in objectives.items()}
    made_of = {name: _made_of(objective, settings) for name, objective in objectives.items()}
    return tasks.run(_guarded, jobs, settings=made_of, failed=failed, attempts=2, prepare=set_apart, **given)


def _made_of(objective: Objective, settings: Mapping[str, Any]) -> str:
    """What a card depends on."""
    source = ""
    if is_own(objective):
        written = objective.call.f if isinstance(objective, FunctionLoss) else type(objective)
        try:
            source = Path(inspect.getsourcefile(inspect.unwrap(written)) or "").read_text(encoding="utf-8")
        except (OSError, TypeError, ValueError):
            source = pickle.dumps(objective).hex()
    return repr((VERSION, sorted(settings.items()), type(objective).__qualname__, repr(objective), source))


def _guarded(name: str, objective: Objective, settings: dict[str, Any], progress: Progress) -> ReportCard:
    try:
        return audit(objective, name=name, progress=progress, **settings)
    except Exception as error:
        return unjudged(name, objective, [in_words(error)], 0.0, settings["only"])
