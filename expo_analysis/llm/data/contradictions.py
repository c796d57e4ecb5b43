"""Rows that say the opposite of each other: votes that differ, or a column that was filled the wrong way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .feedback import LABEL, PAIRS, SINGLES, TRIPLES, Feedback

REVERSED = {
    PAIRS: "have a pair that other rows have the other way round",
    TRIPLES: "have a pair that other rows have the other way round",
    SINGLES: "have a response that is good in some rows and not in others",
}
"""What is remarked of each of them, by the kind of the rows."""


def contradicted(rows: Any, numbers: Sequence[int], feedback: Feedback) -> list[int]:
    """Those of the rows with these numbers that another one contradicts, by their tokens.

    Args:
        rows: a `Dataset` with the columns of `PreferenceData`.

    Example:
        >>> data = PreferenceData.read("votes.jsonl", tokenizer, max_length=None)  # doctest: +SKIP
        >>> contradicted(data.rows, range(len(data)), PAIRS)  # doctest: +SKIP
        [0, 7]
    """
    columns = [*feedback.token_columns[:3], *([LABEL] if feedback == SINGLES else [])]
    if feedback not in REVERSED or not {*columns} <= {*rows.column_names}:
        return []
    said: list[tuple[Any, ...]] = []
    for batch in rows.select(numbers).select_columns(columns).iter(1000):
        tokens = [[hash(tuple(ids)) for ids in batch[name]] for name in columns if name != LABEL]
        said += zip(*tokens, *([batch[LABEL]] if LABEL in columns else []), strict=True)
    there = set(said)
    return [number for number, one in zip(numbers, said, strict=True) if _opposite(one, feedback) in there]


def _opposite(said: tuple[Any, ...], feedback: Feedback) -> tuple[Any, ...]:
    prompt, first, second = said
    return (prompt, first, 1.0 - second) if feedback == SINGLES else (prompt, second, first)
