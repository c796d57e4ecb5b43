"""Comparisons counted: who is compared on which prompt, under which reference, and how often each beat each."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .._checks import check_option, check_policy
from .bandit import Bandit
from .comparisons import Outcomes, comparisons_of, weight_of
from .groups import Group, Groups, bandits_of
from .labels import Names, listed
from .paired import DENSE
from .ragged import RaggedBandit
from .rankings import Choices, choices_of, triples_of
from .rows import Rows, in_order, positions

TIES = ("half", "drop")
ENOUGH = "there must be two or more, or a reference that lists them"
OWN = "the comparisons of their prompt"
"""What says which responses a prompt has, where no reference does."""
LARGEST = 1_000_000_000
"""Numbers in the largest table of all pairs of all prompts: 8 GB."""


def from_frame(
    comparisons: pd.DataFrame,
    reference: Any,
    responses: Iterable[Hashable] | None,
    ties: str,
    prompt_weights: ArrayLike | None,
    make: type[Bandit] = Bandit,
    *,
    own: bool = False,
) -> Bandit | RaggedBandit:
    """The bandit of a frame of comparisons; see `Bandit.from_comparisons`.

    Args:
        own: whether each prompt has the responses that occur on it, in every form.
    """
    if not isinstance(comparisons, pd.DataFrame):
        raise ValueError(f"comparisons must be a pandas DataFrame, got {type(comparisons).__name__}")
    if comparisons.columns.has_duplicates:
        twice = comparisons.columns[comparisons.columns.duplicated()][0]
        raise ValueError(f"comparisons: the column {twice!r} is given twice")
    if comparisons.empty:
        raise ValueError("comparisons must hold at least one comparison")
    data = comparisons_of(Rows("comparisons", comparisons, text=False))
    data = with_own(data) if own else data
    known = known_reference(data, reference, None if responses is None else list(responses))
    return count(data, known, ties, prompt_weights, make)


def with_own(data: Outcomes) -> Outcomes:
    """The same, where each prompt has responses of its own, in whatever form it came."""
    return replace(data, own=data.prompt is not None)


def known_reference(data: Outcomes, reference: Any, responses: list[Hashable] | None = None) -> Groups:
    """The prompts of comparisons and their responses, with a reference over them.

    Args:
        reference: ``"uniform"`` or None, over ``responses`` or those that occur; a Series by name; or an array (n,) in
            the order of ``responses``, without which its responses are the numbers from 0.
    """
    text = data.rows.text
    prompts = None if data.prompt is None else in_order(data.prompt, text=text)
    if reference is None or (isinstance(reference, str) and reference == "uniform"):
        if responses is None and data.own:
            return _own_responses(data, prompts or [])
        seen = responses or _seen(data)
        data.rows.refuse([len(seen) < 2], f"{listed(seen)} is the only response; {ENOUGH}")
        return _shared(
            "responses" if responses else "the comparisons", seen, np.full(len(seen), 1 / len(seen)), prompts
        )
    if isinstance(reference, pd.Series):
        own = Names.found(responses, None, {"reference": reference}, {})
        labels = list(own.responses or range(len(reference)))
        values, source = own.policies("reference", reference), "reference"
    else:
        values, source = reference, "responses"
        labels = responses or []
    policy = check_policy("reference", values, least=2)
    if policy.ndim != 1:
        raise ValueError(f"reference must have shape (n,) beside comparisons, got {policy.shape}")
    if not labels:
        labels = [str(i) if text else i for i in range(len(policy))]
        source = f"a reference of {len(policy)} probabilities, which are numbered from 0"
        source += "" if text else " without responses=[...]"
    if len(labels) != len(policy):
        raise ValueError(f"reference must have a probability for each of {len(labels)} responses, got {len(policy)}")
    return _shared(source, labels, policy, prompts)


def count(
    data: Outcomes,
    known: Groups,
    ties: str = "half",
    prompt_weights: ArrayLike | None = None,
    make: type[Bandit] = Bandit,
) -> Bandit | RaggedBandit:
    """The bandit of comparisons under a reference.

    Raises:
        ValueError: naming the table and the row, of a response or a prompt that the reference does not have.
    """
    check_option("ties", ties, TIES)
    for group in known.groups:
        _check_size(data, group)
    counted = []
    for group, used, x, lists in _by_group(data, known):
        counted.append(_counts(replace(data, lists=lists), used, x, group, known.source, ties))
        own = counted[-1]
        some = any(np.any(own.get(name, 0)) for name in ("counts", "ties", "liked", "disliked"))
        if len(known.groups) > 1 and not some:
            where = "leave out its rows" if known.source == OWN else "leave it out of the reference"
            dropped = ", as ties are dropped" if ties == "drop" and (data.score[used] == 0.5).any() else ""
            raise data.rows.error(f"prompt {listed(group.prompts or ())} has no comparison{dropped}: {where}")
    constructor = {"labels": "from_labels", "scores": "from_scores"}.get(data.kind, "from_counts")
    return bandits_of(known, counted, prompt_weights, getattr(make, constructor))


def _check_size(data: Outcomes, group: Group) -> None:
    """Raise where there are too many responses for a number for each pair of them."""
    n, prompts = len(group.responses), len(group.prompts or ())
    if data.kind == "pairs" and n > DENSE:
        where = f"prompt {listed(group.prompts or ())} has" if prompts else "there are"
        rows = "the rows of each prompt" if prompts else "them"
        raise data.rows.error(
            f"{where} {n:,} responses, too many for a Bandit, which takes {DENSE:,}: make Comparisons of {rows}"
        )
    if data.kind == "pairs" and prompts * n * n > LARGEST:
        raise data.rows.error(
            f"all pairs of {n:,} responses on each of {prompts:,} prompts are too many: a RaggedBandit has those of "
            "each prompt's own responses"
        )


def _by_group(data: Outcomes, known: Groups) -> Iterator[tuple[Group, Any, Any, Any]]:
    """Each group, which comparisons are on its prompts, on which of them, and its rankings."""
    if not known.prompts:
        yield known.groups[0], np.arange(len(data.at)), None, data.lists
        return
    sizes = [len(group.prompts or ()) for group in known.groups]
    every = [prompt for group in known.groups for prompt in group.prompts or ()]
    asked = positions(data.prompt, every)
    allowed = f"prompt must be one of {listed(every)}, as in {known.source}"
    data.rows.refuse(asked < 0, allowed, "prompt", at=data.at)
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    within = np.concatenate([np.arange(size) for size in sizes])
    order = np.argsort(group_of[asked], kind="stable")
    parts = np.split(order, np.searchsorted(group_of[asked[order]], np.arange(1, len(sizes))))
    ranked: list[list[tuple[Sequence[Any], int]]] = [[] for _ in sizes]
    if data.lists is not None:
        rows = data.rows["prompt"][[at for _, at in data.lists]]
        for one, place in zip(data.lists, positions(rows, every), strict=True):
            ranked[group_of[place]].append(one)
    for group, used, lists in zip(known.groups, parts, ranked, strict=True):
        yield group, used, within[asked[used]], None if data.lists is None else tuple(lists)


def _counts(data: Outcomes, used: Any, x: Any, group: Group, source: str, ties: str) -> dict[str, Any]:
    """Wins, ties and rewards of one group, from the comparisons ``used`` (their numbers), on its prompts ``x``."""
    sides = []
    for column, labels in zip(data.columns, (data.first, data.second), strict=True):
        where = positions(labels[used], group.responses)
        allowed = f"{column} must be one of {listed(group.responses)}, as in {source}"
        shown = column if column in ("winner", "loser", "chosen", "rejected") or len(set(data.columns)) == 2 else None
        data.rows.refuse(where < 0, allowed, shown, at=data.at[used])
        sides.append(where)
    n = len(group.responses)
    shape = (n,) if group.prompts is None else (len(group.prompts), n)
    if data.kind != "pairs":
        return _singles(data, used, x, sides[0], shape)
    wins, drawn = np.zeros((*shape, n)), np.zeros((*shape, n))
    score, weight = data.score[used], data.weight[used]
    at = () if x is None else (x,)
    np.add.at(wins, (*at, sides[0], sides[1]), weight * (score == 1))
    np.add.at(wins, (*at, sides[1], sides[0]), weight * (score == 0))
    np.add.at(drawn, (*at, sides[0], sides[1]), weight * (score == 0.5))
    drawn = drawn + np.swapaxes(drawn, -1, -2)
    found: dict[str, Any] = {"counts": wins, "ties": drawn if ties == "half" and drawn.any() else None}
    if data.third is not None:
        third = positions(data.third[used], group.responses)
        allowed = f"third must be one of {listed(group.responses)}, as in {source}"
        data.rows.refuse(third < 0, allowed, "third", at=data.at[used])
        rows = np.stack([third, *sides], axis=1).tolist()
        found["triples"] = triples_of(rows, weight, None if x is None else x.tolist(), *_numbered(shape))[0]
    if data.lists is not None:
        found["choices"] = _choices(data, group, shape)
    if data.rewards is not None:
        total, times = np.zeros(shape), np.zeros(shape)
        for where, scores in zip(sides, data.rewards, strict=True):
            given = ~np.isnan(scores[used])
            place = (*(index[given] for index in at), where[given])
            np.add.at(total, place, (weight * scores[used])[given])
            np.add.at(times, place, weight[given])
        found["rewards"] = np.where(times > 0, total / np.where(times > 0, times, 1.0), np.nan)
    return found


def _numbered(shape: tuple[int, ...]) -> tuple[range, range | None]:
    return range(shape[-1]), range(shape[0]) if len(shape) == 2 else None


def _choices(data: Outcomes, group: Group, shape: tuple[int, ...]) -> Choices | None:
    """The choices of a group's rankings, which have no ties."""
    assert data.lists is not None
    prompt, weight = data.rows.get("prompt"), weight_of(data.rows)
    place = {name: k for k, name in enumerate(group.responses)}
    row = {name: k for k, name in enumerate(group.prompts or ())}
    rankings = [[place[name] for name in names] for names, _ in data.lists]
    prompts = None if prompt is None else [row[prompt[at]] for _, at in data.lists]
    return choices_of(rankings, None, [weight[at] for _, at in data.lists], prompts, *_numbered(shape))[0]


def _singles(data: Outcomes, used: Any, x: Any, where: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Labels or scores of one group's single responses, ``where`` in it, on its prompts ``x``."""
    at = (where,) if x is None else (x, where)
    weight, score = data.weight[used], data.score[used]
    liked, disliked = np.zeros(shape), np.zeros(shape)
    np.add.at(liked, at, weight * score)
    np.add.at(disliked, at, weight * (1 - score))
    if data.kind == "labels":
        return {"liked": liked, "disliked": disliked}
    assert data.rewards is not None
    total = np.zeros(shape)
    np.add.at(total, at, weight * data.rewards[0][used])
    return {"rewards": np.where(liked > 0, total / np.where(liked > 0, liked, 1.0), np.nan), "counts": liked}


def _shared(source: str, responses: Sequence[Hashable], policy: Any, prompts: list[Any] | None) -> Groups:
    """All prompts have the same responses and the same reference."""
    values = policy if prompts is None else np.tile(policy, (len(prompts), 1))
    asked = None if prompts is None else tuple(prompts)
    return Groups(source, (Group(tuple(responses), asked, {"reference": values}),))


def _own_responses(data: Outcomes, prompts: list[Any]) -> Groups:
    """Each prompt has the responses that occur on it, with a uniform reference."""
    own: dict[Hashable, dict[Hashable, None]] = {prompt: {} for prompt in prompts}
    for labels in data.responses:
        for prompt, label in zip(data.prompt, labels, strict=True):
            own[prompt][label] = None
    found: dict[tuple[Hashable, ...], list[Hashable]] = {}
    for prompt, responses in own.items():
        if len(responses) < 2:
            lone = f"prompt {prompt!r} has one response only, {listed(responses)}; {ENOUGH}"
            data.rows.refuse([asked == prompt for asked in data.prompt], lone, at=data.at)
        found.setdefault(tuple(_sorted(responses)), []).append(prompt)
    groups = []
    for labels, members in found.items():
        reference = np.full((len(members), len(labels)), 1 / len(labels))
        groups.append(Group(labels, tuple(members), {"reference": reference}))
    return Groups(OWN, tuple(groups))


def _seen(data: Outcomes) -> list[Any]:
    """The responses that occur, in order; players by number must be there without a gap, as one may be missing."""
    text = data.rows.text
    seen = in_order(_sorted({label for labels in data.responses for label in labels}), text=text)
    if text and all(label.isdecimal() and label == str(int(label)) for label in seen):  # 007 is a name
        seen = sorted(seen, key=int)
        first = 0 if seen[0] == "0" else 1
        if seen != [str(i + first) for i in range(len(seen))]:
            raise data.rows.error(
                "a uniform reference needs responses 0 ... n-1 or 1 ... n, each in some comparison, or names; got "
                f"{listed(seen)}"
            )
    return seen


def _sorted(labels: Iterable[Hashable]) -> list[Any]:
    """In alphabetical order, or that of numbers; of several kinds, by how they are written."""
    every: list[Any] = list(labels)
    try:
        return sorted(every)
    except TypeError:
        return sorted(every, key=str)
