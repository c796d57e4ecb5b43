"""Bounds are no wider than they need be: at points, over intervals and far out, against mpmath, torch and corners."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.falsify.intervals import functions
from expo_analysis.desiderata.falsify.intervals.jets import Boxes, Jet
from expo_analysis.desiderata.falsify.intervals.objective import Bounded, added
from expo_analysis.desiderata.falsify.intervals.operations import FUNCTIONS as OPERATIONS
from expo_analysis.desiderata.falsify.intervals.rounding import (
    LARGEST,
    falling,
    hull,
    outward,
    peaked,
    positive,
    product,
    times,
    total,
    valley,
)
from expo_analysis.desiderata.falsify.intervals.tensors import Condition, Enclosed, Unknown, lift

from .test_falsify_intervals import boxes_of, within

SIGMOID = torch.nn.functional.logsigmoid


def line(low: Any, high: Any, sign: float = 1.0) -> Enclosed:
    """sign (log pi_0 - log pi_1) between bounds of the same sign as it."""
    low, high = np.atleast_1d(np.asarray(low, dtype=float)), np.atleast_1d(np.asarray(high, dtype=float))
    order = np.tile([[0], [1]] if sign > 0 else [[1], [0]], (1, low.size))
    boxes = Boxes(low[None], high[None], order)
    return Enclosed(boxes.log_policy(np.array([0])) - boxes.log_policy(np.array([1])))


# -------------------------------------------------------------------------------------------------------------- numbers


@np.errstate(over="ignore", invalid="ignore")
def test_outward_is_strictly_outward_and_no_farther_than_an_ulp_or_a_few() -> None:
    values = np.array([1.0, -1.0, 3.3e100, -2.7e-200, 1e-300, LARGEST, -LARGEST])
    for by, ulps in ((2.0**-52, 2.1), (2.0**-49, 17.0)):
        low, high = outward(values, values, by)
        assert (low < values).all() and (high > values).all()
        near = np.abs(values) < 1e300
        size = np.spacing(np.abs(values)) + 1e-307
        assert ((high - values)[near] <= ulps * size[near]).all() and ((values - low)[near] <= ulps * size[near]).all()
    assert outward(np.zeros(1), np.zeros(1)) == (0.0, 0.0), "0 is exact by arithmetic"
    low, high = outward(np.zeros(1), np.zeros(1), 2.0**-49)
    assert -1e-300 < low[0] < 0 < high[0] < 1e-300, "and not by functions, which underflow"
    low, high = outward(np.array([np.nan, np.inf, -np.inf]), np.array([np.nan, np.inf, -np.inf]))
    assert low.tolist()[::2] == [-np.inf, -np.inf] and high.tolist()[:2] == [np.inf, np.inf]
    assert 1e308 < low[1] <= LARGEST and -LARGEST <= high[2] < -1e308, "what overflows has bounds on one side"


def exact_range(a: Any, b: Any) -> tuple[Fraction, Fraction]:
    ends = [Fraction(x) * Fraction(y) for x in a for y in b]
    return min(ends), max(ends)


def test_products_of_intervals_of_any_sign() -> None:
    """Against fractions: enclosed, and no wider than by rounding."""
    numbers = [-3.0, -1e-200, -0.1, 0.0, 1e-200, 0.7, 5e150]
    intervals = list(itertools.combinations_with_replacement(numbers, 2))
    for a, b in itertools.product(intervals, intervals):
        low, high = times(*(tuple(np.array([x]) for x in ends) for ends in (a, b)))
        least, most = exact_range(a, b)
        assert Fraction(float(low[0])) <= least and most <= Fraction(float(high[0])), (a, b)
        for found, true in ((low, least), (high, most)):
            assert abs(Fraction(float(found[0])) - true) <= abs(true) * Fraction(1e-15) + Fraction(3e-307), (a, b)


def test_nothing_times_what_has_no_bound_is_nothing() -> None:
    zero, all_, above = (
        (np.zeros(1), np.zeros(1)),
        (np.full(1, -np.inf), np.full(1, np.inf)),
        (np.ones(1), np.full(1, np.inf)),
    )
    assert times(zero, all_) == (0.0, 0.0) and times(all_, zero) == (0.0, 0.0)
    assert times(above, all_) == (-np.inf, np.inf) and times(above, above)[1] == np.inf
    assert 0.99 < times(above, above)[0][0] < 1
    assert product(np.array([0.0, np.inf, -2.0]), np.array([np.inf, -1.0, 3.0])).tolist() == [0.0, -np.inf, -6.0]
    assert hull((np.zeros(1), np.ones(1)), (-np.ones(1), np.full(1, 0.5))) == (-1.0, 1.0)
    assert positive((np.array([-1.0, 2.0]), np.array([-0.5, 3.0])))[0].tolist() == [0.0, 2.0]


def test_sums_of_many_numbers() -> None:
    """What cancels: a thousand numbers over twenty decades, against fractions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 20)) * 10 ** rng.uniform(-10, 10, (1000, 20))
    x = np.concatenate([x, -x[::-1] * (1 + 1e-13)])
    low, high = total((x, x))
    for k in range(x.shape[1]):
        true = sum(map(Fraction, x[:, k].tolist()))
        assert Fraction(float(low[k])) < true < Fraction(float(high[k]))
        assert high[k] - low[k] <= 2e-12 * np.abs(x[:, k]).sum()
    low, high = total((np.array([[1.0], [-np.inf]]), np.array([[np.inf], [2.0]])))
    assert (low[0], high[0]) == (-np.inf, np.inf)


def test_peaks_and_valleys() -> None:
    """Of a function with one peak at 0, and of (y + k) e^y with one valley at -1 - k, exact over any interval."""
    ends = np.array([-800.0, -710.0, -30.0, -2.0, -1.3, -1.0, -0.5, 0.0, 1e-3, 2.0, 30.0])
    low, high = (x.reshape(-1) for x in np.meshgrid(ends, ends))
    low, high = low[low <= high], high[low <= high]
    share = np.linspace(0.0, 1.0, 4001)[:, None]
    turns = np.array([[-2.0], [-1.0], [0.0]])
    inside = np.clip(np.concatenate([low + share * (high - low), turns + 0 * low]), low, high)

    def hill(v: np.ndarray) -> np.ndarray:
        return np.exp(-np.abs(v) / 10)

    for (least, most), values in (
        (peaked(hill, (low, high)), hill(inside)),
        *((valley((low, high), -1.0 - k, k), (inside + k) * np.exp(inside)) for k in (0.0, 1.0)),
    ):
        slack = 1e-3 * np.ptp(values, axis=0) + 1e-13 * np.abs(values).max(axis=0) + 2e-307
        assert (least <= values.min(axis=0)).all() and (values.max(axis=0) <= most).all()
        assert (least >= values.min(axis=0) - slack).all() and (most <= values.max(axis=0) + slack).all()
    far = valley((np.full(1, -np.inf), np.full(1, -750.0)), -1.0, 0.0)
    assert -1e-300 < far[0][0] <= 0 <= far[1][0] < 1e-300, "no nan where e^y vanishes"
    assert falling(lambda v: -v, (np.array([1.0]), np.array([2.0])))[0][0] == pytest.approx(-2.0)


# ------------------------------------------------------------------------------------------------------------ functions

PLAIN: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "exp": (torch.exp, mpmath.exp),
    "expm1": (torch.expm1, mpmath.expm1),
    "exp2": (torch.exp2, lambda x: mpmath.mpf(2) ** x),
    "log": (lambda x: torch.log(x * 0.5 + 40), lambda x: mpmath.log(x / 2 + 40)),
    "log1p": (lambda x: torch.log1p(x * 0.5 + 39), lambda x: mpmath.log1p(x / 2 + 39)),
    "sigmoid": (torch.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "logsigmoid": (SIGMOID, lambda x: -mpmath.log1p(mpmath.exp(-x))),
    "softplus": (torch.nn.functional.softplus, lambda x: x if x > 20 else mpmath.log1p(mpmath.exp(x))),
    "softplus of 3": (
        lambda x: torch.nn.functional.softplus(x, beta=3, threshold=5),
        lambda x: x if 3 * x > 5 else mpmath.log1p(mpmath.exp(3 * x)) / 3,
    ),
    "tanh": (torch.tanh, mpmath.tanh),
    "atan": (torch.atan, mpmath.atan),
    "sqrt": (lambda x: torch.sqrt(x + 40), lambda x: mpmath.sqrt(x + 40)),
    "square": (torch.square, lambda x: x**2),
    "third power": (lambda x: x**3, lambda x: x**3),
    "fourth power": (lambda x: x**4, lambda x: x**4),
    "fifth power": (lambda x: x**5, lambda x: x**5),
    "sixth power": (lambda x: x**6, lambda x: x**6),
    "power 1.7": (lambda x: (x + 40) ** 1.7, lambda x: (x + 40) ** mpmath.mpf(1.7)),
    "power -0.3": (lambda x: (x + 40) ** -0.3, lambda x: (x + 40) ** mpmath.mpf(-0.3)),
    "root": (lambda x: (x + 40) ** 0.5, lambda x: mpmath.sqrt(x + 40)),
    "reciprocal": (lambda x: 1 / (x + 40), lambda x: 1 / (x + 40)),
    "inverse square": (lambda x: (x + 40) ** -2, lambda x: (x + 40) ** -2),
    "of what is negative": (lambda x: torch.reciprocal(x - 40), lambda x: 1 / (x - 40)),
    "abs": (torch.abs, abs),
    "relu": (torch.relu, lambda x: max(x, 0)),
    "clamp": (lambda x: x.clamp(-1.0, 2.0), lambda x: min(max(x, -1), 2)),
    "from below": (lambda x: x.clamp(min=-1.0), lambda x: max(x, -1)),
    "from above": (lambda x: torch.clamp_max(x, 2.0), lambda x: min(x, 2)),
    "maximum": (lambda x: torch.maximum(x, -2 * x), lambda x: max(x, -2 * x)),
    "minimum": (lambda x: torch.minimum(x, -2 * x), lambda x: min(x, -2 * x)),
    "sin": (torch.sin, mpmath.sin),
    "cos": (torch.cos, mpmath.cos),
    "sum": (lambda x: 3 - (2 * x - x / 4 + 1), lambda x: 2 - 2 * x + x / 4),
    "with alpha": (lambda x: torch.sub(torch.add(x, x, alpha=2), x, alpha=0.5), lambda x: 2.5 * x),
}


def derivative(f: Callable[[Any], Any], at: float) -> float:
    with mpmath.workdps(60):
        return float(mpmath.diff(f, mpmath.mpf(at), h=mpmath.mpf(10) ** -20))


@pytest.mark.parametrize("name", PLAIN)
def test_at_a_point_bounds_are_the_number(name: str) -> None:
    """Values and slopes against 40 digits: within the bounds, and these are no farther apart than by rounding."""
    ours, exact = PLAIN[name]
    for sign in (1.0, -1.0):
        points = np.array([0.03, 0.7, 3.1, 11.0, 31.0])
        found = lift(ours(line(points, points, sign)))
        assert found.slope is not None
        for k, point in enumerate(points):
            with mpmath.workdps(40):
                true = exact(mpmath.mpf(sign * point))
                low, high = (float(x.reshape(-1)[k]) for x in found.value)
                size = 1 + abs(float(true))
                if name not in ("sin", "cos", "log1p", "sum", "with alpha", "logsigmoid", "power 1.7", "power -0.3"):
                    assert low <= true <= high
                room = 3e-9 if name in ("sin", "cos") else 1e-12 * size
                assert true - room <= low <= high <= true + room
            slope = sign * derivative(exact, sign * point)
            least, most = (float(x.reshape(-1)[k]) for x in found.slope)
            room = 1e-11 * (1 + abs(slope)) + 3e-9 * (name in ("sin", "cos"))
            assert slope - room <= least <= most <= slope + room, (sign, point)


LOOSE = ("inverse square", "softplus", "softplus of 3", "power 1.7", "power -0.3")
"""Whose slopes are products of two that depend on one another, or jump."""


@pytest.mark.parametrize("name", PLAIN)
def test_over_an_interval_bounds_are_the_range(name: str) -> None:
    """These functions meet their argument once or in a straight line: nothing is lost but by rounding and the grid.

    Between what two kinks allow slopes may be anything (`clamp`), and powers above 2 are squares of squares.
    """
    ours, _ = PLAIN[name]
    starts = np.array([0.002, 0.05, 0.5, 2.0, 2.9, 9.0, 19.0, 25.0])
    for sign, width in itertools.product((1.0, -1.0), (0.3, 2.5, 8.0)):
        x = line(starts, starts + width, sign)
        found = lift(ours(x))
        assert found.slope is not None
        t = torch.from_numpy(sign * (starts + np.linspace(0, 1, 2001)[:, None] * width)).requires_grad_(True)
        values = ours(t)
        (slopes,) = torch.autograd.grad(values.sum(), t)
        for bounds, seen in ((found.value, values.detach().numpy()), (found.slope, sign * slopes.numpy())):
            low, high = (np.broadcast_to(b, (1, starts.size) if b.ndim < 3 else b.shape).reshape(-1) for b in bounds)
            least, most = seen.min(axis=0), seen.max(axis=0)
            room = 2e-3 * (most - least) + 1e-8 * (1 + np.abs(seen).max(axis=0))
            assert (low <= least + 1e-8 * (1 + abs(least))).all() and (high >= most - 1e-8 * (1 + abs(most))).all()
            if "power" in name and name not in ("power 1.7", "power -0.3"):
                room = room + np.abs(seen).max(axis=0)
            if name in LOOSE and bounds is found.slope:
                continue
            assert (low >= least - room).all() and (high <= most + room).all(), (sign, width)


FAR: dict[str, tuple[float, float, float, float]] = {
    # the least and largest value where the log-ratio is from 3 to infinity, and from -infinity to -3
    "exp": (np.exp(3), np.inf, 0.0, np.exp(-3)),
    "sigmoid": (1 / (1 + np.exp(-3)), 1.0, 0.0, 1 / (1 + np.exp(3))),
    "logsigmoid": (-np.log1p(np.exp(-3)), 0.0, -np.inf, -np.log1p(np.exp(3))),
    "tanh": (np.tanh(3), 1.0, -1.0, -np.tanh(3)),
    "atan": (np.arctan(3), np.pi / 2, -np.pi / 2, -np.arctan(3)),
    "square": (9.0, np.inf, 9.0, np.inf),
    "abs": (3.0, np.inf, 3.0, np.inf),
    "relu": (3.0, np.inf, 0.0, 0.0),
    "clamp": (2.0, 2.0, -1.0, -1.0),
    "third power": (27.0, np.inf, -np.inf, -27.0),
    "sin": (-1.0, 1.0, -1.0, 1.0),
    "reciprocal": (0.0, 1 / 43, -np.inf, np.inf),
}


@pytest.mark.parametrize("name", FAR)
def test_far_out_bounds_are_the_limits(name: str) -> None:
    """And no slope is nan; 1/(x + 40) is not known where x may be -40."""
    ours, _ = PLAIN[name]
    for sign, (least, most) in ((1.0, FAR[name][:2]), (-1.0, FAR[name][2:])):
        found = lift(ours(line(3.0, np.inf, sign)))
        low, high = (float(np.ravel(x)[0]) for x in found.value)
        assert low <= least + 1e-12 and high >= most - 1e-12
        assert low == pytest.approx(least, rel=1e-9, abs=1e-9) and high == pytest.approx(most, rel=1e-9, abs=1e-9)
        assert found.slope is not None and not np.isnan(np.concatenate([np.ravel(x) for x in found.slope])).any()


def test_domains_end_where_they_do() -> None:
    """log at 0, sqrt at 0, log1p at -1, and 1/x on either side of 0: infinite where the function is, and only there."""
    zero = Jet((np.zeros(1), np.ones(1)), (np.ones((1, 1)), np.ones((1, 1))))
    for f, at in ((functions.log, 0.0), (functions.log1p, -1.0)):
        moved = Jet((zero.value[0] + at, zero.value[1] + at), zero.slope)
        found = f(moved)
        assert found.value[0] == -np.inf and abs(found.value[1][0]) < 1e-15
        assert found.slope is not None and found.slope[1] == np.inf and 0.999999 < found.slope[0][0, 0] <= 1
    found = functions.sqrt(zero)
    assert abs(found.value[0][0]) < 1e-300 and found.value[1] == pytest.approx(1.0)
    assert found.slope is not None and found.slope[1] == np.inf and found.slope[0] == pytest.approx(0.5)
    up = functions.reciprocal(zero)
    assert up.value[1] == np.inf and 0.999999 < up.value[0][0] <= 1
    down = functions.reciprocal(-zero)
    across = functions.reciprocal(Jet((-np.ones(1), np.ones(1)), zero.slope))
    assert across.value == (-np.inf, np.inf) and down.value[0] == -np.inf
    below = functions.reciprocal(Jet((np.full(1, -2.0), np.full(1, -1.0)), zero.slope))
    assert below.value[0] == pytest.approx(-1.0) and below.value[1] == pytest.approx(-0.5)
    assert below.slope is not None
    assert below.slope[0] == pytest.approx(-1.0) and below.slope[1] == pytest.approx(-0.25)


def test_p_log_p_is_enclosed_by_its_own_valley() -> None:
    """y e^y of one linear y: least at y = -1, and 0 where the policy vanishes; also beside constants."""
    for low, high in ((0.1, 0.4), (0.4, 3.0), (2.0, np.inf)):
        x = line(low, high, -1.0)
        boxes = Boxes(np.array([[low]]), np.array([[high]]), np.array([[1], [0]]))
        log_p = Enclosed(boxes.log_policy(np.array([0])))
        for found, f in (
            (lift(torch.exp(x) * x), lambda y: y * np.exp(y)),
            (lift((x + 0.5) * torch.exp(x)), None),
            (lift(log_p.exp() * log_p), None),
            (lift(torch.exp(x + 0.7) * x), lambda y: y * np.exp(y + 0.7)),
        ):
            assert found.slope is not None and not np.isnan(np.ravel(found.slope)).any()
            if f is not None:
                y = -np.linspace(low, min(high, 800.0), 200_001)
                values = f(y)
                assert found.value[0] <= values.min() and values.max() <= found.value[1]
                room = 1e-3 * np.ptp(values)
                assert found.value[0] >= values.min() - room and found.value[1] <= max(values.max(), 0.0) + room


# ----------------------------------------------------------------------------------------------------- boxes and losses


@pytest.mark.parametrize("n", [2, 3, 4])
def test_probabilities_are_bounded_by_their_corners(n: int) -> None:
    """pi, the normaliser and the masses behind gaps are monotone in every gap: bounds are those of corners."""
    rng = np.random.default_rng(n)
    boxes = boxes_of(rng, n, 40)
    corners = []
    for ends in itertools.product((0, 1), repeat=n - 1):
        gaps = np.stack([(boxes.low, boxes.high)[end][k] for k, end in enumerate(ends)])
        c = np.concatenate([np.zeros((1, boxes.size)), np.cumsum(gaps, axis=0)])
        weights = np.exp(-c)
        pi = weights / weights.sum(axis=0)
        behind = np.cumsum(pi[::-1], axis=0)[::-1][1:]
        corners.append((np.take_along_axis(pi, boxes.rank, axis=0), np.log(weights.sum(axis=0)), behind, c))
    for k, bounds in enumerate((boxes.policies, boxes.log_normaliser, boxes.masses_behind)):
        seen = np.stack([corner[k] for corner in corners])
        for bound, true, sign in ((bounds[0], seen.min(axis=0), 1), (bounds[1], seen.max(axis=0), -1)):
            assert (sign * (true - bound) >= -1e-15).all() and np.allclose(bound, true, rtol=1e-13, atol=1e-15), k
    for r, (low, high) in enumerate(boxes.behind):
        seen = np.stack([corner[3][r] for corner in corners])
        assert np.allclose(low, seen.min(axis=0), atol=1e-14) and np.allclose(high, seen.max(axis=0), atol=1e-14)


def test_boxes_are_chosen_with_all_that_is_theirs() -> None:
    boxes = boxes_of(np.random.default_rng(0), 3, 6)
    some = boxes.take(np.array([4, 1]))
    assert (some.n, some.size) == (3, 2) and np.array_equal(some.low, boxes.low[:, [4, 1]])
    assert np.array_equal(some.high, boxes.high[:, [4, 1]]) and np.array_equal(some.order, boxes.order[:, [4, 1]])
    far = Boxes(np.zeros((2, 2)), np.array([[1.0, 1.0], [np.inf, 1.0]]), boxes.order[:, :2])
    assert far.finite.tolist() == [False, True]


@pytest.mark.parametrize("name", sorted(set(ea.CATALOGUE) - {"aot", "qpo"}))
def test_at_a_point_a_loss_has_its_value_and_its_slopes(name: str) -> None:
    """The loss's own code on boxes without extent: numpy's value, and torch's slopes in the gaps, up to kinks."""
    rng = np.random.default_rng(4)
    for lam, n in ((0.3, 2), (2.0, 3)):
        bandit = ea.Bandit(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)))
        objective = ea.objective(name, lam)
        gaps, order = rng.exponential(1.0, (n - 1, 5)), rng.permuted(np.tile(np.arange(n)[:, None], (1, 5)), axis=0)
        boxes = Boxes(gaps, gaps, order)
        (low, high), (falls, rises) = Bounded(objective, bandit)(boxes)
        g = torch.tensor(gaps, requires_grad=True)
        logs = (-torch.cat([torch.zeros(1, 5, dtype=torch.float64), torch.cumsum(g, 0)])).log_softmax(0)
        value = ea.risk(objective, bandit, torch.gather(logs, 0, torch.from_numpy(boxes.rank)).T)
        (slope,) = torch.autograd.grad(value.sum(), g)
        f = value.detach().numpy()
        size = 1e-11 * (1 + np.abs(f))
        assert (f - size <= low).all() and (low <= f).all() and (f <= high).all() and (high <= f + size).all()
        room = 1e-9 * (1 + np.abs(slope.numpy()) + lam)
        assert (falls <= slope.numpy() + room).all() and (slope.numpy() - room <= rises).all()
        assert (rises - falls <= 2 * room).mean() > 0.7, "but at kinks"


def test_sums_over_pairs_keep_what_is_linear() -> None:
    boxes = boxes_of(np.random.default_rng(3), 3, 10)
    logs = boxes.log_policy(np.array([0, 1, 2]))
    summed, _ = added(logs), within(np.random.default_rng(0), boxes)
    assert summed.linear is not None
    for seed in range(20):
        _, points = within(np.random.default_rng(seed), boxes)
        assert (summed.value[0] <= points.sum(axis=0) + 1e-12).all()
        assert (points.sum(axis=0) - 1e-12 <= summed.value[1]).all()
    curved = Jet(logs.value, logs.slope)
    assert added(curved).slope is not None and added(curved).value[0].shape == (10,)
    constant = added(Jet.constant(np.array([[1.0], [2.5]])))
    assert constant.slope is None and constant.value[0] == pytest.approx(3.5, abs=1e-14)


# ----------------------------------------------------------------------------------------------------------- operations

GAPS = np.array([[0.3, 1.0, 4.0], [2.0, 1.0, 0.5]])
LOGS = Boxes(GAPS, GAPS, np.tile([[0], [1], [2]], (1, 3))).log_policy
X, Y = (Enclosed(LOGS(np.array([end])) - LOGS(np.array([1]))) for end in (0, 2))
PLAIN_X, PLAIN_Y = (torch.tensor([x], dtype=torch.float64) for x in ([0.3, 1.0, 4.0], [-2.0, -1.0, -0.5]))
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "add a number": lambda x, y: 2 + x,
    "subtract": lambda x, y: x - y,
    "subtract from a number": lambda x, y: 2.5 - x,
    "multiply": lambda x, y: torch.multiply(x, y),
    "times a number": lambda x, y: 3 * x,
    "divide": lambda x, y: torch.true_divide(x, y),
    "by a number": lambda x, y: x / 4,
    "a number by": lambda x, y: 4 / x,
    "negative": lambda x, y: -torch.negative(-x),
    "logaddexp": torch.logaddexp,
    "maximum": torch.max,
    "minimum": torch.min,
    "where above": lambda x, y: torch.where(x > 0.9, x, y),
    "where not below": lambda x, y: torch.where(x >= 0.9, x, y),
    "where below": lambda x, y: torch.where(x < 0.9, x, y),
    "where not above": lambda x, y: torch.where(x <= 0.9, x, y),
    "where a number is above": lambda x, y: torch.where(torch.gt(torch.full_like(x, 0.9), x), x, y),
    "not": lambda x, y: torch.where(~(x > 2), x, y),
    "or": lambda x, y: torch.where((x > 2) | (y > -0.8), x, y),
    "and": lambda x, y: torch.where((x > 0.5) & (y < -0.8), x, y),
    "a mask": lambda x, y: torch.where(torch.tensor([True, False, True]), x, y),
    "nowhere nan": lambda x, y: torch.where(torch.isnan(x), y, x),
    "zeros": lambda x, y: x + torch.zeros_like(x),
    "ones": lambda x, y: x * torch.ones_like(x) + x.new_ones(3),
    "full": lambda x, y: x + torch.full_like(x, 0.5),
    "no gradient": lambda x, y: x.detach().clone().double().contiguous() + y.to(torch.float64),
    "new": lambda x, y: x + x.new_tensor(3.0) + x.new_zeros(3),
    "first power": lambda x, y: x**1,
    "no power": lambda x, y: x**0 + x,
    "minus first power": lambda x, y: x**-1.0,
    "a tensor's power": lambda x, y: x ** torch.tensor(2.0),
    "any": lambda x, y: x if (x > 3).any() else y,
    "all": lambda x, y: x if (x > 0).all() else y,
    "not all": lambda x, y: x if (x > 0.5).all() else y,
    "nothing left": lambda x, y: x - x.detach() + y,
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_torchs(name: str) -> None:
    call = CALLS[name]
    found, true = lift(call(X, Y)), call(PLAIN_X, PLAIN_Y).numpy()
    for bound in found.value:
        np.testing.assert_allclose(
            np.broadcast_to(bound, (1, 3)), np.broadcast_to(true, (1, 3)), rtol=1e-13, atol=1e-13
        )


def test_every_known_name_is_a_function_of_torch() -> None:
    for name in OPERATIONS:
        plain = name.removeprefix("special_")
        homes = (torch, torch.Tensor, torch.nn.functional, torch.special)
        known = any(hasattr(home, spelled) for home in homes for spelled in (plain, f"__{plain}__"))
        assert known or plain in ("hinge", "radd", "rdiv", "rtruediv", "log_sigmoid"), name


def test_conditions_that_are_half_known() -> None:
    """True everywhere, false somewhere, or not known: only the last raises; and arithmetic with it too."""
    x = line([0.5, 2.0], [1.5, 3.0])
    half = x > 1
    assert half.yes.tolist() == [[False, True]] and half.no.tolist() == [[False, False]]  # type: ignore[attr-defined]
    with pytest.raises(Unknown):
        bool(half)
    assert half.any(), "as one of them is true"
    with pytest.raises(Unknown):
        line([0.5], [1.5]).gt(1).any()
    with pytest.raises(Unknown):
        lift(half)
    assert bool(x > 0) and not bool(x > 2.5) and not (x > 4).any() and (x > 1.6).any() is not None
    assert lift(x > 4).value[0].tolist() == [[0.0, 0.0]] and lift(x > 0.2).value[0].tolist() == [[1.0, 1.0]]
    edge = Enclosed(Jet((np.ones(1), np.full(1, 2.0))))
    for compare, yes, no in (
        (edge >= 1.0, True, False),
        (edge > 1.0, False, False),
        (edge <= 2.0, True, False),
        (edge < 2.0, False, False),
        (edge > 2.0, False, True),
        (edge >= 2.0, False, False),
        (edge < 1.0, False, True),
        (edge <= 1.0, False, False),
        (edge > 2.1, False, True),
        (edge < 0.9, False, True),
    ):
        assert isinstance(compare, Condition) and (bool(compare.yes.all()), bool(compare.no.all())) == (yes, no)


def test_intervals_are_compared_by_their_ends() -> None:
    """Between two intervals: true where all numbers are, false where none is, and not known where they overlap."""
    one, two, far = (Enclosed(Jet((np.full(1, a), np.full(1, b)))) for a, b in ((1.0, 2.0), (1.5, 3.0), (2.5, 4.0)))
    for compare, yes, no in (
        (one > two, False, False),
        (two > one, False, False),
        (one >= two, False, False),
        (one < far, True, False),
        (far < one, False, True),
        (far > one, True, False),
        (one > far, False, True),
        (one >= far, False, True),
        (far <= one, False, True),
    ):
        assert isinstance(compare, Condition) and (bool(compare.yes.all()), bool(compare.no.all())) == (yes, no)


def test_a_choice_that_jumps_has_no_slope_and_one_that_does_not_has() -> None:
    x = line([0.5], [1.5])
    jumps, meets = lift(torch.where(x > 1, x + 1, x)), lift(torch.where(x > 1, 2 * x - 1, x))
    assert jumps.slope is not None and meets.slope is not None
    assert jumps.slope == (-np.inf, np.inf)
    assert meets.slope[0] == pytest.approx(1.0) and meets.slope[1] == pytest.approx(2.0)
    sure = lift(torch.where(x > 0.2, x + 1, x))
    assert sure.slope is not None and sure.slope[0] == pytest.approx(1.0) and sure.value[0] == pytest.approx(1.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.to(torch.float32),
        lambda x: x.type(torch.float16),
        lambda x: x + torch.ones(2),
        lambda x: x.add_(1.0),
        lambda x: torch.cumsum(x, 0),
        lambda x: x.mean(),
        lambda x: torch.clamp(x, min=0.0, out=torch.ones(2)),
        lambda x: x ** torch.ones(2).double(),
        lambda x: x**x,
        lambda x: x.grad,
        lambda x: x.T,
        lambda x: lift("a word"),
    ],
)
def test_what_there_are_no_bounds_for_raises(call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):  # which Unknown is, and what Python makes of one by an operator
        call(line([0.5, 1.0], [1.5, 2.0]))


def test_what_is_asked_of_shape_and_type_is_answered() -> None:
    x = line([0.5, 1.0], [1.5, 2.0])
    assert tuple(x.shape) == (1, 2) and x.ndim == 2 and x.dim() == 2 and x.numel() == 2 and x.dtype == torch.float64
    assert x.is_floating_point() and not x.requires_grad and tuple(x.size()) == (1, 2) and len(x) == 1
    assert x.expand_as(x) is x and x.double() is x and x.to(torch.float64) is x and x.to("cpu") is x
