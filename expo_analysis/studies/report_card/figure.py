"""Losses and desiderata in one table: a sign and a colour for each verdict, and how much a failure weighs."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...desiderata.report.layout import Weight, grouped, ranked, weight
from ...desiderata.report.wording import ORDINARY, SIZES
from ...desiderata.verdict import DESIDERATA, PROVEN, Decision
from ...figures.cells import COLOURS, FAILURES, MEANINGS, Cell, cell, written
from ...figures.kinds.report_card import EXCLUSIVE, cells_of, made
from ...figures.looks import loss_label
from ...figures.style import INK, themed
from ...losses import CATALOGUE

__all__ = ["COLOURS", "COLUMN", "FAILURES", "STRIP", "Cell", "cell", "report_table"]

COLUMN, ROW, STRIP, GAP, MARGIN = 0.42, 0.23, 0.4, 0.07, 0.12
"""Width of a column, heights of a row and of the strip with the groups' names, gaps and margins, in inches."""

LEGEND_ROW, LEGEND_HEIGHT, TITLE = 0.2, 2.75, 0.42
"""Heights of a line of the legend, of all of it, and of the title, in inches."""

NARROWEST = 9.0
"""Width of a figure at least, in inches: the legend needs it."""

LONGEST = 32
"""Names longer than this many characters are folded."""

NAME, HEAD, SIGN, NUMBER = 8.5, 8.5, 8.0, 8.0
"""Sizes of texts, in points."""

DISC = 104.0
"""Area of the disc of what is proven, and of the ring of what was found by search, in square points."""


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return report_table(tables["report_card"])


@themed
def report_table(frame: pd.DataFrame) -> Figure:
    """A row per loss and a column per desideratum, by groups; the losses with the most that holds first.

    A poster, or a page of a supplement; `expo_analysis.figures.report_card` has the size of a column or a page.


    Args:
        frame: columns ``loss``, ``desideratum`` and ``verdict``; where they are known ``basis``, ``severity_share``,
            ``severity_typical``, ``severity_unit``, ``version``, ``date``, ``effort`` and ``seed``: as they are in
            `ReportCards.to_frame`. A verdict that is not there leaves its cell empty.
    """
    cells = cells_of(frame)
    groups = grouped(frame["desideratum"])
    losses = _order(frame)
    names = [fill(_name(loss), LONGEST) for loss in losses]
    heights = [ROW * (1 + 0.62 * name.count("\n")) for name in names]
    lefts, right = _columns(groups)
    tops = [sum(heights[:k]) for k in range(len(heights))]

    figure = Figure()
    FigureCanvasAgg(figure)
    titles = [written(DESIDERATA[key].title) for key in lefts]
    widest = max(_extent(figure, name, NAME)[0] for name in names) + 0.1
    slanted = [_extent(figure, title, HEAD, rotation=50, parse_math=True) for title in titles]
    head = max(height for _, height in slanted) + 0.06
    over = max(x + COLUMN / 2 + width - right for x, (width, _) in zip(lefts.values(), slanted, strict=True))
    wanted = widest + right + max(over, 0.0) + 2 * MARGIN
    width, below = max(NARROWEST, wanted), sum(heights)
    height = TITLE + head + STRIP + below + LEGEND_HEIGHT
    figure.set_size_inches(width, height)

    left = MARGIN + widest + (width - wanted) / 2
    axes = figure.add_axes((left / width, LEGEND_HEIGHT / height, right / width, (STRIP + below) / height))
    axes.set(xlim=(0, right), ylim=(below, -STRIP))
    rows = {loss: (tops[k], heights[k]) for k, loss in enumerate(losses)}
    _draw(axes, [(shown, lefts[key], *rows[loss]) for (loss, key), shown in cells.items()])
    for group, keys in groups.items():
        start, stop = lefts[keys[0]], lefts[keys[-1]] + COLUMN
        words = fill(group, max(6, int((stop - start) / 0.068)))
        axes.text((start + stop) / 2, -0.05, words, size=8, color=INK, ha="center", va="bottom", linespacing=1.0)
        axes.plot([start + 0.02, stop - 0.02], [-0.025, -0.025], color=INK, linewidth=0.8)
    axes.set_xticks([x + COLUMN / 2 for x in lefts.values()], titles)
    axes.set_yticks([y + tall / 2 for y, tall in zip(tops, heights, strict=True)], names)
    axes.tick_params(length=0, pad=2, labelcolor=INK, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for label in axes.get_xticklabels():
        label.set(rotation=50, ha="left", va="bottom", rotation_mode="anchor", size=HEAD)
    for label in axes.get_yticklabels():
        label.set(size=NAME)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name may have dollars in it
    _legend(figure, width, height)
    title = "Report card: what the exact optima of each loss do"
    figure.text(0.5, 1 - 0.1 / height, title, size=13, ha="center", va="top")
    figure.text(0.5, 0.05 / height, made(frame), size=8, color=INK, ha="center", va="bottom")
    return figure


def _name(loss: str) -> str:
    """What a row is called: the catalogue's losses as in all figures, any other by its name."""
    return loss_label(loss) if loss in CATALOGUE else " ".join(loss.split())


def _order(frame: pd.DataFrame) -> list[str]:
    full = frame.reindex(columns=["loss", "verdict", "severity_share", "severity_typical"])
    found: dict[str, list[tuple[Decision, Weight]]] = {}
    for loss, verdict, share, typical in full.itertuples(index=False):
        found.setdefault(loss, []).append((verdict, weight(share, typical)))
    return ranked(found)


def _columns(groups: dict[str, list[str]]) -> tuple[dict[str, float], float]:
    """Where each column begins, and where the last one ends, in inches."""
    lefts: dict[str, float] = {}
    x = 0.0
    for keys in groups.values():
        for key in keys:
            lefts[key] = x
            x += COLUMN
        x += GAP
    return lefts, x - GAP


def _extent(figure: Figure, text: str, size: float, **options: Any) -> tuple[float, float]:
    """Width and height of a text, in inches."""
    drawn = figure.text(0, 0, text, size=size, **{"parse_math": False, **options})
    box = drawn.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    drawn.remove()
    return box.width / figure.dpi, box.height / figure.dpi


def _draw(axes: Axes, cells: list[tuple[Cell, float, float, float]]) -> None:
    """Cells with their left upper corners at (x, y), and their heights, in inches."""
    discs: list[tuple[float, float, str, str]] = []
    for shown, x, y, height in cells:
        background, ink = shown.colours
        axes.add_patch(Rectangle((x, y), COLUMN, height, facecolor=background, edgecolor="white", linewidth=1.2))
        at, middle, colour = x + (0.1 if shown.number else COLUMN / 2), y + height / 2, ink
        if shown.basis:
            discs.append((at, middle, ink if shown.basis == PROVEN else "white", ink))
            colour = "white" if shown.basis == PROVEN else ink
        axes.text(at, middle, shown.sign, color=colour, size=SIGN, weight="bold", ha="center", va="center_baseline")
        if shown.number:
            end = x + COLUMN - 0.022
            axes.text(end, middle, shown.number, color=ink, size=NUMBER, ha="right", va="center_baseline")
    if discs:
        across, down, fills, edges = zip(*discs, strict=True)
        axes.scatter(across, down, s=DISC, facecolor=fills, edgecolor=edges, linewidth=1.0, zorder=2)


def _legend(figure: Figure, width: float, height: float) -> None:
    """Every kind of cell beside what it means."""
    inner = width - 2 * MARGIN
    tall = LEGEND_HEIGHT - 0.3
    axes = figure.add_axes((MARGIN / width, 0.25 / height, inner / width, tall / height))
    axes.set(xlim=(0, inner), ylim=(tall, 0))
    axes.axis("off")
    start = (inner - NARROWEST) / 2 + 0.7
    tops = [0.08 + k * LEGEND_ROW for k in range(len(MEANINGS))]
    _draw(axes, [(shown, start, y, 0.95 * LEGEND_ROW) for (shown, _), y in zip(MEANINGS, tops, strict=True)])
    for (_, words), y in zip(MEANINGS, tops, strict=True):
        axes.text(start + COLUMN + 0.1, y + 0.475 * LEGEND_ROW, words, size=8.5, color=INK, va="center_baseline")
    note = f"{SIZES} {ORDINARY} Losses with the most that holds come first; questions do not weigh alike. {EXCLUSIVE}"
    below = tops[-1] + LEGEND_ROW + 0.05
    axes.text(start, below, fill(note, 118), size=8, color=INK, va="top", linespacing=1.25)
