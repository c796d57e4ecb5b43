r"""The lambda of a loss, chosen on the data that it is minimised on.

**By cross-validation.** Comparisons are dealt into folds, a tie as the one comparison that it is; with the optimum pi_k
on all but fold k, the score of a lambda is what the comparisons left out make of it, -sum log sigma(log pi_k,w - log
pi_k,l), a proper scoring rule.

**By the marginal likelihood.** -log sigma(h) beside lam KL(pi_ref || pi), N comparisons: N times the loss is
-log (likelihood x prior) for the prior prod_i pi_i^(a_i) in the logits, a_i = N lam pi_ref,i, a Dirichlet distribution.
By Laplace's approximation, to the prior's constant too, so that no data give 0,

    log p(data | lam) = log-likelihood - a sum_i pi_ref,i log(pi_ref,i/pi_i) - (log det' H - log det' H_0)/2,

a = N lam, at the optimum pi, with H = sum_ij n_ij sigma' (e_i - e_j)(e_i - e_j)' + a (diag(pi) - pi pi'), H_0 its
second part at pi_ref, and det' the determinant across the shift. [ours; MacKay 1992 for the method]

What few comparisons tell of lambda is little, and the score is flat: the lambda returned is the mean of log lambda
under exp(-score) over those that were tried, which with many comparisons is where the score is least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_option, check_whole
from .._types import Floats
from ..bandit import Bandit
from ..bandit.paired import Comparisons
from ..losses.base import Objective, PairObjective
from ..numerics import softplus
from .laplacian import eliminate, pairs
from .solution import Solution
from .solve import solve, solve_path
from .ties import kinds, wins

METHODS = ("cross_validation", "marginal_likelihood")
STRENGTHS = np.geomspace(0.1, 100.0, 25)
"""Comparisons that the reference is worth for each response: the default lambdas of losses with a regulariser."""
INSIDE = np.geomspace(0.01, 100.0, 25)
"""The default lambdas of losses that have theirs inside."""


@dataclass(frozen=True, eq=False)
class LambdaChoice:
    """What `choose_lambda` found.

    lam: the choice. solution: the optimum there, on all data. lams: (L,), those that were tried. scores: (L,), lower is
    better: minus the log-likelihood of what was left out, or minus the log marginal likelihood, of all comparisons
    together; inf where an optimum gives 0 to what happened. weights: (L,), exp(-scores), normalised.
    """

    lam: float
    solution: Solution
    lams: Floats
    scores: Floats
    weights: Floats


def choose_lambda(
    objective: Objective,
    data: Bandit | Comparisons,
    lams: ArrayLike | None = None,
    method: str = "cross_validation",
    *,
    folds: int = 10,
    rng: Any = 0,
) -> LambdaChoice:
    """The lambda of a loss of pairs, chosen on win counts; one for all prompts.

    The choice is the mean of log lambda under weights exp(-score), which is between the best ones where few comparisons
    cannot tell them apart; see the module `expo_analysis.optima.choose` for the scores. How near it is to the best
    lambda in hindsight is measured in docs/howto/lambda.md.

    Args:
        objective: its own lam is not used.
        data: a `Bandit` of counts of pairs, or `Comparisons`.
        lams: (L,), positive, to choose from. By default, of losses beside a regulariser, those at which the reference
            is worth from 0.1 to 100 comparisons for each response, of others from 0.01 to 100; 25 of them.
        method: ``"cross_validation"``; or ``"marginal_likelihood"``, of `EXPO` alone, which solves each lambda once and
            needs a table of all pairs.
        folds: of the comparisons, at least 2.
        rng: a numpy Generator, or a seed of one, that deals comparisons into folds.

    Raises:
        ValueError: the data are no counts, naming the argument; or every lambda gives 0 to something that was left out,
            as optima of Bradley-Terry and DPO on folds in which somebody wins all.

    Example:
        >>> import expo_analysis as ea
        >>> games = ea.Comparisons([0, 0, 1, 1, 2, 0], [1, 2, 2, 0, 0, 1], [20, 25, 15, 10, 5, 10])
        >>> found = ea.choose_lambda(ea.EXPO(1.0), games)
        >>> bool(0.001 < found.lam < 1) and found.solution.status == "optimal"
        True
    """
    check_option("method", method, METHODS)
    check_whole("folds", folds, 2)
    counts = _counts_of(data)
    if not isinstance(objective, PairObjective):
        raise ValueError(f"objective must be a loss of pairs, got {type(objective).__name__}")
    if not (rng is None or isinstance(rng, (int, np.integer, np.random.Generator))):
        raise ValueError(f"rng must be a numpy Generator, a seed or None, got {rng!r:.80}")
    values = _lams(objective, data, counts) if lams is None else np.sort(as_floats("lams", lams))
    if values.ndim != 1 or not values.size or not ((values > 0) & (values < np.inf)).all():
        raise ValueError("lams must have shape (L,), with positive finite numbers")
    if method == "cross_validation":
        scores = _left_out(objective, data, values, folds, np.random.default_rng(rng))
    else:
        scores = -_log_evidence(objective, data.bandit() if isinstance(data, Comparisons) else data, values)
    if not np.isfinite(scores).any():
        raise ValueError(
            f"every one of lams gives probability 0 to what was left out: {type(objective).__name__} has no optimum "
            "where somebody wins all; EXPO has one"
        )
    weights = np.exp(scores.min() - scores)
    weights /= weights.sum()
    lam = float(np.exp(weights @ np.log(values)))
    return LambdaChoice(lam, solve(objective.with_lam(lam), data), values, scores, weights)


def _counts_of(data: Any) -> Floats:
    """The number of comparisons of each prompt, (prompts,)."""
    if isinstance(data, Comparisons):
        return np.array([data.weight.sum()])
    if not isinstance(data, Bandit):
        raise TypeError(f"data must be a Bandit or Comparisons, got {type(data).__name__}")
    if data.counts is None or data.liked is not None or data.triples is not None or data.choices is not None:
        raise ValueError("data must be counts of pairs, as Bandit.from_counts or Comparisons have them")
    return np.atleast_1d(data.counts.sum(axis=(-1, -2)))


def _lams(objective: PairObjective, data: Bandit | Comparisons, counts: Floats) -> Floats:
    inside = objective.facts.regulariser is None
    return INSIDE if inside else STRENGTHS * data.n / counts.mean()


# ----------------------------------------------------------------------------------------------------- what is left out


def _left_out(
    objective: PairObjective, data: Bandit | Comparisons, lams: Floats, folds: int, rng: np.random.Generator
) -> Floats:
    """-log likelihood of each fold at the optimum on the others, (L,)."""
    if isinstance(data, Comparisons):
        total = np.zeros(len(lams))
        for held in _held(data, folds, rng):
            left = np.maximum(data.weight - held, 0.0)  # a fraction may round below
            rest = Comparisons(data.winner, data.loser, left, reference=data.reference)
            log_policies = solve_path(objective, rest, lams).log_policies
            total += _surprise(log_policies[:, data.winner], log_policies[:, data.loser], held)
        return total
    assert data.counts is not None
    n, reference = data.n, np.atleast_2d(data.reference)
    counts = data.counts.reshape(-1, n, n)
    held = _held(data, folds, rng)  # (folds, prompts, n, n)
    others = Bandit.from_counts(np.tile(reference, (folds, 1)), np.maximum(counts - held, 0.0).reshape(-1, n, n))
    path = solve_path(objective, others, lams)
    log_policies = path.log_policies.reshape(len(lams), -1, n)
    high, low = np.nonzero(~np.eye(n, dtype=bool))
    weights = held.reshape(-1, n, n)[:, high, low]
    return np.array([_surprise(one[:, high], one[:, low], weights) for one in log_policies])


def _held(data: Bandit | Comparisons, folds: int, rng: np.random.Generator) -> Floats:
    """What each fold holds of the wins, (folds, pairs) or (folds, prompts, n, n); both halves of a tie are in one."""
    if isinstance(data, Comparisons):
        return wins(data, _dealt(kinds(data), folds, rng))
    counts: Any = data.counts
    counts = counts.reshape(-1, data.n, data.n)
    if data.ties is None:
        return _dealt(counts, folds, rng)
    ties = data.ties.reshape(counts.shape)
    held, tied = (_dealt(x, folds, rng) for x in (counts - ties / 2, np.triu(ties)))
    return held + (tied + np.swapaxes(tied, -1, -2)) / 2


def _dealt(counts: Floats, folds: int, rng: np.random.Generator) -> Floats:
    """Counts (...) in folds, (folds, ...): whole comparisons at random; what is left of one is in one of them."""
    whole = np.floor(counts)
    found = np.moveaxis(rng.multinomial(whole.astype(np.int64), np.full(folds, 1 / folds)), -1, 0).astype(np.float64)
    at = rng.integers(0, folds, counts.shape)
    return found + np.where(at == np.arange(folds).reshape(-1, *[1] * counts.ndim), counts - whole, 0.0)


def _surprise(winner: Floats, loser: Floats, weight: Floats) -> Any:
    """-sum weight log sigma(log pi_w - log pi_l), over all but the first axis where there are several lambdas."""
    with np.errstate(invalid="ignore"):
        lost = softplus(np.where(np.isneginf(winner), np.inf, loser - winner))
        terms = np.where(weight > 0, weight * lost, 0.0)
    return terms.sum(axis=-1) if weight.ndim == 1 else terms.sum()


# -------------------------------------------------------------------------------------------------- marginal likelihood


def _log_evidence(objective: PairObjective, data: Bandit, lams: Floats) -> Floats:
    """log p(data | lam), (L,), all prompts together."""
    path = solve_path(objective, data, lams)
    assert data.counts is not None
    counts, (high, low) = data.counts.reshape(-1, data.n, data.n), pairs(data.n)
    reference = np.atleast_2d(data.reference)
    log_policy = path.log_policies.reshape(len(lams), *reference.shape)
    strength = lams[:, None] * counts.sum(axis=(-1, -2))
    prior = strength * (reference * (log_policy - np.log(reference))).sum(axis=2)
    margin = log_policy[..., high] - log_policy[..., low]
    won, lost = counts[..., high, low], counts[..., low, high]
    likelihood = -(won * softplus(-margin) + lost * softplus(margin)).sum(axis=2)
    policy, seen = np.exp(log_policy), strength > 0  # a prompt without comparisons says nothing
    values = path.value.reshape(seen.shape) * counts.sum(axis=(-1, -2))
    if not np.allclose(values, -(likelihood + prior), rtol=1e-6, atol=1e-9):
        raise ValueError(f"method 'marginal_likelihood' is for EXPO, not for {type(objective).__name__}")
    bend = (won + lost) * np.exp(-softplus(margin) - softplus(-margin))
    held = strength[..., None] * policy[..., high] * policy[..., low]
    before = strength[..., None] * reference[..., high] * reference[..., low]
    volume = _log_determinant(bend + held, seen) - _log_determinant(before, seen)
    return np.where(seen, likelihood + prior - volume / 2, 0.0).sum(axis=1)


def _log_determinant(weights: Floats, seen: Any) -> Floats:
    """log det' of the Laplacians of ``weights`` (..., pairs), but for a constant."""
    flat = np.where(seen[..., None], weights, 1.0).reshape(-1, weights.shape[-1])
    pivots = eliminate(np.ascontiguousarray(flat.T)).pivots[1:]
    return np.log(pivots).sum(axis=0).reshape(weights.shape[:-1])
