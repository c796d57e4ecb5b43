"""Dependence on pairs: does the optimum change with how often which pairs were compared? [ours]

Where the preferences are Bradley-Terry's all pairs tell the same story, and who collects data would like the answer not
to depend on which pairs happened to be compared how often. A loss *does not depend on q* if its optimum on a
population is the same for all distributions q of pairs that connect the responses. It is so where every pair's own loss
is least at the Bradley-Terry margin, and nothing else pulls: all pairs then have their minimum at once, whatever their
weights. An explicit regulariser is weighed against pairs, and lets q in. The number is the TV between optima of even
and of uneven q.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ...bandit import Bandit
from ...divergences import total_variation
from ..falsify.problems import pi_star, uneven
from ..ordinary import LAMS, RESPONSES, believable, described, measured, middle, not_a_risk, ordinary, tidy
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
    bandit, even = ordinary(subject)
    count = len(bandit.reference)
    conditions = f"{described(subject)}, and the same with pair weights over four decades; Bradley-Terry preferences"
    if not even.single.any():
        return Verdict(KEY, NOT_APPLICABLE, "it has no single optimum on ordinary problems", conditions)
    other = Bandit(bandit.reference, pi_star(bandit), uneven(subject.rng(KEY), count, RESPONSES))
    found = subject.optima(other, LAMS)
    both = even.single & found.single
    size = np.where(both, total_variation(even.policies, found.policies), np.nan)
    if not both.any():
        return Verdict(KEY, CANNOT_TELL, "there is no single optimum with uneven pairs", conditions)
    seen = np.where(both, size - _slack(even) - _slack(found) - SLACK, np.nan)
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
    k, p = np.unravel_index(np.nanargmax(seen), seen.shape)
    example, proven = _shown(subject, bandit, other, int(p), float(LAMS[k]))
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


def _shown(subject: Subject, bandit: Bandit, other: Bandit, p: int, lam: float) -> tuple[Counterexample | None, bool]:
    """The same problem with two distributions of pairs, as round as the difference allows."""
    scaled = other.pairs[p] / other.pairs[p].max()
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
    bounds = np.concatenate([first.bound, second.bound])
    proven = bool((np.isfinite(bounds) & (bounds < apart / 4)).all())
    return Counterexample(
        f"two choices of pairs have optima {apart:.3g} apart in TV (λ = {lam:g})", numbers, code
    ), proven
