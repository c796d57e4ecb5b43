"""Optima on preferences that are not Bradley-Terry: against their strength, against lambda, and corrected for noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet
from ...figures.style import END_POINTS, INK, LAMBDA, Look, look_of, looks_in, size_of, under

OPTIMAL = END_POINTS["optimal"].label
FIT = r"$\pi_{\mathrm{fit}}$"
FITTED = "fit"
"""What the tables call it, where a loss would stand."""
KINDS = {"noise": "label noise", "cycle": "a cycle", "order": "an annotator who never errs"}
STRENGTH = {
    "noise": "$s$ (twice the rate of flips)",
    "cycle": "$s$ of the cycle",
    "order": "$s$ (1: separable)",
}
PAGE = size_of("page")
BRADLEY_TERRY: dict[str, Any] = {"color": "0.58", "linestyle": "-", "linewidth": 3 * PAGE.line, "zorder": 0.5}
CORRECTIONS = {name: look_of(name) for name in ("dpo", "conservative_dpo", "robust_dpo")}


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The four pictures of the study, by file name."""
    ends = tables["misspecified"]
    return {
        "misspecified": distance(ends),
        "misspecified_path": limits(tables["misspecified_path"]),
        "misspecified_win_rate": win_rate(ends),
        "misspecified_corrections": corrected(tables["misspecified_corrections"]),
    }


def distance(ends: pd.DataFrame) -> Figure:
    """TV from pi* against the strength of what is mixed in, a panel a kind.

    Args:
        ends: columns ``preferences``, ``strength``, ``loss`` ("fit" among them), ``lam``, ``tv_optimal``.
    """
    with under(PAGE):
        title = rf"How far from {OPTIMAL} the optima are as preferences are spoilt, $\lambda$ = {_lam(ends):g}"
        sheet, grid = _kinds(title, ends)
        _against_strength(grid, ends, "tv_optimal")
        grid[0].set(ylim=(-0.01, 0.42), ylabel=rf"TV($\pi$, {OPTIMAL})")
        return sheet.finished()


def limits(paths: pd.DataFrame) -> Figure:
    """TV from the Bradley-Terry fit against lambda, a panel a kind.

    Args:
        paths: columns ``preferences``, ``strength``, ``loss``, ``lam``, ``tv_fit``.
    """
    with under(PAGE):
        title = rf"Where each loss goes as $\lambda$ falls: distance from the Bradley–Terry fit {FIT}, $s$ = "
        title += f"{paths['strength'].iloc[0]:g}"
        sheet, grid = _kinds(title, paths, fitted=False)
        for axes, kind in zip(grid, KINDS, strict=True):
            rows = paths[paths["preferences"] == kind]
            for loss, look in looks_in(rows[rows["loss"] != FITTED]).items():
                own = rows[rows["loss"] == loss]
                axes.plot(own["lam"], own["tv_fit"], **_line(look))
            axes.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel=LAMBDA)
        grid[0].set_ylabel(rf"TV($\pi$, {FIT})")
        return sheet.finished()


def win_rate(ends: pd.DataFrame) -> Figure:
    """The chance of being preferred to the worst opponent, against strength; columns as `distance`'s."""
    with under(PAGE):
        title = f"How often each optimum wins against its worst opponent, $\\lambda$ = {_lam(ends):g}"
        sheet, grid = _kinds(title, ends)
        _against_strength(grid, ends, "worst_win_rate")
        for axes in grid:
            axes.axhline(0.5, color=INK, linewidth=PAGE.line / 1.6, linestyle=":")
        grid[0].set(ylim=(0.23, 0.52), ylabel=r"win rate of $\pi$, worst opponent")
        return sheet.finished()


def corrected(corrections: pd.DataFrame) -> Figure:
    """Losses that are told the rate of flipped labels: on the population, on samples, and where there is no minimiser.

    Args:
        corrections: columns ``loss``, ``noise``, ``assumed``, ``pairs``, ``error``, ``low``, ``high``, ``data_sets``,
            ``no_minimiser``.
    """
    with under(PAGE):
        wrong = CORRECTIONS["robust_dpo"]
        rate = corrections["noise"][np.isfinite(corrections["pairs"])].iloc[0]
        key = [(Line2D([], [], **_line(look)), look.label) for look in CORRECTIONS.values()]
        key += [
            (Line2D([], [], **_told(wrong)), f"robust DPO, told {rate:g}"),
            (Line2D([], [], **wrong.end(marker="o", markersize=PAGE.mark)), "no minimiser: its limit"),
        ]
        sheet = Sheet(PAGE, "Told the rate of flipped labels: bias, variance, and data sets without a minimiser", key)
        _corrections(sheet.subplots(15 * PAGE.row, 1, 3)[0], corrections, rate)
        return sheet.finished()


def _lam(ends: pd.DataFrame) -> float:
    return float(ends["lam"].dropna().iloc[0])


def _line(look: Look, **changes: Any) -> dict[str, Any]:
    return look.line(**{"linewidth": PAGE.line, **changes})


def _told(look: Look) -> dict[str, Any]:
    """What is told a rate that is not the true one."""
    return _line(look, linewidth=PAGE.line / 2, marker="o", markersize=PAGE.mark)


def _kinds(title: str, rows: pd.DataFrame, fitted: bool = True) -> tuple[Sheet, Any]:
    """A sheet with a panel for each kind of preferences."""
    key: list[Entry] = [
        (Line2D([], [], **_line(look)), look.label) for look in looks_in(rows[rows["loss"] != FITTED]).values()
    ]
    if fitted:
        key.append((Line2D([], [], **BRADLEY_TERRY), rf"{FIT}, the Bradley–Terry fit: EXPO's limit as $\lambda \to 0$"))
    sheet = Sheet(PAGE, title, key)
    grid = sheet.subplots(15 * PAGE.row, 1, 3, sharey=True)[0]
    for axes, (kind, name) in zip(grid, KINDS.items(), strict=True):
        axes.set_title(name)
        axes.set_xlabel(STRENGTH[kind])
    return sheet, grid


def _against_strength(grid: Any, ends: pd.DataFrame, value: str) -> None:
    for axes, kind in zip(grid, KINDS, strict=True):
        rows = ends[ends["preferences"] == kind]
        fitted = rows["loss"] == FITTED
        axes.plot(rows["strength"][fitted], rows[value][fitted], **BRADLEY_TERRY)
        for loss, look in looks_in(rows[~fitted]).items():
            own = rows[rows["loss"] == loss]
            axes.plot(own["strength"], own[value], **_line(look))


def _corrections(row: Any, corrections: pd.DataFrame, rate: float) -> None:
    population = corrections[np.isinf(corrections["pairs"])]
    samples = corrections[np.isfinite(corrections["pairs"])]
    for loss, look in CORRECTIONS.items():
        own = population[population["loss"] == loss]
        if loss != "dpo":  # which is told nothing
            own = own[own["assumed"] == own["noise"]]
        row[0].plot(own["noise"], own["error"], **_line(look))
        drawn = samples[samples["loss"] == loss]
        row[1].fill_between(drawn["pairs"], drawn["low"], drawn["high"], color=look.colour, alpha=0.25, linewidth=0)
        row[1].plot(drawn["pairs"], drawn["error"], **_line(look))
        row[2].plot(drawn["pairs"], drawn["no_minimiser"] / drawn["data_sets"], **_line(look))
    _told_wrongly(row[0], population[(population["loss"] == "robust_dpo") & (population["assumed"] == rate)])
    row[0].set(xlabel="rate of flipped labels", ylabel="TV from DPO without noise")
    row[0].set_title("population")
    row[1].set(xscale="log", yscale="log", xlabel="comparisons $N$", ylabel="mean TV from it")
    row[2].set(xscale="log", xlabel="comparisons $N$", ylabel="share without a minimiser")
    for axes in row[1:]:
        axes.set_title(f"samples, {rate:.0%} flipped")


def _told_wrongly(axes: Axes, wrong: pd.DataFrame) -> None:
    wrong, look = wrong.sort_values("noise"), CORRECTIONS["robust_dpo"]
    none = wrong["no_minimiser"] > 0
    axes.plot(wrong["noise"], wrong["error"], **_told(look))
    axes.plot(wrong["noise"][none], wrong["error"][none], **look.end(marker="o", markersize=PAGE.mark))
