"""A report card as a badge: one picture of one line, such as "my_loss | preserves, exists, unique; 9 of 14"."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

from ..verdict import DESIDERATA, HOLDS, NOT_APPLICABLE
from .report_card import ReportCard
from .wording import one_line

WORDS = {
    "reference_limit": "reaches π_ref",
    "strong_interpolation": "reaches π*",
    "weak_interpolation": "reaches the mode",
    "preservation": "preserves",
    "improvement": "improves",
    "monotone_path": "monotone",
    "existence": "exists",
    "uniqueness": "unique",
    "conservation": "conserves",
    "constraint_robustness": "robust",
    "consistency": "consistent",
    "calibration": "calibrated",
    "conditioning": "well conditioned",
}
"""What a loss does that has an answer of yes; the titles of other questions do."""

HEADLINE = ("preservation", "existence", "uniqueness")
"""The questions that a badge names where nobody asked for others."""

GREEN, YELLOW, RED, GREY, DARK = "#2e7d32", "#9a6700", "#b3261e", "#57606a", "#24292f"

HEIGHT, SIZE, MARGIN, ROUND = 20, 11, 6, 3
"""Pixels: of the badge, of the type, beside a text, and of a corner."""

CORNERS = f"a{ROUND},{ROUND} 0 0 1 -{ROUND},-{ROUND} V{ROUND} a{ROUND},{ROUND} 0 0 1 {ROUND},-{ROUND} Z"

LONGEST = 40
"""Letters of a name; a longer one is cut."""

WIDTHS = {" ": 0.35, **dict.fromkeys("iljI.,:;|!'", 0.34), **dict.fromkeys("ftr()[]-/", 0.45)}
WIDTHS |= {**dict.fromkeys("mwMW", 0.94), **dict.fromkeys("abcdeghknopqsuvxyz_*π", 0.6)}
"""Widths of letters in a sans-serif type, in its size."""

WIDE = 0.68
"""That of all others."""

FITTED = 'lengthAdjust="spacingAndGlyphs"'


def to_badge(card: ReportCard, keys: Iterable[str] = HEADLINE) -> str:
    """The badge of a card, as SVG.

    It names those of ``keys`` that hold, and how many questions hold of those that were asked and apply. It is green
    where all that it might name hold, yellow where some do, red where none does, and grey where none was asked.
    """
    asked = [key for key in keys if key in card.verdicts]
    held = [key for key in asked if card.verdicts[key].decision == HOLDS]
    decisions = [verdict.decision for verdict in card.verdicts.values()]
    applies = len(decisions) - decisions.count(NOT_APPLICABLE)
    words = ", ".join(WORDS.get(key, DESIDERATA[key].title) for key in held)
    count = f"{decisions.count(HOLDS)} of {applies}"
    colour = GREY if not asked else GREEN if len(held) == len(asked) else YELLOW if held else RED
    name = one_line(card.name)
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return _drawn(name, f"{words}; {count}" if words else count, colour)


def _drawn(left: str, right: str, colour: str) -> str:
    """Two texts, side by side; each is as wide as its box, whatever the type is."""
    widths = [sum(WIDTHS.get(letter, WIDE) for letter in text) * SIZE for text in (left, right)]
    boxes = [width + 2 * MARGIN for width in widths]
    starts = [MARGIN, boxes[0] + MARGIN]
    texts = "\n".join(
        f'  <text x="{x:.1f}" y="{HEIGHT - MARGIN}" textLength="{width:.1f}" {FITTED}>{escape(text)}</text>'
        for x, width, text in zip(starts, widths, (left, right), strict=True)
    )
    title = escape(f"{left}: {right}", {'"': "&quot;"})
    left_box = f"M{ROUND},0 H{boxes[0]:.1f} V{HEIGHT} H{ROUND} {CORNERS}"  # no clip path: its name would be the page's
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{sum(boxes):.1f}" height="{HEIGHT}" role="img" aria-label="{title}">
 <title>{title}</title>
 <rect width="{sum(boxes):.1f}" height="{HEIGHT}" rx="{ROUND}" fill="{colour}"/>
 <path d="{left_box}" fill="{DARK}"/>
 <g fill="#ffffff" font-family="DejaVu Sans,Verdana,Geneva,sans-serif" font-size="{SIZE}">
{texts}
 </g>
</svg>
"""
