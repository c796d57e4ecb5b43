"""Weighted-reward fusion."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .numbers import BETA, LAM, MASSES, PREFERENCE, START


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    training, held, status = tables.values()
    solved: Any = status.set_index("alpha")["status"]
    steps = sorted(training["step"].unique())
    middle = min(steps, key=lambda step: abs(step - 300))
    source: Any = training.pivot(index="step", columns="alpha", values="source")
    own: Any = held.pivot(index="reference_mass", columns="alpha", values="source")
    return {
        "beta": BETA,
        "lam": LAM,
        "win": PREFERENCE,
        "rare_win": 1 - PREFERENCE,
        "start": START,
        "mass": MASSES[6],
        "status": solved[0.0].replace("_", " "),
        "without": [alpha for alpha, said in solved.items() if said == "no_minimiser"],
        "middle": middle,
        "steps": steps[-1],
        "then": source.loc[middle],
        "end": source.iloc[-1],
        "least_end": source.iloc[-1][[0.03, 0.1, 0.3]].min(),
        "half": source.index[source[0.1] > 0.5].min(),
        "least": own.index.min(),
        "held": own.iloc[0],
    }
