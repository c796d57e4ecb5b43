"""Claims about where optima lie, by question; each check says what is wrong with a counterexample's numbers.

- preservation: some policy has a lower value than pi*; first_step: the derivative there, or one lower policy;
- improvement: the minimiser is farther from pi* than the reference in KL(pi || pi*), TV or KL(pi* || pi);
- monotone_path: the minimiser's TV to pi* falls from one lambda to the larger one;
- the limits, at the last lambda of the case: the minimiser is the policy that is stated; where there is none, values
  fall along the policies that are stated;
- uniqueness: both policies have the same value, and none on a grid has a lower one; conservation: so, with other
  masses, or the minimiser's masses are not the reference's;
- existence: values fall along the path that is stated;
- label_noise: the minimiser is nearer to pi* than the reference in KL(pi || pi*), and with flips farther;
- pair_dependence: the minimisers of the two populations are that far apart;
- calibration: at the minimiser, the model of preferences is off by so much.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mpmath as mp
import numpy as np

from ..definitions import GENERATORS
from .risks import CARD, REGULARISERS, Problem, gradient, kl, minimiser, risk, rlhf_risk, tv

Numbers = Mapping[str, Any]


def preservation(name: str, numbers: Numbers) -> str:
    problem, lam = Problem.of(numbers), numbers["lam"][0]
    _, lowest = minimiser(name, lam, problem)
    there = risk(name, lam, problem, np.log(problem.best))
    return "" if lowest < there else f"nothing is lower than pi*: {lowest} against {there}"


def first_step(name: str, numbers: Numbers) -> str:
    problem, lam = Problem.of(numbers), numbers["lam"]
    lam = lam[0] if isinstance(lam, list) else lam
    start = np.log(problem.best)
    if "gradient" not in numbers:
        here, there = (risk(name, lam, problem, x) for x in (start, np.log(np.array(numbers["policy"]))))
        return "" if there < here else f"the policy is not lower than pi*: {there} against {here}"
    found, stated = gradient(name, lam, problem, start), np.array(numbers["gradient"])
    size = np.abs(stated).max()
    return "" if size > 0 and np.abs(found - stated).max() <= 1e-6 * size else f"gradient {found}, stated {stated}"


def improvement(name: str, numbers: Numbers) -> str:
    problem = Problem.of(numbers)
    log_policy, _ = minimiser(name, numbers["lam"][0], problem)
    policy, reference, optimal = np.exp(log_policy), problem.reference, problem.best
    gaps = [kl(policy, optimal) - kl(reference, optimal), tv(policy, optimal) - tv(reference, optimal)]
    gaps.append(kl(optimal, policy) - kl(optimal, reference))
    return "" if max(gaps) > 0.5 * numbers["excess"] > 0 else f"it is not farther: {gaps}, stated {numbers['excess']}"


def monotone_path(name: str, numbers: Numbers) -> str:
    problem = Problem.of(numbers)
    small, large = (tv(np.exp(minimiser(name, lam, problem)[0]), problem.best) for lam in numbers["lam"][:2])
    fall = small - large  # what is stated may be the least fall of an enclosure
    return "" if fall > 0.5 * numbers["excess"] > 0 else f"TV falls by {fall}, stated {numbers['excess']}"


def limit(name: str, numbers: Numbers) -> str:
    if "policies" in numbers:
        return _runs_away(name, numbers)
    if "policy" not in numbers or not isinstance(numbers["lam"], list):
        return "skipped"
    problem, lam = Problem.of(numbers), numbers["lam"][-1]  # the policy is stated for the one nearest to the limit
    log_policy, _ = minimiser(name, lam, problem)
    apart = float(np.abs(np.exp(log_policy) - numbers["policy"]).sum())
    return "" if apart < 0.1 else f"at lambda = {lam} the minimiser is {np.exp(log_policy)}, stated {numbers['policy']}"


def _runs_away(name: str, numbers: Numbers) -> str:
    """Two responses: values fall along the policies, to below what a grid over the others has. Three: see below."""
    problem, lam = Problem.of(numbers), numbers["lam"]
    policies = [np.array(p, dtype=float) for p in numbers["policies"]]
    values = [float(risk(name, lam, problem, np.log(p))) for p in policies]
    if np.abs(np.array(values) - numbers["values"]).max() > 1e-9 * (1 + np.abs(values).max()):
        return f"the values are {values}, stated {numbers['values']}"
    if len(problem.reference) == 2:
        inner = [float(risk(name, lam, problem, np.log([x, 1 - x]))) for x in np.linspace(0.001, 0.999, 999)]
        falls = all(b < a for a, b in itertools.pairwise(values)) and values[-1] < min(inner)
        return "" if falls else f"values do not fall to below all others: {values}, {min(inner)}"
    return _wrong_response(name, numbers, problem, values)


def _wrong_response(name: str, numbers: Numbers, problem: Problem, values: list[float]) -> str:
    """Each policy with its first two exchanged has a lower value, so that the infimum is not at pi*'s mode."""
    other = "values with the two exchanged"
    if other not in numbers:
        return "skipped"
    policies = [np.log(np.array(p, dtype=float))[[1, 0, 2]] for p in numbers["policies"]]
    found = [float(risk(name, numbers["lam"], problem, p)) for p in policies]
    same = np.abs(np.array(found) - numbers[other]).max() <= 1e-9 * (1 + np.abs(found).max())
    lower = all(b < a for a, b in zip(values, found, strict=True))
    return "" if same and lower else f"values {found}, stated {numbers[other]}; before {values}"


def uniqueness(name: str, numbers: Numbers) -> str:
    if "rewards" in numbers:
        return _open_rewards(numbers)
    problem, lam = Problem.of(numbers), numbers["lam"]
    values = [risk(name, lam, problem, np.log(np.array(p))) for p in numbers["policies"]]
    _, lowest = minimiser(name, lam, problem, starts=2)
    size = 1 + abs(float(values[0]))
    if abs(float(values[0] - values[1])) > 1e-9 * size:
        return f"the values differ: {values}"
    return "" if lowest > float(min(values)) - 1e-9 * size else f"a lower one exists: {lowest}, stated {values[0]}"


def _open_rewards(numbers: Numbers) -> str:
    """Two rewards that fit win counts alike, with other optima, pi_ref exp(r / lam)."""
    wins, found = np.array(numbers["counts"], dtype=float), []
    for rewards in map(np.array, numbers["rewards"]):
        fit = float((wins * np.log1p(np.exp(rewards[None, :] - rewards[:, None]))).sum())
        tilted = numbers["reference"] * np.exp(rewards / numbers["lam"])
        found.append((fit, tilted / tilted.sum()))
    (fit, one), (same, other) = found
    return "" if abs(fit - same) < 1e-12 and tv(one, other) > 0.01 else f"fits {fit}, {same}; optima {one}, {other}"


def conservation(name: str, numbers: Numbers) -> str:
    if "rewards" in numbers:
        return _open_rewards(numbers)
    problem, lam = Problem.of(numbers), numbers["lam"]
    groups = _components(problem.wins)
    if "policies" in numbers:
        masses = [[float(np.array(p)[g].sum()) for g in groups] for p in numbers["policies"]]
        apart = float(np.abs(np.subtract(masses[0], masses[-1])).max())
        wrong = uniqueness(name, numbers) if len(masses) == 2 else existence(name, numbers)  # values fall all the way
        return wrong or ("" if apart > 1e-3 else f"the masses are the same: {masses}")
    log_policy, lowest = minimiser(name, lam, problem)
    before, after = ([float(p[g].sum()) for g in groups] for p in (problem.reference, np.exp(log_policy)))
    stated = numbers["masses after"] if "masses after" in numbers else [numbers["mass after"]]
    apart, claimed = np.abs(np.subtract(after, before)).max(), np.abs(np.subtract(stated, before[: len(stated)])).max()
    if not apart > 0.5 * claimed > 0:
        return f"masses go from {before} to {after}, stated {stated}"
    kept = numbers.get("lowest value with the masses kept")
    return "" if kept is None or lowest < kept else f"the minimum is {lowest}, with the masses kept {kept}"


def _components(wins: np.ndarray) -> list[list[int]]:
    """Groups of responses that comparisons connect, one by one."""
    left, groups = list(range(len(wins))), []
    while left:
        group = [left.pop(0)]
        for i in group:
            near = [j for j in left if wins[i, j] + wins[j, i] > 0]
            group += near
            left = [j for j in left if j not in near]
        groups.append(sorted(group))
    return groups


def existence(name: str, numbers: Numbers) -> str:
    problem, lam = Problem.of(numbers), numbers["lam"]
    if name == "rlhf" or (CARD[name].rewards and problem.optimal is None):
        return "skipped"
    if "log-ratio added" in numbers:
        if len(problem.reference) > 2:
            return "skipped"
        paths = [np.log(problem.reference) + tilt * np.array([1.0, 0.0]) for tilt in numbers["log-ratio added"]]
    else:
        paths = [np.log(np.array(p, dtype=float)) for p in numbers["policies"]]
    values = [risk(name, lam, problem, path) for path in paths]
    return "" if all(b < a for a, b in itertools.pairwise(values)) else f"values do not fall: {values}"


def label_noise(name: str, numbers: Numbers) -> str:
    problem, lam, flips = Problem.of(numbers), numbers["lam"], numbers["flips"]
    noisy = replace(problem, wins=(1 - flips) * problem.wins + flips * problem.wins.T)
    far = kl(problem.reference, problem.best)
    gain, less = (far - kl(np.exp(minimiser(name, lam, one, starts=2)[0]), problem.best) for one in (problem, noisy))
    right = gain > 0.5 * numbers["gain"] > 0 and -less > 0.5 * numbers["harm"] > 0
    return "" if right else f"clean labels gain {gain}, noisy ones {less}; stated {numbers['gain']}, {-numbers['harm']}"


def pair_dependence(name: str, numbers: Numbers) -> str:
    lam, problems = numbers["lam"], [Problem.of(numbers), Problem.of(numbers, "uneven pairs")]
    apart = tv(*(np.exp(minimiser(name, lam, one, starts=2)[0]) for one in problems))
    return "" if apart > 0.5 * numbers["TV"] > 0 else f"the minimisers are {apart} apart, stated {numbers['TV']}"


OF_LOG_POLICY = {"sft", "orpo", "plackett_luce_expo", "regression_expo", "alpha_po"}
"""Losses without a regulariser whose model of preferences is sigma(h), as they have no lam log pi of their own."""
SCALED = {"cpo", "simpo", "bradley_terry", "plackett_luce"}
"""Those whose model is sigma(lam h)."""


def calibration(name: str, numbers: Numbers) -> str:
    problem, lam = Problem.of(numbers), numbers["lam"]
    log_policy, _ = minimiser(name, lam, problem, starts=2)
    if name in REGULARISERS or name in OF_LOG_POLICY:
        score = log_policy if name != "pessimistic_dpo" else (log_policy - np.log(problem.reference)) / 10
    elif name == "cal_dpo":  # whose likelihood has no lambda
        score = log_policy - np.log(problem.reference)
    elif name in SCALED:
        score = lam * log_policy
    elif name in ("fdpo", "chi_po"):
        generator = GENERATORS["jensen_shannon" if name == "fdpo" else "mixed_chi_square"]
        ratios = np.exp(log_policy - np.log(problem.reference))
        score = np.array([float(lam * generator.slope(mp.mpf(float(u)))) for u in ratios])
    else:
        score = lam * (log_policy - np.log(problem.reference))
    with np.errstate(over="ignore"):
        model = 1 / (1 + np.exp(score[None, :] - score[:, None]))
    q = problem.wins + problem.wins.T
    right = problem.best[:, None] / (problem.best[:, None] + problem.best)
    found = float((q / q.sum() * np.abs(model - right)).sum())
    stated = numbers["expected calibration error"]
    return "" if found > 0.5 * stated > 0 else f"the error is {found}, stated {stated}"


def conditioning(name: str, numbers: Numbers) -> str:
    """The ratio of the curvatures at RLHF's optimum, by differences in high precision."""
    if name != "rlhf":
        return "skipped"
    problem, lam, n = Problem.of(numbers), numbers["lam"], len(numbers["reference"])
    theta, step, size = minimiser(name, lam, problem)[0], 1e-4, np.eye(n)

    def at(*moves: np.ndarray) -> mp.mpf:
        return rlhf_risk(lam, problem, theta + step * sum(moves))

    bend = [
        [
            float(
                (at(a, b) - at(a, -b) - at(-a, b) + at(-a, -b)) / (4 * mp.mpf(step) ** 2)  # of order step^2
            )
            for a in size
        ]
        for b in size
    ]
    curvatures = np.linalg.eigvalsh(np.array(bend))[1:]  # without the direction in which a policy stays the same
    ratio, stated = float(curvatures[-1] / curvatures[0]), numbers["ratio of curvatures"]
    return "" if 0.5 < ratio / stated < 2 else f"the ratio is {ratio}, stated {stated}"
