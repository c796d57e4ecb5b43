r"""What a loss reads: numbers made of the log-probabilities of a datum's responses.

An `Atom` reads one response and states how it bends; a `Statistic` is an affine combination of atoms,

    m = scale (sum_k c_k atom_k - centre) - offset,

and is written with ordinary arithmetic: ``0.1 * (log_u_w - log_u_l) - 0.5``. What is to be known of it follows from its
atoms. A sum of c_k log pi_k is affine in the logits if the c_k add up to 0, as the log-normaliser then cancels; concave
if their sum is positive, convex if it is negative. [ours, elementary]

==================  ===============================================================================================
``log_pi_w, _l``    log pi of winner and loser
``log_u_w, _l``     log u = log pi/pi_ref of winner and loser
``log_pi_t, log_u_t``  both of a third response
``h``               log pi_w/pi_l, the policy's own log-ratio
``hbar``            log u_w/u_l, the log-ratio relative to the reference
``linked(D)``       mu(u_w) - mu(u_l), mu = f' of a divergence
``log_odds``        log-odds of the winner minus those of the loser, odds = pi/(1 - pi)
``shortfall_w``     min(log u_w, 0)
``powered(a)``      (1 - pi_w^-a)/a minus the same of the loser
``per_token(m)``    another, of log pi/|y| and log pi_ref/|y|
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
from ..numerics import exp, expm1, log_odds_ceiling, namespace
from ..numerics import log_odds as log_odds_of
from .data import Data, Datum, evaluate

SLOTS = ("w", "l")
"""The responses of a pair: winner and loser."""

THIRD = "t"
"""A third response that a datum may have beside them, such as one of another model; on pairs it is the winner."""


@dataclass(frozen=True)
class Atom:
    """One number of one response, ``slot``: log pi, unless a subclass says otherwise.

    plain: whether it is log pi but for what does not depend on the policy. relative: whether it reads the reference.
    curvature: of the atom as a function of the logits, ``"concave"`` or ``"unknown"``. finite_at_zero: whether it is
    finite where pi is 0.
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

    def of(self, datum: Datum) -> Array:
        """`value` for a batch of data."""
        return self.value(datum[f"logp_{self.slot}"], datum[f"ref_logp_{self.slot}"] if self.relative else None)

    def derivatives_of(self, datum: Datum) -> tuple[Any, Any]:
        """`derivatives` for a batch of data."""
        return self.derivatives(datum[f"logp_{self.slot}"], datum[f"ref_logp_{self.slot}"] if self.relative else None)

    @property
    def finite_at_zero(self) -> bool:
        return False

    @property
    def reads(self) -> frozenset[str]:
        """What it reads of a datum, by name."""
        own = {f"logp_{self.slot}"}
        return frozenset(own | {f"ref_logp_{self.slot}"} if self.relative else own)


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

    @property
    def finite_at_zero(self) -> bool:
        return bool(np.isfinite(self.divergence.mu_at_zero))


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


@dataclass(frozen=True)
class Powered(Atom):
    """(1 - pi^-alpha) / alpha, which is log pi at alpha = 0 and rises for every alpha. [Box and Cox 1964, at -alpha]"""

    alpha: float
    plain: ClassVar[bool] = False

    @property
    def curvature(self) -> str:  # type: ignore[override]
        # pi^-alpha is the exponential of a convex function for alpha >= 0
        return "concave" if self.alpha >= 0 else "unknown"

    def value(self, logp: Array, ref_logp: Array) -> Array:
        if self.alpha == 0:
            return logp
        return expm1(-self.alpha * logp) / -self.alpha

    def derivatives(self, logp: Array, ref_logp: Array) -> tuple[Any, Any]:
        slope = exp(-self.alpha * logp)
        return slope, -self.alpha * slope

    @property
    def finite_at_zero(self) -> bool:
        return self.alpha < 0


@dataclass(frozen=True)
class PerToken(Atom):
    """Another atom of log pi/|y| and log pi_ref/|y|, the means over the tokens of a response of length |y|."""

    atom: Atom
    plain: ClassVar[bool] = False

    @property
    def relative(self) -> bool:  # type: ignore[override]
        return self.atom.relative

    @property
    def curvature(self) -> str:  # type: ignore[override]
        return self.atom.curvature

    @property
    def finite_at_zero(self) -> bool:
        return self.atom.finite_at_zero

    @property
    def reads(self) -> frozenset[str]:
        return self.atom.reads | {f"length_{self.slot}"}

    def of(self, datum: Datum) -> Array:
        return self.atom.of(self._means(datum))

    def derivatives_of(self, datum: Datum) -> tuple[Any, Any]:
        length = datum[f"length_{self.slot}"]
        first, second = self.atom.derivatives_of(self._means(datum))
        return first / length, second / length**2

    def _means(self, datum: Datum) -> Datum:
        length = datum[f"length_{self.slot}"]
        return {**datum, **{name: datum[name] / length for name in self.atom.reads}}


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

    def size(self, datum: Datum) -> Array:
        """The sum of the moduli of what ``value`` is a sum of, where all atoms are plain: what its rounding goes by."""
        centre, scale, offset = (evaluate(x, datum) for x in (self.centre, self.scale, self.offset))
        read = sum(abs(c) * abs(datum[name]) for c, atom in self.parts for name in atom.reads)
        return abs(scale) * (read + abs(centre)) + abs(offset)

    def _combined(self, datum: Datum) -> Array:
        total: Any = None
        for coefficient, atom in self.parts:
            value = atom.of(datum)
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
        found: set[str] = set().union(*(atom.reads for _, atom in self.parts))
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
log_pi_t, log_u_t = Statistic(((1.0, Atom(THIRD)),)), Statistic(((1.0, LogRatioToReference(THIRD)),))
h, hbar = log_pi_w - log_pi_l, log_u_w - log_u_l
log_odds = Statistic(((1.0, LogOdds("w")), (-1.0, LogOdds("l"))))
shortfall_w = Statistic(((1.0, Shortfall("w")),))


def powered(alpha: float) -> Statistic:
    """(1 - pi_w^-alpha)/alpha - (1 - pi_l^-alpha)/alpha; `h` at alpha = 0."""
    return h if is_number(alpha, 0) else Statistic(((1.0, Powered("w", alpha)), (-1.0, Powered("l", alpha))))


def per_token(statistic: Statistic) -> Statistic:
    """The same of log-probabilities averaged over the tokens of their response, as in SimPO: log pi/|y| for log pi."""
    return dataclasses.replace(statistic, parts=tuple((c, PerToken(atom.slot, atom)) for c, atom in statistic.parts))


def of_means(statistic: Statistic) -> Statistic:
    """The same without `PerToken`, for log-probabilities that are averages over tokens already."""
    parts = tuple((c, atom.atom if isinstance(atom, PerToken) else atom) for c, atom in statistic.parts)
    return dataclasses.replace(statistic, parts=parts)


def of_even_lengths(statistic: Statistic, datum: Datum) -> Statistic:
    """The same without `PerToken` where all lengths are equal, and known to be: far more is known of it."""
    per = [atom for _, atom in statistic.parts if isinstance(atom, PerToken)]
    if not per:
        return statistic
    if any(f"length_{atom.slot}" not in datum for atom in per):  # as `loss` takes it: responses of one token
        return of_means(statistic)
    lengths = [datum[f"length_{atom.slot}"] for atom in per]
    least, most = min(float(x.min()) for x in lengths), max(float(x.max()) for x in lengths)
    if least < most or not (least == 1 or all(atom.atom.plain for atom in per)):
        return statistic
    parts = tuple((c / least, a.atom) if isinstance(a, PerToken) else (c, a) for c, a in statistic.parts)
    return dataclasses.replace(statistic, parts=parts)


def linked(divergence: Divergence) -> Statistic:
    """mu(u_w) - mu(u_l), mu = f' of a divergence; `hbar` for reverse KL, whose mu is the logarithm."""
    if type(divergence) is ReverseKL:
        return hbar
    return Statistic(((1.0, Linked("w", divergence)), (-1.0, Linked("l", divergence))))
