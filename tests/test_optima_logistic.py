"""Losses that state their logistic terms: the derivatives that follow, against torch's and against 60 digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.losses.facts import of_link, of_log_ratio
from expo_analysis.losses.psi import Logistic, Stated
from expo_analysis.numerics import sigmoid
from expo_analysis.optima.derivatives import expand, value
from expo_analysis.optima.parts import Merged
from expo_analysis.optima.problem import Problem

from . import problems
from .definitions import PAIR_CASES, Case, digits, sigma

EPS = float(np.finfo(np.float64).eps)
MARGINS = np.array([0.0, 1e-9, 0.3, 1.0, 5.0, 30.0, 40.0, 300.0, 700.0, 800.0, 1e5])
MARGINS = np.concatenate([-MARGINS[:0:-1], MARGINS])


def is_logistic(case: Case) -> bool:
    objective = case(1.0)
    return objective.is_made_of_terms and all(type(term.psi) is Logistic for term in objective.terms)


STATED = {name: case for name, case in PAIR_CASES.items() if is_logistic(case)}
OF_LOG_RATIOS = {name: case for name, case in STATED.items() if case(1.0).facts.log_ratio_only}
OF_MARGINS = {name: case for name, case in STATED.items() if case(1.0).facts.link is not None}


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
    datum = {"logp_w": MARGINS, "logp_l": np.zeros_like(MARGINS), "ref_logp_w": winner.numpy()}
    facts = objective.facts_at({**datum, "ref_logp_l": np.zeros_like(MARGINS)})
    (term,) = facts.bound
    (found,) = facts.terms
    scale, psi = float(term.scale) * (of_log_ratio(term.statistic) or 0.0), term.psi
    assert isinstance(psi, Logistic)
    m = found.statistic.value(facts.datum)
    found_slope, found_bend = (scale**k * term.weight * d for k, d in enumerate(psi.derivatives(m), 1))
    size = scale * term.weight * (np.abs(psi.kept) + np.abs(psi.flipped))
    rounding = 8 * EPS * (1 + scale * (np.abs(MARGINS) + abs(h_ref)) * np.exp(-np.abs(m)))
    np.testing.assert_allclose(found.value(facts.datum), value, rtol=8 * EPS, atol=8 * EPS * (1 + abs(lam * h_ref)))
    assert (np.abs(found_slope - slope) <= rounding * size).all()
    assert (np.abs(found_bend - bend) <= rounding * size * scale).all()


@pytest.mark.parametrize("case", OF_MARGINS.values(), ids=OF_MARGINS)
def test_derivatives_against_torch_in_the_margin(case: Case) -> None:
    """The same where the margin is one of other functions than the logarithm."""
    objective = case(0.7)
    (term,) = objective.facts.bound
    assert isinstance(term.psi, Logistic) and of_link(term.statistic) == objective.facts.link
    value, slope, bend = in_torch(lambda m: term.psi.value(term.scale * m), MARGINS)
    size = term.scale * (abs(term.psi.kept) + abs(term.psi.flipped))
    found_slope, found_bend = (term.scale**k * d for k, d in enumerate(term.psi.derivatives(term.scale * MARGINS), 1))
    np.testing.assert_allclose(term.psi.value(term.scale * MARGINS), value, rtol=8 * EPS)
    np.testing.assert_allclose(found_slope, slope, atol=8 * EPS * size, rtol=0)
    np.testing.assert_allclose(found_bend, bend, atol=8 * EPS * size * term.scale, rtol=0)


@given(
    margin=st.floats(-600.0, 600.0),
    kept=st.floats(0.0, 2.0),
    flipped=st.floats(-1.0, 2.0),
)
def test_derivatives_to_full_relative_accuracy(margin: float, kept: float, flipped: float) -> None:
    """Each sigma keeps all its digits in its tail, so that derivatives are off by roundings of their own parts."""
    slope, bend = Logistic(kept, flipped).derivatives(np.array([margin]))
    with digits:
        x = mp.mpf(margin)
        towards, against = mp.mpf(flipped) * sigma(x), mp.mpf(kept) * sigma(-x)
        blur, floor = 8 * EPS, mp.mpf(10) ** -280
        assert abs(slope[0] - (towards - against)) <= blur * (abs(towards) + against) + floor
        exact = (mp.mpf(kept) + mp.mpf(flipped)) * sigma(x) * sigma(-x)
        size = (kept + abs(flipped)) * sigma(x) * sigma(-x)
        assert abs(bend[0] - exact) <= blur * size + floor


@dataclass(frozen=True)
class Plain(ea.PairObjective):
    """The formula of another loss with its true claims and nothing else, which leaves the derivatives to torch."""

    of: Any
    name: ClassVar[str] = "plain"

    def pair_loss(self, *logs: Any) -> Any:
        return self.of.with_lam(self.lam).pair_loss(*logs)

    @property
    def claims(self) -> Any:
        return self.of.with_lam(self.lam).claims

    @property
    def regulariser(self) -> Any:
        return self.of.regulariser


def plain(objective: Any) -> ea.PairObjective:
    return Plain(objective.lam, objective)


def both(objective: Any, bandit: ea.Bandit) -> tuple[Problem, Problem]:
    """The problem as it is stated, and by torch; in scores, where these are no logits, of the formula of these."""
    stated = problems.problem(objective, bandit)
    if isinstance(stated.link, ea.ReverseKL):
        stated = stated.in_logits()
    formula = ea.BradleyTerry(objective.lam) if stated.link is not None else objective
    return stated, problems.problem(plain(formula), bandit)


OBJECTIVES = [
    ea.DPO(0.7),
    ea.DPO(3.0, label_smoothing=0.1),
    ea.DPO(0.7, label_smoothing=0.3, robust=True),
    ea.FDPO(0.7, "reverse_kl"),
    ea.EXPO(0.05),
    ea.ExplicitPO(0.7, "jensen_shannon"),
    ea.RegressionEXPO(0.7, "cross_entropy"),
]
SCORES = [ea.FDPO(0.7), ea.ChiPO(0.3)]
NEWTON = ("dpo", "expo", "regression_expo")
each_objective = pytest.mark.parametrize("objective", OBJECTIVES + SCORES, ids=lambda o: o.name)


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
    stated, torched = both(objective, bandit)
    assert stated.merged and not stated.is_formula
    assert torched.is_formula and not torched.merged
    theta = spread * np.random.default_rng(1).standard_normal((4, 12))
    ours, other = expand(stated, theta), expand(torched, theta)
    scale = objective.lam if objective.facts.needs_reference else 1.0
    size = 64 * EPS * (1 + scale) ** 2 * (1 + spread)
    np.testing.assert_allclose(ours.gradient, other.gradient, rtol=0, atol=size)
    np.testing.assert_allclose(ours.curvature, other.curvature, rtol=0, atol=size)


@each_objective
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1000.0])
def test_values_of_both_directions_at_once(objective: ea.PairObjective, spread: float) -> None:
    bandit = bandits()
    theta = spread * np.random.default_rng(1).standard_normal((4, 12))
    ours, other = (value(problem, theta) for problem in both(objective, bandit))
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
    problem = problems.problem(objective, bandits())
    (whole,), columns = problem.merged, np.array([7, 2, 3])
    part = problem.take(columns)
    fresh = problems.problem(objective, bandits()).take(columns)
    for one, other, all_of_it in zip(*(parts_of(x) for x in (*part.merged, *fresh.merged, whole)), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, all_of_it[..., columns] if np.ndim(one) else one)


def parts_of(merged: Merged) -> tuple[Any, ...]:
    return merged.slope, merged.logistic.kept, merged.logistic.flipped, merged.size


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

    assert not (Doubled(1.0).is_made_of_terms or Halved(1.0).is_made_of_terms)
    assert [type(term.psi) for term in Milder(1.0).facts.terms] == [Stated]
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    apart = np.abs(ea.solve(Doubled(1.0), bandit).policy - ea.solve(ea.EXPO(0.5), bandit).policy).sum()
    assert apart < 1e-13
