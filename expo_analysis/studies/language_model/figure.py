"""A real language model: reward against KL, what is kept beside what is gained, and where the mass goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from ...figures.kinds.frontier import draw as draw_frontier
from ...figures.style import INK, LOOKS, MOVED, Look, estimator_look, size_of, themed

METHODS = {
    ("dpo", ""): LOOKS["dpo"],
    ("ipo", ""): LOOKS["ipo"],
    **{("expo", name): estimator_look(name) for name in ("own_responses", "reference_samples", "token_kl")},
}
"""By loss and estimator of the regulariser, in the order of the legends."""

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    name: (look.label, {"color": look.colour, "linestyle": look.dashes, "marker": look.marker})
    for name, look in MOVED.items()
}


def methods_in(frame: pd.DataFrame) -> Iterator[tuple[Look, pd.DataFrame]]:
    """How each method is drawn, and its rows by rising lambda."""
    for (loss, estimator), look in METHODS.items():
        own = frame[(frame["loss"] == loss) & (frame["estimator"] == estimator)]
        if len(own):
            yield look, own.sort_values("lam")


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The three pictures of the study."""
    return {name: panel(tables[name]) for name, panel in PICTURES.items()}


def lm_frontier(frontier: pd.DataFrame) -> Figure:
    """Reward gained against KL(pi || pi_ref), one point a run, a panel a method; columns of ``lm_frontier.csv``."""
    methods = list(methods_in(frontier))
    title = "Reward gained against KL from the reference, on the prompts that the reward labelled"
    labels = r"KL$(\pi\,\|\,\pi_{\mathrm{ref}})$ in nats", "reward gained"
    notes = [r"Lines join runs by $\lambda$. Bars: 95% intervals over responses. Reward: VADER's compound score."]
    return draw_frontier(methods, "reverse_kl", "gain", size_of("page"), title, labels, notes)


@themed
def lm_preservation(kept: pd.DataFrame) -> Figure:
    """Drift where the reference is optimal already, by lambda, and beside what was gained on the other half.

    Args:
        kept: columns of ``lm_preservation.csv``.
    """
    figure = Figure(figsize=(12.4, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for look, own in methods_in(kept):
        _path(left, own, "lam", "drift", look, against_error=False)
        _path(right, own, "drift", "gain", look)
    drift = r"drift: KL$(\pi_{\mathrm{ref}}\,\|\,\pi)$ per response (nats)"
    left.set(xscale="log", yscale="log", xlabel=r"trade-off $\lambda$", ylabel=drift)
    left.set_title(r"prompts labelled by $\pi_{\mathrm{ref}}$ itself: nothing to learn", fontsize="medium")
    right.axhline(0, color=INK, linewidth=0.9, linestyle="--")
    right.set(xscale="log", xlabel=drift, ylabel="expected reward gained on the other half")
    right.set_title(r"the same runs, one $\lambda$ for both halves", fontsize="medium")
    for axis in (left.yaxis, right.xaxis):  # hardly a decade: powers of ten say little
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    left.set_xticks(sorted(kept["lam"].unique()))
    left.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    left.xaxis.set_minor_formatter(NullFormatter())
    _legend(figure, kept)
    return figure


@themed
def lm_displacement(moved: pd.DataFrame) -> Figure:
    """Mean log(pi/pi_ref) of chosen, rejected and other responses over steps, a panel a method.

    Args:
        moved: columns of ``lm_displacement.csv``.
    """
    panels = list(methods_in(moved))
    figure = Figure(figsize=(3.3 * len(panels), 4.6), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (look, own) in zip(grid, panels, strict=True):
        own = own.sort_values("step")
        for kind, (_, drawn) in KINDS.items():
            error = own[f"{kind}_standard_error"]
            axes.plot(own["step"], own[kind], linewidth=2, markersize=6, **drawn)
            axes.fill_between(
                own["step"], own[kind] - 1.96 * error, own[kind] + 1.96 * error, color=drawn["color"], alpha=0.18, lw=0
            )
        axes.axhline(0, color=INK, linewidth=0.9, linestyle="--")
        axes.set_title(f"{look.label}\n$\\lambda = {own['lam'].iloc[0]:g}$", fontsize="medium")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    grid[0].set_ylabel(r"mean $\log(\pi/\pi_{\mathrm{ref}})$ (nats)")
    handles = [Line2D([], [], label=label, linewidth=2, markersize=6, **drawn) for label, drawn in KINDS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _path(axes: Axes, rows: pd.DataFrame, x: str, y: str, look: Look, against_error: bool = True) -> None:
    """One method's runs by lambda, with 95% intervals; the marker grows with lambda."""
    axes.plot(rows[x], rows[y], **look.line(linewidth=1.4))
    axes.errorbar(
        rows[x],
        rows[y],
        yerr=1.96 * rows[f"{y}_standard_error"],
        xerr=1.96 * rows[f"{x}_standard_error"] if against_error else None,
        fmt="none",
        ecolor=look.colour,
        elinewidth=1,
        alpha=0.5,
    )
    sizes = [5 + 7 * place / max(1, len(rows) - 1) for place in range(len(rows))]
    for size, (_, row) in zip(sizes, rows.iterrows(), strict=True):
        axes.plot([row[x]], [row[y]], color=look.colour, marker=look.marker, markersize=size, markeredgecolor="white")


def _legend(figure: Figure, rows: pd.DataFrame) -> None:
    handles = [
        Line2D([], [], label=look.label, markersize=8, **look.line(marker=look.marker, linewidth=1.4))
        for look, _ in methods_in(rows)
    ]
    lams = ", ".join(f"{lam:g}" for lam in sorted(rows["lam"].unique()))
    handles.append(Line2D([], [], linestyle="none", label=rf"$\lambda$ = {lams}: small to large markers"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=2.0)


PICTURES = {"lm_frontier": lm_frontier, "lm_preservation": lm_preservation, "lm_displacement": lm_displacement}
"""By file name."""
