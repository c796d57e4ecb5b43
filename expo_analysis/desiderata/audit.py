"""`audit`: a loss in, a report card out; `audit_many`: the same for many losses, each by itself."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from .._progress import Progress, silent
from .._threads import one_thread
from ..losses import Objective
from . import (
    conservation,
    consistency,
    constraint_robustness,
    existence,
    first_step,
    improvement,
    monotone_path,
    preservation,
    reference_limit,
    strong_interpolation,
    uniqueness,
    weak_interpolation,
)
from .report_card import ReportCard, ReportCards
from .soundness import inspect
from .subject import Subject, Unclaimed
from .verdict import CANNOT_TELL, DESIDERATA, Verdict

JUDGES: dict[str, Callable[[Subject], Verdict]] = {
    module.KEY: module.judge
    for module in (
        reference_limit,
        strong_interpolation,
        weak_interpolation,
        preservation,
        improvement,
        monotone_path,
        existence,
        uniqueness,
        conservation,
        constraint_robustness,
        first_step,
        consistency,
    )
}
"""By desideratum, in the order of the report card. A new one is a module with ``KEY`` and ``judge``, and a line both
here and in `DESIDERATA`."""


def audit(
    objective: Objective,
    *,
    name: str | None = None,
    progress: Progress = silent,
    effort: float = 1.0,
) -> ReportCard:
    """Judge a loss by every desideratum.

    Args:
        objective: any `Objective`, such as ``ea.DPO(0.1)`` or one of your own; all lambdas are tried, not just its own.
        name: what to call it; its ``name`` by default.
        progress: called with the fraction done, from 0 to 1, and what is being done.
        effort: multiplies the number of problems tried.

    Returns:
        A `ReportCard`. Nothing that the loss does wrong raises an exception: it is reported in ``remarks``, and what
        could not be judged is "cannot tell".

    Raises:
        TypeError: ``objective`` is not an Objective. ValueError: ``effort`` is not positive.

    Example:
        >>> import expo_analysis as ea
        >>> ea.audit(ea.DPO(lam=0.1), effort=0.1).verdicts["preservation"].decision
        'fails'
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be an Objective such as ea.DPO(lam=0.1), got {type(objective).__name__}")
    if not effort > 0:
        raise ValueError(f"effort must be a positive number, got {effort!r}")
    label = name or str(getattr(objective, "name", type(objective).__name__))
    with one_thread():
        return _audit(objective, label, progress, effort)


def _audit(objective: Objective, label: str, progress: Progress, effort: float) -> ReportCard:
    started = time.perf_counter()
    progress(0.0, what="is it a loss?")
    inspection = inspect(objective)
    remarks = list(inspection.remarks)
    if inspection.objective is None:
        return _unjudged(label, objective, remarks, time.perf_counter() - started)
    subject = Subject(inspection.objective, *written(inspection.objective), effort=effort)
    verdicts = {}
    for k, (key, judge) in enumerate(JUDGES.items()):
        progress((k + 1) / (len(JUDGES) + 1), what=DESIDERATA[key].title)
        try:
            verdicts[key] = judge(subject)
        except Exception as error:  # a user's code may raise anything, anywhere
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            verdicts[key] = Verdict(key, CANNOT_TELL, f"the attempt to find out failed ({why})", "none", {})
    progress(1.0, what="its path")
    return ReportCard(label, objective, verdicts, tuple(remarks), _path(subject), time.perf_counter() - started)


def audit_many(
    objectives: Mapping[str, Objective | Exception],
    *,
    workers: int = 2,
    progress: Progress = silent,
    effort: float = 1.0,
) -> ReportCards:
    """`audit` for each loss, in processes of their own, so that no loss can harm another.

    Args:
        objectives: by name. An exception stands for a loss that could not be built; its card says what happened.
        workers: how many processes.
        progress: called with the fraction done of a loss, what is being done, and the loss's name as the task.
    """
    cards: dict[str, ReportCard] = {}
    sound = {}
    for name, objective in objectives.items():
        if isinstance(objective, Exception):
            cards[name] = _unjudged(name, None, [_described(objective)], 0.0)
            progress(1.0, what="not judged", task=name)
        else:
            sound[name] = objective
    here = sound if workers == 1 or len(sound) == 1 else {k: v for k, v in sound.items() if not _can_travel(v)}
    elsewhere = {name: objective for name, objective in sound.items() if name not in here}
    if elsewhere:
        cards |= _in_processes(elsewhere, workers, progress, effort)
    for name, objective in here.items():
        cards[name] = _guarded(name, objective, effort, partial(progress, task=name))
        progress(1.0, what="done", task=name)
    return ReportCards(cards[name] for name in objectives)


def _can_travel(objective: Objective) -> bool:
    """Whether it can be sent to another process; what is defined in a notebook, or made of lambdas, cannot."""
    try:
        pickle.dumps(objective)
    except Exception:
        return False
    return type(objective).__module__ != "__main__"


def _in_processes(
    objectives: Mapping[str, Objective], workers: int, progress: Progress, effort: float
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
                pool.submit(_remote, name, objectives[name], effort, channel): name for name in waiting
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
                        cards[name] = _unjudged(name, objectives[name], [_described(error)], 0.0)
                        progress(1.0, what="not judged", task=name)
        for name in retry:  # one of them took the pool down: each gets a process to itself
            with ProcessPoolExecutor(1, mp_context=context) as alone:
                try:
                    cards[name] = alone.submit(_remote, name, objectives[name], effort, channel).result()
                except BrokenProcessPool:
                    cards[name] = _unjudged(name, objectives[name], ["it ended the process that computed it"], 0.0)
            progress(1.0, what="done", task=name)
    return cards


def _remote(name: str, objective: Objective, effort: float, channel: Any) -> ReportCard:
    def tell(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        channel.put((name, what, done / total))

    return _guarded(name, objective, effort, tell)


def _guarded(name: str, objective: Objective, effort: float, progress: Progress) -> ReportCard:
    try:
        return audit(objective, name=name, progress=progress, effort=effort)
    except Exception as error:
        return _unjudged(name, objective, [_described(error)], 0.0)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _unjudged(name: str, objective: Objective | None, remarks: list[str], seconds: float) -> ReportCard:
    why = f"the loss cannot be judged: {remarks[0]}" if remarks else "the loss cannot be judged"
    verdicts = {key: Verdict(key, CANNOT_TELL, why, "none", {}) for key in DESIDERATA}
    return ReportCard(name, objective, verdicts, tuple(remarks), _frame(np.empty(0), np.empty((0, 3))), seconds)


def _path(subject: Subject) -> pd.DataFrame:
    """Optima on the paper's first bandit, from lambda = 1e-4 to 1e4, where there are any."""
    lams = 10.0 ** (np.arange(-40, 41) / 10)
    try:
        optima = subject.optima(consistency.POPULATION, lams)
    except Exception:
        return _frame(np.empty(0), np.empty((0, 3)))
    kept = optima.exists[:, 0]
    return _frame(lams[kept], optima.policies[kept, 0])


def _frame(lams: Any, policies: Any) -> pd.DataFrame:
    return pd.DataFrame({"lam": lams, **{f"y{k + 1}": policies[:, k] for k in range(3)}})


def written(objective: Objective) -> tuple[str, str]:
    """Python that builds the loss at a lambda named ``lam``, and the imports that it needs."""
    imports = ["import numpy as np", "import expo_analysis as ea"]
    if isinstance(objective, Unclaimed):
        inner = _python(objective.of, imports)
        imports.append(f"from {Unclaimed.__module__} import Unclaimed")
        alone = ", one_lambda_at_a_time=True" if objective.one_lambda_at_a_time else ""
        return f"Unclaimed(lam, {inner}{alone})", "\n".join(imports)
    return _python(objective, imports), "\n".join(imports)


def _python(value: Any, imports: list[str], name: str = "loss") -> str:
    """Python for a value called ``name``, in which objectives have ``lam``; what it needs is added to ``imports``."""
    if callable(value) and not isinstance(value, Objective) and not dataclasses.is_dataclass(value):
        return _function(value, imports, name)
    if not dataclasses.is_dataclass(value):
        return repr(value)
    cls = type(value)
    options = []
    for field in dataclasses.fields(value):
        option = getattr(value, field.name)
        if isinstance(value, Objective) and field.name == "lam":
            options.append("lam")
        elif not _is_default(field, option):
            options.append(f"{field.name}={_python(option, imports, field.name)}")
    if getattr(sys.modules[__name__.split(".")[0]], cls.__name__, None) is cls:
        return f"ea.{cls.__name__}({', '.join(options)})"
    line = f"from {cls.__module__} import {cls.__name__}"
    if line not in imports:
        imports.append(line)
    return f"{cls.__name__}({', '.join(options)})"


def _function(value: Any, imports: list[str], name: str) -> str:
    """A name for a function: its own, if it can be imported by it, else ``name``, with room to put the function."""
    own, home = str(getattr(value, "__qualname__", "")), getattr(value, "__module__", None)
    if getattr(torch, own.split(".")[-1], None) is value:
        line, name = "import torch", f"torch.{own.split('.')[-1]}"
    elif home and getattr(sys.modules.get(home), own, None) is value:
        line, name = f"from {home} import {own}", own
    else:
        code = getattr(value, "__code__", None)
        where = f" of line {code.co_firstlineno} of {Path(code.co_filename).name}" if code else ""
        line = f"{name} = ...  # put the function{where} here: it has no name to import it by"
    if line not in imports:
        imports.append(line)
    return name


def _is_default(field: Any, value: Any) -> bool:
    return field.default is not dataclasses.MISSING and bool(np.all(value == field.default))
