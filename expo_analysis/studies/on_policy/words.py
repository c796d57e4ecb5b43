"""Pairs that the policy draws itself."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...on_policy import nash_policy
from .numbers import CYCLE, ETA, TAU

POLICY = ["y0", "y1", "y2"]


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    points, rounds, xpo = tables.values()
    at: Any = points.set_index(["population", "loss", "pairs", "lam"]).sort_index()["worst_win_rate"]
    lams = sorted(points["lam"].unique())
    own, uniform = (points[points["pairs"] == kind].reset_index(drop=True) for kind in ("own", "uniform"))
    apart: Any = (own[POLICY] - uniform[POLICY]).abs().max(axis=1)
    with_optimum = apart[own["population"] == "bradley_terry"].groupby(own["loss"]).max()
    won = rounds.sort_values("step").groupby("method")["worst_win_rate"]
    late: Any = rounds[rounds["step"] >= rounds["step"].max() // 2].groupby("method")["worst_win_rate"]
    share: Any = xpo.set_index(["n", "pairs", "ratio"])["exists"]
    ratios = sorted(xpo["ratio"].unique())
    tenth, one = (min(ratios, key=lambda r: abs(r - near)) for near in (0.1, 1.0))

    def win(loss: str, pairs: str, lam: float) -> str:
        return f"{at['cycle', loss, pairs, lam]:.3f}"

    return {
        "dpo": with_optimum["dpo"],
        "expo": with_optimum["expo"],
        "several": (own["fixed_points"] > 1).sum(),
        "settings": len(own),
        "unstable": (~points["stable"]).sum(),
        "nash": nash_policy(CYCLE).policy,
        "low": lams[0],
        "middle": lams[len(lams) // 2],
        "win": win,
        "eta": ETA,
        "tau": TAU,
        "last": won.last(),
        "worst_late": late.min()["sppo"],
        "best_late": late.max()["sppo"],
        "problems": xpo["problems"].iloc[0],
        "exists": lambda pairs, ratio: share[5, pairs, ratio],
        "tenth": tenth,
        "one": one,
    }
