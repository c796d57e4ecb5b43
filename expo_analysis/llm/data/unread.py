"""What a row says that no token will come of: keys of messages, and columns of well-known forms, that nothing reads.

Nobody reads every column, and most are nobody's business (sources, scores, identifiers). These belong to what the model
would be told: a system message, tools, turns before. A row that has one is counted in a remark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .columns import SYNONYMS, SYSTEM

UNREAD = (
    *("chosen_system", "rejected_system", "history", "context", "instruction", "input", "output", "documents"),
    *("functions", "chosen_tools", "rejected_tools"),
)
"""Columns of Alpaca's, LLaMA-Factory's and other forms that a prompt may be incomplete without."""

SYSTEMS = (*SYNONYMS["system"], "system_message")

PROMPTS_HAVE_NOT = (*UNREAD, *SYSTEMS, "tools", "chat_template_kwargs")
"""What is not read of a file of prompts alone."""

READ = ("role", "content", "tool_calls")
"""Keys of messages that every conversation is made of; tool calls that a template leaves out are refused."""

WHOLE = re.compile(r"\.items\(\)|\b(m|msg|message)\s*\|\s*tojson")
"""What a template has that may show any key of a message."""


def unread_keys(message: Mapping[str, Any], template: str) -> list[str]:
    """What a message says that its chat template leaves out; none without a template."""
    if not template or WHOLE.search(template):
        return []
    return [key for key, value in message.items() if key not in READ and _says(value) and not _names(template, key)]


def remark_on_columns(row: Mapping[str, Any], prompt: Any, remark: Callable[[str], None]) -> None:
    """Remark on columns of a row of responses that are not read."""
    for name in unread_beside(row, prompt, UNREAD):
        remark(f"have the column {name!r}, which is not read")
    for name in [] if _says(row.get(SYSTEM)) else unread_beside(row, prompt, SYSTEMS):
        remark(f"have the column {name!r}, which is not read; columns='system={name}' puts it before the prompt")


def unread_beside(row: Mapping[str, Any], prompt: Any, names: Collection[str] = PROMPTS_HAVE_NOT) -> list[str]:
    """Which of some columns a row has something in that is no part of its prompt, as that is read."""
    said = prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
    return [
        name
        for name in names
        if _says(value := row.get(name)) and not (isinstance(value, str) and value.strip() in said)
    ]


def remark_on_arguments(row: Mapping[str, Any], template: str | None, remark: Callable[[str], None]) -> None:
    """Remark on what a row gives its chat template, and that does not read it; None stands for plain text."""
    given = row.get("chat_template_kwargs")
    for name in ["tools" if _says(row.get("tools")) else "", *(given if isinstance(given, Mapping) else {})]:
        if name and (template is None or not re.search(rf"\b{re.escape(name)}\b", template)):
            why = "a prompt of plain text has no place for" if template is None else "the chat template does not read"
            remark(f"have {name!r}, which {why}")


def _says(value: Any) -> bool:
    return value is not None and value not in ("", [], {}) and value not in ("[]", "{}", "null")


def _names(template: str, key: str) -> bool:
    """Whether a template has a key of a message: as ``message.key``, ``message['key']`` or the like."""
    return re.search(rf"[.'\"]{re.escape(key)}\b", template) is not None
