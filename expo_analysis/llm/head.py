r"""A language model's head over the whole vocabulary, a few tokens at a time.

A batch of responses has N tokens and the vocabulary V entries: N x V logits are often the largest tensor of a step.
`add_response_head` lets a model compute what a loss needs of them in chunks of C tokens, recomputing each chunk in the
backward pass, so that memory grows with C V + N and never with N V. Beside the log-probabilities of the tokens it gives
divergences between the next-token distributions of the model and of a reference, whole vocabulary.

TRL's own fused head computes in float32 whatever the model is in, and without a Triton kernel it scores prompts and
padding too. So models in float64 go through this one, and models on a CPU whose logits allow it (`scaling_of`).
"""

from __future__ import annotations

import functools
import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from ..divergences import ReverseKL

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(N, V) log-probabilities of the policy and of the reference -> (N,)."""

SCALED = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""Settings of models that do more to logits than a matrix product; this head refuses them."""


def scaling_of(model: Any) -> str | None:
    """Which setting makes a model's logits more than a matrix product, as "name = value"; None if none does."""
    config = model.config.get_text_config()
    found = ((name, getattr(config, name, None)) for name in SCALED)
    return next((f"{name} = {value}" for name, value in found if value not in (None, 1, 1.0)), None)


@dataclass(frozen=True)
class ReferenceStates:
    """What gives the reference's logits: ``states`` (N, H) at the positions that predict a token, and its head."""

    states: Tensor
    weight: Tensor
    bias: Tensor | None


def head_of(model: Any) -> tuple[Tensor, Tensor | None]:
    """Weight (V, H) and bias (V,) or None of a model's head, gathered where they are sharded."""
    head = model.get_output_embeddings()
    weight, bias = head.weight, head.bias
    if isinstance(weight, DTensor):
        weight = weight.full_tensor()
        bias = None if bias is None else bias.full_tensor()
    return weight, bias


def _chunk(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    reference: tuple[Tensor, Tensor, Tensor | None] | None,
    divergence: Divergence | None,
) -> tuple[Tensor, ...]:
    logits = linear(states, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logp = logits.log_softmax(dim=-1)
    log_prob = logp.gather(1, targets[:, None])[:, 0]
    with torch.no_grad():
        measured = [-(logp.exp() * logp).sum(-1), logits.mean(-1), logits.argmax(-1) == targets]
    if reference is None or divergence is None:
        return (log_prob, *measured)
    with torch.no_grad():
        ref_logits = linear(*reference)
        ref_logp = ref_logits.to(logits.dtype).log_softmax(dim=-1)
        measured.append(ReverseKL()(logp, ref_logp))
    return (log_prob, *measured, divergence(logp, ref_logp))


NAMES = ("log_probs", "entropy", "mean_logits", "is_top1", "reverse_kl", "divergence")
"""What the head returns, in this order; the last two only beside a reference."""


def add_response_head(model: Any, chunk_size: int) -> None:
    """Teach ``model(..., labels=labels, response_head=True)`` to return `NAMES`, each of shape (rows, positions - 1).

    ``labels`` are -100 where no token is to be predicted, and what is returned is 0 there. With ``divergence`` and
    ``reference`` (`ReferenceStates`) the divergence of each next-token distribution is returned too.
    ``model(..., labels=labels, response_states=True)`` returns the states (N, H) that such a reference is made of.
    It has to be inside forward, where DDP and FSDP hook in. Call it after TRL has added its own fused head.

    Args:
        chunk_size: how many tokens have their logits in memory at a time.

    Raises:
        ValueError: for a model that scales or caps its logits.
    """
    scaling = scaling_of(model)
    if scaling:
        raise ValueError(
            f"model must have plain logits to be compared token by token; {type(model).__name__} has {scaling}. "
            "The estimators own_responses and reference_samples work"
        )
    inner = model.forward

    @functools.wraps(type(model).forward)  # `generate` reads the signature
    def forward(
        self: Any,
        *args: Any,
        response_head: bool = False,
        response_states: bool = False,
        labels: Tensor | None = None,
        reference: ReferenceStates | None = None,
        divergence: Divergence | None = None,
        **kwargs: Any,
    ) -> Any:
        if not (response_head or response_states):
            return inner(*args, **kwargs) if labels is None else inner(*args, labels=labels, **kwargs)
        assert labels is not None
        states = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        targets = labels[:, 1:].to(states.device)
        mask = targets != -100
        states, targets = states[mask], targets[mask]
        if response_states:
            return states
        return _in_chunks(states, targets, mask, head_of(self), reference, divergence, chunk_size)

    model.forward = types.MethodType(forward, model)


def _in_chunks(
    states: Tensor,
    targets: Tensor,
    mask: Tensor,
    head: tuple[Tensor, Tensor | None],
    reference: ReferenceStates | None,
    divergence: Divergence | None,
    size: int,
) -> dict[str, Tensor]:
    count = len(states)
    edges = [0, *range(count % size or min(size, count), count, size), count]  # the last chunk is a full one
    parts = []
    for start, end in itertools.pairwise(edges):  # no token at all is a chunk too, and keeps the graph whole
        part = slice(start, end)
        beside = None if reference is None else (reference.states[part], reference.weight, reference.bias)
        arguments = (states[part], *head, targets[part], beside, divergence)
        # the backward pass begins with the last chunk, so that one may as well stay in memory
        recomputed = torch.is_grad_enabled() and end < count
        parts.append(checkpoint(_chunk, *arguments, use_reentrant=False) if recomputed else _chunk(*arguments))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return {
        name: column.new_zeros(mask.shape).masked_scatter(mask, column)
        for name, column in zip(NAMES, columns, strict=False)
    }
