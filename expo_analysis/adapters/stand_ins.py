"""What trainers are given in place of models and batches: log-probabilities as tokens, logits and attributes.

A response of log-probability s and n tokens becomes n tokens of s/n each, after one token of a prompt; winners come
first and losers after them, as in most trainers.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

PROMPT, TOKEN, OTHER = 0, 1, 2
"""The vocabulary: the prompt's only token, that of all responses, and the one that has the other probability."""

IGNORED = -100
"""The label of a token that does not count."""


def tokens(logps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of tokens (B, T), zero beyond a response's end, and which are there (B, T), as 0 and 1.

    Args:
        logps, lengths: of responses (B,).
    """
    count = lengths.round().to(torch.long)
    there = (torch.arange(int(count.max())) < count[:, None]).to(logps.dtype)
    return (logps / lengths)[:, None] * there, there


def sequences(
    logps: torch.Tensor, lengths: torch.Tensor, prompt: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids (B, prompt + T), labels of the same shape, and logits (B, prompt + T, 3) of prompts and responses.

    The logits at position t are those of token t + 1; a prompt's further tokens have probability 1/2 each.
    ``IGNORED`` labels the prompt, and what lies beyond the end.
    """
    log_probs, there = tokens(logps, lengths)
    odds = log_probs - torch.log(-torch.expm1(log_probs))
    odds = torch.where(there > 0, odds, torch.zeros_like(odds))
    nothing = torch.zeros_like(odds[:, :1])
    odds = torch.cat([*[nothing] * (prompt - 1), odds, nothing], dim=1)
    logits = torch.stack([torch.full_like(odds, -1e4), odds, torch.zeros_like(odds)], dim=-1)
    first = torch.tensor([PROMPT] + [OTHER] * (prompt - 1)).expand(len(logps), prompt)
    ids = torch.cat([first, torch.full(there.shape, TOKEN)], dim=1)
    labels = torch.cat([torch.full_like(first, IGNORED), torch.where(there > 0, TOKEN, IGNORED)], dim=1)
    return ids, labels, logits


def gathers() -> SimpleNamespace:
    """An accelerate.Accelerator of one process, as far as a loss asks it for anything."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        gather=lambda value: value,
        gather_for_metrics=lambda value: value,
        unwrap_model=lambda model: model,
    )


def trainer(**settings: Any) -> SimpleNamespace:
    """A trainer that has nothing but these settings, an accelerator and metrics that nobody reads."""
    return SimpleNamespace(accelerator=gathers(), store_metrics=lambda *args, **kwargs: None, **settings)


@dataclass
class Running:
    """A running mean of rewards that has settled: nothing moves it."""

    mean: float

    def update(self, rewards: torch.Tensor) -> tuple[float, float]:
        return self.mean, 0.0
