"""Traps of three responses: that they are real, by pencil; that they are found and proven; what is no trap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import entr, expit, logit, rel_entr

import expo_analysis as ea
from expo_analysis.desiderata.falsify.basin import is_trapped, ring
from expo_analysis.desiderata.questions import local_minima, overlooked
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import FAILS, HOLDS, PROVEN

from .recheck.others import local_minima as rechecked


def subject(objective: ea.PairObjective) -> Subject:
    return Subject(objective, f"ea.{type(objective).__name__}(lam)", effort=0.1)


def minima_of_spo(lam: float, share: float, mass: float, p: float) -> int:
    """Of SPO in the share of the preferred response, the third one never compared, its mass being the best there is.

    The least of KL(pi || pi_ref) over the pair's mass is -log(mass exp(-K) + 1 - mass), K that of the shares.
    """
    s = expit(np.linspace(-25, 25, 200_001))
    k = rel_entr(s, share) + rel_entr(1 - s, 1 - share)
    cross = -p * np.log(s) - (1 - p) * np.log1p(-s)
    value = cross - lam * np.log(mass * np.exp(-k) + 1 - mass)
    rises = np.diff(value) > 0
    return int((rises[1:] & ~rises[:-1]).sum())


def test_spo_has_two_minima_by_pencil() -> None:
    assert minima_of_spo(1.0, 1e-4, 0.99, 0.95) == 2
    assert minima_of_spo(1.0, 1e-4, 1 - 1e-12, 0.95) == 1, "with two responses it has one"
    assert minima_of_spo(1.0, 0.3, 0.99, 0.95) == 1, "nor is there a second where the reference is not against it"


def test_the_reduction_is_the_loss() -> None:
    """The value at the best mass is the loss of the package there."""
    share, mass, p, lam, s = 1e-4, 0.99, 0.95, 1.0, 0.4
    k = float(rel_entr(s, share) + rel_entr(1 - s, 1 - share))
    best = expit(logit(mass) - k)
    pairs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    reference = [share * mass, (1 - share) * mass, 1 - mass]
    bandit = ea.Bandit(reference, [p * 0.5, (1 - p) * 0.5, 0.5], pairs)
    policy = np.array([s * best, (1 - s) * best, 1 - best])
    wanted = -p * np.log(s) - (1 - p) * np.log1p(-s) - lam * np.log(mass * np.exp(-k) + 1 - mass)
    assert float(ea.risk(ea.SPO(lam), bandit, np.log(policy))) == pytest.approx(wanted, rel=1e-12)
    assert entr(policy).sum() > 0


def test_spo_fails_with_a_proof_that_runs() -> None:
    verdict = local_minima.judge(subject(ea.SPO(1.0)))
    assert (verdict.decision, verdict.basis) == (FAILS, PROVEN) and "three responses" in verdict.summary
    assert verdict.counterexample is not None and overlooked.SEEN in verdict.conditions
    exec("import numpy as np\n" + verdict.counterexample.code, {})
    trap, lower = verdict.counterexample.numbers["values"]
    assert trap - lower > 1.0
    assert rechecked("spo", verdict.counterexample.numbers) == ""
    # the global minimiser, by many starts, is the lower one
    numbers = verdict.counterexample.numbers
    bandit = ea.Bandit(numbers["reference"], numbers["optimal"], numbers["pairs"])
    assert ea.solve(ea.SPO(numbers["lam"]), bandit).value == pytest.approx(lower, abs=1e-6)


def test_where_nothing_is_missed() -> None:
    held = local_minima.judge(subject(ea.ORPO(1.0)))
    assert held.decision == HOLDS and overlooked.SEEN in held.conditions
    assert not overlooked.missed(subject(ea.EXPO(1.0)))  # strictly convex in the logits


def test_what_is_no_trap() -> None:
    one = subject(ea.SPO(1.0))
    found = overlooked.missed(one)[0]
    bandit, lam, trap, lower = found.bandit, found.lam, found.trap, found.lower
    gaps = -np.diff(np.sort(trap)[::-1])
    radius = next(r for r in overlooked.RADII if r < gaps.min() and is_trapped(one, bandit, lam, trap, r, lower))
    assert not is_trapped(one, bandit, lam, trap, float(gaps.min()), lower), "its box is not of one order"
    assert not is_trapped(one, bandit, lam, trap, radius, trap), "nothing is lower than what is inside"
    assert not is_trapped(one, bandit, lam, lower, radius, trap), "the other way round: the lowest is no trap"
    aside = trap + np.array([1.5, 0.0, 0.0])
    assert not is_trapped(one, bandit, lam, aside, radius, lower), "the ring around it is lower somewhere"
    convex = subject(ea.EXPO(1.0))
    assert not is_trapped(convex, bandit, lam, trap, radius, lower)
    around = ring(trap, radius)
    assert around is not None and np.exp(around).sum(axis=1) == pytest.approx(1.0)
    own = -np.diff(np.sort(around, axis=1)[:, ::-1], axis=1) - gaps
    assert np.abs(own).max(axis=1) == pytest.approx(radius)
    assert ring(trap, float(gaps.max())) is None
