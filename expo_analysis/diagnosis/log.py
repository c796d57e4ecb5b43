"""A log of any trainer under one set of names: those of TRL, a series of steps and values for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._types import Floats

ALIASES = {
    "loss": ("loss_mean", "total_loss"),
    "rewards/chosen": ("chosen_reward", "chosen_rewards", "rewards/chosen_rewards", "rewards_chosen_mean"),
    "rewards/rejected": (
        *("reject_reward", "rejected_reward", "rejected_rewards", "rewards/rejected_rewards", "rewards_rejected_mean"),
    ),
    "rewards/margins": ("rewards/margin", "margin", "margins", "reward_margin", "rewards_margin"),
    "rewards/accuracies": ("rewards/accuracy", "acc", "acc_mean", "accuracy", "reward_accuracy"),
    "logps/chosen": ("log_probs/chosen", "chosen_logps", "policy_chosen_logps"),
    "logps/rejected": ("log_probs/rejected", "rejected_logps", "policy_rejected_logps"),
    "grad_norm": ("gradient_norm", "global_grad_norm"),
    "learning_rate": ("lr",),
    "kl": (),
    "nll_loss": (),
    "entropy": (),
    "mean_token_accuracy": (),
    "num_tokens": (),
    "loss/preference": ("preference_loss",),
    "loss/regulariser": (),
    "mass/chosen": (),
    "mass/rejected": (),
    "mass/both_fell": (),
    "kl_estimate/reference_policy": (),
    "kl_estimate/reference_policy_per_token": (),
    "log_odds_ratio": (),
    "log_odds_chosen": (),
}
"""The names that are read, and what other trainers call them."""

STEPS = ("step", "global_step", "train/global_step", "trainer/global_step", "_step", "steps", "iteration")
"""What a column of steps is called, the first of these that is there."""

KNOWN = {alias.lower(): name for name, aliases in ALIASES.items() for alias in (name, *aliases)}
TRAIN = re.compile(r"^(train[/_.]|training[/_])")
EVALUATION = re.compile(r"^(eval(uation)?[/_.]|val(id(ation)?)?[/_.]|test[/_.])")
MIDDLE = re.compile(r"_(train|eval|val|valid|test)/|/(train|eval|val|valid|test)$")
"""As in ``rewards_train/chosen`` and ``loss/eval``."""


@dataclass(frozen=True)
class Series:
    """One quantity: ``values`` at ``steps``, both (entries,), in the order of steps; values may be nan."""

    steps: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def first(self) -> float:
        return float(self.values[0])

    def tail(self, share: float = 0.2) -> Floats:
        """The last values: this share of them, and at least one."""
        return self.values[-max(1, round(share * len(self))) :]

    @property
    def last(self) -> float:
        """The mean of the last fifth."""
        return float(np.mean(self.tail()))

    def until(self, step: float) -> Series:
        """What is before a step."""
        return Series(self.steps[self.steps < step], self.values[self.steps < step])

    def scaled(self, factor: float, shift: float = 0.0) -> Series:
        """Every value times the factor, plus the shift."""
        return Series(self.steps, factor * self.values + shift)


@dataclass(frozen=True)
class Log:
    """What a trainer logged.

    source: the file it comes from. train, evaluation: series by name, as in `ALIASES`. settings: what is known of how
    the run was made, by name. remarks: what a reader should be told of how the log was read. epochs: how often the data
    were passed, None where that is not logged.
    """

    source: str
    train: Mapping[str, Series]
    evaluation: Mapping[str, Series]
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    epochs: float | None = None

    @property
    def steps(self) -> float:
        """The last step."""
        return max((float(s.steps[-1]) for s in [*self.train.values(), *self.evaluation.values()]), default=0.0)

    def until(self, step: float) -> Log:
        """The log before a step; series that have nothing before it are left out."""
        train, evaluation = (
            {name: cut for name, series in own.items() if len(cut := series.until(step))}
            for own in (self.train, self.evaluation)
        )
        return Log(self.source, train, evaluation, self.settings, self.remarks, self.epochs)


def named(column: str) -> tuple[str, str] | None:
    """Whether a column is of training or of evaluation, and the name of its series; None for one that is not read.

    Example:
        >>> named("rewards_train/chosen"), named("eval_rewards/margins"), named("eval_easy_loss"), named("vram")
        (('train', 'rewards/chosen'), ('evaluation', 'rewards/margins'), ('evaluation easy', 'loss'), None)
    """
    text, kind = column.strip().lower(), "train"
    if (middle := MIDDLE.search(text)) is not None:
        kind = "train" if "train" in middle[0] else "evaluation"
        text = MIDDLE.sub("" if middle[0].startswith("/") else "/", text, count=1)
    elif EVALUATION.match(text):
        kind, text = "evaluation", EVALUATION.sub("", text, count=1)
    else:
        text = TRAIN.sub("", text, count=1)
    if text in KNOWN:
        return kind, KNOWN[text]
    if kind == "evaluation":  # of one of several sets: eval_NAME_loss
        for at in (k for k, letter in enumerate(text) if letter in "_/"):
            if text[at + 1 :] in KNOWN:
                return f"evaluation {text[:at]}", KNOWN[text[at + 1 :]]
    return None


def collect(entries: Iterable[Mapping[str, Any]]) -> tuple[dict[str, dict[str, Series]], float | None]:
    """Series by kind and name of the entries of a log, and the last epoch; what is no number is left out."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    epochs: float | None = None
    for row, entry in enumerate(entries, 1):
        at = next((number(entry[name]) for name in STEPS if number(entry.get(name)) is not None), None)
        epochs = number(entry.get("epoch")) or epochs
        for column, value in entry.items():
            place, its = named(str(column)), number(value)
            if place is not None and its is not None:
                kind, name = place
                found.setdefault(kind, {}).setdefault(name, {})[float(row) if at is None else at] = its
    made = {kind: {name: _series(points) for name, points in own.items()} for kind, own in found.items()}
    return made, epochs


def _series(points: Mapping[float, float]) -> Series:
    steps = np.array(sorted(points))
    return Series(steps, np.array([points[step] for step in steps]))


def number(value: Any) -> float | None:
    """A value as a number, nan among them; None for what is none, or is empty."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def finite(series: Series | None) -> Series | None:
    """The finite values of a series; None where there are none."""
    if series is None:
        return None
    kept = np.isfinite(series.values)
    return Series(series.steps[kept], series.values[kept]) if kept.any() else None
