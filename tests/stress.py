"""Nasty problems by the thousand, and optima in as many digits as they need; run by the slow tests, or by hand:

python -m tests.stress [SHARE]    SHARE of the problems, 1 for all; prints a line for each loss
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

import expo_analysis as ea

from . import oracles, problems
from .definitions import madpo_weight

LAMS = (1e-10, 1e-6, 1e-3, 0.1, 1.0, 30.0, 1e3, 1e6, 1e10)
Policy = list[mp.mpf]


@dataclass(frozen=True)
class Convex:
    """sum_ij w_ij psi_ij(scale (x_i - x_j)) - sum_i t_i log pi_i, with x = log pi or log u: for one solver in mpmath.

    first, second: psi' and psi'' of a margin, of a pair (i, j). target: the weights t of -log pi.
    """

    first: Callable[[int, int, mp.mpf], mp.mpf]
    second: Callable[[int, int, mp.mpf], mp.mpf]
    scale: mp.mpf
    relative: bool
    target: list[mp.mpf]
    quadratic: bool = False


def minimiser(problem: Convex, bandit: ea.Bandit, start: np.ndarray, digits: int) -> Policy:
    """By Newton's method from ``start``, until a step is below 10^-(digits/2); strictly convex over connected pairs."""
    n, w, ref = bandit.n, oracles.wins(bandit), oracles.reference_of(bandit)
    logs = [mp.log(r) if problem.relative else mp.mpf(0) for r in ref]
    x = [mp.mpf(float(t)) for t in start]
    total = sum(problem.target)
    edges = [(i, j) for i in range(n) for j in range(n) if w[i, j] > 0]
    for _ in range(300):
        pi = oracles.normalised(x)
        g = [total * pi[i] - problem.target[i] for i in range(n)]
        hessian = mp.zeros(n)
        for i in range(n):
            for j in range(n):
                hessian[i, j] = total * ((pi[i] if i == j else 0) - pi[i] * pi[j])
        for i, j in edges:
            margin = problem.scale * (x[i] - logs[i] - x[j] + logs[j])
            slope = w[i, j] * problem.scale * problem.first(i, j, margin)
            bend = w[i, j] * problem.scale**2 * problem.second(i, j, margin)
            g[i], g[j] = g[i] + slope, g[j] - slope
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                hessian[a, b] += sign * bend
        step = mp.lu_solve(hessian[1:, 1:], mp.matrix([-v for v in g[1:]]))
        reach = max(abs(s) for s in step)
        unit = max(problem.scale, 1) if any(problem.target) else problem.scale
        shorter = min(mp.mpf(1), 1 / (reach * unit)) if reach > 0 and not problem.quadratic else mp.mpf(1)
        x = [x[0], *(x[k + 1] + shorter * step[k] for k in range(n - 1))]
        if reach < mp.mpf(10) ** -(digits // 2) * max(1, abs(max(x, key=abs))):
            return oracles.normalised(x)
    raise AssertionError("the oracle did not converge")


def logistic(kept: Any = 1, flipped: Any = 0, offset: Any = 0) -> tuple[Any, Any]:
    """psi' and psi'' of -kept log sigma(m - offset) - flipped log sigma(offset - m)."""
    k, f, o = (mp.mpf(x) for x in (kept, flipped, offset))
    return (
        lambda i, j, m: f * oracles.sigma(m - o) - k * oracles.sigma(o - m),
        lambda i, j, m: (k + f) * oracles.sigma(m - o) * oracles.sigma(o - m),
    )


def won(bandit: ea.Bandit, weight: float) -> list[mp.mpf]:
    w = oracles.wins(bandit)
    return [mp.mpf(weight) * mp.fsum(w[i, j] for j in range(bandit.n)) for i in range(bandit.n)]


def no_target(bandit: ea.Bandit) -> list[mp.mpf]:
    return [mp.mpf(0)] * bandit.n


def regression(bandit: ea.Bandit, lam: float) -> Convex:
    ref, lam_ = oracles.reference_of(bandit), mp.mpf(lam)

    def target(i: int, j: int) -> mp.mpf:
        return (1 + lam_ * ref[i] / (ref[i] + ref[j])) / (1 + lam_)

    return Convex(
        lambda i, j, m: oracles.sigma(m) - target(i, j),
        lambda i, j, m: oracles.sigma(m) * oracles.sigma(-m),
        mp.mpf(1),
        False,
        no_target(bandit),
    )


def log_scores(bandit: ea.Bandit, lam: float) -> Policy:
    """log pi*/lam, or the maximum-likelihood scores of counts, over lam."""
    if bandit.optimal is not None:
        return [mp.log(mp.mpf(float(p))) / mp.mpf(lam) for p in bandit.optimal]
    free = Convex(*logistic(), mp.mpf(1), False, no_target(bandit))
    fit = minimiser(free, bandit, np.zeros(bandit.n), mp.mp.dps)
    return [mp.log(p) / mp.mpf(lam) for p in fit]


def tilted(bandit: ea.Bandit, scores: Policy) -> Policy:
    """pi_ref exp(scores), normalised."""
    return oracles.normalised([mp.log(r) + s for r, s in zip(oracles.reference_of(bandit), scores, strict=True)])


def by_root(inverse: Any, ceiling: Callable[[], mp.mpf]) -> Any:
    """The policy pi_ref (f')^-1(scores - nu), by bisection."""
    return lambda b, lam: oracles.from_scores(oracles.reference_of(b), log_scores(b, lam), inverse, ceiling())


def shifted_square(lam: float) -> tuple[Any, Any]:
    goal = 1 / (2 * mp.mpf(lam))
    return lambda i, j, m: 2 * (m - goal), lambda i, j, m: mp.mpf(2)


def gaps(bandit: ea.Bandit) -> Callable[[int, int], mp.mpf]:
    """r_i - r_j, of the bandit's rewards or of log pi*, in the digits that are worked in."""
    if bandit.rewards is None:
        rewards = [mp.log(mp.mpf(float(p))) for p in bandit.optimal]
    else:
        rewards = [mp.mpf(float(r)) for r in bandit.rewards]
    return lambda i, j: rewards[i] - rewards[j]


def to_rewards(bandit: ea.Bandit) -> tuple[Any, Any]:
    """psi' and psi'' of (m - (r_i - r_j))^2."""
    gap = gaps(bandit)
    return lambda i, j, m: 2 * (m - gap(i, j)), lambda i, j, m: mp.mpf(2)


def soft_target(bandit: ea.Bandit, eta: float) -> tuple[Any, Any]:
    """psi' and psi'' of the KL of sigma(m) from sigma(eta (r_i - r_j)), this first."""
    gap = gaps(bandit)
    return (
        lambda i, j, m: oracles.sigma(m) - oracles.sigma(eta * gap(i, j)),
        lambda i, j, m: oracles.sigma(m) * oracles.sigma(-m),
    )


def with_offset(bandit: ea.Bandit) -> tuple[Any, Any]:
    """psi' and psi'' of -log sigma(m - (r_i - r_j))."""
    gap = gaps(bandit)
    return (
        lambda i, j, m: -oracles.sigma(gap(i, j) - m),
        lambda i, j, m: oracles.sigma(m - gap(i, j)) * oracles.sigma(gap(i, j) - m),
    )


def with_weight(bandit: ea.Bandit) -> tuple[Any, Any]:
    """psi' and psi'' of -weight(r_i - r_j) log sigma(m), MADPO's weight at its own options."""
    gap = gaps(bandit)
    weight = {(i, j): madpo_weight(gap(i, j), 2, 2, mp.mpf(0.5), 1) for i in range(bandit.n) for j in range(bandit.n)}
    return (
        lambda i, j, m: -weight[i, j] * oracles.sigma(-m),
        lambda i, j, m: weight[i, j] * oracles.sigma(m) * oracles.sigma(-m),
    )


class Mixed(ea.PairObjective):
    """A user's own: EXPO with a winner's likelihood beside it."""

    name = "expo_nll"
    regulariser = ea.ForwardKL()

    @property
    def terms(self) -> Any:
        return ea.terms.Logistic()(ea.terms.h) + 0.3 * ea.terms.Linear(-1)(ea.terms.log_pi_w)


def _pulled(bandit: ea.Bandit, lam: float, weight: float = 0.0) -> list[mp.mpf]:
    ref = oracles.reference_of(bandit)
    return [mp.mpf(lam) * r + v for r, v in zip(ref, won(bandit, weight), strict=True)]


LOSSES: dict[str, tuple[Any, Any]] = {
    # name: (objective of lam, its problem)
    "expo": (ea.EXPO, lambda b, lam: Convex(*logistic(), mp.mpf(1), False, _pulled(b, lam))),
    "expo and likelihood": (Mixed, lambda b, lam: Convex(*logistic(), mp.mpf(1), False, _pulled(b, lam, 0.3))),
    "regression": (lambda lam: ea.RegressionEXPO(lam, "cross_entropy"), regression),
    "dpo": (ea.DPO, lambda b, lam: Convex(*logistic(), mp.mpf(lam), True, no_target(b))),
    "conservative dpo": (
        lambda lam: ea.DPO(lam, label_smoothing=0.1),
        lambda b, lam: Convex(*logistic(1 - 0.1, 0.1), mp.mpf(lam), True, no_target(b)),
    ),
    "ipo": (ea.IPO, lambda b, lam: Convex(*shifted_square(lam), mp.mpf(1), True, no_target(b), True)),
    "bradley-terry": (ea.BradleyTerry, lambda b, lam: Convex(*logistic(), mp.mpf(lam), False, no_target(b))),
    "simpo": (ea.SimPO, lambda b, lam: Convex(*logistic(offset=0.5), mp.mpf(lam), False, no_target(b))),
    "cpo": (ea.CPO, lambda b, lam: Convex(*logistic(), mp.mpf(lam), False, won(b, 1.0))),
    "rpo": (ea.RPO, lambda b, lam: Convex(*logistic(), mp.mpf(lam), True, won(b, 1.0))),
    "robust dpo": (
        lambda lam: ea.DPO(lam, label_smoothing=0.1, robust=True),
        lambda b, lam: Convex(
            *logistic((1 - 0.1) / (1 - 2 * 0.1), -0.1 / (1 - 2 * 0.1)), mp.mpf(lam), True, no_target(b)
        ),
    ),
    "rlhf": (ea.RLHF, lambda b, lam: tilted(b, log_scores(b, lam))),
    "rlhf, alpha": (
        lambda lam: ea.RLHF(lam, "alpha", alpha=0.5),
        by_root(lambda v: (1 - v / 2) ** -2, lambda: mp.mpf(2)),
    ),
    "f-dpo, jensen-shannon": (ea.FDPO, by_root(lambda v: mp.exp(v) / (2 - mp.exp(v)), lambda: mp.log(2))),
    "f-dpo, forward kl": (lambda lam: ea.FDPO(lam, "forward_kl"), by_root(lambda v: -1 / v, lambda: mp.mpf(0))),
    "rpo, squared": (
        lambda lam: ea.RewardAwarePO(lam, "squared"),
        lambda b, lam: Convex(*to_rewards(b), mp.mpf(lam), True, no_target(b), True),
    ),
    "rpo, backward": (
        lambda lam: ea.RewardAwarePO(lam, eta=0.75),
        lambda b, lam: Convex(*soft_target(b, 0.75), mp.mpf(lam), True, no_target(b)),
    ),
    "odpo": (ea.ODPO, lambda b, lam: Convex(*with_offset(b), mp.mpf(lam), True, no_target(b))),
    "madpo": (ea.MADPO, lambda b, lam: Convex(*with_weight(b), mp.mpf(lam), True, no_target(b))),
    "pessimistic dpo": (ea.PessimisticDPO, lambda b, lam: Convex(*logistic(), mp.mpf(0.1), True, _pulled(b, lam))),
    "sft": (ea.SFT, lambda b, lam: Convex(*logistic(0, 0), mp.mpf(1), False, won(b, 1.0))),
}


READ_REWARDS = ("rpo, squared", "rpo, backward", "odpo", "madpo")


def stated(name: str, bandit: ea.Bandit, rng: np.random.Generator) -> ea.Bandit:
    """With rewards of a few units, for a loss that reads them: of every data set, and of half the populations."""
    if name not in READ_REWARDS or (bandit.counts is None and rng.random() < 0.5):
        return bandit
    known = {"rewards": rng.normal(size=bandit.n) * 10 ** rng.uniform(-2, 1)}
    if bandit.counts is not None:
        return ea.Bandit.from_counts(bandit.reference, bandit.counts, **known)
    return ea.Bandit(bandit.reference, bandit.optimal, bandit.pairs, **known)


def fixed() -> Iterator[tuple[str, ea.Bandit, int]]:
    """Name, bandit, and the digits that it takes: near-impossible responses, ties, threads, chains, stars, counts."""
    for smallest, digits in ((1e-12, 90), (1e-100, 300)):
        optimal = np.array([1.0, smallest, 2 * smallest])
        yield f"{smallest:g}", ea.Bandit([0.4, 0.3, 0.3], optimal / optimal.sum()), digits
        yield f"{smallest:g} of the reference", ea.Bandit(optimal / optimal.sum(), [0.4, 0.35, 0.25]), digits
    yield "a tie", ea.Bandit([0.3, 0.2, 0.5], [0.5, 0.5 - 1e-15, 1e-15]), 90
    rng = np.random.default_rng(7)
    for weight in (1e-3, 1e-6, 1e-9, 1e-12):
        q = np.zeros((6, 6))
        q[:3, :3] = q[3:, 3:] = 1.0
        np.fill_diagonal(q, 0.0)
        q[2, 3] = q[3, 2] = weight
        yield f"a thread of {weight:g}", ea.Bandit(rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6)), q), 90
    chain = np.diag(np.ones(9), 1) + np.diag(np.ones(9), -1)
    yield "a chain", ea.Bandit(rng.dirichlet(np.ones(10)), rng.dirichlet(np.ones(10)), chain), 60
    star = np.zeros((8, 8))
    star[0, 1:] = star[1:, 0] = 10.0 ** -np.arange(7)
    yield "a star", ea.Bandit(rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8)), star), 90
    counts = np.rint(10 ** rng.uniform(0, 9, (5, 5))) * (1 - np.eye(5))
    yield "counts", ea.Bandit.from_counts(rng.dirichlet(np.ones(5)), counts), 70


def drawn(name: str, count: int, wild: bool = True) -> Iterator[tuple[ea.Bandit, float]]:
    """Random problems and lambdas: populations of down to 1e-9, pairs over ten decades, counts of up to 1e6."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for k in range(count):
        n, smallest = int(rng.integers(2, 6)), 10 ** rng.uniform(-9 if wild else -4, -0.5)
        lam = float(10 ** rng.uniform(-8, 8) if wild else 10 ** rng.uniform(-3, 3))
        if k % 3 == 0:
            counts = np.rint(10 ** rng.uniform(0, 6 if wild else 2, (n, n))) * (1 - np.eye(n))
            yield ea.Bandit.from_counts(problems.policy(rng, n, smallest), counts), lam
        else:
            q = problems.pairs(rng, n, problems.GRAPHS[k % 4], decades=10.0 if wild else 3.0)
            yield ea.Bandit(problems.policy(rng, n, smallest), problems.policy(rng, n, smallest), q), lam


@dataclass
class Tally:
    """What a run found: problems, those with a bound, worst true error among these, violations, other statuses."""

    count: int = 0
    proven: int = 0
    worst: float = 0.0
    largest: float = 0.0
    violated: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()

    def add(self, name: str, bandit: ea.Bandit, lam: float, where: str, digits: int) -> None:
        """Solve in float64 and in ``digits``, and compare."""
        make, problem = LOSSES[name]
        solution = ea.solve(make(lam), bandit)
        self.count += 1
        if solution.status != "optimal":
            self.unlike += (f"{name}, {where}, lam = {lam:g}: {solution.status}, {solution.message}",)
            return
        if not np.isfinite(solution.error_bound):
            return
        with mp.workdps(digits):
            posed = problem(bandit, lam)
            exact = minimiser(posed, bandit, solution.log_policy, digits) if isinstance(posed, Convex) else posed
            error = oracles.distance(solution.policy, exact)
        self.proven += 1
        self.worst, self.largest = max(self.worst, error), max(self.largest, float(solution.error_bound))
        if not error <= solution.error_bound:
            self.violated += (f"{name}, {where}, lam = {lam:g}: {error:.3g} > {solution.error_bound:.3g}",)


def fixed_problems(name: str, share: float = 1.0) -> Tally:
    """All of `fixed` at all `LAMS`; a share of them, evenly."""
    tally, rng = Tally(), np.random.default_rng(0)
    every = [(where, bandit, digits, lam) for where, bandit, digits in fixed() for lam in LAMS]
    for where, bandit, digits, lam in every[:: max(1, round(1 / share))]:
        tally.add(name, stated(name, bandit, rng), lam, where, digits)
    return tally


def random_problems(name: str, count: int, wild: bool = True) -> Tally:
    """``count`` of `drawn`."""
    tally, rng = Tally(), np.random.default_rng(0)
    for k, (bandit, lam) in enumerate(drawn(name, count, wild)):
        tally.add(name, stated(name, bandit, rng), lam, f"random {k}", 90 if wild else 50)
    return tally


if __name__ == "__main__":
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    for name in LOSSES:
        for kind, tally in (
            ("fixed", fixed_problems(name, share)),
            ("random", random_problems(name, round(1000 * share))),
        ):
            print(
                f"{name}, {kind}: {tally.count} problems, {tally.proven} bounds, worst error {tally.worst:.2g}, "
                f"largest bound {tally.largest:.2g}, {len(tally.violated)} violated, {len(tally.unlike)} not optimal",
                *tally.violated[:5],
                *tally.unlike[:3],
                sep="\n    ",
                flush=True,
            )
