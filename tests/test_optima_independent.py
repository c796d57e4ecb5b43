"""Against solvers nobody here wrote, given the objectives in their own words."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

import expo_analysis as ea

from . import problems


def _conic(bandit: ea.Bandit, lam: float, slope: float, offset: np.ndarray, regularised: bool) -> np.ndarray:
    """Clarabel on sum_e w_e log(1 + exp(-slope (theta_w - theta_l - offset_e))) [+ lam KL(ref || softmax theta)]."""
    winner, loser, weight = bandit.edges
    theta = cp.Variable(bandit.n)
    margin = slope * (theta[winner] - theta[loser] - offset)
    value = cp.sum(cp.multiply(weight, cp.logistic(-margin)))
    if regularised:
        value += lam * (cp.log_sum_exp(theta) - bandit.reference @ theta)
    problem = cp.Problem(cp.Minimize(value), [theta[0] == 0])
    tight = {name: 1e-10 for name in ("tol_gap_abs", "tol_gap_rel", "tol_feas", "tol_ktratio")}
    problem.solve(solver=cp.CLARABEL, **tight)
    weights = np.exp(theta.value - theta.value.max())
    return weights / weights.sum()


def _same(objective: ea.Objective, bandit: ea.Bandit, theirs: np.ndarray) -> None:
    """Ours is no higher than theirs, theirs within Clarabel's gap of it, which leaves its root in flat directions."""
    found = ea.solve(objective, bandit)
    excess = float(ea.risk(objective, bandit, np.log(theirs))) - float(ea.risk(objective, bandit, found.log_policy))
    assert -1e-14 < excess < 1e-9
    np.testing.assert_allclose(found.policy, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("graph", problems.GRAPHS)
def test_expo_against_clarabel(graph: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        n, lam = int(rng.integers(2, 8)), float(10 ** rng.uniform(-1.5, 1.5))
        bandit = problems.bandit(rng, n, graph, smallest=1e-2)
        theirs = _conic(bandit, lam, 1.0, np.zeros(len(bandit.edges[0])), regularised=True)
        _same(ea.EXPO(lam), bandit, theirs)


@pytest.mark.parametrize("graph", problems.GRAPHS)
def test_dpo_against_clarabel(graph: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        n, lam = int(rng.integers(2, 8)), float(10 ** rng.uniform(-0.3, 1.5))
        bandit = problems.bandit(rng, n, graph, smallest=1e-2)
        log_ref = np.log(bandit.reference)
        offset = log_ref[bandit.edges[0]] - log_ref[bandit.edges[1]]
        _same(ea.DPO(lam), bandit, _conic(bandit, lam, lam, offset, regularised=False))


def _log_softmax(theta: np.ndarray) -> np.ndarray:
    return theta - logsumexp(theta)


def _expo(theta: np.ndarray, b: ea.Bandit, lam: float) -> float:
    logp = _log_softmax(theta)
    h = logp[:, None] - logp
    return -np.sum(2 * b.pairs * b.preference * log_expit(h)) + lam * b.reference @ (np.log(b.reference) - logp)


def _ipo(theta: np.ndarray, b: ea.Bandit, lam: float) -> float:
    x = _log_softmax(theta) - np.log(b.reference)
    return float(np.sum(2 * b.pairs * b.preference * (x[:, None] - x - 1 / (2 * lam)) ** 2))


def _fdpo_js(theta: np.ndarray, b: ea.Bandit, lam: float) -> float:
    u = np.exp(_log_softmax(theta)) / b.reference
    slope = np.log(2 * u / (1 + u))
    return -float(np.sum(2 * b.pairs * b.preference * log_expit(lam * (slope[:, None] - slope))))


def _regression(theta: np.ndarray, b: ea.Bandit, lam: float) -> float:
    h = theta[:, None] - theta
    p_ref = b.reference[:, None] / (b.reference[:, None] + b.reference)
    target = (b.preference + lam * p_ref) / (1 + lam)
    return float(np.sum(b.pairs * (expit(h) - target) ** 2))


def _spo(theta: np.ndarray, b: ea.Bandit, lam: float) -> float:
    logp = _log_softmax(theta)
    pref = -np.sum(2 * b.pairs * b.preference * log_expit(logp[:, None] - logp))
    return float(pref + lam * np.exp(logp) @ (logp - np.log(b.reference)))


def _rlhf_chi_square(theta: np.ndarray, b: ea.Bandit, lam: float) -> float:
    policy = np.exp(_log_softmax(theta))
    return float(-policy @ np.log(b.optimal) + lam * np.sum((policy - b.reference) ** 2 / b.reference))


@pytest.mark.parametrize(
    ("value", "make"),
    [
        (_expo, ea.EXPO),
        (_ipo, ea.IPO),
        (_fdpo_js, ea.FDPO),
        (_regression, ea.RegressionEXPO),
        (_spo, lambda lam: ea.ExplicitPO(lam, "reverse_kl")),
        (_rlhf_chi_square, lambda lam: ea.RLHF(lam, "chi_square")),
    ],
)
def test_against_scipy(value, make) -> None:  # type: ignore[no-untyped-def]
    """scipy's BFGS from random starts finds nothing lower, and what it finds is our policy to its own accuracy."""
    rng = np.random.default_rng(7)
    for k in range(8):
        n, lam = int(rng.integers(2, 6)), float(10 ** rng.uniform(-0.5, 1.0))
        bandit = problems.bandit(rng, n, problems.GRAPHS[k % 4], smallest=5e-2)
        ours = ea.solve(make(lam), bandit)
        starts = [np.log(bandit.reference), rng.normal(0, 1, n), rng.normal(0, 3, n)]
        runs = [minimize(value, start, args=(bandit, lam), method="BFGS", options={"gtol": 1e-9}) for start in starts]
        best = min(runs, key=lambda run: run.fun)
        at_ours = value(np.maximum(ours.log_policy, -50.0), bandit, lam)
        assert at_ours <= best.fun + 1e-12 * (1 + abs(best.fun))
        uneven = 1e-2 if problems.GRAPHS[k % 4] in ("uneven", "sparse") else 1e-4  # BFGS on forward differences
        assert np.abs(np.exp(_log_softmax(best.x)) - ours.policy).sum() <= uneven
