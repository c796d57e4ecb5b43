"""Limits of the optimum as lambda tends to 0 or infinity, taken as limits.

The optimum is followed decade by decade. It tends to a target if its distance from it keeps falling, by at least half a
decade, and it tends elsewhere if its steps keep shrinking so fast that all steps to come together (a geometric series)
cannot bring it there. Problems that show neither within 12 decades are left undecided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..._types import Floats, Mask
from ...bandit import Bandit
from ..falsify.problems import FAMILIES, pi_star
from ..subject import Optima, Subject

End = Literal["zero", "infinity"]

DECADES = 8
MORE_DECADES = 12
"""How far lambda is followed, and how much farther where that did not decide."""

DECADES_UNPROVEN = 5
"""How far where optima are not proven: beyond that, local searches drown in rounding."""

NEGLIGIBLE = 1e-9
"""1-norm distances below this are taken to be rounding."""

NEGLIGIBLE_PROVEN = 1e-12
"""The same where error bounds are proven, which say more if they are larger."""

LEAST_FALL = 0.5
"""A sequence converges here if each decade multiplies it by at most this."""

CLEAR = 1.01
"""How often the mode of pi* is likelier than the next response, at least: two modes that tie are none."""

SHOWN = 4
"""Decades over which the fall must be seen."""


@dataclass(frozen=True)
class Approach:
    """Where the optima of a batch of problems tend to, and whether that is the target.

    bandit, optima: the problems (P of them) and their optima, from lambda = 1 outwards.
    reached, elsewhere: (P,), whether they tend to the target, or provably not; neither: undecided.
    distance: (L, P), from the target. rate: (P,), the power of lambda (or 1/lambda) with which it falls, nan where it
    is negligible or not reached. proven: (P,), whether the optima are.
    """

    bandit: Bandit
    optima: Optima
    reached: Mask
    elsewhere: Mask
    distance: Floats
    rate: Floats
    proven: Mask


def lambdas(end: End, decades: int) -> Floats:
    """1, 10, 100, ... or 1, 0.1, 0.01 ..."""
    return np.power(10.0, np.arange(decades + 1.0) * (-1 if end == "zero" else 1))


def limit_problems(subject: Subject, count: int) -> list[Bandit]:
    """Problems on which limits are followed: 2 to 5 responses, even and uneven pairs, paths, a unique mode of pi*."""
    return subject.once(("limits", count), lambda: _draw(subject, count))


KINDS = (
    (2, "moderate"),
    (3, "moderate"),
    (3, "uneven"),
    (4, "uneven"),
    (4, "weak link"),
    (5, "moderate"),
)
"""Numbers of responses, and families of problems. On paths margins that do not add up show what they do."""


def lead_of_mode(bandit: Bandit) -> Floats:
    """pi* of its mode by pi* of the next response, (P,)."""
    top = np.sort(pi_star(bandit), axis=-1)
    return np.asarray(top[..., -1] / top[..., -2])


def _draw(subject: Subject, count: int) -> list[Bandit]:
    bandits = []
    for n, family in KINDS:
        bandit = FAMILIES[family].draw(subject.rng(f"limits {n} {family}"), 8 * count, n)
        least = np.minimum(pi_star(bandit).min(axis=1), bandit.reference.min(axis=1))
        # a clear mode, and no probability so small that the limit lies beyond the lambdas that can be tried
        clear = (lead_of_mode(bandit) > 1.1) & (least > 0.01)
        chosen = np.flatnonzero(clear)[:count]
        bandits.append(Bandit(bandit.reference[chosen], pi_star(bandit)[chosen], bandit.pairs[chosen]))
    return bandits


def follow(subject: Subject, bandit: Bandit, end: End, target: Floats, far: bool = False) -> Approach:
    """Follow the optima to one end of lambda, and compare with ``target`` (P, n).

    far: whether to go as far where optima are not proven: on problems whose optima are easily found.
    """

    def optima(decades: int) -> Optima:
        return subject.once((id(bandit), end, decades), lambda: subject.optima(bandit, lambdas(end, decades)))

    approach = judge(bandit, optima(DECADES if subject.certified or far else DECADES_UNPROVEN), target)
    if subject.certified and not (approach.reached | approach.elsewhere).all():
        longer = judge(bandit, optima(MORE_DECADES), target)
        if (longer.reached | longer.elsewhere).sum() > (approach.reached | approach.elsewhere).sum():
            return longer
    return approach


def judge(bandit: Bandit, optima: Optima, target: Floats) -> Approach:
    """Decide from the optima at lambdas that go to one end; see the module's docstring."""
    distance = np.abs(optima.policies - target).sum(axis=-1)
    step = np.abs(np.diff(optima.policies, axis=0)).sum(axis=-1)
    floor = np.where(np.isfinite(optima.bound), np.maximum(NEGLIGIBLE_PROVEN, 4 * optima.bound), NEGLIGIBLE)
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = (distance[1:] <= LEAST_FALL * distance[:-1]) | (distance[1:] <= floor[1:])
        shrinks = (step[1:] <= LEAST_FALL * step[:-1]) | (step[1:] <= floor[2:])
    single = optima.single[-SHOWN - 1 :].all(axis=0)
    reached = single & falls[-SHOWN:].all(axis=0) & (distance[-1] < 1e-2)
    # what is still to come is at most step (1/2 + 1/4 + ...) = step
    elsewhere = single & shrinks[-SHOWN:].all(axis=0) & (distance[-1] > 2 * step[-1] + floor[-1] + 1e-6)
    gone = np.asarray(~optima.exists[-SHOWN:].any(axis=0))
    proven = np.asarray(np.isfinite(optima.bound[-SHOWN:]).all(axis=0))
    return Approach(bandit, optima, reached & ~gone, elsewhere | gone, distance, _rate(optima, distance, floor), proven)


def _rate(optima: Optima, distance: Floats, floor: Floats) -> Floats:
    """Least-squares slope of log distance against |log lambda|, over the last decades in which the distance is not
    negligible; (P,)."""
    decades = np.abs(np.log10(optima.lams))
    rates = np.full(distance.shape[1], np.nan)
    for p in range(distance.shape[1]):
        seen = np.flatnonzero((distance[:, p] > 30 * floor[:, p]) & (distance[:, p] < 1e-2))[-SHOWN:]
        if len(seen) >= 3:
            rates[p] = -np.polyfit(decades[seen], np.log10(distance[seen, p]), 1)[0]
    return rates


def point_mass(bandit: Bandit) -> Floats:
    """All probability on the mode of pi*, (P, n)."""
    return np.eye(bandit.n)[np.argmax(pi_star(bandit), axis=-1)]


def describe_limit(approach: Approach) -> str:
    """In words, what the optima tend to where they do not tend to the target."""
    away = approach.elsewhere
    bandit, last = approach.bandit, approach.optima.policies[-1]
    if not approach.optima.exists[-1, away].all():
        return "no minimiser"
    net = np.maximum(bandit.wins.sum(axis=-1) - bandit.wins.sum(axis=-2), 0.0)
    net /= np.maximum(net.sum(axis=-1, keepdims=True), 1e-300)
    candidates = {
        "π*": pi_star(bandit),
        "π_ref": bandit.reference,
        "the point mass on π*'s mode": point_mass(bandit),
        "the uniform policy": np.full_like(pi_star(bandit), 1 / bandit.n),
        "the shares of wins": bandit.wins.sum(axis=-1) / bandit.wins.sum(axis=(-1, -2))[..., None],
        "the shares of surplus wins (wins less losses, where positive)": net,
    }
    for name, policy in candidates.items():
        if (np.abs(last - policy).sum(axis=-1)[away] < 1e-3).all():
            return name
    if (np.sort(last, axis=-1)[away, -1] > 0.999).all():
        return "a point mass that is not always on π*'s mode"
    return "a policy of its own"
