"""The `Problem` of an objective on comparisons: the same parts as any, whose pairs are those that were compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..._types import Floats, Indices, Mask
from ...bandit.paired import Comparisons
from ...divergences import ForwardKL, ReverseKL
from ...losses.base import PairObjective
from ..certificate import UNIT
from ..derivatives import pair_derivatives
from ..edges import Edges
from ..problem import Problem, states_derivatives
from .graph import Graph, exact_sum


@dataclass(frozen=True, eq=False)
class SparseEdges(Edges):
    """Edges whose sums go to the pairs that they join, (P,), and to no others.

    high, low: of each pair. pair: of each edge, (E,).
    """

    high: Indices = field(kw_only=True)
    low: Indices = field(kw_only=True)
    pair: Indices = field(kw_only=True)

    @property
    def pairs(self) -> tuple[Indices, Indices]:
        return self.high, self.low

    @cached_property
    def net(self) -> Any:
        return self._of_pairs(1.0, -1.0)

    @cached_property
    def to_pair(self) -> Any:
        return self._of_pairs(1.0, 1.0)

    @cached_property
    def upward(self) -> Any:
        return self._of_pairs(1.0, 0.0)

    @cached_property
    def downward(self) -> Any:
        return self._of_pairs(0.0, 1.0)

    def _of_pairs(self, up: float, down: float) -> PairSums:
        return PairSums(self.pair, int(np.count_nonzero(self.winner > self.loser)), len(self.high), up, down)


@dataclass(frozen=True, eq=False)
class PairSums:
    """A matrix (P, E) with ``up`` where the winner of an edge is its pair's high end, ``down`` where it is the low one.

    pair: of each edge; the first ``upward`` of them are the former. A pair has one edge of each kind at most.
    """

    pair: Indices
    upward: int
    pairs: int
    up: float
    down: float

    def __matmul__(self, values: Floats) -> Floats:
        found = np.zeros((self.pairs, *values.shape[1:]))
        alone = values.shape[1:] == (1,)  # numpy is faster at one axis
        into, values = (found[:, 0], values[:, 0]) if alone else (found, values)
        if self.up:
            into[self.pair[: self.upward]] = self.up * values[: self.upward]
        if self.down:
            into[self.pair[self.upward :]] += self.down * values[self.upward :]
        return found


@dataclass(frozen=True, eq=False)
class Wins:
    """Weights, which sum to one, of pairs high > low, (P,), sorted: up of high over low, and down of low over high."""

    n: int
    high: Indices
    low: Indices
    up: Floats
    down: Floats

    @classmethod
    def of(cls, comparisons: Comparisons) -> Wins:
        """All that were compared."""
        n, weight = comparisons.n, comparisons.weight / exact_sum(comparisons.weight)
        winner, loser = comparisons.winner, comparisons.loser
        up, down = np.flatnonzero(winner > loser), np.flatnonzero(winner < loser)
        start = np.concatenate([[0], np.cumsum(np.bincount(winner[down], minlength=n))])
        turned = csr_array((weight[down], loser[down], start), shape=(n, n)).tocsc()
        high = np.repeat(np.arange(n), np.diff(turned.indptr))
        keys = np.concatenate([winner[up] * n + loser[up], high * n + turned.indices])
        order = np.argsort(keys, kind="stable")  # two sorted runs, which merge in one pass
        merged = keys[order]
        first = np.append(True, merged[1:] != merged[:-1])
        pair = np.empty(len(keys), dtype=np.intp)
        pair[order] = np.cumsum(first) - 1
        wins = np.zeros((2, np.count_nonzero(first)))
        wins[0, pair[: len(up)]], wins[1, pair[len(up) :]] = weight[up], turned.data
        return cls(n, *np.divmod(merged[first], n), *wins)

    def among(self, place: Indices, pairs: Mask) -> Wins:
        """These pairs alone, with their responses renumbered in the same order; ``place`` is -1 for who is left out."""
        if pairs.all() and len(place) == self.n and (place >= 0).all():
            return self
        n = int(place.max()) + 1
        return Wins(n, place[self.high[pairs]], place[self.low[pairs]], self.up[pairs], self.down[pairs])


@dataclass(frozen=True, eq=False)
class Local:
    """Second-order expansion at x: slope and curvature of pairs in x_high - x_low, (P,), policy and gradient, (n,)."""

    slope: Floats
    curvature: Floats
    policy: Floats
    gradient: Floats


@dataclass(frozen=True, eq=False)
class System:
    """A problem over all pieces at once.

    mass: of each piece, (count,). reference: of each response, (n,); beside forward KL the masses are its sums.
    """

    problem: Problem
    graph: Graph
    reference: Floats
    mass: Floats

    @cached_property
    def pull(self) -> float:
        """lam, where forward KL is the regulariser, else 0."""
        return 0.0 if self.problem.pull is None else float(self.problem.pull[0])

    @cached_property
    def m(self) -> float:
        """Self-concordance in x."""
        return float(np.max(self.problem.concordance))

    def at(self, x: Floats) -> Local:
        """The expansion at x (n,)."""
        slope, curvature, _ = pair_derivatives(self.problem, x[:, None])
        gradient = self.graph.inflow(slope[:, 0])
        policy = self.policy(x)[0] if self.pull else np.zeros(0)
        if self.pull:
            gradient = gradient + self.pull * (policy - self.reference)
        return Local(slope[:, 0], curvature[:, 0], policy, gradient)

    def policy(self, x: Floats) -> tuple[Floats, Floats]:
        """The policy of logits x, with each piece's mass, and its logarithm."""
        graph = self.graph
        shifted = x - graph.spread(graph.largest(x))
        log_policy = shifted + graph.spread(np.log(self.mass) - np.log(graph.exact_totals(np.exp(shifted))))
        return np.exp(log_policy), log_policy

    def policy_rounding(self, x: Floats, log_policy: Floats) -> Floats:
        """Relative rounding of what `policy` returns, (n,)."""
        shifted = x - self.graph.spread(self.graph.largest(x))
        return 2 * UNIT * (8 + np.abs(shifted) + np.abs(log_policy))


def problem_of(objective: PairObjective, reference: Floats, wins: Wins, everywhere: bool) -> Problem:
    """The problem on these pairs; ``reference``, (n,), is that of all responses where ``everywhere``, else of some.

    Raises:
        ValueError: the loss is not of log-ratios, or not known to be convex.
    """
    up, down = np.flatnonzero(wins.up > 0), np.flatnonzero(wins.down > 0)
    winner = np.concatenate([wins.high[up], wins.low[down]])
    loser = np.concatenate([wins.low[up], wins.high[down]])
    pair = np.concatenate([up, down])
    edges = SparseEdges(wins.n, winner, loser, high=wins.high, low=wins.low, pair=pair)
    weight = np.concatenate([wins.up[up], wins.down[down]])[:, None]
    of_lam = objective.with_lam(np.array([objective.lam]))
    logp = np.log(reference)
    datum = {f"ref_logp_{slot}": logp[end][:, None] for slot, end in zip("wl", edges.ends, strict=True)}
    facts = of_lam.facts_at(datum)
    total = reference.sum()
    problem = Problem(
        of_lam,
        facts,
        edges,
        weight,
        np.log(reference / total)[:, None],
        None if everywhere else np.log(total)[None],
        pull=of_lam.lam if type(facts.regulariser) is ForwardKL else None,
        link=facts.link if facts.psis_convex else None,
    )
    refuse(objective, problem)
    return problem


def refuse(objective: PairObjective, problem: Problem) -> None:
    """Raise unless all there is are convex losses of log-ratios and forward KL."""
    known = problem.link is None or type(problem.link) is ReverseKL
    alone = problem.only_pairs and not problem.is_formula and bool(problem.parts or problem.merged)
    convex = (problem.facts.convex or problem.facts.psis_convex) and problem.concordance is not None
    if not (known and alone and convex and all(states_derivatives(part.psi) for part in problem.parts)):
        raise ValueError(
            "objective must be a convex loss of log-ratios, alone or beside lam KL(pi_ref || pi), on Comparisons, such "
            f"as BradleyTerry, DPO, IPO or EXPO; got {type(objective).__name__}: solve comparisons.bandit() instead"
        )
