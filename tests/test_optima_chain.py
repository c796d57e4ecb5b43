"""The chain behind EXPO (docs/theory.md): its kernel, and what follows from it for the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import matrix, mp, mpf

import expo_analysis as ea
from expo_analysis.optima.chain import expo_chain, inverse_of_columns

Problem = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def problems(count: int, seed: int) -> list[Problem]:
    """(pi_ref, pi*, pairs, lambda): any connected or unconnected graph, weights over four decades."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        n = int(rng.integers(2, 8))
        reference, optimal = (x / x.sum() for x in np.maximum(rng.dirichlet(np.full(n, rng.uniform(0.3, 2)), 2), 1e-7))
        pairs = 10.0 ** rng.uniform(-4, 0, (n, n)) * (rng.random((n, n)) < rng.uniform(0.3, 1.2))
        pairs = np.triu(pairs, 1)
        pairs[0, 1] = pairs[0, 1] or 1.0
        made.append((reference, optimal, pairs + pairs.T, float(10 ** rng.uniform(-6, 3))))
    return made


def solved(problem: Problem) -> tuple[np.ndarray, ea.Bandit]:
    reference, optimal, pairs, lam = problem
    bandit = ea.Bandit(reference, optimal, pairs)
    solution = ea.solve(ea.EXPO(lam), bandit)
    assert solution.status == "optimal"
    return solution.policy, bandit


@pytest.fixture(scope="module")
def optima() -> list[tuple[Problem, np.ndarray, ea.Bandit]]:
    return [(problem, *solved(problem)) for problem in problems(400, 1)]


def test_the_kernel_maps_the_reference_to_the_optimum(optima: list[tuple[Problem, np.ndarray, ea.Bandit]]) -> None:
    for (reference, optimal, _, lam), policy, bandit in optima:
        chain = expo_chain(policy, optimal, bandit.pairs, lam)
        assert (chain.kernel >= 0).all()
        np.testing.assert_allclose(chain.kernel.sum(axis=0), 1, rtol=1e-13)
        np.testing.assert_allclose(chain.kernel @ optimal, optimal, rtol=1e-11)
        np.testing.assert_allclose(chain.kernel @ reference, policy, atol=1e-11)


def rényi(p: np.ndarray, q: np.ndarray, order: float) -> float:
    return float(np.log((p**order * q ** (1 - order)).sum()) / (order - 1))


DIVERGENCES = {
    "KL": lambda p, q: (p * np.log(p / q)).sum(),
    "reverse KL": lambda p, q: (q * np.log(q / p)).sum(),
    "Jeffreys": lambda p, q: ((p - q) * np.log(p / q)).sum(),
    "total variation": lambda p, q: np.abs(p - q).sum() / 2,
    "chi-square": lambda p, q: ((p - q) ** 2 / q).sum(),
    "reverse chi-square": lambda p, q: ((p - q) ** 2 / p).sum(),
    "Hellinger": lambda p, q: ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
    "Jensen-Shannon": lambda p, q: (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))).sum(),
    "triangular": lambda p, q: ((p - q) ** 2 / (p + q)).sum(),
    "alpha 3": lambda p, q: ((p / q) ** 3 * q).sum() - 1,
    "hockey stick 0.5": lambda p, q: np.maximum(p - 0.5 * q, 0).sum() - 0.5,
    "hockey stick 1.5": lambda p, q: np.maximum(p - 1.5 * q, 0).sum(),
    "hockey stick 4": lambda p, q: np.maximum(p - 4 * q, 0).sum(),
    **{f"Rényi {order:g}": lambda p, q, order=order: rényi(p, q, order) for order in (0.25, 0.5, 0.9, 1.1, 2.0, 5.0)},
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_improvement_in_every_divergence(optima: list[tuple[Problem, np.ndarray, ea.Bandit]], name: str) -> None:
    divergence = DIVERGENCES[name]
    improved = 0
    for (reference, optimal, _, _), policy, _ in optima:
        before, after = divergence(reference, optimal), divergence(policy, optimal)
        assert after <= before * (1 + 1e-12) + 1e-13
        improved += after < 0.99 * before
    assert improved > 100  # the inequality is no equality


def test_ratios_to_the_target_stay_in_the_range_of_the_reference(
    optima: list[tuple[Problem, np.ndarray, ea.Bandit]],
) -> None:
    for (reference, optimal, _, _), policy, _ in optima:
        ratio, begun = policy / optimal, reference / optimal
        assert begun.min() * (1 - 1e-11) <= ratio.min() and ratio.max() <= begun.max() * (1 + 1e-11)


def test_chi_square_contracts_by_the_gap(optima: list[tuple[Problem, np.ndarray, ea.Bandit]]) -> None:
    chi_square = DIVERGENCES["chi-square"]
    connected = 0
    for (reference, optimal, _, lam), policy, bandit in optima:
        chain = expo_chain(policy, optimal, bandit.pairs, lam)
        if bandit.components.max() == 0:
            bound = chi_square(reference, optimal) / (1 + chain.gap / lam) ** 2
            # the gap is an eigenvalue, exact to units of the largest one
            assert chi_square(policy, optimal) <= bound * (1 + 1e-9) + 1e-24
            connected += chain.gap > 0.1 * lam
        else:
            assert chain.gap <= 1e-12 * np.abs(chain.generator).max()
    assert connected > 50


def test_preferences_that_are_not_bradley_terry_have_the_fit_as_target() -> None:
    preference = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]])
    bandit = ea.Bandit.from_preferences([0.2, 0.5, 0.3], preference)
    fit = ea.solve(ea.BradleyTerry(1.0), bandit).policy
    policy = ea.solve(ea.EXPO(0.2), bandit).policy
    np.testing.assert_allclose(expo_chain(policy, fit, bandit.pairs, 0.2).kernel @ bandit.reference, policy, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e6, 1e14])
def test_the_inverse_keeps_every_digit(scale: float) -> None:
    rng = np.random.default_rng(2)
    flow = -(10.0 ** rng.uniform(-6, 0, (6, 6))) * scale
    np.fill_diagonal(flow, 0.0)
    np.fill_diagonal(flow, -flow.sum(axis=0))
    with mp.workdps(60):
        exact = matrix(flow.tolist())
        for k in range(6):  # the diagonal to 60 digits, as columns must sum to zero
            exact[k, k] = -sum((exact[j, k] for j in range(6) if j != k), mpf(0))
        inverse = (mp.eye(6) + exact) ** -1
        wanted = np.array([[float(inverse[i, j]) for j in range(6)] for i in range(6)])
    np.testing.assert_allclose(inverse_of_columns(flow), wanted, rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": [[0.5, 0.5]]}, "policy must have shape"),
        ({"optimal": [0.5, 0.3, 0.2]}, "optimal must have shape"),
        ({"pairs": [[0, 1], [0.5, 0]]}, "pairs must be symmetric"),
        ({"pairs": [[0, -1], [-1, 0]]}, "pairs must be symmetric"),
        ({"lam": 0.0}, "lam must be"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    good = {"policy": [0.5, 0.5], "optimal": [0.7, 0.3], "pairs": [[0, 0.5], [0.5, 0]], "lam": 1.0}
    with pytest.raises(ValueError, match=message):
        expo_chain(**(good | change))  # type: ignore[arg-type]


def test_the_gap_is_the_least_rate_but_for_rest() -> None:
    """By the eigenvalues of the generator itself, which is not symmetric; of two responses it is its trace."""
    rng = np.random.default_rng(8)
    for n in (2, 3, 6):
        optimal, policy = rng.dirichlet(np.ones(n), 2)
        q = rng.random((n, n))
        q = (q + q.T) * (1 - np.eye(n))
        chain = expo_chain(policy, optimal, q / q.sum(), 0.3)
        rates = np.sort(np.linalg.eigvals(chain.generator).real)
        assert chain.gap == pytest.approx(rates[1], rel=1e-10)
        if n == 2:
            assert chain.gap == pytest.approx(np.trace(chain.generator), rel=1e-10)
