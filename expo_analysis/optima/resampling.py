r"""The bootstrap of Efron (1979): comparisons drawn anew from those that were seen, all samples solved as one batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._checks import check_number, check_option, check_whole
from .._types import Floats, Indices
from ..bandit import Bandit
from ..bandit.paired import Comparisons
from .inference import comparisons_of, log_ratios
from .solution import Solution, Status
from .solve import solve
from .ties import kinds, wins

METHODS = ("percentile", "basic", "normal")
FEW, TABLES = 64, 1 << 24
"""Responses up to which samples are solved in batches, with so many numbers in their tables of all pairs; of more, each
is solved by itself, as pairs."""


class ConfidenceInterval(NamedTuple):
    """Ends of intervals, (k,) each."""

    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """What `bootstrap` found; names are those of `scipy.stats.bootstrap`.

    confidence_interval: ``low`` and ``high``, (k,) each. bootstrap_distribution: (k, n_resamples), the log-ratios of
    each sample. standard_error: their standard deviations, (k,). log_policies: (n_resamples, n), of each sample.
    """

    confidence_interval: ConfidenceInterval
    bootstrap_distribution: Floats
    standard_error: Floats
    log_policies: Floats


def bootstrap(
    solution: Solution,
    n_resamples: int = 100,
    confidence_level: float = 0.95,
    method: str = "percentile",
    *,
    responses: Iterable[Hashable] | None = None,
    against: Hashable | None = None,
    rng: Any = None,
) -> BootstrapResult:
    r"""Intervals for log pi_i/pi_0 of an optimum on comparisons that are a sample, by drawing them anew.

    Each of ``n_resamples`` samples has as many comparisons as the data, drawn with replacement; the loss is minimised
    on each, of few responses in one batch. With q the quantiles of these log-ratios at (1 - confidence_level)/2 and its
    complement, e the estimates and s the standard deviation, intervals are [q_low, q_high] (``"percentile"``),
    [2e - q_high, 2e - q_low] (``"basic"``) or e -+ t s, t a quantile of Student's distribution with n_resamples - 1
    degrees of freedom (``"normal"``). (Efron 1979; Davison and Hinkley 1997, chapter 5, whose k-th of R sorted values
    is the quantile at k/(R + 1).)

    A regulariser's pull to the reference is not in them: they are around what is estimated, not around pi*.

    Args:
        solution: of `Comparisons`, or of a `Bandit` of counts of pairs on one prompt.
        n_resamples: at least 2/(1 - confidence_level) - 1, as more extreme quantiles are not to be had.
        method: ``"percentile"``, ``"basic"`` or ``"normal"``.
        responses, against: the k log-ratios, as in `Solution.covariance`.
        rng: a numpy Generator, or a seed of one; by default other samples each time.

    Raises:
        ValueError: naming the argument; or the loss has no single optimum on some sample, as Bradley-Terry's where
            somebody wins all: EXPO has one.

    Example:
        >>> import expo_analysis as ea
        >>> games = ea.Comparisons(["anna", "bob"], ["bob", "anna"], [300, 100])
        >>> fit = ea.solve(ea.BradleyTerry(1.0), games)
        >>> found = ea.bootstrap(fit, responses=["anna"], against="bob", rng=0)  # log 3 = 1.1, give or take 0.23
        >>> [bool(low < 1.0986 < high) for low, high in zip(*found.confidence_interval)]
        [True]
    """
    check_option("method", method, METHODS)
    check_number("confidence_level", confidence_level, 0.0, 1.0)
    check_whole("n_resamples", n_resamples, max(int(np.ceil(2 / (1 - confidence_level) - 1 - 1e-9)), 2))
    if solution.status != Status.OPTIMAL:
        raise ValueError(f"solution must be the one optimum, proven; it is {solution.status}: {solution.message}")
    if not (rng is None or isinstance(rng, (int, np.integer, np.random.Generator))):
        raise ValueError(f"rng must be a numpy Generator, a seed or None, got {rng!r:.80}")
    chosen = None if responses is None else list(responses)
    estimate = log_ratios(solution, solution.log_policy, chosen, against)
    log_policies = _resampled(solution, n_resamples, np.random.default_rng(rng))
    found = log_ratios(solution, log_policies, chosen, against)
    error = found.std(axis=0, ddof=1)
    tails = ends(found, estimate, error, (1 - confidence_level) / 2, method)
    return BootstrapResult(ConfidenceInterval(*tails), found.T, error, log_policies)


def ends(found: Floats, estimate: Floats, error: Floats, tail: float, method: str) -> tuple[Floats, Floats]:
    """Both ends, (k,) each, from log-ratios of samples (R, k); ``tail``: the probability beyond each."""
    if method == "normal":
        from scipy.special import stdtrit

        reach = -stdtrit(len(found) - 1, tail) * error
        return estimate - reach, estimate + reach
    low, high = np.quantile(found, [tail, 1 - tail], axis=0, method="weibull")
    return (low, high) if method == "percentile" else (2 * estimate - high, 2 * estimate - low)


def _resampled(solution: Solution, count: int, rng: np.random.Generator) -> Floats:
    """log pi of each sample, (count, n)."""
    comparisons = comparisons_of(solution)
    weight, n = kinds(comparisons), comparisons.n
    size = round(float(weight.sum()))
    if size < 1:
        raise ValueError(f"solution must be of one comparison or more, got weights that sum to {weight.sum():g}")
    shares = weight / weight.sum()
    found, rows = np.empty((count, n)), TABLES // n**2 if n <= FEW else 1
    for start in range(0, count, rows):
        drawn = rng.multinomial(size, shares, min(rows, count - start)).astype(np.float64)
        found[start : start + rows] = _solved(solution, comparisons, wins(comparisons, drawn), start)
    return found


def _solved(solution: Solution, comparisons: Comparisons, drawn: Floats, start: int) -> Floats:
    """log pi (R, n) from weights (R, E) of the ordered pairs."""
    winner, loser, reference, n = comparisons.winner, comparisons.loser, comparisons.reference, comparisons.n
    if n <= FEW:
        counts = np.zeros((len(drawn), n, n))
        counts[:, winner, loser] = drawn
        optima = solve(solution.objective, Bandit.from_counts(np.tile(reference, (len(drawn), 1)), counts))
    else:
        optima = solve(solution.objective, Comparisons(winner, loser, drawn[0], reference=reference))
    log_policy, status = np.atleast_2d(optima.log_policy), np.atleast_1d(np.asarray(optima.status))
    lacking: Indices = np.flatnonzero(status != Status.OPTIMAL)
    if len(lacking):
        raise ValueError(
            f"solution's loss, {type(solution.objective).__name__}, has no single optimum that is proven on resample "
            f"{start + int(lacking[0])} ({status[lacking[0]]}); EXPO has one on all data"
        )
    return log_policy
