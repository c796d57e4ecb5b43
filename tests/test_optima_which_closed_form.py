"""Closed forms over all policies: which losses each accepts, and the conditions and rounding of what they give."""

from __future__ import annotations

import dataclasses
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Exponential, Hinge, Linear, Logistic, Square, SquaredSigmoid
from expo_analysis.losses.statistics import h, hbar, linked, log_pi_l, log_pi_w, log_u_l
from expo_analysis.optima.certificate import UNIT
from expo_analysis.optima.edges import Edges
from expo_analysis.optima.methods import (
    boundary,
    cross_entropy,
    least_squares,
    smoothing,
    squared_error,
    two_responses,
)
from expo_analysis.optima.methods import log_odds as log_odds_method
from expo_analysis.optima.problem import Problem
from expo_analysis.optima.shortfall import KinkedProblem, _polish, kinked_optimum
from expo_analysis.optima.structure import data_of, structures

from . import problems
from .own_losses import own

CLOSED: dict[str, tuple[ea.Objective, set[str]]] = {
    "sft": (ea.SFT(1.0), {"cross_entropy"}),
    "both likelihoods": (own(lambda lam: Linear(-1.0)(log_pi_w + 0.3 * log_pi_l)), {"cross_entropy"}),
    "rising likelihood": (own(lambda lam: Linear(1.0)(log_pi_w)), set()),
    "cpo": (ea.CPO(1.0), set()),
    "expo": (ea.EXPO(1.0), set()),
    "bradley_terry": (ea.BradleyTerry(0.5), {"log_odds"}),
    "exponential": (own(lambda lam: Exponential()(0.5 * h)), {"log_odds"}),
    "dpo": (ea.DPO(0.5), {"log_odds"}),
    "f-dpo": (ea.FDPO(0.5), {"log_odds"}),
    "f-dpo, chi-square": (ea.FDPO(0.5, "chi_square"), {"log_odds", "boundary"}),
    "squares, chi-square": (own(lambda lam: Square()(linked(ea.ChiSquare()))), {"least_squares", "boundary"}),
    "hinge, chi-square": (own(lambda lam: Hinge()(linked(ea.ChiSquare()))), set()),
    "smoothed dpo": (ea.DPO(0.5, 0.1), set()),
    "moved": (own(lambda lam: Logistic()(h - 1.0)), set()),
    "held": (own(lambda lam: Logistic()(h), ea.ForwardKL()), set()),
    "ipo": (ea.IPO(0.5), {"least_squares"}),
    "two squares": (own(lambda lam: Square()(h - 0.3) + 2.0 * Square()(0.5 * hbar)), {"least_squares"}),
    "minus a square": (own(lambda lam: -1.0 * Square()(h)), set()),
    "square of one": (own(lambda lam: Square()(log_pi_w)), set()),
    "square, logistic": (own(lambda lam: Square()(h) + Logistic()(h)), set()),
    "square, likelihood": (own(lambda lam: Square()(h) + Linear(-1.0)(log_pi_w)), set()),
    "square, held": (own(lambda lam: Square()(h), ea.ForwardKL()), set()),
    "squared errors": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(h)), {"squared_error"}),
    "squared errors, halved": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(0.5 * h)), set()),
    "squared errors, moved": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(h - 0.5)), set()),
    "squared errors, relative": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(hbar)), set()),
    "squared errors, likelihood": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(h) + Linear(-1.0)(log_pi_w)), set()),
    "squared errors, logistic": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(h) + Logistic()(h)), set()),
    "two squared errors": (own(lambda lam: SquaredSigmoid(0.8, 0.2)(h) + SquaredSigmoid(0.1, 0.9)(h)), set()),
}


@pytest.mark.parametrize("name", CLOSED)
def test_which_closed_form_accepts(name: str) -> None:
    """Each what it solves, and nothing beside that; of what it accepts no other method finds a lower value."""
    objective, accepted = CLOSED[name]
    bandit = ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.3, 0.2])
    lam = np.array([objective.lam])
    likelihood = structures(objective, bandit, lam, data_of(objective, bandit)).likelihood
    problem = Problem.cut(objective, bandit, range(3), np.zeros(1, dtype=np.intp), lam, likelihood)
    rooms = (cross_entropy, log_odds_method, least_squares, squared_error, boundary)
    assert {m.__name__.split(".")[-1] for m in rooms if m.accepts(problem)} == accepted
    assert not two_responses.accepts(problem)
    if accepted:
        found = ea.solve(objective, bandit)
        searched = ea.solve(objective, bandit, "multistart")
        assert found.status == "optimal" and found.value <= searched.value + 1e-12
        np.testing.assert_allclose(found.policy, searched.policy, atol=1e-6)


def test_two_responses_of_one_log_ratio() -> None:
    """Logistic and squared errors of h itself, with a likelihood or a pull or not; by their stationary point."""
    bandit = ea.Bandit([0.3, 0.7], [0.6, 0.4])
    for made, accepted in (
        (ea.EXPO(0.4), True),
        (own(lambda lam: Logistic()(h)), True),
        (own(lambda lam: Logistic(0.8, 0.1)(h) + 0.5 * Linear(-1.0)(log_pi_w)), True),
        (own(lambda lam: SquaredSigmoid(0.8, 0.2)(h)), True),
        (ea.BradleyTerry(0.5), False),
        (ea.DPO(1.0), False),
        (own(lambda lam: Logistic()(h - 0.2)), False),
        (own(lambda lam: Square()(h)), False),
        (own(lambda lam: Logistic()(h), ea.ReverseKL()), False),
    ):
        lam = np.array([made.lam])
        likelihood = structures(made, bandit, lam, data_of(made, bandit)).likelihood
        problem = Problem.cut(made, bandit, range(2), np.zeros(1, dtype=np.intp), lam, likelihood)
        assert two_responses.accepts(problem) == accepted, made
        if accepted:
            found = ea.solve(made, bandit)
            assert found.status == "optimal" and found.error_bound < 1e-13 and found.iterations == 0
            at = found.log_policy[0] - found.log_policy[1]

            def risk(t: float, made: Any = made) -> float:
                return float(ea.risk(made, bandit, -np.logaddexp(0, [-t, t])))

            assert abs(risk(at + 1e-5) - risk(at - 1e-5)) / 2e-5 < 1e-9 and risk(at + 1e-2) > risk(at) < risk(at - 1e-2)


@mp.workdps(50)
def test_two_responses_whose_weights_cancel() -> None:
    """kept p + flipped (1 - p) of large parts of both signs: the bound grows as digits go; else it is 16 units."""
    for p in (0.50003, 0.49997):
        bandit = ea.Bandit([0.3, 0.7], [p, 1 - p])
        for kept, flipped in ((1.0, 0.0), (0.9, 0.3), (500.5, -499.5), (5000.25, -4999.25)):
            found = ea.solve(own(lambda lam, k=kept, f=flipped: Logistic(k, f)(h)), bandit)
            w = [mp.mpf(float(bandit.wins[i, 1 - i])) for i in (0, 1)]
            speak = [mp.mpf(kept) * w[i] + mp.mpf(flipped) * w[1 - i] for i in (0, 1)]
            assert min(speak) > 0 and found.status == "optimal"
            error = 2 * abs(mp.mpf(float(found.policy[0])) - speak[0] / sum(speak))
            assert error <= found.error_bound
            lost = (abs(kept) + abs(flipped)) / (kept + flipped)
            assert found.error_bound == pytest.approx((16 * lost + 4) * UNIT, rel=1e-6, abs=0.0)
            assert lost == 1.0 or error > 16 * UNIT or kept < 600


def test_sharpened_multipliers_make_the_policy() -> None:
    """On the kinks log-ratios are K exactly, and what multipliers push is what the policy has beyond its target."""
    rng = np.random.default_rng(12)
    met = 0
    for k in range(6):
        bandit = ea.Bandit(*rng.dirichlet(np.full(4, 2.0), 2))
        objective = own(lambda lam, k=k: Hinge(0.4 + 0.3 * k)(h) + 0.5 * Linear(-1.0)(log_pi_w))
        lam = np.array([objective.lam])
        likelihood = structures(objective, bandit, lam, data_of(objective, bandit)).likelihood
        problem = Problem.cut(objective, bandit, range(4), np.zeros(1, dtype=np.intp), lam, likelihood)
        assert smoothing.accepts(problem)
        (part,) = problem.parts
        fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)}
        kink = (part.psi.at + part.shift) / part.slope + 0.0 * part.weight
        hinges = smoothing.Hinges(**fields, kink=kink, height=part.weight * part.slope)
        x, bound, _ = smoothing.smoothed_optimum(hinges, problem.log_reference.copy())
        excess = (kink - hinges.log_ratios(x))[:, 0]
        on = np.abs(excess) < 1e-6
        start = hinges.height[:, 0] * np.where(on, 0.5, excess > 0)
        sharp = smoothing._sharpen(hinges, x[:, 0], start.copy())
        assert sharp is not None
        assert sharp.exact and sharp.tied[on].all()
        at, multipliers = sharp.x, sharp.multipliers
        policy = np.exp(at - np.logaddexp.reduce(at))
        np.testing.assert_allclose(hinges.log_ratios(at[:, None])[on, 0], kink[on, 0], atol=1e-12)
        pushed = (hinges.target + hinges.flow(multipliers[:, None]))[:, 0] / hinges.total[0]
        np.testing.assert_allclose(pushed, policy, atol=1e-9)
        assert ((multipliers >= 0) & (multipliers <= hinges.height[:, 0])).all()
        np.testing.assert_array_equal(multipliers[~on], np.where(excess > 0, hinges.height[:, 0], 0.0)[~on])
        met += int(on.sum())
        assert bound[0] < 1e-6
    assert met > 3


def test_conditions_with_a_penalty_hold_on_both_sides() -> None:
    """Held on a kink that it should have left, or off one, a point has -nu pi beyond one of the two derivatives."""
    rng = np.random.default_rng(14)
    refused = 0
    for k in range(16):
        winner, loser = np.nonzero(~np.eye(3, dtype=bool))
        edges = Edges(3, winner, loser)
        one = KinkedProblem(edges, 0.05 + rng.random(6), (0.5, 2.0)[k % 2], 1.5, rng.dirichlet(np.full(3, 3.0)))
        found = kinked_optimum(one)
        assert found.optimal
        on = np.abs(found.x) < 1e-9
        for i in range(3):
            other = _polish(one, found.x, on ^ (np.arange(3) == i))
            if other is None or np.abs(other.x - found.x).max() < 1e-9:
                continue
            assert not other.optimal and not other.unique
            left, right, _ = one.conditions(other.x, on ^ (np.arange(3) == i))
            pull = -other.nu * one.reference * np.exp(other.x)
            assert not ((left - 1e-9 <= pull) & (pull <= right + 1e-9)).all()
            refused += 1
    assert refused > 3


def test_rounding_of_a_gap_is_of_a_policy_and_not_of_its_responses() -> None:
    """SLiC on forty responses: what rounding adds to the gap are units of log-probabilities' mean, not their sum."""
    rng = np.random.default_rng(15)
    bandit = ea.Bandit(*rng.dirichlet(np.full(40, 2.0), 2))
    found = ea.solve(ea.SLiC(0.5, margin=4.0), bandit)
    x = found.log_policy
    problem = problems.problem(ea.SLiC(0.5, margin=4.0), bandit)
    hinges = smoothing.Hinges(
        **{f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)},
        kink=4.0 + 0.0 * problem.parts[0].weight,
        height=problem.parts[0].weight,
    )
    own = x[problem.responses[:, 0]][:, None]
    sharp = smoothing._sharpen(hinges, own[:, 0], 0.5 * hinges.height[:, 0])
    assert sharp is not None
    gap = float(smoothing._gap(hinges, sharp.x[:, None], sharp.multipliers[:, None])[0])
    pairs_of = float((bandit.wins * (4.0 + np.abs(x[:, None] - x))).sum())
    mean = 2 * (np.abs(np.log(bandit.reference)).max() + 2 * np.abs(x).max() + 40 + 4)
    assert found.status == "optimal" and 4 * UNIT * pairs_of <= gap <= 10 * UNIT * (pairs_of + 0.5 * mean)


def test_a_quadratic_takes_one_step_of_newtons_method_and_two_to_see_it() -> None:
    """From a reference of any spread: the step, one that finds nothing left, and the last, which has the bound."""
    squares = own(lambda lam: Square()(h - 0.3) + 2.0 * Square()(0.5 * hbar))
    for reference in ([0.2, 0.5, 0.3], [0.9, 0.09, 0.01], [1e-6, 0.5, 0.499999]):
        bandit = ea.Bandit(reference, [0.5, 0.3, 0.2])
        found = ea.solve(squares, bandit, "newton")
        assert found.status == "optimal" and found.iterations == 3 and found.error_bound < 1e-12
        np.testing.assert_allclose(found.policy, ea.solve(squares, bandit, "closed_form").policy, rtol=1e-10)


def test_a_pair_that_is_taken_for_one_on_its_kink_pushes_nothing_back() -> None:
    """max(0, 0.1 - h) of a winner whose target has h = log 9: held at the kink it would need a multiplier below 0."""
    bandit = ea.Bandit.from_counts([0.9, 0.1], [[0, 1], [0, 0]])
    problem = problems.problem(ea.SLiC(0.5, margin=0.1), bandit)
    (part,) = problem.parts
    fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)}
    hinges = smoothing.Hinges(**fields, kink=0.1 + 0.0 * part.weight, height=part.weight)
    x = np.where(problem.responses[:, 0] == 0, 0.1, 0.0)
    sharp = smoothing._sharpen(hinges, x, np.array([0.5]))
    assert sharp is not None
    np.testing.assert_array_equal(sharp.multipliers, [0.0])
    assert ea.solve(ea.SLiC(0.5, margin=0.1), bandit).policy[0] == pytest.approx(0.9, rel=1e-12)


def test_what_pieces_read_of_the_reference_is_of_all_responses() -> None:
    """(log pi_w - log u_l - 0.3)^2 on two pairs apart: h = p (0.3 - log r_l) - (1 - p) (0.3 - log r_w) on each."""
    reference, counts = np.array([0.1, 0.2, 0.3, 0.4]), np.zeros((4, 4))
    counts[0, 1], counts[1, 0], counts[2, 3], counts[3, 2] = 3, 1, 2, 3
    found = ea.solve(own(lambda lam: Square()(log_pi_w - log_u_l - 0.3)), ea.Bandit.from_counts(reference, counts))
    assert found.status == "not_unique"
    for i, j, p in ((0, 1, 3 / 4), (2, 3, 2 / 5)):
        exact = p * (0.3 - np.log(reference[j])) - (1 - p) * (0.3 - np.log(reference[i]))
        assert found.log_policy[i] - found.log_policy[j] == pytest.approx(exact, rel=1e-12)
        assert found.policy[[i, j]].sum() == pytest.approx(reference[[i, j]].sum(), rel=1e-12)
