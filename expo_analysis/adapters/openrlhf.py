"""OpenRLHF: a module that averages over the batch."""

from __future__ import annotations

from typing import Any

import torch

from .borrowed import definitions
from .implementation import Ours, Package

PACKAGE = Package("openrlhf", "0.11.2", how="its definitions alone", remark="Its import needs CUDA (flash-attn).")
__getattr__ = PACKAGE.function
WHERE = "openrlhf.models:DPOLoss"


def _dpo(*settings: Any, **options: Any) -> Any:
    known = {"nn": torch.nn, "torch": torch, "F": torch.nn.functional}
    return definitions("openrlhf", "openrlhf/models/loss.py", "DPOLoss", **known).DPOLoss(*settings, **options)


PACKAGE.add("dpo", "DPOLoss", WHERE, lambda p, beta: _dpo(beta)(*p.logps), Ours("dpo"))
PACKAGE.add(
    "dpo_smoothed",
    "DPOLoss, label_smoothing 0.1",
    WHERE,
    lambda p, beta: _dpo(beta, label_smoothing=0.1)(*p.logps),
    Ours("dpo", label_smoothing=0.1),
)
PACKAGE.add("ipo", "DPOLoss, ipo", WHERE, lambda p, beta: _dpo(beta, ipo=True)(*p.logps), Ours("ipo"))
