"""Rates towards both ends of the path."""

from __future__ import annotations

from typing import Any

import pandas as pd


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    table, slopes = tables.values()
    slope = slopes.set_index(["target", "loss"])["slope"]
    start = table[table["lam"] == table["lam"].min()].set_index("loss")["from_optimal"]
    return {
        "slope": slope["optimal"],
        "reference": (slope["reference"].min(), slope["reference"].max()),
        "away": start[["dpo", "ipo", "fdpo"]].min(),
    }
