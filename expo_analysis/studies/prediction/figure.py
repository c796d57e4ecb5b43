"""How much of what training did had been predicted, by lambda; and runs, measured against predicted."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Sheet
from ...figures.style import GREYS, INK, Size, size_of, under
from ..small_transformer.figure import look
from ..small_transformer.questions import METHODS, Method

AIM = 0.8
"""Of the explained variance."""
PREDICTORS = {
    "pairs_rank": ("tangent features", False),
    "pairs_rank_ches": ("CHES", False),
    "pairs_rank_band": ("disentanglement band", True),
}
"""What they are called, and whether that stands below."""
DOTS = (0, (1, 1.2))
LOWEST = -0.25


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    scores, measured, _ = tables.values()
    size = size_of("page")
    methods = methods_of(scores)
    with under(size):
        once_more: dict[str, Any] = {"color": INK, "linewidth": size.line / 1.6, "linestyle": DOTS}
        key = [(Line2D([], [], **_style(method, size)), look(method).label) for method in methods]
        key.append((Line2D([], [], **once_more), "training once more, another order of pairs"))
        notes = [
            "Means over worlds. Left: responses to held-out prompts, as the reference draws them; cut off below.",
            "Middle: log-ratios of the chosen responses of pairs that are trained on; mean over ways to train.",
            "Right: total variation on held-out prompts that were right already; a point a run.",
        ]
        sheet = Sheet(size, "What tangent features at the reference say before training", key, notes)
        left, middle, right = sheet.subplots(1.9 * size.text / 8 + 3 * size.row, 1, 3)[0]
        _explained(left, scores, methods, size)
        _ranks(middle, scores, size)
        _runs(right, measured, methods, size)
        return sheet.finished()


def methods_of(scores: pd.DataFrame) -> list[Method]:
    """The methods of a table, in their order."""
    there = set(zip(scores["loss"], scores["estimator"], strict=True))
    return [method for method in METHODS if method in there]


def of_method(table: pd.DataFrame, method: Method) -> pd.DataFrame:
    """The rows of one method."""
    return table[(table["loss"] == method[0]) & (table["estimator"] == method[1])]


def _style(method: Method, size: Size) -> dict[str, Any]:
    """How what was predicted of a method is drawn."""
    own = look(method)
    line = {"color": own.colour, "linewidth": size.line / 1.6, "linestyle": "-"}
    return line | {"marker": own.marker, "markersize": size.mark / 1.4}


def _explained(axes: Axes, scores: pd.DataFrame, methods: list[Method], size: Size) -> None:
    for method in methods:
        means = of_method(scores, method).groupby("lam")[["r2_drawn", "r2_drawn_repeated"]].mean()
        style = _style(method, size)
        axes.plot(means.index, means["r2_drawn"], **style)
        axes.plot(means.index, means["r2_drawn_repeated"], **style | {"linestyle": DOTS, "marker": "none"})
    axes.axhline(AIM, color=INK, linewidth=size.line / 2.5, zorder=1)
    axes.set_xscale("log")
    axes.set(ylim=(LOWEST, 1), xlabel=r"trade-off $\lambda$", ylabel=r"$R^2$ of log-ratios")


def _ranks(axes: Axes, scores: pd.DataFrame, size: Size) -> None:
    for grey, (name, (label, below)) in zip(GREYS, PREDICTORS.items(), strict=False):
        means = scores.groupby("lam")[name].mean()
        axes.plot(means.index, means, **grey.line(linewidth=size.line / 1.6))
        extreme = min(0.0, means.min()) if below else means.max()
        place: dict[str, Any] = {
            "xytext": (0, -3 if below else 3),
            "textcoords": "offset points",
            "va": "top" if below else "bottom",
        }
        axes.annotate(label, (means.index[0], extreme), color=INK, **place)
    axes.axhline(0, color=INK, linewidth=size.line / 2.5, zorder=1)
    axes.set_xscale("log")
    axes.set(ylim=(LOWEST, 1.15), xlabel=r"trade-off $\lambda$", ylabel="rank correlation, pairs")


def _runs(axes: Axes, measured: pd.DataFrame, methods: list[Method], size: Size) -> None:
    for method in methods:
        own = of_method(measured, method)
        axes.plot(
            own["tv_held_predicted"],
            own["tv_held"],
            color=look(method).colour,
            marker=look(method).marker,
            markersize=size.mark / 2.5,
            linestyle="none",
            markeredgewidth=0,
            alpha=0.7,
        )
    most = 1.05 * max(measured["tv_held"].max(), measured["tv_held_predicted"].max())
    axes.plot([0, most], [0, most], color=INK, linewidth=size.line / 2.5, zorder=1)
    axes.set(xlim=(0, most), ylim=(0, most), xlabel="drift, predicted", ylabel="drift, measured")
