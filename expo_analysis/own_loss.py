"""A loss by what users call it: its name in the catalogue, or ``FILE.py:NAME`` for one of their own."""

from __future__ import annotations

import copyreg
import dataclasses
from pathlib import Path
from typing import Any

from .losses import Objective, objective
from .own_file import in_words, load_file


def make_loss(text: str, lam: float | None = None, default: float = 1.0, **options: Any) -> Objective:
    """The loss that ``text`` names, ready to be sent to other processes.

    Args:
        text: a name of `CATALOGUE`, or ``FILE.py:NAME``, where NAME is a subclass of `PairObjective` or an instance
            of one.
        lam: the trade-off parameter; if None, that of an instance, and ``default`` for a class and for a name.
        **options: fields of the loss besides ``lam``.

    Raises:
        ValueError: naming the loss, or the file and what is wrong with it, whatever it is.

    Example:
        >>> make_loss("dpo", 0.1, label_smoothing=0.2)
        DPO(lam=0.1, label_smoothing=0.2, robust=False)
    """
    if ":" not in text:
        if text.endswith(".py"):
            raise ValueError(f"{text} must be followed by a colon and the name of a class in it, as {text}:MyLoss")
        return objective(text, default if lam is None else lam, **options)
    file, _, name = text.rpartition(":")
    found = _named(file, name)
    cls = found if isinstance(found, type) else type(found)
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


def _named(file: str, name: str) -> type[Objective] | Objective:
    """The loss or the class of losses that a file, which is run once in a process, has under this name."""
    module = load_file(file)
    found = getattr(module, name, None)
    if not isinstance(found, Objective) and not isinstance(found, type):
        own = [key for key, value in vars(module).items() if _is_own(value, module.__name__)]
        raise ValueError(f"{file}: it has no class {name!r}; its losses: {', '.join(own) or 'none'}")
    cls = found if isinstance(found, type) else type(found)
    if not issubclass(cls, Objective):
        raise ValueError(f"{file}:{name}: it is not a loss; a loss is a subclass of PairObjective")
    if not isinstance(getattr(cls, "name", None), str):
        cls.name = cls.__name__
    if cls.__module__ == module.__name__ and getattr(module, cls.__name__, None) is cls:
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
    cls = _named(file, name)
    assert isinstance(cls, type)
    return cls.__new__(cls)
