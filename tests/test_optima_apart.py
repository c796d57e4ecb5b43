"""The error bound of losses that read log-probabilities apart: never below the distance, and not far above it."""

from __future__ import annotations

import itertools

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima.apart_certificate import apart_error
from expo_analysis.optima.problem import Problem

from . import oracles, stress

REFERENCE = [0.1, 0.2, 0.3, 0.4]
TRIPLES = [(t, w, one) for t, w, one in itertools.permutations(range(4), 3)]
WEIGHTS = np.linspace(0.3, 3.0, len(TRIPLES))


def posed(name: str, lam: float) -> tuple[ea.Objective, ea.Bandit]:
    if name in stress.READ_TRIPLES:
        return stress.LOSSES[name][0](lam), ea.Bandit.from_triples(REFERENCE, TRIPLES, weights=WEIGHTS)
    return stress.LOSSES[name][0](lam), ea.Bandit(REFERENCE, [0.35, 0.15, 0.4, 0.1])


def problem_of(objective: ea.Objective, bandit: ea.Bandit, size: int = 1) -> Problem:
    return Problem.cut(objective, bandit, range(bandit.n), np.zeros(size, dtype=int), np.full(size, objective.lam))


@pytest.mark.parametrize("lam", [0.3, 4.0])
@pytest.mark.parametrize("name", stress.PARTLY)
def test_at_policies_off_by_far_more_than_rounding(name: str, lam: float) -> None:
    """To first order the two-norm of the bound is the distance in H; resistances and total variation cost a factor."""
    objective, bandit = posed(name, lam)
    solution = ea.solve(objective, bandit)
    with mp.workdps(50):
        exact = stress.minimiser_of_margins(stress.LOSSES[name][1](bandit, lam), bandit, solution.log_policy, 50)
    directions = np.random.default_rng(0).normal(size=(bandit.n, 40))
    for size in (1e-9, 1e-6, 1e-3):
        x = solution.log_policy[:, None] + size * directions
        problem = problem_of(objective, bandit, 40)
        order = problem.responses[:, 0]  # those that are compared most come first
        bounds = apart_error(problem, x[order])
        policies = np.exp(x) / np.exp(x).sum(axis=0)
        errors = np.array([float(oracles.distance(policy, exact)) for policy in policies.T])
        assert (errors <= bounds).all(), size
        assert np.median(bounds / errors) < 6 and (bounds < 60 * errors).all(), size


def test_nothing_is_proven_where_nothing_holds_the_policy() -> None:
    """Response 3 is in no triple: the objective does not change with its logit, and its Hessian is singular."""
    objective = ea.WRPO(1.0, alpha=0.25)
    bandit = ea.Bandit.from_triples(REFERENCE, [t for t in TRIPLES if 3 not in t])
    x = np.zeros((4, 1))
    assert np.isnan(apart_error(problem_of(objective, bandit), x)).all()
    held = ea.Bandit.from_triples(REFERENCE, TRIPLES)
    far = problem_of(objective, held)
    assert np.isnan(apart_error(far, 5.0 * np.arange(4.0)[:, None])).all()  # too far from the minimiser


def test_a_batch_is_its_problems_one_by_one() -> None:
    """Some with weights of one sign alone (a = 0), some of both."""
    for objective in (ea.WRPO(0.8, alpha=0.0), ea.WRPO(0.8, alpha=0.5), ea.DPOShift(0.8)):
        bandit = posed("wrpo" if isinstance(objective, ea.WRPO) else "dpo-shift", 1.0)[1]
        x = ea.solve(objective, bandit).log_policy[:, None] + 1e-4 * np.random.default_rng(1).normal(size=(4, 5))
        together = apart_error(problem_of(objective, bandit, 5), x)
        alone = [apart_error(problem_of(objective, bandit), x[:, [k]])[0] for k in range(5)]
        np.testing.assert_allclose(together, alone, rtol=1e-9)
