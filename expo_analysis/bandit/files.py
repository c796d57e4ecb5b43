"""Reading a `Bandit` from a file: JSON, JSON Lines, CSV, TSV or Parquet, the texts also compressed (.gz).

A JSON object holds a bandit; its keys are the arguments of `Bandit`, and where preferences come from is one of these:

* ``{"reference": [...], "optimal": [...], "pairs": "uniform" | "reference" | [[...]]}``
* ``{"reference": [...], "counts": [[...]], "ties": [[...]]}``
* ``{"reference": [...], "preference": [[...]], "pairs": ...}``
* ``{"reference": [...], "liked": [...], "disliked": [...]}`` of single responses, or with their ``rewards`` alone
* ``{"reference": [...], "rankings": [[...], ...]}``, optionally with ``sets``, ``weights`` and ``ranking_prompts``
* ``{"reference": [...], "triples": [[...], ...]}``, optionally with ``weights`` and ``triple_prompts``

with the shapes of `Bandit`, and optionally ``prompt_weights``, ``responses`` and ``prompts`` (their names), ``rewards``
and ``lengths``; ``reference`` may be ``"uniform"``. Prompts with different numbers of responses are a `RaggedBandit`.

Everything else is a table (a JSON array of objects and JSON Lines too), told apart by its columns, in any order:

* policies: ``prompt, response, reference, optimal``, one row for each prompt and response, optionally with ``reward``
  and ``length``; ``prompt`` may be left out where there is only one. A prompt may lack responses of another.
* a reference: the same without ``optimal``;
* comparisons: wins, battles with ties, scored pairs, rankings; `comparisons` has their forms;
* a table of counts: the first column is ``winner`` (or has no name), the other columns are the losers. This is what
  `pandas.crosstab(winner, loser).to_csv` writes; who has a row and no column, or the reverse, has 0 there;
* labels of single responses, thumbs up or down: ``prompt, response, label``, or scores: ``prompt, response, score``;
  see `labelled`;
* triples: ``third, winner, loser``, or ``third, chosen, rejected``.

Cells are text: ``NA``, ``007`` and dates stay what they are. Other columns, such as a date, are not read, which a
warning says; rows may then repeat that differ in them. Refused are columns that may be meant to be read: a misspelt
name, or whole numbers under a name such as ``n`` in a table that has no ``count``.

Labels of responses and prompts are indices where they are exactly the integers 0 ... n-1, in any order of rows.
Otherwise they are names, and the order is that in which the file with the policies (for counts: the reference) lists
them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from .._checks import check_policy
from .bandit import Bandit
from .comparisons import comparisons_of, is_comparisons
from .counting import count, known_reference, with_own
from .crosstab import is_crosstab, read_crosstab
from .formats import ENDINGS, ending, kind_of, read_json, read_rows, records
from .groups import Groups, bandits_of, policies_of
from .json_object import from_object
from .labelled import is_labelled, singles_of
from .labels import Labels, listed
from .ragged import RaggedBandit
from .rows import Rows

__all__ = ["NamedBandit", "read_bandit", "read_named_bandit", "read_named_bandits", "read_ragged_bandit"]

Reference = str | os.PathLike[str] | Sequence[float]


@dataclass(frozen=True, eq=False)
class NamedBandit:
    """A bandit, and the names of its responses and prompts; None where a file gives indices or nothing."""

    bandit: Bandit
    responses: Labels | None = None
    prompts: Labels | None = None


def read_bandit(path: str | os.PathLike[str], reference: Reference | None = None, *, ties: str = "half") -> Bandit:
    """The bandit in a file; the module's docstring gives the formats.

    Args:
        reference: pi_ref for a file of comparisons or counts, which holds none: probabilities, shape (n,), for
            responses 0 ... n-1; the path of a table with a reference or with policies (an ``optimal`` there is not
            used); or ``"uniform"``, over the responses in the file (names in alphabetical order, players 1 ... n in
            that of their numbers). All other files have their own.
        ties: what a tie counts, ``"half"`` a win of each or nothing (``"drop"``).

    Raises:
        OSError: a file cannot be read.
        ValueError: naming the file, and the key, or column and row, that is wrong (the header of CSV is row 1; other
            rows are counted from 1). Prompts have different responses: use `read_ragged_bandit`.
    """
    found = _read(Path(path), reference, ties)
    if isinstance(found, RaggedBandit):
        raise ValueError(
            f"{path}: prompts have different responses: use read_ragged_bandit, which gives a RaggedBandit"
        )
    return found


def read_ragged_bandit(
    path: str | os.PathLike[str], reference: Reference | None = None, *, ties: str = "half"
) -> RaggedBandit:
    """As `read_bandit`, where prompts have different responses; where they do not, there is one part.

    Of comparisons with ``prompt`` in any form each prompt has the responses that occur on it, unless a reference lists
    them: battles of models, ``winner, loser, prompt``, optionally with ``weight`` and ``tie``, are among those that
    fought on it.
    """
    found = _read(Path(path), reference, ties, own=True)
    return found if isinstance(found, RaggedBandit) else RaggedBandit([found])


def read_named_bandit(
    path: str | os.PathLike[str], reference: Reference | None = None, *, ties: str = "half"
) -> NamedBandit:
    """`read_bandit`, with the names that the file gives to responses and prompts, which the bandit has too."""
    found = read_bandit(path, reference, ties=ties)
    return NamedBandit(found, found.responses, found.prompt_names)


def read_named_bandits(
    path: str | os.PathLike[str], reference: Reference | None = None, *, ties: str = "half"
) -> list[NamedBandit]:
    """The bandit in a file, or where prompts have different responses the parts of the `RaggedBandit`."""
    found = _read(Path(path), reference, ties)
    parts = found if isinstance(found, RaggedBandit) else [found]
    return [NamedBandit(part, part.responses, part.prompt_names) for part in parts]


def _read(path: Path, reference: Reference | None, ties: str, *, own: bool = False) -> Bandit | RaggedBandit:
    """A bandit in any form; ``own`` as for `from_frame`."""
    rows: Rows | None = None
    found: Bandit | RaggedBandit | None = None
    kind = ending(path)
    if kind is None:
        raise ValueError(
            f"{path}: the name of a bandit's file must end in {', '.join(ENDINGS[:-1])} (or one of these and .gz) or "
            f"{ENDINGS[-1]}"
        )
    if kind == ".json":
        value = read_json(path)
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            rows = records(path, value)
        elif isinstance(value, dict):
            found = from_object(path, value)
        else:
            raise ValueError(
                f"{path}: must hold one JSON object, with the keys of a bandit, or an array of objects, one for each "
                f"row of a table; got {kind_of(value)}"
            )
    else:
        rows = read_rows(path)
    if rows is not None and (is_crosstab(rows) or is_comparisons(rows) or is_labelled(rows)):
        return _from_comparisons(path, rows, reference, ties, own)
    if rows is not None:
        found = _from_policies(path, rows)
    if reference is not None:
        raise ValueError(
            f"{path}: reference is not used, as this file has its own; it is for files of comparisons and counts"
        )
    assert found is not None
    return found


def _from_policies(path: Path, rows: Rows) -> Bandit | RaggedBandit:
    if not {"response", "reference", "optimal"} & set(rows.columns):
        raise ValueError(
            f"{path}: must have the columns 'winner', 'loser' (comparisons, which have other forms too) or 'response', "
            f"'reference', 'optimal' (policies); the header has {listed(rows.columns)}"
        )
    groups = policies_of(rows, ("reference", "optimal"))
    try:
        return bandits_of(groups)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _from_comparisons(
    path: Path, rows: Rows, reference: Reference | None, ties: str, own: bool
) -> Bandit | RaggedBandit:
    """Of comparisons one by one, or of a table of counts."""
    if is_crosstab(rows):
        data = read_crosstab(rows)
    else:
        data = comparisons_of(rows) if is_comparisons(rows) else singles_of(rows)
        data = with_own(data) if own else data
    if reference is None:
        what = "win counts" if data.kind == "pairs" else data.kind
        raise ValueError(
            f"{path}: {what} need a reference: probabilities, a CSV file with the columns response and reference, or "
            "'uniform'"
        )
    if isinstance(reference, (str, os.PathLike)) and reference != "uniform":
        known = _reference_file(Path(reference))
        if known.prompts and data.prompt is None:
            raise ValueError(f"{path}: the column 'prompt' is missing, though {known.source} has it")
        if not known.prompts and data.prompt is not None:
            [group] = known.groups
            shared = known_reference(data, group.values["reference"], list(group.responses))
            known = replace(shared, source=known.source)
    else:
        known = known_reference(data, reference)
    try:
        return count(data, known, ties)
    except ValueError as error:
        prefix = "" if str(error).startswith(f"{path}: ") else f"{path}: "
        raise ValueError(f"{prefix}{error}") from None


def read_reference(path: Path) -> pd.Series:
    """The policy in a table with the columns ``response`` and ``reference``, by names.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and what is wrong.
    """
    known = _reference_file(path)
    if known.prompts:
        raise ValueError(f"{path}: the column 'prompt' is not used with comparisons that have none: leave it out")
    [group] = known.groups
    return pd.Series(group.values["reference"], index=list(group.responses))


def _reference_file(path: Path) -> Groups:
    """A reference, checked here, so that its faults are not blamed on the file of comparisons."""
    if ending(path) is None:
        raise ValueError(f"{path}: the name of a reference's file must end in {', '.join(ENDINGS)}")
    known = policies_of(read_rows(path), ("reference",))
    for group in known.groups:
        try:
            check_policy("reference", group.values["reference"], least=2)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return known
