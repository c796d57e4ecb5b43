"""Where a loss is tried: pairs that policies can have, from plain to unlikely ones."""

from __future__ import annotations

import numpy as np
import torch

from ...losses import PairObjective
from ...losses.data import LOG_PROBABILITIES

LAMS = 10.0 ** np.arange(-6, 9)
"""The lambdas at which a loss must be finite, and what is known of it must be true."""

SHAPE = (3, len(LAMS))

LARGEST = 1e100
"""Values above this may be saturated, and are left out."""


def pairs_to_try(objective: PairObjective, count: int, seed: int = 0) -> list[torch.Tensor]:
    """What ``pair_loss`` is given, plain pairs first, then unlikely ones: (count, SHAPE[1]) each.

    log pi_w, log pi_l, the same under pi_ref, and where the loss reads them rewards, whole numbers from 1 on, and
    lengths of 1, as in all bandits of an audit. The probabilities of a pair add up to less than 1, as a policy's do.
    """
    rng = np.random.default_rng(seed)
    width = np.geomspace(0.1, 20.0, count)[:, None]
    drawn = {name: -width * rng.uniform(0.05, 1.0, (count, SHAPE[1])) for name in (*LOG_PROBABILITIES, *objective.data)}
    for own, other in (("logp_w", "logp_l"), ("ref_logp_w", "ref_logp_l")):
        left = np.log(rng.uniform(0.5, 0.99, (count, SHAPE[1]))) - np.logaddexp(drawn[own], drawn[other])
        for name in (own, other):
            drawn[name] = drawn[name] + np.minimum(left, 0.0)
    found = []
    for name, values in drawn.items():
        size = torch.tensor(values)
        logs = "logp" in name
        found.append(size if logs else torch.ones_like(size) if "length" in name else (-size).ceil())
    return found


def others(objective: PairObjective, logp: list[torch.Tensor], ref_logp: list[torch.Tensor]) -> list[torch.Tensor]:
    """What a loss reads beside log-probabilities, the same for all pairs: lengths 1, rewards 2 and 1, no third response
    (the winner stands for it)."""
    thirds = {"logp_t": logp[0], "ref_logp_t": ref_logp[0]}
    numbers = {"reward_w": 2.0}
    return [
        thirds[name] if name in thirds else torch.full_like(logp[0].detach(), numbers.get(name, 1.0))
        for name in objective.data
    ]
