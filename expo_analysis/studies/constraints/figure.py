"""RLHF, DPO and EXPO over restricted policies: three constraints, from tight on the left to loose on the right."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...figures.style import END_POINTS, INK, LOOKS, looks_in, themed

OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
COLUMNS = {
    "weight_decay": ("Weight decay", "decay (falling)"),
    "early_stopping": ("Early stopping", "steps of gradient descent"),
    "few_features": ("Too few features", "features"),
}
DRAWN = 0.1
"""The lambda of all rows but the first, which has them all."""
ROWS = {
    "regret": "DPO's regret in RLHF's\nobjective (nats)",
    "reward_lost": "reward lost at its own\nKL(π ‖ π$_{\\mathrm{ref}}$) (nats)",
    "kl_optimal_policy": f"KL({OPTIMAL} ‖ π) (nats)",
    "detour": "length of the way\nπ$_{\\mathrm{ref}}$ → π → best fit",
}
FLOOR = {"reward_lost": 1e-7, "kl_optimal_policy": 1e-3, "detour": 0.3}
LINEAR_BELOW = 1e-3
UNIFORM: dict[str, Any] = {"linestyle": ":", "linewidth": 1.6}
LARGER: dict[str, Any] = {"linestyle": "-", "linewidth": 1.3, "alpha": 0.6}
"""How DPO is drawn at the other lambda."""


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return constraints(tables["constraints"], tables["constraints_reference"])


@themed
def constraints(summary: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """Medians over the problems, with bands from 10% to 90%; a column a constraint, a row a measure.

    Args:
        summary: columns ``pairs``, ``constraint``, ``strength``, ``lam``, ``loss``, and of every measure in `ROWS` the
            median under its name and quantiles under NAME_low and NAME_high.
        reference: columns ``problems`` and ``kl_optimal_policy``, the median of KL(pi* || pi_ref).
    """
    figure = Figure(figsize=(12.5, 13.5), layout="constrained")
    grid = figure.subplots(len(ROWS), len(COLUMNS), sharey="row")
    for column, (constraint, (title, strength)) in enumerate(COLUMNS.items()):
        own = summary[(summary["constraint"] == constraint)]
        main = own[own["pairs"] == "reference"]
        prompts = "shared" if constraint == "few_features" else "single"
        start = reference.loc[reference["problems"] == prompts, "kl_optimal_policy"].iloc[0]
        for row, (measure, label) in enumerate(ROWS.items()):
            axes = grid[row, column]
            if measure == "regret":
                _regret(axes, main)
            else:
                for loss, look in looks_in(main).items():
                    _band(axes, main[(main["loss"] == loss) & (main["lam"] == DRAWN)], measure, look.line())
                axes.set_yscale("log")
            if measure == "reward_lost":
                uniform = own[(own["pairs"] == "uniform") & (own["loss"] == "dpo") & (own["lam"] == DRAWN)]
                axes.plot(uniform["strength"], uniform[measure], color=LOOKS["dpo"].colour, **UNIFORM)
            elif measure != "regret":
                axes.axhline(1.0 if measure == "detour" else start, color=INK, linewidth=1.0, linestyle="--")
            if constraint == "few_features":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            else:
                axes.set_xscale("log")
            if constraint == "weight_decay":
                axes.invert_xaxis()
            axes.set_title(title if row == 0 else "")
            axes.set_xlabel(strength if row == len(ROWS) - 1 else "")
            axes.set_ylabel(label if column == 0 else "")
    for axes, floor in zip(grid[1:, 0], FLOOR.values(), strict=True):
        axes.set_ylim(bottom=floor)
    figure.suptitle("Restricted policies: tight constraints on the left, loose ones on the right", fontsize="x-large")
    figure.legend(handles=_key(summary), loc="outside lower center", ncols=3, columnspacing=2.0)
    return figure


def _regret(axes: Axes, rows: pd.DataFrame) -> None:
    for lam in sorted(rows["lam"].unique(), reverse=True):
        changes = {} if lam == DRAWN else LARGER
        _band(axes, rows[(rows["loss"] == "dpo") & (rows["lam"] == lam)], "regret", LOOKS["dpo"].line(**changes))
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)


def _band(axes: Axes, rows: pd.DataFrame, measure: str, line: dict[str, Any]) -> None:
    axes.plot(rows["strength"], rows[measure], **line)
    low, high = rows[f"{measure}_low"], rows[f"{measure}_high"]
    axes.fill_between(rows["strength"], low, high, color=line["color"], alpha=0.13, linewidth=0)


def _key(summary: pd.DataFrame) -> list[Line2D]:
    lam = rf"$\lambda = {DRAWN}$"
    lines = [Line2D([], [], label=f"{look.label}, {lam}", **look.line()) for look in looks_in(summary).values()]
    dpo = LOOKS["dpo"].colour
    others = ", ".join(f"{lam:g}" for lam in sorted(summary["lam"].unique()) if lam != DRAWN)
    lines.append(Line2D([], [], label=rf"top row: DPO, $\lambda = {others}$", color=dpo, **LARGER))
    lines.append(Line2D([], [], label="second row: DPO, uniform pairs", color=dpo, **UNIFORM))
    label = f"third row: {REFERENCE}; bottom row: between the ends"
    lines.append(Line2D([], [], label=label, color=INK, linewidth=1.0, linestyle="--"))
    return lines
