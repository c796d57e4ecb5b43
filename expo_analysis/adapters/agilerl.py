"""AgileRL: DPO with the likelihood of the winners' tokens beside it, alpha 1 unless it is told otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import dpo_with_mean_likelihood, function_of

PACKAGE = Package("agilerl", "2.58.0", how="its definitions alone")
__getattr__ = PACKAGE.function
WHERE = "agilerl.algorithms.dpo:DPO._dpo_loss_standard"


def _loss(p: Pairs, beta: float, nll_alpha: float) -> Any:
    known = {"torch": torch, "F": torch.nn.functional}
    names = ("DPO._dpo_loss_standard", "DPO._compute_implicit_reward")
    found = definitions("agilerl", "agilerl/algorithms/dpo.py", *names, **known)
    itself = SimpleNamespace(beta=beta, nll_alpha=nll_alpha)
    itself._compute_implicit_reward = lambda *logps: found._compute_implicit_reward(itself, *logps)
    (w, mask_w), (l, mask_l) = stand_ins.tokens(p.w, p.length_w), stand_ins.tokens(p.l, p.length_l)  # noqa: E741
    references = stand_ins.tokens(p.ref_w, p.length_w)[0], stand_ins.tokens(p.ref_l, p.length_l)[0]
    return found._dpo_loss_standard(itself, w, l, *references, mask_w, mask_l)


PACKAGE.add("dpo", "DPO, nll_alpha 0", WHERE, lambda p, beta: _loss(p, beta, 0.0), Ours("dpo"), reads="lengths")
PACKAGE.add(
    "dpo_default",
    "DPO, nll_alpha 1, its default",
    WHERE,
    lambda p, beta: _loss(p, beta, 1.0),
    Ours("dpo"),
    reads="lengths",
    really=function_of(dpo_with_mean_likelihood, "lengths"),
    note="by default it adds the winners' mean negative log-likelihood: it is RPO, with a mean over tokens",
)
