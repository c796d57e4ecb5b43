"""Which responses an objective ties together: existence and uniqueness, decided before any number is computed.

A loss of log-ratios only couples responses within a connected component of the comparison graph; so it does beside a
cross-entropy, which tells each component its mass: in proportion to the weights of -log pi in it (for EXPO, the mass
under the reference). On a component a convex loss has a minimiser if and only if its recession function is positive
(`expo_analysis.optima.recession`), with

    cost_ij = wins_ij psi'(inf) - wins_ji psi'(-inf),

unless psi is flat from some margin on: then the infimum is attained.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..bandit.labels import Labels, called
from ..divergences import Alpha, ForwardKL, JensenShannon, MixedChiSquare, ReverseKL
from ..losses.base import Objective, PairObjective, RewardObjective
from ..losses.data import Datum
from ..losses.facts import Facts, is_affine
from ..losses.responses import edges_of, reads_third, response_data, reward_of
from .recession import Structure, parts_of, whole, with_recession, with_signed_recession
from .solution import Status


@dataclass(frozen=True, eq=False)
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


def data_of(objective: Objective, bandit: Bandit) -> Datum:
    """What parameters of terms may depend on: log pi_ref, rewards, lengths of ordered pairs, (prompts, n, n) each."""
    n = bandit.n
    known = {"ref_logp": np.log(bandit.reference.reshape(-1, n).T), **response_data(objective, bandit)}
    datum: dict[str, Floats] = {}
    for kind, values in known.items():
        of_winner = np.broadcast_to(values.T[:, :, None], (values.shape[1], n, n))
        datum |= {f"{kind}_w": of_winner, f"{kind}_l": np.swapaxes(of_winner, -1, -2)}
    return datum


def structures(objective: Objective, bandit: Bandit, lams: Floats, data: Datum) -> Structures:
    """The structures of an objective's problems at lambdas (L,) at which the same is known of it, for every prompt."""
    n, prompts = bandit.n, bandit.prompts or 1
    wins, reference = bandit.wins.reshape(prompts, n, n), bandit.reference.reshape(prompts, n)
    facts = objective.with_lam(lams[0]).facts_at(data)
    likelihood = _likelihood(objective, facts, wins, lams, data)
    places = len(lams) * prompts
    if not _splits(objective, facts, bandit):
        return Structures([(whole(n), np.arange(places))], np.full(places, held_inside(facts)), likelihood, None)
    target = likelihood
    if facts.regulariser is not None:  # it is forward KL
        pull = (lams[:, None, None] * reference).reshape(-1, n)
        target = pull if target is None else target + pull
    held = np.zeros((prompts, n), dtype=bool) if target is None else target[:prompts] > 0  # whatever lambda is
    linked = _linked(objective, bandit)
    known = _costs(facts, wins, linked)
    assumed = known is not None and has_both_signs(facts)
    holds = linked if known is None or assumed else known[0] > 0
    groups = _grouped(holds, linked, held, len(lams))
    exists = np.full(places, known is not None)
    if known is None:
        for structure, at in groups:
            held_up = {prompt: _coercive(facts, wins[prompt], structure) for prompt in np.unique(at % prompts).tolist()}
            exists[at] = [held_up[prompt] for prompt in (at % prompts).tolist()]
    return Structures(groups, exists, likelihood, target, assumed)


def _linked(objective: Objective, bandit: Bandit) -> Mask:
    """Which responses are in one datum, (prompts, n, n)."""
    linked = bandit.pairs.reshape(-1, bandit.n, bandit.n) > 0
    if bandit.triples is None or not reads_third(objective):
        return linked
    winner, loser, third, weight = edges_of(objective, bandit)
    linked = np.zeros_like(linked)
    for prompt, used in enumerate(weight.reshape(-1, len(third)) > 0):
        for one, other in itertools.permutations((winner[used], loser[used], third[used]), 2):
            linked[prompt, one, other] = one != other
    return linked


def _grouped(holds: Mask, linked: Mask, held: Mask, lams: int) -> list[tuple[Structure, Indices]]:
    """The distinct structures of prompts, each built once, and the places that have it, as `Structures.groups`."""
    prompts, same = len(holds), all(bool((array == array[:1]).all()) for array in (holds, linked, held))
    if same:
        ((structure, _),) = with_recession(holds[:1], linked[:1], held[:1])
        return [(structure, np.arange(lams * prompts))]
    starts = np.arange(lams)[:, None] * prompts
    return [(one, (starts + own).reshape(-1)) for one, own in with_recession(holds, linked, held)]


def held_inside(facts: Facts) -> bool:
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
    return all(len(parts_of(cost, piece, directed=True)) == 1 for piece in structure.pieces)


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
    straight = facts.decay == (np.inf, np.inf) and likelihood is None
    return with_signed_recession(cost[0], linked[0], held, straight)


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
    ends, largest = _ends(facts)
    if ends is None:
        return linked.astype(np.float64), 1.0
    left, right = ends
    return np.asarray(wins * right - np.swapaxes(wins * left, -1, -2)), largest


def _ends(facts: Facts) -> tuple[tuple[Floats, Floats] | None, float]:
    """The slopes at -inf and +inf, as multiples of the largest of them, and that; None where each pair holds both ends.

    Slopes that are infinite count as a thousand times the largest that is not.
    """
    assert facts.slopes is not None and facts.decay is not None
    left, right = (np.asarray(end, dtype=np.float64) for end in facts.slopes)
    flat = [bool(np.all(end == 0)) and rate == np.inf for end, rate in zip((left, right), facts.decay, strict=True)]
    flattens = any(flat) and not all(flat) and not facts.likelihood
    if flattens or (np.isinf(left).all() and np.isinf(right).all()):
        return None, 1.0
    largest = max(np.abs(end[np.isfinite(end)]).max(initial=0.0) for end in (left, right)) or 1.0
    return (np.clip(left / largest, -1e3, 1e3), np.clip(right / largest, -1e3, 1e3)), float(largest)


def costs_of_ends(facts: Facts) -> tuple[Floats, Floats]:
    """What a pair's unit of weight costs for raising the loser over the winner far enough, and the reverse."""
    ends, _ = _ends(facts)
    left, right = (np.asarray(-1.0), np.asarray(1.0)) if ends is None else ends
    return -left, right


def has_both_signs(facts: Facts) -> bool:
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
        return reward_of(bandit) is None  # a reward that is given ranks all responses
    if facts.link is not None and facts.psis_convex:
        return bool(facts.link.mu_at_zero == -np.inf)
    if not (facts.regulariser is None or type(facts.regulariser) is ForwardKL):
        return False
    return not facts.general or all(is_affine(term.statistic) for term in facts.terms)


def describe(
    objective: Objective, structure: Structure, held: bool, signed: bool, names: Labels | None, order: str
) -> tuple[Status, str]:
    """Status and message that follow from the structure alone.

    held: whether a cross-entropy tells components their masses. signed: whether costs have both signs. names: of the
    responses. order: who is above whom in the limit.
    """
    notes = []
    single = isinstance(objective, PairObjective) and objective.single
    if structure.lost:
        lost = called(structure.lost, names)
        why = f"responses {lost} lose every comparison that could hold them up"
        if signed:
            why = (
                f"against responses {lost} preferences are stronger than the loss allows for, and it has no lower bound"
            )
        elif held:
            why = f"responses {lost} {'were never liked' if single else 'never win'}"
        notes.append(
            f"no minimiser: {why}, so the loss keeps falling as their probability tends to 0; the policy is that limit"
        )
        notes += [order] if order and not (signed or held) else []
    if len(structure.pieces) > len(structure.components):
        notes.append(
            f"the data do not rank {_names(structure.pieces, names)} against each other: they share their component's "
            "mass as the reference does"
        )
    if len(structure.components) > 1 and not (held and single):  # single ones have no graph
        parts = _names(structure.components, names)
        if held and not notes:
            expo = objective.facts_at(None).likelihood == {}
            mass = "keeps its mass under the reference" if expo else "has a mass of its own at the minimiser"
            return Status.OPTIMAL, f"the comparison graph has components {parts}; each {mass}"
        alone = [c for (c, *rest) in structure.components if not rest]
        unseen = f" (responses {called(alone, names)} are in no comparison)" if alone else ""
        if not held:
            notes.append(
                f"the comparison graph has components {parts}{unseen}, whose total masses the objective leaves open; "
                "the policy returned keeps each at its mass under the reference"
            )
    status = Status.NO_MINIMISER if structure.lost else Status.NOT_UNIQUE if notes else Status.OPTIMAL
    return status, "; ".join(notes) or "the minimiser"


def _names(groups: Sequence[Sequence[int]], names: Labels | None) -> str:
    return ", ".join(called(group, names) for group in groups)
