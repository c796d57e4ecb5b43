"""Processes that fine-tune and are ended on the way: by SIGKILL at any point of a step or of a save, or by a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch

from . import llm_models as tiny

from expo_analysis.llm import finetune  # isort: skip (needs the environment of llm_models)
from transformers import TrainerCallback, TrainerState  # isort: skip

PLACES = ("step", "weights", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
"""Where SIGKILL comes: between steps, or half way through writing this part of a checkpoint."""


def prepare(folder: Path) -> list[str]:
    """A model, data and a recipe in a folder, and the arguments that train it."""
    tiny.llama(0).save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    tiny.pairs(24).to_json(folder / "pairs.jsonl")
    recipe = f"""\
model: {folder / "model"}
dataset_name: {folder / "pairs.jsonl"}
objective: expo
beta: 0.3
max_steps: 24
per_device_train_batch_size: 4
learning_rate: 1.0e-2
bf16: false
gradient_checkpointing: false
use_cpu: true
disable_tqdm: true
logging_steps: 1
save_strategy: steps
save_steps: 3
report_to: none
"""
    (folder / "recipe.yaml").write_text(recipe)
    return ["--config", str(folder / "recipe.yaml"), "--output_dir"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class EndAt(TrainerCallback):
    def __init__(self, step: int, number: signal.Signals, times: int) -> None:
        self.step, self.number, self.times = step, number, times

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


def cut_writes(place: str, step: int) -> None:
    """Die half way through writing ``place``, in the first save at or after ``step``."""
    save, save_state, save_model = torch.save, TrainerState.save_to_json, finetune.PreferenceTrainer.save_model

    def number(path: Any) -> int:
        found = [part for part in Path(path).parts if part.startswith("checkpoint-")]
        return int(found[0].removeprefix("checkpoint-")) if found else -1

    def cut(path: Any) -> None:
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        die()

    def torch_save(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        save(value, path, *args, **kwargs)
        if os.path.basename(path) == place and number(path) >= step:
            cut(path)

    def state_to_json(self: Any, path: Any) -> None:
        save_state(self, path)
        if place == "trainer_state.json" and number(path) >= step:
            cut(path)

    def write_model(self: Any, folder: Any = None, *args: Any, **kwargs: Any) -> None:
        save_model(self, folder, *args, **kwargs)
        if place == "weights" and folder is not None and number(folder) >= step:
            cut(Path(folder) / "model.safetensors")

    torch.save = torch_save
    TrainerState.save_to_json = state_to_json
    finetune.PreferenceTrainer.save_model = write_model


def train(
    arguments: list[str],
    place: str | None = None,
    step: int = 0,
    how: str = "SIGKILL",
    times: int = 1,
    errors: str | None = None,
) -> None:
    """Fine-tune in this process, and end as asked for; with ``errors``, standard error goes to that file."""
    torch.set_num_threads(1)
    if errors is not None:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    if place == "step":
        make = finetune.make_trainer

        def with_end(*given: Any) -> Any:
            trainer = make(*given)
            trainer.add_callback(EndAt(step, signal.Signals[how], times))
            return trainer

        finetune.make_trainer = with_end
    elif place is not None:
        cut_writes(place, step)
    os._exit(finetune.main(arguments))
