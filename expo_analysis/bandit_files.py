"""Reading a `Bandit` from a JSON or CSV file.

JSON holds one object, of exact preferences or of win counts:

* ``{"reference": [...], "optimal": [...], "pairs": "uniform" | "reference" | [[...]], "prompt_weights": [...]}``
* ``{"reference": [...], "counts": [[...]], "prompt_weights": [...]}``

with the shapes of `Bandit`; ``pairs`` and ``prompt_weights`` may be left out. CSV holds one of three tables, told
apart by their headers (columns in any order; ``prompt`` may be left out where there is only one):

* policies: ``prompt, response, reference, optimal``, one row for each prompt and response;
* a reference: the same without ``optimal``;
* win counts: ``prompt, winner, loser, count``; without ``count`` each row is one comparison, and rows may repeat.

Other columns, such as a date, are not read, which a warning says; rows may then repeat that differ in them. Refused are
columns that may be meant to be read: a misspelt name, or whole numbers in a table of wins that has no ``count``.

Labels of responses and prompts are indices where they are exactly the integers 0 ... n-1, in any order of rows.
Otherwise they are names, and the order is that in which the file with the policies (for counts: the reference) lists
them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._checks import check_policy
from ._tables import (
    check_columns,
    check_numbers,
    labels_of,
    listed,
    named,
    numbers_of,
    places_of,
    read_csv,
    read_json_object,
    refuse,
    warn_of,
)
from ._types import Floats
from .bandit import Bandit

__all__ = ["NamedBandit", "read_bandit", "read_named_bandit"]

Reference = str | os.PathLike[str] | Sequence[float]

POLICIES, WINS = ("response", "reference", "optimal"), ("winner", "loser")
"""The columns by which a table is known for what it is."""


@dataclass(frozen=True, eq=False)
class NamedBandit:
    """A bandit, and the names of its responses and prompts; None where a file gives indices or nothing."""

    bandit: Bandit
    responses: tuple[str, ...] | None = None
    prompts: tuple[str, ...] | None = None


def read_bandit(path: str | os.PathLike[str], reference: Reference | None = None) -> Bandit:
    """The bandit in a ``.json`` or ``.csv`` file; the module's docstring gives the formats.

    Args:
        reference: pi_ref for a CSV file of win counts, which holds none: probabilities, shape (n,), for responses
            0 ... n-1; the path of a CSV file with a reference or with policies (an ``optimal`` there is not used); or
            ``"uniform"``, over the responses in the file (names in alphabetical order, players 1 ... n in that of their
            numbers). All other files have their own.

    Raises:
        OSError: a file cannot be read.
        ValueError: naming the file, and the key, or column and row (the header is row 1), that is wrong.
    """
    return read_named_bandit(path, reference).bandit


def read_named_bandit(path: str | os.PathLike[str], reference: Reference | None = None) -> NamedBandit:
    """`read_bandit`, with the names that the file gives to responses and prompts."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise ValueError(f"{path}: the name of a bandit's file must end in .json or .csv")
    if suffix == ".csv":
        table = read_csv(path)
        if set(WINS) & set(table.columns):
            return _from_wins(path, table, reference)
        if not set(POLICIES) & set(table.columns):
            raise ValueError(
                f"{path}: must have the columns {listed(WINS)} (win counts) or {listed(POLICIES)} (policies); the "
                f"header has {listed(table.columns)}"
            )
        found = _from_policies(path, table)
    else:
        found = _from_json(path)
    if reference is not None:
        raise ValueError(f"{path}: reference is not used, as this file has its own; it is for CSV files of win counts")
    return found


# ---------------------------------------------------------------------------------------------------------------- JSON


def _from_json(path: Path) -> NamedBandit:
    data = read_json_object(path, "a bandit")
    counted = "counts" in data
    required = {"reference", "counts"} if counted else {"reference", "optimal"}
    optional = {"prompt_weights"} if counted else {"pairs", "prompt_weights"}
    for key in data:
        if key not in required | optional:
            beside = " beside counts" if counted else ""
            raise ValueError(f"{path}: unknown key {key!r}{beside}; accepted: {sorted(required | optional)}")
    for key in sorted(required - set(data)):
        also = " (or counts)" if key == "optimal" else ""
        raise ValueError(f"{path}: the key {key!r}{also} is missing")
    for key, value in data.items():
        if not (key == "pairs" and isinstance(value, str)):
            check_numbers(path, key, value)
    return NamedBandit(_build(path, **data))


# ----------------------------------------------------------------------------------------------------------------- CSV


@dataclass(frozen=True)
class _Policies:
    """Policies by the name of their column, in the order of the labels; ``prompts`` is None without that column."""

    source: str
    responses: list[str]
    prompts: list[str] | None
    values: dict[str, Floats]


def _from_policies(path: Path, table: pd.DataFrame) -> NamedBandit:
    policies = _policies(path, table, required=("reference", "optimal"))
    return NamedBandit(_build(path, **policies.values), named(policies.responses), named(policies.prompts))


def _from_wins(path: Path, table: pd.DataFrame, reference: Reference | None) -> NamedBandit:
    unread = check_columns(path, table, required=WINS, optional=("count", "prompt"))
    if reference is None:
        raise ValueError(
            f"{path}: win counts need a reference: probabilities, a CSV file with the columns response and reference, "
            "or 'uniform'"
        )
    refuse(path, table, table["winner"] == table["loser"], "winner and loser must differ")
    columns = [column for column in ("prompt", *WINS) if column in table]
    counts = np.ones(len(table))
    if "count" in table:
        counts = numbers_of(path, table, "count")
        refuse(path, table, ~_whole(counts), "count must be a non-negative integer", "count")
        repeated = table.duplicated([*columns, *unread])
        refuse(path, table, repeated, f"a row with this {', '.join(columns)} came before")
    else:
        for column in unread:
            if _whole(pd.to_numeric(table[column], errors="coerce")).all():
                raise ValueError(
                    f"{path}: unknown column {column!r}, which holds whole numbers: name it 'count' if they say how "
                    "often each row happened, otherwise leave it out"
                )
    warn_of(path, unread, *WINS, "count", "prompt")
    known = _reference(path, table, reference)
    prompts = known.prompts
    if prompts is None and "prompt" in table:
        prompts = labels_of(table["prompt"])
    elif prompts is not None and "prompt" not in table:
        raise ValueError(f"{path}: the column 'prompt' is missing, though {known.source} has it")
    where = []
    for column in columns:
        labels = prompts if column == "prompt" and prompts is not None else known.responses
        where.append(places_of(table[column], labels))
        allowed = f"{column} must be one of {listed(labels)}, as in {known.source}"
        refuse(path, table, where[-1] < 0, allowed, column)
    shape = (len(known.responses),) if prompts is None else (len(prompts), len(known.responses))
    matrix = np.zeros((*shape, shape[-1]))
    np.add.at(matrix, tuple(where), counts)
    bandit = _build(path, reference=np.broadcast_to(known.values["reference"], shape), counts=matrix)
    return NamedBandit(bandit, named(known.responses), named(prompts))


def _reference(path: Path, table: pd.DataFrame, reference: Reference) -> _Policies:
    """The reference for a file of win counts, checked here, so that its faults are not blamed on that file."""
    if isinstance(reference, str) and reference == "uniform":
        seen = labels_of(sorted({*table["winner"], *table["loser"]}))
        if all(label.isdecimal() for label in seen) and named(seen):
            seen = sorted(seen, key=int)
            if seen != [str(i + 1) for i in range(len(seen))]:
                raise ValueError(
                    f"{path}: a uniform reference needs responses 0 ... n-1 or 1 ... n, each in some comparison, or "
                    f"names; got {listed(seen)}"
                )
        return _Policies("the comparisons", seen, None, {"reference": np.full(len(seen), 1 / len(seen))})
    if isinstance(reference, (str, os.PathLike)):
        file = Path(reference)
        known = _policies(file, read_csv(file), required=("reference",), optional=("optimal",))
        try:
            check_policy("reference", known.values["reference"], least=2)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        return known
    values = check_policy("reference", reference, least=2)
    if values.ndim != 1:
        raise ValueError(f"reference must have shape (n,) beside a file of win counts, got {values.shape}")
    labels = [str(i) for i in range(len(values))]
    source = f"a reference of {len(values)} probabilities, which are numbered from 0"
    return _Policies(source, labels, None, {"reference": values})


def _whole(numbers: Any) -> Any:
    """Where numbers are non-negative integers."""
    return (numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < np.inf)


def _policies(path: Path, table: pd.DataFrame, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> _Policies:
    unread = check_columns(path, table, required=("response", *required), optional=("prompt", *optional))
    warn_of(path, unread, "response", *required, "prompt", *optional)
    columns = [column for column in ("prompt", "response") if column in table]
    refuse(path, table, table.duplicated(columns), f"a row with this {', '.join(columns)} came before")
    responses = labels_of(table["response"])
    prompts = labels_of(table["prompt"]) if "prompt" in table else None
    for prompt in prompts or []:
        missing = set(responses) - set(table["response"][table["prompt"] == prompt])
        if missing:
            raise ValueError(f"{path}: prompt {prompt!r} has no row for response {listed(sorted(missing))}")
    where = [places_of(table[column], (prompts or []) if column == "prompt" else responses) for column in columns]
    values = {}
    for column in required:
        values[column] = np.empty([len(labels) for labels in (prompts, responses) if labels is not None])
        values[column][tuple(where)] = numbers_of(path, table, column)
    return _Policies(str(path), responses, prompts, values)


# ---------------------------------------------------------------------------------------------------------------- both


def _build(path: Path, reference: Any, optimal: Any = None, counts: Any = None, **rest: Any) -> Bandit:
    """The bandit, with the file's name in front of whatever is wrong with its contents."""
    try:
        if counts is None:
            return Bandit(reference, optimal, **rest)
        return Bandit.from_counts(reference, counts, **rest)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
