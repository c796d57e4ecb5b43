"""An implementation beside the loss of ours that it is to be: the same, the same up to something, or another one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch

from .._types import Floats
from ..adapters import Implementation, Ours
from ..losses import PairObjective
from ..losses.catalogue import of_lambda_alone
from ..losses.from_function import FunctionLoss
from ..testing.equal import ENDS, LAMS, Equality, drawn_pairs, equality_here

EQUAL = 1e-9
"""Largest relative difference of losses that are called equal."""

SINGLE = 1e-4
"""The same of losses that are called equal in single precision."""

SLOPES = 1e-2
"""Largest difference of derivatives, relative where they are above 1, of losses that are called equal."""

LOGPS = ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")
AT = LAMS[1]
"""The lambda at which derivatives are compared."""


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        relation: ``"equal"``, ``"equal up to"``, ``"single precision"`` or ``"differs"``.
        loss: the loss of ours that it is; where it is none of them, the one that it was to be.
        how: what it is of that, such as ``"0.5 times it"``.
        error: the largest difference of a pair's loss, relative to its size where that is above 1.
        slope_error: the same of derivatives in log pi_w and log pi_l.
        explained: the same as ``error``, against what the adapter says that it is instead; None where it says nothing.
    """

    relation: str
    loss: str
    how: str
    error: float
    slope_error: float
    explained: float | None


@dataclass(frozen=True, eq=False)
class Remembered(FunctionLoss):
    """A function's loss that is computed once only for the same numbers."""

    known: dict[Any, Floats] = field(default_factory=dict, kw_only=True)
    name: ClassVar[str] = "remembered"

    def pair_loss(self, *arrays: Any) -> Any:
        if not all(isinstance(array, np.ndarray) for array in arrays):
            return super().pair_loss(*arrays)
        key = (float(self.lam), *(array.tobytes() for array in arrays))
        if key not in self.known:
            self.known[key] = super().pair_loss(*arrays)
        return self.known[key]


def remembered(one: Implementation) -> Remembered:
    """An implementation as a loss that is computed once for the same numbers."""
    made = one.loss(1.0)
    return Remembered(made.lam, call=made.call, title=made.name)


def compare(one: Implementation, loss: PairObjective) -> Comparison:
    """An implementation (``loss``, remembered) beside ours; where it differs, beside the whole catalogue."""
    explained = None if one.really is None else apart(loss, one.really)[0]
    if one.by_batch or not one.ours.is_plain:
        error, slope_error = apart(loss, one.ours.at, slopes=not one.by_batch)
        relation = "equal" if error <= EQUAL else "single precision" if error <= SINGLE else "differs"
        return Comparison(relation, str(one.ours), "", error, slope_error, explained)
    for ours in (one.ours, *(_others(loss) if explained is None or explained > SINGLE else ())):
        found = _beside(loss, ours)
        if found is not None:
            relation, how, error, slope_error = found
            return Comparison(relation, str(ours), how, error, slope_error, explained)
    error, slope_error = apart(loss, one.ours.at)
    return Comparison("differs", str(one.ours), "", error, slope_error, explained)


def _others(loss: PairObjective) -> Iterator[Ours]:
    """The losses of the catalogue at their defaults, of sums, and of means where lengths are read."""
    for made, ours, of_means in _catalogue():
        if set(made.data) <= {*loss.data, "length_l", "length_w"}:
            yield ours
            if loss.data and not made.data:
                yield of_means


@cache
def _catalogue() -> list[tuple[PairObjective, Ours, Ours]]:
    """The losses of single pairs that need no options, of sums and of means."""
    found = []
    for name, made in of_lambda_alone(1.0).items():
        if isinstance(made, PairObjective) and not made.facts.couples_pairs and made.regulariser is None:
            found.append((made, Ours(name), Ours(name, of_means=True)))
    return found


def _beside(loss: PairObjective, ours: Ours) -> tuple[str, str, float, float] | None:
    """Relation, how, error and error of slopes, if they are the same up to constants, a factor and lambda."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = equality_here(loss, ours.at(1.0), EQUAL, drawn_pairs())
    if not math.isfinite(found.error):  # it overflows somewhere: see what there is where it does not
        error, slope_error = apart(loss, ours.at)
        return ("single precision", "where it is finite", error, slope_error) if error <= SINGLE else None
    if found.error > SINGLE or not all(scale > 0 for scale in found.scale):
        return None
    if found.error > EQUAL:
        error, slope_error = apart(loss, ours.at)
        if error <= SINGLE:
            return "single precision", "", error, slope_error
    how = _how(found)
    error, slope_error = apart(loss, lambda lam: ours.at(float(found.change(lam))), found.scale, found.constant)
    if slope_error > SLOPES:
        return "differs", f"{how}{', ' if how else ''}the same values with other derivatives", error, slope_error
    relation = "single precision" if error > EQUAL else "equal up to" if how else "equal"
    return relation, how, error, slope_error


def _how(found: Equality) -> str:
    """What the implementation is of ours, where ours = scale times it + constant."""
    words = []
    factor = _power([1 / scale for scale in found.scale])
    if factor != "1":
        words.append(f"{factor} times it")
    constant = _power([-c / s for c, s in zip(found.constant, found.scale, strict=True)])
    if constant != "0":
        words.append(f"plus {constant}")
    if found.lam != "lam":
        words.append(f"at {found.lam.removeprefix('1 ')} in the place of lam")
    return ", ".join(words)


def _power(values: list[float]) -> str:
    """Numbers at `LAMS` as c lam^p, where they are that; else as they are."""
    if all(abs(value) < 1e-7 for value in values):
        return "0"
    for p in (0, 1, -1, 2, -2):
        c = values[2]
        if all(abs(value - c * lam**p) <= 1e-6 * abs(value) for value, lam in zip(values, LAMS, strict=True)):
            power = "" if p == 0 else "lam" if p == 1 else f"lam^{p}"
            return f"{c:.6g} {power}".strip().removeprefix("1 ") if power else f"{c:.6g}"
    return " / ".join(f"{value:.4g}" for value in values)


def apart(
    loss: PairObjective,
    ours: Callable[[float], PairObjective],
    scale: tuple[float, ...] = (1.0,) * len(LAMS),
    constant: tuple[float, ...] = (0.0,) * len(LAMS),
    slopes: bool = True,
) -> tuple[float, float]:
    """Largest differences of losses and of derivatives, where ``ours`` = scale ``loss`` + constant; of finite ones."""
    known = random_pairs()
    error = 0.0
    for lam, s, c in zip(LAMS, scale, constant, strict=True):
        a, b = (values(one, known) for one in (loss.with_lam(lam), ours(lam)))
        error = max(error, relative((b - c) / s, a))
    if not slopes:
        return error, math.nan
    k = LAMS.index(AT)
    theirs, mine = (derivatives(one, known) for one in (loss.with_lam(AT), ours(AT)))
    return error, relative(mine / scale[k], theirs)


def random_pairs() -> dict[str, Floats]:
    """The pairs that losses are compared on, by the names of what they read."""
    drawn = drawn_pairs()
    return {f"{kind}_{side}": drawn[kind][ENDS[side]] for kind in drawn for side in "wl"}


def relative(a: Floats, b: Floats) -> float:
    """The largest |a - b|, relative to |a| where that is above 1, of those that are finite."""
    with np.errstate(all="ignore"):
        off = np.abs(a - b) / np.maximum(np.abs(a), 1.0)
    there = np.isfinite(a) & np.isfinite(b)
    return float(off[there].max(initial=0.0))


def values(loss: PairObjective, known: dict[str, Floats]) -> Floats:
    """Losses of pairs."""
    data = [known[name] for name in loss.data]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(loss.one_per_pair(*(known[name] for name in LOGPS), *data), dtype=float)


def derivatives(loss: PairObjective, known: dict[str, Floats]) -> Floats:
    """Their derivatives in log pi_w and log pi_l (2, pairs)."""
    own = [torch.tensor(known[name], requires_grad=True) for name in LOGPS[:2]]
    rest = [torch.tensor(known[name]) for name in (*LOGPS[2:], *loss.data)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        total = loss.one_per_pair(*own, *rest).sum()
        found = torch.autograd.grad(total, own, allow_unused=True)
    return np.stack([np.zeros(len(x)) if g is None else g.numpy() for g, x in zip(found, own, strict=True)])
