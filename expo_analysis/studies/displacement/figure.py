"""Masses of chosen, rejected and unseen responses over training; and how often chosen and rejected both fall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet, path_style
from ...figures.style import INK, LAMBDA, MOVED, looks_in, size_of, under

PAGE = size_of("page")
FREE = {"population": "exact preferences", "one_sided": "winners always win"}
"""Worlds of one logit a response."""
SHARING = {"features": "shared features", "transformer": "a small transformer"}
"""Worlds where responses share parameters."""
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (MOVED[kind].label, MOVED[kind].line(linewidth=PAGE.line)) for kind in ("chosen", "rejected")},
    "unseen": ("never compared", {"color": "0.55", "linestyle": (0, (5, 1.5, 1.2, 1.5)), "linewidth": PAGE.line}),
}
SHARE: dict[str, Any] = {"linestyle": (0, (1, 1.3)), "linewidth": PAGE.line}
"""In the colour of the loss."""
RANGE: dict[str, Any] = {"linewidth": 1.6 * PAGE.line}
START: dict[str, Any] = {"linewidth": PAGE.line / 2, "linestyle": "--"}
MEASURES = {"share_displaced": "share where both fall", "mass_lost": "mass lost by the pair"}
DRAWN = 0.1
"""The lambda of the panels against similarity."""


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The three pictures of the study, by file name."""
    steps = tables["displacement"]
    return {
        "displacement": conserved(steps, tables["displacement_ends"]),
        "displacement_shared": shared(steps),
        "displacement_optima": alike(tables["displacement_optima"]),
    }


def conserved(steps: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Two compared pairs and an unseen response, one logit each: a row a world, a column a loss.

    Args:
        steps: columns ``world``, ``prompts``, ``loss``, ``lam``, ``step``, ``chosen``, ``rejected``, ``unseen``.
        ends: columns ``world``, ``loss``, ``kind``, ``lowest``, ``highest``, ``end``: the range among the minimisers.
    """
    dot: dict[str, Any] = {"color": INK, **_dot("o")}
    key = [
        (Line2D([], [], color=INK, **RANGE), "flat direction: range of the minimisers"),
        (Line2D([], [], **dot), "where gradient descent is to end, by theory"),
        (Line2D([], [], **{**dot, "marker": "D"}), "the only minimiser"),
    ]
    with under(PAGE):
        title = "One logit a response: what becomes of a response that is never compared"
        sheet, grid = _worlds(title, steps, FREE, key)
        for row, world in enumerate(FREE):
            for axes, loss in zip(grid[row], looks_in(steps), strict=True):
                last = steps[steps["world"] == world]["step"].max()
                _minimisers(axes, ends[(ends["world"] == world) & (ends["loss"] == loss)], last)
        return sheet.finished()


def shared(steps: pd.DataFrame) -> Figure:
    """Responses that share parameters: chosen and rejected can both lose; a row a world, a column a loss.

    Args:
        steps: columns ``world``, ``prompts``, ``loss``, ``lam``, ``step``, ``chosen``, ``rejected``, ``unseen``,
            ``share_displaced``.
    """
    words = "share of prompts where chosen and rejected both fell, in the colour of the loss"
    with under(PAGE):
        title = "Shared parameters: on how many prompts chosen and rejected both fall"
        sheet, grid = _worlds(title, steps, SHARING, [(Line2D([], [], color=INK, **SHARE), words)])
        for row, world in enumerate(SHARING):
            for axes, (loss, look) in zip(grid[row], looks_in(steps).items(), strict=True):
                own = steps[(steps["world"] == world) & (steps["loss"] == loss) & (steps["step"] > 0)]
                axes.plot(own["step"], own["share_displaced"], color=look.colour, **SHARE)
        return sheet.finished()


def alike(optima: pd.DataFrame) -> Figure:
    """Exact optima over many worlds of shared features, against similarity and against lambda.

    Args:
        optima: columns ``similarity``, ``lam``, ``loss`` and those of `MEASURES`.
    """
    similarities = optima[optima["lam"] == DRAWN]
    against = optima[optima["similarity"].map(optima.groupby("similarity")["lam"].nunique()) > 1].sort_values("lam")
    with under(PAGE):
        key = [(Line2D([], [], **path_style(look, PAGE)), look.label) for look in looks_in(optima).values()]
        sheet = Sheet(PAGE, "How often chosen and rejected both fall, by how alike they are: exact optima", key)
        grid = sheet.subplots(15 * PAGE.row, 1, 3)[0]
        for axes, (measure, name) in zip(grid, MEASURES.items(), strict=False):
            _by_loss(axes, similarities, "similarity", measure)
            axes.set(xlabel="similarity of features", ylabel=name, ylim=(0, None))
            axes.set_title(rf"$\lambda = {DRAWN}$")
        _by_loss(grid[-1], against, "lam", "mass_lost")
        grid[-1].set(xscale="log", xlabel=LAMBDA, ylabel=MEASURES["mass_lost"], ylim=(0, None))
        grid[-1].set_title(f"similarity {against['similarity'].iloc[0]:g}")
        return sheet.finished()


def _worlds(title: str, steps: pd.DataFrame, worlds: dict[str, str], more: Iterable[Entry]) -> tuple[Sheet, Any]:
    """A sheet with a row a world and a column a loss, masses over steps drawn."""
    losses = looks_in(steps)
    key: list[Entry] = [(Line2D([], [], **look), label) for label, look in KINDS.values()]
    sheet = Sheet(PAGE, title, [*key, (Line2D([], [], color=INK, **START), "reference"), *more])
    grid = sheet.subplots(26 * PAGE.row, len(worlds), len(losses), sharey=True)
    for row, (world, name) in zip(grid, worlds.items(), strict=True):
        for axes, (loss, look) in zip(row, losses.items(), strict=True):
            own = steps[(steps["world"] == world) & (steps["loss"] == loss)]
            _over_steps(axes, own)
            label = sheet.wrapped(look.label, PAGE.width / len(losses) - 0.8)
            axes.set_title(rf"{label}, $\lambda = {own['lam'].iloc[0]:g}$", color=look.colour)
        prompts = own["prompts"].iloc[0]
        row[0].set_ylabel(f"{name}{f', {prompts} prompts' if prompts > 1 else ''}\nprobability")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    return sheet, grid


def _over_steps(axes: Axes, rows: pd.DataFrame) -> None:
    begun, moved = rows[rows["step"] == 0].iloc[0], rows[rows["step"] > 0]
    for kind, (_, look) in KINDS.items():
        axes.axhline(begun[kind], color=look["color"], **START, zorder=0.9)
        axes.plot(moved["step"], moved[kind], **look)
    axes.set(xscale="log", ylim=(-0.03, 1.03))


def _minimisers(axes: Axes, ends: pd.DataFrame, last: float) -> None:
    """To the right of the last step: bars from the least to the largest mass, and a marker where training ends."""
    if len(ends) and ends["end"].isna().all():
        axes.text(0.97, 0.72, "no minimiser", ha="right", color=INK, transform=axes.transAxes)
        return
    for k, (kind, (_, look)) in enumerate(KINDS.items()):
        for _, end in ends[ends["kind"] == kind].iterrows():
            at = last * 1.7 ** (k + 1)
            axes.plot([at, at], [end["lowest"], end["highest"]], color=look["color"], **RANGE)
            marker = "D" if np.isclose(end["lowest"], end["highest"]) else "o"
            axes.plot([at], [end["end"]], color=look["color"], **_dot(marker))


def _dot(marker: str) -> dict[str, Any]:
    return {"linestyle": "none", "marker": marker, "markersize": 1.5 * PAGE.mark, "markeredgecolor": "white"}


def _by_loss(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    for loss, look in looks_in(rows).items():
        own = rows[rows["loss"] == loss]
        axes.plot(own[x], own[y], **path_style(look, PAGE))
