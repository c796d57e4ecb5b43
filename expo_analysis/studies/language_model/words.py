"""What the sweep over a real language model found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from .figure import methods_in


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    frontier, settings, kept, moved = tables.values()
    setting = settings.set_index("setting")["value"]

    def gained(row: pd.Series) -> str:
        error = 1.96 * row["gain_standard_error"]
        return f"{row['gain']:+.2f} ± {error:.2f} at {row['reverse_kl']:.2g} nats (λ = {row['lam']:g})"

    def drift(row: pd.Series) -> str:
        return f"{row['drift']:.2g} ± {1.96 * row['drift_standard_error']:.1g}"

    def masses(row: pd.Series) -> str:
        return f"chosen {row['chosen']:+.2f}, rejected {row['rejected']:+.2f}, other {row['other']:+.2f}"

    return {
        "setting": setting,
        "hours": int(setting["seconds_of_all_runs"]) / 3600,
        "samples": int(setting["reference_samples"]),
        "runs": len(frontier),
        "steps": frontier["steps"].iloc[0],
        "best": _listed(frontier, gained, lambda own: own.sort_values("gain").iloc[-1]),
        "lams": sorted(kept["lam"].unique()),
        "low": _listed(kept, drift, lambda own: own.iloc[0]),
        "high": _listed(kept, drift, lambda own: own.iloc[-1]),
        "lam": moved["lam"].iloc[0],
        "last": _listed(moved, masses, lambda own: own.sort_values("step").iloc[-1]),
    }


def _listed(frame: pd.DataFrame, say: Callable[[pd.Series], str], pick: Callable[[pd.DataFrame], pd.Series]) -> str:
    """What is said of each method, in the order of the legends."""
    return "; ".join(f"{look.label} {say(pick(own))}" for look, own in methods_in(frame))
