"""`audit`: a loss in, a report card out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from .._progress import Progress, silent
from .._threads import one_thread
from ..losses import Objective
from .code import audit_call, written
from .decide import decide, reconsidered
from .questions import JUDGES, consistency
from .report.provenance import provenance
from .report.report_card import ReportCard
from .subject import Subject
from .suspicion.soundness import inspect
from .verdict import CANNOT_TELL, DESIDERATA, Verdict


def audit(
    objective: Objective,
    *,
    name: str | None = None,
    progress: Progress = silent,
    effort: float = 1.0,
    seed: int = 0,
    only: str | Iterable[str] | None = None,
) -> ReportCard:
    """Judge a loss by every desideratum.

    Args:
        objective: any `Objective`, such as ``ea.DPO(0.1)`` or one of your own; all lambdas are tried, not just its own.
        name: what to call it; its ``name`` by default.
        progress: called with the fraction done, from 0 to 1, and what is being done.
        effort: multiplies the number of problems tried.
        seed: of every random number; the same seed gives the same card.
        only: the desiderata to judge, or one of them; all by default. What they follow from is judged too, unseen.

    Returns:
        A `ReportCard`. Nothing that the loss does wrong raises an exception: it is reported in ``remarks``, and what
        could not be judged is "cannot tell".

    Raises:
        TypeError: ``objective`` is not an Objective. ValueError: ``effort`` is not positive, ``seed`` is
            negative, or ``only`` has what is no desideratum.

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
    if not (isinstance(seed, int) and seed >= 0):
        raise ValueError(f"seed must be an integer from 0 on, got {seed!r}")
    asked = chosen(only)
    with one_thread():
        card = _audit(objective, label, progress, effort, seed, asked)
    return replace(card, made=provenance(audit_call(objective, effort, seed, asked), effort, seed))


def chosen(only: str | Iterable[str] | None) -> tuple[str, ...]:
    """The desiderata that are asked for, in the order of the report card.

    Raises:
        ValueError: one of them is none.
    """
    wanted = list(DESIDERATA) if only is None else [only] if isinstance(only, str) else list(only)
    unknown = [key for key in wanted if key not in DESIDERATA]
    if unknown or not wanted:
        raise ValueError(f"only must name desiderata among {', '.join(DESIDERATA)}, got {unknown or wanted}")
    return tuple(key for key in DESIDERATA if key in wanted)


def _audit(
    objective: Objective, label: str, progress: Progress, effort: float, seed: int, asked: tuple[str, ...]
) -> ReportCard:
    started = time.perf_counter()
    progress(0.0, what="is it a loss?")
    inspection = inspect(objective)
    remarks = list(inspection.remarks)
    if inspection.objective is None:
        return unjudged(label, objective, remarks, time.perf_counter() - started, asked)
    subject = Subject(inspection.objective, *written(inspection.objective), effort=effort, seed=seed)
    verdicts: dict[str, Verdict] = {}
    for k, key in enumerate(order := in_order(asked)):
        progress((k + 1) / (len(order) + 1), what=DESIDERATA[key].title)
        try:
            verdicts[key] = decide(key, JUDGES[key], subject, verdicts)
        except Exception as error:  # a user's code may raise anything, anywhere
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            verdicts[key] = Verdict(key, CANNOT_TELL, f"the attempt to find out failed ({why})", "none", {})
    verdicts = reconsidered(subject, verdicts)
    progress(1.0, what="its path")
    shown = {key: verdicts[key] for key in asked}
    return ReportCard(label, objective, shown, tuple(remarks), _path(subject), time.perf_counter() - started)


PREMISES: dict[str, tuple[str, ...]] = {
    "preservation": ("first_step",),
    "improvement": ("first_step", "preservation"),
    "monotone_path": ("first_step", "preservation", "improvement", "reference_limit"),
}
"""The desiderata whose verdicts rules about another one ask for; each is judged after them."""


def in_order(asked: Iterable[str]) -> list[str]:
    """The desiderata asked for and their premises, premises first."""
    order: list[str] = []
    for key in asked:
        order += [one for one in (*PREMISES.get(key, ()), key) if one not in order]
    return order


def unjudged(
    name: str,
    objective: Objective | None,
    remarks: list[str],
    seconds: float,
    asked: Iterable[str] = tuple(DESIDERATA),
) -> ReportCard:
    """The card of a loss that cannot be judged, for the reasons in the remarks."""
    why = f"the loss cannot be judged: {remarks[0]}" if remarks else "the loss cannot be judged"
    verdicts = {key: Verdict(key, CANNOT_TELL, why, "none", {}) for key in asked}
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
