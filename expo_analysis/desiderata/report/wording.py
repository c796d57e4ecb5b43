"""How verdicts and numbers are written, wherever a report card is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Basis, Decision, Verdict
from .layout import COMMON_SHARE, CONSTRUCTED, LARGE, OFTEN, SELDOM, Weight, weight, weight_of

SIGNS: dict[Decision, str] = {HOLDS: "✓", FAILS: "✗", NOT_APPLICABLE: "–", CANNOT_TELL: "?"}
"""What stands for a verdict where there is no room for words."""

WEIGHTS: dict[Weight, str] = {
    OFTEN: f"on {COMMON_SHARE:.0%} or more of ordinary problems, by {LARGE:g} or more (nats, total variation ...)",
    SELDOM: "on ordinary problems too, but more rarely or by less; or not measured",
    CONSTRUCTED: "only on problems made for it: on no ordinary one",
}
"""How much a failure weighs, in full."""

ORDINARY = (
    "Ordinary problems have four responses, policies drawn uniformly from the simplex, all pairs equally often, and λ "
    "from 0.01 to 1, or are what the question needs in their place."
)

SIZES = (
    f"A number beside {SIGNS[FAILS]} is the median size of the failure where it shows, if that is {LARGE:g} or more, "
    "in the unit of the question: nats, total variation, a ratio ..."
)

MARKS: dict[Weight, str] = {OFTEN: "!", SELDOM: "", CONSTRUCTED: "°"}
"""What stands after the sign of a failure, by its weight."""

BY_SEARCH: dict[Decision, str] = {HOLDS: "v", FAILS: "x"}
"""The sign of a verdict that rests on evidence alone: a weaker one, as wide as the other."""


def mark(verdict: Verdict) -> str:
    """A verdict in at most two characters, such as "✓", "v", "✗!" or "x°"."""
    searched = verdict.basis == EVIDENCE and verdict.decision in BY_SEARCH
    after = MARKS[weight_of(verdict)] if verdict.decision == FAILS else ""
    return f"{(BY_SEARCH if searched else SIGNS)[verdict.decision]}{after}"


def legend() -> dict[str, str]:
    """What the marks mean, by themselves: for tables in text."""
    marks = {SIGNS[HOLDS]: "holds, proven", BY_SEARCH[HOLDS]: "holds, by search: no counterexample was found"}
    marks |= {f"{SIGNS[FAILS]}{MARKS[how]}": f"fails {meaning}" for how, meaning in WEIGHTS.items()}
    marks |= {BY_SEARCH[FAILS]: f"for {SIGNS[FAILS]}: fails, by search: its optimum is the lowest of many searches"}
    return marks | {SIGNS[NOT_APPLICABLE]: "not applicable", SIGNS[CANNOT_TELL]: "cannot tell"}


def decided(verdict: Verdict) -> str:
    """The verdict in words, with its basis, theorem and answer: "holds, proven (two_terms): π*"."""
    return f"{verdict.decision}{rests_on(verdict)}"


def rests_on(verdict: Verdict) -> str:
    """What follows the decision: ", proven (two_terms): π*"."""
    basis = f", {BASIS_WORDS[verdict.basis]}" if verdict.basis else ""
    rule = f" ({verdict.rule})" if verdict.rule else ""
    answer = f": {one_line(verdict.answer)}" if verdict.answer else ""
    return f"{basis}{rule}{answer}"


def shown_size(share: float | None, typical: float | None, unit: str) -> str:
    """The number beside the sign of a failure: its typical size, where that is large and shows on ordinary problems.

    Empty also where there is no unit: such a failure has no size, and is there or not.
    """
    if not unit or typical is None or not typical >= LARGE or weight(share, typical) == CONSTRUCTED:
        return ""
    return brief(typical)


BASIS_WORDS: dict[Basis, str] = {PROVEN: "proven", EVIDENCE: "by search", "": ""}


def brief(size: float) -> str:
    """A positive number in at most four characters: "5.6", ".12", "2e-7", ">99"; empty for what is no such number."""
    if not (math.isfinite(size) and size > 0):
        return ""
    if 0.00995 <= size < 0.995:
        return f"{size:.2f}"[1:]
    if 0.995 <= size < 99.5:
        return f"{size:.1f}".removesuffix(".0") if size < 9.95 else f"{size:.0f}"
    if size >= 99.5:
        return ">99"
    number, power = f"{size:.0e}".split("e")
    return f"{number}e{int(power)}"


def readable(value: Any) -> str:
    """A number with four significant digits, a list as (a, b, c), a mapping as "name: value" pairs, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {readable(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"({', '.join(map(readable, value))})"
    return str(value)


def one_line(text: str) -> str:
    """The text with every run of white space made one space."""
    return " ".join(text.split())
