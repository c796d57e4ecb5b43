"""Tiny random language models and data sets, made in memory: nothing is downloaded."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything of huggingface is imported
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import atexit
import functools
import importlib.util
import shutil
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

if (
    "HF_DATASETS_CACHE" not in os.environ
):  # what trainings store is of no use to others; processes that these start share it
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="expo-analysis-datasets-")
    atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)

if importlib.util.find_spec("trl") is None:
    pytest.skip("trl is not installed: pip install -c constraints.txt '.[test]'", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import accelerate.utils.imports
    import trl  # noqa: F401
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerFast,
        TrainerCallback,
        TrainingArguments,
    )

# accelerate looks for DeepSpeed's files each time that it unwraps a model, some five times a step
accelerate.utils.imports._is_package_available = functools.cache(accelerate.utils.imports._is_package_available)

__all__ = ["Dataset", "LlamaForCausalLM", "TrainerCallback", "TrainingArguments"]

WORDS = [f"w{k}" for k in range(40)]

CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
"""A chat template that adds nothing: a response is its own words, with no token at its end."""


def tokenizer(words: list[str] = WORDS) -> Any:
    vocabulary = {word: k for k, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", chat_template=CHAT
    )
    return made


def llama(seed: int = 0, vocabulary: int = len(WORDS) + 3, **settings: Any) -> Any:
    """A Llama of two layers with random weights, large enough that log-probabilities differ."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            **{"vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2},
            **{"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128},
            **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "initializer_range": 0.2},
            **settings,
        }
    )
    return LlamaForCausalLM(config)


def pairs(rows: int = 16, seed: int = 0, longest: int = 6, samples: int = 0, chat: bool = False) -> Dataset:
    """Random words as prompts and responses; no two responses of a prompt are equal."""
    rng = np.random.default_rng(seed)

    def text(count: int) -> str:
        return " ".join(rng.choice(WORDS, size=count))

    columns: dict[str, list[Any]] = {"prompt": [], "chosen": [], "rejected": []}
    if samples:
        columns["reference_samples"] = []
    for _ in range(rows):
        short, long = rng.permutation([int(rng.integers(1, longest)), longest])
        columns["prompt"].append(text(int(rng.integers(1, 5))) + " ")
        columns["chosen"].append(text(short))
        columns["rejected"].append(text(long))
        if samples:
            columns["reference_samples"].append([text(int(rng.integers(1, longest))) for _ in range(samples)])
    if chat:
        for name in ("prompt", "chosen", "rejected"):
            role = "user" if name == "prompt" else "assistant"
            columns[name] = [[{"role": role, "content": value}] for value in columns[name]]
    return Dataset.from_dict(columns)


def scores(rows: int, seed: int = 3) -> list[list[float]]:
    """Rewards of the chosen and of the rejected responses, in any order."""
    found: list[list[float]] = np.random.default_rng(seed).normal(size=(2, rows)).tolist()
    return found


def feedback(kind: str, rows: int = 16, seed: int = 0) -> list[dict[str, Any]]:
    """Random words as other data than pairs: "triples", "labels", "scores", or "lists" of two to four responses."""
    rng = np.random.default_rng(seed)
    found = []
    for row in range(rows):
        count = 2 + row % 3 if kind == "lists" else 3
        texts = [f"{WORDS[k]} " + " ".join(rng.choice(WORDS, size=1 + (row + k) % 4)) for k in range(count)]
        scores = rng.normal(size=count).tolist()
        own: dict[str, dict[str, Any]] = {
            "triples": {"chosen": texts[0], "rejected": texts[1], "third": texts[-1]},
            "labels": {"completion": texts[0], "label": row % 3 == 0},
            "scores": {"completion": texts[0], "score": scores[0], "reference_scores": scores[1:]},
            "lists": {"responses": texts, "scores": scores, "reference_scores": scores},
        }
        found.append({"prompt": f"{rng.choice(WORDS)} {rng.choice(WORDS)} "} | own[kind])
    return found


def flags(usual: list[str], *more: str) -> list[str]:
    """The words of a command line, in which what is given replaces what is usual: an option has one value."""
    found: dict[str, list[str]] = {}
    for words in (usual, more):
        option = ""
        for word in words:
            if word.startswith("-") and not word[1:2].isdigit():
                option = word.split("=")[0]
                found[option] = []
            found.setdefault(option, []).append(word)
    return [word for words in found.values() for word in words]


def settings(folder: Path, **given: Any) -> dict[str, Any]:
    """Arguments of a config that trains a tiny model exactly: float32, no checkpoints, no dropout."""
    return {
        "output_dir": str(folder),
        **{"bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no"},
        **{"use_cpu": True, "logging_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 1e-3},
        **{"lr_scheduler_type": "constant", "enable_jit_checkpoint": False, "disable_tqdm": True, "seed": 0},
        **given,
    }


class BanditConfig(PretrainedConfig):
    model_type = "one_token_bandit"

    def __init__(self, vocab_size: int = 0, prompts: int = 1, **kwargs: Any) -> None:
        self.vocab_size, self.prompts, self.hidden_size = vocab_size, prompts, prompts
        super().__init__(**kwargs)


class BanditBody(torch.nn.Module):
    """The state of a prompt's token is a unit vector."""

    def __init__(self, config: BanditConfig, first: int) -> None:
        super().__init__()
        table = torch.zeros(config.vocab_size, config.prompts)
        table[first : first + config.prompts] = torch.eye(config.prompts)
        self.register_buffer("table", table)

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self.table[input_ids])


class OneTokenModel(PreTrainedModel):
    """A language model whose next-token logits after a prompt of one word are free parameters: a K-armed bandit.

    The vocabulary is three special tokens, K words, and a word for each prompt; all but the K words have logits of
    -1e4, whose probability is exactly 0.
    """

    config_class = BanditConfig
    base_model_prefix = "body"

    def __init__(self, config: BanditConfig, logits: torch.Tensor) -> None:
        super().__init__(config)
        prompts, arms = logits.shape
        self.body = BanditBody(config, 3 + arms)
        self.head = torch.nn.Linear(prompts, config.vocab_size, bias=False, dtype=logits.dtype)
        with torch.no_grad():
            self.head.weight.fill_(-1e4)
            self.head.weight[3 : 3 + arms] = logits.T
        self.arms = arms
        self.generation_config = GenerationConfig()

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        return SimpleNamespace(logits=self.head(self.body(input_ids).last_hidden_state))

    def policy_logits(self) -> torch.Tensor:
        """The free logits, (prompts, K)."""
        return self.head.weight[3 : 3 + self.arms].T


def bandit_words(arms: int, prompts: int) -> list[str]:
    return [f"arm{k}" for k in range(arms)] + [f"prompt{k}" for k in range(prompts)]


def one_token_model(logits: np.ndarray, dtype: torch.dtype) -> OneTokenModel:
    """A bandit with these logits, (prompts, K)."""
    prompts, arms = logits.shape
    config = BanditConfig(vocab_size=3 + arms + prompts, prompts=prompts)
    return OneTokenModel(config, torch.tensor(logits, dtype=dtype)).to(dtype)


def bandit_pairs(
    counts: np.ndarray, rewards: np.ndarray | None = None, samples: list[list[float]] | None = None
) -> Dataset:
    """A row for every win of counts (prompts, K, K), as conversations: their template adds no token at the end.

    rewards: (prompts, K), for the columns ``score_chosen`` and ``score_rejected``; samples: the ``reference_scores`` of
    each prompt.
    """
    rows = [(p, i, j) for (p, i, j), count in np.ndenumerate(counts) for _ in range(int(count))]
    columns: dict[str, list[Any]] = {
        "prompt": [[{"role": "user", "content": f"prompt{p}"}] for p, _, _ in rows],
        "chosen": [[{"role": "assistant", "content": f"arm{i}"}] for _, i, _ in rows],
        "rejected": [[{"role": "assistant", "content": f"arm{j}"}] for _, _, j in rows],
    }
    if rewards is not None:
        columns["score_chosen"] = [rewards[p, i] for p, i, _ in rows]
        columns["score_rejected"] = [rewards[p, j] for p, _, j in rows]
    if samples is not None:
        columns["reference_scores"] = [samples[p] for p, _, _ in rows]
    return Dataset.from_dict(columns)


def reference_scores(rewards: np.ndarray, reference: np.ndarray, count: int = 20) -> list[list[float]]:
    """Rewards of ``count`` responses of each prompt, each among them as often as the reference (prompts, K) has it."""
    times = np.rint(count * reference).astype(int)
    assert np.allclose(times, count * reference)  # nothing is estimated then
    return [np.repeat(own, k).tolist() for own, k in zip(rewards, times, strict=True)]
