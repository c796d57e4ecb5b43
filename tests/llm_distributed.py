"""Train a tiny model in one or several processes, and write what came of it: run by test_llm_distributed.py.

    torchrun --nproc_per_node 2 -m tests.llm_distributed OUT.json HOW PER_DEVICE OBJECTIVE ...

HOW is "plain" (DDP, where there are several processes) or "fsdp2", in float64, or "plain32", "zero2" or "zero3". Each
objective is "dpo", "mpo", "stream", "derived", "precomputed", "rewards", an estimator of EXPO's regulariser, or one of
`KINDS`, of other data than pairs; or "resumed" before one of these: a training, and one that goes on from a checkpoint.
The data are uneven: the last batch of an epoch, and those of evaluation, do not give both processes as many rows.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, DistributedType, PartialState

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip
from transformers import TrainerCallback  # isort: skip

STEPS = 3
ROWS, EVALUATED = 21, 7

FSDP2 = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
        "cpu_ram_efficient_loading": False,
    },
}


def zero(stage: int) -> dict[str, Any]:
    """DeepSpeed with weights (3), or only what belongs to them (2), in parts."""
    auto = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    own = {"stage3_gather_16bit_weights_on_model_save": True} if stage == 3 else {}
    return {"deepspeed": {"zero_optimization": {"stage": stage} | own} | {name: "auto" for name in auto}}


def allow_fsdp_on_cpu() -> None:
    """accelerate shards models on accelerators only, and silently replicates them on CPUs: make it shard here too."""
    original = AcceleratorState.__init__

    def with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = with_fsdp  # type: ignore[method-assign]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class Gradients(TrainerCallback):
    """The gradient of the first step, all parameters in one vector, sorted by name."""

    def __init__(self) -> None:
        self.first: list[float] | None = None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self.first is None:
            named = sorted((name.removeprefix("module."), p.grad) for name, p in model.named_parameters())
            if all(grad is not None for _, grad in named):
                self.first = torch.cat([whole(grad).flatten() for _, grad in named]).tolist()


def objective(name: str) -> tuple[Any, dict[str, Any]]:
    """The objective and settings of the config that go with it."""
    if name in KINDS:
        return KINDS[name]
    if name in ("dpo", "stream", "derived"):
        return ea.DPO(0.3), {}
    if name == "rewards":  # beside a loss of means over tokens
        return [(1.0, ea.MADPO(0.3)), (0.5, ea.REBEL(0.7)), (1.0, ea.LengthNormalisedDPO(2.0))], {}
    if name == "precomputed":
        return ea.DPO(0.3), {"precompute_ref_log_probs": True}
    if name == "mpo":
        parts = [(0.8, ea.DPO(0.3)), (0.2, ea.BCO(0.3)), (1.0, ea.SFT(0.3))]
        return parts, {"aggregation": ["sum", "sum", "token_mean"]}
    return ea.EXPO(0.3), {"regulariser_estimator": name}


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lists": (ea.PlackettLuceEXPO(0.3), {"regulariser_estimator": "own_responses"}),
    "stored lists": (ea.DPO(0.3), {"precompute_ref_log_probs": True}),
    "labels": ([ea.KTO(0.3), ea.SFT(0.3)], {"aggregation": ["sum", "token_mean"]}),
    "triples": (ea.WRPO(0.3), {}),
}

GIVEN = ("labels", "triples", "dpo", "mpo", "token_kl", "stream", "rewards")
HAVE_REFERENCE = (*GIVEN, "derived")
"""Those with a second model, which is given, or a copy of the first."""


def scored(data: Any) -> Any:
    """With a reward of each response, of any sign and order."""
    for column, values in zip(("score_chosen", "score_rejected"), tiny.scores(len(data)), strict=True):
        data = data.add_column(column, values)
    return data


def make(how: str, per_device: int, name: str, folder: Path, **more: Any) -> tuple[PreferenceTrainer, Gradients]:
    """A trainer that is about to begin, and what will see its first gradient."""
    loss, given = objective(name)
    wrapping = {"plain": {}, "plain32": {}, "fsdp2": FSDP2, "zero2": zero(2), "zero3": zero(3)}[how]
    dtype = torch.float64 if how in ("plain", "fsdp2") else torch.float32
    gradients = Gradients()
    data, evaluated = tiny.pairs(ROWS, samples=2), tiny.pairs(EVALUATED, seed=7, samples=2)
    if name == "rewards":
        data, evaluated = scored(data), scored(evaluated)
    if name in KINDS:
        kind = name.split()[-1]
        data, evaluated = tiny.feedback(kind, ROWS), tiny.feedback(kind, EVALUATED, seed=7)
    if name == "stream":
        data, evaluated = data.to_iterable_dataset(), evaluated.to_iterable_dataset()
    usual = {
        "max_steps": STEPS,
        "per_device_train_batch_size": per_device,
        "per_device_eval_batch_size": per_device // 2,
        "max_grad_norm": 1e9,
        "optim": "sgd",
        "learning_rate": 1e-3,
        "train_sampling_strategy": "sequential",
        "ddp_find_unused_parameters": False,
    }
    args = PreferenceConfig(**tiny.settings(folder, **usual | wrapping | given | more))
    trainer = PreferenceTrainer(
        tiny.llama(0).to(dtype),
        loss,
        args,
        ref_model=tiny.llama(1).to(dtype) if name in GIVEN else None,
        train_dataset=data,
        eval_dataset=evaluated,
        processing_class=tiny.tokenizer(),
        callbacks=[gradients],
        compute_metrics=lambda found: {"seen": len(found.label_ids), "last": int(found.label_ids[-1])},
    )
    return trainer, gradients


def train(how: str, per_device: int, name: str) -> dict[str, Any]:
    """What became of a training, the same in every process."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, gradients = make(how, per_device, name, Path(folder))
        trainer.train()
        measured = trainer.evaluate()
        trainer.accelerator.wait_for_everyone()
    return {
        "world_size": trainer.accelerator.num_processes,
        "kind": type(trainer.model_wrapped).__name__,
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
        "evaluation": measured,
        "gradient": gradients.first,
        "has_reference": trainer.ref_model is not None,
    }


def resume(how: str, per_device: int, name: str, folder: Path) -> dict[str, Any]:
    """A training of four steps, and one that is taken up after its second: their last losses, and evaluations.

    With momentum, so that what the optimiser has in parts counts, too; the model that goes on is another one at first.
    """
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch"}
    settings |= {"train_sampling_strategy": "random"} if name not in ("stream", "token_kl") else {}
    found = {}
    for which in ("whole", "resumed"):
        trainer, _ = make(how, per_device, name, folder, **settings)
        if which == "resumed":
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    parameter.mul_(0.5)
        trainer.train(str(folder / "checkpoint-2") if which == "resumed" else None)
        losses = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
        tokens = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
        found[which] = {"losses": losses, "evaluation": trainer.evaluate()["eval_loss"], "num_tokens": tokens}
        found["kind"] = type(trainer.model_wrapped).__name__
        trainer.accelerator.wait_for_everyone()
    return found


def in_one_of_two(rank: int, port: int, errors: str, *arguments: str) -> None:
    """What ``torchrun`` makes of a process, for one that was forked and need not load torch."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    main(*arguments)


def main(out: str, how: str, per_device: str, *names: str) -> None:
    if how == "fsdp2":
        allow_fsdp_on_cpu()
    found = {}
    for name in names:
        kind = name.removeprefix("resumed ")
        folder = Path(out).parent / kind.replace(" ", "_")
        found[name] = train(how, int(per_device), name) if kind == name else resume(how, int(per_device), kind, folder)
    if PartialState().is_main_process:
        Path(out).write_text(json.dumps(found))
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
