"""The report card: every desideratum judged for one loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..losses import Objective
from .verdict import Verdict


@dataclass(frozen=True)
class ReportCard:
    """What `audit` found out about a loss.

    name: what the loss is called in the report.
    objective: the loss; its lambda is not used, as all lambdas are tried.
    verdicts: by desideratum, in the order of `DESIDERATA`.
    remarks: what is wrong with the loss itself (it raises, reduces, is not differentiable, claims what is not true ...);
        empty where nothing is.
    path: exact optima for the simplex picture, on the paper's bandit pi* = (.6, .3, .1), pi_ref = (.4, .4, .2): columns
        lam, y1, y2, y3, one row per lambda, ascending; empty where there are none.
    seconds: how long the audit took.
    """

    name: str
    objective: Objective | None
    verdicts: Mapping[str, Verdict]
    remarks: tuple[str, ...]
    path: pd.DataFrame
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, by desideratum."""
        return {key: verdict.to_dict() for key, verdict in self.verdicts.items()}
