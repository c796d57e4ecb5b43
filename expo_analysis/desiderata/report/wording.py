"""How verdicts and numbers are written, wherever a report card is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, Decision

SIGNS: dict[Decision, str] = {HOLDS: "✓", FAILS: "✗", NOT_APPLICABLE: "–", CANNOT_TELL: "?"}
"""What stands for a verdict where there is no room for words."""

MEANINGS: dict[Decision, str] = {
    HOLDS: "Proven by a theorem, which is named, or no counterexample among the problems that the conditions name, by "
    "optima with proven error bounds; it says which.",
    FAILS: "There is a counterexample. It is given, with Python code that reproduces it.",
    NOT_APPLICABLE: "The question makes no sense for this loss; the summary says why.",
    CANNOT_TELL: "Neither could be established; the summary says why.",
}
"""What a verdict says, in full."""


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
