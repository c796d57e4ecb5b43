"""TRL's settings in ours: which objective a ``loss_type`` is, how it aggregates, and what has no counterpart.

Nothing is imported from TRL: a `DPOConfig` is a dataclass, and its fields say what their defaults are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ...losses.base import check_number
from ...losses.trl import TRL_SMOOTHED, from_trl
from .aggregation import TOKEN_MEAN
from .logs import tell

AGGREGATION = {"ipo": "mean", "sigmoid_norm": "mean", "sft": TOKEN_MEAN}
"""What TRL divides by; all other loss types are of sums."""

OBJECTIVE = (
    *("loss_type", "loss_weights", "f_divergence_type", "f_alpha_divergence_coef", "label_smoothing", "discopop_tau"),
    "beta",
)
"""Settings that are in the objective."""

HERE = {
    **{"pad_to_multiple_of": "auto", "truncation_mode": "keep_start", "padding_free": False},
    "router_aux_loss_coef": 0.001,  # TRL 1.12's default, for any model; later ones have None, the model's own
}
"""Settings whose default needs nothing done."""

NOT_HERE = {
    "padding_free": "TRL itself ignores it at present",
    "truncation_mode": "responses are cut at their end only, and TRL is about to remove the other mode",
    "pad_token": "set the tokenizer's pad_token",
    "activation_offloading": "set activation_checkpointing_kwargs={'offload': True}, if this transformers has it",
    "use_liger_kernel": "the head is this package's own, and does not build the logits either",
}
"""Settings without a counterpart, and what to do instead."""


def settings_of(config: Any, known: set[str]) -> dict[str, Any]:
    """Arguments of `PreferenceConfig` that do what a `trl.DPOConfig` does.

    Args:
        known: the names of our own settings.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type) or not hasattr(config, "f_divergence_type"):
        raise TypeError(f"config must be a trl.DPOConfig, got {type(config).__name__}")
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in OBJECTIVE or not field.init:
            continue
        if name in known and not (name in HERE and value == HERE[name] and _is_default(field, value)):
            found[name] = value
        elif name not in known and not _is_default(field, value) and value != HERE.get(name):
            raise ValueError(f"{name} has no counterpart here: {NOT_HERE.get(name, 'leave it out')}; got {value!r}")
    if found.get("gradient_checkpointing") is not None and "activation_checkpointing" in found:
        found["activation_checkpointing"] = found["activation_checkpointing_kwargs"] = None
    made = _objective(config)
    if TOKEN_MEAN in made["aggregation"] and found.get("gradient_accumulation_steps", 1) > 1:
        tell(
            "loss_type 'sft' with gradient_accumulation_steps > 1: here its mean is over all tokens of a whole step; "
            "TRL takes the mean of its micro-batches' means, which is another number where these differ in their tokens"
        )
    _tell_of_means(config, made["aggregation"])
    return found | made


def _tell_of_means(config: Any, aggregation: list[str]) -> None:
    """Say what is another number than TRL's where a loss reads means over the tokens of a response."""
    kinds = _kinds(config)
    logged = next((kind for kind, how in zip(kinds, aggregation, strict=True) if how != TOKEN_MEAN), None)
    if AGGREGATION.get(str(logged)) == "mean":
        tell(
            f"loss_type {logged!r}: rewards/... and logps/... are logged as means over a response's tokens, which are "
            "what this loss reads; TRL logs their sums"
        )
    divided = [kind for kind in kinds if AGGREGATION.get(kind) == "mean"]
    if divided and config.f_divergence_type != "reverse_kl":
        tell(
            f"loss_type {divided[0]!r} with f_divergence_type {config.f_divergence_type!r}: here f' is of the averaged "
            "log-ratio; TRL divides f' of the whole response by its length, which is another loss (docs/losses.md)"
        )


def _is_default(field: Any, value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return value is None or bool(value == field.default)


def _kinds(config: Any) -> list[str]:
    return [config.loss_type] if isinstance(config.loss_type, str) else list(config.loss_type)


def _objective(config: Any) -> dict[str, Any]:
    kinds = _kinds(config)
    check_number("beta", config.beta, 0.0)
    alpha = config.f_divergence_type == "alpha_divergence"
    if config.label_smoothing and not any(kind in TRL_SMOOTHED for kind in kinds):
        raise ValueError(f"label_smoothing is not used by loss_type {kinds}, though TRL accepts it")
    objectives = [
        from_trl(
            kind,
            config.beta,
            "reverse_kl" if kind == "sft" else config.f_divergence_type,
            f_alpha_divergence_coef=config.f_alpha_divergence_coef if alpha and kind != "sft" else None,
            label_smoothing=config.label_smoothing if kind in TRL_SMOOTHED else 0.0,
            discopop_tau=config.discopop_tau if kind == "discopop" else None,
        )
        for kind in kinds
    ]
    weights = None if config.loss_weights is None else list(config.loss_weights)
    if len(objectives) == 1 and weights is not None and weights != [1.0]:
        raise ValueError(f"loss_weights of a single loss_type have no counterpart here, got {weights}")
    return {
        "objective": objectives,
        "objective_weights": weights if len(objectives) > 1 else None,
        "aggregation": [AGGREGATION.get(kind, "sum") for kind in kinds],
    }
