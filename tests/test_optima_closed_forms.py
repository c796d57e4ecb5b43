"""Closed forms against Newton's method in the logits, against formulas by hand, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea

from . import problems

PROBLEMS = 1000


def _one_norm(a: ea.Solution, b: ea.Solution) -> float:
    return float(np.abs(a.policy - b.policy).sum())


@pytest.mark.parametrize("objective", [ea.DPO, ea.IPO])
@pytest.mark.parametrize(("decades", "tolerance"), [(2, 1e-12), (6, 1e-9)])
def test_closed_forms_agree_with_newton(objective: type[ea.DPO | ea.IPO], decades: int, tolerance: float) -> None:
    """n = 2..12, probabilities down to 1e-6, uneven and sparse graphs; lambda over 10^-decades .. 10^decades."""
    rng = np.random.default_rng(decades)
    worst = 0.0
    for k in range(PROBLEMS // 10):
        n = int(rng.integers(2, 13))
        bandit = problems.bandit(rng, n, problems.GRAPHS[k % 4])
        each = objective(float(10 ** rng.uniform(-decades, decades)))
        worst = max(worst, _one_norm(ea.solve(each, bandit, "closed_form"), ea.solve(each, bandit, "newton")))
    assert worst <= tolerance


@pytest.mark.parametrize(
    "objective", [ea.EXPO(1.0), ea.ExplicitPO(1.0), ea.RegressionEXPO(1.0, criterion="cross_entropy")]
)
def test_two_responses_agree_with_newton(objective: ea.Objective) -> None:
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(*(np.stack([problems.policy(rng, 2) for _ in range(PROBLEMS)]) for _ in range(2)))
    for decades, tolerance in ((2, 1e-12), (6, 1e-9)):
        lams = 10 ** rng.uniform(-decades, decades, 7)
        closed = ea.solve_path(objective, bandit, lams, "closed_form")
        iterated = ea.solve_path(objective, bandit, lams, "newton")
        assert np.abs(closed.policies - iterated.policies).sum(axis=-1).max() <= tolerance
        assert (closed.iterations == 0).all()
        assert (iterated.iterations > 0).all()


@given(
    st.floats(1e-6, 1 - 1e-6),
    st.floats(1e-6, 1 - 1e-6),
    st.floats(-6, 6),
    st.sampled_from([ea.EXPO, ea.RegressionEXPO, lambda lam: ea.RegressionEXPO(lam, criterion="cross_entropy")]),
)
def test_two_responses_are_a_mixture(a: float, b: float, log_lam: float, make: type[ea.EXPO]) -> None:
    """n = 2: pi = (pi* + lam pi_ref) / (1 + lam), for EXPO in every form. [ours]"""
    lam = 10**log_lam
    bandit = ea.Bandit([a, 1 - a], [b, 1 - b])
    mixture = (bandit.optimal + lam * bandit.reference) / (1 + lam)
    np.testing.assert_allclose(ea.solve(make(lam), bandit).policy, mixture, rtol=1e-13)


def test_regression_pull_is_relative_to_the_pair_and_the_explicit_pull_to_the_mass() -> None:
    """Two pairs that never meet: what lambda means differs between EXPO's forms, in closed form."""
    reference, optimal = np.array([0.1, 0.3, 0.4, 0.2]), np.array([0.4, 0.2, 0.1, 0.3])
    q = np.zeros((4, 4))
    q[0, 1] = q[1, 0] = 3.0
    q[2, 3] = q[3, 2] = 1.0
    bandit, lam = ea.Bandit(reference, optimal, q), 0.7
    first, share, p_star = 0.4, 0.75, 0.4 / 0.6
    explicit = ea.solve(ea.EXPO(lam), bandit).policy
    assert explicit[0] == pytest.approx(first * (share * p_star + lam * 0.1) / (share + lam * first), rel=1e-13)
    regression = ea.solve(ea.RegressionEXPO(lam), bandit).policy
    assert regression[0] == pytest.approx(first * (p_star + lam * 0.25) / (1 + lam), rel=1e-13)


def test_ipo_on_the_complete_graph() -> None:
    """log(pi_i / pi_ref,i) = mean_j (2 p*_ij - 1) / (2 lam) + const, the mean over all n responses. [ours]"""
    rng = np.random.default_rng(2)
    for n in range(2, 9):
        bandit, lam = problems.bandit(rng, n, "uniform"), float(10 ** rng.uniform(-1, 2))
        tilt = np.log(bandit.reference) + (2 * bandit.preference - 1).mean(axis=1) / (2 * lam)
        expected = np.exp(tilt - tilt.max())
        np.testing.assert_allclose(ea.solve(ea.IPO(lam), bandit).policy, expected / expected.sum(), atol=1e-13)


def test_ipo_is_least_squares() -> None:
    """numpy's lstsq on the pairs themselves, with square roots of the weights."""
    rng = np.random.default_rng(3)
    for k in range(50):
        n, lam = int(rng.integers(2, 8)), float(10 ** rng.uniform(-1, 1))
        bandit = problems.bandit(rng, n, problems.GRAPHS[k % 4], smallest=1e-2)
        winner, loser, weight = bandit.edges
        root = np.sqrt(weight)[:, None]
        design = root * (np.eye(n)[winner] - np.eye(n)[loser])
        scores = np.linalg.lstsq(design, root[:, 0] / (2 * lam), rcond=None)[0]
        expected = bandit.reference * np.exp(scores - scores.max())
        np.testing.assert_allclose(ea.solve(ea.IPO(lam), bandit).policy, expected / expected.sum(), atol=1e-9)


@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl", "jensen_shannon", "alpha", "chi_square"])
def test_rlhf_stationarity(divergence: str) -> None:
    """lam f'(u_i) - log pi*_i is the same for every response with mass, and no smaller where there is none."""
    rng = np.random.default_rng(4)
    for _ in range(50):
        n, lam = int(rng.integers(2, 9)), float(10 ** rng.uniform(-1.5, 2))
        bandit = problems.bandit(rng, n, "uniform", smallest=1e-3)
        objective = ea.RLHF(lam, divergence, alpha=0.3 if divergence == "alpha" else None)
        solution = ea.solve(objective, bandit)
        inside = solution.policy > 0
        log_u = solution.log_policy - np.log(bandit.reference)
        multiplier = lam * objective.regulariser.mu(np.maximum(log_u, -700.0)) - np.log(bandit.optimal)
        level = multiplier[inside].max()
        scale = 1 + lam * np.abs(objective.regulariser.mu(log_u[inside])).max() + np.abs(np.log(bandit.optimal)).max()
        assert np.ptp(multiplier[inside]) <= 1e-12 * scale
        assert (multiplier[~inside] >= level - 1e-12 * scale).all()
        assert solution.policy.sum() == pytest.approx(1, abs=1e-14)


def test_rlhf_on_the_boundary_says_so_and_fdpo_parts_from_it() -> None:
    """Chi-square has a finite f'(0+): RLHF and f-DPO, equal for every other divergence here, differ. [ours]"""
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    rlhf, fdpo = (ea.solve(o, bandit) for o in (ea.RLHF(0.3, "chi_square"), ea.FDPO(0.3, "chi_square")))
    # on {0, 1}: 2 lam (u_0 - u_1) = log 2 and .4 (u_0 + u_1) = 1
    gap = np.log(2) / 0.6
    np.testing.assert_allclose(rlhf.policy, [0.5 + 0.2 * gap, 0.5 - 0.2 * gap, 0.0], atol=1e-15)
    assert "responses [2] have probability 0" in rlhf.message
    assert rlhf.error_bound < 1e-12
    assert "boundary" in fdpo.message
    assert np.abs(rlhf.policy - fdpo.policy).sum() > 0.02
    for divergence in ("reverse_kl", "forward_kl", "jensen_shannon"):
        a, b = (ea.solve(o, bandit).policy for o in (ea.RLHF(0.3, divergence), ea.FDPO(0.3, divergence)))
        np.testing.assert_allclose(a, b, rtol=1e-14)
    a, b = (ea.solve(o, bandit).policy for o in (ea.RLHF(3.0, "chi_square"), ea.FDPO(3.0, "chi_square")))
    np.testing.assert_allclose(a, b, rtol=1e-14)  # inside the simplex they agree again


def test_on_counts_rlhf_and_dpo_tilt_by_the_maximum_likelihood_scores() -> None:
    """pi proportional to pi_ref pi_MLE^(1/lam), pi_MLE from Zermelo's fixed point, another algorithm."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        n, lam = int(rng.integers(2, 7)), float(10 ** rng.uniform(-0.5, 1))
        wins = problems.strongly_connected_counts(rng, n, 40)
        strength = np.ones(n)
        for _ in range(20_000):
            previous = strength
            denominator = (wins + wins.T) / (strength[:, None] + strength)
            strength = wins.sum(axis=1) / denominator.sum(axis=1)
            strength /= strength.sum()
            if np.abs(strength - previous).max() < 1e-16:
                break
        bandit = ea.Bandit.from_counts(problems.policy(rng, n, 1e-2), wins)
        expected = bandit.reference * strength ** (1 / lam)
        for objective in (ea.DPO(lam), ea.RLHF(lam), ea.FDPO(lam, "reverse_kl")):
            np.testing.assert_allclose(ea.solve(objective, bandit).policy, expected / expected.sum(), atol=1e-9)


def test_ties_and_extreme_temperatures() -> None:
    """lambda -> 0 splits the mass of DPO between tied modes as the reference does, without overflow."""
    bandit = ea.Bandit([0.2, 0.3, 0.5], [0.4, 0.4, 0.2])
    for objective in (ea.DPO(1e-6), ea.RLHF(1e-6), ea.FDPO(1e-6, "reverse_kl")):
        solution = ea.solve(objective, bandit)
        np.testing.assert_allclose(solution.policy, [0.4, 0.6, 0.0], atol=1e-9)
        assert solution.log_policy[2] == pytest.approx(np.log(0.5 / 0.2) - np.log(2) * 1e6 + np.log(0.4), rel=1e-9)
    np.testing.assert_allclose(ea.solve(ea.DPO(1e6), bandit).policy, bandit.reference, atol=1e-6)
