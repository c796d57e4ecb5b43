"""Is it true what psis, atoms and data state of themselves? Solvers and proofs rest on it; here numbers try to refute it.

A psi is looked at on a fine grid of margins near 0 and a coarse one far out; an atom at random log-probabilities. What is
derived from these statements (convexity of the whole, self-concordance ...) is looked at in `soundness`, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._types import Array, Floats
from ..losses import PairObjective
from ..losses.data import Data, evaluate
from ..losses.psi import Psi
from ..losses.statistics import Atom, Statistic
from ..losses.terms import Sum, Term, bound

UNIT = float(np.finfo(np.float64).eps)

NEAR = torch.linspace(-60.0, 60.0, 801, dtype=torch.float64) + 0.0123
FAR = torch.tensor(np.geomspace(61.0, 1e4, 100))
UNITS = (1.0, 1e-3, 1e3)
"""A psi of this package has its lambda in its statistic; another may have it inside, in any unit."""

LARGEST = 1e100
"""Values above this may be saturated, and are left out."""


def refuted_terms(objective: PairObjective, datum: dict[str, torch.Tensor]) -> str:
    """The first statement about the terms of an objective, at its lambda, that numbers refute; empty where none is.

    datum: pairs on which the loss is compared with the sum of its terms.
    """
    facts = objective.facts
    for term in facts.terms:
        claim = _refuted_data(term, datum) or _refuted_atoms(term.statistic)
        if claim:
            return claim
    assert objective.terms is not None
    for terms in (objective.terms, facts.terms):
        if _differs(objective.pair_loss(*datum.values()), _assembled(terms, datum)):
            return "to be the sum of its terms is false"
    for psi, *_ in facts.bound:
        claim = refuted_psi(psi)
        if claim:
            return f"{claim} at lambda = {float(objective.lam):g}"
    return ""


def _differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not torch.allclose(a, b.expand_as(a), rtol=1e-9, atol=1e-9, equal_nan=True)


def _assembled(terms: Sum, datum: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum of weight psi(scale (sum_k c_k atom_k - centre) - offset), part by part as solvers take it."""
    total = torch.zeros_like(datum["logp_w"])
    for term in terms:
        statistic = term.statistic
        inside: Any = 0.0
        for coefficient, atom in statistic.parts:
            inside = inside + coefficient * _atom_at(atom, datum[f"logp_{atom.slot}"], datum[f"ref_logp_{atom.slot}"])
        scale, centre, offset = (evaluate(x, datum) for x in (statistic.scale, statistic.centre, statistic.offset))
        total = total + evaluate(term.weight, datum) * bound(term.psi, datum).value(scale * (inside - centre) - offset)
    return total


def _atom_at(atom: Atom, logp: Array, ref_logp: Array) -> Array:
    return atom.value(logp, ref_logp if atom.relative else None)


# ------------------------------------------------------------------------------------------------------ data and atoms


def _refuted_data(term: Term, datum: dict[str, torch.Tensor]) -> str:
    """Data must be functions of the reference's log-probabilities, those that they name and no others."""
    own = [getattr(term.psi, field.name) for field in dataclasses.fields(term.psi)]
    for value in (*own, term.weight, term.statistic.scale, term.statistic.centre, term.statistic.offset):
        if not isinstance(value, Data):
            continue
        known = {name: datum[name] for name in value.reads if name.startswith("ref_")}
        try:
            same = not _differs(torch.as_tensor(value(datum)), torch.as_tensor(value(known)))
        except KeyError:
            same = False
        if not same or len(known) < len(value.reads):
            return (
                f"that data in it read {', '.join(sorted(value.reads)) or 'nothing'}, of the reference alone, is false"
            )
    return ""


def _refuted_atoms(statistic: Statistic) -> str:
    """The first false statement of an atom: what it reads, its derivatives, whether it is log pi, how it bends."""
    rng = np.random.default_rng(5)
    ref = -rng.exponential(1.0, 200)
    for atom in {atom for _, atom in statistic.parts}:
        name = type(atom).__name__
        logp = np.concatenate([-rng.exponential(size, 50) for size in (0.3, 1.0, 10.0, 100.0)]) - 1e-3
        value = _atom_at(atom, logp, ref)
        if not atom.relative and not np.array_equal(value, atom.value(logp, ref - 1.0)):
            return f"that {name} does not read the reference is false"
        if atom.plain and np.ptp(np.asarray(value) - logp - (0.0 if not atom.relative else -ref)) > 1e-9 * 700:
            return f"that {name} is log pi but for what does not depend on the policy is false"
        if _refuted_derivatives(atom, logp, ref):
            return f"the derivatives that {name} states are false"
        if atom.curvature == "concave" and _bends_up(atom, rng):
            return f"that {name} is concave in the logits is false"
    return ""


def _refuted_derivatives(atom: Atom, logp: Floats, ref: Floats) -> bool:
    x = torch.tensor(logp, requires_grad=True)
    value = _atom_at(atom, x, torch.tensor(ref)) + 0.0 * x
    first = derivative(value, x)
    second = derivative(first, x).detach().numpy()
    stated = [np.broadcast_to(np.asarray(d, dtype=np.float64), logp.shape) for d in atom.derivatives(logp, ref)]
    return any(
        (np.abs(ours - theirs) > 1e-6 * np.abs(ours) + 1e-9 * np.abs(ours).max()).any()
        for ours, theirs in zip((first.detach().numpy(), second), stated, strict=True)
    )


def _bends_up(atom: Atom, rng: np.random.Generator) -> bool:
    """Whether the middle of a random chord in the logits of three responses lies below the mean of its ends."""
    size = 10.0 ** rng.uniform(-1, 2, (4000, 1))
    ends = [size * rng.normal(size=(4000, 3)) for _ in range(2)]
    ref = -rng.exponential(1.0, 4000)
    left, right, middle = (
        np.asarray(_atom_at(atom, np.minimum(x[:, 0] - np.logaddexp.reduce(x, axis=1), -1e-15), ref))
        for x in (*ends, (ends[0] + ends[1]) / 2)
    )
    return bool((middle < (left + right) / 2 - 1e-9 * (1 + np.abs(left) + np.abs(right))).any())


# ----------------------------------------------------------------------------------------------------------------- psis


@dataclass(frozen=True)
class Seen:
    """A psi at margins x, a row for each of its parameters where these are data: values and derivatives by torch.

    psi: what states. computing: the same with tensors for arrays.
    """

    psi: Psi
    computing: Psi
    unit: float
    x: torch.Tensor
    value: torch.Tensor
    slope: torch.Tensor
    bend: torch.Tensor
    twist: torch.Tensor

    @classmethod
    def of(cls, psi: Psi, x: torch.Tensor, unit: float) -> Seen:
        computing, rows = _in_torch(psi), _rows(psi)
        at = (x.expand(rows, -1) if rows else x).clone().requires_grad_(True)
        value = computing.value(at) + 0.0 * at
        slope = derivative(value, at)
        bend = derivative(slope, at)
        twist = derivative(bend, at)
        return cls(psi, computing, unit, at.detach(), *(y.detach() for y in (value, slope, bend, twist)))

    def at(self, x: torch.Tensor) -> Seen:
        """The same psi at other margins."""
        return Seen.of(self.psi, x, self.unit)

    @property
    def usual(self) -> torch.Tensor:
        """Where values are finite and not saturated."""
        return (self.value.abs() < LARGEST) & (self.slope.abs() < LARGEST)


def refuted_psi(psi: Psi) -> str:
    """The first statement of a psi that is false; `expo_analysis.losses.psi.Psi` has them all."""
    for unit in UNITS if not type(psi).__module__.endswith("losses.psi") or hasattr(psi, "function") else UNITS[:1]:
        near = Seen.of(psi, NEAR * unit, unit)
        wide = Seen.of(psi, torch.cat([-FAR.flip(0), NEAR, FAR]) * unit, unit)
        for check in CHECKS:
            claim = check(near, wide)
            if claim:
                return claim
    return ""


def _in_torch(psi: Psi) -> Psi:
    """The same with tensors (rows, 1) for arrays."""
    arrays = {
        field.name: torch.as_tensor(value, dtype=torch.float64).reshape(-1, 1)
        for field in dataclasses.fields(psi)
        if isinstance(value := getattr(psi, field.name), np.ndarray) and value.ndim > 0
    }
    return dataclasses.replace(psi, **arrays) if arrays else psi


def _rows(psi: Psi) -> int:
    values = (getattr(psi, field.name) for field in dataclasses.fields(psi))
    return max((x.size for x in values if isinstance(x, np.ndarray) and x.ndim > 0), default=0)


def _number(value: Any) -> torch.Tensor:
    """A number, or one for each row, (rows, 1)."""
    found = torch.as_tensor(np.asarray(value), dtype=torch.float64)
    return found if found.ndim == 0 else found.reshape(-1, 1)


def _convex(near: Seen, wide: Seen) -> str:
    x, v = wide.x, wide.value
    left, middle, right = (v[..., :-2], v[..., 1:-1], v[..., 2:])
    share = (x[..., 1:-1] - x[..., :-2]) / (x[..., 2:] - x[..., :-2])
    sag = middle - (left + share * (right - left))
    usual = wide.usual[..., :-2] & wide.usual[..., 1:-1] & wide.usual[..., 2:]
    rounding = 1e-10 * (left.abs() + middle.abs() + right.abs()) + 1e-12
    return "that psi is convex is false" if wide.psi.convex and (usual & (sag > rounding)).any() else ""


def _monotone(near: Seen, wide: Seen) -> str:
    slack = 1e-9 * near.slope.abs().amax()
    if wide.psi.decreasing and (near.slope > slack).any():
        return "that psi never increases is false"
    return "that psi never decreases is false" if wide.psi.increasing and (near.slope < -slack).any() else ""


def _pieces(near: Seen, wide: Seen) -> str:
    if near.psi.linear_pieces is None:
        return ""
    lines = torch.stack([_number(slope) * near.x + _number(level) for slope, level in near.psi.linear_pieces]).amax(0)
    same = torch.allclose(near.value, lines, rtol=1e-9, atol=1e-9)
    return "" if same else "that psi is made of its linear_pieces is false"


def _ends(seen: Seen) -> Iterator[tuple[torch.Tensor, float]]:
    """Limits of the slope that are stated, at -inf and +inf, with the sign of that end."""
    assert seen.psi.slopes is not None
    yield from zip(map(_number, seen.psi.slopes), (-1.0, 1.0), strict=True)


def _slopes(near: Seen, wide: Seen) -> str:
    """They must not contradict slopes far out, nor, of a convex psi, any slope."""
    if near.psi.slopes is None:
        return ""
    low, high = (limit for limit, _ in _ends(near))
    slack = 1e-9 * near.slope.abs().amax()
    false = near.psi.convex and bool(((near.slope < low - slack) | (near.slope > high + slack)).any())
    for limit, sign in _ends(near):
        at = sign * torch.tensor([1e3, 1e6], dtype=torch.float64) * max(near.unit, 1.0)
        there = near.at(at)
        first, far = there.slope[..., :1], there.slope[..., 1:]
        grows = (far * limit > 0) & (far.abs() > 1.1 * first.abs())
        slack = torch.maximum(0.1 * torch.maximum(first.abs(), limit.abs()), 0.9 * (first - limit).abs())
        nears = (far - limit).abs() <= slack
        false |= bool((there.usual.all(-1, keepdim=True) & ~torch.where(limit.isinf(), grows, nears)).any())
    ends = ", ".join(f"{float(limit.amax()):g}" for limit in (low, high))
    return f"slopes = ({ends}) is false" if false else ""


def _concordance(near: Seen, wide: Seen) -> str:
    if near.psi.self_concordance is None:
        return ""
    m, usual = _number(near.psi.self_concordance), near.usual
    bend = torch.where(usual, near.bend, 0.0)
    noise = 1e-9 * bend.abs().amax() * (m + 1 / (1 + near.x.abs().amax()))
    false = usual & (near.twist.abs() > m * near.bend * (1 + 1e-6) + noise)
    return f"self_concordance = {float(m.amax()):g} is false" if false.any() else ""


def _lower_bound(near: Seen, wide: Seen) -> str:
    low = near.psi.lower_bound
    if low is None:
        return ""
    low = _number(low)
    farther = near.at(torch.tensor([-1e6, 1e6], dtype=torch.float64) * near.unit).value
    below = torch.cat([wide.value, farther], -1) < low - 1e-9 * (1 + low.abs())
    return f"lower_bound = {float(low.amax()):g} is false" if below.any() else ""


def _decay(near: Seen, wide: Seen) -> str:
    """A rate r at an end: from 10/r on the slope's distance from its limit must fall as fast as exp(-r |m|).

    inf: the slope has its limit from some margin on, so that it must not get there by falling through nine decades.
    """
    if near.psi.slopes is None:
        return ""
    for (limit, sign), rate in zip(_ends(near), near.psi.decay, strict=True):
        if rate is None or rate == 0 or limit.isinf().any():
            continue
        if rate == np.inf:
            gap = (near.at(sign * torch.cat([NEAR[NEAR > 0], FAR]) * near.unit).slope - limit).abs()
            left = torch.where(gap > 0, gap, np.inf).amin(-1, keepdim=True)
            first = gap[..., :1]
            tail = (limit == 0) & (first > 0) & (left < 1e-9 * first)
            if tail.any() or (gap[..., -1:] > 1e-9 * (first + limit.abs())).any():
                return "decay = inf is false"
            continue
        reach = torch.tensor([10.0, 30.0], dtype=torch.float64) / rate
        gap = (near.at(sign * reach).slope - limit).abs()
        floor = 8 * UNIT * limit.abs()
        if (gap[..., 1:] > 100 * np.exp(-20.0) * gap[..., :1] + floor).any():
            return f"decay = {rate:g} is false"
    return ""


def _log_odds(near: Seen, wide: Seen) -> str:
    """p psi'(m) = (1-p) psi'(-m) at m = log(p/(1-p)) / c, and nothing lower beside it."""
    c = near.psi.log_odds_scale
    if c is None:
        return ""
    for p in (0.6, 0.9, 0.99):
        m = np.log(p / (1 - p)) / float(np.max(np.asarray(c)))
        seen = near.at(torch.tensor([m, -m], dtype=torch.float64))
        win, lose = seen.slope[..., 0], seen.slope[..., 1]
        if ((p * win - (1 - p) * lose).abs() > 1e-9 * (win.abs() + lose.abs())).any():
            return "log_odds_scale is false"
        beside = torch.tensor([m, m - 0.1 * abs(m), m + 0.1 * abs(m)], dtype=torch.float64)
        won, lost = (near.at(sign * beside).value for sign in (1.0, -1.0))
        mean = p * won + (1 - p) * lost
        if (mean[..., 1:] < mean[..., :1]).any():
            return "log_odds_scale is false"
    return ""


def _derivatives(near: Seen, wide: Seen) -> str:
    """First and second derivative as stated, by torch, and the moduli that rounding is said to refer to."""
    usual = near.usual
    if type(near.psi).derivatives is not Psi.derivatives and _rows(near.psi) == 0:
        stated = near.psi.derivatives(near.x.numpy())
        for own, seen in zip(stated, (near.slope, near.bend), strict=True):
            largest = torch.where(usual, seen.abs(), 0.0).amax()
            off = (torch.as_tensor(own) - seen).abs() > 1e-6 * seen.abs() + 1e-9 * largest
            if (usual & off).any():
                return "the derivatives that psi states are false"
        size = torch.as_tensor(near.psi.slope_size(near.x.numpy()))
        if (usual & (size < near.slope.abs() - 1e-9 * near.slope.abs().amax())).any():
            return "slope_size is false"
    return _rounding(near)


def _rounding(near: Seen) -> str:
    """Where an error bound is to rest on it, a slope must not change by more than its curvature and rounding allow."""
    if near.psi.self_concordance is None or near.x.ndim > 1:
        return ""
    step = near.x.abs().clamp(min=near.unit) * 2.0**-40
    moved = near.at(near.x + step)
    d, bend = moved.x - near.x, (moved.bend + near.bend) / 2
    left = (moved.slope - near.slope - d * bend).abs()
    scale = _number(near.psi.rounding[0]) + near.slope.abs() + (near.x.abs() + near.unit) * bend.abs()
    false = near.usual & (left > 64 * UNIT * scale + 1e-300)
    return "that the slope of psi is exact to rounding is false" if false.any() else ""


CHECKS: tuple[Callable[[Seen, Seen], str], ...] = (
    *(_convex, _monotone, _pieces, _slopes, _concordance, _lower_bound, _decay, _log_odds, _derivatives),
)


def derivative(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """d value / dx, element by element, differentiable."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(value.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found
