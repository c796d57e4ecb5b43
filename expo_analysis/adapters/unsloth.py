"""unsloth-zoo: losses of its MLX trainers; on other machines Unsloth runs TRL's."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import BY_BATCH, LOSS_TYPES, SMOOTHING, TAU
from .mlx import PRECISION, through_mlx

PACKAGE = Package(
    "unsloth-zoo",
    "2026.10.9",
    needs=("mlx[cpu]",),
    how="its definitions alone",
    remark=f"Elsewhere than on MLX, Unsloth runs TRL's trainers. {PRECISION}",
    modules=("mlx.core", "mlx.nn"),
)
__getattr__ = PACKAGE.function
WHERE = "unsloth_zoo.mlx.preference"
LOGPS = ("w", "l", "ref_w", "ref_l")
DPO = ("smoothed_sigmoid", "robust", "exo_pair", "hinge", "ipo", "sppo_hard", "nca_pair", "aot_pair", "aot")
OTHERS = ("apo_zero", "apo_down", "discopop")


def _found() -> Any:
    import mlx.core as mx

    names = ["_log_sigmoid", *(f"_dpo_{name}" for name in (*DPO, *OTHERS)), "_DPO_VARIANTS"]
    names += ["_cpo_hinge", "_CPO_VARIANTS", "_cpo_rewards", "_orpo_log_odds"]
    return definitions("unsloth-zoo", "unsloth_zoo/mlx/preference.py", *names, mx=mx, math=math)


def _dpo(p: Pairs, beta: float, loss_type: str, smoothing: float = 0.0) -> Any:
    def of_one(one: Pairs) -> Any:
        objective = SimpleNamespace(beta=beta, label_smoothing=smoothing, discopop_tau=TAU)
        won, lost = one.ratios
        terms = SimpleNamespace(
            chosen=one.w,
            rejected=one.l,
            ref_chosen=one.ref_w,
            ref_rejected=one.ref_l,
            chosen_ratio=won,
            rejected_ratio=lost,
            delta=(one.w - one.l) - (one.ref_w - one.ref_l),
        )
        return _found()._DPO_VARIANTS[loss_type](objective, terms)

    return through_mlx(of_one, p, LOGPS)


def _cpo(p: Pairs, beta: float, loss_type: str, alpha: float = 0.0) -> Any:
    """Of sums, or of means where there are lengths, as its trainer does for "simpo"."""

    def of_one(one: Pairs) -> Any:
        found = _found()
        objective = SimpleNamespace(beta=beta, label_smoothing=0.0, simpo_gamma=0.5, alpha=alpha)
        means = (one.w, one.l) if one.length_w is None else (one.w / one.length_w, one.l / one.length_l)
        won, lost = (found._cpo_rewards(objective, logp) for logp in means)
        return found._CPO_VARIANTS[loss_type](objective, won - lost)

    return through_mlx(of_one, p, LOGPS[:2] if p.length_w is None else (*LOGPS[:2], "length_w", "length_l"))


def _orpo(p: Pairs, beta: float) -> Any:
    """The odds-ratio term, with the likelihood of the response's tokens beside it."""

    def of_one(one: Pairs) -> Any:
        found = _found()
        won, lost = one.w / one.length_w, one.l / one.length_l
        return -won - beta * found._log_sigmoid(found._orpo_log_odds(won, lost))

    return through_mlx(of_one, p, (*LOGPS[:2], "length_w", "length_l"))


for _type, _ours in LOSS_TYPES.items():
    if _type == "bco_pair" or _type in BY_BATCH:
        continue
    PACKAGE.add(
        f"dpo_{_type}",
        f"DPO, {_type}",
        f"{WHERE}:_DPO_VARIANTS",
        lambda p, beta, t=_type: _dpo(p, beta, t, SMOOTHING.get(t, 0.0)),
        _ours,
    )
PACKAGE.add(
    "cpo",
    "CPO, sigmoid, cpo_alpha 0",
    f"{WHERE}:_CPO_VARIANTS",
    lambda p, beta: _cpo(p, beta, "sigmoid"),
    Ours("bradley_terry"),
)
PACKAGE.add(
    "simpo",
    "CPO, simpo of means, simpo_gamma 0.5",
    f"{WHERE}:_CPO_VARIANTS",
    lambda p, beta: _cpo(p, beta, "simpo"),
    Ours("simpo", gamma=0.5),
    reads="lengths",
)
PACKAGE.add(
    "alpha_po",
    "CPO, simpo of means, alpha 0.25",
    f"{WHERE}:_cpo_rewards",
    lambda p, beta: _cpo(p, beta, "simpo", 0.25),
    Ours("alpha_po", alpha=0.25, gamma=0.5),
    reads="lengths",
)
PACKAGE.add(
    "orpo",
    "ORPO, odds of means",
    f"{WHERE}:_orpo_log_odds",
    _orpo,
    Ours("orpo"),
    reads="lengths",
    note="odds are taken in float32",
)
