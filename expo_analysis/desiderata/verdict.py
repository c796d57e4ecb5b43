"""What a desideratum's judge returns: a verdict with conditions, evidence and, where it fails, a counterexample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._json import plain

Decision = Literal["holds", "fails", "cannot tell"]

HOLDS: Decision = "holds"
FAILS: Decision = "fails"
CANNOT_TELL: Decision = "cannot tell"


@dataclass(frozen=True)
class Desideratum:
    """A question that is asked of every loss: a short title for tables, and the question in full."""

    title: str
    question: str


DESIDERATA: dict[str, Desideratum] = {
    "reference_limit": Desideratum("λ → ∞ gives π_ref", "Does the optimum tend to the reference as λ → ∞?"),
    "strong_interpolation": Desideratum(
        "λ → 0 gives π*", "Does the optimum tend to π* as λ → 0 (the strong criterion)?"
    ),
    "weak_interpolation": Desideratum(
        "λ → 0 gives π*'s mode",
        "Does the optimum tend to the point mass on π*'s mode as λ → 0 (the weak criterion, which a loss that meets "
        "the strong one does not meet)?",
    ),
    "preservation": Desideratum("preserves π*", "Where the reference is already π*, is the optimum π* for every λ?"),
    "improvement": Desideratum(
        "improves on π_ref", "Where the reference is not π*, is the optimum at least as close to π*, for every λ?"
    ),
    "monotone_path": Desideratum("monotone path", "Does the optimum come steadily closer to π* as λ falls?"),
    "existence": Desideratum(
        "exists on any data", "Is there a minimiser for every data set, however small or one-sided?"
    ),
    "uniqueness": Desideratum("unique", "Is there only one minimiser, whatever was compared with what?"),
    "conservation": Desideratum(
        "conserves mass", "Does what was never compared keep its mass: each unseen response, each component?"
    ),
    "constraint_robustness": Desideratum(
        "robust to constraints", "Does the optimum over restricted policies still mean what it means over all policies?"
    ),
    "first_step": Desideratum("no first step from π*", "Is the gradient zero at π = π_ref where the reference is π*?"),
    "consistency": Desideratum(
        "consistent", "Does more data bring the optimum to that of the population, and how fast?"
    ),
}
"""All desiderata, in the order of the report card."""


@dataclass(frozen=True)
class Counterexample:
    """The simplest case found in which a desideratum fails.

    statement: one sentence, with the numbers that matter.
    numbers: what the case consists of and what comes out, as plain Python values (policies as lists).
    code: Python that reproduces it: it prints the numbers, and its assertions state the failure.
    """

    statement: str
    numbers: Mapping[str, Any]
    code: str


@dataclass(frozen=True)
class Verdict:
    """The answer to one question about one loss.

    desideratum: its key, as in `DESIDERATA`.
    decision: ``"holds"``, ``"fails"`` or ``"cannot tell"``. "holds" rests on optima with proven error bounds, or on a
        proof that ``conditions`` begins with, and means that no counterexample exists among the problems named there;
        "fails" comes with one.
    summary: the answer in one sentence.
    conditions: under which it was found: which problems, how many, which lambdas, what was proven.
    evidence: numbers, by names in words.
    counterexample: given where the decision is "fails".
    """

    desideratum: str
    decision: Decision
    summary: str
    conditions: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    counterexample: Counterexample | None = None

    def __post_init__(self) -> None:
        if self.decision == FAILS and self.counterexample is None:
            raise ValueError(f"counterexample must be given where {self.desideratum} fails")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: verdict, summary, conditions, evidence and counterexample (None where there is none);
        what is not a finite number becomes None."""
        example = self.counterexample
        return {
            "verdict": self.decision,
            "summary": self.summary,
            "conditions": self.conditions,
            "evidence": plain(self.evidence),
            "counterexample": None
            if example is None
            else {"statement": example.statement, "numbers": plain(example.numbers), "code": example.code},
        }
