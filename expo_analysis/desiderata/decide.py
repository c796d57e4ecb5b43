"""One verdict: theorems first, then the search; both where a theorem applies, as each is a check on the other.

Where they contradict each other the verdict is "cannot tell", and its ``rule`` is the theorem that was contradicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .rules import RULES, Conclusion, Known, Rule, first
from .severity import severity
from .subject import Subject
from .verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Verdict

CHECK = 0.1
"""The share of the usual effort that goes into a search which only checks a theorem."""


def decide(key: str, judge: Callable[[Subject], Verdict], subject: Subject, verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict on one desideratum, given those reached before it, with its severity."""
    found = first(RULES, key, Known(subject, verdicts))
    if found is None:
        verdict = judge(subject)
        if not verdict.basis and verdict.decision in (HOLDS, FAILS):
            verdict = replace(verdict, basis=EVIDENCE)
    elif found[1].decision == NOT_APPLICABLE:
        return _by_rule(key, *found)
    else:
        verdict = _checked(key, judge, subject, *found)
    if verdict.severity is None and verdict.decision in (FAILS, CANNOT_TELL):
        verdict = replace(verdict, severity=severity(key, subject, verdict))
    return verdict


def reconsidered(subject: Subject, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The verdicts, those that could not be told decided by what the others imply where a theorem says so."""
    known = dict(verdicts)
    changed = True
    while changed:
        changed = False
        for key, verdict in known.items():
            found = first(RULES, key, Known(subject, known)) if verdict.decision == CANNOT_TELL else None
            if found is None:
                continue
            shown = found[1].decision == FAILS and found[1].counterexample is not None
            if shown or (found[1].decision != FAILS and not contradicted(verdict)):
                known[key] = replace(_by_rule(key, *found), evidence=verdict.evidence, severity=verdict.severity)
                changed = True
    return known


def contradicted(verdict: Verdict) -> bool:
    """Whether a search found the contrary of what a theorem says: then something that the theorem rests on is false."""
    return verdict.decision == CANNOT_TELL and bool(verdict.rule)


def _by_rule(key: str, rule: Rule, conclusion: Conclusion) -> Verdict:
    return Verdict(
        key,
        conclusion.decision,
        conclusion.summary,
        rule.theorem,
        counterexample=conclusion.counterexample,
        basis=PROVEN,
        rule=rule.name,
        answer=conclusion.answer,
    )


def _checked(
    key: str, judge: Callable[[Subject], Verdict], subject: Subject, rule: Rule, conclusion: Conclusion
) -> Verdict:
    """What the theorem says, and the numbers that a search found; a contradiction is told, and decides nothing."""
    light = conclusion.decision == HOLDS or conclusion.settled or conclusion.counterexample is not None
    looked = judge(replace(subject, effort=subject.effort * CHECK) if light else subject)
    if looked.decision not in (conclusion.decision, CANNOT_TELL, NOT_APPLICABLE) and not conclusion.settled:
        return replace(
            looked,
            decision=CANNOT_TELL,
            basis="",
            rule=rule.name,
            summary=f"{rule.name} says that it {conclusion.decision}, and a search that it {looked.decision}: a fact "
            "that the loss states of itself may be false",
        )
    if conclusion.settled:
        looked = replace(looked, decision=CANNOT_TELL, counterexample=None, basis="")
    example = looked.counterexample or conclusion.counterexample
    if conclusion.decision == FAILS and example is None:
        told = f"it fails by a theorem ({rule.name}), but no example was found: {looked.summary}"
        return replace(looked, summary=told)
    return replace(
        looked,
        decision=conclusion.decision,
        summary=looked.summary if looked.decision == FAILS else conclusion.summary,
        conditions=f"proven: {rule.theorem} Looked at as well: {looked.conditions}",
        counterexample=example,
        basis=PROVEN,
        rule=rule.name,
        answer=conclusion.answer or looked.answer,
    )
