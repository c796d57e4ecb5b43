r"""How sure estimated log-ratios are: covariances of what `solve` finds on comparisons that are a sample.

A minimiser x of sum_e w_e psi_e(x_w - x_l), beside a regulariser or not, of N comparisons drawn independently is
asymptotically normal around what it estimates, with the covariance (Huber 1967, White 1982)

    H^+ J H^+ / N,    J = sum_e w_e psi'_e^2 (e_w - e_l)(e_w - e_l)' - g g',    g = sum_e w_e psi'_e (e_w - e_l),

the w_e summing to one; g is 0 without a regulariser. Of a likelihood whose model is true J is its own Hessian, so that
without a regulariser this is H^+/N, of which log-ratios have the effective resistances as their variances.

Where responses fall into components that never met, lam KL(pi_ref || pi) holds the mass of each at the reference's,
whatever the data, and leaves the rest to each alone: H is that of x within components, and by

    d log pi_i = d x_i - sum_{j in C} (pi_j/pi(C)) d x_j,    i in C,

a log-ratio between components varies by what each knows of its own shares; one between two responses that nobody met
does not vary at all, as the reference states it. This is H^+ J H^+/N of all logits together, too. [ours]
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_option
from .._types import Floats, Indices
from ..bandit import Bandit
from ..bandit.labels import Labels
from ..bandit.paired import Comparisons
from ..losses.base import PairObjective
from ..losses.psi import Logistic
from ..losses.statistics import is_number
from .problem import Problem
from .sparse.newton import Solver
from .sparse.problem import Local, System
from .sparse.solve import system_of_all

if TYPE_CHECKING:
    from .solution import Solution

KINDS = ("sandwich", "model")
DENSE = 2_000
"""Responses up to which the Hessian is inverted as a matrix."""
TOLERANCE = 1e-10


def covariance(
    solution: Solution,
    responses: Iterable[Hashable] | None = None,
    against: Hashable | None = None,
    kind: str = "sandwich",
) -> Floats:
    """The covariances (k, k) of log pi_i/pi_0 of the k ``responses``; see `Solution.covariance`."""
    check_option("kind", kind, KINDS)
    comparisons = comparisons_of(solution)
    chosen, base = _places(comparisons, responses, against)
    objective = solution.objective
    assert isinstance(objective, PairObjective)
    system = system_of_all(objective, comparisons, apart=True)
    if system is None or solution.status != "optimal":
        raise ValueError(
            "solution must be the one optimum of responses that all hang together, or of any beside lam KL(pi_ref || "
            f"pi); it is {solution.status}: {solution.message}"
        )
    if kind == "model" and not is_likelihood(system.problem):
        raise ValueError(f"kind 'model' is for likelihoods, such as BradleyTerry, not for {type(objective).__name__}")
    x = solution.log_policy
    if system.problem.link is not None:
        x = x - system.problem.log_reference[:, 0]
    local = system.at(x)
    rows = _inverse_rows(system, local, chosen, base)
    spread, mean = _scores(system, local, x, kind)
    if kind == "sandwich" and comparisons.tied is not None:
        spread = spread - _of_halves(system, comparisons, x)
    product = system.graph.laplacian(spread)[1]
    found = rows @ np.stack([product(row) for row in rows]).T
    pulled = rows @ mean
    return np.asarray((found - np.outer(pulled, pulled)) / comparisons.weight.sum())


def log_ratios(
    solution: Solution, log_policy: Floats, responses: Iterable[Hashable] | None, against: Hashable | None
) -> Floats:
    """log pi_i/pi_0 (..., k) of policies (..., n), of what `covariance` has the covariances."""
    chosen, base = _places(comparisons_of(solution), responses, against)
    zero = log_policy.mean(axis=-1) if base is None else log_policy[..., base]
    return np.asarray(log_policy[..., chosen] - zero[..., None])


def _places(
    comparisons: Comparisons, responses: Iterable[Hashable] | None, against: Hashable | None
) -> tuple[Indices, int | None]:
    n, names = comparisons.n, comparisons.responses
    chosen = range(n) if responses is None else [_position(r, names, n) for r in responses]
    return np.array(chosen, dtype=np.intp), None if against is None else _position(against, names, n)


def comparisons_of(solution: Solution) -> Comparisons:
    """The comparisons that a solution is of; a `Bandit` of counts has some.

    Raises:
        ValueError: its data are no counts of pairs on one prompt.
    """
    bandit = solution.bandit
    if isinstance(bandit, Comparisons):
        return bandit
    counted = isinstance(bandit, Bandit) and bandit.counts is not None and bandit.liked is None
    if not counted or bandit.prompts is not None or bandit.triples is not None or bandit.choices is not None:
        raise ValueError("solution must be of Comparisons, or of a Bandit of counts of pairs on one prompt")
    counts: Any = bandit.counts
    if (ties := bandit.ties) is not None:
        counts = counts - ties / 2
    return Comparisons.from_counts(counts, ties=ties, reference=bandit.reference, responses=bandit.responses)


def _position(response: Hashable, names: Labels | None, n: int) -> int:
    if names is not None:
        if response in names:
            return names.index(response)
    elif isinstance(response, (int, np.integer)) and 0 <= response < n:
        return int(response)
    known = f"a position from 0 to {n - 1}" if names is None else "one of the names of responses"
    raise ValueError(f"responses and against must be {known}, got {response!r}")


def is_likelihood(problem: Problem) -> bool:
    """Whether the pair parts are the likelihood of Bradley and Terry, or of log-ratios times a number."""
    return all(
        type(part.psi) is Logistic and is_number(part.psi.flipped, 0) and is_number(part.psi.kept, 1)
        for part in problem.pair_parts()
    )


def _inverse_rows(system: System, local: Local, chosen: Indices, base: int | None) -> Floats:
    """H^+ (e_i - e_base), or H^+ (e_i - 1/n) where there is no base, (k, n)."""
    n = system.graph.n
    contrasts = np.zeros((len(chosen), n))
    contrasts[np.arange(len(chosen)), chosen] = 1.0
    contrasts -= 1 / n if base is None else np.eye(1, n, base)
    if system.graph.count > 1:
        contrasts = _within(system, local, contrasts)
    solver = Solver(system)
    if n > DENSE:
        return np.stack([solver.solve(local, row, TOLERANCE) for row in contrasts])
    diagonal, product = solver.hessian(local)
    hessian = np.stack([product(row) for row in np.eye(n)])
    # what a shift of each piece adds makes it regular, and changes nothing of rows that sum to 0 on each
    piece = system.graph.piece
    together = (piece[:, None] == piece) / np.bincount(piece)[piece]
    return np.linalg.solve(hessian + diagonal.mean() * together, contrasts.T).T


def _within(system: System, local: Local, contrasts: Floats) -> Floats:
    """Contrasts (k, n) of log pi as those of logits, where each piece keeps its mass."""
    share = local.policy / system.graph.spread(system.mass)
    return np.stack([row - share * system.graph.spread(system.graph.totals(row)) for row in contrasts])


def _scores(system: System, local: Local, x: Floats, kind: str) -> tuple[Floats, Floats]:
    """J, as weights of pairs (P,), and g (n,)."""
    if kind == "model":
        return local.curvature, np.zeros(system.graph.n)
    problem = system.problem
    found = problem.edges.to_pair @ (problem.weight * _slopes(system, x) ** 2)
    return found[:, 0], system.graph.inflow(local.slope)


def _slopes(system: System, x: Floats) -> Floats:
    """psi' of each win, in log pi_winner - log pi_loser, (E, 1)."""
    problem = system.problem
    edges = problem.edges
    slope = np.zeros_like(problem.weight)
    for part in problem.pair_parts():
        at = problem.at(x[:, None], part.relative)
        first, _ = problem.of_psi(part.psi, part.place, part.margin(at[edges.winner] - at[edges.loser]))
        slope = slope + part.weight * part.slope * first
    return np.asarray(slope / problem.weight)


def _of_halves(system: System, comparisons: Comparisons, x: Floats) -> Floats:
    """By how much J is smaller, (P,), as a tie is one comparison and not two halves of one.

    A tie's slope is the mean of a win's and a loss's, d1 and -d2, and its square (d1 - d2)^2/4; two halves have
    (d1^2 + d2^2)/2, which is (d1 + d2)^2/4 more.
    """
    assert comparisons.tied is not None
    edges, n = system.problem.edges, comparisons.n
    high, low = edges.pairs
    up = comparisons.winner > comparisons.loser
    keys = comparisons.winner[up] * n + comparisons.loser[up]
    halves = np.zeros(len(high))
    halves[np.searchsorted(high * n + low, keys)] = comparisons.tied[up]
    slopes = _slopes(system, x)
    both = (edges.upward @ slopes + edges.downward @ slopes)[:, 0]
    return np.asarray(halves / comparisons.weight.sum() * both**2 / 2)
