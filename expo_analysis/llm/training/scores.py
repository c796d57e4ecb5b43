"""Scores of tokens under a head over the whole vocabulary: what they are, and all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...divergences import ReverseKL

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(N, V) log-probabilities of the policy and of the reference -> (N,)."""

NAMES = ("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_squares")
"""Scores of every token: log p_t, -sum p log p, the mean logit, whether t has the largest, log sum p^2."""

BESIDE = ("reverse_kl", "divergence")
"""Scores beside a reference: KL(p ‖ q), and the divergence that was asked for. Only it and log p_t have gradients."""


@dataclass(frozen=True)
class Head:
    """logits = a (states W^T + b), or c tanh of that / c where there is a ``cap`` c.

    weight (V, H), bias (V,) or None, scale a.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None


@dataclass(frozen=True)
class Reference:
    """What gives a reference's next-token distributions for N tokens: states (N, H) and a head, or logits (N, V)."""

    states: Tensor | None = None
    head: Head | None = None
    logits: Tensor | None = None

    def part(self, tokens: slice) -> Tensor:
        """The logits of some of the tokens, at least in float32."""
        if self.logits is not None:
            return at_least_float32(self.logits[tokens])
        assert self.states is not None and self.head is not None
        return head_logits(self.states[tokens], self.head)


def at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def shape_logits(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """Scale and cap, out of place."""
    logits = logits if scale == 1 else logits * scale
    return logits if cap is None else cap * torch.tanh(logits / cap)


def head_logits(states: Tensor, head: Head) -> Tensor:
    """Logits (N, V) of states (N, H), differentiable."""
    logits = at_least_float32(torch.nn.functional.linear(states, head.weight))
    return shape_logits(logits if head.bias is None else logits + head.bias, head.scale, head.cap)


def measure(
    logits: Tensor, targets: Tensor, ref_logits: Tensor | None = None, divergence: Divergence | None = None
) -> tuple[Tensor, ...]:
    """The scores of all tokens at once from their logits (N, V), by autograd: those of `NAMES`, then of `BESIDE`."""
    logits = at_least_float32(logits)
    logp = logits.log_softmax(dim=-1)
    log_prob = logp.gather(1, targets[:, None])[:, 0]
    with torch.no_grad():
        probs = logp.exp()
        scores = [-(probs * logp).sum(-1), logits.mean(-1), logits.argmax(-1) == targets, (2 * logp).logsumexp(-1)]
    if ref_logits is None or divergence is None:
        return (log_prob, *scores)
    with torch.no_grad():
        ref_logp = ref_logits.to(logits.dtype).log_softmax(dim=-1)
        scores.append(ReverseKL()(logp, ref_logp))
    return (log_prob, *scores, divergence(logp, ref_logp))
