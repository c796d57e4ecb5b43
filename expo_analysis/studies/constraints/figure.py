"""RLHF, DPO and EXPO over restricted policies: a picture a measure, a panel a constraint, tight on the left."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from ...figures.sheet import Entry, Sheet, banded, level_key, level_style
from ...figures.style import END_POINTS, INK, LOOKS, looks_in, size_of, under

PAGE = size_of("page")
OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
CONSTRAINTS = {
    "weight_decay": ("weight decay", "decay (falling)"),
    "early_stopping": ("early stopping", "steps of gradient descent"),
    "few_features": ("too few features", "features"),
}
DRAWN = 0.1
"""The lambda of all pictures but that of the regret, which has them all."""
LINEAR_BELOW = 1e-3
UNIFORM: dict[str, Any] = {"color": LOOKS["dpo"].colour, "linestyle": ":", "linewidth": PAGE.line}
LARGER: dict[str, Any] = {"linestyle": "-", "linewidth": PAGE.line / 2}
"""How DPO is drawn at the other lambda."""
NOTE = "Tight constraints on the left, loose ones on the right. Medians over random problems; bands: 10% to 90%."


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The four pictures of the study, by file name."""
    summary = tables["constraints"]
    return {
        "constraints": regret(summary),
        "constraints_reward": reward_lost(summary),
        "constraints_distance": distance(summary, tables["constraints_reference"]),
        "constraints_between": between(summary),
    }


def regret(summary: pd.DataFrame) -> Figure:
    """What DPO costs in RLHF's objective, at every lambda.

    Args:
        summary: columns ``pairs``, ``constraint``, ``strength``, ``lam``, ``loss``, ``regret``, ``regret_low``,
            ``regret_high``: of every measure here the median, and quantiles under NAME_low and NAME_high.
    """
    with under(PAGE):
        lines = {lam: _line("dpo", **({} if lam == DRAWN else LARGER)) for lam in sorted(summary["lam"].unique())}
        key: list[Entry] = [(Line2D([], [], **line), rf"DPO, $\lambda$ = {lam:g}") for lam, line in lines.items()]
        sheet = Sheet(
            PAGE, "What DPO's policy costs in RLHF's own objective, once policies are restricted", key, [NOTE]
        )
        grid = _panels(sheet)
        for constraint, axes in grid.items():
            for lam, line in lines.items():
                _path(axes, _rows(summary, constraint, "dpo", lam), "regret", line)
            axes.axhline(0.0, color=INK, linewidth=PAGE.line / 2)
            axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
        grid["weight_decay"].set_ylabel("regret of DPO (nats)")
        return sheet.finished()


def reward_lost(summary: pd.DataFrame) -> Figure:
    """Reward less than the most at the same KL from pi_ref; columns as `regret`'s, of ``reward_lost``."""
    title = r"How much reward each leaves lying, at its own KL($\pi$ ‖ $\pi_{\mathrm{ref}}$), $\lambda$ = "
    with under(PAGE):
        sheet, grid = _losses(
            f"{title}{DRAWN}", summary, "reward_lost", [(Line2D([], [], **UNIFORM), "DPO, uniform pairs")]
        )
        for constraint, axes in grid.items():
            uniform = _rows(summary, constraint, "dpo", DRAWN, "uniform")
            axes.plot(uniform["strength"], uniform["reward_lost"], **UNIFORM)
        grid["weight_decay"].set(ylabel="reward lost (nats)", ylim=(1e-7, None))
        return sheet.finished()


def distance(summary: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """KL(pi* || pi) beside the reference's.

    Args:
        summary: columns as `regret`'s, of ``kl_optimal_policy``.
        reference: columns ``problems`` and ``kl_optimal_policy``, the median of KL(pi* || pi_ref).
    """
    title = rf"How far from {OPTIMAL} each ends, beside the reference, $\lambda$ = {DRAWN}"
    starts = reference.set_index("problems")["kl_optimal_policy"]
    with under(PAGE):
        sheet, grid = _losses(title, summary, "kl_optimal_policy", [level_key(PAGE)])
        for constraint, axes in grid.items():
            axes.axhline(starts["shared" if constraint == "few_features" else "single"], **level_style(PAGE))
        grid["weight_decay"].set(ylabel=rf"KL({OPTIMAL} ‖ $\pi$) (nats)", ylim=(1e-3, None))
        return sheet.finished()


def between(summary: pd.DataFrame) -> Figure:
    """The way from pi_ref to the best fit by pi, in units of the direct one; columns as `regret`'s, of ``detour``."""
    title = rf"Is $\pi$ at $\lambda$ = {DRAWN} between the reference and the best fit that the constraint allows?"
    with under(PAGE):
        sheet, grid = _losses(
            title, summary, "detour", [(Line2D([], [], **level_style(PAGE)), "between them: up to 1")]
        )
        for axes in grid.values():
            axes.axhline(1.0, **level_style(PAGE))
        way = rf"way {REFERENCE} $\to \pi \to$ fit"
        grid["weight_decay"].set(ylabel=f"{way},\nas a multiple of the direct one", ylim=(0.3, None))
        return sheet.finished()


def _losses(title: str, summary: pd.DataFrame, measure: str, more: list[Entry]) -> tuple[Sheet, dict[str, Axes]]:
    """A measure of all losses against the strength of each constraint."""
    losses = looks_in(summary)
    key: list[Entry] = [(Line2D([], [], **_line(loss)), look.label) for loss, look in losses.items()]
    sheet = Sheet(PAGE, title, key + more, [NOTE])
    grid = _panels(sheet)
    for constraint, axes in grid.items():
        for loss in losses:
            _path(axes, _rows(summary, constraint, loss, DRAWN), measure, _line(loss))
        axes.set_yscale("log")
    return sheet, grid


def _panels(sheet: Sheet) -> dict[str, Axes]:
    """A panel a constraint."""
    grid = dict(zip(CONSTRAINTS, sheet.subplots(15 * PAGE.row, 1, 3, sharey=True)[0], strict=True))
    for constraint, (title, strength) in CONSTRAINTS.items():
        axes = grid[constraint]
        axes.set(title=title, xlabel=strength)
        if constraint == "few_features":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
    grid["weight_decay"].invert_xaxis()
    return grid


def _line(loss: str, **changes: Any) -> dict[str, Any]:
    return LOOKS[loss].line(**{"linewidth": PAGE.line, **changes})


def _rows(summary: pd.DataFrame, constraint: str, loss: str, lam: float, pairs: str = "reference") -> pd.DataFrame:
    wanted = {"constraint": constraint, "loss": loss, "lam": lam, "pairs": pairs}
    return summary[(summary[list(wanted)] == pd.Series(wanted)).all(axis=1)]


def _path(axes: Axes, rows: pd.DataFrame, measure: str, line: dict[str, Any]) -> None:
    banded(axes, line, rows["strength"], *(rows[f"{measure}{end}"] for end in ("", "_low", "_high")))
