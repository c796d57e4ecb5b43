"""The rows of the census: a row for each loss of each package."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ..adapters import Implementation, Missing, Package
from ..desiderata import audit
from ..losses import PairObjective
from .compare import SINGLE, Comparison, compare, remembered
from .script import script
from .smallest import extreme, smallest

Row = dict[str, Any]
"""What is found of one loss, as JSON has it."""

QUESTIONS = ("reference_limit", "preservation", "existence", "uniqueness", "conservation", "first_step")
"""The questions of the report card that are asked of a loss: those that cost least."""

EFFORT, SECONDS = 0.1, 60.0
"""How hard a loss that is none of ours is audited, and for how long at most; of what is left then it cannot be told."""


def rows_of(package: Package, done: Callable[[str], None] = lambda name: None, card: bool = True) -> list[Row]:
    """The rows of an installed package.

    Args:
        done: called with each loss's name once it has its row.
        card: whether an implementation that is none of ours, and is not explained, is audited itself.

    Raises:
        Missing: the package is not installed.
    """
    if package.version is None:
        raise Missing(f"{package.name} is not installed")
    found = []
    for one in package.losses.values():
        found.append(row(one, package, card))
        done(one.name)
    return found


def row(one: Implementation, package: Package, card: bool = True) -> Row:
    """What is found of one loss."""
    head = {
        "package": package.name,
        "version": package.version,
        "name": one.name,
        "title": one.title,
        "where": one.where,
        "ours": str(one.ours),
    }
    try:
        loss = remembered(one)
        found = compare(one, loss)
        pairs = [] if one.by_batch else _pairs(one, loss, found)
    except Exception as error:  # an adapter that no longer fits what is installed: the row says so
        return {**head, "relation": "cannot be run", "why": " ".join(f"{type(error).__name__}: {error}".split())}
    own = {
        "relation": found.relation,
        "loss": found.loss,
        "how": found.how,
        "error": _number(found.error),
        "slope_error": _number(found.slope_error),
        "explained": _number(found.explained),
        "note": one.note if found.relation != "equal" or found.loss != str(one.ours) else "",
        "pairs": [{key: _number(value) for key, value in pair.items()} for pair in pairs],
        "script": script(one, package, pairs, in_words(found, one.note, pairs)) if pairs else "",
    }
    if card and found.relation == "differs" and not is_explained(own):
        own["card"] = verdicts(one.loss(1.0), SECONDS)
    return {**head, **own}


def is_explained(row: Row) -> bool:
    """Whether a loss written here from the adapter's words agrees with the implementation."""
    return row.get("explained") is not None and float(row["explained"]) <= SINGLE


def _pairs(one: Implementation, loss: PairObjective, found: Comparison) -> list[dict[str, Any]]:
    """The smallest pair on which it differs from ours, and an extreme one."""
    same_name = found.loss == str(one.ours)
    first = None if found.relation == "equal" and same_name else smallest(loss, one.ours.at)
    lam = 1.0 if first is None else first["lam"]
    last = None
    if one.is_exact and found.relation != "differs":
        last = extreme(loss, one.ours.at, lam, same=found.relation in ("equal", "single precision") and same_name)
    return [pair for pair in (first, last) if pair is not None]


def in_words(found: Comparison, note: str, pairs: Iterable[dict[str, Any]]) -> str:
    """How an implementation differs from what it is to be, in one sentence."""
    words = [note] if note and found.relation != "equal" else []
    if found.how:
        words.append(f"{found.loss}, {found.how}")
    if not words and found.relation == "differs":
        words.append(f"not {found.loss}")
    if not words and found.relation == "single precision":
        words.append("single precision")
    if not words and found.relation == "equal" and note:
        words.append(note)
    words += [
        f"{pair['theirs']:.4g} at {pair['at']}, where ours is {pair['ours']:.4g}" for pair in pairs if "at" in pair
    ]
    return "; ".join(words)


def verdicts(loss: PairObjective, seconds: float | None = None) -> dict[str, dict[str, str]]:
    """The row of the report card: verdict and basis by question."""
    card = audit(loss, only=QUESTIONS, effort=EFFORT, time_limit=seconds)
    return {key: {"verdict": found.decision, "basis": found.basis} for key, found in card.verdicts.items()}


def _number(value: Any) -> Any:
    """A number as JSON can have it: not finite ones by name, None for nan where nothing was measured."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
