"""Responses from the highest on, with their intervals and the places that each may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ..._checks import as_floats, check_shape, check_whole
from ..._types import Floats
from ...optima import Solution
from ..looks import INK, Look, look_of
from ..sheet import Entry, Sheet
from ..style import Size, size_of, under

CHANCES = (0.5, 0.9, 0.1, 0.75, 0.25, 0.99, 0.01, 0.6, 0.4)
"""What the axis on top is marked with, as far as there is room: the first ones first."""


def ranking(
    solution: Solution,
    *,
    alpha: float = 0.05,
    top: int = 30,
    truth: ArrayLike | None = None,
    width: str | float = "column",
    title: str | None = None,
) -> Figure:
    r"""Scores with intervals, from the highest on: of each (thick), and of all together (thin).

    Draws log pi_i less its mean over all, which is the log-odds of beating one whose log pi is the mean, as the axis on
    top says in per cent. At the right are the places between which each true place is, all together with 1 - alpha.

    Args:
        solution: the optimum of a loss on `Comparisons`, or on a `Bandit` of counts on one prompt.
        alpha: with which probability an interval may miss. top: how many have a row.
        truth: scores (n,) that are known otherwise, in the order of the solution's policy, as open marks; their mean
            does not matter.
        width, title: as for `interpolation`.

    Returns:
        The figure.

    Raises:
        ValueError: as `Solution.ranking`, or naming the argument.

    Example:
        >>> import expo_analysis as ea
        >>> games = ea.Comparisons(["anna", "bob", "bob", "carl"], ["bob", "anna", "carl", "bob"], [30, 10, 22, 20])
        >>> figure = ea.figures.ranking(ea.solve(ea.BradleyTerry(1.0), games))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['anna', 'bob', 'carl']
    """
    size = size_of(width)
    check_whole("top", top, 1)
    n = solution.bandit.n
    known = None if truth is None else as_floats("truth", truth)
    if known is not None:
        check_shape("truth", known, (n,))
        known = (known - known.mean())[np.argsort(-solution.log_policy, kind="stable")]
    whole = n <= 2_000
    frame = solution.ranking(alpha, top=None if whole else top)
    look = look_of(solution.objective.name)
    share = f"{100 * (1 - alpha):g}%"
    words = f"Who is above whom: scores and {share} intervals" if title is None else title
    with under(size):
        sheet = Sheet(size, words, _key(look, size, share, known is not None), _notes(solution, frame, top, share))
        shown = frame.head(top)
        axes: Any = sheet.subplots((len(shown) + 4.2) * 1.25 * size.row, 1, 1)[0, 0]
        _draw(axes, shown, None if known is None else known[: len(shown)], look, sheet)
        return sheet.finished()


def _key(look: Look, size: Size, share: str, truth: bool) -> list[Entry]:
    entries: list[Entry] = [
        (Line2D([], [], color=look.colour, marker="o", linewidth=2 * size.line), f"estimate, {share} interval"),
        (Line2D([], [], color=look.colour, linewidth=0.6 * size.line), f"{share} for all together"),
    ]
    return [*entries, *([(Line2D([], [], **_open(size)), "known")] if truth else [])]


def _notes(solution: Solution, frame: pd.DataFrame, top: int, share: str) -> list[str]:
    objective, n = solution.objective, solution.bandit.n
    look = look_of(objective.name)
    held = objective.name != "bradley_terry" or objective.lam != 1
    lam = rf", $\lambda$ = {objective.lam:.3g}" if held else ""
    notes = [f"{look.label}{lam}; proven to {solution.error_bound:.0e} of the policy."]
    if "best" in frame:
        notes.append(f"Places: between which the true ones are, all together with {share}.")
    if n > top:
        notes.append(f"The first {top} of {n:,}.")
    return notes


def _draw(axes: Axes, frame: pd.DataFrame, known: Floats | None, look: Look, sheet: Sheet) -> None:
    size, rows = sheet.size, np.arange(len(frame))
    ends = [frame[name].to_numpy() for name in ("low_all", "high_all")]
    axes.hlines(rows, ends[0], ends[1], color=look.colour, linewidth=0.6 * size.line, zorder=2)
    axes.hlines(rows, frame["low"], frame["high"], color=look.colour, linewidth=2 * size.line, zorder=3)
    axes.plot(frame["score"], rows, linestyle="none", marker="o", color=look.colour, markersize=size.mark, zorder=4)
    if known is not None:
        axes.plot(known, rows, **_open(size), zorder=5)
    axes.set_yticks(rows, [_fitted(sheet, str(label)) for label in frame["response"]])
    axes.set_ylim(len(frame) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score: log-odds against an average one")
    _chances(axes, ends if known is None else [*ends, known], size)
    if "best" in frame:
        between = zip(frame["best"], frame["worst"], strict=True)
        words = ["places", *(f"{best}" if best == worst else f"{best}–{worst}" for best, worst in between)]
        beside = 1.7 * size.text + 72 * max(sheet.width_of(one) for one in words)  # past half of a mark on top
        right: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "ha": "right"}
        for row, one in enumerate(words, start=-1):
            at, va = (-0.6, "bottom") if row < 0 else (row, "center")
            axes.annotate(one, (1, at), xytext=(beside, 0.55 * size.text * (row < 0)), va=va, color=".15", **right)


def _open(size: Size) -> dict[str, Any]:
    """Keyword arguments of ``Axes.plot`` for what is known otherwise."""
    edge = {"markerfacecolor": "white", "markeredgecolor": "0.05", "markeredgewidth": size.line / 2}
    return {"linestyle": "none", "marker": "D", "markersize": 0.75 * size.mark, **edge}


def _fitted(sheet: Sheet, label: str) -> str:
    """A name no wider than a third of the figure."""
    text = label.replace("$", r"\$")
    while sheet.width_of(text) > sheet.size.width / 3 and len(label) > 1:
        label = label[:-1]
        text = label.replace("$", r"\$").rstrip() + "…"
    return text


def _chances(axes: Axes, ends: list[Floats], size: Size) -> None:
    """The axis on top: sigma of the score, in per cent."""
    low, high = min(0.0, *(one.min() for one in ends)), max(0.0, *(one.max() for one in ends))
    room = 0.04 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    above: Any = axes.twiny()
    above.set_xlim(axes.get_xlim())
    apart = 0.075 * (high - low) * size.text / size.width * 1.7
    marks: list[float] = []
    for chance in CHANCES:
        at = float(np.log(chance / (1 - chance)))
        if low - room <= at <= high + room and all(abs(at - other) > apart for other in marks):
            marks.append(at)
    above.set_xticks(marks, [f"{100 / (1 + np.exp(-at)):.0f}%" for at in marks])
    above.axvline(0.0, color=INK, linewidth=size.line / 2, linestyle=(0, (1, 1.5)))
    above.set_xlabel("chance to beat it")
    above.grid(visible=False)
    above.spines["right"].set_visible(False)
    above.spines["top"].set_visible(True)
