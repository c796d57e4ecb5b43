"""`solve` on comparisons: what hangs together, Newton's method on all of it at once, and its error bound."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..._types import Floats
from ...bandit.paired import Comparisons
from ...divergences import kl_terms
from ...losses.base import Objective, PairObjective
from ..certificate import UNIT
from ..derivatives import pair_value
from ..found import HIDDEN
from ..methods.newton import start
from ..solution import Certificate, Solution, Status
from ..values import INFINITE
from .certificate import Certified, certify
from .graph import Graph
from .newton import Solver, newton
from .problem import System, Wins, problem_of
from .structure import Pieces, describe, inside, pieces_of

POLISHES = 6
"""Further steps at most that a bound is tried to be made smaller by."""
FEW = 200
"""Responses up to which a table of all pairs is asked where nothing is proven."""
ENOUGH = 2.0
"""A bound of so many times what rounding alone leaves is small enough."""


def solve_comparisons(objective: Objective, comparisons: Comparisons) -> Solution:
    """The exact optimum of a convex loss of log-ratios on comparisons; see `expo_analysis.solve`."""
    if not isinstance(objective, PairObjective) or objective.single or objective.data:
        raise ValueError(
            "objective must be a loss of pairs that reads nothing but log-probabilities, on Comparisons, such as "
            f"BradleyTerry, DPO, IPO or EXPO; got {type(objective).__name__}"
        )
    wins, reference = Wins.of(comparisons), comparisons.reference
    problem = problem_of(objective, reference, wins, True)
    pieces = pieces_of(problem.facts, problem.edges, problem.weight[:, 0], wins, reference)
    # a response that is alone in its piece has the piece's mass, and is no part of any system
    joined = np.bincount(pieces.piece[pieces.piece >= 0]) > 1
    kept = np.flatnonzero((pieces.piece >= 0) & joined[pieces.piece])
    log_policy = np.full(comparisons.n, -np.inf)
    alone = np.flatnonzero((pieces.piece >= 0) & ~joined[pieces.piece])
    log_policy[alone] = np.log(pieces.mass[pieces.piece[alone]])
    found = _Found(np.zeros(0), np.zeros(0), 0.0, 0, True, 0.0)
    if len(kept):
        place = np.full(comparisons.n, -1)
        place[kept] = np.arange(len(kept))
        own = wins.among(place, inside(pieces.piece, wins))
        if own is not wins:
            problem = problem_of(objective, reference[kept], own, len(kept) == comparisons.n)
        number = np.cumsum(joined) - 1
        graph = Graph(own.high, own.low, number[pieces.piece[kept]], int(joined.sum()))
        found = _solved(System(problem, graph, reference[kept], pieces.mass[joined]))
        log_policy[kept] = found.log_policy
    bound = found.bound + 4 * UNIT * float(np.exp(log_policy[alone]).sum())
    solution = _solution(objective, comparisons, pieces, log_policy, found, bound)
    if solution.status in (Status.BEST_FOUND, Status.FAILED) and comparisons.n <= FEW:
        return _from_table(solution, comparisons)
    return solution


def _from_table(solution: Solution, comparisons: Comparisons) -> Solution:
    """What a table of all pairs proves, by elimination, where conjugate gradients could not; else the solution."""
    from ..solve import solve  # which comes here for comparisons

    dense = solve(solution.objective, comparisons.bandit())
    return replace(dense, bandit=comparisons) if dense.status == Status.OPTIMAL else solution


def system_of_all(objective: PairObjective, comparisons: Comparisons, apart: bool = False) -> System | None:
    """The system of all responses; None where they do not make one piece.

    Args:
        apart: whether there may be several where forward KL holds the mass of each.
    """
    wins, reference = Wins.of(comparisons), comparisons.reference
    problem = problem_of(objective, reference, wins, True)
    pieces = pieces_of(problem.facts, problem.edges, problem.weight[:, 0], wins, reference)
    if len(pieces.lost) or (len(pieces.mass) > 1 and not (apart and pieces.held)):
        return None
    return System(problem, Graph(wins.high, wins.low, pieces.piece, len(pieces.mass)), reference, pieces.mass)


@dataclass(frozen=True, eq=False)
class _Found:
    """Scores and log pi of all that is in a system, a bound on the 1-norm error of its policies, and how it went."""

    x: Floats
    log_policy: Floats
    bound: float
    steps: int
    converged: bool
    value: float


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # where there is no minimum, steps run away
def _solved(system: System) -> _Found:
    solver = Solver(system)
    x, steps, converged = newton(solver, start(system.problem)[:, 0])
    x, certified, more = _polished(solver, x)
    logits = x if system.problem.link is None else x + system.problem.log_reference[:, 0]
    policy, log_policy = system.policy(logits)
    blur = system.policy_rounding(logits, log_policy)
    if system.problem.link is not None:
        blur = blur + 2 * UNIT * (np.abs(x) + np.abs(system.problem.log_reference[:, 0]))
    moved = 2 * float((policy * blur).sum())
    bound = float((system.mass * 2 * np.tanh(certified.radius / 4)).sum()) + moved
    value = float(pair_value(system.problem, x[:, None])[0])
    return _Found(x, log_policy, bound if bound < 2 else np.nan, steps + more, converged, value)


def _polished(solver: Solver, x: Floats) -> tuple[Floats, Certified, int]:
    """Steps from x whose gradient is summed exactly, as long as they make the bound smaller."""
    graph = solver.system.graph
    x = graph.centred(x)
    best = certify(solver, x)
    for step in range(POLISHES):
        open_ = ~(best.radius <= ENOUGH * best.floor)
        if not open_.any() or np.isnan(best.floor).all():
            return x, best, step
        solver.long |= step > 0  # diagonals alone do not see what flows through a thread
        there = graph.centred(x + np.where(graph.spread(open_), best.step, 0.0))
        again = certify(solver, there)
        better = again.radius < best.radius
        better |= np.isnan(best.radius) & np.isfinite(again.radius)
        if not better.any():
            return x, best, step + 1
        at = graph.spread(better)
        x = np.where(at, there, x)
        best = Certified(
            np.where(better, again.radius, best.radius),
            np.where(better, again.floor, best.floor),
            np.where(at, again.step, best.step),
        )
    return x, best, POLISHES


def _solution(
    objective: PairObjective,
    comparisons: Comparisons,
    pieces: Pieces,
    log_policy: Floats,
    found: _Found,
    bound: float,
) -> Solution:
    status, message = describe(pieces, comparisons.responses)
    certificate = Certificate.ERROR_BOUND if status == Status.OPTIMAL else Certificate.THEOREM
    value = found.value
    if pieces.held:
        value += objective.lam * float(kl_terms(np.log(comparisons.reference), log_policy).sum())
    if status == Status.NO_MINIMISER:
        bound = value = np.nan
    elif not np.isfinite(value):
        status, certificate, message, bound, value = Status.FAILED, Certificate.NONE, INFINITE, np.nan, np.nan
    elif np.isnan(bound):
        status, certificate, message = _without_bound(pieces, found, message)
    return Solution(
        objective, comparisons, np.exp(log_policy), log_policy, value, status, message, bound, found.steps, certificate
    )


def _without_bound(pieces: Pieces, found: _Found, message: str) -> tuple[Status, Certificate, str]:
    before = "" if message == "the minimiser" else f"{message}; "
    if pieces.assumed:
        said = "no error bound proves that there is a minimiser; comparisons.bandit() can be asked by linear programs"
        return Status.FAILED, Certificate.NONE, before + said
    if found.converged:
        return Status.BEST_FOUND, Certificate.CONDITIONS, before + HIDDEN
    return Status.FAILED, Certificate.NONE, f"{before}Newton's method ran out of steps; the policy is its last iterate"
