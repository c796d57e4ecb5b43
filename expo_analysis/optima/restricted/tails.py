r"""How low an objective of one parameter can fall from some t on: bounds that hold all the way to infinity.

Along theta(t) = b + f t, t -> inf, all mass goes to the responses with the largest f. With lambda(t) = log sum_i
exp(b_i + (f_i - max f) t), which falls to a limit, log pi_i = b_i + (f_i - max f) t - lambda(t), so that every
log-probability, and every statistic, has a range over [T, inf) that can be told; `Psi.least` is a number below psi on
it. [ours]

The other end is the same with -f. Arrays have the cells of all T as their last axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._types import Floats
from ...divergences import Alpha, Divergence, JensenShannon, MixedChiSquare, ReverseKL
from ...losses.data import evaluate
from ...losses.facts import of_log_ratio
from ...losses.statistics import Linked, LogOdds, Powered, Statistic
from ...losses.terms import bound
from ..problem import Problem
from .cells import RewardCells

Range = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Tail:
    """theta = base + f t for t >= start: base, f (n, C), start (C,)."""

    base: Floats
    f: Floats
    start: Floats

    def normaliser(self, members: Any) -> tuple[Floats, Floats, Floats]:
        """max f over the members, and lambda(start) and its limit, (C,) each."""
        f, base = self.f[members], self.base[members]
        top = f.max(axis=0)
        now = np.logaddexp.reduce(base + (f - top) * self.start, axis=0)
        limit = np.logaddexp.reduce(np.where(f == top, base, -np.inf), axis=0)
        return top, now, limit

    def ranges(self, rise: Floats, base: Floats, total: Any, members: Any) -> Range:
        """Of base + rise t - total (log-normaliser of the members), for ``total`` a number."""
        top, now, limit = self.normaliser(members)
        rate, start = rise - total * top, base - np.maximum(total * now, total * limit)
        end = base - np.minimum(total * now, total * limit)
        moved = np.where(rate == 0, 0.0, rate * self.start)
        slack = 1e-13 * (np.abs(base) + np.abs(rise * self.start) + np.abs(total * top * self.start))
        low = np.where(rate < 0, -np.inf, start + moved - slack)
        high = np.where(rate > 0, np.inf, end + moved + slack)
        return low, high

    @property
    def log_policy(self) -> Range:
        """Of each log pi, (n, C)."""
        return self.ranges(self.f, self.base, 1.0, slice(None))


def tail_least(cells: Any, tail: Tail) -> Floats:
    """A number below the objective for all t >= start, (C,)."""
    with np.errstate(invalid="ignore", over="ignore"):
        if isinstance(cells, RewardCells):
            regulariser, lam = cells.objective.regulariser, cells.objective.lam
            own = _reward_least(cells.reward, tail)
            found = own + lam * _divergence_least(regulariser, cells.log_reference, tail).sum(axis=0)
        else:
            problem, found = cells.problem, np.zeros(tail.base.shape[1])
            for term in problem.facts.terms:
                low, high = statistic_range(problem, term.statistic, tail)
                weight, psi = problem.weight * evaluate(term.weight, problem.datum), bound(term.psi, problem.datum)
                least = np.where(weight > 0, weight * psi.least(low, high), weight * psi.most(low, high))
                found = found + np.where(weight != 0, least, 0.0).sum(axis=0)
            if problem.facts.regulariser is not None:
                own = _divergence_least(problem.facts.regulariser, cells.log_reference, tail).sum(axis=0)
                found = found + problem.lam * own
    return np.where(np.isnan(found), -np.inf, found)


def statistic_range(problem: Problem, statistic: Statistic, tail: Tail) -> Range:
    """Of a statistic over the tail, (E, C) each."""
    ends, datum = problem.edges.by_slot, problem.datum
    plain = [(c, atom) for c, atom in statistic.parts if atom.plain]
    nothing = np.zeros((len(ends["w"]), tail.base.shape[1]))
    total = sum(c for c, _ in plain)
    rise = sum((c * tail.f[ends[atom.slot]] for c, atom in plain), start=nothing)
    base = sum((c * tail.base[ends[atom.slot]] for c, atom in plain), start=nothing)
    base = base - sum((c * datum[f"ref_logp_{atom.slot}"] for c, atom in plain if atom.relative), start=nothing)
    low, high = tail.ranges(rise, base, total, slice(None)) if plain else (nothing, nothing)
    for c, atom in statistic.parts:
        if atom.plain:
            continue
        if isinstance(atom, LogOdds):
            own = _odds_range(tail, ends[atom.slot])
        elif isinstance(atom, Powered):
            own = tuple(atom.value(x[ends[atom.slot]], x) for x in tail.log_policy)  # which rises with log pi
        else:
            assert isinstance(atom, Linked)
            own = _mu_range(atom.divergence, tail, ends[atom.slot], datum[f"ref_logp_{atom.slot}"])
        first, second = own if c > 0 else own[::-1]
        low, high = low + c * first, high + c * second
    scale, centre, offset = (evaluate(x, datum) for x in (statistic.scale, statistic.centre, statistic.offset))
    ranges = [scale * (x - centre) - offset for x in (low, high)]
    return np.minimum(*ranges), np.maximum(*ranges)


def _odds_range(tail: Tail, end: Any) -> Range:
    found = []
    for i in end:
        others = np.arange(len(tail.f)) != i
        found.append(tail.ranges(tail.f[i], tail.base[i], 1.0, others))
    low, high = (np.stack(x) for x in zip(*found, strict=True))
    return low, high


def _mu_range(divergence: Divergence, tail: Tail, end: Any, ref_logp: Floats) -> Range:
    low, high = (x[end] - ref_logp for x in tail.log_policy)
    fallen = np.isneginf(low)
    at_low = np.where(fallen, divergence.mu_at_zero, divergence.mu(np.where(fallen, 0.0, low)))
    return at_low, divergence.mu(high)


def _divergence_least(divergence: Divergence, log_reference: Floats, tail: Tail) -> Floats:
    """Below each response's part of D: pi_ref (f(u) - f'(1) (u - 1)), which falls up to u = 1 and rises from there."""
    low, high = (x - log_reference for x in tail.log_policy)
    nearest = np.clip(0.0, low, high)
    own = divergence.terms(log_reference + nearest, log_reference)
    return np.asarray(own - divergence.slope_at_one * np.exp(log_reference) * np.expm1(nearest))


def _reward_least(reward: Floats, tail: Tail) -> Floats:
    """Below -E[r]: the likeliest keep their shares, and have a share that only grows."""
    top = tail.f.max(axis=0)
    kept = tail.f == top
    odds = np.where(kept, tail.base, -np.inf)
    share = np.exp(odds - np.logaddexp.reduce(odds, axis=0))
    mean = (share * reward).sum(axis=0)
    lost = np.exp(np.where(kept, -np.inf, tail.log_policy[1])).sum(axis=0)
    return np.asarray(-mean - np.minimum(lost, 1.0) * np.maximum(reward.max(axis=0) - mean, 0.0))


def held(cells: Any, f: Floats) -> bool:
    """Whether a divergence keeps every minimising sequence from t -> inf, one cell each, (n, C). [ours]

    With f'(0+) = -inf, D falls by the order of t exp(-g t) where t comes back from far out, g the smallest distance
    from the largest f on any prompt; for alpha-divergences by that of exp(-(1 - alpha) g t). Rewards, and losses of
    log-ratios that near their infimum at rates of at least g (of more than (1 - alpha) g), have no more to lose.
    """
    reward = isinstance(cells, RewardCells)
    regulariser = cells.objective.regulariser if reward else cells.problem.facts.regulariser
    bent = isinstance(regulariser, Alpha) and regulariser.alpha < 1
    if not (type(regulariser) in (ReverseKL, JensenShannon, MixedChiSquare) or bent):
        return False
    distance = f.max(axis=0) - f
    rate = distance[distance > 0].min(initial=np.inf) * (1 - regulariser.alpha if bent else 1)
    if reward:
        return True
    problem = cells.problem
    facts, (winner, loser) = problem.facts, problem.edges.ends
    if not np.isfinite(rate) or not facts.log_ratio_only or facts.lower_bound is None:
        return False
    for psi, _, scale, statistic in facts.bound:
        step = of_log_ratio(statistic)
        assert step is not None
        drift = np.asarray(scale * step) * (f[winner] - f[loser])
        rates = [None if own is None else own * np.abs(drift) for own in psi.decay]
        if any(own is None for own in rates):
            return False
        near = np.where(drift > 0, rates[1], rates[0])
        near = near[(drift != 0) & (problem.weight > 0)]
        if (near < rate).any() or (bent and (near == rate).any()):
            return False
    return bool(np.all(np.isfinite(facts.lower_bound)))
