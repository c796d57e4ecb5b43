"""Preferences between responses whose rewards are known, by the Bradley-Terry model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from .sampling import CHOICES, LABELS, rng


@dataclass(frozen=True)
class Label:
    """Which of two responses to a prompt won, and p, how probable it was that this one would."""

    winner: int
    loser: int
    p: float


@dataclass
class SkippedPairs:
    """Pairs that are not compared: of two equal responses, and with an empty one."""

    equal: int = 0
    empty: int = 0


def win_probability(first: float, second: float, temperature: float = 1.0) -> float:
    """p(i > j) = sigma((r_i - r_j) / temperature), exact at both ends (Bradley and Terry 1952)."""
    difference = (first - second) / temperature
    if difference >= 0:
        return 1 / (1 + math.exp(-difference))
    odds = math.exp(max(difference, -745.0))
    return odds / (1 + odds)


def draw_labels(
    responses: Sequence[str],
    rewards: ArrayLike,
    *,
    temperature: float = 1.0,
    pairs: int | None = None,
    seed: int = 0,
    prompt: int = 0,
    skipped: SkippedPairs | None = None,
) -> list[Label]:
    """Compare the responses to one prompt.

    Args:
        responses: their texts. A pair of equal ones says nothing, and one with an empty response cannot be trained on
            in every trainer: both are skipped.
        rewards: one for each, shape (k,).
        temperature: of the labels: the higher, the nearer to coin flips.
        pairs: how many to compare, chosen at random without replacement; None for all. Where there are fewer, all.
        seed, prompt: of the random numbers: every prompt has its own.
        skipped: to be added to.

    Returns:
        A label for each pair, in the order of the pairs (i, j), i < j.

    Raises:
        ValueError: naming the argument that is wrong.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.shape != (len(responses),) or not np.isfinite(values).all():
        raise ValueError(f"rewards must be {len(responses)} finite numbers, got {rewards!r:.80}")
    check_labels(temperature, pairs)
    skipped = SkippedPairs() if skipped is None else skipped
    candidates = []
    for i, j in combinations(range(len(responses)), 2):
        if not (responses[i].strip() and responses[j].strip()):
            skipped.empty += 1
        elif responses[i] == responses[j]:
            skipped.equal += 1
        else:
            candidates.append((i, j))
    if pairs is not None and pairs < len(candidates):
        places = rng(seed, CHOICES, prompt).choice(len(candidates), size=pairs, replace=False)
        candidates = [candidates[place] for place in sorted(places)]
    draws = rng(seed, LABELS, prompt).random(len(candidates))
    labels = []
    for (i, j), u in zip(candidates, draws, strict=True):
        p = win_probability(values[i], values[j], temperature)
        labels.append(Label(i, j, p) if u < p else Label(j, i, win_probability(values[j], values[i], temperature)))
    return labels


def check_labels(temperature: float, pairs: int | None) -> None:
    """Raise unless labels can be drawn with these."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"label temperature must be a positive finite number, got {temperature!r}")
    if pairs is not None and (not isinstance(pairs, int) or pairs < 1):
        raise ValueError(f"pairs must be a positive whole number, or all; got {pairs!r}")
