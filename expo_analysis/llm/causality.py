r"""Whether a model predicts each token from those before it alone, without which no log pi(y \| x) is one.

log pi(y \| x) = sum_t log pi(y_t \| x, y_<t) is a log-probability only if the model's distribution at t has not seen
y_t. A model that reads both ways, such as BERT without ``is_decoder``, gives numbers that look like any others. So it
is tried out: with another last token, the distributions at all positions before it have to stay what they were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-3
"""By how many nats a log-probability in float32 may differ from what it should be."""


def with_another_end(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose last token is another one of their own tokens, and which of the positions come before it.

    Args:
        ids, mask: tokens and which of them are there, shape (rows, positions).

    Returns:
        Tokens of the same shape, and bool of shape (rows, positions).
    """
    places = torch.arange(ids.shape[1], device=ids.device)
    last = (mask * places).argmax(dim=1, keepdim=True)
    other = ((ids != ids.gather(1, last)) & (mask == 1)).int().argmax(dim=1, keepdim=True)
    return ids.scatter(1, last, ids.gather(1, other)), (places < last) & (mask == 1)


def leak(before: Tensor, after: Tensor, counted: Tensor) -> Tensor:
    """By how many nats next-token log-probabilities differ, at most, shape (1,).

    Args:
        before, after: logits, shape (rows, at least positions, V); those of `counted`'s positions are the last ones.
        counted: shape (rows, positions).
    """
    length = counted.shape[1]
    old, new = (logits[:, -length:].float().log_softmax(dim=-1) for logits in (before, after))
    gaps = torch.where(old == new, 0.0, (old - new).abs())  # of two that are -inf there is none
    return gaps.amax(dim=-1)[counted.to(gaps.device)].amax().reshape(1) if bool(counted.any()) else gaps.new_zeros(1)


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
    changed, before = with_another_end(ids, torch.ones_like(ids))
    with torch.no_grad():
        old, new = (
            model(input_ids=x, attention_mask=torch.ones_like(x), use_cache=False).logits for x in (ids, changed)
        )
    gap = float(leak(old, new, before))
    if gap > CLOSE + 4 * torch.finfo(old.dtype).eps * float(old.abs().max()):
        raise ValueError(what_it_sees(model.get_base_model() if hasattr(model, "get_base_model") else model, gap))
