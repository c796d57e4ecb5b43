"""Exact optima over lambda for a figure, and in words what there is to say of them where they are not proven optima."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._errors import one_sentence
from .._types import Floats, Mask
from ..bandit import Bandit
from ..losses import BradleyTerry
from ..optima import solve, solve_path
from ..own_file import in_words
from .losses import Named

DRAWN = ("optimal", "best_found")
"""Statuses of policies that minimise the loss, as far as anyone knows."""

WORDS = {
    "best_found": "the lowest of many searches, not proven",
    "no_minimiser": "no minimiser (thin: the limit)",
    "not_unique": "not unique (thin: one of the minimisers)",
    "failed": "not solved",
}
"""What a note says of a status."""

LONGEST = 160
"""Messages of exceptions are cut after so many characters."""


@dataclass(frozen=True, eq=False)
class Solved:
    """Optima of one loss: policies of shape (L, prompts, n).

    attained: (L, prompts), whether the policy minimises the loss; where it does not, it is a limit, or one of many.
    notes: sentences without the loss's name; empty where all optima are proven. failed: nothing could be solved.
    """

    named: Named
    lams: Floats
    log_policies: Floats
    attained: Mask
    notes: tuple[str, ...] = ()
    status: Any = field(default=None, repr=False)

    @property
    def policies(self) -> Floats:
        """Probabilities; nan where nothing is known."""
        return np.asarray(np.exp(self.log_policies))

    @property
    def failed(self) -> bool:
        """Whether there is nothing to draw."""
        return not np.isfinite(self.policies).all(axis=-1).any()

    @property
    def note(self) -> str:
        """What the figure says below it; empty where there is nothing to say."""
        return f"{self.named.look.label}: {'; '.join(self.notes)}.".replace("….", "…") if self.notes else ""


def grid(lams: ArrayLike | None, low: float, high: float, points: int) -> Floats:
    """The lambdas of a figure, rising: those given, or ``points`` spaced evenly in the logarithm.

    Raises:
        ValueError: they are not at least two different positive finite numbers.
    """
    if lams is None:
        return np.geomspace(low, high, points)
    try:
        values = np.unique(np.asarray(lams, dtype=np.float64).reshape(-1))
    except (TypeError, ValueError):
        raise ValueError(f"lams must be positive numbers, got {lams!r}") from None
    if len(values) < 2 or not ((values > 0) & (values < np.inf)).all():
        raise ValueError("lams must be at least two different positive and finite numbers")
    return values


def one_bandit(bandit: Bandit | None, default: Bandit) -> Bandit:
    """The bandit that was given, or the default.

    Raises:
        TypeError: it is none.
    """
    if bandit is None:
        return default
    if not isinstance(bandit, Bandit):
        raise TypeError(f"bandit must be a Bandit, got {type(bandit).__name__}")
    return bandit


def solved(named: Named, bandit: Bandit, lams: Floats) -> Solved:
    """The path of a loss; whatever it raises becomes a note."""
    prompts = bandit.prompts or 1
    try:
        path = solve_path(named.objective, bandit, lams)
    except Exception as error:  # a loss of one's own may raise anything
        nothing = np.full((len(lams), prompts, bandit.n), np.nan)
        return Solved(named, lams, nothing, np.zeros((len(lams), prompts), bool), (because(error),))
    logs = np.asarray(path.log_policies, dtype=np.float64).reshape(len(lams), prompts, bandit.n)
    status = np.asarray(path.status, dtype=object).astype(str).reshape(len(lams), prompts)
    lost = ~np.isfinite(np.exp(logs)).all(axis=-1) | (status == "failed")
    logs = np.where(lost[..., None], np.nan, logs)
    notes = tuple(
        f"{words}{_where((status == name).any(axis=1), lams)}"
        for name, words in WORDS.items()
        if (status == name).any()
    )
    return Solved(named, lams, logs, np.isin(status, DRAWN) & ~lost, notes, status)


def fit(bandit: Bandit) -> Floats | None:
    """pi*, shape (prompts, n): the bandit's, or where it has counts the Bradley-Terry fit, if there is exactly one."""
    if bandit.optimal is not None:
        return np.atleast_2d(bandit.optimal)
    try:
        found = solve(BradleyTerry(1.0), bandit)
    except Exception:  # data that are no pairs
        return None
    proven = (np.asarray(found.status, dtype=object).astype(str) == "optimal").all()
    return np.atleast_2d(found.policy) if proven else None


def because(error: Exception) -> str:
    """An exception as words below a figure, without a dot at the end."""
    words = " ".join((one_sentence(error) or in_words(error)).split()).rstrip(".").replace("$", r"\$")
    if len(words) > LONGEST:
        words = f"{words[:LONGEST].rsplit(' ', 1)[0].rstrip(',;:')} …"
    return f"cannot be drawn: {words}"


def _where(mask: Mask, lams: Floats) -> str:
    """For which lambdas: nothing for all of them."""
    at = np.flatnonzero(mask)
    if len(at) == len(lams):
        return ""
    first, last = (number(float(lams[k])) for k in (at[0], at[-1]))
    if len(at) != at[-1] - at[0] + 1:
        return f" for {len(at)} of {len(lams)} λ from {first} to {last}"
    if at[0] == 0:
        return f" for λ ≤ {last}"
    if at[-1] == len(lams) - 1:
        return f" for λ ≥ {first}"
    return f" for λ = {first}" if len(at) == 1 else f" for λ from {first} to {last}"


def number(value: float) -> str:
    """Two digits, without an exponent where that is short.

    >>> number(2943.0), number(0.001234), number(3.2e-7)
    ('2900', '0.0012', '3.2e-7')
    """
    short = float(f"{value:.2g}")
    return (
        f"{short:g}"
        if 1e-3 <= abs(short) < 1e5 or short == 0
        else f"{short:.2g}".replace("e-0", "e-").replace("e+0", "e")
    )
