"""What becomes of the rows of a data set: those that can be trained on pass, and the report counts the others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher

from .checks import REPEATED, REPEATED_SHORT, check_repetition
from .contradictions import REVERSED, contradicted
from .feedback import Feedback
from .report import BadField, BadRows, DataReport, Place, Problem, settle
from .rows import KIND, MASKED, NOTES, PROBLEM, REMARKS, RowMaker, note_of
from .table import ORIGIN, place_of


def make_rows(rows: Any, maker: RowMaker, report: DataReport, on_bad_rows: str, num_proc: int | None) -> Any:
    """The rows of a `Dataset`, what is wrong with them settled; of an `IterableDataset`, settled as they pass."""
    if isinstance(rows, IterableDataset):
        return _make_stream(rows, maker, report, on_bad_rows)
    return _make_all(rows, maker, report, on_bad_rows, num_proc)


def _make_all(rows: Dataset, maker: RowMaker, report: DataReport, on_bad_rows: str, num_proc: int | None) -> Dataset:
    made = rows.map(
        maker,
        with_indices=True,
        remove_columns=rows.column_names,
        features=maker.features(),
        num_proc=num_proc,
        desc=f"Tokenizing {report.name}",
        new_fingerprint=Hasher.hash((rows._fingerprint, maker.digest(), _code())),
    )
    report.rows = len(made)
    problems, good = _examine(made, report, maker.feedback)
    settle(report, problems, on_bad_rows)
    if len(good) < len(made):
        made = made.select(good)
    drop = list(NOTES)
    if not any(made[MASKED]):
        drop += maker.feedback.masks
    return made.remove_columns(drop)


@cache
def _code() -> str:
    """A digest of this room and of what it splits texts by: what was made of data on the disk is taken by no other."""
    digest = hashlib.sha256(repr([version(name) for name in ("tokenizers", "transformers")]).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _examine(made: Dataset, report: DataReport, feedback: Feedback) -> tuple[list[Problem], list[int]]:
    """The problems, and the numbers of the rows that have none; their remarks go to the report."""
    notes = [PROBLEM, REMARKS, KIND, ORIGIN] + (["sample_ids"] if "sample_ids" in made.column_names else [])
    problems: list[Problem] = []
    good: list[int] = []
    like = Alike()
    remarks: list[tuple[int, Place, list[str]]] = []
    for at, row in enumerate(made.select_columns(notes)):
        place = place_of(row[ORIGIN])
        bad = _bad(row) or like.differs(row)
        if bad is not None:
            problems.append(Problem.of(place, bad))
        else:
            good.append(at)
            remarks.append((at, place, row[REMARKS]))
    repeated, short = (sum(text in texts for _, _, texts in remarks) for text in (REPEATED, REPEATED_SHORT))
    if len(good) > 1 and (bad := check_repetition(repeated, short, len(good), feedback.sides[0])) is not None:
        return [*problems, *(Problem.of(place, bad) for _, place, _ in remarks)], []
    opposed = set(contradicted(made, good, feedback))
    for at, place, texts in remarks:
        for text in [*texts, *([REVERSED[feedback]] if at in opposed else [])]:
            report.remark(place, text)
    return problems, good


def _bad(row: Mapping[str, Any]) -> BadField | None:
    problem = row[PROBLEM]
    if problem is None or problem["what"] is None:
        return None
    return BadField(problem["field"], problem["what"], problem["example"])


class Alike:
    """What all rows have in common with the first."""

    def __init__(self) -> None:
        self.kind: str | None = None
        self.samples: int | None = None

    def differs(self, row: Mapping[str, Any]) -> BadField | None:
        """What a row has otherwise than those before it."""
        kind, count = row[KIND], len(row.get("sample_ids") or ())
        if kind is not None:
            self.kind = self.kind or kind
            if kind != self.kind:
                return BadField("prompt", f"it is {kind}, while that of the rows before is {self.kind}")
        if "sample_ids" in row:
            self.samples = self.samples or count
            if count != self.samples:
                what = f"the first row has {self.samples} responses, and every row must have as many"
                return BadField("reference_samples", what, f", got {count}")
        return None


class Passing:
    """Rows of a stream as they pass: bad ones are refused, or left out and counted in the report.

    The report counts the latest pass, and only that of this process.
    """

    def __init__(self, maker: RowMaker, report: DataReport, on_bad_rows: str) -> None:
        self.maker, self.report, self.on_bad_rows, self.like = maker, report, on_bad_rows, Alike()

    def __call__(self, row: Mapping[str, Any], number: int) -> dict[str, Any]:
        if number == 0:
            self.report.rows = 0
            for kept in (self.report.dropped, self.report.remarks, self.report.first):
                kept.clear()
        self.report.rows += 1
        made = self.maker(row, number)
        place = place_of(made[ORIGIN])
        bad = _bad(made) or self.like.differs(made)
        if bad is None:
            for text in made[REMARKS]:
                self.report.remark(place, text)
        elif self.on_bad_rows == "error":
            raise BadRows(self.report.name, [Problem.of(place, bad)], self.report.rows)
        else:
            self.report.dropped.append(Problem.of(place, bad))
            made[PROBLEM] = note_of(bad)
        return made


def _make_stream(rows: IterableDataset, maker: RowMaker, report: DataReport, on_bad_rows: str) -> IterableDataset:
    passing = rows.map(Passing(maker, report, on_bad_rows), with_indices=True, features=maker.features())
    return passing.filter(_is_good, input_columns=PROBLEM).remove_columns(list(NOTES))


def _is_good(problem: Any) -> bool:
    return problem is None or problem["what"] is None
