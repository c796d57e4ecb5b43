"""The cells of report cards: a sign and a colour for each verdict, and how much a failure weighs."""

from __future__ import annotations

from dataclasses import dataclass

from ..desiderata.report.layout import CONSTRUCTED, OFTEN, SELDOM, Weight, weight
from ..desiderata.report.wording import SIGNS, WEIGHTS, shown_size
from ..desiderata.verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Decision

Colours = tuple[str, str]

COLOURS: dict[Decision, Colours] = {
    HOLDS: ("#d3e5f4", "#0b4f86"),
    NOT_APPLICABLE: ("#ffffff", "#6a6e76"),
    CANNOT_TELL: ("#e4e5e8", "#44474e"),
}
"""Fill and ink of what does not fail."""

FAILURES: dict[Weight, Colours] = {
    OFTEN: ("#f08a4b", "#4a1800"),
    SELDOM: ("#f9c5a2", "#6b2200"),
    CONSTRUCTED: ("#fdf1e8", "#a0522a"),
}
"""Fill and ink of what fails: the more it weighs, the darker."""

NAN = float("nan")


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: fill and ink, the sign, what it rests on, and a number."""

    colours: Colours
    sign: str
    basis: str
    number: str


def cell(verdict: Decision, basis: str = "", share: float = NAN, typical: float = NAN, unit: str = "") -> Cell:
    """The cell of a verdict whose failure shows on this share of ordinary problems, with this size.

    >>> cell("holds", "proven").sign
    '✓'
    """
    if verdict == FAILS:
        return Cell(FAILURES[weight(share, typical)], SIGNS[verdict], basis, shown_size(share, typical, unit))
    return Cell(COLOURS[verdict], SIGNS[verdict], basis if verdict == HOLDS else "", "")


MEANINGS: tuple[tuple[Cell, str], ...] = (
    (cell(HOLDS, PROVEN), "holds: filled sign, proven by a theorem"),
    (cell(HOLDS, EVIDENCE), "holds: open sign, a search found no counterexample"),
    (cell(NOT_APPLICABLE), "not applicable: the question makes no sense for this loss"),
    (cell(CANNOT_TELL), "cannot tell"),
    (cell(FAILS, PROVEN, 0.5, 0.3, "TV"), f"fails {WEIGHTS[OFTEN]}"),
    (cell(FAILS, PROVEN, 0.05, 2e-7, "TV"), f"fails {WEIGHTS[SELDOM]}"),
    (cell(FAILS, PROVEN, 0.0, 0.0), f"fails {WEIGHTS[CONSTRUCTED]}"),
    (cell(FAILS, EVIDENCE, 0.5, 0.3, "TV"), "fails, open sign: its optimum is the lowest of many searches"),
)
"""Every kind of cell, and what it means."""


def written(title: str) -> str:
    """A desideratum's title with its symbols as they are drawn.

    >>> written("improves on π_ref")
    'improves on $\\\\pi_{\\\\mathrm{ref}}$'
    """
    return title.replace("$", r"\$").replace("π_ref", r"$\pi_{\mathrm{ref}}$")
