"""What psis state is not only true but told as closely as it is: rates, bounds, wells and sizes from both sides."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

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
    TargetKL,
)
from expo_analysis.losses.stated import everywhere, seen_decay
from expo_analysis.numerics import exp, log_sigmoid

from .test_terms_intervals import points, third_derivative

UNIT = 2.3e-16


def s(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def ls(x: Any) -> Any:
    return -mp.log(1 + mp.exp(-x))


PSIS: dict[str, tuple[Any, Any]] = {
    "logistic": (Logistic(), lambda m: -ls(m)),
    "weighed": (Logistic(0.7), lambda m: -mp.mpf(0.7) * ls(m)),
    "smoothed": (Logistic(0.9, 0.2), lambda m: -mp.mpf(0.9) * ls(m) - mp.mpf(0.2) * ls(-m)),
    "robust": (Logistic(1.25, -0.25), lambda m: -mp.mpf(1.25) * ls(m) + mp.mpf(0.25) * ls(-m)),
    "square": (Square(), lambda m: m**2),
    "exponential": (Exponential(), lambda m: mp.exp(-m)),
    "sigmoid": (Sigmoid(), s),
    "squared sigmoid": (SquaredSigmoid(0.7, 1 - 0.7), lambda m: (s(m) - mp.mpf(0.7)) ** 2),
    "squared sigmoid, 1": (SquaredSigmoid(), lambda m: s(-m) ** 2),
    "bernoulli": (BernoulliKL(0.8), lambda m: s(m) * (ls(m) - ls(mp.mpf(0.8))) + s(-m) * (ls(-m) - ls(-mp.mpf(0.8)))),
    "target": (
        TargetKL(-1.3),
        lambda m: s(mp.mpf(-1.3)) * (ls(mp.mpf(-1.3)) - ls(m)) + s(mp.mpf(1.3)) * (ls(mp.mpf(1.3)) - ls(-m)),
    ),
    **{
        f"modulated, {tau}": (
            Modulated(tau),
            lambda m, tau=tau: -s(-m / mp.mpf(tau)) * ls(m) + s(m / mp.mpf(tau)) * mp.exp(-m),
        )
        for tau in (0.05, 0.4, 0.7, 1.0, 3.0)
    },
}
M = np.array([-30.0, -5.0, -1.5, -0.8, -1e-3, 0.0, 1e-3, 0.4, 0.8, 2.0, 6.0, 30.0])


@mp.workdps(60)
@pytest.mark.parametrize("name", PSIS)
def test_values_and_derivatives_to_what_rounding_is_told(name: str) -> None:
    """In 60 digits: within a few units of their size, or of `slope_size` and `rounding`; these are no larger."""
    psi, exact = PSIS[name]
    value, (first, second), size = psi.value(M), psi.derivatives(M), psi.slope_size(M)
    told = [np.broadcast_to(np.asarray(r, dtype=float), M.shape) for r in psi.rounding]
    for k, m in enumerate(M):
        own = exact(mp.mpf(float(m)))
        slope, bend = (mp.diff(exact, mp.mpf(float(m)), d) for d in (1, 2))
        assert abs(float(mp.mpf(float(value[k])) - own)) <= 30 * UNIT * (abs(float(own)) + float(size[k]) * abs(m))
        assert abs(float(mp.mpf(float(first[k])) - slope)) <= 40 * UNIT * float(size[k]) * (1 + abs(m)) + 1e-25
        scale = max(abs(float(bend)), float(told[1][k]), float(size[k]), float(s(m) * s(-m)))
        assert abs(float(mp.mpf(float(second[k])) - bend)) <= 200 * UNIT * scale * (1 + abs(m))
        assert float(size[k]) >= abs(float(slope)) * (1 - 1e-12) - 1e-25
        if psi.self_concordance is not None or name.startswith("squared"):
            most = max(abs(float(mp.diff(exact, mp.mpf(float(x)), 1))) for x in (-30.0, 0.0, 30.0))
            assert float(told[0][k]) <= 6 * max(most, 1.0)


@pytest.mark.parametrize("name", PSIS)
def test_bounds_of_third_derivatives_are_near_where_that_is_largest(name: str) -> None:
    """On an interval of 1/20 somewhere within a factor of four, everywhere on such within some tens of the largest."""
    psi = PSIS[name][0]
    low = np.linspace(-4.0, 4.0, 81)
    largest = np.abs(third_derivative(psi, points(low, low + 0.05))).max(axis=0)
    bound = psi.third(low, low + 0.05)
    assert (bound >= largest * (1 - 1e-9)).all()
    if largest.max() > 0:
        top = largest.argmax()
        assert (bound / np.maximum(largest, 1e-300)).min() <= 4.1
        assert bound[top] <= 40 * largest[top] and bound.max() <= 40 * largest.max()
        # and on wide ones the bound is that of all narrow ones within, but for what the ends are far apart
        wide = psi.third(low[:40], low[:40] + 1.0)
        inner = np.array([largest[k : k + 10].max() for k in range(40)])
        assert (wide >= inner * (1 - 1e-9)).all()


@pytest.mark.parametrize("goal", [-10.0, 10.0])
def test_the_third_derivative_of_a_bernoulli_divergence_at_a_far_goal_is_its_bound(goal: float) -> None:
    """psi'' is sigma' ((1 - 2 sigma)(m - goal) + 1): both summands of its slope are sigma'' at the goal."""
    at = np.array([goal])
    odds = np.exp(-abs(goal))
    exact = 2 * odds / (1 + odds) ** 2 * (1 - odds) / (1 + odds)
    np.testing.assert_allclose(BernoulliKL(goal).third(at, at), exact, rtol=1e-3)


@pytest.mark.parametrize("tau", [0.05, 0.4, 1.0, 3.0])
def test_what_is_below_a_modulated_loss(tau: float) -> None:
    """Left of 0 its logistic part at the right end, of which both factors fall; it is all there is for small tau."""
    psi = Modulated(tau)
    for low, high in ((-5.0, -4.0), (-np.inf, -3.0), (-2.0, -0.5), (-1.0, -1e-3)):
        exact = np.log1p(np.exp(-high)) / (1 + np.exp(high / tau))
        found = psi.least(np.array([low]), np.array([high]))[0]
        lowest = psi.value(np.linspace(max(low, -50.0), high, 2001)).min()
        assert found == pytest.approx(exact, rel=1e-12) and found <= lowest
        assert tau > 0.1 or high > -0.1 or found >= 0.999 * lowest
    for low, high in ((-1.0, 0.0), (-1.0, 2.0), (3.0, np.inf)):
        assert 0 <= psi.least(np.array([low]), np.array([high]))[0] <= psi.value(np.array([min(high, 700.0)]))[0]


@mp.workdps(60)
@pytest.mark.parametrize("name", PSIS)
def test_rates_bounds_and_slopes_far_out(name: str) -> None:
    """Stated rates are those at which the slope nears its limit, or a tenth below; infima are reached or neared."""
    psi, exact = PSIS[name]
    for end, limit, rate in zip((-1, 1), psi.slopes, psi.decay, strict=True):
        at = [mp.diff(exact, mp.mpf(end * far), 1) for far in (60, 120)]
        if not math.isfinite(limit):
            assert abs(at[1]) > 1.9 * abs(at[0]) or abs(at[1]) > 100
            assert np.sign(float(at[1])) == np.sign(limit) and rate == 0.0
            continue
        left = [abs(x - mp.mpf(limit)) for x in at]
        assert left[1] < 1e-3 or rate == 0.0
        if left[1] > 1e-55 and name != "target":  # whose slopes are known to float64 only
            seen = float(mp.log(left[0] / left[1]) / 60)
            assert seen - 0.13 <= rate <= seen + 1e-9, (end, seen)
    grid = [exact(mp.mpf(float(x))) for x in np.concatenate([np.linspace(-8, 8, 801), [-90.0, 90.0]])]
    lowest = float(min(grid))
    if math.isfinite(psi.lower_bound):
        assert psi.lower_bound <= lowest + 1e-12 and (lowest - psi.lower_bound < 1e-4 or name.startswith("modulated"))
    else:
        assert lowest < -10


@pytest.mark.parametrize("psi", [BernoulliKL(0.0), BernoulliKL(2.5), BernoulliKL(-7.0), TargetKL(1.0), TargetKL(-6.0)])
def test_wells(psi: Any) -> None:
    """Below and above the parabolas that are stated: true, and within a factor of ten where they are nearest."""
    at, below, above = psi.well
    assert at == psi.goal and psi.value(np.array([at]))[0] == pytest.approx(0.0, abs=1e-15)
    step = np.concatenate([np.geomspace(1e-3, 60, 400), -np.geomspace(1e-3, 60, 400)])
    value = psi.value(at + step)
    lower = value / np.minimum(np.abs(step), 1.0) ** 2
    assert (lower >= below * (1 - 1e-9)).all() or type(psi) is BernoulliKL
    near = np.abs(step) <= 1
    assert (lower[near] >= below * (1 - 1e-6)).all() and (lower[near] <= above * (1 + 1e-6)).all()
    assert lower[near].min() <= 10 * below and lower[near].max() >= above / 10
    # psi'' and psi'/(m - at) are sigma', which far out falls by e within 1 of the goal, and nowhere by more
    peak = 1 / (2 + 2 * np.cosh(at))
    assert below == pytest.approx(peak / 2 * math.exp(-1), rel=1e-12)
    assert above == pytest.approx(max(1 / (2 + 2 * np.cosh(max(abs(at) - 1, 0.0))), peak) / 2, rel=1e-12)


def test_what_is_known_of_single_psis() -> None:
    """By hand: pieces, slopes, signs, bounds, and what is left unknown."""
    assert Hinge(0.3).linear_pieces == ((-1.0, 0.3), (0.0, 0.0)) and Linear(2.0).linear_pieces == ((2.0, 0.0),)
    assert Linear(0.0).lower_bound == 0.0 and Linear(1e-9).lower_bound == Linear(-1.0).lower_bound == -math.inf
    assert Linear(np.array([0.0])).lower_bound == -math.inf  # an array may hold anything
    for falls in (Hinge(), Linear(-1.0), Linear(0.0), Logistic(), Exponential(), Logistic(1.0, 0.0)):
        assert falls.convex and falls.decreasing
    for not_ in (Square(), Linear(0.1), Logistic(0.9, 0.1), Sigmoid(), SquaredSigmoid(), BernoulliKL(), Modulated()):
        assert not not_.decreasing
    for rises in (Linear(1.0), Linear(0.0), Sigmoid(), Logistic(0.0, 1.0)):
        assert rises.increasing
    for not_ in (Square(), Linear(-0.1), Logistic(), Hinge(), SquaredSigmoid(), Exponential()):
        assert not not_.increasing
    for bent in (Sigmoid(), SquaredSigmoid(), BernoulliKL(), Modulated(), Logistic(0.5, -0.6)):
        assert not bent.convex and bent.self_concordance is None
    assert Logistic(0.5, -0.5).convex and Logistic(np.array([1.0, 0.4]), np.array([0.0, -0.5])).convex is False
    assert Logistic().log_odds_scale == 1.0 and Logistic(0.3).log_odds_scale == 1.0
    for unknown in (Logistic(-1.0), Logistic(0.9, 0.1), Logistic(0.0), Square(), Hinge(), Stated(abs)):
        assert unknown.log_odds_scale is None
    assert Exponential().log_odds_scale == 2.0
    for kept, flipped in ((0.7, 0.3), (2.0, 0.5), (0.0, 0.0), (1.0, 0.0)):
        both = kept + flipped
        exact = sum(-x * np.log(x / both) for x in (kept, flipped) if x > 0)
        assert Logistic(kept, flipped).lower_bound == pytest.approx(exact, abs=1e-15)
    assert Logistic(-0.1, 1.0).lower_bound == Logistic(1.0, -0.1).lower_bound == -math.inf
    assert Logistic(0.3, -0.5).slopes == (-0.3, -0.5)
    nothing = Stated(lambda m: m**4)
    assert nothing.slopes is nothing.lower_bound is nothing.linear_pieces is nothing.self_concordance is nothing.well
    assert nothing.well is None and nothing.decay == (None, None) and not (nothing.convex or nothing.increasing)
    assert nothing.rounding == (0.0, 0.0) and Stated(exp, self_concordance=3.0).rounding == (3.0, 9.0)
    assert (nothing.least(np.array([0.0]), np.array([1.0])) == -math.inf).all()
    assert (nothing.third(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == math.inf).all()
    assert nothing.reads == frozenset() and Hinge().reads == frozenset()


def test_what_is_seen_of_a_function_far_out() -> None:
    """Flat where its slope is 0 at 40 and its limit is; nothing is said of anything else."""
    squared_hinge = (lambda m: 0.25 * (abs(1 - m) + 1 - m) ** 2, (-math.inf, 0.0))
    assert seen_decay(*squared_hinge) == (0.0, math.inf)
    assert seen_decay(lambda m: -log_sigmoid(m), (-1.0, 0.0)) == (0.0, 0.0)
    assert seen_decay(lambda m: -log_sigmoid(-m), (0.0, 1.0)) == (0.0, 0.0)
    assert seen_decay(lambda m: 0.25 * (abs(1 + m) + 1 + m) ** 2, (0.0, math.inf)) == (math.inf, 0.0)
    assert seen_decay(lambda m: -1.0 * m, (-1.0, -1.0)) == (0.0, 0.0)
    assert seen_decay(squared_hinge[0], (-math.inf, np.array([0.0, 0.1]))) == (0.0, 0.0)
    assert everywhere(np.array([1.0, 2.0]), lambda x: x > 0) and not everywhere(np.array([1.0, -2.0]), lambda x: x > 0)


@pytest.mark.parametrize("kept", [1.0, 0.7, -0.4])
def test_sizes_of_slopes_are_those_of_their_summands(kept: float) -> None:
    """Of a logistic loss both sides with their moduli; of squared errors twice the gap's summands; else the slope's."""
    m = np.linspace(-30, 30, 61)
    up, down = 1 / (1 + np.exp(-m)), 1 / (1 + np.exp(m))
    for flipped in (0.0, 0.3, -0.2):
        exact = abs(kept) * down + abs(flipped) * up
        np.testing.assert_allclose(Logistic(kept, flipped).slope_size(m), exact, rtol=1e-12)
    for target in (0.0, 0.25, 1.0):
        size = SquaredSigmoid(target, 1 - target).slope_size(m)
        gap = np.where(m < 0, target + up, 1 - target + down)
        np.testing.assert_allclose(size, 2 * gap * up * down, rtol=1e-12)
    for psi in (Square(), Exponential(), Hinge(), Linear(-2.0), Sigmoid(), BernoulliKL(0.3), Modulated(0.4)):
        np.testing.assert_array_equal(psi.slope_size(m), np.abs(psi.derivatives(m)[0]))
    goal = TargetKL(0.8)
    np.testing.assert_allclose(goal.slope_size(m), up / (1 + np.exp(0.8)) + down / (1 + np.exp(-0.8)), rtol=1e-12)


def test_defaults_of_psis() -> None:
    """As the documents write them: a likelihood, a kink at 1, plain logistic, a label of 1, even odds."""
    assert Linear().slope == -1.0 and Hinge().at == 1.0 and Modulated().tau == 0.05
    assert (Logistic().kept, Logistic().flipped) == (1.0, 0.0)
    assert (SquaredSigmoid().target, SquaredSigmoid().miss) == (1.0, 0.0)
    assert BernoulliKL().goal == TargetKL().goal == 0.0
    stated = Stated(exp)
    fields = ("slopes", "self_concordance", "linear_pieces", "lower_bound", "log_odds_scale")
    assert all(getattr(stated, name) is None for name in fields) and stated.convex is False
