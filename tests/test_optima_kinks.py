"""SLiC and DPOP, whose losses have kinks: against a conic solver, conditions for a minimum, and proven bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.optima.edges import Edges
from expo_analysis.optima.shortfall import KinkedProblem, kinked_optimum
from expo_analysis.terms import Logistic, Square, hbar, log_odds, shortfall_w
from expo_analysis.testing import strategies as own

from . import stress

TIGHT = {"solver": "CLARABEL", "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def by_cvxpy(objective: Any, bandit: ea.Bandit) -> np.ndarray:
    """The optimal policy from the definition, by an interior-point method."""
    x = cp.Variable(bandit.n)
    log_reference = np.log(bandit.reference)
    loss, constraints = 0, []
    for i, j in np.argwhere(bandit.wins > 0):
        if isinstance(objective, ea.SLiC):
            loss += bandit.wins[i, j] * cp.pos(objective.margin - (x[i] - x[j]))
        else:
            margin = x[i] - x[j] - objective.penalty * cp.pos(-x[i])
            loss += bandit.wins[i, j] * cp.logistic(-objective.lam * margin)
    if isinstance(objective, ea.SLiC):  # logits
        loss += objective.lam * (cp.log_sum_exp(x) - bandit.reference @ x)
    else:  # log pi/pi_ref
        constraints.append(cp.log_sum_exp(x + log_reference) <= 0)
    cp.Problem(cp.Minimize(loss), constraints).solve(**TIGHT)
    theta = x.value + (0 if isinstance(objective, ea.SLiC) else log_reference)
    policy = np.exp(theta - theta.max())
    return policy / policy.sum()


# ---------------------------------------------------------------------------------------------------- SLiC


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@settings(max_examples=25, deadline=None)
@given(own.bandits(max_n=5, smallest=1e-2), st.floats(0.02, 20.0), st.sampled_from([0.5, 1.0, 3.0]))
def test_slic_against_a_conic_solver(bandit: ea.Bandit, lam: float, margin: float) -> None:
    solution = ea.solve(ea.SLiC(lam, margin=margin), bandit)
    assert solution.status == "optimal"
    assert solution.error_bound < 1e-5
    theirs = by_cvxpy(ea.SLiC(lam, margin=margin), bandit)
    assert np.abs(solution.policy - theirs).sum() <= solution.error_bound + 3e-5
    assert solution.value <= float(ea.risk(ea.SLiC(lam, margin=margin), bandit, np.log(theirs))) + 1e-9


@settings(max_examples=40, deadline=None)
@given(own.bandits(max_n=6, smallest=1e-3), st.floats(0.01, 100.0), st.data())
def test_slic_bound_keeps_what_strong_convexity_says(bandit: ea.Bandit, lam: float, data: st.DataObject) -> None:
    """F(pi) - F >= lam |pi - pi*|^2/2 for any pi: what is lower than that would disprove the optimum."""
    objective = ea.SLiC(lam)
    solution = ea.solve(objective, bandit)
    assert solution.status == "optimal"
    assert math.isfinite(solution.error_bound)
    other = 0.99 * solution.policy + 0.01 * data.draw(own.policies(bandit.n, smallest=1e-3))
    rise = float(ea.risk(objective, bandit, np.log(other))) - solution.value
    distance = np.abs(other - solution.policy).sum()
    assert rise >= lam * max(distance - solution.error_bound, 0.0) ** 2 / 2 - 1e-12 * (1 + lam)


def test_slic_by_hand() -> None:
    """Before the kink both slopes are 1 and pi_0 = pi_ref,0 + (p - (1-p))/lam; on it h is the margin."""
    bandit = ea.Bandit([0.5, 0.5], [0.6, 0.4])
    before = ea.solve(ea.SLiC(10.0), bandit)
    np.testing.assert_allclose(before.policy, [0.52, 0.48], rtol=1e-14)
    on = ea.solve(ea.SLiC(0.5), bandit)
    np.testing.assert_allclose(on.policy[0] / on.policy[1], math.e, rtol=1e-14)
    never_loses = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    np.testing.assert_allclose(ea.solve(ea.SLiC(4.0), never_loses).policy, [math.e / (1 + math.e), 1 / (1 + math.e)])
    np.testing.assert_allclose(ea.solve(ea.SLiC(10.0), never_loses).policy, [0.6, 0.4], rtol=1e-14)


def test_slic_beside_its_kinks_in_fifty_digits() -> None:
    """Rounding of 1e-16 in a gap whose root is taken gave bounds of 2e-7, where the policies were right to 1e-15."""
    rng = np.random.default_rng(3)
    cases = [
        (ea.Bandit(*(rng.dirichlet(np.ones(n)) for _ in range(2))), 10 ** rng.uniform(-2, 2)) for n in [2, 3, 5] * 8
    ]
    # a cycle of four pairs that are all on their kinks
    square = np.array([[0, 0, 5, 5], [0, 0, 5, 5], [1, 1, 0, 0], [1, 1, 0, 0.0]])
    cases.append((ea.Bandit.from_counts([0.3, 0.25, 0.2, 0.25], square), 0.5))
    for bandit, lam in cases:
        solution = ea.solve(ea.SLiC(lam), bandit)
        with mp.workdps(50):
            exact = stress.slic(bandit, lam)(solution.log_policy)
            off = sum(abs(mp.mpf(float(p)) - q) for p, q in zip(solution.policy, exact, strict=True))
        assert off <= solution.error_bound < 1e-11


@given(own.bandits(max_n=6, graphs=("disconnected",), smallest=1e-2), st.floats(0.05, 5.0))
@settings(max_examples=20, deadline=None)
def test_slic_keeps_the_mass_of_components(bandit: ea.Bandit, lam: float) -> None:
    solution = ea.solve(ea.SLiC(lam), bandit)
    assert solution.status == "optimal"
    reached = np.linalg.matrix_power(np.eye(bandit.n) + (bandit.pairs > 0), bandit.n) > 0
    for component in np.unique(reached, axis=0):
        assert solution.policy[component].sum() == pytest.approx(bandit.reference[component].sum(), rel=1e-12)


# ---------------------------------------------------------------------------------------------------- DPOP


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@settings(max_examples=25, deadline=None)
@given(own.bandits(max_n=4, graphs=("uniform", "uneven"), smallest=1e-2), st.floats(-1.0, 1.0), st.floats(-1.0, 1.5))
def test_dpop_against_a_conic_solver(bandit: ea.Bandit, log_lam: float, log_penalty: float) -> None:
    objective = ea.DPOP(10**log_lam, penalty=10**log_penalty)
    solution = ea.solve(objective, bandit)
    assert solution.status == "optimal"
    assert np.isnan(solution.error_bound)
    theirs = float(ea.risk(objective, bandit, np.log(by_cvxpy(objective, bandit))))
    assert theirs - 1e-5 <= solution.value <= theirs + 1e-9


def test_dpop_is_solved_on_ordinary_problems() -> None:
    rng = np.random.default_rng(0)
    statuses = []
    for _ in range(100):
        n = int(rng.integers(2, 6))
        bandit = ea.Bandit(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)))
        statuses.append(
            ea.solve(ea.DPOP(10 ** rng.uniform(-2, 1.5), penalty=10 ** rng.uniform(-1, 1.7)), bandit).status
        )
    assert set(statuses) == {"optimal"}


HARD = [28, 50, 60, 199, 205, 206, 316, 333, 380, 392, 394, *range(8)]
"""Of 400 such problems the first eleven failed where kinks were told by thresholds of |x|."""


@pytest.mark.parametrize("seed", HARD)
def test_dpop_where_scales_are_decades_apart(seed: int) -> None:
    """Weights over six decades or hardly possible responses, any lam and penalty: no policy that was tried is lower."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    if seed % 2:
        wins = 10 ** rng.uniform(-4, 2, (n, n)) * (rng.random((n, n)) < 0.6)
        np.fill_diagonal(wins, 0)
        for i in range(n):
            wins[i, (i + 1) % n] += 10 ** rng.uniform(-3, 1)
        reference = np.exp(rng.uniform(-8, 0, n))
        bandit = ea.Bandit.from_counts(reference / reference.sum(), wins)
    else:
        reference, optimal = (np.exp(rng.uniform(-12, 0, n)) for _ in range(2))
        bandit = ea.Bandit(reference / reference.sum(), optimal / optimal.sum())
    made = ea.DPOP(10 ** rng.uniform(-3, 2.5), penalty=10 ** rng.uniform(-2, 2.5))
    solution = ea.solve(made, bandit)
    assert solution.status == "optimal"
    assert solution.message == "the minimiser: the objective is convex and its conditions hold"
    assert_lowest(made, bandit, solution)


def assert_lowest(made: ea.DPOP, bandit: ea.Bandit, solution: ea.Solution) -> None:
    """No policy that is tried around it, near or as far as 1/lam, is lower."""
    rng, n = np.random.default_rng(0), bandit.n
    lowest = float(ea.risk(made, bandit, solution.log_policy))
    for size in (1e-6, 1e-3, 1.0, 1 / made.lam):
        theta = solution.log_policy + size * rng.standard_normal((60, n)) / max(1.0, made.lam)
        moved = ea.risk(made, bandit, theta - np.logaddexp.reduce(theta, axis=1, keepdims=True))
        assert (np.asarray(moved) >= lowest - 1e-12 * (1 + lowest)).all()


@pytest.mark.parametrize("seed", [18, 49, 100, 219, 267, 353, 496, 664, 895, 924])
def test_dpop_where_one_response_goes_as_far_as_one_over_lam(seed: int) -> None:
    """Of such problems one in 75 failed: the search took steps of one length for what goes as far as 1 and as 1/lam."""
    rng = np.random.default_rng(seed)
    reference, optimal = (np.exp(rng.uniform(-12, 0, 3)) for _ in range(2))
    pairs = np.zeros((3, 3))
    pairs[np.triu_indices(3, 1)] = np.exp(rng.uniform(-5, 0, 3))
    bandit = ea.Bandit(reference / reference.sum(), optimal / optimal.sum(), pairs + pairs.T)
    made = ea.DPOP(10 ** rng.uniform(-6, 2))
    solution = ea.solve(made, bandit)
    assert solution.status == "optimal"
    assert_lowest(made, bandit, solution)


@pytest.mark.parametrize(("n", "lam", "penalty"), [(100, 10.0, 50.0), (60, 1e-4, 0.3)])
def test_dpop_of_many_responses(n: int, lam: float, penalty: float) -> None:
    rng = np.random.default_rng(n)
    bandit = ea.Bandit(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)))
    solution = ea.solve(ea.DPOP(lam, penalty=penalty), bandit)
    assert solution.status == "optimal"
    assert_lowest(ea.DPOP(lam, penalty=penalty), bandit, solution)


def test_dpop_is_unique_where_mass_has_a_price() -> None:
    """Minimisers all minimise F + nu sum pi_ref e^x, strictly convex for nu > 0; with mass left, shares are open."""
    edges = Edges(2, np.array([0, 1]), np.array([1, 0]))
    for lam, penalty in ((0.05, 0.1), (1.0, 0.5), (30.0, 2.0)):
        for mass in (1.0, 0.3):
            one = KinkedProblem(edges, np.array([3.0, 1.0]), lam, penalty, mass * np.array([1e-3, 0.999]))
            found = kinked_optimum(one)
            short = mass * (1e-3 * 3 ** (1 / lam) + 0.999) > 1  # of x_0 = log 3 / lam and x_1 = 0
            assert found.optimal and found.unique == (found.nu > 1e-9) == short, (lam, penalty, mass)


def test_dpop_over_responses_of_less_mass_is_not_held_at_the_reference() -> None:
    """What falls leaves its mass: then 3 wins to 1 are x_0 - x_1 = log 3, both above 0, whatever the penalty."""
    bandit = ea.Bandit.from_counts([0.1, 0.2, 0.7], [[0, 3, 1], [1, 0, 1], [0, 0, 0]])
    for penalty in (0.5, 50.0, 5000.0):
        solution = ea.solve(ea.DPOP(1.0, penalty=penalty), bandit)
        assert solution.status == "no_minimiser"
        np.testing.assert_allclose(solution.policy, [0.6, 0.4, 0.0], rtol=1e-9)


def test_dpop_holds_winners_at_the_reference() -> None:
    """At the penalty of the paper, pairs that go both ways leave no move that does not lower some winner."""
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    solution = ea.solve(ea.DPOP(0.1), bandit)
    assert solution.status == "optimal"
    np.testing.assert_allclose(solution.policy, bandit.reference, rtol=1e-15)
    light = ea.solve(ea.DPOP(0.1, penalty=1e-6), bandit)
    np.testing.assert_allclose(light.policy, ea.solve(ea.DPO(0.1), bandit).policy, atol=1e-4)


def test_dpop_without_a_minimiser() -> None:
    """A response that never wins falls for ever; one that is in no comparison gives its mass away."""
    never_wins = ea.solve(ea.DPOP(1.0), ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]]))
    assert (never_wins.status, "responses [1] never win" in never_wins.message) == ("no_minimiser", True)
    counts = [[0, 5, 0], [1, 0, 0], [0, 0, 0]]
    for penalty in (0.05, 50.0):
        unseen = ea.solve(ea.DPOP(1.0, penalty=penalty), ea.Bandit.from_counts([0.25, 0.25, 0.5], counts))
        assert (unseen.status, "responses [2] tends to 0" in unseen.message) == ("no_minimiser", True)


def test_multistart_does_not_call_a_kink_a_minimum() -> None:
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    for objective in (ea.SLiC(0.5), ea.DPOP(0.1)):
        assert ea.solve(objective, bandit, method="multistart").status == "failed"


def test_what_only_looks_like_dpop_is_searched_for() -> None:
    """DPOP's statistic under another psi, and another statistic under DPOP's psi: the method for DPOP takes neither."""

    @dataclass(frozen=True)
    class SquaredDPOP(ea.PairObjective):
        name = "squared_dpop"

        @property
        def terms(self) -> Any:
            return Square()(self.lam * (hbar + 5.0 * shortfall_w) - 0.25)

    @dataclass(frozen=True)
    class OddsRatio(ea.PairObjective):
        name = "odds_ratio"

        @property
        def terms(self) -> Any:
            return Logistic()(self.lam * log_odds)

    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    dpop = ea.solve(ea.DPOP(0.5, penalty=5.0), bandit)
    for objective in (SquaredDPOP(0.5), OddsRatio(0.5)):
        solution = ea.solve(objective, bandit)
        assert solution.certificate in ("search", "none")
        assert solution.value <= float(ea.risk(objective, bandit, dpop.log_policy)) + 1e-9


def test_dpop_leaves_open_what_mass_it_has_no_use_for() -> None:
    """Wins of 3 to 1 want lam (x_0 - x_1) = log 3 and, as winners, x >= 0: then what nobody compares has what is left.

    x_1 = 0 leaves it as near to its own mass as can be. At a lambda where 3^(1/lam) r_0 + r_1 > 1 all mass is of use.
    """
    reference, counts = np.array([0.1, 0.2, 0.7]), np.array([[0, 3, 0], [1, 0, 0], [0, 0, 0]])
    bandit = ea.Bandit.from_counts(reference, counts)
    for lam in (0.7, 2.0, 30.0):
        solution = ea.solve(ea.DPOP(lam, penalty=4.0), bandit)
        won = 0.1 * 3 ** (1 / lam)
        assert (solution.status, solution.certificate) == ("not_unique", "optimality_conditions")
        np.testing.assert_allclose(solution.policy, [won, 0.2, 0.8 - won], rtol=1e-6)
        assert solution.message == "responses [2] are in no comparison, and the objective leaves their mass open"
        odds = np.array([1, 3]) / 4
        assert solution.value == pytest.approx(-(odds * np.log(odds)).sum(), rel=1e-9)  # of a pair nothing is lower
        for moved in ([won, 0.2, 0.8 - won], [won * 1.1, 0.22, 0.78 - won * 1.1]):  # up and down together
            np.testing.assert_allclose(
                ea.risk(ea.DPOP(lam, penalty=4.0), bandit, np.log(moved)), solution.value, rtol=1e-9
            )
    even = ea.solve(ea.DPOP(1.0), ea.Bandit.from_counts(reference, counts + counts.T))
    np.testing.assert_allclose(even.policy, reference, rtol=1e-7)
    short = ea.solve(ea.DPOP(0.3, penalty=4.0), bandit)
    assert short.status == "no_minimiser" and short.policy[2] == 0
    assert "responses [2] are in no comparison, and the others can use their mass" in short.message
    two = ea.Bandit.from_counts([reference, reference], [counts, 0 * counts])
    nothing = ea.solve(ea.DPOP(2.0), two)
    assert nothing.status[1] == "not_unique" and "responses [0, 1, 2] are in no comparison" in nothing.message[1]
    np.testing.assert_allclose(nothing.policy[1], reference, rtol=1e-12)
    # beside what falls, what is never beaten takes all, and what nobody compares falls too
    chain = np.zeros((4, 4))
    chain[[0, 1], [2, 2]] = 1
    lost = ea.solve(ea.DPOP(1.0), ea.Bandit.from_counts([0.1, 0.3, 0.2, 0.4], chain))
    assert lost.status == "no_minimiser"
    np.testing.assert_allclose(lost.policy, [0.25, 0.75, 0.0, 0.0], rtol=1e-12)
