"""What a loss derives from all responses of a prompt, such as their value: here from columns of the data.

A table knows every response, its reward and its probability, so that it derives exactly. A language model's responses
are too many, and the data say it: a column has the number itself (``value``, or ``quantile``), or ``reference_scores``
has rewards of responses that the reference gave, whose empirical distribution then stands for the reference. With m of
them A*-PO's value is beta log mean exp(r/beta), which lies below beta log E exp(r/beta) in expectation, by about
beta Var(exp(r/beta))/(2 m E[exp(r/beta)]^2), and QRPO's quantile is the share of them that are at most the score.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._types import Floats
from ...losses import PairObjective
from ..data.feedback import SINGLES
from .collator import rewards_of
from .links import Links, feedback_in

STATED = {"logp", "ref_logp", "length", "reward", "liked", "disliked"}
"""What a loss reads of responses without deriving it."""


def derived_kinds(objective: PairObjective) -> set[str]:
    """What a loss derives, by name, such as ``"value"`` and QRPO's ``"goal"``."""
    return {name.rsplit("_", 1)[0] for name in objective.data} - STATED


def suffices(objective: PairObjective, columns: Collection[str]) -> bool:
    """Whether columns of numbers are all that a loss derives from, without `reference_scores`."""
    kinds = derived_kinds(objective)
    return kinds <= set(columns) or _from_quantiles(objective, columns, np.array([0.5])) is not None


def rewards_in(batch: Mapping[str, Any], responses: int) -> Tensor | None:
    """The rewards of all responses of a batch, (R,), in float64; None where it has none.

    Of a third response there is none, and no loss reads one.
    """
    kind = feedback_in(batch)
    if kind.listed:
        scores = [score for own in batch.get("scores", []) for score in own]
    elif kind == SINGLES:
        scores = batch.get("score", [])
    else:
        of_pairs = rewards_of(batch, torch.zeros((), dtype=torch.float64)).flatten().tolist()
        scores = of_pairs + [math.nan] * (responses - len(of_pairs))
    return torch.tensor(scores, dtype=torch.float64) if scores else None


def derived_data(objective: PairObjective, links: Links, batch: Mapping[str, Any], like: Tensor) -> dict[str, Tensor]:
    """What a loss derives, for all responses of a batch, (R,) each.

    Args:
        links: of the whole batch.
        like: has the dtype of the losses, which is not that of the comparisons: a score is at most its equal among
            ``reference_scores``, however coarsely the model computes.
    """
    kinds = derived_kinds(objective)
    if not kinds:
        return {}
    if kinds <= set(batch):  # numbers of prompts, which count for all of their responses
        return {kind: like.new_tensor(batch[kind])[links.owner] for kind in kinds}
    if links.feedback == SINGLES and "quantile" in batch:
        found = _from_quantiles(objective, ("quantile",), np.array(batch["quantile"]))
        if found is not None:
            return {kind: torch.tensor(found[kind]).to(like) for kind in kinds}
    known = rewards_in(batch, len(links.rows))
    assert known is not None  # it was asked for with the data
    rewards = known.numpy()
    owner, parts = links.owner.cpu().numpy(), {kind: np.full(len(rewards), np.nan) for kind in kinds}
    for example, scores in enumerate(batch["reference_scores"]):
        own = owner == example
        made = _from_scores(objective, np.array(scores), rewards[own])
        for kind in kinds:
            parts[kind][own] = made[kind]
    return {kind: torch.tensor(values).to(like) for kind, values in parts.items()}


def _from_quantiles(objective: PairObjective, columns: Collection[str], quantiles: Floats) -> Mapping[str, Any] | None:
    """What a loss derives from quantiles of responses alone, (R,) each; None where it needs more."""
    if "quantile" not in columns:
        return None
    try:
        return {kind: np.array(x)[0] for kind, x in objective.derived({"quantile": quantiles[None]}).items()}
    except KeyError:
        return None


def _from_scores(objective: PairObjective, scores: Floats, rewards: Floats) -> dict[str, Floats]:
    """What a loss derives of responses beside a sample of the reference: each is one more, of probability zero."""
    sample = np.broadcast_to(scores[:, None], (len(scores), len(rewards)))
    known = {"reward": np.concatenate([sample, rewards[None]])}
    known["ref_logp"] = np.full_like(known["reward"], -np.log(len(scores)))
    known["ref_logp"][-1] = -np.inf
    known["length"] = np.ones_like(known["reward"])
    derived = objective.derived(known)
    return {kind: np.broadcast_to(values, known["reward"].shape)[-1] for kind, values in derived.items()}
