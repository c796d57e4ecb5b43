"""axolotl: ORPO of its own, from logits on; its other preference losses are TRL's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import function_of

PACKAGE = Package("axolotl", "0.19.0", how="its definitions alone", remark="Its other losses are those of TRL.")
__getattr__ = PACKAGE.function
WHERE = "axolotl.core.trainers.base:AxolotlTrainer.orpo_compute_loss"
METHODS = ("orpo_concatenate_inputs", "orpo_compute_custom_loss", "orpo_compute_logps", "orpo_compute_loss")


def _pad(tensor: torch.Tensor, length: int, value: int) -> torch.Tensor:
    """What TRL's ``pad_to_length`` does, which axolotl imports."""
    return torch.nn.functional.pad(tensor, (0, length - tensor.shape[1]), value=value)


def _loss(p: Pairs, beta: float) -> Any:
    """A batch of one pair."""
    known: dict[str, Any] = {"torch": torch, "pad_to_length": _pad}
    names = [f"AxolotlTrainer.{name}" for name in METHODS]
    trainer = SimpleNamespace(orpo_concatenate_inputs=None)
    found = definitions("axolotl", "axolotl/core/trainers/base.py", *names, AxolotlTrainer=trainer, **known)
    trainer.orpo_concatenate_inputs = found.orpo_concatenate_inputs
    itself = stand_ins.trainer(
        args=SimpleNamespace(orpo_alpha=beta),
        tokenizer=SimpleNamespace(pad_token_id=stand_ins.TOKEN),
        loss_fct=torch.nn.CrossEntropyLoss(reduction="none"),
    )
    for name in METHODS[1:]:
        setattr(itself, name, getattr(found, name).__get__(itself))
    both = torch.cat([p.w, p.l]), torch.cat([p.length_w, p.length_l])
    ids, labels, logits = stand_ins.sequences(*both)
    inputs: dict[str, Any] = {"prompt_attention_mask": torch.ones(1, 1)}
    for row, (side, mask) in enumerate((("", "attention_mask"), ("rejected_", "rejected_attention_mask"))):
        end = 1 + round(float(both[1][row]))
        inputs |= {f"{side}labels": labels[row : row + 1, :end], mask: torch.ones(1, end)}
        inputs["rejected_ids" if side else "input_ids"] = ids[row : row + 1, :end]
    return itself.orpo_compute_loss(lambda **kwargs: SimpleNamespace(logits=logits), inputs)


def _pair_by_pair(p: Pairs, beta: float) -> Any:
    rows = zip(*(x.reshape(-1, 1) for x in (*p.logps, p.length_w, p.length_l)), strict=True)
    return torch.stack([_loss(Pairs(*row), beta) for row in rows])


def _padded(p: Pairs, beta: float) -> Any:
    """Tokens of padding have probability 1/2 here; three digits."""
    longest = torch.maximum(p.length_w, p.length_l)
    pad = torch.log(torch.tensor(0.5, dtype=p.w.dtype))
    means = []
    for logp, length in ((p.w, p.length_w), (p.l, p.length_l)):
        one_more = (length < longest).to(logp.dtype)
        means.append((logp + one_more * pad) / (length + one_more))
    odds_w, odds_l = (x - torch.log(-torch.expm1(x)) for x in means)
    likelihood = (-p.w - (longest - p.length_w) * pad) / longest
    return (likelihood - beta * torch.nn.functional.logsigmoid(odds_w - odds_l)).bfloat16()


PACKAGE.add(
    "orpo",
    "orpo_compute_loss, from logits",
    WHERE,
    _pair_by_pair,
    Ours("orpo"),
    reads="lengths",
    is_exact=False,
    really=function_of(_padded, "lengths"),
    note="the likelihood is a mean over prompt, response and padding; the odds of the shorter response count one token "
    "of padding; the loss is rounded to bfloat16",
)
