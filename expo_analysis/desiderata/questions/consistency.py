"""Consistency: more data should bring the optimum to that of the population. [ours]"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...paper import interpolation
from ..falsify.problems import counted, rewards_written
from ..subject import Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, Counterexample, Verdict

KEY = "consistency"
LAMS = (0.1, 1.0)
SIZES = 10 ** np.array([2, 3, 4, 5, 6, 7])
REFERENCE, OPTIMAL = (policy.tolist() for policy in (interpolation().reference, interpolation().optimal))
POPULATION = Bandit(np.array([REFERENCE]), np.array([OPTIMAL]))
"""The paper's first bandit."""


def draw(rng: np.random.Generator, bandit: Bandit, size: int, repeats: int) -> np.ndarray:
    """Win counts (repeats, n, n) of ``size`` comparisons drawn from a bandit with one prompt."""
    counts = rng.multinomial(size, bandit.wins.ravel() / bandit.wins.sum(), size=repeats)
    return counts.reshape(repeats, bandit.n, bandit.n)


def judge(subject: Subject) -> Verdict:
    """Distance of the optimum on a sample from the population's, against the size of the sample."""
    repeats = subject.count(60, least=8)
    rng = subject.rng(KEY)
    samples = [draw(rng, POPULATION, int(size), repeats) for size in SIZES]
    evidence: dict[str, object] = {}
    slopes, last, proven = [], [], True
    example: Counterexample | None = None
    whole = subject.optima(POPULATION, LAMS)
    references = np.tile(REFERENCE, (len(SIZES) * repeats, 1))
    found = subject.optima(counted(subject.objective, references, np.concatenate(samples), np.log(OPTIMAL)), LAMS)
    for k, lam in enumerate(LAMS):
        if not whole.single[k, 0]:
            none = whole.status[k, 0] == "no_minimiser"
            return Verdict(
                KEY,
                NOT_APPLICABLE if none else CANNOT_TELL,
                f"the population has no {'' if none else 'single '}optimum to be consistent with",
                _conditions(repeats),
                {"status on the population": str(whole.status[k, 0])},
            )
        bounds = found.bound[k].reshape(len(SIZES), repeats)
        proven &= bool(np.isfinite(whole.bound[k, 0]) and (np.isfinite(bounds).mean(axis=1) > 0.9).all())
        distances = np.abs(found.policies[k] - whole.policies[k]).sum(axis=-1).reshape(len(SIZES), repeats)
        error = np.sqrt(np.mean(np.square(distances), axis=1))
        for size, e in zip(SIZES, error, strict=True):
            evidence[f"λ = {lam:g}: root mean square distance at {size:,} pairs"] = float(e)
        floor = max(1e-9, 4 * float(np.nan_to_num(whole.bound[k, 0])))
        slope = rate(error, floor)
        evidence[f"λ = {lam:g}: rate (power of the number of pairs)"] = slope
        slopes.append(slope)
        last.append(float(error[-1]))
        if example is None and proven and slope > -0.1 and error[-1] > 0.01:
            example = _counterexample(subject, lam, float(error[-1]), samples[-1][0])
    conditions = _conditions(repeats)
    if example is not None:
        return Verdict(
            KEY, FAILS, "the optimum on a sample stays away from the population's", conditions, evidence, example
        )
    slowest = max(slopes)
    if np.isneginf(slowest):  # a regression on known rewards has nothing to learn from who won; kinks hold optima
        told = "the optimum on every sample is the population's, from few pairs on"
    elif slowest < -0.6:
        told = "the distance falls faster than the root of the number of pairs"
    else:
        told = f"the distance falls as the number of pairs to the power {slowest:.2f}"
    # the bootstrap spread of a slope over five decades and 60 samples is below 0.03
    falls = slowest < -0.4 and max(last) < 0.01
    if proven and falls:
        return Verdict(KEY, HOLDS, told, conditions, evidence)
    why = "the optima are not proven" if falls else "the rate is not clear"
    return Verdict(KEY, CANNOT_TELL, f"{told}, but {why}" if slowest < 0 else why, conditions, evidence)


def rate(error: Floats, floor: float) -> float:
    """The power of the number of pairs with which distances at `SIZES` fall, by least squares over the last five.

    -inf where the last ones are below ``floor``, which is zero to rounding: then they fall faster than any power.
    """
    seen = error > floor
    if not seen[-1]:
        return -np.inf
    return float(np.polyfit(np.log10(SIZES[1:]), np.log10(np.maximum(error[1:], floor)), 1)[0])


def _conditions(repeats: int) -> str:
    return (
        f"π* = (.6, .3, .1), π_ref = (.4, .4, .2), pairs drawn uniformly, winners by Bradley-Terry; {repeats} samples "
        "of each size from 100 to 10,000,000; λ = 0.1 and 1"
    )


def _counterexample(subject: Subject, lam: float, distance: float, counts: np.ndarray) -> Counterexample:
    bandit = counted(subject.objective, REFERENCE, counts, np.log(OPTIMAL))
    code = "\n".join(
        [
            subject.imports,
            "",
            f"lam, reference = {lam!r}, {REFERENCE}",
            f"whole = ea.solve({subject.expression}, ea.Bandit(reference, {OPTIMAL}))",
            f"sample = ea.Bandit.from_counts(reference, {counts.tolist()}{rewards_written(bandit)})",
            f"sample = ea.solve({subject.expression}, sample)",
            "print(whole.policy, sample.policy)",
            "assert abs(whole.policy - sample.policy).sum() > 1e-3",
        ]
    )
    return Counterexample(
        f"with {counts.sum():,} pairs the optimum is still {distance:.3g} away from the population's (λ = {lam:g})",
        {"reference": REFERENCE, "optimal": OPTIMAL, "lam": lam, "counts": counts.tolist(), "distance": distance},
        code,
    )
