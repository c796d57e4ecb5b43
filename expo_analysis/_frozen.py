"""Objects that never change: the one place where the fields of a frozen dataclass are set."""

from __future__ import annotations

from typing import Any

import numpy as np


def set_fields(instance: Any, **values: Any) -> None:
    """Set fields of an object whose constructor has converted and checked them; its arrays become read-only.

    Only a constructor calls this (``__init__`` or ``__post_init__``), on the object that it makes.
    """
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(instance, name, value)
