"""PaddleFormers: one function of Paddle tensors, whose formulas are run on torch's functions of the same names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from .borrowed import definitions
from .implementation import Ours, Package, Pairs, over_lengths
from .loss_types import KTO_OF_ONE, function_of, kto_of_one

PACKAGE = Package(
    "paddleformers",
    "1.2.0",
    how="its definitions alone, on torch's functions of the same names in the place of Paddle's",
)
__getattr__ = PACKAGE.function
WHERE = "paddleformers.nn.criterion.dpo_loss:cal_dpo_loss"


def _loss(p: Pairs, beta: float, loss_type: str, **settings: Any) -> Any:
    """The mean over a batch; rewards are turned into differences of scores, lengths into means."""
    nn = torch.nn.functional
    functions = SimpleNamespace(log_sigmoid=nn.logsigmoid, relu=nn.relu, sigmoid=torch.sigmoid)
    file = "paddleformers/nn/criterion/dpo_loss.py"
    found = definitions("paddleformers", file, "cal_dpo_loss", paddle=torch, F=functions)
    plain = {"label_smoothing": 0.0, "offset_alpha": 0.0, "pref_loss_ratio": 1.0}
    config = SimpleNamespace(beta=beta, loss_type=loss_type, **(plain | settings))
    deltas = None if p.reward_w is None else p.reward_w - p.reward_l
    return found.cal_dpo_loss(SimpleNamespace(dpo_config=config), *over_lengths(p).logps, deltas)


def _kto(p: Pairs, beta: float) -> Any:
    rows = zip(*(x.reshape(-1, 1) for x in p.logps), strict=True)
    return torch.stack([2 * _loss(Pairs(*row), beta, "kto_pair") for row in rows])


def _simpo(p: Pairs, beta: float) -> Any:
    """SimPO takes no reference: it is given one of zeros, as its trainer does."""
    means, nothing = over_lengths(p), torch.zeros_like(p.w)
    return _loss(Pairs(means.w, means.l, nothing, nothing), beta, "simpo", simpo_gamma=0.5)


def _orpo(p: Pairs, beta: float) -> Any:
    """The term of odds and its weight, beside the likelihood's mean over tokens."""
    means = over_lengths(p)
    return -means.w.mean() + _loss(p, beta, "or", pref_loss_ratio=beta)


for _type, _ours, _reads, _settings in (
    ("sigmoid", Ours("dpo"), "", {}),
    ("hinge", Ours("hinge"), "", {}),
    ("ipo", Ours("ipo", of_means=True), "lengths", {}),
    ("dpop", Ours("dpop"), "", {"dpop_lambda": 50.0}),
    ("sppo_hard", Ours("sppo"), "", {}),
    ("nca_pair", Ours("nca"), "", {}),
):
    PACKAGE.add(
        _type,
        f"cal_dpo_loss, {_type}" + (" of means" if _reads else ""),
        WHERE,
        lambda p, beta, t=_type, s=_settings: _loss(p, beta, t, **s),
        _ours,
        reads=_reads,
    )
PACKAGE.add("simpo", "cal_dpo_loss, simpo of means, simpo_gamma 0.5", WHERE, _simpo, Ours("simpo"), reads="lengths")
PACKAGE.add("orpo", "cal_dpo_loss, or, of means, with the likelihood", WHERE, _orpo, Ours("orpo"), reads="lengths")
PACKAGE.add(
    "kto_pair",
    "cal_dpo_loss, kto_pair, batches of one, times 2",
    WHERE,
    _kto,
    Ours("kto"),
    really=function_of(kto_of_one),
    note=KTO_OF_ONE,
)
