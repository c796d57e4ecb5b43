"""What is measured of a policy on prompts of four kinds, every number a sum over all responses; and at equal gain.

Prompts are to be learned (the reward labelled them) or to be kept (the reference is optimal already), and a data set
has pairs of them (trained) or has none (held out).
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats, Mask
from ...divergences import kl, total_variation
from ...numerics import sigmoid
from ...simulators import Pairs, Trajectory
from .world import Compared, Learned

JUDGED = 64
"""Pairs of each prompt by which calibration is measured, drawn from the reference, the same for all policies."""


def measures(found: Trajectory, learned: Learned, compared: Compared, name: str, seed: int) -> dict[str, Floats]:
    """By name, each (objectives, data sets, records), a mean over prompts.

    ``gain``: E_pi r - E_ref r of prompts to be learned, in standard deviations of the reward. ``tv``: TV(pi, pi_ref)
    of prompts to be kept, ``kl`` and ``reverse_kl``: KL(pi_ref || pi) and KL(pi || pi_ref) of them; each with ``_held``
    on prompts without pairs. Of prompts to be learned: ``learned_kl`` and ``learned_reverse_kl`` the same divergences,
    ``closer`` by how much KL(pi || pi*) fell below the reference's, ``mass`` how much probability the compared
    responses won, ``chosen`` and ``rejected`` mean log(pi/pi_ref) over pairs, and ``calibration`` the mean distance
    between p* and the preference that the policy implies.
    """
    world, trained = learned.world, compared.trained
    log_policy, log_reference = found.log_policies, np.log(learned.reference)
    policy, learn = np.exp(log_policy), world.by_reward
    log_optimal = np.log(learned.optimal)
    each = {
        "gain": ((policy - learned.reference) * world.reward).sum(axis=-1),
        "tv": np.asarray(total_variation(policy, learned.reference)),
        "kl": np.asarray(kl(log_reference, log_policy)),
        "reverse_kl": np.asarray(kl(log_policy, log_reference)),
    }
    seen = _compared_mask(compared.pairs)
    to_learn = {
        "learned_kl": each["kl"],
        "learned_reverse_kl": each["reverse_kl"],
        "closer": np.asarray(kl(log_reference, log_optimal)) - np.asarray(kl(log_policy, log_optimal)),
        "mass": ((policy - learned.reference) * seen[None, :, None]).sum(axis=-1),
        "calibration": _miscalibration(found, learned, name, seed),
    }

    def mean(values: Floats, prompts: Mask) -> Floats:
        weight = prompts / prompts.sum(axis=-1, keepdims=True)
        return np.asarray((values * weight[None, :, None]).sum(axis=-1))

    means: dict[str, Floats] = {}
    for own, values in each.items():
        kind = learn if own == "gain" else ~learn
        means |= {own: mean(values, trained & kind), f"{own}_held": mean(values, ~trained & kind)}
    means |= {own: mean(values, trained & learn) for own, values in to_learn.items()}
    return means | _displacement(found, learned, compared.pairs)


def _compared_mask(pairs: Pairs) -> Mask:
    """Which responses are in a pair, (data sets, prompts, n)."""
    seen = np.zeros((pairs.data_sets, *pairs.reference.shape), dtype=bool)
    of = np.broadcast_to(np.arange(pairs.data_sets)[:, None], pairs.winner.shape)
    for end in (pairs.winner, pairs.loser):
        seen[of, pairs.prompt, end] = True
    return seen


def _displacement(found: Trajectory, learned: Learned, pairs: Pairs) -> dict[str, Floats]:
    """Mean log(pi/pi_ref) of chosen and rejected responses, over the pairs that the reward labelled."""
    moved = found.log_policies - np.log(learned.reference)
    means = {}
    for name, end in (("chosen", pairs.winner), ("rejected", pairs.loser)):
        own = [moved[:, s][:, :, pairs.prompt[s], end[s]] for s in range(pairs.data_sets)]
        weight = learned.world.by_reward[pairs.prompt]
        each = [(x * w).sum(axis=-1) / w.sum() for x, w in zip(own, weight, strict=True)]
        means[name] = np.stack(each, axis=1)
    return means


def _miscalibration(found: Trajectory, learned: Learned, name: str, seed: int) -> Floats:
    """Mean |implied preference - p*| over `JUDGED` pairs of each prompt, (objectives, data sets, records, prompts)."""
    rng = np.random.default_rng([seed, 3])
    prompts, n = learned.reference.shape
    a, b = (np.stack([rng.choice(n, size=JUDGED, p=own) for own in learned.reference]) for _ in range(2))
    at = np.arange(prompts)[:, None]
    r = np.log(learned.optimal)
    truth = sigmoid(r[at, a] - r[at, b])
    score = found.log_policies
    lams = np.array([objective.lam for objective in found.objectives])[:, None, None, None, None]
    if name in ("expo", "regression_expo"):  # whose preferences are the policy's own
        implied = sigmoid(score[..., at, a] - score[..., at, b])
    else:
        score = score - np.log(learned.reference)
        margin = lams * (score[..., at, a] - score[..., at, b])
        implied = np.clip(0.5 + margin, 0, 1) if name == "ipo" else sigmoid(margin)
    return np.asarray(np.abs(implied - truth).mean(axis=-1))


def at_gain(ends: dict[str, Floats], lams: Floats, level: float) -> dict[str, float]:
    """All measures at the lambda with which a loss has gained so much when training ends; nan where none has.

    Gains fall as lambda rises. Between the two neighbouring lambdas whose gains enclose the level, from the largest
    lambda down, measures are on straight lines in the gain. ``lam`` is the lambda, on a logarithmic scale.

    Args:
        ends: by name, at the end of training, (lambdas,). lams: rising.
    """
    gain = ends["gain"]
    for k in range(len(lams) - 2, -1, -1):
        low, high = sorted((gain[k], gain[k + 1]))
        if low <= level <= high and low < high:
            share = (level - gain[k + 1]) / (gain[k] - gain[k + 1])
            found = {name: float(share * x[k] + (1 - share) * x[k + 1]) for name, x in ends.items()}
            return found | {"lam": float(lams[k] ** share * lams[k + 1] ** (1 - share))}
    return dict.fromkeys([*ends, "lam"], np.nan)
