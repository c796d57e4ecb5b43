"""turbo-alignment: a registry of classes with ``compute_loss``; which losses get means is its trainer's to see to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from .borrowed import definitions
from .implementation import Ours, Package, Pairs, over_lengths
from .loss_types import KTO_OF_ONE, function_of, kto_of_one

PACKAGE = Package(
    "turbo-alignment", "0.0.4", how="its definitions alone", remark="Its import needs DeepSpeed and vLLM."
)
__getattr__ = PACKAGE.function
NAMES = (
    *("SigmoidLoss", "KTOLoss", "IPOLoss", "CPOLoss", "HingeLoss", "SlicHfLoss", "SimPOLoss", "ORPOLoss", "ASFTLoss"),
    *("SigmoidLossWithMargin", "APODownLoss", "APOZeroLoss"),
)


def _losses() -> SimpleNamespace:
    known = {"torch": torch, "F": torch.nn.functional, "DPOLossRegistry": object}
    return definitions("turbo-alignment", "turbo_alignment/trainers/dpo.py", *NAMES, **known)


def _of(name: str, **options: Any) -> Any:
    def loss(p: Pairs, beta: float) -> Any:
        logps = over_lengths(p).logps
        margins = None if p.reward_w is None else p.reward_w - p.reward_l
        return getattr(_losses(), name)(beta=beta, **options).compute_loss(*logps, precomputed_margins=margins)

    return loss


def _kto(p: Pairs, beta: float) -> Any:
    """Pair by pair, as its mean over the batch is of the policy: the two losses that a batch of one has, added."""
    one_by_one = zip(*(x.reshape(-1, 1) for x in p.logps), strict=True)
    made = _losses().KTOLoss(beta=beta)
    return torch.stack([made.compute_loss(*pair, precomputed_margins=None)[0].sum() for pair in one_by_one])


def _add(name: str, title: str, cls: str, ours: Ours, reads: str = "", more: Any = None, **options: Any) -> None:
    where = f"turbo_alignment.trainers.dpo:{cls}"
    PACKAGE.add(name, title, where, _of(cls, **options), ours, reads, **(more or {}))


def _asft(p: Pairs, beta: float) -> Any:
    won, lost = p.w / p.length_w, p.l / p.length_l
    odds_w, odds_l = (x - torch.log(-torch.expm1(x)) for x in (won, lost))
    return -won - beta * torch.nn.functional.logsigmoid(odds_w) - beta * torch.nn.functional.logsigmoid(-odds_l)


_add("dpo", "SigmoidLoss", "SigmoidLoss", Ours("dpo"))
_add(
    *("dpo_smoothed", "SigmoidLoss, label_smoothing 0.1", "SigmoidLoss", Ours("dpo", label_smoothing=0.1)),
    label_smoothing=0.1,
)
_add("ipo", "IPOLoss", "IPOLoss", Ours("ipo"))
_add("cpo", "CPOLoss, norm false", "CPOLoss", Ours("cpo", alpha=1.0), norm=False)
_add("cpo_norm", "CPOLoss, norm true", "CPOLoss", Ours("rpo", alpha=1.0), norm=True)
_add("hinge", "HingeLoss, norm true", "HingeLoss", Ours("hinge"), norm=True)
_add("slic", "SlicHfLoss, norm true", "SlicHfLoss", Ours("hinge"), norm=True)
_add("apo_zero", "APOZeroLoss", "APOZeroLoss", Ours("apo_zero"))
_add("apo_down", "APODownLoss", "APODownLoss", Ours("apo_down"))
_add("odpo", "SigmoidLossWithMargin", "SigmoidLossWithMargin", Ours("odpo", alpha=1.0), "rewards")
_add(
    *("simpo", "SimPOLoss of means, gamma 0.5", "SimPOLoss", Ours("simpo", gamma=0.5), "lengths"),
    more={
        "really": Ours("simpo", gamma=lambda lam: 0.5 * lam).at,
        "note": "its gamma is gamma/beta of the paper: beta multiplies it too",
    },
    gamma=0.5,
)
_add("orpo", "ORPOLoss of means", "ORPOLoss", Ours("orpo"), "lengths")
_add(
    *("asft", "ASFTLoss of means", "ASFTLoss", Ours("orpo"), "lengths"),
    more={
        "really": function_of(_asft, "lengths"),
        "note": "another loss, ASFT: odds of winner and loser in sigmoids of their own",
    },
)
PACKAGE.add(
    "kto",
    "KTOLoss, batches of one",
    "turbo_alignment.trainers.dpo:KTOLoss",
    _kto,
    Ours("kto"),
    really=function_of(kto_of_one),
    note=KTO_OF_ONE,
)
