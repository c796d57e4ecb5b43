"""Reversal in policies of one parameter: three responses by lambda and by weight, and random classes by loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet, level_key, level_style, line_key, path_style
from ...figures.style import END_POINTS, GREYS, INK, LAMBDA, looks_in, loss_label, shades, size_of, under
from .words import alike

PAGE = size_of("page")
REFERENCE = END_POINTS["reference"].label
LAM = 1.0
"""The lambda of the panels that compare losses."""

KINDS = {"uniform": replace(GREYS[0], label="uniform pairs"), "uneven": replace(GREYS[1], label="uneven pairs")}
SHARE = "share of pairs that are the first and the third response"
FREE: dict[str, Any] = {"marker": "|", "markersize": 1.7 * PAGE.mark, "linestyle": "none"}


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The three pictures of the study, by file name."""
    classes = tables["restricted_reversal_classes"]
    return {
        "restricted_reversal": rewards(tables["restricted_reversal"], LAM),
        "restricted_reversal_thresholds": turning(tables["restricted_reversal_thresholds"]),
        "restricted_reversal_classes": random_classes(classes[classes["lam"] == LAM]),
    }


def rewards(paths: pd.DataFrame, lam: float) -> Figure:
    """Expected reward in the example, by lambda and by the share of pairs that are the first and the third.

    Args:
        paths: columns ``loss``, ``lam``, ``weight``, ``reward``.
        lam: at which weights are compared.
    """
    weight, looks = paths["weight"].max(), looks_in(paths)
    with under(PAGE):
        title = "Three responses, policies of one parameter: which losses lower the reward?"
        sheet = Sheet(PAGE, title, [*(line_key(look, PAGE) for look in looks.values()), level_key(PAGE)])
        by_lam, by_weight = sheet.subplots(17 * PAGE.row, 1, 2, sharey=True)[0]
        for loss, look in looks.items():
            own = paths[paths["loss"] == loss]
            for axes, kept, x in ((by_lam, own["weight"] == weight, "lam"), (by_weight, own["lam"] == lam, "weight")):
                path = own[kept].sort_values(x)
                axes.plot(path[x], path["reward"], **path_style(look, PAGE, markevery=0.15))
        by_lam.set(xscale="log", xlabel=LAMBDA, ylabel=r"expected reward $\mathbb{E}_\pi[r^*]$")
        by_lam.set_title(f"{weight:.0%} of pairs are the first and the third")
        by_weight.set(xlabel=SHARE, title=rf"$\lambda = {lam:g}$")
        for axes in (by_lam, by_weight):
            axes.axhline(1.0, **level_style(PAGE))
        return sheet.finished()


def turning(thresholds: pd.DataFrame) -> Figure:
    """At which shares order reverses, a row a loss; those that turn where DPO does are one row.

    Args:
        thresholds: columns ``loss``, ``lam``, ``low``, ``high``.
    """
    lams, same = sorted(thresholds["lam"].unique()), alike(thresholds)
    order = ["dpo", *(loss for loss in dict.fromkeys(thresholds["loss"]) if loss not in same)][::-1]
    names = [f"{loss_label(x)} and {len(same) - 1} others" if x == "dpo" else loss_label(x) for x in order]
    styles: dict[float, dict[str, Any]] = {
        lam: {"color": shade, "linewidth": 2 * PAGE.line} for lam, shade in zip(lams, shades(len(lams)), strict=True)
    }
    with under(PAGE):
        key: list[Entry] = [(Line2D([], [], **style), rf"$\lambda = {lam:g}$") for lam, style in styles.items()]
        sheet = Sheet(PAGE, "Three responses: at which weights of the pairs each loss reverses their order", key)
        axes = sheet.subplots((1.5 * len(order) + 3) * PAGE.row, 1, 1)[0, 0]
        for k, (lam, style) in enumerate(styles.items()):
            own = thresholds[thresholds["lam"] == lam].set_index("loss").loc[order]
            axes.hlines(np.arange(len(order)) + 0.24 * (1 - k), own["low"], own["high"], **style)
        never = thresholds.groupby("loss")["low"].count().loc[order] == 0
        for place in np.flatnonzero(never):
            axes.text(0.01, place, "never", color=INK, va="center")
        axes.set_yticks(np.arange(len(order)), names)
        axes.set(xlim=(0, 1), ylim=(-0.7, len(order) - 0.3), xlabel=SHARE)
        return sheet.finished()


def random_classes(classes: pd.DataFrame) -> Figure:
    """Shares of random classes that end with less reward, and farther from pi*; a row a loss, the best on top.

    Args:
        classes: columns ``pairs``, ``loss``, ``lam``, and ``less_reward`` and ``farther``, each with _low, _high and
            _free.
    """
    uniform = classes[classes["pairs"] == "uniform"].sort_values("less_reward", ascending=False, kind="stable")
    order = list(uniform["loss"])
    key: list[Entry] = [(Line2D([], [], **_mark(kind)), look.label) for kind, look in KINDS.items()]
    key.append((Line2D([], [], color=INK, **FREE), "over all policies"))
    with under(PAGE):
        lam = classes["lam"].iloc[0]
        title = (
            rf"How often each loss ends worse than {REFERENCE}: random classes of one parameter, $\lambda$ = {lam:g}"
        )
        sheet = Sheet(PAGE, title, key, ["Bars: 95% intervals. Losses in the order of the left panel, uniform pairs."])
        left, right = sheet.subplots((1.15 * len(order) + 3) * PAGE.row, 1, 2, sharey=True)[0]
        _shares(left, classes, order, "less_reward")
        left.set_title("with less reward")
        _shares(right, classes, order, "farther")
        right.set_title(r"farther from $\pi^*$, KL($\pi$ ‖ $\pi^*$)")
        left.set_yticks(np.arange(len(order)), [loss_label(loss) for loss in order])
        left.set_ylim(-0.7, len(order) - 0.3)
        return sheet.finished()


def _shares(axes: Axes, classes: pd.DataFrame, order: list[str], column: str) -> None:
    for pairs, shift in zip(KINDS, (0.16, -0.16), strict=True):
        own = classes[classes["pairs"] == pairs].set_index("loss").loc[order]
        place = np.arange(len(order)) + shift
        error = np.abs(own[[f"{column}_low", f"{column}_high"]].to_numpy().T - own[column].to_numpy())
        axes.errorbar(own[column], place, xerr=error, elinewidth=PAGE.line / 2, **_mark(pairs))
        axes.plot(own[f"{column}_free"], place, color=KINDS[pairs].colour, **FREE)
    axes.set_xlabel("share of random classes")


def _mark(kind: str) -> dict[str, Any]:
    look = KINDS[kind]
    return {"color": look.colour, "marker": look.marker, "linestyle": "none", "markersize": PAGE.mark / 1.3}
