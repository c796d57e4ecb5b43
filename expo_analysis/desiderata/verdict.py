"""What is asked of a loss, and what a judge returns: a verdict, what it rests on, and how much it matters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .._json import plain

Decision = Literal["holds", "fails", "not applicable", "cannot tell"]

HOLDS: Decision = "holds"
FAILS: Decision = "fails"
NOT_APPLICABLE: Decision = "not applicable"
CANNOT_TELL: Decision = "cannot tell"

Basis = Literal["proven", "evidence", ""]

PROVEN: Basis = "proven"
EVIDENCE: Basis = "evidence"


@dataclass(frozen=True)
class Desideratum:
    """A question that is asked of every loss: a short title for tables, and the question in full.

    group: the heading under which tables show it.
    """

    title: str
    question: str
    group: str


DESIDERATA: dict[str, Desideratum] = {
    "reference_limit": Desideratum(
        "λ → ∞ gives π_ref", "Does the optimum tend to the reference as λ → ∞?", "where λ leads"
    ),
    "strong_interpolation": Desideratum(
        "λ → 0 gives π*", "Does the optimum tend to π* as λ → 0 (the strong criterion)?", "where λ leads"
    ),
    "weak_interpolation": Desideratum(
        "λ → 0 gives π*'s mode",
        "Does the optimum tend to the point mass on π*'s mode as λ → 0 (the weak criterion, which a loss that meets "
        "the strong one does not meet)?",
        "where λ leads",
    ),
    "preservation": Desideratum(
        "preserves π*", "Where the reference is already π*, is the optimum π* for every λ?", "a good reference"
    ),
    "improvement": Desideratum(
        "improves on π_ref",
        "Where the reference is not π*, is the optimum at least as close to π*, for every λ?",
        "a good reference",
    ),
    "monotone_path": Desideratum(
        "monotone path", "Does the optimum come steadily closer to π* as λ falls?", "where λ leads"
    ),
    "existence": Desideratum(
        "exists on any data", "Is there a minimiser for every data set, however small or one-sided?", "a minimiser"
    ),
    "uniqueness": Desideratum("unique", "Is there only one minimiser, whatever was compared with what?", "a minimiser"),
    "conservation": Desideratum(
        "conserves mass",
        "Does what was never compared keep its mass: each unseen response, each component?",
        "beyond the pairs",
    ),
    "constraint_robustness": Desideratum(
        "robust to constraints",
        "Does the optimum over restricted policies still mean what it means over all policies?",
        "beyond the pairs",
    ),
    "first_step": Desideratum(
        "no first step from π*",
        "Is the gradient zero at π = π_ref where the reference is π*?",
        "a good reference",
    ),
    "consistency": Desideratum(
        "consistent", "Does more data bring the optimum to that of the population, and how fast?", "data"
    ),
    "small_lambda": Desideratum(
        "λ → 0 leads somewhere",
        "Where does the optimum go as λ → 0: to π*, to its mode (either will do), or to something else?",
        "where λ leads",
    ),
    "restricted_improvement": Desideratum(
        "improves restricted",
        "Over restricted policies, does the optimum never have less expected reward than the reference?",
        "beyond the pairs",
    ),
    "label_noise": Desideratum(
        "withstands flips",
        "Does what clean labels improve stay better than the reference when up to 40% of the labels are flipped?",
        "data",
    ),
    "displacement": Desideratum(
        "no displacement",
        "Trained from π_ref to the end, does no pair lose probability on both sides, chosen and rejected?",
        "training",
    ),
    "local_minima": Desideratum(
        "no local minima", "Does every descent end in the minimum, and in no other one?", "training"
    ),
    "gradient_weight": Desideratum(
        "weighs pairs soundly",
        "Is the gradient of a pair bounded, whatever its margin, and does it not fade where the pair is badly ranked?",
        "training",
    ),
    "conditioning": Desideratum(
        "well conditioned",
        "Are the curvatures at the optimum at most 100 times apart, on half of the ordinary problems at every λ?",
        "training",
    ),
    "pair_dependence": Desideratum(
        "ignores who was compared",
        "Is the optimum the same whichever pairs were compared how often, if preferences are Bradley-Terry's?",
        "data",
    ),
    "calibration": Desideratum(
        "calibrated", "Is the loss's own model of preferences right at the optimum, P(w > l) = p*?", "data"
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
class Severity:
    """How much a failure matters: its size on ordinary problems, and at its worst.

    Ordinary problems are those of `severity.ordinary`: policies uniform on the simplex, pairs equally often, lambda
    from 0.01 to 1. worst looks everywhere, also at what nobody would meet by chance.

    unit: of both sizes, such as ``"nats"`` or ``"TV"``; empty where there is only yes or no, and sizes are 1 or 0.
    share: of ordinary problems (and lambdas) on which the question is answered with no, in [0, 1]; nan where it could
    be asked of none. typical: the median size where it is; 0 where it never is. worst: the largest size that was found,
    nan where none was looked for. of: what the share is of, where it is not ordinary problems.
    """

    unit: str
    share: float
    typical: float
    worst: float
    of: str = "ordinary problems"

    def __str__(self) -> str:
        """In a few words: "0.12 TV on 83% of ordinary problems, 1.9 at worst"."""
        worst = f"{self.worst:.2g} at worst" if self.worst > 0 and self.unit else ""
        if math.isnan(self.share):
            return f"not to be measured on {self.of}{f'; {worst} ({self.unit})' if worst else ''}"
        if self.share == 0:
            return f"never on {self.of}{f'; {worst} ({self.unit})' if worst else ''}"
        share = "under 1%" if self.share < 0.01 else f"{self.share:.0%}"
        size = f"{self.typical:.2g} {self.unit} " if self.unit else ""
        return f"{size}on {share} of {self.of}{f', {worst}' if worst else ''}"


@dataclass(frozen=True)
class Verdict:
    """The answer to one question about one loss.

    desideratum: its key, as in `DESIDERATA`.
    decision: ``"holds"``, ``"fails"``, ``"not applicable"`` (no optimum, no reference, not a risk ...), or ``"cannot
        tell"``. "fails" comes with a counterexample.
    summary: the answer in one sentence.
    conditions: under which it was found: which problems, how many, which lambdas, what was proven.
    evidence: numbers, by names in words.
    counterexample: given where the decision is "fails".
    basis: ``"proven"``: a theorem decides it, or a counterexample whose optima have proven error bounds or are
        certified otherwise; ``"evidence"``: no counterexample among so many problems, or one whose policy is the lowest
        of many searches; empty where nothing was decided.
    rule: the name of the theorem, as in `RULES`, also of one that a search contradicts; empty where there is none.
    severity: how much it matters; None where that was not measured.
    answer: the answer in a word or a number, where the question asks for more than yes or no.
    """

    desideratum: str
    decision: Decision
    summary: str
    conditions: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    counterexample: Counterexample | None = None
    basis: Basis = ""
    rule: str = ""
    severity: Severity | None = None
    answer: str = ""

    def __post_init__(self) -> None:
        if self.decision == FAILS and self.counterexample is None:
            raise ValueError(f"counterexample must be given where {self.desideratum} fails")
        if self.basis not in (PROVEN, EVIDENCE, "") or (self.basis and self.decision == CANNOT_TELL):
            raise ValueError(
                f"basis must be 'proven', 'evidence', or empty where nothing is decided, got {self.basis!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: verdict, basis, rule, answer, severity, summary, conditions, evidence and
        counterexample (None where there is none); what is not a finite number becomes None."""
        example = self.counterexample
        return {
            "verdict": self.decision,
            "basis": self.basis,
            "rule": self.rule,
            "answer": self.answer,
            "severity": None if self.severity is None else plain(asdict(self.severity)),
            "summary": self.summary,
            "conditions": self.conditions,
            "evidence": plain(self.evidence),
            "counterexample": None
            if example is None
            else {"statement": example.statement, "numbers": plain(example.numbers), "code": example.code},
        }
