"""What a loss does beside returning numbers: seeds, prints, changes settings, starts threads."""

from __future__ import annotations

import random

import numpy as np
import torch

from ..._effects import Effects
from ...losses import PairObjective
from .points import SHAPE, pairs_to_try

SEED = 1_869_506_417

SPOILS = ("default dtype", "keeps gradients", "closes or redirects", "forks", "leaves a thread running")
"""Effects under which nothing that is computed afterwards can be relied on, or with which every call costs too much."""


def effects_of(objective: PairObjective) -> list[str]:
    """A sentence for each effect of a call, which is put back; of the second one, as the first may import modules."""
    points = pairs_to_try(objective, SHAPE[0])
    own = objective.with_lam(1.0)
    with Effects():  # which puts the random numbers back
        _seed()
        for _ in range(2):
            with Effects() as effects:
                own.pair_loss(*points)
    return effects.changed


def _seed() -> None:
    """Where nobody else starts: a loss that seeds with 0 changes nothing where 0 was the seed already."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    torch.manual_seed(SEED)


def spoils(effect: str) -> bool:
    """Whether an effect spoils what is computed after it."""
    return any(words in effect for words in SPOILS)
