"""Weighted-reward fusion: the mass of the source model's response, in training and at optima with a regulariser."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Sheet, level_key, level_style
from ...figures.style import look_of, size_of, under

PAGE = size_of("page")
DASHES = ((0, (1.2, 1.2)), (0, (5, 1.5)), "-", (0, (5, 1.5, 1.2, 1.5)))
"""Of rising a."""


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return fusion(tables["fusion"], tables["fusion_held"])


def fusion(training: pd.DataFrame, held: pd.DataFrame) -> Figure:
    """Two panels: the policy's probability of the source's response by step, and by its mass under the reference.

    Args:
        training: columns ``alpha``, ``step``, ``source``. held: ``alpha``, ``reference_mass``, ``source``.
    """
    alphas, look = sorted(training["alpha"].unique()), look_of("wrpo")
    lines = {a: look.line(linestyle=d, linewidth=PAGE.line) for a, d in zip(alphas, DASHES, strict=False)}
    with under(PAGE):
        key = [*((Line2D([], [], **line), f"a = {a:g}") for a, line in lines.items()), level_key(PAGE)]
        sheet = Sheet(PAGE, "Weighted-reward fusion: where the mass of another model's response goes", key)
        left, right = sheet.subplots(17 * PAGE.row, 1, 2)[0]
        for a, line in lines.items():
            path, own = training[(training["alpha"] == a) & (training["step"] > 0)], held[held["alpha"] == a]
            left.plot(path["step"], path["source"], **line)
            right.plot(own["reference_mass"], own["source"], **line)
        left.axhline(training.loc[training["step"] == 0, "source"].iloc[0], **level_style(PAGE))
        ends = [held["reference_mass"].min(), held["reference_mass"].max()]
        right.plot(ends, ends, **level_style(PAGE))
        left.set(xscale="log", yscale="log", xlabel="step of gradient descent", title="WRPO alone, in training")
        left.set_ylabel(r"$\pi$ of the source's response")
        right.set(xscale="log", yscale="log", xlabel=r"$\pi_{\mathrm{ref}}$ of the source's response")
        right.set_title(r"with $\lambda\,$KL($\pi_{\mathrm{ref}}\,\|\,\pi$), the optimum")
        return sheet.finished()
