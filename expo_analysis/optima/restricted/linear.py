"""Piecewise linear losses over log-linear policies, such as the hinge without weight decay: a linear program over w.

    min over z, t of  sum_k height_k t_k   with   t_k >= kappa_k(z), t_k >= 0,     kappa_k = K_k - a_k'z.

With multipliers y_k of one solution, z is a minimiser if and only if kappa_k >= 0 where y_k > 0, and kappa_k <= 0
where y_k < height_k (complementary slackness). Further programs tell how far each coordinate of z may go among the
minimisers; where there are many, the one with the least |z| is found by least-distance programming (Lawson and Hanson
1974, ch. 23). Where there is one, the multipliers also bound its distance from what the program returned (`sharp`).
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats, Mask
from ...losses.psi import Linear
from ..certificate import UNIT, policy_error
from ..least_distance import least_norm
from ..sharp import nearest
from ..solution import Certificate, Status
from .certificate import logit_rounding
from .family import Family
from .found import RestrictedFound, one_found
from .kinks import Kinked, understood
from .programs import SHARP, program

NEGLIGIBLE = 1e-9
"""Multipliers below this share of their largest value count as zero."""
SAME = 1e-7
"""How little log-ratios must vary among minimisers to be called equal."""


def accepts(family: Family) -> bool:
    """Nothing but straight lines of log-ratios, joined by hinges."""
    if not understood(family) or (family.decay > 0).any():
        return False
    problem = family.cells.problem
    smooth = Kinked(family).smooth
    straight = smooth is None or all(isinstance(t.psi, Linear) for t in smooth.problem.facts.terms)
    return problem.target is None and straight and not Kinked(family).shortfalls


def solve(family: Family) -> RestrictedFound:
    """One problem's minimiser of least norm; where it is the only one, mostly with an error bound."""
    kinked = Kinked(family)
    local = kinked.at(np.zeros(family.rank[0]), np.zeros(len(kinked.hinges[0])))  # tau = 0: without the hinges
    height, normals, kink = local.costs, local.normals, local.kappa
    count, d = normals.shape
    unit = np.abs(normals).max(axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    scaled = normals / unit
    upper = np.hstack([scaled, -np.eye(count)])
    bounds = [(None, None)] * d + [(0.0, None)] * count
    goal = np.r_[local.gradient / unit, height]
    solved = program(goal, upper, -kink, bounds)
    found = one_found(family, np.zeros(d))
    if not solved.success:
        found.say(0, Status.FAILED, Certificate.NONE, "the linear program over w was not solved")
        return found
    multipliers = -solved.ineqlin.marginals
    above, below = multipliers > NEGLIGIBLE * height, multipliers < height * (1 - NEGLIGIBLE)
    rows, limits = np.concatenate([-scaled[above], scaled[below]]), np.concatenate([kink[above], -kink[below]])
    limits = np.maximum(limits, rows @ solved.x[:d])  # what solves the program is among its solutions
    spread = _spread(rows, limits)
    z = solved.x[:d] / unit
    one = bool((spread <= SAME).all())
    off = np.full(d, np.inf)
    if one:
        lines = np.stack([np.ones(count), np.zeros(count)]), np.stack([kink, np.zeros(count)])
        held = np.stack([multipliers, height - multipliers])
        z, off = nearest(normals, *lines, height, local.gradient, held, z)
    found = one_found(family, z if one else least_norm(rows * unit, limits, z, 1e2 * SHARP))
    found.steps[:] = solved.nit
    text = "the minimiser: a linear program's, whose conditions for a minimum hold; no error bound is proven"
    found.say(0, Status.OPTIMAL, Certificate.CONDITIONS, text)
    _say_open(family, found, spread > SAME, bool(np.isinf(spread).any()))
    if np.isfinite(off).all():
        _bounded(family, found, off)
    return found


def _bounded(family: Family, found: RestrictedFound, off: Floats) -> None:
    """Enter that each coordinate of z is off by ``off`` at most."""
    moves = family.directions[0, :, :, : len(off)]  # prompts, responses, coordinates
    blur = 2 * logit_rounding(family, found.w).max(axis=0)
    found.bound[0] = policy_error(np.exp(found.log_policy), (np.ptp(moves, axis=1) * off).sum(axis=1) + blur)
    corners = family.weights(np.diag(np.append(off, np.zeros(family.d - len(off))))[: len(off)])
    found.weight_bound[0] = np.abs(corners).sum(axis=0) + 4 * UNIT * np.abs(found.w[0])
    found.say(0, Status.OPTIMAL, Certificate.ERROR_BOUND, "the minimiser")


def _spread(rows: Floats, limits: Floats) -> Floats:
    """By how much each coordinate varies among the solutions of rows z <= limits, (d,)."""
    d = rows.shape[1]
    found = np.zeros(d)
    for k in range(d):
        ends = []
        for sign in (1.0, -1.0):
            goal = np.zeros(d)
            goal[k] = sign
            solved = program(goal, rows, limits, [(None, None)] * d)
            ends.append(float(solved.fun) if solved.success else -np.inf)
        found[k] = -(ends[0] + ends[1])
    return found


def _say_open(family: Family, found: RestrictedFound, open_: Mask, unbounded: bool) -> None:
    """Which prompts' policies vary with the coordinates that are open."""
    if not open_.any():
        return
    moves = family.directions[0, :, :, : len(open_)][..., open_]
    varies = np.ptp(moves, axis=1).max(axis=1) > 0
    how = "some of them without bound" if unbounded else "within bounds"
    text = f"the loss is least for many w, {how}; the one of least norm is returned, and on prompts "
    text += f"{np.flatnonzero(varies).tolist()} policies vary with w"
    status = np.where(varies, Status.NOT_UNIQUE, Status.OPTIMAL)
    found.status[0], found.message[0] = status, text
