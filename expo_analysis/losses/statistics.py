r"""What a loss reads: numbers made of the log-probabilities of a datum's responses.

An `Atom` reads one response and states how it bends; a `Statistic` is an affine combination of atoms,

    m = scale (sum_k c_k atom_k - centre) - offset,

and is written with ordinary arithmetic: ``0.1 * (log_u_w - log_u_l) - 0.5``. What is to be known of it follows from its
atoms. A sum of c_k log pi_k is affine in the logits if the c_k add up to 0, as the log-normaliser then cancels; concave
if their sum is positive, convex if it is negative. [ours, elementary]

==================  ===============================================================================================
``log_pi_w, _l``    log pi of winner and loser
``log_u_w, _l``     log u = log pi/pi_ref of winner and loser
``h``               log pi_w/pi_l, the policy's own log-ratio
``hbar``            log u_w/u_l, the log-ratio relative to the reference
``linked(D)``       mu(u_w) - mu(u_l), mu = f' of a divergence
``log_odds``        log-odds of the winner minus those of the loser, odds = pi/(1 - pi)
``shortfall_w``     min(log u_w, 0)
==================  ===============================================================================================
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._symbols import Symbol
from .._types import Array
from ..divergences import Divergence, ReverseKL
from ..numerics import log_odds as log_odds_of
from ..numerics import log_odds_ceiling, namespace
from .data import Data, Datum, evaluate

SLOTS = ("w", "l")
"""The responses of a pair: winner and loser."""


@dataclass(frozen=True)
class Atom:
    """One number of one response, ``slot``: log pi, unless a subclass says otherwise.

    plain: whether it is log pi but for what does not depend on the policy. relative: whether it reads the reference.
    curvature: of the atom as a function of the logits, ``"concave"`` or ``"unknown"``.
    """

    slot: str
    plain: ClassVar[bool] = True
    relative: ClassVar[bool] = False
    curvature: ClassVar[str] = "concave"

    def value(self, logp: Array, ref_logp: Array) -> Array:
        """From log pi and log pi_ref of the response; the latter is not used where ``relative`` is False."""
        return logp

    def derivatives(self, logp: Array, ref_logp: Array) -> tuple[Any, Any]:
        """First and second derivative in log pi, of numpy arrays."""
        return 1.0, 0.0


@dataclass(frozen=True)
class LogRatioToReference(Atom):
    """log u = log pi - log pi_ref."""

    relative: ClassVar[bool] = True

    def value(self, logp: Array, ref_logp: Array) -> Array:
        return logp - ref_logp


@dataclass(frozen=True)
class Linked(Atom):
    """mu(u) = f'(u) - f'(1) of a divergence."""

    divergence: Divergence
    plain: ClassVar[bool] = False
    relative: ClassVar[bool] = True
    curvature: ClassVar[str] = "unknown"

    def value(self, logp: Array, ref_logp: Array) -> Array:
        return self.divergence.mu(logp - ref_logp)

    def derivatives(self, logp: Array, ref_logp: Array) -> tuple[Any, Any]:
        return self.divergence.mu_derivatives(logp - ref_logp)


@dataclass(frozen=True)
class LogOdds(Atom):
    """log(pi/(1 - pi)), held back near pi = 1 (see `log_odds` in the numerics)."""

    plain: ClassVar[bool] = False
    curvature: ClassVar[str] = "unknown"

    def value(self, logp: Array, ref_logp: Array) -> Array:
        return log_odds_of(logp)

    def derivatives(self, logp: Array, ref_logp: Array) -> tuple[Any, Any]:
        # d/dlog pi of log pi - log(1 - pi) is 1/(1 - pi)
        against = np.maximum(-np.expm1(logp), -log_odds_ceiling(logp))
        return 1 / against, np.exp(logp) / against**2


@dataclass(frozen=True)
class Shortfall(Atom):
    """min(log u, 0): how far a response has fallen below its reference; concave, with a kink at pi = pi_ref."""

    plain: ClassVar[bool] = False
    relative: ClassVar[bool] = True

    def value(self, logp: Array, ref_logp: Array) -> Array:
        below = ref_logp - logp
        return -namespace(logp).where(below > 0, below, 0.0 * below)

    def derivatives(self, logp: Array, ref_logp: Array) -> tuple[Any, Any]:
        return np.where(ref_logp - logp > 0, 1.0, 0.0), 0.0


@dataclass(frozen=True, eq=False)
class Statistic:
    """scale (sum_k c_k atom_k - centre) - offset; ``parts`` are pairs (c_k, atom_k) with c_k fixed numbers.

    scale, centre and offset are numbers, arrays that broadcast against the data, or `Data`.
    """

    parts: tuple[tuple[float, Atom], ...]
    scale: Any = 1.0
    centre: Any = 0.0
    offset: Any = 0.0

    def value(self, datum: Datum) -> Array:
        """m for a batch of data."""
        total = self._combined(datum)
        centre, scale, offset = (evaluate(x, datum) for x in (self.centre, self.scale, self.offset))
        total = total if is_number(centre, 0) else total - centre
        total = total if is_number(scale, 1) else scale * total
        return total if is_number(offset, 0) else total - offset

    def _combined(self, datum: Datum) -> Array:
        total: Any = None
        for coefficient, atom in self.parts:
            reference = datum[f"ref_logp_{atom.slot}"] if atom.relative else None
            value = atom.value(datum[f"logp_{atom.slot}"], reference)
            if total is None:
                total = value if coefficient == 1 else coefficient * value
            elif coefficient == -1:
                total = total - value
            else:
                total = total + (value if coefficient == 1 else coefficient * value)
        return total

    def __str__(self) -> str:
        """The formula, as in docs/losses.md: ``0.1 h̄ - 1/2``."""
        from .notation import written_statistic

        return str(written_statistic(self))

    @property
    def reads(self) -> frozenset[str]:
        """What it reads of a datum, by name."""
        found = {f"logp_{atom.slot}" for _, atom in self.parts}
        found |= {f"ref_logp_{atom.slot}" for _, atom in self.parts if atom.relative}
        for value in (self.scale, self.centre, self.offset):
            found |= value.reads if isinstance(value, Data) else set()
        return frozenset(found)

    @property
    def base(self) -> frozenset[tuple[float, Atom]]:
        """The combination of atoms alone, to be compared with others."""
        return frozenset(self.parts)

    __array_ufunc__ = None  # numpy's arrays leave arithmetic to the methods below

    def __add__(self, other: Any) -> Statistic:
        if not isinstance(other, Statistic):
            return self - (-other)
        ours, theirs = self._unscaled(), other._unscaled()
        total: dict[Atom, float] = {}
        for coefficient, atom in (*ours.parts, *theirs.parts):
            total[atom] = total.get(atom, 0.0) + coefficient
        parts = tuple((c, atom) for atom, c in total.items() if c != 0)
        if not parts:
            raise ValueError("a statistic must read some log-probability, but here all of them cancel")
        return Statistic(parts, offset=_plus(ours.offset, theirs.offset))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Statistic:
        if isinstance(other, Statistic):
            return self + (-other)
        if is_number(self.scale, 1) and is_number(self.offset, 0):
            return dataclasses.replace(self, centre=_plus(self.centre, other))
        return dataclasses.replace(self, offset=_plus(self.offset, other))

    def __rsub__(self, other: Any) -> Statistic:
        return -self + other

    def __mul__(self, factor: Any) -> Statistic:
        if isinstance(factor, Statistic):
            raise TypeError("a statistic can be multiplied by numbers and data, not by another statistic")
        scale = factor if is_number(self.scale, 1) else factor * self.scale
        offset = self.offset if is_number(self.offset, 0) else factor * self.offset
        return dataclasses.replace(self, scale=scale, offset=offset)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Statistic:
        return self * (1 / divisor)

    def __neg__(self) -> Statistic:
        """With the signs of the atoms changed, which keeps the scale positive."""
        return Statistic(
            tuple((-c, atom) for c, atom in self.parts),
            self.scale,
            self.centre if is_number(self.centre, 0) else -self.centre,
            self.offset if is_number(self.offset, 0) else -self.offset,
        )

    def _unscaled(self) -> Statistic:
        """The same with scale 1, so that others can be added."""
        if is_number(self.scale, 1) and is_number(self.centre, 0):
            return self
        if not isinstance(self.scale, (int, float, Symbol)):
            raise TypeError("statistics with a scale must be added before they are scaled: lam * (log_u_w - log_u_l)")
        parts = tuple((self.scale * c, atom) for c, atom in self.parts)
        return Statistic(parts, offset=_plus(self.offset, self.scale * self.centre))


def is_number(value: Any, number: float) -> bool:
    """Whether a value is this very number, and no array or data that happen to hold it."""
    return isinstance(value, (int, float)) and value == number


def _plus(a: Any, b: Any) -> Any:
    return b if is_number(a, 0) else a if is_number(b, 0) else a + b


log_pi_w, log_pi_l = (Statistic(((1.0, Atom(slot)),)) for slot in SLOTS)
log_u_w, log_u_l = (Statistic(((1.0, LogRatioToReference(slot)),)) for slot in SLOTS)
h, hbar = log_pi_w - log_pi_l, log_u_w - log_u_l
log_odds = Statistic(((1.0, LogOdds("w")), (-1.0, LogOdds("l"))))
shortfall_w = Statistic(((1.0, Shortfall("w")),))


def linked(divergence: Divergence) -> Statistic:
    """mu(u_w) - mu(u_l), mu = f' of a divergence; `hbar` for reverse KL, whose mu is the logarithm."""
    if type(divergence) is ReverseKL:
        return hbar
    return Statistic(((1.0, Linked("w", divergence)), (-1.0, Linked("l", divergence))))
