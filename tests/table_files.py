"""Tables written as files of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

Write = Callable[[str, pd.DataFrame], Path]


def as_csv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False)


def as_tsv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False, sep="\t")


def as_json(path: Path, frame: pd.DataFrame) -> None:
    frame.to_json(path, orient="records")


def as_lines(path: Path, frame: pd.DataFrame) -> None:
    frame.to_json(path, orient="records", lines=True)


def as_parquet(path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(path)


FORMATS: dict[str, tuple[Callable[[Path, pd.DataFrame], None], int]] = {
    ".csv": (as_csv, 2),
    ".csv.gz": (as_csv, 2),
    ".tsv": (as_tsv, 2),
    ".tsv.gz": (as_tsv, 2),
    ".json": (as_json, 1),
    ".json.gz": (as_json, 1),
    ".jsonl": (as_lines, 1),
    ".jsonl.gz": (as_lines, 1),
    ".parquet": (as_parquet, 1),
}
"""How pandas writes each (compressed by the name's ending), and the number of its first row."""


def writer(folder: Path) -> Write:
    """A function that writes a frame into a folder, as the file's name says."""

    def write(name: str, frame: pd.DataFrame) -> Path:
        path = folder / name
        FORMATS[name[name.index(".") :]][0](path, frame)
        return path

    return write


def frame(header: str, *rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=header.split(","))
