"""How much a failure matters: its size on ordinary problems at ordinary lambdas, and at its worst. See `Severity`.

=======================  =====  =======================================================================================
reference_limit          TV     from pi_ref, at lambda = 100
strong_interpolation     TV     from pi*, at lambda = 0.01
weak_interpolation       TV     from the point mass on pi*'s mode, at lambda = 0.01
preservation             TV     from pi_ref = pi*
improvement              nats   KL(pi || pi*) - KL(pi_ref || pi*)
monotone_path            TV     to pi*: how much larger it is at one lambda than at some larger one
existence                       share of small data sets without a minimiser
uniqueness                      share of problems with several minimisers, all pairs compared or two components
conservation             TV     between the masses of what was never compared, and those under pi_ref; where they are
                                left open, the largest that there is
constraint_robustness    nats   lost in RLHF's own objective, over policies of one parameter
first_step               ratio  |gradient| at pi_ref = pi* to the sum of the moduli of its parts
consistency              TV     from the population's optimum with 10^8 comparisons
=======================  =====  =======================================================================================

Limits count from 0.01 TV, where the optimum at an ordinary lambda stands for the limit; a path that leads there slowly
is far away, too. worst is the size of the verdict's counterexample, if that is larger. [ours]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import Floats
from ..bandit import Bandit
from ..divergences import kl, total_variation
from ..losses import PairObjective
from .falsify.problems import FAMILIES, pi_star
from .ordinary import LAMS, RESPONSES, Size, count, measured, ordinary, with_wins
from .questions.conservation import masses
from .questions.existence import data_sets
from .questions.first_step import relative_gradient
from .questions.limits import point_mass
from .questions.restricted_improvement import regret
from .subject import Optima, Subject
from .verdict import Severity, Verdict

FAR = 100.0
"""The lambda at which the reference should be near."""

NEAR = 0.01
"""TV below which the optimum at an ordinary lambda counts as that of the limit."""

TOGETHER = ((0, 1), (2, 3))
"""The pairs of a graph of two components of four responses."""

COMPARISONS = 10**8
"""Comparisons of a sample that should tell as much as the population."""


def at_example(subject: Subject, verdict: Verdict, size: Size) -> float:
    """The size of the verdict's counterexample; nan where it has none that is a problem with a lambda."""
    numbers = {} if verdict.counterexample is None else verdict.counterexample.numbers
    if not {"reference", "optimal", "lam"} <= set(numbers) or np.ndim(numbers["reference"]) != 1:
        return float("nan")
    pairs = numbers.get("pairs", "uniform")
    reference, optimal = (np.array([numbers[name]]) for name in ("reference", "optimal"))
    bandit = Bandit(reference, optimal, pairs if isinstance(pairs, str) else np.array([pairs]))
    found = size(bandit, subject.optima(bandit, np.atleast_1d(numbers["lam"])))
    return float(np.fmax.reduce(found, axis=None))


def _from(
    unit: str, size: Size, least: float = 1e-9, lam: float | None = None, preserved: bool = False
) -> Callable[[Subject, Verdict], Severity]:
    """Severity by the size of failures on ordinary problems, at all of `LAMS` or at one lambda."""

    def severity(subject: Subject, verdict: Verdict) -> Severity:
        bandit, optima = ordinary(subject, preserved)
        if lam is not None and lam in LAMS:
            optima = optima.lambdas(lam == LAMS)
        elif lam is not None:
            optima = subject.once(("ordinary", lam), lambda: subject.optima(bandit, [lam]))
        return measured(unit, size(bandit, optima), at_example(subject, verdict, size), least)

    return severity


def _distance(target: Callable[[Bandit], Floats]) -> Size:
    """TV from a target, of whatever policy the solver gives: where there is no minimiser, of the limit."""

    def size(bandit: Bandit, optima: Optima) -> Floats:
        return np.asarray(total_variation(optima.policies, target(bandit)))

    return size


def _left(bandit: Bandit, optima: Optima) -> Floats:
    return np.where(optima.exists, total_variation(optima.policies, pi_star(bandit)), np.nan)


def _worse(bandit: Bandit, optima: Optima) -> Floats:
    best = np.log(pi_star(bandit))
    found = kl(optima.log_policies, best) - kl(np.log(bandit.reference), best)
    return np.where(optima.exists, np.maximum(found, 0.0), np.nan)


def _detour(bandit: Bandit, optima: Optima) -> Floats:
    """By how much TV to pi* at some lambda is above that at a larger one, (P,); nan at fewer than two lambdas."""
    found = np.where(optima.single, total_variation(optima.policies, pi_star(bandit)), np.nan)
    order = np.argsort(optima.lams)
    highest = np.fmax.accumulate(found[order], axis=0)
    return np.asarray(np.fmax.reduce(highest[:-1] - found[order][1:], axis=0, initial=np.nan))


def _apart(subject: Subject) -> tuple[Bandit, Optima]:
    """Ordinary problems of which only two pairs of four responses are compared, and their optima at `LAMS`."""

    def compute() -> tuple[Bandit, Optima]:
        drawn = FAMILIES["moderate"].draw(subject.rng("ordinary problems apart"), count(subject), RESPONSES)
        q = np.zeros((RESPONSES, RESPONSES))
        for i, j in TOGETHER:
            q[i, j] = q[j, i] = 1.0
        bandit = Bandit(drawn.reference, pi_star(drawn), q)
        return bandit, subject.optima(bandit, LAMS)

    return subject.once("ordinary problems apart", compute)


def _existence(subject: Subject, verdict: Verdict) -> Severity:
    counts = np.stack(list(data_sets(2, 4)))
    rewards = np.array([0.0, -1.0]) if isinstance(subject.objective, PairObjective) else None
    bandit = Bandit.from_counts(np.full((len(counts), 2), 0.5), counts, rewards=rewards)
    missing = subject.optima(bandit, LAMS).status == "no_minimiser"
    return measured("", missing.astype(float), of="data sets of at most four comparisons of two responses")


def _uniqueness(subject: Subject, verdict: Verdict) -> Severity:
    status = np.concatenate([optima.status for _, optima in (ordinary(subject), _apart(subject))], axis=1)
    several = np.where(np.isin(status, ("failed", "no_minimiser")), np.nan, status == "not_unique")
    return measured("", several, of="ordinary problems, half of which compare two pairs of four responses only")


def _conservation(subject: Subject, verdict: Verdict) -> Severity:
    bandit, optima = _apart(subject)
    before = masses(bandit, bandit.reference)
    moved = np.abs(masses(bandit, optima.policies) - before).sum(axis=-1) / 2
    found = np.where(optima.status == "not_unique", 1 - before.min(axis=-1), moved)
    found = np.where(optima.exists, found, np.nan)
    return measured("TV", found, of="ordinary problems that compare two pairs of four responses only")


def _regret(subject: Subject, verdict: Verdict) -> Severity:
    numbers = {} if verdict.counterexample is None else verdict.counterexample.numbers
    return measured("nats", regret(subject), numbers.get("regret (nats)", np.nan), 1e-6, "restricted classes")


def _first_step(subject: Subject, verdict: Verdict) -> Severity:
    bandit, _ = ordinary(subject, preserved=True)
    found = np.stack([relative_gradient(subject, bandit, float(lam)) for lam in LAMS])
    return measured("of the gradient's parts", found, least=1e-9)


def _consistency(subject: Subject, verdict: Verdict) -> Severity:
    bandit, optima = ordinary(subject)
    rng = subject.rng("a large sample")
    shape = bandit.wins.shape
    drawn = np.array([rng.multinomial(COMPARISONS, w.ravel() / w.sum()) for w in bandit.wins], float).reshape(shape)
    sample = subject.optima(with_wins(subject.objective, bandit, drawn), LAMS)
    both = optima.single & sample.single
    return measured("TV", np.where(both, total_variation(sample.policies, optima.policies), np.nan), least=NEAR)


SEVERITIES: dict[str, Callable[[Subject, Verdict], Severity]] = {
    "reference_limit": _from("TV", _distance(lambda bandit: bandit.reference), NEAR, FAR),
    "strong_interpolation": _from("TV", _distance(pi_star), NEAR, float(LAMS[0])),
    "weak_interpolation": _from("TV", _distance(point_mass), NEAR, float(LAMS[0])),
    "preservation": _from("TV", _left, 1e-6, preserved=True),
    "improvement": _from("nats", _worse),
    "monotone_path": _from("TV", _detour),
    "existence": _existence,
    "uniqueness": _uniqueness,
    "conservation": _conservation,
    "constraint_robustness": _regret,
    "first_step": _first_step,
    "consistency": _consistency,
}
"""By desideratum; a question that is not here measures its severity itself."""


def severity(key: str, subject: Subject, verdict: Verdict) -> Severity | None:
    """The severity of a failure; None where it cannot be measured."""
    measure: Any = SEVERITIES.get(key)
    try:
        return None if measure is None else measure(subject, verdict)
    except Exception:  # of a loss that has no risk, or a user's code that raises; the verdict stands without
        return None
