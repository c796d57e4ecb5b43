"""Where the log of a run is, and how it is read: trainer_state.json, JSON, JSON lines, CSV, TensorBoard's events."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .beside import settings_beside, settings_of
from .log import Log, Series, collect

STATE = "trainer_state.json"
EVENTS = "events.out.tfevents"
ACCEPTED = (
    f"{STATE}, a .json, .jsonl or .csv file of log entries, TensorBoard's event files, or a folder of one of these"
)


def read_log(path: str | Path) -> Log:
    """Read the log of a training run, of this package's trainer, TRL's or another one.

    Args:
        path: ``trainer_state.json``; a ``.json`` or ``.jsonl`` file of entries; a ``.csv`` or ``.tsv`` file with a row
            for each; a file of TensorBoard's events; or a folder, whose newest state counts, in it or in its
            checkpoints, and else what else there is of these.

    Returns:
        The series under TRL's names, and the settings that lie beside it: ``training_args.bin`` is not opened.

    Raises:
        FileNotFoundError: there is no such file. ValueError: naming the file, what is wrong with it, and what is read.

    Example:
        >>> read_log("run/trainer_state.json").train["loss"].first  # doctest: +SKIP
        0.6931
    """
    given = Path(path).expanduser()
    if not given.exists():
        raise FileNotFoundError(2, "there is no such file or folder", str(path))
    file = given if given.is_file() else _in_folder(given)
    folder = given if given.is_dir() else file.parent
    settings = settings_beside(folder)
    if file.name.startswith(EVENTS):
        found, epochs, more = _events(file)
    else:
        entries, more = _entries(file)
        found, epochs = collect(entries)
    if "train" not in found and not any(kind.startswith("evaluation") for kind in found):
        raise ValueError(f"{file}: it has no loss, rewards or log-probabilities; what is read: {ACCEPTED}")
    evaluation, remarks = _one_evaluation(found)
    return Log(str(file), found.get("train", {}), evaluation, {**settings, **more}, remarks, epochs)


def _one_evaluation(found: Mapping[str, dict[str, Series]]) -> tuple[dict[str, Series], tuple[str, ...]]:
    """The series of the evaluation, the first of several, and what is to be said of the others."""
    kinds = sorted(kind for kind in found if kind.startswith("evaluation"))
    if not kinds:
        return {}, ()
    others = ", ".join(kind.removeprefix("evaluation ") for kind in kinds[1:])
    said = (f"several evaluation sets: {kinds[0].removeprefix('evaluation ')} is read, {others} not",) if others else ()
    return found[kinds[0]], said


def _in_folder(folder: Path) -> Path:
    """The log of a folder.

    Raises:
        ValueError: where there is none, or where there are several and nothing says which.
    """
    states = [path for path in (folder / STATE, *folder.glob(f"checkpoint-*/{STATE}")) if path.is_file()]
    if states:
        return max(states, key=lambda path: (_steps_of(path), path.parent == folder))
    events = [path for path in folder.rglob(f"{EVENTS}*") if path.is_file()]
    if events:
        return max(events, key=lambda path: (path.stat().st_mtime, path.name))
    tables = sorted(path for end in ("jsonl", "csv", "tsv") for path in folder.glob(f"*.{end}"))
    if len(tables) == 1:
        return tables[0]
    what = f"several tables, {', '.join(path.name for path in tables)}: name one" if tables else "no log"
    raise ValueError(f"{folder}: it has {what}; what is read: {ACCEPTED}")


def _steps_of(path: Path) -> int:
    """How many steps a state is of, -1 for one that cannot be read: it was being written."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8")).get("global_step", 0))
    except (OSError, ValueError, AttributeError, TypeError):
        return -1


def _entries(file: Path) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """The entries of a file of text, and the settings that it has itself.

    Raises:
        ValueError: naming the file, and the line where there is one, that cannot be read.
    """
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix in (".csv", ".tsv"):
        return list(csv.DictReader(text.splitlines(), delimiter="\t" if file.suffix == ".tsv" else ",")), {}
    if file.suffix == ".jsonl":
        return list(_lines(file, text)), {}
    if file.suffix != ".json":
        raise ValueError(f"{file}: it is no log; what is read: {ACCEPTED}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file}: it is no JSON, or is cut off ({error}); what is read: {ACCEPTED}") from None
    entries = found.get("log_history") if isinstance(found, dict) else found
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file}: it has no log_history and is no list of entries; what is read: {ACCEPTED}")
    return entries, settings_of(found) if isinstance(found, dict) else {}


def _lines(file: Path, text: str) -> Iterator[Mapping[str, Any]]:
    lines = [(row, line) for row, line in enumerate(text.splitlines(), 1) if line.strip()]
    for row, line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            if row == lines[-1][0] and row > 1:
                return  # it is being written
            raise ValueError(f"{file}, line {row}: it is no JSON; a log in .jsonl has one entry a line") from None
        if not isinstance(entry, dict):
            raise ValueError(f'{file}, line {row}: it is no entry such as {{"step": 1, "loss": 0.69}}, got {line!r}')
        yield entry


def _events(file: Path) -> tuple[dict[str, dict[str, Series]], float | None, dict[str, Any]]:
    """Series, last epoch and settings of a file of TensorBoard's.

    Raises:
        ValueError: where TensorBoard is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise ValueError(
            f"{file}: TensorBoard's files are read by its own package: pip install tensorboard, or give another log"
        ) from None
    events = EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    entries = [{"step": point.step, tag: point.value} for tag in tags["scalars"] for point in events.Scalars(tag)]
    found, _ = collect(entries)
    epoch = [point.value for tag in tags["scalars"] if tag.endswith("epoch") for point in events.Scalars(tag)]
    settings: dict[str, Any] = {}
    if "args/text_summary" in tags["tensors"]:  # transformers writes the arguments of a trainer there
        text = events.Tensors("args/text_summary")[0].tensor_proto.string_val[0].decode("utf-8", "replace")
        with contextlib.suppress(ValueError):
            settings = settings_of(json.loads(text))
    return found, max(epoch, default=None), settings
