"""What is checked where numbers are made: on the first batch, against the model's own logits and at the start.

Three checks catch whole kinds of faults. Log-probabilities are compared with those of ``model(...).logits``, so that no
model is trained on others than its own. They must not depend on later tokens (`causality`). And before the first step
a reference that is the model itself must give the model's own log-probabilities: a stale cache, changed weights, a
resized vocabulary, a tokenizer of another revision or dropout that was left on would all show there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ..._errors import did_you_mean
from ..causality import leak, what_it_sees, with_another_end
from ..data.sampling import without_dropout
from .collator import ROWS
from .head import LOGITS, Ask, Way, base_of, candidates
from .links import Links, feedback_in
from .scores import at_least_float32


class NonFiniteLoss(FloatingPointError):
    """A loss that is not a number or infinite: training stops before it reaches the weights."""


def explain(losses: Tensor, batch: dict[str, Any], step: int, name: str, where: Callable[[int], str]) -> str:
    """A sentence on a loss that is not finite: after which step, and at which rows of which data set.

    Args:
        losses: of the pairs of a batch.
        where: gives the place of a row by its number.
    """
    bad, rows = (~torch.isfinite(losses)).nonzero().flatten().tolist(), batch["rows"].tolist()
    shown = ", ".join(f"{where(rows[place])}: {losses[place].item()}" for place in bad[:5])
    fields = " or ".join(feedback_in(batch).sides)
    shown = shown or f"rows {rows}, whose losses are finite and whose mean is not"
    return (
        f"the loss is not finite after step {step}, at {shown} ({fields} of {name}). The weights are as they "
        "were before this step. Look at these rows, lower the learning rate or raise lambda"
    )


FOUND_OTHERWISE = ("azure_ml", "flyte", "kubeflow")
"""Loggers that transformers may not list among those that are installed, though they are."""

CLOSE = 1e-3
"""By how many nats a log-probability in float32 may differ from that of the model's own logits."""
AROUND = 16
"""How many positions before and after the beginning of a response are compared: few, as all have logits at once."""


def first_example(batch: dict[str, Any]) -> dict[str, Any]:
    """The responses of a batch's first example, and its log-probabilities of the reference."""
    own = (Links.of_batch(batch).owner == 0).to(batch["input_ids"].device)
    rows = {name: batch[name][own] for name in ROWS}
    kept = ("rows", "sizes", "ranking", *feedback_in(batch).ref_columns)
    return rows | {"feedback": feedback_in(batch).name} | {name: batch[name][:1] for name in kept if name in batch}


def check_settings(args: Any) -> None:
    """Raise for settings of transformers that have no effect, or none that makes sense, here.

    Raises:
        ValueError: naming the setting: float16 on a CPU, an order of the training data by the lengths of rows.
    """
    if args.fp16 and args.use_cpu:
        raise ValueError("fp16 is not used on a CPU, which would compute in float32: leave it out, or set bf16")
    by_length = "group_by_length" if getattr(args, "group_by_length", False) else None  # an older name of the setting
    strategy = by_length or str(getattr(args, "train_sampling_strategy", "random"))
    if strategy in ("group_by_length", "batch_rebalance"):
        raise ValueError(
            f"train_sampling_strategy must be 'random' or 'sequential', got {strategy!r}: a row has several responses "
            "here, and so no length of its own to go by"
        )
    _check_loggers(args.report_to)


def _check_loggers(names: Any) -> None:
    """Raise for a logger that is unknown, or whose package is missing: transformers' own errors name no setting."""
    installed = {*get_available_reporting_integrations(), *FOUND_OTHERWISE}
    for name in names if isinstance(names, list) else []:
        if name not in INTEGRATION_TO_CALLBACK:
            known = sorted(INTEGRATION_TO_CALLBACK)
            raise ValueError(f"report_to must be none, all or some of {known}; got {name!r}{did_you_mean(name, known)}")
        if name not in installed:
            raise ValueError(f"report_to {name!r}: its package is not installed; install it, or set report_to to none")


def check_whole_sequences(accelerator: Any) -> None:
    """Raise where each process has a part of every sequence: a response's log-probability is a sum over all of it.

    Raises:
        ValueError: naming the setting of accelerate's.
    """
    parallelism = getattr(accelerator, "parallelism_config", None)
    for name in ("cp_size", "sp_size"):
        size = getattr(parallelism, name, 1)
        if isinstance(size, int) and size > 1:
            raise ValueError(f"parallelism_config must leave sequences whole, with {name}=1; got {name}={size}")


def beginnings(batch: dict[str, Any]) -> dict[str, Tensor]:
    """A few tokens of a batch's first example, around the beginning of its responses."""
    rows = first_example(batch)
    begin = int(rows["completion_mask"].argmax(dim=1).max())
    return {name: rows[name][:, max(0, begin - AROUND) : begin + AROUND] for name in ROWS}


def start_tolerance(logps: Tensor, rounding: float) -> float:
    """By how many nats sequences' log-probabilities may differ by rounding."""
    return (1e-4 + rounding) * (1 + float(logps.abs().max()))


def arguments_of(rows: dict[str, Tensor]) -> dict[str, Any]:
    """What a model's forward pass takes of a batch's rows."""
    return {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"], "use_cache": False}


def labels_of(rows: dict[str, Tensor]) -> Tensor:
    return rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)


def choose_way(model: Any, inner: Any, rows: dict[str, Tensor], gather: Any, rounding: float) -> Way:
    """The first of `candidates` whose log-probabilities are those of the model's own logits, which see no later token.

    Args:
        model: what is called, wrapped or not, after `add_scores` of ``inner``'s base.
        gather: a function that gathers a tensor from all processes, which take the same way.
        rounding: the relative error of one rounding, of the least precise dtype that is computed in.

    Raises:
        ValueError: where not even its logits are a way, and where these see later tokens, naming the model.
    """
    base, labels = base_of(inner), labels_of(rows)
    with torch.no_grad(), without_dropout(model):
        length = labels.shape[1] - 1
        given = getattr(model(**arguments_of(rows)), "logits", None)
        if given is None or given.ndim != 3:
            raise ValueError(f"model {type(base).__name__} has no logits of next tokens, so that it cannot be trained")
        logits = at_least_float32(given[:, -length - 1 : -1])
        targets = labels[:, 1:].to(logits.device)
        own = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        own = own.masked_fill(targets == -100, 0)
        if not bool(own.isfinite().all()):
            raise ValueError(
                f"model {type(base).__name__} gives log-probabilities that are not finite on its first batch: look at "
                "its weights, and at the type that they are computed in"
            )
        close = CLOSE + 4 * rounding * float(logits.abs().max())
        for way in candidates(base):
            found = _scores(model, rows, labels, way)
            gap = torch.full_like(own[0, :1], torch.inf) if found is None else (found - own).abs().max()[None]
            if float(gather(gap.nan_to_num(torch.inf)).max()) <= close:
                _check_reads_forward(model, base, rows, given, gather, rounding)
                return way
    raise ValueError(
        f"model {type(base).__name__} gives other log-probabilities of labelled tokens than model(...).logits by any "
        "way known here, so that it cannot be trained"
    )


def _check_reads_forward(
    model: Any, base: Any, rows: dict[str, Tensor], logits: Tensor, gather: Any, rounding: float
) -> None:
    changed, last = with_another_end(rows["input_ids"], rows["attention_mask"])
    others = model(**arguments_of(rows | {"input_ids": changed})).logits
    gap, limit = leak(logits, others, last, changed.shape[1], rounding)
    if float(gather(gap - limit).max()) > 0:  # in any process, and so in all
        raise ValueError(what_it_sees(base, float(gather(gap).max())))


def _scores(model: Any, rows: dict[str, Tensor], labels: Tensor, way: Way) -> Tensor | None:
    """log-probabilities by one way; None where the model cannot go it."""
    try:
        found = model(**arguments_of(rows), labels=labels, ask=Ask(way))["log_probs"]
    except (AttributeError, RuntimeError, TypeError):
        if way == LOGITS:
            raise
        return None
    return found[:, -labels.shape[1] + 1 :]
