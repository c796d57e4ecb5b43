"""Optima over log-linear policies in 50-digit arithmetic, from the definitions and nothing of the package's solvers.

Of the sum over prompts x of share_x J_x + decay |w|^2/2, theta = log pi_ref + F w; J_x is a sum over pairs of a psi of
log pi_w/pi_l, relative to pi_ref or not, and cross-entropies. Float64 numbers are the exact data of a problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

from expo_analysis import Bandit

from .oracles import sigma

mp.mp.dps = 50

Slopes = Callable[[mp.mpf], tuple[mp.mpf, mp.mpf]]


def logistic(kept: float = 1.0) -> Slopes:
    """Of -kept log sigma(m) - (1 - kept) log sigma(-m)."""
    p = mp.mpf(kept)
    return lambda m: (sigma(m) - p, sigma(m) * sigma(-m))


def square(m: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    return 2 * m, mp.mpf(2)


@dataclass(frozen=True)
class Loss:
    """psi(scale h - offset), h relative to pi_ref if so, + alpha (-log pi_w) + forward (-sum pi_ref log pi)."""

    psi: Slopes
    scale: float = 1.0
    offset: float = 0.0
    relative: bool = False
    alpha: float = 0.0
    forward: float = 0.0


def losses(lam: float) -> dict[str, Loss]:
    """Losses that are convex in the logits, by their names in the catalogue."""
    return {
        "dpo": Loss(logistic(), lam, relative=True),
        "dpo, smoothed": Loss(logistic(1 - 0.1), lam, relative=True),
        "ipo": Loss(square, 1.0, 0.5 / lam, relative=True),
        "bradley_terry": Loss(logistic(), lam),
        "expo": Loss(logistic(), forward=lam),
        "cpo": Loss(logistic(), lam, alpha=1.0),
        "rpo": Loss(logistic(), lam, relative=True, alpha=1.0),
    }


def derivatives(loss: Loss, bandit: Bandit, prompt: int, logits: list[mp.mpf]) -> tuple[mp.matrix, mp.matrix]:
    """Gradient (n, 1) and Hessian (n, n) of one prompt's objective in the logits."""
    n = bandit.n
    reference = [mp.mpf(float(p)) for p in bandit.reference.reshape(-1, n)[prompt]]
    optimal = [mp.mpf(float(p)) for p in bandit.optimal.reshape(-1, n)[prompt]]
    q = bandit.pairs.reshape(-1, n, n)[prompt]
    top = max(logits)
    weight = [mp.exp(t - top) for t in logits]
    policy = [w / sum(weight) for w in weight]
    gradient, hessian, target = mp.zeros(n, 1), mp.zeros(n), [mp.mpf(loss.forward) * p for p in reference]
    scale = mp.mpf(loss.scale)
    for i in range(n):
        for j in range(n):
            if i == j or q[i, j] == 0:
                continue
            wins = 2 * mp.mpf(float(q[i, j])) * optimal[i] / (optimal[i] + optimal[j])
            margin = logits[i] - logits[j] - (mp.log(reference[i] / reference[j]) if loss.relative else 0)
            slope, bend = loss.psi(scale * margin - mp.mpf(loss.offset))
            target[i] += mp.mpf(loss.alpha) * wins
            for a, sign in ((i, 1), (j, -1)):
                gradient[a] += wins * scale * slope * sign
                for b, other in ((i, 1), (j, -1)):
                    hessian[a, b] += wins * scale**2 * bend * sign * other
    total = sum(target)
    for a in range(n):
        gradient[a] += total * policy[a] - target[a]
        for b in range(n):
            hessian[a, b] += total * policy[a] * ((a == b) - policy[b])
    return gradient, hessian


def minimise(
    loss: Loss, bandit: Bandit, features: np.ndarray, decay: float, start: np.ndarray
) -> tuple[list[mp.mpf], list[list[mp.mpf]]]:
    """w, and the policy of every prompt, by Newton's method from ``start``. features: (prompts, n, d)."""
    prompts, n, d = features.shape
    f = [mp.matrix(x.tolist()) for x in features]
    base = [[mp.log(mp.mpf(float(p))) for p in row] for row in bandit.reference.reshape(-1, n)]
    shares = [mp.mpf(float(s)) for s in np.atleast_1d(bandit.prompt_weights)]
    w = mp.matrix([mp.mpf(float(x)) for x in start])
    for _ in range(60):
        gradient, hessian = mp.mpf(decay) * w, mp.mpf(decay) * mp.eye(d)
        for x in range(prompts):
            moved = f[x] * w
            g, h = derivatives(loss, bandit, x, [base[x][i] + moved[i] for i in range(n)])
            gradient += shares[x] * (f[x].T * g)
            hessian += shares[x] * (f[x].T * h * f[x])
        step = mp.lu_solve(hessian, gradient)
        w -= step
        if mp.norm(step, mp.inf) < mp.mpf(10) ** -40 * (1 + mp.norm(w, mp.inf)):
            break
    else:
        raise AssertionError("Newton's method did not end")
    policies = []
    for x in range(prompts):
        moved = f[x] * w
        weight = [mp.exp(base[x][i] + moved[i]) for i in range(n)]
        policies.append([p / sum(weight) for p in weight])
    return list(w), policies
