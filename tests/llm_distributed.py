"""Train a tiny model in one or several processes, and write what came of it: run by test_llm_distributed.py.

    torchrun --nproc_per_node 2 -m tests.llm_distributed OUT.json HOW PER_DEVICE OBJECTIVE ...

HOW is "plain" (DDP, where there are several processes), "fsdp2" or "zero2". Each objective is "dpo", or an estimator of
EXPO's regulariser.
"""

from __future__ import annotations

import json
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

FSDP2 = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
        "cpu_ram_efficient_loading": False,
    },
}
ZERO2 = {
    "deepspeed": {
        "zero_optimization": {"stage": 2},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }
}


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
    if name == "dpo":
        return ea.DPO(0.3), {}
    return ea.EXPO(0.3), {"regulariser_estimator": name}


def train(how: str, per_device: int, name: str) -> dict[str, Any]:
    """What became of a training, the same in every process."""
    loss, given = objective(name)
    reference = tiny.llama(1) if name in ("dpo", "token_kl") else None
    wrapping = {"plain": {}, "fsdp2": FSDP2, "zero2": ZERO2}[how]
    gradients = Gradients()
    with tempfile.TemporaryDirectory() as folder:
        args = PreferenceConfig(
            **tiny.settings(
                Path(folder),
                max_steps=STEPS,
                per_device_train_batch_size=per_device,
                max_grad_norm=1e9,
                optim="sgd",
                learning_rate=1e-3,
                train_sampling_strategy="sequential",
                ddp_find_unused_parameters=False,
                **wrapping,
                **given,
            )
        )
        trainer = PreferenceTrainer(
            tiny.llama(0),
            loss,
            args,
            ref_model=reference,
            train_dataset=tiny.pairs(8 * STEPS, samples=2),
            processing_class=tiny.tokenizer(),
            callbacks=[gradients],
        )
        trainer.train()
        trainer.accelerator.wait_for_everyone()
    return {
        "world_size": trainer.accelerator.num_processes,
        "kind": type(trainer.model_wrapped).__name__,
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
        "gradient": gradients.first,
        "has_reference": trainer.ref_model is not None,
    }


def main(out: str, how: str, per_device: str, *names: str) -> None:
    if how == "fsdp2":
        allow_fsdp_on_cpu()
    found = {name: train(how, int(per_device), name) for name in names}
    if PartialState().is_main_process:
        Path(out).write_text(json.dumps(found))
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
