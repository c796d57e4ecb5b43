"""Weighted-reward fusion: the mass of the source model's response, in training and at optima with a regulariser."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...figures.style import INK, look_of, themed


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return fusion(tables["fusion"], tables["fusion_held"])


@themed
def fusion(training: pd.DataFrame, held: pd.DataFrame) -> Figure:
    """Two panels: the policy's probability of the source's response by step, and by its mass under the reference.

    Args:
        training: columns ``alpha``, ``step``, ``source``. held: ``alpha``, ``reference_mass``, ``source``.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    alphas = sorted(training["alpha"].unique())
    look = look_of("wrpo")
    dashes = dict(zip(alphas, [(0, (1.2, 1.2)), (0, (5, 1.5)), "-", (0, (5, 1.5, 1.2, 1.5))], strict=False))
    for alpha in alphas:
        style = look.line(linestyle=dashes[alpha], label=f"a = {alpha:g}")
        path = training[(training["alpha"] == alpha) & (training["step"] > 0)]
        left.plot(path["step"], path["source"], **style)
        own = held[held["alpha"] == alpha]
        right.plot(own["reference_mass"], own["source"], **style)
    ends = [held["reference_mass"].min(), held["reference_mass"].max()]
    right.plot(ends, ends, color=INK, linewidth=1.0, label=r"$\pi = \pi_{\mathrm{ref}}$")
    left.set(xscale="log", yscale="log", xlabel="step of gradient descent", title="WRPO alone")
    right.set(xscale="log", yscale="log", title=r"optima with $\lambda\,$KL($\pi_{\mathrm{ref}}\,\|\,\pi$)")
    right.set_xlabel(r"$\pi_{\mathrm{ref}}$ of the source's response")
    for axes in (left, right):
        axes.set_ylabel(r"$\pi$ of the source's response")
    left.legend(loc="best")
    right.legend(loc="best")
    figure.suptitle("Weighted-reward fusion: where the mass of another model's response goes", fontsize="x-large")
    return figure
