"""AReaL: a function of the difference of log-ratios, in float32."""

from __future__ import annotations

import torch

from .borrowed import definitions
from .implementation import Ours, Package, Pairs

PACKAGE = Package("areal", "1.0.4", how="its definitions alone", remark="It computes in float32, whatever it is given.")
__getattr__ = PACKAGE.function
WHERE = "areal.utils.functional:dpo_preference_loss"


def _loss(p: Pairs, beta: float, loss_type: str) -> torch.Tensor:
    found = definitions("areal", "areal/utils/functional/functional.py", "dpo_preference_loss", torch=torch)
    won, lost = p.ratios
    if p.length_w is not None:
        won, lost = won / p.length_w, lost / p.length_l
    result: torch.Tensor = found.dpo_preference_loss(won - lost, beta=beta, loss_type=loss_type)
    return result


PACKAGE.add("dpo", "dpo_preference_loss, sigmoid", WHERE, lambda p, beta: _loss(p, beta, "sigmoid"), Ours("dpo"))
PACKAGE.add(
    "ipo",
    "dpo_preference_loss of means, ipo",
    WHERE,
    lambda p, beta: _loss(p, beta, "ipo"),
    Ours("ipo", of_means=True),
    reads="lengths",
)
