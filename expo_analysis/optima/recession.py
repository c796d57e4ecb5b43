"""Sets of responses on which a recession function is positive: graphs and linear programs, of costs alone.

The recession function tells how fast a convex loss rises far out along a direction d,

    sum_(i,j) cost_ij max(d_i - d_j, 0) + sum_j T_j (max d - d_j),

cost_ij for raising i over j, T_j the weights of -log pi_j. A minimiser exists if and only if it is positive for every d
that is not constant. For non-negative costs that means that the directed graph of positive costs, with an edge from
every response to every j with T_j > 0, is strongly connected (for DPO: Ford 1957's condition that every response beats,
directly or through others, every other). Where it fails, the loss keeps falling as the sink components of that graph
win out. For costs of both signs (robust DPO) a linear program decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from .._types import Floats, Indices, Mask

WARSHALL = 32
"""Graphs of so many vertices at most are followed for all prompts at a time (Warshall 1962)."""


@dataclass(frozen=True)
class Structure:
    """How one prompt's responses fall apart.

    pieces: sets of responses on each of which a minimiser exists; they are solved one by one.
    lost: responses whose probability tends to zero along every minimising sequence (empty where a minimiser exists).
    components: the connected components of the comparison graph.
    """

    pieces: tuple[tuple[int, ...], ...]
    lost: tuple[int, ...]
    components: tuple[tuple[int, ...], ...]

    @property
    def split(self) -> bool:
        """Whether there is more to put together than one piece."""
        return len(self.pieces) > 1 or bool(self.lost)

    def masses(self, target: Floats, reference: Floats) -> Floats:
        """Mass of each piece, (places, pieces).

        target: the weights of -log pi, or the reference, (places, n): masses are in proportion to it. A piece has its
        component's mass; pieces of one component share it in proportion too, those without any weight as the reference.
        """
        masses = np.empty((len(target), len(self.pieces)))
        for component in self.components:
            inside = [k for k, piece in enumerate(self.pieces) if piece[0] in component]
            if inside:
                own, plain = (
                    np.stack([weights[:, list(self.pieces[k])].sum(axis=1) for k in inside], axis=1)
                    for weights in (target, reference)
                )
                own = np.where(own.sum(axis=1, keepdims=True) > 0, own, plain)
                total = target[:, list(component)].sum(axis=1, keepdims=True)
                masses[:, inside] = total * (own / own.sum(axis=1, keepdims=True))
        return masses / target.sum(axis=1, keepdims=True)


def whole(n: int) -> Structure:
    """All responses in one piece."""
    return Structure((tuple(range(n)),), (), (tuple(range(n)),))


def with_recession(cost: Mask, linked: Mask, held: Mask) -> list[tuple[Structure, Indices]]:
    """Pieces on which the recession function is positive, for costs that are nowhere negative: of many prompts.

    cost: (prompts, n, n), where raising one response over another costs. linked: likewise, the comparison graph. held:
    (prompts, n), the responses whose -log pi has weight. Returns the distinct structures, and the prompts of each.

    In a component the pieces are the strongly connected parts of the graph of costs that no cost leaves; of these, what
    has no weight beside what has some loses all mass.
    """
    n = held.shape[1]
    component = labels_of(linked, strong=False)
    beside = component[:, :, None] == component[:, None, :]
    holds = (cost | held[:, None, :]) & beside  # raising anything over a response that is held costs
    part = labels_of(holds, strong=True)
    together = part[:, :, None] == part[:, None, :]
    leaves = (holds & ~together).any(axis=2, keepdims=True)
    left = (together & np.swapaxes(leaves, 1, 2)).any(axis=2)
    weighty = (together & held[:, None, :]).any(axis=2)
    part = np.where(left | (held.any(axis=1, keepdims=True) & ~weighty), n, part)
    both = np.concatenate([component, part], axis=1)
    if n <= 8:  # 16 digits of base 9 fit into an integer, which sort faster than rows
        _, first, which = np.unique(both @ 9 ** np.arange(2 * n), return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    places = np.split(order, np.cumsum(np.bincount(which.reshape(-1)))[:-1])
    return [(_of_labels(component[k], part[k]), own) for k, own in zip(first, places, strict=True)]


def _of_labels(component: Indices, part: Indices) -> Structure:
    """The structure of one prompt, from labels that are the first response of each set; n for what is lost."""
    n = len(part)
    kept = [tuple(np.flatnonzero(part == k).tolist()) for k in np.unique(part) if k < n]
    pieces = sorted(kept, key=lambda piece: (component[piece[0]], piece))
    return _structure(pieces, tuple(tuple(np.flatnonzero(component == k).tolist()) for k in np.unique(component)), n)


def labels_of(graph: Mask, strong: bool) -> Indices:
    """The (strongly) connected part of each vertex, (prompts, n), by its first one; of graphs (prompts, n, n)."""
    n = graph.shape[1]
    if n > WARSHALL:
        return np.stack([_first_of_parts(one, strong) for one in graph])
    reach = graph | np.eye(n, dtype=bool)
    if not strong:
        reach |= np.swapaxes(reach, 1, 2)
    for k in range(n):
        reach |= reach[:, :, k, None] & reach[:, None, k, :]
    return np.asarray((reach & np.swapaxes(reach, 1, 2)).argmax(axis=2))


def _first_of_parts(graph: Mask, strong: bool) -> Indices:
    _, label = connected_components(graph, directed=strong, connection="strong")
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label])


def _structure(pieces: list[tuple[int, ...]], components: tuple[tuple[int, ...], ...], n: int) -> Structure:
    kept = {response for piece in pieces for response in piece}
    return Structure(tuple(pieces), tuple(sorted(set(range(n)) - kept)), components)


def with_signed_recession(cost: Floats, linked: Mask, held: Floats, straight: bool = False) -> Structure:
    """The same for costs (n, n) of both signs, and weights (n,) of -log pi.

    straight: whether the loss is a maximum of straight lines far out, and attained where its recession function is 0.
    """
    n = len(cost)
    components = parts_of(linked, range(n), directed=False)
    pieces: list[tuple[int, ...]] = []
    waiting = list(components)
    while waiting:
        members = waiting.pop(0)
        split = parts_of(linked, members, directed=False)
        if len(members) == 1:
            pieces.append(members)
        elif len(split) > 1:
            waiting = list(split) + waiting
        else:
            direction = _falling_direction(cost[np.ix_(members, members)], held[list(members)], straight)
            if direction is None:
                pieces.append(members)
            else:
                top = direction.max() - 1e-6
                waiting.insert(0, tuple(m for m, d in zip(members, direction, strict=True) if d > top))
    return _structure(pieces, components, n)


def _falling_direction(cost: Floats, held: Floats, straight: bool) -> Floats | None:
    """A direction d that is not constant and along which the recession function is not positive, or None.

    One linear program over 0 <= d <= 1 finds the steepest direction along which it is negative. Where there is none, it
    may still be 0 along some: then the response that is farthest from the first is put 1 away, each in turn and on both
    sides.
    """
    program = _Recession(cost, held)
    n, least = len(cost), 1e-9 * max(float(np.abs(cost).max()), float(held.max()))
    value, direction = program.lowest([(0.0, 1.0)] * n)
    if value < -least:
        return direction
    for farthest in range(1, 1 if straight else n):
        for end in (-1.0, 1.0):
            bounds = [(0.0, 0.0), *[(-1.0, 1.0)] * (n - 1)]
            bounds[farthest] = (end, end)
            value, direction = program.lowest(bounds)
            if value <= least:
                return direction
    return None


class _Recession:
    """The recession function of n responses as the objective of linear programs in d, heights of pairs, and max d."""

    def __init__(self, cost: Floats, held: Floats) -> None:
        first, second = np.nonzero(np.triu((cost != 0) | (cost != 0).T, 1))
        self.n, edges = len(cost), len(first)
        rows = np.arange(edges)
        upper = np.zeros((2 * edges + self.n, self.n + edges + 1))
        for block, (up, down) in enumerate(((first, second), (second, first))):
            # height_e >= cost of raising first over second, and the reverse
            upper[block * edges + rows, up] = cost[up, down]
            upper[block * edges + rows, down] = -cost[up, down]
            upper[block * edges + rows, self.n + rows] = -1.0
        upper[2 * edges :, : self.n], upper[2 * edges :, -1] = np.eye(self.n), -1.0  # max d >= d_i
        self.upper, self.free = upper, [(None, None)] * (edges + 1)
        self.objective = np.concatenate([-held, np.ones(edges), [held.sum()]])

    def lowest(self, bounds: list[tuple[float, float]]) -> tuple[float, Floats]:
        """The least value over d within bounds, and d; inf where the program is not solved."""
        zero = np.zeros(len(self.upper))
        found = linprog(self.objective, A_ub=self.upper, b_ub=zero, bounds=[*bounds, *self.free], method="highs-ds")
        if not found.success or found.fun is None:
            return np.inf, zero
        return float(found.fun), np.asarray(found.x)[: self.n]


def parts_of(adjacency: Mask, members: Sequence[int], directed: bool) -> tuple[tuple[int, ...], ...]:
    """Connected (strongly, where directed) components among ``members``, in the order of their first responses."""
    members = list(members)
    _, labels = connected_components(adjacency[np.ix_(members, members)], directed=directed, connection="strong")
    groups: dict[int, list[int]] = {}
    for member, label in zip(members, labels, strict=True):
        groups.setdefault(int(label), []).append(member)
    return tuple(tuple(group) for group in groups.values())
