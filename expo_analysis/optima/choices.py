r"""Choices of one response among several: weight (log sum_{j in S} exp(m_j) - m_c), m_j = slope x_j.

This is Plackett and Luce's likelihood of a choice c from a set S; a ranking is a choice of its first, of its second
among the rest, and so on. With p the softmax of m over S, the gradient flows along the pairs of c and the others, slope
p_j from c to j; the Hessian is a Laplacian with the weights slope^2 p_i p_j >= 0; and its third derivative, a third
cumulant, is at most slope range(u) times the second. So bounds hold as they do for the logistic loss of pairs, which is
the choice from two. [ours]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..losses.base import Objective, PairObjective
from ..losses.facts import Facts, of_link
from .laplacian import pairs


@dataclass(frozen=True, eq=False)
class ChoicePart:
    """Choices of ``chosen`` (C, B) among ``members`` (C, n, B), with weights (C, B); slope: a number or (B,).

    relative: whether x are the logits less log pi_ref.
    """

    slope: Any
    relative: bool
    chosen: Indices
    members: Mask
    weight: Floats

    def _probabilities(self, x: Floats) -> tuple[Floats, Floats]:
        """Of each member, (C, n, B), and log sum exp - m of the chosen one, (C, B)."""
        m = np.where(self.members, self.slope * x, -np.inf)
        top = m.max(axis=1, keepdims=True)
        odds = np.exp(m - top)
        total = odds.sum(axis=1, keepdims=True)
        own = np.take_along_axis(m, self.chosen[:, None, :], axis=1)
        return odds / total, (np.log(total) + top - own)[:, 0]

    def value(self, x: Floats) -> Floats:
        """The sum over choices, (B,)."""
        return np.asarray((self.weight * self._probabilities(x)[1]).sum(axis=0))

    def derivatives(self, x: Floats) -> tuple[Floats, Floats]:
        """First and second derivative in x_high - x_low, by `laplacian.pairs`."""
        p = self._probabilities(x)[0]
        high, low = pairs(len(x))
        flow = self.slope * self._by_chosen(self.weight[:, None] * p)
        bend = self.slope * self.slope * np.einsum("cb,cib,cjb->ijb", self.weight, p, p, optimize=True)
        return flow[low, high] - flow[high, low], bend[high, low]

    def rounding(self, x: Floats, size: Floats) -> Floats:
        """What rounding may add to the current of each pair, in units of roundoff; ``size`` (n, B) of the arguments."""
        p = self._probabilities(x)[0]
        high, low = pairs(len(x))
        slope = np.abs(self.slope)
        # p_j is known to a few units, one for each summand of the sum, and as its arguments are
        mean = (p * size).sum(axis=1, keepdims=True)
        error = slope * self.weight[:, None] * p * (4 + len(x) + slope * (size + mean))
        own = self._by_chosen(error)
        return own[low, high] + own[high, low]

    def _by_chosen(self, values: Floats) -> Floats:
        """Sums of (C, n, B) over the choices of each response, (n, n, B)."""
        total = np.zeros((values.shape[1], *values.shape[1:]))
        column = np.arange(values.shape[2])
        for values_of, chosen in zip(values, self.chosen, strict=True):
            total[chosen, :, column] += values_of.T
        return total

    def take(self, columns: Indices) -> ChoicePart:
        """The same at these positions of the batch."""
        slope = self.slope if np.ndim(self.slope) == 0 else np.take(self.slope, columns, axis=-1)
        chosen, members = self.chosen.take(columns, axis=-1), self.members.take(columns, axis=-1)
        return ChoicePart(slope, self.relative, chosen, members, self.weight.take(columns, axis=-1))


def choices_among(
    objective: Objective, facts: Facts, bandit: Bandit, rows: Any, labels: Indices, shape: tuple[int, int]
) -> ChoicePart | None:
    """The choices of a bandit's rankings among the responses ``labels``, for a loss that reads them."""
    data = bandit.choices
    if data is None or not (isinstance(objective, PairObjective) and objective.listwise):
        return None
    (term,) = facts.terms
    own = np.broadcast_to(labels[:, None] if labels.ndim == 1 else labels, shape)
    members = data.members[:, own]  # (choices, n, B)
    among = own == data.chosen[:, None, None]
    there = among.any(axis=1)
    weight = np.where(there, data.weight.reshape(-1, len(data.chosen))[rows].T, 0.0)
    used = (weight > 0).any(axis=1)
    members = members | ~there[:, None]  # of weight 0, and yet with something to sum over
    slope = term.statistic.scale
    return ChoicePart(
        slope,
        of_link(term.statistic) is None and facts.needs_reference,
        among.argmax(axis=1)[used],
        members[used],
        weight[used],
    )
