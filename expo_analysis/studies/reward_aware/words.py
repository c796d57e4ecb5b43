"""RPO's three distances between lam hbar and a reward's differences."""

from __future__ import annotations

from typing import Any

import pandas as pd

DISTANCES = ["squared", "backward_kl", "forward_kl"]


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    noise, restricted, shared = tables.values()
    means: Any = noise.groupby(["noise", "distance"])["tv_optimum"].mean().unstack()
    wide = noise.pivot(index=["noise", "seed"], columns="distance", values="tv_optimum")
    reward: Any = restricted.pivot(index="lam", columns="loss", values="expected_reward")
    own: Any = reward[DISTANCES]
    return {
        "apart": max(shared["tv_optimum"].max(), 1e-9),
        "forward": max((wide["forward_kl"] - wide["squared"]).abs().max(), 1e-9),
        "largest": means.index.max(),
        "mean": means.iloc[-1],
        "low": reward.index.min(),
        "at_low": reward.iloc[0],
        "best": reward.max(),
        "spread": (own.max(axis=1) - own.min(axis=1)).max(),
    }
