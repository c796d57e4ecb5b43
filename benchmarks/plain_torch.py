"""The training loop that one writes first: one setting at a time, `torch.nn`, `torch.optim.Adam`, `backward`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expo_analysis import PairObjective


class TabularPolicy(nn.Module):
    """One logit for each prompt and response, started at a policy of shape (prompts, n)."""

    def __init__(self, policy: NDArray[np.float64]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.log(torch.tensor(policy)))

    def forward(self) -> Tensor:
        """log pi, shape (prompts, n)."""
        return self.logits.log_softmax(dim=-1)


@dataclass
class Loop:
    """Training of one objective on (prompt, winner, loser), in the order of the data.

    reference: (prompts, n), where training starts. prompt, winner, loser: shape (pairs,). batch: pairs in a step.
    """

    objective: PairObjective
    reference: NDArray[np.float64]
    prompt: NDArray[np.intp]
    winner: NDArray[np.intp]
    loser: NDArray[np.intp]
    batch: int
    lr: float
    clip: float | None = None

    def __post_init__(self) -> None:
        self.policy = TabularPolicy(self.reference)
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=self.lr)
        self.log_reference = torch.log(torch.tensor(self.reference))
        self.batches = self._forever()

    def run(self, steps: int) -> float:
        """Take so many steps more; the seconds they took."""
        before = time.perf_counter()
        for prompt, winner, loser in islice(self.batches, steps):
            self.optimiser.zero_grad()
            self.risk(prompt, winner, loser).backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.clip)
            self.optimiser.step()
        return time.perf_counter() - before

    def risk(self, prompt: Tensor, winner: Tensor, loser: Tensor) -> Tensor:
        """Mean over a batch of loss + lam * regulariser."""
        log_policy, log_reference = self.policy()[prompt], self.log_reference[prompt]
        ends = [rows.gather(1, end[:, None])[:, 0] for rows in (log_policy, log_reference) for end in (winner, loser)]
        loss = self.objective.pair_loss(*ends)
        if self.objective.regulariser is not None:
            loss = loss + self.objective.lam * self.objective.regulariser(log_policy, log_reference)
        return loss.mean()

    def result(self) -> NDArray[np.float64]:
        """The policy now, (prompts, n)."""
        with torch.no_grad():
            return np.asarray(self.policy().exp().numpy())

    def _forever(self) -> Iterator[list[Tensor]]:
        """Batches of one epoch after another, cut once and for all: a `DataLoader` would take most of the time."""
        columns = [torch.tensor(array).split(self.batch) for array in (self.prompt, self.winner, self.loser)]
        batches = [list(batch) for batch in zip(*columns, strict=True)]
        while True:
            yield from batches
