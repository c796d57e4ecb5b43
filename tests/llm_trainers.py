"""Trainers of tiny models, and what they compute once more by plain means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip

LAM = 0.3


def make(loss: Any, folder: Path, *, model: Any = None, data: Any = None, **given: Any) -> PreferenceTrainer:
    """A trainer of a tiny Llama; ``given`` are settings of the config, and these arguments of the trainer."""
    names = ("ref_model", "eval_dataset", "optimal_dataset", "peft_config", "processing_class", "callbacks")
    names += ("compute_metrics", "data_collator", "optimizers", "quantization_config")
    trainer = {name: given.pop(name) for name in names if name in given}
    return PreferenceTrainer(
        tiny.llama(0) if model is None else model,
        loss,
        PreferenceConfig(**tiny.settings(folder, **given)),
        **{"train_dataset": tiny.pairs(8) if data is None else data, "processing_class": tiny.tokenizer()} | trainer,
    )


def batch_of(trainer: PreferenceTrainer) -> dict[str, torch.Tensor]:
    return next(iter(trainer.get_train_dataloader()))


def token_distributions(model: Any, rows: dict[str, torch.Tensor], prefix: str = "") -> tuple[Any, Any, Any]:
    """log-probabilities (R, T, V) of next tokens, those of the tokens (R, T), and the mask, from plain logits."""
    ids = rows[f"{prefix}input_ids"]
    logits = model(input_ids=ids, attention_mask=rows[f"{prefix}attention_mask"]).logits[:, :-1]
    logp = logits.double().log_softmax(-1)
    return logp, logp.gather(-1, ids[:, 1:, None])[..., 0], rows[f"{prefix}completion_mask"][:, 1:]


def loss_and_gradient(trainer: PreferenceTrainer, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), flat_gradient(trainer.model)


def flat_gradient(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


def first_log(trainer: PreferenceTrainer) -> dict[str, Any]:
    """What the first step logged."""
    return next(entry for entry in trainer.state.log_history if "loss" in entry)


def saved(folder: Path, model: Any = None) -> str:
    """A folder with a model and the tokenizer."""
    (tiny.llama(0) if model is None else model).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


def logps_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """log pi of chosen and rejected responses, (2, B), by plain logits in evaluation mode."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        _, of_tokens, mask = token_distributions(model, batch)
    model.train(was_training)
    return (of_tokens * mask).sum(1).view(2, -1)
