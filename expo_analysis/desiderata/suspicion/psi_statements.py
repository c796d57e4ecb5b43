"""Is it true what a psi states of itself? Numbers try to refute it, on a fine grid of margins and on one far out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...losses.psi import Logistic
from ...losses.stated import Psi

UNIT = float(np.finfo(np.float64).eps)

NEAR = torch.linspace(-60.0, 60.0, 801, dtype=torch.float64) + 0.0123
FAR = torch.tensor(np.geomspace(61.0, 1e4, 100))
UNITS = (1.0, 1e-3, 1e3)
"""A psi of this package has its lambda in its statistic; another may have it inside, in any unit."""

LARGEST = 1e100
"""Values above this may be saturated, and are left out."""


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
    """The first statement of a psi that is false; `expo_analysis.losses.stated.Psi` has them all."""
    if type(psi).__module__ != Logistic.__module__:
        return _refuted_psi(psi, UNITS)
    values = tuple(getattr(psi, field.name) for field in dataclasses.fields(psi))
    if all(isinstance(value, (int, float)) for value in values):
        return _refuted_before(type(psi), values)
    return _refuted_psi(psi, UNITS[:1])


@lru_cache(maxsize=64)
def _refuted_before(cls: Callable[..., Psi], values: tuple[float, ...]) -> str:
    """Of a psi of this package with numbers for parameters, which may be one at every lambda."""
    return _refuted_psi(cls(*values), UNITS[:1])


def _refuted_psi(psi: Psi, units: tuple[float, ...]) -> str:
    for unit in units:
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
    return "that psi is convex is false" if wide.psi.convex and sags(wide.x, wide.value) else ""


def sags(x: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether a function's values at increasing x lie above the chord of their neighbours' somewhere, by no rounding.

    Values that may be saturated are left out.
    """
    left, middle, right = (value[..., :-2], value[..., 1:-1], value[..., 2:])
    share = (x[..., 1:-1] - x[..., :-2]) / (x[..., 2:] - x[..., :-2])
    sag = middle - (left + share * (right - left))
    size = left.abs() + middle.abs() + right.abs()
    return bool(((size < LARGEST) & (sag > 1e-10 * size + 1e-12)).any())


def _monotone(near: Seen, wide: Seen) -> str:
    slack = 1e-9 * near.slope.abs().amax()
    if wide.psi.decreasing and (near.slope > slack).any():
        return "that psi never increases is false"
    return "that psi never decreases is false" if wide.psi.increasing and (near.slope < -slack).any() else ""


def _well(near: Seen, wide: Seen) -> str:
    if wide.psi.well is None:
        return ""
    at, below, above = (_number(x) for x in wide.psi.well)
    around = at + torch.linspace(-1.0, 1.0, 81, dtype=torch.float64)
    least, inside = wide.computing.value(at + torch.zeros(1, dtype=torch.float64)), wide.computing.value(around)
    rounding = 1e-12 * (1 + least.abs())
    for x, value in ((around, inside), (wide.x, wide.value)):
        floor = below * (x - at).abs().clamp(max=1.0) ** 2 * (1 - 1e-9)
        if (value - least < floor - rounding).any():
            return "what psi states of its well is false: it is not so deep"
    fast = (inside - least > above * (around - at) ** 2 * (1 + 1e-9) + rounding).any()
    return "what psi states of its well is false: it rises faster" if fast else ""


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
        at = sign * torch.tensor([1e7, 1e10], dtype=torch.float64) * max(near.unit, 1.0)
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
    # from point to point too, as a jump of the curvature has no slope: psi'' changes by a factor of exp(M |dm|) at most
    reach = m * near.x.diff()
    grown = torch.exp(reach) * (1 + 1e-6)
    jumps = torch.maximum(bend[..., 1:] - grown * bend[..., :-1], bend[..., :-1] - grown * bend[..., 1:])
    jumped = (reach < 10) & usual[..., 1:] & usual[..., :-1] & (jumps > 1e-9 * bend.abs().amax())
    return f"self_concordance = {float(m.amax()):g} is false" if false.any() or jumped.any() else ""


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

    inf: the slope has its limit from some margin on, a far one at least, and it must not get there by falling through
    nine decades.
    """
    if near.psi.slopes is None:
        return ""
    for (limit, sign), rate in zip(_ends(near), near.psi.decay, strict=True):
        if rate is None or rate == 0 or limit.isinf().any():
            continue
        if rate == np.inf:
            side = torch.cat([NEAR[NEAR > 0], FAR, torch.tensor([1e10])])
            gap = (near.at(sign * side * near.unit).slope - limit).abs()
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


LOG_ODDS = np.concatenate([0.05 * np.arange(1, 1000), np.geomspace(50.0, 1e4, 100)])
"""Where Bradley-Terry's margins are tried; beyond it a psi that is least elsewhere is not seen."""


def _log_odds(near: Seen, wide: Seen) -> str:
    """p psi'(m) = (1-p) psi'(-m) at m = log(p/(1-p)) / c, and nothing lower than that anywhere."""
    c = near.psi.log_odds_scale
    if c is None:
        return ""
    margins = torch.tensor(LOG_ODDS / float(np.max(np.asarray(c))))
    odds = torch.tensor(LOG_ODDS)
    p, q = odds.sigmoid(), (-odds).sigmoid()
    won, lost = near.at(margins), near.at(-margins)
    off = (p * won.slope - q * lost.slope).abs() > 1e-9 * (won.slope.abs() + lost.slope.abs())
    values = torch.cat([won.value, lost.value], -1), torch.cat([lost.value, won.value], -1)
    lower = False
    for k in range(0, len(LOG_ODDS), 100):
        mean, least = p[k] * values[0] + q[k] * values[1], p[k] * won.value[..., k] + q[k] * lost.value[..., k]
        rounding = 1e-12 * (1 + p[k] * values[0].abs() + q[k] * values[1].abs())
        lower |= bool((mean < least[..., None] - rounding).any())
    if lower or off.any():
        return "log_odds_scale is false: least elsewhere than at Bradley-Terry's margins"
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
    *(_convex, _monotone, _pieces, _slopes, _concordance, _lower_bound, _decay, _log_odds, _derivatives, _well),
)


def derivative(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """d value / dx, element by element, differentiable."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(value.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found
