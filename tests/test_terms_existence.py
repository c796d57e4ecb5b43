"""Where a minimiser exists: what is derived of random sums of terms, against the loss itself far out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.terms import Exponential, Hinge, Linear, Logistic, Square, Stated, Sum, h, hbar, log_pi_w

from . import problems


@dataclass(frozen=True)
class Own(ea.PairObjective):
    """Any terms, with or without forward KL."""

    made_of: Any = None
    divergence: Any = None
    name: ClassVar[str] = "own"

    @property
    def terms(self) -> Sum:
        return self.made_of(self.lam)

    @property
    def regulariser(self) -> Any:
        return self.divergence


PSIS = [Logistic(), Logistic(0.8, 0.2), Logistic(1.25, -0.25), Square(), Linear(-1.0), Linear(0.5), Exponential()]


def drawn(rng: np.random.Generator) -> tuple[Own, ea.Bandit]:
    """One or two psis of log-ratios, a likelihood or none, EXPO's divergence or none; counts with many zeros."""
    picks, scales = rng.integers(0, len(PSIS), 2), rng.choice([0.5, 1.0, 2.0, -1.0], 2)
    two, likely = rng.random() < 0.5, rng.random() < 0.3

    def terms(lam: float) -> Sum:
        total = PSIS[picks[0]](scales[0] * h)
        total = total + 0.5 * PSIS[picks[1]](scales[1] * hbar) if two else total
        return total + 0.4 * Linear(-1.0)(log_pi_w) if likely else total

    n = int(rng.integers(2, 4))
    counts = rng.integers(0, 4, (n, n)) * (rng.random((n, n)) < 0.6) * (1 - np.eye(n))
    counts[np.arange(n - 1), np.arange(1, n)] += 1  # one component
    own = Own(1.0, terms, ea.ForwardKL() if rng.random() < 0.3 else None)
    return own, ea.Bandit.from_counts(problems.policy(rng, n, 0.1), counts)


def steepness(objective: Own, bandit: ea.Bandit, d: np.ndarray, far: float = 300.0) -> float:
    """The slope far out along d, from values of the loss alone."""
    logits = [np.log(bandit.reference) + t * d for t in (far / 2, far)]
    near, away = (float(ea.risk(objective, bandit, x - np.logaddexp.reduce(x))) for x in logits)
    return (away - near) / (far / 2)


def test_existence_is_growth_in_every_direction() -> None:
    """Recession functions are linear while the order of d stays, so that directions of zeros and ones decide."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(120):
        objective, bandit = drawn(rng)
        solution = ea.solve(objective, bandit)
        directions = [np.array(d) for d in itertools.product((0.0, 1.0), repeat=bandit.n) if 0 < sum(d) < bandit.n]
        lowest = min(steepness(objective, bandit, d) for d in directions)
        if abs(lowest) < 1e-3 and not objective.facts.convex:
            continue
        if lowest > 1e-3:
            assert solution.status == "optimal", (str(objective.terms), bandit.counts, solution.message)
            assert np.isfinite(solution.error_bound)
        elif objective.facts.convex and lowest < -1e-3:
            assert solution.status == "no_minimiser", (str(objective.terms), bandit.counts, solution.message)
        else:  # no growth, and no fall that float64 sees: several, or none
            assert solution.status in ("no_minimiser", "not_unique"), (str(objective.terms), solution.message)
        seen.add(str(solution.status))
    assert {"optimal", "no_minimiser"} <= seen


SEPARABLE = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 3], [0, 0, 2], [0, 1, 0]])


def squared_hinge(m: Any) -> Any:
    return (1 - m).clip(min=0.0) ** 2


def test_what_is_flat_from_some_margin_on_is_attained() -> None:
    """The exponential has the same slopes at its ends, and no minimiser: only how they are reached differs."""
    flat = Stated(squared_hinge, (-np.inf, 0.0), convex=True, lower_bound=0.0, decay=(0.0, np.inf))
    for psi, statuses in ((flat, {"optimal", "not_unique"}), (Hinge(), {"optimal", "not_unique"})):
        solution = ea.solve(Own(1.0, lambda lam, psi=psi: psi(lam * hbar)), SEPARABLE)
        assert solution.status in statuses, solution.message
        assert (solution.policy > 0).all()
    solution = ea.solve(Own(1.0, lambda lam: Exponential()(lam * hbar)), SEPARABLE)
    assert (solution.status, solution.certificate) == ("no_minimiser", "theorem")


def test_how_steep_a_divergence_has_to_be() -> None:
    """SPO nears its infimum as exp(-alpha |h|); against e log(1/e) that is too slow for alpha = 1/2, at a small lam."""
    bandit = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [0, 0]])
    e = np.concatenate([[0.0], np.geomspace(1e-300, 0.5, 20_001)])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log1p(-e) - np.log(e)
        kl = (1 - e) * np.log(2 * (1 - e)) + np.where(e > 0, e * np.log(2 * e), 0.0)
        loss = {alpha: np.log1p(np.exp(-alpha * ratio)) / alpha + 0.05 * kl for alpha in (0.5, 1.0)}
    assert loss[0.5].argmin() == 0 and loss[1.0].argmin() > 0
    assert ea.solve(ea.SPO(0.05, alpha=1.0), bandit).status == "optimal"
    without = ea.solve(ea.SPO(0.05, alpha=0.5), bandit)
    assert without.status == "no_minimiser" and without.certificate == "search"


def test_a_loss_that_rises_on_one_side_is_held_by_cycles() -> None:
    """A bump on a straight line is not convex; of the cycle 0 > 1 > 2 > 0 some pair is always lost."""
    bumpy = Stated(lambda m: -m.clip(max=0.0) + 1 / (1 + m**2), (-1.0, 0.0), lower_bound=0.0, decay=(0.0, 0.0))
    objective = Own(1.0, lambda lam: bumpy(lam * h))
    cycle = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 3, 0], [0, 0, 2], [1, 0, 0]])
    solution = ea.solve(objective, cycle)
    assert solution.status in ("best_found", "not_unique"), solution.message
    chain = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 3, 0], [0, 0, 2], [0, 0, 0]])
    assert ea.solve(objective, chain).status not in ("best_found", "optimal")


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_components_have_the_masses_of_the_cross_entropy(alpha: float) -> None:
    """lam pi_ref, and alpha times what wins: exactly, whatever the losses of log-ratios do inside."""
    counts = np.zeros((5, 5))
    counts[0, 1], counts[1, 0], counts[2, 3], counts[3, 2] = 3, 1, 2, 4
    bandit = ea.Bandit.from_counts([0.1, 0.2, 0.3, 0.15, 0.25], counts)
    lam = 0.7
    objective = Own(lam, lambda lam: Logistic()(h) + alpha * Linear(-1.0)(log_pi_w), ea.ForwardKL())
    solution = ea.solve(objective, bandit)
    target = lam * bandit.reference + alpha * bandit.wins.sum(axis=1)
    expected = [target[:2].sum(), target[2:4].sum(), target[4]] / target.sum()
    assert solution.status == "optimal" and solution.error_bound < 1e-12
    found = [solution.policy[:2].sum(), solution.policy[2:4].sum(), solution.policy[4]]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


ZERO = {
    "weight": lambda lam: 0.0 * Logistic()(lam * hbar),
    "slope": lambda lam: Linear(0.0)(log_pi_w),
    "difference": lambda lam: Linear(1.0)(h) - Linear(1.0)(h),
    "square": lambda lam: 0.0 * Square()(hbar),
}


@pytest.mark.parametrize("name", ZERO)
def test_a_loss_that_is_0_leaves_all_open(name: str) -> None:
    solution = ea.solve(Own(1.0, ZERO[name]), SEPARABLE)
    assert solution.status == "not_unique", solution.message
    np.testing.assert_allclose(solution.policy, SEPARABLE.reference, rtol=1e-14)
    held = ea.solve(Own(1.0, ZERO[name], ea.ForwardKL()), SEPARABLE)
    # a negative weight hides that a straight line is convex, with any sign
    assert held.status == ("best_found" if name == "difference" else "optimal")
    np.testing.assert_allclose(held.policy, SEPARABLE.reference, rtol=1e-8)


def test_a_loss_that_cancels_over_both_directions_leaves_all_open() -> None:
    """A straight line of h, won as often as lost: the linear program has no constraint that is finite."""
    even = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 2, 3], [2, 0, 1], [3, 1, 0]])
    solution = ea.solve(Own(1.0, lambda lam: Linear(-1.0)(h)), even)
    assert solution.status == "not_unique" and "without bound" in solution.message
    np.testing.assert_allclose(solution.policy, even.reference, rtol=1e-14)


def test_a_likelihood_that_something_else_outweighs() -> None:
    """0.5 h - 0.4 log pi_0 falls for ever as the loser, which no likelihood holds, takes all."""
    bandit = ea.Bandit.from_counts([0.4, 0.6], [[0, 3], [0, 0]])
    solution = ea.solve(Own(1.0, lambda lam: Linear(0.5)(h) + 0.4 * Linear(-1.0)(log_pi_w)), bandit)
    assert (solution.status, solution.certificate) == ("no_minimiser", "theorem")
    np.testing.assert_array_equal(solution.policy, [0.0, 1.0])
