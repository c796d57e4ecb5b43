"""RPO's three distances: under noise in the rewards, and over restricted policies."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.sheet import Entry, Sheet, banded, path_style
from ...figures.style import LAMBDA, Look, look_of, size_of, under

PAGE = size_of("page")
DISTANCES: dict[str, Look] = {
    "squared": look_of("reward_aware_squared", "squared"),
    "backward_kl": look_of("reward_aware_po", "backward KL (target first)"),
    "forward_kl": look_of("reward_aware_forward_kl", "forward KL (policy first)"),
}
LINES: dict[str, dict[str, Any]] = {name: path_style(look, PAGE) for name, look in DISTANCES.items()} | {
    "squared": DISTANCES["squared"].line(linestyle="-", linewidth=3 * PAGE.line)
}
"""Lines that lie on each other: one is broad."""


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The two pictures of the study, by file name."""
    return {
        "reward_aware": noisy(tables["reward_aware"]),
        "reward_aware_restricted": restricted(tables["reward_aware_restricted"]),
    }


def noisy(noise: pd.DataFrame) -> Figure:
    """TV from the optimum that the three share, against noise in the rewards.

    Args:
        noise: columns ``distance``, ``noise``, ``seed``, ``tv_optimum``.
    """
    with under(PAGE):
        title = r"Reward-aware PO: how far noise in the rewards takes each distance, all policies, $\lambda$ = 1"
        sheet = Sheet(PAGE, title, _key(), ["Mean over seeds; bands: 80% of the seeds."])
        axes = sheet.subplots(17 * PAGE.row, 1, 1)[0, 0]
        for distance, line in LINES.items():
            own = noise[noise["distance"] == distance].groupby("noise")["tv_optimum"]
            mean = own.mean()
            banded(axes, line, mean.index, mean, own.quantile(0.1), own.quantile(0.9))
        axes.set(xlabel="standard deviation of the noise in each datum's rewards")
        axes.set_ylabel(r"TV($\pi$, $\pi_{\mathrm{ref}}\,e^{r/\lambda}$)")
        return sheet.finished()


def restricted(paths: pd.DataFrame) -> Figure:
    """Expected reward against lambda over policies with one feature, beside RLHF's.

    Args:
        paths: columns ``loss``, ``lam``, ``expected_reward``.
    """
    rlhf = look_of("rlhf")
    lines = LINES | {"rlhf": rlhf.line(linewidth=PAGE.line)}
    with under(PAGE):
        title = "Reward-aware PO over policies with one feature: what each distance earns, beside RLHF"
        sheet = Sheet(PAGE, title, [*_key(), (Line2D([], [], **lines["rlhf"]), rlhf.label)])
        axes = sheet.subplots(17 * PAGE.row, 1, 1)[0, 0]
        for loss, line in lines.items():
            own = paths[paths["loss"] == loss]
            axes.plot(own["lam"], own["expected_reward"], **line)
        axes.set(xscale="log", xlabel=LAMBDA, ylabel=r"expected reward $\mathbb{E}_\pi[r]$")
        return sheet.finished()


def _key() -> list[Entry]:
    return [(Line2D([], [], **line), DISTANCES[name].label) for name, line in LINES.items()]
