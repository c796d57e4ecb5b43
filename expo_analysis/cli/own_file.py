"""A Python file of the user's, which is run once in a process."""

from __future__ import annotations

import importlib.util
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType


def own_module(path: Path) -> ModuleType:
    """The file as a module; what stands beside it can be imported by it, as if it had been run by python.

    Raises:
        ValueError: naming the file, the line if it is known, and what is wrong.
    """
    where = path.resolve()
    name = f"{path.stem}_{sha256(str(where).encode()).hexdigest()[:8]}"  # no module of another origin is called so
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ValueError(f"{path}: {'it is a directory' if path.is_dir() else 'No such file or directory'}")
    spec = importlib.util.spec_from_file_location(name, where)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: it is not a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    if str(where.parent) not in sys.path:
        sys.path.append(str(where.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path}: importing it failed{_at_line(error, where)}: {in_words(error)}") from error
    return module


def _at_line(error: BaseException, path: Path) -> str:
    """Where in the file it happened, as far as that is known."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" in line {line}"


def in_words(error: BaseException) -> str:
    """An exception as one line: its type and message."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
