"""Ludwig: functions of logits and labels."""

from __future__ import annotations

from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import ODDS_OF_SUMS, function_of, orpo_of_sums

PACKAGE = Package(
    "ludwig", "0.17.10", how="its definitions alone", remark="It asks for Python 3.12; its losses run in 3.11 too."
)
__getattr__ = PACKAGE.function


def _losses() -> Any:
    known = {"torch": torch, "F": torch.nn.functional}
    basic = definitions("ludwig", "ludwig/modules/dpo_loss.py", "compute_token_log_probs", "dpo_loss", **known)
    others = definitions(
        "ludwig",
        "ludwig/modules/preference_losses.py",
        *("kto_loss", "orpo_loss"),
        compute_token_log_probs=basic.compute_token_log_probs,
        **known,
    )
    others.dpo_loss = basic.dpo_loss
    return others


def _call(name: str, p: Pairs, beta: float, **options: Any) -> Any:
    ones = torch.ones_like(p.w)
    (_, w, logits_w), (_, l, logits_l) = (  # noqa: E741
        stand_ins.sequences(logps, ones if length is None else length)
        for logps, length in ((p.w, p.length_w), (p.l, p.length_l))
    )
    references = () if name == "orpo_loss" else (p.ref_w, p.ref_l)
    return getattr(_losses(), name)(logits_w, logits_l, w, l, *references, beta=beta, **options)


def _kto(p: Pairs, beta: float) -> Any:
    won, lost = p.ratios
    point = (won.abs() + lost.abs()) / 2
    return torch.sigmoid(-beta * (won - point)) + torch.sigmoid(beta * (lost - point))


_WHERE = "ludwig.modules.dpo_loss:dpo_loss"
PACKAGE.add("dpo", "dpo_loss", _WHERE, lambda p, beta: _call("dpo_loss", p, beta), Ours("dpo"), is_exact=False)
PACKAGE.add(
    "dpo_smoothed",
    "dpo_loss, label_smoothing 0.1",
    _WHERE,
    lambda p, beta: _call("dpo_loss", p, beta, label_smoothing=0.1),
    Ours("dpo", label_smoothing=0.1),
    is_exact=False,
)
PACKAGE.add(
    "ipo",
    "dpo_loss, ipo",
    _WHERE,
    lambda p, beta: _call("dpo_loss", p, beta, loss_type="ipo"),
    Ours("ipo"),
    is_exact=False,
    note="beta multiplies the log-ratio while the target stays 1/(2 beta), so that beta acts as its square",
)
PACKAGE.add(
    "kto",
    "kto_loss, batches of one, times 2",
    "ludwig.modules.preference_losses:kto_loss",
    lambda p, beta: tuple(2 * part for part in _call("kto_loss", p, beta)),
    Ours("kto"),
    is_exact=False,
    really=function_of(_kto),
    note="its KL estimate is the mean absolute log-ratio of the batch's own responses, and not detached",
)
PACKAGE.add(
    "orpo",
    "orpo_loss",
    "ludwig.modules.preference_losses:orpo_loss",
    lambda p, beta: _call("orpo_loss", p, beta),
    Ours("orpo"),
    reads="lengths",
    is_exact=False,
    really=function_of(orpo_of_sums, "lengths"),
    note=ODDS_OF_SUMS,
)
