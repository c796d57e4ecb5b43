"""One lambda for a good and a bad reference."""

from __future__ import annotations

from typing import Any

import pandas as pd


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    table = tables["preservation"]
    exact = table[table["source"] == "exact"]
    good = exact[(exact["prompt"] == "good") & (exact["data"] == "population")]
    implicit = table[table["loss"].isin(["dpo", "ipo", "fdpo"]) & (table["data"] == "pairs") & (table["log_lam"] == -5)]
    gap = implicit.groupby("source")["kl_optimal_policy"].agg(["min", "max"])
    searched = exact[exact["status"] == "best_found"]
    return {
        "kept": good.loc[good["loss"].isin(["expo", "regression_expo"]), "kl_optimal_policy"].max(),
        "stopped": gap.loc["script"],
        "exists": gap.loc["exact"],
        "searched": len(searched),
        "exact": len(exact),
        "log_lam": searched["log_lam"].max(),
    }
