"""A report card's failures checked by code that shares nothing with the package: own losses, own optimiser.

    expo-analysis audit --all --json > card.json && python -m tests.recheck card.json

Losses are those of definitions.py, in high precision; a minimiser is looked for on a grid over all policies and then by
Nelder and Mead from its best points, so that nothing rests on a gradient, a fact or a solver of the package. What is
checked, of losses of pairs with at most four responses:

- preservation: some policy has a lower value than pi*;
- improvement: the minimiser is farther from pi* than the reference in KL(pi || pi*), TV or KL(pi* || pi);
- monotone_path: the minimiser's TV to pi* falls from one lambda to the larger one;
- strong and weak interpolation, at the last lambda of the case: the minimiser is the policy that is stated;
- uniqueness: both policies have the same value, and none on a grid has a lower one;
- existence: values fall along the path that is stated.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
from rich.progress import track
from scipy.optimize import minimize

from .definitions import CASES, GENERATORS, digits

REGULARISERS = {
    "expo": "forward_kl", "slic": "forward_kl", "pessimistic_dpo": "forward_kl", "plackett_luce_expo": "forward_kl",
    "spo": "reverse_kl", "explicit_po": "forward_kl",
}  # fmt: skip
"""The divergences of objectives that have one, as of their default options."""

AXES = {2: 401, 3: 41, 4: 13}


@dataclass(frozen=True)
class Problem:
    """pi_ref, pi* (None for win counts), and how often i beats j, all of which add up to 1."""

    reference: np.ndarray
    optimal: np.ndarray | None
    wins: np.ndarray

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> Problem:
        reference = np.array(numbers["reference"], dtype=float)
        if "counts" in numbers:
            wins = np.array(numbers["counts"], dtype=float)
            return cls(reference, None, wins / wins.sum())
        optimal, n = np.array(numbers["optimal"], dtype=float), len(reference)
        pairs = np.ones((n, n)) if isinstance(numbers["pairs"], str) else np.array(numbers["pairs"], dtype=float)
        np.fill_diagonal(pairs, 0.0)
        return cls(reference, optimal, 2 * pairs / pairs.sum() * optimal[:, None] / (optimal[:, None] + optimal))


def risk(name: str, lam: float, problem: Problem, log_policy: np.ndarray) -> mp.mpf:
    """The objective, from its definition."""
    policy = [mp.exp(mp.mpf(float(x))) for x in log_policy]
    total = mp.fsum(policy)
    logs = [mp.log(p / total) for p in policy]
    reference = [mp.mpf(float(x)) for x in problem.reference]
    ref_logs = [mp.log(x / mp.fsum(reference)) for x in reference]
    if name == "rlhf":
        assert problem.optimal is not None
        rewards = [mp.log(mp.mpf(float(x))) for x in problem.optimal]
        return mp.fsum(mp.exp(x) * (lam * (x - ref) - r) for x, ref, r in zip(logs, ref_logs, rewards, strict=True))
    case, value = CASES[name], mp.mpf(0)
    assert case.loss is not None
    for i, j in zip(*np.nonzero(problem.wins), strict=True):
        given = [logs[i], logs[j], ref_logs[i], ref_logs[j]]
        if case.rewards:
            assert problem.optimal is not None
            given += [mp.log(mp.mpf(float(problem.optimal[k]))) for k in (j, i)]
        value += mp.mpf(float(problem.wins[i, j])) * case.loss(lam, *given)
    if name in REGULARISERS:
        value += lam * GENERATORS[REGULARISERS[name]].sum([mp.exp(x) for x in logs], [mp.exp(x) for x in ref_logs])
    return value


def minimiser(name: str, lam: float, problem: Problem, starts: int = 4) -> tuple[np.ndarray, float]:
    """The lowest policy of a grid in the logits, made finer by Nelder and Mead in units of 1/lambda and of 1."""
    n = len(problem.reference)

    def value(theta: np.ndarray) -> float:
        x = np.r_[theta, 0.0]
        try:
            found = float(risk(name, lam, problem, x - x.max()))
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


def kl(p: np.ndarray, q: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum())


def tv(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).sum() / 2)


# -------------------------------------------------------------------------------------------------------- the checks


def preservation(name: str, numbers: Mapping[str, Any]) -> str:
    problem, lam = Problem.of(numbers), numbers["lam"][0]
    _, lowest = minimiser(name, lam, problem)
    assert problem.optimal is not None
    there = risk(name, lam, problem, np.log(problem.optimal))
    return "" if lowest < there else f"nothing is lower than pi*: {lowest} against {there}"


def improvement(name: str, numbers: Mapping[str, Any]) -> str:
    problem = Problem.of(numbers)
    log_policy, _ = minimiser(name, numbers["lam"][0], problem)
    policy, reference, optimal = np.exp(log_policy), problem.reference, problem.optimal
    assert optimal is not None
    gaps = [kl(policy, optimal) - kl(reference, optimal), tv(policy, optimal) - tv(reference, optimal)]
    gaps.append(kl(optimal, policy) - kl(optimal, reference))
    return "" if max(gaps) > 0.5 * numbers["excess"] > 0 else f"it is not farther: {gaps}, stated {numbers['excess']}"


def monotone_path(name: str, numbers: Mapping[str, Any]) -> str:
    problem = Problem.of(numbers)
    assert problem.optimal is not None
    small, large = (tv(np.exp(minimiser(name, lam, problem)[0]), problem.optimal) for lam in numbers["lam"][:2])
    fall = small - large  # what is stated may be the least fall of an enclosure
    return "" if fall > 0.5 * numbers["excess"] > 0 else f"TV falls by {fall}, stated {numbers['excess']}"


def limit(name: str, numbers: Mapping[str, Any]) -> str:
    if "policy" not in numbers or not isinstance(numbers["lam"], list):
        return "skipped"
    problem, lam = Problem.of(numbers), numbers["lam"][-1]  # the policy is stated for the one nearest to the limit
    log_policy, _ = minimiser(name, lam, problem)
    apart = float(np.abs(np.exp(log_policy) - numbers["policy"]).sum())
    return "" if apart < 0.1 else f"at lambda = {lam} the minimiser is {np.exp(log_policy)}, stated {numbers['policy']}"


def uniqueness(name: str, numbers: Mapping[str, Any]) -> str:
    if "policies" not in numbers or "pairs" not in numbers:
        return "skipped"
    problem, lam = Problem.of(numbers), numbers["lam"]
    values = [risk(name, lam, problem, np.log(np.array(p))) for p in numbers["policies"]]
    _, lowest = minimiser(name, lam, problem, starts=2)
    size = 1 + abs(float(values[0]))
    if abs(float(values[0] - values[1])) > 1e-9 * size:
        return f"the values differ: {values}"
    return "" if lowest > float(min(values)) - 1e-9 * size else f"a lower one exists: {lowest}, stated {values[0]}"


def existence(name: str, numbers: Mapping[str, Any]) -> str:
    if "log-ratio added" not in numbers:
        return "skipped"
    problem, lam = Problem.of(numbers), numbers["lam"]
    if name == "rlhf" or len(problem.reference) > 2 or (CASES[name].rewards and problem.optimal is None):
        return "skipped"
    paths = [np.log(problem.reference) + tilt * np.array([1.0, 0.0]) for tilt in numbers["log-ratio added"]]
    values = [risk(name, lam, problem, path) for path in paths]
    return "" if all(b < a for a, b in itertools.pairwise(values)) else f"values do not fall: {values}"


CHECKS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "preservation": preservation, "improvement": improvement, "monotone_path": monotone_path,
    "strong_interpolation": limit, "weak_interpolation": limit, "uniqueness": uniqueness, "existence": existence,
}  # fmt: skip


def recheck(name: str, desideratum: str, verdict: Mapping[str, Any]) -> str:
    """What is wrong with a failure: empty where nothing is, "skipped" where it is not looked at."""
    known = name == "rlhf" or (name in CASES and CASES[name].loss is not None and not CASES[name].options)
    if verdict["verdict"] != "fails" or desideratum not in CHECKS or not known:
        return "skipped"
    numbers = verdict["counterexample"]["numbers"]
    if len(numbers["reference"]) not in AXES:
        return "skipped"
    with digits:
        mp.mp.dps = 30
        return CHECKS[desideratum](name, numbers)


def main(path: str) -> int:
    card = json.loads(Path(path).read_text(encoding="utf-8"))
    cells = [
        (name, key, v)
        for name, own in card.get("losses", card).items()
        for key, v in own.items()
        if isinstance(v, dict)
    ]
    counts: Counter[str] = Counter()
    for name, key, verdict in track(cells, description="cells"):
        wrong = recheck(name, key, verdict)
        counts["skipped" if wrong == "skipped" else "wrong" if wrong else "right"] += 1
        if wrong not in ("", "skipped"):
            print(f"{name}, {key}: {wrong}")
    print(dict(counts))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
