"""Where the computed gradient vanishes and the true one does not, rounding is all that the error bound can rest on."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea

from . import oracles


@pytest.mark.parametrize("method", ["newton", "closed_form"])
@pytest.mark.parametrize("graph", ["uniform", np.array([[0, 1, 0], [1, 0, 3], [0, 3, 0]])], ids=["complete", "chain"])
def test_bound_where_large_terms_cancel(method: str, graph: str | np.ndarray) -> None:
    """IPO with preferences within 1e-6 of 1/2 and lam = 1e-6: each term of the gradient is 1e6 times their sum."""
    rng = np.random.default_rng(0)
    for _ in range(15):
        optimal = 1 + 1e-6 * rng.standard_normal(3)
        bandit = ea.Bandit(rng.dirichlet(np.full(3, 5.0)), optimal / optimal.sum(), graph)
        solution = ea.solve(ea.IPO(1e-6), bandit, method)
        scores = oracles.ipo_scores(bandit, 1e-6)
        exact = [mp.log(r) + s for r, s in zip(oracles.reference_of(bandit), scores, strict=True)]
        assert oracles.distance(solution.policy, oracles.normalised(exact)) <= solution.error_bound < 1e-8
