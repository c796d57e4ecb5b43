"""Conversations, in the forms that data sets have them: checked, and brought into one form.

A message is ``{"role": ..., "content": ...}`` with text as its content. Other names of roles, ``from`` and ``value``
in the place of ``role`` and ``content``, content that is a list of text parts, and a tool call without content are
understood as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .report import BadField
from .unread import unread_keys

Message = dict[str, Any]
Conversation = list[Message]

ROLES = ("system", "developer", "user", "assistant", "tool")

ALIASES = {
    **{name: "user" for name in ("human", "prompter", "question", "instruction")},
    **{name: "assistant" for name in ("gpt", "chatgpt", "bot", "ai", "model", "bing", "bard", "claude", "answer")},
    **{name: "tool" for name in ("observation", "ipython", "function", "function_response", "tool_response")},
}
"""What other data sets call the roles."""

ALONE = "have a message in the place of a conversation, which is taken for all of it"
FROM = "have messages with 'from' and 'value', which are taken for 'role' and 'content'"
PARTS = "have messages whose content is a list of parts, which are put together"
"""What is counted of the forms of conversations, beside their roles."""

SPOKEN = ("tool_calls", "reasoning_content", "thinking")
"""Keys by which a message without content says something nevertheless."""


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list of text" if value and all(isinstance(part, str) for part in value) else "a list"
    if hasattr(value, "isoformat"):
        return "a date"
    return {str: "text", dict: "a mapping", type(None): "nothing"}.get(type(value), type(value).__name__)


def conversation(
    field: str, value: Any, template: str = "", remark: Callable[[str], None] = lambda text: None
) -> Conversation:
    """The messages of a field, each with the keys ``role`` and ``content``, both text.

    Args:
        field: what the field is called in messages.
        value: a list of messages, or one message.
        template: the tokenizer's chat template: roles that it names are left as they are.
        remark: called with what was changed.

    Raises:
        BadField: naming the message and what is wrong with it.
    """
    if isinstance(value, dict):
        remark(ALONE)
    messages = [value] if isinstance(value, dict) else value
    if not messages:
        raise BadField(field, "it is a conversation without messages")
    return [_message(field, place, message, template, remark) for place, message in enumerate(messages)]


def _message(field: str, place: int, given: Any, template: str, remark: Callable[[str], None]) -> Message:
    if not isinstance(given, dict):
        what = f"its message {place} must be a mapping with 'role' and 'content'"
        raise BadField(field, what, f", got {kind_of(given)}: {given!r:.60}")
    message = {key: value for key, value in given.items() if value is not None}
    if "role" not in message and "from" in message:
        remark(FROM)
        message = {{"from": "role", "value": "content"}.get(key, key): value for key, value in message.items()}
    if "role" not in message:
        raise BadField(field, f"its message {place} must have 'role' and 'content'", f", got {given!r:.60}")
    role = message["role"]
    if not isinstance(role, str) or not role:
        raise BadField(field, f"the role of its message {place} must be text", f", got {role!r:.40}")
    named = _role(role, template)
    if named is None:
        what = f"the role of its message {place} must be one of {', '.join(ROLES)}, or one that the chat template names"
        raise BadField(field, what, f", got {role!r:.40}")
    if named != role:
        remark(f"have the role {role!r}, which is taken for {named!r}")
    if isinstance(message.get("content"), list):
        remark(PARTS)
    content = _content(field, place, message)
    for key in unread_keys(message, template):
        remark(f"have messages with {key!r}, which the chat template does not read")
        del message[key]  # so that it counts for nothing else either
    return {**message, "role": named, "content": content}


def _role(role: str, template: str) -> str | None:
    """What the role is called here; None where it is none that is known."""
    if role in ROLES or f"'{role}'" in template or f'"{role}"' in template:
        return role
    plain = role.strip().lower()
    return plain if plain in ROLES else ALIASES.get(plain)


def _content(field: str, place: int, message: Message) -> str:
    content = message.get("content")
    if content is None:
        if any(message.get(key) for key in SPOKEN):
            return ""
        raise BadField(field, f"the content of its message {place} is missing (None)")
    if isinstance(content, list):
        return "".join(_part(field, place, part) for part in content)
    if not isinstance(content, str):
        what = f"the content of its message {place} must be text"
        raise BadField(field, what, f", got {kind_of(content)}: {content!r:.40}")
    return content


def _part(field: str, place: int, part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "input_text", "output_text"):
        for key in ("text", "value", "content"):
            if isinstance(part.get(key), str):
                return str(part[key])
    what = f"its message {place} has a part that is no text; models of text only are trained here"
    raise BadField(field, what, f", got {kind or kind_of(part)}")


def assistant(text: str) -> Message:
    """A message of the assistant's."""
    return {"role": "assistant", "content": text}


def says_something(message: Message) -> bool:
    """Whether a message of `conversation` has content, or what may stand in its place."""
    return bool(message["content"].strip()) or any(message.get(key) for key in SPOKEN)


def shared_beginning(first: Conversation, second: Conversation) -> int:
    """How many messages two conversations have in common at their beginnings."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def texts_of(value: str | Conversation) -> Iterable[str]:
    """The text of a field, or those of its messages."""
    return (value,) if isinstance(value, str) else (message["content"] for message in value)
