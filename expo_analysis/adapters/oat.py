"""oat-llm: modules of log-probabilities and masks of tokens."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import MEAN_LIKELIHOOD, dpo_with_mean_likelihood, function_of

PACKAGE = Package(
    "oat-llm",
    "0.2.4",
    how="its definitions alone",
    remark="It asks for Python 3.10 and vLLM; its losses run in 3.11 without.",
)
__getattr__ = PACKAGE.function
WHERE = "oat.learners.loss"


def _losses() -> Any:
    known = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    algorithms = definitions("oat-llm", "oat/types.py", "DAPAlgo", Enum=Enum).DAPAlgo
    found = definitions("oat-llm", "oat/learners/loss.py", "DPOLoss", "SimPOLoss", DAPAlgo=algorithms, **known)
    found.DAPAlgo = algorithms
    return found


def _dpo(p: Pairs, beta: float, algorithm: str = "DPO", **settings: Any) -> Any:
    losses = _losses()
    made = losses.DPOLoss(beta, dap_algo=losses.DAPAlgo[algorithm], **settings)
    lengths = [torch.ones_like(p.w)] * 2 if p.length_w is None else [p.length_w, p.length_l]
    _, masks = stand_ins.tokens(torch.cat([p.w, p.l]), torch.cat(lengths))
    return made(*p.logps, torch.ones_like(p.w), masks)


def _simpo(p: Pairs, beta: float) -> Any:
    made = _losses().SimPOLoss(beta, gamma_beta_ratio=0.5)
    return made(p.w / p.length_w, p.l / p.length_l, torch.ones_like(p.w))


def _longer(p: Pairs, beta: float) -> Any:
    won, lost = p.ratios
    return -torch.nn.functional.logsigmoid(beta * (won - lost) + 0.1 * (p.length_w - p.length_l))


PACKAGE.add("dpo", "DPOLoss", f"{WHERE}:DPOLoss", _dpo, Ours("dpo"))
PACKAGE.add("ipo", "DPOLoss, IPO", f"{WHERE}:DPOLoss", lambda p, beta: _dpo(p, beta, "IPO"), Ours("ipo"))
PACKAGE.add("slic", "DPOLoss, SLiC", f"{WHERE}:DPOLoss", lambda p, beta: _dpo(p, beta, "SLiC"), Ours("hinge"))
PACKAGE.add(
    "dpop",
    "DPOLoss, dpo_positive_lambda 50",
    f"{WHERE}:DPOLoss",
    lambda p, beta: _dpo(p, beta, dpo_positive_lambda=50.0),
    Ours("dpop", penalty=50.0),
)
PACKAGE.add(
    "lr_dpo",
    "DPOLoss, len_reg_alpha 0.1",
    f"{WHERE}:DPOLoss",
    lambda p, beta: _dpo(p, beta, len_reg_alpha=0.1),
    Ours("dpo"),
    reads="lengths",
    really=function_of(_longer, "lengths"),
    note="another loss, R-DPO: alpha times the difference of lengths in the sigmoid",
)
PACKAGE.add(
    "rpo",
    "DPOLoss, sft_weight 1",
    f"{WHERE}:DPOLoss",
    lambda p, beta: _dpo(p, beta, sft_weight=1.0),
    Ours("rpo", alpha=1.0),
    reads="lengths",
    really=function_of(dpo_with_mean_likelihood, "lengths"),
    note=MEAN_LIKELIHOOD,
)
PACKAGE.add(
    "simpo",
    "SimPOLoss of means, gamma_beta_ratio 0.5",
    f"{WHERE}:SimPOLoss",
    _simpo,
    Ours("simpo", gamma=lambda lam: 0.5 * lam),
    reads="lengths",
)
