"""Prompts whose responses differ, solved together: those of one number of responses are one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bandit import Bandit
from ..bandit.ragged import RaggedBandit
from ..losses.base import Objective
from .solution import Solution
from .solve import solve

PER_PROMPT = ("policy", "log_policy", "value", "status", "message", "error_bound", "iterations", "certificate")


def solve_ragged(objective: Objective, ragged: RaggedBandit, method: str = "auto") -> tuple[Solution, ...]:
    """`solve` of each part of a `RaggedBandit`, in its order; many parts take little more than one.

    Parts of one number of responses with policies or win counts are solved as one batch, whatever their responses are
    called, which differs from solving each alone by rounding; messages then call responses by their indices. Others are
    solved one by one.

    Raises:
        TypeError, ValueError: as `solve` does.

    Example:
        >>> import expo_analysis as ea
        >>> parts = [ea.Bandit([0.5, 0.5], [p, 1 - p]) for p in (0.6, 0.7, 0.9)]
        >>> [s.policy.round(2).tolist() for s in ea.solve_ragged(ea.EXPO(0.01), ea.RaggedBandit(parts))]
        [[0.6, 0.4], [0.7, 0.3], [0.9, 0.1]]
    """
    if not isinstance(ragged, RaggedBandit):
        raise TypeError(f"ragged must be a RaggedBandit, got {type(ragged).__name__}")
    together: dict[tuple[int, bool], list[int]] = {}
    found: list[Any] = [None] * len(ragged.parts)
    for k, part in enumerate(ragged.parts):
        if _is_plain(part):
            together.setdefault((part.n, part.counts is None), []).append(k)
        else:
            found[k] = solve(objective, part, method)
    for places in together.values():
        parts = [ragged.parts[k] for k in places]
        for k, solution in zip(places, _solved(objective, parts, method), strict=True):
            found[k] = solution
    return tuple(found)


def _is_plain(part: Bandit) -> bool:
    """Whether there is nothing but a reference, and pi* with q or win counts."""
    more = (part.rewards, part.lengths, part.liked, part.choices, part.triples, part.stated_preference)
    return all(one is None for one in more)


def _solved(objective: Objective, parts: Sequence[Bandit], method: str) -> list[Solution]:
    n, sizes = parts[0].n, [part.prompts or 1 for part in parts]

    def stacked(name: str, *shape: int) -> Any:
        return np.concatenate([np.broadcast_to(getattr(part, name), shape_of(part, *shape)) for part in parts])

    def shape_of(part: Bandit, *shape: int) -> tuple[int, ...]:
        return (part.prompts or 1, *shape)

    if parts[0].counts is None:
        whole = Bandit(stacked("reference", n), stacked("optimal", n), stacked("pairs", n, n))
    else:
        whole = Bandit.from_counts(stacked("reference", n), stacked("counts", n, n))
    solution = solve(objective, whole, method)
    found, start = [], 0
    for part, size in zip(parts, sizes, strict=True):
        own = slice(start, start + size) if part.prompts is not None else start
        fields = {name: getattr(solution, name)[own] for name in PER_PROMPT}
        found.append(dataclasses.replace(solution, bandit=part, **fields))
        start += size
    return found
