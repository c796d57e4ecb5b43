"""Preference data that were read, checked and split into tokens once: what a trainer takes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from ...losses.base import check_option, check_whole
from .columns import parse_columns
from .feedback import PAIRS, Feedback
from .given import MARK, Given, files_of
from .passing import make_rows
from .readers import read_split
from .report import ON_BAD_ROWS, DataReport, Place, Problem
from .rows import ROW_NUMBER, RowMaker
from .table import ORIGIN, place_of
from .tokens import Encoder, tokenizer_digest

SAMPLES = ("no", "needed")


@dataclass(frozen=True)
class PreferenceData:
    """Responses, and which of them are better, that can be trained on.

    name            what the data set is called in messages, such as ``"eval_dataset['a']"``
    rows            `Dataset`, or `IterableDataset` for streams, with the columns
                    ``prompt_ids``, ``chosen_ids``, ``rejected_ids``: token ids, uncut; beside or instead of the latter
                    ``third_ids``, ``completion_ids``, or lists, ``responses_ids``, and ``ranking`` (see `feedback`);
                    ``chosen_mask`` and so on: 1 for tokens that count as the response, 0 for those of others' turns
                    inside of it; absent where all count;
                    ``sample_ids``: lists of token ids, where reference samples were asked for;
                    ``row_number``: the row's number in its file, or in the data set as it was given;
                    and those that were to be kept
    report          what was found: rows that were left out, and remarks
    source          the file or files it came from, or its name
    tokenizer       a digest of the tokenizer
    max_length, max_positions   the limits that the rows were checked for
    feedback        what kind they are

    Example:
        >>> data = PreferenceData.read("pairs.jsonl", tokenizer, max_length=512)  # doctest: +SKIP
        >>> trainer = PreferenceTrainer(model, EXPO(lam=0.1), args, train_dataset=data)  # doctest: +SKIP
    """

    name: str
    rows: Any
    report: DataReport
    source: str
    tokenizer: str
    max_length: int | None
    max_positions: int | None = None
    feedback: Feedback = PAIRS

    @classmethod
    def read(
        cls, name_or_path: str | os.PathLike[str], tokenizer: Any, *, split: str = "train", **options: Any
    ) -> PreferenceData:
        """The data of a file, a folder or a data set of the Hub.

        Args:
            name_or_path: as in `read_splits`.
            split: which of its splits.
            **options: ``config`` and ``streaming`` of `read_splits`, and those of `from_rows`.

        Raises:
            OSError, ValueError: as `read_splits` and `from_rows`.
        """
        reading = {name: options.pop(name) for name in ("config", "streaming") if name in options}
        options.setdefault("name", str(name_or_path))
        return cls.from_rows(read_split(name_or_path, split, **reading), tokenizer, **options)

    @classmethod
    def from_rows(
        cls,
        rows: Any,
        tokenizer: Any,
        *,
        name: str,
        max_length: int | None,
        max_positions: int | None = None,
        on_bad_rows: str = "error",
        reference_samples: str = "no",
        feedback: str | None = None,
        keep_columns: Sequence[str] = (),
        columns: str | Mapping[str, str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        source: str | None = None,
        num_proc: int | None = None,
    ) -> PreferenceData:
        """Rows as they were read, checked and split into tokens.

        Args:
            rows: `Dataset`, `IterableDataset`, mappings, columns, a DataFrame, or `PreferenceData`, which is checked.
            tokenizer: of transformers.
            name: what the data set is called in messages.
            max_length: the most tokens of prompt and response together: longer ones lose their end. None cuts nothing.
            max_positions: how many positions the model has learned; None where it knows no such limit.
            on_bad_rows: ``"error"`` refuses rows that cannot be trained on, ``"drop"`` leaves them out.
            reference_samples: ``"needed"`` makes ``sample_ids`` of the column ``reference_samples`` or
                ``reference_sample_ids``; ``"no"`` leaves these alone.
            feedback: one of `feedback.KINDS`; None takes pairs, single responses or lists, by the columns.
            keep_columns: further columns to keep; those of `Feedback.numbers` must hold finite ones. Of single
                responses label and score are kept where none of them is named.
            columns: which column is what, as in `parse_columns`.
            chat_template_kwargs: for the tokenizer's chat template.
            source: what the data set is called where its rows do not say which file they come from.
            num_proc: how many processes split texts into tokens.

        Raises:
            BadRows: naming rows and fields that cannot be trained on.
            TypeError, ValueError: naming the argument, or the column, that is wrong.
        """
        check_option("on_bad_rows", on_bad_rows, ON_BAD_ROWS)
        check_option("reference_samples", reference_samples, SAMPLES)
        samples = reference_samples == "needed"
        _check_limits(max_length=max_length, max_positions=max_positions)
        digest = tokenizer_digest(tokenizer)
        before: list[Problem] = []
        if isinstance(rows, PreferenceData):
            if rows._serves(digest, max_length, max_positions, samples, keep_columns, feedback):
                return replace(rows, name=name, report=replace(rows.report, name=name))
            before, source, rows = rows.report.dropped, source or rows.source, rows.rows
        given = Given.of(rows, name, source, parse_columns(columns))
        kind = given.feedback(feedback, keep_columns, samples)
        encoder, limits = Encoder(tokenizer, dict(chat_template_kwargs or {})), (max_length, max_positions)
        maker = RowMaker.of(given, kind, encoder, digest, limits, samples, keep_columns)
        report = DataReport(name)
        made = make_rows(given.rows, maker, report, on_bad_rows, num_proc)
        made.info.description = MARK.format(digest)
        report.dropped[:0] = before
        report.rows += len(before)
        return cls(name, made, report, given.source, digest, max_length, max_positions, kind)

    def _serves(
        self,
        digest: str,
        max_length: int | None,
        positions: int | None,
        samples: bool,
        keep: Sequence[str],
        feedback: str | None,
    ) -> bool:
        """Whether the rows are what `from_rows` would make of them with these settings."""
        same = (self.tokenizer, self.max_length, self.max_positions) == (digest, max_length, positions)
        needed = {*keep, *(["sample_ids"] if samples else [])}
        return same and feedback in (None, self.feedback.name) and needed <= set(self.columns_of(self))

    @staticmethod
    def columns_of(rows: Any) -> list[str]:
        """The names of the columns of what `from_rows` takes; none for anything else."""
        rows = rows.rows if isinstance(rows, PreferenceData) else rows
        names: Iterable[str] = getattr(rows, "column_names", None) or ()
        if isinstance(rows, list | tuple):
            names = dict.fromkeys(name for row in rows for name in row)
        elif isinstance(rows, IterableDataset) and not names:
            names = next(iter(rows), {})
        return [name for name in names if name != ORIGIN]

    @staticmethod
    def called(name: str, rows: Any) -> str:
        """What a data set is called in messages about its columns: its name, and the files that it comes from."""
        source = rows.source if isinstance(rows, PreferenceData) else files_of(rows) or name
        return name if source == name else f"{name} ({source})"

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that is trained on, in its order; empty for a stream, whose rows are not known beforehand."""
        if not isinstance(self.rows, Dataset):
            return ""
        digest = hashlib.sha256()
        kind = self.feedback
        columns = [*kind.token_columns, *kind.masks, "sample_ids", *kind.numbers, *kind.vectors, "ranking"]
        columns = [column for column in columns if column in self.rows.column_names]
        digest.update(repr(columns).encode())
        for batch in self.rows.select_columns(columns).with_format("arrow").iter(1000):
            for column in columns:
                array = batch[column].combine_chunks()
                while hasattr(array, "flatten") and hasattr(array, "value_lengths"):
                    digest.update(np.ascontiguousarray(array.value_lengths().to_numpy(zero_copy_only=False)).tobytes())
                    array = array.flatten()
                digest.update(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).tobytes())
        return digest.hexdigest()[:16]

    def where(self, row_number: int) -> str:
        """The place of a row in words, such as ``"pairs.jsonl: row 3 (line 4)"``; of all that have this number."""
        if not isinstance(self.rows, Dataset):
            return self._place(Place(row_number))
        places = [place_of(self.rows[at][ORIGIN]) for at, n in enumerate(self.rows[ROW_NUMBER]) if n == row_number]
        return " or ".join(map(self._place, places)) or self._place(Place(row_number))

    def _place(self, place: Place) -> str:
        """With the file that numbers it, or else the name by which the data set was given."""
        if place.file:
            return str(place)
        return f"{self.source}: {place.in_words if self.source == self.name else place}"

    def __len__(self) -> int:
        return len(self.rows)


def _check_limits(**limits: int | None) -> None:
    for name, value in limits.items():
        if value is not None:
            check_whole(name, value, 1)
