"""Dependence on pairs: does the optimum change with how often which pairs were compared? [ours]

Where the preferences are Bradley-Terry's all pairs tell the same story, and who collects data would like the answer not
to depend on which pairs happened to be compared how often. A loss *does not depend on q* if its optimum on a
population is the same for all distributions q of pairs that connect the responses. It is so where every pair's own loss
is least at the Bradley-Terry margin, and nothing else pulls: all pairs then have their minimum at once, whatever their
weights. An explicit regulariser is weighed against pairs, and lets q in. The number is the TV between optima of even
and of uneven q.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...divergences import total_variation
from ..falsify.problems import pi_star, uneven
from ..ordinary import (
    LAMS,
    RESPONSES,
    believable,
    best_shown,
    count,
    described,
    error_bound,
    measured,
    middle,
    not_a_risk,
    ordinary,
    tidy,
)
from ..subject import Optima, Subject
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict

KEY = "pair_dependence"
SLACK = 1e-8
UNPROVEN = 1e-4
"""What is added where an optimum's error has no proven bound: the solver's own tolerance, amplified."""


def _slack(optima: Optima) -> np.ndarray:
    return np.where(np.isfinite(optima.bound), optima.bound, UNPROVEN) / 2


def judge(subject: Subject) -> Verdict:
    """Optima of ordinary problems, and of the same with pair weights over four decades."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    conditions = f"{described(subject)}, and the same with pair weights over four decades; Bradley-Terry preferences"
    even, found, size, seen = subject.once((KEY, RESPONSES), partial(_compared, subject, RESPONSES))
    if not even.single.any():
        return Verdict(KEY, NOT_APPLICABLE, "it has no single optimum on ordinary problems", conditions)
    both = even.single & found.single
    if not both.any():
        return Verdict(KEY, CANNOT_TELL, "there is no single optimum with uneven pairs", conditions)
    evidence = {
        "TV between optima of even and uneven pairs, median": middle(size),
        "largest": float(np.nanmax(size)),
        **{f"median at λ = {lam:g}": middle(row) for lam, row in zip(LAMS, size, strict=True)},
        "optima compared": int(both.sum()),
    }
    if not (seen > 0).any():
        if both.mean() < 0.9 or not (np.isfinite(even.bound) & np.isfinite(found.bound))[both].mean() > 0.9:
            why = "no dependence was found, but the optima are not proven"
            return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer="not seen")
        summary = "the optimum is the same whichever pairs were compared how often"
        return Verdict(KEY, HOLDS, summary, conditions, evidence, answer="no")
    example, proven = best_shown(_attempts(subject))
    if example is None:
        return Verdict(
            KEY, CANNOT_TELL, "the policies found are not the optima", conditions, evidence, answer="not seen"
        )
    return Verdict(
        KEY,
        FAILS,
        "the optimum depends on which pairs were compared how often",
        conditions,
        evidence,
        example,
        PROVEN if proven else EVIDENCE,
        severity=measured("TV", size, least=SLACK + (0.0 if np.isfinite(even.bound).all() else UNPROVEN)),
        answer=f"{middle(size):.2g} TV",
    )


def _pairs(subject: Subject, responses: int) -> Floats:
    """Weights over four decades for the pairs of each ordinary problem."""
    return uneven(subject.rng(KEY), count(subject), responses)


def _compared(subject: Subject, responses: int) -> tuple[Optima, Optima, Floats, Floats]:
    """The optima of ordinary problems with even and with uneven pairs, their TV (L, P), nan where one is not single,
    and what of that is more than the optima's own errors can add."""
    bandit, even = ordinary(subject, responses=responses)
    found = subject.optima(Bandit(bandit.reference, pi_star(bandit), _pairs(subject, responses)), LAMS)
    both = even.single & found.single
    size = np.where(both, total_variation(even.policies, found.policies), np.nan)
    return even, found, size, size - _slack(even) - _slack(found) - SLACK


def _attempts(subject: Subject) -> Iterator[tuple[Counterexample | None, bool]]:
    """Examples of four responses, and of three where it takes branch and bound to prove one."""
    for responses in (RESPONSES, 3):
        seen = subject.once((KEY, responses), partial(_compared, subject, responses))[-1]
        if (seen > 0).any():
            k, p = np.unravel_index(np.nanargmax(seen), seen.shape)
            bandit, _ = ordinary(subject, responses=responses)
            yield _shown(subject, bandit, _pairs(subject, responses)[p], int(p), float(LAMS[k]))


def _shown(subject: Subject, bandit: Bandit, pairs: Floats, p: int, lam: float) -> tuple[Counterexample | None, bool]:
    """The same problem with two distributions of pairs, as round as the difference allows."""
    scaled = pairs / pairs.max()
    rounded = np.where(scaled > 0, 10.0 ** np.round(np.log10(np.where(scaled > 0, scaled, 1.0))), 0.0)

    @cache
    def solved(one: Bandit) -> tuple[Optima, Optima, float]:
        uneven_pairs = Bandit(one.reference, pi_star(one), rounded[None])
        first, second = (subject.optima(x, [lam]) for x in (one, uneven_pairs))
        return first, second, float(total_variation(first.policies, second.policies)[0, 0])

    _, _, whole = solved(tidy(subject, bandit, p, lambda one: False))
    one = tidy(subject, bandit, p, lambda one: solved(one)[2] > 0.5 * whole)
    first, second, apart = solved(one)
    uneven_pairs = Bandit(one.reference, pi_star(one), rounded[None])
    if not (believable(subject, one, first) and believable(subject, uneven_pairs, second)):
        return None, False
    reference, optimal = (x[0].tolist() for x in (one.reference, pi_star(one)))
    code = "\n".join(
        [
            subject.imports,
            "",
            f"lam, reference, optimal = {lam!r}, {reference}, {optimal}",
            f"even, uneven = (ea.Bandit(reference, optimal, pairs) for pairs in ('uniform', {rounded.tolist()}))",
            f"policies = [ea.solve({subject.expression}, bandit).policy for bandit in (even, uneven)]",
            "print(policies)",
            f"assert abs(policies[0] - policies[1]).sum() / 2 > {apart / 2:.3g}",
        ]
    )
    numbers = {
        "reference": reference,
        "optimal": optimal,
        "uneven pairs": rounded.tolist(),
        "lam": lam,
        "policies": [x.policies[0, 0].tolist() for x in (first, second)],
        "TV": apart,
    }
    bounds = (error_bound(subject, x, found, apart / 4) for x, found in ((one, first), (uneven_pairs, second)))
    statement = f"two choices of pairs have optima {apart:.3g} apart in TV (λ = {lam:g})"
    return Counterexample(statement, numbers, code), all(bound <= apart / 4 for bound in bounds)
