"""What is known of a loss does not hold for a subclass with a formula of its own, and is not used for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.numerics import exp, log_sigmoid
from expo_analysis.optima.methods.newton import newton

from . import problems


@dataclass(frozen=True)
class OtherIPO(ea.IPO):
    def psi(self, margin: Any) -> Any:
        return (margin - 2.0 / self.lam) ** 2


@dataclass(frozen=True)
class OtherEXPO(ea.EXPO):
    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return exp(-(logp_w - logp_l) / 2)


@dataclass(frozen=True)
class OtherRegression(ea.RegressionEXPO):
    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return (log_sigmoid(logp_w - logp_l) + self.lam) ** 2


@dataclass(frozen=True)
class OtherSFT(ea.SFT):
    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return -logp_w - 0.3 * logp_l


@pytest.mark.parametrize("cls", [OtherIPO, OtherEXPO, OtherRegression, OtherSFT], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("n", [2, 3])
def test_optimum_of_a_subclass_is_its_own(cls: Any, n: int) -> None:
    """No policy nearby is better than what `solve` returns; its parent's optimum would be beaten."""
    rng = np.random.default_rng(n)
    reference, optimal = rng.dirichlet(np.full(n, 3.0), 2)
    bandit = ea.Bandit(reference, optimal)
    solution = ea.solve(cls(0.7), bandit)
    assert solution.status in ("optimal", "best_found")
    value = float(ea.risk(cls(0.7), bandit, solution.log_policy))
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            nearby = solution.log_policy + size * rng.standard_normal(n)
            nearby = nearby - np.logaddexp.reduce(nearby)
            assert value <= float(ea.risk(cls(0.7), bandit, nearby)) + 1e-12


def test_no_step_is_not_convergence() -> None:
    """Where the curvature underflows Newton's step is 0, far from any minimum; it used to count as the end."""
    bandit = ea.Bandit.from_counts([0.7, 0.3], [[0, 2], [3, 0]])
    far = np.array([[0.5], [-0.5]])
    _, _, converged = newton(problems.problem(ea.BradleyTerry(1000.0), bandit), far)
    assert not converged[0]


@pytest.mark.parametrize("lam", [1.0, 1e3, 1e6])
def test_bradley_terry_far_from_its_reference(lam: float) -> None:
    """pi proportional to (pi*)^(1/lam), whatever the reference, which this loss does not read."""
    solution = ea.solve(ea.BradleyTerry(lam), ea.Bandit([0.7, 0.2, 0.1], [0.2, 0.3, 0.5]))
    expected = np.array([0.2, 0.3, 0.5]) ** (1 / lam)
    assert solution.status == "optimal"
    assert np.abs(solution.policy - expected / expected.sum()).sum() <= 1e-12
