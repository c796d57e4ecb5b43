"""What was found in a data set: rows that cannot be used, by file, row, line and field, and what is worth knowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...losses.base import check_option

ON_BAD_ROWS = ("error", "drop")

SHOWN = 5
"""How many kinds of problems a message lists, and how many rows of each."""


AS_GIVEN = "of the data set as it was given"
"""Which rows are meant where no file numbers them: those of a `datasets.Dataset` after all that was done to it."""


class BadField(Exception):
    """What is wrong with one field of a row.

    Args:
        what: the same words for every row that has this problem, so that rows can be counted.
        example: what it is in this row.
    """

    def __init__(self, field: str, what: str, example: str = "") -> None:
        super().__init__(f"{field}: {what}{example}")
        self.field, self.what, self.example = field, what, example


@dataclass(frozen=True)
class Place:
    """Where a row comes from: its number, from 0 on, and where they are known its file and the line in it."""

    row: int
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.within_file}" if self.file else self.within_file

    @property
    def in_words(self) -> str:
        """For the end of a sentence: of rows that no file numbers it is said whose numbers theirs are."""
        return str(self) if self.file else f"{self.within_file} {AS_GIVEN}"

    @property
    def within_file(self) -> str:
        return f"row {self.row}" if self.line is None else f"row {self.row} (line {self.line})"

    def beside(self, name: str) -> str:
        """In words, in a sentence that begins with ``name``: a file of that name is not named again."""
        return self.within_file if self.file == name else self.in_words


@dataclass(frozen=True)
class Problem:
    """What is wrong with a field of a row."""

    row: int
    field: str
    what: str
    example: str = ""
    file: str = ""
    line: int | None = None

    @property
    def place(self) -> Place:
        return Place(self.row, self.file, self.line)

    def __str__(self) -> str:
        return f"{self.place}, {self.field}: {self.what}{self.example}"

    @classmethod
    def of(cls, place: Place, bad: BadField) -> Problem:
        return cls(place.row, bad.field, bad.what, bad.example, place.file, place.line)


@dataclass
class DataReport:
    """What was found in a data set.

    rows        how many rows it has; of a stream, how many have passed
    dropped     the rows that were left out, with the reason; empty under ``on_bad_rows="error"``
    remarks     how many rows have something worth knowing, such as a response that was cut at max_length
    first       where the first row of each remark is
    """

    name: str
    rows: int = 0
    dropped: list[Problem] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    first: dict[str, Place] = field(default_factory=dict)

    def remark(self, place: Place, text: str) -> None:
        """Count a row of which ``text``, the predicate of a sentence whose subject are rows, is true."""
        self.remarks[text] += 1
        self.first.setdefault(text, place)

    def lines(self) -> list[str]:
        """In words, one line for each remark, and one for the rows that were left out."""
        found = [
            f"{self.name}: {count} of {self.rows} rows {text} (first: {self.first[text].beside(self.name)})"
            for text, count in self.remarks.items()
        ]
        if self.dropped:
            found.append(f"{self.name}: {listed(self.dropped, self.rows, self.name)}; these rows are left out")
        return found


class BadRows(ValueError):
    """Rows that cannot be used. ``problems`` has them all, the message the first few of each kind."""

    def __init__(self, name: str, problems: Sequence[Problem], rows: int, use: str = "trained on") -> None:
        self.problems = list(problems)
        super().__init__(
            f"{name} has rows that cannot be {use}: {listed(problems, rows, name)}. "
            "Correct them, or set on_bad_rows='drop' to leave them out"
        )


def listed(problems: Sequence[Problem], rows: int, name: str = "") -> str:
    """Problems in words: equal ones of several rows together, with the share of the rows that have one.

    Args:
        name: what the sentence begins with; a file of that name is not named again.
    """
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.file, problem.field, problem.what), []).append(problem)
    parts = [_group(group, rows, name) for group in list(groups.values())[:SHOWN]]
    more = "; ..." if len(groups) > SHOWN else ""
    whose = "" if any(problem.file for problem in problems) else f" {AS_GIVEN}"
    return "; ".join(parts) + more + f" ({len(problems)} of {rows} rows{whose})"


def _group(group: Sequence[Problem], rows: int, name: str) -> str:
    first = group[0]
    if len(group) == 1:
        place = first.place.within_file if first.file == name else first.place
        return f"{place}, {first.field}: {first.what}{first.example}"
    file = f"{first.file}: " if first.file and first.file != name else ""
    numbers = [str(problem.row) for problem in group[:SHOWN]]
    if len(group) == rows:
        which = f"all {rows} rows"
    elif len(group) > SHOWN:
        which = f"rows {', '.join(numbers)} and {len(group) - SHOWN} more"
    else:
        which = f"rows {', '.join(numbers[:-1])} and {numbers[-1]}"
    line = "" if first.line is None else f" (the first in line {first.line})"
    example = first.example and f"{first.example} in row {first.row}"
    return f"{file}{which}{line}, {first.field}: {first.what}{example}"


def settle(report: DataReport, problems: Iterable[Problem], on_bad_rows: str, use: str = "trained on") -> None:
    """Refuse problems, of which a row has one at most, or take them into the report as rows that are left out.

    Raises:
        BadRows: if there are problems and ``on_bad_rows`` is ``"error"``, or if no row is left.
    """
    check_option("on_bad_rows", on_bad_rows, ON_BAD_ROWS)
    problems = list(problems)
    if problems and (on_bad_rows == "error" or len(report.dropped) + len(problems) == report.rows):
        raise BadRows(report.name, problems, report.rows, use)
    report.dropped += problems
