"""The paper's Section 5, from the loss to the published picture: population, pairs, training, the authors' training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import END_POINTS, INK, Look, looks_in, themed

OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "population": ("minimiser on the population: the loss", {"color": "0.6", "linestyle": "-", "linewidth": 4.0}),
    "pairs": ("minimiser on the pairs: and the sample", {"color": "0.15", "linestyle": "--", "linewidth": 1.8}),
    "ought": (
        "trained, no clipping, summed KL, shuffled: and the stopping time",
        {"linestyle": "-", "linewidth": 1.4, "marker": "o", "markersize": 4.5},
    ),
    "authors": (
        "trained by the authors' settings: and the clipping",
        {"linestyle": "none", "marker": "x", "markersize": 7, "markeredgewidth": 1.8},
    ),
}
"""What has no colour here has that of the loss."""
LINEAR_BELOW = 1e-7
RESPONSES = dict(zip(("y0", "y1", "y2"), (("$y_1$", "o"), ("$y_2$", "s"), ("$y_3$", "^")), strict=True))
TRAINED: dict[str, dict[str, Any]] = {
    "ought": {"linestyle": "-", "linewidth": 1.6, "markersize": 5},
    "authors": {"linestyle": ":", "linewidth": 1.6, "markersize": 5, "markerfacecolor": "white"},
}
SHORTEST = 1e-5
"""The published lambda whose training is drawn step by step."""


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return section5(tables["section5"], tables["section5_steps"])


@themed
def section5(ends: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """KL(pi* ‖ pi) on the bad and the good prompt against log lambda, and the policy over training; a column a loss.

    Args:
        ends: columns ``experiment``, ``source`` (of `SOURCES`), ``loss``, ``published_lam``, ``prompt``,
            ``kl_optimal_policy``, ``y0``, ``y1``, ``y2``.
        steps: columns ``loss``, ``published_lam``, ``source``, ``step``, ``y0``, ``y1``, ``y2``.
    """
    losses = looks_in(ends)
    figure = Figure(figsize=(3.6 * len(losses), 10.5), layout="constrained")
    grid = figure.subplots(3, len(losses), squeeze=False)
    preserved = ends[ends["experiment"] == "preservation"]
    for column, (loss, look) in enumerate(losses.items()):
        for row, (prompt, name) in enumerate({"bad": "bad prompt", "good": "good prompt"}.items()):
            axes = grid[row, column]
            _against_lambda(axes, preserved[(preserved["loss"] == loss) & (preserved["prompt"] == prompt)], look)
            axes.set_title(f"{look.label}: {name}", fontsize="medium", color=look.colour)
            axes.set_ylabel(rf"KL({OPTIMAL} ‖ $\pi$) (nats)" if column == 0 else "")
        own = ends[(ends["experiment"] == "interpolation") & (ends["loss"] == loss)]
        _over_steps(grid[2, column], steps[steps["loss"] == loss], own, look)
        title = rf"{look.label}: $\lambda = 10^{{-5}}$"
        grid[2, column].set_title(title, fontsize="medium", color=look.colour)
        grid[2, column].set_ylabel("probability" if column == 0 else "")
    title = "The paper's Section 5: what is the loss, the sample, the stopping time and the clipping"
    figure.suptitle(title, fontsize="x-large")
    figure.legend(handles=_key(), loc="outside lower center", ncols=3, columnspacing=2.0)
    return figure


def _against_lambda(axes: Axes, rows: pd.DataFrame, loss: Look) -> None:
    for source, (_, style) in SOURCES.items():
        own = rows[rows["source"] == source]
        axes.plot(np.log(own["published_lam"]), own["kl_optimal_policy"], **{"color": loss.colour, **style})
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axes.set(ylim=(-0.4 * LINEAR_BELOW, 4e2), xticks=range(-4, 6, 2), xlabel=r"$\log \lambda$, as published")
    axes.set_yticks([0, *(10.0**k for k in range(-7, 3, 2))])


def _over_steps(axes: Axes, steps: pd.DataFrame, ends: pd.DataFrame, loss: Look) -> None:
    shown = steps[np.isclose(steps["published_lam"], SHORTEST) & (steps["step"] > 0)]
    exact = ends[np.isclose(ends["published_lam"], SHORTEST) & (ends["source"] == "pairs")]
    for response, (_, marker) in RESPONSES.items():
        for source, style in TRAINED.items():
            own = shown[shown["source"] == source]
            every = max(1, len(own) // 9)
            axes.plot(own["step"], own[response], color=loss.colour, marker=marker, markevery=every, **style)
        axes.axhline(exact[response].iloc[0], color="0.15", linestyle="--", linewidth=1.2, zorder=0.9)
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="step of Adam")


def _key() -> list[Line2D]:
    lines = [Line2D([], [], label=label, **{"color": INK, **style}) for label, style in SOURCES.values()]
    names = {"ought": "trained, no clipping, shuffled", "authors": "trained by the authors' settings"}
    lines += [Line2D([], [], color=INK, label=f"below: {names[source]}", **style) for source, style in TRAINED.items()]
    for name, marker in RESPONSES.values():
        lines.append(Line2D([], [], color=INK, linestyle="none", marker=marker, label=f"below: {name}"))
    return lines
