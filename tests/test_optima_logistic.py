"""Losses that state their logistic terms: the derivatives that follow, against torch's and against 60 digits."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.losses.logistic import Logistic
from expo_analysis.numerics import sigmoid
from expo_analysis.optima.closed_forms import ScoreObjective
from expo_analysis.optima.pieces import Piece
from expo_analysis.optima.problem import Problem, expand, value

from . import problems
from .definitions import PAIR_CASES, Case, digits, sigma

EPS = float(np.finfo(np.float64).eps)
MARGINS = np.array([0.0, 1e-9, 0.3, 1.0, 5.0, 30.0, 40.0, 300.0, 700.0, 800.0, 1e5])
MARGINS = np.concatenate([-MARGINS[:0:-1], MARGINS])

STATED = {name: case for name, case in PAIR_CASES.items() if case(1.0).stated(np.zeros(1)) is not None}
OF_LOG_RATIOS = {name: case for name, case in STATED.items() if case(1.0).claims.log_ratio_only}
OF_MARGINS = {name: case for name, case in STATED.items() if isinstance(case(1.0), ea.QuasiconvexObjective)}


def in_torch(function: Any, at: np.ndarray) -> tuple[np.ndarray, ...]:
    """Values, first and second derivatives by autograd."""
    x = torch.tensor(at, requires_grad=True)
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    return tuple(array.detach().numpy() for array in (value, slope, bend))


def test_which_losses_state_theirs() -> None:
    stated = {case.name for case in STATED.values()}
    assert {"dpo", "fdpo", "expo", "explicit_po", "regression_expo"} <= stated
    assert not {"ipo", "qpo"} & stated


@pytest.mark.parametrize("case", OF_LOG_RATIOS.values(), ids=OF_LOG_RATIOS)
@pytest.mark.parametrize("lam", [0.01, 0.7, 1.0, 50.0])
@pytest.mark.parametrize("h_ref", [-30.0, -0.4, 0.0, 20.0])
def test_derivatives_against_torch(case: Case, lam: float, h_ref: float) -> None:
    """Of the pair loss itself, in the log-ratio: the margin is the log-ratio, or the one relative to the reference."""
    objective = case(lam)
    winner = torch.full((len(MARGINS),), h_ref, dtype=torch.float64)
    loser = torch.zeros_like(winner)
    value, slope, bend = in_torch(lambda x: objective.loss(x, loser, winner, loser), MARGINS)
    terms = objective.stated(winner.numpy())
    margin = MARGINS - h_ref if terms.relative else MARGINS
    found_slope, found_bend = terms.derivatives(margin)
    size = terms.scale * (np.abs(terms.kept) + np.abs(terms.flipped))
    rounding = 8 * EPS * (1 + terms.scale * (np.abs(MARGINS) + abs(h_ref)) * np.exp(-terms.scale * np.abs(margin)))
    np.testing.assert_allclose(terms(margin), value, rtol=8 * EPS, atol=8 * EPS * (1 + abs(lam * h_ref)))
    assert (np.abs(found_slope - slope) <= rounding * size).all()
    assert (np.abs(found_bend - bend) <= rounding * size * terms.scale).all()


@pytest.mark.parametrize("case", OF_MARGINS.values(), ids=OF_MARGINS)
def test_derivatives_against_torch_in_the_margin(case: Case) -> None:
    """The same where the margin is one of other functions than the logarithm."""
    objective = case(0.7)
    value, slope, bend = in_torch(objective.psi, MARGINS)
    terms = objective.stated()
    assert isinstance(terms, Logistic)
    size = terms.scale * (abs(terms.kept) + abs(terms.flipped))
    found_slope, found_bend = terms.derivatives(MARGINS)
    np.testing.assert_allclose(terms(MARGINS), value, rtol=8 * EPS)
    np.testing.assert_allclose(found_slope, slope, atol=8 * EPS * size, rtol=0)
    np.testing.assert_allclose(found_bend, bend, atol=8 * EPS * size * terms.scale, rtol=0)


@given(
    margin=st.floats(-600.0, 600.0),
    scale=st.sampled_from([1.0, 0.3, 7.0]),
    kept=st.floats(0.0, 2.0),
    flipped=st.floats(-1.0, 2.0),
)
def test_derivatives_to_full_relative_accuracy(margin: float, scale: float, kept: float, flipped: float) -> None:
    """Each sigma keeps all its digits in its tail, so that derivatives are off by roundings of their own parts."""
    slope, bend = Logistic(scale, kept, flipped).derivatives(np.array([margin]))
    with digits:
        x = mp.mpf(scale) * mp.mpf(margin)
        towards, against = mp.mpf(flipped) * sigma(x), mp.mpf(kept) * sigma(-x)
        # an argument known to EPS |x| moves a tail by as much of itself
        blur = EPS * (8 + abs(x)) * scale
        floor = mp.mpf(10) ** -280
        assert abs(slope[0] - scale * (towards - against)) <= blur * (abs(towards) + against) + floor
        exact = mp.mpf(scale) ** 2 * (mp.mpf(kept) + mp.mpf(flipped)) * sigma(x) * sigma(-x)
        size = (kept + abs(flipped)) * sigma(x) * sigma(-x)
        assert abs(bend[0] - exact) <= blur * scale * size + floor


def plain(objective: ea.PairObjective) -> ea.PairObjective:
    """The same loss with its formula given once more, which leaves the derivatives to torch."""
    if isinstance(objective, ScoreObjective):
        return ScoreObjective(objective.lam, plain(objective.of))

    def pair_loss(self: ea.PairObjective, *args: Any) -> Any:
        return type(objective).pair_loss(self, *args)

    cls = type("Plain", (type(objective),), {"pair_loss": pair_loss})
    return cls(**vars(objective))


OBJECTIVES = [
    ea.DPO(0.7),
    ea.DPO(3.0, label_smoothing=0.1),
    ea.DPO(0.7, label_smoothing=0.3, robust=True),
    ea.FDPO(0.7, "reverse_kl"),
    ea.EXPO(0.05),
    ea.ExplicitPO(0.7, "jensen_shannon"),
    ea.RegressionEXPO(0.7, "cross_entropy"),
    ScoreObjective(0.7, ea.FDPO(0.7)),
]
NEWTON = ("dpo", "expo", "regression_expo")
each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)


def problem_of(objective: ea.PairObjective, bandit: ea.Bandit) -> Problem:
    count = bandit.prompts or 1
    lam = np.full(count, objective.lam)
    problem = Piece.cut(objective, bandit, range(bandit.n), np.arange(count), lam, np.ones(count)).problem
    assert problem is not None
    return problem


def bandits(count: int = 12, n: int = 4) -> ea.Bandit:
    rng = np.random.default_rng(0)
    return ea.Bandit(
        *(np.stack([problems.policy(rng, n, 1e-4) for _ in range(count)]) for _ in range(2)),
        pairs=np.stack([problems.pairs(rng, n, "uneven", decades=3.0) for _ in range(count)]),
    )


@each_objective
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1000.0])
def test_both_directions_at_once(objective: ea.PairObjective, spread: float) -> None:
    """A pair's two losses as one give the gradient and Hessian of torch's two, to a few roundings of their parts."""
    bandit = bandits()
    stated, torched = problem_of(objective, bandit), problem_of(plain(objective), bandit)
    assert stated.logistic is not None
    assert torched.logistic is None
    theta = spread * np.random.default_rng(1).standard_normal((4, 12))
    ours, other = expand(stated, theta), expand(torched, theta)
    scale = objective.lam if objective.claims.needs_reference or isinstance(objective, ScoreObjective) else 1.0
    size = 64 * EPS * (1 + scale) ** 2 * (1 + spread)
    np.testing.assert_allclose(ours.gradient, other.gradient, rtol=0, atol=size)
    np.testing.assert_allclose(ours.curvature, other.curvature, rtol=0, atol=size)


@each_objective
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1000.0])
def test_values_of_both_directions_at_once(objective: ea.PairObjective, spread: float) -> None:
    bandit = bandits()
    theta = spread * np.random.default_rng(1).standard_normal((4, 12))
    ours, other = (value(problem_of(o, bandit), theta) for o in (objective, plain(objective)))
    np.testing.assert_allclose(ours, other, rtol=16 * EPS, atol=64 * EPS)


@pytest.mark.parametrize("pairs", ["uniform", np.diag([1.0, 0, 1], 1) + np.diag([1.0, 0, 1], -1)], ids=["one", "split"])
@pytest.mark.parametrize("objective", [ea.EXPO(0.05), ea.RegressionEXPO(0.7, "cross_entropy")], ids=lambda o: o.name)
def test_the_solution_has_the_value_of_the_risk(objective: ea.PairObjective, pairs: Any) -> None:
    """The solver takes it from its own pairs where it has solved for all responses together."""
    whole = bandits(40)
    bandit = ea.Bandit(whole.reference, whole.optimal, pairs=pairs)
    path = ea.solve_path(objective, bandit, [0.01, 1.0, 30.0])
    for lam, log_policy, values in zip(path.lams, path.log_policies, path.value, strict=True):
        expected = ea.risk(objective.with_lam(float(lam)), bandit, log_policy)
        np.testing.assert_allclose(values, expected, rtol=64 * EPS)


@each_objective
def test_taking_columns(objective: ea.PairObjective) -> None:
    problem = problem_of(objective, bandits())
    whole, columns = problem.logistic, np.array([7, 2, 3])
    part = problem.take(columns)
    fresh = problem_of(objective, bandits()).take(columns)
    assert whole is not None
    assert part.logistic is not None
    assert fresh.logistic is not None
    for name in ("scale", "kept", "flipped"):
        one, other = getattr(part.logistic, name), getattr(fresh.logistic, name)
        assert np.array_equal(one, other)
        assert np.array_equal(one, getattr(whole, name)[..., columns] if np.ndim(one) else one)


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o.name in NEWTON], ids=lambda o: o.name)
def test_the_same_optima_as_by_torch(objective: ea.PairObjective) -> None:
    bandit = bandits(40)
    stated, torched = (ea.solve(o, bandit, "newton") for o in (objective, plain(objective)))
    apart = np.abs(stated.policy - torched.policy).sum(axis=1)
    proven = np.isfinite(stated.error_bound)
    assert proven.mean() >= np.isfinite(torched.error_bound).mean()
    assert (apart <= stated.error_bound + torched.error_bound)[proven & np.isfinite(torched.error_bound)].all()


def test_a_formula_written_anew_inherits_no_terms() -> None:
    """A subclass with another loss must not be solved as if it were its parent's."""

    class Doubled(ea.EXPO):
        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return -2 * torch.nn.functional.logsigmoid(logp_w - logp_l)

    class Milder(ea.DPO):
        def psi(self, margin: Any) -> Any:
            return (sigmoid(-self.lam * margin)) ** 2

    class Halved(ea.FDPO):
        def pair_loss(self, *args: Any) -> Any:
            return super().pair_loss(*args) / 2

    for objective in (Doubled(1.0), Milder(1.0), ScoreObjective(1.0, Milder(1.0)), Halved(1.0)):
        assert objective.stated() is None
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    apart = np.abs(ea.solve(Doubled(1.0), bandit).policy - ea.solve(ea.EXPO(0.5), bandit).policy).sum()
    assert apart < 1e-13
