"""What the assertions take: an objective, its name, or a function."""

from __future__ import annotations

from typing import Any

from ..losses import Objective
from ..losses.from_function import from_function
from ..own_loss import make_loss


def as_loss(loss: Any, **options: Any) -> Objective:
    """The loss that is meant.

    Args:
        loss: an objective; a name in the catalogue; ``FILE.py:NAME`` or ``MODULE:NAME``; a subclass of
            `PairObjective`; or a function or class that `from_function` takes.
        **options: as of the class, or of `from_function`.
    """
    if isinstance(loss, Objective):
        return loss
    if isinstance(loss, str):
        return make_loss(loss, **options)
    if isinstance(loss, type) and issubclass(loss, Objective):
        return loss(1.0, **options)
    return from_function(loss, **options)
