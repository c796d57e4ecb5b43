"""What is true of the optima themselves: the three-point identity, improvement, conservation, limits and paths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, rel_entr

import expo_analysis as ea

from . import problems


def _kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return rel_entr(a, b).sum(axis=-1)


@pytest.mark.parametrize("graph", problems.GRAPHS)
def test_three_point_identity(graph: str) -> None:
    """KL(ref||pi*) - KL(ref||pi) - KL(pi||pi*) = (1/lam) sum_{i<j} 2 q_ij (sigma(h*) - sigma(h)) (h* - h). [ours]

    Holds at the stationary point and, in general, nowhere else. As the right side is not negative, the optimum lies
    between pi_ref and pi*: the improvement theorem.
    """
    rng = np.random.default_rng(0)
    for _ in range(100):
        n, lam = int(rng.integers(2, 9)), float(10 ** rng.uniform(-2, 2))
        bandit = problems.bandit(rng, n, graph, smallest=1e-4)
        policy = ea.solve(ea.EXPO(lam), bandit, "newton").policy
        h_star = np.log(bandit.optimal[:, None] / bandit.optimal)
        h = np.log(policy[:, None] / policy)
        right = np.sum(bandit.pairs * (expit(h_star) - expit(h)) * (h_star - h)) / lam
        left = _kl(bandit.reference, bandit.optimal) - _kl(bandit.reference, policy) - _kl(policy, bandit.optimal)
        assert left == pytest.approx(right, abs=1e-10)
        assert right >= 0


def test_three_point_identity_fails_away_from_the_optimum() -> None:
    """The identity can tell a wrong policy from the right one."""
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    policy = ea.solve(ea.EXPO(1.1), bandit).policy  # the optimum for another lambda
    h_star, h = (np.log(p[:, None] / p) for p in (bandit.optimal, policy))
    right = np.sum(bandit.pairs * (expit(h_star) - expit(h)) * (h_star - h))
    left = _kl(bandit.reference, bandit.optimal) - _kl(bandit.reference, policy) - _kl(policy, bandit.optimal)
    assert abs(left - right) > 1e-4


def test_stationarity() -> None:
    """sum_j 2 q_ij (sigma(theta_i - theta_j) - p*_ij) + lam (pi_i - pi_ref,i) = 0."""
    rng = np.random.default_rng(1)
    for k in range(100):
        n, lam = int(rng.integers(2, 9)), float(10 ** rng.uniform(-2, 2))
        bandit = problems.bandit(rng, n, problems.GRAPHS[k % 4])
        solution = ea.solve(ea.EXPO(lam), bandit)
        h = solution.log_policy[:, None] - solution.log_policy
        residual = np.sum(2 * bandit.pairs * (expit(h) - bandit.preference), axis=1)
        residual += lam * (solution.policy - bandit.reference)
        assert np.abs(residual).max() <= 1e-14 * (1 + lam)


def _disconnected(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A graph of random components (singletons among them), and their labels."""
    labels = rng.integers(0, max(2, n // 2), n)
    q = np.triu(10 ** rng.uniform(-3, 0, (n, n)), 1) * (labels[:, None] == labels)
    return q + q.T, labels


@pytest.mark.parametrize("objective", [ea.EXPO, ea.ExplicitPO])
def test_conservation(objective: type[ea.EXPO | ea.ExplicitPO]) -> None:
    """Components keep their mass under the reference, responses never compared their probability. [ours]"""
    rng = np.random.default_rng(2)
    tried = 0
    while tried < 150:
        n = int(rng.integers(3, 11))
        q, labels = _disconnected(rng, n)
        if not q.any():
            continue
        tried += 1
        bandit = ea.Bandit(problems.policy(rng, n), problems.policy(rng, n), q)
        solution = ea.solve(objective(float(10 ** rng.uniform(-4, 4))), bandit)
        assert solution.status == "optimal"
        for label in np.unique(labels):
            inside = labels == label
            assert solution.policy[inside].sum() == pytest.approx(bandit.reference[inside].sum(), abs=1e-12)
        alone = q.sum(axis=1) == 0
        np.testing.assert_allclose(solution.policy[alone], bandit.reference[alone], rtol=1e-12)


def test_conservation_is_found_by_an_optimiser_that_does_not_know_it() -> None:
    """The solver solves components one by one *because* of conservation; many starts on the whole problem agree."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        q, _ = _disconnected(rng, 6)
        if not q.any():
            continue
        bandit = ea.Bandit(problems.policy(rng, 6, 0.05), problems.policy(rng, 6, 0.05), q)
        lam = float(10 ** rng.uniform(-1, 1))

        class Whole(ea.EXPO):
            """EXPO without the claim that lets the solver split it."""

            @property
            def claims(self) -> ea.Claims:
                return ea.Claims(False, False, False, False, None)

        found = ea.solve(Whole(lam), bandit, "multistart").policy
        np.testing.assert_allclose(ea.solve(ea.EXPO(lam), bandit).policy, found, atol=1e-9)


LIMITS = np.array([1e-6, 1e6])


@pytest.mark.parametrize(
    ("objective", "strong"),
    [
        (ea.EXPO(1.0), True),
        (ea.RegressionEXPO(1.0), True),
        (ea.RegressionEXPO(1.0, criterion="cross_entropy"), True),
        (ea.ExplicitPO(1.0, "reverse_kl"), True),
        (ea.DPO(1.0), False),
        (ea.IPO(1.0), False),
        (ea.FDPO(1.0), False),
        (ea.FDPO(1.0, "forward_kl"), False),
        (ea.RLHF(1.0), False),
    ],
)
def test_interpolation(objective: ea.Objective, strong: bool) -> None:
    """lambda -> infinity : pi_ref; lambda -> 0: pi* for EXPO, the point mass on its mode for the others. [paper]"""
    rng = np.random.default_rng(4)
    for n in (2, 3, 5):
        bandit = ea.Bandit(rng.dirichlet(np.full(n, 5.0)), rng.dirichlet(np.full(n, 5.0)))
        small, large = ea.solve_path(objective, bandit, LIMITS).policies
        mode = np.eye(n)[bandit.optimal.argmax()]
        np.testing.assert_allclose(large, bandit.reference, atol=1e-4)
        np.testing.assert_allclose(small, bandit.optimal if strong else mode, atol=2e-4)


@pytest.mark.parametrize("objective", [ea.EXPO(1.0), ea.RegressionEXPO(1.0)])
def test_preservation(objective: ea.Objective) -> None:
    """Where pi_ref = pi* the minimiser stays there for every lambda; DPO, IPO and f-DPO leave. [paper]"""
    rng = np.random.default_rng(5)
    for n in (2, 3, 6):
        policy = rng.dirichlet(np.full(n, 2.0))
        bandit, lams = ea.Bandit(policy, policy), np.logspace(-3, 3, 13)
        stays = ea.solve_path(objective, bandit, lams).policies
        np.testing.assert_allclose(stays, np.broadcast_to(policy, stays.shape), atol=1e-9)
        for leaver in (ea.DPO(1.0), ea.IPO(1.0), ea.FDPO(1.0)):
            moved = np.abs(ea.solve_path(leaver, bandit, lams).policies - policy).sum(axis=1)
            assert moved[lams <= 1].min() > 1e-2


def test_along_the_path_the_terms_are_monotone() -> None:
    """The preference term never falls and KL(pi_ref || pi) never rises as lambda grows."""
    rng = np.random.default_rng(6)
    for k in range(30):
        bandit = problems.bandit(rng, int(rng.integers(2, 8)), problems.GRAPHS[k % 4], smallest=1e-3)
        path = ea.solve_path(ea.EXPO(1.0), bandit, np.logspace(-3, 3, 25))
        drift = _kl(bandit.reference, path.policies)
        preference = path.value - path.lams * drift
        assert (np.diff(drift) <= 1e-12).all()
        assert (np.diff(preference) >= -1e-12).all()


def test_rates() -> None:
    """Distance O(lam) to pi* and O(1/lam) to pi_ref: slopes +1 and -1 on log-log axes. [ours]"""
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    for objective in (ea.EXPO(1.0), ea.RegressionEXPO(1.0)):
        for lams, end, slope in (
            (np.logspace(-5, -3, 9), bandit.optimal, 1.0),
            (np.logspace(3, 5, 9), bandit.reference, -1.0),
        ):
            distance = np.abs(ea.solve_path(objective, bandit, lams).policies - end).sum(axis=1)
            assert np.polyfit(np.log(lams), np.log(distance), 1)[0] == pytest.approx(slope, abs=1e-2)
