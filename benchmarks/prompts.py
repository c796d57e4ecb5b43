"""A great many prompts of few comparisons each: what counting, existence, optima and bounds cost a prompt."""

from __future__ import annotations

import multiprocessing
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import expo_analysis as ea

Floats = NDArray[np.float64]
N = 4
LOSSES: dict[str, Any] = {"EXPO": ea.EXPO(0.1), "DPO": ea.DPO(0.1), "IPO": ea.IPO(0.1)}

NOTES = """\
Prompts of four responses; pi* and pi_ref are uniform on the simplex, each pair is compared once, and who wins is drawn
from pi*. All prompts are one bandit. Each row has a process of its own, in one thread; µs are of the CPU, a prompt.

- **counting**: `ea.Bandit.from_counts(reference, counts)`, which checks the counts.
- **solving**: `ea.solve(loss(0.1), bandit)`, with the proven bound, value, status and message of every prompt. DPO's
  has the question whether there is an optimum, which on most prompts there is not: of six comparisons among four
  somebody mostly wins or loses all. What a process loads at its first solve is paid before, on ten prompts.
- **optimal**: the share of prompts of this status; all others have no minimiser, by a theorem. Bound: the largest, on
  the 1-norm error of a policy. GB: the largest resident memory.
"""

HEADER = ("loss", "prompts", "counting µs", "solving µs", "optimal", "bound", "GB")


@dataclass(frozen=True)
class Row:
    """CPU seconds of counting and of solving, and what was found."""

    loss: str
    prompts: int
    counting: float
    solving: float
    optimal: float
    decided: bool
    bound: float
    gigabytes: float

    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        each = (f"{1e6 * seconds / self.prompts:.1f}" for seconds in (self.counting, self.solving))
        found = (f"{100 * self.optimal:.0f}%", f"{self.bound:.1e}", f"{self.gigabytes:.1f}")
        return (self.loss, f"{self.prompts:,}", *each, *found)


def problems(prompts: int, seed: int = 0) -> tuple[Floats, Floats]:
    """References (prompts, 4), and counts (prompts, 4, 4) of one comparison of each pair."""
    rng = np.random.default_rng(seed)
    reference, optimal = rng.dirichlet(np.ones(N), prompts), rng.dirichlet(np.ones(N), prompts)
    high, low = np.triu_indices(N, 1)
    won = rng.random((prompts, len(high))) * (optimal[:, high] + optimal[:, low]) < optimal[:, high]
    counts = np.zeros((prompts, N, N))
    counts[:, high, low], counts[:, low, high] = won, ~won
    return reference, counts


def measure(loss: str, prompts: int) -> Row:
    """Counting and solving, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (loss, prompts))


def _measured(loss: str, prompts: int) -> Row:
    ea.solve(LOSSES[loss], ea.Bandit.from_counts(*problems(10, seed=1)))
    data = problems(prompts)
    start = time.process_time()
    bandit = ea.Bandit.from_counts(*data)
    counted = time.process_time()
    found = ea.solve(LOSSES[loss], bandit)
    solved = time.process_time()
    optimal, none = (np.asarray(found.status == status) for status in ("optimal", "no_minimiser"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    bound = float(np.max(found.error_bound[optimal]))
    decided = bool((optimal | none).all())
    return Row(loss, prompts, counted - start, solved - counted, float(optimal.mean()), decided, bound, memory)


def lines(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    """The table."""
    return (HEADER, *(row.cells() for row in rows))
