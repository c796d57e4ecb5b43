"""tinker-cookbook: a function of lists of log-probabilities."""

from __future__ import annotations

from typing import Any

import torch

from .borrowed import definitions
from .implementation import Ours, Package, Pairs

PACKAGE = Package("tinker-cookbook", "0.6.1", how="its definitions alone")
__getattr__ = PACKAGE.function


def _loss(p: Pairs, beta: float) -> Any:
    known = {"torch": torch, "F": torch.nn.functional}
    file = "tinker_cookbook/preference/train_dpo.py"
    found = definitions("tinker-cookbook", file, "compute_dpo_loss", **known)
    return found.compute_dpo_loss(*(list(x.reshape(-1).unbind()) for x in p.logps), dpo_beta=beta)


PACKAGE.add("dpo", "compute_dpo_loss", "tinker_cookbook.preference.train_dpo:compute_dpo_loss", _loss, Ours("dpo"))
