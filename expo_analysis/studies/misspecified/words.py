"""Preferences that are not Bradley-Terry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .numbers import mixed

SEE_WINS_ONLY = ["dpo", "ipo", "fdpo", "expo"]


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    ends, paths, corrections, orders = tables.values()
    return {**_exact(ends, paths), **_corrected(corrections), **_ordered(orders)}


def _exact(ends: pd.DataFrame, paths: pd.DataFrame) -> dict[str, Any]:
    """Of the mixed preferences, on populations."""
    at: Any = ends.set_index(["preferences", "strength", "loss"]).sort_index()
    path: Any = paths.set_index(["preferences", "loss", "lam"]).sort_index()
    low = paths["lam"].min()
    policies: Any = ends.pivot(index=["strength", "loss"], columns="preferences", values="y0")
    apart = (policies["noise"] - policies["cycle"]).abs().groupby("loss").max()
    slack = pd.concat([ends, paths]).query("loss == 'expo'")["slack"]
    noise = path.loc[("noise", "expo"), "tv_optimal"]
    best_lam = float(noise.idxmin())
    cycles: Any = ends[ends["preferences"] == "cycle"].pivot(index="strength", columns="loss", values="worst_win_rate")
    return {
        "lam": ends["lam"].dropna().iloc[0],
        "strength": paths["strength"].iloc[0],
        "low": low,
        "tv_fit": lambda kind, loss: path.loc[(kind, loss, low), "tv_fit"],
        "optima": slack.notna().sum(),
        "slack": slack.min(),
        "least": None if best_lam == low else noise[best_lam],
        "best_lam": best_lam,
        "tv": lambda kind, s, loss: at.loc[(kind, s, loss), "tv_optimal"],
        "last_ahead": _last_ahead(ends),
        "apart": apart[SEE_WINS_ONLY].max(),
        "apart_regression": apart["regression_expo"],
        "worst": lambda kind, s, loss: at.loc[(kind, s, loss), "worst_win_rate"],
        "beaten": cycles.index[mixed("cycle", cycles.index.to_numpy())[:, 2, 0] > 0.5].min(),
        "overtaken": cycles.index[cycles["expo"] > cycles["dpo"]].min(),
        "worst_at": float(cycles["fdpo"].idxmin()),
        "order": at["y0"].loc[("order", 1.0)],
    }


def _corrected(corrections: pd.DataFrame) -> dict[str, Any]:
    """Of losses that are told the rate of flips."""
    population: Any = corrections[np.isinf(corrections["pairs"])].set_index(["loss", "noise", "assumed"])
    samples: Any = corrections[np.isfinite(corrections["pairs"])].set_index(["loss", "pairs"])
    rate = float(corrections.loc[np.isfinite(corrections["pairs"]), "noise"].iloc[0])
    few = samples.index.get_level_values("pairs").min()
    told: Any = population.loc["robust_dpo"].reset_index()
    wrong: Any = told[(told["assumed"] == rate) & (told["noise"] < rate)].set_index("noise")
    return {
        "rate": rate,
        "recovered": told.loc[told["noise"] == told["assumed"], "error"].max(),
        "population": lambda loss, noise, assumed: population.loc[(loss, noise, assumed), "error"],
        "few": few,
        "sample": lambda loss, column: samples.loc[(loss, few), column],
        "failing": list(wrong.index[wrong["no_minimiser"] > 0]),
        "wrong": {"rate": wrong.index[1], "error": wrong["error"].iloc[1]},
    }


def _ordered(orders: pd.DataFrame) -> dict[str, Any]:
    """Of the order of responses."""
    at: Any = orders.set_index(["preferences", "pairs", "fit"])

    def share(preferences: str, pairs: str, fit: str, column: str = "not_borda") -> str:
        return f"{at.loc[(preferences, pairs, fit), column]:.1%}"

    return {"problems": orders["problems"].iloc[0], "share": share}


def _last_ahead(ends: pd.DataFrame) -> float:
    """The largest strength of noise up to which EXPO is nearer to pi* than DPO, IPO and f-DPO."""
    tv: Any = ends[ends["preferences"] == "noise"].pivot(index="strength", columns="loss", values="tv_optimal")
    behind = tv.index[tv["expo"] >= tv[["dpo", "ipo", "fdpo"]].min(axis=1)]
    return float(tv.index[tv.index < behind.min()].max())
