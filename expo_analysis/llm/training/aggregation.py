"""From numbers per token to one number per response: the one place where that is decided, outside of all losses."""

from __future__ import annotations

import torch
from torch import Tensor

from ...losses.base import check_option

AGGREGATIONS = ("sum", "mean")
"""``"sum"`` makes log pi(y|x), what the theory is about; ``"mean"`` divides it by the response's length."""

TOKEN_MEAN = "token_mean"
"""For `SFT` alone: the sum over all responses of a step, divided by all their tokens. Long responses count more."""


def aggregate(token_values: Tensor, mask: Tensor, aggregation: str) -> Tensor:
    """sum_t v_t over the tokens of each response, or that divided by their number.

    Args:
        token_values: shape (responses, positions), such as log pi(y_t | x, y_<t).
        mask: the same shape, true (or 1) where a position belongs to the response.
        aggregation: one of `AGGREGATIONS`.

    Returns:
        Shape (responses,).

    Example:
        >>> import torch
        >>> aggregate(torch.tensor([[-1.0, -3.0, -9.0]]), torch.tensor([[1, 1, 0]]), "mean")
        tensor([-2.])
    """
    # not a product with the mask: what stands beside a response may be infinite
    totals = torch.where(mask.bool(), token_values, token_values.new_zeros(())).sum(dim=1)
    return scale(totals, mask.sum(dim=1), aggregation)


def scale(totals: Tensor, lengths: Tensor, aggregation: str) -> Tensor:
    """The aggregate, where the sums over tokens (responses,) are known already, as precomputed references are.

    Args:
        lengths: how many tokens each response has, (responses,).
    """
    check_option("aggregation", aggregation, AGGREGATIONS)
    return totals if aggregation == "sum" else totals / lengths.clamp(min=1)


def shared_length_weights(mask: Tensor, alpha: float) -> Tensor:
    """Weights of tokens in LD-DPO: 1 up to the length that both responses of a pair have, alpha beyond it.

    Args:
        mask: shape (2 B, T): chosen responses, then rejected ones.
        alpha: in [0, 1]; 1 leaves everything as it is.

    Returns:
        Shape (2 B, T), 0 outside of the mask.

    Source: Liu et al. 2024, "Length Desensitization in Direct Preference Optimization" (arXiv 2409.06411), eq. 9.
    """
    place = mask.cumsum(dim=1)
    shared = mask.sum(dim=1).view(2, -1).amin(dim=0).repeat(2)[:, None]
    return torch.where(place <= shared, 1.0, alpha) * mask
