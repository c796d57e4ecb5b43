"""The losses that TRL has: the same model, data, settings and seed give the same losses in its trainer and in ours."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version

import expo_analysis as ea
from expo_analysis.losses.trl import TRL_LOSSES

from . import llm_models as tiny
from .llm_texts import byte_tokenizer, model_for, said, user

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data.checks import NOT_CONTINUED  # isort: skip
from peft import LoraConfig  # isort: skip
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM  # isort: skip
from transformers import Gemma2Config, Gemma2ForCausalLM, GptOssConfig, GptOssForCausalLM  # isort: skip
from transformers import set_seed  # isort: skip
import trl  # isort: skip
from trl import DPOConfig, DPOTrainer  # isort: skip

TRL = Version(importlib.metadata.version("trl"))
pytestmark = pytest.mark.skipif(
    (TRL.major, TRL.minor) == (1, 15) and not torch.cuda.is_available(),
    reason="TRL 1.15 itself needs Triton",
)

STEPS = 20
NORMALISED = ("ipo", "sigmoid_norm", "sft")
"""The losses that TRL divides by length; its rewards and log-probabilities are of sums all the same."""
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
SHARED = (
    *("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"),
    *("logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy", "num_tokens", "grad_norm"),
)
"""What both trainers log under one name."""
OF_TOKENS = ("logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy")
"""Of accumulated batches TRL averages averages, over tokens too; ours are means over all tokens."""


def logs(trainer: Any, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    return (
        np.array([entry["loss"] for entry in entries]),
        np.array([[entry.get(name, np.nan) for name in names] for entry in entries]),
    )


def compare(
    folder: Path, how: str = "full", make_model: Callable[[int], Any] = tiny.llama, names: Any = SHARED, **given: Any
) -> None:
    """``given``: settings of DPOConfig, which `PreferenceConfig.from_trl` takes over."""
    settings = tiny.settings(folder, max_steps=STEPS, logging_steps=1, beta=0.3, learning_rate=5e-3) | given
    theirs = DPOConfig(**settings, precompute_ref_log_probs=how == "precomputed")
    lora = (
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_dropout=0.25)
        if how == "lora"
        else None
    )
    found = []
    for kind in (PreferenceTrainer, DPOTrainer):
        unread = given.get("loss_type") == ["sft"] and kind is PreferenceTrainer  # where ours refuses a reference
        model = make_model(0)
        common = {
            "ref_model": None if how == "lora" or unread else make_model(1),
            "train_dataset": tiny.pairs(24),
            "processing_class": tiny.tokenizer(),
            "peft_config": lora,
        }
        args = PreferenceConfig.from_trl(theirs) if kind is PreferenceTrainer else theirs
        set_seed(theirs.seed)  # as TRL itself does from 1.15 on, so that adapters begin alike
        found.append(logs(kind(model, args=args, **common), names))
    (mine, my_logs), (their_losses, their_logs) = found
    assert len(mine) == STEPS
    np.testing.assert_allclose(mine, their_losses, rtol=1e-5, atol=1e-5)
    assert abs(mine[-1] / mine[0] - 1) > 1e-3  # training did something
    np.testing.assert_allclose(my_logs, their_logs, rtol=1e-3, atol=1e-4)


def of(loss_type: str) -> dict[str, Any]:
    names = ("grad_norm", "entropy", "mean_token_accuracy", "num_tokens") if loss_type in NORMALISED else SHARED
    smoothing = {"label_smoothing": 0.1} if loss_type in SMOOTHED else {}
    slower = {"learning_rate": 1e-3} if loss_type == "sppo_hard" else {}  # whose losses of 25 magnify rounding
    return {"loss_type": [loss_type], "names": names, **smoothing, **slower}


@pytest.mark.parametrize(
    ("loss_type", "how"), [("sigmoid", "full"), ("sigmoid", "lora"), ("sigmoid", "precomputed"), ("ipo", "full")]
)
def test_losses_over_twenty_steps(loss_type: str, how: str, tmp_path: Path) -> None:
    compare(tmp_path, how, **of(loss_type))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "lora", "precomputed"])
@pytest.mark.parametrize("loss_type", [x for x in TRL_LOSSES if x != "sigmoid"])
def test_the_other_losses(loss_type: str, how: str, tmp_path: Path) -> None:
    compare(tmp_path, how, **of(loss_type))


SETTINGS: dict[str, dict[str, Any]] = {
    "MPO": {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
    "WPO": {"use_weighting": True},
    "LD-DPO": {"ld_alpha": 0.5},
    "LD and IPO": {"ld_alpha": 0.25, "loss_type": ["ipo"], "names": OF_TOKENS},
    "LD and SFT": {"ld_alpha": 0.2, "loss_type": ["sigmoid", "sft"]},
    "forward KL": {"f_divergence_type": "forward_kl"},
    "Jensen-Shannon": {"f_divergence_type": "js_divergence"},
    "alpha": {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7},
    "TR-DPO": {"sync_ref_model": True, "ref_model_sync_steps": 3, "ref_model_mixup_alpha": 0.5},
    "cut": {"max_length": 7},
    "padded": {"pad_to_multiple_of": 16},
    "checkpointed": {"gradient_checkpointing": True},
    "discopop": {"loss_type": ["discopop"], "discopop_tau": 0.1},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.slow
def test_settings_that_are_carried_over(name: str, tmp_path: Path) -> None:
    compare(tmp_path, **SETTINGS[name])


def test_accumulated_gradients(tmp_path: Path) -> None:
    names = tuple(name for name in SHARED if name not in OF_TOKENS)
    compare(tmp_path, gradient_accumulation_steps=2, names=names)


SIZES = {
    **{"vocab_size": len(tiny.WORDS) + 3, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128},
    **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "initializer_range": 0.2},
}
MIXTURES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "mixtral": (MixtralForCausalLM, MixtralConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig,
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "gpt_oss": (GptOssForCausalLM, GptOssConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


COEFFICIENTS = {"its own": None, "0.5": 0.5, "off": 0.0}
QUICK = set(zip(MIXTURES, COEFFICIENTS, strict=True))  # each once; the other six cases are slow


@pytest.mark.parametrize(
    ("name", "coefficient"),
    [
        pytest.param(name, value, id=f"{name}-{kind}", marks=() if (name, kind) in QUICK else pytest.mark.slow)
        for name in MIXTURES
        for kind, value in COEFFICIENTS.items()
    ],
)
def test_mixtures_of_experts(name: str, coefficient: float | None, tmp_path: Path) -> None:
    """With their load-balancing loss, at the model's own coefficient or another one."""
    if coefficient is None and Version("1.13") > TRL:
        pytest.skip("TRL 1.12 has the same coefficient for every model")
    kind, config, given = MIXTURES[name]

    def make(seed: int) -> Any:
        torch.manual_seed(seed)
        return kind(config(**SIZES | given))

    names = ("rewards/margins", "grad_norm", *(() if coefficient == 0 else ("aux_loss",)))
    compare(tmp_path, make_model=make, names=names, router_aux_loss_coef=coefficient)


def test_capped_logits(tmp_path: Path) -> None:
    def make(seed: int) -> Any:
        torch.manual_seed(seed)
        return Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=2.0))

    compare(tmp_path, make_model=make)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"truncation_mode": "keep_end"}, "truncation_mode has no counterpart here: responses are cut at their end"),
        ({"padding_free": True}, "padding_free has no counterpart here: TRL itself ignores it"),
        ({"activation_offloading": True}, "activation_offloading has no counterpart here"),
        ({"pad_token": "<pad>"}, "pad_token has no counterpart here: set the tokenizer's pad_token"),
        ({"label_smoothing": 0.1}, "label_smoothing is not used by loss_type"),
        ({"loss_weights": [2.0]}, "loss_weights of a single loss_type"),
    ],
)
def test_settings_without_a_counterpart(setting: dict[str, Any], message: str, tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = DPOConfig(**tiny.settings(tmp_path), **setting)
    with pytest.raises(ValueError, match=message):
        PreferenceConfig.from_trl(theirs)


def test_every_setting_of_trl_is_carried_over_or_known(tmp_path: Path) -> None:
    """None is forgotten: each field of DPOConfig is ours too, is in the objective, or is refused by name."""
    import dataclasses

    from expo_analysis.llm.training.from_trl import HERE, NOT_HERE, OBJECTIVE

    ours = {field.name for field in dataclasses.fields(PreferenceConfig)}
    theirs = {field.name for field in dataclasses.fields(DPOConfig) if field.init}
    assert theirs - ours - set(OBJECTIVE) - set(NOT_HERE) - set(HERE) == set()


def test_changes_and_other_settings(tmp_path: Path) -> None:
    theirs = DPOConfig(**tiny.settings(tmp_path, max_length=77, seed=5), loss_type=["ipo"], beta=0.7)
    ours = PreferenceConfig.from_trl(theirs, max_length=33)
    assert (ours.max_length, ours.seed, ours.aggregation) == (33, 5, "mean")
    assert str(ours.make_objective()) == "IPO(lam=0.7)"
    with pytest.raises(TypeError, match=r"config must be a trl\.DPOConfig, got int"):
        PreferenceConfig.from_trl(3)
    with pytest.raises(TypeError, match=r"got DPOConfig; PreferenceConfig\.from_trl\(args\) makes one of it"):
        PreferenceTrainer(tiny.llama(0), args=theirs, train_dataset=tiny.pairs(4), processing_class=tiny.tokenizer())


def test_labels_are_trained_on_as_in_its_kto_trainer(tmp_path: Path) -> None:
    """Its loss without an estimated reference point, with weights; a batch is all rows, whose order is its own."""
    if not hasattr(trl, "KTOTrainer"):
        pytest.skip("this TRL has its KTO trainer elsewhere")
    settings = tiny.settings(tmp_path, max_steps=8, beta=0.3, learning_rate=5e-3, per_device_train_batch_size=16)
    theirs = trl.KTOConfig(**settings, loss_type="apo_zero_unpaired", desirable_weight=1.5, undesirable_weight=0.5)
    objective = ea.KTO(0.3, desirable_weight=1.5, undesirable_weight=0.5)
    names = ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")
    found = []
    for kind, args, given in ((PreferenceTrainer, None, (objective,)), (trl.KTOTrainer, theirs, ())):
        own = args or PreferenceConfig(**settings)
        data = tiny.Dataset.from_list(tiny.feedback("labels", 16))
        common = {"ref_model": tiny.llama(1), "train_dataset": data, "processing_class": tiny.tokenizer()}
        found.append(logs(kind(tiny.llama(0), *given, args=own, **common), names))
    (mine, my_logs), (their_losses, their_logs) = found
    np.testing.assert_allclose(mine, their_losses, rtol=1e-5, atol=1e-5)
    assert len(mine) == 8 and abs(mine[-1] - mine[0]) > 1e-3
    np.testing.assert_allclose(my_logs, their_logs, rtol=1e-3, atol=1e-4)


PREFILLED = {"prompt": [user("Hi"), said("The")], "chosen": [said(" City")], "rejected": [said(" No")]}


def test_a_prompt_that_ends_with_the_assistants_message_has_trls_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether both responses are one message or several; and the remark says that nothing is continued."""
    tokenizer = byte_tokenizer()
    rows = [PREFILLED, PREFILLED | {"chosen": [said(" City"), user("?"), said("!")]}]
    whole = [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows]
    for given in (rows, whole):
        common = {"train_dataset": tiny.Dataset.from_list(given), "processing_class": tokenizer}
        common["ref_model"] = model_for(tokenizer)
        theirs = DPOTrainer(model_for(tokenizer), args=DPOConfig(**tiny.settings(tmp_path)), **common).train_dataset
        args = PreferenceConfig(**tiny.settings(tmp_path))
        with caplog.at_level("WARNING", "expo_analysis.llm"):
            mine = PreferenceTrainer(model_for(tokenizer), ea.DPO(lam=0.1), args, **common).data
        for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
            assert mine.rows[name][:] == [row[name] for row in theirs]
        assert mine.report.remarks[NOT_CONTINUED] == 2
    assert "does not continue it" in caplog.text
