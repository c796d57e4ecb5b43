"""Python that builds a loss again: for the counterexamples that a report prints."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..losses import Objective
from ..own_file import import_lines
from .subject import Unclaimed


def written(objective: Objective) -> tuple[str, str]:
    """Python that builds the loss at a lambda named ``lam``, and the imports that it needs."""
    imports = ["import numpy as np", "import expo_analysis as ea"]
    if isinstance(objective, Unclaimed):
        inner = _python(objective.of, imports)
        imports.append(f"from {Unclaimed.__module__} import Unclaimed")
        alone = ", one_lambda_at_a_time=True" if objective.one_lambda_at_a_time else ""
        return f"Unclaimed(lam, {inner}{alone})", "\n".join(imports)
    return _python(objective, imports), "\n".join(imports)


def _python(value: Any, imports: list[str], name: str = "loss") -> str:
    """Python for a value called ``name``, in which objectives have ``lam``; what it needs is added to ``imports``."""
    if callable(value) and not isinstance(value, Objective) and not dataclasses.is_dataclass(value):
        return _function(value, imports, name)
    if not dataclasses.is_dataclass(value):
        return repr(value)
    cls = type(value)
    options = []
    for field in dataclasses.fields(value):
        option = getattr(value, field.name)
        if isinstance(value, Objective) and field.name == "lam":
            options.append("lam")
        elif not _is_default(field, option):
            options.append(f"{field.name}={_python(option, imports, field.name)}")
    if getattr(sys.modules[__name__.split(".")[0]], cls.__name__, None) is cls:
        return f"ea.{cls.__name__}({', '.join(options)})"
    _add(imports, import_lines(cls.__module__, cls.__name__))
    return f"{cls.__name__}({', '.join(options)})"


def _function(value: Any, imports: list[str], name: str) -> str:
    """A name for a function: its own, if it can be imported by it, else ``name``, with room to put the function."""
    own, home = str(getattr(value, "__qualname__", "")), getattr(value, "__module__", None)
    if getattr(torch, own.split(".")[-1], None) is value:
        lines, name = ["import torch"], f"torch.{own.split('.')[-1]}"
    elif home and home != "__main__" and getattr(sys.modules.get(home), own, None) is value:
        lines, name = import_lines(home, own), own
    else:
        code = getattr(value, "__code__", None)
        where = f" of line {code.co_firstlineno} of {Path(code.co_filename).name}" if code else ""
        lines = [f"{name} = ...  # put the function{where} here: it has no name to import it by"]
    _add(imports, lines)
    return name


def _add(imports: list[str], lines: list[str]) -> None:
    """Lines that are not there yet; a path is added before the first module that is found by it."""
    imports += [line for line in lines if line not in imports]


def _is_default(field: Any, value: Any) -> bool:
    return field.default is not dataclasses.MISSING and bool(np.all(value == field.default))
