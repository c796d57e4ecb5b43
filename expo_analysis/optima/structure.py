"""Which responses an objective ties together: existence and uniqueness, decided before any number is computed.

A loss of log-ratios only couples responses within a connected component of the comparison graph; so it does beside a
cross-entropy, which tells each component its mass: in proportion to the weights of -log pi in it (for EXPO, the mass
under the reference). A convex loss has a minimiser on a component if and only if its recession function

    sum_(i,j) cost_ij max(d_i - d_j, 0) + sum_j T_j (max d - d_j),   cost_ij = wins_ij psi'(inf) - wins_ji psi'(-inf),

is positive for every direction d that is not constant; T_j are the weights of the cross-entropy. For non-negative costs
that means that the directed graph of positive costs, with an edge from every response to every j with T_j > 0, is
strongly connected (for DPO: Ford 1957's condition that every response beats, directly or through others, every other).
Where it fails, the loss keeps falling as the sink components of that graph win out, unless psi is flat from some margin
on, and then the infimum is attained. For costs of both signs (robust DPO) a linear program decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..divergences import Alpha, ForwardKL, JensenShannon, MixedChiSquare, ReverseKL
from ..losses.base import Objective, RewardObjective
from ..losses.data import Datum
from ..losses.facts import Facts
from .solution import Status


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

    def masses(self, target: Floats) -> Floats:
        """Mass of each piece, (places, pieces).

        target: the weights of -log pi, or the reference, (places, n): masses are in proportion to it. A piece has its
        component's mass; pieces of one component share it in proportion too.
        """
        masses = np.empty((len(target), len(self.pieces)))
        for component in self.components:
            inside = [k for k, piece in enumerate(self.pieces) if piece[0] in component]
            if inside:
                own = np.stack([target[:, list(self.pieces[k])].sum(axis=1) for k in inside], axis=1)
                total = target[:, list(component)].sum(axis=1, keepdims=True)
                masses[:, inside] = total * (own / own.sum(axis=1, keepdims=True))
        return masses / target.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Structures:
    """How the problems of an objective on a bandit fall apart, at (lambda, prompt) pairs in the order of lambdas.

    groups: the distinct structures, and the places that have each. exists: (places,), whether a minimiser is known to
    exist on every piece, convex or not. likelihood: (places, n), what likelihoods bring to the weights of -log pi; None
    where there are none. target: all of these weights, up to a factor; None without any. assumed: whether existence is
    assumed, as costs of both signs make it expensive to decide; see `decided`.
    """

    groups: list[tuple[Structure, Indices]]
    exists: Mask
    likelihood: Floats | None
    target: Floats | None
    assumed: bool = False


def data_of(bandit: Bandit) -> Datum:
    """What parameters of terms may depend on: log pi_ref of winner and loser of all ordered pairs, (prompts, n, n)."""
    log_reference = np.log(bandit.reference.reshape(-1, bandit.n))
    full = np.broadcast_to(log_reference[:, :, None], (*log_reference.shape, bandit.n))
    return {"ref_logp_w": full, "ref_logp_l": np.swapaxes(full, -1, -2)}


def structures(objective: Objective, bandit: Bandit, lams: Floats, data: Datum) -> Structures:
    """The structures of an objective's problems at lambdas (L,) at which the same is known of it, for every prompt."""
    n, prompts = bandit.n, bandit.prompts or 1
    wins, reference = bandit.wins.reshape(prompts, n, n), bandit.reference.reshape(prompts, n)
    facts = objective.with_lam(lams[0]).facts_at(data)
    likelihood = _likelihood(objective, facts, wins, lams, data)
    places = len(lams) * prompts
    if not _splits(objective, facts, bandit):
        return Structures([(whole(n), np.arange(places))], np.full(places, _held_inside(facts)), likelihood, None)
    target = likelihood
    if facts.regulariser is not None:  # it is forward KL
        pull = (lams[:, None, None] * reference).reshape(-1, n)
        target = pull if target is None else target + pull
    held = np.zeros((prompts, n), dtype=bool) if target is None else target[:prompts] > 0  # whatever lambda is
    linked = bandit.pairs.reshape(prompts, n, n) > 0
    known = _costs(facts, wins, linked)
    assumed = known is not None and _has_both_signs(facts)
    holds = linked if known is None or assumed else known[0] > 0
    groups = _grouped(holds, linked, held, len(lams))
    exists = np.full(places, known is not None)
    if known is None:
        for structure, at in groups:
            held_up = {prompt: _coercive(facts, wins[prompt], structure) for prompt in np.unique(at % prompts).tolist()}
            exists[at] = [held_up[prompt] for prompt in (at % prompts).tolist()]
    return Structures(groups, exists, likelihood, target, assumed)


def _grouped(holds: Mask, linked: Mask, held: Mask, lams: int) -> list[tuple[Structure, Indices]]:
    """The distinct structures of prompts, each built once, and the places that have it, as `Structures.groups`."""
    prompts = len(holds)
    keys = np.concatenate([holds, linked, held[:, None]], axis=1).reshape(prompts, -1)
    if (keys == keys[0]).all():
        first, which = np.zeros(1, dtype=np.intp), np.zeros(prompts, dtype=np.intp)
    else:
        _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    found: dict[Structure, list[Indices]] = {}
    for group, prompt in enumerate(first):
        structure = with_recession(holds[prompt], linked[prompt], held[prompt])
        found.setdefault(structure, []).append(np.flatnonzero(which.reshape(-1) == group))
    starts = np.arange(lams)[:, None] * prompts
    return [(structure, np.sort((starts + np.concatenate(own)).reshape(-1))) for structure, own in found.items()]


def _held_inside(facts: Facts) -> bool:
    """Whether the regulariser keeps every minimising sequence off the simplex's boundary, whatever the data. [ours]

    Let a response's probability e tend to 0. An f-divergence with f'(0+) = -inf falls by the order of e |f'(e)| if e is
    raised: e log(1/e) for reverse KL and Jensen-Shannon, e^(1-alpha) for alpha-divergences. A pair loss that is bounded
    below and nears its infimum at the rate r in the log-ratio rises by the order of e^r. So the divergence wins if r >=
    1 (r > 1 - alpha).
    """
    regulariser = facts.regulariser
    bounded = facts.lower_bound is not None and bool(np.all(np.isfinite(facts.lower_bound)))
    if not (bounded and facts.log_ratio_only and facts.decay is not None):
        return False
    rate = min(facts.decay)
    if type(regulariser) in (ReverseKL, JensenShannon, MixedChiSquare):
        return rate >= 1
    return isinstance(regulariser, Alpha) and rate > 1 - regulariser.alpha


def _coercive(facts: Facts, wins: Floats, structure: Structure) -> bool:
    """Whether the loss tends to infinity in every direction of each piece, convex or not. [ours]

    A psi that is bounded below and rises on one side holds whatever loses often enough: around any cycle of comparisons
    that costs, some log-ratio tends to where psi rises.
    """
    if facts.lower_bound is None or facts.slopes is None or not np.all(np.isfinite(facts.lower_bound)):
        return False
    left, right = (np.asarray(end, dtype=np.float64) for end in facts.slopes)
    if left.ndim > 1 or (left > 0).any() or (right < 0).any():
        return False
    cost = ((wins.T > 0) & (left < 0).all()) | ((wins > 0) & (right > 0).all())
    return all(len(_groups(cost, piece, directed=True)) == 1 for piece in structure.pieces)


def decided(objective: Objective, bandit: Bandit, lam: float, prompt: int, data: Datum) -> Structure:
    """The structure of one problem whose costs have both signs, by linear programs."""
    n = bandit.n
    wins, linked = bandit.wins.reshape(-1, n, n)[[prompt]], bandit.pairs.reshape(-1, n, n)[[prompt]] > 0
    own = {name: array[[prompt]] for name, array in data.items()}
    facts = objective.with_lam(lam).facts_at(own)
    known = _costs(facts, wins, linked)
    assert known is not None
    cost, unit = known
    likelihood = _likelihood(objective, facts, wins, np.array([lam]), own)
    held = np.zeros(n) if likelihood is None else likelihood[0] / unit
    return with_signed_recession(cost[0], linked[0], held)


def _likelihood(objective: Objective, facts: Facts, wins: Floats, lams: Floats, data: Datum) -> Floats | None:
    """What winners and losers add to the weights of -log pi, (lambdas times prompts, n)."""
    if not facts.likelihood or facts.general:
        return None
    axis = {"w": -1, "l": -2}

    def share(weight: Any, slot: str) -> Floats:
        """The sum of the weights of the pairs that each response wins, or loses."""
        if np.ndim(weight) == 0:
            return np.asarray(weight * wins.sum(axis=axis[slot]))
        return np.asarray((weight * wins).sum(axis=axis[slot]))

    found = []
    for lam in lams:
        a = objective.with_lam(float(lam)).facts_at(data).likelihood
        found.append(sum(share(weight, slot) for slot, weight in a.items()))
    return np.concatenate(found)


def _costs(facts: Facts, wins: Floats, linked: Mask) -> tuple[Floats, float] | None:
    """cost (prompts, n, n) of the recession function, and the unit it is told in; None where it is not known.

    Every pair that is compared holds both ends where slopes grow without bound on both sides, and where psi is flat
    from some margin on: then the infimum is attained. (Beside a likelihood it is not: that still falls.)
    """
    convex = facts.convex or (facts.link is not None and facts.psis_convex)
    if not convex or facts.slopes is None or facts.decay is None:
        return None
    left, right = (np.asarray(end, dtype=np.float64) for end in facts.slopes)
    flat = [bool(np.all(end == 0)) and rate == np.inf for end, rate in zip((left, right), facts.decay, strict=True)]
    flattens = any(flat) and not all(flat) and not facts.likelihood
    if flattens or (np.isinf(left).all() and np.isinf(right).all()):
        return linked.astype(np.float64), 1.0
    largest = max(np.abs(end[np.isfinite(end)]).max(initial=0.0) for end in (left, right)) or 1.0
    left, right = (np.clip(end / largest, -1e3, 1e3) for end in (left, right))
    return np.asarray(wins * right - np.swapaxes(wins * left, -1, -2)), float(largest)


def _has_both_signs(facts: Facts) -> bool:
    """Whether a pair's loss may fall for ever on one side, so that costs can be negative."""
    assert facts.slopes is not None
    left, right = facts.slopes
    return bool(np.any(np.asarray(left) > 0) or np.any(np.asarray(right) < 0))


def _splits(objective: Objective, facts: Facts, bandit: Bandit) -> bool:
    """Whether connected components can be solved one by one.

    Log-ratio losses do not see across components; beside a cross-entropy, components have the masses that it tells and
    then do not see each other either. A loss of scores splits in these, if every score is some policy's.
    """
    if isinstance(objective, RewardObjective):
        return bandit.optimal is None  # a reward that is given ranks all responses
    if facts.link is not None and facts.psis_convex:
        return bool(facts.link.mu_at_zero == -np.inf)
    if not (facts.regulariser is None or type(facts.regulariser) is ForwardKL):
        return False
    return facts.log_ratio_only or not facts.general


def describe(objective: Objective, structure: Structure, held: bool, signed: bool) -> tuple[Status, str]:
    """Status and message that follow from the structure alone.

    held: whether a cross-entropy tells components their masses. signed: whether costs have both signs.
    """
    notes = []
    if structure.lost:
        lost = list(structure.lost)
        why = f"responses {lost} lose every comparison that could hold them up"
        if signed:
            why = (
                f"against responses {lost} preferences are stronger than the loss allows for, and it has no lower bound"
            )
        elif held:
            why = f"responses {lost} never win"
        notes.append(
            f"no minimiser: {why}, so the loss keeps falling as their probability tends to 0; the policy is that limit"
        )
    if len(structure.pieces) > len(structure.components):
        notes.append(
            f"the data do not rank {_names(structure.pieces)} against each other: they share their component's "
            "mass as the reference does"
        )
    if len(structure.components) > 1:
        if held and not notes:
            expo = objective.facts_at(None).likelihood == {}
            mass = "keeps its mass under the reference" if expo else "has a mass of its own at the minimiser"
            return Status.OPTIMAL, f"the comparison graph has components {_names(structure.components)}; each {mass}"
        alone = [c for (c, *rest) in structure.components if not rest]
        unseen = f" (responses {alone} are in no comparison)" if alone else ""
        if not held:
            notes.append(
                f"the comparison graph has components {_names(structure.components)}{unseen}, whose total masses the "
                "objective leaves open; the policy returned keeps each at its mass under the reference"
            )
    status = Status.NO_MINIMISER if structure.lost else Status.NOT_UNIQUE if notes else Status.OPTIMAL
    return status, "; ".join(notes) or "the minimiser"


def _names(groups: Sequence[Sequence[int]]) -> str:
    return ", ".join(str(list(group)) for group in groups)


def whole(n: int) -> Structure:
    """All responses in one piece."""
    return Structure((tuple(range(n)),), (), (tuple(range(n)),))


def with_recession(cost: Mask, linked: Mask, held: Mask) -> Structure:
    """Pieces on which the recession function is positive, for costs that are nowhere negative.

    cost: (n, n), where raising one response over another costs. linked: (n, n), the comparison graph. held: (n,), the
    responses whose -log pi has weight.
    """
    n = len(cost)
    holds = cost | held  # raising anything over a response that is held costs
    components = (tuple(range(n)),) if (linked | np.eye(n, dtype=bool)).all() else _groups(linked, range(n), False)
    pieces: list[tuple[int, ...]] = []
    waiting = list(components)
    while waiting:
        members = waiting.pop(0)
        if len(members) == 1:
            pieces.append(members)
            continue
        strong = _groups(holds, members, directed=True)
        winners = [s for s in strong if not holds[np.ix_(s, sorted(set(members) - set(s)))].any()]
        if winners == [members]:
            pieces.append(members)
        else:
            waiting = winners + waiting
    if held.any():  # what has no weight beside what has some loses all mass
        pieces = [piece for piece in pieces if held[list(piece)].any()]
    return _structure(pieces, components, n)


def _structure(pieces: list[tuple[int, ...]], components: tuple[tuple[int, ...], ...], n: int) -> Structure:
    kept = {response for piece in pieces for response in piece}
    return Structure(tuple(pieces), tuple(sorted(set(range(n)) - kept)), components)


def with_signed_recession(cost: Floats, linked: Mask, held: Floats) -> Structure:
    """The same for costs (n, n) of both signs, and weights (n,) of -log pi."""
    n = len(cost)
    components = _groups(linked, range(n), directed=False)
    pieces: list[tuple[int, ...]] = []
    waiting = list(components)
    while waiting:
        members = waiting.pop(0)
        split = _groups(linked, members, directed=False)
        if len(members) == 1:
            pieces.append(members)
        elif len(split) > 1:
            waiting = list(split) + waiting
        else:
            direction = _falling_direction(cost[np.ix_(members, members)], held[list(members)])
            if direction is None:
                pieces.append(members)
            else:
                top = direction.max() - 1e-6
                waiting.insert(0, tuple(m for m, d in zip(members, direction, strict=True) if d > top))
    return _structure(pieces, components, n)


def _falling_direction(cost: Floats, held: Floats) -> Floats | None:
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
    for farthest in range(1, n):
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


def _groups(adjacency: Mask, members: Sequence[int], directed: bool) -> tuple[tuple[int, ...], ...]:
    """Connected (strongly, where directed) components among ``members``, in the order of their first responses."""
    members = list(members)
    _, labels = connected_components(adjacency[np.ix_(members, members)], directed=directed, connection="strong")
    groups: dict[int, list[int]] = {}
    for member, label in zip(members, labels, strict=True):
        groups.setdefault(int(label), []).append(member)
    return tuple(tuple(group) for group in groups.values())
