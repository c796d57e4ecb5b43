"""A loss at log-probabilities, and what it reads of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from .definitions import PAIR_CASES, Case

EPS = np.finfo(np.float64).eps
each_pair_case = pytest.mark.parametrize("case", PAIR_CASES.values(), ids=PAIR_CASES)

Logs = tuple[np.ndarray, ...]


def losses(objective: ea.PairObjective, logs: Logs, swapped: bool = False) -> np.ndarray:
    """The loss at (logp_w, logp_l, ref_logp_w, ref_logp_l), or with winner and loser swapped."""
    won, lost, ref_won, ref_lost = logs
    return objective.loss(lost, won, ref_lost, ref_won) if swapped else objective.loss(won, lost, ref_won, ref_lost)


def log_ratio(logs: Logs) -> np.ndarray:
    """h"""
    return logs[0] - logs[1]


def relative_log_ratio(logs: Logs) -> np.ndarray:
    """hbar"""
    return logs[0] - logs[1] - (logs[2] - logs[3])


HAND = tuple(np.array([math.log(p)]) for p in (0.6, 0.2, 0.2, 0.4))


def evaluate(objective: ea.PairObjective, logs: Logs, dtype: torch.dtype = torch.float64) -> tuple[Any, Any, Any]:
    """Losses and their derivatives in logp_w and logp_l, by torch."""
    tensors = [torch.tensor(x, dtype=dtype) for x in logs]
    for tensor in tensors[:2]:
        tensor.requires_grad_(True)
    value = objective.loss(*tensors)
    slopes = torch.autograd.grad(value.sum(), tensors[:2])
    return value.detach().numpy(), *(slope.numpy() for slope in slopes)


def where_finite(case: Case, logs: Logs) -> Logs:
    """The same points, held away from where the loss is infinite."""
    return tuple(np.minimum(x, case.highest) for x in logs)


def slopes_within(case: Case, lam: float, point: list[float], found: list[Any], eps: float) -> bool:
    """Whether gradients are those of the definition, up to the rounding of the four log-probabilities and of psi'.

    psi'' is at most the square of psi's steepness, and psi' moves with the rounding of its argument.
    """
    exact = case.slopes(lam, *point)
    steep = max(abs(s) for s in exact) + steepness(case, lam)
    blur = (1 + sum(abs(x) for x in point)) * steep * (1 + steep)
    return all(abs(float(f) - e) <= 8 * eps * (blur + abs(e)) for f, e in zip(found, exact, strict=True))


SEE_RATIOS = ("fdpo", "qpo", "chi_po", "alpha_po")
"""Objectives of powers of u, or of pi, which saturate."""


def steepness(case: Case, lam: float) -> float:
    """The size of psi' that rounding refers to: lam where lam multiplies the margin, 1 where it does not."""
    return lam if case.steep else 1.0
