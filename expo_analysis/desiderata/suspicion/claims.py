"""Is what is known of a loss true, derived from its terms or claimed by its author? Here numbers try to refute it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from scipy.special import log_softmax

from ..._types import Floats
from ...losses import PairObjective
from ...losses.data import LOG_PROBABILITIES
from ..falsify.problems import FAMILIES
from ..subject import Subject, Unclaimed
from .convexity import refuted_convexity
from .points import SHAPE, pairs_to_try
from .psi_statements import derivative
from .statements import refuted_divergence, refuted_terms


def refuted_claims(
    plain: Unclaimed, objective: PairObjective, lams: Floats, agree: Collection[int] = (), lost: float = 0.0
) -> list[str]:
    """What numbers refute at these lambdas, in words.

    plain: the same loss, of which nothing is known. agree: the places of lambdas at which its slopes are known to be
    those of its values. lost: units of rounding that it loses.
    """
    facts = objective.facts
    found: list[str] = []
    at = pairs_to_try(objective, SHAPE[0], seed=1)
    everywhere = [objective.with_lam(float(lam)) for lam in lams]
    others = [[*at[:2], at[3], at[2] - 0.3, *at[4:]], [*at[:2], at[2] - 20.0, at[3], *at[4:]]]
    shifted = [[at[0] - mass, at[1] - mass, *at[2:]] for mass in (0.7, 30.0)]
    if facts.couples_pairs:  # none that does comes here
        found.append("couples_pairs = True is false: every pair has the same loss alone as with others")
    if not facts.needs_reference and any(_differ(one, at, other, lost) for one in everywhere for other in others):
        found.append("needs_reference = False is false: its values change with the reference")
    if facts.log_ratio_only and any(_differ(one, at, there, lost) for one in everywhere for there in shifted):
        found.append("log_ratio_only = True is false: its values change where log pi_w - log pi_l does not")
    if objective.is_made_of_terms:
        datum = dict(zip((*LOG_PROBABILITIES, *objective.data), at, strict=True))
        of_terms = (refuted_terms(one, datum) for one in everywhere if one.is_made_of_terms)
        found += [claim for claim in of_terms if claim][:1]
    links = [] if facts.regulariser is not None or facts.link is None else [facts.link]
    kinds = {repr(one.regulariser): one.regulariser for one in everywhere}  # it may depend on lambda
    divergences = [*((kind, False) for kind in kinds.values()), *((link, True) for link in links)]
    found += [c for d, inverted in divergences if d is not None and (c := refuted_divergence(d, inverted))][:1]
    if facts.convex:
        found += refuted_convexity(plain, objective, lams, agree)
    if not objective.is_made_of_terms:
        of = _of_log_ratio if facts.log_ratio_only else _of_two_responses
        for one in everywhere:
            limits = one.ratio_slopes()
            if limits is not None and _refuted_limits(of(one), [float(x) for x in limits], float(one.lam)):
                found.append(f"ratio_slopes = ({limits[0]:g}, {limits[1]:g}) is false at lambda = {one.lam:g}")
                break
    return found


def _differ(objective: PairObjective, here: list[torch.Tensor], there: list[torch.Tensor], lost: float) -> bool:
    """Whether the losses of two sets of pairs are not the same, by more than rounding of the arguments may do."""
    one, other = (objective.pair_loss(*at) for at in (here, there))
    noise = max(1.0, 4 * lost) * (4e-15 * (one.abs() + other.abs()) + 1e-15)  # inside are numbers of the size of 1
    for signs in ((1, 1), (1, -1), (-1, 1)):
        for at, value in ((here, one), (there, other)):
            moved = [x * (1 + sign * 2.0**-52) for x, sign in zip(at[:2], signs, strict=True)]
            change = (objective.pair_loss(*moved, *at[2:]) - value).abs()
            # or of that of the arguments, times the steepest slope of a part: log(pi_w + pi_l) - log pi_w
            noise = torch.fmax(noise, 16 * torch.fmax(change, change.amax(-1, keepdim=True)))
    return bool(((one - other).abs() > noise).any())


def _of_log_ratio(objective: PairObjective) -> Callable[[torch.Tensor], torch.Tensor]:
    """The loss as a function of log pi_w/pi_l, under an even reference."""
    data = [torch.ones(1, dtype=torch.float64) for _ in objective.data]
    return lambda x: objective.pair_loss(x, *(torch.zeros_like(x) for _ in range(3)), *(d.expand_as(x) for d in data))


def _of_two_responses(objective: PairObjective) -> Callable[[torch.Tensor], torch.Tensor]:
    """The loss as a function of log pi_w/pi_l, of two responses that have all mass, under an even reference."""
    data = [torch.ones(1, dtype=torch.float64) for _ in objective.data]
    even = np.log(0.5)
    return lambda x: objective.pair_loss(
        *(-torch.logaddexp(torch.zeros_like(x), y) for y in (-x, x)),
        *(torch.full_like(x, even) for _ in range(2)),
        *(d.expand_as(x) for d in data),
    )


def _refuted_limits(loss: Callable[[torch.Tensor], torch.Tensor], ends: Sequence[float], lam: float) -> bool:
    """Whether slopes far out contradict their claimed limits at -inf and +inf: they do not come closer to them."""
    for limit, sign in zip(ends, (-1.0, 1.0), strict=True):
        x = sign * torch.tensor([1e3, 1e6], dtype=torch.float64) * max(1.0, 1.0 / lam)
        near, far = derivative(loss(x.requires_grad_(True)), x).detach().tolist()
        if not np.isfinite([near, far]).all():
            continue
        if np.isinf(limit):
            if far * limit <= 0 or abs(far) <= 1.1 * abs(near):
                return True
        elif abs(far - limit) > max(0.1 * max(abs(near), abs(limit)), 0.9 * abs(near - limit)):
            return True
    return False


def misled(objective: PairObjective) -> bool:
    """Whether what the solver calls a proven optimum is none.

    A subclass may have a formula of its own, which the closed form of its parent does not know of.
    """
    rng = np.random.default_rng(4)
    for n in (2, 3):
        bandit = FAMILIES["moderate"].draw(rng, 8, n)
        start = np.log(bandit.reference) + np.eye(n)[0]
        lams = (0.1, 1.0, 10.0)
        own = Subject(objective)
        found = own.optima(bandit, lams)
        for k, lam in enumerate(lams):
            inside = np.isfinite(found.bound[k]) & np.isfinite(found.log_policies[k]).all(axis=-1)
            at = np.where(inside[:, None], found.log_policies[k], start)
            gradient = own.gradient(bandit, lam, at)
            there, before = (np.abs(x).max(axis=-1) for x in (gradient, own.gradient(bandit, lam, start)))
            # at a kink the gradient need not vanish, but no step along it leads down
            down = [
                at - size * gradient / np.maximum(there, 1e-300)[:, None] for size in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
            ]
            value, *lower = (own.value(bandit, lam, log_softmax(x, axis=-1)) for x in (at, *down))
            falls = np.min(lower, axis=0) < value - 1e-13 * (1 + np.abs(value))
            if ((there > 1e-6 * (1e-3 + before)) & falls & inside).any():
                return True
    return False
