"""Settings that a training does not read, though they were given: each is told of in a line, with what would read it.

transformers says nothing of most of them. What would make a training another one than was asked for is refused instead
(`checks.check_settings`, `config`); these only do less than their name says.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from transformers import Trainer

from .logs import tell

Condition = Callable[["Given"], bool]


@dataclass(frozen=True)
class Given:
    """What a trainer is given, as far as it decides which settings are read.

    args        a `PreferenceConfig`
    in_memory   whether model and reference are objects, and no names
    metrics     whether there is a ``compute_metrics``; collator: whether there is a collator of the user's
    """

    args: Any
    in_memory: bool = False
    metrics: bool = False
    collator: bool = False

    def is_set(self, name: str) -> bool:
        """Whether a setting is another than its default."""
        field = self.args.__dataclass_fields__.get(name)  # transformers' releases have some more and some fewer
        if field is None:
            return False
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = getattr(self.args, name)
        return bool(value != default and (value or default))  # an empty mapping is none

    def value(self, name: str) -> str:
        """A setting as text: strategies and schedules are enumerations once they are checked."""
        value = getattr(self.args, name)
        return str(getattr(value, "value", value))


def _always(given: Given) -> bool:
    return True


RULES: tuple[tuple[str, str, Condition], ...] = (
    ("label_names", "here: labels are the numbers of rows, and predictions log-probabilities", _always),
    ("length_column_name", "here: a row has several responses, and no length of its own", _always),
    ("include_for_metrics", "here: compute_metrics is given log-probabilities and the numbers of rows", _always),
    ("average_tokens_across_devices", "here: a loss is the mean over the pairs of all processes anyhow", _always),
    ("use_cache", "while training, which goes without", _always),
    (
        "hub_model_id hub_token hub_private_repo hub_strategy hub_always_push hub_revision",
        "while training without push_to_hub",
        lambda given: not given.args.push_to_hub,
    ),
    ("run_name", "without a logger in report_to", lambda given: not given.args.report_to),
    (
        "project trackio_space_id trackio_bucket_id trackio_static_space_id",
        "without 'trackio' in report_to",
        lambda given: "trackio" not in given.args.report_to,
    ),
    ("greater_is_better", "without metric_for_best_model", lambda given: given.args.metric_for_best_model is None),
    (
        "metric_for_best_model eval_delay",
        "without an evaluation while training: set eval_strategy",
        lambda given: given.value("eval_strategy") == "no",
    ),
    ("eval_steps", "unless eval_strategy is 'steps'", lambda given: given.value("eval_strategy") != "steps"),
    ("save_steps", "unless save_strategy is 'steps'", lambda given: given.value("save_strategy") != "steps"),
    ("logging_steps", "unless logging_strategy is 'steps'", lambda given: given.value("logging_strategy") != "steps"),
    (
        "save_total_limit save_only_model",
        "without checkpoints: save_strategy is 'no'",
        lambda given: given.value("save_strategy") == "no",
    ),
    ("num_train_epochs", "beside max_steps", lambda given: given.args.max_steps > 0),
    (
        "warmup_steps",
        "under a lr_scheduler_type without a warm-up (constant_with_warmup has one)",
        lambda given: given.value("lr_scheduler_type") in ("constant", "reduce_lr_on_plateau", "greedy"),
    ),
    (
        "lr_scheduler_kwargs",
        "under a lr_scheduler_type that takes none",
        lambda given: given.value("lr_scheduler_type") in ("constant", "constant_with_warmup"),
    ),
    ("batch_eval_metrics", "without compute_metrics", lambda given: not given.metrics),
    ("liger_kernel_config", "without use_liger_kernel", lambda given: not given.args.use_liger_kernel),
    (
        "activation_checkpointing_kwargs gradient_checkpointing_kwargs",
        "without gradient_checkpointing",
        lambda given: not given.args.gradient_checkpointing,
    ),
    (
        "precompute_ref_batch_size",
        "without precompute_ref_log_probs",
        lambda given: not given.args.precompute_ref_log_probs,
    ),
    (
        "ref_model_mixup_alpha ref_model_sync_steps",
        "without sync_ref_model",
        lambda given: not given.args.sync_ref_model,
    ),
    ("model_init_kwargs", "on a model that is in memory already", lambda given: given.in_memory),
    ("pad_to_multiple_of", "on a collator of one's own", lambda given: given.collator),
)
"""Names of settings, what goes after "has no effect", and where that is so."""

OF_OPTIMISERS = ("adam_beta1", "adam_beta2", "adam_epsilon", "optim_args")
"""Settings of which some optimisers read some."""


def unused(given: Given) -> Iterator[str]:
    """A sentence for each reason for which settings that were given are not read."""
    for names, why, holds in RULES:
        found = [name for name in names.split() if given.is_set(name)]
        if names.startswith("activation") and found:
            found = found[:1]  # two names of one setting, which transformers keeps alike
        if found and holds(given):
            yield f"{_named(found)} no effect {why}"
    found = [name for name in OF_OPTIMISERS if given.is_set(name) and _changes_nothing(given.args, name)]
    if found:
        yield f"{_named(found)} no effect on the optimiser {given.value('optim')}"
    if given.args.learning_rate == 0:
        yield "learning_rate is 0: no step changes a weight"
    if given.args.use_liger_kernel and (given.args.liger_kernel_config or {}).get("fused_linear_cross_entropy"):
        yield "fused_linear_cross_entropy of liger_kernel_config has no effect here, where no loss is a cross-entropy"
    if given.args.accelerator_config.dispatch_batches:
        yield "dispatch_batches of accelerator_config has no effect here: every process reads its own rows"


def _named(names: list[str]) -> str:
    return f"{', '.join(names)} {'have' if names[1:] else 'has'}"


def tell_of_unused(
    args: Any, model: Any, ref_model: Any = None, compute_metrics: Any = None, data_collator: Any = None
) -> None:
    """Say which settings are not read; the arguments are the trainer's."""
    in_memory = not isinstance(model, str) and not isinstance(ref_model, str)
    for line in unused(Given(args, in_memory, compute_metrics is not None, data_collator is not None)):
        tell(line)


def _changes_nothing(args: Any, name: str) -> bool:
    """Whether the optimiser is made alike without this setting."""
    other = copy.copy(args)
    setattr(other, name, args.__dataclass_fields__[name].default)
    try:
        made, without = (Trainer.get_optimizer_cls_and_kwargs(one) for one in (args, other))
    except Exception:  # whatever is wrong with the optimiser, the trainer will say, which needs one
        return False
    return bool(made == without)
