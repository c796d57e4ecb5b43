"""Are two losses the same? Up to a constant, a factor, and the way lambda enters; where not, on which pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from .._types import Floats
from ..losses import CATALOGUE, Objective, PairObjective
from .apart import watched
from .as_loss import as_loss

LAMS = (0.05, 0.3, 1.0, 4.0)
"""Lambdas at which losses are compared."""

SECONDS = 60.0
"""How long a comparison may take."""

FAR = 0.01
"""What is left of a loss, relative to its spread, when another one is certainly not it at any lambda."""

ENDS = {"w": 0, "l": 1, "t": 2}
"""Which of three responses is the winner, the loser and the third one of a pair."""

Drawn = dict[str, Floats]
"""Log-probabilities under both policies, rewards and lengths, of three responses each."""

LOGS = ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")


@dataclass(frozen=True)
class Equality:
    """How one loss is another: theirs(at ``lam`` written as a function of mine) = scale mine + constant.

    equal: whether it is, to ``error``, the largest relative difference. lam: ``"lam"``, ``"2 lam"``, ``"0.5 / lam"``
    ..., what the other's lambda is. scale, constant: the numbers at each of `LAMS`. pair: the pair with the largest
    difference, where they differ: lambda, log-probabilities, and both values. regulariser: what is different about
    lam times the divergence from the reference; empty where nothing is.
    """

    equal: bool
    error: float
    lam: str
    scale: tuple[float, ...]
    constant: tuple[float, ...]
    pair: dict[str, float]
    regulariser: str = ""

    def __str__(self) -> str:
        if not self.equal:
            if self.regulariser:
                return f"they differ: {self.regulariser}"
            where = ", ".join(f"{name} = {value:.6g}" for name, value in self.pair.items())
            if min(self.scale) < 0 and self.error < 1e-6:
                return (
                    f"they differ by a negative factor: what one minimises the other maximises, as on the pair {where}"
                )
            return f"they differ by {self.error:.2g} of their size, most on the pair {where}"
        words = [] if self.lam == "lam" else [f"with {self.lam} in the place of lam"]
        if any(abs(s - 1) > 1e-9 for s in self.scale):
            words.append(f"times {_each(self.scale)}")
        if any(abs(c) > 1e-9 for c in self.constant):
            words.append(f"plus {_each(self.constant)}")
        return f"they are equal to {self.error:.0e}{''.join(f', {word}' for word in words)}"

    def change(self, lam: Any) -> Any:
        """The other's lambda for one of mine."""
        return next(change(lam) for written, change in _written(self.lam) if written == self.lam)


def _each(numbers: tuple[float, ...]) -> str:
    """One number for all lambdas, or each with its lambda."""
    words = [f"{number:.6g}" for number in numbers]
    if len(set(words)) == 1:
        return words[0]
    return f"{', '.join(words)} at lam = {', '.join(map(str, LAMS))}"


def equality(mine: Any, theirs: Any, *, tolerance: float = 1e-9, seed: int = 0, far: bool = True) -> Equality:
    """Compare two losses of pairs on random pairs, rewards and lengths, at several lambdas; and what they add of a
    divergence from the reference, for which the same factor must do.

    Args:
        mine, theirs: see `as_loss`. tolerance: relative to the losses' spread. seed: of the pairs.
        far: whether also at log-probabilities as far as -700, as those of long responses are; with nothing farther
            than -40 otherwise.

    Raises:
        TypeError: one of them is no loss of pairs. ValueError: one of them raises, or takes too long.

    Example:
        >>> import expo_analysis as ea
        >>> from expo_analysis.testing import equality
        >>> str(equality(ea.DPO(1.0), ea.BradleyTerry(1.0))).split(" by")[0]
        'they differ'
    """
    ours, other = (_pairs_only(as_loss(one)) for one in (mine, theirs))
    found = watched(
        lambda: equality_here(ours, other, tolerance, drawn_pairs(seed), far_pairs(seed) if far else None),
        SECONDS,
        ours,
        other,
    )
    if found.value is None:
        raise ValueError(f"{ours.name} and {other.name} cannot be compared: {found.failure}")
    return found.value


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


def equality_here(
    ours: PairObjective, other: PairObjective, tolerance: float, drawn: Drawn, far: Drawn | None = None
) -> Equality:
    """`equality` in this process: of losses that neither hang nor end it."""
    found = [_compared(ours, other, drawn, far, "lam", lambda lam: lam, tolerance)]
    if not found[0].equal:
        found += [_compared(ours, other, drawn, far, *each, tolerance) for each in _changes(ours, other, drawn)]
    return min(found, key=lambda each: (not each.equal, bool(each.regulariser), each.error))


def drawn_pairs(seed: int = 0) -> Drawn:
    """Two policies of three responses, near and far, with rewards and lengths: (3, count) each."""
    rng = np.random.default_rng(seed)
    count = 60
    spread = 10 ** rng.uniform(-1, 1, (count, 1))
    logs = [
        x - np.logaddexp.reduce(x, axis=1)[:, None] for x in (spread * rng.normal(size=(count, 3)) for _ in range(2))
    ]
    lengths = rng.integers(1, 9, (3, count)).astype(float)
    return {"logp": logs[0].T, "ref_logp": logs[1].T, "reward": rng.normal(size=(3, count)), "length": lengths}


def far_pairs(seed: int = 0) -> Drawn:
    """Long responses, with log-probabilities from -20 to -700 whose log-ratios are moderate: (3, count) each."""
    rng = np.random.default_rng([seed, 1])
    shape = (3, 40)
    ref_logp = -(10 ** rng.uniform(np.log10(40), np.log10(680), shape))
    logp = ref_logp + np.clip(rng.normal(scale=6.0, size=shape), -20, 20)
    lengths = rng.integers(10, 200, shape).astype(float)
    return {"logp": logp, "ref_logp": ref_logp, "reward": rng.normal(size=shape), "length": lengths}


def pair_values(objective: PairObjective, lam: float | Floats, drawn: Drawn) -> Floats:
    """The losses of the pairs (0, 1) at one lambda, or at one for each, (count,), with all that they may read.

    Raises:
        TypeError: it reads something else.
    """
    at = objective.with_lam(lam)
    known = {**drawn, **at.derived({name: drawn[name] for name in ("ref_logp", "length", "reward")})}
    places = {name: name.rpartition("_") for name in (*LOGS, *at.data)}
    unknown = [name for name, (kind, _, _) in places.items() if kind not in known]
    if unknown:
        raise TypeError(f"{objective.name} reads {unknown[0]}, which a single pair does not have")
    return np.asarray(at.one_per_pair(*(known[kind][ENDS[slot]] for kind, _, slot in places.values())))


def _divergences(objective: PairObjective, lam: float | Floats, drawn: Drawn) -> Floats | None:
    """lam D(pi, pi_ref) of each policy; None where nothing is added."""
    at = objective.with_lam(lam)
    if at.regulariser is None:
        return None
    return np.asarray(lam * at.regulariser(drawn["logp"].T.copy(), drawn["ref_logp"].T.copy()))


def _fit(a: Floats, b: Floats) -> tuple[float, float, Floats]:
    """scale, constant and what is left of b = scale a + constant, relative to b's spread."""
    spread = float(np.ptp(a))
    if spread == 0:
        return 1.0, float(b.mean() - a.mean()), (b - b.mean()) / max(float(np.ptp(b)), 1e-300)
    scale = float((b - b.mean()) @ (a - a.mean()) / ((a - a.mean()) @ (a - a.mean())))
    constant = float(b.mean() - scale * a.mean())
    return scale, constant, (b - scale * a - constant) / max(float(np.ptp(b)), 1e-300)


def _left(own: Floats | None, other: Floats | None, scale: float) -> float:
    """How far the other's divergences are from scale times ours, relative; 1 where only one adds some."""
    if own is None or other is None:
        return float(own is not other)
    return float(np.abs(other - scale * own).max() / max(float(np.abs(other).max()), 1e-300))


GRID = np.linspace(-7, 7, 113)
"""Logarithms of lambdas that are tried first."""

POWERS: dict[int, tuple[str, Callable[[float, Any], Any]]] = {
    1: ("{:g} lam", lambda c, lam: c * lam),
    -1: ("{:g} / lam", lambda c, lam: c / lam),
    2: ("{:g} lam^2", lambda c, lam: c * lam**2),
    -2: ("{:g} / lam^2", lambda c, lam: c / lam**2),
    0: ("{:g}", lambda c, lam: c + 0 * lam),
}
"""How one lambda may depend on another one."""


def _written(text: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What a written change may be, beside itself in words."""
    yield "lam", lambda lam: lam
    number = text.split()[0]
    for form, change in POWERS.values():
        if number != "lam":
            yield form.format(float(number)), lambda lam, change=change: change(float(number), lam)  # type: ignore[misc]


def _changes(ours: PairObjective, other: PairObjective, drawn: Drawn) -> Iterable[tuple[str, Callable[[float], float]]]:
    """How the other's lambda may depend on ours: c lam, c / lam, c lam^2 ..., c, as two of them suggest; nothing where
    no lambda of the other's comes near the first of them."""
    matched = []
    for lam in (LAMS[1], LAMS[2]):
        here, added = pair_values(ours, lam, drawn), _divergences(ours, lam, drawn)

        def miss(log_lam: float, here: Floats = here, added: Floats | None = added) -> float:
            return _misses(here, added, other, np.array([log_lam]), drawn)[0]

        start = GRID[int(np.argmin(_misses(here, added, other, GRID, drawn)))]
        near = (start - 0.13, start + 0.13)
        found = minimize_scalar(miss, bounds=near, method="bounded", options={"xatol": 1e-13})
        if found.fun > FAR:
            return
        matched.append(math.exp(found.x))
    power = math.log(matched[1] / matched[0]) / math.log(LAMS[2] / LAMS[1])
    for p, (form, change) in POWERS.items():
        if abs(power - p) < 1e-3:
            c = float(f"{matched[1] / LAMS[2] ** p:.6g}")
            yield form.format(c), lambda lam, c=c, change=change: float(change(c, lam))  # type: ignore[misc]


def _misses(here: Floats, added: Floats | None, other: PairObjective, log_lams: Floats, drawn: Drawn) -> list[float]:
    """How far another loss at each lambda is from a loss and what that adds, but for a factor and a constant."""
    found = []
    with np.errstate(all="ignore"):
        for there, divergences in values_at(other, np.exp(log_lams), drawn):
            scale, _, left = _fit(here, there)
            value = float(np.abs(left).max()) + _left(added, divergences, scale)
            found.append(value if math.isfinite(value) else 1e3)
    return found


def values_at(objective: PairObjective, lams: Floats, drawn: Drawn) -> list[tuple[Floats, Floats | None]]:
    """The losses of the pairs at each lambda, and what is added: all at once of a loss of the catalogue, whose lambda
    may be an array, and one by one of any other."""
    if type(objective) not in CATALOGUE.values():
        each = lams.tolist()
        return [(pair_values(objective, lam, drawn), _divergences(objective, lam, drawn)) for lam in each]
    count = drawn["logp"].shape[1]
    all_drawn = {name: np.tile(numbers, len(lams)) for name, numbers in drawn.items()}
    all_lams = np.repeat(lams, count)
    values = pair_values(objective, all_lams, all_drawn).reshape(-1, count)
    added = _divergences(objective, all_lams, all_drawn)
    return list(zip(values, [None] * len(lams) if added is None else added.reshape(-1, count), strict=True))


def _compared(
    ours: PairObjective,
    other: PairObjective,
    drawn: Drawn,
    far: Drawn | None,
    written: str,
    change: Callable[[float], float],
    tolerance: float,
) -> Equality:
    """Where one loss is another one at a changed lambda: factor and constant are those of the pairs drawn, and have to
    do for the far ones, too."""
    scales, constants, worst, pair, apart = [], [], -1.0, {}, 0.0
    for lam in LAMS:
        scale, constant = None, None
        for known in (drawn, far):
            if known is None:
                continue
            a, b = pair_values(ours, lam, known), pair_values(other, change(lam), known)
            if scale is None or constant is None:
                scale, constant, miss = _fit(a, b)
                spread = float(np.ptp(b))
            else:
                miss = (b - scale * a - constant) / max(float(np.ptp(b)), spread, 1e-300)
            k = int(np.argmax(np.nan_to_num(np.abs(miss), nan=np.inf)))
            error = float(np.nan_to_num(abs(miss[k]), nan=np.inf))
            if error > worst:
                worst = error
                logs = {name: float(known[name[:-2]][ENDS[name[-1]]][k]) for name in LOGS}
                pair = {"lam": lam, **logs, "mine": float(a[k]), "theirs": float(b[k])}
        assert scale is not None and constant is not None
        scales.append(scale)
        constants.append(constant)
        own, others = _divergences(ours, lam, drawn), _divergences(other, change(lam), drawn)
        apart = max(apart, float(np.nan_to_num(_left(own, others, scale), nan=np.inf)))
    equal = worst <= tolerance and all(scale > 0 for scale in scales)
    wrong = _added(ours, other, apart) if equal and apart > tolerance else ""
    return Equality(equal and not wrong, max(worst, apart), written, tuple(scales), tuple(constants), pair, wrong)


def _added(ours: PairObjective, other: PairObjective, apart: float) -> str:
    """What is different about two divergences, where the losses of pairs are the same."""
    own, others = ours.regulariser, other.regulariser
    if own is None or others is None:
        adds = [f"lam {regulariser.name}" if regulariser is not None else "nothing" for regulariser in (own, others)]
        return f"the losses of pairs are the same, but to them {ours.name} adds {adds[0]} and {other.name} {adds[1]}"
    how = (
        f"{own.name} and {others.name}" if own != others else f"{own.name}, by another factor than the losses of pairs"
    )
    return f"the losses of pairs are the same, but not what is added to them: {how}, {apart:.2g} apart"
