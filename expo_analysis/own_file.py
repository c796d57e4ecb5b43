"""A Python file of the user's, which is run once in a process, and how to load it again in another one."""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from types import ModuleType

_FILES: dict[str, Path] = {}
"""The files that were loaded here, by the names of their modules."""


def load_file(path: str | Path) -> ModuleType:
    """The file as a module; what stands beside it can be imported by it, as if it had been run by python.

    A file of a package (its folder has an ``__init__.py``) can import what is beside it by a dot, too.

    Raises:
        ValueError: naming the file, the line if it is known, and what is wrong.

    Example:
        >>> Exponential = load_file("examples/exponential.py").Exponential  # doctest: +SKIP
    """
    path = Path(path)
    where = path.resolve()
    # a name that no module of another origin has: the file may be called numpy.py, or my-loss.py
    root, package = _package_of(where)
    name = f"{package}{path.stem}_{sha256(str(where).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ValueError(f"{path}: {'it is a directory' if path.is_dir() else 'No such file or directory'}")
    spec = importlib.util.spec_from_file_location(name, where)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: it is not a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    _FILES[name] = where
    sys.path += [folder for folder in dict.fromkeys(map(str, (where.parent, root))) if folder not in sys.path]
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no part of what a command prints
            spec.loader.exec_module(module)
    except (Exception, SystemExit, GeneratorExit) as error:
        del sys.modules[name], _FILES[name]
        line = _line(error, where)
        at = "" if line is None else f" in line {line}"
        raise ValueError(f"{path}: importing it failed{at}: {in_words(error)}") from error
    return module


def _package_of(file: Path) -> tuple[Path, str]:
    """The folder that the file's package is imported from, and the package's name with a dot; empty for none."""
    parts: list[str] = []
    root = file.parent
    while root.name.isidentifier() and (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    return root, "".join(f"{part}." for part in parts)


def own_modules() -> list[str]:
    """The names of the modules that own files were loaded as."""
    return list(_FILES)


def import_lines(module: str, name: str) -> list[str] | None:
    """Python that imports a name of a module in a fresh interpreter, whatever folder that runs in.

    A module of an own file is loaded by its path. Any other is imported, once the folder that it was found in is on the
    path, where that is none of the folders for installed packages. None: the module is a script or a notebook, from
    which nothing can be imported, or has no such name.
    """
    if module in _FILES:
        return [
            "from expo_analysis.own_file import load_file",
            f"{name} = load_file({str(_FILES[module])!r}).{name}",
        ]
    if module in ("__main__", "__mp_main__") or not hasattr(sys.modules.get(module), name):
        return None
    line = f"from {module} import {name}"
    top = module.split(".")[0]
    folder = None if top == __name__.split(".")[0] else _folder_of(top)
    if folder is None or any(folder.is_relative_to(installed) for installed in _installed()):
        return [line]
    return ["import sys", f"sys.path.append({str(folder)!r})", line]


def _installed() -> list[Path]:
    """The folders that every interpreter of this environment imports from."""
    found = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [Path(path).resolve() for path in (*found, site.getusersitepackages())]


def _folder_of(module: str) -> Path | None:
    """The folder that a top-level module or package was found in."""
    found = sys.modules.get(module)
    file, folders = getattr(found, "__file__", None), list(getattr(found, "__path__", ()))
    if folders:
        return Path(folders[0]).resolve().parent
    return None if file is None else Path(file).resolve().parent


def in_own_file(error: BaseException) -> str | None:
    """The own file and its line that an exception came through, and the exception as one line; None for none."""
    for path in _FILES.values():
        line = _line(error, path)
        if line is not None:
            return f"{path.name}, line {line}: {in_words(error)}"
    return None


def _line(error: BaseException, path: Path) -> int | None:
    """Where in the file it happened, as far as that is known."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


LONGEST = 500
"""So many characters of an exception's message are told."""


def in_words(error: BaseException) -> str:
    """An exception as one line: its type and message, or as much of it as a reader wants."""
    try:
        text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    except Exception:  # a class of somebody's own whose message raises
        text = ""
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
