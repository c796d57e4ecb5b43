"""Every loss of the package, one family a file, and their names for the command line and for loops over all."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..._checks import check_option
from ..base import Objective
from .aot import AOT
from .binary import BCO, KTO, NCA, SPPO, APODown, APOZero
from .dpo import DPO, PRO, AuxDPO, CalDPO, DPOShift, LengthNormalisedDPO, PessimisticDPO
from .dpop import DPOP
from .expo import EXPO, SPO, ExplicitPO, RegressionEXPO
from .fdpo import FDPO, ChiPO
from .hinge import Hinge, SLiC
from .ipo import IPO
from .likelihood import CPO, ORPO, RPO, SFT, AlphaPO, BradleyTerry, SimPER, SimPO
from .listwise import PlackettLuce, PlackettLuceDPO, PlackettLuceEXPO
from .nonconvex import EXO, DiscoPOP
from .qpo import QPO
from .rewards import MADPO, ODPO, REBEL, RewardAwarePO, RewardDistillation
from .rlhf import RLHF
from .scored import QRPO, AStarPO
from .triples import TPO, WRPO

__all__ = [
    "AOT",
    "BCO",
    "CATALOGUE",
    "CPO",
    "DPO",
    "DPOP",
    "EXO",
    "EXPO",
    "FDPO",
    "IPO",
    "KTO",
    "MADPO",
    "NCA",
    "ODPO",
    "ORPO",
    "PRO",
    "QPO",
    "QRPO",
    "REBEL",
    "RLHF",
    "RPO",
    "SFT",
    "SPO",
    "SPPO",
    "TPO",
    "WRPO",
    "APODown",
    "APOZero",
    "AStarPO",
    "AlphaPO",
    "AuxDPO",
    "BradleyTerry",
    "CalDPO",
    "ChiPO",
    "DPOShift",
    "DiscoPOP",
    "ExplicitPO",
    "Hinge",
    "LengthNormalisedDPO",
    "PessimisticDPO",
    "PlackettLuce",
    "PlackettLuceDPO",
    "PlackettLuceEXPO",
    "RegressionEXPO",
    "RewardAwarePO",
    "RewardDistillation",
    "SLiC",
    "SimPER",
    "SimPO",
    "objective",
]

CATALOGUE: dict[str, type[Objective]] = {
    cls.name: cls
    for cls in (
        *(RLHF, DPO, IPO, FDPO, QPO, EXPO, RegressionEXPO, ExplicitPO, SPO),
        *(Hinge, SLiC, ChiPO, EXO, DiscoPOP, DPOP, RPO),
        *(AuxDPO, PessimisticDPO, LengthNormalisedDPO, DPOShift, CalDPO, PRO),
        *(SFT, BradleyTerry, CPO, SimPO, AlphaPO, SimPER, ORPO),
        *(PlackettLuce, PlackettLuceDPO, PlackettLuceEXPO),
        *(RewardAwarePO, REBEL, RewardDistillation, ODPO, MADPO, AStarPO, QRPO),
        *(WRPO, TPO),
        *(KTO, APOZero, APODown, BCO, NCA, SPPO, AOT),
    )
}


def required_options(cls: type[Objective]) -> list[str]:
    """What a loss must be given besides lambda."""
    missing = dataclasses.MISSING
    return [
        field.name
        for field in dataclasses.fields(cls)[1:]
        if field.init and field.default is missing and field.default_factory is missing
    ]


def of_lambda_alone(lam: float) -> dict[str, Objective]:
    """The losses of `CATALOGUE` that need nothing but lambda, with the options that they have by themselves."""
    return {name: cls(lam) for name, cls in CATALOGUE.items() if not required_options(cls)}


def objective(name: str, lam: float, **options: Any) -> Objective:
    """The objective called ``name`` in `CATALOGUE`, with its own options.

    Raises:
        ValueError: unknown name, or an option that this objective does not have.
    """
    check_option("objective", name, tuple(sorted(CATALOGUE)))
    cls = CATALOGUE[name]
    accepted = [field.name for field in dataclasses.fields(cls) if field.name != "lam"]
    for option in options:
        if option not in accepted:
            raise ValueError(f"{option} is not an option of {name!r}; accepted: {accepted or 'none'}")
    return cls(lam, **options)
