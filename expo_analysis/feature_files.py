"""Reading the features of log-linear policies from a JSON or CSV file, for the prompts and responses of a bandit.

JSON holds one object, ``{"features": [[...]]}``: shape (n, d), or (prompts, n, d); (n, d) beside several prompts is the
same on every prompt. ``"base"``, logits at w = 0 of the shape of the reference, may be there too.

CSV has a column ``response``, for several prompts also ``prompt``, and every other column is a feature: one row for
each prompt and response. Without ``prompt`` features are the same on every prompt. Labels are those of the bandit's
file, or indices where that has none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ._checks import as_floats
from ._tables import check_numbers, listed, numbers_of, places_of, read_csv, read_json_object, refuse
from ._types import Floats
from .bandit_files import NamedBandit

__all__ = ["NamedFeatures", "read_features"]


@dataclass(frozen=True, eq=False)
class NamedFeatures:
    """The ``features`` and ``base`` of `solve`, and the names of the parameters; None where a file gives none."""

    features: Floats
    base: Floats | None = None
    parameters: tuple[str, ...] | None = None


def read_features(path: str | os.PathLike[str], bandit: NamedBandit) -> NamedFeatures:
    """The features in a ``.json`` or ``.csv`` file; the module's docstring gives the formats.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and the key, or column and row (the header is row 1), that is wrong.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise ValueError(f"{path}: the name of a file of features must end in .json or .csv")
    return _from_csv(path, read_csv(path), bandit) if suffix == ".csv" else _from_json(path)


def _from_json(path: Path) -> NamedFeatures:
    data = read_json_object(path, "features")
    for key, value in data.items():
        if key not in ("features", "base"):
            raise ValueError(f"{path}: unknown key {key!r}; accepted: ['base', 'features']")
        check_numbers(path, key, value)
    if "features" not in data:
        raise ValueError(f"{path}: the key 'features' is missing")
    try:
        arrays = {key: as_floats(key, value) for key, value in data.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return NamedFeatures(arrays["features"], arrays.get("base"))


def _from_csv(path: Path, table: pd.DataFrame, named: NamedBandit) -> NamedFeatures:
    if "response" not in table:
        raise ValueError(f"{path}: the column 'response' is missing; the header has {listed(table.columns)}")
    bandit, columns = named.bandit, [column for column in ("prompt", "response") if column in table]
    if "prompt" in table and bandit.prompts is None:
        raise ValueError(f"{path}: the column 'prompt' is not used, as the bandit has one prompt")
    parameters = [column for column in table.columns if column not in columns]
    if not parameters:
        raise ValueError(f"{path}: there is no feature: every column beside {listed(columns)} is one")
    known = {"prompt": _known(named.prompts, bandit.prompts or 1), "response": _known(named.responses, bandit.n)}
    where = []
    for column in columns:
        where.append(places_of(table[column], known[column]))
        allowed = f"{column} must be one of {listed(known[column])}, as in the bandit"
        refuse(path, table, where[-1] < 0, allowed, column)
    refuse(path, table, table.duplicated(columns), f"a row with this {', '.join(columns)} came before")
    values = np.full((*(len(known[column]) for column in columns), len(parameters)), np.nan)
    values[tuple(where)] = np.stack([numbers_of(path, table, parameter) for parameter in parameters], axis=-1)
    missing = np.argwhere(np.isnan(values[..., 0]))
    if len(missing):
        first = ", ".join(f"{column} {known[column][k]!r}" for column, k in zip(columns, missing[0], strict=True))
        raise ValueError(f"{path}: there is no row for {first}")
    return NamedFeatures(values, None, tuple(parameters))


def _known(names: tuple[str, ...] | None, count: int) -> list[str]:
    return [str(k) for k in range(count)] if names is None else list(names)
