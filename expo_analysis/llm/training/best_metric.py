"""Which metrics a training will log, known before it begins: `metric_for_best_model` has to be one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from ..._errors import did_you_mean
from ..data import PreferenceData
from ..data.feedback import LABEL, LISTS, SINGLES, Feedback
from .links import Links
from .metrics import BatchValues, batch_metrics, logged_names
from .step import Rules

OF_TRANSFORMERS = ("runtime", "samples_per_second", "steps_per_second")
"""What transformers adds to the metrics of an evaluation."""


def best_of(args: Any) -> list[Any] | None:
    """The metric of the best model and whether greater is better, as JSON gives them back; None without one."""
    name = args.metric_for_best_model
    return None if name is None else [f"eval_{str(name).removeprefix('eval_')}", bool(args.greater_is_better)]


def check_best_metric(args: Any, rules: Rules, evaluated: Any) -> None:
    """Raise unless `metric_for_best_model` is a metric that evaluations of this training have.

    Args:
        rules: with what depends on the model.
        evaluated: `PreferenceData`, a dictionary of several, or None.

    Raises:
        ValueError: naming the setting, and the metrics that there are.
    """
    name = args.metric_for_best_model
    if name is None or evaluated is None:
        return
    sets = evaluated if isinstance(evaluated, Mapping) else {"": evaluated}
    stored = args.precompute_ref_log_probs or args.use_ref_columns
    known = [
        f"{key}_{metric}" if key else metric for key, data in sets.items() for metric in metrics_of(rules, data, stored)
    ]
    timed = {f"{key}_{metric}" if key else metric for key in sets for metric in OF_TRANSFORMERS}
    if str(name).removeprefix("eval_") not in {*known, *timed}:
        raise ValueError(
            f"metric_for_best_model must be a metric of an evaluation, one of {', '.join(known)}; got {name!r}"
            f"{did_you_mean(str(name).removeprefix('eval_'), known)}"
        )


def metrics_of(rules: Rules, data: PreferenceData, stored: bool) -> list[str]:
    """The names of what is logged of a data set: those of the metrics of a batch of one example without content.

    Args:
        stored: whether the reference's log-probabilities come with the batches.
    """
    links = _one_example(data.feedback, rules, data.columns_of(data))
    rows, tokens = torch.zeros(len(links.rows)), torch.zeros(len(links.rows), 1)
    token_kls = None
    if rules.token_wise:
        token_kls = (rows if rules.estimator == "token_kl" else None, rows, rows)
    values = BatchValues(
        links=links,
        losses=rows[:1],
        regulariser=None if rules.estimator is None else rows[:1],
        logps=rows,
        ref_logps=None,
        reads_reference=False,
        lam=1.0,
        sequence_logps=rows,
        sequence_ref_logps=rows if rules.ld_alpha is None and (stored or rules.mixture.needs_reference) else None,
        lengths=rows,
        entropy=tokens,
        mean_logits=tokens,
        is_top1=tokens,
        mask=tokens,
        token_kls=token_kls,
    )
    found = logged_names(batch_metrics(values))
    return sorted([*found, "aux_loss"]) if rules.router_coef else found


def _one_example(kind: Feedback, rules: Rules, columns: Collection[str]) -> Links:
    batch: dict[str, Any] = {"feedback": kind.name, "input_ids": torch.zeros(len(kind.sides), 1)}
    if kind == LISTS:
        batch |= {"ranking": [[0, 1]], "sizes": [2]}
    if kind == SINGLES and LABEL in columns:
        batch[LABEL] = [1.0]
    return rules.links(batch)
