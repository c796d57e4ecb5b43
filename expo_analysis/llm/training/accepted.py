"""What the settings of a training may be: each value that nothing could be made of is refused by the setting's name."""

from __future__ import annotations

from typing import Any

from accelerate.utils import DynamoBackend
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from ..._errors import did_you_mean
from ...losses.base import check_number, check_option, check_whole
from ..data import ON_BAD_ROWS
from .regulariser import ESTIMATORS

PREFIXES = ("responses", "reference_samples")
"""What token-wise divergences are computed along."""

CHOICES: dict[str, Any] = {
    "optim": OptimizerNames,
    "lr_scheduler_type": SchedulerType,
    "eval_strategy": IntervalStrategy,
    "logging_strategy": IntervalStrategy,
    "save_strategy": SaveStrategy,
    "hub_strategy": HubStrategy,
    "torch_compile_backend": DynamoBackend,
}
"""Settings of transformers that are one of several words, which its own errors do not name."""


def check_values(args: Any) -> None:
    """Raise for values that no `PreferenceConfig` can have.

    Raises:
        ValueError: naming the setting and what is accepted.
    """
    _check_choices(args)
    check_option("regulariser_estimator", args.regulariser_estimator, (*ESTIMATORS, None))
    check_option("token_prefixes", args.token_prefixes, PREFIXES)
    check_option("on_bad_rows", args.on_bad_rows, ON_BAD_ROWS)
    for name in ("token_chunk_size", "ref_model_sync_steps", "max_length", "pad_to_multiple_of"):
        value = getattr(args, name)
        may_be_none = name in ("max_length", "pad_to_multiple_of")
        if not (value is None and may_be_none) and (type(value) is not int or value < 1):
            raise ValueError(f"{name} must be a positive integer{' or None' * may_be_none}, got {value!r}")
    for name in ("learning_rate", "num_train_epochs", "weight_decay", "max_grad_norm", "router_aux_loss_coef"):
        if getattr(args, name) is not None:
            check_number(name, getattr(args, name), 0.0, low_too=name != "num_train_epochs" or args.max_steps > 0)
    if args.max_steps != -1:  # which leaves it to the epochs
        check_whole("max_steps", args.max_steps, 1)
    for name in ("ld_alpha", "ref_model_mixup_alpha"):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
    if args.label_smoothing_factor:
        raise ValueError(
            "label_smoothing_factor is not used by PreferenceTrainer: give label_smoothing to the objective, as in "
            f"DPO(lam, label_smoothing=...); got {args.label_smoothing_factor!r}"
        )
    if args.use_ref_columns and args.precompute_ref_log_probs:
        raise ValueError("give use_ref_columns or precompute_ref_log_probs, not both: each says what the reference is")


def _check_choices(args: Any) -> None:
    for name, kind in CHOICES.items():
        value = getattr(args, name, None)
        accepted = [str(member.value).lower() for member in kind]
        if isinstance(value, str) and not isinstance(value, kind) and value.lower() not in accepted:
            raise ValueError(
                f"{name} must be one of {', '.join(accepted)}; got {value!r}{did_you_mean(value, accepted)}"
            )
    pairs = args.optim_args.split(",") if isinstance(args.optim_args, str) else []
    if not all(pair.count("=") == 1 for pair in pairs):
        raise ValueError(f"optim_args must be like 'rank=8,scale=0.5', got {args.optim_args!r}")
