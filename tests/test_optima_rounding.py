"""Where the computed gradient vanishes and the true one does not, rounding is all that the error bound can rest on."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima.certificate import UNIT
from expo_analysis.optima.derivatives import log_roundings, log_softmax

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


def test_logarithms_of_policies_are_off_by_no_more_than_is_told() -> None:
    """8 for itself, one a response, its own size and twice that of the logit; and of many none is off by more."""
    theta = np.array([[3.0], [-1.0], [0.0]])
    told = log_roundings(np.array([[-0.5], [-4.0], [-3.0]]), theta)
    np.testing.assert_array_equal(told, [[11 + 0.5 + 6], [11 + 4 + 2], [11 + 3 + 0]])
    rng = np.random.default_rng(8)
    for size in (1e-3, 1.0, 30.0, 1e4):
        x = size * rng.standard_normal((5, 20)) + rng.choice([0.0, 1e3, -1e6], 20)
        found = log_softmax(x)
        with mp.workdps(40):
            exact = [oracles.normalised([mp.mpf(t) for t in column]) for column in x.T]
            error = [
                [float(abs(mp.log(e) - mp.mpf(t))) for e, t in zip(*pair, strict=True)]
                for pair in zip(exact, found.T, strict=True)
            ]
        excess = np.array(error).T - UNIT * log_roundings(found, x)
        assert excess.max() <= 0
