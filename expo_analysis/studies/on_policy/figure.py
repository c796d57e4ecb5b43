"""On-policy pairs: fixed points against lambda, rounds on a cycle, and where XPO has a minimiser."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet
from ...figures.style import END_POINTS, INK, LAMBDA, look_of, looks_in, shades, size_of, under

PAGE = size_of("page")
WIN_RATE = r"win rate of $\pi$, worst opponent"
EVEN: dict[str, Any] = {"color": INK, "linewidth": PAGE.line / 2, "linestyle": ":"}
METHODS = {
    "online_dpo": ("online DPO", look_of("dpo").line(linewidth=PAGE.line)),
    "online_ipo": ("online IPO", look_of("ipo").line(linewidth=PAGE.line)),
    "online_expo": ("online EXPO", look_of("expo").line(linewidth=PAGE.line)),
    "sppo": ("SPPO", look_of("sppo").line(linewidth=PAGE.line / 1.6)),
    "sppo_mean": ("SPPO, mean of the rounds", look_of("sppo").line(linewidth=1.6 * PAGE.line, linestyle="-")),
    "nash_md": ("Nash-MD", {"color": INK, "linewidth": PAGE.line, "linestyle": (0, (7, 2, 1.2, 2))}),
}
WIDTHS = {"own": ("own pairs: fixed point", 1.5 * PAGE.line), "uniform": ("uniform pairs: optimum", PAGE.line / 2)}
XPO_PAIRS = {"reference": r"pairs drawn by $\pi_{\mathrm{ref}}$", "uniform": "uniform pairs"}


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The three pictures of the study, by file name."""
    return {
        "on_policy": fixed_points(tables["on_policy"]),
        "on_policy_rounds": over_rounds(tables["on_policy_rounds"]),
        "on_policy_xpo": existence(tables["on_policy_xpo"]),
    }


def fixed_points(points: pd.DataFrame) -> Figure:
    """TV from pi* and the worst win rate against lambda, on the policy's own pairs and on uniform ones.

    Args:
        points: columns ``population``, ``loss``, ``lam``, ``pairs``, ``tv_optimal``, ``worst_win_rate``.
    """
    looks = looks_in(points)
    key: list[Entry] = [(Line2D([], [], **look.line(linewidth=PAGE.line)), look.label) for look in looks.values()]
    key += [(Line2D([], [], color=INK, linewidth=width), label) for label, width in WIDTHS.values()]
    with under(PAGE):
        sheet = Sheet(PAGE, "Where losses rest if the policy draws its own pairs", key)
        left, right = sheet.subplots(17 * PAGE.row, 1, 2)[0]
        for axes, population, value in ((left, "bradley_terry", "tv_optimal"), (right, "cycle", "worst_win_rate")):
            for (loss, look), (pairs, (_, width)) in product(looks.items(), WIDTHS.items()):
                wanted = {"population": population, "loss": loss, "pairs": pairs}
                own = points[(points[list(wanted)] == pd.Series(wanted)).all(axis=1)]
                axes.plot(own["lam"], own[value], **look.line(linewidth=width))
            axes.set(xscale="log", xlabel=LAMBDA)
        left.set(ylabel=rf"TV($\pi$, {END_POINTS['optimal'].label})", title="preferences of a policy")
        right.set(ylabel=WIN_RATE, title="preferences that go round")
        right.axhline(0.5, **EVEN)
        return sheet.finished()


def over_rounds(rounds: pd.DataFrame) -> Figure:
    """The worst win rate over training, where preferences go round.

    Args:
        rounds: columns ``method``, ``step``, ``worst_win_rate``.
    """
    with under(PAGE):
        key: list[Entry] = [(Line2D([], [], **style), label) for label, style in METHODS.values()]
        sheet = Sheet(PAGE, "Training where preferences go round: who comes to rest, and how hard to beat", key)
        axes = sheet.subplots(17 * PAGE.row, 1, 1)[0, 0]
        for method, (_, style) in METHODS.items():
            own = rounds[rounds["method"] == method]
            axes.plot(own["step"], own["worst_win_rate"], **style)
        axes.axhline(0.5, **EVEN)
        axes.set(xlabel="step or round", ylabel=WIN_RATE)
        return sheet.finished()


def existence(xpo: pd.DataFrame) -> Figure:
    """The share of random problems on which XPO has a minimiser, a panel a kind of pairs.

    Args:
        xpo: columns ``n``, ``pairs``, ``ratio``, ``exists``.
    """
    sizes = sorted(xpo["n"].unique())
    lines: dict[int, dict[str, Any]] = {
        n: {"color": shade, "linewidth": PAGE.line} for n, shade in zip(sizes, shades(len(sizes)), strict=True)
    }
    with under(PAGE):
        key: list[Entry] = [(Line2D([], [], **line), f"{n} responses") for n, line in lines.items()]
        sheet = Sheet(PAGE, "On how many random problems XPO has a minimiser", key)
        grid = sheet.subplots(15 * PAGE.row, 1, len(XPO_PAIRS), sharey=True)[0]
        for axes, (pairs, label) in zip(grid, XPO_PAIRS.items(), strict=True):
            for n, line in lines.items():
                own = xpo[(xpo["n"] == n) & (xpo["pairs"] == pairs)]
                axes.plot(own["ratio"], own["exists"], **line)
            axes.set(xscale="log", xlabel=r"$\alpha/\beta$", ylim=(-0.02, 1.02), title=label)
        grid[0].set_ylabel("share of problems")
        return sheet.finished()
