"""The search for counterexamples: many problems at once, then the simplest case that still fails, as Python.

A `Measure` says by how much each optimum violates a claim, beyond what its error bound can explain. `hunt` looks for
violations in every family of problems, few responses first; `shrink` drops responses and rounds numbers as long as the
violation stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._rounding import significant
from ..._types import Floats, Mask
from ...bandit import Bandit
from ..subject import Optima, Subject
from .lowest import lower_exists
from .problems import FAMILIES, join, pi_star

PROVEN = 1e-8
"""Optima whose proven 1-norm error is above this are left out."""

AT_ONCE = 10_000
"""Problems in one batch."""

ORDINARY = (1.0, 0.1, 10.0)
"""Lambdas that a counterexample has by preference."""


@dataclass(frozen=True)
class Measure:
    """How much a batch of optima violates a claim.

    excess: (L - span + 1, P) from the optima and their bandit; positive where the claim is violated by more than
        rounding and the optima's error bounds allow.
    span: the number of neighbouring lambdas that an entry speaks of: 1, or 2 where it compares two.
    preserved: whether the problems have pi_ref = pi*.
    refuted: where it need not be known that an optimum is one: says in words why a case refutes the claim all the same,
        empty where it does not.
    """

    excess: Callable[[Optima, Bandit], Floats]
    span: int = 1
    preserved: bool = False
    refuted: Callable[[Subject, Case, Optima], str] = lambda subject, case, optima: ""


@dataclass(frozen=True)
class Case:
    """A single problem, as it will be printed. pairs: (n, n), or None for all pairs equally often."""

    reference: Floats
    optimal: Floats
    pairs: Floats | None
    lams: tuple[float, ...]

    @classmethod
    def of(cls, bandit: Bandit, prompt: int, lams: tuple[float, ...]) -> Case:
        """One prompt of a population."""
        pairs = bandit.pairs[prompt]
        even = np.ptp(pairs[~np.eye(bandit.n, dtype=bool)]) < 1e-12
        return cls(bandit.reference[prompt], pi_star(bandit)[prompt], None if even else pairs, lams)

    @property
    def bandit(self) -> Bandit:
        return Bandit(self.reference, self.optimal, "uniform" if self.pairs is None else self.pairs)


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
        return self.confirmed.startswith(("proven", "its value is"))

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
    """Look for violations on ``counts[n]`` problems with n responses of each family, n by n until one is found."""
    rng = subject.rng(purpose)
    total = Hunt(0, 0, 0, -np.inf, None, 0.0, "")
    for n, count in counts.items():
        suspects: list[tuple[float, Case]] = []
        kinds = [family for family in families if n > 2 or FAMILIES[family].pairs is None]  # of two there is one pair
        # many starts take about as long for a few problems as for many, so all families go together
        for group in [[kind] for kind in kinds] if subject.fast else [kinds]:
            for first in range(0, count, AT_ONCE):
                size = min(AT_ONCE, count - first)
                drawn = [FAMILIES[family].draw(rng, size, n, measure.preserved) for family in group]
                optima = _optima(subject, join(drawn), lams, None if count > AT_ONCE else (purpose, n, *group))
                found_before = len(suspects)
                for k, bandit in enumerate(drawn):
                    own = optima.problems(slice(k * size, (k + 1) * size))
                    total, suspect = _look(subject, measure, total, own, bandit)
                    suspects += [] if suspect is None else [suspect]
                if len(suspects) > found_before:
                    break
        suspects.sort(key=lambda suspect: -suspect[0])
        for found, case in suspects if subject.certified else suspects[:2]:
            for candidate in (shrink(subject, measure, case), case):
                excess_of, how = confirm(subject, measure, candidate)
                if how:
                    return replace(total, case=candidate, excess=excess_of, confirmed=how)
            if total.case is None:
                total = replace(total, case=case, excess=found)
    return total


def _optima(subject: Subject, bandit: Bandit, lams: Floats, key: Any) -> Optima:
    """The optima, remembered under ``key`` for other measures of the same problems."""
    if key is None:
        return subject.optima(bandit, lams)
    return subject.once(key, lambda: subject.optima(bandit, lams))


def _look(
    subject: Subject, measure: Measure, total: Hunt, optima: Optima, bandit: Bandit
) -> tuple[Hunt, tuple[float, Case] | None]:
    """The hunt's count after one batch, and the batch's worst violation with its excess, if there is any."""
    excess = measure.excess(optima, bandit)
    proven = spanned(optima.bound <= PROVEN, measure.span)
    total = replace(
        total,
        problems=total.problems + excess.shape[1],
        optima=total.optima + excess.size,
        proven=total.proven + int(proven.sum()),
        worst=float(np.fmax(total.worst, np.fmax.reduce(np.where(proven, excess, np.nan), axis=None))),
    )
    usable = _usable(subject, measure, optima, excess)
    if not (usable > 0).any():
        return total, None
    k, p = np.unravel_index(np.nanargmax(usable), usable.shape)
    lam = tuple(float(x) for x in optima.lams[k : k + measure.span])
    return total, (float(usable[k, p]), Case.of(bandit, int(p), lam))


def spanned(flags: Mask, span: int) -> Mask:
    """(L - span + 1, P): whether the flag is set at all lambdas that an entry speaks of."""
    return np.all([flags[k : len(flags) - span + 1 + k] for k in range(span)], axis=0)


def _usable(subject: Subject, measure: Measure, optima: Optima, excess: Floats) -> Floats:
    """The excess where it counts, else -inf: where optima of this loss can be proven, only proven ones do."""
    return np.where(spanned(optima.bound <= PROVEN, measure.span) | (not subject.certified), excess, -np.inf)


def confirm(subject: Subject, measure: Measure, case: Case) -> tuple[float, str]:
    """The excess of a case, and how its optima are known to be the optima; empty where they are not."""
    bandit = _batch([case])
    optima = subject.optima(bandit, case.lams)
    excess = float(measure.excess(optima, bandit)[0, 0])
    if not excess > 0:
        return excess, ""
    if (optima.bound <= PROVEN).all():
        return excess, f"proven to be within {optima.bound.max():.0e} of the minimiser"
    refuted = measure.refuted(subject, case, optima)
    if refuted or not optima.single.all():
        return excess, refuted
    found = [
        lower_exists(subject, case.bandit, lam, log[0]) for lam, log in zip(case.lams, optima.log_policies, strict=True)
    ]
    if any(lower for lower, _ in found) or not all(count for _, count in found):
        return excess, ""
    return excess, f"the lowest of many local searches, and lower than {found[0][1]:,} policies on a grid"


# ---------------------------------------------------------------------------------------------- simplification


def shrink(subject: Subject, measure: Measure, case: Case) -> Case:
    """The simplest case near this one that still violates: fewer responses, then round numbers."""

    def excesses(cases: list[Case]) -> Floats:
        optima = subject.optima(batch := _batch(cases), cases[0].lams)
        return _usable(subject, measure, optima, measure.excess(optima, batch))[0]

    while len(case.reference) > 2:
        without = (_without(case, k, measure.preserved) for k in range(len(case.reference)))
        smaller = [c for c in without if c is not None]
        if not smaller:
            break
        found = excesses(smaller)
        best = int(np.nanargmax(np.nan_to_num(found, nan=-np.inf)))
        if not found[best] > 0:
            break
        case = smaller[best]

    rounder = list(_rounder(case, measure.preserved))
    found = excesses(rounder) if rounder else np.array([])
    keeps = np.flatnonzero(found > 0)
    if len(keeps):
        case = rounder[keeps[0]]

    # all lambdas that it may end with are solved at once
    choices = [[_rounded_lambda(lam, digits) for digits in (0, 1, 2)] for lam in case.lams]
    pool = [*case.lams, *itertools.chain(*choices), *(ORDINARY if measure.span == 1 else ())]
    solved = subject.optima(batch := _batch([case]), pool)

    def excess_at(lams: Sequence[float]) -> float:
        optima = solved.lambdas([pool.index(lam) for lam in lams])
        return float(_usable(subject, measure, optima, measure.excess(optima, batch))[0, 0])

    if measure.span == 1:  # an ordinary lambda tells more, where the violation is still to be seen there
        large = 0.05 * excess_at(case.lams)
        for lam in ORDINARY:
            if excess_at([lam]) > max(large, 0.0):
                return replace(case, lams=(lam,))
    for k in range(len(case.lams)):
        for rounded in choices[k]:
            lams = (*case.lams[:k], rounded, *case.lams[k + 1 :])
            if len(set(lams)) == len(lams) and list(lams) == sorted(lams) and excess_at(lams) > 0:
                case = replace(case, lams=lams)
                break
    return case


def _without(case: Case, response: int, preserved: bool) -> Case | None:
    """The case without one response, or None where nothing is compared any more or the rest falls apart."""
    kept = np.delete(np.arange(len(case.reference)), response)
    pairs = None if case.pairs is None else case.pairs[np.ix_(kept, kept)]
    if pairs is not None:
        if (
            not (pairs > 0).any()
            or len(set(Bandit(np.full(len(kept), 1 / len(kept)), np.full(len(kept), 1 / len(kept)), pairs).components))
            > 1
        ):
            return None
        pairs = pairs / pairs.max()
    optimal = case.optimal[kept] / case.optimal[kept].sum()
    reference = optimal if preserved else case.reference[kept] / case.reference[kept].sum()
    return replace(case, reference=reference, optimal=optimal, pairs=pairs)


def _rounder(case: Case, preserved: bool) -> Iterable[Case]:
    """Cases with rounder numbers, the roundest first."""
    weights: list[Floats | None] = [None]
    if case.pairs is not None:
        scaled = case.pairs / case.pairs.max()
        power = np.where(scaled > 0, 10.0 ** np.round(np.log10(np.where(scaled > 0, scaled, 1.0))), 0.0)
        weights += [power, *(np.vectorize(significant)(scaled, digits) for digits in (1, 2, 4))]
    for digits, pairs in itertools.product((1, 2, 3, 4, 6), weights):
        optimal = _round_policy(case.optimal, digits)
        reference = optimal if preserved else _round_policy(case.reference, digits)
        if (optimal > 0).all() and (reference > 0).all():
            yield replace(case, reference=reference, optimal=optimal, pairs=pairs)


def _round_policy(policy: Floats, digits: int) -> Floats:
    """Probabilities with so many decimals that sum to one; what is left over goes to the largest."""
    rounded = np.round(policy, digits)
    rounded[rounded.argmax()] += 1 - rounded.sum()
    return np.round(rounded, digits)


def _rounded_lambda(lam: float, digits: int) -> float:
    return float(10.0 ** round(np.log10(lam))) if digits == 0 else significant(lam, digits)


def _batch(cases: Sequence[Case]) -> Bandit:
    """Cases with equally many responses as the prompts of one bandit."""
    n = len(cases[0].reference)
    uniform = np.ones((n, n)) - np.eye(n)
    pairs = np.stack([uniform if c.pairs is None else c.pairs for c in cases])
    return Bandit(np.stack([c.reference for c in cases]), np.stack([c.optimal for c in cases]), pairs)


# ---------------------------------------------------------------------------------------------- printing


def case_code(subject: Subject, case: Case, lines: Sequence[str]) -> str:
    """Python that builds the case, solves it as ``path``, and goes on with ``lines``."""
    pairs = "" if case.pairs is None else f",\n    pairs={_matrix(case.pairs)}"
    return "\n".join(
        [
            subject.imports,
            "",
            "bandit = ea.Bandit(",
            f"    reference={_vector(case.reference)},\n    optimal={_vector(case.optimal)}{pairs},",
            ")",
            f"solutions = [ea.solve({subject.expression}, bandit) for lam in {_vector(np.array(case.lams))}]",
            *lines,
        ]
    )


def bandit_code(bandit: Bandit) -> str:
    """Python that builds a bandit of one prompt."""
    policies = [f"    {name}={getattr(bandit, name).tolist()}," for name in ("reference", "optimal", "pairs")]
    return "\n".join(["bandit = ea.Bandit(", *policies, ")"])


def _vector(x: Floats) -> str:
    return "[" + ", ".join(f"{float(v):.12g}" for v in x) + "]"


def _matrix(x: Floats) -> str:
    return "[" + ", ".join(map(_vector, x)) + "]"
