"""The optimum on one prompt, from small to large lambda."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    table = tables["interpolation"]
    exact = table[table["source"] == "exact"]
    first = exact[exact["lam"] == exact["lam"].min()]
    miss = (first["policy"] - first["optimal"]).abs().groupby(first["loss"]).sum()
    return {
        "miss": miss,
        "least": miss[["dpo", "ipo", "fdpo"]].min(),
        "proven": np.ceil(np.log10(exact["error_bound"].max())),
    }
