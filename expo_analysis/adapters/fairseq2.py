"""fairseq2: units of its recipes for preferences, which the releases from 0.5 on no longer have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import logsigmoid as log_sigmoid

from .borrowed import definitions
from .implementation import Ours, Package, Pairs
from .loss_types import MEAN_LIKELIHOOD, cpo_with_mean_likelihood, function_of, log_odds

PACKAGE = Package(
    "fairseq2", "0.4.6", how="its definitions alone", remark="The last release that has them; 0.8.1 has none."
)
__getattr__ = PACKAGE.function
NAMES = {"dpo": "Dpo", "cpo": "Cpo", "simpo": "SimPO", "orpo": "Orpo"}
FOLDER = "fairseq2/recipes/lm/_preference_finetune"


class _Unit(SimpleNamespace):
    """A unit of a recipe with these settings: its own ``__call__``, on log-probabilities in place of models."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(**settings, _reference_model=None, _length_normalization=False)
        unit = f"{NAMES[name]}FinetuneUnit"
        known: dict[str, Any] = {
            "torch": torch,
            "cast": lambda kind, value: value,
            "SequenceModelOutput": None,
            "as_auto_regressive_input": lambda batch: (batch, batch),
            "_gather_lprobs": lambda output, target: output.logps,
            "_gather_lprobs_avg": lambda output, target: (output.logps, output.logps / output.lengths),
        }
        method = f"_compute_{name}_loss"
        names = (f"{unit}.__call__", f"{unit}.{method}")
        self.found = definitions("fairseq2", f"{FOLDER}/_{name}.py", *names, **known)
        setattr(self, method, getattr(self.found, method).__get__(self))
        self._model = lambda output: output
        self._metric_bag = _Nothing()

    def loss(self, p: Pairs) -> Any:
        """The sum over a batch."""
        chosen, rejected = (_Responses(logps, lengths) for logps, lengths in ((p.w, p.length_w), (p.l, p.length_l)))
        references = {"reference_score_chosen": p.ref_w, "reference_score_rejected": p.ref_l}
        batch = SimpleNamespace(chosen=chosen, rejected=rejected, **references)
        return vars(self.found)["__call__"](self, batch)[0]


class _Nothing:
    """A bag of metrics that takes whatever it is told."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class _Responses:
    """A batch of responses, its target, and a model's output for it, all in one."""

    seqs = None

    def __init__(self, logps: torch.Tensor, lengths: torch.Tensor) -> None:
        self.logps, self.lengths, self.batch_size = logps, lengths, len(logps)
        self.target_mask = lengths[:, None]

    def num_target_elements(self) -> torch.Tensor:
        return self.lengths.sum()

    def compute_loss(self, seqs: Any, loss_mask: Any = None) -> torch.Tensor:
        return -self.logps.sum()


def _odds_of_sums(p: Pairs, beta: float) -> Any:
    return -p.w / p.length_w - log_sigmoid(log_odds(p.w) - log_odds(p.l))


def _where(name: str) -> str:
    return f"fairseq2.recipes.lm._preference_finetune._{name}"


for _name, _title, _settings, _ours, _more in (
    ("dpo", "", lambda beta: {"_beta": beta, "_nll_scale": 0.0}, Ours("dpo"), {}),
    (
        "cpo",
        ", nll_scale 1, its default",
        lambda beta: {"_beta": beta, "_nll_scale": 1.0},
        Ours("cpo"),
        {"really": function_of(cpo_with_mean_likelihood, "lengths"), "note": MEAN_LIKELIHOOD},
    ),
    (
        "simpo",
        ", gamma 0.5",
        lambda beta: {"_beta": beta, "_gamma": 0.5, "_nll_scale": 0.0},
        Ours("simpo", gamma=0.5),
        {},
    ),
    (
        "orpo",
        ", orpo_lambda",
        lambda beta: {"_lambda": beta, "_nll_scale": 1.0},
        Ours("orpo"),
        {
            "really": function_of(_odds_of_sums, "lengths"),
            "note": "orpo_lambda is stored and never used; odds are those of whole responses, the likelihood is a mean "
            "over tokens",
        },
    ),
):
    PACKAGE.add(
        _name,
        f"{NAMES[_name]}FinetuneUnit{_title}",
        f"{_where(_name)}:{NAMES[_name]}FinetuneUnit",
        lambda p, beta, n=_name, s=_settings: _Unit(n, **s(beta)).loss(p),
        _ours,
        reads="lengths",
        **_more,
    )
