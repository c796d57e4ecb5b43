"""CPO, RPO and SFT: the proven bound against 40-digit arithmetic, and a closed form."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima.certificate import logit_error, policy_error
from expo_analysis.optima.derivatives import expand, softmax
from expo_analysis.optima.laplacian import pairs
from expo_analysis.optima.problem import Problem

from . import problems
from .definitions import sigma

KINDS: dict[str, Any] = {
    "cpo": lambda lam: ea.CPO(lam, alpha=0.3),
    "rpo": lambda lam: ea.RPO(lam, alpha=2.0),
    "sft": ea.SFT,
}


def likelihood_policy_error(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """The bound on the 1-norm distance of softmax(theta) from the minimiser."""
    return policy_error(softmax(theta), logit_error(problem, theta))


def random_bandit(rng: np.random.Generator) -> ea.Bandit:
    """Two to six responses, probabilities down to 1e-4, pairs uneven over four decades, or win counts."""
    n = int(rng.integers(2, 7))
    reference = np.exp(rng.uniform(math.log(1e-4), 0.0, n))
    optimal = np.exp(rng.uniform(math.log(1e-4), 0.0, n))
    if rng.random() < 0.3:
        counts = rng.integers(1, 9, (n, n)) * (1 - np.eye(n, dtype=int))
        return ea.Bandit.from_counts(reference / reference.sum(), counts)
    q = 10 ** rng.uniform(-4.0, 0.0, (n, n))
    q = np.triu(q, 1) + np.triu(q, 1).T
    return ea.Bandit(reference / reference.sum(), optimal / optimal.sum(), q)


def exact_policy(objective: Any, bandit: ea.Bandit, start: np.ndarray) -> list[mp.mpf]:
    """Newton's method on the definition of the objective in 40 digits, from a policy near its minimiser."""
    n, alpha = bandit.n, mp.mpf(getattr(objective, "alpha", 1.0))
    lam = mp.mpf(0 if isinstance(objective, ea.SFT) else objective.lam)
    reference = [mp.log(mp.mpf(x)) if isinstance(objective, ea.RPO) else mp.mpf(0) for x in bandit.reference]
    wins = [[mp.mpf(float(x)) for x in row] for row in bandit.wins]
    theta = mp.matrix([mp.log(mp.mpf(float(x))) for x in start])
    for _ in range(6):
        total = mp.fsum(mp.exp(x) for x in theta)
        policy = [mp.exp(x) / total for x in theta]
        gradient, hessian = mp.matrix(n, 1), mp.matrix(n, n)
        weight = mp.fsum(mp.fsum(row) for row in wins)
        for i in range(n):
            gradient[i] += alpha * (weight * policy[i] - mp.fsum(wins[i]))
            for j in range(n):
                hessian[i, j] += alpha * weight * ((policy[i] if i == j else 0) - policy[i] * policy[j])
                if i == j:
                    continue
                margin = lam * (theta[i] - theta[j] - reference[i] + reference[j])
                slope, bend = wins[i][j] * lam * sigma(-margin), wins[i][j] * lam**2 * sigma(margin) * sigma(-margin)
                gradient[i] -= slope
                gradient[j] += slope
                for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                    hessian[a, b] += sign * bend
        step = mp.lu_solve(hessian[1:, 1:], -gradient[1:])
        theta = mp.matrix([theta[0], *[theta[k + 1] + step[k] for k in range(n - 1)]])
    assert max(abs(x) for x in step) < mp.mpf(10) ** -30
    total = mp.fsum(mp.exp(x) for x in theta)
    return [mp.exp(x) / total for x in theta]


@pytest.mark.parametrize("kind", KINDS)
def test_bound_against_high_precision(kind: str) -> None:
    rng = np.random.default_rng(5)
    bounds = []
    for _ in range(60):
        objective, bandit = KINDS[kind](10 ** rng.uniform(-2.0, 2.0)), random_bandit(rng)
        solution = ea.solve(objective, bandit)
        assert solution.status == "optimal"
        with mp.workdps(40):
            exact = exact_policy(objective, bandit, solution.policy)
            error = mp.fsum(abs(mp.mpf(float(p)) - e) for p, e in zip(solution.policy, exact, strict=True))
        assert not error > solution.error_bound  # where the bound is nan nothing is claimed
        bounds.append(solution.error_bound)
    assert np.isfinite(bounds).mean() > 0.9
    assert np.nanmedian(bounds) < 1e-11


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_candidate_gets_a_larger_bound(kind: str) -> None:
    """Moved logits: the bound holds for the distance to the optimum, and is not many times it."""
    rng = np.random.default_rng(6)
    bandit = ea.Bandit([0.4, 0.3, 0.2, 0.1], [0.5, 0.2, 0.2, 0.1])
    objective = KINDS[kind](0.7)
    solution = ea.solve(objective, bandit)
    problem = problems.problem(objective, bandit)
    for size in (1e-8, 1e-5, 1e-2):
        theta = solution.log_policy + size * rng.standard_normal(4)
        policy = np.exp(theta) / np.exp(theta).sum()
        distance = np.abs(policy - solution.policy).sum()
        assert problem.responses is not None
        bound = likelihood_policy_error(problem, theta[problem.responses[:, 0], None])[0]
        assert distance <= bound <= 30 * distance


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_hessian_are_those_of_torch(kind: str) -> None:
    """The bound has its own derivatives: a gradient moved by what it should be zero by moves the bound's logits."""
    bandit = ea.Bandit([0.4, 0.3, 0.2, 0.1], [0.5, 0.2, 0.2, 0.1])
    problem = problems.problem(KINDS[kind](0.7), bandit)
    theta = np.log(np.array([[0.3], [0.3], [0.3], [0.1]]))
    local = expand(problem, theta)
    high, low = pairs(4)
    laplacian = np.zeros((4, 4))
    laplacian[high, low] = laplacian[low, high] = -local.curvature[:, 0]
    laplacian -= np.diag(laplacian.sum(axis=1))
    inverse = np.linalg.pinv(laplacian)
    gradient = local.gradient[:, 0]
    resistance = np.add.outer(np.diag(inverse), np.diag(inverse)) - 2 * inverse
    delta = math.sqrt(resistance.max() * (gradient @ inverse @ gradient))
    if delta >= 1:
        assert np.isnan(likelihood_policy_error(problem, theta)[0])
    else:
        r = -math.log1p(-delta)
        assert likelihood_policy_error(problem, theta)[0] <= 2 * math.tanh(r / 4) * (1 + 1e-4)


def test_sft_is_the_share_of_wins() -> None:
    bandit = ea.Bandit.from_counts([0.2, 0.3, 0.5], [[0, 3, 1], [2, 0, 0], [1, 1, 0]])
    for lam in (0.1, 10.0):
        solution = ea.solve(ea.SFT(lam), bandit)
        np.testing.assert_allclose(solution.policy, [0.5, 0.25, 0.25], rtol=1e-14)
        assert solution.error_bound < 1e-13
    never = ea.solve(ea.SFT(1.0), ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]]))
    assert never.status == "no_minimiser"
