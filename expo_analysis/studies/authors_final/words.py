"""Where the authors' script stopped, beside what it minimises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ...figures.style import looks_in


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    table = tables["authors_final"]
    names = [
        f"λ = {lam:g}" if experiment == "interpolation" else f"log λ = {np.log(lam):.0f}"
        for experiment, lam in zip(table["experiment"], table["published_lam"], strict=True)
    ]
    runs = list(dict.fromkeys(names))
    worst: Any = table.assign(run=names).groupby(["loss", "run"])["distance"].max()
    return {
        "runs": runs,
        "worst": {look.label: [worst[loss, run] for run in runs] for loss, look in looks_in(table).items()},
        "expo": table[table["loss"] == "expo"].groupby("experiment")["distance"].max(),
        "norm": np.exp(5) / 2**0.5,
    }
