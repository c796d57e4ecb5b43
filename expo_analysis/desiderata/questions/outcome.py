"""From a hunt to a verdict: the same rules for every desideratum that is decided by looking for violations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..falsify.search import Case, Hunt, case_code
from ..subject import Subject
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, PROVEN, Counterexample, Verdict


def case_numbers(case: Case) -> dict[str, Any]:
    """A case as plain numbers."""
    pairs: Any = "uniform" if case.pairs is None else case.pairs.tolist()
    return {
        "reference": case.reference.tolist(),
        "optimal": case.optimal.tolist(),
        "pairs": pairs,
        "lam": list(case.lams),
    }


def from_hunt(
    subject: Subject,
    key: str,
    found: Hunt,
    *,
    holds: str,
    fails: str,
    conditions: str,
    statement: str,
    lines: Sequence[str],
    evidence: Mapping[str, Any] | None = None,
    enough: int = 0,
) -> Verdict:
    """The verdict on a claim after a `hunt` for its violations.

    holds, fails: the summaries. statement: of the counterexample. lines: Python that prints and asserts the violation,
    after ``bandit`` and ``solutions`` are there (see `case_code`). enough: how many problems without a violation it
    takes to say that the claim holds.
    """
    numbers = {"largest excess found": found.worst, **(evidence or {})}
    told = f"{conditions}; {found.describe()}"
    if found.case is not None and found.confirmed:
        example = Counterexample(
            statement, {**case_numbers(found.case), "excess": found.excess}, case_code(subject, found.case, lines)
        )
        how = {"excess": found.excess, "the counterexample's optimum": found.confirmed, **numbers}
        basis = PROVEN if found.is_proven else EVIDENCE
        return Verdict(key, FAILS, fails, told, how, example, basis)
    if found.case is not None:
        what = "a violation was found, but not that the policies are minimisers"
        return Verdict(key, CANNOT_TELL, what, told, numbers | {"unconfirmed excess": found.excess})
    if found.conclusive and found.problems < enough:
        why = f"no violation was found, but rare ones take {enough:,} problems to exclude"
        return Verdict(key, CANNOT_TELL, why, told, numbers)
    if found.conclusive:
        return Verdict(key, HOLDS, holds, told, numbers)
    return Verdict(key, CANNOT_TELL, "no violation was found, but too few optima are proven to conclude", told, numbers)
