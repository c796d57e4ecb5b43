"""Lambdas and options at the ends of float64: a right status, and no claim of what overflows.

pytest makes errors of numpy's warnings, so that each of these tests also says that there is none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.losses.base import PairObjective
from expo_analysis.losses.catalogue import required_options
from expo_analysis.optima.flat import Flat
from expo_analysis.optima.solution import Status
from expo_analysis.optima.values import INFINITE, NOWHERE, settle_values

LAMS = (1e-300, 1e300)
REFERENCE, OPTIMAL = [0.4, 0.4, 0.2], [0.6, 0.3, 0.1]
SEPARABLE, CIRCLE = [[0, 5, 4], [0, 0, 3], [0, 0, 0]], [[0, 5, 1], [1, 0, 4], [3, 0, 0]]
NAMES = [name for name, cls in ea.CATALOGUE.items() if name != "aot" and not required_options(cls)]


def bandits(objective: ea.Objective) -> list[ea.Bandit]:
    reads = isinstance(objective, PairObjective) and objective.reads_rewards
    rewards = [1.0, 0.0, -1.0] if reads else None
    population = ea.Bandit(REFERENCE, OPTIMAL, rewards=rewards)
    return [population, *(ea.Bandit.from_counts(REFERENCE, x, rewards=rewards) for x in (SEPARABLE, CIRCLE))]


def check(solution: ea.Solution) -> None:
    assert np.isfinite(solution.policy).all() and solution.policy.sum() == pytest.approx(1.0)
    assert np.isnan(solution.error_bound) or solution.error_bound < 2
    if solution.status in ("optimal", "best_found", "not_unique"):
        assert np.isfinite(solution.value)


@pytest.mark.parametrize("name", NAMES)
def test_no_lambda_is_too_far_out_for_a_status(name: str) -> None:
    for lam in LAMS:
        objective = ea.CATALOGUE[name](lam)
        for bandit in bandits(objective)[::2]:
            check(ea.solve(objective, bandit))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_option_is_too_far_out_for_a_status(name: str) -> None:
    cls = ea.CATALOGUE[name]
    for field in dataclasses.fields(cls)[1:]:
        for x in (1e-30, 1e300):
            try:
                objective = cls(1.0, **{field.name: x})
            except (TypeError, ValueError):
                continue
            for bandit in bandits(objective):
                check(ea.solve(objective, bandit))


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", ["ipo", "expo", "spo", "slic", "dpop"])
def test_nor_over_restricted_policies(name: str, lam: float) -> None:
    objective = ea.CATALOGUE[name](lam)
    check(ea.solve(objective, bandits(objective)[2], features=[[1.0], [0.0], [-1.0]]))


# (hbar - 1/(2 lambda))^2 at its minimum is as large as (1/lambda)^2, since no policy fits cycles: 1e600.
SAID = ("failed", None, INFINITE)


def said(solution: ea.Solution) -> tuple[str, float | None, str]:
    return str(solution.status), None if np.isnan(solution.value) else solution.value, solution.message


def test_a_value_that_overflows_is_not_called_optimal() -> None:
    population = bandits(ea.IPO(1.0))[0]
    assert said(ea.solve(ea.IPO(1e-300), population)) == SAID
    path = ea.solve_path(ea.IPO(1.0), population, [1e-300, 1.0])
    assert said(path[0]) == SAID and path[1].status == "optimal" and path[1].error_bound < 1e-12
    comparisons = ea.Comparisons([0, 1, 2, 0], [1, 2, 0, 1], [5, 4, 3, 1])
    assert said(ea.solve(ea.IPO(1e-300), comparisons)) == SAID
    assert np.isfinite(ea.solve(ea.IPO(1e-100), comparisons).value)


def test_nor_is_one_of_a_formula_of_ones_own() -> None:
    def huge(logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any, lam: float) -> Any:
        return 1e308 * (2.0 + (logp_w - logp_l) ** 2)

    solution = ea.solve(ea.from_function(huge), ea.Bandit([0.5, 0.5], [0.9, 0.1]))
    assert solution.status == "failed"


def test_where_no_step_is_a_number_the_reference_stands() -> None:
    counts = ea.Bandit.from_counts(REFERENCE, CIRCLE)
    solution = ea.solve(ea.RLHF(1e300), counts)
    assert solution.status == "failed" and solution.policy == pytest.approx(REFERENCE)
    flat = Flat.empty(1, 3)
    flat.begin(np.array([0]), Status.OPTIMAL, "the minimiser")
    flat.log_policy[0] = np.nan
    settle_values(ea.DPO(1.0), counts, np.ones(1), flat)
    assert (flat.status[0], flat.message[0]) == ("failed", NOWHERE)
    assert np.exp(flat.log_policy[0]) == pytest.approx(REFERENCE)


@pytest.mark.parametrize("objective", [ea.DPOP(1e300), ea.DPOP(1.0, penalty=1e300)], ids=str)
def test_a_penalty_that_nothing_outweighs_holds_the_reference(objective: ea.DPOP) -> None:
    # the loss rises on both sides of pi_ref for each winner, by lam (1 + penalty) per log-ratio: it is the minimiser
    solution = ea.solve(objective, ea.Bandit(REFERENCE, OPTIMAL))
    assert solution.status == "optimal" and solution.policy == pytest.approx(REFERENCE, abs=1e-12)


@pytest.mark.parametrize("lam", [1e-2, 1.0, 9.9, 10.1, 1e4, 1e8, 1e12])
def test_the_partition_of_qrpo_keeps_its_digits(lam: float) -> None:
    # log Z = log(lam (e^(1/lam) - 1)); lam log Z tends to 1/2, a difference of numbers that grow with lam
    with mp.workdps(60):
        z = mp.log(lam * mp.expm1(1 / mp.mpf(lam)))
        wanted = [float(q - mp.mpf(lam) * z) for q in (0.25, 1.0)]
    known = {"ref_logp": np.log([[0.25], [0.75]]), "reward": np.array([[0.0], [1.0]])}
    assert ea.QRPO(lam).derived(known)["goal"][:, 0] == pytest.approx(wanted, rel=1e-13, abs=1e-13)
    tensors = {name: torch.tensor(x) for name, x in known.items()}
    assert ea.QRPO(lam).derived(tensors)["goal"][:, 0].tolist() == pytest.approx(wanted, rel=1e-13, abs=1e-13)
