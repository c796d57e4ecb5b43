"""RPO's three distances: under noise in the rewards, and over restricted policies."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...figures.style import LAMBDA, LOOKS, PALETTE, themed

DISTANCES: dict[str, tuple[str, dict[str, Any]]] = {
    "squared": ("squared", {"color": PALETTE[5], "linestyle": "-", "marker": "s"}),
    "backward_kl": ("backward KL (target first)", {"color": PALETTE[9], "linestyle": (0, (5, 1.5)), "marker": "o"}),
    "forward_kl": ("forward KL (policy first)", {"color": PALETTE[6], "linestyle": (0, (1.2, 1.2)), "marker": "^"}),
}


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
    for distance, (label, style) in DISTANCES.items():
        own = noise[noise["distance"] == distance].groupby("noise")["tv_optimum"]
        mean, low, high = own.mean(), own.quantile(0.1), own.quantile(0.9)
        left.fill_between(mean.index, low, high, color=style["color"], alpha=0.15, linewidth=0)
        left.plot(mean.index, mean, label=label, linewidth=2.0, markersize=7, **style)
        path = restricted[restricted["loss"] == distance]
        right.plot(path["lam"], path["expected_reward"], label=label, linewidth=2.0, markersize=5, **style)
    rlhf = restricted[restricted["loss"] == "rlhf"]
    right.plot(rlhf["lam"], rlhf["expected_reward"], label=LOOKS["rlhf"].label, **LOOKS["rlhf"].line())
    left.set(
        xlabel="standard deviation of the noise in each datum's rewards",
        ylabel=r"TV($\pi$, $\pi_{\mathrm{ref}}\,e^{r/\lambda}$)",
        title=r"all policies, $\lambda = 1$: mean and 80% of the seeds",
    )
    right.set(xscale="log", xlabel=LAMBDA, ylabel=r"expected reward $E_\pi\, r$", title="policies with one feature")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    figure.suptitle("Reward-aware preference optimisation: three distances", fontsize="x-large")
    return figure
