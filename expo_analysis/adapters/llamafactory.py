"""LLaMA-Factory: methods of its DPO trainer, which is that of TRL below 0.25 for all that they do not do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import POINT

PACKAGE = Package(
    "llamafactory",
    "0.9.5",
    how="its definitions alone",
    remark="Its other DPO losses, and KTO, are those of TRL below 0.25, which its trainers inherit.",
)
__getattr__ = PACKAGE.function
WHERE = "llamafactory.train.dpo.trainer:CustomDPOTrainer"
METHODS = ("odds_ratio_loss", "simpo_loss", "bco_loss", "compute_preference_loss", "concatenated_forward")


class _Trainer(SimpleNamespace):
    """A trainer with these settings and the methods that LLaMA-Factory writes itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(accelerator=stand_ins.gathers(), ld_alpha=None, **settings)
        known: dict[str, Any] = {
            "torch": torch,
            "F": torch.nn.functional,
            "IGNORE_INDEX": stand_ins.IGNORED,
            "nested_detach": lambda batch, clone: dict(batch),
        }
        helper = definitions("llamafactory", "llamafactory/train/trainer_utils.py", "get_batch_logps", **known)
        names = [f"CustomDPOTrainer.{name}" for name in METHODS]
        found = definitions("llamafactory", "llamafactory/train/dpo/trainer.py", *names, **known, **vars(helper))
        for name in METHODS:
            setattr(self, name, getattr(found, name).__get__(self))


def _from_logits(p: Pairs, beta: float, loss_type: str) -> Any:
    """Its losses without a reference, from logits on."""
    made = _Trainer(
        beta=beta, loss_type=loss_type, simpo_gamma=0.5, finetuning_args=SimpleNamespace(use_ref_model=False)
    )
    lengths = torch.cat([p.length_w, p.length_l])
    ids, labels, logits = stand_ins.sequences(torch.cat([p.w, p.l]), lengths)
    batch = {"input_ids": ids, "labels": labels}
    forward = made.concatenated_forward(lambda **kwargs: SimpleNamespace(logits=logits), batch)
    return made.compute_preference_loss(forward["chosen_logps"], forward["rejected_logps"], None, None)


def _bco(p: Pairs, beta: float) -> Any:
    return _Trainer(beta=beta, running=stand_ins.Running(POINT)).bco_loss(*p.logps)


_FLOAT32: dict[str, Any] = {"reads": "lengths", "is_exact": False}
PACKAGE.add(
    "simpo",
    "simpo_loss, simpo_gamma 0.5, from logits",
    f"{WHERE}.compute_preference_loss",
    lambda p, beta: _from_logits(p, beta, "simpo"),
    Ours("simpo", gamma=0.5),
    note="log-probabilities are made in float32",
    **_FLOAT32,
)
PACKAGE.add(
    "orpo",
    "odds_ratio_loss, from logits",
    f"{WHERE}.compute_preference_loss",
    lambda p, beta: _from_logits(p, beta, "orpo"),
    Ours("orpo"),
    note="log-probabilities are made in float32, in which log(1 - p) loses digits near p = 1",
    **_FLOAT32,
)
PACKAGE.add(
    "orpo_logps",
    "odds_ratio_loss of means",
    f"{WHERE}.odds_ratio_loss",
    lambda p, beta: _Trainer(beta=beta).odds_ratio_loss(p.w / p.length_w, p.l / p.length_l),
    Ours("orpo"),
    reads="lengths",
)
PACKAGE.add(
    "bco",
    f"bco_loss, running mean {POINT}",
    f"{WHERE}.bco_loss",
    _bco,
    Ours("bco", reference_point=POINT),
)
