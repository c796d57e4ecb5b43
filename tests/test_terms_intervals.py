"""What psis state over whole intervals, on which proofs for one parameter rest: psi from below, psi''' from above."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from expo_analysis.losses.psi import (
    BernoulliKL,
    Exponential,
    Hinge,
    Linear,
    Logistic,
    Modulated,
    Sigmoid,
    Square,
    SquaredSigmoid,
    Stated,
)
from expo_analysis.numerics import exp

PSIS: dict[str, Any] = {
    "logistic": Logistic(),
    "smoothed logistic": Logistic(0.9, 0.1),
    "square": Square(),
    "hinge": Hinge(0.5),
    "line": Linear(-2.0),
    "sigmoid": Sigmoid(),
    "exponential": Exponential(),
    "squared sigmoid": SquaredSigmoid(),
    "squared sigmoid towards 0.3": SquaredSigmoid(0.3, 0.7),
    "squared sigmoid towards 1e-6": SquaredSigmoid(1e-6, 1 - 1e-6),
    "bernoulli": BernoulliKL(),
    "bernoulli, 0.4": BernoulliKL(0.4),
    **{f"modulated, {tau}": Modulated(tau) for tau in (0.05, 0.4, 1.0, 3.0)},
    "stated": Stated(lambda m: m**4, convex=True, lower_bound=0.0),
    "stated exponential": Stated(lambda m: exp(-m), self_concordance=1.0),
}
EXACT = ("logistic", "hinge", "line", "sigmoid", "exponential", "squared", "bernoulli")
"""Whose least value over an interval is told exactly, and not only from below."""


def intervals(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """From 1e-3 wide to thousands, around 0 and far out; beyond 700 exponentials underflow."""
    rng = np.random.default_rng(seed)
    middle, half = rng.standard_normal(300) * 10 ** rng.uniform(-1, 2.5, 300), 10 ** rng.uniform(-3, 3.5, 300)
    return middle - half, middle + half


def points(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Within each interval, its ends and what is near 0 among them: (points, intervals)."""
    share = np.linspace(0.0, 1.0, 201)[:, None]
    near = np.concatenate([np.sinh(np.linspace(-5, 5, 201)) / 5, np.linspace(-12, 12, 401)])[:, None]
    return np.concatenate([low + share * (high - low), np.clip(near, low, high)])


def third_derivative(psi: Any, m: np.ndarray) -> np.ndarray:
    """By torch, of the value."""
    x = torch.tensor(m, requires_grad=True)
    found = psi.value(x)
    for _ in range(3):
        if not found.requires_grad:
            return np.zeros_like(m)
        (found,) = torch.autograd.grad(found.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)
    return found.detach().numpy()


@pytest.mark.parametrize("name", PSIS)
def test_no_value_is_below_the_least(name: str) -> None:
    psi = PSIS[name]
    low, high = intervals(1)
    values = psi.value(points(low, high)).min(axis=0)
    least = psi.least(low, high)
    assert (least <= values + 1e-12 * (1 + np.abs(values))).all()
    if name.startswith(EXACT):
        narrow = high - low < 1
        np.testing.assert_allclose(least[narrow], values[narrow], rtol=1e-3, atol=1e-4)
    nothing = np.array([-np.inf, 0.0, -np.inf]), np.array([np.inf, np.inf, 0.0])
    for bound, start, end in zip(psi.least(*nothing), (-600.0, 0.0, -600.0), (600.0, 600.0, 0.0), strict=True):
        assert bound <= psi.value(np.linspace(start, end, 20_001)).min() + 1e-12


@pytest.mark.parametrize("name", PSIS)
def test_no_value_is_above_the_most(name: str) -> None:
    psi = PSIS[name]
    low, high = intervals(1)
    values = psi.value(points(low, high)).max(axis=0)
    most = psi.most(low, high)
    assert (most >= values - 1e-12 * (1 + np.abs(values))).all()
    if psi.convex or psi.increasing or psi.decreasing:  # at one of the ends, and so exactly
        np.testing.assert_array_equal(most, np.maximum(psi.value(low), psi.value(high)))
    assert np.isposinf(psi.most(np.array([-np.inf]), np.array([np.inf]))).all() or psi.convex
    # towards infinity only what is monotone has a bound
    ends = psi.most(np.array([-np.inf, 1.0]), np.array([1.0, np.inf]))
    wanted = psi.value(np.ones(1))[0]
    np.testing.assert_array_equal(ends, [wanted if psi.increasing else np.inf, wanted if psi.decreasing else np.inf])


@pytest.mark.parametrize("name", PSIS)
def test_no_third_derivative_is_above_the_bound(name: str) -> None:
    """Where second derivatives underflow in the middle of an interval, it may have large ones near its ends."""
    psi = PSIS[name]
    low, high = intervals(2)
    low, high = np.append(low, [0.0, -3.0]), np.append(high, [2000.0, 3000.0])
    found = np.abs(third_derivative(psi, points(low, high)))
    known = np.isfinite(found)  # torch's own overflow far out
    largest = np.where(known, found, 0.0).max(axis=0)
    bound = psi.third(low, high)
    assert not np.isnan(bound).any() and (bound >= largest * (1 - 1e-9) - 1e-12).all()


@pytest.mark.parametrize(
    "name", ["logistic", "sigmoid", "exponential", "squared sigmoid", "bernoulli", "modulated, 1.0"]
)
def test_bounds_of_third_derivatives_are_of_their_size(name: str) -> None:
    """On short intervals where psi''' is about 1, no bound is a hundred times as large."""
    low = np.linspace(-2.0, 1.0, 31)
    high = low + 1.0
    largest = np.abs(third_derivative(PSIS[name], points(low, high))).max(axis=0)
    assert (PSIS[name].third(low, high) <= 100 * largest).all()
