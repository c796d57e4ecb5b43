"""Divergence from pi* on a good and a bad prompt, against log lambda."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import END_POINTS, INK, LOOKS, losses_in, themed

OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
PROMPTS = {"good": f"good prompt ({REFERENCE} = {OPTIMAL})", "bad": f"bad prompt ({REFERENCE} ≠ {OPTIMAL})"}
DATA = {"population": "population", "pairs": "the paper's pairs"}

LINEAR_BELOW = 1e-7
"""The divergence axis is logarithmic above this and linear below it, so that it can show 0."""

STOPPED_EARLY = -5.0
"""The log lambda at which minimisers and ends of training are written side by side."""


BAR = 4.0
"""Width of the bars from where training stopped to the minimiser."""


@themed
def preservation(frame: pd.DataFrame) -> Figure:
    """KL(pi* ‖ pi) against log lambda: prompts in columns, population and pairs in rows.

    Args:
        frame: columns ``source`` ("exact" or "script"), ``data`` ("population" or "pairs"), ``prompt`` ("good" or
            "bad"), ``loss``, ``log_lam``, ``kl_optimal_policy`` and ``at_least`` (True where that is a lower bound).
    """
    figure = Figure(figsize=(11, 9), layout="constrained")
    for row, (data, data_name) in zip(figure.subplots(2, 2, sharex=True, sharey=True), DATA.items(), strict=True):
        for axes, (prompt, prompt_name) in zip(row, PROMPTS.items(), strict=True):
            rows = frame[(frame["data"] == data) & (frame["prompt"] == prompt)]
            _panel(axes, rows)
            axes.set_title(f"{prompt_name}, {data_name}")
    figure.suptitle(r"Preservation: how far from $\pi^*$ one shared $\lambda$ leaves two prompts", fontsize="x-large")
    figure.legend(handles=_key(frame), loc="outside lower center", ncols=3, columnspacing=1.5)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for loss in losses_in(rows):
        look, own = LOOKS[loss], rows[rows["loss"] == loss]
        exact, script = own[own["source"] == "exact"], own[own["source"] == "script"]
        axes.plot(exact["log_lam"], exact["kl_optimal_policy"], **look.line())
        axes.plot(script["log_lam"], script["kl_optimal_policy"], **look.end(markerfacecolor="none"))
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axes.set(ylim=(-0.4 * LINEAR_BELOW, 4e2), xticks=range(-5, 6), xlim=(-6.1, 5.4))
    axes.set_yticks([0, *(10.0**k for k in range(-7, 3))])
    axes.set(xlabel=r"$\log \lambda$ (natural logarithm, as published)", ylabel=rf"KL({OPTIMAL} ‖ $\pi$) (nats)")
    axes.tick_params(labelbottom=True, labelleft=True)
    if (rows["source"] == "script").any():
        _gap(axes, rows[rows["log_lam"] == STOPPED_EARLY])


def _gap(axes: Axes, rows: pd.DataFrame) -> None:
    """Bars from where training stopped to the minimiser, and a small table of the two."""
    script = rows[rows["source"] == "script"].set_index("loss")
    minimisers = rows[rows["source"] == "exact"].set_index("loss")["kl_optimal_policy"].to_dict()
    cells = [(rf"nats at $\log \lambda = {STOPPED_EARLY:g}$", "script", "minimiser", INK)]
    ends = zip(script.index, script["kl_optimal_policy"], script["at_least"], strict=True)
    for k, (loss, stopped, least) in enumerate(ends):
        look, minimiser = LOOKS[loss], minimisers[loss]
        cells.append((look.label, f"{'≥ ' if least else ''}{stopped:.2g}", f"{minimiser:.2g}", look.colour))
        if minimiser > 2 * stopped:  # a shorter bar would be no more than a speck
            axes.vlines(STOPPED_EARLY - 0.3 - 0.18 * k, stopped, minimiser, color=look.colour, linewidth=BAR)
    for k, (*texts, colour) in enumerate(cells):
        for x, text, align in zip((0.04, 0.5, 0.68), texts, ("left", "right", "right"), strict=True):
            y = 0.33 - 0.06 * k
            axes.text(x, y, text, color=colour, fontsize="small", ha=align, va="center", transform=axes.transAxes)


def _key(frame: pd.DataFrame) -> list[Line2D]:
    lines = []
    for loss in losses_in(frame):
        note = " (at λ/3: see text)" if loss == "expo" else ""
        lines.append(Line2D([], [], label=LOOKS[loss].label + note, **LOOKS[loss].line()))
    marker: dict[str, Any] = {"color": INK, "linestyle": "none", "marker": "o", "markerfacecolor": "none"}
    stopped = Line2D([], [], label="where the authors' script stopped", **marker)
    gap = Line2D(
        [], [], color=INK, linewidth=BAR, label=rf"from there to the minimiser, $\log \lambda = {STOPPED_EARLY:g}$"
    )
    return [*lines, stopped, gap]
