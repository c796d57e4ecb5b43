"""Bounds of an objective over boxes of policies: its own code, run on tensors that hold bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...._types import Floats, Indices
from ....bandit import Bandit
from ....divergences import DIVERGENCES
from ....losses import PairObjective, RewardObjective, psi
from ....losses.data import LOG_PROBABILITIES, evaluate
from ....losses.responses import at_ends, edges_of, response_data, reward_of
from ....losses.terms import bound
from ....losses.unpaired import on
from .jets import Boxes, Jet, Linear
from .rounding import ELEMENTARY, Bounds, outward, total
from .tensors import Enclosed, Unknown, lift

OWN = {cls for cls in vars(psi).values() if isinstance(cls, type) and issubclass(cls, psi.Psi)} - {psi.Psi, psi.Stated}
"""The psis of this package, whose statements are tested against numbers."""


@dataclass(eq=False)
class Bounded:
    """Bounds of an objective on one prompt over boxes: of its value (B,), and of its slopes (n - 1, B)."""

    objective: Any
    bandit: Bandit
    winner: Indices = field(init=False)
    loser: Indices = field(init=False)
    third: Indices = field(init=False)
    weight: Floats = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.objective, PairObjective):
            if self.objective.listwise and self.bandit.choices is not None:
                raise Unknown("choices among several")
            self.objective = on(self.bandit, self.objective)
            winner, loser, third, weight = edges_of(self.objective, self.bandit)
            weight = weight.reshape(-1)
            used = weight > 0
            self.winner, self.loser, self.third = (end[used] for end in (winner, loser, third))
            self.weight = weight[used]
            self.known = response_data(self.objective, self.bandit)

    def __call__(self, boxes: Boxes) -> tuple[Bounds, Bounds]:
        with np.errstate(all="ignore"), torch.no_grad():
            found = self._jet(boxes)
        shape = (boxes.n - 1, boxes.size)
        slope = (np.zeros(shape), np.zeros(shape)) if found.slope is None else found.slope
        value, bounds = (
            tuple(np.broadcast_to(x, s) for x in pair) for pair, s in ((found.value, shape[1:]), (slope, shape))
        )
        return (value[0], value[1]), (bounds[0], bounds[1])

    def _jet(self, boxes: Boxes) -> Jet:
        everyone = np.arange(boxes.n)
        log_policy, log_reference = boxes.log_policy(everyone), self._reference(everyone)
        if isinstance(self.objective, RewardObjective):
            stated = reward_of(self.bandit)
            if stated is None:
                raise Unknown("a reward that is fitted")
            reward = torch.from_numpy(stated.reshape(-1, 1))
            found = added(lift(self.objective.reward_terms(Enclosed(log_policy), reward)))
        else:
            found = self._of_pairs(boxes)
        divergence = self.objective.regulariser
        if divergence is None:
            return found
        terms = lift(divergence.terms(Enclosed(log_policy), Enclosed(log_reference)))
        apart = added(terms)
        if type(divergence) in DIVERGENCES.values():  # whose own formulas say less far out
            apart = Jet((np.maximum(apart.value[0], 0.0), apart.value[1]), apart.slope, apart.linear)
        return found + Jet.constant(float(self.objective.lam)) * apart

    def _of_pairs(self, boxes: Boxes) -> Jet:
        ends = (self.winner, self.loser, self.third)
        logs = [Enclosed(boxes.log_policy(end)) for end in ends]
        references = [Enclosed(self._reference(end)) for end in ends]
        values = {kind: torch.from_numpy(x.reshape(-1, 1)) for kind, x in self.known.items()}
        data = at_ends(self.objective, values, tuple(map(torch.from_numpy, ends)))
        data |= {"logp_t": logs[2], "ref_logp_t": references[2]}
        given = (*logs[:2], *references[:2], *(data[name] for name in self.objective.data))
        losses = self.objective.pair_loss(*given)
        if losses.shape[0] != len(self.winner):
            raise Unknown("a loss that is not one number per pair")
        found = added(lift(losses) * Jet.constant(self.weight[:, None]))
        least = self._stated(dict(zip((*LOG_PROBABILITIES, *self.objective.data), given, strict=True)))
        return found if least is None else Jet((np.fmax(found.value[0], least), found.value[1]), found.slope)

    def _stated(self, datum: dict[str, Any]) -> Floats | None:
        """A lower bound from what this package's own psis state of themselves over intervals, (B,).

        Far out, where a psi's own formula multiplies what vanishes by what has no bound, it has none otherwise.
        """
        if not (self.objective.states_terms and all(type(term.psi) in OWN for term in self.objective.terms)):
            return None
        plain = {name: x.numpy() for name, x in datum.items() if not isinstance(x, Enclosed)}
        plain |= {name: x.jet.value[0] for name, x in datum.items() if name.startswith("ref_logp")}
        sums = []
        for term in self.objective.terms:
            weight = np.asarray(evaluate(term.weight, plain), dtype=np.float64)
            if (weight < 0).any():
                return None
            least = bound(term.psi, plain).least(*np.broadcast_arrays(*lift(term.statistic.value(datum)).value))
            sums.append(outward(self.weight[:, None] * weight * least, least, ELEMENTARY)[0])
        together = np.concatenate(sums)
        return total((together, together))[0]

    def _reference(self, response: Indices) -> Jet:
        """log pi_ref, (E, 1), with the rounding of the logarithm."""
        exact = np.log(self.bandit.reference.reshape(-1))[response][:, None]
        return Jet(outward(exact, exact))


def added(jet: Jet) -> Jet:
    """The sum over the first axis."""
    if jet.linear is not None:
        a = jet.linear
        shape = a.of_log.shape
        constant = total((np.broadcast_to(a.constant[0], shape), np.broadcast_to(a.constant[1], shape)))
        return Jet.linear_in(Linear(a.boxes, a.steps.sum(axis=1), a.of_log.sum(axis=0), constant))
    slope = None
    if jet.slope is not None:
        d = len(jet.slope[0])
        full = [np.broadcast_to(x, (d, *jet.shape)).swapaxes(0, 1) for x in jet.slope]
        slope = total((full[0], full[1]))
    value = [np.broadcast_to(x, jet.shape) for x in jet.value]
    return Jet(total((value[0], value[1])), slope)
