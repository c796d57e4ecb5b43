"""A data set as it was given: opened, its columns named, and the files that it comes from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, IterableDataset

from .columns import SAMPLE_COLUMNS, check_columns, named, require, shown, well_known
from .feedback import LISTS, ORDERS, Feedback, feedback_of
from .in_memory import as_rows
from .nested import RESPONSES, place_of_rows
from .table import ORIGIN, as_json_text, origin_in, to_dataset

MARK = "tokens for expo_analysis by the tokenizer {}"
MARKED = re.compile(MARK.format("([0-9a-f]{16})"))


@dataclass(frozen=True)
class Given:
    """What `PreferenceData.from_rows` was given, as a data set of `datasets`.

    names           of its columns
    json_columns    those that hold JSON text
    source          as in `PreferenceData`
    called          what the data set is called in messages about its columns
    """

    rows: Any
    names: list[str]
    json_columns: list[str]
    source: str
    called: str

    @classmethod
    def of(cls, rows: Any, name: str, source: str | None, columns: Mapping[str, str]) -> Given:
        """Raises TypeError or ValueError for what is no data set, has no rows, or lacks one of ``columns``."""
        rows, first = _opened(rows, name)
        source = source or files_of(rows, first) or name
        called = name if source == name else f"{name} ({source})"
        rows, json_columns = as_json_text(rows)
        columns = columns or well_known(list(first))
        if columns:
            rows, first = _opened(named(rows, columns, called, list(first)), name)
            rows, json_columns = as_json_text(rows)
        return cls(rows, [column for column in first if column != ORIGIN], json_columns, source, called)

    def feedback(self, asked: str | None, keep: Sequence[str], samples: bool) -> Feedback:
        """The kind that is asked for, or that the columns say.

        Args:
            keep: further columns that must be there.
            samples: whether reference samples must be.

        Raises:
            ValueError: naming the column that is missing.
        """
        kind = feedback_of(self.names, asked)
        check_columns(self.called, self.names, kind.sides, self.inside)
        if kind == LISTS and not set(ORDERS) & set(self.names):
            raise ValueError(
                f"{self.called} must have the column 'ranking' or 'scores'; its columns are {shown(self.names)}"
            )
        require(self.called, self.names, keep)
        if samples and not {*SAMPLE_COLUMNS, "sample_ids"} & set(self.names):
            require(self.called, self.names, SAMPLE_COLUMNS[:1])
        return kind

    def inside(self) -> str:
        """Where in the first row other rows seem to be; see `place_of_rows`. Empty where it has a response itself."""
        if RESPONSES & {*self.names}:
            return ""
        first = dict(next(iter(self.rows)))
        first |= {name: json.loads(first[name]) for name in self.json_columns if first[name] is not None}
        return place_of_rows({name: first[name] for name in self.names})

    def are_of(self, tokenizer: str, feedback: Feedback) -> bool:
        """Whether these are rows of `PreferenceData`, made with the tokenizer of this digest.

        Raises:
            ValueError: if another tokenizer has made them.
        """
        made_by = set(MARKED.findall(self.rows.info.description or ""))
        if made_by - {tokenizer}:
            what = "has tokens of another tokenizer, or of another chat template"
            raise ValueError(f"{self.called} {what}: give its texts instead")
        return bool(made_by) and set(feedback.token_columns) <= set(self.names)


def _opened(rows: Any, name: str) -> tuple[Any, Mapping[str, Any]]:
    """Rows as a data set of `datasets`, and the first of them; of a `Dataset`, with all of its columns."""
    rows = as_rows(rows, name)
    if isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows):
        try:
            rows = to_dataset(rows)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
    if isinstance(rows, IterableDataset):
        first = next(iter(rows), None)
        if first is None:
            raise ValueError(f"{name} must have rows, but it is empty")
        return rows, first
    check_rows(rows, name)
    rows = rows.with_format(None)
    if not len(rows):
        raise ValueError(f"{name} must have rows, but it is empty")
    first = rows.select_columns([ORIGIN])[0] if ORIGIN in rows.column_names else {}
    return rows, dict.fromkeys(rows.column_names) | first


def check_rows(rows: Any, name: str) -> None:
    """Raise for what is no data set, nor a list that may be made one, with what reads it or is meant.

    Raises:
        TypeError: naming the argument.
    """
    listed = isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows)
    if not listed and not isinstance(rows, Dataset | IterableDataset):
        hint = ""
        if isinstance(rows, Mapping):
            hint = f"; give one of its splits, {', '.join(map(repr, rows))}"
        if isinstance(rows, str | os.PathLike):
            hint = f"; PreferenceData.read, or read_split, reads {str(rows)!r}"
        accepted = (
            "a Dataset, an IterableDataset, a DataFrame, a list of mappings, a mapping of lists or PreferenceData"
        )
        raise TypeError(f"{name} must be {accepted}, got {type(rows).__name__}{hint}")


def files_of(rows: Any, first: Mapping[str, Any] | None = None) -> str:
    """The files that rows come from, as far as that is known beforehand; empty where it is not.

    Args:
        first: the first row, where it has been read.
    """
    if isinstance(rows, Dataset):
        found = rows.select_columns([ORIGIN]) if ORIGIN in rows.column_names else []
    else:
        found = [first or {}]
    origins = filter(None, map(origin_in, found))
    return " + ".join(dict.fromkeys(value["file"] for value in origins if value["file"]))
