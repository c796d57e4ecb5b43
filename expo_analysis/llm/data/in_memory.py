"""Data that Python programs have at hand, as rows: a DataFrame, a table of Arrow's, a mapping of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset

from .arrow import with_known_types
from .columns import NAMED
from .table import rows_of_columns

SEQUENCES = (list, tuple, np.ndarray, pd.Series)


def as_rows(given: Any, name: str) -> Any:
    """Rows, where data have another form; everything else as it is.

    Args:
        given: a DataFrame, of which the index is left out and what is missing is None; a `pyarrow.Table`; a mapping of
            columns (see `are_columns`).
        name: what the data set is called in messages.

    Raises:
        ValueError: for columns of several lengths, and for a column that stands twice.

    Example:
        >>> as_rows({"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"]}, "train_dataset")[1]
        {'prompt': 'b', 'chosen': 'd', 'rejected': 'f'}
    """
    if isinstance(given, pa.Table):
        return Dataset(with_known_types(given))
    if isinstance(given, pd.DataFrame):
        twice = given.columns[given.columns.duplicated()]
        if len(twice):
            raise ValueError(f"{name}: the column {twice[0]!r} stands twice")
    elif not are_columns(given):
        return given
    return rows_of_columns(name, {column: [_plain(value) for value in values] for column, values in given.items()})


def are_columns(given: Any) -> bool:
    """Whether something is a mapping of columns, and neither a row nor several data sets, which are lists of rows."""
    if not isinstance(given, Mapping) or not given or not all(isinstance(own, SEQUENCES) for own in given.values()):
        return False
    parts = [part for values in given.values() for part in values]
    if not parts:
        return bool({*NAMED} & given.keys())
    return not all(isinstance(part, Mapping) and not {"role", "from"} & part.keys() for part in parts)


def _plain(value: Any) -> Any:
    """A cell without the types of numpy and pandas."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    value = value.item() if isinstance(value, np.generic) else value
    return None if value is pd.NA or value is pd.NaT or value != value else value
