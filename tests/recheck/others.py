"""Claims about restricted policies, training and the shape of a loss, by question.

- restricted_improvement: the lowest policy of a class of one parameter has less E[r*] than the reference;
- constraint_robustness: where the loss is lowest on a class, RLHF is above its own minimum by the regret;
- displacement: gradient flow from pi_ref by scipy takes both of a pair below the reference;
- local_minima: the ridge is above the trap, which is above the lowest point; on circles, slopes are 0 at the trap, and
  second differences there are positive; of three responses, all around the trap is higher;
- gradient_weight: the slopes along the margin are those stated, and fade or grow.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.integrate import solve_ivp

from .optima import Numbers
from .risks import CARD, Problem, gradient, lowest_along, risk, rlhf_risk


def restricted_improvement(name: str, numbers: Numbers) -> str:
    if name == "aux_dpo":  # over restricted policies it has variables of its own
        return "skipped"
    problem, lam = Problem.of(numbers), numbers["lam"]
    feature = np.array(numbers["features"], dtype=float)[:, 0]

    def logits(w: float) -> np.ndarray:
        return np.log(problem.reference) + w * feature

    w = lowest_along(lambda w: float(risk(name, lam, problem, logits(w))))
    policy = np.exp(logits(w) - logits(w).max())
    policy /= policy.sum()
    lost = float((problem.reference - policy) @ np.log(problem.best))
    stated = numbers["E[r*] lost (nats)"]
    return "" if lost > 0.5 * stated > 0 else f"at w = {w} E[r*] is less by {lost}, stated {stated}"


def constraint_robustness(name: str, numbers: Numbers) -> str:
    if name in ("aux_dpo", "fdpo", "chi_po"):  # further variables; RLHF with another divergence
        return "skipped"
    problems = [Problem.between(*one) for one in zip(numbers["reference"], numbers["optimal"], strict=True)]
    features = [np.array(f, dtype=float)[:, 0] for f in numbers["features"]]
    lam, decay = numbers["lam"], numbers["weight decay"]

    def total(w: float, of_rlhf: bool) -> float:
        parts = []
        for problem, feature in zip(problems, features, strict=True):
            logits = np.log(problem.reference) + w * feature
            parts.append(rlhf_risk(lam, problem, logits) if of_rlhf else risk(name, lam, problem, logits))
        return float(sum(parts)) / len(parts) + decay / 2 * w**2

    own, best = (lowest_along(lambda w, rlhf=rlhf: total(w, rlhf)) for rlhf in (False, True))  # type: ignore[misc]
    regret, stated = total(own, True) - total(best, True), numbers["regret (nats)"]
    return "" if regret > 0.5 * stated > 0 else f"w = {own} and {best}: a regret of {regret}, stated {stated}"


def displacement(name: str, numbers: Numbers) -> str:
    problem, lam, pair = Problem.of(numbers), numbers["lam"], numbers["pair"]

    def slope(_: float, theta: np.ndarray) -> np.ndarray:
        return -gradient(name, lam, problem, theta)

    start = np.log(problem.reference)
    end = solve_ivp(slope, (0.0, numbers["time"]), start, method="LSODA", rtol=1e-6, atol=1e-9).y[:, -1]
    after = end - end.max() - np.log(np.exp(end - end.max()).sum())
    fall, stated = float((start - after)[pair].min()), numbers["both fall by (nats)"]
    return "" if fall > 0.5 * stated > 0 else f"both fall by {fall}, stated {stated}"


def local_minima(name: str, numbers: Numbers) -> str:
    problem, lam = Problem.of(numbers), numbers["lam"]
    if "counts" in numbers:
        at, lower = map(np.array, numbers["log-policies of trap and of a lower value"])
        slope = gradient(name, lam, problem, at)
        values = [float(risk(name, lam, problem, x)) for x in (at, lower)]
        moves = 1e-3 * np.random.default_rng(0).standard_normal((20, len(at)))
        bends = [sum(float(risk(name, lam, problem, at + s * x)) for s in (1, -1)) - 2 * values[0] for x in moves]
        fine = np.abs(slope).max() < 1e-9 and min(bends) > 0 and values[1] < values[0]
        return "" if fine else f"slopes {slope}, bends {min(bends)}, values {values}"
    if "log-policies of trap and of a lower value" in numbers:
        at, lower = map(np.array, numbers["log-policies of trap and of a lower value"])
        radius, turns = numbers["radius of the trap (log-ratios of neighbours)"], np.linspace(0, 2 * np.pi, 400)
        order = np.argsort(-at)
        around = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        around *= radius / np.abs(around).max(axis=1, keepdims=True)  # both gaps change, by at most the radius
        logs = np.empty((len(turns), 3))
        logs[:, order] = np.concatenate([np.zeros((len(turns), 1)), np.cumsum(np.diff(at[order]) - around, 1)], 1)
        values = [float(risk(name, lam, problem, x)) for x in (at, lower)]
        ring = min(float(risk(name, lam, problem, x)) for x in logs)
        return "" if ring > values[0] > values[1] else f"around the trap {ring}, values {values}"
    trap, ridge, lowest = (
        float(risk(name, lam, problem, np.array([0.0, h])))
        for h in numbers["log-ratios of trap, ridge and lowest point"]
    )
    return "" if lowest < trap < ridge else f"trap {trap}, ridge {ridge}, lowest point {lowest}"


def gradient_weight(name: str, numbers: Numbers) -> str:
    """One pair, an even reference; the slope in h = log pi_w / pi_l is s_w pi_l - s_l pi_w."""
    slopes, lam, found = CARD[name].slopes, numbers["lam"], []
    assert slopes is not None
    one = Problem.between([0.5, 0.5], [0.7, 0.3])
    for h in numbers["margins"]:
        logs = [float(-np.logaddexp(0.0, -h)), float(-np.logaddexp(0.0, h))]
        won, lost = slopes(lam, *logs, np.log(0.5), np.log(0.5), *one.given(name, 0, 1))
        found.append(abs(float(won) * np.exp(logs[1]) - float(lost) * np.exp(logs[0])))
    if not np.allclose(found, numbers["weights"], rtol=1e-6, atol=1e-12):
        return f"weights {found}, stated {numbers['weights']}"
    fades, grows = found[0] < 0.01 * max(found), all(b > 1.2 * a for a, b in itertools.pairwise(found))
    return "" if (fades if len(found) == 2 else grows) else f"weights neither fade nor grow: {found}"
