"""Value, gradient and Hessian of a loss in the logits, one problem a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..._types import Floats
from ...bandit import Bandit
from ...losses import risk
from ..falsify.problems import pi_star
from ..subject import Subject


class Expansion(NamedTuple):
    """value (P,), gradient (P, n) and Hessian (P, n, n) at logits (P, n)."""

    value: Floats
    gradient: Floats
    hessian: Floats


def repeated(bandit: Bandit, times: int) -> Bandit:
    """A population's prompts, all of them, so many times."""
    parts = (bandit.reference, pi_star(bandit), bandit.pairs)
    return Bandit(*(np.tile(x, (times, *[1] * (x.ndim - 1))) for x in parts))


class Local:
    """A loss at one lambda on the prompts of a population, ready to be expanded again and again."""

    def __init__(self, subject: Subject, bandit: Bandit, lam: float) -> None:
        self.objective, self.n = subject.at(lam), bandit.n
        # a copy of every problem for each direction: one backward pass then gives all of their Hessians
        self.copies = repeated(bandit, bandit.n)
        self.bandit = bandit

    def value(self, theta: Floats) -> Floats:
        """(P,) at logits (P, n)."""
        return np.asarray(risk(self.objective, self.bandit, torch.log_softmax(torch.tensor(theta), -1)).numpy())

    @np.errstate(all="ignore")
    def expand(self, theta: Floats) -> Expansion:
        """All three at logits (P, n)."""
        count = len(theta)
        at = torch.tensor(np.tile(theta, (self.n, 1)), requires_grad=True)
        values = risk(self.objective, self.copies, torch.log_softmax(at, -1))
        (slope,) = torch.autograd.grad(values.sum(), at, create_graph=True)
        towards = torch.eye(self.n, dtype=at.dtype).repeat_interleave(count, 0)
        bend = torch.zeros_like(at)
        if slope.requires_grad:
            (found,) = torch.autograd.grad((slope * towards).sum(), at, allow_unused=True)
            bend = bend if found is None else found
        hessian = np.moveaxis(bend.numpy().reshape(self.n, count, self.n), 0, 1)
        return Expansion(
            values.detach().numpy()[:count],
            slope.detach().numpy()[:count],
            (hessian + np.swapaxes(hessian, 1, 2)) / 2,
        )
