"""The paper's Section 5, trained anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ... import paper


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    ends = tables["section5"]
    keys = ["source", "experiment", "loss", "published_lam", "prompt"]
    kl: Any = ends.set_index(keys)["kl_optimal_policy"]
    lams = ends["published_lam"].unique()

    def at(source: str, loss: str, log_lam: float, prompt: str = "good") -> float:
        lam = lams[np.abs(np.log(lams) - log_lam).argmin()]
        return float(kl[source, "preservation", loss, lam, prompt])

    left = ends.query("source == 'ought' and experiment == 'interpolation' and loss == 'dpo' and published_lam < 1")
    return {"miss": worst_miss(ends), "at": at, "left": left["y0"].iloc[0]}


def worst_miss(ends: pd.DataFrame) -> dict[str, float]:
    """By loss, the largest difference between a probability here and the one that the authors' script recorded."""
    authors = ends[ends["source"] == "authors"]
    worst: dict[str, float] = {}
    for name in ("interpolation", "preservation"):
        for end in getattr(paper, name)().ends:
            own = authors[(authors["experiment"] == name) & (authors["loss"] == end.loss)]
            own = own[np.isclose(own["published_lam"], end.published_lam)]
            gap = np.abs(own[["y0", "y1", "y2"]].to_numpy() - np.atleast_2d(end.policy)).max()
            worst[end.loss] = max(worst.get(end.loss, 0.0), float(gap))
    return worst
