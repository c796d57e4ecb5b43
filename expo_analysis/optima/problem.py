"""A batch of small problems over one set of responses, and its derivatives in the logits.

The batch is the last axis. Derivatives of a loss in its log-probabilities come from its `Logistic` where it states one,
and from torch's autograd otherwise, so a new loss brings its formula and nothing else; the chain rule from there to the
logits is written here, once, for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..divergences import ForwardKL
from ..losses.base import PairObjective
from ..losses.logistic import Logistic
from .laplacian import incidence, pairs

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Edges:
    """The ordered pairs (winner, loser), shape (E,) each, that carry weight among n responses.

    Its sparse matrices sum what belongs to edges, (E, B), over those that share an end or a pair.
    """

    n: int
    winner: Indices
    loser: Indices

    @classmethod
    def of(cls, support: NDArray[np.bool_]) -> Edges:
        """The edges where ``support`` (n, n) holds; the last ones are kept, with their matrices."""
        return _edges(len(support), support.tobytes())

    @property
    def ends(self) -> tuple[Indices, Indices]:
        return self.winner, self.loser

    @cached_property
    def to_winner(self) -> csr_array:
        """Sums over the edges of each winner, (n, E)."""
        return self._sums(self.winner, np.ones(len(self.winner)), self.n)

    @cached_property
    def to_loser(self) -> csr_array:
        """Sums over the edges of each loser, (n, E)."""
        return self._sums(self.loser, np.ones(len(self.loser)), self.n)

    @cached_property
    def to_pair(self) -> csr_array:
        """Sums over both directions of each of `laplacian.pairs`, (n(n-1)/2, E)."""
        return abs(self.net)

    @cached_property
    def net(self) -> csr_array:
        """The same, edges counting negative whose winner is the low end of the pair."""
        high, low = np.maximum(self.winner, self.loser), np.minimum(self.winner, self.loser)
        sign = np.where(self.winner > self.loser, 1.0, -1.0)
        return self._sums(high * (high - 1) // 2 + low, sign, self.n * (self.n - 1) // 2)

    @cached_property
    def upward(self) -> csr_array:
        """The same over the edges alone whose winner is the high end of the pair."""
        return self.net.maximum(0)

    @cached_property
    def downward(self) -> csr_array:
        """The same over the edges alone whose winner is the low end of the pair."""
        return self.upward - self.net

    def _sums(self, row: Indices, entry: Floats, rows: int) -> csr_array:
        return csr_array((entry, (row, np.arange(len(row)))), shape=(rows, len(row)))


@lru_cache(maxsize=16)
def _edges(n: int, support: bytes) -> Edges:
    return Edges(n, *np.nonzero(np.frombuffer(support, dtype=bool).reshape(n, n)))


@dataclass(frozen=True)
class Problem:
    """min over theta of sum_e weight_e loss(winner_e, loser_e) + strength * regulariser(softmax(theta), reference).

    objective: its ``lam`` has shape (B,).
    edges: the E ordered pairs, among the n responses at hand.
    weight: shape (E, B), non-negative.
    log_reference: shape (n, B), normalised over the n responses.
    strength: shape (B,): lam, times the mass of these responses when they are a component of a larger problem.
    """

    objective: PairObjective
    edges: Edges
    weight: Floats
    log_reference: Floats
    strength: Floats

    @property
    def n(self) -> int:
        return len(self.log_reference)

    @property
    def size(self) -> int:
        return self.log_reference.shape[1]

    @cached_property
    def reference(self) -> Floats:
        """exp of ``log_reference``."""
        return np.asarray(np.exp(self.log_reference))

    def stated(self) -> Logistic | None:
        """The loss of each edge as a `Logistic`, where it states one and its margin is a log-ratio."""
        claims, edges = self.objective.claims, self.edges
        if not claims.log_ratio_only:
            return None
        if not claims.needs_reference:
            return self.objective.stated()
        return self.objective.stated(self.log_reference[edges.winner] - self.log_reference[edges.loser])

    @cached_property
    def logistic(self) -> Logistic | None:
        """The weighted losses of each of `laplacian.pairs`, both ways round: a `Logistic` of theta_high - theta_low.

        What is kept for one direction is flipped for the other, so both share all that has to be computed.
        """
        stated = self.stated()
        if stated is None:
            return None
        kept, flipped = self.weight * stated.kept, self.weight * stated.flipped
        up, down = self.edges.upward, self.edges.downward
        return dataclasses.replace(stated, kept=up @ kept + down @ flipped, flipped=up @ flipped + down @ kept)

    def take(self, columns: NDArray[Any]) -> Problem:
        """The problems at these positions of the batch (indices or a mask)."""
        columns = np.arange(self.size)[columns]  # take, unlike indexing, keeps rows contiguous
        taken = dataclasses.replace(
            self,
            objective=self.objective.with_lam(self.objective.lam[columns]),
            weight=self.weight.take(columns, axis=1),
            log_reference=self.log_reference.take(columns, axis=1),
            strength=self.strength[columns],
        )
        if "reference" in vars(self):  # what is known need not be computed again
            vars(taken)["reference"] = self.reference.take(columns, axis=1)
        if vars(self).get("logistic") is not None:
            vars(taken)["logistic"] = vars(self)["logistic"].take(columns)
        return taken


@dataclass(frozen=True)
class Expansion:
    """Second-order expansion at theta.

    gradient: (n, B), in the logits. curvature: (n(n-1)/2, B), the weights -H_ij of the Hessian in the logits, in the
    order of `laplacian.pairs`. slope, bend: first and second derivative of each edge's loss in log pi_winner, (E, B);
    where there is a `Problem.logistic`, its own, (n(n-1)/2, B). losses: each edge's, (E, B), where they came with the
    derivatives.
    """

    gradient: Floats
    curvature: Floats
    slope: Floats
    bend: Floats
    losses: Floats | None = None


def log_softmax(theta: Floats) -> Floats:
    """theta - log sum exp theta over the first axis."""
    shifted = theta - theta.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))


def softmax(theta: Floats) -> Floats:
    """exp(theta), normalised over the first axis."""
    odds = np.exp(theta - theta.max(axis=0))
    return np.asarray(odds / odds.sum(axis=0))


def value(problem: Problem, theta: Floats, losses: Floats | None = None) -> Floats:
    """The objective of each problem of the batch at theta (n, B); shape (B,).

    Here as in `expand`, log-ratios are those of theta, without the rounding of log-softmax. losses: those of the edges
    at theta, where an `Expansion` there has them already.
    """
    objective, log_policy = problem.objective, log_softmax(theta)
    with torch.no_grad():
        if problem.logistic is not None:
            total = problem.logistic(_margin(problem, theta)).sum(axis=0)
        else:
            if losses is None:
                logp = theta if objective.claims.log_ratio_only else log_policy
                losses = _numpy(_loss(problem)(*(_tensor(logp[end]) for end in problem.edges.ends)))
            total = np.einsum("eb,eb->b", problem.weight, losses)
        if objective.regulariser is not None:
            terms = objective.regulariser.terms(_tensor(log_policy), _tensor(problem.log_reference))
            total = total + problem.strength * _numpy(terms).sum(axis=0)
    return total


def expand(problem: Problem, theta: Floats) -> Expansion:
    """Gradient and Hessian of the batch at theta, shape (n, B).

    With a = dF/dlog pi and A = d2F/(dlog pi)2, the chain rule through log-softmax is
        g = a - pi sum(a),    H = A - pi r' - r pi' + sum(r) pi pi' - sum(a) (diag(pi) - pi pi'),    r = A 1.
    Per-pair sums are taken first, so what cancels (log-ratio losses have sum(a) = 0 and r = 0) cancels exactly.
    """
    objective, edges, weight = problem.objective, problem.edges, problem.weight
    regulariser = objective.regulariser
    log_ratio_only = objective.claims.log_ratio_only
    high, low = pairs(problem.n)
    total = rows = np.zeros(1)  # (B,) and (n, B) in general
    losses = None
    if problem.logistic is not None:
        slope, bend = problem.logistic.derivatives(_margin(problem, theta))
        gradient, curvature = incidence(problem.n) @ slope, bend
    elif log_ratio_only:
        # f(x_w - x_l): derivatives in x_l are those in x_w with signs changed
        loss, x_l = _loss(problem), _tensor(theta[edges.loser])
        losses, (slope,), ((bend,),) = _derivatives(lambda x_w: loss(x_w, x_l), theta[edges.winner])
        # net of each pair first: at the optimum these nearly vanish, and so does the rounding of their sums
        gradient = incidence(problem.n) @ (edges.net @ (weight * slope))
        curvature = edges.to_pair @ (weight * bend)
    else:
        log_policy = log_softmax(theta)
        losses, (slope, dl), ((bend, cross), (_, dll)) = _derivatives(
            _loss(problem), *(log_policy[end] for end in edges.ends)
        )
        gradient = edges.to_winner @ (weight * slope) + edges.to_loser @ (weight * dl)
        curvature = -(edges.to_pair @ (weight * cross))
        total = (weight * (slope + dl)).sum(axis=0)
        rows = edges.to_winner @ (weight * (bend + cross)) + edges.to_loser @ (weight * (cross + dll))

    if log_ratio_only and type(regulariser) is ForwardKL:
        # a cross-entropy, whose Hessian in the logits is diag(pi) - pi pi'
        policy = softmax(theta)
        gradient = gradient + problem.strength * (policy - problem.reference)
        curvature = curvature + (problem.strength * policy)[high] * policy[low]
        return Expansion(gradient, curvature, slope, bend, losses)
    if regulariser is not None:
        log_reference, strength = _tensor(problem.log_reference), problem.strength
        _, (first,), ((second,),) = _derivatives(lambda x: regulariser.terms(x, log_reference), log_softmax(theta))
        gradient = gradient + strength * first
        total = total + strength * first.sum(axis=0)
        rows = rows + strength * second  # a diagonal A adds to the row sums alone
    if not log_ratio_only or regulariser is not None:
        policy = softmax(theta)
        gradient = gradient - policy * total
        shared = rows - (rows.sum(axis=0) + total) / 2 * policy
        curvature = curvature + policy[high] * shared[low] + shared[high] * policy[low]
    return Expansion(gradient, curvature, slope, bend, losses)


def _margin(problem: Problem, theta: Floats) -> Floats:
    """What a `Problem.logistic` is a function of, (n(n-1)/2, B)."""
    assert problem.logistic is not None
    at = theta - problem.log_reference if problem.logistic.relative else theta
    high, low = pairs(problem.n)
    return np.asarray(at[high] - at[low])


def _loss(problem: Problem) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of each edge as a function of log pi at its two ends, in torch."""
    objective = problem.objective
    reference = [_tensor(problem.log_reference[end]) for end in problem.edges.ends if objective.claims.needs_reference]
    loss = objective.with_lam(_tensor(objective.lam)).loss
    return lambda x_w, x_l: loss(x_w, x_l, *reference)


def _derivatives(
    function: Callable[..., torch.Tensor], *points: Floats
) -> tuple[Floats, list[Floats], list[list[Floats]]]:
    """Values, first and second derivatives at the ``points`` of a function that torch applies element by element."""
    inputs = [_tensor(x).requires_grad_(True) for x in points]
    values = function(*inputs)
    first = _gradients(values, inputs, create_graph=True)
    second = [_gradients(slope, inputs) for slope in first]
    return _numpy(values), [_numpy(x) for x in first], [[_numpy(x) for x in row] for row in second]


def _gradients(outputs: torch.Tensor, inputs: list[torch.Tensor], create_graph: bool = False) -> list[torch.Tensor]:
    """Elementwise derivatives; zero where the output does not depend on the input."""
    if not outputs.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(outputs.sum(), inputs, allow_unused=True, retain_graph=True, create_graph=create_graph)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def _tensor(array: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _numpy(tensor: torch.Tensor) -> Floats:
    return tensor.detach().numpy()
