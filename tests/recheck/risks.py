"""Problems, and the objectives on them from their definitions; what is lowest is found without a derivative."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mpmath as mp
import numpy as np
from scipy.optimize import minimize

from ..definitions import (
    CASES,
    GENERATORS,
    Case,
    _alpha_po,
    _dpo_shift,
    _family,
    _odpo,
    _of_rewards,
    _one_by_one,
    _own,
    _with_likelihood,
    bernoulli_kl,
    sigma,
    softplus,
)

CARD: dict[str, Case] = {
    **{name: case for name, case in CASES.items() if case.loss is not None and not case.options and name == case.name},
    "fdpo": CASES["fdpo_jensen_shannon"],
    "explicit_po": CASES["explicit_po_forward_kl"],
    "exo": CASES["exo_sharp"],
    "slic": _own("slic", {}, lambda lam, h, p: max(1 - h, mp.mpf(0)), lambda lam, h, p: mp.mpf(-1 if h < 1 else 0)),
    "rpo": _with_likelihood("rpo", {}, 1.0, True),
    "cpo": _with_likelihood("cpo", {}, 1.0, False),
    "pessimistic_dpo": _family(
        "pessimistic_dpo", {}, lambda lam, m: softplus(-m / 10), lambda lam, m: -sigma(-m / 10) / 10, steep=False
    ),
    "dpo_shift": _dpo_shift({}, 0.75),
    "simpo": _one_by_one(
        "simpo",
        {},
        lambda lam, x, y: softplus(lam * (y - x) + mp.mpf(0.5)),
        lambda lam, x, y: -lam * sigma(lam * (y - x) + mp.mpf(0.5)),
        lambda lam, x, y: lam * sigma(lam * (y - x) + mp.mpf(0.5)),
        relative=False,
    ),
    "alpha_po": replace(_alpha_po(0.25, 0.1), options={}),
    "reward_aware_po": _of_rewards(
        "reward_aware_po",
        {},
        lambda lam, m, g: bernoulli_kl(g, lam * m),
        lambda lam, m, g: lam * (sigma(lam * m) - sigma(g)),
    ),
    "odpo": _odpo({}, 1.0),
}
"""The losses of pairs under their names in a report card, at the options that a card has: the defaults."""

REGULARISERS = {
    "expo": "forward_kl", "slic": "forward_kl", "pessimistic_dpo": "forward_kl", "plackett_luce_expo": "forward_kl",
    "spo": "reverse_kl", "explicit_po": "forward_kl",
}  # fmt: skip
"""The divergences of objectives that have one, as of their default options."""

AXES = {2: 401, 3: 41, 4: 13}
"""Points of the grid along each logit; a problem of more responses has none."""


@dataclass(frozen=True)
class Problem:
    """pi_ref, pi* (None for win counts), and how often i beats j, all of which add up to 1."""

    reference: np.ndarray
    optimal: np.ndarray | None
    wins: np.ndarray

    @classmethod
    def of(cls, numbers: Mapping[str, Any], pairs: str = "pairs") -> Problem:
        """That of a counterexample; ``pairs`` names its entry for q, "uniform" where it has none."""
        reference = np.array(numbers["reference"], dtype=float)
        if "counts" in numbers:
            wins = np.array(numbers["counts"], dtype=float)
            return cls(reference, None, wins / wins.sum())
        given = numbers.get(pairs, "uniform")
        return cls.between(reference, numbers["optimal"], None if isinstance(given, str) else given)

    @classmethod
    def between(cls, reference: Any, optimal: Any, pairs: Any = None) -> Problem:
        """With Bradley-Terry preferences of pi*; all pairs are as frequent where ``pairs`` is None."""
        reference, optimal = np.array(reference, dtype=float), np.array(optimal, dtype=float)
        n = len(reference)
        q = np.ones((n, n)) if pairs is None else np.array(pairs, dtype=float)
        np.fill_diagonal(q, 0.0)
        return cls(reference, optimal, 2 * q / q.sum() * optimal[:, None] / (optimal[:, None] + optimal))

    @property
    def best(self) -> np.ndarray:
        """pi*, of a problem that has one."""
        assert self.optimal is not None
        return self.optimal

    def given(self, name: str, i: int, j: int) -> list[mp.mpf]:
        """The rewards of loser and winner, for a loss that reads them."""
        return [mp.log(mp.mpf(float(self.best[k]))) for k in (j, i)] if CARD[name].rewards else []


def normalised(logits: np.ndarray) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """Log-probabilities and probabilities of logits."""
    terms = [mp.mpf(float(x)) for x in logits]
    total = mp.log(mp.fsum(mp.exp(x - max(terms)) for x in terms)) + max(terms)
    logs = [x - total for x in terms]
    return logs, [mp.exp(x) for x in logs]


def rlhf_risk(lam: float, problem: Problem, logits: np.ndarray) -> mp.mpf:
    """-E[r*] + lam KL(pi || pi_ref), r* = log pi*."""
    (logs, policy), (ref_logs, _) = normalised(logits), normalised(np.log(problem.reference))
    rewards = [mp.log(mp.mpf(float(x))) for x in problem.best]
    return mp.fsum(p * (lam * (x - ref) - r) for p, x, ref, r in zip(policy, logs, ref_logs, rewards, strict=True))


def risk(name: str, lam: float, problem: Problem, logits: np.ndarray) -> mp.mpf:
    """The objective, from its definition."""
    if name == "rlhf":
        return rlhf_risk(lam, problem, logits)
    (logs, policy), (ref_logs, reference) = normalised(logits), normalised(np.log(problem.reference))
    loss, value = CARD[name].loss, mp.mpf(0)
    assert loss is not None
    for i, j in zip(*np.nonzero(problem.wins), strict=True):
        given = problem.given(name, int(i), int(j))
        value += mp.mpf(float(problem.wins[i, j])) * loss(lam, logs[i], logs[j], ref_logs[i], ref_logs[j], *given)
    if name in REGULARISERS:
        value += lam * GENERATORS[REGULARISERS[name]].sum(policy, reference)
    return value


def gradient(name: str, lam: float, problem: Problem, logits: np.ndarray) -> np.ndarray:
    """Its derivatives in the logits, from those of the definition."""
    (logs, policy), (ref_logs, reference) = normalised(logits), normalised(np.log(problem.reference))
    if name == "rlhf":
        pull = [lam * (x - ref) - mp.log(float(r)) for x, ref, r in zip(logs, ref_logs, problem.best, strict=True)]
        mean = mp.fsum(p * x for p, x in zip(policy, pull, strict=True))
        return np.array([float(p * (x - mean)) for p, x in zip(policy, pull, strict=True)])
    slopes, along = CARD[name].slopes, [mp.mpf(0) for _ in logs]  # in each log-probability
    assert slopes is not None
    for i, j in zip(*np.nonzero(problem.wins), strict=True):
        given = problem.given(name, int(i), int(j))
        won, lost = slopes(lam, logs[i], logs[j], ref_logs[i], ref_logs[j], *given)
        along[i] += mp.mpf(float(problem.wins[i, j])) * won
        along[j] += mp.mpf(float(problem.wins[i, j])) * lost
    if name in REGULARISERS:
        slope = GENERATORS[REGULARISERS[name]].slope
        along = [a + lam * p * slope(p / r) for a, p, r in zip(along, policy, reference, strict=True)]
    total = mp.fsum(along)
    return np.array([float(a - p * total) for a, p in zip(along, policy, strict=True)])


def minimiser(name: str, lam: float, problem: Problem, starts: int = 4) -> tuple[np.ndarray, float]:
    """The lowest policy of a grid in the logits, made finer by Nelder and Mead in units of 1/lambda and of 1; its
    log-probabilities and value."""
    n = len(problem.reference)

    def value(theta: np.ndarray) -> float:
        try:
            found = float(risk(name, lam, problem, np.r_[theta, 0.0]))
        except (ValueError, ZeroDivisionError, OverflowError):
            return np.inf
        return found if np.isfinite(found) else np.inf

    centre = np.log(problem.reference[:-1] / problem.reference[-1])
    points = [centre]
    for reach in sorted({12.0, min(4.0 / lam, 300.0), max(4.0 / lam, 12.0)}):
        axis = reach * np.linspace(-1, 1, AXES[n]) ** 3
        points += [centre + np.array(x) for x in itertools.product(axis, repeat=n - 1)]
    values = [value(x) for x in points]
    best = None
    for k in np.argsort(values)[:starts]:
        options = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000, "maxfev": 4000}
        found = minimize(value, points[k], method="Nelder-Mead", options=options)
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    theta = np.r_[best.x, 0.0]
    return theta - np.log(np.exp(theta - theta.max()).sum()) - theta.max(), float(best.fun)


def lowest_along(value: Callable[[float], float], reach: float = 60.0, points: int = 2001) -> float:
    """Where a function of one parameter is lowest: the best point of a grid, made finer by golden sections."""
    grid = reach * np.linspace(-1, 1, points) ** 3
    k = int(np.argmin([value(float(w)) for w in grid]))
    low, high = float(grid[max(k - 1, 0)]), float(grid[min(k + 1, points - 1)])
    shrink = (5**0.5 - 1) / 2
    inner = [high - shrink * (high - low), low + shrink * (high - low)]
    at = [value(w) for w in inner]
    for _ in range(60):
        if at[0] <= at[1]:
            high, inner[1], at[1] = inner[1], inner[0], at[0]
            inner[0] = high - shrink * (high - low)
            at[0] = value(inner[0])
        else:
            low, inner[0], at[0] = inner[0], inner[1], at[1]
            inner[1] = low + shrink * (high - low)
            at[1] = value(inner[1])
    return (low + high) / 2


def kl(p: np.ndarray, q: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum())


def tv(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).sum() / 2)
