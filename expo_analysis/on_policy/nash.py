r"""Preferences as a game: two players each name a response, and y wins against y' with probability p(y > y').

A Nash policy of this symmetric zero-sum game (von Neumann winner, maximal lottery) is preferred to no other policy less
than half of the time; there always is one, and the value of the game is 1/2. With a price tau KL(pi || pi_ref) on both
players the equilibrium is unique and satisfies

    pi_i  is proportional to  pi_ref,i exp(P(i > pi) / tau),      P(i > pi) = sum_j pi_j p(i > j).            (1)

This is also where online IPO at lambda = tau rests (`fixed_points`): its gradient vanishes where hbar_ij, averaged over
j ~ pi, is (2 P(i > pi) - 1)/(2 tau). [known: Munos et al., arXiv 2312.00886, for the regularised game; Calandriello et
al., arXiv 2403.08635, for online IPO; both from their abstracts, the derivation here is ours]

The rounds of two algorithms run on the exact game:

    SPPO      pi_{t+1,i}  ~  pi_{t,i} exp(eta P(i > pi_t))                          (arXiv 2405.00675)
    Nash-MD   pi_{t+1,i}  ~  mu_i exp(eta P(i > mu)),  mu ~ pi_t^(1 - eta tau) pi_ref^(eta tau)    (arXiv 2312.00886)

SPPO is the multiplicative-weights update of Freund and Schapire: the mean of its policies over rounds tends to a Nash
policy, while the last one may circle. A policy at which Nash-MD rests has P(i > mu) in the place of P(i > pi) in (1),
and is near the regularised equilibrium for small eta tau only. [ours, by setting pi_{t+1} = pi_t]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog, root
from scipy.special import log_softmax

from .._checks import SUM_TOLERANCE, as_floats, check_number, check_policy, check_whole
from .._types import Floats

SHARP = 1e-10
"""How exactly linear programs are solved (HiGHS allows no less)."""


@dataclass(frozen=True, eq=False)
class NashPolicy:
    """A policy that no other beats.

    policy: shape (n,); where there are many, the mean of those that reach an end of the range of a coordinate.
    low, high: the range of each coordinate over all Nash policies. unique: whether there is only one. worst_win_rate:
    the least P(pi > j) over responses j; 1/2 but for rounding.
    """

    policy: Floats
    low: Floats
    high: Floats
    unique: bool
    worst_win_rate: float


def nash_policy(preference: ArrayLike) -> NashPolicy:
    """The Nash policy of a preference matrix, by linear programs.

    Args:
        preference: p(i > j), shape (n, n), in [0, 1], p(i > j) + p(j > i) = 1; the diagonal is not read.

    Raises:
        ValueError: the matrix is none of these.

    Example:
        >>> from expo_analysis.on_policy import nash_policy
        >>> nash_policy([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]]).policy.round(6)
        array([0.333333, 0.333333, 0.333333])
    """
    p = check_preference(preference)
    n = len(p)
    ends = np.empty((2, n, n))
    for k in range(n):
        for sign in (1, -1):  # pi_k as small, then as large as any Nash policy has it
            ends[(1 - sign) // 2, k] = _program(sign * np.eye(n)[k], p)
    low, high = np.clip(np.diagonal(ends, axis1=1, axis2=2), 0, 1)
    policy = ends.mean(axis=(0, 1))  # Nash policies are convex, and this is the middle of some of them
    policy = np.maximum(policy, 0) / np.maximum(policy, 0).sum()
    unique = bool((high - low <= 1e3 * SHARP).all())
    return NashPolicy(policy, low, high, unique, float((policy @ p).min()))


def _program(goal: Floats, p: Floats) -> Floats:
    """min goal'pi over the policies with P(pi > j) >= 1/2 for every j."""
    n = len(p)
    options: Any = {"primal_feasibility_tolerance": SHARP, "dual_feasibility_tolerance": SHARP}
    found = linprog(
        goal, A_ub=0.5 - p.T, b_ub=np.zeros(n), A_eq=np.ones((1, n)), b_eq=[1.0], bounds=(0, 1), options=options
    )
    if found.x is None:
        raise ArithmeticError(f"no Nash policy was found: {found.message}")
    return np.asarray(found.x)


def regularised_nash(preference: ArrayLike, reference: ArrayLike, tau: float) -> Floats:
    """The equilibrium of the game with the price tau KL(pi || pi_ref) on both players; equation (1) above, to rounding.

    Args:
        preference: p(i > j), shape (n, n). reference: pi_ref, shape (n,), positive. tau: positive.

    Raises:
        ValueError: naming the argument. ArithmeticError: where tau is too small for equation (1) to be solved.

    Example:
        >>> from expo_analysis.on_policy import regularised_nash
        >>> regularised_nash([[0.5, 0.9], [0.1, 0.5]], [0.5, 0.5], tau=100.0).round(3)
        array([0.501, 0.499])
    """
    p, policy = check_preference(preference), check_policy("reference", reference)
    check_number("tau", tau, 0.0)
    _check_size(p, policy)
    log_reference = np.log(policy)
    # from strong to weak regularisation, each equilibrium the start of the next search
    scores = np.zeros(len(p))
    for scale in tau * 2.0 ** np.arange(max(0, int(np.ceil(np.log2(1 / tau)))) + 1, -1, -1):
        scores = _equilibrium(p, log_reference, float(scale), scores)
    return np.asarray(np.exp(log_softmax(log_reference + scores / tau)))


def _equilibrium(p: Floats, log_reference: Floats, tau: float, start: Floats) -> Floats:
    """s = P(. > pi), pi ~ pi_ref exp(s / tau), by Newton's method from ``start``, damped."""
    eye = np.eye(len(p))

    def off(s: Floats) -> tuple[Floats, Floats]:
        pi = np.exp(log_softmax(log_reference + s / tau))
        return s - p @ pi, eye - p @ (np.diag(pi) - np.outer(pi, pi)) / tau

    found: Any = root(off, start, jac=True, method="hybr", tol=1e-15)
    s = found.x
    for _ in range(3):
        miss, slope = off(s)
        s = s - np.linalg.solve(slope, miss)
    if not np.abs(off(s)[0]).max() <= 1e-11:
        raise ArithmeticError(f"the regularised equilibrium was not found at tau = {tau:g}")
    return np.asarray(s)


def sppo(preference: ArrayLike, start: ArrayLike, eta: float, rounds: int) -> Floats:
    """SPPO's policies on the exact game, shape (rounds + 1, n), the start first.

    Example:
        >>> from expo_analysis.on_policy import sppo
        >>> sppo([[0.5, 0.9], [0.1, 0.5]], [0.5, 0.5], eta=1.0, rounds=40)[-1].round(3)
        array([1., 0.])
    """
    p, first = check_preference(preference), check_policy("start", start)
    _check_size(p, first, "start")
    check_number("eta", eta, 0.0)
    check_whole("rounds", rounds, 0)
    log_policy = [np.log(first)]
    for _ in range(rounds):
        log_policy.append(log_softmax(log_policy[-1] + eta * (p @ np.exp(log_policy[-1]))))
    return np.exp(log_policy)


def nash_md(preference: ArrayLike, reference: ArrayLike, tau: float, eta: float, rounds: int) -> Floats:
    """Nash-MD's policies on the exact game, from the reference, shape (rounds + 1, n); eta tau is at most 1.

    Example:
        >>> from expo_analysis.on_policy import nash_md
        >>> nash_md([[0.5, 0.9], [0.1, 0.5]], [0.5, 0.5], tau=1.0, eta=0.1, rounds=200)[-1].round(3)
        array([0.598, 0.402])
    """
    p, policy = check_preference(preference), check_policy("reference", reference)
    _check_size(p, policy)
    check_number("tau", tau, 0.0)
    check_number("eta", eta, 0.0, 1 / tau, high_too=True)
    check_whole("rounds", rounds, 0)
    log_reference = np.log(policy)
    log_policy = [log_reference]
    for _ in range(rounds):
        mixture = log_softmax((1 - eta * tau) * log_policy[-1] + eta * tau * log_reference)
        log_policy.append(log_softmax(mixture + eta * (p @ np.exp(mixture))))
    return np.exp(log_policy)


def check_preference(preference: ArrayLike) -> Floats:
    """p(i > j) as floats with 1/2 on the diagonal; ValueError unless it is a preference matrix."""
    p = np.array(as_floats("preference", preference))
    if p.ndim != 2 or p.shape[0] != p.shape[1] or len(p) < 2:
        raise ValueError(f"preference must have shape (n, n), n at least 2, got {p.shape}")
    np.fill_diagonal(p, 0.5)
    wrong = ~((p >= 0) & (p <= 1)) | ~(np.abs(p + p.T - 1) <= SUM_TOLERANCE)
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        raise ValueError(
            f"preference must hold probabilities with p(i > j) + p(j > i) = 1, got {p[i, j]:g} at {(i, j)} "
            f"and {p[j, i]:g} at {(j, i)}"
        )
    return np.asarray(p / (p + p.T))


def _check_size(p: Floats, policy: Floats, name: str = "reference") -> None:
    if policy.shape != (len(p),):
        raise ValueError(f"{name} must have shape ({len(p)},), as preference has; got {policy.shape}")
