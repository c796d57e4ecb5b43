"""Getting at a loss of an installed package, with as little of the package as can be.

A package whose import takes a GPU, a compiler or fifty others still has its loss in one file. That file is loaded alone
(`from_file`), or, where it imports too much itself, the definition is compiled alone (`definitions`). What runs is the
code of the installed distribution, untouched, in both cases.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from ..own_file import in_words


class Missing(ValueError):
    """The package, or the file or definition of it that an adapter reads, is not installed."""


def version(package: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return None


def location(package: str, file: str) -> Path:
    """Where a file of a distribution lies.

    Raises:
        Missing: the distribution is not installed, or has no such file.
    """
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        raise Missing(f"{package} is not installed: pip install {package}") from None
    if not path.is_file():
        raise Missing(f"{package} {version(package)} has no file {file}")
    return path


def check_installed(package: str, modules: tuple[str, ...]) -> None:
    """Import what a package's losses need, so that their first call finds it there.

    Raises:
        Missing: the package is not installed, or one of the modules cannot be imported; says with what.
    """
    for module in modules:
        imported(package, module)
    if version(package) is None:
        raise Missing(f"{package} is not installed: pip install {package}")


@cache  # a distribution's version takes longer to look up than most losses to compute
def imported(package: str, module: str) -> ModuleType:
    """A module of a distribution, imported.

    Raises:
        Missing: the distribution is not installed, or its import fails; says with what.
    """
    if version(package) is None:
        raise Missing(f"{package} is not installed: pip install {package}")
    try:
        return importlib.import_module(module)
    except Exception as error:  # a package's import may end in anything
        raise Missing(f"import {module} of {package} {version(package)} fails: {in_words(error)}") from error


@cache
def from_file(package: str, file: str) -> ModuleType:
    """One file of a distribution as a module, without the packages that it lies in.

    Raises:
        Missing: it is not there, or imports what is not installed.
    """
    path = location(package, file)
    name = f"_borrowed_{package}_{file}".replace("-", "_").replace("/", "_").removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules[name]
        raise Missing(f"{file} of {package} cannot be loaded alone: {error}") from error
    return module


def definitions(package: str, file: str, *names: str, **known: Any) -> SimpleNamespace:
    """Functions, classes and constants of a file of a distribution, compiled alone.

    Args:
        names: those wanted, such as ``"dpo_loss"``, or ``"Trainer.dpo_loss"`` for a method, which becomes a function
            of ``self``. They see each other, and ``known``: whatever global names they use, such as ``torch``.
            Decorators are left out.

    Raises:
        Missing: the file is not there, or has no such definition.
    """
    space = dict(known)
    exec(_code(package, file, names), space)
    return SimpleNamespace(**{name.rpartition(".")[2]: space[name.rpartition(".")[2]] for name in names})


@cache
def _code(package: str, file: str, names: tuple[str, ...]) -> CodeType:
    """These definitions of a file, compiled."""
    path = location(package, file)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for name in names:
        node = _find(tree.body, name.split("."))
        if node is None:
            raise Missing(f"{file} of {package} {version(package)} defines no {name}")
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            node.decorator_list = []
        found.append(node)
    flags = annotations.compiler_flag
    return compile(ast.Module(found, []), str(path), "exec", flags=flags, dont_inherit=True)


def _find(body: list[ast.stmt], path: list[str]) -> Any:
    """The definition of a dotted name in these statements; None where there is none."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == path[0]:
            if len(path) == 1:
                return node
            return _find(node.body, path[1:])
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if len(path) == 1 and any(isinstance(one, ast.Name) and one.id == path[0] for one in targets):
            return node
    return None
