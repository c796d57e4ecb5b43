"""Single methods over all policies: which losses each accepts, and what its bounds are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize

import expo_analysis as ea
from expo_analysis.losses.facts import Facts
from expo_analysis.losses.psi import Exponential, Hinge, Linear, Logistic, Square, Stated
from expo_analysis.losses.stated import Well
from expo_analysis.losses.statistics import h, hbar, linked, log_pi_l, log_pi_w, shortfall_w
from expo_analysis.optima import methods
from expo_analysis.optima.certificate import UNIT
from expo_analysis.optima.edges import Edges
from expo_analysis.optima.faces import minimum_on_face
from expo_analysis.optima.found import Found, judged
from expo_analysis.optima.methods import (
    attained,
    kinked,
    linear_program,
    multistart,
    newton,
    smoothing,
    two_explicit,
)
from expo_analysis.optima.problem import Problem
from expo_analysis.optima.recession import Structure
from expo_analysis.optima.shortfall import KinkedProblem, kinked_optimum
from expo_analysis.optima.solution import Certificate, Status
from expo_analysis.optima.structure import _coercive

from . import problems
from .own_losses import own

js = ea.JensenShannon()
ALL: dict[str, tuple[ea.Objective, str]] = {
    "hinge": (own(lambda lam: Hinge(0.5)(lam * hbar)), "linear_program"),
    "two hinges": (own(lambda lam: Hinge()(h) + 0.3 * Hinge()(-2.0 * hbar)), "linear_program"),
    "hinge, line": (own(lambda lam: Hinge()(h) + 0.1 * Linear(1.0)(h)), "linear_program"),
    "linked hinge": (own(lambda lam: Hinge()(linked(js))), "linear_program"),
    "minus a hinge": (own(lambda lam: Hinge()(h) - 0.3 * Hinge()(2.0 * h)), ""),
    "hinge, logistic": (own(lambda lam: Hinge()(h) + Logistic()(h)), ""),
    "hinge, square": (own(lambda lam: Hinge()(h) + Square()(h)), ""),
    "hinge, likelihood": (own(lambda lam: Hinge()(2.0 * h) + Linear(-1.0)(log_pi_w)), "smoothing"),
    "hinge, both likelihoods": (own(lambda lam: Hinge()(h) + Linear(-1.0)(log_pi_w + 0.5 * log_pi_l)), "smoothing"),
    "slic": (ea.SLiC(0.5), "smoothing"),
    "hinge, forward KL": (own(lambda lam: Hinge()(hbar), ea.ForwardKL()), "smoothing"),
    "turned hinge, forward KL": (own(lambda lam: Hinge()(-0.5 * hbar), ea.ForwardKL()), ""),
    "two hinges, forward KL": (own(lambda lam: Hinge()(h) + Hinge()(2.0 * h), ea.ForwardKL()), ""),
    "hinge, logistic, forward KL": (own(lambda lam: Hinge()(h) + Logistic()(h), ea.ForwardKL()), ""),
    "hinge, reverse KL": (own(lambda lam: Hinge()(h), ea.ReverseKL()), ""),
    "squared hinge, forward KL": (own(lambda lam: Square()(h), ea.ForwardKL()), ""),
    "dpop": (ea.DPOP(0.5, penalty=2.0), "kinked"),
    "dpop and more": (own(lambda lam: Logistic()(hbar + shortfall_w) + Logistic()(h)), ""),
    "dpop, weighed": (own(lambda lam: 0.5 * Logistic()(hbar + shortfall_w)), ""),
    "dpop, moved": (own(lambda lam: Logistic()(hbar + shortfall_w - 0.5)), ""),
    "dpop, scaled and moved": (own(lambda lam: Logistic()(0.5 * (hbar + shortfall_w) - 0.5)), ""),
    "dpop, smoothed": (own(lambda lam: Logistic(0.9, 0.0)(hbar + shortfall_w)), ""),
    "dpop, exponential": (own(lambda lam: Exponential()(hbar + shortfall_w)), ""),
    "dpop, twice": (own(lambda lam: Logistic()(2.0 * hbar + shortfall_w)), ""),
    "dpop, a bonus": (own(lambda lam: Logistic()(hbar - shortfall_w)), ""),
    "dpop, held": (own(lambda lam: Logistic()(hbar + shortfall_w), ea.ForwardKL()), ""),
}


@pytest.mark.parametrize("name", ALL)
def test_which_method_accepts(name: str) -> None:
    """Of hinges, hinges beside a cross-entropy, and shortfalls: each its own, and no other."""
    objective, accepted = ALL[name]
    bandit = ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.3, 0.2])
    problem = problems.problem(objective, bandit)
    own_ = {m.__name__.split(".")[-1] for m in (kinked, linear_program, smoothing) if m.accepts(problem)}
    assert own_ == ({accepted} if accepted else set())
    if accepted:
        assert not newton.accepts(problem)


@pytest.mark.parametrize("name", ["slic", "hinge, likelihood", "hinge, both likelihoods", "hinge, forward KL"])
def test_bounds_beside_a_cross_entropy_by_their_formula(name: str) -> None:
    """sqrt(2 gap/s), gap = F(x) - D(a), at x and a that are off: F and D written out for each problem of a batch."""
    objective, rng = ALL[name][0], np.random.default_rng([*name.encode()])
    bandit = ea.Bandit(*rng.dirichlet(np.full(4, 4.0), (2, 3)))
    lam = np.full(3, float(objective.lam))
    prompts = np.arange(3)
    wins = bandit.wins
    facts = objective.facts
    likelihood = None
    if facts.likelihood:
        likelihood = sum(
            float(np.mean(c)) * wins.sum(axis={"w": -1, "l": -2}[slot]) for slot, c in facts.likelihood.items()
        )
    problem = Problem.cut(objective, bandit, range(4), prompts, lam, likelihood)
    (part,) = problem.parts
    fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)}
    reference = problem.log_reference[problem.edges.winner] - problem.log_reference[problem.edges.loser]
    kink = (part.psi.at + part.shift) / part.slope + (reference if part.relative else 0.0 * reference)
    hinges = smoothing.Hinges(**fields, kink=kink, height=part.weight * part.slope)
    x = problem.log_reference + 0.05 * rng.standard_normal((4, 3))
    winner, loser = problem.edges.ends
    a = hinges.height * np.clip(0.5 + 0.2 * rng.standard_normal(kink.shape), 0.05, 0.95) * 0.1
    total = problem.target.sum(axis=0)
    p = problem.target / total
    flow = np.zeros((4, 3))
    np.add.at(flow, winner, a)
    np.add.at(flow, loser, -a)
    p = p + flow / total
    assert (p > 0).all()
    log_policy = x - np.logaddexp.reduce(x, axis=0)
    primal = (hinges.height * np.maximum(0.0, kink - (x[winner] - x[loser]))).sum(axis=0)
    primal = primal - (problem.target * log_policy).sum(axis=0)
    dual = (a * kink).sum(axis=0) - total * (p * np.log(p)).sum(axis=0)
    gap = smoothing._gap(hinges, x, a)
    np.testing.assert_allclose(gap, primal - dual, rtol=1e-9)
    np.testing.assert_allclose(hinges.total, total)
    # the solver's own are of the order of rounding, not of its root, and the policy is not lower anywhere near
    solved, bound, steps = smoothing.smoothed_optimum(hinges, problem.log_reference.copy())
    assert (bound > 1e-15).all() and (bound < 1e-12).all() and (steps > 5).all()
    with pytest.MonkeyPatch.context() as patch:  # and no larger than the better of what is proven of a point
        patch.setattr(smoothing, "_from_gap", lambda own, *_: np.full(own.size, 1e-3))
        patch.setattr(smoothing, "_on_the_kinks", lambda *_: np.nan)
        _, bound, _ = smoothing.smoothed_optimum(hinges, problem.log_reference.copy())
    assert (bound >= 1e-3).all() and (bound <= 1e-3 * (1 + 1e-8)).all()

    def value(x: np.ndarray) -> np.ndarray:
        log_policy = x - np.logaddexp.reduce(x, axis=0)
        own = (hinges.height * np.maximum(0.0, kink - (x[winner] - x[loser]))).sum(axis=0)
        return np.asarray(own - (problem.target * log_policy).sum(axis=0))

    for size in (1e-5, 1e-2):
        for _ in range(20):
            assert (value(solved + size * rng.standard_normal((4, 3))) >= value(solved) - 1e-13).all()
    negative = np.where(np.arange(len(winner))[:, None] == 0, 50.0 * total, a)
    assert np.isnan(smoothing._gap(hinges, x, negative)).all()


def test_derivatives_with_a_penalty_on_lost_mass() -> None:
    """F, gradient and Hessian on each side of the kinks, and with v in the place of what was lost, by differences."""
    rng = np.random.default_rng(3)
    n = 4
    winner, loser = np.array([0, 1, 2, 3, 0, 2]), np.array([1, 2, 3, 0, 2, 1])
    edges = Edges(n, winner, loser)
    weight = rng.random(6)
    one = KinkedProblem(edges, weight, 0.7, 2.0, rng.dirichlet(np.full(n, 3.0)))
    x = np.array([0.5, -0.8, 0.3, -0.2])

    def value(x: np.ndarray) -> float:
        m = 0.7 * (x[winner] - x[loser] - 2.0 * np.maximum(0.0, -x[winner]))
        return float((weight * np.logaddexp(0, -m)).sum())

    def value_v(y: np.ndarray) -> float:
        m = 0.7 * (y[winner] - y[loser] - 2.0 * y[n + winner])
        return float((weight * np.logaddexp(0, -m)).sum())

    found, gradient, hessian = one.derivatives(x, x < 0)
    e = 1e-5 * np.eye(n)
    assert found == pytest.approx(value(x), rel=1e-14)
    np.testing.assert_allclose(gradient, [(value(x + d) - value(x - d)) / 2e-5 for d in e], atol=1e-9)
    slopes = [one.derivatives(x + d, x < 0)[1] - one.derivatives(x - d, x < 0)[1] for d in e]
    np.testing.assert_allclose(hessian, np.array(slopes) / 2e-5, atol=1e-9)
    v = np.abs(rng.standard_normal(n))
    y = np.r_[x, v]
    found, gradient, hessian = one.derivatives(x, np.zeros(n, dtype=bool), v)
    e = 1e-5 * np.eye(2 * n)
    assert found == pytest.approx(value_v(y), rel=1e-14) and hessian.shape == (2 * n, 2 * n)
    np.testing.assert_allclose(gradient, [(value_v(y + d) - value_v(y - d)) / 2e-5 for d in e], atol=1e-9)
    # left and right derivatives at kinks are those of either side, and both are the derivative elsewhere
    at = np.where(np.arange(n) == 1, 0.0, x)
    left, right, size = one.conditions(at, np.arange(n) == 1)
    for k, d in enumerate(1e-6 * np.eye(n)):
        assert left[k] == pytest.approx((value(at) - value(at - d)) / 1e-6, abs=1e-5)
        assert right[k] == pytest.approx((value(at + d) - value(at)) / 1e-6, abs=1e-5)
    assert left[1] < right[1] - 0.01 and left[0] == right[0]
    own = np.zeros(n)
    np.add.at(own, winner, weight * 0.7 * 3)
    np.add.at(own, loser, weight * 0.7 * 3)
    np.testing.assert_allclose(size, own)
    # members alone: all pairs between them, numbered anew
    few = one.among(np.array([True, False, True, True]))
    np.testing.assert_array_equal(few.edges.ends, [[1, 2, 0], [2, 0, 1]])
    np.testing.assert_array_equal(few.weight, weight[[2, 3, 4]])
    np.testing.assert_array_equal(few.reference, one.reference[[0, 2, 3]])
    assert few.lam == 0.7 and few.penalty == 2.0


def test_the_minimiser_with_a_penalty_is_lowest_and_its_multiplier_says_so() -> None:
    """Over the simplex no policy is lower; nu > 0 where mass is short; nothing is called unique that has neighbours."""
    rng = np.random.default_rng(4)
    for k in range(6):
        n = 3 + k % 2
        weight = rng.random(n * (n - 1)) + 0.05
        winner, loser = np.nonzero(~np.eye(n, dtype=bool))
        edges = Edges(n, winner, loser)
        lam, penalty = (0.3, 1.0, 4.0)[k % 3], (0.5, 3.0)[k % 2]
        one = KinkedProblem(edges, weight, lam, penalty, rng.dirichlet(np.full(n, 2.0)))
        found = kinked_optimum(one)
        assert found.optimal and found.nu >= 0

        def value(x: np.ndarray, one: KinkedProblem = one, w: Any = winner, b: Any = loser) -> float:
            m = one.lam * (x[w] - x[b] - one.penalty * np.maximum(0.0, -x[w]))
            return float((one.weight * np.logaddexp(0, -m)).sum())

        policy = one.reference * np.exp(found.x)
        assert policy.sum() == pytest.approx(1.0, abs=1e-9) or found.nu < 1e-9
        for size in (1e-4, 1e-2, 0.3):
            for _ in range(30):
                theta = np.log(policy) + size * rng.standard_normal(n)
                moved = theta - np.logaddexp.reduce(theta) - np.log(one.reference)
                least = value(found.x)
                assert value(moved) >= least - 1e-12
                assert not found.unique or value(moved) > least - 1e-15


@pytest.mark.parametrize("lam", [0.05, 0.3, 2.0])
def test_scores_that_are_linear_in_the_policy(lam: float) -> None:
    """Chi-square: KKT by differences of the risk, responses of probability 0 by their numbers."""
    rng = np.random.default_rng(5)
    lost = 0
    for k in range(4):
        n = 3 + k
        bandit = ea.Bandit(*rng.dirichlet(np.full(n, 1.5), 2))
        for made in (ea.FDPO(lam, "chi_square"), own(lambda lam: Square()(0.7 * linked(ea.ChiSquare()) - 1.0))):
            made = made.with_lam(lam)
            found = ea.solve(made, bandit)
            zero = np.flatnonzero(found.policy == 0)
            assert found.status == "optimal" and found.policy.sum() == pytest.approx(1.0, abs=1e-9)
            if len(zero):
                lost += 1
                assert f"responses {zero.tolist()} have probability 0" in found.message
                assert found.certificate == Certificate.CONDITIONS and found.iterations > 0
            policy = np.maximum(found.policy, 1e-9)
            e = 1e-7 * policy.max()

            def value(p: np.ndarray, made: ea.Objective = made, bandit: ea.Bandit = bandit) -> float:
                return float(ea.risk(made, bandit, np.log(p)))

            slopes = np.array([(value(policy + e * d) - value(policy)) / e for d in np.eye(n)])
            inside = found.policy > 1e-6
            assert np.ptp(slopes[inside]) < 1e-4 * (1 + np.abs(slopes).max())
            assert (slopes[zero] >= slopes[inside].max() - 1e-4 * (1 + np.abs(slopes).max())).all()
    assert lost > 0 or lam == 2.0


@mp.workdps(50)
@pytest.mark.parametrize("name", ["reverse_kl", "jensen_shannon", "chi_square", "mixed_chi_square"])
def test_two_responses_by_the_equation_of_their_log_odds(name: str) -> None:
    """G and what rounding adds to it in 50 digits; its root enclosed to some units; each of a batch for itself."""
    bandit = ea.Bandit([[0.3, 0.7], [0.9, 0.1]], [[0.6, 0.4], [0.2, 0.8]])
    lam = np.array([0.4, 2.5])
    problem = Problem.cut(ea.ExplicitPO(1.0, name), bandit, range(2), np.arange(2), lam)
    assert two_explicit.accepts(problem)
    mu = {
        "reverse_kl": mp.log,
        "jensen_shannon": lambda u: mp.log(2 * u / (1 + u)),
        "chi_square": lambda u: 2 * (u - 1),
        "mixed_chi_square": lambda u: u + mp.log(u) - 1,
    }[name]
    for t in (np.array([-3.0, 0.5]), np.array([0.2, 6.0]), np.array([-20.0, -0.7])):
        found, noise = two_explicit._slope(problem, t)
        for b in range(2):
            order = problem.responses[:, b]
            reference = [mp.mpf(float(v)) for v in bandit.reference[b][order]]
            optimal = [mp.mpf(float(v)) for v in bandit.optimal[b][order]]
            odds = mp.exp(mp.mpf(float(t[b])))
            policy = [1 / (1 + odds), odds / (1 + odds)]
            won = optimal[1] / (optimal[0] + optimal[1])  # K_0 is the weight of "0 beats 1"
            exact = (1 - won) * (1 + odds) - won * (1 + 1 / odds)
            exact += mp.mpf(float(lam[b])) * (mu(policy[1] / reference[1]) - mu(policy[0] / reference[0]))
            assert abs(mp.mpf(float(found[b])) - exact) <= noise[b]
            assert noise[b] <= 1e-12 * (1 + abs(float(odds)) + abs(float(1 / odds)))
    solved = two_explicit.solve(problem)
    t = solved.log_policy[1] - solved.log_policy[0]
    value, noise = two_explicit._slope(problem, t)
    rise = (two_explicit._slope(problem, t + 1e-6)[0] - two_explicit._slope(problem, t - 1e-6)[0]) / 2e-6
    d = two_explicit._enclosed(problem, t)
    assert (np.abs(value) <= 4 * noise + 4e-16 * rise * (1 + np.abs(t))).all()
    assert (d >= noise / rise * 0.9).all() and (d <= 8 * (noise / rise + 4.5e-16 * (1 + np.abs(t)))).all()
    assert (solved.bound >= 0.3 * np.exp(solved.log_policy).prod(axis=0) * d).all() and (solved.bound < 1e-13).all()
    for other in (ea.ExplicitPO(1.0, "forward_kl"), ea.EXPO(1.0), ea.DPO(1.0), ea.BradleyTerry(1.0)):
        assert not two_explicit.accepts(problems.problem(other, ea.Bandit([0.3, 0.7], [0.6, 0.4])))
    half = own(lambda lam: Logistic()(0.5 * h), ea.ReverseKL())
    relative = own(lambda lam: Logistic()(hbar), ea.ReverseKL())
    more = own(lambda lam: Logistic()(h) + Square()(h), ea.ReverseKL())
    for made in (half, relative, more, own(lambda lam: Square()(h), ea.ReverseKL())):
        assert not two_explicit.accepts(problems.problem(made, ea.Bandit([0.3, 0.7], [0.6, 0.4])))
    assert not two_explicit.accepts(
        problems.problem(ea.ExplicitPO(1.0, name), ea.Bandit([0.3, 0.5, 0.2], [0.6, 0.3, 0.1]))
    )


def test_what_rises_on_one_side_holds_what_loses_often_enough() -> None:
    """By table: a psi that is bounded below and rises on some side, on pieces that its wins connect strongly."""
    ring = np.zeros((3, 3))
    ring[[0, 1, 2], [1, 2, 0]] = 1
    chain = np.zeros((3, 3))
    chain[[0, 1], [1, 2]] = 1
    both = ring + ring.T
    one, split = Structure(((0, 1, 2),), (), ((0, 1, 2),)), Structure(((0, 1), (2,)), (), ((0, 1), (2,)))
    rises = Stated(lambda m: m, slopes=(-1.0, 0.0), lower_bound=0.0)
    turned = Stated(lambda m: m, slopes=(0.0, 2.0), lower_bound=0.0)
    two_sides = Stated(lambda m: m, slopes=(-1.0, 1.0), lower_bound=0.0)
    for psi, wins, structure, held in (
        (rises, ring, one, True),
        (turned, ring, one, True),
        (rises, chain, one, False),
        (turned, chain, one, False),
        (two_sides, chain, one, True),
        (rises, both, one, True),
        (rises, both, split, True),
        (two_sides, chain, split, True),
        (Stated(lambda m: m, slopes=(-1.0, 0.0)), ring, one, False),
        (Stated(lambda m: m, slopes=(-1.0, 0.0), lower_bound=-np.inf), ring, one, False),
        (Stated(lambda m: m, lower_bound=0.0), ring, one, False),
        (Stated(lambda m: m, slopes=(0.0, 0.0), lower_bound=0.0), ring, one, False),
        (Stated(lambda m: m, slopes=(0.5, 1.0), lower_bound=0.0), both, one, False),
        (Stated(lambda m: m, slopes=(-1.0, -0.5), lower_bound=0.0), both, one, False),
    ):
        assert _coercive(Facts(psi(h), None), wins, structure) == held


def test_a_bound_where_every_term_is_nearly_at_its_least() -> None:
    """|A^+| (rho + delta)/scale, delta = sqrt(sum above rho^2 / below); none where one may be 1 away, or is."""
    rng = np.random.default_rng(7)
    inverse = rng.standard_normal((3, 5))
    at = rng.standard_normal((5, 2))
    well = Well(
        at, np.broadcast_to(0.3 + rng.random((5, 1)), (5, 2)), np.broadcast_to(0.8 + rng.random((5, 1)), (5, 2))
    )
    weight, scale = 0.2 + rng.random((5, 2)), -0.5 - rng.random((5, 2))
    rho = 0.01 * rng.random((5, 2))
    margins = [(at - rho, scale, well, weight, np.zeros((5, 2)))]
    delta = np.sqrt((weight * well.above * rho**2).sum(axis=0) / (weight * well.below))
    exact = (np.abs(inverse) @ ((rho + delta) / np.abs(scale))).max(axis=0)
    np.testing.assert_allclose(attained._bound(margins, inverse), exact, rtol=1e-7)
    assert (attained._bound(margins, inverse) >= exact).all()
    # rounding of m: 16 u of its size
    sized = [(at, scale, well, weight, np.full((5, 2), 1e10))]
    small = 16 * UNIT * 1e10
    delta = np.sqrt((weight * well.above * small**2).sum(axis=0) / (weight * well.below))
    exact = (np.abs(inverse) @ ((small + delta) / np.abs(scale))).max(axis=0)
    np.testing.assert_allclose(attained._bound(sized, inverse), exact, rtol=1e-7)
    for far in (0.9, 1.1):
        away = [(at + far * (np.arange(5) == 2)[:, None] * [1.0, 0.0], scale, well, weight, np.zeros((5, 2)))]
        found = attained._bound(away, inverse)
        assert np.isinf(found[0]) and np.isfinite(found[1])


class Method:
    """A method that accepts or not, solves those of a batch that it is told to, and counts."""

    def __init__(self, name: str, number: float, solves: set[int], accepting: bool = True) -> None:
        self.NAME, self.number, self.solves, self.accepting, self.asked = name, number, solves, accepting, []

    def accepts(self, problem: Problem) -> bool:
        return self.accepting

    def solve(self, problem: Problem) -> Found:
        size = problem.size
        self.asked.append(size)
        found = judged(np.full((2, size), self.number), np.full(size, self.number))
        lams = np.asarray(problem.objective.lam)
        found.passed_on[:] = [int(lam) not in self.solves for lam in lams]
        return found


def test_problems_go_from_method_to_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, what one passes on to the next that accepts it; a search last, if it may; names count."""
    lam = np.array([1.0, 2.0, 3.0, 4.0])
    problem = Problem.cut(ea.BradleyTerry(1.0), ea.Bandit([0.4, 0.6], [0.5, 0.5]), range(2), np.zeros(4, int), lam)
    first, second = Method("closed_form", 0.1, {1}), Method("newton", 0.2, {2, 3})
    refuses, last = Method("auto", 0.3, {1, 2, 3, 4}, False), Method("multistart", 0.4, {1, 2, 3, 4})
    monkeypatch.setattr(methods, "METHODS", (first, refuses, second, last))
    monkeypatch.setattr(methods, "multistart", last)
    found = methods.solve_problem(problem, "auto")
    assert found.bound.tolist() == [0.1, 0.2, 0.2, 0.4] and not found.passed_on.any()
    assert (first.asked, refuses.asked, second.asked, last.asked) == ([4], [], [3], [1])
    assert found.log_policy[:, 3].tolist() == [0.4, 0.4]
    left = methods.solve_problem(problem, "auto", search=False)
    assert left.passed_on.tolist() == [False, False, False, True] and left.bound.tolist() == [0.1, 0.2, 0.2, 0.2]
    own_ = methods.solve_problem(problem, "newton")  # what it passes on is searched for
    assert own_.bound.tolist() == [0.4, 0.2, 0.2, 0.4]
    assert methods.solve_problem(problem, "multistart", search=False).bound.tolist() == [0.4] * 4
    assert methods.solve_problem(problem, "newton", search=False).bound.tolist() == [0.2] * 4
    first.asked.clear()
    assert methods.solve_problem(problem, "closed_form").bound.tolist() == [0.1, 0.4, 0.4, 0.4] and first.asked == [4]
    for method in (first, second, last):
        method.accepting = False
    for name in ("auto", "newton"):
        with pytest.raises(ValueError, match=f"method '{name}' is not available for BradleyTerry on this bandit"):
            methods.solve_problem(problem, name)


def test_groups_between_which_scores_are_open() -> None:
    """Pairs that are beyond their kinks at every minimiser tie nothing; those that are on one tie their ends.

    0 and 1 beat each other as often, far enough apart in scores for both; 1 over 2 is held at its kink by nothing.
    """
    wins = np.zeros((4, 4))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2], wins[1, 2] = 3, 1, 3, 1, 2
    bandit = ea.Bandit.from_counts(np.full(4, 0.25), wins)
    problem = problems.problem(own(lambda lam: Hinge(1.0)(h)), bandit)
    found = linear_program.linear_optimum(problem)
    order = problem.responses[:, 0]
    groups = sorted(sorted(order[list(group)].tolist()) for group in found.groups[0])
    assert groups == [[0, 1], [2, 3]] and found.unbounded[0] and found.solved[0]
    solution = ea.solve(own(lambda lam: Hinge(1.0)(h)), bandit)
    assert solution.status == "not_unique"
    assert "between responses [0, 1], [2, 3] the log-ratios are open, some of them without bound" in solution.message
    x = solution.log_policy
    assert x[0] - x[1] == pytest.approx(1.0, abs=1e-7) and x[2] - x[3] == pytest.approx(1.0, abs=1e-7)
    assert x[1] - x[2] >= 1 - 1e-7
    # of the least squares of scores: as near as the kink allows, which is 1 apart
    assert x[1] - x[2] == pytest.approx(1.0, abs=1e-6)


def test_one_more_step_where_the_bound_is_rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch those alone whose bound is above rounding, and what is better is kept."""
    asked = []

    def last_step(problem: Problem, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(problem.size)
        error = np.array([1e-14, 1e-9, 1e-9]) if len(asked) == 1 else np.array([1e-13, 1e-5])
        return x + len(asked) * np.array([[1.0], [-1.0]]), error

    monkeypatch.setattr(newton, "last_step", last_step)
    lam = np.array([1.0, 2.0, 3.0])
    problem = Problem.cut(ea.EXPO(1.0), ea.Bandit([0.4, 0.6], [0.5, 0.5]), range(2), np.zeros(3, int), lam)
    x, *_ = newton.newton(problem, newton.start(problem))
    found = newton.solve(problem)
    assert asked == [3, 2]
    ratio = found.log_policy[0] - found.log_policy[1] - (x[0] - x[1])
    np.testing.assert_allclose(ratio, [2.0, 6.0, 2.0], atol=1e-9)
    assert found.bound[1] < 1e-12 < found.bound[2] and found.bound[0] < 1e-13


def on_face(problem: Problem, theta: Any) -> bool:
    return minimum_on_face(problem, theta) is not None


def test_what_is_said_of_searches() -> None:
    """By table, in its order: tied, convex, converged, on the boundary, known to exist, vanishing, or none."""
    bandit = ea.Bandit([0.4, 0.35, 0.25], [0.5, 0.3, 0.2])
    convex, bent = (problems.problem(made, bandit) for made in (ea.BradleyTerry(1.0), ea.ORPO(1.0)))
    known = dataclasses.replace(bent, exists=np.array([True]))

    def said(problem: Problem, vanished: str = "", under: str = "", **changes: bool) -> tuple[Any, Any, str]:
        flags = {name: np.array([changes.get(name, False)]) for name in ("converged", "stationary", "tied")}
        found = multistart.LocalMinima(
            np.array([[0.0], [-1.0], [-2.0]]), np.array([17]), starts=9, agreeing=np.array([4]), **flags
        )
        return multistart._verdict(problem, found, vanished, under, 0)

    for problem in (convex, bent, known):
        for flags in ({"tied": True, "converged": True}, {"tied": True, "stationary": True}):
            status, certificate, message = said(problem, **flags)
            assert (status, certificate) == (Status.NOT_UNIQUE, Certificate.SEARCH)
            assert message == "several policies reach the lowest value found (4 of 9 starts); one of them is returned"
    assert said(bent, "[2]", tied=True, stationary=True)[0] == Status.NO_MINIMISER
    assert said(convex, converged=True)[:2] == (Status.OPTIMAL, Certificate.CONDITIONS)
    assert said(bent, converged=True)[:2] == (Status.BEST_FOUND, Certificate.SEARCH)
    assert said(known, "[2]", converged=True)[2].startswith("the best local minimum found, reached by 4 of 9 starts")
    status, certificate, message = said(known, "[2]", "[2]")
    assert (status, certificate) == (Status.FAILED, Certificate.NONE)
    assert "a minimiser exists, but no search ended at it (17 steps), as responses [2] have fallen below" in message
    assert "underflow" not in said(known, "[2]")[2] and "a minimiser exists" in said(known)[2]
    status, certificate, message = said(bent, "[1, 2]")
    assert (status, certificate) == (Status.NO_MINIMISER, Certificate.SEARCH)
    assert "as the probability of responses [1, 2] tends to 0 (4 of 9 starts; not proven)" in message
    for flags in ({}, {"stationary": True}, {"tied": True}):
        status, certificate, message = said(bent, **flags)
        assert (status, certificate) == (Status.FAILED, Certificate.NONE) and "(17 steps)" in message
    # a face that a finite slope at 0 keeps to: everything rises away from it, nothing along it
    held = problems.problem(own(lambda lam: Logistic()(6.0 * h), ea.ChiSquare()), bandit)
    assert not on_face(held, np.array([[0.0], [-1.0], [-900.0]]))
    assert not on_face(bent, np.array([[0.0], [-1.0], [-900.0]]))
    two = ea.Bandit.from_counts([0.4, 0.6], [[0, 1], [0, 0]])
    face = np.array([[0.0], [-900.0]])
    order = problems.problem(own(lambda lam: Logistic()(h), ea.ChiSquare()), two).responses[:, 0]
    rises = problems.problem(own(lambda lam: Logistic()(h), ea.ChiSquare()).with_lam(1e-3), two)
    falls = problems.problem(own(lambda lam: Logistic()(h), ea.ChiSquare()).with_lam(1e3), two)
    assert on_face(rises, face[order]) and not on_face(falls, face[order])


def test_a_face_is_a_minimum_only_where_nothing_is_gained_along_it() -> None:
    """0 and 1 win as often, and both over 2 hardly: 2 at 0 is kept by a wish for less, but not at uneven shares."""
    made = own(lambda lam: Logistic()(h), ea.ChiSquare()).with_lam(1e-2)
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 3, 9], [3, 0, 9], [0, 0, 0]])
    problem = problems.problem(made, bandit).in_logits()
    order = problem.responses[:, 0]
    for shift, kept in ((0.0, True), (1e-3, False), (-0.5, False)):
        face = np.array([[0.0], [shift], [-900.0]])[order]
        assert on_face(problem, face) == kept


def test_guesses_of_what_is_preferred() -> None:
    """Of a population pi*; of counts halfway between the shares of wins and the reference."""
    counts = ea.Bandit.from_counts([[0.1, 0.3, 0.6], [0.2, 0.2, 0.6]], [[[0, 3, 1], [1, 0, 0], [0, 3, 0]]] * 2)
    problem = problems.problem(ea.EXPO(0.5), counts)
    for b in range(2):
        exact = (np.array([4, 1, 3]) / 8 + counts.reference[b]) / 2
        np.testing.assert_allclose(newton.preferred(problem)[:, b], exact[problem.responses[:, b]], rtol=1e-15)
    known = ea.Bandit([0.1, 0.3, 0.6], [0.5, 0.3, 0.2])
    problem = problems.problem(ea.EXPO(0.5), known)
    np.testing.assert_allclose(newton.preferred(problem)[:, 0], known.optimal[problem.responses[:, 0]], rtol=1e-15)


def test_where_each_line_is_the_largest() -> None:
    """Of maxima of three lines: between crossings, and crossed over where it is beneath the others."""
    slope = np.array([[-1.0, -2.0], [0.0, 0.0], [2.0, 1.0]])
    intercept = np.array([[0.0, 1.0], [1.0, -5.0], [-4.0, 1.0]])
    left, right = linear_program._ranges(slope, intercept)
    np.testing.assert_allclose(left[:, 0], [-np.inf, -1.0, 2.5])
    np.testing.assert_allclose(right[:, 0], [-1.0, 2.5, np.inf])
    np.testing.assert_allclose([left[0, 1], right[0, 1]], [-np.inf, 0.0])
    np.testing.assert_allclose([left[2, 1], right[2, 1]], [0.0, np.inf])
    assert left[1, 1] > right[1, 1]
    # a line that is there twice is as large as itself
    left, right = linear_program._ranges(slope[[0, 2, 2]], intercept[[0, 2, 2]])
    np.testing.assert_allclose(left[1], left[2])


def test_the_nearest_scores() -> None:
    """The least sum of squares under differences' bounds, by another solver; what is unbounded binds nothing."""
    rng = np.random.default_rng(9)
    for _ in range(12):
        n = 4
        z = 2 * rng.standard_normal(n)
        z -= z.mean()
        reach = z[:, None] - z + rng.exponential(0.7, (n, n)) * (rng.random((n, n)) < 0.8)
        reach[rng.random((n, n)) < 0.3] = np.inf
        np.fill_diagonal(reach, 0.0)
        i, j = np.nonzero(np.isfinite(reach) & ~np.eye(n, dtype=bool))
        found = linear_program._nearest(z, reach)
        assert (found[i] - found[j] <= reach[i, j] + 1e-7).all()
        constraint = {"type": "ineq", "fun": lambda x, i=i, j=j, reach=reach: reach[i, j] - (x[i] - x[j])}
        least = minimize(lambda x: x @ x, z, constraints=[constraint], method="SLSQP", options={"ftol": 1e-14})
        assert found @ found <= least.fun + 1e-6 and found @ found <= z @ z + 1e-9
    np.testing.assert_array_equal(linear_program._nearest(z, np.full((4, 4), np.inf)), np.zeros(4))


def test_where_searches_in_the_logits_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the reference, the guesses, and ever farther around the reference: in the loss's units, and in logits where
    these are others."""

    class Begun(Exception):
        pass

    def begun(lam: float) -> tuple[Problem, np.ndarray]:
        n = 60
        problem = problems.problem(ea.DPO(lam), ea.Bandit(*np.random.default_rng(1).dirichlet(np.full(n, 9.0), 2)))

        def levenberg(many: Problem, starts: np.ndarray, unit: np.ndarray) -> Any:
            assert many.size == starts.shape[1] == len(unit) and (unit == multistart.units(problem)).all()
            raise Begun(starts)

        monkeypatch.setattr(multistart, "levenberg", levenberg)
        with pytest.raises(Begun) as told:
            multistart.multistart(problem, [np.full((n, 1), 0.25)])
        return problem, told.value.args[0]

    drawn = {}
    for lam, more in ((1.0, []), (0.1, [1.0, 2.0, 4.0]), (10.0, [1.0, 2.0, 4.0])):
        problem, starts = begun(lam)
        moves = starts - problem.log_reference
        assert (moves[:, 0] == 0).all() and (starts[:, 1] == 0.25).all()
        assert moves.shape[1] == 2 + multistart.RANDOM_STARTS + len(more)
        spreads = np.append(np.linspace(0.5, 4.0, multistart.RANDOM_STARTS) / lam, more)
        np.testing.assert_allclose(moves[:, 2:].std(axis=0), spreads, rtol=0.35)
        drawn[lam] = moves[:, 2 : 2 + multistart.RANDOM_STARTS] * lam
    np.testing.assert_allclose(drawn[0.1], drawn[1.0], rtol=1e-9)
    np.testing.assert_allclose(drawn[10.0], drawn[1.0], rtol=1e-9)
