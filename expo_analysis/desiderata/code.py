"""Python that builds a loss again, in a fresh interpreter and from any folder: for the counterexamples of a report.

What can be imported is imported, from its file where need be; values are written out. For what has no place to be
imported from (a class of a notebook, a lambda) a comment asks, and the code uses its name: pasted into the notebook
that defines it, it runs as it is.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import math
import pathlib
import sys
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from ..losses import Objective
from ..losses.from_function import FunctionLoss
from ..own_file import import_lines, own_modules
from .subject import Unclaimed
from .verdict import DESIDERATA

PACKAGE = __name__.split(".")[0]

PLAIN = (type(None), bool, int, str, bytes, complex, type(...))
"""Types whose ``repr`` is Python; subclasses have another."""

LIBRARIES = {"torch": torch, "torch.nn.functional": torch.nn.functional, "torch.special": torch.special, "np": np}
"""Where functions are looked for that do not know their module, such as torch's own."""


def written(objective: Objective, lam: str = "lam") -> tuple[str, str]:
    """Python that builds the loss at a lambda named ``lam``, or given as other Python, and the imports that it needs.

    Example:
        >>> import expo_analysis as ea
        >>> written(ea.DPO(0.1, label_smoothing=0.2))[0]
        'ea.DPO(lam, label_smoothing=0.2)'
    """
    writer = _Writer(lam)
    expression = writer.objective(objective)
    return expression, "\n".join(["import numpy as np", "import expo_analysis as ea", *writer.lines])


def audit_call(
    objective: Objective, effort: float, seed: int, asked: tuple[str, ...], time_limit: float | None = None
) -> str:
    """The Python that makes the same report card again; options that are the defaults are left out."""
    options = [f"effort={effort!r}"] * (effort != 1) + [f"seed={seed}"] * (seed != 0)
    options += [f"only={list(asked)!r}"] * (asked != tuple(DESIDERATA))
    options += [] if time_limit is None else [f"time_limit={time_limit!r}"]
    try:
        lam = float(objective.lam) if np.ndim(objective.lam) == 0 else 1.0
        loss = written(objective, repr(lam))[0]
    except Exception:  # whatever the attributes of a user's loss raise
        loss = f"{type(objective).__name__}(...)"
    return f"ea.audit({', '.join([loss, *options])})"


class _Writer:
    """Expressions, the lines that they need, and under which names what could not be written is asked for."""

    def __init__(self, lam: str) -> None:
        self.lam = lam
        self.lines: list[str] = []
        self.asked: dict[str, Any] = {}

    def need(self, *lines: str) -> None:
        """Lines that are not there yet; a path is added before the first module that is found by it."""
        self.lines += [line for line in lines if line not in self.lines]

    def ask(self, value: Any, name: str, what: str) -> str:
        """The name under which code uses what it has no Python for; a comment says what to put there."""
        number = 1
        while (unused := name if number == 1 else f"{name}_{number}") in self.asked:
            if self.asked[unused] is value:
                return unused
            number += 1
        self.asked[unused] = value
        self.need(f"# Put the definition of {unused} here: {what}.")
        return unused

    def objective(self, value: Objective) -> str:
        if isinstance(value, Unclaimed):
            inner = self.objective(value.of)
            self.need(f"from {Unclaimed.__module__} import Unclaimed")
            alone = ", one_lambda_at_a_time=True" if value.one_lambda_at_a_time else ""
            return f"Unclaimed({self.lam}, {inner}{alone})"
        if isinstance(value, FunctionLoss):
            return self.of_function(value)
        trial = _Writer(self.lam)
        trial.lines, trial.asked = [*self.lines], dict(self.asked)
        expression = trial.instance(value)
        if len(trial.asked) > len(self.asked) and (place := _home(value)):  # a file has it ready made
            self.need(*place[:-1])
            return f"{place[-1]}.with_lam({self.lam})"
        self.lines, self.asked = trial.lines, trial.asked
        return expression

    def of_function(self, value: FunctionLoss) -> str:
        call = value.call
        options = [f"{name}={self.value(option, name)}" for name, option in call.options.items()]
        options = [f"beta_name={call.beta!r}", *([f"name={value.title!r}"] if value.title else []), *options]
        options += [] if value.regulariser is None else [f"regulariser={self.value(value.regulariser, 'regulariser')}"]
        return f"ea.from_function({self.value(call.f, value.name)}, {', '.join([self.lam, *options])})"

    def value(self, value: Any, name: str) -> str:
        """Python for a value, which is called ``name`` where it has to be asked for."""
        if type(value) in PLAIN:
            return repr(value)
        if type(value) is float:
            return repr(value) if math.isfinite(value) else f'float("{value}")'
        if isinstance(value, np.ndarray | np.generic | torch.Tensor | torch.dtype | torch.device):
            return self.numbers(value, name)
        if isinstance(value, tuple | list | dict | set | frozenset):
            return self.collection(value, name)
        if isinstance(value, enum.Enum):
            return f"{self.named(type(value))}[{value.name!r}]"
        if isinstance(value, type):
            return self.named(value)
        if isinstance(value, Objective):
            return self.objective(value)
        if dataclasses.is_dataclass(value):
            return self.instance(value)
        if isinstance(value, pathlib.PurePath):
            self.need("import pathlib")
            return f"pathlib.{type(value).__name__}({str(value)!r})"
        return self.function(value, name) if callable(value) else self.unknown(value, name)

    def unknown(self, value: Any, name: str) -> str:
        return self.ask(value, name, f"an object of the type {type(value).__qualname__}, for which there is no Python")

    def numbers(self, value: Any, name: str) -> str:
        """Arrays, tensors and their types, with all digits."""
        if isinstance(value, np.generic):
            return f"np.{type(value).__name__}({self.value(value.item(), name)})"
        if isinstance(value, np.ndarray):
            if value.dtype == object:
                return self.unknown(value, name)
            return f"np.array({self.value(value.tolist(), name)}, dtype={value.dtype.name!r})"
        self.need("import torch")
        if isinstance(value, torch.Tensor):
            return f"torch.tensor({self.value(value.tolist(), name)}, dtype={value.dtype})"
        return repr(value) if isinstance(value, torch.dtype) else f"torch.device({str(value)!r})"

    def collection(self, value: Any, name: str) -> str:
        kind = type(value)
        if kind is dict:
            pairs = [f"{self.value(key, name)}: {self.value(item, name)}" for key, item in value.items()]
            return f"{{{', '.join(pairs)}}}"
        if kind not in (tuple, list, set, frozenset):
            if not hasattr(value, "_fields"):  # of a named tuple
                return self.unknown(value, name)
            return f"{self.named(kind)}({', '.join(self.value(item, name) for item in value)})"
        items = ", ".join(self.value(item, name) for item in value)
        if kind is tuple:
            return f"({items},)" if len(value) == 1 else f"({items})"
        return f"[{items}]" if kind is list else f"{kind.__name__}([{items}])"

    def instance(self, value: Any) -> str:
        """A dataclass with the options that are not its defaults."""
        options = []
        for field in dataclasses.fields(value):
            option = getattr(value, field.name)
            if isinstance(value, Objective) and field.name == "lam":
                options.append(self.lam)
            elif field.init and not _is_default(field, option):
                options.append(f"{field.name}={self.value(option, field.name)}")
        return f"{self.named(type(value))}({', '.join(options)})"

    def named(self, cls: type) -> str:
        """A class by its name, which is imported."""
        if getattr(sys.modules[PACKAGE], cls.__name__, None) is cls:
            return f"ea.{cls.__name__}"
        return self.imported(cls) or self.ask(
            cls, cls.__name__, "it was defined in a script, a notebook or a function, and nothing can import it"
        )

    def imported(self, value: Any) -> str | None:
        """The name of a class or function once it is imported; None where it has no place to be imported from."""
        name, home = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
        if not (isinstance(name, str) and isinstance(home, str)) or _attribute(home, name) is not value:
            return None
        lines = import_lines(home, name.split(".")[0])
        if lines is None:
            return None
        self.need(*lines)
        return name

    def function(self, value: Any, name: str) -> str:
        if isinstance(value, functools.partial):
            given = [self.value(item, name) for item in (value.func, *value.args)]
            given += [f"{key}={self.value(item, key)}" for key, item in value.keywords.items()]
            self.need("import functools")
            return f"functools.partial({', '.join(given)})"
        if inspect.ismethod(value):
            return f"{self.value(value.__self__, name)}.{value.__name__}"
        own = str(getattr(value, "__name__", ""))
        for library, module in LIBRARIES.items():
            if getattr(module, own, None) is value:
                self.need(*([] if library == "np" else [f"import {library}"]))
                return f"{library}.{own}"
        if found := self.imported(value):
            return found
        code = getattr(value, "__code__", None)
        if code is None:
            return self.unknown(value, name)
        where = f"line {code.co_firstlineno} of {pathlib.Path(code.co_filename).name}"
        return self.ask(value, name, f"the function of {where}, which has no name to import it by")


def _attribute(module: str, name: str) -> Any:
    """What a dotted name stands for in a module, None where it stands for nothing there."""
    try:
        return attrgetter(name)(sys.modules.get(module))
    except AttributeError:
        return None


def _home(objective: Objective) -> list[str] | None:
    """Where a loss that differs in lambda alone is ready made: the lines that import it, and its name."""
    modules = [type(objective).__module__, *own_modules()]
    for module in [name for name in dict.fromkeys(modules) if name in sys.modules]:
        for name, found in vars(sys.modules[module]).items():
            if type(found) is type(objective) and _differ_in_lambda_alone(found, objective):
                lines = import_lines(module, name)
                return None if lines is None else [*lines, name]
    return None


def _differ_in_lambda_alone(first: Any, second: Any) -> bool:
    names = [field.name for field in dataclasses.fields(first) if field.name != "lam"]
    return all(_same(getattr(first, name), getattr(second, name)) for name in names)


def _same(first: Any, second: Any) -> bool:
    if first is second:
        return True
    try:
        return type(first) is type(second) and bool(np.all(first == second))
    except Exception:  # whatever a user's == raises
        return False


def _is_default(field: Any, value: Any) -> bool:
    return field.default is not dataclasses.MISSING and _same(value, field.default)
