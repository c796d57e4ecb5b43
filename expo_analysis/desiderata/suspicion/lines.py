r"""Values against slopes, and slopes against convexity, along lines of policies of two responses.

**Lines.** The log-ratio x of the two runs from -1000 to 1000 in steps of 0.1, in units of 1 and of 1/lambda; and the
mass of both falls from 1 by e^-1000, as beside a third response. So every slope of a loss is looked at near and far.

**Values against slopes.** By the mean value theorem the change of the values between two neighbours, by their distance,
lies among the slopes in between; a kink is no exception. Of a slope that changes smoothly as much is known of the mean:
where it does, Gauss-Legendre's rule gives it to rounding, so that a slope which is wrong by a part in a billion shows.
A difference counts only if it stays where the interval is cut down to a thousandth: a narrow bump does not.

**Convexity.** The slope of a convex function never falls. That is sharper than its curvature at points, which sees no
kink, and than chords, whose middle differs from them by a square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..._types import Floats, Mask
from ...divergences import Divergence
from ...losses import PairObjective
from ...numerics import caps_met
from .points import LARGEST, others

UNIT = float(np.finfo(np.float64).eps)

STEP = 0.1
GRID: Floats = np.arange(-10_000.0, 10_001.0) * STEP + 0.0123
MASSES = -np.concatenate([np.geomspace(1e3, 40.0, 200), np.arange(400.0)[::-1] * STEP])
SPOTS = np.concatenate([-np.geomspace(0.03, 50.0, 20), np.geomspace(0.03, 50.0, 20)])
HALF = 0.05
"""Half the length of an interval, in its unit, around a spot at which slopes are compared to rounding."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)
COARSE, COARSE_WEIGHTS = np.polynomial.legendre.leggauss(3)

TOLERANCE = 1e-9
"""A slope that is wrong by a smaller part of it is not called wrong."""

FINEST, PIECES = 1e-4, 32
"""How short an interval is at which a difference is believed, in the smaller unit; and what it is cut into."""

SMALL = 1e-7
"""A jump of the values that is a smaller part of them costs a loss its claims, and not every verdict."""

ROUNDED = 1e-12
"""One that is a smaller part, times lambda where that is above 1, is rounding, as where large scores cancel."""

TINY = 1e-290
"""Below it numbers lose digits."""

NEAR = 50.0
"""Log-ratios, and lambda times these, up to which a loss must be sound to be judged at all."""

REFERENCES = (0.5, 0.9, 0.05)
"""pi_ref of the winner, by turns."""


@dataclass(frozen=True)
class Along:
    """A loss along a line: where, its values, its slopes, and what rounding may do to a value. All of one shape."""

    x: Floats
    value: Floats
    slope: Floats
    noise: Floats
    slope_noise: Floats

    @property
    def usual(self) -> Mask:
        """Where values are finite and not saturated."""
        return np.asarray((np.abs(self.value) < LARGEST) & (np.abs(self.slope) < LARGEST))

    def part(self, start: int, stop: int | None) -> Along:
        return Along(*(y[start:stop] for y in (self.x, self.value, self.slope, self.noise, self.slope_noise)))


Line = Callable[[Floats], Along]


def line_of_ratios(own: PairObjective, reference: float, lost: float = 0.0, log_mass: float = 0.0) -> Line:
    """The loss of a win of the first of two responses, by the log-ratio of their probabilities."""

    def look(x: Floats) -> Along:
        at = torch.tensor(x)
        ends = [torch.nn.functional.logsigmoid(sign * at) + log_mass for sign in (1.0, -1.0)]
        return _along(own, x, ends, (torch.sigmoid(-at).numpy(), -torch.sigmoid(at).numpy()), reference, lost)

    return look


def line_of_masses(own: PairObjective, reference: float, ratio: float, lost: float = 0.0) -> Line:
    """The same by the log of the mass that the two have, at one log-ratio."""

    def look(x: Floats) -> Along:
        start = torch.tensor([ratio, -ratio], dtype=torch.float64)
        ends = [torch.nn.functional.logsigmoid(s) + torch.tensor(x) for s in start]
        return _along(own, x, ends, (np.ones_like(x), np.ones_like(x)), reference, lost)

    return look


def _along(
    own: PairObjective, x: Floats, ends: list[torch.Tensor], rates: tuple[Floats, Floats], reference: float, lost: float
) -> Along:
    flat = [end.reshape(-1).requires_grad_(True) for end in ends]
    given = [torch.full_like(flat[0], np.log(r)).requires_grad_(True) for r in (reference, 1 - reference)]
    with caps_met() as masks:
        value = own.pair_loss(*flat, *given, *others(own, flat, given))
    found = [None] * 4
    if value.requires_grad:
        found = torch.autograd.grad(value.sum(), [*flat, *given], allow_unused=True)  # type: ignore[assignment]
    slopes = [np.zeros(x.size) if g is None else g.numpy() for g in found]
    sizes = sum(np.abs(g) * (1 + np.abs(a.detach().numpy())) for g, a in zip(slopes, [*flat, *given], strict=True))
    values, (first, second) = value.detach().numpy(), slopes[:2]
    with np.errstate(all="ignore"):
        slope = first * rates[0].reshape(-1) + second * rates[1].reshape(-1)
        noise = max(16.0, 4 * lost) * UNIT * (1 + np.abs(values) + sizes)
        for mask in (mask for mask in masks if x.size in mask.shape):
            # a value that is held back on purpose says nothing about its slope
            held = mask.numpy().any(axis=tuple(k for k in range(mask.ndim) if k != mask.shape.index(x.size)))
            noise = np.where(held, np.inf, noise)
        blur = 64 * UNIT * (np.abs(first * rates[0].reshape(-1)) + np.abs(second * rates[1].reshape(-1)))
    return Along(x, *(y.reshape(x.shape) for y in (values, slope, noise, blur)))


# ------------------------------------------------------------------------------------------------ values against slopes


@dataclass(frozen=True)
class Wrong:
    """A place where values and slopes disagree.

    where: on which line, in words. at: the same as a number. jump: by how much values jump there; 0 where it is the
        slopes that are wrong, by which ``part`` of them. near: whether it is where every audit looks. small: whether it
        is a jump that a loss may be judged in spite of.
    """

    where: str
    at: float
    jump: float
    part: float
    near: bool
    small: bool = False


def wrong_slopes(own: PairObjective, lam: float, turn: int, lost: float = 0.0, log_mass: float = 0.0) -> Wrong | None:
    """Where values and slopes of a loss disagree at one lambda, the nearest place first; None where they agree.

    turn: which reference is taken. lost: units of rounding that the loss is known to lose. log_mass: of the pair, 0
        unless the loss is not defined on two responses.
    """
    reference = REFERENCES[turn % len(REFERENCES)]
    units = [1.0] if lam == 1 else [1.0, 1 / lam]
    look = line_of_ratios(own, reference, lost, log_mass)
    grid = np.concatenate([GRID * unit for unit in units])
    spots = np.concatenate([SPOTS * unit for unit in units])
    inner = spots[:, None] + np.concatenate([[-1.0, 1.0], NODES, COARSE]) * HALF * min(units)
    together = look(np.concatenate([grid, inner.reshape(-1)]))
    finest = _at_spots(together.part(grid.size, None), spots)
    if finest is not None:
        return finest
    places = [(look, together.part(k * GRID.size, (k + 1) * GRID.size), "a log-ratio of") for k in range(len(units))]
    for ratio in (0.4, -3.0):
        down = line_of_masses(own, reference, ratio, lost)
        places.append((down, down(MASSES + log_mass), "a log of the pair's mass of"))
    found = [wrong for line, along, name in places if (wrong := _between(line, along, name, lam)) is not None]
    return min(found, key=lambda wrong: (wrong.small, not wrong.near)) if found else None


def _at_spots(along: Along, spots: Floats) -> Wrong | None:
    """Means of smooth slopes against changes of values, to rounding."""
    x, value, slope, noise, blur = (y.reshape(len(spots), -1) for y in _fields(along))
    with np.errstate(all="ignore"):
        mean = (slope[:, 2:7] * WEIGHTS).sum(axis=1) / 2
        rough = (slope[:, 7:] * COARSE_WEIGHTS).sum(axis=1) / 2
        length = x[:, 1] - x[:, 0]
        size = np.abs(slope[:, 2:]).max(axis=1)
        change = (value[:, 1] - value[:, 0]) / length
        limit = (noise[:, 0] + noise[:, 1]) / length + blur.max(axis=1)
        smooth = np.abs(mean - rough) <= 1e-11 * size + blur.max(axis=1)
        usual = (np.abs(value) < LARGEST).all(axis=1) & (np.abs(slope) < LARGEST).all(axis=1)
        off = np.abs(change - mean) - limit
        bad = usual & smooth & (off > TOLERANCE * size)
        if bad.sum() < 3:
            return None
        part = float(np.median(off[bad] / np.maximum(size[bad], 1e-300)))
    nearest = spots[bad][np.argmin(np.abs(spots[bad]))]
    return Wrong(f"a log-ratio of {nearest:.3g}", float(nearest), 0.0, part, True)


def _between(line: Line, along: Along, name: str, lam: float) -> Wrong | None:
    """Changes between neighbours against the slopes there; what is off is cut into pieces until it is sure."""
    off = _off(along)
    worst = np.flatnonzero(off > 0)
    if not worst.size:
        return None
    chosen = np.concatenate([worst[np.argsort(np.abs(along.x[worst]))][:8], worst[np.argsort(-off[worst])][:8]])
    a, b, finest = along.x[chosen], along.x[chosen + 1], FINEST * min(1.0, 1 / lam)
    first = last = off[chosen]
    part, size = np.ones_like(first), np.ones_like(first)
    while len(a) and (b - a).max() > finest:
        inside = line(a[:, None] + (b - a)[:, None] * np.linspace(0.0, 1.0, PIECES + 1))
        left = np.stack([_off(Along(*row)) for row in zip(*_fields(inside), strict=True)])
        at = left.argmax(axis=1)
        rows = np.flatnonzero(left[np.arange(len(at)), at] > 0)
        at = at[rows]
        a, b, first, last = inside.x[rows, at], inside.x[rows, at + 1], first[rows], left[rows, at]
        change = np.abs(inside.value[rows, at + 1] - inside.value[rows, at])
        slopes = np.maximum(change / np.maximum(b - a, TINY), np.abs(inside.slope[rows]).max(axis=1))
        part, size = last / np.maximum((b - a) * slopes, TINY), 1 + np.abs(inside.value[rows, at])
    if not len(a):
        return None
    jump = np.where(last > 0.3 * first, last, 0.0)  # what is wrong with a slope is less on a shorter way
    told = (jump == 0) | (jump >= ROUNDED * max(1.0, lam) * size)
    if not told.any():
        return None
    a, jump, part, size = (y[told] for y in (a, jump, part, size))
    small, near = (jump > 0) & (jump < SMALL * size), np.abs(a) * max(1.0, lam) <= NEAR
    k = int(np.lexsort((np.abs(a), ~near, small))[0])
    return Wrong(f"{name} {a[k]:.3g}", float(a[k]), float(jump[k]), float(part[k]), bool(near[k]), bool(small[k]))


def _fields(along: Along) -> tuple[Floats, ...]:
    return along.x, along.value, along.slope, along.noise, along.slope_noise


def _off(along: Along) -> Floats:
    """By how much the change between neighbours leaves the slopes around it, beyond rounding; 0 and less for not."""
    x, value, slope = along.x, along.value, along.slope
    with np.errstate(all="ignore"):
        length = np.diff(x)
        wide = np.pad(slope, 1, mode="edge")
        four = np.stack([wide[:-3], wide[1:-2], wide[2:-1], wide[3:]])
        spread = four.max(axis=0) - four.min(axis=0)
        mean = (slope[1:] + slope[:-1]) / 2
        slack = length * (spread + along.slope_noise[1:] + along.slope_noise[:-1]) + along.noise[1:] + along.noise[:-1]
        off = np.abs(np.diff(value) - length * mean) - slack - 1e-12 * np.abs(length * mean)
    usual = along.usual
    sure = usual[1:] & usual[:-1] & np.pad(usual, 1, mode="edge")[:-3] & np.pad(usual, 1, mode="edge")[3:]
    return np.where(sure, off, 0.0)


# ------------------------------------------------------------------------------------------------------------ convexity


def refuted_on_lines(own: PairObjective, lam: float, turn: int, m: float | None) -> str:
    """What is false of a loss that is said to be convex, and self-concordant with ``m``, on two responses.

    The slope of the objective must not fall as the log-ratio grows; and from one step to the next its growth may change
    by a factor of exp(m times the step) at most.
    """
    reference, divergence = REFERENCES[turn % len(REFERENCES)], own.regulariser
    for unit in [1.0] if lam == 1 else [1.0, 1 / lam]:
        along = line_of_ratios(own, reference)(GRID * unit)
        # a slope is often the difference of two parts, sigma(h) - 1: one is seen alone where the pair is turned over
        slope, blur = along.slope, along.slope_noise + 8 * UNIT * np.abs(along.slope[::-1])
        if divergence is not None:
            pull, size = _pull(divergence, along.x, reference)
            slope, blur = slope + lam * pull, blur + 64 * UNIT * lam * size
        with np.errstate(all="ignore"):
            grown = np.diff(slope)
            # what rounding of the logits does to a slope by way of its curvature
            moved = 8 * UNIT * (1 + np.abs(along.x[1:])) * np.abs(grown) / np.diff(along.x)
            noise = np.where(along.usual[1:] & along.usual[:-1], blur[1:] + blur[:-1] + moved, np.inf)
        found = _nearest(along.x[:-1], -grown - noise)
        if found is not None:
            return (
                f"convex = True is false: its slope falls by {-grown[found]:.2g} at a log-ratio of {along.x[found]:.3g}"
            )
        if m is None or m * unit * STEP > 1:
            continue
        with np.errstate(all="ignore"):
            factor = np.exp(m * unit * STEP) * (1 + 1e-6)
            more, less = grown[1:] - factor * grown[:-1], grown[:-1] - factor * grown[1:]
            found = _nearest(along.x[1:-1], np.maximum(more, less) - 8 * factor * (noise[1:] + noise[:-1]))
        if found is not None:
            at = along.x[found + 1]
            return f"self_concordance = {m:g} is false: its curvature changes faster at a log-ratio of {at:.3g}"
    return ""


def _nearest(x: Floats, excess: Floats) -> int | None:
    """The place nearest to 0 at which something is above 0; None where it is nowhere."""
    found = np.flatnonzero(np.where(np.isfinite(excess), excess, 0.0) > TINY)
    return int(found[np.argmin(np.abs(x[found]))]) if found.size else None


def _pull(divergence: Divergence, x: Floats, reference: float) -> tuple[Floats, Floats]:
    """The slope of a divergence by the log-ratio of two responses, and the moduli of its parts."""
    at = torch.tensor(x)
    policy = torch.stack([torch.nn.functional.logsigmoid(s * at) for s in (1.0, -1.0)], -1).requires_grad_(True)
    other = torch.tensor([np.log(reference), np.log(1 - reference)]).expand_as(policy)
    (found,) = torch.autograd.grad(divergence.terms(policy, other).sum(), policy)
    parts = found.numpy() * np.stack([torch.sigmoid(-at).numpy(), -torch.sigmoid(at).numpy()], -1)
    return parts.sum(axis=-1), np.abs(parts).sum(axis=-1)
