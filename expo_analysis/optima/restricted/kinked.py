r"""Convex losses with kinks over log-linear policies: hinges (SLiC), and penalties on winners that lost mass (DPOP).

With F(z) = max over tau of L(z, tau) as in `kinks`, tau is first smoothed, sigma(kappa/width), and Newton's method goes
from wide to narrow; then the kinks that the minimiser is on are held there, kappa = 0, and Newton's method finds z and
their tau together: tau in [0, 1] there, 1 above and 0 below are the conditions for a minimum.

**Error bound** [ours]. For any z and tau, L(z*, tau) <= F(z*) <= F(z) = L(z, tau) + gap. With g and H the derivatives
of L in z, y = sqrt(d'Hd), d = z* - z, and |D3 L[v,v,u]| <= M rho(u) D2 L[v,v],

    y^2 omega(M sqrt(R) y) <= gap + sqrt(g' H^+ g) y,      omega(s) = (exp(-s) - 1 + s) / s^2,

which bounds y, and with it the policies as in `certificate`. For the shortfall with a logistic psi of scale lam,
M = lam (1 + penalty) + sqrt(lam penalty)/2 + 1: psi' has psi'' <= |psi'|, and a log-normaliser has the M of 1.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ..._types import Floats, Mask
from ...losses.data import evaluate
from ..certificate import UNIT
from ..extremes import lstsq
from ..solution import Certificate, Status
from .certificate import bounds, logit_rounding
from .family import Family, Root
from .found import RestrictedFound, one_found
from .kinks import Kinked, penalty, understood

WIDEST, NARROWEST, SHRINK = 1.0, 1e-9, 0.2
STEPS, ROUNDS = 60, 30
SHORTEST = 1e-6
"""A line search gives up here."""
UNDECIDED = 1e-3
"""A kink whose smoothed tau is farther than this from 0 and 1 may be one that the minimiser is on."""
VANISHED = 1e-9
"""A probability below this, where no bound is proven, is on its way to zero."""
LEVEL = 1e-6
"""Directions with less curvature than the square of this, relative to the largest, count as flat."""
SETTLED = 1e-12
"""Newton's steps of this size, relative to z, end when they no longer shrink: what is left of them is rounding."""
LITTLE = 1e-9
"""By how much tau may leave [0, 1] by rounding."""


def accepts(family: Family) -> bool:
    """Convex, with kinks that are `understood`."""
    return understood(family)


def solve(family: Family, start: Floats) -> RestrictedFound:
    """One problem's minimiser, from w = ``start`` (1, d), with a bound where there is curvature."""
    kinked = Kinked(family)
    z = lstsq(family.basis[0, :, : family.rank[0]], start[0], rcond=None)
    width, steps = max(WIDEST, float(np.abs(kinked.kappa(kinked.family.logits(kinked.w(z)))).max(initial=0.0)) / 4), 0
    sharp: tuple[Floats, Floats] | None = None
    while width > NARROWEST and sharp is None:
        width = max(width * SHRINK, NARROWEST)
        z, tau, taken = _smoothed(kinked, z, width)
        sharp = _on_kinks(kinked, z, tau) if width < WIDEST else None
        steps += taken
    found = _judged(kinked, *(sharp or (z, tau)))
    found.steps[:] = steps
    if not np.isfinite(found.bound).all():
        _say_unbounded(kinked, found, sharp)
    return found


def _say_unbounded(kinked: Kinked, found: RestrictedFound, sharp: tuple[Floats, Floats] | None) -> None:
    """What is known where curvature proves no bound. sharp: where the conditions for a minimum hold, if anywhere."""
    vanished = bool((found.log_policy < np.log(VANISHED)).any())
    if sharp is None:
        found.say(0, Status.FAILED, Certificate.NONE, "no point was found at which the conditions for a minimum hold")
        if vanished:
            _say_lost(found)
        return
    local = kinked.at(*sharp)
    held = local.normals[(sharp[1] > 0) & (sharp[1] < 1)]
    rows = np.concatenate([local.rows, held])
    scale = np.maximum(np.sqrt((rows**2).sum(axis=0)), 1e-300)
    _, values, right = np.linalg.svd(rows / scale, full_matrices=True)
    level = np.r_[values, np.zeros(len(scale) - len(values))] <= LEVEL * values[0]
    left = np.abs(right[level] @ (local.gradient / scale)) > 64 * UNIT * (np.abs(right[level]) @ (local.size / scale))
    if left.any() or vanished:  # it still falls where there is no curvature that could end it
        _say_lost(found)
    else:
        text = "a minimiser: the objective is convex and its conditions hold" + (
            "; there may be others" if level.any() else ""
        )
        found.say(0, Status.OPTIMAL, Certificate.CONDITIONS, text)


def _say_lost(found: RestrictedFound) -> None:
    if np.abs(found.w[0]).max() > 0:
        found.direction[0] = found.w[0] / np.abs(found.w[0]).max()
    text = "no minimiser was reached: the loss still falls as w runs to infinity, ever more slowly (not proven)"
    found.say(0, Status.NO_MINIMISER, Certificate.SEARCH, text)


def _smoothed(kinked: Kinked, z: Floats, width: float) -> tuple[Floats, Floats, int]:
    """Newton's method on the loss smoothed at this width: z, tau, and steps."""
    steps = 0
    while steps < STEPS:
        steps += 1
        tau = _tau(kinked, z, width)
        local = kinked.at(z, tau, width)
        direction = -_solved(local.rows, local.gradient)
        promised, length = float(local.gradient @ direction), 1.0
        # what is left is less than what smoothing itself takes away
        if -promised <= 1e-6 * width * float(local.costs.sum()) + 1e-15 * abs(local.value):
            break
        while (
            length > SHORTEST
            and not _value(kinked, z + length * direction, width) <= local.value + 1e-4 * length * promised
        ):
            length /= 2
        if length <= SHORTEST:
            break
        z = z + length * direction
    return z, _tau(kinked, z, width), steps


def _tau(kinked: Kinked, z: Floats, width: float) -> Floats:
    return np.asarray(expit(kinked.kappa(kinked.family.logits(kinked.w(z))) / width))


def _value(kinked: Kinked, z: Floats, width: float) -> float:
    return kinked.at(z, _tau(kinked, z, width), width).value


def _solved(rows: Floats, rhs: Floats) -> Floats:
    """(S'S)^-1 rhs, with a little added where S has no full rank."""
    size = np.sqrt((rows**2).sum(axis=0).max(initial=1e-300))
    held = np.concatenate([rows, 1e-9 * size * np.eye(len(rhs))])
    triangle: Floats = np.linalg.qr(held, mode="r")  # type: ignore[assignment]
    return np.asarray(np.linalg.solve(triangle, np.linalg.solve(triangle.T, rhs)))


def _on_kinks(kinked: Kinked, z: Floats, tau: Floats) -> tuple[Floats, Floats] | None:
    """z and tau where the kinks near ``z`` are held at 0; None where these contradict each other."""
    kappa = kinked.kappa(kinked.family.logits(kinked.w(z)))
    on = (tau > UNDECIDED) & (tau < 1 - UNDECIDED) & (kinked.at(z, tau).costs > 0)
    for _ in range(ROUNDS):
        found = _held(kinked, z, np.where(on, tau, kappa > 0), on)
        if found is None:
            return None
        at, held, kappa = found
        outside = on & ((held < -LITTLE) | (held > 1 + LITTLE))
        wrong = ~on & (np.where(held > 0.5, -kappa, kappa) > LITTLE)
        if not outside.any() and not wrong.any():
            return at, np.clip(held, 0.0, 1.0)
        kappa = np.where(outside, held - 0.5, kappa)  # above 1 it wants to be above the kink
        on = (on & ~outside) | wrong
        tau = np.clip(held, 0.0, 1.0)
    return None


def _held(kinked: Kinked, z: Floats, tau: Floats, on: Mask) -> tuple[Floats, Floats, Floats] | None:
    """Newton's method for dL/dz = 0 and kappa = 0 where ``on``: z, tau and kappa."""
    tau, size = np.asarray(tau, dtype=np.float64), np.inf
    for _ in range(STEPS):
        local = kinked.at(z, tau)
        held, costs = local.normals[on], local.costs[on]
        hessian = local.rows.T @ local.rows
        corner = np.zeros((len(held), len(held)))
        matrix = np.block([[hessian, held.T * costs], [held, corner]])
        step = lstsq(matrix, -np.concatenate([local.gradient, local.kappa[on]]), rcond=1e-13)
        if not np.isfinite(step).all() or np.abs(step).max(initial=0.0) > 1e6:
            return None
        z, tau = z + step[: len(z)], tau.copy()
        tau[on] += step[len(z) :]
        last, size = size, np.abs(step).max(initial=0.0) / (1 + np.abs(z).max(initial=0.0))
        if last <= size <= SETTLED:
            break
    if size > 1e-8:  # on the way to infinity gradients vanish, and steps do not
        return None
    local = kinked.at(z, tau)
    small = np.abs(local.gradient) <= 1e-9 * local.size
    return (
        (z, tau, local.kappa)
        if small.all() and (np.abs(local.kappa[on]) <= LITTLE * (1 + np.abs(z).max())).all()
        else None
    )


def _concordance(kinked: Kinked) -> float:
    """M of L(., tau), for any tau."""
    known = [0.0]
    if kinked.smooth is not None:
        known.append(float(np.max(np.asarray(kinked.smooth.problem.concordance))))
    for term in kinked.shortfalls:
        plain = {s: sum(c for c, atom in term.statistic.parts if atom.plain and atom.slot == s) for s in "wl"}
        scale = float(np.max(np.abs(np.asarray(evaluate(term.statistic.scale, kinked.problem.datum)))))
        steep = scale * (max(plain["w"], 0.0) + max(plain["l"], 0.0) + penalty(term))
        spread = scale * max(penalty(term) + sum(plain.values()), 0.0)
        known.append(steep + np.sqrt(spread) / 2 + 1)
    return max(known)


def _judged(kinked: Kinked, z: Floats, tau: Floats) -> RestrictedFound:
    """What is proven at z with these tau; see "Error bound" in the module's docstring."""
    family, w = kinked.family, kinked.w(z)
    local = kinked.at(z, tau)
    blur = logit_rounding(family, w)
    x = family.logits(w)
    off = 4 * (blur.max() + UNIT * (4 + len(x) + np.abs(x).max() + np.abs(kinked.problem.log_reference).max()))
    above = np.maximum(local.kappa, 0.0) - tau * local.kappa
    # at a kink of a shortfall psi' is largest where the margin is least
    unsure = (np.abs(local.kappa) <= off) | ((tau > 0) & (tau < 1))
    gap = float((local.costs * np.where(unsure, np.maximum(above, 0.0) + off, above)).sum()) * (1 + 1e-6) * 2
    root = Root.of(local.rows[None])
    found = one_found(family, z)
    if not root.sound[0]:
        return found
    seen = np.eye(family.d, len(z))
    whole = Root(seen @ root.inverse @ seen.T, root.sound)
    lengths = whole.lengths(family.pair_directions) * (1 + 2e-6)
    count = 8 + local.rows.shape[0] + len(z)
    moved = (local.rows.T**2).sum() * off  # what an error of the logits makes of the gradient, at most
    norm = float(np.sqrt((root.whitened(local.gradient[None]) ** 2).sum()))
    own = np.sqrt((root.inverse[0] ** 2).sum(axis=1))
    norm += float((own * (UNIT * count * local.size + moved)).sum())
    distance = _largest_step(gap, norm * (1 + 1e-6), _concordance(kinked) * float(lengths.max()))
    found.bounded(0, bounds(family, w, np.array([distance]), whole, lengths, blur))
    if np.isfinite(found.bound).all():
        found.say(0, Status.OPTIMAL, Certificate.ERROR_BOUND, "the minimiser")
    return found


def _largest_step(gap: float, norm: float, c: float) -> float:
    """The largest y with y^2 omega(c y) <= gap + norm y; nan where there is none."""
    if not (norm * c < 1 and np.isfinite(gap + norm + c)):
        return float("nan")

    def excess(y: float) -> float:
        s = c * y
        own = y * y * (0.5 - s / 6 + s * s / 24) * (1 - 1e-3 * min(s, 1.0)) if s < 1e-2 else (np.expm1(-s) + s) / c**2
        return float(own * (1 - 1e-12) - norm * y - gap)

    high = 4 * (norm + np.sqrt(gap)) + 1e-300
    while excess(high) <= 0:
        high *= 2
        if high > 1e300:
            return float("nan")
    low = high / 2 if excess(high / 2) <= 0 else 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
    return high
