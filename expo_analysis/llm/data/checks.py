"""Whether the fields of a row fit together: what a language model would learn from it that nobody means to teach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .cells import check_no_conversation
from .conversation import Conversation, says_something, texts_of
from .forms import Example, Remark, Text
from .report import BadField
from .table import half_surrogate

REPEATED = "have a prompt that all of their responses repeat"
REPEATED_SHORT = "have a prompt of a few characters with which all of their responses begin"
"""Remarks on single rows; where they are true of all, the prompt column is one too many (see `check_repetition`)."""

NOT_CONTINUED = (
    "have a prompt that ends with the assistant's message; as in TRL's DPO trainer the response is a message of its "
    "own after it, and does not continue it: to continue it, move its text to the beginning of both responses"
)

LEAST_REPEATED = 8
"""Shorter prompts than this many characters may well begin a response by chance, though not in this many rows."""


def check_example(example: Example, end: str, controls: re.Pattern[str], remark: Remark) -> None:
    """Raise for a row that cannot be trained on, and remark on what is unusual.

    Args:
        end: the end token's text, which may stand at the end of a response of plain text.
        controls: matches the text of tokens that control a model, such as those around a turn.

    Raises:
        BadField: naming the field and what is wrong with it.
    """
    for field, text in {"prompt": example.prompt, **example.responses}.items():
        check_text(field, text)
    if example.conversational:
        _check_turns(example, remark)
    elif not example.prompt.strip():
        remark("have an empty prompt")
    for field, response in example.responses.items():
        _check_says_something(field, response, remark)
    twice = first_repeated(example.responses)
    if twice is not None:
        later, earlier = twice
        raise BadField(later, f"it is the same as {earlier}, so that the {of_several(later)} says nothing")
    for field, response in example.responses.items():
        check_controls(field, response, end, controls, remark)
    if any(map(controls.search, texts_of(example.prompt))):
        remark("have special tokens inside the text of prompt")
    if example.conversational:
        _remark_on_echo(example, remark)
    else:
        _remark_on_repetition(example, remark)


def first_repeated(responses: Mapping[str, Any]) -> tuple[str, str] | None:
    """A response that is equal to an earlier one, and that one; a third response may be any of its pair's."""
    names = [name for name in responses if name != "third"]
    for place, later in enumerate(names):
        for earlier in names[:place]:
            if responses[later] == responses[earlier]:
                return later, earlier
    return None


def of_several(name: str) -> str:
    """What a response is one of."""
    return "list" if name.startswith("responses[") else "pair"


def check_text(field: str, value: Text) -> None:
    """Raise for what is no text, or a conversation in the form of text."""
    for text in texts_of(value):
        broken = half_surrogate(text)
        if broken is not None:
            raise BadField(field, broken)
    if isinstance(value, str):
        check_no_conversation(field, value)


def _check_turns(example: Example, remark: Remark) -> None:
    for field, response in example.responses.items():
        last = response[-1]["role"]
        if last != "assistant":
            raise BadField(field, f"its last message is the {last}'s, and a response must end with the assistant's")
        if response[0]["role"] == "assistant":
            _check_last_says_something("prompt", example.prompt)
    roles = [message["role"] for message in example.prompt]
    if roles[-1] == "assistant" and any(response[0]["role"] == "assistant" for response in example.responses.values()):
        remark(NOT_CONTINUED)
    if {*roles} <= {"system", "developer"}:
        remark("have a prompt of a system message alone, which asks nothing")
    if any(message["role"] != "assistant" for response in example.responses.values() for message in response):
        remark("have turns of others inside a response; only the assistant's count")


def check_asks(field: str, prompt: Conversation) -> None:
    """Raise for a conversation that the assistant cannot answer."""
    if prompt[-1]["role"] == "assistant":
        raise BadField(field, "its last message is the assistant's, which leaves nothing to answer")
    _check_last_says_something(field, prompt)


def _check_last_says_something(field: str, prompt: Conversation) -> None:
    if not says_something(prompt[-1]):
        raise BadField(field, "its last message is empty")


def _check_says_something(field: str, response: Text, remark: Remark) -> None:
    empty = not (response.strip() if isinstance(response, str) else says_something(response[-1]))
    if not empty:
        return
    if field in ("chosen", "third"):
        raise BadField(field, "it is empty" if isinstance(response, str) else "its last message is empty")
    remark(f"have an empty {'rejected ' * (field == 'rejected')}response, which is its end token alone")


def check_controls(field: str, response: Text, end: str, controls: re.Pattern[str], remark: Remark) -> None:
    """Raise for a response with tokens that control a model: its writer could end the turn and begin another's.

    Plain text may end with one of them, as text that a chat template has made does.
    """
    for text in texts_of(response):
        found = list(controls.finditer(text))
        if found and isinstance(response, str) and found[-1].end() == len(text):
            last = found.pop().group()
            if last != end:
                remark(f"have a response that ends with {last}, after which the end token is put")
        if found:
            what = f"it has the control token {found[0].group()} inside its text; a text that means it must be given as"
            raise BadField(field, f"{what} tokens, in the columns prompt_ids and so on")


def _remark_on_repetition(example: Example, remark: Remark) -> None:
    prompt = example.prompt.strip()
    repeating = [name for name, response in example.responses.items() if _begins_with(prompt, response.lstrip())]
    if not repeating:
        return
    if len(repeating) == len(example.responses):
        remark(REPEATED if len(prompt) >= LEAST_REPEATED else REPEATED_SHORT)
    elif {"chosen", "rejected"} <= example.responses.keys() and len({"chosen", "rejected"} & {*repeating}) == 1:
        side = "chosen" if "chosen" in repeating else "rejected"
        remark(f"have a prompt that {side} alone repeats")
    else:
        remark("have a prompt that some of their responses repeat")


def _remark_on_echo(example: Example, remark: Remark) -> None:
    """Of conversations: an assistant that says what it was asked before it answers, as some pipelines leave it."""
    asked, first = example.prompt[-1], [response[0] for response in example.responses.values()]
    if asked["role"] == "user" and all(message["role"] == "assistant" for message in first):
        said = asked["content"].strip()
        echoes = [_begins_with(said, message["content"].lstrip()) for message in first]
        if any(echoes):
            which = "responses that all begin" if all(echoes) else "a response that begins"
            remark(f"have {which} with what the user said")


def _begins_with(prompt: str, response: str) -> bool:
    """Whether a response begins with a prompt; with a short one only where that is not the beginning of a word."""
    if not prompt or not response.startswith(prompt):
        return False
    within_a_word = prompt[-1].isalnum() and response[len(prompt) :][:1].isalnum()
    return len(prompt) >= LEAST_REPEATED or not within_a_word


def check_repetition(repeated: int, short: int, rows: int, field: str) -> BadField | None:
    """What is wrong where all of several rows repeat their prompt in all of their responses.

    Args:
        repeated, short: how many rows have the remarks `REPEATED` and `REPEATED_SHORT`.
        rows: how many rows there are.
        field: the column of the responses, or of one of them.
    """
    if repeated + short < rows or (repeated < 2 and rows < LEAST_REPEATED):
        return None
    what = "it begins with the prompt, which would be trained on as a part of it; give the response alone, or no prompt"
    return BadField(field, what)


def check_samples(samples: Any, conversational: bool) -> None:
    """Raise for reference samples that are no responses of the assistant's, as `field_of` returned them."""
    for place, sample in enumerate(samples):
        what = f"response {place}: "
        if isinstance(sample, str) == conversational:
            raise BadField("reference_samples", f"{what}it must be text or a conversation as the prompt is")
        if isinstance(sample, str):
            if not sample.strip():
                raise BadField("reference_samples", f"{what}it is empty")
        elif any(message["role"] != "assistant" for message in sample):
            raise BadField("reference_samples", f"{what}it must be the assistant's alone, without turns of others")
        elif not says_something(sample[-1]):
            raise BadField("reference_samples", f"{what}its last message is empty")
