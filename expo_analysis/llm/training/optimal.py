"""The gradient before the first step, on pairs whose reference is to count as optimal already."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import send_to_device

from ..data.feedback import PAIRS
from .collator import REF_COLUMNS

SCORED = tuple(name for name in (*PAIRS.numbers, *PAIRS.vectors) if name not in REF_COLUMNS)
"""Columns of a pair's rewards and its weight."""


def first_step_gradient_norm(trainer: Any, rows: Any) -> float:
    r"""Norm of the objective's gradient at the model as it is, if its own preferences were the truth.

    Every pair is taken in both orders, weighted by p(i > j) = sigma(log pi_i - log pi_j) under the model itself: at
    the start the reference is then optimal, and there is nothing to learn. EXPO's preference term has gradient
    zero there, and its regulariser too where it is token-wise (`own_responses` and `reference_samples` are sampled:
    zero in expectation only). That of DPO and IPO is not zero. [ours]

    Args:
        trainer: a `PreferenceTrainer`.
        rows: the ``rows`` of `PreferenceData`.

    Raises:
        ValueError: for other rows than pairs, for losses that couple the pairs of a batch, and for sharded models,
            whose gradients are not in one place.
    """
    if trainer.mixture.couples_pairs:
        raise ValueError(f"optimal_dataset is not used by {trainer.mixture}, which couples pairs")
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError("optimal_dataset must be left out under FSDP and DeepSpeed: gradients are sharded there")
    if PAIRS.token_columns[1] not in rows.column_names or trainer.mixture.reads_third:
        raise ValueError("optimal_dataset must hold pairs, which count in both orders")
    model = trainer.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.grad for parameter in trained]
    was_training = model.training
    model.train()
    model.zero_grad()
    size = trainer.args.per_device_train_batch_size
    columns = [c for c in ("prompt_ids", "chosen_ids", "rejected_ids", "sample_ids") if c in rows.column_names]
    columns += [c for c in ("chosen_mask", "rejected_mask", *SCORED) if c in rows.column_names]
    for start in range(0, len(rows), size):
        examples = list(rows.select_columns(columns).select(range(start, min(start + size, len(rows)))))
        both = trainer.data_collator(examples + [_swapped(example) for example in examples])
        batch = send_to_device(both, trainer.accelerator.device)
        with trainer.compute_loss_context_manager():
            result = trainer.pair_losses(model, batch)
        logps = result.links.by_side(result.values.logps)
        weights = torch.sigmoid(logps["chosen"] - logps["rejected"])
        ((weights * result.pairs(trainer.mixture.strength)).sum() / len(rows)).backward()
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    for parameter, gradient in zip(trained, before, strict=True):
        parameter.grad = gradient
    model.train(was_training)
    return float(norm)


def _swapped(example: dict[str, Any]) -> dict[str, Any]:
    """The same pair with chosen and rejected in each other's place."""
    sides = {"chosen": "rejected", "rejected": "chosen"}
    other = {name: "_".join(sides.get(part, part) for part in name.split("_")) for name in example}
    return {other[name]: -value if name == "margin" else value for name, value in example.items()}
