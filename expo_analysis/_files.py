"""Files that are written whole or not at all, and the directories for them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def from_home(name: str | os.PathLike[str]) -> Path:
    """The path of a name that may begin with ``~``; where there is no such user, the name as it is."""
    return Path(os.path.expanduser(name))


def made(directory: Path) -> Path:
    """The directory, made if it does not exist."""
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"directory must be a directory or a new name, got the file {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def writable(directory: Path) -> Path:
    """The directory, made if missing; files can be written there.

    Raises:
        OSError: naming the directory, if they cannot.
    """
    made(directory)
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(directory)) from None
    return directory


def replace(path: Path, content: bytes) -> Path:
    """Replace a file when its successor is complete; returns its path.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return path
