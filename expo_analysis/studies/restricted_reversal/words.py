"""Losses of pairs over policies of one parameter, which may lower the reward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ...figures.style import loss_label
from .numbers import DECADES, LAM, WEIGHT, N

SAME = 1e-5
"""Weights that are no farther apart are taken to be the same."""


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    _, thresholds, classes = tables.values()
    shared = {
        "lam": LAM,
        "lams": sorted(thresholds["lam"].unique()),
        "weight": WEIGHT,
        "decades": DECADES,
        "responses": N,
    }
    return {**shared, **_turning(thresholds), **_classes(classes)}


def _turning(thresholds: pd.DataFrame) -> dict[str, Any]:
    """Of the example: rewards, and where each loss turns."""
    at: Any = thresholds.set_index(["loss", "lam"]).sort_index()
    common = at.loc[("dpo", LAM), "low"]
    losses = dict.fromkeys(thresholds["loss"])
    never = [loss for loss in at.index.unique("loss") if loss != "rlhf" and at.loc[loss, "low"].isna().all()]
    below = at[at["low"] == 0]
    return {
        "rewards": lambda loss: at.loc[loss, "reward"],
        "losses": len(losses),
        "common": common,
        "alike": [loss_label(loss) for loss in alike(thresholds)],
        "turn": lambda loss, lam: at.loc[(loss, lam), "low"],
        "low": lambda loss: at.loc[loss, "low"],
        "still": [
            {"loss": loss_label(loss), "low": t.min(), "high": t.max(), "most": t.abs().max()}
            for loss, t in ((loss, at.loc[loss, "t"]) for loss in never)
        ],
        "below": [{"loss": loss_label(loss), "lam": lam, "high": high} for (loss, lam), high in below["high"].items()],
    }


def alike(thresholds: pd.DataFrame) -> list[str]:
    """The losses that turn where DPO does, at every lambda."""
    common = thresholds.loc[(thresholds["loss"] == "dpo") & (thresholds["lam"] == LAM), "low"].iloc[0]
    there = ((thresholds["low"] - common).abs() <= SAME).groupby(thresholds["loss"], sort=False).all()
    return [str(loss) for loss in there.index[there]]


def _classes(classes: pd.DataFrame) -> dict[str, Any]:
    """Of the random classes."""
    at: Any = classes.set_index(["pairs", "loss", "lam"]).sort_index()
    largest = int(classes["classes"].max())
    own = classes[classes["lam"] == LAM]
    compared = own[own["classes"] == largest]
    most: Any = compared.loc[compared.groupby("pairs")["less_reward"].idxmax()]
    moved: Any = classes[classes["loss"].isin(["dpo", "ipo", "expo"])].groupby(["pairs", "loss"])["reverses"]
    lost: Any = own[own["no_minimiser"] > 0].groupby("loss")["no_minimiser"].mean()

    def share(loss: str, column: str, pairs: str = "uniform", lam: float = LAM) -> float:
        return float(at.loc[(pairs, loss, lam), column])

    return {
        "share": share,
        "largest": largest,
        "worst": [
            {"loss": loss_label(loss), "pairs": pairs, "share": x}
            for pairs, loss, x in most[["pairs", "loss", "less_reward"]].to_numpy()
        ],
        "spread": float(moved.agg(np.ptp).max()),
        "limits": {loss_label(loss): x for loss, x in lost.items()},
    }
