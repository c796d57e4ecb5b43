"""TRL: the trainers' own methods, on stand-ins for the trainer, its model and its batch."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import logsigmoid as log_sigmoid

from . import stand_ins
from .borrowed import imported
from .implementation import Ours, Package, Pairs
from .loss_types import (
    BY_BATCH,
    LOSS_TYPES,
    MEAN_LIKELIHOOD,
    POINT,
    SMOOTHING,
    TAU,
    cpo_with_mean_likelihood,
    function_of,
    log_odds,
)

PACKAGE = Package(
    "trl",
    "1.16.0",
    needs=("trl==1.16.0",),
    how="imported",
    modules=("trl", "trl.experimental.cpo", "trl.experimental.orpo"),
)
__getattr__ = PACKAGE.function
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def _trl(module: str) -> Any:
    return imported("trl", module)


class _Model:
    """A causal language model with these log-probabilities of response tokens (B, T), and nothing else."""

    training = False

    def __init__(self, log_probs: torch.Tensor) -> None:
        self.log_probs = log_probs

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        nothing = torch.zeros_like(self.log_probs)
        return SimpleNamespace(
            log_probs=self.log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), aux_loss=None
        )


def _trainer(cls: Any, **settings: Any) -> Any:
    """A trainer that was never initialised, and has these attributes."""
    made = object.__new__(cls)
    for name, value in settings.items():
        setattr(made, name, value)
    made.accelerator = stand_ins.gathers()
    made.aux_loss_enabled, made.precompute_ref_logps, made.ref_model = False, True, None
    made._metrics = defaultdict(lambda: defaultdict(list))
    made._total_train_tokens, made._tp_size = 0, 1
    made.model = SimpleNamespace(training=False)
    return made


def _batch(p: Pairs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities of tokens, and a batch of one token of a prompt and those; winners first."""
    ones = torch.ones_like(p.w)
    lengths = (ones, ones) if p.length_w is None else (p.length_w, p.length_l)
    log_probs, there = stand_ins.tokens(torch.cat([p.w, p.l]), torch.cat(lengths))
    mask = torch.cat([torch.zeros(len(there), 1), there], dim=1).long()
    return log_probs, {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }


def _dpo(p: Pairs, beta: float, loss_type: str, **settings: Any) -> Any:
    """The mean over the batch; AOT's, which sorts the batch, is the mean of that."""
    log_probs, inputs = _batch(p)
    given = {"f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5, "label_smoothing": 0.0} | settings
    made = _trainer(
        _trl("trl").DPOTrainer, beta=beta, loss_types=[loss_type], loss_weights=[1.0], use_weighting=False, **given
    )
    made.ld_alpha, made.args = None, SimpleNamespace(discopop_tau=TAU)
    inputs |= {"ref_chosen_logps": p.ref_w, "ref_rejected_logps": p.ref_l}
    return made._compute_loss(_Model(log_probs), inputs, return_outputs=False)


def _smoothed(loss_type: str) -> dict[str, float]:
    return {"label_smoothing": SMOOTHING[loss_type]} if loss_type in SMOOTHING else {}


_WHERE = "trl:DPOTrainer._compute_loss"
_OURS = LOSS_TYPES | {
    "bco_pair": Ours("bco"),
    "ipo": Ours("ipo", of_means=True),
    "sigmoid_norm": Ours("dpo", of_means=True),
    "sft": Ours("sft"),
}
_NOTES = {
    "sft": "divides by the tokens of the whole batch, so that long responses weigh more: at one pair, a mean over its "
    "tokens",
    "exo_pair": "the logarithms of the smoothing are taken in float32",
}
for _type, _ours in _OURS.items():
    if _type in BY_BATCH:
        continue
    PACKAGE.add(
        f"dpo_{_type}",
        f"DPOTrainer, {_type}",
        _WHERE,
        lambda p, beta, t=_type: _dpo(p, beta, t, **_smoothed(t)),
        _ours,
        reads="lengths" if _type in ("ipo", "sigmoid_norm", "sft") else "",
        note=_NOTES.get(_type, ""),
        **({"really": Ours("sft", of_means=True).at} if _type == "sft" else {}),
    )
for _name, _divergence, _ours in (
    ("forward_kl", "forward_kl", Ours("fdpo", divergence="forward_kl")),
    ("js", "js_divergence", Ours("fdpo", divergence="jensen_shannon")),
    ("alpha", "alpha_divergence", Ours("fdpo", divergence="alpha", alpha=0.5)),
):
    PACKAGE.add(
        f"fdpo_{_name}",
        f"DPOTrainer, sigmoid, f_divergence_type {_divergence}",
        _WHERE,
        lambda p, beta, d=_divergence: _dpo(
            _single(p) if d == "alpha_divergence" else p, beta, "sigmoid", f_divergence_type=d
        ),
        _ours,
        note="a KeyError in float64; given float32 here" if _name == "alpha" else "",
    )


def _single(p: Pairs) -> Pairs:
    return Pairs(*(logps.float() for logps in p.logps))


def _kto(p: Pairs, beta: float, loss_type: str) -> Any:
    """Both responses of the pairs; the KL estimate of their batch is ``POINT``."""
    log_probs, inputs = _batch(p)
    made = _trainer(_trl("trl").KTOTrainer, beta=beta, loss_type=loss_type, calculate_KL=loss_type == "kto")
    made.desirable_weight = made.undesirable_weight = 1.0
    nothing = torch.zeros_like(p.w)
    made._compute_kl_logps = lambda model, batch: torch.cat([nothing, nothing]) + POINT
    inputs["label"] = torch.arange(2 * len(p.w)) < len(p.w)
    inputs |= {"ref_logps": torch.cat([p.ref_w, p.ref_l]), "ref_KL_logps": torch.cat([nothing, nothing])}
    return made._compute_loss(_Model(log_probs), inputs, return_outputs=False)


PACKAGE.add(
    "kto",
    f"KTOTrainer, KL estimate {POINT}",
    "trl:KTOTrainer._compute_loss",
    lambda p, beta: _kto(p, beta, "kto"),
    Ours("kto", reference_point=POINT),
)
PACKAGE.add(
    "apo_zero_unpaired",
    "KTOTrainer, apo_zero_unpaired",
    "trl:KTOTrainer._compute_loss",
    lambda p, beta: _kto(p, beta, "apo_zero_unpaired"),
    Ours("apo_zero"),
)


def _from_logits(p: Pairs, trainer: Any, prompt: int = 1) -> Any:
    """The trainers that take logits of winners and losers, and add the likelihood of the winners themselves."""
    lengths = torch.cat([p.length_w, p.length_l])
    ids, labels, logits = stand_ins.sequences(torch.cat([p.w, p.l]), lengths, prompt)
    count = len(p.w)
    batch = {"prompt_input_ids": ids[:count, :prompt], "prompt_attention_mask": torch.ones(count, prompt)}
    for side, rows in (("chosen", slice(None, count)), ("rejected", slice(count, None))):
        batch |= {f"{side}_input_ids": ids[rows], f"{side}_labels": labels[rows]}
        batch[f"{side}_attention_mask"] = (labels[rows] != stand_ins.IGNORED).long()
        batch[f"{side}_attention_mask"][:, :prompt] = 1
    return trainer.get_batch_loss_metrics(lambda *args, **kwargs: SimpleNamespace(logits=logits), batch)[0]


def _cpo(p: Pairs, beta: float, loss_type: str, **settings: Any) -> Any:
    given = {"label_smoothing": 0.0, "cpo_alpha": 0.0, "simpo_gamma": 0.5, "alpha": 0.0} | settings
    cls = _trl("trl.experimental.cpo").CPOTrainer
    plain = {"is_encoder_decoder": False, "pad_token_id": 0}
    return _from_logits(p, _trainer(cls, beta=beta, loss_type=loss_type, **plain, **given))


def _orpo(p: Pairs, beta: float, prompt: int = 1) -> Any:
    cls = _trl("trl.experimental.orpo").ORPOTrainer
    plain = {"is_encoder_decoder": False, "padding_value": 0, "pad_token_id": 0}
    return _from_logits(p, _trainer(cls, beta=beta, **plain), prompt)


_CPO = "trl.experimental.cpo:CPOTrainer.get_batch_loss_metrics"
for _name, _title, _settings, _ours in (
    ("cpo", "sigmoid, cpo_alpha 0", {"loss_type": "sigmoid"}, Ours("bradley_terry")),
    ("cpo_nll", "sigmoid, cpo_alpha 1", {"loss_type": "sigmoid", "cpo_alpha": 1.0}, Ours("cpo")),
    ("simpo", "simpo, simpo_gamma 0.5", {"loss_type": "simpo"}, Ours("simpo", gamma=0.5)),
    (
        *("alpha_po", "simpo, alpha 0.25", {"loss_type": "simpo", "alpha": 0.25}),
        Ours("alpha_po", alpha=0.25, gamma=0.5),
    ),
):
    _more = {"really": function_of(cpo_with_mean_likelihood, "lengths"), "note": MEAN_LIKELIHOOD}
    PACKAGE.add(
        _name,
        f"CPOTrainer, {_title}",
        _CPO,
        lambda p, beta, s=_settings: _cpo(p, beta, **s),
        _ours,
        reads="lengths",
        is_exact=False,
        **(_more if _name == "cpo_nll" else {}),
    )


def _orpo_of_prompt(p: Pairs, beta: float) -> Any:
    """The prompt's second token has probability 1/2."""
    likelihood = (p.w - math.log(2.0)) / (p.length_w + 1)
    return -likelihood - beta * log_sigmoid(log_odds(p.w / p.length_w) - log_odds(p.l / p.length_l))


for _name, _title, _prompt, _note in (
    ("orpo", "ORPOTrainer", 1, "odds are taken in float32"),
    (
        "orpo_prompt",
        "ORPOTrainer, prompts of two tokens",
        2,
        "the likelihood is a mean over the tokens of prompt and response; odds are taken in float32",
    ),
):
    PACKAGE.add(
        _name,
        _title,
        "trl.experimental.orpo:ORPOTrainer.get_batch_loss_metrics",
        lambda p, beta, n=_prompt: _orpo(p, beta, n),
        Ours("orpo"),
        reads="lengths",
        is_exact=False,
        note=_note,
        **({"really": function_of(_orpo_of_prompt, "lengths")} if _prompt == 2 else {}),
    )
