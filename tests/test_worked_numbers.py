"""Optima whose numbers are known: small problems anyone can check by hand or with another tool."""

from __future__ import annotations

import numpy as np

import expo_analysis as ea

BANDIT = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])


def test_dpo_and_rlhf_tilt_the_reference() -> None:
    """pi proportional to pi_ref (pi*)^(1/lam): at lam = 1/2 to (.4 .36, .4 .09, .2 .01) = (72, 18, 1) / 500."""
    expected = np.array([72, 18, 1]) / 91
    for objective in (ea.DPO(0.5), ea.RLHF(0.5), ea.FDPO(0.5, divergence="reverse_kl")):
        np.testing.assert_allclose(ea.solve(objective, BANDIT).policy, expected, rtol=1e-14)


def test_ipo_on_two_responses() -> None:
    """log(pi_0/pi_1) = log(ref_0/ref_1) + (2 p* - 1)/(2 lam): with p* = 3/4 and lam = 1/4 one more."""
    solution = ea.solve(ea.IPO(0.25), ea.Bandit([0.5, 0.5], [0.75, 0.25]))
    np.testing.assert_allclose(solution.policy, [np.e / (1 + np.e), 1 / (1 + np.e)], rtol=1e-14)


def test_expo_on_two_responses_is_a_mixture() -> None:
    """(pi* + lam pi_ref)/(1 + lam), in both forms."""
    bandit = ea.Bandit([0.2, 0.8], [0.9, 0.1])
    for objective in (ea.EXPO(0.4), ea.RegressionEXPO(0.4), ea.RegressionEXPO(0.4, criterion="cross_entropy")):
        np.testing.assert_allclose(ea.solve(objective, bandit).policy, [0.98 / 1.4, 0.42 / 1.4], rtol=1e-14)


def test_expo_on_a_disconnected_graph() -> None:
    """Pairs (0, 1) and (2, 3) alone: both pairs keep the mass they have under the reference, .4 and .45."""
    pairs = np.zeros((5, 5))
    pairs[[0, 1, 2, 3], [1, 0, 3, 2]] = 1
    bandit = ea.Bandit([0.1, 0.3, 0.2, 0.25, 0.15], [0.35, 0.15, 0.2, 0.1, 0.2], pairs)
    policy = ea.solve(ea.EXPO(0.3), bandit).policy
    np.testing.assert_allclose(policy, [0.24516129, 0.15483871, 0.27874016, 0.17125984, 0.15], atol=5e-9)
    np.testing.assert_allclose([policy[:2].sum(), policy[2:4].sum(), policy[4]], [0.4, 0.45, 0.15], rtol=1e-14)
