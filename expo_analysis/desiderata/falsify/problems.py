"""Random and adversarial bandits for the judges: a batch of one-prompt problems is a bandit with as many prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._types import Floats
from ...bandit import Bandit
from ...losses import Objective, PairObjective

Generator = np.random.Generator


@dataclass(frozen=True)
class Family:
    """A kind of problem: ``policies(rng, count, n)`` gives (count, n), ``pairs(rng, count, n)`` (count, n, n) or None,
    which compares all pairs equally often; ``references`` gives those that are not drawn as pi* is."""

    description: str
    policies: Callable[[Generator, int, int], Floats]
    pairs: Callable[[Generator, int, int], Floats] | None = None
    references: Callable[[Generator, int, int], Floats] | None = None

    def draw(self, rng: Generator, count: int, n: int, preserved: bool = False) -> Bandit:
        """``count`` problems with n responses; ``preserved`` sets pi_ref = pi*."""
        reference, optimal = (self.references or self.policies)(rng, count, n), self.policies(rng, count, n)
        pairs = "uniform" if self.pairs is None else self.pairs(rng, count, n)
        return Bandit(optimal if preserved else reference, optimal, pairs)


def pi_star(bandit: Bandit) -> Floats:
    """pi*, of a bandit that is a population."""
    if bandit.optimal is None:
        raise ValueError("bandit must be a population: win counts have no pi*")
    return bandit.optimal


def counted(objective: Objective, reference: ArrayLike, counts: Floats, rewards: ArrayLike | None = None) -> Bandit:
    """Win counts; for a loss that reads rewards these too, 0, -1, -2, ... in the order of the responses by default."""
    reads = isinstance(objective, PairObjective) and objective.reads_rewards
    stated = -np.arange(counts.shape[-1]) if rewards is None else rewards
    return Bandit.from_counts(reference, counts, rewards=stated if reads else None)


def rewards_written(bandit: Bandit) -> str:
    """Its rewards as a further argument in Python; nothing where it states none."""
    return "" if bandit.rewards is None else f", rewards={bandit.rewards.tolist()}"


def single(bandit: Bandit, prompt: int) -> Bandit:
    """One prompt of a population, as a bandit of its own."""
    return Bandit(bandit.reference[prompt], pi_star(bandit)[prompt], bandit.pairs[prompt])


def join(bandits: Sequence[Bandit]) -> Bandit:
    """Populations with equally many responses, one after the other."""
    if len(bandits) == 1:
        return bandits[0]
    parts = zip(*((b.reference, pi_star(b), b.pairs) for b in bandits), strict=True)
    return Bandit(*map(np.concatenate, parts))


def moderate(rng: Generator, count: int, n: int) -> Floats:
    """Policies uniform on the simplex."""
    return _normalised(rng.dirichlet(np.ones(n), count) + 1e-9)


def extreme(rng: Generator, count: int, n: int) -> Floats:
    """Probabilities log-uniform over six decades before they are normalised."""
    return _normalised(10 ** rng.uniform(-6, 0, (count, n)))


def tied(rng: Generator, count: int, n: int) -> Floats:
    """Probabilities in ratios of 1, 2 or 5, so that many are equal."""
    return _normalised(rng.choice([1.0, 2.0, 5.0], (count, n)))


def uneven(rng: Generator, count: int, n: int) -> Floats:
    """Every pair compared, how often log-uniform over four decades."""
    return _symmetric(10 ** rng.uniform(-4, 0, (count, n, n)))


def nearly_disconnected(rng: Generator, count: int, n: int) -> Floats:
    """A random path through all responses with one weak link (1e-3 of the others), and nothing else."""
    weight = np.ones((count, n - 1))
    weight[np.arange(count), rng.integers(n - 1, size=count)] = 1e-3
    order = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
    return _links(order[:, 1:], order[:, :-1], weight)


def path(rng: Generator, count: int, n: int) -> Floats:
    """A random path through all responses, how often each link log-uniform over four decades."""
    order = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
    return _links(order[:, 1:], order[:, :-1], 10 ** rng.uniform(-4, 0, (count, n - 1)))


def star(rng: Generator, count: int, n: int) -> Floats:
    """One response compared with each other one, how often log-uniform over four decades, and nothing else."""
    order = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
    return _links(np.repeat(order[:, :1], n - 1, axis=1), order[:, 1:], 10 ** rng.uniform(-4, 0, (count, n - 1)))


def tree(rng: Generator, count: int, n: int) -> Floats:
    """A random tree: each response linked to one before it, how often log-uniform over four decades."""
    order = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
    before = (rng.uniform(size=(count, n - 1)) * np.arange(1, n)).astype(int)
    parent = np.take_along_axis(order, before, axis=1)
    return _links(parent, order[:, 1:], 10 ** rng.uniform(-4, 0, (count, n - 1)))


FAMILIES: dict[str, Family] = {
    "moderate": Family("policies uniform on the simplex, all pairs equally often", moderate),
    "tied": Family("policies with equal probabilities, all pairs equally often", tied),
    "uneven": Family("policies uniform on the simplex, pair weights over four decades", moderate, uneven),
    "extreme": Family("probabilities over six decades, all pairs equally often", extreme),
    "weak link": Family(
        "policies uniform on the simplex, pairs along a path with a weak link", moderate, nearly_disconnected
    ),
    "extreme uneven": Family("probabilities over six decades, pair weights over four decades", extreme, uneven),
    "extreme path": Family("probabilities over six decades, pairs along a path, over four decades", extreme, path),
    "extreme star": Family(
        "π* uniform on the simplex, π_ref over six decades, one response compared with each other, over four decades",
        moderate,
        star,
        extreme,
    ),
    "tree": Family("policies uniform on the simplex, pairs along a random tree, over four decades", moderate, tree),
}
"""Where counterexamples are looked for, plain families first."""


def _normalised(weights: Floats) -> Floats:
    return weights / weights.sum(axis=-1, keepdims=True)


def _symmetric(weights: Floats) -> Floats:
    upper = np.triu(weights, 1)
    return upper + np.swapaxes(upper, 1, 2)


def _links(one: NDArray[Any], other: NDArray[Any], weight: Floats) -> Floats:
    """(count, n, n) from the ends of n - 1 links and their weights, (count, n - 1) each."""
    count, links = weight.shape
    q = np.zeros((count, links + 1, links + 1))
    q[np.arange(count)[:, None], one, other] = weight
    return q + np.swapaxes(q, 1, 2)
