"""Error to pi* against the number of comparisons: at the best lambda, at a fixed one, and over training."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import END_POINTS, INK, LAMBDA, looks_in, themed

OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
REFERENCES = {"far": f"{REFERENCE} far from {OPTIMAL}", "near": f"{REFERENCE} near {OPTIMAL}"}
TV = rf"mean TV($\pi$, {OPTIMAL})"
PAIRS = "number of comparisons $N$"
ENDS = {
    "optimum": "exact\noptimum",
    "last": "last\nstep",
    "validation": "lowest\nvalidation\nrisk",
    "nearest": rf"step nearest{chr(10)}{OPTIMAL} (not known{chr(10)}in practice)",
}
THEORY: dict[str, Any] = {"color": "0.1", "linestyle": ":", "linewidth": 1.6, "zorder": 3}
EFFICIENT: dict[str, Any] = {"color": "0.72", "linestyle": "-", "linewidth": 5.0, "zorder": 0.5}


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return finite_data(
        tables["finite_data"],
        tables["finite_data_efficient"],
        tables["finite_data_training"],
        tables["finite_data_ends"],
    )


@themed
def finite_data(errors: pd.DataFrame, efficient: pd.DataFrame, training: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """References in rows: error at the best lambda, at a fixed one, and the best lambda; below, training.

    Args:
        errors: columns ``reference``, ``loss``, ``pairs``, ``choice``, ``measure``, ``error``, ``low``, ``high``,
            ``lam``, ``lam_low``, ``lam_high``, ``predicted``, ``predicted_lam_high``.
        efficient: columns ``pairs``, ``error``.
        training: columns ``reference``, ``loss``, ``pairs``, ``step``, ``error``, ``low``, ``high``.
        ends: columns ``reference``, ``loss``, ``pairs``, ``end`` (of `ENDS`), ``error``, ``low``, ``high``.
    """
    figure = Figure(figsize=(15.5, 14), layout="constrained")
    grid = figure.subplots(3, 3)
    tv = errors[errors["measure"] == "tv"]
    size = sorted(training["pairs"].unique())[training["pairs"].nunique() // 2]
    for row, (reference, name) in enumerate(REFERENCES.items()):
        own = tv[tv["reference"] == reference]
        for column, choice in enumerate(("best", "fixed")):
            axes, rows = grid[row, column], own[own["choice"] == choice]
            axes.plot(efficient["pairs"], efficient["error"], **EFFICIENT)
            _errors(axes, rows)
            given = r"best $\lambda$" if choice == "best" else rf"$\lambda$ = {rows['lam'].iloc[0]:g} for all"
            axes.set_title(f"{name}: {given}", fontsize="medium")
        _best_lambda(grid[row, 2], own[own["choice"] == "best"])
        grid[row, 2].set_title(rf"{name}: the best $\lambda$", fontsize="medium")
        _training(grid[2, row], training[(training["reference"] == reference) & (training["pairs"] == size)])
        grid[2, row].set_title(f"{name}: training, $N$ = {size:,}", fontsize="medium")
    _ends(grid[2, 2], ends[(ends["reference"] == "far") & (ends["pairs"] == size)])
    grid[2, 2].set_title(f"{REFERENCES['far']}: where training ends", fontsize="medium")
    title = f"Finite data: how the distance from {OPTIMAL} falls with the number of comparisons"
    figure.suptitle(title, fontsize="x-large")
    figure.legend(handles=_key(errors), loc="outside lower center", ncols=4, columnspacing=2.0)
    return figure


def _errors(axes: Axes, rows: pd.DataFrame) -> None:
    for loss, look in looks_in(rows).items():
        own = rows[rows["loss"] == loss]
        axes.fill_between(own["pairs"], own["low"], own["high"], color=look.colour, alpha=0.25, linewidth=0)
        axes.plot(own["pairs"], own["error"], **look.line())
        axes.plot(own["pairs"], own["predicted"], **THEORY)
    axes.set(xscale="log", yscale="log", ylim=(1.2e-3, 0.7), xlabel=PAIRS, ylabel=TV)


def _best_lambda(axes: Axes, rows: pd.DataFrame) -> None:
    for loss, look in looks_in(rows).items():
        own = rows[rows["loss"] == loss]
        axes.plot(own["pairs"], own["lam"], **look.line(marker=look.marker, markersize=6))
        if loss == "expo":
            axes.fill_between(own["pairs"], own["lam_low"], own["lam_high"], color=look.colour, alpha=0.18, linewidth=0)
            axes.plot(own["pairs"], own["predicted_lam_high"], **THEORY)
    axes.set(xscale="log", yscale="log", ylim=(6e-5, 2e4), xlabel=PAIRS, ylabel=LAMBDA)


def _training(axes: Axes, rows: pd.DataFrame) -> None:
    for loss, look in looks_in(rows).items():
        own = rows[rows["loss"] == loss]
        step = own["step"].clip(lower=0.6)  # the start, on a logarithmic axis
        axes.fill_between(step, own["low"], own["high"], color=look.colour, alpha=0.25, linewidth=0)
        axes.plot(step, own["error"], **look.line())
    axes.set(xscale="log", yscale="log", ylim=(8e-3, 0.7), xlabel="step of Adam (left edge: the start)", ylabel=TV)


def _ends(axes: Axes, rows: pd.DataFrame) -> None:
    losses = looks_in(rows)
    for k, (loss, look) in enumerate(losses.items()):
        own = rows[rows["loss"] == loss].set_index("end").loc[list(ENDS)]
        at = [x + 0.12 * (k - (len(losses) - 1) / 2) for x in range(len(ENDS))]
        axes.vlines(at, own["low"], own["high"], color=look.colour, linewidth=2.5)
        axes.plot(at, own["error"], **look.end())
    axes.set(yscale="log", ylim=(8e-3, 0.7), xlim=(-0.5, len(ENDS) - 0.5), ylabel=TV)
    axes.set_xticks(range(len(ENDS)), list(ENDS.values()), fontsize="small")
    axes.grid(axis="x", visible=False)


def _key(errors: pd.DataFrame) -> list[Line2D]:
    lines = [
        Line2D([], [], label=look.label, **look.line(marker=look.marker, markersize=6))
        for look in looks_in(errors).values()
    ]
    band: dict[str, Any] = {"color": INK, "alpha": 0.3, "linewidth": 8}
    return [
        *lines,
        Line2D([], [], label="an efficient estimate, by Fisher information", **EFFICIENT),
        Line2D([], [], label="delta method", **THEORY),
        Line2D([], [], label=r"95% confidence; right: $\lambda$ within 10% of best, EXPO", **band),
    ]
