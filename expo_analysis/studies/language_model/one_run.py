"""One run of a sweep: a loss at one lambda, and what is measured of the policy on the way and at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from ...llm.data.estimates import Estimate, estimate
from ...llm.data.sampling import compare, response_logps
from ...llm.models import load_model, load_tokenizer
from ...llm.training import PreferenceConfig, PreferenceTrainer
from .sweep import HALVES, Method, Sweep
from .world import World, device, fresh, rewards_of


class Displacement(TrainerCallback):
    """Mean log(pi/pi_ref) of chosen, rejected and fresh responses on the prompts that the reward labelled."""

    def __init__(self, world: World, records: int, watched: int) -> None:
        per_prompt: dict[int, list[dict[str, Any]]] = {}
        for row in world.rows:
            if row["labelled_by"] == "reward":
                per_prompt.setdefault(row["prompt_index"], []).append(row)
        rows = [row for own in per_prompt.values() for row in own[:watched]]
        self.groups = {
            side: (
                [row["prompt_ids"] for row in rows],
                [row[f"{side}_ids"] for row in rows],
                np.array([row[f"ref_logp_{side}"] for row in rows]),
            )
            for side in ("chosen", "rejected")
        }
        other = [
            (ids, one)
            for ids, draws, half in zip(world.ids, world.draws, world.halves, strict=True)
            for one in draws[:watched]
            if half == "reward"
        ]
        self.groups["other"] = (
            [ids for ids, _ in other], [one.ids for _, one in other], np.array([one.logp for _, one in other])
        )  # fmt: skip
        self.records, self.due, self.found = records, set[int](), list[dict[str, float]]()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.due = set(np.linspace(0, state.max_steps, self.records).round().astype(int).tolist())
        self.look(0, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step in self.due:
            self.look(state.global_step, model)

    def look(self, step: int, model: Any) -> None:
        record: dict[str, float] = {"step": step}
        for name, (prompts, responses, ref_logps) in self.groups.items():
            moved = response_logps(model, prompts, responses) - ref_logps
            record[name] = float(moved.mean())
            record[f"{name}_standard_error"] = float(moved.std(ddof=1) / np.sqrt(len(moved)))
        self.found.append(record)


def train_one(sweep: Sweep, method: Method, lam: float, world: World, scratch: Path) -> dict[str, Any]:
    """One run: what it ends with on each half, and, at one lambda, displacement on the way."""
    start = time.perf_counter()
    tokenizer, model = load_tokenizer(sweep.model), load_model(sweep.model)
    args = PreferenceConfig(
        output_dir=str(scratch),
        objective=[method.loss],
        beta=lam,
        aggregation=["sum"],
        regulariser_estimator=method.estimator,
        precompute_ref_log_probs=method.estimator is None,
        num_train_epochs=sweep.epochs,
        per_device_train_batch_size=sweep.batch_size,
        learning_rate=sweep.learning_rate,
        lr_scheduler_type="linear",
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=device() == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        seed=sweep.seed,
    )
    columns = ["prompt", "chosen", "rejected", "prompt_ids", "chosen_ids", "rejected_ids", "reference_sample_ids"]
    watch = Displacement(world, sweep.records, sweep.watched)
    trainer = PreferenceTrainer(
        model,
        args=args,
        ref_model=load_model(sweep.model) if method.estimator == "token_kl" else None,
        train_dataset=Dataset.from_list([{name: row[name] for name in columns} for row in world.rows]),
        processing_class=tokenizer,
        callbacks=[watch] if lam == sweep.recorded else None,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trained = time.perf_counter()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    reference = load_model(sweep.model).to(trainer.model.device)
    return {
        **{"loss": method.loss, "estimator": method.estimator or "", "lam": lam},
        **{"steps": trainer.state.global_step, "first_loss": losses[0], "last_loss": losses[-1]},
        "ends": measure(sweep, world, trainer.model, reference, tokenizer),
        "displacement": watch.found,
        "training_seconds": trained - start,
        "seconds": time.perf_counter() - start,
    }


def measure(sweep: Sweep, world: World, model: Any, reference: Any, tokenizer: Any) -> list[dict[str, Any]]:
    """Rewards and divergences of a policy on each half of the prompts, with standard errors (see `truth`)."""
    drawn = fresh(model, tokenizer, world.ids, sweep)
    rewards = {"reward": rewards_of(tokenizer, world.prompts, world.ids, drawn), "ref_reward": np.array(world.rewards)}
    values = {**rewards, "gain": rewards["reward"] - rewards["ref_reward"]}
    for name, draws in (("kl", world.draws), ("reverse_kl", drawn)):
        some = [own[: sweep.watched] for own in draws]  # sums of exact next-token KLs vary little
        prompts = [ids for ids in world.ids for _ in range(sweep.watched)]
        found = compare(model, reference, prompts, [one.ids for own in some for one in own])
        values[name] = getattr(found, name).reshape(len(some), -1)
    rows = []
    for half in HALVES:
        own = np.array([one == half for one in world.halves])
        row: dict[str, Any] = {"labelled_by": half, "prompts": int(own.sum())}
        for name, array in values.items():
            mean: Estimate = estimate(array[own])
            row |= {name: mean.mean, f"{name}_standard_error": mean.standard_error}
        rows.append(row)
    return rows
