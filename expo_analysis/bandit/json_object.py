"""A JSON object that holds a bandit: its keys are the arguments of `Bandit` and its constructors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .bandit import Bandit
from .formats import Number, kind_of
from .ragged import RaggedBandit

NAMES = {"responses": "responses", "prompts": "prompt_names"}
"""Keys that hold names, and the arguments that they are."""

COMMON = ("prompt_weights", "responses", "prompts", "rewards", "lengths")
KINDS = {
    "optimal": ("pairs",),
    "counts": ("ties",),
    "preference": ("pairs",),
    "liked": ("disliked",),
    "rankings": ("sets", "weights", "ranking_prompts"),
    "triples": ("weights", "triple_prompts"),
    "rewards": (),
}
"""Where preferences come from, the first of these keys that is there, and the keys that may stand beside it."""

LISTS = {"rankings": "rankings", "sets": "sets", "triples": "triples"}
LISTS |= {"ranking_prompts": "prompts", "triple_prompts": "prompts"}
"""Keys that hold names or numbers of responses and prompts, and the arguments that they are."""

MAKE: dict[str, Callable[..., Bandit]] = {
    "optimal": Bandit,
    "counts": Bandit.from_counts,
    "preference": Bandit.from_preferences,
    "liked": Bandit.from_labels,
    "rankings": Bandit.from_rankings,
    "triples": Bandit.from_triples,
    "rewards": Bandit.from_scores,
}


def from_object(path: Path, data: dict[str, Any]) -> Bandit | RaggedBandit:
    """The bandit; ragged where prompts have different numbers of responses.

    Raises:
        ValueError: naming the file and the key.
    """
    stated = [key for key in KINDS if key in data]
    kind = next((key for key in stated if key not in ("optimal", "rewards")), stated[0] if stated else "optimal")
    accepted = {"reference", kind, *KINDS[kind], *COMMON}
    for key in data:
        if key not in accepted:
            beside = f" beside {kind}" if kind in data else ""
            raise ValueError(f"{path}: unknown key {key!r}{beside}; accepted: {sorted(accepted)}")
    for key in (kind, "reference", *(("disliked",) if kind == "liked" else ())):
        if key not in data:
            also = " (or counts)" if key == "optimal" else ""
            raise ValueError(f"{path}: the key {key!r}{also} is missing")
    given = {}
    for key, value in data.items():
        if key in NAMES:
            given[NAMES[key]] = _names(path, key, value)
        elif key in LISTS:
            given[LISTS[key]] = _labels(path, key, value, key in ("ranking_prompts", "triple_prompts"))
        elif isinstance(value, str) and not isinstance(value, Number) and key in ("pairs", "reference"):
            given[key] = value
        else:
            given[key] = numbers(path, key, value)
    rows = given["reference"]
    sizes = {len(row) for row in rows if isinstance(row, list)} if isinstance(rows, list) else set()
    try:
        if len(sizes) > 1 or any(isinstance(item, list) for item in given.get("responses", [])):
            return _ragged(kind, given)
        if given["reference"] == "uniform" or isinstance(rows, list):
            return MAKE[kind](**given)
        raise ValueError(f"reference must be an array of numbers or 'uniform', got {rows!r}")
    except ValueError as error:
        raise ValueError(f"{path}: {_by_key(kind, str(error))}") from None


def _by_key(kind: str, message: str) -> str:
    """A message of `Bandit` with the keys of the file for its arguments."""
    if kind in ("rankings", "triples"):
        message = re.sub("^prompts must", f"{kind[:-1]}_prompts must", message)
    return re.sub(r"\bprompt_names\b", "prompts", message)


def _ragged(kind: str, given: dict[str, Any]) -> RaggedBandit:
    """A part for each prompt: every value but a word is an array over prompts."""
    prompts = len(given["reference"])
    weights = given.pop("prompt_weights", None)
    for key, value in given.items():
        if isinstance(value, list) and len(value) != prompts:
            raise ValueError(f"{key} must have an entry for each of {prompts} prompts, got {len(value)}")
    named = given.pop("prompt_names", [str(x) for x in range(prompts)])
    responses = given.pop("responses", [None] * prompts)
    for x, row in enumerate(given["reference"]):
        if not isinstance(row, list) or len(row) < 2:
            raise ValueError(
                f"reference must be an array of numbers with two responses or more on every prompt, got {row} on "
                f"prompt {named[x]!r}"
            )
    parts = []
    for x in range(prompts):
        own = {key: value if isinstance(value, str) else [value[x]] for key, value in given.items()}
        try:
            parts.append(MAKE[kind](**own, responses=responses[x], prompt_names=[named[x]]))
        except ValueError as error:
            raise ValueError(f"prompt {named[x]!r}: {error}") from None
    return RaggedBandit(parts, weights)


def numbers(path: Path, key: str, value: Any) -> Any:
    """An array of numbers, of any depth; numpy would take ``"0.4"`` and ``true`` for some."""
    if not isinstance(value, list):
        raise ValueError(f"{path}: {key} must be an array of numbers, got {kind_of(value)}")

    def converted(item: Any, *at: int) -> Any:
        if isinstance(item, list):
            return [converted(part, *at, k) for k, part in enumerate(item)]
        if isinstance(item, Number):
            return float(item)
        if item is None and key == "rewards":
            return np.nan
        raise ValueError(f"{path}: {key} must be an array of numbers, but holds {kind_of(item)} at {_index(at)}")

    return converted(value)


def _index(at: tuple[int, ...]) -> str:
    return f"index {at[0] if len(at) == 1 else at}"


def _names(path: Path, key: str, value: Any) -> Any:
    """Texts, or an array of them for each prompt; numbers are taken as they are written."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [str(item) for item in value]
    if key == "responses" and isinstance(value, list) and all(isinstance(item, list) for item in value):
        return [_names(path, key, item) for item in value]
    if isinstance(value, list):
        k, item = next((k, item) for k, item in enumerate(value) if not isinstance(item, str))
        raise ValueError(f"{path}: {key} must be an array of names, but holds {kind_of(item)} at {_index((k,))}")
    raise ValueError(f"{path}: {key} must be an array of names, got {kind_of(value)}")


def _labels(path: Path, key: str, value: Any, flat: bool) -> Any:
    """Names or numbers, or lists of them; of rankings also lists in these, which are ties."""

    def one(item: Any, *at: int) -> Any:
        if isinstance(item, Number) and str(item).isdecimal():
            return int(item)
        if isinstance(item, str) and not isinstance(item, Number):
            return str(item)
        if isinstance(item, list) and key == "rankings" and len(at) == 2:
            return [one(part, *at, k) for k, part in enumerate(item)]
        what = "prompts" if flat else "responses"
        raise ValueError(
            f"{path}: {key} must hold names of {what}, or numbers from 0 on, but holds {kind_of(item)} at {_index(at)}"
        )

    rows = value if isinstance(value, list) else [value]
    if flat:
        return [one(item, k) for k, item in enumerate(rows)]
    for k, row in enumerate(rows):
        if not isinstance(row, list):
            raise ValueError(f"{path}: {key} must be an array of arrays, but entry {k} is {kind_of(row)}")
    return [[one(item, k, j) for j, item in enumerate(row)] for k, row in enumerate(rows)]
