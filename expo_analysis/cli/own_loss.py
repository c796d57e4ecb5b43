"""A user's own loss, loaded from FILE.py:CLASS."""

from __future__ import annotations

import copyreg
import dataclasses
from pathlib import Path
from typing import Any

from ..losses import Objective
from .own_file import in_words, own_module


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
        raise ValueError(f"{text}: it cannot be made with lam=1.0: {in_words(error)}") from error


def _class(file: str, name: str) -> type[Objective]:
    """The class of a file, which is run once in a process."""
    module = own_module(Path(file))
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
