"""The simplest case that still violates a claim, and keeps its premises: fewer responses, then round numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..._rounding import significant
from ..._types import Floats, Mask
from ...bandit import Bandit
from ..subject import Optima, Subject
from .cases import Case, Measure, batch

ORDINARY = (1.0, 0.1, 10.0)
"""Lambdas that a counterexample has by preference."""

KEPT = 0.1
"""The share of a violation that a simpler case keeps."""


def usable(subject: Subject, measure: Measure, optima: Optima, bandit: Bandit) -> Floats:
    """The excess (L - span + 1, P) where it counts, else -inf.

    It counts where the problem has the claim's premises; and where optima of this loss can be proven, those of which
    a bound is known: how large it is does not matter, as the excess is what is left beyond it.
    """
    known = spanned(np.isfinite(optima.bound), measure.span) | (not subject.certified)
    return np.where(known & measure.admits(bandit), measure.excess(optima, bandit), -np.inf)


def spanned(flags: Mask, span: int) -> Mask:
    """(L - span + 1, P): whether the flag is set at all lambdas that an entry speaks of."""
    return np.asarray(np.all([flags[k : len(flags) - span + 1 + k] for k in range(span)], axis=0))


def shrink(subject: Subject, measure: Measure, case: Case) -> Case:
    """The simplest case near this one that still violates, by a tenth as much at least: fewer responses, then round
    numbers, then an ordinary lambda."""

    def excesses(cases: list[Case]) -> Floats:
        together = batch(cases)
        return usable(subject, measure, subject.optima(together, cases[0].lams), together)[0]

    kept = KEPT * max(float(excesses([case])[0]), 0.0)
    while len(case.reference) > 2:
        without = (_without(case, k, measure.preserved) for k in range(len(case.reference)))
        smaller = [c for c in without if c is not None]
        if not smaller:
            break
        found = excesses(smaller)
        best = int(np.nanargmax(np.nan_to_num(found, nan=-np.inf)))
        if not found[best] > kept:
            break
        case = smaller[best]

    rounder = list(_rounder(case, measure.preserved))
    found = excesses(rounder) if rounder else np.array([])
    keeps = np.flatnonzero(found > kept)
    if len(keeps):
        case = rounder[keeps[0]]

    # all lambdas that it may end with are solved at once
    choices = [[_rounded_lambda(lam, digits) for digits in (0, 1, 2)] for lam in case.lams]
    pool = [*case.lams, *itertools.chain(*choices), *(ORDINARY if measure.span == 1 else ())]
    alone = batch([case])
    solved = subject.optima(alone, pool)

    def excess_at(lams: Sequence[float]) -> float:
        optima = solved.lambdas([pool.index(lam) for lam in lams])
        return float(usable(subject, measure, optima, alone)[0, 0])

    if measure.span == 1:  # an ordinary lambda tells more, where the violation is still to be seen there
        for lam in ORDINARY:
            if excess_at([lam]) > kept / 2:
                return replace(case, lams=(lam,))
    for k in range(len(case.lams)):
        for rounded in choices[k]:
            lams = (*case.lams[:k], rounded, *case.lams[k + 1 :])
            if len(set(lams)) == len(lams) and list(lams) == sorted(lams) and excess_at(lams) > kept / 2:
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
