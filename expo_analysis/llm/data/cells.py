"""Conversations in the cells of a table, which has text alone: JSON, as lists are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from .report import BadField

Row = tuple[dict[str, Any], int | None]
"""A row, and the line that it begins in; None where files of that kind have no lines."""


def conversation_in(text: str) -> Any:
    """The list of messages that a text is the JSON of, or OpenAI's mapping with one; None where it is neither.

    Example:
        >>> conversation_in('[{"role": "user", "content": "Hi"}]')
        [{'role': 'user', 'content': 'Hi'}]
        >>> conversation_in('["Hi"]')
    """
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    messages = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(messages, list) or not messages:
        return None
    return found if all(map(_is_message, messages)) else None


def _is_message(part: Any) -> bool:
    return isinstance(part, dict) and bool(part.keys() & {"role", "from"})


def check_no_conversation(field: str, text: str) -> None:
    """Raise for a conversation in the form of text: JSON, or what Python prints."""
    if conversation_in(text) is None and not _is_printed(text.strip()):
        return
    what = "it is a conversation that was written as text; give it as a list of messages"
    raise BadField(field, f"{what}, in a table (CSV) as JSON, in every row")


def _is_printed(text: str) -> bool:
    return text.startswith("[{") and text.endswith("}]") and all(f"'{key}':" in text for key in ("role", "content"))


def with_conversations(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a table, with lists of messages in each column of which every cell is the JSON of one.

    An empty cell is text: a column that has one stays as it is.
    """
    rows = list(rows)
    found: dict[str, list[Any]] = {}
    for name, cell in rows[0][0].items() if rows else ():
        if conversation_in(cell) is not None:  # most tables have none, and are not parsed any further
            found[name] = [conversation_in(row[name]) for row, _ in rows]
    whole = {name: values for name, values in found.items() if None not in values}
    for place, (row, line) in enumerate(rows):
        yield row | {name: values[place] for name, values in whole.items()}, line
