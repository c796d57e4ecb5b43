"""Single runs of the two searches: how far each step goes, what it keeps, and how soon runs end where theory says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import h
from expo_analysis.optima import levenberg
from expo_analysis.optima.certificate import last_step
from expo_analysis.optima.derivatives import Expansion, expand, value
from expo_analysis.optima.laplacian import eliminate, pairs
from expo_analysis.optima.levenberg import _Runs, derivatives_at
from expo_analysis.optima.methods import newton
from expo_analysis.optima.methods.multistart import LOWEST, _scan, units
from expo_analysis.optima.methods.newton import _lowest
from expo_analysis.optima.problem import Problem
from expo_analysis.optima.restricted import search

from . import problems
from .own_losses import own

ONE_WAY = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])


def lengths_of(run: _Runs, count: int) -> np.ndarray:
    """Of steps in the log-ratio of a run of one problem, (count,)."""
    lengths = []
    for _ in range(count):
        before = run.at.copy()
        run.step()
        lengths.append(np.ptp(run.at - before))
    return np.array(lengths)


@pytest.mark.parametrize("lam", [0.05, 1.0, 8.0])
def test_on_the_way_to_infinity_each_step_is_twice_as_long_as_the_last(lam: float) -> None:
    """-log sigma(lam m) of a lone win: Newton's own steps tend to 1/lam, and never get shorter.

    As soon as damping is nothing beside curvature they double. None is longer than 20 units, or as the run has come.
    """
    problem = problems.problem(ea.BradleyTerry(lam), ONE_WAY)
    unit = units(problem)
    np.testing.assert_allclose(unit, 1 / lam)
    lengths = lengths_of(_Runs.start(problem, np.zeros((2, 1)), unit), 12)
    ratio = lengths[1:] / lengths[:-1]
    assert (lengths > 0).all() and (ratio < 2.01).all()
    doubled = np.abs(ratio - 2) < 0.05
    first = int(doubled.argmax())
    assert 1 <= first <= 4 and doubled[first:].all() and (ratio[:first] < 1).all()
    # from where the loss is a straight line, Newton's step is e^|m|: as far as it may
    order = problem.responses[:, 0]
    for far in (6.0, 15.0, 33.0):
        start = np.array([[-far / 2], [far / 2]])[order] / lam
        once = lengths_of(_Runs.start(problem, start, unit), 1)[0]
        assert once == pytest.approx(max(far, 20.0) / lam)
    # where e^-m has no digits left the run ends
    ends = levenberg.levenberg(problem, np.zeros((2, 1)), unit)
    assert np.ptp(ends.theta) * lam > 600 and ends.steps[0] < 40 and not ends.converged[0]


@pytest.mark.parametrize("name", ["expo", "ipo", "orpo", "spo"])
def test_a_run_never_rises_and_ends_soon(name: str) -> None:
    """From far away: values fall but for rounding, steps that would raise them are not taken, and damping grows then.

    Near the minimum convergence is quadratic: few steps are left once one is a thousandth of a unit.
    """
    made, rng = ea.objective(name, 0.7), np.random.default_rng([*name.encode()])
    refused = 0
    for _ in range(4):
        bandit = ea.Bandit(*rng.dirichlet(np.full(4, 2.0), 2))
        problem = problems.problem(made, bandit).in_logits()
        unit = units(problem)
        run = _Runs.start(problem, problem.log_reference + 4 * unit * rng.standard_normal((4, 1)), unit)
        near = None
        for step in range(80):
            at, height, damping = run.at.copy(), run.height.copy(), run.damping.copy()
            gradient, curvature = run.gradient.copy(), run.curvature.copy()
            done = run.step()
            moved = float(np.ptp(run.at - at))
            assert run.height[0] <= height[0] + 4e-16 * 4 * (abs(height[0]) + 0.7 + 1)
            for mine, exact in zip(
                (run.gradient, run.curvature, run.height), derivatives_at(problem, run.at), strict=True
            ):
                np.testing.assert_array_equal(mine, exact)
            if moved == 0 and not done[0]:
                refused += 1
                np.testing.assert_array_equal(run.gradient, gradient)
                np.testing.assert_array_equal(run.curvature, curvature)
                assert run.damping[0] > damping[0]
            else:
                assert run.damping[0] < damping[0] or damping[0] == 0
            if near is None and 0 < moved < 1e-3 * unit[0]:
                near = step
            if done[0]:
                break
        assert done[0] and near is not None and step - near <= 3 and step < 60
        assert np.abs(run.gradient).max() < 1e-13
    assert refused > 0 or name in ("expo", "ipo")


def test_what_has_nowhere_to_go_is_given_up() -> None:
    """No gradient at all; a value that is none; steps that are never taken. What still falls is not."""
    flat = problems.problem(own(lambda lam: Sigmoid()(h)), ea.Bandit([0.5, 0.5], [0.5, 0.5]))
    at_rest = _Runs.start(flat, np.zeros((2, 1)), np.ones(1))
    assert at_rest.given_up.tolist() == [True]
    falls = problems.problem(ea.BradleyTerry(1.0), ONE_WAY)
    run = _Runs.start(falls, np.zeros((2, 1)), np.ones(1))
    assert run.given_up.tolist() == [False]
    for name, far in (("height", np.inf), ("height", np.nan), ("damping", 2e12), ("idle", 20)):
        other = _Runs.start(falls, np.zeros((2, 1)), np.ones(1))
        setattr(other, name, np.array([far]))
        assert other.given_up.tolist() == [True], name
    other.idle = np.array([19])
    other.damping = np.array([0.9e12])
    assert other.given_up.tolist() == [False]
    two = _Runs.start(falls.take(np.array([0, 0])), np.array([[0.0, 1.0], [0.0, -1.0]]), np.ones(2))
    one = two.only(np.array([False, True]))
    np.testing.assert_array_equal(one.at, [[1.0], [-1.0]])
    np.testing.assert_array_equal(one.height, two.height[1:])


@pytest.mark.parametrize("damping", [1.0, 30.0, 1e4])
def test_what_counts_as_an_idle_step(damping: float) -> None:
    """Where no value is low enough to tell: a step that leaves more than nine tenths of |gradient|/curvature."""
    made, rng = ea.objective("orpo", 0.6), np.random.default_rng(5)
    problem = problems.problem(made, ea.Bandit(*rng.dirichlet(np.full(4, 2.0), 2))).in_logits()
    run = _Runs.start(problem, problem.log_reference + 0.3 * rng.standard_normal((4, 1)), units(problem))
    run.mark, run.damping = np.array([-np.inf]), np.array([damping])
    least, idle, seen = np.inf, 0, set()
    high, low = pairs(4)
    for _ in range(9):
        run.step()
        degree = np.zeros(4)
        np.add.at(degree, high, np.abs(run.curvature[:, 0]))
        np.add.at(degree, low, np.abs(run.curvature[:, 0]))
        left = float((np.abs(run.gradient[:, 0]) / degree).max())
        idle = 0 if left < 0.9 * least else idle + 1
        least = min(least, left)
        assert run.idle.tolist() == [idle] and run.mark[0] == -np.inf
        seen.add(idle > 0)
    assert seen == {True, False}
    steady = _Runs.start(problem, problem.log_reference.copy(), units(problem))
    lengths = [float(np.ptp(steady.at - before)) for before in _places(steady)]
    assert 1e-14 < lengths[-1] <= 1e-9 * min(units(problem)[0], 1.0) < lengths[-2]  # the first that is negligible


def _places(run: _Runs) -> Iterator[np.ndarray]:
    """Where the run was before each of its steps, until it is done; ``run`` is after the step then."""
    done = np.zeros(1, dtype=bool)
    while not done[0]:
        before = run.at.copy()
        done = run.step()
        yield before


def family_of(made: Any, seed: int, size: float = 1.0, decay: float = 0.0) -> Any:
    rng = np.random.default_rng(seed)
    bandit = ea.Bandit(*rng.dirichlet(np.full(4, 2.0), (2, 3)), prompt_weights=rng.dirichlet(np.full(3, 3.0)))
    return problems.restricted_family(made, bandit, size * rng.standard_normal((3, 4, 2)), decay)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_searches_over_w_take_a_few_steps_on_a_quadratic(size: float) -> None:
    """IPO: damping of a thousandth, and of less each time, leaves as little of the distance: four steps see it."""
    for decay in (0.0, 0.3):
        family = family_of(ea.IPO(0.5), 1, size, decay * size**2)
        start = np.array([[0.8, -0.5]]) / size
        w, steps, converged = search._levenberg(family, start, search._units(family))
        gradient = family.gradient(w, family.cells.expand(family.logits(w)).gradient)
        assert converged[0] and 2 <= steps[0] <= 6
        assert np.abs(gradient / size).max() < 1e-7
        once = search._Runs(family, start, family.value(start), np.array([1e-3]), search._units(family))
        search._step(once)
        hessian = family.hessian(family.cells.expand(family.logits(start)))[0]
        slope = family.gradient(start, family.cells.expand(family.logits(start)).gradient)[0]
        scale = np.linalg.eigvalsh(hessian).max()
        exact = start[0] - np.linalg.solve(hessian + 1e-3 * scale * np.eye(2), slope)
        np.testing.assert_allclose(once.w[0], exact, rtol=1e-9)
        assert once.damping[0] < 1e-3 and once.height[0] < family.value(start)[0]


@pytest.mark.parametrize("lam", [0.2, 1.0, 5.0])
def test_steps_over_w_are_as_long_as_they_may_be(lam: float) -> None:
    """-log sigma(lam m) of a lone win, where it is a straight line: Newton's step is e^|m|, logits move 30 units."""
    for size in (0.5, 40.0):
        family = problems.restricted_family(ea.BradleyTerry(lam), ONE_WAY, np.array([[[size], [0.0]]]), 0.0)
        unit = search._units(family)
        start = np.full((1, 1), -8.0 / (lam * size))
        run = search._Runs(family, start, family.value(start), np.array([0.0]), unit)
        search._step(run)
        moved = family.logits(run.w) - family.logits(start)
        assert np.ptp(moved) == pytest.approx(30.0 / lam) and run.height[0] < 1e-6


@pytest.mark.parametrize("name", ["orpo", "exo", "rlhf", "discopop"])
def test_a_search_over_w_never_rises(name: str) -> None:
    """Steps that would raise the value are not taken, and are damped more; those that are taken less."""
    made = ea.objective(name, 0.6)
    refused = taken = settled = 0
    for seed in range(5):
        family = family_of(made, seed, 3.0, 0.01)
        start = 4 * np.random.default_rng(seed).standard_normal((1, 2))
        run = search._Runs(family, start, family.value(start), np.array([1e-3]), search._units(family))
        for _ in range(60):
            w, height, damping = run.w.copy(), run.height.copy(), run.damping.copy()
            done, ended = search._step(run)
            assert run.height[0] <= height[0] + 1e-14 * (1 + abs(height[0]))
            np.testing.assert_array_equal(run.height, family.value(run.w))
            if run.damping[0] > damping[0]:
                refused += 1
                np.testing.assert_array_equal(run.w, w)
                assert run.damping[0] == pytest.approx(8 * max(damping[0], 1e-12))
            else:
                taken += 1
                assert run.damping[0] <= damping[0] / 5
            if ended[0]:
                break
        settled += bool(done[0])
    assert refused > 0 and taken > 30 and settled >= 3


WELLS = {
    "two": lambda lam: Sigmoid()(-5.0 * h + 8.0) + 2e-3 * Square()(h),
    "four": lambda lam: Sigmoid()(-5.0 * h + 8.0) + 0.5 * Sigmoid()(-2.0 * h + 40.0) + 1e-4 * Square()(h),
    "one": lambda lam: Logistic()(0.7 * h),
}


@pytest.mark.parametrize("name", WELLS)
def test_between_two_responses_searches_start_at_the_turns(name: str) -> None:
    """Where the slope turns from falling to rising, the lowest first: as a fine grid of values has it."""
    bandit = ea.Bandit([[0.3, 0.7], [0.5, 0.5]], [[0.8, 0.2], [0.4, 0.6]])
    made = own(WELLS[name])
    problem = Problem.cut(made, bandit, range(2), np.arange(2), np.full(2, 0.7)).in_logits()
    starts = np.array(_scan(problem, units(problem)))
    assert starts.shape == (LOWEST, 2, 2)
    turns = 0
    for b in range(2):
        one = problem.take(np.array([b]))

        def at(t: np.ndarray, one: Problem = one) -> np.ndarray:
            many = one.take(np.zeros(len(t), dtype=int))
            return value(many, many.log_reference + np.stack([t, -t]) / 2)

        grid = np.sort(np.concatenate([np.linspace(-80, 80, 3201), np.sinh(np.linspace(-7, 7, 801))]))
        heights = at(grid)
        dips = np.flatnonzero((heights[1:-1] < heights[:-2]) & (heights[1:-1] <= heights[2:])) + 1
        dips = dips[np.argsort(heights[dips])][:LOWEST]
        ratio = starts[:, 0, b] - starts[:, 1, b] - (problem.log_reference[0, b] - problem.log_reference[1, b])
        np.testing.assert_allclose(starts[:, :, b].sum(axis=1), problem.log_reference[:, b].sum(), atol=1e-9)
        for k, dip in enumerate(dips):
            assert abs(ratio[k] - grid[dip]) <= grid[dip + 1] - grid[dip - 1]
            slopes = [
                derivatives_at(one, starts[k][:, [b]] + e * np.array([[1.0], [-1.0]]))[0][0, 0] for e in (-1e-6, 1e-6)
            ]
            assert slopes[0] < 0 < slopes[1]
        turns += len(dips)
    assert turns >= (2 if name == "one" else 4)


def test_of_steps_between_the_least_and_all_the_lowest_is_taken() -> None:
    """Far out on a saturated pair a longer step than M allows is lower; each problem of a batch has its own length."""
    bandit = ea.Bandit([[0.3, 0.7]] * 3, [[0.8, 0.2]] * 3)
    problem = Problem.cut(ea.EXPO(1.0), bandit, range(2), np.arange(3), np.array([1e-6, 0.1, 3.0]))
    at = np.array([[14.0, -3.0, 0.5], [-14.0, 3.0, -0.5]])
    local = expand(problem, at)
    direction = eliminate(local.curvature).solve(-local.gradient)
    least = np.array([0.01, 0.1, 0.5])
    found = _lowest(problem, at, direction, least)
    allowed = np.array([least**p for p in (1.0, 0.75, 0.5, 0.25, 0.0)])
    heights = np.array([value(problem, at + length * direction) for length in allowed])
    for b in range(3):
        k = int(np.abs(allowed[:, b] - found[b]).argmin())
        assert allowed[k, b] == pytest.approx(found[b]) and heights[k, b] == np.nanmin(heights[:, b])
    assert len({*found.tolist()}) > 1


@pytest.mark.parametrize("patience", [0, 2, 1000])
def test_lines_are_searched_once_patience_is_lost(patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From far out on saturated pairs, where the steps that M allows are many: of all long ones after so many."""
    searched = []

    def counted(problem: Problem, at: np.ndarray, direction: np.ndarray, least: np.ndarray) -> np.ndarray:
        assert (least <= 1).all() and (least < 1).any()
        searched.append(len(searched))
        return least  # as without a search, so that the same steps are taken

    monkeypatch.setattr(newton, "PATIENCE", patience)
    monkeypatch.setattr(newton, "_lowest", counted)
    saturated = own(lambda lam: Logistic()(h) + Logistic()(20.0 * h + 4000.0))  # so that M is 20, and not that of h
    problem = problems.problem(saturated, ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]))
    start = np.array([[2.0], [0.0], [-2.0]])
    _, steps, converged = newton.newton(problem, start)
    monkeypatch.setattr(newton, "PATIENCE", 0)
    once = len(searched)
    newton.newton(problem, start)
    long = len(searched) - once  # the first so many of the steps
    assert converged.all() and 3 < long < steps[0] and once == max(long - patience, 0)


class Level:
    """Cells of two responses with the same derivatives at all logits: a slope, a weight, and what the slope sums up."""

    def __init__(self, slope: float, weight: float, size: float) -> None:
        self.slope, self.weight, self.size = slope, weight, size

    def expand(self, x: np.ndarray) -> Expansion:
        one = np.ones((1, x.shape[1]))
        return Expansion(self.slope * np.array([[1.0], [-1.0]]) * one, self.weight * one, 0.0 * one)

    def gradient_size(self, x: np.ndarray) -> np.ndarray:
        return self.size * np.ones_like(x)

    def value(self, x: np.ndarray) -> np.ndarray:
        return self.slope * (x[0] - x[1]) + self.weight * (x[0] - x[1]) ** 2 / 2


def test_a_slope_without_any_curvature_is_followed_as_far_as_a_step_may_go() -> None:
    whole = problems.restricted_family(ea.DPO(1.0), ea.Bandit([0.5, 0.5], [0.5, 0.5]), np.array([[[1.0], [0.0]]]), 0.0)
    for slope in (1.0, -1e-3):
        family = whole.replace(cells=Level(slope, 0.0, 1.0))
        w = np.zeros((1, 1))
        run = search._Runs(family, w, family.value(w), np.array([1e-3]), np.ones(1))
        with np.errstate(all="ignore"):
            search._step(run)
        np.testing.assert_allclose(run.w, [[-30.0 * np.sign(slope)]])


@pytest.mark.parametrize(
    ("slope", "weight", "size", "short"),
    [
        (0.0, 1.0, 1.0, True),
        (0.9e-4, 1.0, 1.0, True),  # a step of Newton's of 0.9e-4
        (1.2e-4, 1.0, 1.0, False),
        (-0.9e-8, 1e-4, 1.0, True),
        (-1.2e-8, 1e-4, 1.0, False),
        (0.0, -1.0, 1.0, False),
        (0.0, 1e-9, 1.0, True),  # rounding of the slope, 16 u twice, is worth a step of 1e-5
        (0.0, 1e-11, 1.0, False),  # of 1e-3
        (0.0, 1e-11, 1e-3, True),
        (np.nan, 1.0, 1.0, False),
    ],
)
def test_what_searches_over_w_call_a_minimum(slope: float, weight: float, size: float, short: bool) -> None:
    """A step that is short and to a minimum, and that rounding alone could not have made longer; and it is taken."""
    whole = problems.restricted_family(ea.DPO(1.0), ea.Bandit([0.5, 0.5], [0.5, 0.5]), np.array([[[1.0], [0.0]]]), 0.0)
    family = whole.replace(cells=Level(slope, weight, size))
    w = np.array([[0.3]])
    with np.errstate(all="ignore"):
        found, converged, flat = search._polished(family, w, np.array([True]), np.ones(1))
    assert converged.tolist() == [short] and flat.tolist() == [False]
    assert found[0, 0] - 0.3 == pytest.approx(-slope / weight if short and slope else 0.0, rel=1e-9)
    assert search._polished(family, w, np.array([False]), np.ones(1))[1].tolist() == [False]


def test_a_last_step_that_proves_nothing_is_not_taken() -> None:
    """Longer than a unit of the loss, x stays as it is, and has no bound; a short one is Newton's own."""
    problem = problems.problem(ea.EXPO(0.5), ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]))
    exact = ea.solve(ea.EXPO(0.5), ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2])).log_policy[problem.responses[:, 0]]
    move = np.array([[1.0], [-2.0], [1.0]])
    far = exact[:, None] + 4.0 * move
    at, error = last_step(problem, far)
    np.testing.assert_allclose(at, far - (far.max() + far.min()) / 2, rtol=1e-15)
    assert np.isnan(error).all()
    at, error = last_step(problem, exact[:, None] + 1e-3 * move)
    assert np.ptp(at[:, 0] - exact) <= error[0] < 1e-4 and np.ptp(at[:, 0] - exact) < 1e-5
