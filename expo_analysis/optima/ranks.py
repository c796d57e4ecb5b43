"""Who is above whom: responses in the order of their estimates, with intervals, and the places that each may have.

One is surely above another where the interval of their log-ratio is above 0, all these intervals holding together with
1 - alpha. Then, with 1 - alpha at least, everybody's true place is between 1 more than the number of those surely above
and n less the number of those surely below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from .._checks import check_number, check_whole
from .._types import Floats, Indices
from .inference import DENSE, comparisons_of, covariance
from .intervals import DRAWS, MOST, critical_value, factor_of

if TYPE_CHECKING:
    import pandas as pd

    from .solution import Solution


def ranking(solution: Solution, alpha: float, top: int | None, kind: str) -> pd.DataFrame:
    """See `Solution.ranking`."""
    import pandas as pd

    check_number("alpha", alpha, 0.0, 1.0)
    comparisons = comparisons_of(solution)
    n, names = comparisons.n, comparisons.responses
    if top is not None:
        check_whole("top", top, 1)
    elif n > DENSE:
        raise ValueError(f"top must say of how many of {n:,} responses to have intervals: beyond {DENSE:,} not of all")
    order = np.argsort(-solution.log_policy, kind="stable")[:top]
    labels = order.tolist() if names is None else [names[i] for i in order]
    if whole := len(order) == n:  # in the data's order, so that intervals are to the last digit those of `conf_int`
        found = covariance(solution, None, None, kind)
        all_of_them, found = critical_value(found, alpha), found[np.ix_(order, order)]
    else:
        found = covariance(solution, labels, None, kind)
        all_of_them = critical_value(found, alpha)
    score, error = solution.log_policy[order] - solution.log_policy.mean(), np.sqrt(np.diag(found))
    alone = -ndtri(alpha / 2)
    columns = {
        "response": labels,
        "policy": solution.policy[order],
        "score": score,
        "standard_error": error,
        "low": score - alone * error,
        "high": score + alone * error,
        "low_all": score - all_of_them * error,
        "high_all": score + all_of_them * error,
    }
    if whole:
        columns["best"], columns["worst"] = places(score, found, alpha)
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(order) + 1, name="place"))


def places(score: Floats, covariances: Floats, alpha: float) -> tuple[Indices, Indices]:
    """The best and the worst place that each may have, from scores (k,) of all and their covariances (k, k)."""
    errors = errors_of_differences(covariances)
    above = score - score[:, None] > value_of_differences(covariances, errors, alpha) * errors  # of j above i
    return 1 + above.sum(axis=1), len(score) - above.sum(axis=0)


def errors_of_differences(covariances: Floats) -> Floats:
    """Standard errors of the k x k differences."""
    variances = np.diag(covariances)
    return np.sqrt(np.maximum(variances[:, None] + variances - 2 * covariances, 0.0))


def value_of_differences(covariances: Floats, errors: Floats, alpha: float) -> float:
    """The 1 - alpha quantile of the largest |x_i - x_j| / its standard error, x normal with these covariances.

    From draws, always the same ones, and never above Sidak's value for as many independent ones, which is the largest
    that any correlations have; of more than `MOST` responses it is Sidak's.
    """
    k = len(covariances)
    pairs = k * (k - 1) // 2
    sidak = float(-ndtri(-np.expm1(np.log1p(-alpha) / max(pairs, 1)) / 2))
    if not 2 < k <= MOST:
        return sidak
    x = (factor_of(covariances) @ np.random.default_rng(0).normal(size=(k, DRAWS))).astype(np.float32)
    largest = np.zeros(DRAWS, dtype=np.float32)
    for i in range(1, k):
        scale = np.where(errors[i, :i] > 0, errors[i, :i], np.inf).astype(np.float32)
        np.maximum(largest, (np.abs(x[:i] - x[i]) / scale[:, None]).max(axis=0), out=largest)
    return min(sidak, float(np.quantile(largest, 1 - alpha)))
