"""The losses that TRL has: the same model, data and seed give the same losses in its trainer and in ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.catalogue import TRL_LOSSES

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)
from peft import LoraConfig  # isort: skip
from trl import DPOConfig, DPOTrainer  # isort: skip

STEPS = 20
BY_LENGTH = ("ipo", "sigmoid_norm")
"""The losses that TRL divides by length; the others are of sums."""


def losses(trainer: Any) -> np.ndarray:
    trainer.train()
    return np.array([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def compare(loss_type: str, how: str, folder: Path, accumulation: int = 1) -> None:
    smoothing = {"label_smoothing": 0.1} if loss_type in ("robust", "exo_pair", "aot", "aot_unpaired") else {}
    shared = tiny.settings(
        folder,
        max_steps=STEPS,
        precompute_ref_log_probs=how == "precomputed",
        gradient_accumulation_steps=accumulation,
        logging_steps=1,
        beta=0.3,
        learning_rate=5e-3,
    )
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False) if how == "lora" else None
    found = []
    for ours in (True, False):
        model, reference = tiny.llama(0), tiny.llama(1)
        common = {
            "ref_model": None if how == "lora" else reference,
            "train_dataset": tiny.pairs(24),
            "processing_class": tiny.tokenizer(),
            "peft_config": lora,
        }
        if ours:
            aggregation = "mean" if loss_type in BY_LENGTH else "sum"
            objective = ea.from_trl(loss_type, 0.3, **smoothing)
            args = PreferenceConfig(**shared, aggregation=aggregation)
            trainer = PreferenceTrainer(model, objective, args, **common)
        else:
            trainer = DPOTrainer(model, args=DPOConfig(**shared, loss_type=[loss_type], **smoothing), **common)
        found.append(losses(trainer))
        logs = trainer.state.log_history
        found.append(np.array([[entry.get(name, np.nan) for name in SHARED] for entry in logs[:STEPS]]))
    mine, my_logs, theirs, their_logs = found
    assert len(mine) == STEPS
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    assert abs(mine[-1] / mine[0] - 1) > 1e-3  # training did something
    if loss_type not in (*BY_LENGTH, "sft"):  # TRL's rewards are of sums whatever the loss, and sft reads none
        # of accumulated batches TRL averages averages, over tokens too; ours are means over all tokens
        alike = [name not in OF_TOKENS or accumulation == 1 for name in SHARED]
        np.testing.assert_allclose(my_logs[:, alike], their_logs[:, alike], rtol=1e-3, atol=1e-4)


SHARED = (
    *("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"),
    *("logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy", "num_tokens", "grad_norm"),
)
"""What both trainers log under one name."""
OF_TOKENS = ("logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy")


@pytest.mark.parametrize("how", ["full", "lora", "precomputed"])
@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
def test_losses_over_twenty_steps(loss_type: str, how: str, tmp_path: Path) -> None:
    compare(loss_type, how, tmp_path)



@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "lora", "precomputed"])
@pytest.mark.parametrize("loss_type", [x for x in TRL_LOSSES if x not in ("sigmoid", "ipo", "sft")])
def test_the_other_losses(loss_type: str, how: str, tmp_path: Path) -> None:
    compare(loss_type, how, tmp_path)


def test_accumulated_gradients(tmp_path: Path) -> None:
    compare("sigmoid", "full", tmp_path, accumulation=2)
