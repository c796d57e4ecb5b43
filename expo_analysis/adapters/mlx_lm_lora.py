"""mlx-lm-lora: functions of scores and masks."""

from __future__ import annotations

from typing import Any

import torch

from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import function_of
from .mlx import PRECISION, through_mlx

PACKAGE = Package(
    "mlx-lm-lora",
    "5.10.2",
    needs=("mlx[cpu]",),
    how="its definitions alone",
    modules=("mlx.core", "mlx.nn"),
    remark=PRECISION,
)
__getattr__ = PACKAGE.function
FOLDER = "mlx_lm_lora/trainer"
LOGPS = ("w", "l", "ref_w", "ref_l")
LENGTHS = ("length_w", "length_l")


def _found(file: str, *names: str) -> Any:
    import mlx.core as mx
    from mlx import nn

    return definitions("mlx-lm-lora", f"{FOLDER}/{file}.py", *names, mx=mx, nn=nn)


def _scores(kind: str, p: Pairs, beta: float, loss_type: str, delta: float = 0.0) -> Any:
    """``dpo_loss``, ``cpo_loss`` or ``online_dpo_loss`` of scores, which ``compute_score`` makes of tokens'."""

    def of_one(one: Pairs) -> Any:
        import mlx.core as mx

        found = _found(f"{kind}_trainer", f"{kind}_loss", "compute_score")
        masks = [mx.concatenate([mx.zeros(1), mx.ones(1)]).reshape(1, 2)] * 2
        names = ["policy_chosen", "policy_rejected"]
        values = [one.w, one.l]
        if kind != "cpo":
            names, values = [*names, "reference_chosen", "reference_rejected"], [*values, one.ref_w, one.ref_l]
        given = {
            f"{name}_score": found.compute_score(value.reshape(1, 1), masks[0], loss_type)
            for name, value in zip(names, values, strict=True)
        }
        masked = {"chosen_masks": masks[0], "rejected_masks": masks[1]}
        return getattr(found, f"{kind}_loss")(**given, **masked, beta=beta, delta=delta, loss_type=loss_type)[0]

    return through_mlx(of_one, p, LOGPS if kind != "cpo" else LOGPS[:2])


def _orpo(p: Pairs, beta: float) -> Any:
    """Of averages, which its ``get_logps`` makes; a preference score of 1."""

    def of_one(one: Pairs) -> Any:
        import mlx.core as mx

        found = _found("orpo_trainer", "_log1mexp", "orpo_loss")
        logits, masks = (mx.zeros(1), mx.zeros(1)), (mx.ones((1, 2)), mx.ones((1, 2)))
        won, lost = one.w / one.length_w, one.l / one.length_l
        return found.orpo_loss(won, logits[0], lost, logits[1], *masks, mx.array([1.0]), beta=beta)[0]

    return through_mlx(of_one, p, (*LOGPS[:2], *LENGTHS))


def _dpop(p: Pairs, beta: float) -> Any:
    won, lost = p.ratios
    return -torch.nn.functional.logsigmoid(beta * (won - lost)) + 50.0 * (-won).clamp(min=0)


def _cpop(p: Pairs, beta: float) -> Any:
    return -torch.nn.functional.logsigmoid(beta * (p.w - p.l)) + 50.0 * (p.l - p.w).clamp(min=0)


for _kind, _type, _delta, _ours, _really, _note in (
    ("dpo", "sigmoid", 0.0, Ours("dpo"), None, ""),
    ("dpo", "hinge", 0.0, Ours("hinge"), None, ""),
    ("dpo", "ipo", 0.0, Ours("ipo"), None, ""),
    (
        *("dpo", "dpop", 50.0, Ours("dpop", penalty=50.0), _dpop),
        "the penalty stands outside of the sigmoid, and beta does not multiply it",
    ),
    ("cpo", "sigmoid", 0.0, Ours("bradley_terry"), None, ""),
    (
        *("cpo", "dpop", 50.0, Ours("bradley_terry"), _cpop),
        "a loss without a reference of its own: the penalty compares with the loser",
    ),
    ("online_dpo", "sigmoid", 0.0, Ours("dpo"), None, ""),
):
    PACKAGE.add(
        f"{_kind}_{_type}",
        f"{_kind}_loss, {_type}" + (f", delta {_delta:g}" if _delta else ""),
        f"mlx_lm_lora.trainer.{_kind}_trainer:{_kind}_loss",
        lambda p, beta, k=_kind, t=_type, d=_delta: _scores(k, p, beta, t, d),
        _ours,
        really=None if _really is None else function_of(_really),
        note=_note,
    )
PACKAGE.add(
    "orpo",
    "orpo_loss of means",
    "mlx_lm_lora.trainer.orpo_trainer:orpo_loss",
    _orpo,
    Ours("orpo"),
    reads="lengths",
)
