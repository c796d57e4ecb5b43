"""Preference data, checked before anything is trained on: what cannot be, is refused by row and field, or counted.

A data set has the columns ``prompt``, ``chosen`` and ``rejected``, each plain text or each a conversation (a list of
messages ``{"role": ..., "content": ...}``), as in TRL. For reference samples there is a fourth, a list of K responses
for each prompt: ``reference_samples`` as text or conversations, or ``reference_sample_ids`` as the token ids that the
reference produced, which is exact where text would be split into other tokens, or was cut off before its end. For the
same reason ``prompt_ids``, ``chosen_ids`` and ``rejected_ids`` may be given beside the texts, as ``expo-analysis
preferences`` does: these tokens are then trained on as they are, and no end token is added to a response that was cut.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..losses.base import check_option

ON_BAD_ROWS = ("error", "drop")

COLUMNS = ("prompt", "chosen", "rejected")
TOKEN_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")
SAMPLE_COLUMNS = ("reference_samples", "reference_sample_ids")
SHOWN = 5
"""How many rows a message lists one by one."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a field of a row."""

    row: int
    field: str
    what: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.field}: {self.what}"


@dataclass
class DataReport:
    """What was found in a data set.

    rows        how many rows it has
    dropped     the rows that were left out, with the reason; empty under ``on_bad_rows="error"``
    remarks     how many rows have something worth knowing, such as a response that was cut at max_length
    first       the first row of each remark
    """

    name: str
    rows: int = 0
    dropped: list[Problem] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def remark(self, row: int, text: str) -> None:
        self.remarks[text] += 1
        self.first.setdefault(text, row)

    def lines(self) -> list[str]:
        """In words, one line for each remark, and one for the rows that were left out."""
        found = [
            f"{self.name}: {count} of {self.rows} rows {text} (first: row {self.first[text]})"
            for text, count in self.remarks.items()
        ]
        if self.dropped:
            found.append(f"{self.name}: {_listed(self.dropped, self.rows)}; these rows are left out")
        return found


class BadRows(ValueError):
    """Rows that cannot be trained on. ``problems`` has them all, the message the first few."""

    def __init__(self, name: str, problems: Sequence[Problem], rows: int) -> None:
        self.problems = list(problems)
        super().__init__(
            f"{name} has rows that cannot be trained on: {_listed(problems, rows)}. "
            "Mend them, or set on_bad_rows='drop' to leave them out"
        )


def _listed(problems: Sequence[Problem], rows: int) -> str:
    shown = "; ".join(map(str, problems[:SHOWN]))
    bad = len({problem.row for problem in problems})
    more = f"; ... ({bad} of {rows} rows)" if len(problems) > SHOWN else f" ({bad} of {rows} rows)"
    return shown + more


def check_columns(name: str, columns: Iterable[str], needed: Sequence[str] = COLUMNS) -> None:
    """Raise unless a data set has the columns that are needed, with a guess at what a misspelled one is called."""
    columns = list(columns)
    for column in needed:
        if column not in columns:
            close = [other for other in difflib.get_close_matches(column, columns, cutoff=0.6) if other not in needed]
            hint = f"; is {close[0]!r} meant to be it?" if close else ""
            if column == "prompt" and not close:
                hint = "; trl.extract_prompt splits it off where chosen and rejected both begin with it"
            raise ValueError(f"{name} must have the column {column!r}, but its columns are {columns}{hint}")


def check_rows(name: str, dataset: Any, special_tokens: Sequence[str] = ()) -> tuple[list[Problem], DataReport]:
    """What is wrong with the fields of a data set, before it is split into tokens.

    Args:
        name: what the data set is called in messages, such as ``"train_dataset"``.
        dataset: an iterable of rows with a length and ``column_names``, such as a `datasets.Dataset`.
        special_tokens: strings that a tokenizer would turn into control tokens.

    Returns:
        The problems, and a report with remarks on what is unusual and yet can be trained on.

    Raises:
        ValueError: for a data set without rows, or without the columns prompt, chosen and rejected.
    """
    check_columns(name, dataset.column_names)
    report = DataReport(name, rows=len(dataset))
    if not report.rows:
        raise ValueError(f"{name} must have rows, but it is empty")
    problems: list[Problem] = []
    samples = [column for column in SAMPLE_COLUMNS if column in dataset.column_names]
    kind: str | None = None
    numbers: dict[str, int] = {}
    for row, example in enumerate(dataset.select_columns([*COLUMNS, *samples])):
        found = list(_problems_of(row, example))
        if not found:
            this = "plain text" if isinstance(example["prompt"], str) else "a conversation"
            kind = kind or this
            if this != kind:
                found.append(Problem(row, "prompt", f"it is {this}, while that of the rows before is {kind}"))
        for column in samples:
            wrong = _wrong_samples(example[column], numbers.setdefault(column, len(example[column] or ())))
            if wrong:
                found.append(Problem(row, column, wrong))
        problems += found
        if not found:
            _remark_on_specials(report, row, example, special_tokens)
    return problems, report


def _problems_of(row: int, example: dict[str, Any]) -> Iterator[Problem]:
    for column in COLUMNS:
        wrong = _wrong_text(example[column], may_be_empty=column == "prompt")
        if wrong:
            yield Problem(row, column, wrong)
            return
    kinds = {column: isinstance(example[column], str) for column in COLUMNS}
    if len(set(kinds.values())) > 1:
        plain = [column for column in COLUMNS if kinds[column]]
        chats = [column for column in COLUMNS if not kinds[column]]
        yield Problem(row, chats[0], f"it is a conversation, while {' and '.join(plain)} of that row is plain text")
    elif example["chosen"] == example["rejected"]:
        yield Problem(row, "rejected", "it is the same as chosen, so that the pair says nothing")


def _wrong_text(value: Any, may_be_empty: bool = False) -> str | None:
    """What is wrong with a field that is to be text or a conversation."""
    if value is None:
        return "it is missing (None)"
    if isinstance(value, str):
        return None if may_be_empty or value.strip() else "it is empty"
    if not isinstance(value, list):
        return f"it must be text or a list of messages, got {type(value).__name__}"
    if not value:
        return "it is a conversation without messages"
    for place, message in enumerate(value):
        if not isinstance(message, dict) or not {"role", "content"} <= set(message):
            return f"its message {place} must have 'role' and 'content', got {message!r:.60}"
        if not isinstance(message["role"], str) or not message["role"]:
            return f"the role of its message {place} must be text, got {message['role']!r}"
        if not isinstance(message["content"], str):
            return f"the content of its message {place} must be text, got {type(message['content']).__name__}"
    return None if may_be_empty or value[-1]["content"].strip() else "its last message is empty"


def _wrong_samples(value: Any, number: int) -> str | None:
    if not isinstance(value, list) or not value:
        return "it must be a list of at least one response"
    if len(value) != number:
        return f"it has {len(value)} responses, while the first row has {number}: every row must have as many"
    for place, sample in enumerate(value):
        if isinstance(sample, list) and sample and all(isinstance(token, int) for token in sample):
            continue
        wrong = _wrong_text(sample)
        if wrong:
            return f"response {place}: {wrong}"
    return None


def _texts(value: str | list[dict[str, str]]) -> Iterator[str]:
    yield from (value,) if isinstance(value, str) else (message["content"] for message in value)


def _remark_on_specials(report: DataReport, row: int, example: dict[str, Any], tokens: Sequence[str]) -> None:
    for column in COLUMNS:
        for text in _texts(example[column]):
            end = next((token for token in tokens if column != "prompt" and text.endswith(token)), "")
            if any(token in text.removesuffix(end) for token in tokens):  # one at the end is TRL's own way
                report.remark(row, f"have special tokens inside the text of {column}")
                return


def has_tokens(dataset: Any) -> bool:
    """Whether a data set has the tokens of prompts and responses beside their texts."""
    return set(TOKEN_COLUMNS) <= set(dataset.column_names)


def check_given_tokens(dataset: Any, tokenizer: Any, rows: Sequence[int]) -> list[Problem]:
    """What is wrong with tokens that come with a data set; arguments are as in `check_tokens`."""
    problems = []
    for row, example in zip(rows, dataset, strict=True):
        prompt, options = example["prompt"], example.get("chat_template_kwargs") or {}
        if isinstance(prompt, str):
            tokens = tokenizer(prompt)["input_ids"]
        else:
            tokens = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True, **options)
            tokens = tokens["input_ids"]
        strange = [column for column in TOKEN_COLUMNS if max(example[column], default=0) >= len(tokenizer)]
        if list(tokens) != list(example["prompt_ids"]):
            what = "they are not the prompt's tokens: were they made by another tokenizer?"
            problems.append(Problem(row, "prompt_ids", what))
        elif strange:
            what = f"it has the token {max(example[strange[0]])}, and the tokenizer only {len(tokenizer)}"
            problems.append(Problem(row, strange[0], what))
    return problems


def check_tokens(report: DataReport, dataset: Any, max_length: int | None, rows: Sequence[int]) -> list[Problem]:
    """What is wrong with rows of ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``; remarks go to the report.

    Args:
        max_length: as in the config: longer sequences lose their end. None cuts nothing.
        rows: the number of each row in the data set as it was given.
    """
    problems = []
    samples = ["sample_ids"] if "sample_ids" in dataset.column_names else []
    for row, example in zip(
        rows, dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids", *samples]), strict=True
    ):
        prompt, chosen, rejected = (example[f"{column}_ids"] for column in COLUMNS)
        room = None if max_length is None else max_length - len(prompt)
        if not prompt:
            problems.append(Problem(row, "prompt", "it has no tokens, so that nothing predicts a response's first one"))
        elif room is not None and room <= 0:
            what = f"it has {len(prompt)} tokens, which leaves no room for a response within max_length={max_length}"
            problems.append(Problem(row, "prompt", what))
        elif not chosen or not rejected:
            problems.append(Problem(row, "rejected" if chosen else "chosen", "it has no tokens"))
        elif chosen == rejected:
            problems.append(Problem(row, "rejected", "it has the same tokens as chosen"))
        elif chosen[:room] == rejected[:room]:
            what = f"it is the same as chosen within max_length={max_length}, and differs only after"
            problems.append(Problem(row, "rejected", what))
        elif room is not None:
            if max(len(chosen), len(rejected)) > room:
                report.remark(row, f"have a response that is cut at max_length={max_length}")
            if any(len(sample) > room for sample in example.get("sample_ids", ())):
                report.remark(row, f"have a reference sample that is cut at max_length={max_length}")
    return problems


def settle(report: DataReport, problems: Sequence[Problem], on_bad_rows: str) -> set[int]:
    """The rows to leave out.

    Raises:
        BadRows: if there are problems and ``on_bad_rows`` is ``"error"``, or if no row is left.
    """
    check_option("on_bad_rows", on_bad_rows, ON_BAD_ROWS)
    bad = {problem.row for problem in [*report.dropped, *problems]}
    if problems and (on_bad_rows == "error" or len(bad) == report.rows):
        raise BadRows(report.name, problems, report.rows)
    report.dropped += problems
    return {problem.row for problem in problems}


def sample_tokens(example: dict[str, Any], tokenizer: Any) -> dict[str, list[list[int]]]:
    """``sample_ids`` of a row with the number ``row``: its reference samples as token ids, after ``prompt_ids``.

    Raises:
        ValueError: where a sample's tokens merge with the prompt's, so that there is no telling where it begins.
    """
    if "reference_sample_ids" in example:
        return {"sample_ids": example["reference_sample_ids"]}
    prompt, found = example["prompt_ids"], []
    for place, sample in enumerate(example["reference_samples"]):
        if isinstance(sample, str):
            end = "" if sample.endswith(tokenizer.eos_token) else tokenizer.eos_token
            ids = tokenizer(example["prompt"] + sample + end)["input_ids"]
        else:
            options = example.get("chat_template_kwargs") or {}
            ids = tokenizer.apply_chat_template(example["prompt"] + sample, return_dict=True, **options)["input_ids"]
        if ids[: len(prompt)] != prompt:
            raise ValueError(
                f"row {example['row']}, reference_samples: the tokens of response {place} merge with those of the "
                "prompt, so that there is no telling where it begins; give the samples as reference_sample_ids"
            )
        found.append(ids[len(prompt) :])
    return {"sample_ids": found}
