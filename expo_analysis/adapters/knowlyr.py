"""knowlyr-trainer: a function that averages over the batch."""

from __future__ import annotations

from typing import Any

from .borrowed import from_file
from .implementation import Ours, Package, Pairs

PACKAGE = Package("knowlyr-trainer", "0.1.1")
__getattr__ = PACKAGE.function
WHERE = "agenttrainer.loss.dpo_loss:dpo_loss"


def _loss(p: Pairs, beta: float, **options: Any) -> Any:
    return from_file("knowlyr-trainer", "agenttrainer/loss/dpo_loss.py").dpo_loss(*p.logps, beta=beta, **options)


PACKAGE.add("dpo", "dpo_loss", WHERE, _loss, Ours("dpo"))
PACKAGE.add(
    "dpo_smoothed",
    "dpo_loss, label_smoothing 0.1",
    WHERE,
    lambda p, beta: _loss(p, beta, label_smoothing=0.1),
    Ours("dpo", label_smoothing=0.1),
)
