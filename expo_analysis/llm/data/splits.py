"""Training and evaluation data of a recipe: one data set or a mixture of several, split, shortened and prepared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import IterableDataset

from ..._errors import did_you_mean
from ...losses.base import check_whole
from .columns import named, parse_columns, require
from .preference_data import PreferenceData
from .preparation import prepare
from .readers import concatenated, read_files, read_split, read_splits, some_rows
from .table import ORIGIN, as_json_text

FORMATS = ("json", "csv", "parquet")
"""Names by which `datasets` calls files of these kinds, which are given apart from them."""


@dataclass(frozen=True)
class DataRecipe:
    """Where pairs come from.

    name, config        a data set as in `read_splits`; None where there is a mixture
    mixture             data sets as TRL's DatasetConfig: path, name, data_dir, data_files, split, columns, fraction
    train_split, test_split   of the data set; a part of one is written as ``"train[:1000]"``
    test_split_size     share of the training data that becomes the evaluation data; None leaves it whole
    evaluated           whether there is to be an evaluation
    columns             which column is what, as in `parse_columns`
    max_train_rows      only the first of the training data; None takes all
    preparation         as in `prepare`; None takes the rows as they are
    streaming           read them as they are used
    seed                of what is random in splitting and preparing
    """

    name: str | None = None
    config: str | None = None
    mixture: Sequence[Any] = ()
    train_split: str = "train"
    test_split: str = "test"
    test_split_size: float | None = None
    evaluated: bool = False
    columns: str | None = None
    max_train_rows: int | None = None
    preparation: str | None = None
    streaming: bool = False
    seed: int = 0


def load_pairs(recipe: DataRecipe, say: Callable[[str], None]) -> tuple[Any, Any]:
    """The rows to train on, and those to evaluate on or None.

    Args:
        say: told in a line what was left out.

    Raises:
        OSError, ValueError: naming the file or setting that is wrong.
    """
    if bool(recipe.mixture) == (recipe.name is not None):
        raise ValueError("give either dataset_name or datasets")
    if recipe.streaming and recipe.preparation is not None:
        raise ValueError("preparation is not used for streams: give the prepared rows, or no streaming")
    train, test = (None if part is None else _named(part, recipe) for part in _splits(recipe))
    if recipe.max_train_rows is not None:
        check_whole("max_train_rows", recipe.max_train_rows, 1)
        train = some_rows(train, recipe.max_train_rows)
    if recipe.preparation is None:
        return train, test
    prepared = []
    for name, part in (("train", train), ("evaluation", test)):
        if part is not None:
            part, skipped = prepare(recipe.preparation, part, recipe.seed)
            for reason, places in skipped.items():
                say(f"{len(places)} rows of the {name} data are skipped: {reason} (first: {places[0]})")
        prepared.append(part)
    return prepared[0], prepared[1]


def _named(rows: Any, recipe: DataRecipe) -> Any:
    if recipe.columns is None:
        return rows
    rows, _ = as_json_text(rows)
    return named(rows, parse_columns(recipe.columns), recipe.name or "datasets", PreferenceData.columns_of(rows))


def _splits(recipe: DataRecipe) -> tuple[Any, Any]:
    names: list[str] = []
    if recipe.mixture:
        train, test = read_mixture(recipe.mixture, recipe.streaming), None
    else:
        assert recipe.name is not None
        splits = read_splits(recipe.name, recipe.config, recipe.streaming)
        if recipe.train_split.partition("[")[0] not in splits:
            meant = did_you_mean(recipe.train_split, splits)
            raise ValueError(f"dataset_train_split must be one of {sorted(splits)}, got {recipe.train_split!r}{meant}")
        train, names = read_split(recipe.name, recipe.train_split, splits=splits), sorted(splits)
        tested = recipe.evaluated and recipe.test_split.partition("[")[0] in splits
        test = read_split(recipe.name, recipe.test_split, splits=splits) if tested else None
    if recipe.test_split_size is not None:
        if not 0 < recipe.test_split_size < 1:
            raise ValueError(
                f"test_split_size must be a number between 0 and 1, got {recipe.test_split_size}: it is the share of "
                "the training data that is set aside"
            )
        if isinstance(train, IterableDataset):
            raise ValueError("test_split_size is not used for streams, whose length is not known")
        parts = train.train_test_split(test_size=recipe.test_split_size, seed=recipe.seed)
        train, test = parts["train"], parts["test"]
    if not recipe.evaluated:
        return train, None
    if test is None:
        of = f" to one of {names}" if len(names) > 1 else ""
        what = f"the data have no split {recipe.test_split!r}; set test_split_size, or dataset_test_split{of}"
        raise ValueError(f"an evaluation is asked for by eval_strategy, but {what}")
    return train, test


def read_mixture(entries: Sequence[Any], streaming: bool) -> Any:
    """Several data sets one after the other, each with the share of rows that its ``fraction`` says, as in TRL.

    Raises:
        OSError, ValueError: naming the data set and what is wrong.
    """
    parts = [_entry(entry, streaming) for entry in entries]
    fractions = [entry.fraction for entry in entries if entry.fraction is not None]
    if fractions:
        if len(fractions) < len(parts) or streaming or not all(fraction > 0 for fraction in fractions):
            raise ValueError("fraction must be a positive number for every one of datasets, and is not for streams")
        shares = [fraction / sum(fractions) for fraction in fractions]
        total = min(len(part) / share for part, share in zip(parts, shares, strict=True))
        parts = [some_rows(part, round(share * total)) for part, share in zip(parts, shares, strict=True)]
    return concatenated(parts)


def _entry(entry: Any, streaming: bool) -> Any:
    if entry.data_files is not None:
        if entry.path not in FORMATS:
            raise ValueError(f"data_files must be left out for {entry.path!r}: name the files as path")
        files = entry.data_files.get(entry.split, []) if isinstance(entry.data_files, dict) else entry.data_files
        paths = [Path(file) for file in ([files] if isinstance(files, str) else files)]
        found = read_files([one for path in paths for one in _glob(path)], streaming)
    else:
        path = entry.path if entry.data_dir is None else str(Path(entry.path) / entry.data_dir)
        found = read_split(path, entry.split, config=entry.name, streaming=streaming)
    return found if entry.columns is None else _only(found, entry.columns, entry.path)


def _glob(path: Path) -> list[Path]:
    found = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    for file in found or [path]:
        if not file.is_file():
            raise ValueError(f"{file}: No such file")
    return found


def _only(data: Any, columns: Sequence[str], name: str) -> Any:
    require(name, PreferenceData.columns_of(data), columns)
    return data.select_columns([*columns, ORIGIN])
