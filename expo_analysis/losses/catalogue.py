"""Names of objectives, for the command line and for loops over all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from .base import Objective
from .dpo import DPO
from .expo import EXPO, ExplicitPO, RegressionEXPO
from .fdpo import FDPO
from .ipo import IPO
from .qpo import QPO
from .rlhf import RLHF

CATALOGUE: dict[str, type[Objective]] = {
    cls.name: cls for cls in (RLHF, DPO, IPO, FDPO, QPO, EXPO, RegressionEXPO, ExplicitPO)
}


def objective(name: str, lam: float, **options: Any) -> Objective:
    """The objective called ``name`` in `CATALOGUE`, with its own options.

    Raises:
        ValueError: unknown name, or an option that this objective does not have.
    """
    if name not in CATALOGUE:
        raise ValueError(f"objective must be one of {sorted(CATALOGUE)}, got {name!r}")
    cls = CATALOGUE[name]
    accepted = [field.name for field in dataclasses.fields(cls) if field.name != "lam"]
    for option in options:
        if option not in accepted:
            raise ValueError(f"{option} is not an option of {name!r}; accepted: {accepted or 'none'}")
    return cls(lam, **options)
