"""Single responses in a table: with labels, thumbs up or down, or with scores."""

from __future__ import annotations

import numpy as np

from .comparisons import Outcomes, weight_of
from .rows import Rows

UP, DOWN = ("true", "1", "1.0", "up", "thumbs up", "good"), ("false", "0", "0.0", "down", "thumbs down", "bad")
"""What a label may be, in any case; of a column of 0 and 1 with a gap pandas makes 0.0 and 1.0."""

RESPONSE, SCORE = ("completion", "response"), ("score", "reward")


def is_labelled(rows: Rows) -> bool:
    """Whether a table has a label or a score for each response, and no policy."""
    single = "label" in rows or (bool({*SCORE} & set(rows.columns)) and bool({*RESPONSE} & set(rows.columns)))
    return single and not {"reference", "optimal"} & set(rows.columns)


def singles_of(rows: Rows) -> Outcomes:
    """From ``response`` (or ``completion``), ``label`` or ``score`` and, optionally, ``prompt``, ``count``, ``weight``.

    A label is true or false, 1 or 0, up or down, good or bad.

    Raises:
        ValueError: naming the table, and column and row.
    """
    column = "completion" if "completion" in rows else "response"
    value = "label" if "label" in rows else next(name for name in SCORE if name in rows)
    unread = rows.check_columns((column, value), ("prompt", "count", "weight"))
    rows.check_no_count([] if "count" in rows else unread)
    rows.remark(unread, column, value, "prompt", "count", "weight")
    rows.check_names(column, "prompt")
    at, responses = np.arange(len(rows)), rows[column]
    score, rewards = np.ones(len(rows)), None
    if value == "label":
        rows.check_names("label")
        words = np.array([str(cell).lower() for cell in rows["label"]])
        up, down = np.isin(words, UP), np.isin(words, DOWN)
        rows.refuse(~(up | down), "label must be true or false, 1 or 0, up or down, good or bad", "label")
        score = np.where(up, 1.0, 0.0)
    else:
        scores = rows.numbers(value)
        rewards = (scores, scores)
    return Outcomes(
        rows,
        at,
        (column, column),
        responses,
        responses,
        score,
        weight_of(rows),
        rows.get("prompt"),
        rewards,
        own="prompt" in rows,
        kind=f"{'label' if value == 'label' else 'score'}s",
    )
