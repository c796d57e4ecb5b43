"""The closed form where every term can be at its least: its proof, where nothing else could prove anything."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis.terms import Square, h

from . import oracles
from .own_losses import own

DISTANCES = ("backward_kl", "forward_kl", "squared")


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("size", [1.0, 90.0, 3000.0])
def test_rewards_in_any_unit(distance: str, size: float) -> None:
    """pi_ref exp(r/lam), in 50 digits; from gaps of 40 lam on, sigma' is below rounding, and no curvature tells it."""
    rng = np.random.default_rng(0)
    for lam in (0.1, 1.0, 60.0):
        reference, rewards = rng.dirichlet(np.ones(4)), size * rng.normal(size=4)
        solution = ea.solve(ea.RewardAwarePO(lam, distance), ea.Bandit(reference, reference, rewards=rewards))
        with mp.workdps(50):
            logs = [mp.log(mp.mpf(p)) + mp.mpf(r) / mp.mpf(lam) for p, r in zip(reference, rewards, strict=True)]
            error = float(oracles.distance(solution.policy, oracles.normalised(logs)))
        assert (solution.status, solution.certificate) == ("optimal", "error_bound")
        assert error <= solution.error_bound < 1e-12 * max(1.0, size / lam)


def test_a_chain_of_saturated_pairs() -> None:
    """The bound adds up along the chain: each pair tells its gap alone."""
    n = 30
    pairs = np.diag(np.ones(n - 1), 1)
    rewards = 50.0 * np.sin(np.arange(n))
    bandit = ea.Bandit(np.full(n, 1 / n), np.full(n, 1 / n), pairs + pairs.T, rewards=rewards)
    solution = ea.solve(ea.RewardAwarePO(1.0), bandit)
    exact = np.exp(rewards - rewards.max())
    assert np.abs(solution.policy - exact / exact.sum()).sum() <= solution.error_bound < 1e-10


def test_what_does_not_fit_together_is_left_to_others() -> None:
    """ODPO wants infinite margins; pairs in two pieces say nothing of each other."""
    bandit = ea.Bandit([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], rewards=[90, 5, 0])
    odpo = ea.solve(ea.ODPO(60.0), bandit)
    assert not (odpo.status == "optimal" and np.isnan(odpo.error_bound)) and odpo.iterations > 0
    apart = np.zeros((4, 4))
    apart[[0, 1, 2, 3], [1, 0, 3, 2]] = 1.0
    two = ea.Bandit(np.full(4, 0.25), np.full(4, 0.25), apart, rewards=[90, 0, 70, 0])
    solution = ea.solve(ea.RewardAwarePO(10.0), two)
    assert solution.status == "not_unique"
    np.testing.assert_allclose(solution.policy[[0, 2]] / solution.policy[[1, 3]], np.exp([9.0, 7.0]), rtol=1e-12)


@pytest.mark.parametrize("divergence", [None, ea.divergences.JensenShannon(), ea.divergences.ForwardKL()])
def test_a_divergence_beside_the_terms_moves_their_minimum(divergence: ea.Divergence | None) -> None:
    """Every term could be at its least, at margins of 1; what pulls to the reference does not leave them there."""
    loss = own(lambda lam: Square()(h - 1.0), divergence)
    bandit = ea.Bandit.from_counts([0.2, 0.3, 0.5], [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    found = ea.solve(loss, bandit)
    best = minimize(lambda x: float(ea.risk(loss, bandit, log_softmax(x))), np.zeros(3), tol=1e-10)
    np.testing.assert_allclose(found.log_policy, log_softmax(best.x), atol=1e-5)
    fits = np.allclose(np.diff(found.log_policy), -1.0, atol=1e-3)
    assert fits == (divergence is None) and found.status in ("optimal", "best_found")
