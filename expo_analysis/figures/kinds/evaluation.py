"""Trained models beside their references: a row a model, a panel a kind of measure, points with their intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..style import GREYS, INK, themed


class Panel(NamedTuple):
    """What one panel shows: measures with their labels, the axis, and the value that means "no difference"."""

    title: str
    xlabel: str
    measures: dict[str, str]
    neutral: float | None = None


FORWARD, REVERSE = r"KL$(\pi_{\mathrm{ref}}\,\|\,\pi)$", r"KL$(\pi\,\|\,\pi_{\mathrm{ref}})$"

PANELS = (
    Panel("distance from the reference", "nats per response", {
        "kl/reference_policy": FORWARD, "kl/policy_reference": REVERSE,
    }),
    Panel("drift where it was optimal", "nats per response", {
        "optimal/kl/reference_policy": FORWARD, "optimal/kl/policy_reference": REVERSE,
    }),
    Panel("held-out pairs put in order", "share of pairs", {
        "implicit/accuracy": "by the implicit reward", "explicit/accuracy": "by the reward",
    }, 0.5),
    Panel("expected reward", "reward", {"reward/policy": "of the model", "reward/reference": "of its reference"}),
    Panel("wins against the reference", "share of comparisons", {"win_rate": ""}, 0.5),
)  # fmt: skip

SHAPES = tuple((look.marker, look.colour) for look in GREYS[:2])


@themed
def evaluation(frame: pd.DataFrame) -> Figure:
    """The panels that the measures allow.

    Args:
        frame: model, measure, estimate, low and high; low and high are nan where there is no interval.
    """
    models = list(dict.fromkeys(frame["model"]))
    panels = [panel for panel in PANELS if frame["measure"].isin(panel.measures).any()]
    columns = min(len(panels), 4 if len(panels) == 4 else 3)
    rows = -(-len(panels) // columns)
    height = 0.3 + rows * (1.6 + 0.36 * len(models))
    figure = Figure(figsize=(1.2 + 3.3 * columns, height), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, panel in zip(axes.flat, panels, strict=False):
        _draw(ax, panel, frame, models)
    axes[0, 0].set_yticks(range(len(models)), [_short(name) for name in models])
    axes[0, 0].set_ylim(len(models) - 0.4, -0.6)  # the first model on top
    if frame["low"].notna().any():
        figure.supxlabel("lines: 95% bootstrap intervals over prompts", fontsize="small", color=INK)
    return figure


def _draw(ax: Axes, panel: Panel, frame: pd.DataFrame, models: list[str]) -> None:
    kept = [name for name in panel.measures if (frame["measure"] == name).any()]
    if panel.neutral is not None:
        ax.axvline(panel.neutral, color=INK, linewidth=0.9, linestyle="--")
    for k, (name, (marker, colour)) in enumerate(zip(kept, SHAPES, strict=False)):
        own = frame[frame["measure"] == name]
        points = dict(zip(own["model"], own[["estimate", "low", "high"]].to_numpy(dtype=float), strict=True))
        shift = 0.0 if len(kept) == 1 else (k - 0.5) * 0.3
        for row, model in enumerate(models):
            if model not in points:
                continue
            estimate, low, high = points[model]
            if math.isfinite(low):
                ax.plot([low, high], [row + shift] * 2, color=colour, linewidth=1.8, solid_capstyle="butt")
            label = panel.measures[name] if row == 0 else None
            ax.plot([estimate], [row + shift], marker=marker, color=colour, markersize=6, linestyle="none", label=label)
    ax.set_title(panel.title, fontsize="medium", pad=26 if len(kept) > 1 else 8)
    alone = panel.measures[kept[0]] if len(kept) == 1 else ""
    ax.set_xlabel(f"{panel.xlabel}, {alone}" if alone else panel.xlabel)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="y", length=0)
    if panel.neutral is not None:  # a share
        ax.set_xlim(-0.03, 1.03)
    elif panel.xlabel.startswith("nats"):
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
    if len(kept) > 1:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, fontsize="small", columnspacing=1.2)


def _short(name: str) -> str:
    """The last part of a path, which is what tells folders apart."""
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    return parts[-1] if parts else name
