"""Prompts from a file, checked and split into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .checks import check_asks, check_text
from .columns import require
from .conversation import Conversation
from .files import READERS, format_of, read_file, read_lines
from .forms import Remark, field_of
from .report import BadField, DataReport, Place, Problem, settle
from .tokens import Encoder
from .unread import unread_beside, unread_keys

Prompt = str | Conversation
"""Plain text, which a response continues, or a conversation, which a response answers."""

SHIPPED = Path(__file__).parents[2] / "data" / "prompts"


@dataclass(frozen=True)
class Prompts:
    """Prompts, and where they come from.

    prompts     each plain text or a conversation, all of the same kind
    rows        the number of each in its file, from 0 on: what messages and ``prompt_index`` call it
    report      the rows that were left out, with the reason, and remarks
    """

    prompts: list[Prompt]
    rows: list[int]
    report: DataReport = field(default_factory=lambda: DataReport("prompts"))

    @property
    def dropped(self) -> list[Problem]:
        return self.report.dropped

    @property
    def conversational(self) -> bool:
        return not isinstance(self.prompts[0], str)

    def first(self, count: int | None) -> Prompts:
        """The first ``count`` prompts, or all."""
        if count is None or count >= len(self.rows):
            return self
        rows = self.rows[:count]
        dropped = [problem for problem in self.report.dropped if problem.row < rows[-1]]
        report = replace(self.report, rows=count + len(dropped), dropped=dropped)
        return Prompts(self.prompts[:count], rows, report)

    def said_by_user(self) -> Prompts:
        """Plain prompts as messages of a user; conversations as they are."""
        said: list[Prompt] = [
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt for prompt in self.prompts
        ]
        return replace(self, prompts=said)


def shipped_prompts() -> list[str]:
    """The names of the prompts that come with this package."""
    return sorted(path.stem for path in SHIPPED.glob("*.txt"))


def read_prompts(source: str | Path, column: str = "prompt", on_bad_rows: str = "error") -> Prompts:
    """The prompts of a file.

    Args:
        source: a file of `files.READERS` with a column of prompts, a .txt file with one on each line, or the name of
            prompts that come with this package: ``"sentiment"``. A prompt is text, or a list of messages
            ``{"role": ..., "content": ...}``; of a list of texts, such as MT-bench's ``turns``, it is the first.
        column: what the column is called.
        on_bad_rows: ``"error"``, or ``"drop"`` to leave out rows that cannot be used.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and the column, or row and field, that is wrong. Rows are numbered from 0. Also for
            the name of a column beside a file that has none.
    """
    path = Path(source)
    is_text = path.suffix == ".txt"
    if not path.is_file() and not (is_text or format_of(path)):
        if str(source) not in shipped_prompts():
            accepted = f"a file ({', '.join([*READERS, '.txt'])}) or one of {shipped_prompts()}"
            raise ValueError(f"prompts must be {accepted}, got {str(source)!r}")
        path, is_text = SHIPPED / f"{source}.txt", True
    if not is_text and format_of(path) is None:
        raise ValueError(f"{path}: the name of a file with prompts must end in one of {', '.join([*READERS, '.txt'])}")
    rows = list(read_lines(path) if is_text else read_file(path))
    places = [Place(number, str(path), line) for number, (_, line) in enumerate(rows)]
    if is_text and column != "prompt":
        raise ValueError(f"column is not used by {path}, which has a prompt on each line; got {column!r}")
    if not is_text:
        _check_column(f"{path}", [row for row, _ in rows], column)
    found = check_prompts([row.get(column) for row, _ in rows], str(path), column, on_bad_rows, places)
    for number, prompt in zip(found.rows, found.prompts, strict=True):
        beside = {name: value for name, value in rows[number][0].items() if name != column}
        for name in unread_beside(beside, prompt):
            found.report.remark(places[number], f"have the column {name!r}, which is not read")
    return found


def _check_column(name: str, rows: Sequence[dict[str, Any]], column: str) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        require(name, columns, [column])
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{text}{' ' if text.endswith('?') else '. '}Name it with --column") from None


def check_prompts(
    values: Sequence[Any],
    name: str = "prompts",
    column: str = "prompt",
    on_bad_rows: str = "error",
    places: Sequence[Place] | None = None,
) -> Prompts:
    """Prompts that can be used, all of the kind of the first; arguments and errors are those of `read_prompts`."""
    if not len(values):
        raise ValueError(f"{name} must have at least one prompt, but it is empty")
    report = DataReport(name, rows=len(values))
    problems: list[Problem] = []
    prompts: list[Prompt] = []
    rows: list[int] = []
    for row, value in enumerate(values):
        place = Place(row) if places is None else places[row]
        remarks: list[str] = []
        try:
            prompt = _prompt(column, value, remarks.append)
            if prompts and isinstance(prompt, str) != isinstance(prompts[0], str):
                kinds = ["a conversation", "plain text"]
                now = isinstance(prompt, str)
                raise BadField(column, f"it is {kinds[now]}, while those of the rows before are {kinds[not now]}")
        except BadField as bad:
            problems.append(Problem.of(place, bad))
            continue
        prompts.append(prompt)
        rows.append(row)
        for text in dict.fromkeys(remarks):
            report.remark(place, text)
    settle(report, problems, on_bad_rows, "used")
    return Prompts(prompts, rows, report)


def _prompt(column: str, value: Any, remark: Remark) -> Prompt:
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        if len(value) > 1:
            remark("have several turns, of which the first is the prompt")
        value = value[0]
    if value != value:
        value = None  # what parquet files made by pandas have for what is missing
    prompt = field_of(column, value, "", remark)
    check_text(column, prompt)
    if isinstance(prompt, str):
        if not prompt.strip():
            raise BadField(column, "it is empty")
    else:
        check_asks(column, prompt)
    return prompt


def tokenize(
    prompts: Prompts, tokenizer: Any, limit: int | None, on_bad_rows: str = "error"
) -> tuple[Prompts, list[list[int]]]:
    """The token ids that a response is to continue, as `PreferenceData` has them.

    Args:
        limit: the most tokens of a prompt; None allows any number.

    Raises:
        ValueError: naming rows that have more tokens than that, or none; or a tokenizer without a chat template.
    """
    encoder = Encoder(tokenizer)
    if prompts.conversational and not encoder.template:
        raise ValueError(f"{prompts.report.name} must be plain text for a tokenizer without a chat template")
    before = prompts.report
    report = replace(before, dropped=list(before.dropped), remarks=before.remarks.copy(), first=dict(before.first))
    problems, kept, ids = [], [], []
    for at, (row, prompt) in enumerate(zip(prompts.rows, prompts.prompts, strict=True)):
        try:
            for key in () if isinstance(prompt, str) else _unread(prompt, encoder.template):
                text = f"have messages with {key!r}, which the chat template does not read"
                if text not in before.remarks:  # of the same prompts, with another limit
                    report.remark(Place(row, report.name), text)
            tokens = encode_prompt(encoder, prompt)
            if limit is not None and len(tokens) > limit:
                raise BadField("prompt", f"it has more tokens than the limit of {limit}", f": {len(tokens)}")
        except BadField as bad:
            problems.append(Problem.of(Place(row, report.name), bad))
            continue
        kept.append(at)
        ids.append(tokens)
    settle(report, problems, on_bad_rows, "used")
    return Prompts([prompts.prompts[at] for at in kept], [prompts.rows[at] for at in kept], report), ids


def _unread(prompt: Conversation, template: str) -> list[str]:
    return list(dict.fromkeys(key for message in prompt for key in unread_keys(message, template)))


def encode_prompt(encoder: Encoder, prompt: Prompt) -> list[int]:
    """A prompt's tokens, with those that the chat template puts before an answer.

    Raises:
        BadField: where there are none.
    """
    tokens = encoder.text(prompt) if isinstance(prompt, str) else encoder.conversation(prompt, {}, answer=True)
    if not tokens:
        raise BadField("prompt", "it has no tokens")
    return tokens
