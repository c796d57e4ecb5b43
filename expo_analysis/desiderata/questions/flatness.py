"""Flat directions: other policies with the same lowest value."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import log_softmax

from ..._types import Floats, Mask
from ...bandit import Bandit
from ...losses import PairObjective
from ...optima.scores import from_scores
from ..falsify.problems import moderate
from ..subject import Optima, Subject, facts_of, losses_of_pairs

GRAPHS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "a response in no pair": (3, ((0, 1),)),
    "two components": (4, ((0, 1), (2, 3))),
    "two components and a response in no pair": (5, ((0, 1), (2, 3))),
    "a connected chain": (4, ((0, 1), (1, 2), (2, 3))),
    "all pairs": (3, ((0, 1), (0, 2), (1, 2))),
}
"""Comparison graphs: the number of responses, and the pairs."""


LAMS = np.array([0.3, 3.0, 0.01, 100.0, 1e-5, 1e5])
LIGHT = 0.15
"""The effort below which a loss that is solved slowly is so at the first three of them only."""


def on_graphs(subject: Subject) -> Iterator[tuple[str, Bandit, Optima]]:
    """Problems on each of the `GRAPHS`, which are named, and their optima at the `LAMS`, or the first of them."""
    rng, count = subject.rng("graphs"), subject.count(50, least=2)
    lams = LAMS if subject.fast or subject.effort >= LIGHT else LAMS[:3]
    for name, (n, edges) in GRAPHS.items():
        q = np.zeros((n, n))
        for i, j in edges:
            q[i, j] = q[j, i] = 1.0
        reference, optimal = (np.round(moderate(rng, count, n) * 0.8 + 0.2 / n, 3) for _ in range(2))
        reference, optimal = (x / x.sum(axis=1, keepdims=True) for x in (reference, optimal))
        bandit = Bandit(reference, optimal, q)
        yield name, bandit, subject.once(("graphs", name, count, len(lams)), partial(subject.optima, bandit, lams))


@dataclass(frozen=True)
class Flat:
    """Two log-policies with the same lowest value at one lambda."""

    lam: float
    first: Floats
    second: Floats
    value: float
    other_value: float


def other_minimiser(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> Flat | None:
    """A policy with the value of the minimiser ``log_policy`` (n,), found by moving the scores of sets of responses up
    and down together (log pi, or mu(pi / pi_ref) where the loss is made of that); None where there is none."""
    n = bandit.n
    own = float(subject.value(bandit, lam, log_policy))
    moves = [np.array(move, dtype=float) for move in itertools.product((0.0, 1.0), repeat=n) if 0 < sum(move) < n]
    objective, facts = subject.objective, facts_of(subject.at(lam))
    link = facts.link if facts.psis_convex else None
    for size in (0.3, -0.3):
        if link is not None:
            scores = link.mu(log_policy - np.log(bandit.reference))
            moved = scores[:, None] + size * np.stack(moves, axis=1)
            log_reference = np.repeat(np.log(bandit.reference)[:, None], len(moves), axis=1)
            others = from_scores(link, log_reference, moved, np.zeros(len(moves)))[0].T
        else:
            others = log_softmax(log_policy + size * np.stack(moves), axis=1)
        values = subject.value(bandit, lam, others)
        flat = np.abs(values - own) <= 1e-13 * (1 + abs(own))
        flat &= _flat_indeed(subject, bandit, lam, others, log_policy, float(np.ptp(values)) > 1e-4 * (1 + abs(own)))
        if flat.any() and isinstance(objective, PairObjective) and link is None:
            flat &= level(subject, bandit, lam, others, np.stack(moves))
            if not facts.convex:  # nor does a plateau go on to both sides; a minimum is flat all along
                for far in (-3.0, 3.0):
                    there = subject.value(bandit, lam, log_softmax(log_policy + far * np.stack(moves), axis=1))
                    flat &= np.abs(there - own) <= 1e-13 * (1 + abs(own))
        if flat.any():
            k = int(np.argmax(flat))
            return Flat(lam, log_policy, others[k], own, float(values[k]))
    return None


def level(subject: Subject, bandit: Bandit, lam: float, log_policies: Floats, moves: Floats) -> Mask:
    """Whether the slope at each of ``log_policies`` (count, n) is zero along each of ``moves`` in the logits.

    On a plateau, where a loss falls by less than values can show, the parts that add up to the slope are tiny too, but
    do not cancel. Parts that are all zero tell nothing, unless they are so at pi_ref as well.
    """
    objective = subject.at(lam)
    assert isinstance(objective, PairObjective)
    winner, loser, weight = bandit.edges
    log_reference = np.log(bandit.reference)

    def parts(at: Floats, along: Floats) -> Floats:
        """(count, parts): of the slope at ``at`` along ``along``, (count, n) both."""
        shift = along - (np.exp(at) * along).sum(axis=1, keepdims=True)
        ends = [torch.tensor(at[:, end]).requires_grad_(True) for end in (winner, loser)]
        reference = [torch.tensor(log_reference[end]).expand_as(ends[0]) for end in (winner, loser)]
        losses = losses_of_pairs(objective, bandit, ends, reference)
        slopes = torch.autograd.grad(losses.sum(), ends, allow_unused=True)
        found = [
            weight * slope.numpy() * shift[:, end]
            for slope, end in zip(slopes, (winner, loser), strict=True)
            if slope is not None
        ]
        if objective.regulariser is not None:
            policies = torch.tensor(at).requires_grad_(True)
            terms = objective.regulariser.terms(policies, torch.tensor(log_reference).expand_as(policies))
            (slope,) = torch.autograd.grad(terms.sum(), [policies])
            found.append(lam * slope.numpy() * shift)
        return np.concatenate(found, axis=1)

    here = parts(log_policies, moves)
    size = np.abs(here).sum(axis=1)
    nothing = not parts(np.tile(log_reference, (len(moves), 1)), moves).any()
    return np.asarray((np.abs(here.sum(axis=1)) <= 1e-9 * size) & ((size > 0) | nothing))


def _flat_indeed(
    subject: Subject, bandit: Bandit, lam: float, others: Floats, log_policy: Floats, resolved: bool
) -> Mask:
    """Whether the value at each of ``others`` (count, n) is the same, and not only its digits.

    A large constant hides everything else: unless the values are ``resolved``, as those elsewhere differ, the gradient
    must vanish too. A large loss hides a small regulariser: that must be the same by itself.
    """
    flat = np.ones(len(others), dtype=bool)
    if not resolved:
        points = np.concatenate([others, np.log(bandit.reference)[None]])
        steps = np.abs(subject.gradient(bandit, lam, points)).max(axis=1)
        flat &= steps[:-1] <= 1e-6 * steps.max()
    regulariser = getattr(subject.objective, "regulariser", None)
    if regulariser is not None:
        both = torch.tensor(np.concatenate([others, log_policy[None]]))
        distance = regulariser(both, torch.tensor(np.log(bandit.reference)).expand_as(both)).numpy()
        flat &= np.abs(distance[:-1] - distance[-1]) <= 1e-9 * (1 + np.abs(distance[-1]))
    return flat
