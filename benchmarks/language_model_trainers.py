"""The trainers of `language_model`, alike in all that is not to be compared; imported in their processes only."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
    from trl import DPOConfig, DPOTrainer

import expo_analysis as ea
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer
from expo_analysis.llm.models import load_model, load_tokenizer

from .language_model import LAM, RANK, RATE, TINY, Variant

TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother"
)
WORDS = TEXT.split()
"""Each is one token of SmolLM2, after a space."""

LENGTHS = ((12, 40, 50, 45), (20, 36, 42, 40), (16, 48, 36, 42), (24, 38, 32, 34))
"""Words of prompt, chosen, rejected and reference sample, for each pair; with the end token, 59 tokens on average."""


class Gate(TrainerCallback):
    """Lets a trainer make one step for every message, and answers with its seconds: by the clock and of all cores.

    What is timed is from one step's beginning to the next one's, or to the end of training, and so has the logging and
    the next batch in it.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.start: tuple[float, float] | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._answer()
        self.connection.recv()
        self.start = _clocks()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._answer()

    def _answer(self) -> None:
        now = _clocks()
        if self.start is not None:
            self.connection.send((now[0] - self.start[0], now[1] - self.start[1]))


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def facts(trainer: Any) -> dict[str, Any]:
    """What the comparison rests on: the tokens, the size of the weights, and whether there is a second model."""
    data = trainer.train_dataset
    tokens = [row["prompt_ids"] + row[name] for name in ("chosen_ids", "rejected_ids") for row in data]
    # of LoRA too, whose adapter is small
    weights = sum(x.numel() * x.element_size() for x in trainer.model.parameters()) / 2**30
    return {"tokens": tokens, "weights": weights, "reference": trainer.ref_model is not None}


def make_trainer(variant: Variant, model: str, folder: str, steps: int) -> Any:
    """The trainer of a variant, which has the same batch in every step.

    Args:
        model: `TINY`, or a name for `load_model`.
    """
    shared: dict[str, Any] = {
        **{"output_dir": folder, "max_steps": steps, "per_device_train_batch_size": len(LENGTHS), "seed": 0},
        **{"bf16": False, "gradient_checkpointing": False, "optim": "adamw_torch", "learning_rate": RATE},
        **{"lr_scheduler_type": "constant", "beta": LAM, "use_cpu": True, "save_strategy": "no", "report_to": "none"},
        **{"logging_steps": 1, "disable_tqdm": True, "enable_jit_checkpoint": False},
        **variant.settings,
    }
    common: dict[str, Any] = {
        "ref_model": _load(model) if variant.reference else None,
        "train_dataset": _pairs(variant.settings.get("regulariser_estimator") == "reference_samples"),
        "processing_class": _tokenizer() if model == TINY else load_tokenizer(model),
        "peft_config": LoraConfig(r=RANK, target_modules=["q_proj", "v_proj"]) if variant.lora else None,
    }
    trainer: Any
    if variant.ours:
        objective = {"expo": ea.EXPO, "dpo": ea.DPO}[variant.objective](LAM)
        trainer = PreferenceTrainer(_load(model), objective, PreferenceConfig(**shared), **common)
    else:
        trainer = DPOTrainer(_load(model), args=DPOConfig(**shared), **common)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _pairs(samples: bool) -> Dataset:
    """One batch of pairs of random words."""
    rng = np.random.default_rng(0)
    rows = [["".join(f" {word}" for word in rng.choice(WORDS, size=count)) for count in row] for row in LENGTHS]
    names = ("prompt", "chosen", "rejected", "reference_samples")
    columns: dict[str, Any] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns["reference_samples"] = [[sample] for sample in columns["reference_samples"]]
    return Dataset.from_dict({name: columns[name] for name in names[: 4 if samples else 3]})


def _load(model: str) -> Any:
    if model != TINY:
        return load_model(model)
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": len(WORDS) + 3, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128},
        **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "initializer_range": 0.2},
    )
    return LlamaForCausalLM(config)


def _tokenizer() -> Any:
    """For the tiny model: a token for each word."""
    vocabulary = {word: place for place, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
