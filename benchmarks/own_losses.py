"""Does a loss that a user writes from the public terms cost what the catalogue's of the same formula does?"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis.terms import Hinge, Linear, Logistic, Square, h, hbar, log_pi_w

from .problems import Floats, Problems

HEADER = ("loss", "n", "problems", "ms", "own ms", "own / ours", "of each turn", "same bits")

NOTES = """\
Each loss is written once more from `expo_analysis.terms`, without the catalogue's class, and solved on the same random
prompts (see "What is compared"), all in one bandit. The two take turns, and which is first does too. Times are of the
CPU, as the machine may be busy: medians, their ratio, and the least and largest ratio of one turn. Same bits: of all
policies and error bounds.
"""


@dataclass(frozen=True)
class Own(ea.PairObjective):
    """A loss of these terms, which depend on lambda."""

    make: Callable[[Any], Any] = lambda lam: Logistic()(h)
    pulled: bool = False

    @property
    def terms(self) -> Any:
        return self.make(self.lam)

    @property
    def regulariser(self) -> Any:
        return ea.ForwardKL() if self.pulled else None


LOSSES: dict[str, tuple[Callable[[float], ea.PairObjective], Callable[[float], Own], int]] = {
    # name: (the catalogue's, one's own, problems)
    "EXPO": (ea.EXPO, lambda lam: Own(lam, lambda lam: Logistic()(h), True), 20_000),
    "DPO": (ea.DPO, lambda lam: Own(lam, lambda lam: Logistic()(lam * hbar)), 20_000),
    "IPO": (ea.IPO, lambda lam: Own(lam, lambda lam: Square()(hbar - 0.5 / lam)), 20_000),
    "CPO": (ea.CPO, lambda lam: Own(lam, lambda lam: Logistic()(lam * h) + Linear(-1)(log_pi_w)), 20_000),
    "SLiC": (ea.SLiC, lambda lam: Own(lam, lambda lam: Hinge(1.0)(h), True), 200),
}


@dataclass(frozen=True)
class Row:
    """CPU seconds of calls of the catalogue's loss and of one's own, in turns; and whether all bits are the same."""

    loss: str
    n: int
    count: int
    ours: list[float]
    own: list[float]
    same: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        ratios = np.array(self.own) / self.ours
        medians = float(np.median(self.ours)), float(np.median(self.own))
        each = f"{ratios.min():.2f} to {ratios.max():.2f}"
        times = (f"{1e3 * x:,.1f}" for x in medians)
        return (self.loss, str(self.n), f"{self.count:,}", *times, f"{medians[1] / medians[0]:.3f}", each,
                "yes" if self.same else "no")  # fmt: skip


def lines(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    """The table."""
    return (HEADER, *(row.cells for row in rows))


def compare(repeats: int, share: int = 1, n: int = 4, lam: float = 0.1) -> list[Row]:
    """Every loss of `LOSSES`; the two take turns, and which is first does too. CPU time, as machines may be busy."""
    rows = []
    for name, (catalogue, own, count) in LOSSES.items():
        problems = Problems.random(n, max(count // share, 2), lam)
        bandit = ea.Bandit(problems.reference, problems.optimal)
        pair = (catalogue(lam), own(lam))
        answers: list[tuple[Floats, Floats]] = [_seconds(one, bandit)[1] for one in pair]  # the first call loads
        same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*answers, strict=True))
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(repeats):
            for k in (0, 1) if turn % 2 == 0 else (1, 0):
                times[k].append(_seconds(pair[k], bandit)[0])
        rows.append(Row(name, n, len(problems.reference), *times, same))
    return rows


def _seconds(objective: ea.PairObjective, bandit: ea.Bandit) -> tuple[float, tuple[Floats, Floats]]:
    before = time.process_time()
    solution = ea.solve(objective, copy.copy(bandit))  # a copy remembers nothing of earlier calls
    return time.process_time() - before, (solution.policy, solution.error_bound)
