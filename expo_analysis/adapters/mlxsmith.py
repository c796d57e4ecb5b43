"""mlxsmith: functions of a backend, which is asked for log-probabilities of token ids."""

from __future__ import annotations

from typing import Any

import torch

from .borrowed import from_file
from .implementation import Ours, Package, Pairs
from .loss_types import function_of
from .mlx import PRECISION, through_mlx

PACKAGE = Package("mlxsmith", "0.1.9", needs=("mlx[cpu]",), modules=("mlx.core", "mlx.nn"), remark=PRECISION)
__getattr__ = PACKAGE.function
LOGPS = ("w", "l", "ref_w", "ref_l")
LENGTHS = ("length_w", "length_l")
CHOSEN, REJECTED = [0, 1], [0, 2]
"""A prompt of one token and a response of one."""


class _Backend:
    """A backend with one log-probability for each of the two responses."""

    def __init__(self, chosen: Any, rejected: Any) -> None:
        import mlx.core as mx

        self.mx, self.known = mx, {CHOSEN[-1]: chosen, REJECTED[-1]: rejected}

    def sequence_logprob(self, ids: list[int], prompt_len: int) -> Any:
        return self.known[ids[-1]]

    def sft_loss(self, ids: list[int], **options: Any) -> Any:
        """The mean over a response's tokens, of which there is one."""
        return -self.known[ids[-1]]

    def token_logprobs(self, ids: list[int], **options: Any) -> Any:
        return None, None


def _losses() -> Any:
    return from_file("mlxsmith", "mlxsmith/sdk/losses.py")


def _loss(name: str, p: Pairs, reference: bool, **options: Any) -> Any:
    def of_one(one: Pairs) -> Any:
        given = {"reference_backend": _Backend(one.ref_w, one.ref_l)} if reference else {}
        lengths = {"prompt_len_chosen": 1, "prompt_len_rejected": 1}
        loss = getattr(_losses(), f"{name.partition('_')[0]}_loss")
        return loss(_Backend(one.w, one.l), CHOSEN, REJECTED, **lengths, **given, **options)

    return through_mlx(of_one, p, LOGPS if reference else LOGPS[:2])


def _kto(p: Pairs, beta: float, **options: Any) -> Any:
    def of_one(one: Pairs) -> Any:
        own, reference = _Backend(one.w, one.l), _Backend(one.ref_w, one.ref_l)
        given = {"prompt_len": 1, "beta": beta, "reference_backend": reference, **options}
        kto = _losses().kto_loss
        return kto(own, CHOSEN, desired=True, **given) + kto(own, REJECTED, desired=False, **given)

    return through_mlx(of_one, p, LOGPS)


def _pushed_down(p: Pairs, beta: float) -> Any:
    won, lost = p.ratios
    return -torch.nn.functional.logsigmoid(beta * (won - lost)) + 0.5 * won


def _no_odds(p: Pairs, beta: float) -> Any:
    return -p.w - beta * torch.nn.functional.logsigmoid(p.w - p.l)


_WHERE = "mlxsmith.sdk.losses"
_LOSSES: tuple[tuple[str, str, bool, dict[str, Any], Ours, dict[str, Any]], ...] = (
    ("dpo", "dpo_loss", True, {}, Ours("dpo"), {}),
    ("ipo", "ipo_loss", True, {}, Ours("ipo"), {}),
    (
        *("dpo_kl", "dpo_loss, kl_coeff 0.5", True, {"kl_coeff": 0.5}, Ours("dpo")),
        {
            "really": function_of(_pushed_down),
            "note": "its penalty is the winner's log-ratio, so that it pushes winners down without end",
        },
    ),
    ("cpo", "cpo_loss", False, {}, Ours("bradley_terry"), {}),
    (
        *("simpo", "simpo_loss, margin 0.5", False, {"margin": 0.5}, Ours("simpo", gamma=0.5)),
        {"really": Ours("simpo", gamma=lambda lam: 0.5 * lam).at, "note": "beta multiplies the margin too"},
    ),
    (
        *("orpo", "orpo_loss", False, {}, Ours("orpo")),
        {"really": function_of(_no_odds), "note": "no odds: a log-ratio of sums"},
    ),
)
for _name, _title, _reference, _options, _ours, _more in _LOSSES:
    PACKAGE.add(
        _name,
        _title,
        f"{_WHERE}:{_name.partition('_')[0]}_loss",
        lambda p, beta, n=_name, r=_reference, o=_options: _loss(n, p, r, beta=beta, **o),
        _ours,
        **_more,
    )
PACKAGE.add(
    "kto",
    "kto_loss",
    f"{_WHERE}:kto_loss",
    _kto,
    Ours("kto"),
    note="log sigma in place of sigma: at its default powers it is BCO without a reference point",
)
