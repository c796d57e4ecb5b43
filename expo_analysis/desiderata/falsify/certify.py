r"""Proofs for losses whose optima nothing else proves: all global minimisers of a small problem, enclosed.

Branch and bound over all policies of two to four responses. The simplex is cut into boxes (`intervals.Boxes`), and the
loss's own code gives bounds on each (`enclosed`): of its value, and of its slopes in the box's coordinates. A box is
dropped

* where its lower bound is above the value of a policy that is known; the bound is the better one of the plain bound,
  and of the value in the middle of the box less slope times distance (the mean value theorem);
* or where a slope cannot be 0, as a global minimiser is stationary (at kinks: 0 is a generalised slope there, and
  bounds hold all of these). What falls all the way as an infinite gap grows is kept.

All others are halved, until every policy that is left is within a target of the one that was found. Infinite boxes hold
the boundary of the simplex, so that nothing far out is missed: where a slope in a box is bounded away from 0, it is on
the box's part of the boundary too. What is left holds every global minimiser, and that a
loss has none is no way out: then the policies of as low a value are in there. Bounds are rounded outwards; the loss's
own constants, such as 1/(2 lambda), are taken as its code computes them, for which `SLACK` allows. [ours, elementary]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..._types import Floats, Indices
from ...bandit import Bandit
from ...divergences import DIVERGENCES
from ...losses import Objective, PairObjective, RewardObjective, psi
from ...losses.data import evaluate
from ...losses.responses import at_ends, edges_of, response_data, reward_of
from ...losses.terms import bound
from ...losses.unpaired import on
from ..subject import Optima, Subject
from .cases import Case, Measure, batch
from .enclosed import Enclosed, Unknown, lift
from .intervals import ARITHMETIC, ELEMENTARY, Bounds, Boxes, Jet, Linear, outward, total

MOST = {2: 20_000, 3: 40_000, 4: 60_000}
"""Boxes that one search may look at, by the number of responses; with more responses there is none."""

TARGETS = (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""How near the policies that are left should be, in 1-norm: as near as a claim needs."""

CERTAIN = 0.5
"""The share of an excess that should be certain before the search stops."""

SLACK = 1e-13
"""Relative to a value: the rounding of constants."""

FEW, FARTHEST = 64, 1e6
"""So few boxes are cut into more than two; and log-probabilities below these count as these."""


class Enclosure:
    """The search for one problem at one lambda, which can be carried on.

    boxes: what is left. radius: (B,), the largest 1-norm distance of a policy in each from the one that was found.
    least, upper: bounds of the infimum. spent: how many boxes were looked at.

    Args:
        objective: at its lambda. bandit: of one prompt. near: log pi of the policy that was found, (n,).

    Raises:
        Unknown: the loss has something that there are no bounds for.
    """

    def __init__(self, objective: Objective, bandit: Bandit, near: Floats) -> None:
        n = bandit.n
        if n not in MOST:
            raise Unknown(f"{n} responses")
        self.value = _Bounded(objective, bandit)
        self.near = np.maximum(near, near.max() - FARTHEST)
        self.near = self.near - np.log(np.exp(self.near).sum())
        self.upper = float(self.value(_point(self.near))[0][1][0])
        self.spent = 0
        orders = np.array(list(itertools.permutations(range(n)))).T
        corners = np.array(list(itertools.product((0.0, 1.0), repeat=n - 1))).T
        low = np.repeat(corners, orders.shape[1], axis=1)
        start = Boxes(low, np.where(low == 0, 1.0, np.inf), np.tile(orders, (1, corners.shape[1])))
        self.turn = np.zeros(start.size, dtype=np.intp)
        self.boxes, self.radius, self.least = start, np.full(start.size, np.inf), np.full(start.size, -np.inf)
        self._keep(start, self.turn)

    @np.errstate(all="ignore")
    def refine(self, target: float) -> bool:
        """Go on until every policy that is left is within ``target``; whether that was reached."""
        while (self.radius > target).any():
            wide = self.radius > target
            count = int(wide.sum())
            pieces = 2 if count > FEW else 4 if count > FEW / 8 else 8  # a few boxes take as long as one
            if self.spent + pieces * count > MOST[self.boxes.n]:
                return False
            kept = (self.boxes.take(~wide), self.turn[~wide], self.radius[~wide], self.least[~wide])
            parts, turn = self.boxes.take(wide), self.turn[wide]
            for _ in range(pieces.bit_length() - 1):
                parts, turn = _halved(parts, turn)
            self._keep(parts, turn)
            self.boxes = _joined(kept[0], self.boxes)
            self.turn = np.concatenate([kept[1], self.turn])
            self.radius, self.least = np.concatenate([kept[2], self.radius]), np.concatenate([kept[3], self.least])
        return True

    @property
    def reach(self) -> float:
        """The largest distance of a policy that is left from the one that was found, in 1-norm; inf for none left."""
        return float(self.radius.max()) if len(self.radius) else np.inf

    @np.errstate(all="ignore")  # bounds may overflow, and are then infinite
    def _keep(self, boxes: Boxes, turn: Indices) -> None:
        """Look at boxes, and take those that may hold a minimiser for what is left."""
        self.spent += boxes.size
        finite, half = boxes.finite, np.where(np.isfinite(boxes.high), boxes.high - boxes.low, 0.0) / 2
        middle = boxes.low + half
        (low, high), (falls, rises) = self.value(_joined(boxes, Boxes(middle, middle, boxes.order)))
        (low, least), (falls, rises) = np.split(low, 2), (x[:, : boxes.size] for x in (falls, rises))
        self.upper = min(self.upper, float(high[boxes.size :].min()))
        with np.errstate(invalid="ignore", over="ignore"):
            fall = (np.maximum(np.abs(falls), np.abs(rises)) * half).sum(axis=0) * (1 + 16 * ARITHMETIC)
            tight = outward(least - fall, least)[0]
        low = np.where(finite, np.fmax(low, tight), low)
        stationary = ((falls <= 0) & ((rises >= 0) | np.isinf(boxes.high))).all(axis=0)
        kept = stationary & (low <= self.upper + SLACK * (1 + abs(self.upper)))
        self.boxes, self.turn, self.least = boxes.take(kept), turn[kept], low[kept]
        policies = self.boxes.policies
        here = np.exp(self.near)[:, None]
        self.radius = np.maximum(*(np.abs(x - here) for x in policies)).sum(axis=0) * (1 + 1e-12) + 1e-14


def enclose_minimisers(
    subject: Subject, bandit: Bandit, lam: float, near: Floats | None = None, target: float = 1e-6
) -> Enclosure | None:
    """Boxes that hold all global minimisers of a bandit of one prompt, within ``target`` of ``near`` (log pi).

    ``Enclosure.boxes.policies`` are bounds of the probabilities. Without ``near`` it is the policy that the solver
    finds. None where that was not reached: the loss has an operation without bounds, there are more than four
    responses, or other policies are as low, or nearly.
    """
    if near is None:
        near = subject.optima(bandit, [lam]).log_policies[0, 0]
    try:
        found = Enclosure(subject.at(lam), bandit, near)
    except Exception:  # a user's code may raise anything where it is given bounds
        return None
    return found if found.refine(target) and len(found.radius) else None


def certified(subject: Subject, measure: Measure, case: Case, optima: Optima) -> tuple[float, str]:
    """The excess of a case that is certain, and how it is known; empty words where none is.

    The policies that are left are brought as near as it takes for the claim to be violated by all of them, and nearer,
    while there are boxes to spend, until most of the excess is certain.
    """
    bandit, found = batch([case]), (np.nan, "")
    if bandit.n not in MOST or not optima.exists.all():
        return found
    apparent = float(measure.excess(optima, bandit)[0, 0])
    try:
        searches = [
            Enclosure(subject.at(lam), case.bandit, logs[0])
            for lam, logs in zip(case.lams, optima.log_policies, strict=True)
        ]
        for target in TARGETS:
            if not all(search.refine(target) for search in searches):
                break
            reach = np.array([search.reach for search in searches])
            if not np.isfinite(reach).all():
                break
            proven = replace(optima, bound=reach[:, None], status=np.full_like(optima.status, "optimal"))
            excess = float(measure.excess(proven, bandit)[0, 0])
            if excess > 0:
                boxes = sum(search.spent for search in searches)
                how = "certified by branch and bound: every minimiser is within"
                found = excess, f"{how} {reach.max():.0e} of the policy, in 1-norm ({boxes:,} boxes)"
                if excess >= CERTAIN * apparent:
                    break
    except Exception:  # a user's code may raise anything where it is given bounds
        return np.nan, ""
    return found


def is_lower(subject: Subject, bandit: Bandit, lam: float, first: Floats, second: Floats) -> bool:
    """Whether the loss is proven to be lower at the first log-policy than at the second, by interval arithmetic."""
    try:
        value = _Bounded(subject.at(lam), bandit)
        (_, high), (low, _) = (value(_point(x - np.log(np.exp(x).sum())))[0] for x in (first, second))
    except Exception:
        return False
    return bool(high[0] + SLACK * (1 + abs(high[0])) < low[0])


OWN = {cls for cls in vars(psi).values() if isinstance(cls, type) and issubclass(cls, psi.Psi)} - {psi.Psi, psi.Stated}
"""The psis of this package, whose statements are tested against numbers."""


@dataclass(eq=False)
class _Bounded:
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
            self.winner, self.loser, self.third, self.weight = (x[used] for x in (winner, loser, third, weight))
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
        data = dict(zip(self.objective.data, [None] * len(self.objective.data), strict=True)) | dict(
            at_ends(self.objective, values, tuple(torch.from_numpy(end) for end in ends))
        )
        data |= {"logp_t": logs[2], "ref_logp_t": references[2]}
        given = (*logs[:2], *references[:2], *(data[name] for name in self.objective.data))
        losses = self.objective.pair_loss(*given)
        if tuple(np.broadcast_shapes(losses.shape, (len(self.winner), 1)))[0] != len(self.winner):
            raise Unknown("a loss that is not one number per pair")
        found = added(lift(losses) * Jet.constant(self.weight[:, None]))
        least = self._stated(
            dict(zip(("logp_w", "logp_l", "ref_logp_w", "ref_logp_l", *self.objective.data), given, strict=True))
        )
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
        return total((sum(sums), sum(sums)))[0]

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


def _point(log_policy: Floats) -> Boxes:
    """The box of one policy, (n,)."""
    order = np.argsort(-log_policy, kind="stable")
    gaps = np.maximum(-np.diff(log_policy[order]), 0.0)[:, None]
    return Boxes(*outward(gaps, gaps), order[:, None]) if gaps.all() else Boxes(gaps, gaps, order[:, None])


def _halved(boxes: Boxes, turn: Indices) -> tuple[Boxes, Indices]:
    """Both halves of every box, cut across the axis whose turn it is; an infinite one at four times where it begins."""
    column = np.arange(boxes.size)
    low, high = boxes.low[turn, column], boxes.high[turn, column]
    cut = np.where(np.isfinite(high), (low + high) / 2, 4 * np.maximum(low, 0.25))
    first, second = boxes.high.copy(), boxes.low.copy()
    first[turn, column], second[turn, column] = cut, cut
    halves = Boxes(
        np.concatenate([boxes.low, second], axis=1),
        np.concatenate([first, boxes.high], axis=1),
        np.concatenate([boxes.order, boxes.order], axis=1),
    )
    return halves, np.tile((turn + 1) % len(boxes.low), 2)


def _joined(a: Boxes, b: Boxes) -> Boxes:
    return Boxes(*(np.concatenate(pair, axis=1) for pair in ((a.low, b.low), (a.high, b.high), (a.order, b.order))))
