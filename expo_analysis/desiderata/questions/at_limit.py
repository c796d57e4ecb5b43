"""Verdicts on limits: shared by the desiderata that say where the optimum goes as lambda tends to an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...losses import BradleyTerry
from ..falsify.search import Case, Measure, case_code, confirm, shrink
from ..rules.formula import Formula
from ..subject import Optima, Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, Counterexample, Verdict
from .limits import SHOWN, Approach, End, describe_limit, follow, judge, limit_problems
from .outcome import case_numbers

COUNT = 100
"""Problems of each kind. A loss that is solved fast gets all of them whatever the effort, as exceptions to a limit are
few: IPO's, say, whose limit with uneven pairs is not always the mode."""


def judge_limit(
    subject: Subject,
    key: str,
    end: End,
    target: Callable[[Bandit], Floats],
    name: str,
    target_code: str,
) -> Verdict:
    """Whether the optimum tends to ``target`` (a function of the bandit, called ``name``) at one end of lambda."""
    approaches = [
        follow(subject, b, end, target(b))
        for b in limit_problems(subject, COUNT if subject.fast else subject.count(COUNT, least=3))
    ]
    count = sum(len(a.reached) for a in approaches)
    arrow = f"λ → {'0' if end == 'zero' else '∞'}"
    reached, elsewhere, proven = (
        sum(int(getattr(a, field).sum()) for a in approaches) for field in ("reached", "elsewhere", "proven")
    )
    rates = np.concatenate([np.where(a.reached, a.rate, np.nan) for a in approaches])
    outmost = min(len(a.distance) for a in approaches) - 1
    last = approaches[0].optima.lams[outmost]
    farthest = max(np.abs(np.log10(a.optima.lams)).max() for a in approaches)
    evidence = {
        "problems": count,
        "tend to it": reached,
        "tend elsewhere": elsewhere,
        "undecided": count - reached - elsewhere,
        "with proven optima": proven,
        f"largest distance from it at λ = {last:g}": max(float(a.distance[outmost].max()) for a in approaches),
    }
    if end == "zero" and Formula(subject.objective).is_explicit:
        evidence["λ = 0 itself, the preferences alone: distance of its optimum from it"] = _without_regulariser(
            subject, [(a.bandit, target(a.bandit)) for a in approaches]
        )
    if np.isfinite(rates).any():
        power = "λ" if end == "zero" else "1/λ"
        evidence[f"rate (power of {power}, median)"] = float(np.nanmedian(rates))
    sign = "-" if end == "zero" else ""
    conditions = (
        f"{count} problems with 2 to 5 responses, connected comparison graphs with even and uneven pairs, a unique "
        f"mode of π*, all probabilities above 0.01; λ from 1 by decades to 1e{sign}{farthest:.0f}"
    )
    if elsewhere:
        suspects = [a for a in approaches if a.elsewhere.any()]
        for approach in suspects if subject.certified else suspects[:1]:
            example = _counterexample(subject, approach, end, target, name, target_code)
            if example is not None:
                described = describe_limit(approach)
                summary = f"as {arrow} the optimum tends to {described}, not to {name}"
                if reached:
                    summary = f"as {arrow} the optimum does not always tend to {name}: here to {described}"
                return Verdict(key, FAILS, summary, conditions, evidence, example)
        return Verdict(
            key, CANNOT_TELL, f"some optima seem not to tend to {name}, but are not proven", conditions, evidence
        )
    if reached == proven == count:
        return Verdict(key, HOLDS, f"as {arrow} the optimum tends to {name}", conditions, evidence)
    why = "the limit is undecided on some problems" if reached < count else "the optima are not proven"
    return Verdict(key, CANNOT_TELL, f"the optima found tend to {name} where decided, but {why}", conditions, evidence)


def _without_regulariser(subject: Subject, problems: list[tuple[Bandit, Floats]]) -> float:
    """The limiting problem of an explicit objective, solved: largest 1-norm distance of its optima from the target."""
    alone = replace(subject, objective=BradleyTerry(1.0), remembered={})
    gaps = [np.abs(alone.optima(bandit, [1.0]).policies[0] - target).sum(axis=-1) for bandit, target in problems]
    return float(np.concatenate(gaps).max())


def _counterexample(
    subject: Subject, approach: Approach, end: End, target: Callable[[Bandit], Floats], name: str, target_code: str
) -> Counterexample | None:
    """The simplest problem found whose optima tend elsewhere."""
    lams = tuple(float(x) for x in approach.optima.lams[-SHOWN - 1 :])

    def excess(optima: Optima, bandit: Bandit) -> Floats:
        judged = judge(bandit, optima, target(bandit))
        return np.where(judged.elsewhere & optima.single.all(axis=0), judged.distance[-1], -1.0)[None]

    measure = Measure(excess, span=SHOWN + 1)
    for p in np.flatnonzero(approach.elsewhere)[: 3 if subject.certified else 1]:
        simplest = shrink(subject, measure, Case.of(approach.bandit, int(p), lams))
        far, how = confirm(subject, measure, simplest)
        if how:
            last = subject.optima(Bandit(*_as_batch(simplest)), lams).policies[-1, 0]
            return Counterexample(
                f"at λ = {lams[-1]:g} the optimum {np.round(last, 6).tolist()} is {far:.3g} away from {name} in "
                "1-norm, and the distance has stopped falling",
                {**case_numbers(simplest), "policy": last.tolist(), "distance": far, "optimum": how},
                case_code(
                    subject,
                    simplest,
                    [
                        f"distance = [abs(s.policy - {target_code}).sum() for s in solutions]",
                        "print(solutions[-1].policy, distance)",
                        "assert distance[-1] > max(1e-6, 2 * abs(solutions[-1].policy - solutions[-2].policy).sum())",
                    ],
                ),
            )
    return None


def _as_batch(case: Case) -> tuple[Floats, Floats, Floats | str]:
    return case.reference[None], case.optimal[None], "uniform" if case.pairs is None else case.pairs
