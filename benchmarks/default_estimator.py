"""Which estimator of EXPO's regulariser is to be the default: exact measurements on a language of 1,000 responses.

    python -m benchmarks.default_estimator [--lora] [--lam 0.1] [--steps 200]

A Llama of two layers answers eight prompts with three words out of ten, so that a policy is eight distributions over
1,000 responses and everything about it is a sum. On four prompts the pairs are labelled by a reward, whose optimum is
known; on the other four by the reference itself, so that nothing is to be learned there. Pairs are drawn from the
reference. What is measured at the end of training:

- drift: KL(pi_ref || pi) on the prompts whose reference was optimal already; 0 is best.
- unseen: the mass of responses that are in no pair, on the same prompts; the reference's is the right one.
- gap: KL(pi* || pi) on the prompts with a reward, over that of the reference; below 1 is better than the reference.
- first step: norm of the loss's gradient on the pairs of the optimal prompts, before training. Pairs are samples: the
  gradient in expectation is 0 for all estimators where the reference is optimal, and not for DPO.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback

import expo_analysis as ea
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer

WORDS, PROMPTS, LENGTH = 10, 8, 3
FIRST = 3
"""The id of the first word; before it are special tokens, after the words come the prompts."""
PAIRS = 60
"""For each prompt."""
Floats = NDArray[np.float64]


def tokenizer() -> Any:
    words = [f"w{k}" for k in range(WORDS)] + [f"p{k}" for k in range(PROMPTS)]
    vocabulary = {word: place for place, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"  # no token beside the words
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", chat_template=template
    )


def reference(seed: int) -> Any:
    """Random weights, large enough that responses differ; all tokens but the words have probability 0."""
    torch.manual_seed(seed)
    size = FIRST + WORDS + PROMPTS
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=16, initializer_range=0.15, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    weight = model.lm_head.weight
    model.lm_head = torch.nn.Linear(32, size)
    with torch.no_grad():
        model.lm_head.weight.copy_(weight)
        model.lm_head.bias.fill_(-60.0)
        model.lm_head.bias[FIRST : FIRST + WORDS] = 0.0
    return model


RESPONSES = np.array(list(itertools.product(range(WORDS), repeat=LENGTH)))


def distributions(model: Any) -> Floats:
    """log pi(y | x) of every response to every prompt, (prompts, responses)."""
    found = []
    model.eval()
    for prompt in range(PROMPTS):
        ids = np.concatenate([np.full((len(RESPONSES), 1), FIRST + WORDS + prompt), RESPONSES + FIRST], axis=1)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids)).logits[:, :-1].double()
        logp = logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, 1:, None])[..., 0]
        found.append(logp.sum(1).numpy())
    return np.array(found)


def world(seed: int) -> tuple[Any, Floats, Floats, Dataset, Floats]:
    """Reference, its log-probabilities, those of pi*, pairs, and which responses are in one."""
    rng = np.random.default_rng(seed)
    model = reference(seed)
    ref = distributions(model)
    reward = rng.normal(size=(PROMPTS, LENGTH, WORDS))[:, np.arange(LENGTH), RESPONSES].sum(-1)
    reward[PROMPTS // 2 :] = 0.0
    optimal = ref + reward
    optimal -= np.logaddexp.reduce(optimal, axis=1, keepdims=True)
    rows: list[dict[str, Any]] = []
    seen = np.zeros_like(ref)
    for prompt in range(PROMPTS):
        drawn = rng.choice(len(RESPONSES), size=(4 * PAIRS, 2), p=np.exp(ref[prompt]))
        pairs = drawn[drawn[:, 0] != drawn[:, 1]][:PAIRS]
        first = rng.random(len(pairs)) < 1 / (1 + np.exp(optimal[prompt, pairs[:, 1]] - optimal[prompt, pairs[:, 0]]))
        for (i, j), wins in zip(pairs, first, strict=True):
            seen[prompt, [i, j]] = 1
            texts = [" ".join(f"w{word}" for word in RESPONSES[k]) for k in ((i, j) if wins else (j, i))]
            says = [[{"role": "assistant", "content": text}] for text in texts]
            asks = [{"role": "user", "content": f"p{prompt}"}]
            rows.append({"prompt": asks, "chosen": says[0], "rejected": says[1], "prompt_number": prompt})
    return model, ref, optimal, Dataset.from_list(rows), seen


def kl(p: Floats, q: Floats) -> float:
    """KL of distributions in logarithms, (prompts, responses), averaged over prompts."""
    return float((np.exp(p) * (p - q)).sum(1).mean())


METHODS: dict[str, tuple[Any, str | None]] = {
    "DPO": (ea.DPO, None),
    "EXPO, own responses": (ea.EXPO, "own_responses"),
    "EXPO, token-wise KL": (ea.EXPO, "token_kl"),
}


def run(name: str, lam: float, steps: int, lora: bool, seed: int) -> dict[str, float]:
    """One training, measured."""
    objective, estimator = METHODS[name]
    model, ref, optimal, data, seen = world(seed)
    same = slice(PROMPTS // 2, None)
    with tempfile.TemporaryDirectory() as folder:
        args = PreferenceConfig(
            folder, max_steps=steps, per_device_train_batch_size=32, learning_rate=1e-3, lr_scheduler_type="cosine",
            bf16=False, use_cpu=True, gradient_checkpointing=False, save_strategy="no", report_to="none", seed=seed,
            disable_tqdm=True, regulariser_estimator=estimator, logging_steps=steps,
        )  # fmt: skip
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"]
        of_reference = [row for row, prompt in enumerate(data["prompt_number"]) if prompt >= PROMPTS // 2]
        trainer = PreferenceTrainer(
            model, objective(lam), args, train_dataset=data, processing_class=tokenizer(),
            peft_config=LoraConfig(r=8, target_modules=targets, task_type="CAUSAL_LM") if lora else None,
            optimal_dataset=data.select(of_reference),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        start = time.process_time()
        trainer.train()
        seconds = time.process_time() - start
    end = distributions(trainer.model)
    return {
        "drift": kl(ref[same], end[same]),
        "unseen": float((np.exp(end) * (1 - seen))[same].sum(1).mean()),
        "unseen_reference": float((np.exp(ref) * (1 - seen))[same].sum(1).mean()),
        "gap": kl(optimal[: PROMPTS // 2], end[: PROMPTS // 2]) / kl(optimal[: PROMPTS // 2], ref[: PROMPTS // 2]),
        "first": float(trainer.optimal_gradient_norm or np.nan),
        "ms": 1000 * seconds / steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lam", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lora", action="store_true")
    given = parser.parse_args()
    print("| λ | | drift | unseen (π_ref) | gap | first step | CPU ms a step |\n|--:|---|--:|--:|--:|--:|--:|")
    for lam in given.lam:
        for name in METHODS:
            runs = [run(name, lam, given.steps, given.lora, seed) for seed in range(given.seeds)]
            mean = {key: float(np.mean([one[key] for one in runs])) for key in runs[0]}
            print(
                f"| {lam:g} | {name} | {mean['drift']:.3f} | {mean['unseen']:.3f} ({mean['unseen_reference']:.3f}) | "
                f"{mean['gap']:.2f} | {mean['first']:.2g} | {mean['ms']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
