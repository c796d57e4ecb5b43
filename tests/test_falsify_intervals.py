"""Intervals: bounds hold and are rounded outwards, for jets and a loss's own code; what is not known is said."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.falsify.intervals import functions
from expo_analysis.desiderata.falsify.intervals.jets import Boxes, Jet
from expo_analysis.desiderata.falsify.intervals.objective import Bounded
from expo_analysis.desiderata.falsify.intervals.tensors import Enclosed, Unknown, lift


def boxes_of(rng: np.random.Generator, n: int, size: int, width: float = 1.0) -> Boxes:
    low = rng.exponential(2.0, (n - 1, size)) * (rng.uniform(size=(n - 1, size)) < 0.8)
    order = rng.permuted(np.tile(np.arange(n)[:, None], (1, size)), axis=0)
    return Boxes(low, low + width * rng.exponential(1.0, (n - 1, size)), order)


def within(rng: np.random.Generator, boxes: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """Gaps in each box, and log pi there, (n, B)."""
    gaps = boxes.low + rng.uniform(size=boxes.low.shape) * (boxes.high - boxes.low)
    x = -np.concatenate([np.zeros((1, boxes.size)), np.cumsum(gaps, axis=0)])
    logs = x - np.log(np.exp(x).sum(axis=0))
    return gaps, np.take_along_axis(logs, boxes.rank, axis=0)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_policies_and_log_ratios_are_enclosed(n: int) -> None:
    """And tightly: log-ratios exactly, probabilities up to what a box's own shape allows."""
    rng = np.random.default_rng(n)
    boxes = boxes_of(rng, n, 200)
    jet, pair = boxes.log_policy(np.arange(n)), boxes.log_policy(np.array([0])) - boxes.log_policy(np.array([1]))
    for _ in range(100):
        _, logs = within(rng, boxes)
        for (low, high), value in (
            (jet.value, logs),
            (boxes.policies, np.exp(logs)),
            (pair.value, logs[[0]] - logs[[1]]),
        ):
            assert (low <= value + 1e-13).all() and (value - 1e-13 <= high).all()
    first, last = np.sort(boxes.rank[:2], axis=0)
    widths = [(boxes.high - boxes.low)[a:b, k].sum() for k, (a, b) in enumerate(zip(first, last, strict=True))]
    np.testing.assert_allclose((pair.value[1] - pair.value[0])[0], widths, rtol=1e-9, atol=1e-12)


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log of exp": lambda x: torch.log(torch.exp(x) + 1),
    "log1p": lambda x: torch.log1p(x * x),
    "sigmoid": torch.sigmoid,
    "logsigmoid": torch.nn.functional.logsigmoid,
    "softplus": torch.nn.functional.softplus,
    "tanh": torch.tanh,
    "atan": torch.atan,
    "sqrt": lambda x: torch.sqrt(x * x + 1),
    "square": torch.square,
    "cube": lambda x: x**3,
    "minus square": lambda x: (x**2 + 1) ** -2,
    "power": lambda x: (x.sigmoid() + 0.1) ** 1.7,
    "quotient": lambda x: x / (1 + x.exp()),
    "relu": torch.relu,
    "clamp": lambda x: x.clamp(-1.0, 2.0),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "jump": lambda x: torch.where(x > 0.3, x, x - 1),
    "abs": lambda x: abs(1 - x),
    "maximum": lambda x: torch.maximum(x, 1 - x),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "sine": lambda x: torch.sin(3 * x) + torch.cos(x),
    "detached": lambda x: x.exp() - x.detach().exp() * x,
    "x e^x": lambda x: x.exp() * (x - 1.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_enclosed_with_their_slopes(name: str) -> None:
    """Values between the bounds everywhere in a box, and secants between the bounds of the slope, but for a jump's."""
    rng, f = np.random.default_rng(0), FUNCTIONS[name]
    boxes = boxes_of(rng, 2, 300, width=0.5)
    h = boxes.log_policy(np.array([0])) - boxes.log_policy(np.array([1]))
    found = lift(f(Enclosed(h)))
    assert found.slope is not None
    sign = np.where(boxes.rank[0] == 0, 1.0, -1.0)
    points = [boxes.low + t * (boxes.high - boxes.low) for t in (0.0, 0.2, 0.5, 0.9, 1.0)]
    values = [f(torch.from_numpy(sign * p)).numpy() for p in points]
    for value in values:
        assert (found.value[0] <= value).all() and (value <= found.value[1]).all()
    for (p, v), (q, w) in itertools.pairwise(zip(points, values, strict=True)):
        secant = (w - v) / (q - p)
        slack = 1e-9 * (1 + np.abs(secant))
        assert (found.slope[0][0] <= secant + slack).all() and (secant - slack <= found.slope[1][0]).all()
    narrow = (boxes.high - boxes.low)[0] < 0.05
    width = (found.value[1] - found.value[0])[0, narrow]
    assert np.median(width / (1 + np.abs(values[0][0, narrow]))) < (1.5 if name == "jump" else 0.6)


def test_rounding_is_outwards() -> None:
    """Against exact fractions: a sum, a product and a quotient of floats lie strictly within their bounds."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(500), rng.standard_normal(500) * 10 ** rng.uniform(-8, 8, 500)
    jets = Jet.constant(a), Jet.constant(b)
    inexact = 0
    for name, found, exact in (
        ("+", jets[0] + jets[1], lambda x, y: Fraction(x) + Fraction(y)),
        ("*", jets[0] * jets[1], lambda x, y: Fraction(x) * Fraction(y)),
        ("/", jets[0] * functions.reciprocal(jets[1]), lambda x, y: Fraction(x) / Fraction(y)),
    ):
        for low, high, x, y in zip(*found.value, a, b, strict=True):
            true = exact(float(x), float(y))
            assert Fraction(float(low)) < true < Fraction(float(high)), name
            inexact += Fraction(float(low)) != true
            assert high - low <= 1e-14 * abs(float(true)) + 1e-300
    assert inexact > 0


def test_infinite_boxes_have_bounds() -> None:
    """Far out: a log-ratio has one end, and what vanishes against what has no bound is no nan."""
    boxes = Boxes(np.array([[3.0]]), np.array([[np.inf]]), np.array([[0], [1]]))
    low, high = (boxes.log_policy(np.array([k])) for k in (1, 0))
    ratio = high - low
    assert 3.0 - 1e-12 < ratio.value[0].item() <= 3.0 and ratio.value[1] == np.inf
    assert lift(torch.sigmoid(Enclosed(ratio))).value[0] == pytest.approx(1 / (1 + np.exp(-3)))
    entropy = lift(Enclosed(low).exp() * Enclosed(low)).value
    assert -0.2 < entropy[0].item() < -0.05 and entropy[1].item() <= 1e-300
    assert boxes.policies[0][1] == 0.0 and boxes.policies[1][1] == pytest.approx(1 / (1 + np.exp(3)))


@pytest.mark.parametrize("name", sorted(set(ea.CATALOGUE) - {"aot", "qpo"}))
def test_losses_of_the_catalogue_are_enclosed_by_running_their_own_code(name: str) -> None:
    rng = np.random.default_rng(2)
    for lam, n in ((0.3, 2), (2.0, 3)):
        bandit = ea.Bandit(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)))
        objective = ea.objective(name, lam)
        boxes = boxes_of(rng, n, 60, width=0.02)
        (low, high), (falls, rises) = Bounded(objective, bandit)(boxes)
        for _ in range(3):
            (one, x), (other, y) = within(rng, boxes), within(rng, boxes)
            f, g = (ea.risk(objective, bandit, z.T).copy() for z in (x, y))
            slack = 1e-11 * (1 + np.abs(f) + np.abs(g))
            assert (low <= f + slack).all() and (f - slack <= high).all()
            steepest = (np.maximum(np.abs(falls), np.abs(rises)) * np.abs(one - other)).sum(axis=0)
            assert (np.abs(f - g) <= steepest + slack).all()
        assert np.median((high - low) / (1e-3 + np.abs(f))) < 1.0


def test_the_jump_of_softplus_is_within_its_bounds() -> None:
    """Torch's function is x beyond 20, 2e-9 below what it is before."""
    for low, high in ((19.0, 19.9), (19.99, 20.01), (20.0, 20.5), (20.5, 30.0)):
        boxes = Boxes(np.array([[low]]), np.array([[high]]), np.array([[0], [1]]))
        h = boxes.log_policy(np.array([0])) - boxes.log_policy(np.array([1]))
        found = lift(torch.nn.functional.softplus(Enclosed(h)))
        x = torch.linspace(low, high, 1001, dtype=torch.float64)
        values = torch.nn.functional.softplus(x).numpy()
        assert found.value[0] <= values.min() and values.max() <= found.value[1]
        assert found.slope is not None
        steps = np.diff(values) / np.diff(x.numpy())
        assert found.slope[0] <= steps.min() + 1e-9 and steps.max() - 1e-9 <= found.slope[1]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (lambda x: torch.logsumexp(x, 0), "logsumexp"),
        (lambda x: x.float() * 2, "float"),
        (lambda x: x if x.sum() > 0 else -x, "sum"),
        (lambda x: x if bool((x > -0.5).all()) else -x, "not known"),
        (lambda x: x.clone().mul_(2.0), "changes its argument"),
        (lambda x: x[0], "getitem"),
    ],
)
def test_what_is_not_known_is_said(code: Callable[[torch.Tensor], torch.Tensor], what: str) -> None:
    boxes = Boxes(np.array([[0.0, 0.1]]), np.array([[1.0, 2.0]]), np.array([[0, 1], [1, 0]]))
    with pytest.raises(Unknown, match=what):
        code(Enclosed(boxes.log_policy(np.array([0]))))
