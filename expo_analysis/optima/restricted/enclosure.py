r"""Bounds over intervals of one parameter: how large third derivatives get, and how low an objective falls far out.

Along theta(t) = base + f t the log-normaliser has the derivatives E[f], Var[f] and the third cumulant under pi(t). E[f]
never falls, so that its values at an interval's ends enclose it; Var[f] grows or falls by exp(range(f) |step|) at most;
the third cumulant is at most range(f) Var[f]. From these follow bounds of the derivatives of log pi, of every statistic
by the chain rule, and of psi, of which `Psi.third` bounds the third derivative. [ours, elementary]

Arrays have the cells of all intervals as their last axis, interval by interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..._types import Floats
from ...divergences import DIVERGENCES, Divergence
from ...losses.data import evaluate
from ...losses.statistics import Linked, LogOdds, Powered, Statistic
from ...losses.terms import bound
from ..derivatives import log_softmax, softmax
from ..problem import Problem
from .cells import RewardCells

Sizes = tuple[Floats, Floats, Floats]
"""Numbers above the moduli of the first three derivatives."""


def enclosable(cells: Any) -> bool:
    """Whether all that an objective reads can be enclosed."""
    if isinstance(cells, RewardCells):
        return _stated(cells.objective.regulariser)
    problem = cells.problem
    if problem.is_formula or not (problem.facts.regulariser is None or _stated(problem.facts.regulariser)):
        return False
    one = np.zeros(1)
    return all(
        np.isfinite(psi.third(one, one)).all() and _readable(statistic) for psi, _, _, statistic in problem.facts.bound
    )


def _stated(divergence: Divergence) -> bool:
    """Whether a divergence states what holds of its mu: its own class does, and no formula is another's."""
    own = type(divergence) in DIVERGENCES.values() or {"mu_growth", "slope_at_one"} <= set(vars(type(divergence)))
    return own and divergence.mu_growth is not None and divergence.slope_at_one is not None


def _readable(statistic: Statistic) -> bool:
    return all(
        atom.plain or isinstance(atom, LogOdds | Powered) or (isinstance(atom, Linked) and _stated(atom.divergence))
        for _, atom in statistic.parts
    )


@dataclass(frozen=True, eq=False)
class Line:
    """theta = base + f t around a centre: logits x (n, C) there, f (n, C), and half the length of t's interval (C,)."""

    x: Floats
    f: Floats
    half: Floats

    @cached_property
    def spread(self) -> Floats:
        """range(f), (C,)."""
        return np.ptp(self.f, axis=0)

    @cached_property
    def means(self) -> tuple[Floats, Floats]:
        """E[f] at both ends, (C,) each."""
        low, high = ((softmax(self.x + sign * self.half * self.f) * self.f).sum(axis=0) for sign in (-1, 1))
        return low, high

    @cached_property
    def cumulants(self) -> tuple[Floats, Floats]:
        """Numbers above Var[f] and the modulus of the third cumulant, (C,) each."""
        return self._cumulants(softmax(self.x), self.f)

    def _cumulants(self, policy: Floats, f: Floats) -> tuple[Floats, Floats]:
        variance = (policy * (f - (policy * f).sum(axis=0)) ** 2).sum(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            grown = np.where(variance > 0, variance * np.exp(self.spread * self.half), 0.0)
        largest = np.minimum(grown, self.spread**2 / 4)
        return largest, self.spread * largest

    @cached_property
    def log_policy(self) -> Sizes:
        """Of each log pi, (n, C)."""
        first = np.maximum(*(np.abs(self.f - mean) for mean in self.means))
        variance, third = (c + 0.0 * first for c in self.cumulants)
        return first, variance, third

    def odds(self, end: Any) -> Sizes:
        """Of log-odds of the responses ``end`` (E,), (E, C): a logit less the log-normaliser of all others."""
        found = []
        for i in end:
            others = np.arange(len(self.x)) != i
            rest = Line(self.x[others], self.f[others], self.half)
            first = np.maximum(*(np.abs(self.f[i] - mean) for mean in rest.means))
            found.append((first, *rest.cumulants))
        first, second, third = (np.stack(sizes) for sizes in zip(*found, strict=True))
        return first, second, third


def third_derivative(cells: Any, line: Line) -> Floats:
    """A number above the modulus of the objective's third derivative on the interval, (C,)."""
    log_policy = log_softmax(line.x)
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(cells, RewardCells):
            policy, (first, second, third) = _largest(log_policy, line), line.log_policy
            top = cells.reward[line.x.argmax(axis=0), np.arange(line.x.shape[1])]
            own = policy * np.abs(cells.reward - top) * (first**3 + 3 * first * second + third)
            own = own + cells.objective.lam * _of_divergence(cells.objective.regulariser, cells, log_policy, line)
            found = own.sum(axis=0)
        else:
            found = _of_terms(cells.problem, log_policy, line)
            if cells.problem.facts.regulariser is not None:
                own = _of_divergence(cells.problem.facts.regulariser, cells, log_policy, line).sum(axis=0)
                found = found + cells.problem.lam * own
    return np.where(np.isfinite(found), found, np.inf)


def _of_terms(problem: Problem, log_policy: Floats, line: Line) -> Floats:
    total = np.zeros(line.x.shape[1])
    datum = {**problem.datum, **{f"logp_{s}": log_policy[e] for s, e in problem.edges.by_slot.items()}}
    for place, term in enumerate(problem.facts.terms):
        margin = term.statistic.value(datum)
        first, second, third = _of_statistic(problem, term.statistic, log_policy, line)
        scale, weight = (np.abs(evaluate(x, datum)) for x in (term.statistic.scale, term.weight))
        first, second, third = scale * first, scale * second, scale * third
        psi, reach = bound(term.psi, datum), first * line.half
        slope, bend = (np.abs(d) for d in problem.of_psi(psi, place, margin))
        turn = psi.third(margin - reach, margin + reach)
        bend = bend + turn * reach
        slope = slope + bend * reach
        own = turn * first**3 + 3 * bend * first * second + slope * third
        total = total + (problem.weight * weight * np.where(problem.weight > 0, own, 0.0)).sum(axis=0)
    return total


def _of_statistic(problem: Problem, statistic: Statistic, log_policy: Floats, line: Line) -> Sizes:
    """Of sum_k c_k atom_k, (E, C): log-probabilities together, so that the log-normaliser cancels where it does."""
    ends = problem.edges.by_slot
    plain = [(c, ends[atom.slot]) for c, atom in statistic.parts if atom.plain]
    total = sum(c for c, _ in plain)
    raised = sum((c * line.f[end] for c, end in plain), start=np.zeros((len(ends["w"]), line.x.shape[1])))
    first = np.maximum(*(np.abs(raised - total * mean) for mean in line.means))
    second, third = (abs(total) * c + 0.0 * first for c in line.cumulants)
    for c, atom in statistic.parts:
        if atom.plain:
            continue
        own = line.odds(ends[atom.slot]) if isinstance(atom, LogOdds) else None
        sizes = tuple(size[ends[atom.slot]] for size in line.log_policy)
        if isinstance(atom, Linked):
            log_u = (log_policy - problem.log_reference)[ends[atom.slot]]
            own = _of_mu(atom.divergence, log_u, sizes, line.half)  # type: ignore[arg-type]
        elif isinstance(atom, Powered):
            slope = np.exp(-atom.alpha * log_policy[ends[atom.slot]])
            own = _of_score(slope, abs(atom.alpha), sizes, line.half)  # type: ignore[arg-type]
        assert own is not None
        first, second, third = (a + abs(c) * b for a, b in zip((first, second, third), own, strict=True))
    return first, second, third


def _of_mu(divergence: Divergence, log_u: Floats, sizes: Sizes, half: Floats) -> Sizes:
    """Of mu(u), from those of log u."""
    assert divergence.mu_growth is not None
    return _of_score(divergence.mu_derivatives(log_u)[0], divergence.mu_growth, sizes, half)


def _of_score(slope: Floats, c: float, sizes: Sizes, half: Floats) -> Sizes:
    """Of a function of log pi, by its slope in the middle, which changes by a factor of exp(c |step|) at most."""
    first, second, third = sizes
    slope = slope * np.exp(c * first * half)
    return slope * first, slope * (c * first**2 + second), slope * (c**2 * first**3 + 3 * c * first * second + third)


def _largest(log_policy: Floats, line: Line) -> Floats:
    """A number above pi on the interval, (n, C)."""
    return np.exp(np.minimum(log_policy + line.log_policy[0] * line.half, 0.0))


def _of_divergence(divergence: Divergence, cells: Any, log_policy: Floats, line: Line) -> Floats:
    """Of the terms of D less f'(1) pi, (n, C); in log pi they have derivatives pi mu, pi (mu + mu') and so on."""
    first, second, third = line.log_policy
    log_u, c = log_policy - cells.log_reference, divergence.mu_growth
    assert c is not None
    reach = first * line.half
    size = np.maximum(*(np.abs(divergence.mu(log_u + sign * reach)) for sign in (-1, 1)))
    slope = divergence.mu_derivatives(log_u)[0] * np.exp(c * reach)
    own = (size + (2 + c) * slope) * first**3 + 3 * (size + slope) * first * second + size * third
    return np.asarray(_largest(log_policy, line) * own)
