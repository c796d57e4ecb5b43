"""The solvers' parts: derivatives, Laplacian elimination, the damped step, many starts."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.optima import kernel
from expo_analysis.optima.derivatives import expand, log_softmax, value
from expo_analysis.optima.laplacian import BLOCK, ONE_BY_ONE, eliminate, pairs, resistances
from expo_analysis.optima.methods.multistart import multistart
from expo_analysis.optima.methods.newton import newton
from expo_analysis.optima.problem import Problem
from expo_analysis.optima.scores import policy_of_scores

from . import problems

OBJECTIVES = [
    ea.DPO(0.7),
    ea.DPO(0.7, label_smoothing=0.1),
    ea.DPO(0.7, label_smoothing=0.1, robust=True),
    ea.IPO(0.7),
    ea.FDPO(0.7),
    ea.FDPO(0.7, "alpha", alpha=0.4),
    ea.FDPO(2.0, "chi_square"),
    ea.EXPO(0.7),
    ea.RegressionEXPO(0.7),
    ea.RegressionEXPO(0.7, criterion="cross_entropy"),
    ea.ExplicitPO(0.7, "reverse_kl"),
    ea.ExplicitPO(0.7, "jensen_shannon"),
    ea.ExplicitPO(0.7, "chi_square"),
    ea.QPO(0.7, psi=lambda m, lam: torch.exp(-lam * m), mu=lambda u: u + torch.log(u)),
]


def _problem(objective: ea.PairObjective, bandit: ea.Bandit) -> Problem:
    """In the logits."""
    return problems.problem(objective, bandit).in_logits()


def _batch(rng: np.random.Generator, size: int, n: int) -> ea.Bandit:
    return ea.Bandit(
        *(np.stack([problems.policy(rng, n, 0.05) for _ in range(size)]) for _ in range(2)),
        pairs=np.stack([problems.pairs(rng, n, "uneven", decades=1.0) for _ in range(size)]),
    )


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{o.name}-{getattr(o, 'divergence', '')}")
def test_expansion_against_torch_on_the_whole_objective(objective: ea.PairObjective) -> None:
    """Chain rule by hand = gradient and Hessian of `risk` o log-softmax by torch.func."""
    rng = np.random.default_rng(0)
    bandit = _batch(rng, 5, 4)
    problem = _problem(objective, bandit)
    theta = rng.normal(0, 1, (4, 5))
    local, values = expand(problem, theta), value(problem, theta)
    order = problem.responses
    assert order is not None
    for x in range(5):
        alone = ea.Bandit(bandit.reference[x], bandit.optimal[x], bandit.pairs[x])
        place = np.empty(4, dtype=int)
        place[order[:, x]] = np.arange(4)

        def whole(t: torch.Tensor, alone: ea.Bandit = alone, place: np.ndarray = place) -> torch.Tensor:
            return ea.risk(objective, alone, torch.log_softmax(t[torch.from_numpy(place)], 0))

        point = torch.from_numpy(theta[:, x])
        assert values[x] == pytest.approx(float(whole(point)), rel=1e-12)
        gradient = torch.func.grad(whole)(point).numpy()
        hessian = torch.func.hessian(whole)(point).numpy()
        np.testing.assert_allclose(local.gradient[:, x], gradient, atol=1e-12)
        np.testing.assert_allclose(-local.curvature[:, x], hessian[pairs(4)], atol=1e-12)
    assert order.shape == (4, 5)


def _laplacian(weights: np.ndarray, n: int) -> np.ndarray:
    """The matrix that (n(n-1)/2,) weights, in the order of `pairs`, stand for."""
    off = np.zeros((n, n))
    off[pairs(n)] = weights
    off += off.T
    return np.diag(off.sum(axis=1)) - off


def _packed(weights: dict[tuple[int, int], float], n: int) -> np.ndarray:
    """(n(n-1)/2, 1) from weights by pair."""
    return np.array([[weights.get((j, i), weights.get((i, j), 0.0))] for i, j in zip(*pairs(n), strict=True)])


@pytest.fixture(params=["all problems at a time", "one by one", "one by one, 3 vertices at a time", "in C"])
def eliminated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways of eliminating, and blocks that end anywhere."""
    if request.param == "in C" and not kernel.LOADED:
        pytest.skip("the package was installed without a C compiler")
    monkeypatch.setattr(kernel, "LOADED", request.param == "in C")
    if "one by one" in request.param:
        monkeypatch.setattr("expo_analysis.optima.laplacian.ONE_BY_ONE", 0)
    if "3" in request.param:
        monkeypatch.setattr("expo_analysis.optima.laplacian.BLOCK", 3)


@pytest.mark.usefixtures("eliminated")
def test_elimination_against_the_pseudo_inverse() -> None:
    rng = np.random.default_rng(1)
    for n in (2, 3, 4, 7, 10, 32, 33):
        weights = rng.uniform(0.1, 1, (n * (n - 1) // 2, 6))
        rhs = rng.normal(size=(n, 6))
        rhs -= rhs.mean(axis=0)
        elimination = eliminate(weights)
        x, resistance = elimination.solve(rhs), resistances(elimination)
        for b in range(6):
            h = _laplacian(weights[:, b], n)
            np.testing.assert_allclose(h @ x[:, b], rhs[:, b], atol=1e-12)
            green = np.linalg.pinv(h)
            d = np.diag(green)
            np.testing.assert_allclose(resistance[..., b], d[:, None] + d - 2 * green, atol=1e-10)


@pytest.mark.usefixtures("eliminated")
def test_elimination_has_relative_accuracy_where_the_pseudo_inverse_has_none() -> None:
    """A chain of conductances from 1 to 1e-30: resistances add up, exactly as they should."""
    conductance = 10.0 ** -np.arange(0, 31, 5)
    n = len(conductance) + 1
    weights = _packed({(k, k + 1): c for k, c in enumerate(conductance)}, n)
    resistance = resistances(eliminate(weights))[..., 0]
    for i in range(n):
        for j in range(i):
            assert resistance[i, j] == pytest.approx((1 / conductance[j:i]).sum(), rel=1e-14)


@pytest.mark.skipif(not kernel.LOADED, reason="the package was installed without a C compiler")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 16, 19])
def test_the_kernel_and_numpy_agree(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight problems side by side or one: weights over 30 decades, of both signs, zero, and parts of their own."""
    rng = np.random.default_rng(size)
    for n in (2, 3, 5, 8, 9, 33, 181):
        shape = (n * (n - 1) // 2, size)
        apart = 10 ** rng.uniform(-30, 0, shape) * (rng.random(shape) < 0.8)
        rhs = rng.normal(size=(n, size))
        for weights in (apart, rng.uniform(-1, 1, shape) if n < 9 else np.abs(apart)):
            found, expected = [], []
            for into, loaded in ((found, True), (expected, False)):
                monkeypatch.setattr(kernel, "LOADED", loaded)
                elimination = eliminate(weights)
                with np.errstate(all="ignore"):
                    into += [elimination.pivots, elimination.ratios, elimination.solve(rhs)]
                into.append(resistances(eliminate(np.abs(weights))))
            for one, other in zip(found, expected, strict=True):
                within = 1e-12 * np.abs(np.ma.masked_invalid(other)).mean()
                np.testing.assert_allclose(one, other, rtol=1e-11, atol=within)


def test_many_vertices_are_eliminated_without_subtractions() -> None:
    """Weights over 24 decades, of n around a multiple of the block: all resistances to 1e-13, relatively, by one rule.

    R is a metric, and from a vertex to itself it is 0; Foster: sum of w R over the edges is n - 1.
    """
    rng = np.random.default_rng(0)
    for n in (ONE_BY_ONE, ONE_BY_ONE + 1, 4 * BLOCK + 1, 160):
        weights = 10 ** rng.uniform(-24, 0, (n * (n - 1) // 2, 2))
        resistance = resistances(eliminate(weights))
        low, high = pairs(n)
        np.testing.assert_allclose((weights * resistance[low, high]).sum(axis=0), n - 1, rtol=1e-13)
        order = rng.permutation(n)  # another order of elimination
        full = np.zeros((n, n, 2))
        full[low, high] = full[high, low] = weights
        again = resistances(eliminate(full[np.ix_(order, order)][pairs(n)]))
        np.testing.assert_allclose(again, resistance[np.ix_(order, order)], rtol=1e-12)


@pytest.mark.usefixtures("eliminated")
def test_elimination_sees_indefinite_and_disconnected_matrices() -> None:
    weights = _packed({(0, 1): 1.0, (0, 2): -2.0, (1, 2): 1.0}, 3)
    assert not eliminate(weights).positive_definite[0]
    assert np.linalg.eigvalsh(_laplacian(weights[:, 0], 3)).min() < -1e-3
    pair = _packed({(0, 1): 2.0, (2, 3): 2.0}, 4)
    assert not eliminate(pair).positive_definite[0]
    x = eliminate(pair).solve(np.array([[1.0], [-1.0], [3.0], [-3.0]]))[:, 0]
    assert x[0] - x[1] == pytest.approx(0.5)
    assert x[2] - x[3] == pytest.approx(1.5)


@pytest.mark.parametrize(
    "objective", [ea.EXPO(0.01), ea.DPO(0.01), ea.DPO(3.0), ea.RegressionEXPO(1.0, "cross_entropy")]
)
def test_damped_newton_descends_from_anywhere(objective: ea.PairObjective) -> None:
    """The step length is a theorem, not a search: from starts far away it ends at the same optimum."""
    rng = np.random.default_rng(2)
    bandit = _batch(rng, 30, 5)
    problem = _problem(objective, bandit)
    at_home, _, _ = newton(problem, problem.log_reference)
    for scale in (1.0, 10.0, 100.0):
        far, steps, converged = newton(problem, scale / max(1.0, objective.lam) * rng.normal(size=(5, 30)))
        assert converged.all()
        assert (steps <= 200).all()
        np.testing.assert_allclose(far, at_home, atol=1e-8 * np.abs(at_home).max())


def test_each_damped_step_lowers_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    from expo_analysis.optima.methods import newton as module

    values: list[np.ndarray] = []
    original = module.expand

    def watched(problem: Problem, theta: np.ndarray):  # type: ignore[no-untyped-def]
        values.append(value(problem, theta))
        return original(problem, theta)

    monkeypatch.setattr(module, "expand", watched)
    rng = np.random.default_rng(3)
    for _ in range(20):
        bandit = _batch(rng, 1, 5)
        values.clear()
        newton(_problem(ea.EXPO(0.01), bandit), 20 * rng.normal(size=(5, 1)))
        assert (np.diff(np.concatenate(values)) <= 1e-14 * values[0]).all()
        assert len(values) > 5


@pytest.mark.parametrize("objective", [ea.EXPO(0.3), ea.DPO(0.3), ea.IPO(0.3)])
def test_many_starts_find_what_is_certified(objective: ea.PairObjective) -> None:
    rng = np.random.default_rng(4)
    bandit = _batch(rng, 20, 4)
    certified, found = ea.solve(objective, bandit), ea.solve(objective, bandit, "multistart")
    np.testing.assert_allclose(found.policy, certified.policy, atol=1e-7)
    assert np.isnan(found.error_bound).all()
    assert all(re.search(r"as the objective is convex \((\d+) of \1 starts\)", message) for message in found.message)


def _double_well(m: torch.Tensor, lam: float) -> torch.Tensor:
    """Minima at margins -2 and 2, the right one deeper."""
    return (m**2 - 4) ** 2 - lam * m


def test_many_starts_find_the_deeper_well() -> None:
    bandit = ea.Bandit([0.5, 0.5], [0.9, 0.1])
    objective = ea.QPO(0.5, psi=_double_well, mu=torch.log)
    solution = ea.solve(objective, bandit)
    assert solution.status == "best_found"
    grid = np.linspace(-4, 4, 800_001)
    values = 0.9 * ((grid**2 - 4) ** 2 - 0.5 * grid) + 0.1 * ((grid**2 - 4) ** 2 + 0.5 * grid)
    margin = solution.log_policy[0] - solution.log_policy[1]
    assert margin == pytest.approx(grid[values.argmin()], abs=2e-5)


def test_ties_between_wells_are_not_called_unique() -> None:
    bandit = ea.Bandit([0.5, 0.5], [0.5, 0.5])
    solution = ea.solve(ea.QPO(0.5, psi=_double_well, mu=torch.log), bandit)
    assert solution.status == "not_unique"


def test_a_flat_loss_is_not_called_unique() -> None:
    flat = ea.QPO(1.0, psi=lambda m, lam: 0.0 * m + 1.0, mu=torch.log)
    assert ea.solve(flat, ea.Bandit([0.4, 0.6], [0.5, 0.5])).status == "not_unique"


def test_a_loss_without_minimum_is_not_called_optimal() -> None:
    runaway = ea.QPO(1.0, psi=lambda m, lam: torch.exp(-lam * m), mu=torch.log)
    separable = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 2, 1], [0, 0, 1], [0, 0, 0]])
    solution = ea.solve(runaway, separable)
    assert solution.status == "no_minimiser"
    assert "not proven" in solution.message


def test_running_out_of_steps_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setattr(importlib.import_module("expo_analysis.optima.methods.newton"), "MAX_STEPS", 1)
    monkeypatch.setattr(importlib.import_module("expo_analysis.optima.levenberg"), "MAX_STEPS", 1)
    bandit = ea.Bandit([1e-6, 0.5, 0.5 - 1e-6], [0.999, 9e-4, 1e-4])
    stopped = ea.solve(ea.DPO(0.1), bandit, "newton")
    assert stopped.status == "failed"
    assert np.isnan(stopped.error_bound)
    assert "steps" in stopped.message
    assert ea.solve(ea.ExplicitPO(0.1, "reverse_kl"), bandit).status == "failed"


def test_starts_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(5)
    bandit = _batch(rng, 6, 4)
    objective = ea.RegressionEXPO(0.5)
    together = multistart(_problem(objective, bandit), [])
    for x in range(6):
        alone = ea.Bandit(bandit.reference[x], bandit.optimal[x], bandit.pairs[x])
        found = multistart(_problem(objective, alone), [])
        np.testing.assert_allclose(log_softmax(found.theta)[:, 0], log_softmax(together.theta)[:, x], atol=1e-7)


def test_a_policy_is_as_near_as_its_logits_can_be_off() -> None:
    """Each logit off by its error, up or down: no policy is farther than the bound, and some are half as far."""
    rng = np.random.default_rng(4)
    for n in (2, 3, 4):
        bandit = problems.bandit(rng, n, "uniform", 1e-2)
        problem = problems.problem(ea.EXPO(1.0), bandit)
        x, error = rng.standard_normal((n, 1)), np.full((n, 1), 1e-3)
        found = policy_of_scores(problem, x, error)
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n))).T
        moved = np.exp(log_softmax(x + signs * error))
        reached = np.abs(moved - np.exp(found.log_policy)).sum(axis=0).max()
        assert reached <= found.bound[0] <= 2 * reached
