"""The paths of the losses through the probability simplex."""

from __future__ import annotations

from typing import Any

import mpltern  # noqa: F401  (registers the ternary projection)
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from .style import END_POINTS, INK, LOOKS, losses_in, themed

RESPONSES = ["y1", "y2", "y3"]

MARKED = {10.0: "λ = 10", 1.0: "λ = 1", 0.1: "λ = 0.1"}
"""The lambdas marked by dots along every path."""

NAMED = "regression_expo"
"""The path whose dots carry their lambda: the one with room beside it."""

POINT_MASS: dict[str, Any] = {"color": INK, "linestyle": "none", "marker": "o", "markersize": 6}

ENLARGED = (0.37, 0.25, 0.03)
"""Least probability of each response in the enlarged part, a triangle of side 1 - sum."""


@themed
def simplex(frame: pd.DataFrame) -> Figure:
    """Paths through the whole simplex, and the part around pi* and pi_ref enlarged.

    Args:
        frame: columns ``loss``, ``lam``, ``y1``, ``y2`` and ``y3``, one row per policy; besides the losses, one row
            called "optimal" and one called "reference".
    """
    figure = Figure(figsize=(11, 6.6))
    whole: Any = figure.add_axes((0.065, 0.19, 0.36, 0.6), projection="ternary")
    near: Any = figure.add_axes((0.565, 0.19, 0.36, 0.6), projection="ternary")
    for axes, title in ((whole, "the whole simplex"), (near, "the grey triangle, enlarged")):
        axes.set_title(title, y=1.2)
        for loss in losses_in(frame):
            path = frame[frame["loss"] == loss]
            axes.plot(*_columns(path), **LOOKS[loss].line())
            axes.plot(*_columns(path[path["lam"].isin(MARKED)]), "o", color=LOOKS[loss].colour, markersize=5)
        for name, point in END_POINTS.items():
            axes.plot(*_columns(frame[frame["loss"] == name]), zorder=5, **point.marker())
        for set_label, response in zip((axes.set_tlabel, axes.set_llabel, axes.set_rlabel), RESPONSES, strict=True):
            set_label(f"${response[0]}_{response[1]}$", fontsize="x-large")
        for axis in (axes.taxis, axes.laxis, axes.raxis):
            axis.set_label_rotation_mode("horizontal")
    _whole(whole)
    _enlarged(near, frame)
    start = END_POINTS["reference"].label
    title = rf"The same paths in the simplex, from {start} at $\lambda \to \infty$ to where $\lambda \to 0$ leads"
    figure.suptitle(title, fontsize="x-large", y=0.975)
    handles = [Line2D([], [], label=LOOKS[loss].label, **LOOKS[loss].line()) for loss in losses_in(frame)]
    handles += [Line2D([], [], label=point.label, **point.marker()) for point in END_POINTS.values()]
    handles += [Line2D([], [], label="point mass", **POINT_MASS)]
    figure.legend(handles=handles, loc="lower center", ncols=4, columnspacing=2.0)
    return figure


def _whole(axes: Any) -> None:
    axes.plot([1, 0, 0], [0, 1, 0], [0, 0, 1], clip_on=False, zorder=6, **POINT_MASS)
    # the outline of the enlarged part
    side = 1 - sum(ENLARGED)
    outline = [[low + side * (corner == k) for corner in (0, 1, 2, 0)] for k, low in enumerate(ENLARGED)]
    axes.plot(*outline, color="0.55", linewidth=1.0)
    axes.text(0.87, -0.07, 0.2, "DPO, IPO and f-DPO\nend in the corner", color=INK)


def _enlarged(axes: Any, frame: pd.DataFrame) -> None:
    axes.set_ternary_min(*ENLARGED, fit="triangle")
    for lam, name in MARKED.items():
        (y1,), (y2,), (y3,) = _columns(frame[(frame["loss"] == NAMED) & (frame["lam"] == lam)])
        axes.text(y1, y2 - 0.008, y3 + 0.008, name, color=LOOKS[NAMED].colour, va="center", fontsize="small")
    for axis in (axes.taxis, axes.laxis, axes.raxis):
        axis.set_major_locator(MultipleLocator(0.1))
    axes.text(0.68, 0.205, 0.115, f"both forms of EXPO\nend at {END_POINTS['optimal'].label}", color=INK)


def _columns(rows: pd.DataFrame) -> Any:
    return rows[RESPONSES].to_numpy().T
