"""On-policy pairs: fixed points against lambda, rounds on a cycle, and where XPO has a minimiser."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import END_POINTS, INK, LAMBDA, look_of, looks_in, shades, themed

WIN_RATE = r"win rate of $\pi$, worst opponent"
METHODS = {
    "online_dpo": ("online DPO", look_of("dpo").line()),
    "online_ipo": ("online IPO", look_of("ipo").line()),
    "online_expo": ("online EXPO", look_of("expo").line()),
    "sppo": ("SPPO", look_of("sppo").line(linewidth=1.2)),
    "sppo_mean": ("SPPO, mean of the rounds", look_of("sppo").line(linewidth=3.0, linestyle="-")),
    "nash_md": ("Nash-MD", {"color": INK, "linewidth": 2.0, "linestyle": (0, (7, 2, 1.2, 2))}),
}


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return on_policy(tables["on_policy"], tables["on_policy_rounds"], tables["on_policy_xpo"])


@themed
def on_policy(points: pd.DataFrame, rounds: pd.DataFrame, xpo: pd.DataFrame) -> Figure:
    """Four panels: TV from pi* and the worst win rate against lambda, rounds on the cycle, XPO's existence.

    Args:
        points: columns ``population``, ``loss``, ``lam``, ``pairs``, ``tv_optimal``, ``worst_win_rate``.
        rounds: columns ``method``, ``step``, ``worst_win_rate``. xpo: columns ``n``, ``pairs``, ``ratio``, ``exists``.
    """
    figure = Figure(figsize=(13, 10.5), layout="constrained")
    grid = figure.subplots(2, 2)
    _points(grid[0, 0], points[points["population"] == "bradley_terry"], "tv_optimal")
    grid[0, 0].set(ylabel=rf"TV($\pi$, {END_POINTS['optimal'].label})", title="preferences of a policy")
    _points(grid[0, 1], points[points["population"] == "cycle"], "worst_win_rate")
    grid[0, 1].set(ylabel=WIN_RATE, title="preferences that go round")
    grid[0, 1].axhline(0.5, color=INK, linewidth=1.0, linestyle=":")
    losses = [Line2D([], [], label=look.label, **look.line()) for look in looks_in(points).values()]
    kinds = [
        Line2D([], [], color=INK, linewidth=2.4, label="own pairs: fixed point"),
        Line2D([], [], color=INK, linewidth=1.0, alpha=0.7, label="uniform pairs: optimum"),
    ]
    grid[0, 0].legend(handles=losses + kinds, loc="best")
    for method, (label, style) in METHODS.items():
        own = rounds[rounds["method"] == method]
        grid[1, 0].plot(own["step"], own["worst_win_rate"], label=label, **style)
    grid[1, 0].axhline(0.5, color=INK, linewidth=1.0, linestyle=":")
    grid[1, 0].set(xlabel="step or round", ylabel=WIN_RATE, title="preferences that go round: training")
    grid[1, 0].set(xlim=(0, 200), ylim=(0.2, 0.51))
    grid[1, 0].legend(loc="lower left", ncols=2)
    _xpo(grid[1, 1], xpo)
    figure.suptitle("Pairs drawn by the policy itself", fontsize="x-large")
    return figure


def _points(axes: Axes, rows: pd.DataFrame, value: str) -> None:
    for loss, look in looks_in(rows).items():
        for pairs, width, alpha in (("uniform", 1.0, 0.7), ("own", 2.4, 1.0)):
            own = rows[(rows["loss"] == loss) & (rows["pairs"] == pairs)]
            axes.plot(own["lam"], own[value], **look.line(linewidth=width, alpha=alpha))
    axes.set(xscale="log", xlabel=LAMBDA)


def _xpo(axes: Axes, xpo: pd.DataFrame) -> None:
    sizes = sorted(xpo["n"].unique())
    colours = dict(zip(sizes, shades(len(sizes)), strict=True))
    for n in sizes:
        for pairs, dashes in (("reference", "-"), ("uniform", (0, (2, 1.5)))):
            own = xpo[(xpo["n"] == n) & (xpo["pairs"] == pairs)]
            axes.plot(own["ratio"], own["exists"], color=colours[n], linestyle=dashes, linewidth=2.0)
    axes.set(
        xscale="log",
        xlabel=r"$\alpha/\beta$",
        ylabel="share of problems",
        title="XPO has a minimiser",
        ylim=(-0.02, 1.02),
    )
    handles = [Line2D([], [], color=colours[n], linewidth=2.0, label=f"{n} responses") for n in sizes]
    handles += [
        Line2D([], [], color=INK, linewidth=2.0, label=r"pairs drawn by $\pi_{\mathrm{ref}}$"),
        Line2D([], [], color=INK, linewidth=2.0, linestyle=(0, (2, 1.5)), label="uniform pairs"),
    ]
    axes.legend(handles=handles, loc="upper right")
