"""Losses with kinks over log-linear policies: L(z, tau) and its derivatives, and what its bound is made of."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Hinge, Linear, Logistic
from expo_analysis.losses.statistics import h, hbar, log_pi_w, shortfall_w
from expo_analysis.optima.least_distance import least_norm
from expo_analysis.optima.restricted import kinked as method
from expo_analysis.optima.restricted.kinks import Kinked

from . import problems
from .own_losses import own

N, PROMPTS, D = 4, 3, 5


class Mixed(ea.PairObjective):
    """Two hinges of opposite directions, a line, a logistic part and a likelihood."""

    name = "mixed"

    @property
    def terms(self) -> Any:
        hinges = Hinge(0.3)(self.lam * hbar) + 0.4 * Hinge(0.7)(-2.0 * h)
        return hinges + 0.2 * Linear(0.5)(h) + 0.3 * Logistic()(1.5 * h) + 0.1 * Linear(-1.0)(log_pi_w)


OBJECTIVES = {
    "slic": ea.SLiC(0.6),
    "hinge": ea.Hinge(0.6),
    "dpop": ea.DPOP(0.6, penalty=3.0),
    "light dpop": ea.DPOP(0.6, penalty=0.5),
    "mixed": Mixed(0.6),
}


def drawn(name: str, seed: int, decay: float = 0.3) -> tuple[ea.Bandit, Kinked]:
    rng = np.random.default_rng([seed, *name.encode()])
    weights = rng.dirichlet(np.full(PROMPTS, 3.0))
    bandit = ea.Bandit(*rng.dirichlet(np.full(N, 2.0), (2, PROMPTS)), prompt_weights=weights)
    features = rng.standard_normal((PROMPTS, N, D))
    return bandit, Kinked(problems.restricted_family(OBJECTIVES[name], bandit, features, decay))


def kappa_at(kinked: Kinked, z: np.ndarray) -> np.ndarray:
    return kinked.kappa(kinked.family.logits(kinked.w(z)))


def central(f: Any, z: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Derivatives of f along each coordinate, the first axis."""
    return np.stack([(f(z + step * e) - f(z - step * e)) / (2 * step) for e in np.eye(len(z))])


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("width", [None, 0.8])
def test_derivatives_of_what_has_kinks(name: str, width: float | None) -> None:
    """Value, gradient, Hessian, the kinks' functions and costs, against differences; at random z and tau."""
    for seed in range(3):
        _, kinked = drawn(name, seed)
        rng = np.random.default_rng(seed)
        z = 0.7 * rng.standard_normal(D)
        count = len(kappa_at(kinked, z))

        def tau(z: np.ndarray, kinked: Kinked = kinked, own: np.ndarray = rng.random(count)) -> np.ndarray:  # noqa: B008
            return own if width is None else method._tau(kinked, z, width)

        local = kinked.at(z, tau(z), width)
        value = central(lambda z, kinked=kinked, tau=tau: kinked.at(z, tau(z), width).value, z)
        np.testing.assert_allclose(local.gradient, value, atol=1e-8)
        bends = central(lambda z, kinked=kinked, tau=tau: kinked.at(z, tau(z), width).gradient, z)
        np.testing.assert_allclose(local.rows.T @ local.rows, bends, atol=2e-8)
        normals = central(lambda z, kinked=kinked: kappa_at(kinked, z), z)
        np.testing.assert_allclose(local.normals, normals.T, atol=1e-8)
        np.testing.assert_allclose(local.kappa, kappa_at(kinked, z))
        assert (local.size >= np.abs(local.gradient)).all()
        if width is None:  # dL/dtau_k = cost_k kappa_k
            change = 1e-6
            for k in range(0, count, 5):
                ends = [kinked.at(z, tau(z) + sign * change * (np.arange(count) == k)).value for sign in (-1, 1)]
                np.testing.assert_allclose(
                    (ends[1] - ends[0]) / (2 * change), local.costs[k] * local.kappa[k], atol=1e-8
                )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_largest_over_tau_is_the_objective(name: str) -> None:
    """L(z, tau) with tau = 1 above each kink and 0 below; any other tau is lower; and smoothing goes to it."""
    bandit, kinked = drawn(name, 4)
    rng = np.random.default_rng(4)
    base = np.log(bandit.reference)
    for _ in range(4):
        z = rng.standard_normal(D)
        theta = base + np.einsum("pnd,d->pn", _features(kinked), z)
        own = ea.risk(OBJECTIVES[name], bandit, theta - np.logaddexp.reduce(theta, axis=1, keepdims=True))
        exact = own @ bandit.prompt_weights + 0.15 * z @ z
        kappa = kappa_at(kinked, z)
        found = kinked.at(z, (kappa > 0) * 1.0).value
        np.testing.assert_allclose(found, exact, rtol=1e-12)
        assert kinked.at(z, rng.random(len(kappa))).value < exact
        # the softplus is above the kink by width log 2 at most, and nowhere below
        costs = kinked.at(z, (kappa > 0) * 1.0).costs
        for width in (1e-2, 1e-4):
            above = kinked.at(z, method._tau(kinked, z, width), width).value - exact
            assert -1e-15 <= above <= width * np.log(2) * costs.sum() * 1.5


def _features(kinked: Kinked) -> np.ndarray:
    """In the bandit's order of responses."""
    family = kinked.family
    found = np.empty_like(family.features[0])
    for x in range(PROMPTS):
        found[x, family.cells.responses[:, x]] = family.features[0, x]
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_minimiser_with_kinks(name: str) -> None:
    """By strong convexity of decay every other w is higher by decay/2 times its squared distance, at least."""
    bandit, kinked = drawn(name, 5)
    solution = ea.solve(OBJECTIVES[name], bandit, features=_features(kinked), decay=0.3)
    assert (solution.status == "optimal").all() and (solution.iterations > 0).all()
    for bound in (solution.error_bound, solution.weight_bounds):  # of the order of the root of what rounding hides
        assert (bound > 1e-9).all() and (bound < 3e-6).all()
    z = solution.weights
    rng = np.random.default_rng(5)

    def value(z: np.ndarray) -> float:
        return kinked.at(z, (kappa_at(kinked, z) > 0) * 1.0).value

    np.testing.assert_allclose(solution.total, value(z), rtol=1e-13)
    for size in (1e-6, 1e-4, 1e-2, 1.0):
        for _ in range(20):
            step = size * rng.standard_normal(D)
            assert value(z + step) >= solution.total + 0.15 * step @ step - 1e-14


@mp.workdps(50)
def test_the_largest_step_that_a_gap_allows() -> None:
    """y^2 omega(c y) = gap + norm y, omega(s) = (e^-s - 1 + s)/s^2, in 50 digits; the quadratic formula at c = 0."""
    for gap in (0.0, 1e-20, 1e-6, 0.3):
        for norm in (1e-13, 1e-3, 0.4):
            for c in (0.0, 1e-6, 0.1, 2.0):
                y = method._largest_step(gap, norm, c)
                assert np.isfinite(y)
                if c == 0:
                    exact = mp.mpf(norm) + mp.sqrt(mp.mpf(norm) ** 2 + 2 * mp.mpf(gap))
                    assert exact <= y * (1 + 1e-12) <= exact * (1 + mp.mpf(10) ** -9)
                    continue

                def excess(y: Any, c: float = c, norm: float = norm, gap: float = gap) -> mp.mpf:
                    s = mp.mpf(c) * mp.mpf(y)
                    return (mp.exp(-s) - 1 + s) / mp.mpf(c) ** 2 - mp.mpf(norm) * mp.mpf(y) - mp.mpf(gap)

                assert excess(y * (1 + 1e-12)) >= 0 > excess(y * (1 - 3e-3))
    for refused in ((0.1, 1.0, 1.0), (0.1, 0.5, 2.1), (np.inf, 0.1, 0.1), (np.nan, 0.1, 0.1), (0.1, 0.1, np.inf)):
        assert np.isnan(method._largest_step(*refused))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_third_derivatives_with_kinks(name: str) -> None:
    """|D3 L(., tau)[v,v,u]| <= M max range(F u) D2 L[v,v], for the M that bounds rest on, without decay."""
    largest = 0.0
    for seed in range(3):
        _, kinked = drawn(name, seed, 0.0)
        rng = np.random.default_rng(seed)
        m = method._concordance(kinked)
        for _ in range(6):
            z, u, v = rng.standard_normal((3, D))
            tau = rng.random(len(kappa_at(kinked, z)))
            ends = [kinked.at(z + sign * 1e-4 * u, tau).rows @ v for sign in (-1, 1)]
            third = (ends[1] @ ends[1] - ends[0] @ ends[0]) / 2e-4
            moved = kinked.at(z, tau).rows @ v
            spread = np.ptp(np.einsum("ncd,d->nc", kinked.directions, u), axis=0).max()
            largest = max(largest, abs(third) / (spread * (moved @ moved)) if moved @ moved > 1e-9 else 0.0)
            assert abs(third) <= m * spread * (moved @ moved) + 1e-7
    if name == "dpop":
        assert m == pytest.approx(0.6 * 4 + np.sqrt(0.6 * 3) / 2 + 1)
    assert name == "hinge" or largest > 0.05 * m


def test_least_distances() -> None:
    """Of rows x <= limits the least |x|: its conditions, x = -rows' y with y >= 0 on rows that hold it."""
    rng = np.random.default_rng(6)
    for _ in range(40):
        rows = rng.standard_normal((6, 3))
        known = 3 * rng.standard_normal(3)
        limits = rows @ known + rng.exponential(0.5, 6) * (rng.random(6) < 0.7)
        x = least_norm(rows, limits, known, 1e-7)
        assert (rows @ x <= limits + 1e-9).all() and np.linalg.norm(x) <= np.linalg.norm(known) + 1e-9
        active = rows @ x >= limits - 1e-8
        y, *_ = np.linalg.lstsq(rows[active].T, -x, rcond=None)
        if active.sum() <= 3:
            np.testing.assert_allclose(rows[active].T @ y, -x, atol=1e-7)
            assert (y >= -1e-7).all()


def test_the_m_of_a_shortfall_by_its_formula() -> None:
    """scale (what of the coefficients is positive + penalty) + sqrt(scale (penalty + their sum))/2 + 1."""
    rng = np.random.default_rng(8)
    bandit = ea.Bandit(*rng.dirichlet(np.full(4, 2.0), (2, 3)))
    features = rng.standard_normal((3, 4, 2))
    for scale, c, more in ((1.0, 0.5, 2.0), (0.3, 2.0, 0.25), (2.0, 1.0, 1.0), (0.7, -0.4, 1.5)):
        made = own(lambda lam, s=scale, c=c, more=more: Logistic()(s * (c * hbar + more * shortfall_w)))
        kinked = Kinked(problems.restricted_family(made, bandit, features, 0.1))
        exact = scale * (abs(c) + more) + np.sqrt(scale * more) / 2 + 1  # one of c and -c is positive
        assert method._concordance(kinked) == pytest.approx(exact, rel=1e-12)
