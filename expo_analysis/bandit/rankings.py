"""Rankings and choices among several responses."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_shape
from .._types import Floats, Indices, Mask, PairMatrices

__all__ = ["Choices"]


@dataclass(frozen=True, eq=False)
class Choices:
    """Choices of one response among several; a ranking is a choice of its first, of its second among the rest, ...

    chosen: (C,). members: (C, n), who was to be chosen from, the chosen one too. weight: (..., C), a number for each
    prompt; the weights of a prompt's rankings sum to one.
    """

    chosen: Indices
    members: Mask
    weight: Floats

    @property
    def rests(self) -> Mask:
        """(C, n): the others."""
        others = self.members.copy()
        others[np.arange(len(self.chosen)), self.chosen] = False
        return others


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
    )
    return choices, above[0] if row is None else above


def _known(places: dict[Any, int], name: Hashable, ranking: int, what: str) -> int:
    if name not in places:
        raise ValueError(f"ranking {ranking} has the {what} {name!r}; accepted: {list(places)}")
    return places[name]
