"""A batch of small problems over one set of responses, and its derivatives in the logits.

The batch is the last axis. Derivatives of a loss in its log-probabilities come from torch's autograd, so a new loss
brings its formula and nothing else; the chain rule from there to the logits is written here, once, for all of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..losses.base import PairObjective

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Problem:
    """min over theta of sum_e weight_e loss(winner_e, loser_e) + strength * regulariser(softmax(theta), reference).

    objective: its ``lam`` has shape (B,).
    winner, loser: shape (E,), positions among the n responses at hand.
    weight: shape (E, B), non-negative.
    log_reference: shape (n, B), normalised over the n responses.
    strength: shape (B,): lam, times the mass of these responses when they are a component of a larger problem.
    """

    objective: PairObjective
    winner: Indices
    loser: Indices
    weight: Floats
    log_reference: Floats
    strength: Floats

    @property
    def n(self) -> int:
        return len(self.log_reference)

    @property
    def size(self) -> int:
        return self.log_reference.shape[1]

    def take(self, columns: NDArray[Any]) -> Problem:
        """The problems at these positions of the batch (indices or a mask)."""
        return dataclasses.replace(
            self,
            objective=self.objective.with_lam(self.objective.lam[columns]),
            weight=self.weight[:, columns],
            log_reference=self.log_reference[:, columns],
            strength=self.strength[columns],
        )


@dataclass(frozen=True)
class Expansion:
    """Second-order expansion at theta.

    value: (B,). gradient: (n, B), in the logits. curvature: (n, n, B), the edge weights -H_ij of the Hessian in the
    logits (diagonal unused). slope, bend: (E, B), first and second derivative of each pair's loss in log pi_winner.
    """

    value: Floats
    gradient: Floats
    curvature: Floats
    slope: Floats
    bend: Floats


def log_softmax(theta: Floats) -> Floats:
    """theta - log sum exp theta over the first axis."""
    shifted = theta - theta.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))


def expand(problem: Problem, theta: Floats) -> Expansion:
    """Value, gradient and Hessian of the batch at theta, shape (n, B).

    With a = dF/dlog pi and A = d2F/(dlog pi)2, the chain rule through log-softmax is
        g = a - pi sum(a),    H = A - pi r' - r pi' + sum(r) pi pi' - sum(a) (diag(pi) - pi pi'),    r = A 1.
    Per-pair sums are taken first, so what cancels (log-ratio losses have sum(a) = 0 and r = 0) cancels exactly.
    """
    objective = problem.objective
    n, batch = theta.shape
    regulariser = objective.regulariser
    log_ratio_only = objective.claims.log_ratio_only
    log_policy = theta if log_ratio_only and regulariser is None else log_softmax(theta)
    logp = theta if log_ratio_only else log_policy  # theta has the log-ratios without log-softmax's rounding

    losses, (dw, dl), (dww, dwl, dll) = _pair_derivatives(problem, logp)
    weight = problem.weight
    value = (weight * losses).sum(axis=0)
    slope_w = dense(weight * dw, problem)
    off_diagonal = dense(weight * dwl, problem)
    curvature = -(off_diagonal + np.swapaxes(off_diagonal, 0, 1))
    if log_ratio_only:
        # net of each pair first: at the optimum these nearly vanish, and so does the rounding of their sums
        gradient = (slope_w - np.swapaxes(slope_w, 0, 1)).sum(axis=1)
        total, rows = np.zeros(batch), np.zeros((n, batch))
    else:
        gradient = slope_w.sum(axis=1) + dense(weight * dl, problem).sum(axis=0)
        total = (weight * (dw + dl)).sum(axis=0)
        rows = dense(weight * (dww + dwl), problem).sum(axis=1) + dense(weight * (dwl + dll), problem).sum(axis=0)

    if regulariser is not None:
        terms, first, second = _elementwise_derivatives(regulariser.terms, log_policy, problem.log_reference)
        strength = problem.strength
        value = value + strength * terms.sum(axis=0)
        gradient = gradient + strength * first
        total = total + strength * first.sum(axis=0)
        rows = rows + strength * second  # a diagonal A adds to the row sums alone

    if not log_ratio_only or regulariser is not None:
        policy = np.exp(log_policy)
        gradient = gradient - policy * total
        curvature -= (rows.sum(axis=0) + total) * (policy[:, None] * policy[None])
        curvature += policy[:, None] * rows[None] + rows[:, None] * policy[None]
    return Expansion(value, gradient, curvature, dw, dww)


def dense(per_pair: Floats, problem: Problem) -> Floats:
    """(E, B) -> (n, n, B), indexed by winner and loser."""
    dense = np.zeros((problem.n, problem.n, per_pair.shape[1]))
    dense[problem.winner, problem.loser] = per_pair
    return dense


def _pair_derivatives(
    problem: Problem, logp: Floats
) -> tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats, Floats]]:
    """Losses (E, B) with their first and second derivatives in (logp_w, logp_l)."""
    objective = problem.objective.with_lam(torch.from_numpy(problem.objective.lam))
    winner, loser = problem.winner, problem.loser
    x_w, x_l = torch.from_numpy(logp[winner]), torch.from_numpy(logp[loser])
    reference = (torch.from_numpy(problem.log_reference[winner]), torch.from_numpy(problem.log_reference[loser]))
    x_w.requires_grad_(True)
    if objective.claims.log_ratio_only:
        # f(x_w - x_l): the other derivatives are these with signs changed
        losses = objective.loss(x_w, x_l, *reference)
        (d_w,) = _gradients(losses, [x_w])
        (d_ww,) = _gradients(d_w, [x_w])
        dw, dww = _numpy(d_w), _numpy(d_ww)
        return _numpy(losses), (dw, -dw), (dww, -dww, dww)
    x_l.requires_grad_(True)
    losses = objective.loss(x_w, x_l, *reference)
    d_w, d_l = _gradients(losses, [x_w, x_l])
    d_ww, d_wl = _gradients(d_w, [x_w, x_l])
    (d_ll,) = _gradients(d_l, [x_l])
    return _numpy(losses), (_numpy(d_w), _numpy(d_l)), (_numpy(d_ww), _numpy(d_wl), _numpy(d_ll))


def _elementwise_derivatives(terms: Any, x: Floats, reference: Floats) -> tuple[Floats, Floats, Floats]:
    """Values and first and second derivatives in x of an elementwise function terms(x, reference)."""
    point = torch.from_numpy(np.ascontiguousarray(x)).requires_grad_(True)
    values = terms(point, torch.from_numpy(np.ascontiguousarray(reference)))
    (first,) = _gradients(values, [point])
    (second,) = _gradients(first, [point])
    return _numpy(values), _numpy(first), _numpy(second)


def _gradients(outputs: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Elementwise derivatives; zero where the output does not depend on the input."""
    if not outputs.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(outputs.sum(), inputs, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def _numpy(tensor: torch.Tensor) -> Floats:
    return tensor.detach().numpy()
