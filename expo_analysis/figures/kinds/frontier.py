"""What was gained against what it cost, a panel for each way of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

from ..looks import INK, Look
from ..sheet import Entry, Sheet
from ..style import Size, under

SMALLEST, LARGEST = 0.75, 2.0
"""Sizes of the first and the last marker of a path, times those of a figure's markers."""


def draw(
    methods: Sequence[tuple[Look, pd.DataFrame]],
    x: str,
    y: str,
    size: Size,
    title: str,
    labels: tuple[str, str],
    notes: Iterable[str] = (),
) -> Figure:
    """Paths of runs by rising lambda with 95% intervals, x on a logarithmic axis that all panels share.

    Args:
        methods: looks, and tables with the columns ``lam``, ``x``, ``y`` and their ``_standard_error``.
        x, y: names of columns, x positive. labels: of the axes.
    """
    with under(size):
        sheet = Sheet(size, title, _key(methods, size), notes)
        most = 2 if size.width < 5 * size.text / 8 else 5
        rows = -(-len(methods) // most)
        columns = -(-len(methods) // rows)
        each = 1.8 * size.text / 8 + 4 * size.row
        grid = sheet.subplots(rows * each, rows, columns, sharex=True, sharey=True)
        for axes, (look, runs) in zip(grid.flat, methods, strict=False):
            axes.set_title(sheet.wrapped(look.label, (size.width - 0.6) / columns - 0.05), color=look.colour)
            _panel(axes, runs.sort_values("lam"), x, y, look, size)
        for axes in list(grid.flat)[len(methods) :]:
            axes.remove()
        everything = pd.concat([runs for _, runs in methods])
        first = grid[0, 0]
        first.set_xscale("log")
        first.set_xlim(everything[x].min() / 1.6, everything[x].max() * 1.6)
        low, high = everything[x].min() / 1.6, everything[x].max() * 1.6
        decades = [10.0**k for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)))]
        between = [3 * decade for decade in decades] if len(decades) < 5 else []
        ticks = [tick for tick in (*decades, *between) if low <= tick <= high]
        for column in range(columns):
            last = grid[rows - 1 - (rows > 1 and (rows - 1) * columns + column >= len(methods)), column]
            last.tick_params(labelbottom=True)
            last.xaxis.set_major_locator(FixedLocator(ticks))
            last.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            last.xaxis.set_minor_formatter(NullFormatter())
            last.set_xlabel(labels[0])
        for axes in grid[:, 0]:
            axes.set_ylabel(labels[1])
        return sheet.finished()


def _panel(axes: Axes, runs: pd.DataFrame, x: str, y: str, look: Look, size: Size) -> None:
    axes.axhline(0, color="0.45", linewidth=size.line / 2, linestyle=(0, (1, 1.5)), zorder=1)
    axes.plot(runs[x], runs[y], **look.line(linewidth=size.line / 1.6))
    across, up = (1.96 * runs[f"{name}_standard_error"] for name in (x, y))
    bars: dict[str, Any] = {"fmt": "none", "ecolor": look.colour, "elinewidth": size.line / 2.2}
    axes.errorbar(runs[x], runs[y], xerr=[across.clip(upper=0.999 * runs[x]), across], yerr=up, **bars)
    for place, (_, run) in enumerate(runs.iterrows()):
        axes.plot([run[x]], [run[y]], **_marker(look, _scale(place, len(runs)), size))


def _scale(place: int, count: int) -> float:
    return SMALLEST + (LARGEST - SMALLEST) * place / max(1, count - 1)


def _marker(look: Look, scale: float, size: Size) -> dict[str, Any]:
    white = {"markeredgecolor": "white", "markeredgewidth": size.mark / 7, "zorder": 3}
    return {"color": look.colour, "linestyle": "none", "marker": look.marker, "markersize": scale * size.mark, **white}


def _key(methods: Sequence[tuple[Look, pd.DataFrame]], size: Size) -> list[Entry]:
    """A marker for each lambda."""
    lams = sorted({float(lam) for _, runs in methods for lam in runs["lam"]})
    plain = Look("", INK, "-", "o")
    return [
        (Line2D([], [], **_marker(plain, _scale(k, len(lams)), size)), rf"$\lambda$ = {lam:g}")
        for k, lam in enumerate(lams)
    ]
