r"""Traps of three responses: a pair that the reference is all against, and a third response, hardly compared. [ours]

A regulariser that sees how likely the pair is need not hold it there. Of reverse KL, as SPO has it, the least over the
mass of the pair is -log(m exp(-K) + 1 - m), m being the pair's mass under pi_ref and K the divergence within the pair:
that is K near pi_ref, and all but level beyond K = -log(1 - m), where the third response has the mass. Near pi_ref
the regulariser holds the pair, far out preferences decide, and between the two is a ridge. With two responses there is
none: the cross-entropy and reverse KL are convex in pi_1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from ..._types import Floats
from ...bandit import Bandit
from ...losses import PairObjective
from ...optima.levenberg import levenberg
from ...optima.methods.multistart import units
from ...optima.problem import Problem
from ...optima.structure import data_of, structures
from ..falsify.basin import is_trapped, ring
from ..falsify.problems import single
from ..subject import Subject
from ..verdict import Counterexample

REFERENCE, THIRD = (1e-2, 1e-3, 1e-4), (0.001, 0.01, 0.1)
"""The share of the preferred response in its pair under pi_ref; pi_ref of the third response."""
PREFERRED, THIRD_OPTIMAL = (0.8, 0.95, 0.99), (0.01, 0.5)
"""The same under pi*."""
HARDLY = 1e-3
"""How often the third response is compared with each of the pair, beside the pair."""
LAMS = (0.3, 1.0, 3.0, 10.0)
FAR = (4.0, 10.0)
"""Starts beside pi_ref: one response is by so much above the others, in log-probabilities."""
RIDGE = 1e-6
"""How much values must differ, relative to 1 + |F|."""
RADII = (2.0, 1.0, 0.5, 0.25, 0.1)
"""Of the neighbourhood of a trap, in log-ratios of neighbours, as far as their order allows."""
TRIED = 3
"""Traps that proofs are tried of, those with the largest differences first."""
SEEN = "54 problems of three responses, one of them hardly compared, at λ from 0.3 to 10, from seven starts each"
"""What is looked at, for the conditions of a verdict."""


@dataclass(frozen=True)
class Missed:
    """A minimum at log pi ``trap`` on a problem ``bandit`` of one prompt at ``lam``, and a lower one at ``lower``."""

    bandit: Bandit
    lam: float
    trap: Floats
    lower: Floats
    by: float


def problems() -> Bandit:
    """All of them as prompts of one bandit."""
    kinds = itertools.product(REFERENCE, THIRD, PREFERRED, THIRD_OPTIMAL)
    policies = [[(a * (1 - c), (1 - a) * (1 - c), c) for a, c in ((s, m), (p, o))] for s, m, p, o in kinds]
    reference, optimal = np.round(np.moveaxis(np.array(policies), 1, 0), 9)
    pairs = np.array([[0.0, 1.0, HARDLY], [1.0, 0.0, HARDLY], [HARDLY, HARDLY, 0.0]])
    return Bandit(reference, optimal, np.broadcast_to(pairs, (len(reference), 3, 3)))


@np.errstate(all="ignore")
def missed(subject: Subject) -> list[Missed]:
    """Problems with two minima of different values, the largest differences first."""
    bandit, objective, found = problems(), subject.objective, []
    assert isinstance(objective, PairObjective)
    count, n = bandit.reference.shape
    starts = np.array([step * np.eye(n)[k] for k in range(n) for step in FAR])
    for lam in LAMS:
        own = subject.at(lam)
        known = structures(own, bandit, np.array([lam]), data_of(own, bandit))
        problem = Problem.cut(own, bandit, range(n), np.arange(count), np.full(count, lam), known.likelihood)
        at = np.concatenate([problem.log_reference, *(np.tile(x[:, None], count) for x in starts)], axis=1)
        runs = np.tile(np.arange(count), len(starts) + 1)
        ends = levenberg(problem.take(runs), at, units(problem)[runs])
        value = np.where(ends.converged, ends.value, np.nan).reshape(-1, count)
        theta = ends.theta.reshape(n, -1, count)
        for k in np.flatnonzero(np.isfinite(value).any(axis=0)):
            low, high = np.nanargmin(value[:, k]), np.nanargmax(value[:, k])
            by = float((value[high, k] - value[low, k]) / (1 + abs(value[low, k])))
            if by > RIDGE:
                trap, lower = (np.round(log_softmax(theta[:, run, k]), 6) for run in (high, low))
                found.append(Missed(single(bandit, int(k)), lam, trap, lower, by))
    return sorted(found, key=lambda one: -one.by)


def attempts(subject: Subject, found: list[Missed]) -> Iterator[tuple[Counterexample | None, bool]]:
    """Traps as counterexamples, and whether intervals prove them."""
    for one in found[:TRIED]:
        radius = _radius(subject, one)
        if radius is not None:
            yield _shown(subject, one, radius), is_trapped(subject, one.bandit, one.lam, one.trap, radius, one.lower)


def _radius(subject: Subject, one: Missed) -> float | None:
    """The largest radius at which the ring around the trap is seen to be higher than it; None where none is."""
    values = [float(subject.value(one.bandit, one.lam, _normalised(x))) for x in (one.trap, one.lower)]
    for radius in RADII:
        around = ring(one.trap, radius)
        if around is not None and (subject.value(one.bandit, one.lam, around) > values[0] + RIDGE * one.by).all():
            return radius
    return None


def _normalised(log_policy: Floats) -> Floats:
    return np.asarray(log_softmax(log_policy))


def _shown(subject: Subject, one: Missed, radius: float) -> Counterexample:
    around = ring(one.trap, radius)
    assert around is not None and one.bandit.optimal is not None
    trap, lower = (float(subject.value(one.bandit, one.lam, _normalised(x))) for x in (one.trap, one.lower))
    ridge = float(subject.value(one.bandit, one.lam, around).min())
    reference, optimal, pairs = (x.tolist() for x in (one.bandit.reference, one.bandit.optimal, one.bandit.pairs))
    code = "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"bandit = ea.Bandit({reference}, {optimal}, {pairs})",
            f"lam, trap, lower, radius = {one.lam!r}, {one.trap.tolist()}, {one.lower.tolist()}, {radius!r}",
            "order = np.argsort(trap)[::-1]",
            "gaps = -np.diff(np.array(trap)[order])  # of log-probabilities, each up to the radius from the trap's",
            "t = np.linspace(-1, 1, 201)",
            "sides = [(t, 0 * t + s) for s in (1, -1)] + [(0 * t + s, t) for s in (1, -1)]",
            "logs = [np.cumsum([0 * t, *(-gaps[:, None] - radius * np.array(side))], axis=0) for side in sides]",
            "ring = np.concatenate(logs, axis=1).T[:, np.argsort(order)]",
            f"value = lambda x: ea.risk({subject.expression}, bandit, torch.tensor(x).double().log_softmax(-1))",
            "around, at_trap, at_lower = value(ring).min().item(), value(trap).item(), value(lower).item()",
            "print('trap:', at_trap, 'around it:', around, 'elsewhere:', at_lower)",
            "assert around > at_trap > at_lower",
        ]
    )
    numbers = {
        "reference": reference,
        "optimal": optimal,
        "pairs": pairs,
        "lam": one.lam,
        "log-policies of trap and of a lower value": [one.trap.tolist(), one.lower.tolist()],
        "values": [trap, lower],
        "radius of the trap (log-ratios of neighbours)": radius,
    }
    policies = [np.exp(_normalised(x)).round(4).tolist() for x in (one.trap, one.lower)]
    statement = (
        f"the loss is {trap:.6g} at {policies[0]}, at least {ridge:.6g} all around it, and {lower:.6g} at "
        f"{policies[1]} (λ = {one.lam:g})"
    )
    return Counterexample(statement, numbers, code)
