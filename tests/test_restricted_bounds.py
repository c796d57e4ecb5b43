"""Bounds over log-linear policies, of policies and of w, against solutions in 50 digits."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima.restricted import kinked

from . import oracles, problems, restricted_oracle

NAMES = list(restricted_oracle.losses(1.0))


def objective(name: str, lam: float) -> ea.PairObjective:
    return ea.DPO(lam, label_smoothing=0.1) if name == "dpo, smoothed" else ea.objective(name, lam)


def drawn(rng: np.random.Generator, decayed: bool) -> tuple[ea.Bandit, np.ndarray, float]:
    """A bandit of one to three prompts, features of full rank, and a decay."""
    n, prompts = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    graph = rng.choice(["uniform", "reference", "uneven"])
    policies = [np.stack([problems.policy(rng, n, 1e-3) for _ in range(prompts)]) for _ in range(2)]
    pairs = graph if graph != "uneven" else np.stack([problems.pairs(rng, n, graph, 2.0) for _ in range(prompts)])
    bandit = ea.Bandit(*policies, pairs, prompt_weights=rng.dirichlet(np.full(prompts, 3.0)))
    features = rng.standard_normal((prompts, n, int(rng.integers(1, min(prompts * (n - 1), 4) + 1))))
    return bandit, features, float(10 ** rng.uniform(-4, 1)) if decayed else 0.0


@cache
def compared(name: str, count: int) -> np.ndarray:
    """Rows of (error of a policy, its bound) and (error of w, its bound), over random problems."""
    rng = np.random.default_rng([*name.encode()])
    rows = []
    for k in range(count):
        bandit, features, decay = drawn(rng, decayed=k % 2 == 1)
        lam = float(10 ** rng.uniform(-1, 1))
        solution = ea.solve(objective(name, lam), bandit, features=features, decay=decay)
        loss = restricted_oracle.losses(lam)[name]
        w, policies = restricted_oracle.minimise(loss, bandit, features, decay, solution.weights)
        assert (solution.status == "optimal").all()
        errors = [oracles.distance(*pair) for pair in zip(solution.policy, policies, strict=True)]
        rows += zip(errors, solution.error_bound, strict=True)
        off = [float(abs(mp.mpf(float(a)) - b)) for a, b in zip(solution.weights, w, strict=True)]
        rows += zip(off, solution.weight_bounds, strict=True)
    return np.array(rows)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_bounds_are_never_violated(name: str, count: int) -> None:
    error, bound = compared(name, count).T
    assert np.isfinite(bound).all()
    assert (error <= bound).all()
    assert np.median(bound) < 1e-12


def test_a_wrong_candidate_gets_a_larger_bound() -> None:
    """The bound at a w that is off: still true, by the distance from 50 digits."""
    from expo_analysis.optima.restricted.certificate import certify
    from expo_analysis.optima.restricted.newton import concordance
    from expo_analysis.optima.restricted.optima import Classes

    rng = np.random.default_rng(5)
    for k in range(12):
        name = NAMES[k % len(NAMES)]
        bandit, features, decay = drawn(rng, decayed=True)
        lam, prompts = 1.0, bandit.prompts
        shares = np.asarray(bandit.prompt_weights)[None]
        base = np.log(bandit.reference)[None]
        classes = Classes(bandit, np.arange(prompts)[None], features[None], base, shares, np.array([decay]))
        family = classes.family(objective(name, lam), np.array([lam]))
        solution = ea.solve(objective(name, lam), bandit, features=features, decay=decay)
        w, policies = restricted_oracle.minimise(
            restricted_oracle.losses(lam)[name], bandit, features, decay, solution.weights
        )
        for size in (1e-2, 1e-4, 1e-7):
            moved = solution.weights + size * rng.standard_normal(features.shape[2])
            found = certify(family, moved[None], concordance(family))
            theta = base[0] + features @ moved
            policy = np.exp(theta - np.logaddexp.reduce(theta, axis=1, keepdims=True))
            errors = np.array([oracles.distance(*pair) for pair in zip(policy, policies, strict=True)])
            off = np.array([float(abs(mp.mpf(float(a)) - b)) for a, b in zip(moved, w, strict=True)])
            for error, bound in ((errors, found.policies[0]), (off, found.weights[0])):
                known = np.isfinite(bound)
                assert (error <= np.where(known, bound, np.inf)).all()
                assert size == 1e-2 or known.all()


@pytest.mark.parametrize("name", ["slic", "hinge"])
def test_what_the_bound_of_kinks_is_made_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """L(w, tau) at the end is the objective, decay included, up to its gap; neither gap nor norm is negative.

    Of each there is what rounding may add: a kink that is met costs its height times the units of its logits; the
    gradient is a sum of as many parts as there are rows, at logits that are off by as much.
    """
    seen: list[tuple[float, ...]] = []
    locals_: list[Any] = []
    on_kinks = 0
    judged, largest_step = kinked._judged, kinked._largest_step

    def judging(problem: Any, z: Any, tau: Any) -> Any:
        seen.append((problem.at(z, tau).value,))
        locals_.append((problem, problem.family.logits(problem.w(z)), problem.at(z, tau), tau))
        return judged(problem, z, tau)

    def stepping(gap: float, norm: float, c: float) -> float:
        seen.append((gap, norm))
        return largest_step(gap, norm, c)

    monkeypatch.setattr(kinked, "_judged", judging)
    monkeypatch.setattr(kinked, "_largest_step", stepping)
    rng = np.random.default_rng(3)
    for _ in range(6):
        bandit, features, _ = drawn(rng, decayed=True)
        seen.clear()
        solution = ea.solve(ea.objective(name, 0.5), bandit, features=features, decay=0.3)
        (value,), (gap, norm) = seen[-2:]
        assert 0 <= gap < 1e-6 and 0 < norm < 1e-6
        assert np.abs(solution.weights).max() > 1e-2  # so that decay is some of it
        assert abs(value - solution.total) <= gap + 1e-12 * (1 + abs(value))
        problem, x, local, tau = locals_[-1]
        unit = 2.2e-16 * (len(x) + np.abs(x).max() + np.abs(problem.problem.log_reference).max())
        size_of_logits = np.abs(problem.family.base).max() + np.abs(x).max() + np.abs(problem.family.features).max()
        most = 40 * unit + 40 * 2.2e-16 * (features.shape[2] + 2) * size_of_logits
        met = (tau > 0) & (tau < 1)
        on_kinks += int(met.sum())
        assert gap >= 8 * unit * local.costs[met].sum()
        assert gap <= most * local.costs.sum() + 4 * (local.costs * np.abs(local.kappa))[met].sum()
        own = np.sqrt(np.diag(np.linalg.inv(local.rows.T @ local.rows)))
        trace, count = (local.rows**2).sum(), len(local.rows)
        norm_of = np.sqrt(local.gradient @ np.linalg.solve(local.rows.T @ local.rows, local.gradient))
        least = own @ (2.2e-16 * count * local.size + 4 * unit * trace)
        assert least <= norm <= 1.001 * norm_of + own @ (40 * 2.2e-16 * (count + 8) * local.size + most * trace)
    assert on_kinks > 0
