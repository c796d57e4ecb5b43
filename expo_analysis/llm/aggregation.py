"""From numbers per token to one number per response: the one place where that is decided, outside of all losses."""

from __future__ import annotations

from torch import Tensor

from ..losses.base import check_option

AGGREGATIONS = ("sum", "mean")
"""``"sum"`` makes log pi(y|x), what the theory is about; ``"mean"`` divides it by the length, as TRL's IPO does."""


def aggregate(token_values: Tensor, mask: Tensor, aggregation: str) -> Tensor:
    """sum_t v_t over the tokens of each response, or that divided by their number.

    Args:
        token_values: shape (responses, positions), such as log pi(y_t | x, y_<t).
        mask: the same shape, true (or 1) where a position belongs to the response.
        aggregation: one of `AGGREGATIONS`.

    Returns:
        Shape (responses,).
    """
    return scale((token_values * mask).sum(dim=1), mask, aggregation)


def scale(totals: Tensor, mask: Tensor, aggregation: str) -> Tensor:
    """The aggregate, where the sums over tokens (responses,) are known already, as precomputed references are."""
    check_option("aggregation", aggregation, AGGREGATIONS)
    return totals if aggregation == "sum" else totals / mask.sum(dim=1).clamp(min=1)
