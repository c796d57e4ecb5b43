"""Prompts from a file, checked and split into tokens."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .data import Problem

Prompt = str | list[dict[str, str]]
"""Plain text, which a response continues, or a conversation, which a response answers."""

SHIPPED = Path(__file__).parents[1] / "data" / "prompts"
READ = {".txt", ".csv", ".json", ".jsonl", ".parquet"}
SHOWN = 5


@dataclass(frozen=True)
class Prompts:
    """Prompts, and where they come from.

    prompts     each plain text or a conversation, all of the same kind
    rows        the number of each in its file, from 0 on: what messages and ``prompt_index`` call it
    dropped     the rows that were left out, with the reason
    """

    prompts: list[Prompt]
    rows: list[int]
    dropped: list[Problem] = field(default_factory=list)

    @property
    def conversational(self) -> bool:
        return not isinstance(self.prompts[0], str)


def shipped_prompts() -> list[str]:
    """The names of the prompts that come with this package."""
    return sorted(path.stem for path in SHIPPED.glob("*.txt"))


def read_prompts(source: str | Path, column: str = "prompt", on_bad_rows: str = "error") -> Prompts:
    """The prompts of a file.

    Args:
        source: a .jsonl, .json (a list of objects), .csv or .parquet file with a column of prompts, a .txt file with
            one on each line, or the name of prompts that come with this package: ``"sentiment"``. A prompt is text,
            or a list of messages ``{"role": ..., "content": ...}``.
        column: what the column is called; not used for .txt.
        on_bad_rows: ``"error"``, or ``"drop"`` to leave out rows that cannot be used.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and the column, or row and field, that is wrong. Rows are numbered from 0.
    """
    path = Path(source)
    if not path.suffix:
        if str(source) not in shipped_prompts() and not path.exists():
            raise ValueError(
                f"prompts must be a file ({', '.join(sorted(READ))}) or one of {shipped_prompts()}, got {str(source)!r}"
            )
        path = SHIPPED / f"{source}.txt"
    values = _read(path, column)
    return check_prompts(values, f"{path}", column, on_bad_rows)


def check_prompts(
    values: Sequence[Any], name: str = "prompts", column: str = "prompt", on_bad_rows: str = "error"
) -> Prompts:
    """Prompts that can be used, all of the kind of the first; arguments and errors are those of `read_prompts`."""
    if not len(values):
        raise ValueError(f"{name} must have at least one prompt, but it is empty")
    problems: list[Problem] = []
    prompts: list[Prompt] = []
    rows: list[int] = []
    for row, value in enumerate(values):
        wrong = _wrong(value)
        if wrong is None and prompts and isinstance(value, str) != isinstance(prompts[0], str):
            kinds = ["a conversation", "plain text"]
            now = isinstance(value, str)
            wrong = f"it is {kinds[now]}, while those of the rows before are {kinds[not now]}"
        if wrong is not None:
            problems.append(Problem(row, column, wrong))
        else:
            prompts.append(value)
            rows.append(row)
    return settle(Prompts(prompts, rows), problems, name, on_bad_rows)


def tokenize(
    prompts: Prompts, tokenizer: Any, limit: int | None, name: str = "prompts", on_bad_rows: str = "error"
) -> tuple[Prompts, list[list[int]]]:
    """The token ids that a response is to continue, as TRL's trainers make them.

    Args:
        limit: the most tokens of a prompt; None allows any number.

    Raises:
        ValueError: naming rows that have more tokens than that, or none; or a tokenizer without a chat template.
    """
    if prompts.conversational and not tokenizer.chat_template:
        raise ValueError(f"{name} must be plain text for this model, whose tokenizer has no chat template")
    problems, kept, rows, ids = [], [], [], []
    for row, prompt in zip(prompts.rows, prompts.prompts, strict=True):
        if isinstance(prompt, str):
            tokens = tokenizer(prompt)["input_ids"]
        else:
            tokens = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        if limit is not None and len(tokens) > limit:
            problems.append(Problem(row, "prompt", f"it has {len(tokens)} tokens, more than the limit of {limit}"))
        elif not tokens:
            problems.append(Problem(row, "prompt", "it has no tokens"))
        else:
            kept.append(prompt)
            rows.append(row)
            ids.append(list(tokens))
    return settle(Prompts(kept, rows, prompts.dropped), problems, name, on_bad_rows), ids


def settle(prompts: Prompts, problems: list[Problem], name: str, on_bad_rows: str) -> Prompts:
    """The prompts without those that have a problem, or an error that names the first few of these."""
    if on_bad_rows not in ("error", "drop"):
        raise ValueError(f"on_bad_rows must be 'error' or 'drop', got {on_bad_rows!r}")
    if problems and (on_bad_rows == "error" or not prompts.prompts):
        shown = "; ".join(map(str, problems[:SHOWN])) + ("; ..." if len(problems) > SHOWN else "")
        total = len(prompts.rows) + len(problems)
        raise ValueError(
            f"{name} has prompts that cannot be used: {shown} ({len(problems)} of {total} rows, numbered from 0). "
            "Mend them, or leave such rows out with on_bad_rows='drop'"
        )
    return Prompts(prompts.prompts, prompts.rows, prompts.dropped + problems)


def _wrong(value: Any) -> str | None:
    """What is wrong with a prompt."""
    if isinstance(value, str):
        return None if value.strip() else "it is empty"
    if not isinstance(value, list):
        missing = value is None or value != value  # pandas has nan for what is missing
        return "it is missing" if missing else f"it must be text or a list of messages, got {type(value).__name__}"
    if not value:
        return "it is a conversation without messages"
    for place, message in enumerate(value):
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            return f"its message {place} must have 'role' and 'content', both text, got {message!r:.60}"
    if value[-1]["role"] == "assistant":
        return "its last message is the assistant's, which leaves nothing to answer"
    return None if value[-1]["content"].strip() else "its last message is empty"


def _read(path: Path, column: str) -> list[Any]:
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise ValueError(f"{path}: the name of a file with prompts must end in one of {', '.join(sorted(READ))}")
    if suffix == ".parquet":
        frame = pd.read_parquet(path)
        _check_column(path, list(frame.columns), column)
        return [value if value is None or isinstance(value, str | float) else list(value) for value in frame[column]]
    try:
        if suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            _check_column(path, list(frame.columns), column)
            return list(frame[column])
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: {error}") from None
    if suffix == ".txt":
        return text.splitlines()
    records = _json_lines(path, text) if suffix == ".jsonl" else _json(path, text)
    values = []
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{path}: row {row} must be an object with the key {column!r}, got {record!r:.60}")
        if row == 0 or column not in record:
            _check_column(path, list(record), column, "" if row == 0 else f" in row {row}")
        values.append(record[column])
    return values


def _json_lines(path: Path, text: str) -> list[Any]:
    records = []
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            try:
                records.append(json.loads(content))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: line {line} is not JSON: {error.msg}") from None
    return records


def _json(path: Path, text: str) -> list[Any]:
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: malformed JSON: {error.msg}, line {error.lineno}") from None
    if not isinstance(records, list):
        raise ValueError(f"{path}: must hold a list of objects with the key 'prompt'")
    return records


def _check_column(path: Path, columns: list[str], column: str, where: str = "") -> None:
    if column not in columns:
        close = difflib.get_close_matches(column, columns, n=1)
        hint = f"is {close[0]!r} meant to be it? " if close else ""
        raise ValueError(
            f"{path}: the column {column!r} is missing{where}; its columns are {columns}. {hint}Name it with --column"
        )
