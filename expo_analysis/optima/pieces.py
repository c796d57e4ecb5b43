"""One connected piece of a problem: which solver it gets, and what that solver proves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bandit import Bandit
from ..divergences import ChiSquare, ForwardKL
from ..losses import (
    DPO,
    DPOP,
    EXPO,
    IPO,
    RLHF,
    ExplicitPO,
    Objective,
    PairObjective,
    QuasiconvexObjective,
    RegressionEXPO,
    SLiC,
)
from ..losses.base import has_formula_of
from .certificate import last_step, logit_error, policy_error, regression_logit_error
from .closed_forms import bradley_terry_scores, from_scores, ipo_scores, score_problem, two_responses
from .dpop import KinkedProblem, dpop_optimum
from .likelihood import has_likelihood, likelihood_policy_error
from .linear import linear_optimum
from .multistart import VANISHED, LocalMinima, multistart
from .newton import newton
from .problem import Edges, Problem, expand, log_softmax, value
from .smoothing import smoothed_optimum

Floats = NDArray[np.float64]
METHODS = ("auto", "closed_form", "newton", "multistart")


@dataclass(frozen=True)
class Piece:
    """A batch of problems on k responses of a bandit, conditional on them; the batch is the last axis.

    responses: (k, B), the responses in the order that each problem has them: those compared most come first, because
    rounding errors gather at the first (see `laplacian`), where they do the least harm.
    objective: its ``lam`` has shape (B,).
    problem: its pairs; those of the reward model for RLHF on counts, None for RLHF on a population.
    log_reference, optimal: (k, B), normalised over the piece; no optimal for counts.
    """

    responses: NDArray[np.intp]
    objective: Objective
    problem: Problem | None
    log_reference: Floats
    optimal: Floats | None

    @classmethod
    def cut(
        cls,
        objective: Objective,
        bandit: Bandit,
        responses: Any,
        prompt: NDArray[np.intp],
        lam: Floats,
        mass: Floats,
    ) -> Piece:
        """The piece with these ``responses`` at (prompt, lam) pairs of shape (B,), whose mass under pi is ``mass``."""
        members = np.asarray(responses)
        n, k, objective = bandit.n, len(members), objective.with_lam(lam)
        run = slice(prompt[0], prompt[0] + len(prompt))
        rows = run if np.array_equal(prompt, np.arange(run.start, run.stop)) else prompt  # a slice copies nothing

        def inside(pairwise: Floats) -> Floats:
            taken = np.moveaxis(pairwise.reshape(-1, n, n)[rows], 0, -1)
            return taken if k == n else taken[np.ix_(members, members)]

        wins, degree = inside(bandit.wins), inside(bandit.pairs).sum(axis=1)
        labels = members
        if (degree[:-1] < degree[1:]).any():
            order = np.argsort(-degree, axis=0, kind="stable")
            wins = np.take_along_axis(np.take_along_axis(wins, order[:, None], 0), order[None], 1)
            labels = members[order]

        def conditional(policy: Floats) -> Floats:
            own = policy.reshape(-1, n)[rows].T
            own = own[labels] if labels.ndim == 1 else np.take_along_axis(own, labels, 0)
            return np.asarray(own / own.sum(axis=0))

        placed = np.broadcast_to(labels[:, None] if labels.ndim == 1 else labels, degree.shape)
        log_reference = np.log(conditional(bandit.reference))
        optimal = None if bandit.optimal is None else conditional(bandit.optimal)
        pair_objective = objective if isinstance(objective, PairObjective) else DPO(lam)
        if pair_objective is not objective and optimal is not None:
            return cls(placed, objective, None, log_reference, optimal)
        edges = Edges.of(np.asarray((wins > 0).any(axis=-1)))
        problem = Problem(pair_objective, edges, wins[edges.winner, edges.loser], log_reference, lam * mass)
        return cls(placed, objective, problem, log_reference, optimal)

    def take(self, columns: NDArray[Any]) -> Piece:
        """The problems at these positions of the batch (indices or a mask)."""
        columns = np.arange(len(self.objective.lam))[columns]
        return Piece(
            self.responses.take(columns, axis=1),
            self.objective.with_lam(self.objective.lam[columns]),
            None if self.problem is None else self.problem.take(columns),
            self.log_reference.take(columns, axis=1),
            None if self.optimal is None else self.optimal.take(columns, axis=1),
        )


@dataclass(frozen=True)
class PieceResult:
    """log_policy (k, B), 1-norm error bound (B,), steps (B,), status and message (B,).

    reward: the one that RLHF fits. value: the objective, where the solver had all at hand that it takes.
    """

    log_policy: Floats
    bound: Floats
    steps: NDArray[np.intp]
    status: NDArray[Any]
    message: NDArray[Any]
    reward: Floats | None = None
    value: Floats | None = None


def solve_piece(piece: Piece, method: str) -> PieceResult:
    """Solve a piece by the first method that applies, or by the one that is named."""
    objective, problem = piece.objective, piece.problem
    if method in ("auto", "closed_form"):
        result = _by_scores(piece, method)
        if result is None and problem is not None:
            result = _by_two_responses(problem)
        if result is not None:
            return result
        if method == "closed_form":
            raise ValueError(
                f"method 'closed_form' is not available for {type(objective).__name__} on this bandit; use 'auto'"
            )
    if problem is None or isinstance(objective, RLHF):
        raise ValueError("method must be 'auto' or 'closed_form' for RLHF")
    if has_formula_of(objective, SLiC) and method == "auto":
        return _by_smoothing(piece, problem, objective)
    if has_formula_of(objective, DPOP) and method == "auto":
        return _by_conditions(piece, problem, objective)
    claims = problem.objective.claims
    if claims.convex and claims.self_concordance is not None and method in ("auto", "newton"):
        return _by_newton(piece, problem)
    if method == "newton":
        raise ValueError(
            f"method 'newton' needs convexity in the logits and a self_concordance, which {type(objective).__name__} "
            "does not claim"
        )
    return _by_multistart(piece, problem)


# ---------------------------------------------------------------------------------------------- closed forms


def _by_scores(piece: Piece, method: str) -> PieceResult | None:
    """RLHF and the QPO family: scores mu(u) first, then the policy that has them."""
    objective, problem = piece.objective, piece.problem
    lam = objective.lam
    psi: QuasiconvexObjective
    if isinstance(objective, RLHF):
        link, psi = objective.regulariser, DPO(lam)
    elif isinstance(objective, QuasiconvexObjective):
        link, psi = objective.link, objective
    else:
        return None
    steps = np.zeros(len(lam), dtype=np.intp)
    converged = np.ones(len(lam), dtype=bool)
    if psi.bradley_terry_margin and piece.optimal is not None:
        scores, error = bradley_terry_scores(piece.optimal, lam)
    else:
        assert problem is not None
        in_scores = score_problem(problem, psi)
        if has_formula_of(psi, IPO):
            scores = ipo_scores(problem)
            error = logit_error(in_scores, scores)
        elif psi.linear_pieces is not None and method == "auto":
            return _by_linear_program(piece, problem, psi)
        elif psi.psi_self_concordance is None or (method == "closed_form" and not psi.bradley_terry_margin):
            return None
        else:
            scores, steps, converged = newton(in_scores, np.zeros_like(piece.log_reference))
            (scores, error), steps = last_step(in_scores, scores), steps + 1
    log_policy, bound = from_scores(link, piece.log_reference, scores, error)
    result = _judged(log_policy, bound, steps, converged)
    on_boundary = np.any(np.isneginf(log_policy), axis=0)
    if isinstance(objective, RLHF):
        for column in np.flatnonzero(on_boundary):
            zero = _named(piece, np.isneginf(log_policy), column)
            result.message[column] = f"the minimiser, on the boundary: responses {zero} have probability 0"
        return dataclasses.replace(result, reward=scores * lam)
    if on_boundary.any():  # no policy has these scores: the closed form does not apply
        assert problem is not None
        return _merge(result, _by_multistart(piece.take(on_boundary), problem.take(on_boundary)), on_boundary)
    return result


def _by_linear_program(piece: Piece, problem: Problem, psi: QuasiconvexObjective) -> PieceResult:
    """Losses that are piecewise linear in the margins; no error bound is proven."""
    found = linear_optimum(problem, psi)
    log_policy, _ = from_scores(psi.link, piece.log_reference, found.scores, np.zeros(problem.size))
    nothing = np.zeros(problem.size, dtype=np.intp)
    result = _judged(log_policy, np.zeros(problem.size), nothing, found.solved)
    result.bound[:] = np.nan
    for b in range(problem.size):
        if not found.solved[b]:
            result.status[b], result.message[b] = "failed", "the linear program of the scores was not solved"
        elif len(found.groups[b]) > 1:
            groups = sorted(sorted(piece.responses[list(group), b].tolist()) for group in found.groups[b])
            names = ", ".join(map(str, groups))
            how = "some of them without bound" if found.unbounded[b] else "within bounds"
            result.status[b] = "not_unique"
            result.message[b] = (
                f"the loss is least for many policies: between responses {names} the log-ratios are open, {how}; the "
                "policy returned is the one whose scores are nearest to the reference's"
            )
        else:
            result.message[b] = ""
    on_boundary = np.any(np.isneginf(log_policy), axis=0)
    if on_boundary.any():  # no policy has these scores
        return _merge(result, _by_multistart(piece.take(on_boundary), problem.take(on_boundary)), on_boundary)
    return result


def _by_two_responses(problem: Problem) -> PieceResult | None:
    objective = problem.objective
    regression = has_formula_of(objective, RegressionEXPO)
    if problem.n != 2 or not (regression or _is_expo(objective)):
        return None
    wins = problem.edges.to_winner @ problem.weight
    # the regression form's pull is lam itself, whatever the piece's mass
    pull = objective.lam if regression else problem.strength
    log_policy, bound = two_responses(wins, np.exp(problem.log_reference), pull, regression)
    return _judged(log_policy, bound, np.zeros(problem.size, dtype=np.intp), np.ones(problem.size, dtype=bool))


def _is_expo(objective: PairObjective) -> bool:
    known = has_formula_of(objective, EXPO) or has_formula_of(objective, ExplicitPO)
    return known and type(objective.regulariser) is ForwardKL


# ---------------------------------------------------------------------------------------------- iterations


def _by_newton(piece: Piece, problem: Problem) -> PieceResult:
    theta, steps, converged = newton(problem, _start(piece, problem))
    (theta, r), steps = last_step(problem, theta), steps + 1
    log_policy = log_softmax(theta)
    with_likelihood = has_likelihood(problem)
    bound = likelihood_policy_error(problem, theta) if with_likelihood else policy_error(np.exp(log_policy), r)
    result = _judged(log_policy, bound, steps, converged)
    vanished = (log_policy < np.log(VANISHED)).any(axis=0)
    astray = (result.status == "failed") | (np.isnan(result.bound) & vanished)  # it may have no minimiser
    if not (problem.objective.claims.log_ratio_only or with_likelihood):  # whose rounding was analysed
        found = result.status == "optimal"
        result.bound[:] = np.nan
        result.message[found] = "the minimiser, as the objective is convex; no error bound is known for it"
    if astray.any():  # many starts can at least tell where the iterates are going
        return _merge(result, _by_multistart(piece.take(astray), problem.take(astray)), astray)
    return result if problem.logistic is None else dataclasses.replace(result, value=value(problem, theta))


def _by_smoothing(piece: Piece, problem: Problem, objective: SLiC) -> PieceResult:
    theta, bound, steps = smoothed_optimum(problem, objective.margin, piece.log_reference)
    return _judged(log_softmax(theta), bound, steps, np.zeros(problem.size, dtype=bool))


def _by_conditions(piece: Piece, problem: Problem, objective: DPOP) -> PieceResult:
    """DPOP, one problem after the other: no error bound is proven, but that the conditions for a minimum hold."""
    log_policy = np.empty_like(piece.log_reference)
    status, message = (np.full(problem.size, "", dtype=object) for _ in range(2))
    for b in range(problem.size):
        reference = np.exp(piece.log_reference[:, b])
        one = KinkedProblem(problem.edges, problem.weight[:, b], float(objective.lam[b]), objective.penalty, reference)
        found = dpop_optimum(one)
        log_policy[:, b] = log_softmax((piece.log_reference[:, b] + found.x)[:, None])[:, 0]
        if found.optimal:
            status[b], message[b] = "optimal", "the minimiser: the objective is convex and its conditions hold"
            if not found.unique:
                message[b] = "a minimiser: the objective is convex and its conditions hold; there may be others"
        elif found.vanishing.any():
            gone = _named(piece, np.broadcast_to(found.vanishing[:, None], piece.responses.shape), b)
            if found.provably:
                status[b] = "no_minimiser"
                message[b] = (
                    f"no minimiser: responses {gone} never win, so the loss falls as their probability tends to 0"
                )
            elif one.strongly_connected:
                status[b] = "failed"
                message[b] = f"the probability of responses {gone} at the minimiser is too small for a float"
            else:
                status[b] = "no_minimiser"
                message[b] = (
                    f"no minimiser was reached: the loss falls as the probability of responses {gone} tends to 0 (not "
                    "proven)"
                )
        else:
            status[b], message[b] = "failed", "no point was found at which the conditions for a minimum hold"
    nothing = np.full(problem.size, np.nan)
    return PieceResult(log_policy, nothing, np.zeros(problem.size, dtype=np.intp), status, message)


def _start(piece: Piece, problem: Problem) -> Floats:
    """log((pi* + lam pi_ref) / (1 + lam)) where the preferences do not refer to pi_ref, else log pi_ref.

    Losses without any reference start at 0, where no pair is decided and their curvature is largest.
    """
    objective = problem.objective
    if objective.claims.needs_reference and not isinstance(objective, RegressionEXPO):
        return piece.log_reference
    if not objective.claims.needs_reference and objective.regulariser is None:
        return np.zeros_like(piece.log_reference)
    lam = objective.lam
    return np.log((_preferred(piece, problem) + lam * problem.reference) / (1 + lam))


def _preferred(piece: Piece, problem: Problem) -> Floats:
    """pi*, or for counts a rough guess at it: the share of wins, mixed with the reference."""
    if piece.optimal is not None:
        return piece.optimal
    wins = problem.edges.to_winner @ problem.weight
    total = wins.sum(axis=0)
    return (wins / np.where(total > 0, total, 1.0) + problem.reference) / 2


def _by_multistart(piece: Piece, problem: Problem) -> PieceResult:
    guesses = [np.log(_preferred(piece, problem)), _start(piece, problem)]
    found = multistart(problem, guesses)
    log_policy = log_softmax(found.theta)
    status, message = _texts("optimal", problem.size), _texts("", problem.size)
    for b in range(problem.size):
        vanished = _named(piece, log_policy < np.log(VANISHED), b)
        status[b], message[b] = _local_verdict(problem, found, vanished, b)
    exact = status == "optimal"
    boundary = exact & ~found.converged
    log_policy[:, boundary] = np.where(log_policy[:, boundary] < np.log(VANISHED), -np.inf, log_policy[:, boundary])
    bound = np.full(problem.size, np.nan)
    objective = problem.objective
    if has_formula_of(objective, RegressionEXPO) and objective.criterion == "squared_error":
        bound = policy_error(np.exp(log_policy), regression_logit_error(problem, found.theta))
        proven = np.isfinite(bound)
        status[proven] = "optimal"
        message[proven] = "the minimiser, as the objective is convex wherever it is no larger"
    return PieceResult(log_policy, bound, found.steps, status, message)


def _named(piece: Piece, which: NDArray[np.bool_], column: int | np.intp) -> list[int]:
    return sorted(piece.responses[which[:, column], column].tolist())


def _local_verdict(problem: Problem, found: LocalMinima, vanished: list[int], b: int) -> tuple[str, str]:
    agreeing = f"{found.agreeing[b]} of {found.starts} starts"
    if found.tied[b] and (found.converged[b] or (found.stationary[b] and not vanished)):
        return (
            "not_unique",
            f"several policies reach the lowest value found ({agreeing}); one of them is returned",
        )
    if found.converged[b]:
        if problem.objective.claims.convex:
            return "optimal", f"the minimiser, as the objective is convex ({agreeing}); no error bound is known for it"
        return "optimal", f"the best local minimum found, reached by {agreeing}; not proven to be global"
    if vanished and _boundary_optimum(problem.take(np.array([b])), found.theta[:, [b]]):
        return (
            "optimal",
            f"the minimiser, on the boundary: responses {vanished} have probability 0 (KKT conditions hold)",
        )
    if vanished:
        return "no_minimiser", (
            f"no minimiser was reached: the lowest values are approached as the probability of responses {vanished} "
            f"tends to 0 ({agreeing}; not proven)"
        )
    return "failed", f"no start converged in {found.steps[b]} steps; the policy is the best point reached"


def _boundary_optimum(problem: Problem, theta: Floats) -> bool:
    """KKT conditions of f-DPO with chi-square, whose objective is convex in the policy on the closed simplex."""
    objective = problem.objective
    if not (isinstance(objective, QuasiconvexObjective) and isinstance(objective.link, ChiSquare)):
        return False
    theta = np.maximum(theta, theta.max(axis=0) - 400)  # small enough, but no underflow
    log_policy = log_softmax(theta)
    per_mass = expand(problem, theta).gradient / np.exp(log_policy)
    inside = log_policy >= np.log(VANISHED)
    scale = np.abs(per_mass).max()
    return bool((np.abs(per_mass[inside]) < 1e-8 * scale).all() and (per_mass[~inside] > 0).all())


# ---------------------------------------------------------------------------------------------- verdicts


def _judged(log_policy: Floats, bound: Floats, steps: NDArray[np.intp], converged: NDArray[np.bool_]) -> PieceResult:
    """Optimal where the solver converged or the bound proves that it is there anyway; failed elsewhere."""
    proven = np.isfinite(bound)
    status, message = _texts("optimal", len(bound)), _texts("", len(bound))
    if not proven.all():
        status[~proven & ~converged] = "failed"
        message[~proven] = "the minimiser, but rounding is too large against the curvature to prove an error bound"
        message[~proven & ~converged] = "Newton's method ran out of steps; the policy is its last iterate"
    return PieceResult(log_policy, bound, steps, status, message)


def _texts(text: str, size: int) -> NDArray[Any]:
    """The same text for each of the batch, as objects (`numpy.full` would convert each of them)."""
    texts = np.empty(size, dtype=object)
    texts.fill(text)
    return texts


def _merge(first: PieceResult, second: PieceResult, where: NDArray[np.bool_]) -> PieceResult:
    """``first``, with the columns ``where`` taken from ``second``."""
    merged = {}
    for name in ("log_policy", "bound", "steps", "status", "message"):
        merged[name] = getattr(first, name).copy()
        merged[name][..., where] = getattr(second, name)
    return PieceResult(**merged)
