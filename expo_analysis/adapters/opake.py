"""opake-alignment: pure functions of log-ratios, one a file."""

from __future__ import annotations

from typing import Any

from .borrowed import imported
from .implementation import Ours, Package

PACKAGE = Package(
    "opake-alignment",
    "0.16.1",
    alone=("opake-engine", "opake-base"),
    how="imported",
    modules=("opake.api.alignment.dpo.loss",),
)
__getattr__ = PACKAGE.function
MODULE = "opake.api.alignment.dpo.loss"


def _loss(name: str) -> Any:
    return getattr(imported("opake-alignment", MODULE), name)


def _of_ratios(name: str, **options: Any) -> Any:
    return lambda p, beta: _loss(name)(*p.ratios, beta=beta, **options)


def _add(name: str, function: str, ours: Ours, **options: Any) -> None:
    title = ", ".join([function, *(f"{key} {value}" for key, value in options.items())])
    where = f"{MODULE}:{function}"
    PACKAGE.add(name, title, where, _of_ratios(function, **options), ours)


_add("dpo", "sigmoid_loss", Ours("dpo"))
_add("dpo_smoothed", "sigmoid_loss", Ours("dpo", label_smoothing=0.1), label_smoothing=0.1)
_add("robust", "robust_loss", Ours("dpo", label_smoothing=0.1, robust=True), label_smoothing=0.1)
_add("hinge", "hinge_loss", Ours("hinge"))
_add("ipo", "ipo_loss", Ours("ipo"))
_add("exo", "exo_loss", Ours("exo", label_smoothing=1e-3))
_add("nca", "nca_loss", Ours("nca"))
_add("bco", "bco_loss", Ours("bco"))
_add("bco_delta", "bco_loss", Ours("bco", reference_point=0.5), delta=0.5)
_add("sppo", "sppo_loss", Ours("sppo"))
_add("apo_zero", "apo_zero_loss", Ours("apo_zero"))
_add("apo_down", "apo_down_loss", Ours("apo_down"))
_add("discopop", "discopop_loss", Ours("discopop", tau=0.05))

PACKAGE.add(
    "simpo",
    "simpo_loss of means, gamma 0.5",
    f"{MODULE}:simpo_loss",
    lambda p, beta: _loss("simpo_loss")(p.w / p.length_w, p.l / p.length_l, beta=beta, gamma=0.5),
    Ours("simpo", gamma=0.5),
    reads="lengths",
)
PACKAGE.add(
    "orpo",
    "odds_ratio_loss and chosen_nll_loss of means",
    f"{MODULE}:odds_ratio_loss",
    lambda p, beta: (
        _loss("chosen_nll_loss")(p.w / p.length_w) + beta * _loss("odds_ratio_loss")(p.w / p.length_w, p.l / p.length_l)
    ),
    Ours("orpo"),
    reads="lengths",
)


def _linked(divergence: str, **options: Any) -> Any:
    def loss(p: Any, beta: float) -> Any:
        remap = _loss("f_divergence_remap")
        scores = [remap(ratio, f_divergence_type=divergence, **options) for ratio in p.ratios]
        return _loss("sigmoid_loss")(*scores, beta=beta)

    return loss


for _name, _divergence, _given, _ours in (
    ("fdpo_js", "js_divergence", {}, Ours("fdpo", divergence="jensen_shannon")),
    ("fdpo_forward_kl", "forward_kl", {}, Ours("fdpo", divergence="forward_kl")),
    ("fdpo_alpha", "alpha_divergence", {"alpha": 0.5}, Ours("fdpo", divergence="alpha", alpha=0.5)),
):
    PACKAGE.add(
        _name,
        f"sigmoid_loss of f_divergence_remap, {_divergence}",
        f"{MODULE}:f_divergence_remap",
        _linked(_divergence, **_given),
        _ours,
    )
