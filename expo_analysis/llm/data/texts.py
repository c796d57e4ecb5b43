"""From sampled tokens to texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .conversation import assistant
from .prompts import Prompt
from .sampling import Draw


class Texts:
    """Responses as texts: what decoding adds to the prompt, without end tokens."""

    def __init__(self, tokenizer: Any, tokens_of: Mapping[int, Sequence[int]]) -> None:
        self.tokenizer, self.tokens_of = tokenizer, tokens_of

    def __call__(self, row: tuple[int, int], drawn: Draw) -> str:
        prompt = list(self.tokens_of[row[0]])
        # with its prompt, as some tokenizers drop the space at the beginning of a text
        before, both = self._decode(prompt), self._decode(prompt + drawn.ids)
        return both[len(before) :] if both.startswith(before) else self._decode(drawn.ids)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def differs(self, prompt: Prompt, row: tuple[int, int], drawn: Draw) -> bool:
        """Whether the text is split into other tokens than were sampled, so that only the ids are exact."""
        text = self(row, drawn)
        if isinstance(prompt, str):
            again = self.tokenizer(prompt + text)["input_ids"]
        else:
            said = [*prompt, assistant(text)]
            again = self.tokenizer.apply_chat_template(said, return_dict=True)["input_ids"]
        sampled = [*self.tokens_of[row[0]], *(drawn.ids[:-1] if drawn.finished else drawn.ids)]
        return list(again[: len(sampled)]) != sampled
