"""Verdicts on limits: shared by the desiderata that say where the optimum goes as lambda tends to an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...losses import BradleyTerry
from ..falsify.search import Case, Measure, case_code, confirm, shrink
from ..rules.rule import formula_of
from ..subject import Optima, Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, Counterexample, Verdict
from .limits import CLEAR, SHOWN, Approach, End, describe_limit, follow, judge, lead_of_mode, limit_problems
from .outcome import case_numbers

COUNT = 100
"""Problems of each kind. A loss that is solved fast gets all of them whatever the effort, as exceptions to a limit are
few: IPO's, say, whose limit with uneven pairs is not always the mode."""


KnownOptima = Callable[[Subject, Case, Optima], str]


@dataclass(frozen=True)
class Limit:
    """What is asked: whether the optimum tends to ``target`` (a function of the bandit), called ``name``, at one end of
    lambda; ``code`` is the target in Python."""

    key: str
    end: End
    target: Callable[[Bandit], Floats]
    name: str
    code: str

    @property
    def arrow(self) -> str:
        return f"λ → {'0' if self.end == 'zero' else '∞'}"


def judge_limit(
    subject: Subject, limit: Limit, suspected: Bandit | None = None, known: KnownOptima | None = None
) -> Verdict:
    """Whether the optimum tends there.

    suspected: problems on which it is suspected not to. They are looked at first; if it does not, that is the answer.
    known: says in words how optima of these are known to be optima; empty where they are not.
    """
    approaches: list[Approach] = []
    if suspected is not None:
        approaches = [follow(subject, suspected, limit.end, limit.target(suspected), far=True)]
        found = _refuted(subject, limit, approaches, always=False, known=known)
        if found is not None:
            return found
    tried = False
    for bandit in limit_problems(subject, COUNT if subject.fast else subject.count(COUNT, least=3)):
        approaches.append(follow(subject, bandit, limit.end, limit.target(bandit)))
        if approaches[-1].elsewhere.any() and (subject.certified or not tried):
            tried, found = True, _refuted(subject, limit, approaches)
            if found is not None:
                return found
    evidence, conditions = _looked(subject, limit, approaches)
    count, reached, proven = (evidence[name] for name in ("problems", "tend to it", "with proven optima"))
    tends = f"as {limit.arrow} the optimum tends to {limit.name}"
    if evidence["tend elsewhere"]:
        why = f"{evidence['tend elsewhere']} of {count} optima seem not to tend to {limit.name}, but are not proven"
        return Verdict(limit.key, CANNOT_TELL, why, conditions, evidence)
    if reached == proven == count:
        return Verdict(limit.key, HOLDS, tends, conditions, evidence)
    why = "the others are undecided" if reached < count else "but the optima are not proven"
    return Verdict(limit.key, CANNOT_TELL, f"{tends} on {reached} of {count} problems; {why}", conditions, evidence)


def _looked(subject: Subject, limit: Limit, approaches: list[Approach]) -> tuple[dict[str, Any], str]:
    """What was seen, by names, and where."""
    counts = {
        name: sum(int(getattr(a, field).sum()) for a in approaches)
        for name, field in (
            ("tend to it", "reached"),
            ("tend elsewhere", "elsewhere"),
            ("with proven optima", "proven"),
        )
    }
    count = sum(len(a.reached) for a in approaches)
    outmost = min(len(a.distance) for a in approaches) - 1
    farthest = max(np.abs(np.log10(a.optima.lams)).max() for a in approaches)
    evidence: dict[str, Any] = {
        "problems": count,
        **counts,
        "undecided": count - counts["tend to it"] - counts["tend elsewhere"],
        f"largest distance from it at λ = {approaches[0].optima.lams[outmost]:g}": max(
            float(a.distance[outmost].max()) for a in approaches
        ),
    }
    if limit.end == "zero" and formula_of(subject).is_explicit:
        evidence["λ = 0 itself, the preferences alone: distance of its optimum from it"] = _without_regulariser(
            subject, [(a.bandit, limit.target(a.bandit)) for a in approaches]
        )
    rates = np.concatenate([np.where(a.reached, a.rate, np.nan) for a in approaches])
    if np.isfinite(rates).any():
        evidence[f"rate (power of {'λ' if limit.end == 'zero' else '1/λ'}, median)"] = float(np.nanmedian(rates))
    sizes = [a.bandit.n for a in approaches]
    conditions = (
        f"{count} problems with {min(sizes)} to {max(sizes)} responses, connected comparison graphs, even and uneven "
        "pairs and paths; a unique mode of π*, all probabilities above 0.01; λ from 1 by decades to "
        f"1e{'-' if limit.end == 'zero' else ''}{farthest:.0f}"
    )
    return evidence, conditions


def _refuted(
    subject: Subject,
    limit: Limit,
    approaches: list[Approach],
    always: bool = True,
    known: KnownOptima | None = None,
) -> Verdict | None:
    """The verdict where optima of the last problems tend elsewhere; None where that is not so, or not certain.

    always: whether these problems show what happens in general.
    """
    last = approaches[-1]
    example = _counterexample(subject, last, limit, known) if last.elsewhere.any() else None
    if example is None:
        return None
    described = describe_limit(approaches[-1])
    summary = f"as {limit.arrow} the optimum tends to {described}, not to {limit.name}"
    if not always or any(a.reached.any() for a in approaches):
        summary = f"as {limit.arrow} the optimum does not always tend to {limit.name}: here to {described}"
    evidence, conditions = _looked(subject, limit, approaches)
    return Verdict(limit.key, FAILS, summary, conditions, evidence, example)


def _without_regulariser(subject: Subject, problems: list[tuple[Bandit, Floats]]) -> float:
    """The limiting problem of an explicit objective, solved: largest 1-norm distance of its optima from the target."""
    alone = replace(subject, objective=BradleyTerry(1.0), remembered={})
    gaps = [np.abs(alone.optima(bandit, [1.0]).policies[0] - target).sum(axis=-1) for bandit, target in problems]
    return float(np.concatenate(gaps).max())


def _counterexample(
    subject: Subject, approach: Approach, limit: Limit, known: KnownOptima | None = None
) -> Counterexample | None:
    """The simplest problem found whose optima tend elsewhere; or the first, where it is known to be one."""
    lams = tuple(float(x) for x in approach.optima.lams[-SHOWN - 1 :])

    def excess(optima: Optima, bandit: Bandit) -> Floats:
        judged = judge(bandit, optima, limit.target(bandit))
        # of two modes neither is the one asked for
        asked = judged.elsewhere & optima.single.all(axis=0) & (lead_of_mode(bandit) > CLEAR)
        return np.where(asked, judged.distance[-1], -1.0)[None]

    measure = Measure(excess, span=SHOWN + 1)
    for p in np.flatnonzero(approach.elsewhere)[: 3 if subject.certified else 1]:
        simplest = Case.of(approach.bandit, int(p), lams)
        how = "" if known is None else known(subject, simplest, approach.optima.problems([int(p)]))
        far = float(approach.distance[-1, p])
        if not how:
            simplest = shrink(subject, measure, simplest)
            far, how = confirm(subject, measure, simplest)
        if how:
            last = subject.optima(Bandit(*_as_batch(simplest)), lams).policies[-1, 0]
            return Counterexample(
                f"at λ = {lams[-1]:g} the optimum {np.round(last, 6).tolist()} is {far:.3g} away from {limit.name} in "
                "1-norm, and the distance has stopped falling",
                {**case_numbers(simplest), "policy": last.tolist(), "distance": far, "optimum": how},
                case_code(
                    subject,
                    simplest,
                    [
                        f"distance = [abs(s.policy - {limit.code}).sum() for s in solutions]",
                        "print(solutions[-1].policy, distance)",
                        "assert distance[-1] > max(1e-6, 2 * abs(solutions[-1].policy - solutions[-2].policy).sum())",
                    ],
                ),
            )
    return None


def _as_batch(case: Case) -> tuple[Floats, Floats, Floats | str]:
    return case.reference[None], case.optimal[None], "uniform" if case.pairs is None else case.pairs
