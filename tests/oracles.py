"""Optima in 50-digit arithmetic, from the definitions and nothing of the package's solvers.

Every function takes a bandit with one prompt, whose float64 numbers are the exact data of the problem.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import mpmath as mp
import numpy as np

from expo_analysis import Bandit

mp.mp.dps = 50


def wins(bandit: Bandit) -> mp.matrix:
    """2 q_ij p*_ij, or observed frequencies, at full precision."""
    n = bandit.n
    w = mp.zeros(n)
    if bandit.counts is not None:
        total = sum(mp.mpf(float(c)) for c in bandit.counts.flat)
        for i in range(n):
            for j in range(n):
                w[i, j] = mp.mpf(float(bandit.counts[i, j])) / total
        return w
    p = [mp.mpf(float(x)) for x in bandit.optimal]
    for i in range(n):
        for j in range(n):
            if i != j:
                w[i, j] = 2 * mp.mpf(float(bandit.pairs[i, j])) * p[i] / (p[i] + p[j])
    return w


@lru_cache(maxsize=256)  # slopes and bends of both orders of a pair ask for the same ones
def sigma(x: mp.mpf) -> mp.mpf:
    return 1 / (1 + mp.exp(-x))


def newton(
    slope: Callable[[int, int, mp.mpf], mp.mpf],
    bend: Callable[[int, int, mp.mpf], mp.mpf],
    weights: mp.matrix,
    start: np.ndarray,
    pull: mp.mpf,
    reference: list[mp.mpf],
    groups: list[list[int]],
) -> list[mp.mpf]:
    """Minimise sum_ij w_ij loss_ij(theta_i - theta_j) + pull KL(ref || softmax theta) by Newton's method.

    ``slope`` and ``bend`` are the loss's derivatives. One response of each group is held fixed (gauge): with a positive
    pull, the first response of the first group only.
    """
    n = len(start)
    theta = [mp.mpf(float(t)) for t in start]
    fixed = {groups[0][0]} if pull > 0 else {g[0] for g in groups}
    free = [i for i in range(n) if i not in fixed]
    total = sum(reference)
    pairs = [(i, j, w) for i in range(n) for j in range(n) if (w := weights[i, j]) > 0]
    for _ in range(60):
        top = max(theta)
        weight = [mp.exp(t - top) for t in theta]
        z = sum(weight)
        policy = [x / z for x in weight]
        g = [pull * (policy[i] * total - reference[i]) for i in range(n)]
        h = [
            [pull * total * ((policy[i] if i == j else 0) - policy[i] * policy[j]) for j in range(n)] for i in range(n)
        ]
        for i, j, w in pairs:
            margin = theta[i] - theta[j]
            s, b = w * slope(i, j, margin), w * bend(i, j, margin)
            g[i] += s
            g[j] -= s
            h[i][i] += b
            h[j][j] += b
            h[i][j] -= b
            h[j][i] -= b
        step = mp.lu_solve(mp.matrix([[h[i][j] for j in free] for i in free]), mp.matrix([-g[i] for i in free]))
        reach = max(abs(s) for s in step)
        scale = min(mp.mpf(1), 1 / reach) if reach > 0 else mp.mpf(1)
        for k, i in enumerate(free):
            theta[i] += scale * step[k]
        if reach < mp.mpf(10) ** -42:
            return theta
    raise AssertionError("the oracle did not converge")


def normalised(logits: list[mp.mpf]) -> list[mp.mpf]:
    top = max(logits)
    weight = [mp.exp(x - top) for x in logits]
    return [x / sum(weight) for x in weight]


def reference_of(bandit: Bandit) -> list[mp.mpf]:
    """pi_ref, divided by its sum: as float64 numbers it sums to one up to rounding only."""
    raw = [mp.mpf(float(x)) for x in bandit.reference]
    return [x / sum(raw) for x in raw]


def expo(bandit: Bandit, lam: float, start: np.ndarray) -> list[mp.mpf]:
    theta = newton(
        lambda i, j, m: -sigma(-m),
        lambda i, j, m: sigma(m) * sigma(-m),
        wins(bandit),
        start,
        mp.mpf(lam),
        reference_of(bandit),
        [[0]],
    )
    return normalised(theta)


def regression_cross_entropy(bandit: Bandit, lam: float, start: np.ndarray) -> list[mp.mpf]:
    ref, lam_mp = reference_of(bandit), mp.mpf(lam)

    def target(i: int, j: int) -> mp.mpf:
        return (1 + lam_mp * ref[i] / (ref[i] + ref[j])) / (1 + lam_mp)

    theta = newton(
        lambda i, j, m: sigma(m) - target(i, j),
        lambda i, j, m: sigma(m) * sigma(-m),
        wins(bandit),
        start,
        mp.mpf(0),
        ref,
        [[0]],
    )
    return normalised(theta)


def regression_squared(bandit: Bandit, lam: float, start: np.ndarray) -> list[mp.mpf]:
    """A stationary point near ``start``: the global minimiser, if ``start`` is near that."""
    ref, lam_mp = reference_of(bandit), mp.mpf(lam)

    def miss(i: int, j: int, margin: mp.mpf) -> mp.mpf:
        return sigma(margin) - (1 + lam_mp * ref[i] / (ref[i] + ref[j])) / (1 + lam_mp)

    def slope(i: int, j: int, margin: mp.mpf) -> mp.mpf:
        return 2 * miss(i, j, margin) * sigma(margin) * sigma(-margin)

    def bend(i: int, j: int, margin: mp.mpf) -> mp.mpf:
        variance = sigma(margin) * sigma(-margin)
        return 2 * variance * (variance + miss(i, j, margin) * (1 - 2 * sigma(margin)))

    return normalised(newton(slope, bend, wins(bandit), start, mp.mpf(0), ref, [[0]]))


def scores(bandit: Bandit, lam: float, kept: mp.mpf, flipped: mp.mpf) -> list[mp.mpf]:
    """lam s minimising E[-kept log sigma(lam m) - flipped log sigma(-lam m)], times 1/lam; connected graphs only."""
    total = kept + flipped
    theta = newton(
        lambda i, j, m: -kept * sigma(-m) + flipped * sigma(m),
        lambda i, j, m: total * sigma(m) * sigma(-m),
        wins(bandit),
        np.zeros(bandit.n),
        mp.mpf(0),
        reference_of(bandit),
        [[0]],
    )
    return [t / mp.mpf(lam) for t in theta]


def ipo_scores(bandit: Bandit, lam: float) -> list[mp.mpf]:
    w, n = wins(bandit), bandit.n
    laplacian, rhs = mp.zeros(n), mp.zeros(n, 1)
    for i in range(n):
        for j in range(n):
            if i != j:
                laplacian[i, i] += w[i, j] + w[j, i]
                laplacian[i, j] -= w[i, j] + w[j, i]
                rhs[i] += (w[i, j] - w[j, i]) / (2 * mp.mpf(lam))
    free = mp.lu_solve(laplacian[1:, 1:], rhs[1:])
    return [mp.mpf(0), *free]


def from_scores(
    reference: list[mp.mpf], s: list[mp.mpf], inverse: Callable[[mp.mpf], mp.mpf], ceiling: mp.mpf
) -> list[mp.mpf]:
    """pi_ref (f')^{-1}(s - nu), nu where the mass is one; ``ceiling`` is sup f' (mp.inf if there is none).

    By bisection, then false position (Illinois). All masses fall in nu: the 1-norm of the error is that of the total.
    """

    def total(nu: mp.mpf) -> mp.mpf:
        return sum(r * inverse(x - nu) for r, x in zip(reference, s, strict=True))

    top = max(s)
    low = top - ceiling if ceiling < mp.inf else top - mp.mpf(200)  # mass above one
    high = top + mp.mpf(10) ** 8  # mass below one
    if ceiling < mp.inf:
        low += mp.mpf(10) ** -45
    width = mp.mpf(1)
    high = low + width
    while total(high) > 1:
        width *= 2
        high = low + width
    above, below, last = total(low) - 1, total(high) - 1, 0
    for k in range(300):
        secant = k > 15 and k % 4
        middle = (low * below - high * above) / (below - above) if secant else (low + high) / 2
        excess = total(middle) - 1
        if abs(excess) < mp.mpf(10) ** -36:
            break
        side = 1 if excess > 0 else -1
        stays = secant and side == last
        if side > 0:
            low, above, below = middle, excess, below / 2 if stays else below
        else:
            high, below, above = middle, excess, above / 2 if stays else above
        last = side if secant else 0
    else:
        raise AssertionError("the oracle did not converge")
    policy = [r * inverse(x - middle) for r, x in zip(reference, s, strict=True)]
    return [p / sum(policy) for p in policy]


def distance(policy: np.ndarray, exact: list[mp.mpf]) -> float:
    """1-norm distance of a float64 policy from an exact one."""
    return float(sum(abs(mp.mpf(float(p)) - e) for p, e in zip(policy, exact, strict=True)))
