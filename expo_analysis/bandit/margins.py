"""Rewards of responses from margins, r_w - r_l of the pairs that are compared: a potential along a spanning forest.

Margins tell rewards up to a constant for each connected piece of a prompt's responses; here each piece has mean 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from .._types import Floats, Indices
from .labels import listed
from .rows import Rows

TOLERANCE = 1e-6
"""How far margins may be from differences of rewards, in units of the largest margin of their piece."""


def rewards_of_margins(
    rows: Rows, first: Any, second: Any, prompt: Any, margin: Floats, weight: Floats
) -> tuple[Floats, Floats]:
    """Rewards of the first and the second response of each row, whose difference is the row's margin.

    Args:
        prompt: of each row; None where there is one.
        margin: nan where none is given; such rows, and those without weight, say nothing and have the rewards nan.

    Raises:
        ValueError: naming the row of the first margin that contradicts those of the rows before it.
    """
    known = np.flatnonzero(~np.isnan(margin) & (weight > 0))
    node: dict[tuple[Hashable, Hashable], int] = {}
    asked = np.full(len(rows), None) if prompt is None else prompt
    ends = np.array(
        [[node.setdefault((asked[k], side[k]), len(node)) for k in known] for side in (first, second)], dtype=np.intp
    )
    reward, piece = _potential(ends, margin[known], len(node))
    size = np.bincount(piece, minlength=len(node))
    reward -= (np.bincount(piece, reward, len(node)) / np.maximum(size, 1))[piece]
    largest = np.zeros(len(node))
    np.maximum.at(largest, piece[ends[0]], np.abs(margin[known]))
    difference = reward[ends[0]] - reward[ends[1]]
    wrong = np.flatnonzero(np.abs(difference - margin[known]) > TOLERANCE * largest[piece[ends[0]]])
    if len(wrong):
        k = known[wrong[0]]
        what = f"margin contradicts those of other rows, by which {first[k]!r} is {difference[wrong[0]]:.9g} above"
        rows.refuse(np.arange(len(rows)) == k, f"{what} {second[k]!r}, so that no rewards have them", "margin")
    _remark(rows, list(node), piece)
    found = np.full((2, len(rows)), np.nan)
    found[:, known] = reward[ends]
    return found[0], found[1]


def _potential(ends: Indices, margin: Floats, size: int) -> tuple[Floats, Indices]:
    """A reward for each of ``size`` nodes, 0 at one node of each piece, which the second array names.

    Union-find: a row whose ends are joined already is no part of the forest, so that the forest is of the first rows.
    """
    parent, above = list(range(size)), [0.0] * size  # above: the reward less that of the parent

    def root_of(k: int) -> int:
        path = []
        while parent[k] != k:
            path.append(k)
            k = parent[k]
        for j in reversed(path):  # from the root on, so that the parent's own is known
            if parent[j] != k:
                above[j] += above[parent[j]]
                parent[j] = k
        return k

    for winner, loser, m in zip(*ends.tolist(), margin.tolist(), strict=True):
        upper, lower = root_of(winner), root_of(loser)
        if upper != lower:
            parent[upper], above[upper] = lower, m + above[loser] - above[winner]
    piece = np.array([root_of(k) for k in range(size)], dtype=np.intp)
    return np.array(above), piece


def _remark(rows: Rows, nodes: Sequence[tuple[Hashable, Hashable]], piece: Indices) -> None:
    """Warn of the first prompt in which margins do not join all responses."""
    parts: dict[Hashable, dict[int, list[Hashable]]] = {}
    for (prompt, label), own in zip(nodes, piece.tolist(), strict=True):
        parts.setdefault(prompt, {}).setdefault(own, []).append(label)
    for prompt, own in parts.items():
        if len(own) > 1:
            where = "" if prompt is None else f" on prompt {prompt!r}"
            apart = " from ".join(listed(labels) for labels in list(own.values())[:2])
            warnings.warn(
                f"{rows.place}: no margin tells {apart}{where}: each of {len(own)} parts has rewards of mean 0, which "
                "losses of pairs do not notice, and RLHF, AStarPO and QRPO do",
                stacklevel=2,
            )
            return
