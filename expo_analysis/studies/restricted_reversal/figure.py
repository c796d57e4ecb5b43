"""Reversal in policies of one parameter: three responses by lambda and by weight, and random classes by loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import GREYS, INK, LAMBDA, looks_in, loss_label, shades, themed

LAM = 1.0
"""The lambda of the panels that compare losses."""

REFERENCE = r"$\mathbb{E}_\pi[r^*]$; 1 for $\pi_{\mathrm{ref}}$"
KINDS = {"uniform": replace(GREYS[0], label="uniform pairs"), "uneven": replace(GREYS[1], label="uneven pairs")}


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return restricted_reversal(
        tables["restricted_reversal"],
        tables["restricted_reversal_thresholds"],
        tables["restricted_reversal_classes"],
        LAM,
    )


@themed
def restricted_reversal(paths: pd.DataFrame, thresholds: pd.DataFrame, classes: pd.DataFrame, lam: float) -> Figure:
    """The example by lambda and by weight above; below intervals of weights and shares of random classes.

    Args:
        paths: columns ``loss``, ``lam``, ``weight``, ``reward``. thresholds: ``loss``, ``lam``, ``low``, ``high``.
        classes: ``pairs``, ``loss``, ``lam``, and ``less_reward`` and ``farther``, each with _low, _high and _free.
        lam: at which weights and losses are compared.
    """
    figure = Figure(figsize=(13, 13.5), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1.6])).tolist()
    top = above.subplots(1, 2, sharey=True)
    weight = paths["weight"].max()
    for loss, look in looks_in(paths).items():
        own = paths[paths["loss"] == loss]
        by_lam, by_weight = own[own["weight"] == weight], own[own["lam"] == lam]
        top[0].plot(by_lam.sort_values("lam")["lam"], by_lam.sort_values("lam")["reward"], **look.line())
        top[1].plot(
            by_weight.sort_values("weight")["weight"],
            by_weight.sort_values("weight")["reward"],
            label=look.label,
            **look.line(),
        )
    for axes in top:
        axes.axhline(1.0, color=INK, linewidth=1.0, linestyle=":")
    top[0].set(xscale="log", xlabel=LAMBDA, ylabel=REFERENCE)
    top[0].set_title(f"three responses, one parameter: {weight:.0%} of pairs are the first and the third", fontsize=11)
    top[1].set(xlabel="share of pairs that are the first and the third response")
    top[1].set_title(rf"the same at $\lambda = {lam:g}$", fontsize=11)
    top[1].legend(loc="upper right")
    order = list(dict.fromkeys(thresholds["loss"]))[::-1]
    left, middle, right = below.subplots(1, 3, sharey=True)
    _intervals(left, thresholds, order)
    own = classes[classes["lam"] == lam]
    _shares(middle, own, order, "less_reward")
    middle.set(xlabel="share of random classes", xlim=(-0.02, 0.52))
    middle.set_title(r"less reward than $\pi_{\mathrm{ref}}$", fontsize=11)
    _shares(right, own, order, "farther")
    right.set(xlabel="share of random classes", xlim=(-0.02, 0.92))
    right.set_title(r"farther from $\pi^*$ than $\pi_{\mathrm{ref}}$, KL($\pi$ ‖ $\pi^*$)", fontsize=11)
    handles = [
        Line2D([], [], color=kind.colour, marker=kind.marker, linestyle="none", label=kind.label)
        for kind in KINDS.values()
    ]
    handles.append(Line2D([], [], color=INK, marker="|", markersize=11, linestyle="none", label="over all policies"))
    right.legend(handles=handles, loc="upper right", bbox_to_anchor=(1.0, 0.73))  # where no loss is
    figure.suptitle("Policies of one parameter: which losses lower the reward?", fontsize="x-large")
    return figure


def _intervals(axes: Axes, thresholds: pd.DataFrame, order: list[str]) -> None:
    lams = sorted(thresholds["lam"].unique())
    for k, (lam, shade) in enumerate(zip(lams, shades(len(lams)), strict=True)):
        own = thresholds[thresholds["lam"] == lam].set_index("loss").loc[order]
        place = np.arange(len(order)) + 0.24 * (1 - k)
        axes.hlines(place, own["low"], own["high"], color=shade, linewidth=2.6, label=rf"$\lambda = {lam:g}$")
    axes.set_yticks(np.arange(len(order)), [loss_label(loss) for loss in order])
    axes.set(xlim=(0, 1), ylim=(-0.7, len(order) - 0.3), xlabel="share of pairs that are the first and the third")
    axes.set_title("three responses: where order reverses", fontsize=11)
    axes.legend(loc="center left")


def _shares(axes: Axes, classes: pd.DataFrame, order: list[str], column: str) -> None:
    for pairs, kind in KINDS.items():
        own = classes[classes["pairs"] == pairs].set_index("loss").loc[order]
        place = np.arange(len(order)) + (0.14 if pairs == "uniform" else -0.14)
        error = np.abs(own[[f"{column}_low", f"{column}_high"]].to_numpy().T - own[column].to_numpy())
        style: dict[str, Any] = {"markersize": 5, "linestyle": "none", "elinewidth": 1.2}
        axes.errorbar(own[column], place, xerr=error, color=kind.colour, marker=kind.marker, **style)
        axes.plot(own[f"{column}_free"], place, color=kind.colour, marker="|", markersize=11, linestyle="none")
