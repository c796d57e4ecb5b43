"""The questions, what counts as an effect, and how an interval decides: stated before any run of the study.

`LEVELS` and `MATTERS` were chosen on one pilot world, seed 1001, that no run of the study has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..._types import Floats

HIGH, LOW = 0.6, 0.2
"""Gains at which losses are compared, in standard deviations of the reward; the table comes to the low one only."""
LEVELS = {"transformer": (HIGH, LOW), "table": (LOW,)}
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
    """Where a number is from: a method, a model, how many pairs a prompt has, and the gain at which it was taken."""

    method: Method
    model: str = "transformer"
    pairs: int = MANY
    at: float = HIGH


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
    _drift("dpo_table", DPO, model="table", at=LOW),
    _drift("ipo_table", IPO, model="table", at=LOW),
    _drift("regression", REGRESSION),
    _drift("reward_aware", REWARD_AWARE, DPO),
    _drift("own_responses", OWN),
    _drift("reference_samples", SAMPLES),
    Question("labels_expo", "tv", Cell(TOKENS, pairs=FEW), Cell(TOKENS)),
    Question("labels_dpo", "tv", Cell(DPO, pairs=FEW), Cell(DPO)),
    Question("sharing_expo", "tv", Cell(TOKENS, at=LOW), Cell(TOKENS, model="table", at=LOW)),
    Question("mass_table_expo", "mass", Cell(SAMPLES, model="table", at=LOW), kind="still"),
    Question("mass_table_dpo", "mass", Cell(DPO, model="table", at=LOW), kind="still"),
    Question("mass_table_ipo", "mass", Cell(IPO, model="table", at=LOW), kind="still"),
    Question("mass_expo", "mass", Cell(SAMPLES, at=LOW), kind="still"),
    Question("mass_dpo", "mass", Cell(DPO, at=LOW), kind="still"),
    Question("mass_ipo", "mass", Cell(IPO, at=LOW), kind="still"),
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
        ends: a row per model, pairs, loss, estimator, gain and seed, as `numbers.run` has them.
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
