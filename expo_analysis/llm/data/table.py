"""Rows of Python objects as a `datasets.Dataset` and back, without a change: no type is guessed, and none converted.

Text stays text, whatever it looks like. A column whose values Arrow would make equal to each other (numbers beside
text, mappings with different keys) is kept as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, Json, List, Value
from datasets.features.features import generate_from_arrow_type

from .report import Place

ORIGIN = "__origin__"
"""The column that says where a row comes from, whatever is done to the data set: see `ORIGIN_FEATURES`."""

ORIGIN_FEATURES = {
    "file": Value("string"),
    "row": Value("int64"),
    "line": Value("int64"),
    "field": Value("string"),
    "problem": Value("string"),
}
"""File, number of the row in it, and line, where it has one; and what made a field unreadable."""

EXACT = 2**53
"""Integers up to here are floats as well."""


def to_dataset(rows: Iterable[Mapping[str, Any]], places: Iterable[Place] | None = None) -> Dataset:
    """A data set with these rows; what a row lacks is None.

    Half surrogates, which are no text, are replaced, and named in the column `ORIGIN` as a problem of their row.

    Args:
        rows: mappings of names to values as JSON has them.
        places: where each row comes from, for the column `ORIGIN`; None takes what the rows have as that.
    """
    records = list(rows)
    names = list(dict.fromkeys(name for record in records for name in record if name != ORIGIN))
    broken: dict[int, tuple[str, str]] = {}
    columns: dict[str, pa.Array] = {}
    features: dict[str, Any] = {}
    for name in names:
        broken_name = "it must be text" if not isinstance(name, str) else half_surrogate(name)
        if broken_name is not None:
            row = next(row for row, record in enumerate(records) if name in record)
            raise ValueError(f"row {row}: the key {name!r} is no text: {broken_name}")
        values = [record.get(name) for record in records]
        features[name], columns[name] = _column(name, values, broken)
    if places is not None:
        origins: list[Any] = [origin(place) for place in places]
    else:
        origins = [origin_in(record) or (origin(Place(row)) if broken else None) for row, record in enumerate(records)]
    if any(origins):
        for row, (field, problem) in broken.items():
            origins[row] = origins[row] | {"field": field, "problem": problem}
        features[ORIGIN] = ORIGIN_FEATURES
        columns[ORIGIN] = pa.array(origins, _arrow(ORIGIN_FEATURES))
    schema = Features(features)
    table = pa.Table.from_arrays(list(columns.values()), schema=schema.arrow_schema)
    return Dataset(table, info=DatasetInfo(features=schema))


def _arrow(feature: Any) -> pa.DataType:
    return Features({"x": feature}).arrow_schema.field("x").type


def origin(place: Place) -> dict[str, Any]:
    """A value of the column `ORIGIN`, for a row that can be read."""
    return {"file": place.file, "row": place.row, "line": place.line, "field": None, "problem": None}


def origin_in(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a row has in the column `ORIGIN`; None where that is nothing, or a column of the user's of that name."""
    value = row.get(ORIGIN)
    return value if isinstance(value, Mapping) and value.keys() == ORIGIN_FEATURES.keys() else None


def place_of(value: Mapping[str, Any]) -> Place:
    """What a value of the column `ORIGIN` says."""
    return Place(value["row"], value["file"] or "", value["line"])


def with_origin(dataset: Dataset, file: str) -> Dataset:
    """A data set, with each row's number in the column `ORIGIN`, whatever it had there."""
    dataset = dataset.remove_columns([ORIGIN]) if ORIGIN in dataset.column_names else dataset
    origins = [origin(Place(row, file)) for row in range(len(dataset))]
    return dataset.add_column(ORIGIN, pa.array(origins, _arrow(ORIGIN_FEATURES)))


def as_json_text(dataset: Any) -> tuple[Any, list[str]]:
    """A data set whose JSON columns are undecoded, and their names; decoded by `datasets`, numbers are rounded."""
    names = [name for name, feature in (dataset.features or {}).items() if isinstance(feature, Json)]
    for name in names:
        dataset = dataset.cast_column(name, Json(decode=False))
    return dataset, names


def python_rows(dataset: Dataset) -> Iterable[dict[str, Any]]:
    """The rows of a data set as they were given to `to_dataset`, with the column `ORIGIN`."""
    undecoded, names = as_json_text(dataset)
    for row in undecoded:
        yield row | {name: None if row[name] is None else json.loads(row[name]) for name in names}


def rows_of_columns(name: str, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of columns; raises ValueError, which begins with ``name``, where their lengths differ."""
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name}: its columns must have one length; they have {lengths}")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def column_of_values(name: str, values: Sequence[Any]) -> pa.Array:
    """Values as `to_dataset` would keep them; errors are those of `to_dataset`."""
    return _column(name, values, {})[1]


def _column(name: str, values: Sequence[Any], broken: dict[int, tuple[str, str]]) -> tuple[Any, pa.Array]:
    feature = feature_of(values)
    if feature is None:  # dates and the like, which JSON has not
        try:
            array = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"the column {name!r} has values of types that do not go together: {error}") from None
        return generate_from_arrow_type(array.type), array
    try:
        return feature, _array(feature, values)
    except TypeError as error:
        raise ValueError(f"the column {name!r} has a value that is no JSON: {error}") from None
    except UnicodeEncodeError:
        for row, value in enumerate(values):
            at = half_surrogate(value)
            if at is not None:
                broken.setdefault(row, (name, at))
        return feature, _array(feature, [without_halves(value) for value in values])


def _array(feature: Any, values: Sequence[Any]) -> pa.Array:
    if isinstance(feature, Json):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
        return pa.array(texts, pa.string()).cast(pa.json_())
    return pa.array(values, _arrow(feature))


def feature_of(values: Sequence[Any]) -> Any:
    """The type of a column: that of its values, JSON where these have several, None where JSON has not theirs."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds <= {str, bool, int, float, list, dict}:
        return None
    if not kinds or kinds == {str}:
        return Value("string")
    if kinds == {bool}:
        return Value("bool")
    if kinds == {int}:
        return Value("int64") if all(-(2**63) <= v < 2**63 for v in values if v is not None) else Json()
    if kinds <= {int, float}:
        exact = all(isinstance(v, float) or abs(v) <= EXACT for v in values if v is not None)
        return Value("float64") if exact else Json()
    if kinds == {list}:
        inner = [part for value in values if value is not None for part in value]
        if inner and all(isinstance(part, dict) for part in inner):
            plain = all(part.keys() == {"role", "content"} and _all_text(part.values()) for part in inner)
            return List({"role": Value("string"), "content": Value("string")}) if plain else Json()
        same = len({type(part) for part in inner}) <= 1  # Arrow would make integers beside fractions fractions
        feature = feature_of(inner) if same and None not in inner else Json()
        return Json() if feature is None or isinstance(feature, Json) else List(feature)
    return Json()


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def half_surrogate(value: Any) -> str | None:
    """Where a value has half of a surrogate pair, in words; None where it has none."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return (
                f"its character {error.start + 1} is half of a surrogate pair, \\u{ord(value[error.start]):04x}, and "
                "no text"
            )
        return None
    if isinstance(value, Mapping):
        key = next((key for key in value if isinstance(key, str) and half_surrogate(key) is not None), None)
        if key is not None:
            return f"the key {key!r} is no text: {half_surrogate(key)}"
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return next((found for found in map(half_surrogate, parts) if found is not None), None)


def without_halves(value: Any) -> Any:
    """A value whose half surrogates are replaced by the sign for what cannot be shown."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {without_halves(key): without_halves(part) for key, part in value.items()}
    return [without_halves(part) for part in value] if isinstance(value, list) else value
