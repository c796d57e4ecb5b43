"""The names that TRL gave to losses, which many packages use, and what each of them is to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import logsigmoid as log_sigmoid

from ..losses import PairObjective
from ..losses.from_function import from_function
from .implementation import Adapter, Ours, Pairs, as_function

SMOOTHING = {"robust": 0.1, "exo_pair": 1e-3, "aot": 0.1, "aot_pair": 0.1, "aot_unpaired": 0.1}
"""The label smoothing at which a loss type is compared; 0 for the others."""

TAU = 0.05
"""DiscoPOP's temperature."""

POINT = 0.5
"""The reference point, or running mean of rewards, at which KTO and BCO are compared."""

LOSS_TYPES = {
    "sigmoid": Ours("dpo"),
    "hinge": Ours("hinge"),
    "ipo": Ours("ipo"),
    "robust": Ours("dpo", label_smoothing=0.1, robust=True),
    "exo_pair": Ours("exo", label_smoothing=1e-3),
    "nca_pair": Ours("nca"),
    "bco_pair": Ours("bco", reference_point=POINT),
    "sppo_hard": Ours("sppo"),
    "apo_zero": Ours("apo_zero"),
    "apo_down": Ours("apo_down"),
    "discopop": Ours("discopop", tau=TAU),
    "aot": Ours("aot", label_smoothing=0.1),
    "aot_unpaired": Ours("aot", label_smoothing=0.1, unpaired=True),
}

BY_BATCH = ("aot", "aot_unpaired", "aot_pair")
"""Those that sort a batch."""

KTO_OF_ONE = (
    "its KL estimates are means over the batch's own pairs, and not detached: at one pair, the other response's "
    "log-ratio with its gradient"
)


MEAN_LIKELIHOOD = "the likelihood is a mean over tokens, the preference term takes sums"
ODDS_OF_SUMS = "odds are those of whole responses, the likelihood is a mean over tokens"


def kto_of_one(p: Pairs, beta: float) -> Any:
    """What "kto_pair" is for a batch of one pair: each response is held to the other's log-ratio, where positive."""
    won, lost = p.ratios
    return torch.sigmoid(-beta * (won - lost.clamp(min=0))) + torch.sigmoid(beta * (lost - won.clamp(min=0)))


def dpo_with_mean_likelihood(p: Pairs, beta: float) -> Any:
    """RPO, but for the mean over tokens."""
    won, lost = p.ratios
    return -log_sigmoid(beta * (won - lost)) - p.w / p.length_w


def cpo_with_mean_likelihood(p: Pairs, beta: float) -> Any:
    """CPO, but for the mean over tokens."""
    return -log_sigmoid(beta * (p.w - p.l)) - p.w / p.length_w


def log_odds(logp: torch.Tensor) -> torch.Tensor:
    """log p/(1 - p)."""
    return logp - torch.log(-torch.expm1(logp))


def orpo_of_sums(p: Pairs, beta: float) -> Any:
    """ORPO with the odds of whole responses."""
    return -p.w / p.length_w - beta * log_sigmoid(log_odds(p.w) - log_odds(p.l))


def function_of(formula: Adapter, reads: str = "") -> Callable[[float], PairObjective]:
    """A formula of pairs as a loss at any lambda, for `Implementation.really`."""
    return lambda lam: from_function(as_function(formula, reads), lam)
