"""The estimators of EXPO's regulariser: their bias, their variance, and the masses that training with each leads to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet
from ...figures.style import END_POINTS, GREYS, INK, Look, Size, estimator_look, size_of, under

REFERENCE, OPTIMAL = END_POINTS["reference"].label, END_POINTS["optimal"].label
NAMES = {
    "own_responses": "likelihood of own responses",
    "reference_samples": "likelihood of reference samples",
    "token_kl": "token KL along reference samples",
    "token_kl_own": "token KL along own responses",
}
EXACT = {"color": "0.58", "linestyle": "-"}
"""The regulariser without an estimate; its line is as wide as a road."""
SHARED = ("reference_samples", "token_kl")
"""Whose optimum is that of the exact regulariser."""
DESIGNS = {"any": "any pairs", "reference": rf"pairs from {REFERENCE}", "part": "pairs of some sequences"}
PATHS = {
    "optimal": (rf"table, towards {OPTIMAL}", GREYS[0]),
    "one_sequence": ("table, towards one rare sequence", GREYS[1]),
    "weights": ("transformer, random weights", GREYS[2]),
}
WORLDS = {"table": "a table of logits", "transformer": "a small transformer"}
DATA_SET = 0
"""Whose training is drawn."""


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The three pictures of the study, by file name."""
    return {
        "estimators": bias(tables["estimators"]),
        "estimators_paths": variance(tables["estimators_paths"]),
        "estimators_steps": training(tables["estimators_steps"], tables["estimators_optima"]),
    }


def bias(moments: pd.DataFrame) -> Figure:
    """Expectation and spread of each estimate at EXPO's optimum, of its value and of its gradient.

    Args:
        moments: columns ``policy``, ``estimator``, ``design``, ``quantity``, ``target``, ``expectation``, ``sd_along``,
            ``drawn_low``, ``drawn_high``.
    """
    size = size_of("page")
    trained = moments[moments["policy"] == "trained"]
    with under(size):
        exact = Line2D([], [], color=INK, linestyle="--", linewidth=size.line / 1.6)
        drawn = Line2D([], [], color=INK, linewidth=1.6 * size.line)
        key = [
            (exact, "exact"),
            (Line2D([], [], **_mark("own_responses", size)), "expectation, ± sd of one pair"),
            (drawn, "mean over drawn pairs, 95% interval"),
        ]
        sheet = Sheet(size, "What each estimate of EXPO's regulariser is on average, at EXPO's optimum", key)
        grid = sheet.subplots(20 * size.row, 1, 2, sharey=True)[0]
        for axes, quantity, label in zip(
            grid, ("value", "gradient"), ("value (nats)", "gradient along the exact one"), strict=True
        ):
            _estimates(axes, trained[trained["quantity"] == quantity], size)
            axes.set_xlabel(label)
        return sheet.finished()


def variance(paths: pd.DataFrame) -> Figure:
    """Spread of the token KL over that of the likelihood as the policy leaves the reference.

    Args:
        paths: columns ``path``, ``kl``, ``value``, ``gradient``.
    """
    size = size_of("page")
    with under(size):
        key = [(Line2D([], [], **_grey(look, size)), label) for label, look in PATHS.values()]
        title = "Spread of the token KL over that of the likelihood: below the line it is the smaller"
        sheet = Sheet(size, title, key)
        grid = sheet.subplots(15 * size.row, 1, 2, sharex=True, sharey=True)[0]
        for axes, quantity in zip(grid, ("value", "gradient"), strict=True):
            for path, (_, look) in PATHS.items():
                own = paths[paths["path"] == path]
                axes.plot(own["kl"], own[quantity], **_grey(look, size))
            axes.axhline(1.0, color=INK, linewidth=size.line / 1.6, zorder=0.9)
            axes.set(xscale="log", yscale="log", xlabel=rf"KL({REFERENCE} ‖ $\pi$) (nats)")
            axes.set_title(f"of the {quantity}")
        grid[0].set_ylabel("sd of the token KL / sd of the likelihood")
        return sheet.finished()


def training(steps: pd.DataFrame, optima: pd.DataFrame) -> Figure:
    """The mass of sequences in no pair while training with each estimator, a panel a world.

    Args:
        steps: columns ``world``, ``estimator``, ``data_set``, ``step``, ``unseen``.
        optima: columns ``data``, ``data_set``, ``estimator``, ``unseen``.
    """
    size = size_of("page")
    goals = optima[(optima["data"] == "pairs") & (optima["data_set"] == DATA_SET)].set_index("estimator")["unseen"]
    own = steps[(steps["data_set"] == DATA_SET) & (steps["step"] > 0)]
    with under(size):
        sheet = Sheet(size, "Sequences in no pair: which estimators keep their mass, as EXPO does", _training_key(size))
        grid = sheet.subplots(16 * size.row, 1, 2, sharey=True)[0]
        for axes, (world, name) in zip(grid, WORLDS.items(), strict=True):
            _masses(axes, own[own["world"] == world], goals, size)
            axes.set_title(name)
        grid[0].set_ylabel("probability of sequences in no pair")
        return sheet.finished()


def _line(name: str, size: Size) -> dict[str, Any]:
    """In EXPO's colour; markers of what goes token by token are open."""
    if name == "exact":
        return {**EXACT, "linewidth": 3 * size.line}
    look = estimator_look(name)
    face = "white" if name.startswith("token_kl") else look.colour
    return look.line(marker=look.marker, linewidth=size.line / 1.4, markersize=size.mark, markerfacecolor=face)


def _mark(name: str, size: Size) -> dict[str, Any]:
    return {**_line(name, size), "linestyle": "none", "markersize": 1.3 * size.mark}


def _grey(look: Look, size: Size) -> dict[str, Any]:
    return look.line(marker=look.marker, linewidth=size.line / 1.4, markersize=size.mark)


def _estimates(axes: Axes, rows: pd.DataFrame, size: Size) -> None:
    rows = rows.sort_values(["estimator", "design"], key=lambda column: column.map(_place), kind="stable")
    numbers = rows[["expectation", "sd_along", "drawn_low", "drawn_high"]].to_numpy(dtype=np.float64)
    for y, (name, (expectation, sd, low, high)) in enumerate(zip(rows["estimator"], numbers, strict=True)):
        mark = _mark(name, size)
        axes.errorbar(expectation, y, xerr=sd, color=mark["color"], linewidth=size.line / 1.4, capsize=size.mark / 2)
        axes.plot(expectation, y, **mark)
        axes.plot([low, high], [y + 0.3] * 2, color=INK, linewidth=1.6 * size.line, solid_capstyle="butt")
    axes.axvline(rows["target"].iloc[0], color=INK, linestyle="--", linewidth=size.line / 1.6, zorder=0.9)
    labels = [
        f"{NAMES[name]},\n{DESIGNS[design]}" for name, design in zip(rows["estimator"], rows["design"], strict=True)
    ]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _place(name: str) -> int:
    return [*NAMES, *DESIGNS].index(name)


def _masses(axes: Axes, steps: pd.DataFrame, goals: pd.Series[float], size: Size) -> None:
    for estimator in ("exact", *NAMES):
        own, look = steps[steps["estimator"] == estimator], _line(estimator, size)
        axes.plot(own["step"], own["unseen"], **look)
        if estimator not in SHARED:
            colour = INK if estimator == "exact" else look["color"]
            axes.axhline(goals[estimator], color=colour, linestyle="--", linewidth=size.line / 1.6, zorder=0.9)
    axes.set(xscale="log", xlabel="step of Adam")


def _training_key(size: Size) -> list[Entry]:
    lines = [
        (Line2D([], [], **_line(name, size)), label) for name, label in {"exact": "exact regulariser", **NAMES}.items()
    ]
    goal = Line2D([], [], color=INK, linestyle="--", linewidth=size.line / 1.6)
    return [*lines, (goal, "exact optima (red: not EXPO's)")]
