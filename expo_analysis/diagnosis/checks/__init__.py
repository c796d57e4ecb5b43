"""The checks, in the order in which they are made and reported: what is broken first."""

from __future__ import annotations

from collections.abc import Callable

from ..finding import Outcome
from ..run import Run
from . import labels, movement, scale, stability, start

CHECKS: dict[str, Callable[[Run], Outcome]] = {
    "not finite": stability.not_finite,
    "wrong reference": start.wrong_reference,
    "wrong template": start.wrong_template,
    "lambda not as stated": start.other_lambda,
    "learning rate too high": stability.too_fast,
    "nothing moves": movement.nothing_moves,
    "labels swapped": labels.swapped,
    "noisy labels": labels.noisy,
    "overfit": labels.overfit,
    "lambda too small": scale.too_small,
    "lambda too large": scale.too_large,
    "saturated": movement.saturated,
    "KL at its clamp": movement.clamped,
    "displacement": movement.displacement,
}
"""Each takes a `Run` and returns an `Outcome`."""

LOG_RATIOS = ("nothing moves", "lambda too small", "lambda too large", "saturated", "displacement", "noisy labels")

HIDES = {
    "wrong reference": (LOG_RATIOS, "the log has no log-ratios to the model that training starts from"),
    "lambda not as stated": (LOG_RATIOS, "log-ratios are told in nats by a λ that is not the run's"),
    "labels swapped": (("overfit", "noisy labels"), "training and evaluation are of opposite labels"),
    "learning rate too high": ((*LOG_RATIOS[1:4], "noisy labels", "overfit"), "steps that are too long hide it"),
}
"""What cannot be told beside a finding, and why."""
