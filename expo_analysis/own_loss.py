"""A loss by what users call it: its name in the catalogue, ``FILE.py:NAME`` or ``MODULE:NAME`` for one of their own."""

from __future__ import annotations

import copyreg
import dataclasses
import importlib
import inspect
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .losses import Objective, objective
from .own_file import in_words, load_file

if TYPE_CHECKING:
    from .losses.from_function import FunctionLoss


def make_loss(
    text: str, lam: float | None = None, default: float = 1.0, *, beta_name: str | None = None, **options: Any
) -> Objective:
    """The loss that ``text`` names, ready to be sent to other processes.

    Args:
        text: a name of `CATALOGUE`, or ``FILE.py:NAME`` or ``MODULE:NAME``, where NAME is a subclass of
            `PairObjective`, an instance of one, or a function or class that `from_function` takes.
        lam: the trade-off parameter; if None, that of an instance, and ``default`` for a class and for a name.
        beta_name: what a function calls lambda, see `from_function`.
        **options: fields of the loss besides ``lam``, or further arguments of a function.

    Raises:
        ValueError: naming the loss, or the file and what is wrong with it, whatever it is.

    Example:
        >>> make_loss("dpo", 0.1, label_smoothing=0.2)
        DPO(lam=0.1, label_smoothing=0.2, robust=False)
    """
    if ":" not in text:
        if text.endswith(".py"):
            raise ValueError(f"{text} must be followed by a colon and the name of a class in it, as {text}:MyLoss")
        if beta_name is not None:
            raise ValueError(f"beta_name is not used for {text}, which is a loss of the catalogue")
        return objective(text, default if lam is None else lam, **options)
    file, _, name = text.rpartition(":")
    found: Any = _named(file, name)
    if not isinstance(found, Objective) and not (isinstance(found, type) and issubclass(found, Objective)):
        return _of_function(text, found, default if lam is None else lam, beta_name, options)
    if beta_name is not None:
        raise ValueError(f"beta_name is not used for {text}, which is a loss with a lambda of its own")
    cls: type[Any] = found if isinstance(found, type) else type(found)
    accepted = [field.name for field in dataclasses.fields(cls) if field.init and field.name != "lam"]
    for option in options:
        if option not in accepted:
            raise ValueError(f"{option} is not an option of {text!r}; accepted: {accepted or 'none'}")
    try:
        if isinstance(found, type):
            lam = default if lam is None else lam
            return found(lam, **options)
        return dataclasses.replace(found, **({} if lam is None else {"lam": lam}), **options)
    except Exception as error:
        with_lam = "" if lam is None else f" with lam={lam}"
        raise ValueError(f"{text}: it cannot be made{with_lam}: {in_words(error)}") from error


def _of_function(
    text: str, found: Callable[..., Any], lam: float, beta_name: str | None, options: dict[str, Any]
) -> FunctionLoss:
    """The loss that a function of a file or module is, which other processes can load again."""
    from .losses.from_function import FunctionLoss, from_function

    copyreg.pickle(FunctionLoss, _reduced)
    try:
        made = from_function(found, lam, beta_name=beta_name, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text}: it is not a loss: {error}") from error
    file, _, name = text.rpartition(":")
    source = f"{Path(file).resolve()}:{name}" if file.endswith(".py") else text
    call = dataclasses.replace(made.call, source=source)
    return dataclasses.replace(made, call=call, title=name.rpartition(".")[2])


def _reduced(loss: FunctionLoss) -> Any:
    """For pickle: by its source, where it has one; otherwise as any other."""
    if not loss.call.source:
        return loss.__reduce_ex__(2)
    return _again, (loss.call.source, loss.lam, loss.call.beta, dict(loss.call.options))


def _again(source: str, lam: Any, beta_name: str, options: dict[str, Any]) -> Objective:
    return make_loss(source, 1.0, beta_name=beta_name, **options).with_lam(lam)


def _module(file: str) -> ModuleType:
    """The file, run once in a process, or the module of this name."""
    if file.endswith(".py") or Path(file).exists():
        return load_file(file)
    try:
        return importlib.import_module(file)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file}: importing it failed: {in_words(error)}; for a file write FILE.py:NAME") from error


def _named(file: str, name: str) -> Any:
    """The loss, the class of losses or the function that a file or a module has under this name."""
    module = _module(file)
    try:
        found: Any = reduce(getattr, name.split("."), module)
    except AttributeError:
        found = None
    if not callable(found) and not isinstance(found, Objective):
        named = vars(module).items()
        own = [key for key, value in named if _is_own(value, module.__name__)]
        functions = [k for k, v in named if inspect.isfunction(v) and v.__module__ == module.__name__ and k[0] != "_"]
        has = f"its losses: {', '.join(own)}" if own else f"its functions: {', '.join(functions[:10]) or 'none'}"
        raise ValueError(f"{file}: it has no class or function {name!r}; {has}")
    cls: type[Any] = found if isinstance(found, type) else type(found)
    if not issubclass(cls, Objective):
        return found
    if not isinstance(getattr(cls, "name", None), str):
        cls.name = cls.__name__
    if file.endswith(".py") and cls.__module__ == module.__name__ and getattr(module, cls.__name__, None) is cls:
        # Other processes know nothing of the file: an instance takes with it where its class comes from.
        where = str(Path(file).resolve())
        copyreg.pickle(cls, lambda loss: (_blank, (where, cls.__name__), loss.__reduce_ex__(2)[2]))
    return found


def _is_own(value: Any, module: str) -> bool:
    if isinstance(value, type):
        return issubclass(value, Objective) and value.__module__ == module
    return isinstance(value, Objective)


def _blank(file: str, name: str) -> Objective:
    """An instance whose fields are still to be set, for pickle."""
    cls: type[Objective] = _named(file, name)
    return cls.__new__(cls)
