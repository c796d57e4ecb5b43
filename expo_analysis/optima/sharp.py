r"""How far the minimisers of a sum of maxima of straight lines may be from a point: by multipliers, rounding included.

    F(z) = g'z + sum_e w_e max_k l_ke(m_e),    m = A z,    l_ke(m) = s_ke m + b_ke.

For any y >= 0 with sum_k y_ke = w_e, and A' f + g = 0 with the flow f_e = sum_k y_ke s_ke, every z has F(z) >= sum y_ke
l_ke(m_e) + g'z = sum y_ke b_ke = D(y). Where two lines a, b of e have multipliers, they can be exchanged by d, |d| <=
min(y_a, y_b), which adds d (l_a - l_b)(m_e) = d (s_a - s_b) (m_e - kink_e). All at once, with the best signs,

    F(z) >= D(y) + sum_e c_e |m_e - kink_e|,    c_e = min(y_ae, y_be) |s_a - s_b|.

So every minimiser has sum_e c_e |m_e - kink_e| <= F(zhat) - D(y), for any zhat; if the rows of A at these e have full
rank, that holds it near the one point where all margins are at their kinks. Multipliers that a program found are in
balance to its accuracy only. Nearby there are some that are: flows of these e that differ by at most rho in all, which
costs rho of each c_e, and rho sum |kink_e| of D. [ours, elementary]
"""

from __future__ import annotations

import numpy as np

from .._types import Floats, Indices
from .certificate import UNIT


def nearest(
    rows: Floats, slope: Floats, intercept: Floats, weight: Floats, gradient: Floats, multipliers: Floats, z: Floats
) -> tuple[Floats, Floats]:
    """The point at which all margins are at their kinks that have to be, and numbers above what it is off by.

    Both (d,). Off by, |z*_i - z_i|, is for every minimiser z*; inf where nothing is proven, and then z is as given.
    rows: A, (E, d). slope, intercept, multipliers: (K, E). weight: w, (E,). gradient: g, (d,). z: (d,).
    """
    unknown = z, np.full(len(z), np.inf)
    y = np.maximum(multipliers, 0.0)
    edge = np.arange(y.shape[1])
    order = np.argsort(y, axis=0)
    y[order[-1], edge] += weight - y.sum(axis=0)
    if len(y) < 2 or (y < 0).any():
        return unknown
    a, b = order[-1], order[-2]
    apart, kink = slope[a, edge] - slope[b, edge], np.zeros(len(edge))
    crossing = (apart != 0) & (y[b, edge] > 0)
    kink[crossing] = ((intercept[b, edge] - intercept[a, edge])[crossing]) / apart[crossing]
    held = np.minimum(y[a, edge], y[b, edge]) * np.abs(apart) * crossing
    used = _strongest(rows, held)
    if len(used) < len(z):
        return unknown
    back = np.linalg.inv(rows[used])
    lost = np.abs(back @ rows[used] - np.eye(len(z))).sum(axis=1).max()
    total = np.abs(rows).T @ (y * np.abs(slope)).sum(axis=0) + np.abs(gradient)
    left = np.abs(rows.T @ (y * slope).sum(axis=0) + gradient) + 8 * (len(edge) + len(y)) * UNIT * total
    rho = (np.abs(back).T @ left) / max(1 - lost, 0.5)
    strength = held[used] - rho
    if lost > 1e-6 or not (strength > 0).all():
        return unknown

    def off_by(at: Floats) -> Floats:
        margin, length = rows @ at, np.abs(rows) @ np.abs(at)
        lines, size = slope * margin + intercept, np.abs(slope) * length + np.abs(intercept)
        gap = (y * (lines.max(axis=0) - lines)).sum() + 16 * len(at) * UNIT * (weight * size.max(axis=0)).sum()
        gap += left @ np.abs(at) + rho @ np.abs(kink[used])
        off = gap / strength + np.abs(margin - kink)[used] + 8 * len(at) * UNIT * (length + np.abs(kink))[used]
        return np.asarray(np.abs(back) @ off / (1 - lost) * (1 + 1e-9))

    corner = back @ kink[used]
    return corner, np.minimum(off_by(corner), off_by(z) + np.abs(corner - z))


def _strongest(rows: Floats, held: Floats) -> Indices:
    """As many independent rows as there are, those that are held most."""
    used: list[int] = []
    left = rows.copy()
    for e in np.argsort(-held, kind="stable"):
        length = float(np.linalg.norm(left[e]))
        if held[e] > 0 and length > 1e-9 * np.linalg.norm(rows[e]):
            used.append(int(e))
            along = left[e] / length
            left -= np.outer(left @ along, along)
    return np.array(used, dtype=np.intp)
