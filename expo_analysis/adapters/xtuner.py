"""XTuner: ``compute_loss`` of its models, from logits of chosen and rejected in turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from . import stand_ins
from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import KTO_OF_ONE, function_of, kto_of_one

PACKAGE = Package("xtuner", "0.2.0", how="its definitions alone", remark="Its import needs mmengine.")
__getattr__ = PACKAGE.function
METHODS = {
    "DPO": ("_gather_masked_logits", "get_logps", "compute_loss"),
    "ORPO": ("_gather_masked_logits", "get_logps", "cross_entropy_loss", "odds_ratio_loss", "compute_loss"),
}


class _Model(SimpleNamespace):
    """A model of XTuner with these settings and its own methods."""

    def __init__(self, cls: str, **settings: Any) -> None:
        super().__init__(use_varlen_attn=False, **settings)
        known = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
        names = [f"{cls}.{name}" for name in METHODS[cls]]
        found = definitions(
            "xtuner", f"xtuner/model/{cls.lower()}.py", *names, get_sequence_parallel_world_size=lambda: 1, **known
        )
        for name in METHODS[cls]:
            setattr(self, name, getattr(found, name).__get__(self))


def _in_turns(w: torch.Tensor, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
    return torch.stack([w, l], dim=1).reshape(-1)


def _data(w: Any, l: Any, lengths: Any) -> tuple[Any, Any]:  # noqa: E741
    _, labels, logits = stand_ins.sequences(_in_turns(w, l), lengths)
    return logits, labels


def _dpo(p: Pairs, beta: float, loss_type: str, label_smoothing: float = 0.0) -> Any:
    lengths = _in_turns(p.length_w, p.length_l)
    logits, labels = _data(p.w, p.l, lengths)
    references, _ = _data(p.ref_w, p.ref_l, lengths)
    made = _Model("DPO", beta=beta, loss_type=loss_type, label_smoothing=label_smoothing)
    made.llm = lambda **data: SimpleNamespace(logits=logits)
    made.ref_llm = lambda **data: SimpleNamespace(logits=references)
    return made.compute_loss({"labels": labels})["loss"]


def _kto(p: Pairs, beta: float) -> Any:
    rows = zip(*(x.reshape(-1, 1) for x in (*p.logps, p.length_w, p.length_l)), strict=True)
    return torch.stack([_dpo(Pairs(*row), beta, "kto_pair").sum() for row in rows])


def _orpo(p: Pairs, beta: float) -> Any:
    logits, labels = _data(p.w, p.l, _in_turns(p.length_w, p.length_l))
    made = _Model("ORPO", beta=beta)
    made.llm = lambda **data: SimpleNamespace(logits=logits)
    return made.compute_loss({"labels": labels})["loss"]


_WHERE = "xtuner.model:DPO.compute_loss"
for _type, _ours, _smoothing in (
    ("sigmoid", Ours("dpo"), 0.0),
    ("robust", Ours("dpo", label_smoothing=0.1, robust=True), 0.1),
    ("hinge", Ours("hinge"), 0.0),
    ("ipo", Ours("ipo", of_means=True), 0.0),
    ("sppo_hard", Ours("sppo"), 0.0),
    ("nca_pair", Ours("nca"), 0.0),
):
    PACKAGE.add(
        _type,
        f"DPO, {_type}, from logits",
        _WHERE,
        lambda p, beta, t=_type, s=_smoothing: _dpo(p, beta, t, s),
        _ours,
        reads="lengths",
        is_exact=False,
    )
PACKAGE.add(
    "kto_pair",
    "DPO, kto_pair, from logits, batches of one",
    _WHERE,
    _kto,
    Ours("kto"),
    reads="lengths",
    is_exact=False,
    really=function_of(kto_of_one),
    note=KTO_OF_ONE,
)
PACKAGE.add(
    "orpo", "ORPO, from logits", "xtuner.model:ORPO.compute_loss", _orpo, Ours("orpo"), reads="lengths", is_exact=False
)
