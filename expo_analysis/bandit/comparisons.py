"""Tables of comparisons: the forms that are known by their columns, and what each row says.

Columns may stand in any order. Each form may have ``prompt``, and ``count`` and ``weight``, non-negative numbers that
multiply a row (1 where the column is absent).

* ``winner, loser``: one beat the other, or, where a column ``tie`` is there and true, neither did; ``margin``,
  r_winner - r_loser, gives rewards (see `margins`).
* a pair, ``model_a, model_b`` (Chatbot Arena), ``left, right`` (evalica), ``player1, player2`` or ``home_team,
  away_team``, with the outcome in one of two ways:
  ``winner``: the name of a column of the pair or its short form (``model_a`` or ``a``; ``home``), the name of one of
  the two, or a tie: ``tie``, ``draw``, ``tie (bothbad)``, ``both_bad``;
  two scores, ``score_a, score_b`` (``score_left, score_right``; ``score1, score2``; ``home_score, away_score``): the
  higher won, equal ones tied.
* ``chosen, rejected``: the first beat the second. Each prompt then has responses of its own, those that occur on it;
  in a `RaggedBandit` it has in every form.
  The scores of both, in columns named as one of `REWARDS`, are kept as rewards, averaged over the rows of a response;
  ``margin`` is read where there are no scores. Beside both of these forms a third response may stand in ``third``.
* ``ranking, response, rank``: a row for each response of a ranking; the smaller rank is the better, equal ones tied.
  Or ``ranking`` alone, a ranking in each row: ``anna > bob = carl > dora``. All pairs of a ranking count, each with
  the ranking's weight.

A tie is half a win of each; see `Bandit.from_counts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._types import Floats, Indices, Mask
from .labels import listed
from .margins import rewards_of_margins
from .rows import Rows

WEIGHTS = ("count", "prompt", "weight")
"""The columns that every form may have."""

YES, NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
"""What a column ``tie`` says beside winner and loser."""

TIES = ("tie", "draw", "tie (bothbad)", "tie (both bad)", "bothbad", "both_bad", "both bad")


@dataclass(frozen=True)
class Pair:
    """The columns of a pair, the words for its sides beside their names, and the columns of their scores."""

    columns: tuple[str, str]
    words: tuple[str, str]
    scores: tuple[str, str]


PAIRS = (
    Pair(("model_a", "model_b"), ("a", "b"), ("score_a", "score_b")),
    Pair(("left", "right"), ("left", "right"), ("score_left", "score_right")),
    Pair(("player1", "player2"), ("player1", "player2"), ("score1", "score2")),
    Pair(("home_team", "away_team"), ("home", "away"), ("home_score", "away_score")),
)
REWARDS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("reward_chosen", "reward_rejected"),
    ("chosen_reward", "rejected_reward"),
)
"""What the rewards of both responses are called, in files and in training data."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Comparisons one by one: labels of the first and the second, and the score of the first: 1, 1/2 or 0.

    at: the row of each. columns: where first and second stand. rewards: scores of first and second, or None. own:
    whether each prompt has responses of its own. kind: ``"pairs"``, or ``"labels"`` or ``"scores"`` of single
    responses, which are first and second. third: labels of a third response, or None. lists: rankings without ties,
    best first, with the row of each; or None.
    """

    rows: Rows
    at: Indices
    columns: tuple[str, str]
    first: Any
    second: Any
    score: Floats
    weight: Floats
    prompt: Any = None
    rewards: tuple[Floats, Floats] | None = None
    own: bool = False
    kind: str = "pairs"
    third: Any = None
    lists: tuple[tuple[Sequence[Any], int], ...] | None = None

    @property
    def responses(self) -> tuple[Any, ...]:
        """The labels of all responses that occur: of the first, the second and, where there is one, the third."""
        return (self.first, self.second, *(() if self.third is None else (self.third,)))


def is_comparisons(rows: Rows) -> bool:
    """Whether a table has a column by which one of the forms is known."""
    known = {"winner", "loser", "chosen", "rejected", "ranking", *(side for pair in PAIRS for side in pair.columns)}
    return bool(known & set(rows.columns))


def comparisons_of(rows: Rows) -> Outcomes:
    """What the rows of a table say.

    Raises:
        ValueError: naming the table, and the column or the row, that is wrong.
    """
    columns = set(rows.columns)
    if {"chosen", "rejected"} & columns:
        found = _chosen(rows)
    elif pairs := [pair for pair in PAIRS if set(pair.columns) & columns]:
        found = _of_pair(rows, pairs[0])
    elif "ranking" in columns:
        found = _rankings(rows) if {"response", "rank"} & columns else _written_rankings(rows)
    else:
        found = _decided(rows, ("winner", "loser"))
    same = np.array([a == b for a, b in zip(found.first, found.second, strict=True)], dtype=bool)
    rows.refuse(same, f"{found.columns[0]} and {found.columns[1]} must differ", at=found.at)
    return found


# ---------------------------------------------------------------------------------------------------------------- forms


def _decided(rows: Rows, columns: tuple[str, str], scores: Sequence[str] = ()) -> Outcomes:
    """The first beat the second, beside a third response where there is one, with rewards by ``scores`` or margins."""
    named = (*columns, *(["third"] if "third" in rows else []))
    optional = scores or (["margin"] if "margin" in rows else [])
    tie = ["tie"] if "tie" in rows else []
    if tie and (optional or "third" in rows):
        raise rows.error(f"'tie' is not used beside {listed([*optional, *named[2:]])}: leave out one")
    unread = rows.check_columns(named, (*WEIGHTS, *optional, *tie), gaps=optional)
    rows.check_names(*named, "prompt")
    _check_repeats(rows, named, [*unread, *optional, *tie])
    rows.check_no_count([] if "count" in rows else unread)
    rows.remark(unread, *named, *WEIGHTS, *optional, *tie)
    score = np.where(_tied(rows), 0.5, 1.0) if tie else np.ones(len(rows))
    found = replace(_comparisons(rows, columns, score), third=rows.get("third"))
    if not optional:
        return found
    numbers = [rows.numbers(name, gaps=True) for name in optional]
    if scores:
        return replace(found, rewards=(numbers[0], numbers[1]))
    return replace(
        found, rewards=rewards_of_margins(rows, found.first, found.second, found.prompt, numbers[0], found.weight)
    )


def _tied(rows: Rows) -> Mask:
    """What the column ``tie`` says."""
    words = [str(cell).strip().lower() for cell in rows["tie"]]
    rows.refuse([word not in YES + NO for word in words], "tie must be true or false", "tie")
    return np.array([word in YES for word in words], dtype=bool)


def _chosen(rows: Rows) -> Outcomes:
    there = [pair for pair in REWARDS if set(pair) & set(rows.columns)]
    if len(there) > 1:
        raise rows.error(f"scores of a response are given twice: {listed(name for pair in there for name in pair)}")
    scores = there[0] if there else ()
    for name in scores:
        if name not in rows:
            raise rows.error(f"the column {name!r} is missing; the header has {listed(rows.columns)}")
    return replace(_decided(rows, ("chosen", "rejected"), scores), own="prompt" in rows)


def _of_pair(rows: Rows, pair: Pair) -> Outcomes:
    scored = set(pair.scores) & set(rows.columns)
    if scored and "winner" in rows:
        raise rows.error(f"the outcome is given twice, by 'winner' and by {listed(sorted(scored))}: leave out one")
    outcome = pair.scores if scored else ("winner",)
    if not scored and "winner" not in rows:
        raise rows.error(
            f"the column 'winner' (or {listed(pair.scores)}) is missing; the header has {listed(rows.columns)}"
        )
    unread = rows.check_columns((*pair.columns, *outcome), WEIGHTS)
    rows.check_names(*pair.columns, *outcome, "prompt")
    _check_repeats(rows, (*pair.columns, *outcome), unread)
    rows.check_no_count([] if "count" in rows else unread)
    rows.remark(unread, *pair.columns, *outcome, *WEIGHTS)
    if scored:
        first, second = (rows.numbers(name) for name in pair.scores)
        return _comparisons(rows, pair.columns, (1 + np.sign(first - second)) / 2)
    return _comparisons(rows, pair.columns, _outcomes(rows, pair))


def _outcomes(rows: Rows, pair: Pair) -> Floats:
    """The first one's score, from the words of the column ``winner``."""
    won = rows["winner"]
    words = np.array([str(cell).strip().lower() for cell in won], dtype=object)
    labels = np.array([rows[name] == won for name in pair.columns])
    sides = np.array(
        [(words == column) | (words == word) for column, word in zip(pair.columns, pair.words, strict=True)]
    )
    drawn = np.array([word in TIES for word in words], dtype=bool)
    both = (labels[0] & (sides[1] | drawn)) | (labels[1] & (sides[0] | drawn))
    rows.refuse(both, "winner may be the name of a response or of a side, and they differ", "winner")
    first, second = sides | labels
    accepted = f"winner must be {pair.columns[0]!r}, {pair.columns[1]!r}, a name of the two, 'tie' or 'tie (bothbad)'"
    rows.refuse(~(first | second | drawn), accepted, "winner")
    return np.where(drawn, 0.5, np.where(first, 1.0, 0.0))


def _rankings(rows: Rows) -> Outcomes:
    """From a row for each response of a ranking."""
    required = ("ranking", "response", "rank")
    unread = rows.check_columns(required, WEIGHTS)
    keys = [name for name in ("prompt", "ranking") if name in rows]
    rows.check_names(*keys, "response")
    rows.check_distinct([*keys, "response"])
    rows.remark(unread, *required, *WEIGHTS)
    rank, group = rows.numbers("rank"), rows.frame.groupby(keys, sort=False).ngroup().to_numpy()
    weight = weight_of(rows)
    for name in ("count", "weight"):
        if name in rows:
            first = rows.frame.groupby(keys, sort=False)[name].transform("first").to_numpy(dtype=object)
            rows.refuse(rows[name] != first, f"{name} must be the same for all rows of a ranking", name)
    order = np.lexsort((rank, group))
    one, other, lists = [], [], []
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        rows.refuse(np.arange(len(rows)) == members[0] if len(members) < 2 else [], "a ranking has one response only")
        lists.append((rows["response"][members], int(members[0])))
        upper, lower = np.triu_indices(len(members), 1)
        one.append(members[upper])
        other.append(members[lower])
    first_row, second_row = np.concatenate(one), np.concatenate(other)
    return Outcomes(
        rows,
        first_row,
        ("response", "response"),
        rows["response"][first_row],
        rows["response"][second_row],
        np.where(rank[first_row] == rank[second_row], 0.5, 1.0),
        weight[first_row],
        rows.get("prompt", first_row),
        lists=None if (rank[first_row] == rank[second_row]).any() else tuple(lists),
    )


def _written_rankings(rows: Rows) -> Outcomes:
    """From rankings that are written out."""
    unread = rows.check_columns(("ranking",), WEIGHTS)
    rows.check_no_count([] if "count" in rows else unread)
    _check_repeats(rows, ("ranking",), unread)
    rows.remark(unread, "ranking", *WEIGHTS)
    rows.check_names("ranking", "prompt")
    at, first, second, score, lists = [], [], [], [], []
    for row, cell in enumerate(rows["ranking"]):
        places = [[name.strip() for name in place.split("=")] for place in str(cell).split(">")]
        ranked = [(name, k) for k, place in enumerate(places) for name in place]
        names = [name for name, _ in ranked]
        bad = len(names) < 2 or "" in names or len(set(names)) < len(names)
        here = np.arange(len(rows)) == row if bad else []
        rows.refuse(here, "ranking must be two distinct names or more, as in 'a > b = c'", "ranking")
        lists.append((names, row))
        for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
            at.append(row)
            first.append(names[i])
            second.append(names[j])
            score.append(0.5 if ranked[i][1] == ranked[j][1] else 1.0)
    where = np.array(at, dtype=np.intp)
    one, other = np.array(first, dtype=object), np.array(second, dtype=object)
    columns = ("ranking", "ranking")
    tied = 0.5 in score
    return Outcomes(
        rows,
        where,
        columns,
        one,
        other,
        np.array(score),
        weight_of(rows)[where],
        rows.get("prompt", where),
        lists=None if tied else tuple(lists),
    )


# ------------------------------------------------------------------------------------------------------- what all share


def _comparisons(rows: Rows, columns: tuple[str, str], score: Floats) -> Outcomes:
    """A comparison for each row."""
    first, second = (rows[name] for name in columns)
    return Outcomes(rows, np.arange(len(rows)), columns, first, second, score, weight_of(rows), rows.get("prompt"))


def weight_of(rows: Rows) -> Floats:
    """The product of the columns ``count`` and ``weight``, or 1."""
    weight = np.ones(len(rows))
    for name in ("count", "weight"):
        if name in rows:
            weight = weight * rows.numbers(name, least=0.0)
    return weight


def _check_repeats(rows: Rows, columns: Sequence[str], unread: Sequence[str]) -> None:
    """Where rows are counted, each stands once: the same one again may be a copy, and what it means is not known."""
    if "count" in rows:
        rows.numbers("count", least=0.0)
        rows.check_distinct([name for name in ("prompt", *columns) if name in rows], unread)
