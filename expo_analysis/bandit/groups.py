"""Policies by the names of prompts and responses: prompts that share their responses are a group, and a `Bandit`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import SUM_TOLERANCE
from .._types import Floats
from .bandit import Bandit
from .labels import listed
from .ragged import RaggedBandit
from .rows import Rows, in_order, names, positions

VALUES = {"reference": "reference", "optimal": "optimal", "reward": "rewards", "length": "lengths"}
"""Columns of a table of policies, a row for each response, and the arguments of `Bandit` that they are."""


@dataclass(frozen=True, eq=False)
class Group:
    """Prompts with the same responses, or one that has no name; and what is known of the responses.

    values: arrays of shape (n,), or (prompts, n) where prompts have names, by the name of the argument of `Bandit`.
    """

    responses: tuple[Hashable, ...]
    prompts: tuple[Hashable, ...] | None
    values: dict[str, Floats]


@dataclass(frozen=True, eq=False)
class Groups:
    """All prompts in their groups, and what said so, as messages name it."""

    source: str
    groups: tuple[Group, ...]

    @property
    def prompts(self) -> bool:
        """Whether prompts have names."""
        return self.groups[0].prompts is not None


def policies_of(rows: Rows, required: Sequence[str]) -> Groups:
    """The groups of a table of policies, with ``prompt, response``, the columns ``required`` and others of `VALUES`.

    Raises:
        ValueError: naming the table, and column or row; a prompt whose probabilities do not sum to one may lack a
            response that another has, which is named.
    """
    others = [name for name in VALUES if name not in required]
    unread = rows.check_columns(("response", *required), ("prompt", *others))
    rows.remark(unread, "response", *required, "prompt", *others)
    rows.check_distinct([name for name in ("prompt", "response") if name in rows])
    numbers = {
        argument: rows.numbers(name, positive=name != "reward") for name, argument in VALUES.items() if name in rows
    }
    responses = rows["response"]
    every = in_order(responses, text=rows.text)
    if "prompt" not in rows:
        rows.refuse([len(every) < 2], f"{listed(every)} is the only response; there must be two or more")
        order = [int(k) for k in np.argsort(positions(responses, every))]
        return Groups(rows.place, (Group(tuple(every), None, {name: own[order] for name, own in numbers.items()}),))
    asked = rows["prompt"]
    prompts = in_order(asked, text=rows.text)
    index, place = positions(asked, prompts), positions(responses, every)
    table = np.full((len(prompts), len(every)), -1, dtype=np.intp)
    table[index, place] = np.arange(len(rows))
    shared = (table >= 0).all()
    found: dict[bytes, list[int]] = {}
    for x in range(len(prompts)):
        found.setdefault((table[x] >= 0).tobytes(), []).append(x)
    groups = []
    for members in found.values():
        there = np.flatnonzero(table[members[0]] >= 0)
        values = {name: own[table[np.ix_(np.array(members), there)]] for name, own in numbers.items()}
        if not shared:
            _check_whole(rows, prompts, members, every, there, values)
        if len(there) < 2:
            lone = f"prompt {prompts[members[0]]!r} has one response only, {every[there[0]]!r}"
            rows.refuse(np.arange(len(rows)) == table[members[0], there[0]], f"{lone}; there must be two or more")
        own_prompts = tuple(prompts[x] for x in members)
        groups.append(Group(tuple(every[k] for k in there), own_prompts, values))
        _check_sums(rows, groups[-1])
    return Groups(rows.place, tuple(groups))


def _check_whole(
    rows: Rows, prompts: list[Any], members: list[int], every: list[Any], there: Any, values: Mapping[str, Floats]
) -> None:
    """Raise where a prompt has no row for a response of another, and its probabilities show that it is missing."""
    missing = [label for k, label in enumerate(every) if k not in set(there.tolist())]
    for x, row in zip(members, values["reference"], strict=True):
        if missing and abs(row.sum() - 1) > SUM_TOLERANCE:
            raise rows.error(
                f"prompt {prompts[x]!r} has no row for response {', '.join(map(repr, missing[:8]))}, and its reference "
                f"sums to {row.sum():.9g} without"
            )


def _check_sums(rows: Rows, group: Group) -> None:
    """Raise for a prompt whose probabilities do not sum to one."""
    for name in ("reference", "optimal"):
        for prompt, row in zip(group.prompts or (), group.values.get(name, ()), strict=False):
            if abs(row.sum() - 1) > SUM_TOLERANCE:
                raise rows.error(
                    f"prompt {prompt!r}: {name} must sum to one within {SUM_TOLERANCE:g}, got a sum of {row.sum():.9g}"
                )


def bandits_of(
    groups: Groups,
    counts: Sequence[dict[str, Any]] | None = None,
    prompt_weights: ArrayLike | None = None,
    make: Callable[..., Bandit] = Bandit.from_counts,
) -> Bandit | RaggedBandit:
    """The bandit of one group, or several as the parts of a `RaggedBandit`.

    Args:
        counts: for each group the arguments of ``make`` but for its policies; without, the groups' ``optimal`` is pi*.
        prompt_weights: of all prompts, in the order of the groups; as `Bandit` and `RaggedBandit` take them.
    """
    made = []
    own_weights: dict[str, Any] = {"prompt_weights": prompt_weights} if len(groups.groups) == 1 else {}
    for k, group in enumerate(groups.groups):
        named: dict[str, Any] = {"responses": names(group.responses), "prompt_names": names(group.prompts)}
        if len(groups.groups) > 1:  # a part is known by its names
            named = {"responses": group.responses, "prompt_names": group.prompts}
        if counts is None:
            made.append(Bandit(**group.values, **named, **own_weights))
        else:
            values = {name: value for name, value in group.values.items() if name != "optimal"}
            made.append(make(**(values | counts[k]), **named, **own_weights))
    return made[0] if len(made) == 1 else RaggedBandit(made, prompt_weights)
