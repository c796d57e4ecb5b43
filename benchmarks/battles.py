"""Bradley-Terry on battles: ours against what else fits it, on the same rows, and how ours grows."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

import expo_analysis as ea

Floats = NDArray[np.float64]
OURS = "expo_analysis"

NOTES = """\
Battles of players with normal scores, drawn in pairs at random; a battle is a row, (winner, loser), by position. Each
way gets the rows and returns the scores of the maximum of the likelihood, its counting included. All take turns, in
one thread. CPU s, s: medians, by the CPU and by the clock. × ours: CPU s divided by ours, so that above 1 ours is
faster. Error: largest distance of a difference of scores from ours. Gradient: largest component of the likelihood's
at the scores, relative to the largest number of battles of a player, computed apart from all.

- **expo_analysis**: `ea.solve(ea.BradleyTerry(1.0), ea.Comparisons(winner, loser))`, with the proven error bound.
- **choix**: `ilsr_pairwise_dense` on a table of counts (`lsr_pairwise` and what takes lists of pairs are slower), to
  the tolerance at which it differs from ours by less than 1e-12.
- **scikit-learn**: `LogisticRegression` without a penalty on pairs counted, a sparse design, `tol=1e-10`.
- **arena-rank**, **arenakit**: where they are installed (they are in no extra), on tables of counts; arena-rank by
  L-BFGS in jax at its own tolerances, without its intervals; arenakit by minorisation, without its prior.
- statsmodels is not here: its design has no sparse form, and would take 4 GB.

Growth: each size in a process of its own, whose first solve it is: some 0.3 s are what that loads. Not unique: somebody
is in no battle. Bound: on the policy's 1-norm error. GB: the largest resident memory of the process, the rows and the
imports included. The slope is that of CPU s on log-log axes, from the row before.
"""


@dataclass(frozen=True)
class Row:
    """CPU and clock seconds of each call of one way; scores of the last one."""

    way: str
    cpu: list[float]
    clock: list[float]
    error: float
    gradient: float
    bound: float | None

    def cells(self, ours: Row) -> tuple[str, ...]:
        """A line of the table."""
        cpu, clock = float(np.median(self.cpu)), float(np.median(self.clock))
        own = float(np.median(ours.cpu))
        error = "" if self is ours else f"{self.error:.1e}"
        bound = "" if self.bound is None else f"{self.bound:.1e}"
        return (self.way, f"{cpu:.2f}", f"{clock:.2f}", f"{cpu / own:.2f}", error, f"{self.gradient:.1e}", bound)


HEADER = ("way", "CPU s", "s", "× ours", "error", "gradient", "bound")
GROWTH_HEADER = ("loss", "players", "battles", "CPU s", "s", "slope", "GB", "bound", "status")


def rows_of(players: int, battles: int, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Winners and losers, one after another."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=players)
    one = rng.integers(0, players, battles)
    other = (one + rng.integers(1, players, battles)) % players
    won = rng.random(battles) < 1 / (1 + np.exp(scores[other] - scores[one]))
    return np.where(won, one, other), np.where(won, other, one)


def _ours(n: int, winner: Any, loser: Any) -> tuple[Floats, float | None]:
    found = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons(winner, loser))
    return found.log_policy, float(found.error_bound)


def _counts(n: int, winner: Any, loser: Any) -> csr_array:
    return coo_array((np.ones(len(winner)), (winner, loser)), shape=(n, n)).tocsr()


def _choix(n: int, winner: Any, loser: Any) -> tuple[Floats, float | None]:
    import choix

    return choix.ilsr_pairwise_dense(_counts(n, winner, loser).toarray(), alpha=0.0, tol=1e-12), None


def _sklearn(solver: str) -> Callable[..., tuple[Floats, float | None]]:
    def run(n: int, winner: Any, loser: Any) -> tuple[Floats, float | None]:
        from sklearn.linear_model import LogisticRegression

        counts = _counts(n, winner, loser).tocoo()
        (i, j), k = counts.coords, np.arange(counts.nnz)
        low = np.minimum(i, j)
        signs = np.concatenate([np.where(i == low, 1.0, -1.0), np.where(j == low, 1.0, -1.0)])
        design = csr_array((signs, (np.concatenate([k, k]), np.concatenate([i, j]))), shape=(counts.nnz, n))
        fit = LogisticRegression(C=np.inf, fit_intercept=False, solver=solver, tol=1e-10, max_iter=1000)
        fit.fit(design[:, 1:], i == low, sample_weight=counts.data)  # the first score is 0, so that all are determined
        return np.concatenate([[0.0], fit.coef_[0]]), None

    return run


def _arena_rank(n: int, winner: Any, loser: Any) -> tuple[Floats, float | None]:
    import jax.numpy as jnp
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    counts = _counts(n, winner, loser).tocoo()
    pairs, weight, one = np.stack(counts.coords, axis=1), jnp.asarray(counts.data), jnp.ones(counts.nnz)
    data = PairDataset([str(k) for k in range(n)], jnp.asarray(pairs), one, weight, one, weight)
    model = BradleyTerry(n, hessian_reg=0.0)
    model.fit(data)
    return np.asarray(model.params["ratings"]), None


def _arenakit(n: int, winner: Any, loser: Any) -> tuple[Floats, float | None]:
    from arenakit.bt import fit_bt
    from arenakit.schema import PairCounts

    wins = _counts(n, winner, loser).toarray()
    none = np.zeros_like(wins)
    return np.asarray(fit_bt(PairCounts(wins, none, none), prior=0.0).scores), None


WAYS: dict[str, tuple[str, Callable[..., tuple[Floats, float | None]]]] = {
    # name: (the package it needs, the call)
    OURS: ("expo_analysis", _ours),
    "choix": ("choix", _choix),
    "scikit-learn, lbfgs": ("sklearn", _sklearn("lbfgs")),
    "scikit-learn, newton-cholesky": ("sklearn", _sklearn("newton-cholesky")),
    "arena-rank": ("arena_rank", _arena_rank),
    "arenakit": ("arenakit", _arenakit),
}


def gradient(scores: Floats, winner: Any, loser: Any) -> float:
    """Largest component of the likelihood's gradient, relative to the largest number of battles of a player."""
    slope = 1 / (1 + np.exp(scores[winner] - scores[loser]))
    n = len(scores)
    found = np.bincount(winner, slope, n) - np.bincount(loser, slope, n)
    return float(np.abs(found).max() / (np.bincount(winner, minlength=n) + np.bincount(loser, minlength=n)).max())


def compare(players: int, battles: int, repeats: int) -> list[Row]:
    """All ways that are installed, ours first, in turns; the first call of each, which loads, is left out."""
    winner, loser = rows_of(players, battles)
    there = {name: call for name, (package, call) in WAYS.items() if find_spec(package) is not None}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in there}
    answers: dict[str, tuple[Floats, float | None]] = {}
    for _ in range(1 + repeats):
        for name, call in there.items():
            before = time.process_time(), time.perf_counter()
            answers[name] = call(players, winner, loser)
            times[name].append((time.process_time() - before[0], time.perf_counter() - before[1]))
    own = answers[OURS][0]
    rows = []
    for name, (scores, bound) in answers.items():
        cpu, clock = (list(column) for column in zip(*times[name][1:], strict=True))
        error = float(np.ptp(scores - own))
        rows.append(Row(name, cpu, clock, error, gradient(scores, winner, loser), bound))
    return rows


@dataclass(frozen=True)
class Growth:
    """One solve of ours in a process of its own."""

    loss: str
    players: int
    battles: int
    cpu: float
    clock: float
    gigabytes: float
    bound: float
    status: str

    def cells(self, before: Growth | None) -> tuple[str, ...]:
        """A line of the table; the slope is to the one before, of the same loss."""
        slope = ""
        if before is not None and before.loss == self.loss:
            slope = f"{np.log(self.cpu / before.cpu) / np.log(self.battles / before.battles):.2f}"
        sizes = (f"{self.players:,}", f"{self.battles:,}", f"{self.cpu:.2f}", f"{self.clock:.2f}")
        return (self.loss, *sizes, slope, f"{self.gigabytes:.2f}", f"{self.bound:.1e}", self.status)


LOSSES: dict[str, Any] = {"EXPO, λ = 0.001": ea.EXPO(1e-3), "IPO, λ = 0.1": ea.IPO(0.1)}
"""Which have an optimum on every connected graph."""


def growth(loss: str, players: int, battles: int) -> Growth:
    """Counting and solving, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (loss, players, battles))


def _grown(loss: str, players: int, battles: int) -> Growth:
    winner, loser = rows_of(players, battles)
    before = time.process_time(), time.perf_counter()
    found = ea.solve(LOSSES[loss], ea.Comparisons(winner, loser))
    cpu, clock = time.process_time() - before[0], time.perf_counter() - before[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Growth(loss, players, battles, cpu, clock, memory, float(found.error_bound), str(found.status))


def lines(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    """The table of all ways."""
    return (HEADER, *(row.cells(rows[0]) for row in rows))


def growth_lines(runs: list[Growth]) -> tuple[tuple[str, ...], ...]:
    """The table of sizes."""
    befores: list[Growth | None] = [None, *runs[:-1]]
    return (GROWTH_HEADER, *(run.cells(before) for run, before in zip(runs, befores, strict=True)))
