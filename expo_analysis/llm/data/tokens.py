"""From texts to tokens, as TRL makes them: a prompt, and responses that begin where their tokens leave the prompt's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .checks import check_controls, first_repeated
from .conversation import Conversation
from .forms import Example, Remark, Text
from .report import BadField

Ids = list[int]


class Encoder:
    """A tokenizer, and what it adds to a text by itself.

    template    its chat template
    controls    matches the tokens that control a model, such as those around a turn
    after       the tokens that it puts at the end of a text by itself
    """

    def __init__(self, tokenizer: Any, template_arguments: dict[str, Any] | None = None) -> None:
        self.tokenizer, self.template_arguments = tokenizer, dict(template_arguments or {})
        self.template: str = str(tokenizer.chat_template or "")
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.controls = either_of({*tokenizer.all_special_tokens, *added})
        bare, dressed = _probe(tokenizer)
        place = next((k for k in range(len(dressed)) if dressed[k : k + len(bare)] == bare), None)
        self.after: Ids = [] if place is None else dressed[place + len(bare) :]

    @property
    def end(self) -> str:
        """The end token's text; empty where there is none."""
        return self.tokenizer.eos_token or ""

    def text(self, text: str, remark: Remark = lambda text: None) -> Ids:
        """The tokens of plain text: no end token of the tokenizer's own, and at most one beginning token."""
        ids: Ids = list(self.tokenizer(text)["input_ids"])
        if self.after:
            ids = ids[: len(ids) - len(self.after)]
        begin = self.tokenizer.bos_token_id
        if begin is not None and ids[:2] == [begin, begin]:
            remark("begin with a beginning token beside the one that the tokenizer adds; it is left out")
            ids = ids[1:]
        return ids

    def conversation(self, messages: Conversation, arguments: dict[str, Any], answer: bool = False) -> Ids:
        """The tokens of a conversation; ``answer`` adds what stands before the assistant's answer."""
        if not self.template:
            raise BadField("prompt", "it is a conversation, and the tokenizer has no chat template")
        try:
            found = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=answer, return_dict=True, **(self.template_arguments | arguments)
            )
        except Exception as error:  # a template is a program, and may raise anything
            reason = " ".join(str(error).split())
            raise BadField("prompt", "the chat template refuses the conversation", f": {reason}") from None
        return list(found["input_ids"])

    def response(self, prompt: Text, response: Text, arguments: dict[str, Any], remark: Remark) -> Ids:
        """The tokens of a prompt and a response to it, the end token of plain text included."""
        if not isinstance(prompt, str):
            return self.conversation([*prompt, *response], arguments)
        if not self.end:
            raise ValueError("the tokenizer must have an end token, with which responses end: set its eos_token")
        return [*self.text(prompt + str(response).removesuffix(self.end), remark), self.tokenizer.eos_token_id]


def either_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches each of these texts, the longest first."""
    found = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found)) or "(?!)")


def _probe(tokenizer: Any) -> tuple[Ids, Ids]:
    """The tokens of some text without and with those that the tokenizer adds."""
    bare: Ids = []
    for text in ("a", *tokenizer.get_vocab()):
        bare, dressed = (list(tokenizer(text, add_special_tokens=own)["input_ids"]) for own in (False, True))
        if bare:
            return bare, dressed
    return bare, bare


def common_beginning(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two lists have in common at their beginnings."""
    return next(
        (k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


@dataclass
class Tokens:
    """Token ids of a prompt and of its responses by name, and which of the latter count: 1, or 0 for others' turns."""

    prompt: Ids
    responses: dict[str, Ids]
    masks: dict[str, Ids]
    samples: list[Ids] = field(default_factory=list)


def encode(example: Example, encoder: Encoder, remark: Remark) -> Tokens:
    """The tokens of a row.

    Where the prompt's last tokens merge with a response's first ones, the response begins with the first token that is
    not the prompt's own.

    Raises:
        BadField: where no token of a prompt is its own, and where the chat template leaves out a tool call.
    """
    arguments = example.template_arguments
    if example.conversational:
        answer = all(response[0]["role"] == "assistant" for response in example.responses.values())
        prompt = encoder.conversation(example.prompt, arguments, answer)
    else:
        prompt = encoder.text(example.prompt, remark)
    whole = {
        name: encoder.response(example.prompt, response, arguments, remark)
        for name, response in example.responses.items()
    }
    length = min(common_beginning(prompt, ids) for ids in whole.values())
    if prompt and not length:
        raise BadField("prompt", "its tokens merge with the first ones of a response, which leaves none of its own")
    if length < len(prompt):
        rendered, merged = (
            "that the chat template renders differently before a",
            "whose last tokens merge with those of a",
        )
        remark(f"have a prompt {rendered if example.conversational else merged} response")
    found = Tokens(prompt[:length], {}, {})
    if example.conversational:
        _check_tool_calls("prompt", example.prompt, prompt, encoder)
    for name, ids in whole.items():
        found.responses[name] = ids[length:]
        found.masks[name] = [1] * (len(ids) - length)
        if example.conversational:
            response = example.responses[name]
            _check_tool_calls(name, response, ids[length:], encoder)
            if not answer or any(message["role"] != "assistant" for message in response):
                found.masks[name] = _turns(example.prompt, response, arguments, ids, encoder, name)[length:]
    return found


def _turns(
    prompt: Conversation, response: Conversation, arguments: dict[str, Any], whole: Ids, encoder: Encoder, side: str
) -> Ids:
    """Which tokens of a conversation are turns of the assistant's within the response.

    Raises:
        BadField: where the template renders a turn differently once others follow, so that there is no telling.
    """
    mask = [0] * len(whole)
    for place, message in enumerate(response):
        if message["role"] != "assistant":
            continue
        before = encoder.conversation([*prompt, *response[:place]], arguments)
        begun = encoder.conversation([*prompt, *response[:place]], arguments, answer=True)
        after = encoder.conversation([*prompt, *response[: place + 1]], arguments)
        start, end = common_beginning(begun, whole), common_beginning(after, whole)
        if start < len(before) or end < len(after):
            what = "the chat template renders its turns differently where others follow, so that none can be told apart"
            raise BadField(side, f"{what}; TRL's get_training_chat_template gives one that does not")
        mask[start:end] = [1] * (end - start)
    return mask


def _check_tool_calls(name: str, messages: Conversation, ids: Ids, encoder: Encoder) -> None:
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    if not calls:
        return
    text = encoder.tokenizer.decode(ids)
    for call in calls:
        called = (call.get("function") or call).get("name") if isinstance(call, dict) else None
        if not isinstance(called, str):
            raise BadField(name, "a tool call must have a function with a name", f", got {call!r:.60}")
        if called not in text:
            raise BadField(name, "the tokenizer's chat template leaves out its tool calls")


def check_lengths(tokens: Tokens, max_length: int | None, max_positions: int | None, remark: Remark) -> None:
    """Raise for tokens that cannot be trained on within the limits.

    Args:
        max_length: longer sequences lose their end; None cuts nothing.
        max_positions: how many positions a model has that knows no others; None where there is no such limit.
    """
    prompt, responses = tokens.prompt, tokens.responses
    room = None if max_length is None else max_length - len(prompt)
    if not prompt:
        raise BadField("prompt", "it has no tokens, so that nothing predicts a response's first one")
    if room is not None and room <= 0:
        what = f"it leaves no room for a response within max_length={max_length}"
        raise BadField("prompt", what, f": it has {len(prompt)} tokens")
    for name, ids in responses.items():
        if not ids:
            raise BadField(name, "it has no tokens")
        if not any(tokens.masks[name][:room]):
            raise BadField(name, f"none of the assistant's tokens are within max_length={max_length}")
    twice = first_repeated(responses)
    if twice is not None:
        raise BadField(twice[0], f"it has the same tokens as {twice[1]}")
    twice = first_repeated({name: ids[:room] for name, ids in responses.items()})
    if twice is not None:
        what = f"it is the same as {twice[1]} within max_length={max_length}, and differs only after"
        raise BadField(twice[0], what)
    if max_positions is not None:
        _check_positions(tokens, max_length, max_positions)
    if room is not None:
        if max(map(len, responses.values())) > room:
            remark(f"have a response that is cut at max_length={max_length}")
        if any(len(sample) > room for sample in tokens.samples):
            remark(f"have a reference sample that is cut at max_length={max_length}")


def _check_positions(tokens: Tokens, max_length: int | None, positions: int) -> None:
    sides = [*tokens.responses.items(), *(("reference_samples", sample) for sample in tokens.samples)]
    for name, response in sides:
        length = len(tokens.prompt) + len(response)
        if length > positions and (max_length is None or max_length > positions):
            what = f"with its prompt it is longer than the model's {positions} positions; set max_length={positions}"
            raise BadField(name, what, f": it has {length} tokens")


def encode_samples(example: Example, prompt: Ids, encoder: Encoder, remark: Remark) -> list[Ids]:
    """The tokens of reference samples after ``prompt``.

    Raises:
        BadField: where a sample's tokens merge with the prompt's, so that there is no telling where it begins.
    """
    found = []
    for place, sample in enumerate(example.samples):
        check_controls("reference_samples", sample, encoder.end, encoder.controls, remark)
        ids = encoder.response(example.prompt, sample, example.template_arguments, remark)
        if ids[: len(prompt)] != prompt:
            what = f"the tokens of response {place} merge with those of the prompt; give reference_sample_ids instead"
            raise BadField("reference_samples", what)
        found.append(ids[len(prompt) :])
    return found


def tokenizer_digest(tokenizer: Any) -> str:
    """A digest of all that a tokenizer's tokens depend on: vocabulary, rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        rules.pop("padding", None)  # these are of the last call
        rules.pop("truncation", None)
    else:
        rules = tokenizer.get_vocab()
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    parts = [type(tokenizer).__name__ if backend is None else "", rules, special, tokenizer.chat_template]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
