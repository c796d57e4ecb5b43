"""Where a formula itself has a limit in lambda, and its optimum another than asked for. [ours]

Let all that lambda enters, weights, scales and offsets of terms and numbers inside psi, have finite limits as lambda ->
0 (or infinity). Then the risk F_lam tends to a risk F_0, uniformly on compact sets of the open simplex, as psi is
continuous; lam D vanishes at lambda -> 0, and there may be no D at infinity.

**Elsewhere.** If F_0(p) < F_0(q) for two policies of the open simplex, no minimisers tend to q: if pi_lam -> q, then
F_0(q) = lim F_lam(pi_lam) - 0 <= lim (F_lam + lam D)(pi_lam) <= lim (F_lam + lam D)(p) = F_0(p). With q = pi* at 0, or
pi_ref at infinity, on one problem and for one p, the limit asked for is refuted. Both values are numbers that are
computed.

**No point mass.** Let all terms be bounded below by a constant at all small lambda, and let one that does not depend on
lambda tend to infinity as pi_w -> 0, pi_l -> 1. The policy that the limits are taken at bounds the minimum, F_lam(p) +
lam D(p) -> F_0(p). So no minimisers tend to a point mass, at which some response that does win against it has pi -> 0.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...losses.terms import Sum
from ..verdict import FAILS, Counterexample
from .formula import Formula
from .parts import CannotTell, Part, at_gap, parts_of
from .rule import Conclusion, Known, Rule

PROBLEMS = (
    (np.array([0.4, 0.6]), np.array([0.7, 0.3])),
    (np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1])),
    (np.array([0.2, 0.5, 0.3]), np.array([0.15, 0.25, 0.6])),
)
"""pi_ref and pi* of the problems on which values are compared; all pairs equally often."""

LOWER = 1e-6
"""By how much a value has to be lower, relative to its size, which rounding cannot make up."""

SMALL, LARGE = (1e-2, 1e-4, 1e-6), (1e2, 1e4, 1e6)
"""Lambdas at which examples show the values."""

End = Literal["zero", "infinity"]


def limit_value(terms: Sum, end: End, reference: Floats, optimal: Floats, policies: Floats) -> Floats:
    """F_0 of policies (count, n), every ordered pair weighed by p*.

    Raises:
        CannotTell: something has no finite limit.
    """
    log_ref, log_pi, rewards = np.log(reference), np.log(policies), np.log(optimal)
    total = np.zeros(len(policies))
    for i in range(len(reference)):
        for j in range(len(reference)):
            if i == j:
                continue
            datum = at_gap(float(rewards[i] - rewards[j]), float(rewards[j]), (float(log_ref[i]), float(log_ref[j])))
            (parts,) = parts_of(terms, [datum])
            ends = {"w": i, "l": j}
            share = optimal[i] / (optimal[i] + optimal[j])
            for part in parts:
                found = _limit(part, end)
                margin = -_number(found.offset) + np.zeros(len(policies))
                for c, atom in found.coefficients:
                    k = ends[atom.slot]
                    given = np.full(len(policies), log_ref[k])
                    margin = margin + _number(c) * atom.value(log_pi[:, k], given)
                total = total + share * _number(found.weight) * found.psi.value(margin)
    return total


def _limit(part: Part, end: End) -> Part:
    limits = [x.limit(end) for x in (part.weight, part.offset, *(c for c, _ in part.coefficients))]
    if part.moving or any(x is None for x in limits):
        raise CannotTell
    weight, offset, *coefficients = limits
    assert weight is not None and offset is not None
    atoms = (atom for _, atom in part.coefficients)
    return Part(part.psi, weight, tuple(zip(coefficients, atoms, strict=True)), offset)  # type: ignore[arg-type]


class Lower(NamedTuple):
    """A policy at which F_0 is lower than at the limit that is asked for, by ``gap``."""

    reference: Floats
    optimal: Floats
    policy: Floats
    gap: float


def goes_elsewhere(formula: Formula, end: End) -> Lower | None:
    """Where F_0 is lower than at pi* (as lambda -> 0), or at pi_ref (lambda -> infinity); None if it is not known."""
    if formula.symbolic is None or formula.derives or formula.is_reward_objective:
        return None
    if end == "infinity" and formula.regulariser is not None:
        return None
    rng = np.random.default_rng(0)
    try:
        for reference, optimal in PROBLEMS:
            target = optimal if end == "zero" else reference
            others = np.concatenate(
                [rng.dirichlet(np.ones(len(target)), 200) * 0.99 + 0.01 / len(target), target[None]]
            )
            with np.errstate(all="ignore"):
                *lower, own = limit_value(formula.symbolic[0], end, reference, optimal, others)
            if np.nanmin(lower) < own - LOWER * (1 + abs(own)):
                least = int(np.nanargmin(lower))
                return Lower(reference, optimal, others[least], float(own - lower[least]))
    except Exception:  # no finite limit, or a function that does not take such numbers
        return None
    return None


def shuns_point_masses(formula: Formula) -> bool:
    """Whether a term without lambda tends to infinity at a point mass, and nothing makes up for it."""
    if formula.parts is None or formula.is_reward_objective:
        return False
    both = [list(zip(*at, strict=True)) for at in zip(formula.parts, formula.numeric, strict=True)]
    bounded = all(_bounded_below(part, at_1) and _has_limit(part) for at in both for part, at_1 in at)
    return bounded and all(any(part.is_fixed and _grows(at_1) for part, at_1 in at) for at in both)


def _has_limit(part: Part) -> bool:
    values = (part.weight, part.offset, *(c for c, _ in part.coefficients))
    return not part.moving and all(x.limit("zero") is not None for x in values)


def _bounded_below(part: Part, at_1: Part) -> bool:
    """Whether it is, by one number at all small lambda: its weight, which has a limit, is not negative."""
    if part.is_fixed:
        return at_1.is_bounded_below
    known = at_1.psi.lower_bound is not None and bool(np.all(np.isfinite(at_1.psi.lower_bound)))
    return part.weight.sign > 0 and known


def _grows(part: Part) -> bool:
    """Whether it tends to infinity as log pi_w -> -inf and log pi_l -> 0."""
    if not all(atom.plain for _, atom in part.coefficients) or part.psi.slopes is None:
        return False
    towards = -sum(_number(c) for c, atom in part.coefficients if atom.slot == "w")
    end = float(np.max(part.psi.slopes[1])) if towards > 0 else float(np.min(part.psi.slopes[0]))
    return _number(part.weight) * towards * end > 0


def _number(x: object) -> float:
    value = getattr(x, "constant", None)
    assert isinstance(value, float)
    return value


def _elsewhere(known: Known, end: End, arrow: str, target: str, name: str) -> Conclusion | None:
    found = goes_elsewhere(known.formula, end)
    if found is None:
        return None
    return Conclusion(
        FAILS, f"as {arrow} the optimum does not tend to {name}", _example(known, end, found, target, name)
    )


def _strong(known: Known) -> Conclusion | None:
    return _elsewhere(known, "zero", "λ → 0", "bandit.optimal", "π*")


def _reference(known: Known) -> Conclusion | None:
    return _elsewhere(known, "infinity", "λ → ∞", "bandit.reference", "π_ref")


def _example(known: Known, end: End, found: Lower, target: str, name: str) -> Counterexample | None:
    """The two values close to the end of lambda; None where they do not show the gap."""
    subject, lams = known.subject, (LARGE if end == "infinity" else SMALL)
    bandit = Bandit(found.reference, found.optimal)
    policy = np.round(found.policy, 4)
    policy[policy.argmax()] += 1 - policy.sum()
    policy = np.round(policy, 4)
    own = found.optimal if end == "zero" else found.reference
    values = [[float(subject.value(bandit, lam, np.log(p))) for p in (policy, own)] for lam in lams]
    gap = values[-1][1] - values[-1][0]
    if not gap > LOWER * (1 + abs(values[-1][1])):
        return None
    lines = [
        subject.imports,
        "",
        f"bandit = ea.Bandit(reference={found.reference.tolist()}, optimal={found.optimal.tolist()})",
        f"policies = (np.array({policy.tolist()}), {target})",
        f"for lam in {list(lams)}:",
        f"    values = [float(ea.risk({subject.expression}, bandit, np.log(p))) for p in policies]",
        "    print(lam, values)",
        f"assert values[0] < values[1] - {gap / 2:.2g}",
    ]
    return Counterexample(
        f"with π_ref = {found.reference.tolist()} and π* = {found.optimal.tolist()}, {policy.tolist()} has a value "
        f"that is lower than that of {name} by {gap:.3g} at λ = {lams[-1]:g}, and than all near {name} at the end",
        {
            "reference": found.reference.tolist(),
            "optimal": found.optimal.tolist(),
            "policy": policy.tolist(),
            "lam": list(lams),
            "values": values,
        },
        "\n".join(lines),
    )


def _weak(known: Known) -> Conclusion | None:
    if not shuns_point_masses(known.formula):
        return None
    return Conclusion(FAILS, "as λ → 0 the optimum does not tend to a point mass")


RULES = (
    Rule(
        "limit_is_lower_elsewhere",
        "strong_interpolation",
        "As λ → 0 the loss tends to one that is lower at another policy than at π*.",
        _strong,
    ),
    Rule(
        "limit_is_lower_elsewhere",
        "reference_limit",
        "As λ → ∞ the loss tends to one that is lower at another policy than at π_ref.",
        _reference,
    ),
    Rule(
        "point_masses_are_infinite",
        "weak_interpolation",
        "A term that does not depend on λ is infinite at point masses, all are bounded below, and other policies have "
        "values that stay bounded as λ → 0.",
        _weak,
    ),
)
