"""Claims of a bare formula's author that numbers contradict at the policy that was found by them.

Solvers rely on `losses.Claims`. What costs no more than a few calls is asked once more where they led: whether pairs
have the same loss with others as alone, whether it changes with what it is claimed not to read, and whether a claim of
convexity holds between there and the reference, or the even policy. All else is trusted: self-concordance, on which
bounds rest, convexity elsewhere, and slopes far out, on which existence rests; `expo_analysis.audit` tries to refute
those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import log_softmax

from .._autograd import tensor
from .._types import Floats, Mask
from ..bandit import Bandit
from ..losses.base import PairObjective

MOST = 64
"""Pairs of a prompt that are looked at."""
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
    log_reference = np.log(bandit.reference.reshape(-1, bandit.n))
    prompt, winner, loser = np.nonzero(bandit.wins.reshape(-1, bandit.n, bandit.n))
    few = np.arange(len(prompt)) - np.searchsorted(prompt, prompt) < MOST  # of each prompt
    at = [x[prompt, end] for x in (log_policy, log_reference) for end in (winner, loser)]
    kept = few & np.all([x > FARTHEST for x in at], axis=0)
    for differs, claim in _of_pairs(objective, [x[kept] for x in at]):
        for k in np.unique(prompt[kept][differs]).tolist():
            found.setdefault(k, claim)
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


def _of_pairs(objective: PairObjective, at: list[Floats]) -> Iterator[tuple[Mask, str]]:
    """Which pairs contradict a claim, and which claim: all prompts' pairs are one batch."""

    def of(*logps: Floats) -> Floats:
        return np.asarray(objective.pair_loss(*(tensor(x) for x in logps)).detach().numpy())

    facts, (w, lost, ref_w, ref_l), half = objective.facts, at, len(at[0]) // 2
    if not len(w):
        return
    loss = of(*at)

    def differs(other: Floats) -> Mask:
        with np.errstate(invalid="ignore", over="ignore"):  # infinite losses contradict nothing
            return np.asarray(np.abs(loss - other) > ROUNDING * (1 + np.abs(loss)))

    if half:
        halves = [of(*(x[part] for x in at)) for part in (slice(None, half), slice(half, None))]
        yield differs(np.concatenate(halves)), "couples_pairs = False, as its pairs have other losses with others"
    if facts.log_ratio_only:
        moved = of(w - 0.7, lost - 0.7, ref_w, ref_l)
        yield differs(moved), "log_ratio_only = True, as it changes where log pi_w - log pi_l does not"
    if not facts.needs_reference:
        yield (
            differs(of(w, lost, ref_w - 0.7, ref_l - 0.2)),
            "needs_reference = False, as it changes with the reference",
        )
