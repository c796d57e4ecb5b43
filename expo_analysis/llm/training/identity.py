"""What a training is of: the identity that a checkpoint, or a cache of reference log-probabilities, belongs to."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor
from transformers.integrations import is_deepspeed_zero3_enabled

from .best_metric import best_of
from .checkpoints import latest_checkpoint, whats_missing
from .logs import tell

IDENTITY_FILE = "preference_training.json"
"""What a checkpoint says about the training that it belongs to."""
BEST = "best_metric_of"
"""What it says of `metric_for_best_model`, which may change."""

WORDS = {
    "objective": "objective",
    "aggregation": "aggregation",
    "estimator": "estimator of the regulariser",
    "data": "training data, tokenizer or max_length",
    "model": "initial model",
    "adapter": "adapter",
    "reference": "reference",
    "ref_model": "reference model",
    "files": "code of the loss",
}
"""The parts of an identity, as messages call them; the weighting and `SETTINGS` are two more, each by its own name."""

SETTINGS = (
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
    *("optim", "optim_args", "optim_target_modules", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("max_grad_norm", "per_device_train_batch_size", "gradient_accumulation_steps", "world_size"),
    *("bf16", "fp16", "neftune_noise_alpha", "disable_dropout", "seed", "data_seed", "dataloader_drop_last"),
    *("train_sampling_strategy", "group_by_length", "length_column_name"),
    *("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps", "dtype"),
)
"""Settings that decide what a step does: a run that goes on under others is another one. How many steps there are may
change; a release of transformers that lacks one of these is asked for the others. ``dtype`` is the model's."""

PARTS = {"router": "router_aux_loss_coef"}
"""What parts of the weighting are called as settings, where they have another name here."""

OWN_PACKAGE = __name__.split(".")[0]

HASHED = ("data", "model", "adapter", "ref_model", "files")
"""Parts that are hashes, which say nothing to a reader."""


def fingerprint(value: Any) -> str:
    """A hash of anything that JSON can hold, and of sets, whose order is another one in each process."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def settings_of(args: Any) -> dict[str, Any]:
    """The values of `SETTINGS`, as JSON gives them back."""
    found = {name: getattr(args, name) for name in SETTINGS if hasattr(args, name)}
    plain: dict[str, Any] = json.loads(json.dumps(found, default=_plain))
    return plain


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, old and new value of the settings that two identities know, and that differ."""
    changed = []
    for part in ("weighting", "settings"):
        old, new = before.get(part) or {}, now.get(part) or {}
        names = [name for name in old if name in new and old[name] != new[name]]
        changed += [(PARTS.get(name, name), old[name], new[name]) for name in names]
    return changed


def weights_fingerprint(model: Any) -> str:
    """A hash of every bit of a model's parameters and persistent buffers; ZeRO-3 needs all processes for it."""
    digest = xxhash.xxh3_128()
    persistent = set(model.state_dict())
    buffers = [(name, buffer) for name, buffer in model.named_buffers() if name in persistent]
    for name, tensor in [*model.named_parameters(), *buffers]:
        whole = _whole(tensor).detach().contiguous()
        digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
        flat = whole.flatten().view(torch.uint8) if whole.ndim else whole.reshape(1).view(torch.uint8)
        for part in flat.split(1 << 28):  # a part at a time: it may have to come from another device
            digest.update(part.cpu().numpy().data)
    return digest.hexdigest()


def _whole(tensor: Tensor) -> Tensor:
    if is_deepspeed_zero3_enabled() and hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()
    return tensor


def check(folder: str | Path, identity: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about itself; empty where it says nothing.

    Raises:
        ValueError: where it belongs to another training, naming what differs.
    """
    path = Path(folder, IDENTITY_FILE)
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name in WORDS if name in found and name in identity and found[name] != identity[name]]
    said = [_differs(name, found[name], identity[name]) for name in differing]
    said += [f"its {name} is {old!r}, and here it is {new!r}" for name, old, new in changed_settings(found, identity)]
    if said:
        shown = "; ".join(said)
        raise ValueError(
            f"checkpoint {str(folder)!r} belongs to another training: {shown}. Give another output_dir, or the "
            "settings it was made with"
        )
    return found


def _differs(name: str, old: Any, new: Any) -> str:
    if name == "adapter" and old is None:
        return "it has no adapter, and here there is one"
    if name == "adapter" and new is None:
        return "it has an adapter, and here there is none"
    word = WORDS[name]
    return f"its {word} is another one" if name in HASHED else f"its {word} is {old}, and here it is {new}"


def _own_code(named: Any, objectives: Iterable[Any]) -> str | None:
    """A digest of the code of the user's own losses, whose formulas their names do not tell.

    Args:
        named: what the settings call them: of FILE.py:NAME all of the file counts.
        objectives: the losses: of a class of the user's its own lines do, as the rest may be the script that trains.
    """
    texts = named if isinstance(named, list) else [named]
    files = [text.rpartition(":")[0] for text in texts if isinstance(text, str) and ":" in text]
    code = [Path(file).read_text(encoding="utf-8") for file in files]
    own = [] if files else [each for each in map(type, objectives) if each.__module__.split(".")[0] != OWN_PACKAGE]
    for each in own:
        with contextlib.suppress(OSError, TypeError):  # of classes that were typed in
            code.append(inspect.getsource(each))
    return fingerprint(code) if code else None


def _complete(asked: Any, output_dir: str) -> Path:
    """The checkpoint that is asked for, with all that a training goes on from: True is the newest such one.

    transformers would begin optimiser and schedule afresh where their state is missing, and say nothing.

    Raises:
        ValueError: naming the folder, and what it lacks.
    """
    if asked is True:
        found, passed = latest_checkpoint(output_dir)
        for line in passed:
            tell(f"not resumed from {line}")
        if found is None:
            raise ValueError(f"resume_from_checkpoint=True: output_dir {output_dir!r} has no complete checkpoint")
        return found
    folder = Path(asked)
    missing = whats_missing(folder) if folder.is_dir() else "there is no such folder"
    if missing:
        raise ValueError(
            f"checkpoint {str(folder)!r} cannot be resumed from: {missing}. To begin another training with its "
            "weights, give the folder as the model"
        )
    return folder


class Identity:
    """What a `PreferenceTrainer`'s training is of.

    Args:
        weights: a hash of the weights that were given, or "" where it was not needed.
        peft_config: of a new adapter, or None.
        reference: the `ReferencePolicy`, or None.
        dtype: of the weights as they were given, which DeepSpeed may change.
    """

    def __init__(self, weights: str, peft_config: Any, reference: Any, dtype: Any = None) -> None:
        self.weights, self.reference, self.dtype = weights, reference, dtype
        self.best: list[Any] | None = None
        """What the best metric of the checkpoint that is resumed from is of; see `best_metric.best_of`."""
        self.adapter = None if peft_config is None else fingerprint(peft_config.to_dict())

    def parts(self, trainer: Any) -> dict[str, Any]:
        """Everything that must be the same for a checkpoint to go on; parts that are not known are left out."""
        rules, args = trainer.rules, trainer.args
        found = {
            "objective": str(trainer.mixture),
            "aggregation": [term.aggregation for term in trainer.mixture.terms],
            "estimator": rules.estimator and f"{rules.estimator}{' on samples' if rules.on_samples else ''}",
            "weighting": {
                "ld_alpha": rules.ld_alpha,
                "use_weighting": rules.use_weighting,
                "router": rules.router_coef,
            },
            "data": fingerprint([trainer.data.fingerprint, args.max_length]) if trainer.data.fingerprint else "",
            "model": self.weights,
            "adapter": self.adapter,
            "reference": None if self.reference is None else self.reference.kind,
            "ref_model": "" if self.reference is None else self.reference.digest,
            "files": _own_code(args.objective, (loss for _, loss in trainer.mixture.given)),
            "settings": settings_of(args) | ({} if self.dtype is None else {"dtype": str(self.dtype).split(".")[-1]}),
        }
        return {name: value for name, value in found.items() if value != ""}

    def open(self, trainer: Any, resume_from_checkpoint: Any) -> str | None:
        """Check the checkpoint that is resumed from, if there is one, and take up its count of tokens.

        Returns:
            Its folder; of True the newest that is complete.

        Raises:
            ValueError: where it lacks something, or belongs to another training.
        """
        if not resume_from_checkpoint:
            return None
        folder = _complete(resume_from_checkpoint, trainer.args.output_dir)
        found = check(folder, self.parts(trainer))
        trainer.tokens_seen, self.best = found.get("num_tokens", 0), found.get(BEST)
        return str(folder)

    def forget_other_best(self, state: Any, args: Any) -> None:
        """Forget a checkpoint's best metric where it is of another metric, or the least and now the greatest counts."""
        before, now = self.best, best_of(args)
        if before is None or now is None or now == before or state.best_metric is None:
            return
        was, here = (f"the {'greatest' if greater else 'least'} {name}" for name, greater in (before, now))
        tell(f"the best model is that of {here}, and of the checkpoint of {was}: only evaluations from here on count")
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def write(self, trainer: Any, folder: str | Path, tokens: int) -> None:
        """Say in a folder what training its model is of."""
        best = best_of(trainer.args)
        identity = self.parts(trainer) | {"num_tokens": tokens} | ({} if best is None else {BEST: best})
        Path(folder, IDENTITY_FILE).write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
