"""Where lambda -> 0 leads: to pi*, to its mode, or to what else? [ours, of two criteria of the paper's]

The strong criterion (pi*) and the weak one (its mode) exclude each other, and a loss that meets either has a limit that
the preferences describe. This question takes the two together: it holds if one of them does. Where both fail the answer
says in words where the optima go; there is no further search. A rule that decides one of the two decides this one.
"""

from __future__ import annotations

from ..falsify.problems import pi_star
from ..ordinary import not_a_risk
from ..subject import Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Verdict
from . import strong_interpolation, weak_interpolation
from .at_limit import COUNT
from .limits import describe_limit, follow, limit_problems

KEY = "small_lambda"
TARGETS = {strong_interpolation.KEY: "π*", weak_interpolation.KEY: "the mode of π*"}


def judge(subject: Subject) -> Verdict:
    """What the verdicts on the strong and the weak criterion say together."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    both = {
        module.KEY: subject.verdicts.get(module.KEY) or module.judge(subject)
        for module in (strong_interpolation, weak_interpolation)
    }
    for key, target in TARGETS.items():
        found = both[key]
        if found.decision == HOLDS:
            summary = f"as λ → 0 the optimum tends to {target}"
            return Verdict(
                KEY, HOLDS, summary, found.conditions, found.evidence, basis=found.basis, rule=found.rule, answer=target
            )
    strong, weak = both.values()
    if strong.decision == weak.decision == NOT_APPLICABLE:
        return Verdict(KEY, NOT_APPLICABLE, weak.summary, weak.conditions)
    where = limits(subject)
    if CANNOT_TELL in (strong.decision, weak.decision):
        why = (
            f"the limit is {where}, as far as it was followed, but that is not proven"
            if where
            else ("nowhere was the optimum seen to go elsewhere than to π*, but that is not proven")
        )
        undecided = strong if strong.decision == CANNOT_TELL else weak
        return Verdict(KEY, CANNOT_TELL, why, undecided.conditions, undecided.evidence, answer=where)
    failed = weak if weak.decision == FAILS else strong
    proven = all(verdict.basis == PROVEN for verdict in both.values() if verdict.decision == FAILS)
    return Verdict(
        KEY,
        FAILS,
        f"as λ → 0 the optimum tends neither to π* nor always to its mode, but to {where or 'no one place'}",
        failed.conditions,
        failed.evidence,
        failed.counterexample,
        failed.basis if proven else "evidence",
        failed.rule if proven else "",
        failed.severity,
        where,
    )


def limits(subject: Subject) -> str:
    """In words, where optima go that do not go to pi*, on the problems of the strong criterion; empty if none do."""
    found = []
    for bandit in limit_problems(subject, COUNT if subject.fast else subject.count(COUNT, least=3)):
        approach = follow(subject, bandit, "zero", pi_star(bandit))
        if approach.elsewhere.any():
            found.append(describe_limit(approach))
    if not found:
        return ""
    different = list(dict.fromkeys(found))
    if different == ["no minimiser"]:
        return "nothing: there is no minimiser"
    mode = "the point mass on π*'s mode"
    if set(different) == {mode, "the shares of surplus wins (wins less losses, where positive)"}:
        return "the winners, each in proportion to its wins less its losses"
    if set(different) == {mode, "a point mass that is not always on π*'s mode"}:
        return "a point mass, mostly on π*'s mode"
    return different[0] if len(different) == 1 else f"{different[0]}, or {different[1]}"
