"""The paper's Section 5, from the loss to the published picture: population, pairs, training, the authors' training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet
from ...figures.style import END_POINTS, INK, Look, looks_in, size_of, under

PAGE = size_of("page")
OPTIMAL = END_POINTS["optimal"].label
MINIMISER: dict[str, Any] = {"color": "0.15", "linestyle": (0, (3, 1.5)), "linewidth": PAGE.line / 1.2}
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "population": (
        "minimiser on the population: the loss",
        {"color": "0.58", "linestyle": "-", "linewidth": 3 * PAGE.line},
    ),
    "pairs": ("minimiser on the pairs: and the sample", MINIMISER),
    "ought": (
        "trained, no clipping, summed KL, shuffled: and the stopping time",
        {"linestyle": "-", "linewidth": PAGE.line / 1.5, "marker": "o", "markersize": PAGE.mark / 1.3},
    ),
    "authors": (
        "trained by the authors' settings: and the clipping",
        {"linestyle": "none", "marker": "x", "markersize": 1.3 * PAGE.mark, "markeredgewidth": PAGE.line / 1.1},
    ),
}
"""What has no colour here has that of the loss."""
LINEAR_BELOW = 1e-7
RESPONSES = dict(zip(("y0", "y1", "y2"), (("$y_1$", "o"), ("$y_2$", "s"), ("$y_3$", "^")), strict=True))
SHORTEST = 1e-5
"""The published lambda whose training is drawn step by step."""


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The three pictures of the study, by file name."""
    ends = tables["section5"]
    return {
        "section5": against_lambda(ends, "good", rf"$\pi_{{\mathrm{{ref}}}}$ is {OPTIMAL} already"),
        "section5_bad": against_lambda(ends, "bad", rf"$\pi_{{\mathrm{{ref}}}}$ is not {OPTIMAL}"),
        "section5_steps": over_steps(ends, tables["section5_steps"]),
    }


def against_lambda(ends: pd.DataFrame, prompt: str, what: str) -> Figure:
    """KL(pi* ‖ pi) on a prompt against log lambda, a panel a loss.

    Args:
        ends: columns ``experiment``, ``source`` (of `SOURCES`), ``loss``, ``published_lam``, ``prompt``,
            ``kl_optimal_policy``.
        prompt: "good" or "bad". what: what is true of the reference there, for the title.
    """
    rows = ends[(ends["experiment"] == "preservation") & (ends["prompt"] == prompt)]
    title = f"The published picture taken apart, {prompt} prompt ({what}): loss, sample, steps, clipping"
    with under(PAGE):
        key = [(Line2D([], [], **{"color": INK, **style}), name) for name, style in SOURCES.values()]
        sheet, grid = _losses(title, ends, key)
        for axes, (loss, look) in zip(grid, looks_in(ends).items(), strict=True):
            for source, (_, style) in SOURCES.items():
                own = rows[(rows["loss"] == loss) & (rows["source"] == source)]
                axes.plot(np.log(own["published_lam"]), own["kl_optimal_policy"], **{"color": look.colour, **style})
            axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
            axes.set(ylim=(-0.4 * LINEAR_BELOW, 4e2), xticks=range(-4, 6, 2), xlabel=r"$\log \lambda$, as published")
            axes.set_yticks([0, *(10.0**k for k in range(-7, 3, 2))])
        grid[0].set_ylabel(rf"KL({OPTIMAL} ‖ $\pi$) (nats)")
        return sheet.finished()


def over_steps(ends: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """The policy over training on one prompt at `SHORTEST`, beside the minimiser on the pairs; a panel a loss.

    Args:
        ends: columns ``experiment``, ``source``, ``loss``, ``published_lam``, ``y0``, ``y1``, ``y2``.
        steps: columns ``loss``, ``published_lam``, ``source``, ``step``, ``y0``, ``y1``, ``y2``.
    """
    key: list[Entry] = [
        (Line2D([], [], color=INK, marker=mark, linewidth=PAGE.line), f"{name}, trained")
        for name, mark in RESPONSES.values()
    ]
    key.append((Line2D([], [], **MINIMISER), "minimisers on the pairs"))
    with under(PAGE):
        title = r"Training at $\lambda = 10^{-5}$, step by step: to the fit to the pairs, or on to the corner?"
        sheet, grid = _losses(title, ends, key)
        ends = ends[(ends["experiment"] == "interpolation") & (ends["source"] == "pairs")]
        steps = steps[(steps["source"] == "ought") & (steps["step"] > 0)]
        for axes, (loss, look) in zip(grid, looks_in(ends).items(), strict=True):
            own = (x[(x["loss"] == loss) & np.isclose(x["published_lam"], SHORTEST)] for x in (steps, ends))
            _steps(axes, look, *own)
        grid[0].set_ylabel("probability")
        return sheet.finished()


def _losses(title: str, ends: pd.DataFrame, key: Sequence[Entry]) -> tuple[Sheet, list[Axes]]:
    """A sheet with a panel a loss."""
    losses = looks_in(ends)
    sheet = Sheet(PAGE, title, key)
    grid = list(sheet.subplots(15 * PAGE.row, 1, len(losses), sharey=True)[0])
    for axes, look in zip(grid, losses.values(), strict=True):
        axes.set_title(sheet.wrapped(look.label, PAGE.width / len(losses) - 0.5), color=look.colour)
    return sheet, grid


def _steps(axes: Axes, look: Look, steps: pd.DataFrame, ends: pd.DataFrame) -> None:
    for response, (_, marker) in RESPONSES.items():
        every = max(1, len(steps) // 7)
        axes.plot(steps["step"], steps[response], color=look.colour, marker=marker, markevery=every)
        axes.axhline(ends[response].iloc[0], zorder=0.9, **MINIMISER)
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="step of Adam")
