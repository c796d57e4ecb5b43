"""Whether a convex loss has a minimiser over log-linear policies, and what it tends to where it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis.losses.psi import Exponential, Hinge, Linear, Logistic
from expo_analysis.losses.statistics import h, hbar, log_pi_w
from expo_analysis.optima.restricted.existence import limit, runaway

from . import problems
from .own_losses import own

ANGLES = np.linspace(0, 2 * np.pi, 721)[:-1]
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


@dataclass(frozen=True)
class RobustRPO(ea.PairObjective):
    """Robust DPO, whose slope is negative on one side, and the winner's likelihood."""

    alpha: float = 0.5
    name: ClassVar[str] = "robust_rpo"

    @property
    def terms(self) -> Any:
        return Logistic(1.25, -0.25)(self.lam * hbar) + self.alpha * Linear(-1.0)(log_pi_w)


@dataclass(frozen=True)
class Steep(ea.PairObjective):
    """A logistic loss, and a line that pulls the other way."""

    name: ClassVar[str] = "steep"

    @property
    def terms(self) -> Any:
        return Logistic()(self.lam * h) + 0.1 * Linear(1.0)(h)


PIECES = {
    "hinge": ea.Hinge(0.7),
    "hinge and half of what it falls by": own(lambda lam: Hinge()(lam * h) + Linear(0.5 * lam)(h)),
    "hinge and what it falls by": own(lambda lam: Hinge()(lam * h) + Linear(lam)(h)),
    "hinge and more than it falls by": own(lambda lam: Hinge()(lam * h) + Linear(1.5 * lam)(h)),
    "two hinges": own(lambda lam: Hinge()(lam * h) + Hinge()(-h)),
}
"""Straight from some margins on: what does not fall at a rate does not fall."""

OBJECTIVES = {
    **PIECES,
    "dpo": ea.DPO(0.7),
    "robust dpo": ea.DPO(0.7, 0.2, robust=True),
    "cpo": ea.objective("cpo", 0.7),
    "sft": ea.objective("sft", 0.7),
    "dpop": ea.DPOP(0.7, penalty=0.5),
    "robust rpo": RobustRPO(0.7),
    "steep": Steep(0.7),
}


def drawn(rng: np.random.Generator, d: int = 2, n: int = 4) -> tuple[ea.Bandit, np.ndarray]:
    """Counts on two prompts of a few comparisons each, and features that leave few directions free."""
    counts = np.zeros((2, n, n))
    for x in range(2):
        for _ in range(int(rng.integers(2, 5))):
            i, j = rng.choice(n, 2, replace=False)
            counts[x, i, j] += int(rng.integers(1, 5))
    bandit = ea.Bandit.from_counts(rng.dirichlet(np.full(n, 3.0), 2), counts, prompt_weights=[0.3, 0.7])
    return bandit, rng.standard_normal((2, n, d))


def total(objective: ea.Objective, bandit: ea.Bandit, features: np.ndarray, w: np.ndarray) -> np.ndarray:
    """At w (..., d)."""
    theta = np.log(bandit.reference) + np.einsum("xnd,...d->...xn", features, w)
    return np.asarray(ea.risk(objective, bandit, log_softmax(theta, axis=-1)) @ bandit.prompt_weights)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_along_which_it_falls_for_ever(name: str) -> None:
    """Of two parameters: looking in all directions, far out, tells whether there is one; and it is one."""
    rng = np.random.default_rng([*name.encode()])
    objective, seen = OBJECTIVES[name], set()
    for _ in range(25):
        bandit, features = drawn(rng)
        found = runaway(problems.restricted_family(objective, bandit, features, 0.0))
        far = 1e5
        start = total(objective, bandit, features, np.zeros(2))
        rates = (total(objective, bandit, features, far * CIRCLE) - start) / far
        if abs(rates.min()) < 1e-3 and not (rates < 1e-4).sum() > 2:
            continue  # too close to tell by looking
        falls = rates.min() < (-1e-4 if name in PIECES else 1e-4)
        assert (found is not None) == falls
        seen.add(falls)
        if found is not None:
            assert found.unbounded == (rates.min() < -1e-4)
            v = found.step / np.linalg.norm(found.step)
            values = total(objective, bandit, features, np.array([[0.0], [20.0], [400.0], [8000.0]]) * v)
            assert values[-1] < values[0] and (np.diff(values) <= 1e-12).all()
            if not found.unbounded:  # and of such steps the one of the largest margin
                assert abs((total(objective, bandit, features, far * v) - start) / far) < 1e-4
    assert False in seen


def test_what_is_preferred_as_often_as_noise_allows_costs_nothing() -> None:
    """Robust DPO, kept 1.5 and flipped -0.5, on wins of 3 to 1: one direction costs exactly nothing, and gains nothing.

    A second pair gains 0.3 on being raised, and a third loses what the first would gain if it counted below 0.
    """
    wins = np.zeros((3, 2, 2))
    wins[:, 0, 1], wins[:, 1, 0] = [3, 9, 1], [1, 1, 1]
    bandit = ea.Bandit.from_counts(np.full((3, 2), 0.5), wins, prompt_weights=[0.6, 0.2, 0.2])
    features = np.array([[[1.0], [0.0]], [[1.0], [0.0]], [[1.0], [0.0]]])
    objective = ea.DPO(1.0, 0.25, robust=True)
    found = runaway(problems.restricted_family(objective, bandit, features, 0.0))
    far = total(objective, bandit, features, np.array([[1e4]]))[0] / 1e4
    assert far > 1e-3 and found is None


def test_what_is_level_far_out_has_a_minimiser() -> None:
    """max(1, h) and its like: the loss over all w is that over all policies; a logistic loss in its place has none."""
    bandit = ea.Bandit.from_counts([0.5, 0.3, 0.2], [[0, 1, 1], [0, 0, 2], [0, 1, 0]])
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    for psi, held in ((Hinge(), True), (Logistic(), False)):
        made = own(lambda lam, psi=psi: psi(h) + Linear(1.0)(h))
        free, found = ea.solve(made, bandit), ea.solve(made, bandit, features=features)
        assert (found.status == "no_minimiser") == (free.status == "no_minimiser") == (not held)
        if held:
            assert found.total == pytest.approx(float(free.value), abs=1e-12)


@pytest.mark.parametrize("share", [0.4, 0.5, 0.6])
def test_what_costs_as_much_as_it_gains_falls_only_if_it_bends(share: float) -> None:
    """psi(h) + 2h: as w -> -inf it falls by 1 a unit on one prompt, and rises by 2 ``share`` on another.

    If these are the same, hinges are level far out, and logistic losses fall for ever, to a limit.
    """
    wins = np.zeros((2, 2, 2))
    wins[:, 0, 1] = 1
    bandit = ea.Bandit.from_counts(np.full((2, 2), 0.5), wins, prompt_weights=[0.5, 0.5])
    features = np.array([[[1.0], [0.0]], [[-share], [0.0]]])
    for psi, bends in ((Hinge(), False), (Logistic(), True)):
        made = own(lambda lam, psi=psi: psi(h) + Linear(2.0)(h))
        found = runaway(problems.restricted_family(made, bandit, features, 0.0))
        if share > 0.5 or (share == 0.5 and not bends):
            assert found is None
        else:
            assert found is not None and found.unbounded == (share < 0.5) and found.step[0] < 0


@pytest.mark.parametrize("name", ["dpo", "bradley_terry"])
def test_the_limit_is_that_of_ever_less_decay(name: str) -> None:
    """What vanishes does; and the direction told is that of the largest margin, in which w of ever less decay runs."""
    rng = np.random.default_rng([3, *name.encode()])
    without = 0
    for _ in range(8):
        bandit, features = drawn(rng, d=3)
        objective = ea.objective(name, 0.8)
        found = ea.solve(objective, bandit, features=features)
        if found.status[0] != "no_minimiser":
            continue
        without += 1
        assert (found.certificate == "theorem").all() and np.isnan(found.total)
        more, held = (ea.solve(objective, bandit, features=features, decay=decay) for decay in (1e-4, 1e-9))
        lost = found.policy == 0
        assert lost.any() and (held.policy[lost] < np.maximum(more.policy[lost] / 2, 1e-12)).all()
        assert (held.policy[~lost] > 1e-2).all()
        direction = held.weights / np.abs(held.weights).max()
        assert np.abs(direction - found.direction).max() < 0.5 and np.abs(found.direction).max() == 1.0
        # all strict margins are at least that of the direction, which no other unit vector beats
        margins = _margins(bandit, features)
        step = found.direction / np.linalg.norm(found.direction)
        others = rng.standard_normal((4000, 3))
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        if (margins @ step > 1e-9).all():
            assert (margins @ others.T).min(axis=0).max() <= (margins @ step).min() * (1 + 1e-6)
    assert without > 3


def test_what_a_step_leaves_does_not_depend_on_its_units() -> None:
    """Steps of any length, and features in any unit, bury the same responses."""
    rng = np.random.default_rng(8)
    parted = 0
    for _ in range(6):
        bandit, features = drawn(rng, d=3)
        family = problems.restricted_family(ea.DPO(0.8), bandit, features, 0.0)
        found = runaway(family)
        if found is None:
            continue
        expected = limit(family, found.step)[1]
        parted += not expected.all()
        for size in (1e-12, 1e-5, 1e5, 1e12):
            np.testing.assert_array_equal(limit(family, size * found.step)[1], expected)
            scaled = problems.restricted_family(ea.DPO(0.8), bandit, size * features, 0.0)
            np.testing.assert_array_equal(limit(scaled, runaway(scaled).step)[1], expected)
    assert parted > 2


def _margins(bandit: ea.Bandit, features: np.ndarray) -> np.ndarray:
    return np.array([features[x, i] - features[x, j] for x, i, j in np.argwhere(bandit.wins > 0)])


@pytest.mark.parametrize("name", ["sft", "cpo"])
def test_what_is_left_beside_a_likelihood(name: str) -> None:
    """What never wins vanishes along a feature that all others share; they keep what is least among them alone."""
    rng = np.random.default_rng([4, *name.encode()])
    wins = np.zeros((2, 5, 5))
    for x in range(2):
        wins[x, :4, :4] = rng.integers(1, 5, (4, 4)) * (1 - np.eye(4))
        wins[x, :4, 4] = rng.integers(1, 3, 4)
    reference = rng.dirichlet(np.full(5, 3.0), 2)
    shares = [0.3, 0.7]
    features = rng.standard_normal((2, 5, 2))
    features[..., 0] = [1.0, 1.0, 1.0, 1.0, -0.5]
    bandit = ea.Bandit.from_counts(reference, wins, prompt_weights=shares)
    found = ea.solve(ea.objective(name, 0.8), bandit, features=features)
    assert (found.status == "no_minimiser").all()
    np.testing.assert_allclose(found.direction, [1.0, 0.0], atol=1e-6)
    assert (found.policy[:, 4] == 0).all() and "which no comparison holds back" in found.message[0]
    if name == "sft":
        weight = wins.sum(axis=2)[:, :4] / wins.sum(axis=(1, 2))[:, None]
        w = found.weights
        theta = np.log(reference[:, :4]) + features[:, :4] @ w
        policy = np.exp(log_softmax(theta, axis=1))
        np.testing.assert_allclose(found.policy[:, :4], policy, atol=1e-12)
        slope = np.einsum("x,xn,xn->", shares, weight - policy, features[:, :4, 1])
        assert abs(slope) < 1e-12
    else:
        held = ea.solve(ea.objective(name, 0.8), bandit, features=features, decay=1e-8)
        np.testing.assert_allclose(found.policy, held.policy, atol=1e-4)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_pairs_that_vanish_together_still_count(size: float) -> None:
    """w_0 lifts 0 and 1 over 2 and 3, and these over 4 and 5, for ever; w_1 moves 0 over 1, 2 over 3 and 4 over 5.

    All three pairs have their say about w_1: lam w_1 is the log-odds of their wins taken together.
    """
    wins = np.zeros((6, 6))
    for (i, j), (won, lost) in {(0, 1): (3, 1), (2, 3): (1, 4), (4, 5): (5, 2)}.items():
        wins[i, j], wins[j, i] = won, lost
    wins[0, 2], wins[1, 3], wins[2, 4], wins[3, 5], wins[0, 5] = 1, 2, 1, 1, 3
    features = size * np.array([[1.0, 1.0], [1.0, 0.0], [-1.0, 1.0], [-1.0, 0.0], [-4.0, 1.0], [-4.0, 0.0]])
    reference = np.array([0.2, 0.1, 0.3, 0.1, 0.2, 0.1])
    found = ea.solve(ea.DPO(0.8), ea.Bandit.from_counts(reference, wins), features=features)
    assert (found.status, found.certificate) == ("no_minimiser", "theorem")
    np.testing.assert_allclose(found.direction, [1.0, 0.0], atol=1e-9)
    assert found.weights[1] * size == pytest.approx(np.log(9 / 7) / 0.8, rel=1e-6)
    odds = reference[:2] * [(9 / 7) ** (1 / 0.8), 1.0]
    np.testing.assert_allclose(found.policy, [*odds / odds.sum(), 0, 0, 0, 0], rtol=1e-6)
    assert np.isneginf(found.log_policy[2:]).all() and np.isnan(found.total)
    assert "the loss falls for ever as w runs along [1.0, 0.0], which no comparison holds back" in found.message


@pytest.mark.parametrize("size", [1e-7, 1.0, 2e3, 1e7])
def test_a_loss_times_a_number_falls_where_it_fell(size: float) -> None:
    """Slopes of any size: the limit, and whether there is a lower bound, are those of the loss itself."""
    bandit = ea.Bandit.from_counts([0.5, 0.3, 0.2], [[0, 1, 1], [0, 0, 2], [0, 1, 0]])
    for more, text in ((1.0, "which no comparison holds back"), (1.25, "and has no lower bound")):
        made = own(lambda lam, more=more: size * Logistic()(h) + Linear(more * size)(h))
        found = ea.solve(made, bandit, features=[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        assert found.status == "no_minimiser" and text in found.message
        np.testing.assert_allclose(found.direction, [-1.0, 0.0], atol=1e-12)
        plain = own(lambda lam, more=more: Logistic()(h) + Linear(more)(h))
        one = ea.solve(plain, bandit, features=[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        np.testing.assert_allclose(found.policy, one.policy, rtol=1e-9)
        if more == 1.0:  # 1 wins two of three: -2 sigma(-h) + sigma(h) + more = 0
            np.testing.assert_allclose(found.policy, [0.0, 1 / 3, 2 / 3], rtol=1e-9)


def test_an_infinite_slope_holds_whatever_is_finite() -> None:
    """e^-h of any weight rises at last beyond any straight line: there is a minimiser, at e^-h = slope/weight."""
    bandit = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    for weight in (1.0, 1e-3, 1e-9):
        made = own(lambda lam, weight=weight: weight * Exponential()(h) + Linear(1.0)(h))
        for features in ([[1.0], [0.0]], [[1.0, 0.5], [0.0, 2.0]]):
            found = ea.solve(made, bandit, features=features)
            assert found.status == "optimal"
            assert found.log_policy[0] - found.log_policy[1] == pytest.approx(np.log(weight), rel=1e-9)
        problem = problems.restricted_family(made, bandit, np.array([[[1.0], [0.0]]]), 0.0)
        assert runaway(problem) is None


def test_the_direction_is_told_to_six_digits() -> None:
    """That of least norm in which the only win gains: the features' own."""
    bandit = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    found = ea.solve(ea.DPO(1.0), bandit, features=[[3.0, 2.0], [0.0, 0.0]])
    assert "the loss falls for ever as w runs along [1.0, 0.666667], which no comparison" in found.message


def test_what_is_left_may_have_a_kink() -> None:
    """DPOP: the lone win of one prompt falls for ever along w_0; the other's 3 wins to 1 keep their minimum in w_1."""
    counts = np.array([[[0, 1], [0, 0]], [[0, 3], [1, 0]]])
    bandit = ea.Bandit.from_counts([[0.5, 0.5], [0.3, 0.7]], counts)
    features = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    for penalty in (0.3, 4.0):
        made = ea.DPOP(1.0, penalty=penalty)
        found = ea.solve(made, bandit, features=features)
        assert (found.status == "no_minimiser").all()
        np.testing.assert_allclose(found.direction, [1.0, 0.0], atol=1e-9)
        np.testing.assert_allclose(found.policy[0], [1.0, 0.0], atol=1e-12)

        def risk(t: float, made: Any = made) -> float:
            logits = np.log([0.3, 0.7]) + np.array([t, 0.0])
            one = ea.Bandit.from_counts([0.3, 0.7], counts[1])
            return float(ea.risk(made, one, log_softmax(logits)))

        lowest = minimize_scalar(risk, (-1.0, 2.0), tol=1e-12).x
        at = found.log_policy[1, 0] - found.log_policy[1, 1] - np.log(3 / 7)
        assert at == pytest.approx(lowest, abs=1e-5) and risk(at) <= risk(lowest) + 1e-12


def test_what_is_left_hangs_together_by_pairs_or_by_a_normaliser() -> None:
    """w_0 sinks 4 for ever; w_1 moves 0 within the pair of 0 and 1, and w_2 this pair against that of 2 and 3.

    DPO sees no w_2 in what is left, and leaves it at 0; a likelihood sees it: the pair's mass is its share of the wins.
    """
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2], wins[0, 4] = 3, 1, 2, 4, 1
    features = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 1.0, 1.0]])
    bandit = ea.Bandit.from_counts("uniform", wins)
    odds = np.array([3 ** (1 / 0.8), 1, 1, 1, 0])
    for objective, policy in ((ea.DPO(0.8), odds / odds.sum()), (ea.SFT(1.0), np.array([4, 1, 3, 3, 0]) / 11)):
        found = ea.solve(objective, bandit, features=features)
        assert (found.status, found.certificate) == ("no_minimiser", "theorem")
        np.testing.assert_allclose(found.direction, [1.0, 0.0, 0.0], atol=1e-9)
        np.testing.assert_allclose(found.policy, policy, atol=1e-9)
