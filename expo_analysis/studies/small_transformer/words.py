"""What the small transformer showed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .figure import look
from .questions import ANCHOR, CONFIDENCE, MATTERS, QUESTIONS, SEEN

WORDS = {"for": "yes", "against": "no", "undecided": "undecided"}


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    _, path, answers, settings = tables.values()
    setting = settings.set_index("setting")["value"]
    by_name = answers.set_index("question")
    own = path[(path["model"] == "transformer") & (path["pairs"] == path["pairs"].max())]
    best = own[own["step"] == own["step"].max()].groupby(["loss", "estimator"], sort=False)["gain"].max()

    def answer(name: str) -> str:
        if name not in by_name.index:
            return "not part of this run: `--full`"
        row = by_name.loc[name]
        if row["seeds"] < 3:
            return "undecided (too few seeds came so far)"
        return f"**{WORDS[str(row['decision'])]}**, {row['estimate']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"

    counts = answers["decision"].value_counts()
    return {
        "setting": setting,
        "seeds": int(setting["seeds"]),
        "runs": int(setting["runs"]),
        "few": int(setting["few"]),
        "many": int(setting["many"]),
        "minutes": int(setting["seconds_of_all_seeds"]) / 60,
        "steps": int(path["step"].max()),
        "least": int(answers["seeds"].min()),
        "most": int(answers["seeds"].max()),
        "questions": len(answers),
        "asked": len(QUESTIONS),
        "confidence": CONFIDENCE,
        "anchor": ANCHOR,
        "seen": SEEN,
        "first": int(setting["first"]),
        "matters": MATTERS,
        "answer": answer,
        "decided": int(counts.get("for", 0) + counts.get("against", 0)),
        "undecided": int(counts.get("undecided", 0)),
        "best": ", ".join(f"{look(method).label} {gain:.2f}" for method, gain in best.items()),
    }
