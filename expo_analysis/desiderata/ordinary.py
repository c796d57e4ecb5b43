"""Ordinary problems at ordinary lambdas, on which the size of a failure is measured: one batch for all questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from .._types import Floats
from ..bandit import Bandit
from ..losses import Objective, PairObjective
from .falsify.certify import enclose_minimisers
from .falsify.lowest import lower_exists
from .falsify.problems import FAMILIES, pi_star, single
from .subject import Optima, Subject, facts_of
from .verdict import NOT_APPLICABLE, Counterexample, Severity, Verdict

LAMS = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
"""Ordinary lambdas."""

COUNT = 40
"""Ordinary problems; a fifth of them for a loss that takes many local searches."""

RESPONSES = 4

Size = Callable[[Bandit, Optima], Floats]
"""How much the optima of a batch fail, (lambdas, problems) or (problems,); nan where that cannot be said."""


def count(subject: Subject) -> int:
    """How many ordinary problems this loss gets."""
    return COUNT if subject.fast else max(4, COUNT // 5)


def described(subject: Subject) -> str:
    """What ordinary problems are, for the conditions of a verdict."""
    kind = "four responses, policies uniform on the simplex, all pairs equally often"
    return f"{count(subject)} ordinary problems ({kind}), λ from {LAMS[0]:g} to {LAMS[-1]:g}"


def ordinary(subject: Subject, preserved: bool = False, responses: int = RESPONSES) -> tuple[Bandit, Optima]:
    """Problems with policies uniform on the simplex and even pairs, and their optima at `LAMS`.

    preserved: with pi_ref = pi*. responses: four, but where fewer are to be proven.
    """

    def compute() -> tuple[Bandit, Optima]:
        rng = subject.rng("ordinary problems")
        bandit = FAMILIES["moderate"].draw(rng, count(subject), responses, preserved)
        return bandit, subject.optima(bandit, LAMS)

    return subject.once(("ordinary", preserved, responses), compute)


def measured(
    unit: str, size: Floats, worst: float = float("nan"), least: float = 1e-9, of: str = "ordinary problems"
) -> Severity:
    """The severity of sizes: those up to ``least`` are no failure, and nan is not counted."""
    known = size[~np.isnan(size)]
    seen = known[known > least]
    share = seen.size / known.size if known.size else float("nan")
    largest = float(np.fmax(worst, seen.max(initial=0.0)))
    return Severity(unit, share, float(np.median(seen)) if seen.size else 0.0, largest, of)


def middle(size: Floats) -> float:
    """The median of what is known; nan where nothing is."""
    known = size[~np.isnan(size)]
    return float(np.median(known)) if known.size else float("nan")


def with_wins(objective: Objective, bandit: Bandit, wins: Floats) -> Bandit:
    """The same prompts and references with other win counts (P, n, n), and with rewards log pi* for a loss of pairs.

    RLHF gets none, so that its reward is the one that the counts are fitted by.
    """
    rewards = np.log(pi_star(bandit)) if isinstance(objective, PairObjective) else None
    return Bandit.from_counts(bandit.reference, wins, rewards=rewards)


def alone(bandit: Bandit) -> Bandit:
    """A bandit of one prompt without its first axis."""
    if bandit.optimal is not None:
        return single(bandit, 0)
    counts, rewards = bandit.counts, bandit.rewards
    assert counts is not None
    return Bandit.from_counts(bandit.reference[0], counts[0], rewards=None if rewards is None else rewards[0])


def believable(subject: Subject, bandit: Bandit, optima: Optima) -> bool:
    """Whether the optimum of one problem at one lambda is proven, or no policy on a grid over all has a lower value."""
    if np.isfinite(optima.bound).all():
        return True
    one = alone(bandit)
    lower, looked = lower_exists(subject, one, float(optima.lams[0]), optima.log_policies[0, 0])
    return looked > 0 and not lower


def error_bound(subject: Subject, bandit: Bandit, optima: Optima, target: float) -> float:
    """How far the minimiser of one problem at one lambda may be from the optimum, in 1-norm: the solver's bound, or
    branch and bound's that stops below ``target``; inf where nothing is proven."""
    if np.isfinite(optima.bound).all():
        return float(optima.bound.max())
    one = alone(bandit)
    found = enclose_minimisers(subject, one, float(optima.lams[0]), optima.log_policies[0, 0], target)
    return np.inf if found is None else found.reach


def best_shown(attempts: Iterable[tuple[Counterexample | None, bool]]) -> tuple[Counterexample | None, bool]:
    """The first counterexample that is proven, of (counterexample, whether it is) in turn; else the first there is."""
    first: tuple[Counterexample | None, bool] = (None, False)
    for found in attempts:
        if found[0] is not None and found[1]:
            return found
        first = first if first[0] is not None else found
    return first


def tidy(subject: Subject, bandit: Bandit, prompt: int, fails: Callable[[Bandit], bool]) -> Bandit:
    """One prompt as a bandit of one prompt (arrays with a first axis), its policies as round as ``fails`` allows."""
    one = [x[prompt][None] for x in (bandit.reference, pi_star(bandit), bandit.pairs)]
    for places in (1, 2, 3) if subject.fast else (2,):  # each try takes many searches for other losses
        policies = [_round(policy[0], places) for policy in one[:2]]
        if all((policy > 0).all() for policy in policies):
            simpler = Bandit(policies[0][None], policies[1][None], one[2])
            if fails(simpler):
                return simpler
    return Bandit(one[0], one[1], one[2])


def _round(policy: Floats, places: int) -> Floats:
    """Probabilities with so many decimals that sum to one; what is left over goes to the largest."""
    rounded = np.round(policy, places)
    rounded[rounded.argmax()] += 1 - rounded.sum()
    return np.round(rounded, places)


def not_a_risk(subject: Subject, key: str, pairs: bool = False) -> Verdict | None:
    """Not applicable: to a loss that has no risk, or, where the question is one of ``pairs``, to one without any."""
    if facts_of(subject.objective).couples_pairs:
        why = "it couples the pairs of a batch, and is no sum over pairs that has an optimum"
        return Verdict(key, NOT_APPLICABLE, why, "by its definition")
    if pairs and not isinstance(subject.objective, PairObjective):
        return Verdict(key, NOT_APPLICABLE, "it reads a reward, and no pairs", "by its definition")
    return None
