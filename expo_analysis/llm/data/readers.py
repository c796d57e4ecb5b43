"""Where data come from: files, folders of files, folders that `datasets` saved, the Hub; whole, or as streams.

Every row keeps the place that it comes from, in the column `table.ORIGIN`, whatever is done to the data set.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import (
    Dataset,
    DatasetDict,
    IterableDataset,
    ReadInstruction,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from ..._errors import did_you_mean
from ..._files import from_home
from .arrow import with_known_types
from .files import READERS, format_of, read_file
from .report import Place
from .table import ORIGIN, origin, origin_in, python_rows, to_dataset, with_origin

Splits = dict[str, Any]
"""`Dataset` or `IterableDataset` by the name of the split."""

SPLIT_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
"""What words in the name of a file say about its split."""

SECONDS = 10
"""How long the Hub may take to say whether it has a data set."""


def read_splits(name: str | os.PathLike[str], config: str | None = None, streaming: bool = False) -> Splits:
    """The splits of a data set.

    What exists is never looked up on the Hub. A file is one split, ``"train"``. The files of a folder belong to the
    splits that their names say (``train``, ``test``, ``validation`` and the like), and to ``"train"`` where none does;
    ``train_prefs`` and ``train_sft`` are two splits, and where there is one of them alone it is ``"train"`` as well.

    Args:
        name: a file, a folder of files, a folder that `datasets` saved, or a data set of the Hub.
        config: which configuration of a data set of the Hub.
        streaming: give `IterableDataset`, which is read as it is used.

    Raises:
        OSError: a file cannot be read.
        ValueError: naming the file, with line and column where there are any, or the name that is no data.
    """
    path = from_home(name)
    if path.exists():
        if config is not None:
            raise ValueError(f"dataset_config is not used for files and folders; got {config!r} for {str(name)!r}")
        if path.is_file():
            return {"train": read_files([path], streaming)}
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            return _saved(path, streaming)
        found, other_names = _folder(path)
        splits = {split: read_files(files, streaming) for split, files in found.items()}
        return splits | {name: splits[split] for name, split in other_names.items()}
    _check_hub_name(str(name), path)
    return _hub(str(name), config, streaming)


def read_split(name: str | os.PathLike[str], split: str = "train", splits: Splits | None = None, **options: Any) -> Any:
    """One split of a data set, or the part of it that `datasets` writes as ``"train[:1000]"`` or ``"train[10%:]"``.

    Args:
        splits: what `read_splits` found; None reads it.

    Other arguments and errors are those of `read_splits`.
    """
    splits = read_splits(name, **options) if splits is None else splits
    whole = split.partition("[")[0]
    if whole not in splits:
        raise ValueError(f"{name}: it has no split {whole!r}, only {sorted(splits)}{did_you_mean(whole, splits)}")
    if whole == split:
        return splits[split]
    if isinstance(splits[whole], IterableDataset):
        raise ValueError(f"{name}: {split!r} is a part of a split, which a stream does not have")
    try:
        (part,) = ReadInstruction.from_spec(split).to_absolute({whole: len(splits[whole])})
    except (AssertionError, ValueError) as error:
        raise ValueError(f"{name}: {split!r} is no part of a split: {error}") from None
    return splits[whole].select(range(part.from_, part.to))


def some_rows(rows: Any, count: int) -> Any:
    """The first ``count`` rows, or all where there are fewer."""
    return rows.take(count) if isinstance(rows, IterableDataset) else rows.select(range(min(count, len(rows))))


def read_files(files: Sequence[Path], streaming: bool) -> Any:
    """The rows of files, one after the other; each row's number is that in its own file."""
    if streaming:
        for file in files:
            next(read_file(file))  # what cannot be read at all is said at once
        return IterableDataset.from_generator(_stream, gen_kwargs={"files": [str(file) for file in files]})
    return concatenated([_read(file) for file in files])


def _stream(files: list[str]) -> Iterator[dict[str, Any]]:
    for file in files:
        for number, (row, line) in enumerate(read_file(Path(file))):
            yield row | {ORIGIN: origin(Place(number, file, line))}


def _read(file: Path) -> Dataset:
    if format_of(file) == ".parquet":
        try:
            table = pq.read_table(file)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file}: it is not a parquet file: {error}") from None
        if not len(table):
            raise ValueError(f"{file}: it has no rows")
        return with_origin(Dataset(with_known_types(table)), str(file))
    rows, places = [], []
    for number, (row, line) in enumerate(read_file(file)):
        rows.append(row)
        places.append(Place(number, str(file), line))
    return to_dataset(rows, places)


def concatenated(parts: Sequence[Any]) -> Any:
    """Data sets one after the other; what a column lacks in one of them is None."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, Dataset) for part in parts) and any(part.features != parts[0].features for part in parts):
        return to_dataset(row for part in parts for row in python_rows(part))
    return concatenate_datasets(list(parts))


def _saved(folder: Path, streaming: bool) -> Splits:
    try:
        found = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ValueError(f"{folder}: it is not a whole data set of `datasets`: {error}") from None
    splits = found if isinstance(found, DatasetDict) else {"train": found}
    several = len(splits) > 1
    marked = {
        split: data
        if len(data) and origin_in(data[0])
        else with_origin(data, f"{folder}[{split}]" if several else f"{folder}")
        for split, data in splits.items()
    }
    return {split: data.to_iterable_dataset() if streaming else data for split, data in marked.items()}


def _folder(folder: Path) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """The data files of a folder by split, and further names of splits."""
    found = sorted(
        file
        for file in folder.rglob("*")
        if format_of(file) is not None and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    names = set(found)
    files = [file for file in found if not _belongs_to_another(file, names)]
    if not files:
        raise ValueError(f"{folder}: the folder has no data file, whose name ends in one of {', '.join(READERS)}")
    said = {file: _split_of(file.relative_to(folder)) for file in files}
    silent = [file for file, split in said.items() if split is None]
    if silent and "train" in said.values():
        raise ValueError(f"{silent[0]}: its name says no split, while those of other files in {folder} say train")
    kinds: dict[str, dict[str, list[Path]]] = {}
    for file, split in said.items():
        whole = _whole_name(file.relative_to(folder))
        kinds.setdefault(split or "train", {}).setdefault(whole or split or "train", []).append(file)
    splits: dict[str, list[Path]] = {}
    other_names: dict[str, str] = {}
    for split, parts in kinds.items():
        if len(parts) == 1:
            splits[split] = next(iter(parts.values()))
            other_names |= {name: split for name in parts if name != split}
        else:
            splits |= parts
    return splits, other_names


def _belongs_to_another(file: Path, files: set[Path]) -> bool:
    """Whether a file describes a data set, as `datasets` and ``expo-analysis preferences`` write them."""
    if file.name in ("dataset_info.json", "dataset_infos.json", "state.json"):
        return True
    for ending in (".settings.json", ".responses.jsonl"):
        if file.name.endswith(ending):
            stem = file.with_name(file.name.removesuffix(ending))
            return bool({Path(f"{stem}{suffix}") for suffix in READERS} & files)
    return False


def _split_of(path: Path) -> str | None:
    words = re.split(r"[^a-z]+", str(path).lower())
    return next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), None)


def _whole_name(path: Path) -> str | None:
    """A name that says more than which split, such as ``train_prefs`` of train_prefs-00000-of-00001.parquet."""
    names = re.findall(r"[a-z]+(?:_[a-z]+)+", str(path).lower())
    return next((name for name in reversed(names) if name.split("_")[0] in SPLIT_WORDS), None)


# ----------------------------------------------------------------------------------------------------------------- Hub

HUB_NAME = re.compile(r"[\w][\w.-]{0,95}(/[\w][\w.-]{0,95})?")


def _check_hub_name(name: str, path: Path) -> None:
    """Raise for what cannot be a data set of the Hub: a file or folder that does not exist."""
    is_path = path.is_absolute() or name.startswith((".", "~")) or "\\" in name or format_of(path) is not None
    if is_path or not HUB_NAME.fullmatch(name):
        raise ValueError(f"{name}: No such file or folder{_close_to(path)}")


def _close_to(path: Path) -> str:
    try:
        others = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return f": there is no folder {str(path.parent)!r}"
    close = [other for other in others if other.startswith(f"{path.name}.") and format_of(Path(other))]
    close += difflib.get_close_matches(path.name, others, n=1, cutoff=0.75)
    return f"; is {close[0]!r} meant?" if close else ""


def _hub(name: str, config: str | None, streaming: bool) -> Splits:
    _ask_hub(name)
    try:
        found = load_dataset(name, name=config, streaming=streaming)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: the data set of the Hub cannot be read: {error}") from None
    if streaming:
        return {split: data.map(_Numbered(f"{name}[{split}]"), with_indices=True) for split, data in found.items()}
    return {split: with_origin(data, f"{name}[{split}]") for split, data in found.items()}


class _Numbered:
    """Adds the column `ORIGIN` to a stream."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self, row: dict[str, Any], number: int) -> dict[str, Any]:
        return {ORIGIN: origin(Place(number, self.file))}


def _ask_hub(name: str) -> None:
    """Raise where the Hub has no data set of this name, or cannot be asked and none is kept from earlier.

    `load_dataset` would try for half a minute, and not say that no such file exists.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    hint = _close_to(Path(name))
    try:
        HfApi().dataset_info(name, timeout=SECONDS)
    except GatedRepoError:
        raise ValueError(f"{name}: the data set must be asked for on the Hub, and `hf auth login` be run") from None
    except RepositoryNotFoundError:
        raise ValueError(f"{name}: neither a file or folder here, nor a data set of the Hub{hint}") from None
    except (
        Exception
    ):  # offline, no name service, a timeout: each release has other names for what its HTTP library raises
        if not _is_cached(name):
            raise ValueError(f"{name}: no such file or folder here, and the Hub cannot be reached{hint}") from None


def _is_cached(name: str) -> bool:
    from datasets.config import HF_DATASETS_CACHE

    return (Path(HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()
