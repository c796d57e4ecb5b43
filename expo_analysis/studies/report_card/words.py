"""The report card: what was found how often, and how much it weighs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...desiderata.report.layout import CONSTRUCTED, OFTEN, SELDOM, weight
from ...desiderata.report.wording import SIGNS
from ...desiderata.verdict import EVIDENCE, FAILS, HOLDS, PROVEN
from .numbers import COLUMNS


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    table = tables["report_card"].reindex(columns=COLUMNS)  # older tables have fewer columns
    measured = zip(table["severity_share"], table["severity_typical"], strict=True)
    weights = pd.Series([weight(*one) for one in measured], index=table.index)[table["verdict"] == FAILS]
    calls = [call for call in dict.fromkeys(table["call"].dropna()) if call]
    return {
        "losses": table["loss"].nunique(),
        "questions": table["desideratum"].nunique(),
        "call": calls[0] if len(calls) == 1 else "ea.audit",
        "verdicts": [_counted(table[table["verdict"] == one], one, sign) for one, sign in SIGNS.items()],
        "weighed": table["severity_share"].notna().any(),
        "often": (weights == OFTEN).sum(),
        "seldom": (weights == SELDOM).sum(),
        "constructed": (weights == CONSTRUCTED).sum(),
    }


def _counted(rows: pd.DataFrame, decision: str, sign: str) -> dict[str, Any]:
    """How often a verdict was given, and on what it rests, where it rests on something."""
    bases = rows["basis"].value_counts()
    proven, searched = bases.get(PROVEN, 0), bases.get(EVIDENCE, 0)
    rests = decision in (HOLDS, FAILS) and proven + searched > 0
    return {"count": len(rows), "sign": sign, "name": decision, "rests": rests, "proven": proven, "searched": searched}
