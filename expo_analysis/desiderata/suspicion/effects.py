"""What a loss does beside returning numbers: seeds, prints, changes settings, starts threads."""

from __future__ import annotations

from ..._effects import Effects
from ...losses import PairObjective
from .points import SHAPE, pairs_to_try

SPOILS = ("default dtype", "keeps gradients", "closes or redirects", "forks", "leaves a thread running")
"""Effects under which nothing that is computed afterwards can be relied on, or with which every call costs too much."""


def effects_of(objective: PairObjective) -> list[str]:
    """A sentence for each effect of a call, which is put back; of the second one, as the first may import modules."""
    points = pairs_to_try(objective, SHAPE[0])
    own = objective.with_lam(1.0)
    for _ in range(2):
        with Effects() as effects:
            own.pair_loss(*points)
    return effects.changed


def spoils(effect: str) -> bool:
    """Whether an effect spoils what is computed after it."""
    return any(words in effect for words in SPOILS)
