"""Accuracy of implicit rewards beside a reward model's: by loss, by number of pairs, under decay, with tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.style import GREYS, INK, Look, look_of, loss_label, themed

LAM = 1.0
"""The lambda of the panels that compare losses."""

SHIFTS = {
    "none": replace(GREYS[0], label="where training pairs come from"),
    "prompts": replace(GREYS[2], label="other prompts"),
    "responses": replace(GREYS[1], label="responses from another source"),
}
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
"""Of rising lambda."""
REWARD_MODEL: dict[str, Any] = {"color": "0.72", "linewidth": 5.0, "zorder": 0.5}
REWARDS = {"linear": "true reward of the class", "quadratic": "true reward not of the class"}
GAP = "accuracy less the reward model's (points)"


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return implicit_reward(
        tables["implicit_reward"],
        tables["implicit_reward_sizes"],
        tables["implicit_reward_decay"],
        tables["implicit_reward_tokens"],
        LAM,
    )


@themed
def implicit_reward(
    losses: pd.DataFrame, sizes: pd.DataFrame, decay: pd.DataFrame, tokens: pd.DataFrame, lam: float
) -> Figure:
    """Gaps by loss above, for both true rewards; below, accuracy by size and by decay, and gaps with tokens.

    Args:
        losses: columns ``reward``, ``shift``, ``loss``, ``lam``, ``gap``, ``gap_low``, ``gap_high``. sizes: ``reward``,
            ``shift``, ``pairs``, ``loss``, ``accuracy``. decay: ``reward``, ``shift``, ``decay``, ``loss``, ``lam``,
            ``accuracy``. tokens: ``truth``, ``shift``, ``loss``, ``lam``, ``gap``, ``gap_low``, ``gap_high``.
        lam: at which losses are compared.
    """
    figure = Figure(figsize=(13, 14.5), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1.75, 1])).tolist()
    order = [loss for loss in dict.fromkeys(losses["loss"]) if loss not in ("explicit", "best", "reference")][::-1]
    for axes, (reward, title) in zip(above.subplots(1, 2, sharey=True, sharex=True), REWARDS.items(), strict=True):
        own = losses[(losses["reward"] == reward) & (losses["lam"] == lam)]
        for k, (shift, look) in enumerate(SHIFTS.items()):
            rows = own[own["shift"] == shift].set_index("loss").loc[order]
            _dots(axes, rows, np.arange(len(order)) + 0.25 * (1 - k), look)
        axes.axvline(0, color=INK, linewidth=1.0)
        axes.set_yticks(np.arange(len(order)), [loss_label(loss) for loss in order])
        axes.set(ylim=(-0.7, len(order) - 0.3), xlabel=GAP)
        axes.set_title(rf"{title}, $\lambda = {lam:g}$", fontsize=11)
    handles = [Line2D([], [], label=look.label, **_dot(look)) for look in SHIFTS.values()]
    above.axes[0].legend(handles=handles, loc="lower left")
    left, middle, right = below.subplots(1, 3)
    _sizes(left, sizes[sizes["reward"] == "linear"])
    _decay(middle, decay[(decay["reward"] == "linear") & (decay["shift"] == "prompts")])
    _tokens(right, tokens)
    figure.suptitle(
        "The reward that a policy implies, beside a reward model fitted to the same pairs", fontsize="x-large"
    )
    return figure


def _dot(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "marker": look.marker, "linestyle": "none", "markersize": 5}


def _dots(axes: Axes, rows: pd.DataFrame, place: Any, look: Look) -> None:
    gap = 100 * rows["gap"]
    error = np.abs(100 * rows[["gap_low", "gap_high"]].to_numpy().T - gap.to_numpy())
    axes.errorbar(gap, place, xerr=error, elinewidth=1.2, **_dot(look))


def _sizes(axes: Axes, rows: pd.DataFrame) -> None:
    for loss in ("explicit", "ipo", "expo"):
        for shift, kind in SHIFTS.items():
            own = rows[(rows["loss"] == loss) & (rows["shift"] == shift)]
            line = look_of(loss).line(linestyle=kind.dashes, marker=kind.marker, markersize=5, linewidth=1.2)
            axes.plot(own["pairs"], own["accuracy"], **(REWARD_MODEL if loss == "explicit" else line))
    axes.set(xscale="log", xlabel="training pairs", ylabel="accuracy")
    axes.set_title("accuracy by size, true reward of the class", fontsize=11)
    handles = [Line2D([], [], label="reward model, DPO", **REWARD_MODEL)]
    handles += [Line2D([], [], color=look_of(x).colour, linewidth=2.0, label=loss_label(x)) for x in ("ipo", "expo")]
    axes.legend(handles=handles, loc="best")


def _decay(axes: Axes, rows: pd.DataFrame) -> None:
    lams = sorted(rows.loc[rows["loss"] == "dpo", "lam"].unique())
    for lam, dashes in zip(lams, DASHES, strict=True):
        own = rows[(rows["loss"] == "dpo") & (rows["lam"] == lam)]
        axes.plot(
            own["decay"], own["accuracy"], label=rf"DPO, $\beta = {lam:g}$", **look_of("dpo").line(linestyle=dashes)
        )
    own = rows[rows["loss"] == "explicit"]
    axes.plot(own["decay"], own["accuracy"], label="reward model", **REWARD_MODEL)
    axes.set(xscale="log", xlabel="weight decay", ylabel="accuracy on other prompts")
    axes.set_title("the same weight decay for both", fontsize=11)
    axes.legend(loc="best")


def _tokens(axes: Axes, rows: pd.DataFrame) -> None:
    own = rows[rows["loss"] == "dpo"]
    truths, lams = list(dict.fromkeys(own["truth"])), sorted(own["lam"].unique())
    keys = [(truth, lam) for truth in truths for lam in lams][::-1]
    for k, (shift, look) in enumerate(SHIFTS.items()):
        part = own[own["shift"] == shift].set_index(["truth", "lam"])
        if len(part):
            _dots(axes, part.loc[keys], np.arange(len(keys)) + 0.12 * (1 - 2 * k), look)
    axes.axvline(0, color=INK, linewidth=1.0)
    axes.set_yticks(np.arange(len(keys)), [rf"$\beta = {lam:g}$" for _, lam in keys])
    for k, truth in enumerate(truths):  # on the side without points
        x, side = ((0.98, "right"), (0.03, "left"))[k]
        y = len(lams) * (len(truths) - 1 - k) + (len(lams) - 1) / 2
        axes.text(x, y, f"$r^*$ of the\n{truth} class", transform=axes.get_yaxis_transform(), ha=side, va="center")
    axes.axhline(len(lams) - 0.5, color=INK, linewidth=0.6)
    axes.set(xlabel="gap (points)", ylim=(-0.6, len(keys) - 0.4))
    axes.set_title("DPO, normalised token by token", fontsize=11)
