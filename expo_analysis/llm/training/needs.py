"""Which columns of a data set a training reads, and which kinds of feedback its losses can use."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from ...losses.unpaired import stands_apart
from ..data import PreferenceData
from ..data.columns import score_columns, shown
from ..data.feedback import LABEL, LISTS, PAIRS, REFERENCE_SCORES, SINGLES, TRIPLES, VALUE, Feedback, feedback_of
from ..data.rows import ROW_NUMBER
from .aggregation import TOKEN_MEAN
from .collator import rewards_of
from .derived import derived_kinds, suffices
from .links import Links
from .objectives import Mixture


def feedback_for(name: str, columns: Collection[str], rules: Any) -> Feedback:
    """The kind of feedback that a data set has, where the losses can be trained on it.

    Args:
        name: what the data set is called in messages.
        rules: `step.Rules`.

    Raises:
        ValueError: where they cannot, saying why.
    """
    kind, mixture = feedback_of(columns), rules.mixture
    if mixture.reads_third:
        if kind != PAIRS:
            raise ValueError(f"{name} must hold pairs and a third response for {mixture}; it holds {kind.name}")
        if not {"third", "third_ids"} & set(columns):
            raise ValueError(
                f"{name} must have the column 'third', a third response beside each pair, which {mixture} reads; its "
                f"columns are {shown(columns)}"
            )
        kind = TRIPLES
    if kind == PAIRS:
        return kind
    for setting, value in (("ld_alpha", rules.ld_alpha is not None), ("use_weighting", rules.use_weighting)):
        if value and (kind != TRIPLES or setting == "ld_alpha"):
            raise ValueError(f"{setting} is for pairs, and {name} holds {kind.name}")
    if kind != TRIPLES and mixture.couples_pairs:
        raise ValueError(f"{name} must hold pairs for {mixture}, which couples the pairs of a batch: no {kind.name}")
    together = [t for t in mixture.terms if t.aggregation != TOKEN_MEAN and not stands_apart(t.objective)]
    if kind == SINGLES and together:
        raise ValueError(
            f"{name} must hold pairs for {mixture}, which compares two responses; losses for single responses are "
            "those whose terms read one response each, such as KTO, BCO and SFT, and of scores AStarPO and QRPO"
        )
    if kind == SINGLES and len({term.objective.reads_rewards for term in mixture.terms}) > 1:
        raise ValueError(
            f"{name} must hold pairs for {mixture}, of which a part reads scores and another one labels: single "
            "responses have one of the two"
        )
    return kind


def columns_for(name: str, columns: Collection[str], kind: Feedback, mixture: Mixture) -> list[str]:
    """The columns beside responses that losses read on a kind of feedback.

    Raises:
        ValueError: naming the one that is missing, and what reads it.
    """
    found = ["weight"] if "weight" in columns else []
    if found and mixture.couples_pairs:
        raise ValueError(
            f"{name} must not have the column 'weight' for {mixture}, which couples the pairs of a batch: it has no "
            "loss of a single pair"
        )
    if kind == SINGLES and not mixture.reads_rewards:
        found += _there(name, columns, LABEL, mixture)
    derive = [term.objective for term in mixture.terms if derived_kinds(term.objective)]
    numbers = [VALUE, *(["quantile"] if kind == SINGLES else [])]
    found += [c for c in numbers if c in columns and any(suffices(objective, [c]) for objective in derive)]
    from_scores = [objective for objective in derive if not suffices(objective, found)]
    if from_scores and REFERENCE_SCORES not in columns:
        instead = [column for column in numbers if suffices(from_scores[0], [column])]
        raise ValueError(
            f"{name} must have the column {' or '.join(map(repr, [*instead, REFERENCE_SCORES]))}, from which {mixture} "
            f"takes what a prompt's responses come to; its columns are {shown(columns)}"
        )
    found += [REFERENCE_SCORES] if from_scores else []
    if from_scores or any(part.startswith("reward_") for part in mixture.data):
        if kind in (PAIRS, TRIPLES):
            scores = score_columns(name, columns, str(mixture))
            if derive and len(scores) == 1:
                raise ValueError(
                    f"{name} must have rewards of both responses, from which {mixture} derives more; its column "
                    f"{scores[0]!r} has no more than their difference"
                )
            found += scores
        else:
            found += _there(name, columns, "score" if kind == SINGLES else "scores", mixture)
    return found


def check_rewards(name: str, data: PreferenceData, mixture: Mixture) -> None:
    """Raise where a loss can do nothing with the rewards of a data set; of a stream they are not known yet.

    Raises:
        ValueError: naming the data set and the row that has no loss, or the difference that stands for two rewards.
    """
    reads = any(part.startswith("reward_") for part in mixture.data)
    if not reads or data.feedback == SINGLES or not isinstance(data.rows, Dataset):
        return
    columns: tuple[str, ...] = ("scores",)
    if data.feedback == LISTS:
        rewards, rows = _rewards_of_lists(data.rows["scores"][:], data.rows["ranking"][:])
    else:
        columns = score_columns(name, data.rows.column_names, str(mixture))
        like = torch.zeros((), dtype=torch.float64)
        rewards = rewards_of({column: data.rows[column][:] for column in columns}, like)
        rows = list(range(len(data)))
    losses = mixture.values_of(rewards)
    if losses.isnan().any():
        at = rows[int(losses.isnan().nonzero()[0])]
        numbers = " and ".join(f"{column} = {_shown(data.rows[column][at])}" for column in columns)
        raise ValueError(
            f"{name} must have rewards that {mixture} has a value for; it is nan at "
            f"{data.where(data.rows[ROW_NUMBER][at])}, with {numbers}"
        )
    if columns == ("margin",) and not torch.allclose(losses, mixture.values_of(rewards + 1.0), rtol=1e-6, atol=1e-6):
        raise ValueError(
            f"{name} must have rewards of both responses, as {mixture} does not read their difference alone; its "
            f"column {columns[0]!r} has no more"
        )


def _rewards_of_lists(scores: list[list[float]], rankings: list[list[int]]) -> tuple[Tensor, list[int]]:
    """Rewards of all pairs of all lists, (2, P), and the list of each."""
    flat = torch.tensor([score for own in scores for score in own], dtype=torch.float64)
    links = Links.of_lists(rankings, list(map(len, scores)))
    return flat[links.ends[:2]], links.of.tolist()


def _shown(value: float | list[float]) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _there(name: str, columns: Collection[str], column: str, mixture: Mixture) -> list[str]:
    if column not in columns:
        raise ValueError(
            f"{name} must have the column {column!r}, which {mixture} reads; its columns are {shown(columns)}"
        )
    return [column]
