"""A step of training a small transformer: many runs as rows of one tensor, and TRL's trainer one run at a time."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis._threads import one_thread
from expo_analysis.simulators import Adam, Pairs, PromptedTransformer, Training, draw_pairs, train

LAMS, DATA_SETS, BATCH, RATE = (0.1, 0.3, 1.0, 3.0, 10.0), 3, 16, 1e-3
WIDTH, HEADS, LAYERS = 32, 2, 2
VOCABULARY, LENGTH, WORDS, PROMPTS = 5, 3, 12, 64
HEADER = ("way", "runs at once", "steps", "ms a step and run", "× ours")

NOTES = f"""\
DPO on batches of {BATCH} pairs, prompts of three words and responses of {LENGTH} tokens, with a decoder of {LAYERS}
layers and width {WIDTH}, in single precision, on one thread. Seconds are those of the processor, and what a run does
but once is taken off: each way makes few steps and many, and the difference is divided by theirs.

- **train**: `expo_analysis.simulators.train` on `PromptedTransformer`, {len(LAMS)} λ and {DATA_SETS} data sets at once.
- **TRL**: `trl.DPOTrainer` on a Llama of this width and depth, the log-probabilities of its reference precomputed,
  as ours knows them too; nothing logged or saved.
"""


def lines(steps: int) -> tuple[tuple[str, ...], ...]:
    """A header, and a row for each way.

    Args:
        steps: how many are timed.
    """
    runs = len(LAMS) * DATA_SETS
    own, other = ours(steps) / runs, trl(steps)
    rows = [("train", str(runs), own), ("TRL", "1", other)]
    return (HEADER, *((way, at, str(steps), f"{1e3 * x:.2f}", f"{x / own:.1f}") for way, at, x in rows))


def ours(steps: int) -> float:
    """Seconds of a step of all runs together."""
    model, pairs = _ours()

    def run(count: int) -> float:
        begun = time.process_time()
        training = Training(Adam(RATE), epochs=count, batch=BATCH, records=2)
        train([ea.DPO(lam) for lam in LAMS], model, pairs, training)
        return time.process_time() - begun

    return _marginal(run, steps)


def _marginal(run: Any, steps: int) -> float:
    run(1)  # whatever is loaded at first
    return max(float(run(steps + 2) - run(2)) / steps, 1e-9)


def _ours() -> tuple[PromptedTransformer, Pairs]:
    """Each epoch is a batch."""
    texts = np.random.default_rng(0).integers(WORDS, size=(PROMPTS, 3))
    shape: dict[str, Any] = {"width": WIDTH, "heads": HEADS, "layers": LAYERS}
    model = PromptedTransformer(VOCABULARY, LENGTH, texts, WORDS, **shape)
    reference = model.initial()
    optimal = np.random.default_rng(1).dirichlet(np.ones(model.n), PROMPTS)
    return model, draw_pairs(ea.Bandit(reference, optimal), BATCH, DATA_SETS, design="reference")


def trl(steps: int) -> float:
    """Seconds of a step of one run."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
    from trl import DPOConfig, DPOTrainer

    tokens = ["<pad>", "<eos>", "<unk>", *(f"w{k}" for k in range(WORDS)), *(f"t{k}" for k in range(VOCABULARY))]
    inner = Tokenizer(models.WordLevel({token: k for k, token in enumerate(tokens)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    model, pairs = _ours()
    spelled = {"prompt": pairs.prompt[0], "chosen": pairs.winner[0], "rejected": pairs.loser[0]}
    say = {"prompt": lambda x: [f"w{k}" for k in model.texts[x]]}
    answer = lambda y: [f"t{k}" for k in model.sequences[y]]  # noqa: E731
    columns = {name: ["".join(f" {w}" for w in say.get(name, answer)(k)) for k in x] for name, x in spelled.items()}

    def run(count: int) -> float:
        torch.manual_seed(0)
        config = LlamaConfig(
            **{"vocab_size": len(tokens), "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH},
            **{"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS},
            **{"max_position_embeddings": 16, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None},
        )
        with tempfile.TemporaryDirectory() as folder, one_thread():
            args = DPOConfig(
                **{"output_dir": folder, "max_steps": count, "per_device_train_batch_size": BATCH, "beta": 0.1},
                **{"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "save_strategy": "no"},
                **{"report_to": "none", "logging_strategy": "no", "disable_tqdm": True, "learning_rate": RATE},
                **{"precompute_ref_log_probs": True, "optim": "adamw_torch"},
            )
            policy, reference = LlamaForCausalLM(config), LlamaForCausalLM(config)
            data = Dataset.from_dict(columns)
            trainer = DPOTrainer(policy, reference, args=args, train_dataset=data, processing_class=tokenizer)
            trainer.remove_callback(PrinterCallback)
            begun = time.process_time()
            trainer.train()
            return time.process_time() - begun

    return _marginal(run, steps)
