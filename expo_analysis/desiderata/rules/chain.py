"""What follows from other verdicts: a first step away from pi* is the end of all that comes after it. [ours]

**First step, preservation.** A directional derivative that is negative at pi_ref = pi* (a gradient that is not zero,
where there is one) says that pi* is no minimiser: there are lower values beside it. So pi* is not preserved.

**Preservation, improvement.** Suppose improvement: for references r != pi* there is a minimiser pi(r), and d(pi(r),
pi*) <= d(r, pi*), d any of the distances. Let r tend to the pi* of a problem on which it is not preserved. Then pi(r)
-> pi*. The loss is continuous in policy and reference, so for every policy p, F(p; pi*) = lim F(p; r) >= lim F(pi(r);
r) = F(pi*; pi*): pi* is a minimiser where it is the reference, and if that is all that was missing (the first step: it
is none), there is a contradiction. So some reference near pi* is left for a policy farther from it, in each of the
distances. Which one is told by a search (`questions.first_look`); the verdict rests on it.

**Improvement near pi*, monotone path.** Such a reference r is left at some lambda: TV(pi_lam, pi*) > TV(r, pi*). If the
optimum tends to the reference as lambda -> infinity, TV(pi_lam', pi*) -> TV(r, pi*), so it is smaller at some lambda' >
lam: the optimum does not come closer to pi* on the way down from lambda'."""

from __future__ import annotations

from ..verdict import FAILS, HOLDS
from .rule import Conclusion, Known, Rule, inherited


def _preservation(known: Known) -> Conclusion | None:
    example = inherited(known, "first_step")
    if example is None:
        return None
    return Conclusion(FAILS, "the optimum moves away from a reference that is already π*", example)


def _improvement(known: Known) -> Conclusion | None:
    if not known.is_("first_step", FAILS):
        return None
    return Conclusion(FAILS, "the optimum can be farther from π* than a reference that is close to it")


def _monotone_path(known: Known) -> Conclusion | None:
    if not (known.is_("first_step", FAILS) and known.is_("reference_limit", HOLDS)):
        return None
    return Conclusion(FAILS, "the optimum does not always come closer to π* as λ falls")


RULES = (
    Rule(
        "a_step_is_no_minimum",
        "preservation",
        "Where the loss falls from π_ref = π*, π* is no minimiser.",
        _preservation,
    ),
    Rule(
        "closed_minimisers",
        "improvement",
        "Minimisers are closed in π_ref: a π* that is none where it is the reference is left by references close to "
        "it.",
        _improvement,
    ),
    Rule(
        "a_detour_from_the_reference",
        "monotone_path",
        "Where references close to π* are left, a path that starts in π_ref as λ → ∞ turns back.",
        _monotone_path,
    ),
)
