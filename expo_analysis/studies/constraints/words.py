"""What constraints make of RLHF, DPO and EXPO."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

NAMES = {"weight_decay": "weight decay", "early_stopping": "early stopping", "few_features": "too few features"}


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    summary, reference, search = tables.values()
    small, large = summary["lam"].min(), summary["lam"].max()

    def rows(constraint: str, loss: str, lam: float = small, pairs: str = "reference") -> pd.DataFrame:
        wanted = {"pairs": pairs, "constraint": constraint, "lam": lam, "loss": loss}
        kept = np.all([summary[column] == value for column, value in wanted.items()], axis=0)
        return summary[kept].sort_values("strength", ignore_index=True)

    def worst(measure: str, constraint: str, loss: str, lam: float = small, pairs: str = "reference") -> float:
        return float(rows(constraint, loss, lam, pairs)[measure].max())

    features, decays, stops, adam = (
        rows(constraint, "dpo")
        for constraint in ("few_features", "weight_decay", "early_stopping", "early_stopping_adam")
    )
    held_back = ("weight_decay", "early_stopping")
    nearest, nearest_stop = (x.iloc[x["kl_optimal_policy"].argmin()] for x in (decays, stops))
    return {
        "small": small,
        "large": large,
        "regrets": {name: [worst("regret", c, "dpo", lam) for lam in (small, large)] for c, name in NAMES.items()},
        "all_features": features.iloc[-1],
        "starts": rows("few_features", "rlhf")["share_of_starts_agreeing"].iloc[0],
        "lost": {(c, loss): worst("reward_lost", c, loss) for c in held_back for loss in ("dpo", "rlhf")},
        "uniform": max(worst("reward_lost", c, "dpo", pairs="uniform") for c in held_back),
        "ahead": {
            "end": stops["share_regret_negative"].iloc[-1],
            "adam": adam["share_regret_negative"].median(),
            "adam_end": adam["share_regret_negative"].iloc[-1],
        },
        "dpo": decays["kl_optimal_policy"].iloc[0],
        "nearest": nearest,
        "nearest_stop": nearest_stop,
        "expo": rows("weight_decay", "expo")["kl_optimal_policy"].iloc[0],
        "distance": reference.set_index("problems")["kl_optimal_policy"],
        "least_features": features["kl_optimal_policy"].min(),
        "worst": worst,
        "shares": summary[summary["loss"] == "expo"].groupby("constraint")["share_between"].min(),
        "searched": search[search["lam"] == small].iloc[0],
    }
