"""Which columns of a data set a training reads, and which kinds of feedback its losses can use."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...losses.unpaired import stands_apart
from ..data.columns import score_columns
from ..data.feedback import LABEL, PAIRS, REFERENCE_SCORES, SINGLES, TRIPLES, VALUE, Feedback, feedback_of
from .aggregation import TOKEN_MEAN
from .derived import derived_kinds, suffices
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
                f"columns are {list(columns)}"
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
            f"takes what a prompt's responses come to; its columns are {list(columns)}"
        )
    found += [REFERENCE_SCORES] if from_scores else []
    if from_scores or any(part.startswith("reward_") for part in mixture.data):
        if kind in (PAIRS, TRIPLES):
            found += score_columns(name, columns, str(mixture))
        else:
            found += _there(name, columns, "score" if kind == SINGLES else "scores", mixture)
    return found


def _there(name: str, columns: Collection[str], column: str, mixture: Mixture) -> list[str]:
    if column not in columns:
        raise ValueError(
            f"{name} must have the column {column!r}, which {mixture} reads; its columns are {list(columns)}"
        )
    return [column]
