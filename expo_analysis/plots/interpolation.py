"""Policy against lambda, one panel for each loss."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import END_POINTS, INK, LAMBDA, LOOKS, Look, losses_in, themed

LEFT, RIGHT = 4e-7, 3e4
"""Where pi* and pi_ref stand, beyond the ends of the paths."""
COLUMNS = 3


@themed
def interpolation(frame: pd.DataFrame) -> Figure:
    """Small multiples of policy against lambda, with pi* marked on the left and pi_ref on the right.

    Args:
        frame: columns ``source`` ("exact" or "script"), ``loss``, ``lam``, ``response`` ("y1" to "y3"), ``policy``,
            ``optimal`` and ``reference``; one row per point.
    """
    losses = losses_in(frame)
    rows = len(losses) // COLUMNS + 1  # one place more than losses, for the key
    figure = Figure(figsize=(11, 3.4 * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True).flat)
    for axes, loss in zip(panels, losses, strict=False):
        _panel(axes, frame[frame["loss"] == loss], LOOKS[loss])
    for axes in panels[len(losses) :]:
        axes.axis("off")
    panels[-1].legend(handles=_key(frame), loc="center left", labelspacing=0.9)
    figure.suptitle(
        r"Interpolation: the exact optimum from $\lambda \to 0$ to $\lambda \to \infty$", fontsize="x-large"
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    exact, script = rows[rows["source"] == "exact"], rows[rows["source"] == "script"]
    for response, shade in _shades(rows, look.colour).items():
        path, ends = (part[part["response"] == response] for part in (exact, script))
        axes.plot(path["lam"], path["policy"], **look.line(color=shade, linewidth=2.4))
        axes.plot(ends["lam"], ends["policy"], **look.end(color=shade, markersize=6.5, markeredgewidth=1.5))
        optimal, reference = path[["optimal", "reference"]].iloc[0]
        axes.plot(LEFT, optimal, **END_POINTS["optimal"].marker())
        axes.plot(RIGHT, reference, **END_POINTS["reference"].marker())
        axes.annotate(
            _name(response),
            (LEFT, optimal),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            color=INK,
        )
    axes.set(title=look.label, xscale="log", xlim=(LEFT / 4, RIGHT * 4), ylim=(-0.04, 1.04))
    axes.set(xlabel=LAMBDA, ylabel=r"probability $\pi(y)$", xticks=[1e-5, 1e-3, 1e-1, 1e1, 1e3])
    axes.minorticks_off()
    axes.tick_params(labelbottom=True, labelleft=True)


def _shades(rows: pd.DataFrame, colour: str) -> dict[str, Any]:
    """Each response's own shade of a colour: dark, middle, light."""
    ramp = sns.blend_palette(["black", colour, "white"], n_colors=11)
    return dict(zip(sorted(rows["response"].unique()), (ramp[i] for i in (2, 5, 7)), strict=True))


def _name(response: str) -> str:
    return f"${response[0]}_{response[1:]}$"


def _key(frame: pd.DataFrame) -> list[Line2D]:
    policies = frame.drop_duplicates("response").sort_values("response")
    lines = [
        Line2D([], [], color=shade, linewidth=2.4, label=f"{_name(response)}: exact optimum, population")
        for response, shade in _shades(frame, "0.45").items()
    ]
    ends = [
        Line2D([], [], label=f"{point.label} = ({', '.join(f'{p:g}' for p in policies[name])})", **point.marker())
        for name, point in END_POINTS.items()
    ]
    stopped = Line2D(
        [],
        [],
        color=INK,
        linestyle="none",
        marker="o",
        markerfacecolor="white",
        label=(
            "where the authors' script stopped,\non their 213 pairs (EXPO: drawn at\nλ/3, to mean the same objective)"
        ),
    )
    return [*lines, *ends, stopped]
