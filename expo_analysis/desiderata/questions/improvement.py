"""Improvement: where the reference is not pi*, the optimum should not be farther from pi* than the reference. [paper]

Distance is measured in total variation and in KL both ways. For compositional EXPO improvement is a theorem in all of
them, with an identity that checks it for KL(pi || pi*). A loss that does not preserve pi* leaves references near it, so
these are looked at first. [ours]
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr, expit

from ..._types import Floats, Mask
from ...bandit import Bandit
from ...divergences import ForwardKL, kl, total_variation
from ..falsify.problems import pi_star
from ..falsify.search import Hunt, Measure, hunt
from ..rules.rule import formula_of
from ..subject import Optima, Subject, facts_of
from ..verdict import Verdict
from .first_look import look, near_optimal
from .outcome import from_hunt

KEY = "improvement"
LAMS = 10.0 ** np.array([-6, -3, -2, -1, 0, 1, 2, 3, 6])
COUNTS = {2: 1000, 3: 2000, 4: 2000, 6: 300, 8: 100}
NEAR, NEAR_LAMS = 40, 10.0 ** np.array([-1, 0, 1])
"""References near pi*: how many of each number of responses, and at which lambdas."""
ENOUGH = 2000
"""Problems without a violation that it takes to conclude anything."""


def tv(log_p: Floats, log_q: Floats) -> Floats:
    """TV(p, q), from logarithms."""
    return np.asarray(total_variation(np.exp(log_p), np.exp(log_q)))


def reverse(log_p: Floats, log_q: Floats) -> Floats:
    """KL(q || p) in nats."""
    return np.asarray(kl(log_q, log_p))


DISTANCES: dict[str, tuple[Callable[[Floats, Floats], Floats], str]] = {
    "KL(π ‖ π*)": (kl, "rel_entr(p, bandit.optimal).sum()"),
    "TV(π, π*)": (tv, "abs(p - bandit.optimal).sum() / 2"),
    "KL(π* ‖ π)": (reverse, "rel_entr(bandit.optimal, p).sum()"),
}
"""Distances of a policy from pi*, from log-probabilities, and the same as Python of a policy ``p``."""


def slack(optima: Optima, bandit: Bandit) -> Floats:
    """What rounding and the error bounds can add to any of the `DISTANCES`, (L, P).

    Of sum p log p a 1-norm error of b (at most 1/e) changes at most b log n - b log b, of sum p log pi* b times the
    largest |log pi*|; of -sum pi* log p each term at most -pi* log(1 - b/p). Total variation changes by b/2.
    """
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-7)
    best = np.log(pi_star(bandit))
    forwards = bound * (np.abs(best).max(axis=-1) + np.log(bandit.n)) + entr(np.minimum(bound, 1 / np.e))
    with np.errstate(divide="ignore", over="ignore"):
        lost = np.minimum(bound[..., None] * np.exp(-optima.log_policies), 1.0)
        backwards = -(pi_star(bandit) * np.log1p(-lost)).sum(axis=-1)
    return np.asarray(1e-9 + np.maximum(forwards, np.maximum(backwards, bound)))


APART = 1e-3
"""1-norm distance of pi_ref from pi* from which on it counts as another policy."""


def _apart(bandit: Bandit) -> Mask:
    """Whether the reference is not pi*."""
    return np.asarray(np.abs(bandit.reference - pi_star(bandit)).sum(axis=-1) > APART)


def measure(distance: Callable[[Floats, Floats], Floats]) -> Measure:
    """How much farther from pi* the optimum is than a reference that is not pi*, beyond the `slack`."""

    def excess(optima: Optima, bandit: Bandit) -> Floats:
        log_optimal = np.log(pi_star(bandit))
        found = distance(optima.log_policies, log_optimal) - distance(np.log(bandit.reference), log_optimal)
        return np.where(optima.single & _apart(bandit), found - slack(optima, bandit), np.nan)

    return Measure(excess, admits=_apart)


def judge(subject: Subject) -> Verdict:
    """Look for a problem whose optimum is farther from pi* than its reference, by each distance until one is found."""
    near = near_optimal(subject, subject.count(NEAR, least=3))
    hunts: dict[str, Hunt] = {}
    for name, (distance, _) in DISTANCES.items():
        hunts[name] = look(subject, measure(distance), near, NEAR_LAMS)
        if hunts[name].confirmed:
            break
    else:
        counts = {n: subject.count(count, least=3) for n, count in COUNTS.items()}
        for name, (distance, _) in DISTANCES.items():
            hunts[name] = hunt(subject, KEY, measure(distance), LAMS, counts)
            if hunts[name].confirmed:
                break
    evidence: dict[str, object] = {
        name: f"no farther on any of {looked.problems:,} problems" if looked.case is None else "farther on some problem"
        for name, looked in hunts.items()
    }
    failing = next((name for name, looked in hunts.items() if looked.confirmed), None)
    failing = failing or next((name for name, looked in hunts.items() if looked.case), next(iter(hunts)))
    found = hunts[failing]
    if formula_of(subject).is_explicit and type(facts_of(subject.objective).regulariser) is ForwardKL:
        evidence["largest error of the three-point identity"] = three_points(subject)
    code = DISTANCES[failing][1]
    return from_hunt(
        subject,
        KEY,
        found,
        holds="the optimum was never farther from π* than the reference, by any of three distances",
        fails=f"the optimum can be farther from π* than the reference is, in {failing}",
        conditions="π_ref near π*, and unrelated; 2 to 8 responses; λ from 1e-6 to 1e6, on a grid and between its "
        "points; TV and KL in both directions",
        statement="" if found.case is None else _statement(found.case.lams[0], found.excess, failing),
        lines=[
            *(["from scipy.special import rel_entr  # p log(p/q), 0 where p is", ""] if "rel_entr" in code else []),
            f"distance = [{code} for p in (solutions[0].policy, bandit.reference)]",
            "print(solutions[0].policy, distance)",
            "assert distance[0] > distance[1]",
        ],
        evidence=evidence,
        enough=ENOUGH,
    )


def _statement(lam: float, excess: float, distance: str) -> str:
    return f"at λ = {lam:g} the optimum is {excess:.3g} farther from π* than π_ref is, in {distance}"


def three_points(subject: Subject) -> float:
    """Largest error of the identity behind improvement in KL(pi || pi*), over random problems; EXPO only. [ours]

    KL(ref || pi*) - KL(ref || pi) - KL(pi || pi*) = sum_{i<j} 2 q_ij (sigma(h*_ij) - sigma(h_ij)) (h*_ij - h_ij) / lam
    """
    assert isinstance(getattr(subject.objective, "regulariser", None), ForwardKL)
    rng = subject.rng("three points")
    worst = 0.0
    for n in (2, 3, 5):
        q = rng.uniform(0.1, 1.0, (200, n, n))
        q = q + np.swapaxes(q, 1, 2)
        q[:, np.arange(n), np.arange(n)] = 0.0
        bandit = Bandit(rng.dirichlet(np.ones(n) * 2, 200), rng.dirichlet(np.ones(n) * 2, 200), q)
        lams = np.array([0.1, 1.0, 10.0])
        optima = subject.optima(bandit, lams)
        ref, best, pi = np.log(bandit.reference), np.log(pi_star(bandit)), optima.log_policies
        left = kl(ref, best) - kl(ref, pi) - kl(pi, best)
        h, h_best = (x[..., :, None] - x[..., None, :] for x in (pi, best))
        right = (bandit.pairs * (expit(h_best) - expit(h)) * (h_best - h)).sum(axis=(-1, -2)) / lams[:, None]
        worst = max(worst, float(np.abs(left - right).max()))
    return worst
