"""Reading the features of log-linear policies from a file, for the prompts and responses of a bandit.

A JSON object is ``{"features": [[...]]}``: shape (n, d), or (prompts, n, d); (n, d) beside several prompts is the same
on every prompt. ``"base"``, logits at w = 0 of the shape of the reference, may be there too.

A table (see `formats`) has a column ``response``, for several prompts also ``prompt``, and every other column is a
feature: one row for each prompt and response. Without ``prompt`` features are the same on every prompt. Labels are
those of the bandit's file, or indices where that has none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import as_floats
from .._types import Floats
from .files import NamedBandit
from .formats import ENDINGS, ending, read_json, read_rows, records
from .json_object import numbers
from .labels import listed
from .rows import Rows, positions

__all__ = ["NamedFeatures", "read_features"]


@dataclass(frozen=True, eq=False)
class NamedFeatures:
    """The ``features`` and ``base`` of `solve`, and the names of the parameters; None where a file gives none."""

    features: Floats
    base: Floats | None = None
    parameters: tuple[str, ...] | None = None


def read_features(path: str | os.PathLike[str], bandit: NamedBandit) -> NamedFeatures:
    """The features in a file; the module's docstring gives the formats.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and the key, or column and row, that is wrong.
    """
    path = Path(path)
    if ending(path) is None:
        raise ValueError(f"{path}: the name of a file of features must end in one of {listed(ENDINGS)}")
    if ending(path) != ".json":
        return _from_table(read_rows(path), bandit)
    value = read_json(path)
    return _from_object(path, value) if isinstance(value, dict) else _from_table(records(path, value), bandit)


def _from_object(path: Path, data: dict[str, Any]) -> NamedFeatures:
    for key in data:
        if key not in ("features", "base"):
            raise ValueError(f"{path}: unknown key {key!r}; accepted: ['base', 'features']")
    if "features" not in data:
        raise ValueError(f"{path}: the key 'features' is missing")
    try:
        arrays = {key: as_floats(key, numbers(path, key, value)) for key, value in data.items()}
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    return NamedFeatures(arrays["features"], arrays.get("base"))


def _from_table(rows: Rows, named: NamedBandit) -> NamedFeatures:
    bandit = named.bandit
    if "prompt" in rows and bandit.prompts is None:
        raise rows.error("the column 'prompt' is not used, as the bandit has one prompt")
    labels = ["prompt", "response"] if "prompt" in rows else ["response"]
    if "response" not in rows:
        raise rows.error(f"the column 'response' is missing; the header has {listed(rows.columns)}")
    parameters = [column for column in rows.columns if column not in labels]
    if not parameters:
        raise rows.error(f"there is no feature: every column beside {listed(labels)} is one")
    known = {"prompt": _known(named.prompts, bandit.prompts or 1), "response": _known(named.responses, bandit.n)}
    where = []
    for column in labels:
        where.append(positions(rows[column], known[column]))
        rows.refuse(where[-1] < 0, f"{column} must be one of {listed(known[column])}, as in the bandit", column)
    rows.check_distinct(labels)
    values = np.full((*(len(known[column]) for column in labels), len(parameters)), np.nan)
    values[tuple(where)] = np.stack([rows.numbers(parameter) for parameter in parameters], axis=-1)
    missing = np.argwhere(np.isnan(values[..., 0]))
    if len(missing):
        first = ", ".join(f"{column} {known[column][k]!r}" for column, k in zip(labels, missing[0], strict=True))
        raise rows.error(f"there is no row for {first}")
    return NamedFeatures(values, None, tuple(parameters))


def _known(names: Any, count: int) -> list[str]:
    return [str(name) for name in (range(count) if names is None else names)]
