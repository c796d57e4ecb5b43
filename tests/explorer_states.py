"""Random states of the explorer, and what the package's solvers make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis.explorer.registry import Entry

LEAST = 1e-3
"""Of every probability."""


@dataclass(frozen=True)
class Sample:
    """A state and what `ea.solve` says of it: policy, error bound, status and value."""

    key: str
    state: dict[str, Any]
    policy: np.ndarray
    bound: float
    status: ea.Status
    value: float


def policies(rng: np.random.Generator, count: int, n: int = 3) -> np.ndarray:
    """Some near the middle of the simplex, some near its corners."""
    spread = rng.choice([0.3, 1.0, 3.0], size=count)
    drawn = np.stack([rng.dirichlet([a] * n) for a in spread])
    return np.maximum(drawn, LEAST) / np.maximum(drawn, LEAST).sum(axis=1, keepdims=True)


def samples(entries: tuple[Entry, ...], each: int, seed: int) -> Iterator[Sample]:
    """``each`` states of every loss, lambda over eight decades; lambdas meet all prompts of a bandit at once."""
    rng = np.random.default_rng(seed)
    for entry in entries:
        lams = max(1, each // 5)
        prompts = -(-each // lams)
        reference, optimal, weights = (policies(rng, prompts) for _ in range(3))
        pairs = np.zeros((prompts, 3, 3))
        for k, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
            pairs[:, i, j] = pairs[:, j, i] = weights[:, k] / 2
        path = ea.solve_path(
            entry.objective, ea.Bandit(reference, optimal, pairs=pairs), 10 ** rng.uniform(-4, 4, size=lams)
        )
        for a, lam in enumerate(path.lams):
            for b in range(prompts):
                state = {"ref": list(reference[b]), "opt": list(optimal[b]), "pairs": list(weights[b]), "lam": lam}
                found = path.policies[a, b], path.error_bound[a, b], path.status[a, b], path.value[a, b]
                yield Sample(entry.key, {"key": entry.key, **state}, *found)


HARNESS = """
const BY=Object.fromEntries(LOSSES.map((loss)=>[loss.key,loss]));
function optimum(s){
  const world=s.wins?engine.ofCounts(s.ref,s.wins):engine.population(s.ref,s.opt,s.pairs,s.flips||0);
  const found=engine.solve(BY[s.key],world,s.lam);
  return {policy:found.logp.map(Math.exp),status:found.status,value:found.value};
}
function optima(states){return JSON.stringify(states.map(optimum));}
"""
"""JavaScript beside the engine and the losses: optima of many states."""
