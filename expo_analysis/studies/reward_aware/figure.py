"""RPO's three distances: under noise in the rewards, and over restricted policies."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...figures.style import LAMBDA, Look, look_of, themed

DISTANCES: dict[str, Look] = {
    "squared": look_of("reward_aware_squared", "squared"),
    "backward_kl": look_of("reward_aware_po", "backward KL (target first)"),
    "forward_kl": look_of("reward_aware_forward_kl", "forward KL (policy first)"),
}


def _line(distance: str, wide: float) -> dict[str, Any]:
    """Lines that lie on each other: the first is broad and pale."""
    look = DISTANCES[distance]
    broad = {"linestyle": "-", "linewidth": 3 * wide, "alpha": 0.4} if distance == "squared" else {"linewidth": wide}
    return look.line(marker=look.marker, markersize=(6 if distance == "squared" else 3) * wide, **broad)


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return reward_aware(tables["reward_aware"], tables["reward_aware_restricted"])


@themed
def reward_aware(noise: pd.DataFrame, restricted: pd.DataFrame) -> Figure:
    """Two panels: TV from the shared optimum against noise; expected reward against lambda.

    Args:
        noise: columns ``distance``, ``noise``, ``seed``, ``tv_optimum``. restricted: ``loss``, ``lam``,
            ``expected_reward``.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for distance, look in DISTANCES.items():
        own = noise[noise["distance"] == distance].groupby("noise")["tv_optimum"]
        mean, low, high = own.mean(), own.quantile(0.1), own.quantile(0.9)
        left.fill_between(mean.index, low, high, color=look.colour, alpha=0.15, linewidth=0)
        left.plot(mean.index, mean, label=look.label, **_line(distance, 2.2))
        path = restricted[restricted["loss"] == distance]
        right.plot(path["lam"], path["expected_reward"], label=look.label, **_line(distance, 1.6))
    rlhf, look = restricted[restricted["loss"] == "rlhf"], look_of("rlhf")
    right.plot(rlhf["lam"], rlhf["expected_reward"], label=look.label, **look.line())
    left.set(
        xlabel="standard deviation of the noise in each datum's rewards",
        ylabel=r"TV($\pi$, $\pi_{\mathrm{ref}}\,e^{r/\lambda}$)",
        title=r"all policies, $\lambda = 1$: mean and 80% of the seeds",
    )
    right.set(xscale="log", xlabel=LAMBDA, ylabel=r"expected reward $E_\pi\, r$", title="policies with one feature")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    figure.suptitle("Reward-aware PO: three distances between rewards", fontsize="x-large")
    return figure
