"""The forms in which people write a row, brought into one: a prompt, and responses that continue or answer it.

==========================================  =========================================================================
prompt, chosen, rejected: text              taken as they are
prompt, chosen, rejected: conversations     taken as they are; a prompt that the responses repeat is split off
prompt: text; the others conversations      the whole conversations are split where they part (UltraFeedback's form)
prompt: a conversation; the others text     the text is said by the assistant
prompt: a mapping with messages, tools      the messages are the prompt (OpenAI's form)
no prompt                                   what both begin with is the prompt, as in TRL
==========================================  =========================================================================

A third response is brought into the form of its pair. Single responses and lists need a prompt.

Every change is counted, in a remark of the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .cells import check_no_conversation
from .columns import SYSTEM
from .conversation import Conversation, assistant, conversation, kind_of, shared_beginning
from .feedback import PAIRS, TRIPLES, Feedback
from .report import BadField

Text = str | Conversation
"""Plain text, or messages as `conversation` returns them."""

Remark = Callable[[str], None]


REPEATS = "have responses that repeat the prompt, which is split off them"
SAID = "have responses of plain text to a conversation, which are taken for the assistant's"
OPENED = "have a prompt with 'messages', as OpenAI's format has it; these are the prompt"
SYSTEM_BESIDE = "have a system message beside plain text, which is taken for a conversation"
ASKED = "have a prompt of plain text to conversations, which is taken for the user's"


@dataclass
class Example:
    """A row in the one form: ``prompt`` and all ``responses``, by name, are text, or all are conversations."""

    prompt: Any
    responses: dict[str, Any]
    samples: list[Any] = field(default_factory=list)
    template_arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def conversational(self) -> bool:
        return not isinstance(self.prompt, str)


def nothing(remark: str) -> None:
    """For what a row says that is counted elsewhere."""


def opened(row: Mapping[str, Any], remark: Remark) -> Mapping[str, Any]:
    """A row whose prompt is messages where it was OpenAI's ``{"messages": [...], "tools": [...]}``."""
    prompt = row.get("prompt")
    if not isinstance(prompt, Mapping) or "messages" not in prompt:
        return row
    remark(OPENED)
    return {**row, "prompt": prompt["messages"], "tools": prompt.get("tools") or row.get("tools")}


def example_of(row: Mapping[str, Any], feedback: Feedback, implicit: bool, template: str, remark: Remark) -> Example:
    """A row's prompt and responses.

    Args:
        row: the row as it was read.
        implicit: whether the data set has no column of prompts.
        template: the tokenizer's chat template.
        remark: called with what was changed.

    Raises:
        BadField: naming the field and what is wrong with it.
    """
    given = {name: field_of(name, value, template, remark) for name, value in feedback.values(row).items()}
    prompt = None if implicit else field_of("prompt", row.get("prompt"), template, remark)
    if feedback in (PAIRS, TRIPLES):
        made = _pair(prompt, given["chosen"], given["rejected"], remark)
        beside = {name: response for name, response in given.items() if name not in PAIRS.sides}
        made.responses |= _answers(made.prompt, beside, implicit, remark)
    else:
        assert prompt is not None
        if isinstance(prompt, str) and not all(isinstance(response, str) for response in given.values()):
            remark(ASKED)
            prompt = [{"role": "user", "content": prompt}]
        made = Example(prompt, _answers(prompt, given, False, remark))
    _add_system(made, row.get(SYSTEM), remark)
    made.template_arguments = template_arguments(row)
    return made


def _pair(prompt: Text | None, chosen: Text, rejected: Text, remark: Remark) -> Example:
    if isinstance(chosen, str) != isinstance(rejected, str):
        chat, text = ("rejected", "chosen") if isinstance(chosen, str) else ("chosen", "rejected")
        check_no_conversation(text, chosen if isinstance(chosen, str) else str(rejected))
        raise BadField(chat, f"it is a conversation, while {text} of that row is plain text")
    if prompt is not None:
        return _together(prompt, chosen, rejected, remark)
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _split_text(chosen, rejected, remark)
    return _split_conversations(chosen, rejected, remark)  # type: ignore[arg-type]  # both are: see above


def _of_pair(prompt: Text, chosen: Text, rejected: Text) -> Example:
    return Example(prompt, {"chosen": chosen, "rejected": rejected})


def _answers(prompt: Text, given: Mapping[str, Text], implicit: bool, remark: Remark) -> dict[str, Text]:
    """Responses in the form of a prompt, without it; ``implicit`` ones begin with it."""
    found: dict[str, Text] = {}
    for name, response in given.items():
        if isinstance(prompt, str):
            if not isinstance(response, str):
                raise BadField(name, "it is a conversation, while the rest of that row is plain text")
            if implicit and not response.startswith(prompt):
                raise BadField(name, "it does not begin with what chosen and rejected begin with, which is the prompt")
            found[name] = response[len(prompt) :] if implicit else response
        elif isinstance(response, str):
            remark(SAID)
            found[name] = [assistant(response)]
        else:
            repeated = _repeated(prompt, response)
            if repeated and not implicit:
                remark(REPEATS)
            if repeated == len(response):
                raise BadField(name, "all of its messages begin the other response too, which leaves no response")
            found[name] = response[repeated:]
    return found


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


def _split_text(chosen: str, rejected: str, remark: Remark) -> Example:
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
    return _of_pair(chosen[:place], chosen[place:], rejected[place:])


def _split_conversations(chosen: Conversation, rejected: Conversation, remark: Remark) -> Example:
    shared = shared_beginning(chosen, rejected)
    if not shared:
        raise BadField("prompt", "there is none: chosen and rejected have no message in common that could be it")
    _check_rests(chosen, rejected, shared)
    remark("have no prompt of their own: what both responses begin with is taken for it")
    return _of_pair(chosen[:shared], chosen[shared:], rejected[shared:])


def _check_rests(chosen: Conversation, rejected: Conversation, shared: int) -> None:
    for what, messages in (("chosen", chosen), ("rejected", rejected)):
        if len(messages) == shared:
            raise BadField(what, "all of its messages begin the other response too, which leaves no response")


def _together(prompt: Text, chosen: Text, rejected: Text, remark: Remark) -> Example:
    if isinstance(chosen, str) or isinstance(rejected, str):
        if isinstance(prompt, str):
            return _of_pair(prompt, chosen, rejected)
        remark(SAID)
        return _of_pair(prompt, [assistant(str(chosen))], [assistant(str(rejected))])
    if isinstance(prompt, str):
        return _whole_conversations(prompt, chosen, rejected, remark)
    repeated = [_repeated(prompt, response) for response in (chosen, rejected)]
    if all(repeated):
        remark(REPEATS)
        prompt, chosen, rejected = prompt, chosen[repeated[0] :], rejected[repeated[1] :]
        _check_rests(chosen, rejected, 0)
    elif any(repeated):
        which, other = ("chosen", "rejected") if repeated[0] else ("rejected", "chosen")
        raise BadField(which, f"it repeats the prompt, and {other} does not")
    return _of_pair(prompt, chosen, rejected)


def _repeated(prompt: Conversation, response: Conversation) -> int:
    """How many messages at the beginning of a response are the prompt's."""
    if response[: len(prompt)] == prompt:
        return len(prompt)
    return 1 if response[0] == prompt[-1] and response[0]["role"] == "user" else 0


def _whole_conversations(prompt: str, chosen: Conversation, rejected: Conversation, remark: Remark) -> Example:
    shared = shared_beginning(chosen, rejected)
    asked = [message["content"].strip() for message in chosen[:shared] if message["role"] == "user"]
    if prompt.strip() in asked:
        _check_rests(chosen, rejected, shared)
        remark("have whole conversations beside a prompt of text; they are split where they part")
        return _of_pair(chosen[:shared], chosen[shared:], rejected[shared:])
    if chosen[0]["role"] == rejected[0]["role"] == "assistant":
        remark(ASKED)
        return _of_pair([{"role": "user", "content": prompt}], chosen, rejected)
    raise BadField("prompt", "it is text that no user says in what chosen and rejected have in common")


def _add_system(made: Example, system: Any, remark: Remark) -> None:
    if system is None or (isinstance(system, str) and not system.strip()):
        return
    if not isinstance(system, str):
        raise BadField("system", f"it must be text, got {kind_of(system)}")
    if not made.conversational:
        remark(SYSTEM_BESIDE)
        made.prompt = [{"role": "user", "content": made.prompt}]
        made.responses = {name: [assistant(response)] for name, response in made.responses.items()}
    if made.prompt[0]["role"] == "system":
        raise BadField("system", "the prompt has a system message already")
    made.prompt = [{"role": "system", "content": system}, *made.prompt]
