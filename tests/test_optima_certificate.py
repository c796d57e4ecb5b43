"""What proves a bound: each formula of `optima.certificate` written again for one problem, with dense matrices.

At candidates that are off by far more than rounding, where a bound is nothing but its formula.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

import expo_analysis as ea
from expo_analysis.divergences import Alpha, Divergence, JensenShannon, ReverseKL
from expo_analysis.optima import certificate
from expo_analysis.optima.certificate import last_step, logit_error, policy_error, squared_error_bound
from expo_analysis.optima.derivatives import expand
from expo_analysis.optima.laplacian import eliminate, pairs, resistances
from expo_analysis.optima.scores import from_scores

from . import problems, restricted_oracle
from .test_restricted_bounds import NAMES, objective

UNIT = float(np.finfo(np.float64).eps)


def radius(k: float, first: float) -> float:
    return first if k == 0 else -np.log1p(-k * first) / k


def expanded(name: str, lam: float, bandit: ea.Bandit, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    loss = restricted_oracle.losses(lam)[name]
    found = restricted_oracle.derivatives(loss, bandit, 0, [mp.mpf(float(t)) for t in theta])
    g, h = (np.array(x.tolist(), dtype=float) for x in found)
    return g[:, 0], h


def resistance_of(inverse: np.ndarray) -> np.ndarray:
    diagonal = np.diag(inverse)
    return diagonal[:, None] + diagonal - 2 * inverse


@pytest.mark.parametrize("name", NAMES)
def test_bounds_of_logits_are_what_their_formula_says(name: str) -> None:
    rng = np.random.default_rng([*name.encode()])
    for _ in range(4):
        n, lam = int(rng.integers(3, 6)), float(10 ** rng.uniform(-0.5, 0.5))
        bandit = ea.Bandit(*rng.dirichlet(np.full(n, 3.0), 2))
        made = objective(name, lam)
        problem = problems.problem(made, bandit)
        assert problem.responses is not None
        order = problem.responses[:, 0]
        theta = ea.solve(made, bandit).log_policy + 2e-3 * rng.standard_normal(n)
        x = theta[order]
        if problem.link is not None:  # scores, log pi less log pi_ref
            x = x - np.log(bandit.reference[order])
        g, h = (v[np.ix_(*[order] * v.ndim)] for v in expanded(name, lam, bandit, theta))
        m = float(np.max(np.asarray(problem.concordance)))
        k = max(m, 0.0 if problem.target is None else 2.0)
        inverse = np.linalg.pinv(h)
        r = resistance_of(inverse)
        potential = inverse @ g
        norm = np.sqrt(g @ potential)
        flow = -(h - np.diag(np.diag(h))) * np.abs(potential[:, None] - potential)
        by_norm, by_currents = radius(m, np.sqrt(r.max()) * norm), radius(k, (flow * r).sum() / 2)
        exact = min(by_norm, by_currents)
        np.testing.assert_allclose(logit_error(problem, x[:, None]), exact, rtol=1e-4)

        moved, error = last_step(problem, x[:, None])
        step = -potential
        np.testing.assert_allclose(np.ptp(moved[:, 0] - x - step), 0, atol=1e-9)
        stretch, far = m * np.ptp(step), k * np.ptp(step)
        assert stretch < 1
        change = stretch * np.exp(stretch) / 2 * np.sqrt(step @ h @ step)
        by_norm = radius(m, np.exp(2 * stretch) * np.sqrt(r.max()) * change)
        by_currents = radius(k, np.exp(far) * (flow * far * np.exp(far) / 2 * r).sum() / 2)
        np.testing.assert_allclose(error, min(by_norm, by_currents), rtol=1e-3, atol=1e-12)
        # far out nothing is proven, and no step is taken that proves nothing
        wide = x[:, None] + 50 * np.arange(n)[:, None] / lam
        if m > 0:
            assert np.isnan(logit_error(problem, wide)).all()


def test_a_squared_error_is_convex_in_a_box() -> None:
    rng = np.random.default_rng(1)
    proven = 0
    for _ in range(12):
        bandit = ea.Bandit(*rng.dirichlet(np.full(3, 8.0), 2))
        lam = 0.5
        problem = problems.problem(ea.RegressionEXPO(lam), bandit)
        assert problem.responses is not None
        order = problem.responses[:, 0]
        solution = ea.solve(ea.RegressionEXPO(lam), bandit)
        theta = solution.log_policy + 1e-3 * rng.standard_normal(3)
        value, floor, gradient, weights = 0.0, 0.0, np.zeros(3), np.zeros((3, 3))
        mass, target = np.zeros((3, 3)), np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                if i != j:
                    share = bandit.reference[i] / (bandit.reference[i] + bandit.reference[j])
                    own = (1 + lam * share) / (1 + lam)
                    mass[i, j] = bandit.wins[i, j] + bandit.wins[j, i]
                    target[i, j] += bandit.wins[i, j] * own / mass[i, j]
                    target[j, i] += bandit.wins[i, j] * (1 - own) / mass[i, j]
        for i in range(3):
            for j in range(i):
                up = expit(theta[i] - theta[j])
                value += mass[i, j] * (up - target[i, j]) ** 2
                slope = 2 * mass[i, j] * (up - target[i, j]) * up * (1 - up)
                gradient[i], gradient[j] = gradient[i] + slope, gradient[j] - slope
        convex = True
        for i in range(3):
            for j in range(i):
                rho = np.sqrt(value / mass[i, j])
                ends = np.clip([target[i, j] - rho, target[i, j] + rho], 0, 1)
                least, steep = (ends * (1 - ends)).min(), np.abs(1 - 2 * ends).max()
                convex &= least > rho * steep
                weights[i, j] = weights[j, i] = 2 * mass[i, j] * least * (least - rho * steep)
        found = squared_error_bound(problem, theta[order][:, None])[0]
        assert np.isfinite(found) == convex
        if convex:
            proven += 1
            inverse = np.linalg.pinv(np.diag(weights.sum(axis=0)) - weights)
            exact = np.sqrt(resistance_of(inverse).max() * (gradient @ inverse @ gradient))
            np.testing.assert_allclose(found, exact, rtol=1e-3)
            assert np.ptp(theta - solution.log_policy) <= found
    assert proven > 3 and floor == 0


def test_rounding_of_a_squared_error_where_it_is_all_there_is() -> None:
    """At a minimum of 0 whose sigma is s: 8 units of a slope of up to 1, over the curvature 2 s^2."""
    for s in (1e-4, 1e-5, 1e-6):
        bandit = ea.Bandit([s, 1 - s], [s, 1 - s])
        problem = problems.problem(ea.RegressionEXPO(0.5), bandit)
        x = np.log(bandit.reference)[problem.responses[:, 0]]
        assert squared_error_bound(problem, x[:, None])[0] == pytest.approx(8 * UNIT / (2 * s**2), rel=5e-3)


def test_the_largest_distance_within_a_range_of_log_ratios() -> None:
    """2 max over sets of a (1 - a) (e^r - 1)/(1 + a (e^r - 1)), for every mass that a set may have."""
    rng = np.random.default_rng(2)
    for top in (0.2, 0.5, 0.9, 0.999):
        for r in (1e-9, 1e-3, 0.3, 5.0):
            rest = rng.dirichlet(np.ones(3)) * (1 - top)
            policy = np.array([top, *rest])
            a = (
                np.concatenate([np.linspace(0, 1 - top, 20001), np.linspace(top, 1, 20001)])
                if top > 0.5
                else (np.linspace(0, 1, 40001))
            )
            growth = np.expm1(r)
            exact = 2 * (a * (1 - a) * growth / (1 + a * growth)).max()
            found = policy_error(policy[:, None], np.array([r]))[0]
            assert exact <= found <= exact * (1 + 1e-6) + 100 * UNIT
    # of a range of 0 what is left is the rounding of the policy itself
    assert UNIT < policy_error(np.array([[0.5], [0.5]]), np.zeros(1))[0] < 100 * UNIT
    assert policy_error(np.array([[0.5], [0.5]]), np.array([1e4]))[0] == pytest.approx(1.0)  # from a half to all
    assert np.isnan(policy_error(np.array([[0.5], [0.5]]), np.array([np.nan]))[0])


def test_resistances_and_solutions_of_laplacians() -> None:
    """Against the pseudo-inverse, and over 200 decades of weights by the rule for trees."""
    rng = np.random.default_rng(3)
    for n in (2, 3, 6):
        high, low = pairs(n)
        weights = rng.exponential(1.0, (len(high), 2)) * (rng.random((len(high), 1)) < 0.8)
        chain = (high - low) == 1
        weights[chain] += 0.1
        found = eliminate(weights)
        rhs = rng.standard_normal((n, 2))
        rhs -= rhs.mean(axis=0)
        for b in range(2):
            matrix = np.zeros((n, n))
            matrix[high, low] = matrix[low, high] = -weights[:, b]
            matrix -= np.diag(matrix.sum(axis=0))
            inverse = np.linalg.pinv(matrix)
            np.testing.assert_allclose(resistances(found)[..., b], resistance_of(inverse), atol=1e-11)
            exact = inverse @ rhs[:, b]
            np.testing.assert_allclose(found.solve(rhs)[:, b], exact - exact[0], atol=1e-11)
        thread = np.where(chain, 10.0 ** -rng.uniform(0, 200, len(high)), 0.0)[:, None]
        tree = resistances(eliminate(thread))[..., 0]
        each = 1 / thread[chain, 0]
        along = [[each[min(i, j) : max(i, j)].sum() for j in range(n)] for i in range(n)]
        np.testing.assert_allclose(tree, along, rtol=1e-12)
        thread[np.flatnonzero(chain)[-1]] = 0.0
        apart = eliminate(thread)
        assert not apart.positive_definite.any() and np.isinf(resistances(apart)[~np.eye(n, dtype=bool)]).all()


@pytest.mark.parametrize("link", [JensenShannon(), Alpha(0.5), ReverseKL()], ids=lambda link: link.name)
def test_policies_of_scores_that_are_known_to_an_error(link: Divergence) -> None:
    """The bound is the sum over responses of how far each can go: the root, once more with all gaps at their ends."""
    rng = np.random.default_rng(4)
    for e in (1e-5, 1e-3):
        reference, scores = rng.dirichlet(np.full(4, 2.0)), 0.5 * rng.standard_normal(4)
        error = e * rng.random(4)
        log_policy, bound = from_scores(link, np.log(reference)[:, None], scores[:, None], error[:, None])
        policy = np.exp(log_policy[:, 0])
        assert policy.sum() == pytest.approx(1.0, abs=1e-14)
        gaps = link.mu(log_policy[:, 0] - np.log(reference)) - scores
        np.testing.assert_allclose(gaps, gaps[0], atol=1e-13)
        worst, top = 0.0, int(scores.argmax())
        for sides in np.ndindex(*(2,) * 4):
            moved = scores + error * (2 * np.array(sides) - 1)
            own = _policy(link, reference, moved)
            worst = max(worst, np.abs(own - policy).sum())
        assert worst <= bound[0]
        blur = error + error[top]
        blur[top] = 0.0
        if type(link) is ReverseKL:
            s = (policy * np.expm1(blur)).sum()
            s = s if policy.argmax() == top else (policy * np.expm1(_relative(error, int(policy.argmax())))).sum()
            exact = 2 * s / (1 - s)
        else:
            exact = 0.0
            for sign in (1, -1):
                y = _top(link, reference, scores, sign * blur)
                reach = np.exp(np.log(reference) + link.descend(np.full(4, y), scores[top] - scores - sign * blur))
                exact = np.maximum(exact, sign * (reach - policy))
            exact = exact.sum()
        np.testing.assert_allclose(bound[0], exact, rtol=1e-4)
        # a bound on the range of the error instead: all others together, the top apart
        _, ranged = from_scores(link, np.log(reference)[:, None], scores[:, None], np.array([2 * error.max()]))
        assert ranged[0] >= worst / 2
        _, none = from_scores(link, np.log(reference)[:, None], scores[:, None], np.zeros(1))
        assert UNIT < none[0] < 500 * UNIT


def _relative(error: np.ndarray, top: int) -> np.ndarray:
    blur = error + error[top]
    blur[top] = 0.0
    return blur


def _top(link: Any, reference: np.ndarray, scores: np.ndarray, shift: np.ndarray) -> float:
    gaps = scores.max() - scores + shift
    return brentq(
        lambda y: np.log((reference * np.exp(link.descend(np.full(4, y), gaps))).sum()),
        -0.5,
        0.4 - np.log(reference).min(),
    )


def _policy(link: Any, reference: np.ndarray, scores: np.ndarray) -> np.ndarray:
    y = _top(link, reference, scores, np.zeros(4))
    return reference * np.exp(link.descend(np.full(4, y), scores.max() - scores))


@pytest.mark.parametrize("name", ["bradley_terry", "dpo, smoothed", "cpo"])
def test_after_a_step_over_a_thread_currents_bound_what_norms_do_not(name: str) -> None:
    """Two pairs, a bridge of 1e-7 between them: exp(k |d|) times sum (what the step changes in currents) R.

    Its changes are |d| exp(|d|)/2 of each current, d the step in units of 1/k.
    """
    q = np.full((4, 4), 1e-7)
    q[0, 1] = q[1, 0] = q[2, 3] = q[3, 2] = 1.0
    np.fill_diagonal(q, 0.0)
    rng = np.random.default_rng([*name.encode()])
    bandit = ea.Bandit(*rng.dirichlet(np.full(4, 5.0), (2,)), q)
    made = objective(name, 0.8)
    problem = problems.problem(made, bandit)
    assert problem.responses is not None
    order = problem.responses[:, 0]
    theta = ea.solve(made, bandit).log_policy
    theta = theta + 1e-3 * np.array([0.5, -0.5, 0.4, -0.4])
    x = theta[order] - (np.log(bandit.reference[order]) if problem.link is not None else 0.0)
    g, h = (v[np.ix_(*[order] * v.ndim)] for v in expanded(name, 0.8, bandit, theta))
    m = float(np.max(np.asarray(problem.concordance)))
    k = max(m, 0.0 if problem.target is None else 2.0)
    inverse = np.linalg.pinv(h)
    r, step = resistance_of(inverse), -inverse @ g
    flow = -(h - np.diag(np.diag(h))) * np.abs(step[:, None] - step)
    far = k * np.ptp(step)
    by_currents = radius(k, np.exp(far) * (flow * far * np.exp(far) / 2 * r).sum() / 2)
    stretch = m * np.ptp(step)
    by_norm = np.exp(2 * stretch) * np.sqrt(r.max()) * stretch * np.exp(stretch) / 2 * np.sqrt(step @ h @ step)
    error = last_step(problem, x[:, None])[1]
    if problem.target is None:
        assert by_currents < by_norm / 10
    assert error[0] <= 1.01 * min(by_currents, radius(m, by_norm)) + 1e-9
    np.testing.assert_allclose(error[0], min(by_currents, radius(m, by_norm)), rtol=0.02, atol=1e-9)


def test_what_a_step_adds_to_currents_is_rounded_at_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of two numbers is off by a unit of both: so much more is told of each pair than without a step."""
    bandit = ea.Bandit.from_counts("uniform", [[0, 5, 1, 2], [2, 0, 3, 1], [4, 1, 0, 6], [1, 2, 2, 0]])
    problem, seen = problems.problem(ea.IPO(0.3), bandit), []
    potential = certificate.Errors.potential
    monkeypatch.setattr(
        certificate.Errors, "potential", lambda self, changed: (seen.append(self), potential(self, changed))[1]
    )
    x = np.array([[0.7], [-0.2], [0.4], [-0.7]])
    last_step(problem, x)
    x = x - (x.max() + x.min()) / 2
    local = expand(problem, x)
    high, low = pairs(4)
    hessian = np.zeros((4, 4))
    hessian[high, low] = hessian[low, high] = -local.curvature[:, 0]
    hessian -= np.diag(hessian.sum(axis=1))
    step = -np.linalg.pinv(hessian) @ local.gradient[:, 0]
    step -= step[0]
    flow = local.curvature[:, 0] * (step[high] - step[low])
    currents = local.slope[:, 0] + flow
    rounding = certificate.PairRounding.of(problem, x)
    alone = certificate.pair_currents(problem, x + step[:, None], rounding)[:, 0]
    expected = 2 * UNIT * (np.abs(flow) + np.abs(currents))
    np.testing.assert_allclose(seen[0].currents[:, 0] - alone, expected, rtol=1e-6, atol=1e-25)
