"""Where the mass goes while DPO, IPO and EXPO are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

LABELS = {"dpo": "DPO", "ipo": "IPO", "expo": "EXPO"}


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    steps, ends, optima = tables.values()
    end: Any = ends.set_index(["world", "loss", "kind"])["end"]
    last_rows: Any = steps.groupby(["world", "loss"]).last()
    many = optima[optima.groupby("similarity")["lam"].transform("nunique") > 1]
    similarity, largest = many["similarity"].iloc[0], many["lam"].max()
    lam = steps[steps["world"] == "features"]["lam"].iloc[0]
    alike = optima["similarity"].max()
    on_the_way = steps[steps["world"].isin(["population", "one_sided"]) & (steps["loss"] == "expo")]["unseen"]

    def last(world: str, loss: str, column: str) -> float:
        return float(last_rows.loc[(world, loss), column])

    def optimum(loss: str, column: str, similarity: float, lam: float) -> float:
        at = np.isclose(optima["similarity"], similarity) & np.isclose(optima["lam"], lam)
        return float(optima[at & (optima["loss"] == loss)][column].iloc[0])

    def each(column: str, spec: str, similarity: float, lam: float) -> str:
        return ", ".join(f"{word} {optimum(loss, column, similarity, lam):{spec}}" for loss, word in LABELS.items())

    def shares(world: str) -> str:
        return ", ".join(f"{word} {last(world, loss, 'share_displaced'):.0%}" for loss, word in LABELS.items())

    return {
        "last": last,
        "miss": max(abs(last(*key) - x) for key, x in end.items() if np.isfinite(x)),
        "reference": ends[ends["kind"] == "unseen"]["reference"].iloc[0],
        "on_the_way": on_the_way,
        "shares": shares,
        "alike": alike,
        "lam": lam,
        "displaced": each("share_displaced", ".0%", alike, lam),
        "similarity": similarity,
        "lost": each("mass_lost", ".2g", similarity, lam),
        "largest": largest,
        "lost_large": each("mass_lost", ".2g", similarity, largest),
    }
