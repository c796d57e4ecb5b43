r"""f-divergences D_f(pi || pi_ref) = sum_y pi_ref(y) f(u_y), u = pi / pi_ref, written in log u.

Each divergence gives

* ``f(u)``                   the generator, convex with f(1) = 0;
* ``mu(log_u)``              f'(u) - f'(1), the increasing function that f-DPO applies to the ratio;
* ``descend(log_u, gap)``    the log u' with f'(u') = f'(u) - gap: all that a closed form needs of (f')^{-1};
* ``terms(log_policy, log_reference)``  one number per response, whose sum is the divergence;
* ``mu_at_zero``             f'(0+) - f'(1): -inf keeps optima in the open simplex, a finite one does not;
* ``slope_at_one``           f'(1); None where it is not known;
* ``mu_growth``              how fast mu' can grow or fall with log u, for bounds over intervals.

Sources: Wang et al., "Beyond Reverse KL" (2023, arXiv 2309.16240), table 1, for the generators; ``descend`` and its
stable forms are this package's own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ._autograd import slope_and_bend
from ._checks import check_option, check_same_shape
from ._types import Array
from .numerics import exp, exp_expm1, expm1, log_sigmoid, namespace, rise_and_fall, sigmoid

__all__ = [
    "DIVERGENCES",
    "Alpha",
    "ChiSquare",
    "Divergence",
    "ForwardKL",
    "JensenShannon",
    "MixedChiSquare",
    "ReverseKL",
    "kl",
    "resolve_divergence",
    "total_variation",
]

SLOPE = 1e-6
"""By how much of its size mu may differ from a slope that torch finds."""


@dataclass(frozen=True)
class Divergence(ABC):
    """An f-divergence; see the module's docstring for what each method returns."""

    name: ClassVar[str]
    mu_at_zero: ClassVar[float] = -math.inf
    slope_at_one: ClassVar[float | None] = None

    @property
    def mu_growth(self) -> float | None:
        """c with |mu''| <= c mu' and |mu'''| <= c^2 mu', derivatives in log u; None where none is known."""
        return None

    @property
    def convex_in_logits(self) -> bool:
        """Whether D_f(softmax(theta) || pi_ref) is convex in theta, for every pi_ref."""
        return False

    @property
    def self_concordance(self) -> float | None:
        """The least known M with |D3 D[v,v,u]| <= M range(u) D2 D[v,v] in the logits; None where none is known."""
        return None

    @abstractmethod
    def f(self, u: Array) -> Array:
        """The generator f(u), for u > 0 (any shape)."""

    @abstractmethod
    def mu(self, log_u: Array) -> Array:
        """f'(u) - f'(1) as a function of log u (any shape)."""

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        """First and second derivative of ``mu`` in log u, of a numpy array; by torch where they are not stated."""
        return slope_and_bend(self.mu, log_u)

    def derivatives(self, log_policy: Array, log_reference: Array) -> tuple[Array, Array]:
        """First and second derivative of ``terms`` in log pi, of numpy arrays, less those of f'(1) pi.

        sum f'(1) pi is constant over policies, so that without it gradient and Hessian in the logits are the same.
        """
        if type(self) not in DIVERGENCES.values():  # nobody promises that its mu belongs to its terms
            return slope_and_bend(lambda x: self.terms(x, x.new_tensor(log_reference)), log_policy)
        log_u, policy = log_policy - log_reference, np.exp(log_policy)
        first = self.mu(log_u)
        return policy * first, policy * (first + self.mu_derivatives(log_u)[0])

    @abstractmethod
    def descend(self, log_u: Array, gap: Array) -> Array:
        """The log u' at which f'(u') = f'(u) - gap (shapes broadcast); -inf where no u' > 0 has it."""

    @abstractmethod
    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        """Summands of D_f(pi || pi_ref), one per response, for normalised pi and pi_ref (any equal shapes)."""

    def __call__(self, log_policy: Array, log_reference: Array) -> Array:
        """D_f(pi || pi_ref) in nats, summed (never averaged) over the last axis."""
        check_same_shape(log_policy=log_policy, log_reference=log_reference)
        return self._sum(log_policy, log_reference)

    def _sum(self, log_policy: Array, log_reference: Array) -> Array:
        return namespace(log_policy).sum(self.terms(log_policy, log_reference), axis=-1)


def _finite(log_policy: Array) -> Array:
    """Replace log 0 = -inf by a finite number whose exponential is 0 too, so that 0 log 0 is 0."""
    least = float(namespace(log_policy).finfo(log_policy.dtype).min) / 4
    return log_policy.clip(min=least)  # of arrays and of tensors


def kl(log_p: Array, log_q: Array) -> Array:
    """KL(p || q) = sum p (log p - log q) in nats, over the last axis.

    A response without mass in p adds nothing; one that has mass in p and none in q makes it inf.

    Args:
        log_p, log_q: logarithms of distributions over the last axis, of one kind and dtype; shapes broadcast.

    Example:
        >>> import numpy as np
        >>> kl(np.log([0.5, 0.5]), np.log([0.25, 0.75])).round(4)
        np.float64(0.1438)
    """
    xp = namespace(log_p, log_q)
    if isinstance(log_p, np.ndarray):
        return np.sum(kl_terms(log_p, log_q), axis=-1)
    lost = (log_q == -math.inf) & (log_p > -math.inf)
    terms = xp.exp(log_p) * (_finite(log_p) - _finite(log_q))
    return xp.sum(xp.where(lost, math.inf, terms), axis=-1)


def kl_terms(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """p (e^x - 1 - x), x = log q/p, elementwise: their sum is KL(p || q), and none of them is negative.

    The terms p (log p - log q) cancel, and where p is near q nothing is left of their digits. Of numpy arrays.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        x = log_q - log_p
        near = np.abs(x) < 1e-2
        small = np.where(near, x, 0.0)
        series = small**2 * (1 / 2 + small * (1 / 6 + small * (1 / 24 + small * (1 / 120 + small / 720))))
        terms = np.exp(log_p) * np.where(near, series, np.expm1(x) - x)
        terms = np.where(x > 600, np.exp(log_q), terms)  # there e^x overflows, and is all there is
        without_mass = np.isneginf(log_p) & np.isneginf(log_q)
        return np.where(np.isneginf(x), np.inf, np.where(without_mass, 0.0, terms))


def total_variation(p: Array, q: Array) -> Array:
    """TV(p, q) = sum |p - q| / 2, from 0 to 1, over the last axis.

    Args:
        p, q: distributions (not their logarithms) over the last axis, of one kind and dtype; shapes broadcast.

    Example:
        >>> import numpy as np
        >>> total_variation(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
        np.float64(0.25)
    """
    xp = namespace(p, q)
    return xp.sum(xp.abs(p - q), axis=-1) / 2


@dataclass(frozen=True)
class ReverseKL(Divergence):
    """KL(pi || pi_ref): f(u) = u log u, f'(u) - f'(1) = log u. The divergence of RLHF and DPO."""

    name: ClassVar[str] = "reverse_kl"
    slope_at_one: ClassVar[float | None] = 1.0
    mu_growth = 0.0

    def f(self, u: Array) -> Array:
        return u * namespace(u).log(u)

    def mu(self, log_u: Array) -> Array:
        return log_u

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        return np.ones_like(log_u), np.zeros_like(log_u)

    def descend(self, log_u: Array, gap: Array) -> Array:
        return log_u - gap

    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        log_policy = _finite(log_policy)
        return namespace(log_policy).exp(log_policy) * (log_policy - log_reference)

    def _sum(self, log_policy: Array, log_reference: Array) -> Array:
        return kl(log_policy, log_reference)


@dataclass(frozen=True)
class ForwardKL(Divergence):
    """KL(pi_ref || pi): f(u) = -log u, f'(u) - f'(1) = 1 - 1/u. EXPO's regulariser, convex in the logits."""

    name: ClassVar[str] = "forward_kl"
    slope_at_one: ClassVar[float | None] = -1.0
    mu_growth = 1.0

    @property
    def convex_in_logits(self) -> bool:
        return True

    @property
    def self_concordance(self) -> float:
        return 1.0

    def f(self, u: Array) -> Array:
        return -namespace(u).log(u)

    def mu(self, log_u: Array) -> Array:
        return -expm1(-log_u)

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        fall = exp(-log_u)
        return fall, -fall

    def descend(self, log_u: Array, gap: Array) -> Array:
        return -namespace(log_u).log(exp(-log_u) + gap)

    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        return namespace(log_reference).exp(log_reference) * (log_reference - log_policy)

    def _sum(self, log_policy: Array, log_reference: Array) -> Array:
        if isinstance(log_policy, np.ndarray):
            return kl(log_reference, log_policy)
        return super()._sum(log_policy, log_reference)


@dataclass(frozen=True)
class JensenShannon(Divergence):
    """KL(pi || m) + KL(pi_ref || m), m = (pi + pi_ref)/2: f(u) = u log u - (1+u) log((1+u)/2), f' = log(2u/(1+u)).

    This is twice the usual Jensen-Shannon divergence, as in f-DPO.
    """

    name: ClassVar[str] = "jensen_shannon"
    slope_at_one: ClassVar[float | None] = 0.0
    mu_growth = 1.0

    def f(self, u: Array) -> Array:
        xp = namespace(u)
        return u * xp.log(u) - (1 + u) * xp.log((1 + u) / 2)

    def mu(self, log_u: Array) -> Array:
        return log_sigmoid(log_u) + math.log(2)

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        down = sigmoid(-log_u)
        return down, -down * sigmoid(log_u)

    def descend(self, log_u: Array, gap: Array) -> Array:
        # u' = e^-gap / (1/u + 1 - e^-gap): no cancellation, however large u is
        return -gap - namespace(log_u).log(exp(-log_u) - expm1(-gap))

    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        log_policy = _finite(log_policy)
        log_u = log_policy - log_reference
        return namespace(log_policy).exp(log_policy) * (log_sigmoid(log_u) + math.log(2)) + namespace(
            log_reference
        ).exp(log_reference) * (log_sigmoid(-log_u) + math.log(2))


@dataclass(frozen=True)
class Alpha(Divergence):
    """alpha-divergence: f(u) = (u^(1-alpha) - (1-alpha) u - alpha) / (alpha (alpha-1)), f' = (1 - u^-alpha) / alpha.

    alpha > 0; alpha -> 0 is reverse KL and alpha = 1 forward KL (taken as that limit). For alpha >= 1 it is convex in
    the logits: -log pi is, and the divergence is a sum of increasing convex functions of it. [ours]
    """

    alpha: float
    name: ClassVar[str] = "alpha"
    slope_at_one: ClassVar[float | None] = 0.0

    def __post_init__(self) -> None:
        number = isinstance(self.alpha, (int, float)) and not isinstance(self.alpha, bool)
        if not (number and 0 < self.alpha < math.inf):
            raise ValueError(f"alpha must be a positive finite number, got {self.alpha!r}")

    @property
    def mu_growth(self) -> float:
        return self.alpha

    @property
    def convex_in_logits(self) -> bool:
        return self.alpha >= 1

    def f(self, u: Array) -> Array:
        xp = namespace(u)
        return self.terms(xp.log(u), xp.zeros_like(u))

    def mu(self, log_u: Array) -> Array:
        return -expm1(-self.alpha * log_u) / self.alpha

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        fall = exp(-self.alpha * log_u)
        return fall, -self.alpha * fall

    def descend(self, log_u: Array, gap: Array) -> Array:
        return -namespace(log_u).log(exp(-self.alpha * log_u) + self.alpha * gap) / self.alpha

    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        # pi_ref (e^x - 1 - (e^((1-alpha) x) - 1) / (1-alpha)) / alpha, x = log u, which has the limit alpha -> 1 in it
        log_u = log_policy - log_reference
        if self.alpha == 1:
            rest = namespace(log_reference).exp(log_reference) * log_u
        else:
            rest = exp_expm1(log_reference, (1 - self.alpha) * log_u) / (1 - self.alpha)
        return (exp_expm1(log_reference, log_u) - rest) / self.alpha


@dataclass(frozen=True)
class ChiSquare(Divergence):
    """Pearson's chi-square: f(u) = (u - 1)^2, f'(u) = 2 (u - 1). Finite f'(0+): optima can lie on the boundary."""

    name: ClassVar[str] = "chi_square"
    slope_at_one: ClassVar[float | None] = 0.0
    mu_growth = 1.0
    mu_at_zero: ClassVar[float] = -2.0

    def f(self, u: Array) -> Array:
        return (u - 1) ** 2

    def mu(self, log_u: Array) -> Array:
        return 2 * expm1(log_u)

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        rise = 2 * exp(log_u)
        return rise, rise

    def descend(self, log_u: Array, gap: Array) -> Array:
        xp = namespace(log_u)
        u = exp(log_u) - gap / 2
        positive = u > 0
        return xp.where(positive, xp.log(xp.where(positive, u, xp.ones_like(u))), -xp.inf)

    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        rise, fall = rise_and_fall(log_policy - log_reference)  # (e^x - 1)^2 = e^(2 rise) (e^fall - 1)^2
        return exp(log_reference + 2 * rise) * expm1(fall) ** 2


@dataclass(frozen=True)
class MixedChiSquare(Divergence):
    """KL plus half of chi-square: f(u) = u log u + (u - 1)^2 / 2, f'(u) - f'(1) = log u + u - 1. chi-PO's divergence.

    f'(u) = v + const has the root u = W(e^v), Lambert's function. (arXiv 2407.13399)
    """

    name: ClassVar[str] = "mixed_chi_square"
    slope_at_one: ClassVar[float | None] = 1.0
    mu_growth = 1.0

    def f(self, u: Array) -> Array:
        return ReverseKL().f(u) + ChiSquare().f(u) / 2

    def mu(self, log_u: Array) -> Array:
        return log_u + expm1(log_u)

    def mu_derivatives(self, log_u: Array) -> tuple[Array, Array]:
        rise = exp(log_u)
        return 1 + rise, rise

    def descend(self, log_u: Array, gap: Array) -> Array:
        from scipy.special import wrightomega  # scipy takes longer to load than all that is here

        xp = namespace(log_u)
        goal = log_u + exp(log_u) - gap  # = log u' + u'
        u = xp.asarray(wrightomega(goal), dtype=goal.dtype)
        small = goal < 1  # where u' < 1, goal - u' keeps its digits, and does not underflow
        return xp.where(small, goal - u, xp.log(xp.where(small, xp.ones_like(u), u)))

    def terms(self, log_policy: Array, log_reference: Array) -> Array:
        return ReverseKL().terms(log_policy, log_reference) + ChiSquare().terms(log_policy, log_reference) / 2


DIVERGENCES: dict[str, type[Divergence]] = {
    cls.name: cls for cls in (ReverseKL, ForwardKL, JensenShannon, Alpha, ChiSquare, MixedChiSquare)
}


@lru_cache(maxsize=64)
def mu_is_slope(divergence: Divergence) -> bool:
    """Whether ``terms`` are pi_ref f(u) and mu is f', but for a constant: a closed form of the optimum rests on it."""
    if type(divergence) in DIVERGENCES.values():
        return True
    log_u, log_reference = (x.reshape(-1) for x in np.meshgrid(np.linspace(-6.0, 2.0, 33), [-2.5, -4.0, -8.0]))
    log_policy = log_u + log_reference
    slope = slope_and_bend(lambda x: divergence.terms(x, x.new_tensor(log_reference)), log_policy)[0]
    mu = np.asarray(divergence.mu(log_u))
    return bool(np.ptp(slope / np.exp(log_policy) - mu) <= SLOPE * (1 + np.abs(mu).max()))


def resolve_divergence(divergence: str | Divergence, alpha: float | None = None) -> Divergence:
    """The divergence of a name in `DIVERGENCES`; ``alpha`` belongs to ``"alpha"`` and is an error with any other."""
    if isinstance(divergence, str):
        check_option("divergence", divergence, sorted(DIVERGENCES))
        if divergence == Alpha.name:
            if alpha is None:
                raise ValueError("alpha must be given for divergence='alpha': a positive number")
            return Alpha(alpha)
        resolved: Divergence = DIVERGENCES[divergence]()
    elif isinstance(divergence, Divergence):
        resolved = divergence
    else:
        raise TypeError(f"divergence must be a name or a Divergence, got {type(divergence).__name__}")
    if alpha is not None:
        raise ValueError(f"alpha is not used by divergence {resolved.name!r}; it belongs to divergence='alpha'")
    return resolved
