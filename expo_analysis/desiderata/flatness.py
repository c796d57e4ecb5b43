"""Flat directions: other policies with the same lowest value."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from ..bandit import Bandit
from ..losses import QuasiconvexObjective
from ..optima.closed_forms import from_scores
from .problems import moderate
from .subject import Optima, Subject

Floats = NDArray[np.float64]

GRAPHS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "a response in no pair": (3, ((0, 1),)),
    "two components": (4, ((0, 1), (2, 3))),
    "two components and a response in no pair": (5, ((0, 1), (2, 3))),
    "a connected chain": (4, ((0, 1), (1, 2), (2, 3))),
    "all pairs": (3, ((0, 1), (0, 2), (1, 2))),
}
"""Comparison graphs: the number of responses, and the pairs."""


LAMS = np.array([0.3, 3.0, 0.01, 100.0, 1e-5, 1e5])


def on_graphs(subject: Subject) -> Iterator[tuple[str, Bandit, Optima]]:
    """Problems on each of the `GRAPHS`, which are named, and their optima at the `LAMS`."""
    rng, count = subject.rng("graphs"), subject.count(50, least=2)
    for name, (n, edges) in GRAPHS.items():
        q = np.zeros((n, n))
        for i, j in edges:
            q[i, j] = q[j, i] = 1.0
        reference, optimal = (np.round(moderate(rng, count, n) * 0.8 + 0.2 / n, 3) for _ in range(2))
        reference, optimal = (x / x.sum(axis=1, keepdims=True) for x in (reference, optimal))
        bandit = Bandit(reference, optimal, q)
        yield name, bandit, subject.once(("graphs", name), partial(subject.optima, bandit, LAMS))


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
    objective = subject.objective
    for size in (0.3, -0.3):
        if isinstance(objective, QuasiconvexObjective):
            scores = objective.link.mu(log_policy - np.log(bandit.reference))
            moved = scores[:, None] + size * np.stack(moves, axis=1)
            log_reference = np.repeat(np.log(bandit.reference)[:, None], len(moves), axis=1)
            others = from_scores(objective.link, log_reference, moved, np.zeros(len(moves)))[0].T
        else:
            others = log_softmax(log_policy + size * np.stack(moves), axis=1)
        values = subject.value(bandit, lam, others)
        flat = np.abs(values - own) <= 1e-13 * (1 + abs(own))
        flat &= _flat_indeed(subject, bandit, lam, others, log_policy, float(np.ptp(values)) > 1e-4 * (1 + abs(own)))
        if flat.any():
            k = int(np.argmax(flat))
            return Flat(lam, log_policy, others[k], own, float(values[k]))
    return None


def _flat_indeed(
    subject: Subject, bandit: Bandit, lam: float, others: Floats, log_policy: Floats, resolved: bool
) -> NDArray[np.bool_]:
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
