"""Error to pi* against the number of comparisons: at the best lambda, at a fixed one, and over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet, banded, line_key, path_style
from ...figures.style import END_POINTS, LAMBDA, Look, looks_in, size_of, under

PAGE = size_of("page")
OPTIMAL, REFERENCE = (END_POINTS[name].label for name in ("optimal", "reference"))
REFERENCES = {"far": f"{REFERENCE} far from {OPTIMAL}", "near": f"{REFERENCE} near {OPTIMAL}"}
TV = rf"mean TV($\pi$, {OPTIMAL})"
PAIRS = "number of comparisons $N$"
ENDS = {
    "optimum": "exact optimum",
    "last": "last step",
    "validation": "lowest\nvalidation risk",
    "nearest": f"step nearest {OPTIMAL}\n(not known in practice)",
}
THEORY: dict[str, Any] = {"color": "0.1", "linestyle": ":", "linewidth": PAGE.line / 1.3, "zorder": 3}
EFFICIENT: dict[str, Any] = {"color": "0.58", "linestyle": "-", "linewidth": 3 * PAGE.line, "zorder": 0.5}
KEY: tuple[Entry, Entry] = (
    (Line2D([], [], **EFFICIENT), "an efficient estimate, by Fisher information"),
    (Line2D([], [], **THEORY), "delta method"),
)
CONFIDENCE = "Bands: 95% confidence."


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The five pictures of the study, by file name."""
    errors, efficient = tables["finite_data"], tables["finite_data_efficient"]
    training, ends = tables["finite_data_training"], tables["finite_data_ends"]
    errors = errors[errors["measure"] == "tv"]
    size = sorted(training["pairs"].unique())[training["pairs"].nunique() // 2]
    best, fixed = (errors[errors["choice"] == choice] for choice in ("best", "fixed"))
    return {
        "finite_data": falling(best, efficient),
        "finite_data_fixed": levelling(fixed, efficient),
        "finite_data_lambda": best_lambda(best),
        "finite_data_training": trained(training[training["pairs"] == size]),
        "finite_data_ends": ended(ends[(ends["reference"] == "far") & (ends["pairs"] == size)]),
    }


def falling(errors: pd.DataFrame, efficient: pd.DataFrame) -> Figure:
    """Error against the number of comparisons, each loss at its best lambda.

    Args:
        errors: columns ``reference``, ``loss``, ``pairs``, ``error``, ``low``, ``high``.
        efficient: columns ``pairs``, ``error``.
    """
    title = rf"How the distance from {OPTIMAL} falls with the number of comparisons, each loss at its best $\lambda$"
    with under(PAGE):
        return _errors(title, errors, efficient, KEY[:1])[0].finished()


def levelling(errors: pd.DataFrame, efficient: pd.DataFrame) -> Figure:
    """The same at one lambda for all, beside the delta method; columns as `falling`'s, ``lam`` and ``predicted``."""
    title = rf"The same distance at $\lambda$ = {errors['lam'].iloc[0]:g} for all sizes: where losses level off"
    with under(PAGE):
        sheet, grid = _errors(title, errors, efficient, KEY)
        for axes, reference in zip(grid, REFERENCES, strict=True):
            for _, own in errors[errors["reference"] == reference].groupby("loss"):
                axes.plot(own["pairs"], own["predicted"], **THEORY)
        return sheet.finished()


def best_lambda(errors: pd.DataFrame) -> Figure:
    """The best lambda against the number of comparisons, and those that are as good within 10%.

    Args:
        errors: columns ``reference``, ``loss``, ``pairs``, ``lam``, ``lam_low``, ``lam_high``, ``predicted_lam_high``.
    """
    looks = looks_in(errors)
    key = [
        *(line_key(look, PAGE) for look in looks.values()),
        (Line2D([], [], **THEORY), "its upper edge, delta method"),
    ]
    with under(PAGE):
        title = r"The best $\lambda$ for each number of comparisons, and all that are as good to EXPO within 10%"
        sheet, grid = _panels(title, key, "Band: within 10% of the error at EXPO's best.")
        for axes, reference in zip(grid, REFERENCES, strict=True):
            for loss, look in looks.items():
                own = errors[(errors["reference"] == reference) & (errors["loss"] == loss)]
                if loss == "expo":
                    ends = (own[x] for x in ("lam", "lam_low", "lam_high"))
                    banded(axes, path_style(look, PAGE), own["pairs"], *ends)
                    axes.plot(own["pairs"], own["predicted_lam_high"], **THEORY)
                else:
                    axes.plot(own["pairs"], own["lam"], **path_style(look, PAGE))
            axes.set(xscale="log", yscale="log", ylim=(6e-5, 2e4), xlabel=PAIRS)
        grid[0].set_ylabel(LAMBDA)
        return sheet.finished()


def trained(training: pd.DataFrame) -> Figure:
    """Error over training, on one number of comparisons.

    Args:
        training: columns ``reference``, ``loss``, ``pairs``, ``step``, ``error``, ``low``, ``high``.
    """
    looks = looks_in(training)
    key = [(Line2D([], [], **_line(look)), look.label) for look in looks.values()]
    with under(PAGE):
        title = f"Distance from {OPTIMAL} in training, $N$ = {training['pairs'].iloc[0]:,}"
        sheet, grid = _panels(title, key, f"{CONFIDENCE} At the left edge: the start.")
        for axes, reference in zip(grid, REFERENCES, strict=True):
            for loss, look in looks.items():
                own = training[(training["reference"] == reference) & (training["loss"] == loss)]
                step = own["step"].clip(lower=0.6)  # the start, on a logarithmic axis
                banded(axes, _line(look), step, own["error"], own["low"], own["high"])
            axes.set(xscale="log", yscale="log", ylim=(8e-3, 0.7), xlabel="step of Adam")
        grid[0].set_ylabel(TV)
        return sheet.finished()


def ended(ends: pd.DataFrame) -> Figure:
    """Error of what training is to find, and of three places to stop.

    Args:
        ends: columns ``loss``, ``pairs``, ``end`` (of `ENDS`), ``error``, ``low``, ``high``.
    """
    looks = looks_in(ends)
    style: dict[str, Any] = {"markersize": 1.5 * PAGE.mark, "markeredgewidth": PAGE.line}
    with under(PAGE):
        title = f"Where to stop: what validation risk tells, {REFERENCES['far']}, $N$ = {ends['pairs'].iloc[0]:,}"
        key = [(Line2D([], [], **look.end(**style)), look.label) for look in looks.values()]
        sheet = Sheet(PAGE, title, key, ["Lines: 95% confidence."])
        axes = sheet.subplots(15 * PAGE.row, 1, 1)[0, 0]
        for k, (loss, look) in enumerate(looks.items()):
            own = ends[ends["loss"] == loss].set_index("end").loc[list(ENDS)]
            at = [x + 0.12 * (k - (len(looks) - 1) / 2) for x in range(len(ENDS))]
            axes.vlines(at, own["low"], own["high"], color=look.colour, linewidth=PAGE.line)
            axes.plot(at, own["error"], **look.end(**style))
        axes.set(yscale="log", ylim=(8e-3, 0.7), xlim=(-0.5, len(ENDS) - 0.5), ylabel=TV)
        axes.set_xticks(range(len(ENDS)), list(ENDS.values()))
        axes.grid(axis="x", visible=False)
        return sheet.finished()


def _errors(
    title: str, errors: pd.DataFrame, efficient: pd.DataFrame, more: Sequence[Entry]
) -> tuple[Sheet, list[Axes]]:
    looks = looks_in(errors)
    key = [*(line_key(look, PAGE) for look in looks.values()), *more]
    sheet, grid = _panels(title, key, CONFIDENCE)
    for axes, reference in zip(grid, REFERENCES, strict=True):
        axes.plot(efficient["pairs"], efficient["error"], **EFFICIENT)
        for loss, look in looks.items():
            own = errors[(errors["reference"] == reference) & (errors["loss"] == loss)]
            banded(axes, path_style(look, PAGE), own["pairs"], own["error"], own["low"], own["high"])
        axes.set(xscale="log", yscale="log", ylim=(1.2e-3, 0.7), xlabel=PAIRS)
    grid[0].set_ylabel(TV)
    return sheet, grid


def _panels(title: str, key: Sequence[Entry], note: str) -> tuple[Sheet, list[Axes]]:
    """A sheet with a panel a reference."""
    sheet = Sheet(PAGE, title, key, [note])
    grid = list(sheet.subplots(17 * PAGE.row, 1, len(REFERENCES), sharey=True)[0])
    for axes, name in zip(grid, REFERENCES.values(), strict=True):
        axes.set_title(name)
    return sheet, grid


def _line(look: Look) -> dict[str, Any]:
    return look.line(linewidth=PAGE.line)
