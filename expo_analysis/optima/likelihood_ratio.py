"""Likelihood-ratio tests of restricted policies, and of stated ones, against all policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import chdtrc

from .._checks import check_policy, check_shape, check_whole
from .._types import Floats
from ..bandit.paired import Comparisons
from ..losses.base import PairObjective
from .derivatives import pair_value
from .inference import comparisons_of, is_likelihood
from .sparse.graph import matrix_of
from .sparse.problem import Wins, problem_of

if TYPE_CHECKING:
    from .solution import Solution


class LikelihoodRatio(NamedTuple):
    """statistic: 2 (log-likelihood of all policies - of the restricted ones). pvalue. df: degrees of freedom."""

    statistic: float
    pvalue: float
    df: int


def compare_lr_test(full: Solution, restricted: Any, df: int | None) -> LikelihoodRatio:
    """See `Solution.compare_lr_test`."""
    comparisons, objective = comparisons_of(full), full.objective
    assert isinstance(objective, PairObjective)
    wins = Wins.of(comparisons)
    problem = problem_of(objective, comparisons.reference, wins, True)
    if problem.facts.regulariser is not None or not is_likelihood(problem):
        raise ValueError(
            f"likelihood-ratio tests are for likelihoods, such as BradleyTerry, not for {type(objective).__name__}"
        )
    _check_proven("self", full)
    if full.weights is not None:
        raise ValueError("self must be an optimum over all policies; the restricted one is the argument")
    log_policy, parameters = _restricted(full, comparisons, restricted)
    if df is None:
        parts, _ = connected_components(matrix_of(wins.n, wins.high, wins.low), directed=False)
        df = wins.n - int(parts) - parameters
    check_whole("df", df, 1)
    values = [float(pair_value(problem, x[:, None])[0]) for x in (full.log_policy, log_policy)]
    statistic = 2 * float(comparisons.weight.sum()) * max(values[1] - values[0], 0.0)
    return LikelihoodRatio(statistic, float(chdtrc(df, statistic)), df)


def _restricted(full: Solution, comparisons: Comparisons, given: Any) -> tuple[Floats, int]:
    """log pi of what is tested, (n,), and how many parameters it has."""
    if not isinstance(given, type(full)):
        policy = check_policy("restricted", given, least=2)
        check_shape("restricted", policy, (comparisons.n,))
        return np.log(policy), 0
    _check_proven("restricted", given)
    if given.weights is None:
        raise ValueError("restricted must be an optimum over restricted policies (features=...), or a policy (n,)")
    other = comparisons_of(given)
    same = np.array_equal(other.winner, comparisons.winner) and np.array_equal(other.loser, comparisons.loser)
    if not (same and np.array_equal(other.weight, comparisons.weight) and given.objective == full.objective):
        raise ValueError("restricted must be of the same loss, on the same comparisons")
    if not np.isclose(given.total, given.value, rtol=1e-9, atol=0):
        raise ValueError("restricted must be an optimum without decay")
    return given.log_policy, len(given.weights)


def _check_proven(name: str, solution: Solution) -> None:
    if solution.status not in ("optimal", "not_unique"):
        raise ValueError(f"{name} must be an optimum, proven; it is {solution.status}: {solution.message}")
