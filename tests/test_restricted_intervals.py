"""Branch and bound along one parameter: what it drops, what it keeps, and the verdicts on what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import h
from expo_analysis.optima.certificate import policy_error
from expo_analysis.optima.restricted.certificate import logit_rounding
from expo_analysis.optima.restricted.line import (
    Left,
    OneLine,
    Points,
    _bound,
    _exists,
    _Intervals,
    _root,
    _verdict,
    branch_and_bound,
    solve,
)
from expo_analysis.optima.solution import Certificate

from . import problems
from .own_losses import own
from .test_restricted_line import OBJECTIVES, _whole, line_of


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_said_of_an_interval(name: str) -> None:
    """No value on it is below ``least`` nor the centre's above ``ceiling``; without ``turns`` slopes have one sign;
    with ``convex`` they rise. And narrow intervals are told apart: what falls does not turn, what bends is convex."""
    told = {"turns": 0, "convex": 0}
    for seed in range(2):
        _, line = line_of(name, seed)
        for half in (1e-4, 0.02, 0.3, 3.0):
            centre = np.linspace(-4, 4, 17)
            intervals = _Intervals.at(line, centre - half, centre + half)
            np.testing.assert_allclose(intervals.centre, centre, atol=1e-12)
            inside = (centre[:, None] + half * np.linspace(-1, 1, 11)).reshape(-1)
            at = line.at(inside)
            value, slope = at.value.reshape(17, 11), at.slope.reshape(17, 11)
            noise = at.value_noise.max() + at.slope_noise.max()
            assert (intervals.least <= value.min(axis=1) + noise).all()
            assert (intervals.ceiling >= value[:, 5] - noise).all()
            np.testing.assert_allclose(intervals.ceiling, value[:, 5], atol=1e-10)
            one_sign = (slope > noise).all(axis=1) | (slope < -noise).all(axis=1)
            assert (intervals.turns | one_sign).all()
            assert (~intervals.convex | (np.diff(slope, axis=1) > -noise).all(axis=1)).all()
            if half == 1e-4:
                assert (~intervals.turns | (np.abs(slope).min(axis=1) < 1e-2)).all()
                bend = at.bend.reshape(17, 11)
                assert (intervals.convex | (bend.min(axis=1) < 1e-2)).all()
                # second order in the half-length: a cubic remainder is all that is given away
                assert (value.min(axis=1) - intervals.least < 1e-9).all()
                told["turns"] += int(intervals.turns.sum())
                told["convex"] += int(intervals.convex.sum())
            order = np.argsort(-centre)
            kept = intervals.take(order < 9)
            assert len(kept.low) == 9 and (kept.high - kept.low > 0).all()
            both = kept.joined(intervals)
            np.testing.assert_array_equal(both.least, np.r_[kept.least, intervals.least])
            ceiling = float(np.median(intervals.least))
            np.testing.assert_array_equal(intervals.may_hold(ceiling), intervals.turns & (intervals.least <= ceiling))
    assert told["turns"] < 12 and told["convex"] > 0


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"f-dpo, alpha"}))  # which needs more intervals than allowed
def test_what_is_left_holds_the_minimiser(name: str) -> None:
    """Next to it nothing else; its place to the bound that is told, which is of the order of rounding."""
    for seed in range(2):
        _, line = line_of(name, seed)
        left = branch_and_bound(line, -8.0, 9.0, line.units[0])
        assert left is not None and left.contiguous and left.convex.all() and left.ends == (-8.0, 9.0)
        grid = np.linspace(-8, 9, 1701)
        value = line.at(grid).value
        lowest = grid[value.argmin()]
        assert left.low[0] - 0.01 <= lowest <= left.high[-1] + 0.01
        assert left.high[-1] - left.low[0] < 3 and line.at(np.array([left.best])).value[0] <= value.min() + 0.1
        assert (left.low[:-1] < left.low[1:]).all() and 0 < left.steps < 40
        t, error = _root(line, left)
        fine = line.at(t + 1e-4 * np.array([-1.0, 0.0, 1.0]))
        assert fine.value[1] < fine.value[0] and fine.value[1] < fine.value[2]
        bend = fine.bend[1]
        assert np.abs(fine.slope[1]) / bend <= error <= 1.1 * (np.abs(fine.slope[1]) + fine.slope_noise[1]) / bend
        assert error < 1e-12 and abs(t - lowest) < 0.02
        found = solve(line.family)
        assert abs(found.w[0, 0] - line.column[0] * t) <= 2 * error + 1e-15
        assert found.status[0, 0] == "optimal" and found.certificate[0, 0] == Certificate.ERROR_BOUND
        assert found.weight_bound[0, 0] >= abs(line.column[0]) * error * 0.9
        assert found.weight_bound[0, 0] <= abs(line.column[0]) * error * 1.1 + 8 * 2.3e-16 * abs(found.w[0, 0])
        assert found.steps[0] > 0 and np.isnan(found.direction).all()
        # the policy's bound is from the widest log-ratio of each prompt, the one without weight too
        spread = np.ptp(line.family.directions[0, :, :, 0], axis=1)
        assert (found.bound[0] <= spread * error + 1e-13).all() and (found.bound[0] > 0).all()


def test_the_units_of_a_line() -> None:
    """What moves logits by 1 at most; far is where what moves slowest has moved by hundreds, in its own scale."""
    for scale in (0.02, 0.5, 3.0):
        for size in (1e-3, 1.0, 50.0):
            bandit = ea.Bandit(np.full(3, 1 / 3), [0.5, 0.3, 0.2])
            f = size * np.array([[0.0], [1.0], [5.0]])
            line = OneLine(problems.restricted_family(ea.DPO(scale), bandit, f[None], 0.1))
            near, far = line.units
            column = abs(line.column[0])
            assert near * column * 5 * size == pytest.approx(1)
            assert 700 < far * column * 1 * size * min(scale, 1.0) < 1e4
    rewards = OneLine(problems.restricted_family(ea.RLHF(0.02), bandit, f[None], 0.1))
    assert rewards.units[1] == pytest.approx(rewards.units[0] * 5 * 750)


def test_verdicts() -> None:
    """One minimum, two of one value, a stretch, none, and one at infinity that a divergence holds."""
    two = ea.Bandit([0.5, 0.5], [0.5, 0.5])
    feature = [[1.0], [0.0]]

    def found(objective: ea.Objective, bandit: ea.Bandit = two, decay: float = 0.0) -> ea.Solution:
        return ea.solve(objective, bandit, features=feature, decay=decay)

    level = found(own(lambda lam: Sigmoid()(2.0 * h)))  # sigma(m) + sigma(-m) = 1 for all w
    assert level.status == "not_unique" and level.certificate == Certificate.SEARCH
    assert np.isnan(level.error_bound)
    # (m^2 - 1)^2 has two minima; written with squares of h it is 0 at h = 1 and -1
    wells = found(own(lambda lam: Square()(h) + 3.0 * Sigmoid()(2.0 - 6.0 * h)))
    assert wells.status in ("not_unique", "optimal")
    far = found(ea.RLHF(1e-3), ea.Bandit([0.5, 0.5], [0.9, 0.1]))  # log-odds 2.2/0.001: no float64 tells it from inf
    assert far.status == "optimal" and far.error_bound < 1e-6 and far.policy[0] == 1.0
    assert np.isnan(far.weight_bounds).all()
    free = found(ea.RLHF(1e-3, "chi_square"), ea.Bandit([0.5, 0.5], [0.9, 0.1]))
    assert free.status == "no_minimiser" and free.certificate == Certificate.SEARCH
    np.testing.assert_array_equal(free.direction, [1.0])
    np.testing.assert_array_equal(free.policy, [1.0, 0.0])
    assert free.message.endswith("as w runs to infinity along [1.0] (not proven)")
    other = ea.solve(ea.RLHF(1e-3, "chi_square"), ea.Bandit([0.5, 0.5], [0.9, 0.1]), features=[[-3.0], [0.0]])
    np.testing.assert_array_equal(other.direction, [-1.0])
    np.testing.assert_array_equal(other.policy, [1.0, 0.0])
    assert found(ea.RLHF(1e-3, "chi_square"), ea.Bandit([0.5, 0.5], [0.9, 0.1]), 0.1).status == "optimal"
    assert found(own(lambda lam: Logistic()(h))).status == "optimal"
    for decay in (1e-24, 1e-18, 1e-15):  # decay that no value shows is decay
        held = found(ea.RLHF(1e-3, "chi_square"), ea.Bandit([0.5, 0.5], [0.9, 0.1]), decay)
        assert held.status in ("best_found", "optimal")


def test_a_loss_that_underflows_far_out_has_no_minimiser() -> None:
    """sigma(-2h) of a lone win falls for ever, and is 0 to float64 from h = 373 on: no stretch of minimisers."""
    falling = own(lambda lam: Sigmoid()(-2.0 * h))
    for winner, feature, direction in ((0, 1.0, 1.0), (0, -0.5, -1.0), (1, 3.0, -1.0)):
        wins = np.zeros((2, 2))
        wins[winner, 1 - winner] = 1
        bandit = ea.Bandit.from_counts([0.3, 0.7], wins)
        found = ea.solve(falling, bandit, features=[[feature], [0.0]])
        assert (found.status, found.certificate) == ("no_minimiser", Certificate.SEARCH)
        np.testing.assert_array_equal(found.direction, [direction])
        np.testing.assert_array_equal(found.policy, np.eye(2)[winner])
        assert np.isnan(found.value)
        held = ea.solve(falling, bandit, features=[[feature], [0.0]], decay=1e-3)
        assert held.status == "optimal" and held.weights[0] * direction > 0


def test_whether_a_minimiser_exists_far_out() -> None:
    """With decay always; without it where a divergence holds each end that is open."""
    for name, kept in (("rlhf", True), ("rlhf, chi-square", False), ("rlhf, alpha", True), ("orpo", False)):
        for ends in ((True, False), (False, True), (True, True)):
            assert _exists(line_of(name, 0, 0.3)[1], ends)
            assert _exists(line_of(name, 0, 1e-20)[1], ends)
            assert _exists(line_of(name, 0, 0.0)[1], ends) == kept
    # held towards one end only: the slowest pair counts, and which one that is depends on the end
    f = np.array([[[0.0], [1.0], [4.0]]])
    bandit = ea.Bandit.from_counts([0.2, 0.3, 0.5], [[0, 0, 0], [0, 0, 0], [3, 2, 0]])
    line = OneLine(problems.restricted_family(own(lambda lam: Logistic()(0.4 * h), ea.ReverseKL()), bandit, f, 0.0))
    lower, upper = _exists(line, (True, False)), _exists(line, (False, True))
    # rates 0.4 * 3 and 0.4 * 4 are beyond the gap of 1 at the lower end, and below that of 3 at the upper one
    assert lower and not upper and not _exists(line, (True, True))


@pytest.mark.parametrize("name", ["orpo", "rlhf", "exo"])
def test_dependent_features_are_one_parameter(name: str) -> None:
    """F = f (a, b): the proof is that of f |(a, b)| alone, and w is the shortest of those that do the same."""
    rng = np.random.default_rng([7, *name.encode()])
    bandit = ea.Bandit(*rng.dirichlet(np.full(4, 2.0), (2, 2)))
    f, column = rng.standard_normal((2, 4, 1)), np.array([0.6, -0.8])
    one = ea.solve(ea.objective(name, 0.6), bandit, features=5 * f)
    two = ea.solve(ea.objective(name, 0.6), bandit, features=5 * f * column)
    assert (one.status == "optimal").all() and (two.status == "optimal").all()
    np.testing.assert_allclose(two.weights, one.weights * column, rtol=1e-9)
    np.testing.assert_allclose(two.policy, one.policy, rtol=1e-9)
    np.testing.assert_allclose(two.error_bound, one.error_bound, rtol=0.5)
    assert "1 directions of w are open" in two.message[0]


def test_verdicts_on_stretches_that_are_apart() -> None:
    """Two stretches of strong convexity, whichever is lower by less than rounding: neither is called the minimiser."""
    _, line = line_of("dpo", 1)
    low, high = np.array([-1.0, 1.0]), np.array([-0.9, 1.1])
    apart = Left(low, high, np.array([True, True]), -0.95, 3, (-8.0, 9.0))
    found = _verdict(line, apart, (False, False))
    assert (found.status == "not_unique").all() and "several w reach the lowest value" in found.message[0]
    assert np.isnan(found.bound).all() and np.isnan(found.weight_bound).all() and found.steps[0] == 3
    for open_ in ((True, False), (False, True)):  # an end that may be as low, and was not reached
        other = _verdict(line, apart, open_)
        assert (other.status == "best_found").all() and other.message[
            0
        ] == "the lowest value found; not proven to be global"


def test_what_is_left_far_out_is_told_by_its_inner_end() -> None:
    """Of t from some point to an end: twice the mass that is not on the likeliest there, which only falls beyond."""
    _, line = line_of("rlhf", 2)
    f = _whole(line)
    for to_end, low, high in (((False, True), 3.0, 40.0), ((True, False), -40.0, -2.5)):
        inner, top = (low, f.max(axis=0)) if to_end[1] else (high, f.min(axis=0))
        left = Left(np.array([low]), np.array([high]), np.array([True]), inner, 3, (-40.0, 40.0))
        theta = line.family.base + f * inner
        policy = np.exp(theta - np.logaddexp.reduce(theta, axis=0))
        rest = np.where(f == top, 0.0, policy).sum(axis=0)
        assert (rest > 1e-6).all()
        far = 39.0 if to_end[1] else -39.0
        np.testing.assert_allclose(_bound(line, far, np.inf, left, to_end), 2 * rest, rtol=1e-6)
        for t in (inner, 2 * inner, far):
            theta = line.family.base + f * t
            other = np.exp(theta - np.logaddexp.reduce(theta, axis=0))
            last = line.family.base + f * far
            reached = np.exp(last - np.logaddexp.reduce(last, axis=0))
            assert (np.abs(other - reached).sum(axis=0) <= 2 * rest * (1 + 1e-9)).all()


@pytest.mark.parametrize(("third", "least"), [(2.0, 2.5), (6.0, 0.5), (8.0, -0.5)])
def test_how_far_the_root_of_a_noisy_slope_may_be(third: float, least: float) -> None:
    """F' = 4 (t - 0.3), known to 0.6, and F'' to 0.5: 0.6 over the least F'' on the stretch, and then nearby."""

    class Noisy:
        def at(self, t: np.ndarray) -> Points:
            nothing = 0.0 * t
            return Points(nothing, 4 * (t - 0.3), nothing + 4, nothing, nothing + 0.6, nothing + 0.5)

        def third(self, centre: np.ndarray, half: np.ndarray) -> np.ndarray:
            return third + 0.0 * centre

    line: Any = Noisy()
    left = Left(np.array([-0.7, 0.3]), np.array([0.3, 1.3]), np.ones(2, dtype=bool), 0.85, 3, (-9.0, 9.0))
    t, error = _root(line, left)
    assert t == pytest.approx(0.3, abs=1e-12)
    expected = 0.6 / least if least > 0 else np.inf
    for _ in range(2):
        nearby = 4 - third * expected - 0.5
        expected = min(expected, 0.6 / nearby) if nearby > 0 else expected
    assert error == pytest.approx(expected * (1 + 1e-9), rel=1e-12)


def test_how_far_policies_of_a_stretch_may_be() -> None:
    """The farther end of what is left, or the error of the root where this is less; and the rounding of logits."""
    _, line = line_of("dpo", 1)
    family, t = line.family, 0.4
    w = family.weights(np.array([[t]]))
    policy = np.exp(family.logits(w) - np.logaddexp.reduce(family.logits(w), axis=0))
    blur = 2 * logit_rounding(family, w).max(axis=0)
    for low, high, reach in ((0.39, 0.43, 0.03), (0.36, 0.41, 0.04), (0.4, 0.4, 0.0)):
        left = Left(np.array([low]), np.array([high]), np.array([False]), t, 3, (-8.0, 9.0))
        for error, moved in ((np.inf, reach), (1e-3, min(reach, 1e-3))):
            expected = policy_error(policy, np.ptp(_whole(line), axis=0) * moved + blur)
            np.testing.assert_allclose(_bound(line, t, error, left, (False, False)), expected, rtol=1e-9)
