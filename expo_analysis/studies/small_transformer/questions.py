"""The questions, what counts as an effect, and how an interval decides.

`MATTERS`, the losses and the lambdas were chosen on one pilot world that no run has. The gain at which losses are
compared was fixed when the first three worlds had been seen, as EXPO did not come so far in all of them as was asked
before: what is found on these is exploratory. The settings `FULL` begin after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..._types import Floats

ANCHOR = 0.3
"""Losses are compared where they have gained as much as EXPO with the token-wise KL has with this lambda."""
SEEN = 3
"""Worlds that had been seen when that was fixed."""
MATTERS = 0.02
"""In total variation, or probability: one response in fifty is another one."""
CONFIDENCE = 0.95
"""Of all intervals together: each of Q questions has one of 1 - (1 - CONFIDENCE)/Q."""

FEW, MANY = 8, 32
"""Pairs to a prompt. Either way training meets `MANY` of them: few come again and again."""
DESIGNS = (("transformer", FEW), ("transformer", MANY), ("table", MANY))
"""What is trained, on how many pairs to a prompt."""

Method = tuple[str, str]
"""A loss, by its name in the catalogue, and how its regulariser is estimated."""

DPO, IPO, REWARD_AWARE, REGRESSION = ("dpo", ""), ("ipo", ""), ("reward_aware_po", ""), ("regression_expo", "")
OWN, SAMPLES, TOKENS = ("expo", "own_responses"), ("expo", "reference_samples"), ("expo", "token_kl_own")
METHODS: tuple[Method, ...] = (DPO, IPO, REWARD_AWARE, REGRESSION, OWN, SAMPLES, TOKENS)
FIRST: tuple[Method, ...] = (DPO, IPO, SAMPLES, TOKENS)
"""Those of the first questions."""


@dataclass(frozen=True)
class Cell:
    """Where a number is from: a method, a model, how many pairs a prompt has, and whose gain it was taken at.

    at: ``"own"`` for EXPO's with this model and so many pairs, ``"table"`` for EXPO's in the table.
    """

    method: Method
    model: str = "transformer"
    pairs: int = MANY
    at: str = "own"


@dataclass(frozen=True)
class Question:
    """left's measure minus right's, or left's alone.

    kind: ``"more"`` asks whether it is above `MATTERS`, ``"still"`` whether it is within -`MATTERS` to `MATTERS`.
    """

    name: str
    measure: str
    left: Cell
    right: Cell | None = None
    kind: str = "more"


def _drift(name: str, left: Method, right: Method = TOKENS, measure: str = "tv", **where: object) -> Question:
    return Question(name, measure, Cell(left, **where), Cell(right, **where))  # type: ignore[arg-type]


QUESTIONS = (
    _drift("dpo", DPO),
    _drift("ipo", IPO),
    _drift("dpo_held", DPO, measure="tv_held"),
    _drift("ipo_held", IPO, measure="tv_held"),
    _drift("dpo_few", DPO, pairs=FEW),
    _drift("ipo_few", IPO, pairs=FEW),
    _drift("dpo_table", DPO, model="table"),
    _drift("ipo_table", IPO, model="table"),
    _drift("regression", REGRESSION),
    _drift("reward_aware", REWARD_AWARE, DPO),
    _drift("own_responses", OWN),
    _drift("reference_samples", SAMPLES),
    Question("labels_expo", "tv", Cell(TOKENS, pairs=FEW), Cell(TOKENS)),
    Question("labels_dpo", "tv", Cell(DPO, pairs=FEW), Cell(DPO)),
    Question("sharing_expo", "tv", Cell(TOKENS, at="table"), Cell(TOKENS, model="table")),
    Question("mass_table_expo", "mass", Cell(SAMPLES, model="table"), kind="still"),
    Question("mass_table_dpo", "mass", Cell(DPO, model="table"), kind="still"),
    Question("mass_table_ipo", "mass", Cell(IPO, model="table"), kind="still"),
    Question("mass_expo", "mass", Cell(SAMPLES), kind="still"),
    Question("mass_dpo", "mass", Cell(DPO), kind="still"),
    Question("mass_ipo", "mass", Cell(IPO), kind="still"),
)


def interval(values: Floats, level: float) -> tuple[float, float]:
    """Student's interval of a mean; nan of fewer than three values."""
    if len(values) < 3:
        return np.nan, np.nan
    half = student.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def decide(low: float, high: float, kind: str) -> str:
    """What an interval says: ``"for"``, ``"against"`` or ``"undecided"``."""
    if kind == "more":
        return "for" if low > MATTERS else "against" if high < MATTERS else "undecided"
    if kind != "still":
        raise ValueError(f"kind must be 'more' or 'still', got {kind!r}")
    if low > -MATTERS and high < MATTERS:
        return "for"
    return "against" if low > MATTERS or high < -MATTERS else "undecided"


def answers(ends: pd.DataFrame) -> pd.DataFrame:
    """One row per question that the seeds can answer: estimate, interval over seeds, and the decision.

    Args:
        ends: a row per model, pairs, loss, estimator, ``at`` and seed, as `numbers.run` has them.
    """
    by_cell = {key: own.set_index("seed") for key, own in ends.groupby(["model", "pairs", "loss", "estimator", "at"])}
    level = 1 - (1 - CONFIDENCE) / len(QUESTIONS)

    def of(cell: Cell, measure: str) -> pd.Series:
        return by_cell[cell.model, cell.pairs, *cell.method, cell.at][measure]

    rows = []
    for asked in QUESTIONS:
        cells = [asked.left] if asked.right is None else [asked.left, asked.right]
        if any((cell.model, cell.pairs, *cell.method, cell.at) not in by_cell for cell in cells):
            continue  # of methods that were not run
        difference = of(asked.left, asked.measure)
        if asked.right is not None:
            difference = difference - of(asked.right, asked.measure)
        values = difference.dropna().to_numpy(dtype=float)
        low, high = interval(values, level)
        rows.append(
            {
                "question": asked.name,
                "measure": asked.measure,
                "kind": asked.kind,
                "estimate": values.mean() if len(values) else np.nan,
                "low": low,
                "high": high,
                "seeds": len(values),
                "decision": decide(low, high, asked.kind),
            }
        )
    return pd.DataFrame(rows)
