"""Which columns of a data set are the prompt, the chosen and the rejected response; and what is meant where none is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ...bandit.comparisons import REWARDS
from .table import ORIGIN

COLUMNS = ("prompt", "chosen", "rejected")
TOKEN_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")
SAMPLE_COLUMNS = ("reference_samples", "reference_sample_ids")
NAMED = (
    *(*COLUMNS, "third", "completion", "label", "score", "responses", "ranking", "scores", "value", "quantile"),
    *("reference_scores", "system", "tools", *TOKEN_COLUMNS, *SAMPLE_COLUMNS),
)
"""What columns may be named as."""

SYSTEM, JOINED = "__system__", "__joined__"
"""What a column of system messages is called once it was asked for, as one called system may be anything."""


def shown(columns: Collection[str]) -> list[str]:
    """Columns as messages list them: without the place that rows come from, which is nobody's column."""
    return [{SYSTEM: "system", JOINED: "prompt"}.get(column, column) for column in columns if column != ORIGIN]


SCORES = (*REWARDS, ("margin",))
"""Columns of both responses' rewards, or of their difference, for losses that read them; the first that are there."""


def score_columns(name: str, columns: Collection[str], reader: str) -> tuple[str, ...]:
    """Those of `SCORES` that a data set has.

    Raises:
        ValueError: it has none, or one response's alone.
    """
    for pair in SCORES:
        if set(pair) <= set(columns):
            return pair
    alone = next((column for pair in SCORES for column in pair if column in columns), None)
    listed = ", ".join(" and ".join(pair) for pair in SCORES)
    found = f"it has {alone!r} alone" if alone else f"its columns are {shown(columns)}"
    raise ValueError(f"{name} must have rewards, which {reader} reads, in the columns {listed}; {found}")


SYNONYMS = {
    "prompt": ("question", "instruction", "query", "input", "problem", "conversations", "conversation"),
    "chosen": (
        "chosen_response",
        "response_chosen",
        "chosen_messages",
        "preferred",
        "preferred_response",
        "accepted",
        "response_j",
    ),
    "rejected": (
        "rejected_response",
        "response_rejected",
        "rejected_messages",
        "dispreferred",
        "dispreferred_response",
        "response_k",
    ),
    "system": ("system", "system_prompt"),
}
"""What other data sets call them."""


OPENAI = {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}
"""Columns of OpenAI's format for preference fine-tuning."""


def well_known(columns: Collection[str]) -> dict[str, str]:
    """What `parse_columns` would be asked for, of columns that can mean one thing only; empty for all others."""
    is_openai = set(OPENAI.values()) <= set(columns) and not set(OPENAI) & set(columns)
    return dict(OPENAI) if is_openai else {}


def parse_columns(text: str | Mapping[str, str] | None) -> dict[str, str]:
    """Names of columns by what they are, from ``"prompt=question,chosen=answer_a"``.

    The prompt may be the text of several columns, one below the other: ``"prompt=instruction+input"``.

    Raises:
        ValueError: for another form, or a name of what no column can be.
    """
    if text is None:
        return {}
    if isinstance(text, Mapping):
        pairs = list(text.items())
    else:
        pairs = []
        for part in text.split(","):
            name, equals, column = (piece.strip() for piece in part.partition("="))
            if not (name and equals and column):
                raise ValueError(f"columns must be like 'prompt=question,chosen=answer', got {text!r}")
            pairs.append((name, column))
    for name, _ in pairs:
        if name not in NAMED:
            raise ValueError(f"columns must name one of {', '.join(NAMED)}, got {name!r}")
    return dict(pairs)


def named(rows: Any, asked: Mapping[str, str], name: str, columns: Collection[str]) -> Any:
    """A data set whose columns have the names that `parse_columns` asks for; others of these names are removed.

    Args:
        rows: a `Dataset` or an `IterableDataset`.
        name: what the data set is called in messages.
        columns: of the data set.

    Raises:
        ValueError: where a column is missing.
    """
    for what, wanted in asked.items():
        for column in parts_of(wanted, columns) if what == "prompt" else [wanted]:
            if column not in columns:
                raise ValueError(
                    f"{name} must have the column {column!r}, which is to be {what}, but its columns are "
                    f"{shown(columns)}{_nearly(column, shown(columns))}"
                )
    if "+" in asked.get("prompt", "") and asked["prompt"] not in columns:
        parts = parts_of(asked["prompt"], columns)
        rows = rows.map(Joined(parts))
        columns, asked = [*columns, JOINED], {**asked, "prompt": JOINED}
        used_up = [part for part in dict.fromkeys(parts) if part not in asked.values()]
        rows, columns = rows.remove_columns(used_up), [column for column in columns if column not in used_up]
    renamed = {wanted: SYSTEM if what == "system" else what for what, wanted in asked.items()}
    if len(renamed) < len(asked):
        raise ValueError(f"columns must name each column once, got {dict(asked)}")
    in_the_way = [new for new in renamed.values() if new in columns and new not in renamed]
    kept = {old: new for old, new in renamed.items() if old != new}
    rows = rows.remove_columns(in_the_way) if in_the_way else rows
    return rows.rename_columns(kept) if kept else rows


class Joined:
    """Adds the column `JOINED` to a row: the text of several columns, each below the one before."""

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = parts

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        return {JOINED: "\n".join(str(row[part]) for part in self.parts if row.get(part))}


def check_columns(
    name: str,
    columns: Collection[str],
    sides: Sequence[str] = ("chosen", "rejected"),
    inside: Callable[[], str] = str,
) -> None:
    """Raise unless a data set has these responses, with what may be meant by the columns that it has.

    Args:
        name: what the data set is called in messages.
        sides: of pairs or triples; what is no pair must have a prompt.
        inside: gives where in its columns the rows seem to be; empty where they are nowhere.
    """
    if {"prompt_ids", *(f"{side}_ids" for side in sides)} <= set(columns):
        return
    if "chosen" not in sides:
        require(name, columns, ("prompt", *sides))
        return
    missing = [what for what in sides if what not in columns]
    # a prompt that goes by another name would be lost if what both responses begin with were taken for it
    unnamed = [] if "prompt" in columns else _synonyms("prompt", columns, ())
    if missing or unnamed:
        raise ValueError(_what_is_missing(name, columns, missing or ["prompt"], inside()))


def parts_of(wanted: str, columns: Collection[str]) -> list[str]:
    """The columns that ``"instruction+input"`` names; a name with a plus is one column where there is such a one."""
    return [wanted] if wanted in columns else [part.strip() for part in wanted.split("+")]


def require(name: str, columns: Collection[str], needed: Sequence[str]) -> None:
    """Raise unless a data set has the columns that are needed, with a guess at what a misspelled one is called."""
    for column in needed:
        if column not in columns:
            raise ValueError(
                f"{name} must have the column {column!r}, but its columns are {shown(columns)}"
                + _nearly(column, [other for other in shown(columns) if other not in needed])
            )


def _what_is_missing(name: str, columns: Collection[str], missing: Sequence[str], inside: str) -> str:
    columns = shown(columns)
    text = f"{name} must have the column {missing[0]!r}, but its columns are {columns}"
    guesses: dict[str, str] = {}
    for what in (*COLUMNS, "system"):
        if what == "system" or what not in columns:
            close = _synonyms(what, columns, guesses.values())
            if close:
                guesses[what] = close[0]
    if guesses.get("prompt") == "instruction" and "input" in columns:
        guesses["prompt"] = "instruction+input"
    if all(what in guesses for what in missing):
        return f"{text}; set columns to {','.join(f'{what}={column}' for what, column in guesses.items())}"
    known = set(columns)
    if {"completion", "label"} <= known:
        return f"{text}; they are single responses with a label, and no pairs"
    if {"winner"} <= known or {"preference"} <= known or {"label"} <= known:
        return f"{text}; put the response that won into chosen, and the other into rejected"
    sides = next((pair for pair in NUMBERED if set(pair) <= known), None)
    if sides is not None:
        says = [column for column in columns if re.search(r"better|preferred|winner", column)]
        which = f"; {says[0]} says which" if says else ""
        return f"{text}; put the better one of {' and '.join(sides)} into chosen, and the other into rejected{which}"
    if known & {"output", "completion", "response", "answer", "messages", "conversations", "text"}:
        return f"{text}; they are single responses, and no pairs"
    if inside:
        return f"{text}; the rows seem to be in {inside}: {GIVE_ALONE}"
    others = [column for column in columns if column not in COLUMNS]
    return text + (_nearly(missing[0], others) or (f"; columns='{missing[0]}=...' says which one is" if others else ""))


GIVE_ALONE = "give these alone, one object each"
"""What to do with rows that lie inside of something else."""

NUMBERED = [
    (f"{what}_{first}", f"{what}_{second}")
    for what in ("response", "answer", "completion", "output")
    for first, second in (("0", "1"), ("1", "2"), ("a", "b"))
]
"""Pairs of columns in an order that says nothing of which is better (PKU-SafeRLHF, arena data)."""


def _synonyms(what: str, columns: Collection[str], used: Collection[str]) -> list[str]:
    return [column for column in SYNONYMS[what] if column in columns and column not in used]


def _nearly(column: str, others: Collection[str]) -> str:
    close = difflib.get_close_matches(column, list(others), n=1, cutoff=0.6)
    return f"; is {close[0]!r} meant to be it?" if close else ""
