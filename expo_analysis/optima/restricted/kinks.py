r"""Convex losses with kinks, as functions of w and of how much each kink counts.

Each kink is a function kappa_k(z) of which the loss reads max(0, kappa_k) = max over tau in [0, 1] of tau kappa_k:

    hinge       height max(0, K - (theta_w - theta_l))               kappa = K - (theta_w - theta_l)
    shortfall   psi(... + penalty min(log u, 0)), psi falling        kappa = -log u

So F(z) = max over tau of L(z, tau), and L(., tau) is smooth and convex.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..._types import Floats, Indices
from ...losses.data import evaluate
from ...losses.facts import Facts, of_log_ratio
from ...losses.psi import Linear, Logistic
from ...losses.statistics import Shortfall, h, is_number
from ...losses.terms import Sum, Term, bound
from ..derivatives import log_softmax
from ..laplacian import pairs
from ..problem import Problem
from .cells import PairCells
from .family import Family


def understood(family: Family) -> bool:
    """Whether a loss is convex, with kinks of these two kinds, beside parts with a known self-concordance."""
    if not isinstance(family.cells, PairCells) or family.cells.problem.is_formula:
        return False
    problem = family.cells.problem
    if not problem.facts.convex or not any(map(has_kinks, problem.facts.terms)):
        return False
    smooth = _smooth(problem)
    known = smooth is None or PairCells(smooth).certifiable
    return known and all(_understood(term, problem) for term in problem.facts.terms if has_kinks(term))


def has_kinks(term: Term) -> bool:
    """Whether a term is no smooth function of the policy."""
    pieces = term.psi.linear_pieces
    return (pieces is not None and len(pieces) > 1) or penalty(term) > 0


def penalty(term: Term) -> float:
    """The coefficient of the shortfall."""
    return float(sum(c for c, atom in term.statistic.parts if isinstance(atom, Shortfall)))


def _understood(term: Term, problem: Problem) -> bool:
    if penalty(term) == 0:
        return of_log_ratio(term.statistic) is not None
    psi, parts = bound(term.psi, problem.datum), term.statistic.parts
    own = all(atom.slot == "w" if isinstance(atom, Shortfall) else atom.plain for _, atom in parts)
    return own and type(psi) is Logistic and is_number(psi.flipped, 0)


def _smooth(problem: Problem) -> Problem | None:
    """The problem without its kinked terms; None where nothing is left. It must not be cut again (`Problem.take`)."""
    rest = tuple(term for term in problem.facts.terms if not has_kinks(term))
    rest += tuple(line for term in problem.facts.terms if (line := _last_line(problem, term)) is not None)
    if not rest and problem.target is None:
        return None
    rest = rest or (Term(Linear(0.0), h),)  # an objective without any terms would be a bare formula
    return dataclasses.replace(problem, facts=Facts(Sum(rest), problem.facts.regulariser, problem.datum))


def _last_line(problem: Problem, term: Term) -> Term | None:
    """The piece of a piecewise linear term on the far right, if it is not level: what `_hinges` leave."""
    if penalty(term) > 0 or not has_kinks(term):
        return None
    pieces = bound(term.psi, problem.datum).linear_pieces
    assert pieces is not None
    slope = max((piece[0] for piece in pieces), key=lambda s: float(np.max(s)))
    return dataclasses.replace(term, psi=Linear(slope)) if np.any(np.asarray(slope) != 0) else None


@dataclass(frozen=True, eq=False)
class Local:
    """L at (z, tau), or its smoothed form: value, gradient (d,), rows S of its Hessian S'S.

    size: of what the gradient is a sum of. kappa: (K,), with gradients ``normals`` (K, d). costs: dL/dtau is costs
    kappa, (K,).
    """

    value: float
    gradient: Floats
    rows: Floats
    size: Floats
    kappa: Floats
    normals: Floats
    costs: Floats


@dataclass(frozen=True, eq=False)
class Kinked:
    """One problem with kinks; z has ``rank`` numbers. Kinks in order: hinges, then each response's shortfall (n, C)."""

    family: Family

    @cached_property
    def problem(self) -> Problem:
        found: Problem = self.family.cells.problem
        return found

    @cached_property
    def smooth(self) -> PairCells | None:
        found = _smooth(self.problem)
        return None if found is None else PairCells(found)

    @cached_property
    def directions(self) -> Floats:
        """(n, C, d)."""
        return np.moveaxis(self.family.directions[0, :, :, : self.family.rank[0]], 0, 1)

    @cached_property
    def shares(self) -> Floats:
        return self.family.shares[0]

    @cached_property
    def hinges(self) -> tuple[Indices, Indices, Indices, Floats, Floats]:
        """a, b and cell of max(0, kink - (x_a - x_b)), its kink, and its height times share; (K,) each."""
        found = []
        for term in self.problem.facts.terms:
            if has_kinks(term) and penalty(term) == 0:
                found += list(_hinges(self.problem, term, self.shares))
        if not found:
            nothing = np.zeros(0, dtype=np.intp)
            return nothing, nothing, nothing, np.zeros(0), np.zeros(0)
        a, b, cell, kink, height = (np.concatenate(parts) for parts in zip(*found, strict=True))
        used = height > 0
        return a[used], b[used], cell[used], kink[used], height[used]

    @cached_property
    def shortfalls(self) -> list[Term]:
        return [term for term in self.problem.facts.terms if penalty(term) > 0]

    def w(self, z: Floats) -> Floats:
        """(1, d)."""
        whole = np.zeros((1, self.family.d))
        whole[0, : len(z)] = z
        return self.family.weights(whole)

    def log_ratio(self, x: Floats) -> Floats:
        """log u, (n, C)."""
        return log_softmax(x) - self.problem.log_reference

    def kappa(self, x: Floats) -> Floats:
        """Every kink's function, (K,)."""
        a, b, cell, kink, _ = self.hinges
        own = kink - (x[a, cell] - x[b, cell])
        return np.concatenate([own, -self.log_ratio(x).reshape(-1)]) if self.shortfalls else own

    def at(self, z: Floats, tau: Floats, width: float | None = None) -> Local:
        """L(z, tau); smoothed, with tau = sigma(kappa/width), where there is a width."""
        w = self.w(z)
        x = self.family.logits(w)
        total = _Total(self, w, x)
        a, b, cell, _, height = self.hinges
        kappa = self.kappa(x)
        soft = tau * kappa if width is None else width * np.logaddexp(0.0, kappa / width)
        count = len(a)
        normals = -(self.directions[a, cell] - self.directions[b, cell])
        total.value += float((height * soft[:count]).sum())
        total.push(height * tau[:count], normals)
        costs = [height]
        if self.shortfalls:
            lost, held = (y[count:].reshape(x.shape) for y in (-soft, tau))
            centred = self.directions - np.einsum("nc,ncd->cd", np.exp(log_softmax(x)), self.directions)
            costs.append(total.shortfall(lost, held, centred).reshape(-1))
            normals = np.concatenate([normals, -centred.reshape(-1, len(z))])
        rows = total.rows
        if width is not None:
            bent = np.sqrt(np.concatenate(costs) * tau * (1 - tau) / width)
            rows = [*rows, bent[bent > 0, None] * normals[bent > 0]]
        return Local(
            total.value, total.gradient, np.concatenate(rows), total.size, kappa, normals, np.concatenate(costs)
        )


class _Total:
    """The value, gradient and rows of L, added up."""

    def __init__(self, kinked: Kinked, w: Floats, x: Floats) -> None:
        self.kinked, self.x = kinked, x
        family, directions, shares = kinked.family, kinked.directions, kinked.shares
        basis, decay = family.basis[0, :, : directions.shape[2]], float(family.decay[0])
        self.value = decay / 2 * float((w**2).sum())
        self.gradient = decay * (w[0] @ basis)
        self.rows = [np.sqrt(decay) * basis]
        self.size = decay * (np.abs(w[0]) @ np.abs(basis))
        if kinked.smooth is not None:
            local, own = kinked.smooth.expand(x), kinked.smooth.gradient_size(x)
            self.value += float((shares * kinked.smooth.value(x)).sum())
            self.gradient = self.gradient + np.einsum("ncd,nc->d", directions, shares * local.gradient)
            self.size = self.size + np.einsum("ncd,nc->d", np.abs(directions), shares * own)
            self.bend(shares * np.maximum(local.curvature, 0.0))

    def bend(self, weights: Floats) -> None:
        """Hessian weights by pairs, (n(n-1)/2, C)."""
        high, low = pairs(len(self.x))
        moves = self.kinked.directions[high] - self.kinked.directions[low]
        self.rows.append((np.sqrt(weights)[..., None] * moves).reshape(-1, moves.shape[-1]))

    def push(self, slopes: Floats, normals: Floats) -> None:
        self.gradient = self.gradient + slopes @ normals
        self.size = self.size + np.abs(slopes) @ np.abs(normals)

    def shortfall(self, lost: Floats, held: Floats, centred: Floats) -> Floats:
        """Add psi(... + penalty lost), ``held`` its derivative in log u, (n, C); the costs of the kinks, (n, C)."""
        kinked, problem = self.kinked, self.kinked.problem
        winner, loser = problem.edges.ends
        policy = np.exp(log_softmax(self.x))
        high, low = pairs(len(self.x))
        log_policy, costs, shared = log_softmax(self.x), np.zeros_like(self.x), np.zeros(self.x.shape[1])
        for term in kinked.shortfalls:
            statistic, more = term.statistic, penalty(term)
            scale = np.asarray(evaluate(statistic.scale, problem.datum), dtype=np.float64)
            weight = kinked.shares * problem.weight * evaluate(term.weight, problem.datum)
            margin = scale * (_plain(problem, statistic, log_policy) + more * lost[winner])
            margin = (
                margin - scale * evaluate(statistic.centre, problem.datum) - evaluate(statistic.offset, problem.datum)
            )
            psi = bound(term.psi, problem.datum)
            slope, bend = psi.derivatives(margin)
            c = {s: sum(k for k, atom in statistic.parts if atom.plain and atom.slot == s) for s in "wl"}
            at_winner = c["w"] + more * held[winner]
            moved = (scale * at_winner)[..., None] * centred[winner] + (scale * c["l"])[..., None] * centred[loser]
            self.value += float((weight * psi.value(margin)).sum())
            self.push((weight * slope).reshape(-1), moved.reshape(-1, moved.shape[-1]))
            self.rows.append((np.sqrt(weight * bend)[..., None] * moved).reshape(-1, moved.shape[-1]))
            shared = shared + (weight * -slope * scale * (at_winner + c["l"])).sum(axis=0)
            costs = costs + problem.edges.to_winner @ (weight * -slope * scale * more)
        self.bend(np.maximum(shared, 0.0) * policy[high] * policy[low])
        return costs


def _plain(problem: Problem, statistic: Any, log_policy: Floats) -> Floats:
    """The combination of all atoms but shortfalls, (E, C)."""
    rest = dataclasses.replace(
        statistic, parts=tuple(p for p in statistic.parts if p[1].plain), scale=1.0, centre=0.0, offset=0.0
    )
    ends = problem.edges.by_slot
    return np.asarray(rest.value({**problem.datum, **{f"logp_{s}": log_policy[e] for s, e in ends.items()}}))


def _hinges(problem: Problem, term: Term, shares: Floats) -> Any:
    """A piecewise linear term as hinges: a, b, cell, kink and height, flat."""
    psi = bound(term.psi, problem.datum)
    part = problem._part(problem.facts.terms.terms.index(term), term)
    shape = problem.weight.shape
    slope, shift = (np.broadcast_to(np.asarray(v, dtype=np.float64), shape) for v in (part.slope, part.shift))
    reference = problem.log_reference[problem.edges.winner] - problem.log_reference[problem.edges.loser]
    moved = reference if part.relative else np.zeros(shape)
    cell = np.broadcast_to(np.arange(shape[1]), shape)
    winner, loser = (np.broadcast_to(end[:, None], shape) for end in problem.edges.ends)
    assert psi.linear_pieces is not None
    pieces = sorted(psi.linear_pieces, key=lambda piece: float(np.max(piece[0])))
    for (s, at), (s_next, at_next) in pairwise(pieces):
        kink = (np.asarray(at) - at_next) / (s_next - s)  # where the two lines meet; height times (kink - m)+
        where = (kink + shift) / slope + moved
        height = np.broadcast_to((s_next - s) * part.weight * np.abs(slope) * shares, shape)
        forward = slope >= 0
        a, b = np.where(forward, winner, loser), np.where(forward, loser, winner)
        yield tuple(v.reshape(-1) for v in (a, b, cell, np.where(forward, where, -where), height))
