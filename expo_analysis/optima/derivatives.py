"""The objective of a batch of problems, its gradient and its Hessian in the logits (or scores) that are solved for.

All kinds of parts of a `Problem` meet here, and the chain rule from log-probabilities to logits is written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Floats
from ..divergences import kl_terms
from ..losses.data import Datum, evaluate
from ..losses.terms import Term, bound
from . import formula
from .laplacian import both_ends, incidence, pairs
from .problem import Problem, states_derivatives


@dataclass(frozen=True, eq=False)
class Expansion:
    """Second-order expansion at x.

    gradient: (n, B), in x. curvature: (n(n-1)/2, B), the weights -H_ij of the Hessian, in the order of
    `laplacian.pairs`. slope: (n(n-1)/2, B), the pair parts' derivative in x_high - x_low.
    losses: of a bare formula's edges, (E, B), where they came with the derivatives.
    """

    gradient: Floats
    curvature: Floats
    slope: Floats
    losses: Floats | None = None


def log_softmax(theta: Floats) -> Floats:
    """theta - log sum exp theta over the first axis."""
    shifted = theta - theta.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))


def log_roundings(log_policy: Floats, theta: Floats) -> Floats:
    """Units of rounding by which each log pi = log_softmax(theta) may be off, with room: of n exponentials and their
    sum, of a difference of logits, and its own."""
    return 8 + len(theta) + np.abs(log_policy) + 2 * np.abs(theta)


def softmax(theta: Floats) -> Floats:
    """exp(theta), normalised over the first axis."""
    odds = np.exp(theta - theta.max(axis=0))
    return np.asarray(odds / odds.sum(axis=0))


def value(problem: Problem, x: Floats, losses: Floats | None = None) -> Floats:
    """The objective of each problem of the batch at x (n, B), but for what does not depend on the policy; (B,).

    Log-ratios are those of x, without the rounding of log-softmax. losses: those of a bare formula's edges at x, where
    an `Expansion` there has them already.
    """
    total = pair_value(problem, x)
    if problem.target is None and problem.only_pairs and not problem.is_formula:
        return total
    log_policy = log_softmax(x)
    if problem.is_formula:
        logp = x if problem.facts.log_ratio_only else log_policy
        own = formula.losses(problem, logp) if losses is None else losses
        total = total + np.einsum("eb,eb->b", problem.weight, own)
    for term in (*problem.general, *problem.likelihoods):
        total = total + (problem.weight * term.value(_datum(problem, log_policy))).sum(axis=0)
    if problem.pull is not None:
        total = total + problem.pull * kl_terms(problem.log_reference, log_policy).sum(axis=0)
    if problem.divergence is not None:
        total = total + problem.lam * problem.divergence.terms(log_policy, problem.log_reference).sum(axis=0)
    return np.asarray(total)


def pair_value(problem: Problem, x: Floats) -> Floats:
    """The pair parts of `value`, (B,)."""
    edges, total = problem.edges, np.zeros(problem.size)
    high, low = edges.pairs
    for merged in problem.merged:
        total = total + merged.value_at_pairs(problem.at(x, merged.relative), high, low)
    if problem.choices is not None:
        total = total + problem.choices.value(problem.at(x, problem.choices.relative))
    for part in problem.parts:
        at = problem.at(x, part.relative)
        psi = part.psi.value(part.margin(at[edges.winner] - at[edges.loser]))
        total = total + np.einsum("eb,eb->b", part.weight, psi)
    return total


def _datum(problem: Problem, log_policy: Floats) -> Datum:
    return {**problem.datum, **{f"logp_{slot}": log_policy[end] for slot, end in problem.edges.by_slot.items()}}


def expand(problem: Problem, x: Floats) -> Expansion:
    """Gradient and Hessian of the batch at x, shape (n, B).

    With a = dF/dlog pi and A = d2F/(dlog pi)2, the chain rule through log-softmax is
        g = a - pi sum(a),    H = A - pi r' - r pi' + sum(r) pi pi' - sum(a) (diag(pi) - pi pi'),    r = A 1.
    Per-pair sums are taken first, so what cancels (log-ratio losses have sum(a) = 0 and r = 0) cancels exactly.
    """
    high, low = pairs(problem.n)
    slope, curvature, losses = pair_derivatives(problem, x)
    gradient = incidence(problem.n) @ slope
    if not problem.only_pairs:
        first, rows, cross, total, losses = _policy_derivatives(problem, x)
        own, bend = through_softmax(softmax(x), first, rows, total)
        gradient, curvature = gradient + own, curvature - cross + bend
    if problem.target is not None:
        # a cross-entropy, whose Hessian in the logits is the sum of its weights times diag(pi) - pi pi'
        policy = softmax(x)
        weight = np.zeros(problem.size)
        if problem.pull is not None:
            gradient = gradient + problem.pull * (policy - problem.reference)
            weight = weight + problem.pull
        if problem.likelihood is not None:
            seen = problem.likelihood.sum(axis=0)
            gradient = gradient + (seen * policy - problem.likelihood)
            weight = weight + seen
        curvature = curvature + (weight * policy)[high] * policy[low]
    return Expansion(gradient, curvature, slope, losses)


def through_softmax(policy: Floats, first: Floats, rows: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Gradient in the logits, and Hessian weights but for -A_ij; a = ``first``, r = ``rows``, sum(a) = ``total``."""
    high, low = pairs(len(policy))
    shared = rows - (rows.sum(axis=0) + total) / 2 * policy
    return first - policy * total, policy[high] * shared[low] + shared[high] * policy[low]


def pair_derivatives(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats | None]:
    """First and second derivative of the pair parts in x_high - x_low, each (n(n-1)/2, B); a bare formula's losses.

    The sum over both directions of a pair is taken first: at the optimum it nearly vanishes, and so does the rounding
    of what is summed from it.
    """
    edges = problem.edges
    high, low = edges.pairs
    slope: Any = None
    bend: Any = None
    if problem.choices is not None:
        slope, bend = problem.choices.derivatives(problem.at(x, problem.choices.relative))
    for merged in problem.merged:
        first, second = merged.at_pairs(problem.at(x, merged.relative), high, low)
        slope, bend = (first, second) if slope is None else (slope + first, bend + second)
    for part in problem.parts:
        at = problem.at(x, part.relative)
        first, second = problem.of_psi(part.psi, part.place, part.margin(at[edges.winner] - at[edges.loser]))
        first = edges.net @ (part.weight * part.slope * first)
        second = edges.to_pair @ (part.weight * (part.slope * part.slope) * second)
        slope, bend = (first, second) if slope is None else (slope + first, bend + second)
    if problem.is_formula and problem.facts.log_ratio_only:
        losses, first, second = formula.in_log_ratio(problem, x)
        return edges.net @ (problem.weight * first), edges.to_pair @ (problem.weight * second), losses
    if slope is None:
        return np.zeros((len(high), problem.size)), np.zeros((len(high), problem.size)), None
    return slope, bend, None


def gradient_size(problem: Problem, x: Floats) -> Floats:
    """The sum of the moduli of what the gradient in x is a sum of, (n, B): its rounding is a few units of that."""
    between, own = gradient_sizes(problem, x)
    return np.asarray(both_ends(problem.n) @ between + own)


def gradient_sizes(problem: Problem, x: Floats) -> tuple[Floats, Floats]:
    """Of `gradient_size` what flows along `laplacian.pairs`, from one end to the other, and what belongs to responses.

    (n(n-1)/2, B) and (n, B). The rounding of the former cancels in a sum over both ends.
    """
    high, low = pairs(problem.n)
    edges, weight = problem.edges, problem.weight
    between, size = np.zeros((len(high), problem.size)), np.zeros_like(x)
    if problem.choices is not None:
        slope, _ = problem.choices.derivatives(problem.at(x, problem.choices.relative))
        between = between + np.abs(slope)
    for merged in problem.merged:
        at = problem.at(x, merged.relative)
        between = between + np.abs(merged.slope) * merged.logistic.slope_size(merged.margin(at[high] - at[low]))
    for part in problem.parts:
        at = problem.at(x, part.relative)
        margin = part.margin(at[edges.winner] - at[edges.loser])
        stated = states_derivatives(part.psi)
        own = part.psi.slope_size(margin) if stated else np.abs(problem.of_psi(part.psi, part.place, margin)[0])
        between = between + edges.to_pair @ (np.abs(part.weight * part.slope) * own)
    if problem.is_formula and problem.facts.log_ratio_only:
        between = between + edges.to_pair @ (weight * np.abs(formula.in_log_ratio(problem, x)[1]))
    if problem.target is not None:
        size = size + problem.target + problem.target.sum(axis=0) * softmax(x)
    if problem.only_pairs:
        return between, size
    log_policy = log_softmax(x)
    own = np.zeros_like(x)
    if problem.is_formula and not problem.facts.log_ratio_only:
        first = formula.at_ends(problem, log_policy)[1]
        own = own + edges.to_winner @ np.abs(weight * first[0]) + edges.to_loser @ np.abs(weight * first[1])
    for term in problem.general:
        for slot, d in _term_derivatives(problem, term, log_policy)[0].items():
            own = own + edges.to(slot) @ np.abs(weight * d)
    if problem.divergence is not None:
        own = own + problem.lam * np.abs(problem.divergence.derivatives(log_policy, problem.log_reference)[0])
    return between, size + own + softmax(x) * own.sum(axis=0)


def _policy_derivatives(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats | None]:
    """Of all but pair parts and cross-entropy: a (n, B), row sums r (n, B) of A, its entries A_ij of pairs, sum(a).

    And a bare formula's losses.
    """
    edges, weight, log_policy = problem.edges, problem.weight, log_softmax(x)
    zero = np.zeros_like(x)
    a, rows, cross, total, losses = (
        zero,
        zero,
        np.zeros((len(pairs(problem.n)[0]), problem.size)),
        np.zeros(problem.size),
        None,
    )

    def add(dw: Floats, dl: Floats, dww: Floats, dwl: Floats, dll: Floats) -> None:
        nonlocal a, rows, cross, total
        a = a + (edges.to_winner @ (weight * dw) + edges.to_loser @ (weight * dl))
        rows = rows + (edges.to_winner @ (weight * (dww + dwl)) + edges.to_loser @ (weight * (dwl + dll)))
        cross = cross + edges.to_pair @ (weight * dwl)
        total = total + (weight * (dw + dl)).sum(axis=0)

    if problem.is_formula and not problem.facts.log_ratio_only:  # then it is among the pair parts
        losses, first, second = formula.at_ends(problem, log_policy)
        add(first[0], first[1], second[0][0], second[0][1], second[1][1])
    for term in problem.general:
        first_t, second_t = _term_derivatives(problem, term, log_policy)
        for slot, d in first_t.items():
            a, total = a + edges.to(slot) @ (weight * d), total + (weight * d).sum(axis=0)
        for (slot, other), dd in second_t.items():
            rows = rows + edges.to(slot) @ (weight * dd)
            if slot != other:
                cross = cross + edges.between(slot, other) @ (weight * dd) / 2
    if problem.divergence is not None:
        lam = problem.lam
        first_d, second_d = problem.divergence.derivatives(log_policy, problem.log_reference)
        a, rows, total = a + lam * first_d, rows + lam * second_d, total + lam * first_d.sum(axis=0)
    return a, rows, cross, total, losses


def _term_derivatives(
    problem: Problem, term: Term, log_policy: Floats
) -> tuple[dict[str, Floats], dict[tuple[str, str], Floats]]:
    """First and second derivatives of weight psi(m) in log pi of each slot, (E, B) each: the chain rule."""
    datum = _datum(problem, log_policy)
    place = problem.facts.terms.terms.index(term)
    psi, margin = bound(term.psi, datum), term.statistic.value(datum)
    slope, bend = problem.of_psi(psi, place, margin)
    scale, weight = evaluate(term.statistic.scale, datum), evaluate(term.weight, datum)
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    for coefficient, atom in term.statistic.parts:
        d, dd = atom.derivatives_of(datum)
        first[atom.slot] = first.get(atom.slot, 0.0) + coefficient * d
        second[atom.slot] = second.get(atom.slot, 0.0) + coefficient * dd
    slope, bend = weight * scale * slope, weight * (scale * scale) * bend
    crossed = {(s, t): bend * first[s] * first[t] for s in first for t in first}
    own = {(s, s): crossed[s, s] + slope * second[s] for s in first}
    return {s: slope * d for s, d in first.items()}, crossed | own
