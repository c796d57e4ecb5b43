"""From texts to tokens, as TRL makes them: a prompt, and responses that begin where their tokens leave the prompt's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .checks import check_controls
from .conversation import Conversation
from .forms import Pair, Remark, Text
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


def encode(pair: Pair, encoder: Encoder, remark: Remark) -> dict[str, Any]:
    """``prompt_ids``, ``chosen_ids`` and ``rejected_ids`` of a pair, and ``chosen_mask``, ``rejected_mask``.

    Where the prompt's last tokens merge with a response's first ones, the response begins with the first token that is
    not the prompt's own.

    Raises:
        BadField: where no token of a prompt is its own, and where the chat template leaves out a tool call.
    """
    arguments = pair.template_arguments
    if pair.conversational:
        answer = pair.chosen[0]["role"] == pair.rejected[0]["role"] == "assistant"
        prompt = encoder.conversation(pair.prompt, arguments, answer)
    else:
        prompt = encoder.text(pair.prompt, remark)
    whole = {side: encoder.response(pair.prompt, getattr(pair, side), arguments, remark) for side in SIDES}
    length = min(common_beginning(prompt, ids) for ids in whole.values())
    if prompt and not length:
        raise BadField("prompt", "its tokens merge with the first ones of a response, which leaves none of its own")
    if length < len(prompt):
        rendered, merged = (
            "that the chat template renders differently before a",
            "whose last tokens merge with those of a",
        )
        remark(f"have a prompt {rendered if pair.conversational else merged} response")
    found: dict[str, Any] = {"prompt_ids": prompt[:length]}
    if pair.conversational:
        _check_tool_calls("prompt", pair.prompt, prompt, encoder)
    for side, ids in whole.items():
        found[f"{side}_ids"] = ids[length:]
        found[f"{side}_mask"] = [1] * (len(ids) - length)
        if pair.conversational:
            response = getattr(pair, side)
            _check_tool_calls(side, response, ids[length:], encoder)
            if not answer or any(message["role"] != "assistant" for message in response):
                found[f"{side}_mask"] = _turns(pair.prompt, response, arguments, ids, encoder, side)[length:]
    return found


SIDES = ("chosen", "rejected")


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


def _check_tool_calls(field: str, messages: Conversation, ids: Ids, encoder: Encoder) -> None:
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    if not calls:
        return
    text = encoder.tokenizer.decode(ids)
    for call in calls:
        name = (call.get("function") or call).get("name") if isinstance(call, dict) else None
        if not isinstance(name, str):
            raise BadField(field, "a tool call must have a function with a name", f", got {call!r:.60}")
        if name not in text:
            raise BadField(field, "the tokenizer's chat template leaves out its tool calls")


def check_lengths(ids: dict[str, Any], max_length: int | None, max_positions: int | None, remark: Remark) -> None:
    """Raise for tokens that cannot be trained on within the limits.

    Args:
        ids: as `encode` returns them, and ``sample_ids`` where there are any.
        max_length: longer sequences lose their end; None cuts nothing.
        max_positions: how many positions a model has that knows no others; None where there is no such limit.
    """
    prompt, chosen, rejected = ids["prompt_ids"], ids["chosen_ids"], ids["rejected_ids"]
    room = None if max_length is None else max_length - len(prompt)
    if not prompt:
        raise BadField("prompt", "it has no tokens, so that nothing predicts a response's first one")
    if room is not None and room <= 0:
        what = f"it leaves no room for a response within max_length={max_length}"
        raise BadField("prompt", what, f": it has {len(prompt)} tokens")
    for side in SIDES:
        if not ids[f"{side}_ids"]:
            raise BadField(side, "it has no tokens")
        if not any(ids.get(f"{side}_mask", [1])[:room]):
            raise BadField(side, f"none of the assistant's tokens are within max_length={max_length}")
    if chosen == rejected:
        raise BadField("rejected", "it has the same tokens as chosen")
    if chosen[:room] == rejected[:room]:
        raise BadField("rejected", f"it is the same as chosen within max_length={max_length}, and differs only after")
    samples = ids.get("sample_ids") or []
    if max_positions is not None:
        _check_positions(ids, samples, max_length, max_positions)
    if room is not None:
        if max(len(chosen), len(rejected)) > room:
            remark(f"have a response that is cut at max_length={max_length}")
        if any(len(sample) > room for sample in samples):
            remark(f"have a reference sample that is cut at max_length={max_length}")


def _check_positions(ids: dict[str, Any], samples: Sequence[Ids], max_length: int | None, positions: int) -> None:
    longest = len(ids["prompt_ids"])
    sides = [(side, ids[f"{side}_ids"]) for side in SIDES] + [("reference_samples", sample) for sample in samples]
    for field, response in sides:
        length = longest + len(response)
        if length > positions and (max_length is None or max_length > positions):
            what = f"with its prompt it is longer than the model's {positions} positions; set max_length={positions}"
            raise BadField(field, what, f": it has {length} tokens")


def encode_samples(pair: Pair, prompt: Ids, encoder: Encoder, remark: Remark) -> list[Ids]:
    """The tokens of reference samples after ``prompt``.

    Raises:
        BadField: where a sample's tokens merge with the prompt's, so that there is no telling where it begins.
    """
    found = []
    for place, sample in enumerate(pair.samples):
        check_controls("reference_samples", sample, encoder.end, encoder.controls, remark)
        ids = encoder.response(pair.prompt, sample, pair.template_arguments, remark)
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
