"""The paper's two controlled experiments (arXiv 2506.07492, Section 5) as data.

`interpolation` and `preservation` give the policies, the pairs that the authors' seeds draw, and the policies at which
their training script ends. The script averages the KL of EXPO over the n responses where this package sums it, so its
EXPO at a published lambda is `EXPO` here at lambda / n; `Experiment.own_lam` converts.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._types import Floats, Indices, Policies
from .bandit import Bandit
from .losses import DPO, EXPO, FDPO, IPO, PairObjective, RegressionEXPO

__all__ = ["LOSSES", "Experiment", "TrainingEnd", "interpolation", "preservation"]

LOSSES: dict[str, PairObjective] = {
    loss.name: loss for loss in (DPO(1.0), IPO(1.0), FDPO(1.0), EXPO(1.0), RegressionEXPO(1.0))
}
"""What the paper compares, and EXPO's regression form beside it, by name in the catalogue; each user sets lambda."""


RECORDED_STEP = 1e-6
"""The script's final policies are recorded to six decimals: a probability recorded as 0 is at most half of this."""

PROMPTS = ("good", "bad")


@dataclass(frozen=True, eq=False)
class TrainingEnd:
    """Where the authors' script ends.

    loss: a name in `expo_analysis.CATALOGUE`. published_lam: lambda as the paper has it. policy: the shape of the
    experiment's policies, as recorded. steps: how many steps of Adam it took.
    """

    loss: str
    published_lam: float
    policy: Policies
    steps: int


@dataclass(frozen=True, eq=False)
class Experiment:
    """One experiment: policies of shape (n,) or (prompts, n), its data in training order, and where the script ends.

    winner, loser, prompt: shape (pairs,), one entry per comparison (prompt is 0 where there is one prompt only).
    batch: how many consecutive pairs the script averages over in a step; the last batch holds what is left.
    """

    reference: Policies
    optimal: Policies
    winner: Annotated[Indices, "pairs"]
    loser: Annotated[Indices, "pairs"]
    prompt: Annotated[Indices, "pairs"]
    batch: int
    ends: tuple[TrainingEnd, ...]

    def __post_init__(self) -> None:
        for array in (self.reference, self.optimal, self.winner, self.loser, self.prompt):
            array.flags.writeable = False

    @property
    def n(self) -> int:
        """Number of responses."""
        return int(self.reference.shape[-1])

    @property
    def population(self) -> Bandit:
        """Exact preferences, every pair equally often."""
        return Bandit(self.reference, self.optimal)

    @property
    def data(self) -> Bandit:
        """The pairs that the authors' seeds draw, each counted once."""
        return Bandit.from_counts(self.reference, self._counts(np.ones(len(self.winner), dtype=int)))

    @property
    def data_as_trained(self) -> Bandit:
        """The same pairs as the script weighs them: batches count alike, so pairs in a short last one weigh more."""
        size = np.diff(np.r_[np.arange(0, len(self.winner), self.batch), len(self.winner)])
        weight = math.lcm(*size.tolist()) // size
        return Bandit.from_counts(self.reference, self._counts(np.repeat(weight, size)))

    def own_lam(self, loss: str, published_lam: ArrayLike) -> Floats:
        """This package's lambda for a published one: lambda / n for ``"expo"``, else lambda."""
        return np.asarray(published_lam, dtype=np.float64) / (self.n if loss == "expo" else 1)

    def _counts(self, weight: NDArray[Any]) -> Floats:
        counts = np.zeros((len(PROMPTS), self.n, self.n))
        np.add.at(counts, (self.prompt, self.winner, self.loser), weight)
        return counts if self.reference.ndim == 2 else counts[0]


@cache
def interpolation() -> Experiment:
    """One prompt, pi* = (.6, .3, .1), pi_ref = (.4, .4, .2); 213 pairs; lambda = 1e-5 and 100."""
    record = _records()["interpolation"]
    winner, loser = np.array(record["pairs_in_order"], dtype=np.intp).T
    return Experiment(
        reference=np.array(record["pi_ref"]),
        optimal=np.array(record["pi_star"]),
        winner=winner,
        loser=loser,
        prompt=np.zeros_like(winner),
        batch=20,
        ends=tuple(
            TrainingEnd(loss, float(setting), np.array(end["policy"]), end["steps"])
            for loss, setting, end in _ends(record)
        ),
    )


@cache
def preservation() -> Experiment:
    """Prompt "good" with pi_ref = pi* and prompt "bad" with pi_ref != pi*; 277 pairs; log lambda = -5, 0 and 5."""
    record = _records()["preservation"]
    winner, loser, prompt = np.array(record["pairs_in_order"], dtype=np.intp).T
    return Experiment(
        reference=np.array([record[f"ref_{name}"] for name in PROMPTS]),
        optimal=np.array([record[f"pi_star_{name}"] for name in PROMPTS]),
        winner=winner,
        loser=loser,
        prompt=prompt,
        batch=1,
        ends=tuple(
            TrainingEnd(loss, math.exp(float(setting)), np.array([end[name] for name in PROMPTS]), end["steps"])
            for loss, setting, end in _ends(record)
        ),
    )


def _records() -> dict[str, Any]:
    text = (files(__package__) / "data" / "section5.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _ends(record: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(loss, the number in "lambda=..." or "loglam=...", entry), with the losses named as in the catalogue."""
    keys = [(key.split("|"), end) for key, end in record["authors_final"].items()]
    return [(loss.replace("-", ""), setting.partition("=")[2], end) for (loss, setting), end in keys]
