"""Seeded random bandits for the tests that need many problems rather than small counterexamples."""

from __future__ import annotations

import numpy as np

from expo_analysis import Bandit, Objective
from expo_analysis.losses.base import RewardObjective
from expo_analysis.optima.problem import Problem
from expo_analysis.optima.restricted.family import Family
from expo_analysis.optima.restricted.optima import Classes
from expo_analysis.optima.restricted.reward import Reward
from expo_analysis.optima.structure import data_of, structures

GRAPHS = ("uniform", "reference", "uneven", "sparse")


def policy(rng: np.random.Generator, n: int, smallest: float = 1e-6) -> np.ndarray:
    """Probabilities log-uniform over [smallest, 1] before they are normalised."""
    weight = np.exp(rng.uniform(np.log(smallest), 0.0, n))
    return weight / weight.sum()


def pairs(rng: np.random.Generator, n: int, graph: str, decades: float = 4.0) -> np.ndarray | str:
    """A connected comparison graph: named, or pair weights over ``decades``, on all pairs or on a few of them."""
    if graph in ("uniform", "reference"):
        return graph
    q = np.triu(10 ** rng.uniform(-decades, 0.0, (n, n)), 1)
    if graph == "sparse":
        kept = np.triu(rng.random((n, n)) < 0.3, 1)
        chain = rng.permutation(n)
        kept[np.minimum(chain[1:], chain[:-1]), np.maximum(chain[1:], chain[:-1])] = True
        q = q * kept
    return q + q.T


def bandit(rng: np.random.Generator, n: int, graph: str, smallest: float = 1e-6) -> Bandit:
    return Bandit(policy(rng, n, smallest), policy(rng, n, smallest), pairs(rng, n, graph))


def problem(objective: Objective, bandit: Bandit) -> Problem:
    """What the solvers make of an objective on all prompts and responses of a bandit, at the objective's own lambda."""
    count = bandit.prompts or 1
    found = structures(objective, bandit, np.array([objective.lam]), data_of(objective, bandit))
    lam = np.full(count, objective.lam)
    return Problem.cut(objective, bandit, range(bandit.n), np.arange(count), lam, found.likelihood)


def counts(rng: np.random.Generator, n: int, comparisons: int) -> np.ndarray:
    """Win counts of Bradley-Terry comparisons between uniform pairs, drawn from a moderate pi*."""
    optimal = rng.dirichlet(np.full(n, 3.0))
    wins = np.zeros((n, n))
    for _ in range(comparisons):
        i, j = rng.choice(n, 2, replace=False)
        if rng.random() > optimal[i] / (optimal[i] + optimal[j]):
            i, j = j, i
        wins[i, j] += 1
    return wins


def strongly_connected_counts(rng: np.random.Generator, n: int, comparisons: int) -> np.ndarray:
    """Counts under which every response beats every other, directly or through others."""
    wins = counts(rng, n, comparisons)
    ring = rng.permutation(n)
    wins[ring, np.roll(ring, 1)] += 1
    return wins


def restricted_family(
    objective: Objective, bandit: Bandit, features: np.ndarray, decay: float, base: np.ndarray | None = None
) -> Family:
    """One problem over log-linear policies, as the solvers see it: features (prompts, n, d), all prompts weigh."""
    prompts = features.shape[0]
    shape = (1, prompts, bandit.n)
    base = (np.log(bandit.reference) if base is None else base).reshape(shape)
    shares = np.atleast_1d(bandit.prompt_weights)[None]
    classes = Classes(bandit, np.arange(prompts)[None], features[None], base, shares, np.array([decay]))
    reward = Reward.of(np.log(bandit.optimal).reshape(shape[1:])) if isinstance(objective, RewardObjective) else None
    return classes.family(objective, np.array([objective.lam]), reward)
