"""ms-swift: a method of its DPO trainer, which is TRL's below it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs, over_lengths
from .loss_types import BY_BATCH, LOSS_TYPES, POINT, SMOOTHING, TAU

PACKAGE = Package(
    "ms-swift",
    "4.6.0",
    how="its definitions alone",
    remark="Its CPO, ORPO and KTO trainers are those of TRL below 1.0.",
)
__getattr__ = PACKAGE.function
FILE = "swift/rlhf_trainers/dpo_trainer.py"
WHERE = "swift.rlhf_trainers:DPOTrainer.dpo_loss"


def _loss(p: Pairs, beta: float, loss_type: str, smoothing: float = 0.0, divergence: str = "reverse_kl") -> Any:
    names = (
        "DPOTrainer.dpo_loss",
        "_cap_exp",
        "_get_exp_cap",
        "_ALPHA_DIVERGENCE_COEF_DEFAULT",
        "_ALPHA_DIVERGENCE_COEF_KEY",
    )
    known = {"torch": torch, "F": torch.nn.functional, "math": math}
    found = definitions("ms-swift", FILE, *names, **known)
    itself = stand_ins.trainer(
        beta=beta,
        label_smoothing=smoothing,
        reference_free=False,
        f_divergence_type=divergence,
        f_divergence_params={found._ALPHA_DIVERGENCE_COEF_KEY: 0.5},
        running=stand_ins.Running(POINT),
        args=SimpleNamespace(discopop_tau=TAU),
        loss_type=loss_type,
    )
    return found.dpo_loss(itself, *p.logps, loss_type)


for _type, _ours in LOSS_TYPES.items():
    PACKAGE.add(
        _type,
        f"DPOTrainer.dpo_loss, {_type}" + (" of means" if _type == "ipo" else ""),
        WHERE,
        lambda p, beta, t=_type: _loss(over_lengths(p), beta, t, SMOOTHING.get(t, 0.0)),
        Ours("ipo", of_means=True) if _type == "ipo" else _ours,
        reads="lengths" if _type == "ipo" else "",
        by_batch=_type in BY_BATCH,
    )
PACKAGE.add(
    "dpo_smoothed",
    "DPOTrainer.dpo_loss, sigmoid, label_smoothing 0.1",
    WHERE,
    lambda p, beta: _loss(p, beta, "sigmoid", 0.1),
    Ours("dpo", label_smoothing=0.1),
)
PACKAGE.add(
    "fdpo_js",
    "DPOTrainer.dpo_loss, sigmoid, js_divergence",
    WHERE,
    lambda p, beta: _loss(p, beta, "sigmoid", divergence="js_divergence"),
    Ours("fdpo", divergence="jensen_shannon"),
)
PACKAGE.add(
    "fdpo_alpha",
    "DPOTrainer.dpo_loss, sigmoid, alpha_divergence 0.5",
    WHERE,
    lambda p, beta: _loss(p, beta, "sigmoid", divergence="alpha_divergence"),
    Ours("fdpo", divergence="alpha", alpha=0.5),
)
