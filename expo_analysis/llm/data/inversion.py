"""Tokens drawn at given uniform numbers: the inverse of the cumulative distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LogitsProcessor


class NotFinite(ValueError):
    """A model that gives no distribution of the next token."""


class InverseTransform(LogitsProcessor):
    """Draws each row's next token at a given uniform number, and forbids all others.

    Args:
        uniforms: numbers in [0, 1), shape (rows, steps), float64.
        temperature, top_p: as in `Sampling`.
    """

    def __init__(self, uniforms: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.uniforms, self.temperature, self.top_p = uniforms, temperature, top_p
        self.largest = 0.0  # of all finite logits
        self.log_probs: list[Tensor] = []
        """log pi(y_t | x, y_<t) of the tokens drawn, at temperature 1: shape (rows,) for each step."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        log_probs = scores.log_softmax(dim=-1)
        self.largest = max(self.largest, float(scores.masked_fill(scores.isinf(), 0.0).abs().max()))
        if bool(log_probs.isnan().any()):
            raise NotFinite(
                f"the model's logits are not finite after {len(self.log_probs)} tokens of a response: look at its "
                "weights, and at the type that they are computed in"
            )
        tempered = log_probs if self.temperature == 1 else (scores / self.temperature).log_softmax(dim=-1)
        probabilities = tempered.exp()
        if self.top_p < 1:
            probabilities = nucleus(probabilities, self.top_p)
        tokens = invert(probabilities, self.uniforms[:, len(self.log_probs)])
        self.log_probs.append(log_probs.gather(1, tokens)[:, 0])
        return torch.full_like(scores, -math.inf).scatter(1, tokens, 0.0)


def invert(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative distribution passes u: never one of probability 0.

    Args:
        probabilities: shape (rows, V); they need not sum to 1.
        uniforms: shape (rows,), float64 in [0, 1).

    Returns:
        Shape (rows, 1).
    """
    upto = probabilities.double().cumsum(dim=-1)  # in float32 the many small ones would be lost beside the sum
    total = upto[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))
    return torch.searchsorted(upto, torch.minimum(uniforms[:, None] * total, below), right=True)


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The probabilities of the fewest tokens that have ``top_p`` together, and 0 for all others; shape (rows, V)."""
    ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.double().cumsum(dim=-1) - ordered
    return torch.zeros_like(probabilities).scatter(1, places, ordered.masked_fill(before >= top_p, 0.0))
