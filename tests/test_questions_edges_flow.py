"""Judges of slopes, curvature, displacement and minima, on both sides of each threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis.desiderata.falsify.problems import pi_star
from expo_analysis.desiderata.questions import (
    displacement,
    flatness,
    local_minima,
)
from expo_analysis.desiderata.questions.curvature import Local
from expo_analysis.desiderata.questions.flow import Flow, _Quadratic
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE

from .judged import DPO, EXPO, subject, verdict_example

# --------------------------------------------------------------------------------------------------------- flat, curved


def test_graphs_are_what_their_names_say() -> None:
    for name, bandit, optima in flatness.on_graphs(subject(ea.EXPO(1.0))):
        n, edges = flatness.GRAPHS[name]
        assert bandit.n == n and {tuple(e) for e in np.argwhere(np.triu(bandit.pairs[0]) > 0).tolist()} == set(edges)
        assert optima.policies.shape[:2] == (6, len(bandit.reference))
        for policies in (bandit.reference, pi_star(bandit)):
            assert policies.min() > 0.19 / n and np.allclose(policies.sum(axis=1), 1.0) and policies.max() > 0.35


def test_level_slopes_are_told_from_plateaus() -> None:
    """Parts that cancel are level; parts that are tiny and do not cancel are a plateau."""
    q = np.zeros((4, 4))
    q[0, 1] = q[1, 0] = q[2, 3] = q[3, 2] = 1.0
    bandit = ea.Bandit([0.1, 0.2, 0.3, 0.4], [0.25] * 4, q)
    moves = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    best = ea.solve(ea.DPO(1.0), bandit).log_policy
    for loss, level in ((ea.DPO(1.0), [True, True]), (ea.EXPO(1.0), [True, False])):
        there = np.stack([best, best])
        found = flatness.level(subject(loss), bandit, 1.0, there, moves)
        assert found.tolist() == level, loss
    beside = best + np.array([0.3, 0.0, 0.0, 0.0])
    found = flatness.level(subject(ea.DPO(1.0)), bandit, 1.0, np.stack([beside, beside]), moves)
    assert found.tolist() == [True, False]
    far = log_softmax(np.array([300.0, 0.0, 0.0, 0.0]))
    assert not flatness.level(subject(ea.DPO(1.0)), bandit, 1.0, far[None], moves[1:]).any(), "tiny, and no cancelling"


def test_expansions_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(rng.dirichlet(np.ones(3), 2), rng.dirichlet(np.ones(3), 2))
    theta = rng.normal(size=(2, 3))
    for loss in (ea.EXPO(0.3), ea.SPO(0.3), ea.NCA(0.3)):
        local = Local(subject(loss), bandit, 0.3)
        found, step = local.expand(theta), 1e-5
        assert found.value == pytest.approx(local.value(theta), abs=1e-14)
        for k in range(3):
            move = step * np.eye(3)[k]
            slope = (local.value(theta + move) - local.value(theta - move)) / (2 * step)
            assert found.gradient[:, k] == pytest.approx(slope, abs=1e-8)
            bend = (local.expand(theta + move).gradient - local.expand(theta - move).gradient) / (2 * step)
            assert found.hessian[:, k] == pytest.approx(bend, abs=1e-7)


def test_steps_of_a_flow_are_exact_on_quadratics() -> None:
    """d theta/ds = -g - H (theta - theta_0), by scipy, with curvatures of both signs and none."""
    rng = np.random.default_rng(1)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    curvature, slope = np.array([2.0, 0.0, -0.3]), np.array([1.0, -0.5, 0.2])
    quadratic = _Quadratic(curvature[None], slope[None], turned[None])
    hessian, gradient = turned @ np.diag(curvature) @ turned.T, turned @ slope
    assert quadratic.curves_down.tolist() == [True]
    for duration in (1e-6, 0.3, 5.0):
        flow = solve_ivp(lambda _, x: -gradient - hessian @ x, (0, duration), np.zeros(3), rtol=1e-10, atol=1e-12)
        assert quadratic.move(np.array([duration]))[0] == pytest.approx(flow.y[:, -1], rel=1e-6, abs=1e-9)
    for stride in (0.01, 0.5):
        longest = quadratic.longest(np.array([stride]))
        assert np.abs(quadratic.move(longest)).max() <= stride < np.abs(quadratic.move(4.01 * longest)).max()
    still = _Quadratic(np.array([[1.0, 1.0]]), np.array([[0.1, 0.0]]), np.eye(2)[None])
    assert still.longest(np.array([1.0]))[0] == 1e12 and not still.curves_down.any()


# --------------------------------------------------------------------------------------------------------- displacement


def test_problems_of_displacement() -> None:
    bandit = displacement.problems(EXPO)
    assert bandit.reference.shape == (24, 5) and np.allclose(bandit.reference * 100, np.round(bandit.reference * 100))
    assert min(bandit.reference.min(), pi_star(bandit).min()) >= 0.02 - 1e-12
    same = np.isclose(bandit.reference[:, :2], pi_star(bandit)[:, :2]).all(axis=1)
    assert same[:12].all() and same[12:].sum() == 0
    assert {tuple(e) for e in np.argwhere(np.triu(bandit.pairs[0]) > 0).tolist()} == set(displacement.PAIRS)


def test_how_far_both_of_a_pair_have_fallen() -> None:
    bandit = ea.Bandit([[0.2, 0.2, 0.2, 0.2, 0.2]], [[0.2] * 5])
    for after, fall in (
        ([0.1, 0.15, 0.3, 0.2, 0.25], np.log(0.2 / 0.15)),
        ([0.1, 0.25, 0.3, 0.15, 0.2], 0.0),
        ([0.25, 0.35, 0.12, 0.08, 0.2], np.log(0.2 / 0.12)),
    ):
        assert displacement.fallen(bandit, np.log([after]))[0] == pytest.approx(max(fall, 0.0))


@pytest.mark.parametrize(
    ("fall", "ended", "shown", "decision"),
    [
        (0.011, True, True, FAILS),
        (0.011, True, False, CANNOT_TELL),
        (0.009, True, True, HOLDS),
        (0.009, False, True, CANNOT_TELL),
        (0.0, True, True, NOT_APPLICABLE),
    ],
)
def test_verdicts_on_displacement(fall: float, ended: bool, shown: bool, decision: str) -> None:
    """Flows that take so many nats from the first pair of all problems, and give them to the fifth response."""

    def flow(one: Subject, bandit: ea.Bandit, lam: float) -> Flow:
        after = bandit.reference.copy()
        after[:, :2] *= np.exp(-fall)
        after[:, 4] += 1 - after.sum(axis=1)
        policies = np.log(np.stack([bandit.reference, after, after, after]))
        return Flow(np.arange(4.0)[:, None] + 0 * after[None, :, 0], policies, np.full(len(after), ended))

    counterexample = verdict_example()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(displacement, "flow", flow)
        patch.setattr(displacement, "_shown", lambda *given: counterexample if shown else None)
        found = displacement.judge(DPO)
    assert found.decision == decision
    if decision != NOT_APPLICABLE:
        assert found.evidence["largest fall of both, at the end (nats)"] == pytest.approx(fall)
        assert found.evidence["on the way (nats)"] == pytest.approx(fall)
        assert found.evidence["share of problems on which both of a pair have fallen at the end"] == float(fall > 0.01)
        assert found.evidence["flows that came to an end"] == 48 * ended and found.evidence["flows"] == 48


# --------------------------------------------------------------------------------------------------------- local minima


def test_traps_are_found_with_their_values() -> None:
    """Random curves of two wells or three, against all local minima of a dense table."""
    rng, t, seen = np.random.default_rng(0), np.linspace(-8, 8, 1601), 0
    for _ in range(60):
        depth, place = rng.uniform(0.3, 2.0, 3), np.sort(rng.uniform(-6, 6, 3))
        value = 0.02 * t**2 - (depth * np.exp(-((t[:, None] - place) ** 2))).sum(axis=1)
        found = local_minima.trap(t, value, np.gradient(value, t))
        inner = [k for k in range(1, len(t) - 1) if value[k] <= value[k - 1] and value[k] < value[k + 1]]
        best = min(inner, key=lambda k: value[k])
        ridges = {k: value[min(k, best) : max(k, best) + 1].max() - value[k] for k in inner if k != best}
        ridges = {k: rise for k, rise in ridges.items() if rise > 1e-6}
        assert (found is None) == (not ridges)
        if found is not None:
            seen += 1
            deepest = max(ridges, key=lambda k: ridges[k])
            assert found.at == pytest.approx(t[deepest], abs=0.011) and found.best == pytest.approx(t[best], abs=0.011)
            assert found.values[0] == pytest.approx(value[deepest], abs=1e-3) and not found.away
            assert found.values[1] - found.values[0] == pytest.approx(ridges[deepest], abs=1e-3)
            assert found.values[2] == pytest.approx(value[best], abs=1e-3) and min(found.at, found.best) < found.ridge
            assert found.ridge < max(found.at, found.best)
    assert seen > 20


@pytest.mark.parametrize(("rise", "seen"), [(3e-7, True), (2e-8, False)])
def test_a_ridge_must_be_higher_than_rounding(rise: float, seen: bool) -> None:
    """A well at 0 of depth 1, and a dent of depth ``rise`` in the slope up from it."""
    t = np.linspace(-4, 4, 4001)
    value = np.where(t < 2, np.minimum((t - 0.0003) ** 2 / 4, 1.0), 1.0 - rise * (1 - (t - 3.0007) ** 2).clip(min=0))
    value = value + 0.5 * (t - 3.9).clip(min=0)
    found = local_minima.trap(t, value, np.gradient(value, t))
    assert (found is not None) == seen


def test_whether_a_curve_has_its_minimum_inside() -> None:
    t = np.linspace(-5, 5, 101)
    for value, inside in (
        ((t - 1) ** 2, True),
        (np.exp(-t), False),
        (-(t**2), False),
        (np.where(np.abs(t) > 4.9, np.inf, t**2), True),
        (np.full(101, np.nan), False),
        (1.0 + 0 * t - 1e-9 * (t == 0), False),
        (1.0 + 0 * t - 1e-6 * (t == 0), True),
    ):
        assert local_minima.has_minimum(value) == inside


def test_curves_reach_sixty_over_lambda_and_forty() -> None:
    reference = np.array([[0.2, 0.8], [0.5, 0.5]])
    for lam in (0.1, 1.0, 30.0):
        t = local_minima.log_ratios(reference, lam)
        own_ratio = np.log(reference[:, 1] / reference[:, 0])
        assert t.shape == (1402, 2) and (np.diff(t, axis=0) >= 0).all()
        assert t.max(axis=0) == pytest.approx(np.maximum(own_ratio + 60 / lam, 40.0))
        assert t.min(axis=0) == pytest.approx(np.minimum(own_ratio - 60 / lam, -40.0))
    one = ea.Bandit([[0.3, 0.7]], [[0.8, 0.2]])
    t = np.linspace(-3, 3, 301)[:, None]
    value, slope = local_minima.curve(EXPO, one, 0.4, t)
    assert slope[1:-1, 0] == pytest.approx(np.gradient(value[:, 0], t[:, 0])[1:-1], abs=1e-4)
    at = float(np.log(1 / 3)), np.log(3.0)
    direct = ea.risk(ea.EXPO(0.4), one, np.log([[[0.75, 0.25]], [[0.25, 0.75]]]))[:, 0]
    assert local_minima.curve(EXPO, one, 0.4, np.array(at)[:, None])[0][:, 0] == pytest.approx(direct)
    lopsided = local_minima.lopsided(np.array([0.5, 2.0]))
    odds = (
        np.log(lopsided.reference[:, 0] / lopsided.reference[:, 1]),
        np.log(pi_star(lopsided) @ [1, 0] / (pi_star(lopsided) @ [0, 1])),
    )
    assert sorted(zip(*np.round(odds, 6).tolist(), strict=True)) == sorted(
        (-x, y) for x, y in itertools.product(local_minima.AGAINST, (0.5, 2.0))
    )
