"""A user's own loss, loaded from FILE.py:CLASS."""

from __future__ import annotations

import copyreg
import dataclasses
import importlib.util
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from ..losses import Objective


def own_loss(text: str, options: dict[str, Any]) -> Objective:
    """The loss that ``FILE.py:CLASS`` names, at lambda 1, ready to be sent to other processes.

    Raises:
        ValueError: naming the file or class and what is wrong with it, whatever it is.
    """
    file, _, name = text.rpartition(":")
    cls = _class(file, name)
    accepted = [field.name for field in dataclasses.fields(cls) if field.init and field.name != "lam"]
    for option in options:
        if option not in accepted:
            raise ValueError(f"{option} is not an option of {text!r}; accepted: {accepted or 'none'}")
    try:
        return cls(1.0, **options)
    except Exception as error:
        raise ValueError(f"{text}: it cannot be made with lam=1.0: {_in_words(error)}") from error


def _class(file: str, name: str) -> type[Objective]:
    """The class of a file, which is run once in a process."""
    module = _module(Path(file))
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        own = [key for key, value in vars(module).items() if _is_loss(value) and value.__module__ == module.__name__]
        raise ValueError(f"{file}: it has no class {name!r}; its losses: {', '.join(own) or 'none'}")
    if not _is_loss(cls):
        raise ValueError(f"{file}:{name}: it is not a loss; a loss is a subclass of PairObjective")
    where = str(Path(file).resolve())
    # Other processes know nothing of the file: an instance takes with it where its class comes from.
    copyreg.pickle(cls, lambda loss: (_blank, (where, name), loss.__reduce_ex__(2)[2]))
    return cls


def _is_loss(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Objective)


def _blank(file: str, name: str) -> Objective:
    """An instance whose fields are still to be set, for pickle."""
    cls = _class(file, name)
    return cls.__new__(cls)


def _module(path: Path) -> ModuleType:
    """The file as a module; what stands beside it can be imported by it, as if it had been run by python."""
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
        raise ValueError(f"{path}: importing it failed{_at_line(error, where)}: {_in_words(error)}") from error
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


def _in_words(error: BaseException) -> str:
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
