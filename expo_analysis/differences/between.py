"""`diff`: two losses in, what is different about their optima out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from .._json import plain
from .._threads import one_thread
from .._watch import Watch
from ..desiderata.audit import is_own
from ..desiderata.code import written
from ..desiderata.falsify.problems import FAMILIES, join
from ..desiderata.subject import Subject, Unclaimed
from ..desiderata.suspicion.once import inspected
from ..losses import Objective
from ..testing.as_loss import as_loss
from ..testing.equal import Equality, equality
from .optima import LAMS, Apart, Two
from .smallest import Example, existence, smallest

SECONDS = 120.0
"""How long a comparison with somebody's own loss may take, times the effort where that is above 1."""

SIZES = (2, 3, 4)
"""Numbers of responses."""

PROBLEMS = 20
"""Problems of each number of responses, for losses that are solved fast."""


@dataclass(frozen=True)
class Difference:
    """What is different about two losses.

    names: what they are called. equality: how one is the other as a loss of pairs, None where that makes no sense
    (RLHF). table: how far their optima are apart at each lambda, see `Apart.to_frame`. matched: the largest TV where
    the second one has the lambda that ``equality`` names; nan where there is none. example: the smallest problem on
    which their optima differ. existence: the smallest data set on which only one of them has a minimiser. Both are None
    where there is none.
    """

    names: tuple[str, str]
    equality: Equality | None
    table: pd.DataFrame
    matched: float
    example: Example | None
    existence: Example | None

    @property
    def differ(self) -> bool:
        """Whether a difference was found at one and the same lambda."""
        return self.example is not None or self.existence is not None

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> list[str]:
        """What was found, each in a sentence."""
        first, second = self.names
        found = [] if self.equality is None else [f"{first} and {second} as losses of pairs: {self.equality}"]
        if math.isfinite(self.matched) and self.equality is not None:
            found.append(
                f"with {self.equality.lam} in the place of lam for {second}, their optima are at most "
                f"{self.matched:.0e} TV apart"
            )
        if not self.differ:
            found.append(
                f"no difference between their optima was found, on {int(self.table['problems'].sum()):,} pairs of them"
            )
        for what, example in (("optima", self.example), ("minimisers", self.existence)):
            if example is not None:
                found.append(f"their {what} differ: {example.statement}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        one = self.equality
        how = None
        if one is not None:
            how = {"equal": one.equal, "error": one.error, "lam": one.lam, "scale": list(one.scale)}
            how |= {"constant": list(one.constant), "pair": None if one.equal else one.pair, "in_words": str(one)}
        return {
            "losses": list(self.names),
            "differ": self.differ,
            "equality": plain(how),
            "matched": plain(self.matched),
            "optima": plain(self.table.to_dict(orient="records")),
            "example": None if self.example is None else self.example.to_dict(),
            "existence": None if self.existence is None else self.existence.to_dict(),
        }


def diff(
    first: Any,
    second: Any,
    *,
    lams: Sequence[float] | None = None,
    effort: float = 1.0,
    seed: int = 0,
    names: tuple[str, str] | None = None,
    time_limit: float | None = None,
) -> Difference:
    """Where the optima of two losses part, by how much, and on which smallest problem.

    Problems are bandits of 2, 3 and 4 responses with policies uniform on the simplex and all pairs compared equally
    often; the smallest one is looked for among uneven and extreme ones, too. Distances are total variation, and nats of
    KL(first | second), where both losses have a single optimum; what error bounds explain is no difference.

    Args:
        first, second: see `expo_analysis.testing.assert_sound`: objectives, names, files, functions.
        lams: those to compare at; 0.01, 0.1, 1, 10, 100 by default.
        effort: multiplies the number of problems. seed: of every random number.
        names: what to call the losses; by default their own names.
        time_limit: seconds; by default 120 where one is not the package's, times ``effort`` where that is above 1.

    Raises:
        TypeError: one of them is no loss. ValueError: it cannot be relied on, raises, or takes too long; or lams or
            effort are not positive.

    Example:
        >>> import expo_analysis as ea
        >>> found = ea.diff("dpo", "bradley_terry", effort=0.2)
        >>> found.differ, sorted(found.example.numbers["reference"].tolist())
        (True, [0.4, 0.6])
    """
    losses = [as_loss(one) for one in (first, second)]
    called = names or (losses[0].name, losses[1].name)
    if called[0] == called[1]:
        called = (f"{called[0]} (first)", f"{called[1]} (second)")
    grid = np.asarray(LAMS if lams is None else lams, dtype=float)
    if grid.ndim != 1 or not len(grid) or not np.all((grid > 0) & (grid < np.inf)):
        raise ValueError(f"lams must be positive finite numbers, got {lams!r}")
    if not 0 < effort < math.inf:
        raise ValueError(f"effort must be a positive finite number, got {effort!r}")
    own = any(map(is_own, losses))
    limit = time_limit or (SECONDS * max(1.0, effort) if own else math.inf)
    with one_thread(), Watch(limit, guarded=own) as watch:
        if not own:
            return _diff(losses, called, grid, effort, seed)
        found = watch.call(lambda: _diff(losses, called, grid, effort, seed))
    if found.timed_out:
        raise ValueError(f"{' and '.join(called)} take longer than {limit:g} s to compare; give a longer time limit")
    if found.value is None:
        raise ValueError(f"{' and '.join(called)} cannot be compared: {found.failure.removeprefix('ValueError: ')}")
    return found.value


def _diff(losses: list[Objective], names: tuple[str, str], lams: Any, effort: float, seed: int) -> Difference:
    first, second = (_subject(*both, effort, seed) for both in zip(losses, names, strict=True))
    two = Two(first, second, names)
    try:
        how = equality(*losses, seed=seed)
    except TypeError:  # of no pairs
        how = None
    share = min(subject.count(PROBLEMS, 4) for subject in (two.first, two.second))
    parts = [_apart(two, n, share, lams) for n in SIZES]
    table = _joined(parts).to_frame()
    matched = math.nan
    if how is not None and how.equal and how.lam != "lam":
        bandit = join([FAMILIES["moderate"].draw(two.first.rng("matched"), share, 3)])
        matched = float(np.nanmax(two.apart(bandit, lams, how.change(lams)).tv, initial=0.0))
    example = smallest(two, lams.tolist(), dict.fromkeys(SIZES, max(4, share // 2)))
    return Difference(names, how, table, matched, example, existence(two))


def _subject(loss: Objective, name: str, effort: float, seed: int) -> Subject:
    """A loss as the judges of a report card see it.

    Raises:
        ValueError: it cannot be relied on.
    """
    found = inspected(loss)
    if found.objective is None:
        raise ValueError(f"{name} cannot be relied on: {found.remarks[0]}")
    kept = found.objective
    alone = kept.of if isinstance(kept, Unclaimed) and kept.keeps_claims else kept
    return Subject(kept, *written(alone), effort=effort, seed=seed)


def _apart(two: Two, n: int, count: int, lams: Any) -> Apart:
    bandit = FAMILIES["moderate"].draw(two.first.rng(f"ordinary {n}"), count, n)
    return two.apart(bandit, lams)


def _joined(parts: list[Apart]) -> Apart:
    """All problems together."""
    fields = ("tv", "nats", "excess", "proven", "one_exists")
    together = {name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in fields}
    return replace(parts[0], **together)
