"""Losses of pairs on single responses that were liked or disliked: f(winner) + g(loser), taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..bandit import Bandit
from .base import PairObjective
from .data import of_datum
from .derived import DerivedObjective
from .of_pairs import OfPairs, can_be_of_pairs
from .terms import Sum

SHARES = {"w": of_datum("liked_w"), "l": of_datum("disliked_l")}
"""Which share of a response's labels are those of a winner, or of a loser."""


@dataclass(frozen=True)
class Unpaired(DerivedObjective):
    """Terms of the winner where a response was liked, and terms of the loser where it was disliked.

    Raises:
        ValueError: a term reads both responses of a pair.
    """

    single: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not stands_apart(self.of):
            raise ValueError(
                f"bandit must hold pairs for {type(self.of).__name__}, which compares two responses; on labels or "
                "scores of single responses there are losses such as KTO, BCO, SFT, AStarPO and QRPO"
            )

    @property
    def terms(self) -> Sum:
        assert self.of.terms is not None
        parts = (Sum((t,)) * SHARES[t.statistic.parts[0][1].slot] for t in self.of.terms)
        return Sum(tuple(term for part in parts for term in part))


def stands_apart(objective: PairObjective) -> bool:
    """Whether each of its terms reads one response of a pair, the winner or the loser."""
    terms = objective.terms if objective.is_made_of_terms else None
    return terms is not None and all(len({atom.slot for _, atom in t.statistic.parts}) == 1 for t in terms)


def on(bandit: Bandit, objective: PairObjective) -> PairObjective:
    """The objective as it is, or as one of what the bandit has: single responses, or pairs without a third response.

    Raises:
        ValueError: the loss compares two responses; or it reads labels, and the bandit has scores.
    """
    if isinstance(objective, Unpaired):
        return objective
    if bandit.liked is None:
        of_pairs = bandit.triples is None and can_be_of_pairs(objective)
        return OfPairs(objective.lam, objective) if of_pairs else objective
    made = Unpaired(objective.lam, objective)
    if bandit.scored and not objective.reads_rewards:
        raise ValueError(
            f"bandit must hold labels for {type(objective).__name__}, which reads whether a response is good; it has "
            "scores, which losses of rewards such as AStarPO, QRPO and RLHF read"
        )
    return made
