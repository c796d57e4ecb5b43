"""Optima on preferences that are not Bradley-Terry: against their strength, against lambda, and corrected for noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import END_POINTS, INK, LAMBDA, look_of, looks_in, themed

OPTIMAL = END_POINTS["optimal"].label
FIT = r"$\pi_{\mathrm{fit}}$"
FITTED = "fit"
"""What the tables call it, where a loss would stand."""
KINDS = {"noise": "label noise", "cycle": "a cycle", "order": "an annotator who never errs"}
STRENGTH = {
    "noise": "strength $s$ (twice the rate of flips)",
    "cycle": "strength $s$ of the cycle",
    "order": "strength $s$ (1: separable)",
}
BRADLEY_TERRY: dict[str, Any] = {"color": "0.72", "linestyle": "-", "linewidth": 5.0, "zorder": 0.5}
CORRECTIONS = {name: look_of(name) for name in ("dpo", "conservative_dpo", "robust_dpo")}


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return misspecified(tables["misspecified"], tables["misspecified_path"], tables["misspecified_corrections"])


@themed
def misspecified(ends: pd.DataFrame, paths: pd.DataFrame, corrections: pd.DataFrame) -> Figure:
    """Kinds of preferences in columns: TV from pi* and worst win rate against strength, TV from the fit against lambda.

    Args:
        ends, paths: columns ``preferences``, ``strength``, ``loss`` ("fit" among them), ``lam``, ``tv_optimal``,
            ``tv_fit``, ``worst_win_rate``.
        corrections: columns ``loss``, ``noise``, ``assumed``, ``pairs``, ``error``, ``low``, ``high``, ``data_sets``,
            ``no_minimiser``.
    """
    figure = Figure(figsize=(15.5, 18), layout="constrained")
    grid = figure.subplots(4, 3)
    lam, strength = ends["lam"].dropna().iloc[0], paths["strength"].iloc[0]
    for column, (kind, name) in enumerate(KINDS.items()):
        own = ends[ends["preferences"] == kind]
        _against_strength(grid[0, column], own, "tv_optimal")
        grid[0, column].set(ylim=(-0.01, 0.42), ylabel=rf"TV($\pi$, {OPTIMAL})")
        grid[0, column].set_title(rf"{name}: $\lambda$ = {lam:g}", fontsize="medium")
        _against_lambda(grid[1, column], paths[paths["preferences"] == kind])
        grid[1, column].set_title(f"{name}: $s$ = {strength:g}", fontsize="medium")
        _against_strength(grid[2, column], own, "worst_win_rate")
        grid[2, column].axhline(0.5, color=INK, linewidth=1.0, linestyle=":")
        grid[2, column].set(ylim=(0.23, 0.52), ylabel=r"win rate of $\pi$, worst opponent")
        grid[2, column].set_title(rf"{name}: $\lambda$ = {lam:g}", fontsize="medium")
        for row in (0, 2):
            grid[row, column].set_xlabel(STRENGTH[kind])
    _corrections(grid[3], corrections)
    title = "Preferences that no policy reproduces: what each loss makes of them"
    figure.suptitle(title, fontsize="x-large")
    figure.legend(handles=_key(ends), loc="outside lower center", ncols=3, columnspacing=2.0)
    return figure


def _against_strength(axes: Axes, rows: pd.DataFrame, value: str) -> None:
    fitted = rows["loss"] == FITTED
    axes.plot(rows["strength"][fitted], rows[value][fitted], **BRADLEY_TERRY)
    for loss, look in looks_in(rows[~fitted]).items():
        own = rows[rows["loss"] == loss]
        axes.plot(own["strength"], own[value], **look.line())


def _against_lambda(axes: Axes, rows: pd.DataFrame) -> None:
    for loss, look in looks_in(rows[rows["loss"] != FITTED]).items():
        own = rows[rows["loss"] == loss]
        axes.plot(own["lam"], own["tv_fit"], **look.line())
    axes.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel=LAMBDA, ylabel=rf"TV($\pi$, {FIT})")
    axes.minorticks_off()


def _corrections(row: np.ndarray, corrections: pd.DataFrame) -> None:
    population = corrections[np.isinf(corrections["pairs"])]
    samples = corrections[np.isfinite(corrections["pairs"])]
    rate = samples["noise"].iloc[0]
    for loss, look in CORRECTIONS.items():
        own = population[population["loss"] == loss]
        if loss != "dpo":  # which is told nothing
            own = own[own["assumed"] == own["noise"]]
        row[0].plot(own["noise"], own["error"], **look.line())
        drawn = samples[samples["loss"] == loss]
        row[1].fill_between(drawn["pairs"], drawn["low"], drawn["high"], color=look.colour, alpha=0.25, linewidth=0)
        row[1].plot(drawn["pairs"], drawn["error"], **look.line())
        row[2].plot(drawn["pairs"], drawn["no_minimiser"] / drawn["data_sets"], **look.line())
    wrong = population[(population["loss"] == "robust_dpo") & (population["assumed"] == rate)].sort_values("noise")
    exists = wrong["no_minimiser"] == 0
    look = CORRECTIONS["robust_dpo"]
    row[0].plot(wrong["noise"], wrong["error"], **look.line(linewidth=1.0, marker="o", markersize=5))
    row[0].plot(wrong["noise"][~exists], wrong["error"][~exists], **look.end(marker="o"))
    row[0].set(xlabel="rate of flipped labels", ylabel="TV from DPO's optimum without noise")
    row[0].set_title(f"told the rate of flips (thin line: told {rate:g})", fontsize="medium")
    row[1].set(xscale="log", yscale="log", xlabel="number of comparisons $N$", ylabel="mean TV from that optimum")
    row[1].set_title(f"samples, a share {rate:g} of labels flipped", fontsize="medium")
    row[2].set(xscale="log", xlabel="number of comparisons $N$", ylabel="share of data sets without a minimiser")
    row[2].set_title(f"samples, a share {rate:g} of labels flipped", fontsize="medium")


def _key(ends: pd.DataFrame) -> list[Line2D]:
    losses = looks_in(ends[ends["loss"] != FITTED]).values()
    lines = [Line2D([], [], label=look.label, **look.line()) for look in losses]
    label = rf"{FIT}, the Bradley–Terry fit: EXPO's limit as $\lambda \to 0$"
    lines.append(Line2D([], [], label=label, **BRADLEY_TERRY))
    for loss, look in CORRECTIONS.items():
        if loss != "dpo":
            lines.append(Line2D([], [], label=f"last row: {look.label}", **look.line()))
    look = CORRECTIONS["robust_dpo"]
    lines.append(Line2D([], [], label="last row, open marker: no minimiser, its limit", **look.end(marker="o")))
    return lines
