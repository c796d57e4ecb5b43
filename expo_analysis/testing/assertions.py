"""What a loss must do, as assertions whose messages say what to do next."""

from __future__ import annotations

from typing import Any

from ..desiderata import DESIDERATA, Verdict, audit
from ..desiderata.suspicion.once import inspected
from ..desiderata.verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE
from ..losses import Objective, PairObjective
from .apart import said, watched
from .as_loss import as_loss
from .invariance import ALWAYS, broken_ones

NOTES = (
    "array of lambdas",
    "as torch's softplus does at 20",
    "environment variables",
    "it prints: ",
    "digits of its values are right, as where large numbers cancel",
)
"""Parts of remarks that say what costs time or digits, and name no fault of the loss."""

TOO_FEW = "too few for a verdict"
"""What makes a fault of lost digits."""

SECONDS = 30.0
"""How long `assert_sound` may take by default."""


def assert_sound(loss: Any, *, time_limit: float = SECONDS, **options: Any) -> None:
    """Assert that a loss is one: a number per pair, unreduced, finite and differentiable at all scales, whose gradient
    is the slope of its values, without effects on anything else, and of which every fact that it states is true.

    Args:
        loss, **options: see `as_loss`.
        time_limit: seconds; what takes longer is not sound.

    Raises:
        AssertionError: with a sentence for everything that is wrong. TypeError, ValueError: it is no loss at all, see
            `ea.from_function`.

    Example:
        >>> from expo_analysis.testing import assert_sound
        >>> assert_sound("dpo")
    """
    made = as_loss(loss, **options)
    found = watched(lambda: _inspected(made), time_limit, made)
    if found.timed_out:
        raise AssertionError(f"{made.name} is not sound: {time_limit:g} s are not enough to examine it")
    remarks = [said(found)] if found.value is None else found.value
    faults = [remark for remark in remarks if TOO_FEW in remark or not any(note in remark for note in NOTES)]
    if faults:  # no assert, to which pytest would add its own words
        raise AssertionError(f"{made.name} is not sound: {'; '.join(faults)}")


def _inspected(loss: Objective) -> list[str]:
    """What an audit would remark on; where there is nothing, what a batch of pairs does that single pairs do not."""
    remarks = list(inspected(loss).remarks)
    if remarks or not isinstance(loss, PairObjective):
        return remarks
    return [str(broken) for broken in broken_ones(loss, ALWAYS)]


def assert_holds(
    loss: Any, *desiderata: str, effort: float = 0.1, seed: int = 0, evidence: bool = True, **options: Any
) -> None:
    """Assert that a loss has what the report card asks for.

    Args:
        loss, **options: see `as_loss`; all lambdas are tried.
        *desiderata: keys of `DESIDERATA`, such as ``"preservation"``; all of them where none is named.
        effort, seed: as in `ea.audit`.
        evidence: whether a search without a counterexample is enough; otherwise it takes a theorem.

    Raises:
        AssertionError: one of them does not hold; the message has the counterexample's code.

    Example:
        >>> from expo_analysis.testing import assert_holds
        >>> assert_holds("expo", "preservation", "first_step")
    """
    made = as_loss(loss, **options)
    card = audit(made, only=desiderata or None, effort=effort, seed=seed)
    wrong = [verdict for verdict in card.verdicts.values() if not _good(verdict, evidence)]
    if wrong:
        lacking = f"{card.name} does not have it: {', '.join(verdict.desideratum for verdict in wrong)}"
        raise AssertionError("\n\n".join([lacking, *map(_told, wrong), *card.remarks]))


def assert_verdict(verdict: Verdict) -> None:
    """Assert that a verdict is "holds"; the message has the counterexample's code."""
    if not _good(verdict, evidence=True):
        raise AssertionError(_told(verdict))


def _good(verdict: Verdict, evidence: bool) -> bool:
    return verdict.decision == HOLDS and (evidence or verdict.basis == "proven")


def _told(verdict: Verdict) -> str:
    """A verdict that is not what was asserted, with code where there is some."""
    signs = {FAILS: "fails", CANNOT_TELL: "cannot be told", NOT_APPLICABLE: "does not apply", HOLDS: "is not proven"}
    lines = [
        f"{verdict.desideratum} {signs[verdict.decision]}: {verdict.summary}",
        DESIDERATA[verdict.desideratum].question,
    ]
    if verdict.counterexample is not None:
        lines += [verdict.counterexample.statement, "", verdict.counterexample.code]
    return "\n".join(lines)
