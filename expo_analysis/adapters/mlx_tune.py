"""mlx-tune: functions of a model and token ids, on a model that has the log-probabilities wanted."""

from __future__ import annotations

from typing import Any

import torch

from .borrowed import from_file
from .implementation import Ours, Package, Pairs
from .loss_types import function_of
from .mlx import PRECISION, through_mlx

PACKAGE = Package("mlx-tune", "0.6.0", needs=("mlx[cpu]",), modules=("mlx.core", "mlx.nn"), remark=PRECISION)
__getattr__ = PACKAGE.function
LOGPS = ("w", "l", "ref_w", "ref_l")
LENGTHS = ("length_w", "length_l")


class _Model:
    """Two sequences of two tokens, of which the second has the log-probability wanted; chosen first."""

    def __init__(self, *logps: Any) -> None:
        self.logps = iter(logps)

    def __call__(self, inputs: Any) -> Any:
        import mlx.core as mx

        logp = next(self.logps)
        other = mx.log(-mx.expm1(logp))
        return mx.stack([other, logp], axis=-1).reshape(1, 1, 2)


def _loss(name: str, p: Pairs, beta: float, **options: Any) -> Any:
    """A batch of one pair. Sequences have two tokens; the lengths that are divided by are those stated."""

    def of_one(one: Pairs) -> Any:
        import mlx.core as mx

        ids = mx.array([[0, 1]])
        lengths = [mx.array([2]), mx.array([2])]
        given = {"reference_chosen_logprobs": one.ref_w, "reference_rejected_logprobs": one.ref_l}
        given = given if name == "dpo_loss" else {}
        losses = from_file("mlx-tune", "mlx_tune/losses.py")
        return getattr(losses, name)(_Model(one.w, one.l), ids, ids, *lengths, beta=beta, **given, **options)[0]

    return through_mlx(of_one, p, LOGPS)


def _kto(p: Pairs, beta: float) -> Any:
    """Both responses of a pair, one after the other: the sum of what each contributes."""

    def of_one(one: Pairs) -> Any:
        import mlx.core as mx

        losses = from_file("mlx-tune", "mlx_tune/losses.py")
        parts = ((one.w, one.ref_w, 1.0), (one.l, one.ref_l, 0.0))
        given = mx.array([[0, 1]]), mx.array([2])
        return sum(
            losses.kto_loss(_Model(logp), *given, mx.array([label]), beta=beta, reference_logprobs=reference)[0]
            for logp, reference, label in parts
        )

    return through_mlx(of_one, p, LOGPS)


def _orpo(p: Pairs, beta: float) -> Any:
    return -p.w / 2 - beta * torch.nn.functional.logsigmoid(p.w - p.l)


def _simpo(p: Pairs, beta: float) -> Any:
    return -torch.nn.functional.logsigmoid(beta * ((p.w - p.l) / 2 - 0.5))


PACKAGE.add("dpo", "dpo_loss", "mlx_tune.losses:dpo_loss", lambda p, beta: _loss("dpo_loss", p, beta), Ours("dpo"))
PACKAGE.add(
    "dpo_smoothed",
    "dpo_loss, label_smoothing 0.1",
    "mlx_tune.losses:dpo_loss",
    lambda p, beta: _loss("dpo_loss", p, beta, label_smoothing=0.1),
    Ours("dpo", label_smoothing=0.1),
)
PACKAGE.add(
    "orpo",
    "orpo_loss, prompt of one token, response of one",
    "mlx_tune.losses:orpo_loss",
    lambda p, beta: _loss("orpo_loss", p, beta),
    Ours("orpo"),
    really=function_of(_orpo),
    note="no odds: the log-ratio of sums stands for log odds; means divide by the prompt's tokens too",
)
PACKAGE.add(
    "simpo",
    "simpo_loss, gamma 0.5, prompt of one token, response of one",
    "mlx_tune.losses:simpo_loss",
    lambda p, beta: _loss("simpo_loss", p, beta, gamma=0.5),
    Ours("simpo", gamma=0.5),
    really=function_of(_simpo),
    note="beta multiplies gamma too; means divide by the prompt's tokens too",
)
PACKAGE.add(
    "kto",
    "kto_loss",
    "mlx_tune.losses:kto_loss",
    _kto,
    Ours("kto"),
    note="no KL estimate, and log sigma in place of sigma: it is BCO without a reference point",
)
