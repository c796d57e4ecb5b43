"""Masses of chosen, rejected and unseen responses over training; and how often chosen and rejected both fall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import INK, LAMBDA, MOVED, Look, looks_in, themed

ROWS = {
    "population": "two pairs and one unseen,\nexact preferences",
    "one_sided": "the same, every winner\nalways wins",
    "features": "shared features,\n{prompts} prompts",
    "transformer": "small transformer,\n{prompts} prompts",
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (MOVED[kind].label, MOVED[kind].line(linewidth=2.2)) for kind in ("chosen", "rejected")},
    "unseen": ("never compared", {"color": "0.55", "linestyle": (0, (5, 1.5, 1.2, 1.5)), "linewidth": 2.2}),
}
SHARE: dict[str, Any] = {"linestyle": (0, (1, 1.3)), "linewidth": 2.2}
"""In the colour of the loss."""
MEASURES = {
    "share_displaced": "share of prompts where\nboth fall",
    "mass_lost": "mass lost by the pair",
}
DRAWN = 0.1
"""The lambda of the panels against similarity."""


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return displacement(tables["displacement"], tables["displacement_ends"], tables["displacement_optima"])


@themed
def displacement(steps: pd.DataFrame, ends: pd.DataFrame, optima: pd.DataFrame) -> Figure:
    """A column a loss, a row a world; the last row shows exact optima over many worlds of shared features.

    Args:
        steps: columns ``world``, ``prompts``, ``loss``, ``lam``, ``step``, ``chosen``, ``rejected``, ``unseen``,
            ``share_displaced``.
        ends: columns ``world``, ``loss``, ``kind``, ``lowest``, ``highest``, ``end``: the range among the minimisers.
        optima: columns ``similarity``, ``lam``, ``loss`` and those of `MEASURES`.
    """
    losses = looks_in(steps)
    figure = Figure(figsize=(3.9 * len(losses), 15.5), layout="constrained")
    grid = figure.subplots(len(ROWS) + 1, len(losses), squeeze=False)
    for row, (world, name) in enumerate(ROWS.items()):
        for column, (loss, look) in enumerate(losses.items()):
            axes = grid[row, column]
            own = steps[(steps["world"] == world) & (steps["loss"] == loss)]
            _over_steps(axes, own, look)
            _minimisers(axes, ends[(ends["world"] == world) & (ends["loss"] == loss)], own["step"].max())
            title = rf"{look.label}, $\lambda = {own['lam'].iloc[0]:g}$"
            axes.set_title(title, fontsize="medium", color=look.colour)
            label = name.format(prompts=own["prompts"].iloc[0])
            axes.set_ylabel(f"{label}\n\nprobability" if column == 0 else "")
            axes.set_xlabel("step" if row == len(ROWS) - 1 else "")
    similarities = optima[optima["lam"] == DRAWN]
    for axes, (measure, name) in zip(grid[-1], MEASURES.items(), strict=False):
        _by_loss(axes, similarities, "similarity", measure)
        axes.set(xlabel="similarity of the pair's features", ylabel=name, ylim=(0, None))
        axes.set_title(rf"exact optima, $\lambda = {DRAWN}$", fontsize="medium")
    against = optima[optima["similarity"].map(optima.groupby("similarity")["lam"].nunique()) > 1].sort_values("lam")
    _by_loss(grid[-1, -1], against, "lam", "mass_lost")
    grid[-1, -1].set(xscale="log", xlabel=LAMBDA, ylabel=MEASURES["mass_lost"], ylim=(0, None))
    grid[-1, -1].set_title(f"exact optima, similarity {against['similarity'].iloc[0]:g}", fontsize="medium")
    figure.suptitle("Where the mass goes: chosen, rejected and unseen responses", fontsize="x-large")
    figure.legend(handles=_key(losses.values()), loc="outside lower center", ncols=3, columnspacing=2.0)
    return figure


def _over_steps(axes: Axes, rows: pd.DataFrame, loss: Look) -> None:
    begun, moved = rows[rows["step"] == 0].iloc[0], rows[rows["step"] > 0]
    for kind, (_, look) in KINDS.items():
        axes.axhline(begun[kind], color=look["color"], linewidth=0.9, linestyle="--", alpha=0.8, zorder=0.9)
        axes.plot(moved["step"], moved[kind], **look)
    if rows["world"].iloc[0] in ("features", "transformer"):
        axes.plot(moved["step"], moved["share_displaced"], color=loss.colour, **SHARE)
    axes.set(xscale="log", ylim=(-0.03, 1.03))


def _minimisers(axes: Axes, ends: pd.DataFrame, last: float) -> None:
    """To the right of the last step: bars from the least to the largest mass, and a marker where training ends."""
    if len(ends) and ends["end"].isna().all():
        axes.text(0.97, 0.72, "no minimiser", ha="right", color=INK, transform=axes.transAxes)
        return
    for k, (kind, (_, look)) in enumerate(KINDS.items()):
        for _, end in ends[ends["kind"] == kind].iterrows():
            at = last * 1.7 ** (k + 1)
            axes.plot([at, at], [end["lowest"], end["highest"]], color=look["color"], linewidth=4.5, alpha=0.35)
            marker = "D" if np.isclose(end["lowest"], end["highest"]) else "o"
            axes.plot([at], [end["end"]], marker=marker, color=look["color"], markersize=7, markeredgecolor="white")


def _by_loss(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    for loss, look in looks_in(rows).items():
        own = rows[rows["loss"] == loss]
        axes.plot(own[x], own[y], **look.line(marker=look.marker, markersize=5))


def _key(losses: Iterable[Look]) -> list[Line2D]:
    lines = [Line2D([], [], label=label, **look) for label, look in KINDS.values()]
    lines.append(Line2D([], [], color=INK, linewidth=0.9, linestyle="--", label="reference"))
    words = "share of prompts where chosen and rejected both fell"
    lines.append(Line2D([], [], color=INK, label=f"{words}, in the colour of the loss", **SHARE))
    lines.append(Line2D([], [], color=INK, linewidth=4.5, alpha=0.35, label="flat direction: range of the minimisers"))
    dot: dict[str, Any] = {"color": INK, "linestyle": "none", "markeredgecolor": "white"}
    lines.append(Line2D([], [], marker="o", markersize=7, label="where gradient descent is to end, by theory", **dot))
    lines.append(Line2D([], [], marker="D", markersize=7, label="the only minimiser", **dot))
    for look in losses:
        lines.append(Line2D([], [], label=f"bottom row: {look.label}", **look.line(marker=look.marker)))
    return lines
