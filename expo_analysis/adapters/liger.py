"""liger-kernel: losses of log-probabilities inside fused linear layers, which run without Triton too."""

from __future__ import annotations

from typing import Any

import torch

from . import stand_ins
from .borrowed import imported
from .implementation import Ours, Package, Pairs
from .loss_types import function_of

PACKAGE = Package("liger-kernel", "0.8.5", how="imported", modules=("liger_kernel.chunked_loss",))
__getattr__ = PACKAGE.function
MODULE = "liger_kernel.chunked_loss"


def _preference(method: str, p: Pairs, beta: float, **options: Any) -> Any:
    """``preference_loss_fn`` of a fused function, a sum over the batch divided by its number of pairs."""
    found = imported("liger-kernel", f"{MODULE}.{method.lower()}_loss")
    both = torch.cat([p.w, p.l]).detach()
    function = getattr(found, f"LigerFusedLinear{method}Function")
    return function.preference_loss_fn(p.w, p.l, both, beta=beta, **options)


def _dpo(loss_type: str, **options: Any) -> Any:
    return lambda p, beta: _preference(
        "DPO", p, beta, ref_chosen_logps=p.ref_w, ref_rejected_logps=p.ref_l, loss_type=loss_type, **options
    )


def _fused(name: str, p: Pairs, beta: float, **options: Any) -> Any:
    """A fused layer from hidden states on: the identity makes logits of them, one token of a prompt comes first."""
    length = torch.cat([p.length_w, p.length_l])
    _, labels, logits = stand_ins.sequences(torch.cat([p.w, p.l]), length)
    layer = getattr(imported("liger-kernel", MODULE), name)(beta=beta, compiled=False, **options)
    return layer(torch.eye(logits.shape[-1], dtype=logits.dtype), logits[:, :-1], labels[:, 1:])[0]


def _simpo_with_likelihood(p: Pairs, beta: float) -> Any:
    won, lost = p.w / p.length_w, p.l / p.length_l
    return -torch.nn.functional.logsigmoid(beta * (won - lost) - 0.5) - won


for _type, _ours, _given in (
    ("sigmoid", Ours("dpo"), {}),
    ("hinge", Ours("hinge"), {}),
    ("exo_pair", Ours("exo", label_smoothing=1e-3), {"label_smoothing": 1e-3}),
    ("nca_pair", Ours("nca"), {}),
    ("robust", Ours("dpo", label_smoothing=0.1, robust=True), {"label_smoothing": 0.1}),
    ("bco_pair", Ours("bco"), {}),
    ("sppo_hard", Ours("sppo"), {}),
    ("apo_zero", Ours("apo_zero"), {}),
    ("apo_down", Ours("apo_down"), {}),
    ("discopop", Ours("discopop", tau=0.05), {}),
):
    _more = {"note": "the logarithm of the smoothing is taken in float32"} if _type == "exo_pair" else {}
    _where = f"{MODULE}:LigerFusedLinearDPOLoss"
    PACKAGE.add(f"dpo_{_type}", f"LigerFusedLinearDPOLoss, {_type}", _where, _dpo(_type, **_given), _ours, **_more)

_IN_FLOAT32 = {"is_exact": False, "note": "log-probabilities are made in float32"}
PACKAGE.add(
    "cpo",
    "LigerFusedLinearCPOLoss, from hidden states",
    f"{MODULE}:LigerFusedLinearCPOLoss",
    lambda p, beta: _fused("LigerFusedLinearCPOLoss", p, beta, alpha=0.0),
    Ours("bradley_terry"),
    reads="lengths",
    **_IN_FLOAT32,
)
PACKAGE.add(
    "simpo",
    "LigerFusedLinearSimPOLoss, compute_nll_loss false, from hidden states",
    f"{MODULE}:LigerFusedLinearSimPOLoss",
    lambda p, beta: _fused("LigerFusedLinearSimPOLoss", p, beta, gamma=0.5, compute_nll_loss=False),
    Ours("simpo", gamma=0.5),
    reads="lengths",
    **_IN_FLOAT32,
)
PACKAGE.add(
    "simpo_default",
    "LigerFusedLinearSimPOLoss, gamma 0.5, its default otherwise, from hidden states",
    f"{MODULE}:LigerFusedLinearSimPOLoss",
    lambda p, beta: _fused("LigerFusedLinearSimPOLoss", p, beta, gamma=0.5),
    Ours("simpo", gamma=0.5),
    reads="lengths",
    is_exact=False,
    really=function_of(_simpo_with_likelihood, "lengths"),
    note="by default it adds the winner's mean negative log-likelihood",
)
PACKAGE.add(
    "orpo",
    "LigerFusedLinearORPOLoss, from hidden states",
    f"{MODULE}:LigerFusedLinearORPOLoss",
    lambda p, beta: _fused("LigerFusedLinearORPOLoss", p, beta),
    Ours("orpo"),
    reads="lengths",
    **_IN_FLOAT32,
)


def _kto(p: Pairs, beta: float) -> Any:
    found = imported("liger-kernel", f"{MODULE}.kto_loss").LigerFusedLinearKTOFunction
    logps, references = torch.cat([p.w, p.l]), torch.cat([p.ref_w, p.ref_l])
    labels = torch.arange(len(logps)) < len(p.w)
    point = torch.tensor(0.5, dtype=logps.dtype)
    return found.preference_loss_fn(logps, labels, logps.detach(), references, beta, point)


PACKAGE.add(
    "kto",
    "LigerFusedLinearKTOLoss, kl 0.5",
    f"{MODULE}:LigerFusedLinearKTOLoss",
    _kto,
    Ours("kto", reference_point=0.5),
)
