"""What the data say of lambda: the score of each that was tried, and the choice."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ..._checks import check_policy, check_shape
from ...optima import LambdaChoice, solve_path
from ..looks import INK, look_of
from ..sheet import Entry, Sheet
from ..style import LAMBDA, size_of, under


def lambda_choice(
    chosen: LambdaChoice, *, truth: ArrayLike | None = None, width: str | float = "column", title: str | None = None
) -> Figure:
    r"""The score of every lambda that `choose_lambda` tried, and its choice.

    Draws the scores less their least one, which the data prefer by exp of it; where pi* is known, below it how far the
    optimum at each lambda is from it, in total variation |pi - pi*|_1/2.

    Args:
        chosen: what `choose_lambda` returned.
        truth: pi*, of the shape of the solution's policy, where it is known.
        width, title: as for `interpolation`.

    Returns:
        The figure.

    Raises:
        ValueError: naming the argument.

    Example:
        >>> import expo_analysis as ea
        >>> games = ea.Comparisons([0, 0, 1, 1, 2, 0], [1, 2, 2, 0, 0, 1], [20, 25, 15, 10, 5, 10])
        >>> len(ea.figures.lambda_choice(ea.choose_lambda(ea.EXPO(1.0), games), truth=[0.6, 0.3, 0.1]).axes)
        2
    """
    size, solution = size_of(width), chosen.solution
    look = look_of(solution.objective.name)
    panels: list[tuple[str, Any, float]] = [("score, less the least", chosen.scores - chosen.scores.min(), np.nan)]
    if truth is not None:
        optimal = check_policy("truth", truth, least=2)
        check_shape("truth", optimal, solution.policy.shape)
        path = solve_path(solution.objective, solution.bandit, chosen.lams)
        apart = np.abs(path.policies - optimal).sum(axis=-1).reshape(len(chosen.lams), -1).mean(axis=1) / 2
        own = float(np.abs(solution.policy - optimal).sum(axis=-1).mean() / 2)
        panels.append((r"distance from $\pi^*$ (TV)", apart, own))
    with under(size):
        style: dict[str, Any] = {"color": look.colour, "marker": "o", "markersize": 0.7 * size.mark}
        line: dict[str, Any] = {"color": INK, "linewidth": size.line / 2, "linestyle": (0, (1, 1.5))}
        key: list[Entry] = [
            (Line2D([], [], **style), look.label),
            (Line2D([], [], **line), rf"$\lambda$ = {chosen.lam:.3g}, chosen"),
        ]
        words = r"Which $\lambda$ the data choose" if title is None else title
        sheet = Sheet(size, words, key)
        rows = sheet.subplots(len(panels) * 1.25 * size.text / 8 + 3 * size.row, len(panels), 1, sharex=True)[:, 0]
        for axes, (label, values, own) in zip(rows, panels, strict=True):
            shown = np.where(np.isfinite(values), values, np.nan)
            axes.plot(chosen.lams, shown, linewidth=0.7 * size.line, **style)
            axes.axvline(chosen.lam, **line)
            if np.isfinite(own):
                axes.plot([chosen.lam], [own], marker="D", color=INK, markersize=size.mark, linestyle="none")
            axes.set_xscale("log")
            axes.set_ylim(bottom=0.0, top=1.08 * np.nanmax(shown) or 1.0)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_ylabel(label)
        rows[-1].set_xlabel(LAMBDA)
        return sheet.finished()
