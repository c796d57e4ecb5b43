"""Rankings, choices among several responses, and triples."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_shape
from .._types import Floats, Indices, Mask, PairMatrices

__all__ = ["Choices", "Triples"]


@dataclass(frozen=True, eq=False)
class Choices:
    """Choices of one response among several; a ranking is a choice of its first, of its second among the rest, ...

    chosen: (C,). members: (C, n), who was to be chosen from, the chosen one too. weight: (..., C), a number for each
    prompt; the weights of a prompt's rankings sum to one. total: (...), what they summed to.
    """

    chosen: Indices
    members: Mask
    weight: Floats
    total: Floats


@dataclass(frozen=True, eq=False)
class Triples:
    """A third response beside a winner and a loser: (T,) each; weight: (..., T), summing to one over each prompt."""

    third: Indices
    winner: Indices
    loser: Indices
    weight: Floats


def choices_of(
    rankings: Sequence[Sequence[Hashable]],
    sets: Sequence[Iterable[Hashable]] | None,
    weights: ArrayLike | None,
    prompts: Sequence[Hashable] | None,
    names: Sequence[Hashable],
    prompt_names: Sequence[Hashable] | None,
) -> tuple[Choices, PairMatrices]:
    """The choices, and how often each response was ranked above each other one, (..., n, n), by weight.

    Raises:
        ValueError: naming the ranking by its number.
    """
    n, place = len(names), {name: k for k, name in enumerate(names)}
    row = None if prompt_names is None else {name: k for k, name in enumerate(prompt_names)}
    weight = np.ones(len(rankings)) if weights is None else as_floats("weights", weights)
    check_shape("weights", weight, (len(rankings),))
    if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
        raise ValueError("weights must be non-negative, finite and not all zero")
    for name, given in (("sets", sets), ("prompts", prompts)):
        if given is not None and len(given) != len(rankings):
            raise ValueError(f"{name} must have an entry for each of {len(rankings)} rankings, got {len(given)}")
    if (prompts is None) != (row is None):
        raise ValueError("prompts must be given for a bandit with prompts, and for no other")
    shape = (1 if row is None else len(row), n, n)
    above, totals = np.zeros(shape), np.zeros(shape[0])
    found: dict[tuple[int, bytes], Floats] = {}
    for k, ranking in enumerate(rankings):
        x = 0 if row is None or prompts is None else _known(row, prompts[k], k, "prompt")
        if isinstance(ranking, str):
            raise ValueError(f"ranking {k} must be a sequence of responses, best first, got {ranking!r}")
        order = [_known(place, one, k, "response") for one in ranking]
        present = {*order} if sets is None else {_known(place, one, k, "response") for one in sets[k]}
        if len({*order}) < len(order) or not {*order} <= present or len(present) < 2 or not order:
            raise ValueError(f"ranking {k} must rank different responses of its set of at least two, got {ranking!r}")
        totals[x] += weight[k]
        members = np.zeros(n, dtype=bool)
        members[list(present)] = True
        for chosen in order:
            if members.sum() > 1:
                key = (chosen, members.tobytes())
                found.setdefault(key, np.zeros(shape[0]))[x] += weight[k]
                members[chosen] = False
                above[x, chosen] += weight[k] * members
    each = np.array(list(found.values())) / np.where(totals > 0, totals, 1.0)
    choices = Choices(
        np.array([chosen for chosen, _ in found]),
        np.array([np.frombuffer(members, dtype=bool) for _, members in found]),
        each[:, 0] if row is None else each.T,
        totals.sum() if row is None else totals,
    )
    return choices, above[0] if row is None else above


def _known(places: dict[Any, int], name: Hashable, number: int, what: str, of: str = "ranking") -> int:
    if name not in places:
        raise ValueError(f"{of} {number} has the {what} {name!r}; accepted: {list(places)}")
    return places[name]


def triples_of(
    triples: Sequence[Sequence[Hashable]],
    weights: ArrayLike | None,
    prompts: Sequence[Hashable] | None,
    names: Sequence[Hashable],
    prompt_names: Sequence[Hashable] | None,
) -> tuple[Triples, PairMatrices]:
    """The triples, and how often each response beat each other one, (..., n, n), by weight.

    Raises:
        ValueError: naming the triple by its number.
    """
    for k, triple in enumerate(triples):
        if isinstance(triple, str) or len(triple) != 3:
            raise ValueError(f"triple {k} must be (third, winner, loser), got {triple!r}")
    pairs = [(winner, loser) for _, winner, loser in triples]
    _, wins = choices_of(pairs, None, weights, prompts, names, prompt_names)
    place = {name: k for k, name in enumerate(names)}
    at = np.array([[_known(place, one, k, "response", "triple") for one in t] for k, t in enumerate(triples)])
    weight = np.ones(len(triples)) if weights is None else as_floats("weights", weights)
    distinct, which = np.unique(at, axis=0, return_inverse=True)
    row = np.zeros(len(triples), dtype=np.intp)
    if prompt_names is not None and prompts is not None:
        row = np.array([{name: k for k, name in enumerate(prompt_names)}[x] for x in prompts])
    shares = np.zeros((1 if prompt_names is None else len(prompt_names), len(distinct)))
    np.add.at(shares, (row, which.reshape(-1)), weight)
    total = shares.sum(axis=1, keepdims=True)
    shares = shares / np.where(total > 0, total, 1.0)
    third, winner, loser = distinct.T
    return Triples(third, winner, loser, shares[0] if prompt_names is None else shares), wins
