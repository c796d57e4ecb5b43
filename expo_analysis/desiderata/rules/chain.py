"""What follows from other verdicts: a first step away from pi* is the end of all that comes after it. [ours]

A gradient that is not zero at an interior point where the loss is differentiable says that the point is no minimiser.
So where the first step leaves pi_ref = pi*, pi* is not preserved. Let pi_ref tend to such a pi*: were the optimum never
farther from pi* than pi_ref, it would tend to pi*, which then were a minimiser, as the minimisers of functions that
converge uniformly on compact sets tend to minimisers; so improvement fails too. And a path that starts, at lambda =
infinity, in pi_ref, and is farther from pi* somewhere, does not come steadily closer to pi* as lambda falls.
"""

from __future__ import annotations

from ..verdict import FAILS, HOLDS
from .rule import Conclusion, Known, Rule, inherited


def _preservation(known: Known) -> Conclusion | None:
    example = inherited(known, "first_step")
    if example is None:
        return None
    return Conclusion(FAILS, "the optimum moves away from a reference that is already π*", example)


def _improvement(known: Known) -> Conclusion | None:
    if not known.is_("preservation", FAILS):
        return None
    return Conclusion(FAILS, "the optimum can be farther from π* than a reference that is close to it")


def _monotone_path(known: Known) -> Conclusion | None:
    if not (known.is_("improvement", FAILS) and known.is_("reference_limit", HOLDS)):
        return None
    example = inherited(known, "improvement")
    return Conclusion(FAILS, "the optimum does not always come closer to π* as λ falls", example)


RULES = (
    Rule(
        "a_step_is_no_minimum",
        "preservation",
        "A gradient that is not zero at π_ref = π* says that π* is no minimiser.",
        _preservation,
    ),
    Rule(
        "closed_minimisers",
        "improvement",
        "Minimisers are closed in π_ref: what is not preserved at π* is left by references close to it.",
        _improvement,
    ),
    Rule(
        "a_detour_from_the_reference",
        "monotone_path",
        "A path that starts in π_ref as λ → ∞ and is farther from π* at some λ is not monotone.",
        _monotone_path,
    ),
)
