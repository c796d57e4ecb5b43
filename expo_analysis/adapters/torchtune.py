"""torchtune: modules whose ``forward`` takes log-probabilities, which `from_function` takes as they are too."""

from __future__ import annotations

from typing import Any

from .borrowed import from_file
from .implementation import Ours, Package

PACKAGE = Package("torchtune", "0.6.1", remark="Its import needs torchao, of which no release fits this torch.")
__getattr__ = PACKAGE.function
WHERE = "torchtune.rlhf.loss"


def _loss(name: str) -> Any:
    return getattr(from_file("torchtune", "torchtune/rlhf/loss/dpo.py"), name)


PACKAGE.add("dpo", "DPOLoss", f"{WHERE}:DPOLoss", lambda p, beta: _loss("DPOLoss")(beta)(*p.logps), Ours("dpo"))
PACKAGE.add(
    "dpo_smoothed",
    "DPOLoss, label_smoothing 0.1",
    f"{WHERE}:DPOLoss",
    lambda p, beta: _loss("DPOLoss")(beta, label_smoothing=0.1)(*p.logps),
    Ours("dpo", label_smoothing=0.1),
)
PACKAGE.add("rso", "RSOLoss", f"{WHERE}:RSOLoss", lambda p, beta: _loss("RSOLoss")(gamma=beta)(*p.logps), Ours("hinge"))
