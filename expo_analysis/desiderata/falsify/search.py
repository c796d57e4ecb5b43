"""The search for counterexamples: many problems at once, then the simplest case that still fails, and proof of it.

A `Measure` says by how much each optimum violates a claim, beyond what its error bound can explain. `hunt` looks for
violations in every family of problems, few responses first; `shrink` makes the worst one simple; and `confirm` tells
how its optima are known to be optima.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ..subject import Optima, Subject
from .cases import Case, Measure, bandit_code, batch, case_code
from .certify import certified, is_lower
from .lowest import lower_exists
from .problems import FAMILIES, join, pi_star
from .shrink import shrink, spanned, usable

__all__ = [
    "PROVEN",
    "Case",
    "Hunt",
    "Measure",
    "bandit_code",
    "case_code",
    "confirm",
    "hunt",
    "shrink",
    "spanned",
]

PROVEN = 1e-6
"""Optima with a proven 1-norm error of at most this count as proven where no violation was found."""

AT_ONCE = 10_000
"""Problems in one batch."""

GROUPS, GROUP = 4, 100
"""Each batch is cut into so many groups with lambdas of their own, or fewer, of at least so many problems."""

SMALL = 1e-3
"""A violation as small as this is not the end of the search: with more responses there may be larger ones."""

TRIED = 2
"""Of a loss that is not solved fast, how many violations are looked into."""


@dataclass(frozen=True)
class Hunt:
    """What a search found. problems: how many; optima: at how many (problem, lambda); proven: how many of these had a
    proven bound below `PROVEN`. worst: the largest excess among these (negative: the nearest miss). case: the simplest
    violation, with its excess. confirmed: how that case's optimum is known, empty where it is not."""

    problems: int
    optima: int
    proven: int
    worst: float
    case: Case | None
    excess: float
    confirmed: str

    @property
    def is_proven(self) -> bool:
        """Whether the case's optima are proven, or need not be optima to refute the claim."""
        return self.confirmed.startswith(("proven", "certified"))

    @property
    def conclusive(self) -> bool:
        """Whether finding nothing says something: nearly all optima were proven."""
        return self.proven >= 0.9 * self.optima

    def describe(self) -> str:
        """How hard it looked."""
        share = "all" if self.proven == self.optima else f"{self.proven:,}"
        return f"{self.problems:,} problems, {self.optima:,} optima, {share} of them proven to {PROVEN:g}"


def hunt(
    subject: Subject,
    purpose: str,
    measure: Measure,
    lams: Floats,
    counts: dict[int, int],
    families: Iterable[str] = tuple(FAMILIES),
) -> Hunt:
    """Look for violations on problems with n responses, n by n until one is found that is not `SMALL`.

    There are five times ``counts[n]`` of them, in equal parts of each family; of two responses, where only the
    policies tell families apart, three times. The lambdas of every other group of problems are ``lams``, those of the
    rest are drawn log-uniformly around them, for each group anew.
    """
    rng = subject.rng(purpose)
    total = Hunt(0, 0, 0, -np.inf, None, 0.0, "")
    best: Hunt | None = None
    for n, count in counts.items():
        suspects: list[tuple[float, Case]] = []
        kinds = [family for family in families if n > 2 or FAMILIES[family].pairs is None]  # of two there is one pair
        share = max(1, -(-count * (5 if n > 2 else 3) // len(kinds)))
        # many starts take about as long for a few problems as for many, so all families go together
        for place, group in enumerate([[kind] for kind in kinds] if subject.fast else [kinds]):
            for first in range(0, share, AT_ONCE):
                size = min(AT_ONCE, share - first)
                drawn = join([FAMILIES[family].draw(rng, size, n, measure.preserved) for family in group])
                parts = min(GROUPS, max(1, size // GROUP)) if subject.fast else 1
                found_before = len(suspects)
                for k in range(parts):
                    bandit = _every(drawn, k, parts)
                    own = lams if (k + place + n) % 2 == 0 else between(rng, lams)
                    optima = _optima(subject, bandit, own, None if share > AT_ONCE else (purpose, n, share, k, *group))
                    total, suspect = _look(subject, measure, total, optima, bandit)
                    suspects += [] if suspect is None else [suspect]
                if len(suspects) > found_before:
                    break
        suspects.sort(key=lambda suspect: -suspect[0])
        for found, case in suspects[: None if subject.certified else TRIED]:
            for candidate in (shrink(subject, measure, case), case):
                excess_of, how = confirm(subject, measure, candidate)
                confirmed = replace(total, case=candidate, excess=excess_of, confirmed=how)
                if how and (best is None or _rank(confirmed) > _rank(best)):
                    best = confirmed
                if how:
                    break
            if best is not None and best.is_proven:
                break
            if total.case is None:
                total = replace(total, case=case, excess=found)
        if best is not None and best.excess > SMALL:
            break
    return total if best is None else replace(total, case=best.case, excess=best.excess, confirmed=best.confirmed)


def _rank(found: Hunt) -> tuple[bool, float]:
    return found.is_proven, found.excess


def between(rng: np.random.Generator, lams: Floats) -> Floats:
    """Lambdas in the place of ``lams`` (L,), which rise: each log-uniform between the middles of its gaps."""
    if len(lams) < 2:
        return lams
    logs = np.log(lams)
    middles = (logs[1:] + logs[:-1]) / 2
    ends = np.concatenate([[logs[0]], middles, [logs[-1]]])
    return np.asarray(np.exp(rng.uniform(ends[:-1], ends[1:])))


def _every(bandit: Bandit, first: int, step: int) -> Bandit:
    """Every ``step``-th problem from ``first`` on."""
    if step == 1:
        return bandit
    return Bandit(bandit.reference[first::step], pi_star(bandit)[first::step], bandit.pairs[first::step])


def _optima(subject: Subject, bandit: Bandit, lams: Floats, key: Any) -> Optima:
    """The optima, remembered under ``key`` for other measures of the same problems."""
    if key is None:
        return subject.optima(bandit, lams)
    return subject.once(key, lambda: subject.optima(bandit, lams))


def _look(
    subject: Subject, measure: Measure, total: Hunt, optima: Optima, bandit: Bandit
) -> tuple[Hunt, tuple[float, Case] | None]:
    """The hunt's count after one batch, and the batch's worst violation with its excess, if there is any."""
    excess, admitted = measure.excess(optima, bandit), measure.admits(bandit)
    proven = spanned(optima.bound <= PROVEN, measure.span) & admitted
    total = replace(
        total,
        problems=total.problems + int(admitted.sum()),
        optima=total.optima + len(excess) * int(admitted.sum()),
        proven=total.proven + int(proven.sum()),
        worst=float(np.fmax(total.worst, np.fmax.reduce(np.where(proven, excess, np.nan), axis=None))),
    )
    counted = usable(subject, measure, optima, bandit)
    if not (counted > 0).any():
        return total, None
    k, p = np.unravel_index(np.nanargmax(counted), counted.shape)
    lam = tuple(float(x) for x in optima.lams[k : k + measure.span])
    return total, (float(counted[k, p]), Case.of(bandit, int(p), lam))


def confirm(subject: Subject, measure: Measure, case: Case) -> tuple[float, str]:
    """The excess of a case, and how its optima are known to be the optima; empty where they are not.

    Where branch and bound tells it, the excess is what is certain.
    """
    bandit = batch([case])
    optima = subject.optima(bandit, case.lams)
    excess = float(measure.excess(optima, bandit)[0, 0])
    if not excess > 0 or not measure.admits(bandit).all():
        return excess, ""
    if np.isfinite(optima.bound).all():
        return excess, f"proven to be within {optima.bound.max():.0e} of the minimiser"
    refuted = measure.refuted(subject, case, optima)
    if refuted and measure.preserved:  # π* against another policy: two values tell
        there, here = optima.log_policies[0, 0], np.log(case.optimal)
        if is_lower(subject, case.bandit, case.lams[0], there, here):
            return excess, f"certified by interval arithmetic: {refuted}"
    certain, how = certified(subject, measure, case, optima)
    if how:
        return certain, how
    if refuted or not optima.single.all():
        return excess, refuted
    found = [
        lower_exists(subject, case.bandit, lam, log[0]) for lam, log in zip(case.lams, optima.log_policies, strict=True)
    ]
    if any(lower for lower, _ in found) or not all(count for _, count in found):
        return excess, ""
    return excess, f"the lowest of many local searches, and lower than {found[0][1]:,} policies on a grid"
