"""Rankings, choices among several responses, and triples."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_shape
from .._types import Floats, Indices, Mask, PairMatrices, Policies
from .arrays import reference_policy
from .labels import Names

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
) -> tuple[Choices | None, PairMatrices, PairMatrices | None]:
    """The choices, how often each response was ranked above each other one, (..., n, n), by weight, and the ties.

    Where any ranking has ties there are no choices, and a tie is half a win of each; else there are no ties.

    Raises:
        ValueError: naming the ranking by its number.
    """
    n, place = len(names), {name: k for k, name in enumerate(names)}
    weight, rows = _weighted("ranking", len(rankings), weights, prompts, prompt_names)
    if sets is not None and len(sets) != len(rankings):
        raise ValueError(f"sets must have an entry for each of {len(rankings)} rankings, got {len(sets)}")
    prompt_count = 1 if prompt_names is None else len(prompt_names)
    above, tied = np.zeros((prompt_count, n, n)), np.zeros((prompt_count, n, n))
    totals = np.zeros(prompt_count)
    np.add.at(totals, rows, weight)
    found: dict[tuple[int, bytes], Floats] = {}
    for k, (x, ranking) in enumerate(zip(rows, rankings, strict=True)):
        order = [[_known(place, one, k, "response") for one in shared] for shared in places_of(ranking, place)]
        ranked = [one for members in order for one in members]
        present = ranked if sets is None else [_known(place, one, k, "response") for one in sets[k]]
        if len({*present}) < len(present) and sets is not None:
            twice = next(one for one in present if present.count(one) > 1)
            raise ValueError(f"sets must have each response once, but that of ranking {k} has {names[twice]!r} twice")
        empty = not order or not all(order)
        if empty or len({*ranked}) < len(ranked) or not {*ranked} <= {*present} or len(present) < 2:
            raise ValueError(f"ranking {k} must rank different responses of its set of at least two, got {ranking!r}")
        rest = np.zeros(n, dtype=bool)
        rest[present] = True
        for members in order:
            if len(members) == 1 and rest.sum() > 1:
                found.setdefault((members[0], rest.tobytes()), np.zeros(prompt_count))[x] += weight[k]
            rest[members] = False
            above[x, members] += weight[k] * rest
            if len(members) > 1:
                tied[np.ix_([x], members, members)] += weight[k] * (1 - np.eye(len(members)))
    if tied.any():
        above += tied / 2
        return None, *((above[0], tied[0]) if prompt_names is None else (above, tied))
    each = np.array(list(found.values())) / np.where(totals > 0, totals, 1.0)
    choices = Choices(
        np.array([chosen for chosen, _ in found]),
        np.array([np.frombuffer(members, dtype=bool) for _, members in found]),
        each[:, 0] if prompt_names is None else each.T,
        totals.sum() if prompt_names is None else totals,
    )
    return choices, above[0] if prompt_names is None else above, None


def places_of(ranking: Sequence[Hashable], names: Collection[Hashable] = ()) -> list[list[Hashable]]:
    """The places of a ranking, best first, with the responses that share each: those of a list, a tuple or a set.

    A tuple or a frozen set that is one of the ``names`` is a response.
    """
    return [
        list(one) if isinstance(one, (list, tuple, set, frozenset)) and not _is_among(one, names) else [one]
        for one in ranking
    ]


def _is_among(one: Any, names: Collection[Hashable]) -> bool:
    try:
        return one in names
    except TypeError:  # it does not hash
        return False


def named(
    reference: ArrayLike | None,
    seen: Iterable[Any],
    responses: Iterable[Hashable] | None,
    prompt_names: Iterable[Hashable] | None,
    prompt_weights: ArrayLike | None,
) -> tuple[Names, Policies, Sequence[Hashable], Sequence[Hashable] | None]:
    """Names, the reference, and by which names (or numbers) rows of data call responses and prompts.

    Args:
        seen: the responses of all rows, which a uniform reference is over where ``responses`` are not stated.
    """
    even = reference is None or (isinstance(reference, str) and reference == "uniform")
    if responses is None and even:
        try:
            found = dict.fromkeys(seen)
        except TypeError as error:
            raise ValueError(f"responses must have names or numbers, got one that has parts ({error})") from None
        numbers = [one for one in found if isinstance(one, int)]
        responses = sorted(numbers) if len(numbers) == len(found) else list(found)
    responses = None if responses is None else list(responses)
    if even and responses:
        reference = np.full(len(responses), 1 / len(responses))
    names = Names.found(responses, prompt_names, {"reference": reference}, {}, prompt_weights)
    policy = reference_policy(reference, names)
    own = range(policy.shape[-1]) if names.responses is None else names.responses
    prompts = range(len(policy)) if names.prompts is None else names.prompts
    return names, policy, tuple(own), tuple(prompts) if policy.ndim == 2 else None


def rows_of(what: str, rows: Sequence[Any]) -> list[list[Any]]:
    """Rankings, sets or triples as lists.

    Raises:
        ValueError: there are none; or one, which is named, is no sequence of responses.
    """
    if not len(rows):
        raise ValueError(f"{what}s must hold at least one")
    for k, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Iterable):
            best_first = ", best first" if what == "ranking" else ""
            raise ValueError(f"{what} {k} must be a sequence of responses{best_first}, got {row!r}")
    return [list(row) for row in rows]


def _weighted(
    what: str,
    count: int,
    weights: ArrayLike | None,
    prompts: Sequence[Hashable] | None,
    prompt_names: Sequence[Hashable] | None,
) -> tuple[Floats, Indices]:
    """The weight of each of so many rankings or triples, and the number of its prompt."""
    weight = np.ones(count) if weights is None else as_floats("weights", weights)
    check_shape("weights", weight, (count,))
    if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
        raise ValueError("weights must be non-negative, finite and not all zero")
    if (prompts is None) != (prompt_names is None):
        raise ValueError("prompts must be given for a bandit with prompts, and for no other")
    if prompts is None or prompt_names is None:
        return weight, np.zeros(count, dtype=np.intp)
    if len(prompts) != count:
        raise ValueError(f"prompts must have an entry for each of {count} {what}s, got {len(prompts)}")
    place = {name: k for k, name in enumerate(prompt_names)}
    return weight, np.array([_known(place, prompt, k, "prompt", what) for k, prompt in enumerate(prompts)])


def _known(places: dict[Any, int], name: Hashable, number: int, what: str, of: str = "ranking") -> int:
    if _is_among(name, places):
        return places[name]
    accepted = list(places)
    hint = ""
    if isinstance(name, str) and accepted == list(range(len(accepted))):
        argument = {"response": "responses"}.get(what, "prompt_names")
        hint = f"; names must be given by {argument}, in the order of reference"
    raise ValueError(f"{of} {number} has the {what} {name!r}; accepted: {accepted}{hint}")


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
    n, place = len(names), {name: k for k, name in enumerate(names)}
    for k, triple in enumerate(triples):
        if len(triple) != 3:
            raise ValueError(f"triple {k} must be (third, winner, loser), got {tuple(triple)!r}")
    weight, rows = _weighted("triple", len(triples), weights, prompts, prompt_names)
    at = np.array([[_known(place, one, k, "response", "triple") for one in t] for k, t in enumerate(triples)])
    for k in np.flatnonzero(at[:, 1] == at[:, 2])[:1]:
        raise ValueError(f"triple {k} must have a winner and a loser that differ, got {tuple(triples[k])!r}")
    distinct, which = np.unique(at, axis=0, return_inverse=True)
    prompt_count = 1 if prompt_names is None else len(prompt_names)
    shares, wins = np.zeros((prompt_count, len(distinct))), np.zeros((prompt_count, n, n))
    np.add.at(shares, (rows, which.reshape(-1)), weight)
    np.add.at(wins, (rows, at[:, 1], at[:, 2]), weight)
    total = shares.sum(axis=1, keepdims=True)
    shares = shares / np.where(total > 0, total, 1.0)
    third, winner, loser = distinct.T
    if prompt_names is None:
        return Triples(third, winner, loser, shares[0]), wins[0]
    return Triples(third, winner, loser, shares), wins
