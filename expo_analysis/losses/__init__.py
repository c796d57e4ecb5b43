"""Objectives: one family a file, each loss written once."""

from .aot import AOT
from .base import Claims, MarginObjective, Objective, PairObjective, QuasiconvexObjective
from .binary import BCO, KTO, NCA, SPPO, APODown, APOZero
from .catalogue import CATALOGUE, from_trl, objective
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
from .linked import with_divergence
from .qpo import QPO
from .risk import risk
from .rlhf import RLHF
from .spo import SPO

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
    "NCA",
    "ORPO",
    "QPO",
    "RLHF",
    "RPO",
    "SFT",
    "SPO",
    "SPPO",
    "APODown",
    "APOZero",
    "BradleyTerry",
    "ChiPO",
    "Claims",
    "DiscoPOP",
    "ExplicitPO",
    "Hinge",
    "MarginObjective",
    "Objective",
    "PairObjective",
    "QuasiconvexObjective",
    "RegressionEXPO",
    "SLiC",
    "SimPO",
    "from_trl",
    "objective",
    "risk",
    "with_divergence",
]
