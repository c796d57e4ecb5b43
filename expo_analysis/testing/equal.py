"""Are two losses the same? Up to a constant, a factor, and the way lambda enters; where not, on which pair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from .._types import Floats
from ..losses import Objective, PairObjective
from .as_loss import as_loss

LAMS = (0.05, 0.3, 1.0, 4.0)
"""Lambdas at which losses are compared."""


@dataclass(frozen=True)
class Equality:
    """How one loss is another: theirs(at ``lam`` written as a function of mine) = scale mine + constant.

    equal: whether it is, to ``error``, the largest relative difference. lam: ``"lam"``, ``"2 lam"``, ``"0.5 / lam"``
    ..., what the other's lambda is. scale, constant: the numbers at each of `LAMS`. pair: the pair with the largest
    difference, where they differ: lambda, log-probabilities, and both values.
    """

    equal: bool
    error: float
    lam: str
    scale: tuple[float, ...]
    constant: tuple[float, ...]
    pair: dict[str, float]

    def __str__(self) -> str:
        if not self.equal:
            where = ", ".join(f"{name} = {value:.6g}" for name, value in self.pair.items())
            return f"they differ by {self.error:.2g} of their size, most on the pair {where}"
        words = [] if self.lam == "lam" else [f"with {self.lam} in the place of lam"]
        if any(abs(s - 1) > 1e-9 for s in self.scale):
            factors = ", ".join(f"{s:.6g}" for s in self.scale)
            words.append(f"times {factors} at lam = {', '.join(map(str, LAMS))}")
        if any(abs(c) > 1e-9 for c in self.constant):
            words.append(f"plus {', '.join(f'{c:.6g}' for c in self.constant)} there")
        return f"they are equal to {self.error:.0e}{''.join(f', {word}' for word in words)}"


def equality(mine: Any, theirs: Any, *, tolerance: float = 1e-9, seed: int = 0) -> Equality:
    """Compare two losses of pairs on random pairs, rewards and lengths, at several lambdas.

    Args:
        mine, theirs: see `as_loss`. tolerance: relative to the losses' spread. seed: of the pairs.

    Raises:
        TypeError: one of them is no loss of pairs.

    Example:
        >>> import expo_analysis as ea
        >>> from expo_analysis.testing import equality
        >>> str(equality(ea.DPO(1.0), ea.BradleyTerry(1.0))).split(" by")[0]
        'they differ'
    """
    ours, other = (_pairs_only(as_loss(one)) for one in (mine, theirs))
    known = random_pairs(seed)
    best: Equality | None = None
    for written, change in _changes(ours, other, known):
        found = _compared(ours, other, known, written, change, tolerance)
        if found.equal:
            return found
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best


def assert_equal_losses(mine: Any, theirs: Any, *, tolerance: float = 1e-9, seed: int = 0) -> Equality:
    """Assert that two losses are the same up to constants, a factor and the way lambda enters; returns how.

    Raises:
        AssertionError: with the pair on which they differ most.
    """
    found = equality(mine, theirs, tolerance=tolerance, seed=seed)
    if not found.equal:  # no assert, to which pytest would add its own words
        raise AssertionError(str(found))
    return found


def _pairs_only(objective: Objective) -> PairObjective:
    if not isinstance(objective, PairObjective) or objective.facts.couples_pairs:
        raise TypeError(f"{objective.name} must be a loss of single pairs, to be compared with another one")
    return objective


def random_pairs(seed: int = 0) -> dict[str, Floats]:
    """Pairs of responses under two policies of three responses, near and far, with rewards and lengths."""
    rng = np.random.default_rng(seed)
    count = 60
    spread = 10 ** rng.uniform(-1, 1, (count, 1))
    logs = [
        x - np.logaddexp.reduce(x, axis=1)[:, None] for x in (spread * rng.normal(size=(count, 3)) for _ in range(2))
    ]
    own = {
        name: logs[k][:, side]
        for k, names in enumerate((("logp_w", "logp_l"), ("ref_logp_w", "ref_logp_l")))
        for side, name in enumerate(names)
    }
    further = {f"reward_{side}": rng.normal(size=count) for side in "wl"} | {
        f"length_{side}": rng.integers(1, 9, count).astype(float) for side in "wl"
    }
    return own | further


def _values(objective: PairObjective, lam: float, known: dict[str, Floats]) -> Floats:
    given = {name: known[name] for name in objective.data if name in known}
    at = objective.with_lam(lam)
    return np.asarray(
        at.one_per_pair(
            *(known[name] for name in ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")),
            *(given[name] for name in objective.data),
        )
    )


def _fit(a: Floats, b: Floats) -> tuple[float, float, Floats]:
    """scale, constant and what is left of b = scale a + constant, relative to b's spread."""
    spread = float(np.ptp(a))
    if spread == 0:
        return 1.0, float(b.mean() - a.mean()), (b - b.mean()) / max(float(np.ptp(b)), 1e-300)
    scale = float((b - b.mean()) @ (a - a.mean()) / ((a - a.mean()) @ (a - a.mean())))
    constant = float(b.mean() - scale * a.mean())
    return scale, constant, (b - scale * a - constant) / max(float(np.ptp(b)), 1e-300)


def _changes(ours: PairObjective, other: PairObjective, known: dict[str, Floats]) -> list[tuple[str, Any]]:
    """How the other's lambda may depend on ours: the same, c lam, c / lam, c lam^2, c, as two of them suggest."""
    found: list[tuple[str, Any]] = [("lam", lambda lam: lam)]
    matched = []
    for lam in (LAMS[1], LAMS[2]):
        here = _values(ours, lam, known)

        def miss(log_lam: float, here: Floats = here) -> float:
            with np.errstate(all="ignore"):
                value = float(np.abs(_fit(here, _values(other, math.exp(log_lam), known))[2]).max())
            return value if math.isfinite(value) else 1e3

        grid = np.linspace(-7, 7, 113)
        start = grid[int(np.argmin([miss(x) for x in grid]))]
        matched.append(
            math.exp(
                minimize_scalar(miss, bounds=(start - 0.13, start + 0.13), method="bounded", options={"xatol": 1e-13}).x
            )
        )
    power = math.log(matched[1] / matched[0]) / math.log(LAMS[2] / LAMS[1])
    for p in (1, -1, 2, -2, 0):
        if abs(power - p) < 1e-3:
            c = float(f"{matched[1] / LAMS[2] ** p:.6g}")
            text = {1: f"{c:g} lam", -1: f"{c:g} / lam", 2: f"{c:g} lam^2", -2: f"{c:g} / lam^2", 0: f"{c:g}"}[p]
            found.append((text, lambda lam, c=c, p=p: c * lam**p))
    return found


def _compared(
    ours: PairObjective, other: PairObjective, known: dict[str, Floats], written: str, change: Any, tolerance: float
) -> Equality:
    scales, constants, worst, pair = [], [], -1.0, {}
    for lam in LAMS:
        a, b = _values(ours, lam, known), _values(other, change(lam), known)
        scale, constant, miss = _fit(a, b)
        scales.append(scale)
        constants.append(constant)
        k = int(np.argmax(np.nan_to_num(np.abs(miss), nan=np.inf)))
        error = float(np.nan_to_num(abs(miss[k]), nan=np.inf))
        if error > worst:
            worst = error
            names = ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")
            pair = {
                "lam": lam,
                **{name: float(known[name][k]) for name in names},
                "mine": float(a[k]),
                "theirs": float(b[k]),
            }
    equal = worst <= tolerance and all(scale > 0 for scale in scales)
    return Equality(equal, worst, written, tuple(scales), tuple(constants), pair)
