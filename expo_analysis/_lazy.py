"""A package's names, imported when they are first asked for.

The names stand once, in the package's stub ``__init__.pyi``, which type checkers read too. Three forms are understood:

    from .room import Name as Name      a name of one module
    from . import room as room          a module
    from .room import *                 all of a module's ``__all__``, looked up in it when nothing else has the name
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def attach(
    package: str, stub: Path, not_in_all: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``; the first also knows its ``__all__``.

    Args:
        package: its ``__name__``.
        stub: the path of its stub.
        not_in_all: names that ``from package import *`` leaves out, as they need more than is always installed.
    """
    home, rooms = _read(stub)

    def public() -> set[str]:
        return {*home, *(name for room in rooms for name in import_module(room, package).__all__)}

    def value_of(name: str) -> Any:
        if name == "__all__":
            return sorted(public() - set(not_in_all))
        if name in home:
            module, attribute = home[name]
            found = import_module(module, package)
            return found if attribute is None else getattr(found, attribute)
        if not name.startswith("_"):
            if find_spec(f"{package}.{name}") is not None:  # any other module of the package
                return import_module(f"{package}.{name}")
            for room in rooms:
                found = import_module(room, package)
                if name in found.__all__:
                    return getattr(found, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])

    def __getattr__(name: str) -> Any:
        value = sys.modules[package].__dict__[name] = value_of(name)  # asked for once
        return value

    def __dir__() -> list[str]:
        return sorted({*sys.modules[package].__dict__, *public()})

    return __getattr__, __dir__


def _read(stub: Path) -> tuple[dict[str, tuple[str, str | None]], list[str]]:
    """Where each name lives, as (module, attribute), None for the module itself; and the modules with a star."""
    home: dict[str, tuple[str, str | None]] = {}
    rooms = []
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or node.level != 1:
            continue
        for alias in node.names:
            name = alias.asname or alias.name
            if node.module is None:
                home[name] = (f".{alias.name}", None)
            elif name == "*":
                rooms.append(f".{node.module}")
            else:
                home[name] = (f".{node.module}", alias.name)
    return home, rooms
