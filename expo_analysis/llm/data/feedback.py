"""What a row of a data set says about responses: which of two is better, whether one is good, how several rank.

================  ============================================  ====================================================
kind              columns beside ``prompt``                     what they say
================  ============================================  ====================================================
pairs             chosen, rejected                              chosen is the better one
triples           chosen, rejected, third                       the same, beside a third response
single responses  completion; label, or score                   completion is good (true) or not (false); its reward
lists             responses; ranking, or scores                 numbers of the responses, best first; their rewards
================  ============================================  ====================================================

A ranking may name the best few alone: those that it leaves out come behind all that it names, in no order. Scores order
the responses where there is no ranking; equal ones are refused, as they say no order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...bandit.labelled import DOWN, UP
from ...losses.base import check_option
from .columns import SCORES
from .conversation import kind_of
from .report import BadField

LABEL = "label"
SINGLE_DATA = ("score", "quantile")
"""Numbers of a single response: its reward, and the share of the reference's rewards that are at most that."""

VALUE, REFERENCE_SCORES = "value", "reference_scores"
"""Of a prompt: its value, and rewards of responses that the reference gave."""


@dataclass(frozen=True)
class Feedback:
    """A kind of feedback.

    sides       the columns of its responses
    listed      whether the column has a list of them
    """

    name: str
    sides: tuple[str, ...]
    listed: bool = False

    @property
    def token_columns(self) -> tuple[str, ...]:
        return ("prompt_ids", *(f"{side}_ids" for side in self.sides))

    @property
    def masks(self) -> tuple[str, ...]:
        return tuple(f"{side}_mask" for side in self.sides)

    @property
    def ref_columns(self) -> tuple[str, ...]:
        """Columns of log pi_ref of the responses, of lists a list in each row."""
        return tuple(f"ref_{side}_logps" for side in self.sides)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns that hold a finite number, where they are to be kept; a label is 1 or 0."""
        own = {"completion": (LABEL, *SINGLE_DATA), "responses": ()}
        scores = tuple(column for pair in SCORES for column in pair)
        return ("weight", VALUE, *own.get(self.sides[0], scores), *(() if self.listed else self.ref_columns))

    @property
    def vectors(self) -> tuple[str, ...]:
        """Columns that hold a list of finite numbers, where they are to be kept."""
        return (REFERENCE_SCORES, *(("scores", *self.ref_columns) if self.listed else ()))

    def values(self, row: Mapping[str, Any], ending: str = "") -> dict[str, Any]:
        """What a row has of each response, by the response's name: ``"chosen"``, or ``"responses[0]"`` of a list."""
        if not self.listed:
            return {side: row.get(side + ending) for side in self.sides}
        (side,) = self.sides
        return {f"{side}[{place}]": value for place, value in enumerate(list_of(side + ending, row.get(side + ending)))}

    def columns(self, values: Mapping[str, Any], ending: str) -> dict[str, Any]:
        """The inverse of `values`."""
        if not self.listed:
            return {side + ending: values[side] for side in self.sides}
        return {self.sides[0] + ending: list(values.values())}


PAIRS = Feedback("pairs", ("chosen", "rejected"))
TRIPLES = Feedback("triples", ("chosen", "rejected", "third"))
SINGLES = Feedback("single responses", ("completion",))
LISTS = Feedback("lists", ("responses",), listed=True)
KINDS = {kind.name: kind for kind in (PAIRS, TRIPLES, SINGLES, LISTS)}

ORDERS = ("ranking", "scores")
"""Columns that order the responses of a list; the first that is there."""


def feedback_of(columns: Collection[str], asked: str | None = None) -> Feedback:
    """The kind that a data set has, or that is asked for; pairs where its columns say nothing."""
    if asked is not None:
        check_option("feedback", asked, tuple(KINDS))
        return KINDS[asked]
    if {"chosen", "rejected", "chosen_ids"} & set(columns):
        return PAIRS
    has = {kind.name for kind in (SINGLES, LISTS) if {*kind.sides, *kind.token_columns[1:]} & set(columns)}
    if SINGLES.name in has and {"label", *SINGLE_DATA} & set(columns):
        return SINGLES
    return LISTS if LISTS.name in has else PAIRS


# ------------------------------------------------------------------------------------- what a row has beside responses


def checked(feedback: Feedback, name: str, value: Any) -> Any:
    """The value of a column of numbers or lists of them, checked; of any other as it is.

    Raises:
        BadField: naming the column.
    """
    if name in feedback.vectors:
        numbers = [number_of(name, number) for number in list_of(name, value)]
        if not numbers:
            raise BadField(name, "it must have at least one number")
        return numbers
    if name not in feedback.numbers:
        return value
    if name == LABEL:
        return label_of(value)
    number = number_of(name, value)
    if name == "quantile" and not 0 <= number <= 1:
        raise BadField(name, "it must be between 0 and 1", f", got {number}")
    if name == "weight" and number < 0:
        raise BadField(name, "it must be at least 0", f", got {number}")
    return number


def number_of(name: str, value: Any) -> float:
    """A finite number, perhaps as text."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):  # the latter of whole numbers beyond 1e308
        number = math.nan
    if not math.isfinite(number):
        raise BadField(name, "it must be a finite number", f", got {kind_of(value)}: {value!r:.40}")
    return number


def label_of(value: Any) -> float:
    """1 of a response that is good, 0 of one that is not; words as `read_labels` takes them."""
    word = "" if value is None else str(value).lower()
    if word not in (*UP, *DOWN):
        what = "it must be true or false, 1 or 0, up or down, good or bad"
        raise BadField(LABEL, what, f", got {kind_of(value)}: {value!r:.40}")
    return float(word in UP)


def list_of(name: str, value: Any) -> list[Any]:
    """A list, or the JSON of one, as cells of a table have it."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            found = None
    if not isinstance(found, list):
        raise BadField(name, "it must be a list, or the JSON of one", f", got {kind_of(value)}: {value!r:.40}")
    return found


def ranking_of(row: Mapping[str, Any], count: int) -> list[int]:
    """The order of a list of so many responses, best first, by its ranking or else its scores.

    Raises:
        BadField: for numbers of no response or of one twice, for other scores than one for each response, and for ties.
    """
    if row.get("ranking") is None:
        return _by_scores(checked(LISTS, "scores", row.get("scores")), count)
    ranking = list_of("ranking", row["ranking"])
    whole = [int(k) for k in ranking if isinstance(k, int | float) and not isinstance(k, bool) and k == k // 1]
    if len(whole) < len(ranking) or not whole or len({*whole}) < len(whole) or not {*whole} <= {*range(count)}:
        what = "it must have numbers of responses, best first, from 0 on and each at most once"
        raise BadField("ranking", what, f", got {ranking!r:.60} for {count} responses")
    return whole


def _by_scores(scores: Sequence[float], count: int) -> list[int]:
    check_count(scores, count)
    order = sorted(range(count), key=lambda k: -scores[k])
    tied = [(a, b) for a, b in pairwise(order) if scores[a] == scores[b]]
    if tied:
        what = "two of them are equal, which says no order; give a ranking, or leave one of the two responses out"
        raise BadField("scores", what, f": those of responses {tied[0][0]} and {tied[0][1]}")
    return order


def check_count(numbers: Sequence[float], count: int, name: str = "scores") -> None:
    """Raise for a list of other than one number for each response."""
    if len(numbers) != count:
        raise BadField(name, "it must have one number for each response", f", got {len(numbers)} for {count}")
