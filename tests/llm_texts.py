"""Tokenizers that keep every text: one token a byte, with chat templates that add tokens of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import llm_models as tiny

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors  # isort: skip (after llm_models)
from transformers import PreTrainedTokenizerFast  # isort: skip

START, END, EOS = "<|im_start|>", "<|im_end|>", "<|end|>"

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% for c in m.get('tool_calls') or [] %}{{ '[call ' + (c['function'] | tojson) + ']' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if loop.last and m['role'] == 'assistant' %}{{ 'so: ' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Renders a turn differently once another follows, as those do that drop earlier thoughts."""


def byte_tokenizer(
    template: str | None = CHATML,
    *,
    end: str | None = EOS,
    begin: bool = False,
    ends_itself: bool = False,
    merges: Sequence[tuple[str, str]] = (),
) -> Any:
    """A token for every byte, and for each pair that merges.

    Args:
        end: the end token; None for a tokenizer without one.
        begin, ends_itself: whether the tokenizer adds ``<s>`` before, and ``end`` after a text by itself.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<s>", START, END, EOS, *alphabet, *("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE(vocab={token: k for k, token in enumerate(tokens)}, merges=list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    if begin or ends_itself:
        single = f"{'<s> ' if begin else ''}$A{f' {end}' if ends_itself else ''}"
        inner.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<s>", 1), (EOS, 4), (END, 3)]
        )
    special = {"pad_token": "<pad>", "additional_special_tokens": [START, END]}
    special |= {"eos_token": end} if end else {}
    special |= {"bos_token": "<s>"} if begin else {}
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template, **special)


def model_for(tokenizer: Any, **settings: Any) -> Any:
    """A tiny model with the tokenizer's vocabulary."""
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return tiny.llama(0, len(tokenizer), **{"max_position_embeddings": 4096} | ids | settings)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}
