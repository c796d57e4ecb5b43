"""The forms in which people write a pair, brought into one: a prompt, and two responses that continue or answer it.

==========================================  =========================================================================
prompt, chosen, rejected: text              taken as they are
prompt, chosen, rejected: conversations     taken as they are; a prompt that the responses repeat is split off
prompt: text; the others conversations      the whole conversations are split where they part (UltraFeedback's form)
prompt: a conversation; the others text     the text is said by the assistant
no prompt                                   what both begin with is the prompt, as in TRL
==========================================  =========================================================================

Every change is counted, in a remark of the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .columns import SYSTEM
from .conversation import Conversation, assistant, conversation, kind_of, shared_beginning
from .report import BadField

Text = str | Conversation
"""Plain text, or messages as `conversation` returns them."""

Remark = Callable[[str], None]


@dataclass
class Pair:
    """A row in the one form: ``prompt``, ``chosen`` and ``rejected`` are all text or all conversations."""

    prompt: Any
    chosen: Any
    rejected: Any
    samples: list[Any] = field(default_factory=list)
    template_arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def conversational(self) -> bool:
        return not isinstance(self.prompt, str)


def pair_of(row: Mapping[str, Any], implicit: bool, template: str, remark: Remark) -> Pair:
    """A row's pair.

    Args:
        row: the row as it was read.
        implicit: whether the data set has no column of prompts.
        template: the tokenizer's chat template.
        remark: called with what was changed.

    Raises:
        BadField: naming the field and what is wrong with it.
    """
    fields = ("chosen", "rejected") if implicit else ("prompt", "chosen", "rejected")
    values = {what: field_of(what, row.get(what), template, remark) for what in fields}
    chosen, rejected = values["chosen"], values["rejected"]
    if isinstance(chosen, str) != isinstance(rejected, str):
        chat, text = ("rejected", "chosen") if isinstance(chosen, str) else ("chosen", "rejected")
        raise BadField(chat, f"it is a conversation, while {text} of that row is plain text")
    if not implicit:
        pair = _together(values["prompt"], chosen, rejected, remark)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        pair = _split_text(chosen, rejected, remark)
    else:
        pair = _split_conversations(chosen, rejected, remark)  # type: ignore[arg-type]  # both are: see above
    _add_system(pair, row.get(SYSTEM))
    pair.template_arguments = template_arguments(row)
    return pair


def field_of(what: str, value: Any, template: str, remark: Remark) -> Text:
    """A field as text or as a conversation."""
    if value is None:
        raise BadField(what, "it is missing (None)")
    if isinstance(value, str):
        return value
    if isinstance(value, dict) or (isinstance(value, list) and not (value and isinstance(value[0], str))):
        return conversation(what, value, template, remark)
    raise BadField(what, f"it must be text or a list of messages, got {kind_of(value)}", f", {value!r:.40}")


def template_arguments(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row gives its chat template: ``tools``, and all of ``chat_template_kwargs``, as in TRL."""
    tools = row.get("tools")
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except json.JSONDecodeError as error:
            raise BadField("tools", "it is text that is not JSON", f": {error}") from None
    given = row.get("chat_template_kwargs") or {}
    if not isinstance(given, Mapping):
        raise BadField("chat_template_kwargs", f"it must be a mapping of names to values, got {kind_of(given)}")
    return {"tools": tools or None, **{name: value for name, value in given.items() if value is not None}}


def _split_text(chosen: str, rejected: str, remark: Remark) -> Pair:
    """As `trl.extract_prompt`: up to the first difference, and not with the space before it."""
    shorter = min(len(chosen), len(rejected))
    place = next((k for k in range(shorter) if chosen[k] != rejected[k]), shorter)
    if place == shorter:
        what = "all of it begins the other response, so that there is no telling where the prompt ends"
        raise BadField("chosen" if len(chosen) == shorter else "rejected", what)
    if place and chosen[place - 1] == " ":
        place -= 1
    if not place:
        raise BadField("prompt", "there is none: chosen and rejected have no beginning in common that could be it")
    remark("have no prompt of their own: what both responses begin with is taken for it")
    if "\n\nAssistant:" in chosen:
        remark("are transcripts of Human and Assistant, which preparation 'hh' splits before the last answer")
    return Pair(chosen[:place], chosen[place:], rejected[place:])


def _split_conversations(chosen: Conversation, rejected: Conversation, remark: Remark) -> Pair:
    shared = shared_beginning(chosen, rejected)
    if not shared:
        raise BadField("prompt", "there is none: chosen and rejected have no message in common that could be it")
    _check_rests(chosen, rejected, shared)
    remark("have no prompt of their own: what both responses begin with is taken for it")
    return Pair(chosen[:shared], chosen[shared:], rejected[shared:])


def _check_rests(chosen: Conversation, rejected: Conversation, shared: int) -> None:
    for what, messages in (("chosen", chosen), ("rejected", rejected)):
        if len(messages) == shared:
            raise BadField(what, "all of its messages begin the other response too, which leaves no response")


def _together(prompt: Text, chosen: Text, rejected: Text, remark: Remark) -> Pair:
    if isinstance(chosen, str) or isinstance(rejected, str):
        if isinstance(prompt, str):
            return Pair(prompt, chosen, rejected)
        remark("have responses of plain text to a conversation, which are taken for the assistant's")
        return Pair(prompt, [assistant(str(chosen))], [assistant(str(rejected))])
    if isinstance(prompt, str):
        return _whole_conversations(prompt, chosen, rejected, remark)
    repeated = [_repeated(prompt, response) for response in (chosen, rejected)]
    if all(repeated):
        remark("have responses that repeat the prompt, which is split off them")
        prompt, chosen, rejected = prompt, chosen[repeated[0] :], rejected[repeated[1] :]
        _check_rests(chosen, rejected, 0)
    elif any(repeated):
        which, other = ("chosen", "rejected") if repeated[0] else ("rejected", "chosen")
        raise BadField(which, f"it repeats the prompt, and {other} does not")
    return Pair(prompt, chosen, rejected)


def _repeated(prompt: Conversation, response: Conversation) -> int:
    """How many messages at the beginning of a response are the prompt's."""
    if response[: len(prompt)] == prompt:
        return len(prompt)
    return 1 if response[0] == prompt[-1] and response[0]["role"] == "user" else 0


def _whole_conversations(prompt: str, chosen: Conversation, rejected: Conversation, remark: Remark) -> Pair:
    shared = shared_beginning(chosen, rejected)
    asked = [message["content"].strip() for message in chosen[:shared] if message["role"] == "user"]
    if prompt.strip() in asked:
        _check_rests(chosen, rejected, shared)
        remark("have whole conversations beside a prompt of text; they are split where they part")
        return Pair(chosen[:shared], chosen[shared:], rejected[shared:])
    if chosen[0]["role"] == rejected[0]["role"] == "assistant":
        remark("have a prompt of plain text to conversations, which is taken for the user's")
        return Pair([{"role": "user", "content": prompt}], chosen, rejected)
    raise BadField("prompt", "it is text that no user says in what chosen and rejected have in common")


def _add_system(pair: Pair, system: Any) -> None:
    if system is None or (isinstance(system, str) and not system.strip()):
        return
    if not isinstance(system, str):
        raise BadField("system", f"it must be text, got {kind_of(system)}")
    if not pair.conversational:
        pair.prompt = [{"role": "user", "content": pair.prompt}]
        pair.chosen, pair.rejected = [assistant(pair.chosen)], [assistant(pair.rejected)]
    if pair.prompt[0]["role"] == "system":
        raise BadField("system", "the prompt has a system message already")
    pair.prompt = [{"role": "system", "content": system}, *pair.prompt]
