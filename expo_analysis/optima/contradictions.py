"""Claims of a bare formula's author that numbers contradict at the policy that was found by them.

Solvers rely on `losses.Claims`. What costs no more than a few calls is asked once more where they led: whether pairs
have the same loss with others as alone, whether it changes with what it is claimed not to read, and whether a claim of
convexity holds between there and the reference, or the even policy. All else is trusted: self-concordance, on which
bounds rest, convexity elsewhere, and slopes far out, on which existence rests; `expo_analysis.audit` tries to refute
those.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import log_softmax

from .._types import Floats
from ..bandit import Bandit
from ..losses.base import PairObjective

MOST = 64
"""Pairs that are looked at."""
ROUNDING = 1e-7
"""Relative to 1 + |loss|: far above what rounding does to log-probabilities down to `FARTHEST`."""
FARTHEST = -1e3


def contradicted(
    objective: PairObjective, bandit: Bandit, log_policy: Floats, value: Callable[[Floats], Floats]
) -> dict[int, str]:
    """By prompt, the claim that is false at ``log_policy`` (P, n), in words; ``value`` gives that of log-policies."""
    found: dict[int, str] = {}
    if objective.is_made_of_terms or objective.data:
        return found
    wins = bandit.wins.reshape(-1, bandit.n, bandit.n)
    log_reference = np.log(bandit.reference.reshape(-1, bandit.n))
    for prompt in range(len(log_policy)):
        winner, loser = (x[:MOST] for x in np.nonzero(wins[prompt]))
        logs = (log_policy[prompt], log_reference[prompt])
        at = [torch.from_numpy(x[end]) for x in logs for end in (winner, loser)]
        if len(winner) and all(bool((x > FARTHEST).all()) for x in at) and (said := _of_pairs(objective, at)):
            found[prompt] = said
    if objective.facts.convex:
        here = value(log_policy)
        for other in (log_reference, np.full_like(log_policy, -np.log(bandit.n))):
            there, between = value(other), value(log_softmax((log_policy + other) / 2, axis=-1))
            slack = ROUNDING * (1 + np.abs(here) + np.abs(there))
            with np.errstate(invalid="ignore"):  # policies on the boundary
                bends = (there < here - slack) | (between > (here + there) / 2 + slack)
            for k in np.flatnonzero(bends & np.isfinite(log_policy).all(axis=1)):
                found.setdefault(int(k), "convex = True, as between two policies it is above a straight line")
    return found


def _of_pairs(objective: PairObjective, at: list[torch.Tensor]) -> str:
    facts, (w, lost, ref_w, ref_l), half = objective.facts, at, len(at[0]) // 2
    loss = objective.pair_loss(*at)

    def differs(other: torch.Tensor) -> bool:
        return bool(((loss - other).abs() > ROUNDING * (1 + loss.abs())).any())

    if half and differs(torch.cat([objective.pair_loss(*(x[part] for x in at)) for part in _halves(half)])):
        return "couples_pairs = False, as its pairs have other losses with others"
    if facts.log_ratio_only and differs(objective.pair_loss(w - 0.7, lost - 0.7, ref_w, ref_l)):
        return "log_ratio_only = True, as it changes where log pi_w - log pi_l does not"
    if not facts.needs_reference and differs(objective.pair_loss(w, lost, ref_w - 0.7, ref_l - 0.2)):
        return "needs_reference = False, as it changes with the reference"
    return ""


def _halves(half: int) -> tuple[slice, slice]:
    return slice(None, half), slice(half, None)
