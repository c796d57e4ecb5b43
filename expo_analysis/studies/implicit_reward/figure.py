"""Accuracy of implicit rewards beside a reward model's: by loss, by number of pairs, under decay, with tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet, line_key, path_style
from ...figures.style import GREYS, INK, Look, look_of, loss_label, size_of, under

PAGE = size_of("page")
LAM = 1.0
"""The lambda of the picture that compares losses."""

SHIFTS = {
    "none": replace(GREYS[0], label="where training pairs come from"),
    "prompts": replace(GREYS[2], label="other prompts"),
    "responses": replace(GREYS[1], label="responses from another source"),
}
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
"""Of rising lambda."""
REWARD_MODEL: dict[str, Any] = {"color": "0.58", "linewidth": 3 * PAGE.line, "zorder": 0.5}
REWARDS = {"linear": "true reward of the class", "quadratic": "true reward not of the class"}
GAP = "accuracy less the reward model's (points)"


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The four pictures of the study, by file name."""
    return {
        "implicit_reward": gaps(tables["implicit_reward"], LAM),
        "implicit_reward_sizes": accuracies(tables["implicit_reward_sizes"]),
        "implicit_reward_decay": decayed(tables["implicit_reward_decay"]),
        "implicit_reward_tokens": by_token(tables["implicit_reward_tokens"]),
    }


def gaps(losses: pd.DataFrame, lam: float) -> Figure:
    """Accuracy less the reward model's, a row a loss, a panel a kind of true reward.

    Args:
        losses: columns ``reward``, ``shift``, ``loss``, ``lam``, ``gap``, ``gap_low``, ``gap_high``.
        lam: at which losses are compared.
    """
    order = [loss for loss in dict.fromkeys(losses["loss"]) if loss not in ("explicit", "best", "reference")][::-1]
    title = "Does the reward that a policy implies rank new pairs as well as a reward model of the same pairs?"
    with under(PAGE):
        note = rf"Means over random worlds at $\lambda$ = {lam:g}; bars: 95% intervals."
        sheet = Sheet(PAGE, title, _shift_key(SHIFTS), [note])
        grid = sheet.subplots((1.35 * len(order) + 3) * PAGE.row, 1, 2, sharex=True, sharey=True)[0]
        for axes, (reward, name) in zip(grid, REWARDS.items(), strict=True):
            own = losses[(losses["reward"] == reward) & (losses["lam"] == lam)]
            for k, (shift, look) in enumerate(SHIFTS.items()):
                rows = own[own["shift"] == shift].set_index("loss").loc[order]
                _dots(axes, rows, np.arange(len(order)) + 0.27 * (1 - k), look)
            axes.set_yticks(np.arange(len(order)), [loss_label(loss) for loss in order])
            axes.set(ylim=(-0.7, len(order) - 0.3), xlabel=GAP, title=name)
        return sheet.finished()


def accuracies(sizes: pd.DataFrame) -> Figure:
    """Accuracy against the number of training pairs, a panel a kind of new pairs; the true reward is of the class.

    Args:
        sizes: columns ``reward``, ``shift``, ``pairs``, ``loss``, ``accuracy``.
    """
    looks = [(loss, look_of(loss)) for loss in ("ipo", "expo")]
    rows = sizes[sizes["reward"] == "linear"]
    with under(PAGE):
        key = [(Line2D([], [], **REWARD_MODEL), "reward model, and DPO"), *(line_key(look, PAGE) for _, look in looks)]
        sheet = Sheet(PAGE, "How accurate the rewards are with more training pairs", key)
        grid = sheet.subplots(15 * PAGE.row, 1, len(SHIFTS), sharey=True)[0]
        for axes, (shift, kind) in zip(grid, SHIFTS.items(), strict=True):
            own = rows[rows["shift"] == shift]
            for loss, style in [("explicit", REWARD_MODEL), *((loss, path_style(look, PAGE)) for loss, look in looks)]:
                path = own[own["loss"] == loss]
                axes.plot(path["pairs"], path["accuracy"], **style)
            axes.set(xscale="log", xlabel="training pairs")
            axes.set_title(kind.label)
        grid[0].set_ylabel("accuracy")
        return sheet.finished()


def decayed(decay: pd.DataFrame) -> Figure:
    """Accuracy on other prompts against one weight decay for DPO, at each lambda, and for the reward model.

    Args:
        decay: columns ``reward``, ``shift``, ``decay``, ``loss``, ``lam``, ``accuracy``.
    """
    rows = decay[(decay["reward"] == "linear") & (decay["shift"] == "prompts")]
    lams = sorted(rows.loc[rows["loss"] == "dpo", "lam"].unique())
    lines = {lam: look_of("dpo").line(linestyle=d, linewidth=PAGE.line) for lam, d in zip(lams, DASHES, strict=True)}
    key: list[Entry] = [(Line2D([], [], **line), rf"DPO, $\beta = {lam:g}$") for lam, line in lines.items()]
    key.append((Line2D([], [], **REWARD_MODEL), "reward model"))
    with under(PAGE):
        sheet = Sheet(
            PAGE, "One weight decay for both is another regularisation for each: accuracy on other prompts", key
        )
        axes = sheet.subplots(15 * PAGE.row, 1, 1)[0, 0]
        for lam, line in lines.items():
            own = rows[(rows["loss"] == "dpo") & (rows["lam"] == lam)]
            axes.plot(own["decay"], own["accuracy"], **line)
        own = rows[rows["loss"] == "explicit"]
        axes.plot(own["decay"], own["accuracy"], **REWARD_MODEL)
        axes.set(xscale="log", xlabel="weight decay", ylabel="accuracy")
        return sheet.finished()


def by_token(tokens: pd.DataFrame) -> Figure:
    """DPO's gap where the policy is normalised token by token, a row a lambda, a panel a kind of true reward.

    Args:
        tokens: columns ``truth``, ``shift``, ``loss``, ``lam``, ``gap``, ``gap_low``, ``gap_high``.
    """
    own = tokens[tokens["loss"] == "dpo"]
    truths, lams = list(dict.fromkeys(own["truth"])), sorted(own["lam"].unique())[::-1]
    there = [shift for shift in SHIFTS if shift in set(own["shift"])]
    with under(PAGE):
        sheet = Sheet(
            PAGE,
            "DPO normalised token by token, where the reward is of either class",
            _shift_key(there),
        )
        grid = sheet.subplots((2.2 * len(lams) + 3) * PAGE.row, 1, len(truths), sharex=True, sharey=True)[0]
        for axes, truth in zip(grid, truths, strict=True):
            for k, shift in enumerate(there):
                rows = own[(own["truth"] == truth) & (own["shift"] == shift)].set_index("lam").loc[lams]
                _dots(axes, rows, np.arange(len(lams)) + 0.12 * (1 - 2 * k), SHIFTS[shift])
            axes.set_yticks(np.arange(len(lams)), [rf"$\beta = {lam:g}$" for lam in lams])
            axes.set(xlabel=GAP, ylim=(-0.6, len(lams) - 0.4), title=f"true reward of the {truth} class")
        return sheet.finished()


def _shift_key(shifts: Sequence[str] | dict[str, Look]) -> list[Entry]:
    return [(Line2D([], [], **_dot(SHIFTS[shift])), SHIFTS[shift].label) for shift in shifts]


def _dot(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "marker": look.marker, "linestyle": "none", "markersize": PAGE.mark / 1.3}


def _dots(axes: Axes, rows: pd.DataFrame, place: Any, look: Look) -> None:
    gap = 100 * rows["gap"]
    error = np.abs(100 * rows[["gap_low", "gap_high"]].to_numpy().T - gap.to_numpy())
    axes.axvline(0, color=INK, linewidth=PAGE.line / 2, zorder=1)
    axes.errorbar(gap, place, xerr=error, elinewidth=PAGE.line / 2, **_dot(look))
