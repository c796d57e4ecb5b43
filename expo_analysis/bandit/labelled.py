"""Labels of single responses, thumbs up or down: read and counted. No loss of pairs can use them yet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._types import Policies
from .formats import ENDINGS, ending, read_rows
from .labels import Labels
from .rows import Rows, in_order, names, positions

__all__ = ["LabelledResponses", "read_labels"]

UP, DOWN = ("true", "1", "up", "thumbs up", "good"), ("false", "0", "down", "thumbs down", "bad")
"""What a label may be, in any case."""


@dataclass(frozen=True, eq=False)
class LabelledResponses:
    """How often each response got which label.

    ups, downs: shape (n,), or (prompts, n) with prompts: sums of the labels' weights. responses, prompt_names: None
    where labels are numbers from 0.
    """

    ups: Policies
    downs: Policies
    responses: Labels | None = None
    prompt_names: Labels | None = None


def is_labelled(rows: Rows) -> bool:
    """Whether a table has a label for each response, as KTO's data have."""
    return "label" in rows and not {"reference", "optimal"} & set(rows.columns)


def read_labels(path: str | os.PathLike[str]) -> LabelledResponses:
    """Labels from a table with ``response`` (or ``completion``), ``label`` and, optionally, ``prompt`` and ``weight``.

    A label is true or false, 1 or 0, up or down, good or bad. The formats of files are those of `read_bandit`.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and column and row.
    """
    file = Path(path)
    if ending(file) is None:
        raise ValueError(f"{file}: the name of a file of labels must end in {', '.join(ENDINGS)}")
    rows = read_rows(file)
    column = "completion" if "completion" in rows else "response"
    unread = rows.check_columns((column, "label"), ("prompt", "weight"))
    rows.check_no_count(unread)
    rows.remark(unread, column, "label", "prompt", "weight")
    rows.check_names(column, "label", "prompt")
    words = np.array([str(cell).lower() for cell in rows["label"]])
    up, down = np.isin(words, UP), np.isin(words, DOWN)
    rows.refuse(~(up | down), "label must be true or false, 1 or 0, up or down, good or bad", "label")
    weight = rows.numbers("weight", least=0.0) if "weight" in rows else np.ones(len(rows))
    responses = in_order(rows[column], text=True)
    where: tuple[Any, ...] = (positions(rows[column], responses),)
    shape: tuple[int, ...] = (len(responses),)
    prompts = None
    if "prompt" in rows:
        prompts = in_order(rows["prompt"], text=True)
        where, shape = (positions(rows["prompt"], prompts), *where), (len(prompts), *shape)
    ups, downs = np.zeros(shape), np.zeros(shape)
    np.add.at(ups, where, weight * up)
    np.add.at(downs, where, weight * down)
    return LabelledResponses(ups, downs, names(responses), names(prompts))
