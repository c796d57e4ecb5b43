"""`audit`: a loss in, a report card out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd

from .._child import LATE, in_copy, told
from .._progress import Progress, silent
from .._threads import one_thread
from .._watch import TIME_UP, Outcome, Watch
from ..losses import Objective
from ..losses.from_function import FunctionLoss
from .code import audit_call, written
from .decide import contradicted, decide, reconsidered
from .questions import JUDGES, consistency
from .report.provenance import provenance
from .report.report_card import ReportCard
from .rules.no_optimum import no_risk
from .subject import Subject, Unclaimed, unclaimed
from .suspicion.once import inspected
from .suspicion.soundness import COUPLES, Inspection, first_call
from .verdict import CANNOT_TELL, DESIDERATA, Verdict

OWN_LIMIT = 30.0
"""Seconds that a loss of somebody's own may take, times the effort where that is above 1; none for the package's."""

AMPLE, GRACE = 1.5, 5.0
"""An audit in a copy of this process is ended after its limit times the first and so many seconds more."""

INSPECTION = 0.5
"""The share of the time limit that the inspection of a loss may take."""


def audit(
    objective: Objective,
    *,
    name: str | None = None,
    progress: Progress = silent,
    effort: float = 1.0,
    seed: int = 0,
    only: str | Iterable[str] | None = None,
    time_limit: float | None = None,
) -> ReportCard:
    """Judge a loss by every desideratum.

    Args:
        objective: any `Objective`, such as ``ea.DPO(0.1)`` or one of your own; all lambdas are tried, not just its own.
        name: what to call it; its ``name`` by default.
        progress: called with the fraction done, from 0 to 1, and what is being done.
        effort: multiplies the number of problems tried.
        seed: of every random number; the same seed gives the same card.
        only: the desiderata to judge, or one of them; all by default. What they follow from is judged too, unseen.
        time_limit: seconds, after which what is not judged is left out, and a remark says so. By default 30 for a loss
            that is not the package's, times ``effort`` where that is above 1; ``math.inf`` is no limit. A card that
            ran into its limit depends on the machine; every other one is the same each time.

    Returns:
        A `ReportCard`. Nothing that the loss does wrong raises an exception, not even one that exits: it is reported in
        ``remarks``, and what could not be judged is "cannot tell". A loss that is not the package's is audited in a
        copy of this process, which it may end; on Linux, and without JAX. (Elsewhere a loss that kills its process
        takes this call with it; `audit_many` and the command line have processes for that.)

    Raises:
        TypeError: ``objective`` is not an Objective. ValueError: ``effort`` or ``time_limit`` is not positive, ``seed``
            is negative, or ``only`` has what is no desideratum.

    Example:
        >>> import expo_analysis as ea
        >>> ea.audit(ea.DPO(lam=0.1), effort=0.1).verdicts["preservation"].decision
        'fails'
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be an Objective such as ea.DPO(lam=0.1), got {type(objective).__name__}")
    if not effort > 0:
        raise ValueError(f"effort must be a positive number, got {effort!r}")
    if not (isinstance(seed, int) and seed >= 0):
        raise ValueError(f"seed must be an integer from 0 on, got {seed!r}")
    asked, limit = chosen(only), limit_of(objective, effort, time_limit)

    def made(progress: Progress) -> ReportCard:
        with one_thread(), Watch(limit, guarded=is_own(objective)) as watch:
            card = _audit(objective, name, progress, effort, seed, asked, watch)
            call = watch.call(lambda: audit_call(objective, effort, seed, asked, time_limit)).value or ""
        return replace(card, made=provenance(call, effort, seed))

    if not is_own(objective):
        return made(progress)
    found = in_copy(lambda: replace(made(told), objective=None), AMPLE * limit + GRACE, progress)
    if found is None:
        return made(progress)
    if found.ended:
        why = (
            f"{TIME_UP}, {limit:g} s: {LATE}"
            if found.ended == LATE
            else f"it ends the process that calls it ({found.ended})"
        )
        card = unjudged(name or str(type(objective).name), objective, [why], limit, asked)
        return replace(card, made=provenance(audit_call(objective, effort, seed, asked, time_limit), effort, seed))
    card = found.value
    return replace(card, objective=objective)


def limit_of(objective: Objective, effort: float, time_limit: float | None) -> float:
    """Seconds that an audit may take: what is asked for, else none for a loss that is the package's throughout.

    Raises:
        ValueError: it is not positive.
    """
    if time_limit is not None:
        if not time_limit > 0:
            raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
        return float(time_limit)
    return OWN_LIMIT * max(1.0, effort) if is_own(objective) else math.inf


def is_own(objective: Objective) -> bool:
    """Whether a loss is somebody's own: its class, or a function that it is given, is not the package's."""
    package = __name__.partition(".")[0]
    parts = [type(objective), *(value for value in vars(objective).values() if isinstance(value, FunctionType))]
    return isinstance(objective, FunctionLoss) or any(part.__module__.partition(".")[0] != package for part in parts)


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
    objective: Objective,
    name: str | None,
    progress: Progress,
    effort: float,
    seed: int,
    asked: tuple[str, ...],
    watch: Watch,
) -> ReportCard:
    label = name or watch.call(lambda: str(getattr(objective, "name", ""))).value or type(objective).__name__
    progress(0.0, what="is it a loss?")
    verdicts: dict[str, Verdict] = {}  # which the subject sees grow
    subject, remarks = _subject(objective, effort, seed, watch, verdicts)
    if COUPLES in remarks:
        seconds = time.monotonic() - watch.started
        return ReportCard(label, objective, no_risk(asked), tuple(remarks), _no_path(), seconds)
    if subject is None:
        return unjudged(label, objective, remarks, time.monotonic() - watch.started, asked)
    known = _judged(subject, asked, progress, watch, verdicts)
    refuted = next(filter(contradicted, known.values()), None)
    if refuted is not None and (bare := unclaimed(subject)) is not None:
        remarks.append(
            f"a search contradicts {refuted.rule} ({DESIDERATA[refuted.desideratum].title.lower()}): something that it "
            "states of itself may be false; it is therefore audited without that, and less can be proven of it"
        )
        verdicts.clear()
        known = _judged(bare, asked, progress, watch, verdicts)
    left_out = [key for key in asked if known[key].summary == TIME_UP]
    if left_out:
        remarks.append(
            f"{TIME_UP}, {watch.seconds:g} s, and left out: {', '.join(left_out)}; a longer time_limit judges these too"
        )
    progress(1.0, what="its path")
    path = watch.call(lambda: _path(subject)).value
    shown = {key: known[key] for key in asked}
    seconds = time.monotonic() - watch.started
    return ReportCard(label, objective, shown, tuple(remarks), _no_path() if path is None else path, seconds)


def _judged(
    subject: Subject, asked: tuple[str, ...], progress: Progress, watch: Watch, verdicts: dict[str, Verdict]
) -> dict[str, Verdict]:
    """The verdicts on what is asked for, and on what these follow from; ``verdicts``, which the subject sees, grows."""
    order = in_order(sorted(asked, key=late))
    for k, key in enumerate(order):
        progress((k + 1) / (len(order) + 1), what=DESIDERATA[key].title)
        share = watch.left if key == order[-1] else watch.left / 2  # one that takes long leaves time for others
        found = watch.call(lambda key=key: decide(key, JUDGES[key], subject, verdicts), share)  # type: ignore[misc]
        verdicts[key] = found.value or _undecided(key, found)
    again = watch.call(lambda: reconsidered(subject, verdicts))
    asked_with, known = dict(verdicts), again.value or dict(verdicts)
    for key, premises in PREMISES.items():  # what speaks of others that were decided later
        if key in known and known[key].decision == CANNOT_TELL and any(known[p] != asked_with[p] for p in premises):
            verdicts.update(known)
            late_one = watch.call(lambda key=key: decide(key, JUDGES[key], subject, verdicts))  # type: ignore[misc]
            known = {**known, key: late_one.value or known[key]}
    return known


def _subject(
    objective: Objective, effort: float, seed: int, watch: Watch, verdicts: dict[str, Verdict]
) -> tuple[Subject | None, list[str]]:
    """The loss as the judges may see it, None where it cannot be judged; and remarks."""
    first = watch.call(lambda: first_call(objective))
    found = watch.call(lambda: inspected(objective), INSPECTION * watch.seconds) if not first.failure else first
    if found.timed_out:
        slow = "a single call of it does not return" if first.timed_out else f"one call of it takes {first.value:.2g} s"
        return None, [f"{TIME_UP}, {watch.seconds:g} s, before it was clear that it is a sound loss: {slow}"]
    inspection = found.value
    if not isinstance(inspection, Inspection):
        return None, [f"it raises {found.failure}"]
    how = objective.remarks if isinstance(objective, FunctionLoss) else ()
    remarks = [*how, *inspection.remarks]
    if inspection.objective is None:
        return None, remarks
    loss = inspection.objective
    alone = loss.of if isinstance(loss, Unclaimed) and loss.keeps_claims else loss  # code has one lambda only
    code = watch.call(lambda: written(alone))
    expression, imports = code.value or ("loss.with_lam(lam)", "import expo_analysis as ea\nloss = ...  # put it here")
    return Subject(loss, expression, imports, effort=effort, seed=seed, verdicts=verdicts), remarks


def late(key: str) -> int:
    """Desiderata in the order in which they are judged: what is decided fast first, in case that time runs out."""
    slow = ("improvement", "constraint_robustness", "monotone_path")
    return -1 if key == "first_step" else slow.index(key) + 1 if key in slow else 0


def _undecided(key: str, found: Outcome[Verdict]) -> Verdict:
    if found.timed_out:
        return Verdict(key, CANNOT_TELL, TIME_UP, "none", {})
    return Verdict(key, CANNOT_TELL, f"the attempt to find out failed ({found.failure})", "none", {})


PREMISES: dict[str, tuple[str, ...]] = {
    "weak_interpolation": ("strong_interpolation",),
    "preservation": ("first_step",),
    "improvement": ("first_step", "preservation"),
    "monotone_path": ("first_step", "preservation", "improvement", "reference_limit"),
    "small_lambda": ("strong_interpolation", "weak_interpolation"),
    "displacement": ("existence", "conservation"),
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
    how = objective.remarks if isinstance(objective, FunctionLoss) else ()  # it was read, which is no reason
    reasons = [remark for remark in remarks if remark not in how]
    why = f"the loss cannot be judged: {reasons[0]}" if reasons else "the loss cannot be judged"
    verdicts = {key: Verdict(key, CANNOT_TELL, why, "none", {}) for key in asked}
    return ReportCard(name, objective, verdicts, tuple(remarks), _no_path(), seconds)


def _path(subject: Subject) -> pd.DataFrame:
    """Optima on the paper's first bandit, from lambda = 1e-4 to 1e4, where there are any."""
    lams = 10.0 ** (np.arange(-40, 41) / 10)
    optima = subject.optima(consistency.POPULATION, lams)
    kept = optima.exists[:, 0]
    return _frame(lams[kept], optima.policies[kept, 0])


def _no_path() -> pd.DataFrame:
    return _frame(np.empty(0), np.empty((0, 3)))


def _frame(lams: Any, policies: Any) -> pd.DataFrame:
    return pd.DataFrame({"lam": lams, **{f"y{k + 1}": policies[:, k] for k in range(3)}})
