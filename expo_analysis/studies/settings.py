"""What the settings of all studies have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .._checks import check_number, check_whole
from .._errors import did_you_mean


@dataclass(frozen=True)
class Settings:
    """What may be changed of a study: each study's own are a frozen dataclass that inherits from this one.

    Numbers are to be positive, and counts whole.

    Raises:
        ValueError: naming the setting, and what is accepted.

    Example:
        >>> @dataclass(frozen=True)
        ... class Own(Settings):
        ...     problems: int = 50
        >>> changed(Own(), {"problems": "7"})
        Own(problems=7)
    """

    def __post_init__(self) -> None:
        for own in dataclasses.fields(self):
            value = getattr(self, own.name)
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, float):
                    check_number(own.name, one, 0.0)
                elif not isinstance(one, bool | str):
                    check_whole(own.name, one, 1)


def changed(settings: Any, changes: dict[str, str]) -> Any:
    """Settings with some of them changed, as they are written on a command line.

    A switch is ``true`` or ``false``, and what there are several of is separated by commas.

    Raises:
        ValueError: there is no such setting, or it does not accept the value.
    """
    names = [own.name for own in dataclasses.fields(settings)]
    for name in changes:
        if name not in names:
            had = f"the settings are {', '.join(names)}" if names else "there are none"
            raise ValueError(f"{name!r} is no setting{did_you_mean(name, names)}; {had}")
    values = {name: _value(name, text, getattr(settings, name)) for name, text in changes.items()}
    return dataclasses.replace(settings, **values)


def read_changes(written: Iterable[str]) -> dict[str, str]:
    """Settings by name, from ``NAME=VALUE``.

    Raises:
        ValueError: one is written in another way.
    """
    found: dict[str, str] = {}
    for one in written:
        name, equals, value = one.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise ValueError(f"a setting must be written as NAME=VALUE, got {one!r}")
        found[name.strip()] = value.strip()
    return found


def _value(name: str, text: str, default: Any) -> Any:
    """What is written, of the kind of the default."""
    if isinstance(default, tuple):
        return tuple(_value(name, one.strip(), default[0]) for one in text.split(","))
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, got {text!r}")
        return text == "true"
    try:
        return type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{name} must be {kind}, got {text!r}") from None
