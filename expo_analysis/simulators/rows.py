"""Steps that touch a few prompts among many: the gradient of theirs alone, and an update of what it can change.

The gradient of a table of logits is zero on prompts that a batch does not show. So a step reads the batch's prompts,
and the optimiser is run on rows that can change: with plain SGD the batch's, with Adam or momentum all that have been
seen, with weight decay every one. Numbers are those of a step over all prompts, to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .optimisers import Optimiser
from .policies import Policy, Tabular

MANY = 4_096
"""Parameters of a table from which on it pays."""

BLOCK = 65_536
"""Parameters that are updated at a time: they stay in the processor's cache."""


def are_few(policy: Policy, pairs: int) -> bool:
    """Whether so many pairs are on a few prompts among many, and the policy has parameters for each prompt alone."""
    return isinstance(policy, Tabular) and policy.prompts * policy.n >= MANY and 2 * pairs <= policy.prompts


class Some(Policy):
    """A table's rows: their logits, (..., prompts * n), to log pi."""

    def __init__(self, prompts: int, n: int) -> None:
        self.prompts, self.n = prompts, n

    def start(self) -> Tensor:
        raise NotImplementedError("rows of a table start where the table does")

    def log_policy(self, parameters: Tensor) -> Tensor:
        return torch.log_softmax(parameters.unflatten(-1, (self.prompts, self.n)), dim=-1)


class Update:
    """An optimiser on parameters (O, S, prompts * n) and its state, which change in place."""

    def __init__(self, optimiser: Optimiser, parameters: Tensor, state: tuple[Tensor, ...], prompts: int) -> None:
        self.optimiser = optimiser
        self.tables = [x.unflatten(-1, (prompts, -1)) for x in (parameters, *state)]
        self.seen = torch.zeros(prompts, dtype=torch.bool)
        if optimiser.weight_decay:
            self.seen[:] = True
        self.place = torch.full((prompts,), -1)
        self.at_once = max(1, BLOCK * prompts // parameters.numel())

    def rows(self, rows: Tensor) -> Tensor:
        """The parameters of some prompts, (O, S, P * n)."""
        return self.tables[0].index_select(-2, rows).flatten(-2)

    def __call__(self, gradient: Tensor, rows: Tensor, rates: Tensor) -> None:
        """One step, by the gradient of some prompts' parameters, (O, S, P * n); that of others is zero."""
        self.place[rows] = torch.arange(len(rows))
        changing = rows
        if self.optimiser.states or self.optimiser.weight_decay:
            self.seen[rows] = True
            changing = self.seen.nonzero().squeeze(-1)
        table = gradient.unflatten(-1, (len(rows), -1))
        every = len(changing) == len(self.seen)
        for some in changing.split(self.at_once):
            place = self.place[some]
            shown = place >= 0
            if every:
                own = [x[..., int(some[0]) : int(some[-1]) + 1, :] for x in self.tables]
            else:
                own = [x.index_select(-2, some) for x in self.tables]
            slope = torch.zeros_like(own[0])
            slope[..., shown, :] = table.index_select(-2, place[shown])
            new, state = self.optimiser.update(own[0], slope, tuple(own[1:]), rates)
            for x, old, found in zip(self.tables, own, (new, *state), strict=True):
                if every:
                    old.copy_(found)
                else:
                    x.index_copy_(-2, some, found)
        self.place[rows] = -1
