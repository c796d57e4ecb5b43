"""The estimators of EXPO's regulariser: bias and variance, and the masses that training with each leads to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import END_POINTS, GREYS, INK, estimator_look, themed

OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
NAMES = {
    "own_responses": "likelihood of own responses",
    "reference_samples": "likelihood of reference samples",
    "token_kl": "token KL along reference samples",
    "token_kl_own": "token KL along own responses",
}


def _line(name: str) -> dict[str, Any]:
    """In EXPO's colour; markers of what goes token by token are open."""
    look = estimator_look(name)
    face = "white" if name.startswith("token_kl") else look.colour
    return look.line(marker=look.marker, markerfacecolor=face)


ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "exact": ("exact regulariser", {"color": "0.72", "linestyle": "-", "linewidth": 5.0}),
    **{name: (label, _line(name)) for name, label in NAMES.items()},
}
SHARED = {"reference_samples": "exact", "token_kl": "exact"}
"""Whose optimum an estimator has, where it is not its own."""
DESIGNS = {"any": "any pairs", "reference": rf"pairs from {REFERENCE}", "part": "pairs of some sequences"}
PATHS = {
    "optimal": (rf"table, towards {OPTIMAL}", GREYS[0].colour, "o"),
    "one_sequence": ("table, towards one rare sequence", GREYS[1].colour, "s"),
    "weights": ("transformer, random weights", GREYS[2].colour, "^"),
}
WORLDS = {"table": "table", "transformer": "transformer"}
MASSES = {
    "chosen": "chosen (won more than lost)",
    "rejected": "rejected (other compared ones)",
    "unseen": "unseen (in no pair)",
}
DATA_SET = 0
"""Whose training is drawn."""


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return estimators(
        tables["estimators"], tables["estimators_paths"], tables["estimators_optima"], tables["estimators_steps"]
    )


@themed
def estimators(moments: pd.DataFrame, paths: pd.DataFrame, optima: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Expectation and spread of the estimates, spreads compared along paths, and masses over training, a row a world.

    Args:
        moments: columns ``policy``, ``estimator``, ``design``, ``quantity``, ``target``, ``expectation``, ``sd_along``,
            ``drawn``, ``drawn_low``, ``drawn_high``.
        paths: columns ``path``, ``kl``, ``value``, ``gradient``.
        optima: columns ``data``, ``data_set``, ``estimator``, ``chosen``, ``rejected``, ``unseen``.
        steps: columns ``world``, ``estimator``, ``data_set``, ``step``, ``chosen``, ``rejected``, ``unseen``.
    """
    figure = Figure(figsize=(15.5, 13.5), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.0, 2.35))
    upper, lower = halves
    grid = [upper.subplots(1, 3), *lower.subplots(2, 3)]
    trained = moments[moments["policy"] == "trained"]
    for axes, quantity, unit in zip(grid[0], ("value", "gradient"), ("nats", "nats per unit of logit"), strict=False):
        _moments(axes, trained[trained["quantity"] == quantity])
        axes.set_xlabel(unit)
    grid[0][0].set_title("value at EXPO's optimum, ± sd of one pair", fontsize="medium")
    grid[0][1].set_title("its gradient along the exact one", fontsize="medium")
    grid[0][1].set_yticklabels([])
    _paths(grid[0][2], paths)
    for row, (world, name) in enumerate(WORLDS.items(), 1):
        own = steps[(steps["world"] == world) & (steps["data_set"] == DATA_SET) & (steps["step"] > 0)]
        goals = optima[(optima["data"] == "pairs") & (optima["data_set"] == DATA_SET)].set_index("estimator")
        for axes, (kind, meaning) in zip(grid[row], MASSES.items(), strict=True):
            _masses(axes, own, goals, kind)
            axes.set_title(f"{name}, {meaning}", fontsize="medium")
        grid[row][0].set_ylabel("probability")
    figure.suptitle("Estimators of EXPO's regulariser: bias, variance, and where they lead", fontsize="x-large")
    lower.legend(handles=_key(), loc="outside lower center", ncols=3, columnspacing=2.0)
    return figure


def _moments(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows.sort_values(["estimator", "design"], key=lambda column: column.map(_place), kind="stable")
    labels = []
    numbers = rows[["expectation", "sd_along", "drawn_low", "drawn_high"]].to_numpy(dtype=np.float64)
    for y, (expectation, sd, low, high) in enumerate(numbers):
        label, look = ESTIMATORS[rows["estimator"].iloc[y]]
        axes.errorbar(expectation, y, xerr=sd, color=look["color"], linewidth=1.4, capsize=4)
        axes.plot(expectation, y, **{**look, "linestyle": "none", "markersize": 8, "markeredgewidth": 1.8})
        axes.plot([low, high], [y + 0.27] * 2, color="0.15", linewidth=2.6, solid_capstyle="butt")
        labels.append(f"{label},\n{DESIGNS[rows['design'].iloc[y]]}")
    axes.axvline(rows["target"].iloc[0], color="0.15", linestyle="--", linewidth=1.2, zorder=0.9)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _place(name: str) -> int:
    return [*ESTIMATORS, *DESIGNS].index(name)


def _paths(axes: Axes, paths: pd.DataFrame) -> None:
    for path, (_, colour, marker) in PATHS.items():
        own = paths[paths["path"] == path]
        for quantity, dashes in (("value", "-"), ("gradient", (0, (4, 1.5)))):
            axes.plot(own["kl"], own[quantity], color=colour, linestyle=dashes, marker=marker, markersize=5)
    axes.axhline(1.0, color="0.15", linewidth=1.2, zorder=0.9)
    axes.set(xscale="log", yscale="log", xlabel=rf"KL({REFERENCE} ‖ $\pi$) (nats)")
    axes.set_title("sd of the token KL / sd of the likelihood", fontsize="medium")


def _masses(axes: Axes, steps: pd.DataFrame, goals: pd.DataFrame, kind: str) -> None:
    for estimator, (_, look) in ESTIMATORS.items():
        own = steps[steps["estimator"] == estimator]
        axes.plot(own["step"], own[kind], **{"markersize": 5, **look})
        if estimator not in SHARED:
            colour = "0.15" if estimator == "exact" else look["color"]
            axes.axhline(float(goals[kind][estimator]), color=colour, linestyle="--", linewidth=1.2, zorder=0.9)
    axes.set(xscale="log", xlabel="step of Adam", ylim=(-0.02, 0.82))


def _key() -> list[Line2D]:
    lines = [Line2D([], [], label=label, **{"markersize": 6, **look}) for label, look in ESTIMATORS.values()]
    lines += [
        Line2D([], [], color="0.15", linestyle="--", linewidth=1.2, label="exact value; below: exact optima"),
        Line2D([], [], color="0.15", linewidth=2.6, label="mean over drawn pairs, 95% interval"),
    ]
    for label, colour, marker in PATHS.values():
        lines.append(Line2D([], [], color=colour, marker=marker, linestyle="none", label=f"upper right: {label}"))
    lines += [
        Line2D([], [], color=INK, linestyle="-", linewidth=1.6, label=rf"upper right: value, as log {REFERENCE}/$\pi$"),
        Line2D([], [], color=INK, linestyle=(0, (4, 1.5)), linewidth=1.6, label="upper right: gradient"),
    ]
    return lines
