"""Which responses an objective ties together: existence and uniqueness, decided before any number is computed.

A loss of log-ratios only couples responses within a connected component of the comparison graph. A psi whose slopes
are finite has a minimiser on a component if and only if its recession function
    sum_(i,j) cost_ij max(d_i - d_j, 0),   cost_ij = wins_ij psi'(inf) - wins_ji psi'(-inf),
is positive for every direction d that is not constant. For non-negative costs that means that the directed graph of
positive costs is strongly connected (for DPO: Ford 1957's condition that every response beats, directly or through
others, every other). Where it fails, the loss keeps falling as the sink components of that graph win out. For costs of
both signs (robust DPO) a linear program decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from ..bandit import Bandit
from ..divergences import ForwardKL
from ..losses import DPO, RLHF, Objective, PairObjective, QuasiconvexObjective

Floats = NDArray[np.float64]


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

    def masses(self, reference: Floats) -> Floats:
        """Mass of each piece (prompts, pieces), from the reference (prompts, n).

        A piece has its component's mass under the reference; pieces of one component share it as the reference does.
        """
        if not self.split:
            return np.ones((len(reference), 1))
        masses = np.empty((len(reference), len(self.pieces)))
        for component in self.components:
            inside = [k for k, piece in enumerate(self.pieces) if piece[0] in component]
            own = np.stack([reference[:, list(self.pieces[k])].sum(axis=1) for k in inside], axis=1)
            total = reference[:, list(component)].sum(axis=1, keepdims=True)
            masses[:, inside] = total * (own / own.sum(axis=1, keepdims=True))
        return masses


def structures(objective: Objective, bandit: Bandit) -> list[tuple[Structure, NDArray[np.intp]]]:
    """The distinct structures of an objective's problems, and the prompts that have each, in order."""
    n, prompts = bandit.n, bandit.prompts or 1
    if isinstance(objective, RLHF):
        # on counts RLHF first fits a reward by maximum likelihood, and its scores are those of DPO
        tied: Objective | None = None if bandit.optimal is not None else DPO(1.0)
    else:
        tied = objective if _splits(objective) else None
    if tied is None:
        return [(whole(n), np.arange(prompts))]

    slopes = np.array([-np.inf, np.inf])
    if isinstance(tied, QuasiconvexObjective) and tied.linear_pieces is None:  # straight lines attain their minimum
        slopes = np.array(tied.psi_slopes())
    elif isinstance(tied, PairObjective) and (limits := tied.ratio_slopes()) is not None:
        slopes = np.array(limits)
    cost: Floats | None = None
    if np.isfinite(slopes).all():
        wins = bandit.wins.reshape(prompts, n, n)
        cost = (wins * slopes[1] - np.swapaxes(wins, -1, -2) * slopes[0]) / np.abs(slopes).max()
        keys: NDArray[Any] = cost if (cost < 0).any() else cost > 0
    else:
        keys = bandit.pairs.reshape(prompts, n, n) > 0

    def build(prompt: int) -> Structure:
        return with_recession(cost[prompt]) if cost is not None else components_of(keys[prompt])

    if (keys == keys[0]).all():
        return [(build(0), np.arange(prompts))]
    _, first, which = np.unique(keys.reshape(prompts, -1), axis=0, return_index=True, return_inverse=True)
    found: dict[Structure, list[NDArray[np.intp]]] = {}
    for group, prompt in enumerate(first):
        found.setdefault(build(int(prompt)), []).append(np.flatnonzero(which.reshape(-1) == group))
    return [(structure, np.sort(np.concatenate(members))) for structure, members in found.items()]


def _splits(objective: Objective) -> bool:
    """Whether connected components can be solved one by one.

    Log-ratio losses without a regulariser do not see across components; with forward KL, components keep their masses
    under the reference (the conservation law) and then do not see each other either. A QPO loss splits in its scores.
    """
    if isinstance(objective, QuasiconvexObjective):
        return bool(objective.link.mu_at_zero == -np.inf)
    if not isinstance(objective, PairObjective):
        return False
    return objective.claims.log_ratio_only and (
        objective.regulariser is None or type(objective.regulariser) is ForwardKL
    )


def describe(objective: Objective, structure: Structure) -> tuple[str, str]:
    """Status and message that follow from the structure alone."""
    regularised = isinstance(objective, PairObjective) and objective.regulariser is not None
    notes = []
    if structure.lost:
        notes.append(
            f"no minimiser: responses {list(structure.lost)} lose every comparison that could hold them up, so the "
            "loss keeps falling as their probability tends to 0; the policy is that limit"
        )
        if len(structure.pieces) > len(structure.components):
            notes.append(
                f"the data do not rank {_names(structure.pieces)} against each other: they share their component's "
                "mass as the reference does"
            )
    if len(structure.components) > 1:
        if regularised:
            return "optimal", (
                f"the comparison graph has components {_names(structure.components)}; each keeps its mass under the "
                "reference"
            )
        alone = [c for (c, *rest) in structure.components if not rest]
        unseen = f" (responses {alone} are in no comparison)" if alone else ""
        notes.append(
            f"the comparison graph has components {_names(structure.components)}{unseen}, whose total masses the "
            "objective leaves open; the policy returned keeps each at its mass under the reference"
        )
    status = "no_minimiser" if structure.lost else "not_unique" if notes else "optimal"
    return status, "; ".join(notes) or "the minimiser"


def _names(groups: Sequence[Sequence[int]]) -> str:
    return ", ".join(str(list(group)) for group in groups)


def whole(n: int) -> Structure:
    """All responses in one piece."""
    return Structure((tuple(range(n)),), (), (tuple(range(n)),))


def components_of(linked: NDArray[np.bool_]) -> Structure:
    """One piece per connected component of the comparison graph ``linked`` (n, n)."""
    if (linked | np.eye(len(linked), dtype=bool)).all():
        return whole(len(linked))
    pieces = _groups(linked, range(len(linked)), directed=False)
    return Structure(pieces, (), pieces)


def with_recession(cost: Floats) -> Structure:
    """Pieces on which the recession function of ``cost`` (n, n) is positive; see the module's docstring."""
    linked = (cost != 0) | (cost != 0).T
    components = _groups(linked, range(len(cost)), directed=False)
    pieces: list[tuple[int, ...]] = []
    waiting = list(components)
    while waiting:
        members = waiting.pop(0)
        winners = _winners(cost, linked, members)
        if winners == (members,):
            pieces.append(members)
        else:
            waiting = list(winners) + waiting
    kept = {response for piece in pieces for response in piece}
    return Structure(tuple(pieces), tuple(sorted(set(range(len(cost))) - kept)), components)


def _winners(cost: Floats, linked: NDArray[np.bool_], members: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The members themselves where a minimiser exists on them, else the smaller sets to which all mass goes."""
    if len(members) == 1:
        return (members,)
    split = _groups(linked, members, directed=False)
    if len(split) > 1:
        return split
    inside = cost[np.ix_(members, members)]
    if (inside >= 0).all():
        strong = _groups(cost > 0, members, directed=True)
        return tuple(s for s in strong if not (cost[np.ix_(s, sorted(set(members) - set(s)))] > 0).any())
    direction = _falling_direction(inside)
    if direction is None:
        return (members,)
    top = direction.max() - 1e-6
    return (tuple(m for m, d in zip(members, direction, strict=True) if d > top),)


def _falling_direction(cost: Floats) -> Floats | None:
    """A direction d that is not constant and along which the recession function is not positive, or None.

    Scaled so that the response farthest from the first is 1 away, d is found by one linear program for each response
    that can be the farthest, and each sign.
    """
    first, second = np.nonzero(np.triu((cost != 0) | (cost != 0).T, 1))
    n, edges = len(cost), len(first)
    rows = np.arange(edges)
    upper = np.zeros((2 * edges, n + edges))  # height_e >= cost of raising first over second, and the reverse
    for block, (up, down) in enumerate(((first, second), (second, first))):
        upper[block * edges + rows, up] = cost[up, down]
        upper[block * edges + rows, down] = -cost[up, down]
        upper[block * edges + rows, n + rows] = -1.0
    best: Floats | None = None
    lowest = 1e-9 * np.abs(cost).max()
    for farthest in range(1, n):
        for end in (-1.0, 1.0):
            bounds = [(0.0, 0.0), *[(-1.0, 1.0)] * (n - 1)]
            bounds[farthest] = (end, end)
            solution = linprog(
                np.r_[np.zeros(n), np.ones(edges)],
                A_ub=upper,
                b_ub=np.zeros(2 * edges),
                bounds=[*bounds, *[(None, None)] * edges],
                method="highs-ds",
            )
            if solution.success and solution.fun <= lowest:
                lowest, best = solution.fun, np.asarray(solution.x)[:n]
    return best


def _groups(adjacency: NDArray[np.bool_], members: Sequence[int], directed: bool) -> tuple[tuple[int, ...], ...]:
    """Connected (strongly, where directed) components among ``members``, in the order of their first responses."""
    members = list(members)
    _, labels = connected_components(adjacency[np.ix_(members, members)], directed=directed, connection="strong")
    groups: dict[int, list[int]] = {}
    for member, label in zip(members, labels, strict=True):
        groups.setdefault(int(label), []).append(member)
    return tuple(tuple(group) for group in groups.values())
