"""A rule is a theorem: premises, a conclusion, a proof in docs/note, and a test that tries to refute it.

Premises are facts of the loss's formula (`Formula`), or other verdicts. Rules are tried before any search, in the
order of `RULES`; where one applies the search that follows is a check on it. Rules whose premises are verdicts are
tried again when all questions have been asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ...divergences import DIVERGENCES, ChiSquare
from ..subject import Subject, facts_of
from ..verdict import FAILS, PROVEN, Counterexample, Decision, Verdict
from .formula import Formula
from .shapes import Shape


def formula_of(subject: Subject) -> Formula:
    """The formula of the loss under audit, made once."""
    return subject.once("formula", lambda: Formula(subject.objective))


@dataclass(frozen=True)
class Known:
    """What premises may ask: the loss, its formula, and the verdicts that have been reached."""

    subject: Subject
    verdicts: Mapping[str, Verdict]

    @cached_property
    def formula(self) -> Formula:
        return formula_of(self.subject)

    @cached_property
    def shape(self) -> Shape:
        return self.subject.once("shape", lambda: Shape(self.subject.objective))

    @cached_property
    def convex_in_coordinates(self) -> bool:
        """Whether it is known to be convex, whatever lambda and the data, in coordinates that have a convex range.

        These are the logits; differences of scores mu(u), of which any can be had where mu(0+) = -inf; and the policy,
        in which scores of chi-square are straight lines.
        """
        shape = self.shape
        if shape.convex and (shape.regulariser is None or shape.regulariser.convex_in_logits):
            return True
        if not (shape.alone and shape.psis_convex):
            return False
        link = facts_of(self.subject.objective).link
        if link is None or type(link) not in DIVERGENCES.values():  # another mu may be level somewhere
            return False
        return link.mu_at_zero == -math.inf or type(link) is ChiSquare

    def is_(self, desideratum: str, decision: Decision) -> bool:
        """Whether this has been proven so: what follows from a search is not proven; not if it has not been asked."""
        found = self.verdicts.get(desideratum)
        return found is not None and found.decision == decision and found.basis == PROVEN


@dataclass(frozen=True)
class Conclusion:
    """What follows for one desideratum. summary: in one sentence. counterexample: for "fails", where the premises give
    one; without it the search has to find one. answer: see `Verdict`. settled: whether the rule proves its own
    counterexample, so that a light search beside it will do."""

    decision: Decision
    summary: str
    counterexample: Counterexample | None = None
    answer: str = ""
    settled: bool = False


def refuted(summary: str, example: Counterexample | None) -> Conclusion | None:
    """ "fails" by a counterexample that the rule proves; None where numbers did not show it."""
    return None if example is None else Conclusion(FAILS, summary, example, settled=True)


@dataclass(frozen=True)
class Rule:
    """name: short, with underscores, as in docs/note. about: the desideratum it decides. theorem: the statement in one
    sentence, with its premises. conclude: the conclusion where the premises hold, else None."""

    name: str
    about: str
    theorem: str
    conclude: Callable[[Known], Conclusion | None]


def first(rules: tuple[Rule, ...], desideratum: str, known: Known) -> tuple[Rule, Conclusion] | None:
    """The first rule that decides a desideratum, and what it concludes."""
    for rule in rules:
        if rule.about == desideratum and (found := _concluded(rule, known)) is not None:
            return rule, found
    return None


def _concluded(rule: Rule, known: Known) -> Conclusion | None:
    """The conclusion; None also where a premise cannot be read, as somebody's loss raises there."""
    try:
        return rule.conclude(known)
    except Exception:
        return None


def inherited(known: Known, premise: str) -> Counterexample | None:
    """The counterexample of a verdict that fails, which refutes what follows from it too."""
    verdict = known.verdicts.get(premise)
    return verdict.counterexample if verdict is not None and verdict.decision == FAILS else None
