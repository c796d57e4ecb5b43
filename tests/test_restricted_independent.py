"""Optima over log-linear policies against a conic solver that is given the objectives in their own words.

An interior-point method knows a value to about 1e-10, and w to the square root of that: values are compared to 1e-9.
Policies are compared as far as strong convexity lets the value tell them, and by `test_restricted_bounds` to 50 digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import expo_analysis as ea

from .test_restricted_bounds import drawn

TIGHT: dict[str, Any] = {"solver": "CLARABEL", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}

Made = Callable[[float], ea.PairObjective]
LOSSES: dict[str, Made] = {
    "dpo": ea.DPO,
    "dpo, smoothed": lambda lam: ea.DPO(lam, label_smoothing=0.1),
    "ipo": ea.IPO,
    "expo": ea.EXPO,
    "cpo": lambda lam: ea.objective("cpo", lam),
    "bradley_terry": lambda lam: ea.BradleyTerry(lam),
    "slic": ea.SLiC,
    "hinge": ea.Hinge,
    "dpop": lambda lam: ea.DPOP(lam, penalty=3.0),
    "sft": lambda lam: ea.objective("sft", lam),
}


def pair_loss(name: str, lam: float, h: Any, hbar: Any, surprise: Any, shortfall: Any) -> Any:
    """A pair's loss: h of the policy, hbar relative to pi_ref, -log pi_w, and max(0, log pi_ref,w - log pi_w)."""
    if name == "dpop":
        return cp.logistic(-lam * hbar + 3 * lam * shortfall)
    return {
        "dpo": cp.logistic(-lam * hbar),
        "dpo, smoothed": 0.9 * cp.logistic(-lam * hbar) + 0.1 * cp.logistic(lam * hbar),
        "ipo": cp.square(hbar - 0.5 / lam),
        "expo": cp.logistic(-h),
        "cpo": cp.logistic(-lam * h) + surprise,
        "bradley_terry": cp.logistic(-lam * h),
        "slic": cp.pos(1 - h),
        "hinge": cp.pos(1 - lam * hbar),
        "sft": surprise,
    }[name]


def conic(name: str, lam: float, bandit: ea.Bandit, features: np.ndarray, decay: float) -> tuple[float, np.ndarray]:
    """The optimal value and w."""
    w, total = cp.Variable(features.shape[2]), 0
    log_reference = np.log(bandit.reference)
    for x, share in enumerate(np.atleast_1d(bandit.prompt_weights)):
        theta = log_reference[x] + features[x] @ w
        normaliser, losses = cp.log_sum_exp(theta), []
        for i, j in np.argwhere(bandit.wins[x] > 0):
            h = theta[i] - theta[j]
            hbar = h - (log_reference[x, i] - log_reference[x, j])
            surprise = normaliser - theta[i]
            own = pair_loss(name, lam, h, hbar, surprise, cp.pos(surprise + log_reference[x, i]))
            losses.append(bandit.wins[x, i, j] * own)
        value = cp.sum(cp.hstack(losses))
        if name in ("expo", "slic"):  # KL(pi_ref || pi)
            value += lam * (normaliser - bandit.reference[x] @ theta + bandit.reference[x] @ log_reference[x])
        total += share * value
    problem = cp.Problem(cp.Minimize(total + decay / 2 * cp.sum_squares(w)))
    problem.solve(**TIGHT)
    return float(problem.value), np.asarray(w.value)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("count", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_values_are_those_of_a_conic_solver(name: str, count: int) -> None:
    rng = np.random.default_rng([7, *name.encode()])
    for _ in range(count):
        bandit, features, decay = drawn(rng, decayed=bool(rng.random() < 0.5))
        lam = float(10 ** rng.uniform(-1, 0.5))
        objective = LOSSES[name](lam)
        solution = ea.solve(objective, bandit, features=features, decay=decay)
        assert np.isin(solution.status, ("optimal", "not_unique")).all(), solution.message
        value, w = conic(name, lam, bandit, features, decay)
        assert abs(solution.total - value) <= 1e-9 * max(1.0, abs(value))
        # where theirs is: no lower than ours but for rounding
        theta = np.log(bandit.reference) + features @ w
        theirs = ea.risk(objective, bandit, theta - np.logaddexp.reduce(theta, axis=1, keepdims=True))
        there = float(theirs @ bandit.prompt_weights + decay / 2 * w @ w)
        assert solution.total <= there + 1e-13 * max(1.0, abs(there))
