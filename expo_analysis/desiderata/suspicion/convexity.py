"""Is a loss convex in the logits, and as self-concordant as is claimed? Numbers try to refute it, near and far out."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from ..._types import Floats
from ...bandit import Bandit
from ...losses import Objective, PairObjective, risk
from ..falsify.problems import FAMILIES, counted, join
from ..subject import Unclaimed
from .lines import UNIT, refuted_on_lines, wrong_slopes
from .points import LARGEST
from .psi_statements import derivative

CHORDS, PROMPTS = 300, 24


def refuted_convexity(
    plain: Unclaimed, objective: PairObjective, lams: Floats, agree: Collection[int] = ()
) -> list[str]:
    """Slopes on two responses, chords on three, and curvature and its rate of change along random lines.

    agree: the places of lambdas at which slopes and values were compared before.
    """
    for k, lam in enumerate(lams):
        one = objective.with_lam(float(lam))
        wrong = None if k in agree else wrong_slopes(one, float(lam), k)
        if wrong is not None:
            return [f"convex = True cannot be relied on: its gradient is not the slope of its values at {wrong.where}"]
        m = one.facts.self_concordance
        false = refuted_on_lines(one, float(lam), k, None if m is None else float(np.max(m)))
        if not false and (where := sagging(plain.with_lam(float(lam)), float(lam))):
            false = f"convex = True is false: {where}"
        if false:
            return [f"{false}, at lambda = {lam:g}"]
    rng = np.random.default_rng(3)
    for family in FAMILIES.values():
        bandit = family.draw(rng, PROMPTS, 3)
        places = np.stack([[rng.normal(0.0, scale, (PROMPTS, 3)) for scale in (3.0, 1.0, 1.0)] for _ in lams])
        value, bend, twist = _bends(plain, bandit, lams, places)
        for k, lam in enumerate(lams):
            m = objective.with_lam(float(lam)).facts.self_concordance
            limit = np.inf if m is None else float(np.max(m))
            with np.errstate(all="ignore"):
                slack = 1e-9 * (1 + lam**2 * min(1.0, 1.0 / lam) + np.abs(value[k]))
                most = limit * np.ptp(places[k, 2], axis=-1) * bend[k] * (1 + 1e-6) + 1e3 * slack * (1 + lam)
            if (bend[k] < -slack).any():
                return [f"convex = True is false: its curvature is {bend[k].min():.3g} somewhere at lambda = {lam:g}"]
            if m is not None and (np.abs(twist[k]) > most).any():
                return [f"self_concordance = {limit:g} is false at lambda = {lam:g}"]
    return []


def _bends(plain: Unclaimed, bandit: Bandit, lams: Floats, places: Floats) -> list[Floats]:
    """Values, curvature along a line, and how fast it changes along another, at each lambda; (lambdas, prompts) each.

    places: logits and both lines at each lambda, (lambdas, 3, prompts, 3). All lambdas are one batch if the loss takes
    an array of them.
    """
    size = 1 if plain.one_lambda_at_a_time else len(lams)
    found = []
    for k in range(0, len(lams), size):
        theta, line, across = (torch.tensor(x.reshape(-1, 3)) for x in np.swapaxes(places[k : k + size], 0, 1))
        x, y = (torch.zeros(len(theta), dtype=torch.float64, requires_grad=True) for _ in range(2))
        at = torch.log_softmax(theta + x[:, None] * line + y[:, None] * across, -1)
        lam = float(lams[k]) if size == 1 else torch.tensor(np.repeat(lams, PROMPTS))
        value = risk(plain.with_lam(lam), join([bandit] * size), at)
        bend = derivative(derivative(value, x), x)
        parts = (value, bend, derivative(bend, y))
        found.append([part.detach().numpy().reshape(size, PROMPTS) for part in parts])
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def sagging(objective: Objective, lam: float) -> str:
    """Whether the middle of a chord in three logits lies above the mean of its ends, in words; empty where none does.

    Chords run between two responses or anywhere, from short ones to those on which a log-ratio, or lambda times it,
    changes by thousands. A pair is won by the one, by the other, or by each as often as pi* has it.
    """
    rng, n = np.random.default_rng(7), 3
    one_sided = np.zeros((3, n, n))
    one_sided[0, 0, 1:] = one_sided[1, 1:, 0] = one_sided[2, 0, 1] = 1.0
    reference = np.full(n, 1 / n)
    shares = np.arange(1.0, n + 1) / np.arange(1.0, n + 1).sum()
    size = 10.0 ** rng.uniform(-1, 3, (2, CHORDS, 1, 1)) * np.where(rng.random((CHORDS, 1, 1)) < 0.5, 1.0, 1 / lam)
    edges = np.eye(n)[rng.permuted(np.tile(np.arange(n), (CHORDS, 1)), axis=1)]
    across = np.where(rng.random((CHORDS, 1)) < 0.5, edges[:, 0] - edges[:, 1], rng.normal(size=(CHORDS, n)))
    middle, half = size[0] * rng.normal(size=(CHORDS, 1, n)), size[1] * across[:, None]
    middle = np.where(rng.random((CHORDS, 1, 1)) < 0.3, 0.0, middle)
    for bandit in (counted(objective, np.stack([reference] * 3), one_sided), Bandit(reference[None], shares[None])):
        theta = torch.tensor(np.stack([middle - half, middle, middle + half]))
        logp = theta.log_softmax(-1).expand(-1, -1, bandit.prompts or 1, -1).reshape(3 * CHORDS, -1, n)
        logp = logp.detach().requires_grad_(True)
        value = risk(objective, bandit, logp)
        (slope,) = torch.autograd.grad(value.sum(), logp)
        with np.errstate(all="ignore"):
            found = value.detach().numpy().reshape(3, CHORDS, -1)
            spread = np.abs(theta.numpy()).max(axis=-1)
            moved = (slope.abs() * (1 + logp.detach().abs())).sum(-1).numpy().reshape(found.shape)
            size_of_slope = slope.abs().sum(-1).numpy().reshape(found.shape)
            noise = (64 * UNIT * (1 + np.abs(found) + moved + size_of_slope * spread)).sum(axis=0)
            above = found[1] - (found[0] + found[2]) / 2 - noise
        known = (np.abs(found) < LARGEST).all(axis=0) & np.isfinite(above)
        if (above[known] > 0).any():
            return "the middle of a chord in the logits of three responses is above its ends"
    return ""
