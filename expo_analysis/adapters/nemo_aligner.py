"""NeMo-Aligner: ``loss_func`` of its Megatron model, on log-ratios of responses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from .borrowed import definitions
from .implementation import Ours, Package, Pairs

PACKAGE = Package("nemo-aligner", "0.7.0", how="its definitions alone", remark="Its import needs NeMo and Megatron.")
__getattr__ = PACKAGE.function
FILE = "nemo_aligner/models/nlp/gpt/megatron_gpt_dpo_model.py"
WHERE = "nemo_aligner.models.nlp.gpt.megatron_gpt_dpo_model:MegatronGPTDPOModel.loss_func"


def _loss(p: Pairs, beta: float, preference_loss: str) -> Any:
    found = definitions("nemo-aligner", FILE, "MegatronGPTDPOModel.loss_func", torch=torch)
    itself = SimpleNamespace(
        preference_loss=preference_loss,
        ref_policy_kl_penalty=beta,
        gt_reward_scale=1.0,
        get_reduced_masked_logps=lambda logps, labels, **settings: logps,
        split_output_tensor=lambda both: both.chunk(2),
    )
    rewards = None if p.reward_w is None else torch.cat([p.reward_w, p.reward_l])
    return found.loss_func(itself, torch.cat([p.w, p.l]), torch.cat([p.ref_w, p.ref_l]), None, rewards)[0]


for _type, _ours in (
    ("dpo", Ours("dpo")),
    ("ipo", Ours("ipo")),
    ("rpo_bwd_kl", Ours("reward_aware_po")),
    ("rpo_fwd_kl", Ours("reward_aware_po", distance="forward_kl")),
    ("rpo_sq", Ours("reward_aware_po", distance="squared")),
):
    PACKAGE.add(
        _type,
        f"loss_func, {_type}",
        WHERE,
        lambda p, beta, t=_type: _loss(p, beta, t),
        _ours,
        reads="rewards" if _type.startswith("rpo") else "",
    )
