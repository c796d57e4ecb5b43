"""What the inspection of a loss found, kept where it is the same each time: each audit and comparison asks for it."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from types import NoneType
from typing import Any

from ...divergences import Divergence
from ...losses import Objective
from .soundness import Inspection, inspect

PLAIN = (bool, int, float, str, NoneType)


def inspected(objective: Objective) -> Inspection:
    """`inspect`, once in a process for a loss of the package with given options; each time for any other loss."""
    options = [getattr(objective, field.name) for field in fields(objective)]
    same = _is_ours(objective) and all(
        isinstance(option, PLAIN) or (isinstance(option, Divergence) and _is_ours(option)) for option in options
    )
    return _remembered(objective) if same else inspect(objective)


@lru_cache(maxsize=128)
def _remembered(objective: Objective) -> Inspection:
    return inspect(objective)


def _is_ours(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
