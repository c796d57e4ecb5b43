"""Names of objectives, for the command line and for loops over all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from .aot import AOT
from .base import Objective
from .binary import BCO, KTO, NCA, SPPO, APODown, APOZero
from .chi_po import ChiPO
from .discopop import DiscoPOP
from .dpo import DPO
from .dpop import DPOP
from .exo import EXO
from .expo import EXPO, ExplicitPO, RegressionEXPO
from .fdpo import FDPO
from .hinge import Hinge, SLiC
from .ipo import IPO
from .likelihood import CPO, ORPO, RPO, SFT, BradleyTerry, SimPO
from .qpo import QPO
from .rlhf import RLHF
from .spo import SPO

CATALOGUE: dict[str, type[Objective]] = {
    cls.name: cls
    for cls in (
        *(RLHF, DPO, IPO, FDPO, QPO, EXPO, RegressionEXPO, ExplicitPO, SPO),
        *(Hinge, SLiC, ChiPO, EXO, DiscoPOP, DPOP, RPO),
        *(SFT, BradleyTerry, CPO, SimPO, ORPO),
        *(KTO, APOZero, APODown, BCO, NCA, SPPO, AOT),
    )
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
