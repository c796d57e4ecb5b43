"""The estimators of EXPO's regulariser: what they are on average, how much they vary, where they lead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..._types import Floats


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    moments, paths, optima, steps = tables.values()
    ends = steps[steps["step"] == steps.groupby("world")["step"].transform("max")]
    noisy = moments[moments["sd_along"] > 0]
    inside = (noisy["drawn_low"] <= noisy["expectation"]) & (noisy["expectation"] <= noisy["drawn_high"])

    def gradient(policy: str, estimator: str, column: str, design: str = "any") -> float:
        where = {"policy": policy, "quantity": "gradient", "estimator": estimator, "design": design}
        return float(_column(moments, column, **where)[0])

    def end(world: str, estimator: str, column: str) -> float:
        return float(_column(ends, column, world=world, estimator=estimator).mean())

    rare_kl, rare_ratio = (_column(paths, column, path="one_sequence") for column in ("kl", "value"))
    kept = _column(optima, "unseen_reference", data="pairs", estimator="token_kl_own")
    change = _column(optima, "unseen", data="pairs", estimator="token_kl_own") - kept
    before, after = (
        _column(optima, column, data="part", estimator="token_kl_own")[0] for column in ("unseen_reference", "unseen")
    )
    return {
        "inside": inside.sum(),
        "intervals": len(noisy),
        "gradient": gradient,
        "target": gradient("trained", "token_kl", "target"),
        "own_apart": _column(optima, "from_exact", data="reference", estimator="own_responses")[0],
        "table_ratio": _column(paths[paths["path"] != "weights"], "gradient").max(),
        "rare_ratio": rare_ratio.max(),
        "rare_kl": rare_kl[rare_ratio > 1].min(),
        "kept": kept.mean(),
        "change": (change.min(), change.max()),
        "before": before,
        "after": after,
        "end": end,
        "last_step": _column(ends, "step", world="transformer").max(),
    }


def _column(frame: pd.DataFrame, column: str, **where: str) -> Floats:
    """The numbers of a column in the rows where other columns have given values."""
    rows = np.ones(len(frame), dtype=bool)
    for name, value in where.items():
        rows &= (frame[name] == value).to_numpy()
    return frame[column].to_numpy(dtype=np.float64)[rows]
