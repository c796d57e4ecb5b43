r"""Whether a model predicts each token from those before it alone, without which no log pi(y \| x) is one.

log pi(y \| x) = sum_t log pi(y_t \| x, y_<t) is a log-probability only if the model's distribution at t has not seen
y_t. A model that reads both ways, such as BERT without ``is_decoder``, gives numbers that look like any others. So it
is tried out: with another last token, the distributions at all positions before it have to stay what they were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .data.logps import of_products

SHARE = 5e-4
"""Of what another token changes at its own place, how much it may change before it. Encoders change 1e-3 and more, even
those of one layer with small random weights, and mixtures of experts, whose products change their sizes, below 1e-6."""


def with_another_end(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose last token is another one of their own tokens, and where that is.

    Args:
        ids, mask: tokens and which of them are there, shape (rows, positions).

    Returns:
        Tokens of the same shape, and the places of the last ones, shape (rows, 1).
    """
    last = (mask * torch.arange(ids.shape[1], device=ids.device)).argmax(dim=1, keepdim=True)
    other = ((ids != ids.gather(1, last)) & (mask == 1)).int().argmax(dim=1, keepdim=True)
    return ids.scatter(1, last, ids.gather(1, other)), last


def leak(old: Tensor, new: Tensor, last: Tensor, length: int, rounding: float) -> tuple[Tensor, Tensor]:
    """By how many nats log-probabilities before the last token changed with it, at most, and by how many they may.

    Args:
        old, new: logits, shape (rows, at least ``length``, V); those of the tokens are the last ones.
        last: places of the tokens that are others, shape (rows, 1).
        rounding: the relative error of one rounding.

    Returns:
        Two tensors of shape (1,).
    """
    before, after = (logits[:, -length:].float().log_softmax(dim=-1) for logits in (old, new))
    gaps = torch.where(before == after, 0.0, (before - after).abs()).amax(dim=-1)  # of two that are -inf there is none
    places, last = torch.arange(length, device=gaps.device), last.to(gaps.device)
    there, own = (gaps.masked_fill(~mask, 0.0).max() for mask in (places < last, places == last))
    largest = old.float().abs()
    limit = 4 * rounding * largest.masked_fill(largest.isinf(), 0.0).max() + SHARE * own
    return there.reshape(1), limit.reshape(1)


def what_it_sees(model: Any, gap: float) -> str:
    """A sentence on a model of transformers that sees tokens after the one that it predicts."""
    hint = ""
    if getattr(model.config, "is_decoder", None) is False:
        hint = ": is_decoder=True in its configuration makes it read from left to right"
    return (
        f"model {type(model).__name__} predicts tokens from later ones too: another last token changes "
        f"log-probabilities before it by {gap:.2g} nats, so that those of responses would be none{hint}"
    )


def check_reads_forward(model: Any) -> None:
    """Raise for a model that sees later tokens, tried out on eight tokens from the middle of its vocabulary.

    Args:
        model: a causal language model of transformers, or of PEFT around one, in evaluation mode.

    Raises:
        ValueError: naming the model's class.

    Example:
        >>> check_reads_forward(load_model("smollm2"))  # doctest: +SKIP
    """
    size = model.config.get_text_config().vocab_size
    ids = ((size // 2 + torch.arange(8)) % size)[None].to(model.device)
    mask = torch.ones_like(ids)
    changed, last = with_another_end(ids, mask)
    with torch.no_grad():
        old, new = (model(input_ids=x, attention_mask=mask, use_cache=False).logits for x in (ids, changed))
    gap, limit = leak(old, new, last, ids.shape[1], max(torch.finfo(old.dtype).eps, of_products()))
    if float(gap) > float(limit):
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        raise ValueError(what_it_sees(inner, float(gap)))
