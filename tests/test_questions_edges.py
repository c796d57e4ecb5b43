"""The judges on numbers that are given to them: both sides of each threshold, and parts against closed forms."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata import ordinary as ordinary_problems
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.falsify.cases import Case
from expo_analysis.desiderata.falsify.lowest import AXES, REACH, grid
from expo_analysis.desiderata.falsify.problems import pi_star
from expo_analysis.desiderata.falsify.search import Hunt
from expo_analysis.desiderata.falsify.shrink import _round_policy, _rounded_lambda, _rounder, _without
from expo_analysis.desiderata.ordinary import believable, measured, middle, tidy
from expo_analysis.desiderata.questions import (
    at_limit,
    conditioning,
    conservation,
    consistency,
    constraint_robustness,
    displacement,
    existence,
    first_step,
    flatness,
    gradient_weight,
    improvement,
    limits,
    local_minima,
    monotone_path,
    preservation,
    reference_limit,
    restricted_improvement,
    strong_interpolation,
    weak_interpolation,
)
from expo_analysis.desiderata.questions.conservation import masses
from expo_analysis.desiderata.questions.curvature import Local
from expo_analysis.desiderata.questions.first_look import hard, near_optimal
from expo_analysis.desiderata.questions.flow import Flow, _Quadratic
from expo_analysis.desiderata.questions.label_noise import nearer, noisy
from expo_analysis.desiderata.questions.outcome import case_numbers, from_hunt
from expo_analysis.desiderata.subject import Optima, Subject, facts_of
from expo_analysis.desiderata.verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN
from expo_analysis.losses import statistics

from .own_losses import own

H, HBAR = terms.h, terms.hbar
LOGISTIC, SQUARED = terms.Logistic(), terms.Square()


def subject(objective: Any, effort: float = 0.1) -> Subject:
    return Subject(objective, *written(objective), effort=effort)


EXPO, DPO = subject(ea.EXPO(1.0)), subject(ea.DPO(1.0))


def optima_at(policies: Any, lams: Any, bound: Any = 1e-14, status: Any = "optimal") -> Optima:
    """Policies (L, P, n) as they would come from the solver."""
    policies = np.asarray(policies, dtype=float)
    shape = policies.shape[:2]
    with np.errstate(divide="ignore"):
        logs = np.log(policies)
    return Optima(
        np.asarray(lams, dtype=float), policies, logs, np.broadcast_to(bound, shape), np.full(shape, status, object)
    )


# ------------------------------------------------------------------------------------------------------------- limits

TARGET = np.array([[0.7, 0.3]])
ONE = ea.Bandit([[0.5, 0.5]], TARGET)


def followed(distance: Any, sign: float = 1.0, bound: float = 1e-14, status: Any = "optimal") -> limits.Approach:
    """What is made of an optimum at such 1-norm distances from (.7, .3), one a decade."""
    first = 0.7 - sign * np.asarray(distance, dtype=float) / 2
    policies = np.stack([first, 1 - first], axis=-1)[:, None]
    found = optima_at(policies, limits.lambdas("zero", len(first) - 1), bound, status)
    return limits.judge(ONE, found, TARGET)


@pytest.mark.parametrize(
    ("factor", "start", "reached"), [(0.49, 0.2, True), (0.51, 0.2, False), (0.49, 0.4, True), (0.1, 1e-3, True)]
)
def test_it_reaches_what_it_comes_nearer_by_half_each_decade(factor: float, start: float, reached: bool) -> None:
    assert followed(start * factor ** np.arange(9.0)).reached[0] == reached


def test_it_must_end_within_a_hundredth() -> None:
    for last, reached in ((0.0099, True), (0.0101, False)):
        assert followed(np.minimum(last * 0.4 ** np.arange(-8.0, 1.0), 0.5)).reached[0] == reached


def test_four_decades_must_show_it() -> None:
    """Three falls and a rise before them, or four: the last four count, and neither fewer nor more."""
    for falls, reached in ((3, False), (4, True)):
        assert followed([*[0.3] * (9 - falls), *(0.1 * 0.1 ** np.arange(falls))]).reached[0] == reached
    flat = np.full(9, 1e-13)
    assert followed(flat).reached[0], "there is nothing left to fall"
    assert not followed(np.full(9, 1e-11)).reached[0] and followed(np.full(9, 1e-11), bound=1e-11).reached[0]
    assert followed(np.full(9, 3.9e-11), bound=1e-11).reached[0], "four error bounds are rounding"
    assert not followed(np.full(9, 4.1e-11), bound=1e-11).reached[0]
    assert (
        followed(np.full(9, 0.9e-9), bound=np.nan).reached[0]
        and not followed(np.full(9, 2e-9), bound=np.nan).reached[0]
    )


def test_elsewhere_is_where_all_steps_to_come_cannot_bring_it_back() -> None:
    """Steps that shrink by half each decade still add up to the last one: it takes twice that to be sure."""
    steps = 0.04 * 0.45 ** np.arange(9)
    last = steps[-1]
    for left, elsewhere in ((2.1 * last + 1e-6, True), (1.9 * last, False)):
        away = left + np.concatenate([np.cumsum(steps[::-1])[::-1][1:], [0.0]])
        assert followed(away).elsewhere[0] == elsewhere
    for factor, elsewhere in ((0.49, True), (0.51, False)):
        assert followed(0.2 + 0.1 * factor ** np.arange(9)).elsewhere[0] == elsewhere
    assert not followed(0.9e-6 + 0.0 * np.arange(9), bound=1e-15).elsewhere[0], "within a millionth"
    assert followed(1.1e-6 + 0.0 * np.arange(9), bound=1e-15).elsewhere[0]


def test_minimisers_that_are_gone() -> None:
    """At the last four lambdas; were there one among them, nothing would be said."""
    falls = 0.2 * 0.1 ** np.arange(9)
    for gone in range(3, 6):
        status = np.array(["optimal"] * (9 - gone) + ["no_minimiser"] * gone, object)[:, None]
        found = followed(falls, status="optimal")
        judged = limits.judge(ONE, replace(found.optima, status=status), TARGET)
        assert judged.elsewhere[0] == (gone >= 4) and not judged.reached[0]
    bound = np.full((9, 1), 1e-14)
    for k, proven in ((8, False), (5, False), (4, True), (0, True)):
        changed = np.where(np.arange(9)[:, None] == k, np.nan, bound)
        assert limits.judge(ONE, replace(followed(falls).optima, bound=changed), TARGET).proven[0] == proven


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_rate_of_the_last_decades_that_can_be_seen(power: float) -> None:
    """It is that of what is neither far away nor rounding; two points are too few."""
    falls = np.concatenate([[0.5, 0.4, 0.1], 5e-3 * 10.0 ** (-power * np.arange(8))])
    assert followed(falls).rate[0] == pytest.approx(power, abs=1e-6)
    assert math.isnan(followed([0.5, 0.4, 0.3, 0.2, 0.1, 5e-3, 5e-4]).rate[0])
    assert followed([0.5, 0.4, 0.3, 0.2, 0.1, 5e-3, 5e-4, 5e-5]).rate[0] == pytest.approx(1.0)
    assert limits.lambdas("zero", 3).tolist() == pytest.approx([1, 0.1, 0.01, 0.001])
    assert limits.lambdas("infinity", 2).tolist() == [1, 10, 100]


def test_where_it_leads_in_words() -> None:
    """Every place that has a name, from one of two problems; what has none is a policy of its own."""
    optimal, reference = np.array([[0.4, 0.35, 0.25], [0.2, 0.38, 0.42]]), np.array([[0.2, 0.2, 0.6], [0.4, 0.4, 0.2]])
    bandit = ea.Bandit(reference, optimal)
    wins, losses = bandit.wins.sum(axis=2), bandit.wins.sum(axis=1)
    net = np.maximum(wins - losses, 0.0)
    named = {
        "π*": optimal,
        "π_ref": reference,
        "the point mass on π*'s mode": np.eye(3)[[0, 2]],
        "the uniform policy": np.full((2, 3), 1 / 3),
        "the shares of wins": wins / wins.sum(axis=1, keepdims=True),
        "the shares of surplus wins (wins less losses, where positive)": net / net.sum(axis=1, keepdims=True),
        "a point mass that is not always on π*'s mode": np.eye(3)[[1, 2]],
        "a policy of its own": np.array([[0.25, 0.25, 0.5], [0.3, 0.4, 0.3]]),
    }

    def told(last: Any, status: Any = "optimal", away: Any = (True, True)) -> str:
        found = optima_at(
            np.stack([np.full((2, 3), 1 / 3), optimal, reference, reference, last]), np.ones(5), status=status
        )
        if status != "optimal":  # in the end, and nowhere before
            found = replace(found, status=np.array([["optimal"] * 2] * 4 + [[status] * 2], object))
        true, none = np.asarray(away), np.zeros(2, bool)
        return limits.describe_limit(limits.Approach(bandit, found, none, true, np.ones((5, 2)), np.ones(2), true))

    for name, policy in named.items():
        assert told(policy) == name
        assert told((policy + 1e-4) / (1 + 3e-4)) == name
    assert told(optimal + [[2e-3, -2e-3, 0]] * 2) == "a policy of its own"
    assert told(named["π_ref"], status="no_minimiser") == "no minimiser"
    half = np.stack([optimal[0], [0.3, 0.4, 0.3]])
    assert told(half) == "a policy of its own" and told(half, away=(True, False)) == "π*", "of those that go elsewhere"


LIMIT = strong_interpolation.LIMIT


@pytest.mark.parametrize(
    ("reached", "elsewhere", "proven", "decision", "told"),
    [
        ([1, 1], [0, 0], [1, 1], HOLDS, "as λ → 0 the optimum tends to π*"),
        ([1, 0], [0, 0], [1, 1], CANNOT_TELL, "on {reached} of {count} problems; the others are undecided"),
        ([1, 1], [0, 0], [1, 0], CANNOT_TELL, "on {count} of {count} problems; but the optima are not proven"),
        ([1, 0], [0, 1], [1, 1], CANNOT_TELL, "of {count} optima seem not to tend to π*, but are not proven"),
    ],
)
def test_verdicts_on_limits_count(reached: Any, elsewhere: Any, proven: Any, decision: str, told: str) -> None:
    """On pairs of problems whose optima do as they are told; no counterexample is to be had."""
    flags = [np.asarray(x, dtype=bool) for x in (reached, elsewhere, proven)]

    def follow(one: Subject, bandit: ea.Bandit, end: str, target: Any, far: bool = False) -> limits.Approach:
        two = ea.Bandit(bandit.reference[:2], pi_star(bandit)[:2], bandit.pairs[:2])
        away = np.full((9, 2), 0.25)
        found = optima_at(np.stack([two.reference] * 9), limits.lambdas("zero", 8))
        return limits.Approach(two, found, flags[0], flags[1], away, np.array([0.5, 2.5]), flags[2])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_limit, "follow", follow)
        patch.setattr(at_limit, "_counterexample", lambda *given: None)
        found = strong_interpolation.judge(EXPO)
    count = 2 * len(limits.KINDS)
    assert found.decision == decision
    numbers = {"count": count, "reached": count // 2 * sum(reached)}
    assert found.summary.endswith(told.format(**numbers)), found.summary
    evidence = found.evidence
    assert (evidence["problems"], evidence["tend to it"]) == (count, numbers["reached"])
    assert evidence["tend elsewhere"] == count // 2 * sum(elsewhere)
    assert evidence["undecided"] == count - numbers["reached"] - evidence["tend elsewhere"]
    assert evidence["largest distance from it at λ = 1e-08"] == 0.25
    assert evidence["rate (power of λ, median)"] == (1.5 if sum(reached) == 2 else 0.5)
    assert "2 to 5 responses" in found.conditions and found.conditions.endswith("1e-8")


def test_what_is_said_of_lambda_0_itself() -> None:
    """Of explicit losses, and of the end at 0 only."""
    of_zero = [name for name in strong_interpolation.judge(EXPO).evidence if name.startswith("λ = 0 itself")]
    assert len(of_zero) == 1 and strong_interpolation.judge(EXPO).evidence[of_zero[0]] < 1e-6
    for found in (reference_limit.judge(EXPO), strong_interpolation.judge(DPO)):
        assert not [name for name in found.evidence if name.startswith("λ = 0 itself")]


def test_a_limit_elsewhere_is_told_with_its_distance() -> None:
    found = weak_interpolation.judge(subject(ea.IPO(1.0))).counterexample
    assert found is not None
    optimal, policy = np.array(found.numbers["optimal"]), np.array(found.numbers["policy"])
    away = np.abs(policy - np.eye(len(optimal))[optimal.argmax()]).sum()
    assert found.numbers["distance"] == pytest.approx(away, abs=1e-6) and f"{away:.3g} away" in found.statement


def test_pairs_that_sit_at_their_minima_are_known_to_be_optima() -> None:
    path = np.zeros((3, 3))
    path[0, 1] = path[1, 0] = path[1, 2] = path[2, 1] = 1.0
    bandit = ea.Bandit([[0.2, 0.3, 0.5]], [[0.5, 0.3, 0.2]], path[None])
    one = subject(ea.IPO(1.0))
    best = one.optima(bandit, [1.0, 0.3])
    case = Case.of(bandit, 0, (1.0, 0.3))
    assert weak_interpolation._known(one, case, best).startswith("on a path each pair sits")
    moved = replace(best, log_policies=best.log_policies + np.array([0.0, 0.1, 0.0]))
    assert weak_interpolation._known(one, case, moved) == ""


@pytest.mark.parametrize("module", [preservation, improvement, monotone_path])
def test_searches_are_where_their_conditions_say(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least and the largest lambda and number of responses, as the verdict has them in words."""
    seen: dict[str, Any] = {}

    def hunt(one: Subject, purpose: str, measure: Any, lams: Any, counts: Any) -> Hunt:
        seen.update(lams=lams, counts=counts)
        return hunted(problems=10**6)

    monkeypatch.setattr(module, "hunt", hunt)
    if hasattr(module, "look"):
        monkeypatch.setattr(module, "look", lambda *given: hunted())
    monkeypatch.setattr(module, "_stays", lambda one: False, raising=False)
    found = module.judge(subject(ea.EXPO(1.0)))
    low, high = min(seen["lams"]), max(seen["lams"])
    assert f"λ from {low:.0e} to {high:.0e}".replace("e-0", "e-").replace("e+0", "e") in found.conditions
    assert f"{min(seen['counts'])} to {max(seen['counts'])} responses" in found.conditions
    assert list(seen["counts"])[:3] == [2, 3, 4] and list(seen["counts"]) == sorted(seen["counts"])
    assert (np.diff(np.log(seen["lams"])) > 0).all() and found.decision == HOLDS


def test_problems_of_limits_have_a_clear_mode() -> None:
    drawn = limits.limit_problems(subject(ea.EXPO(1.0)), 30)
    assert [b.n for b in drawn] == [2, 3, 3, 4, 4, 5] and all(len(b.reference) == 30 for b in drawn)
    for bandit in drawn:
        top = np.sort(pi_star(bandit), axis=1)
        assert (top[:, -1] / top[:, -2] > 1.1).all() and np.allclose(
            limits.lead_of_mode(bandit), top[:, -1] / top[:, -2]
        )
        assert min(pi_star(bandit).min(), bandit.reference.min()) > 0.01
        assert np.array_equal(limits.point_mass(bandit).argmax(axis=1), pi_star(bandit).argmax(axis=1))


# ---------------------------------------------------------------------------------------------------- hunts to verdicts


def hunted(**given: Any) -> Hunt:
    case = Case(np.array([0.4, 0.6]), np.array([0.5, 0.5]), None, (1.0,))
    said: dict[str, Any] = dict(problems=100, optima=1000, proven=1000, worst=-0.5, case=None, excess=0.0, confirmed="")
    return Hunt(**{**said, **({"case": case} if given.pop("found", False) else {}), **given})


@pytest.mark.parametrize(
    ("given", "decision", "basis"),
    [
        ({}, HOLDS, ""),
        ({"proven": 900}, HOLDS, ""),
        ({"proven": 899}, CANNOT_TELL, ""),
        ({"problems": 99}, CANNOT_TELL, ""),
        ({"found": True}, CANNOT_TELL, ""),
        ({"found": True, "confirmed": "proven to be within 1e-9"}, FAILS, PROVEN),
        ({"found": True, "confirmed": "certified by branch and bound"}, FAILS, PROVEN),
        ({"found": True, "confirmed": "the lowest of many"}, FAILS, EVIDENCE),
    ],
)
def test_what_a_hunt_says(given: dict[str, Any], decision: str, basis: str) -> None:
    looked = hunted(**given, **({"excess": 0.25} if "confirmed" in given or "found" in given else {}))
    said: dict[str, Any] = dict(holds="it holds", fails="it fails", conditions="c", statement="s", lines=["print(1)"])
    found = from_hunt(EXPO, "preservation", looked, **said, evidence={"more": 7}, enough=100)
    assert (found.decision, found.basis) == (decision, basis)
    assert found.evidence["largest excess found"] == -0.5 and found.evidence["more"] == 7
    assert found.conditions.startswith("c; ") and f"{looked.problems:,} problems, 1,000 optima" in found.conditions
    if decision == FAILS:
        assert found.summary == "it fails" and found.counterexample is not None
        assert found.counterexample.numbers["excess"] == 0.25 and found.counterexample.numbers["pairs"] == "uniform"
        assert found.evidence["the counterexample's optimum"] == looked.confirmed
    if "found" in given and decision == CANNOT_TELL:
        assert found.evidence["unconfirmed excess"] == 0.25


def test_what_was_looked_at_in_words() -> None:
    assert hunted().describe() == "100 problems, 1,000 optima, all of them proven to 1e-06"
    assert hunted(proven=12, problems=2345).describe() == "2,345 problems, 1,000 optima, 12 of them proven to 1e-06"
    uneven = Case(np.array([0.5, 0.5]), np.array([0.5, 0.5]), np.array([[0.0, 2.0], [2.0, 0.0]]), (1.0, 2.0))
    assert case_numbers(uneven)["pairs"] == [[0.0, 2.0], [2.0, 0.0]] and case_numbers(uneven)["lam"] == [1.0, 2.0]


# ------------------------------------------------------------------------------------------------------- simpler cases


def test_a_case_without_one_response() -> None:
    """The rest in proportion; nothing where it falls apart, or where nothing is compared any more."""
    case = Case(np.array([0.1, 0.4, 0.5]), np.array([0.2, 0.2, 0.6]), None, (1.0,))
    left = _without(case, 0, False)
    assert left is not None and np.allclose(left.reference, [4 / 9, 5 / 9]) and np.allclose(left.optimal, [0.25, 0.75])
    kept = _without(replace(case, reference=case.optimal), 2, True)
    assert kept is not None and np.allclose(kept.reference, [0.5, 0.5]) and np.array_equal(kept.reference, kept.optimal)
    path = np.zeros((3, 3))
    path[0, 1] = path[1, 0] = 4.0
    path[1, 2] = path[2, 1] = 0.5
    on_path = replace(case, pairs=path)
    assert _without(on_path, 1, False) is None, "its ends are not compared"
    end = _without(on_path, 0, False)
    assert end is not None and end.pairs is not None and end.pairs.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_rounder_numbers_come_first_and_are_policies() -> None:
    pairs = np.array([[0.0, 0.031, 0.2], [0.031, 0.0, 0.87], [0.2, 0.87, 0.0]])
    case = Case(np.array([0.123456, 0.4, 0.476544]), np.array([0.2, 0.214, 0.586]), pairs, (1.0,))
    cases = list(_rounder(case, False))
    assert all(abs(c.reference.sum() - 1) < 1e-12 and abs(c.optimal.sum() - 1) < 1e-12 for c in cases)
    assert [c.pairs is None for c in cases[:5]] == [True, False, False, False, False]
    assert cases[0].reference.tolist() == [0.1, 0.4, 0.5] and cases[1].pairs is not None
    assert np.allclose(cases[1].pairs, [[0, 0.1, 0.1], [0.1, 0, 1], [0.1, 1, 0]]), "powers of ten"
    assert all(c.pairs is None or (np.diag(c.pairs) == 0).all() for c in cases) and len(cases) == 25
    assert len(list(_rounder(replace(case, reference=np.array([0.004, 0.5, 0.496])), False))) == 15
    assert all(np.array_equal(c.reference, c.optimal) for c in _rounder(case, True))
    assert _round_policy(np.array([0.26, 0.35, 0.39]), 1).tolist() == [0.3, 0.3, 0.4]
    assert sum(_round_policy(np.array([0.26, 0.35, 0.39]), 1)) == pytest.approx(1.0)
    assert [_rounded_lambda(0.0314159, digits) for digits in (0, 1, 2)] == [0.01, 0.03, 0.031]
    assert _rounded_lambda(0.04, 0) == pytest.approx(0.1, rel=1e-15)


def test_grids_reach_as_far_as_they_say() -> None:
    for n, count in ((2, AXES[1]), (3, AXES[2] ** 2)):
        centre = np.log(np.arange(1.0, n + 1) / np.arange(1.0, n + 1).sum())
        points = grid(centre)
        assert points.shape == (count, n) and np.allclose(np.exp(points).sum(axis=1), 1.0)
        apart = points[:, 0] - points[:, -1] - (centre[0] - centre[-1])
        assert apart.min() == pytest.approx(-REACH) and apart.max() == pytest.approx(REACH)
        assert np.abs(points - centre).sum(axis=1).min() < 1e-12, "its centre is on it"
        near = grid(centre, reach=3.0)
        assert (near[:, 0] - near[:, -1] - centre[0] + centre[-1]).max() == pytest.approx(3.0)
    assert grid(np.log(np.full(5, 0.2))).shape == (0, 5)
    two = grid(np.log(np.array([0.1, 0.2, 0.3, 0.4])), np.array([0, 0, 1, 1]))
    assert np.allclose(np.exp(two[:, :2]).sum(axis=1), 0.3) and len(two) == AXES[2] ** 2


# ----------------------------------------------------------------------------------------- measures of the first twelve


def test_policies_that_stay_for_every_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours that are no farther apart than both bounds together say nothing of a path."""
    for move, stays in ((1.9e-3, True), (2.1e-3, False)):

        def optima(self: Subject, bandit: ea.Bandit, lams: Any, step: float = move) -> Optima:
            away = step / 2 * (np.arange(len(lams)) % 2)[:, None, None] * np.array([1.0, -1.0, 0.0])
            return optima_at(np.full((len(lams), len(bandit.reference), 3), 1 / 3) + away, lams, 1e-3)

        monkeypatch.setattr(Subject, "optima", optima)
        assert monotone_path._stays(EXPO) == stays
    monkeypatch.setattr(
        Subject, "optima", lambda self, b, lams: optima_at(np.full((4, 4, 3), 1 / 3), lams, status="failed")
    )
    assert not monotone_path._stays(EXPO), "there is nothing to compare"


def test_a_value_below_that_of_pi_star_refutes() -> None:
    """By a part in a trillion and more, whether or not the policy is an optimum."""
    case = Case(np.array([0.6, 0.4]), np.array([0.6, 0.4]), None, (1.0,))
    for policy, told in (([0.75, 0.25], True), ([0.6, 0.4], False), ([0.1, 0.9], False)):
        found = preservation._refuted(DPO, case, optima_at([[policy]], [1.0]))
        assert found.startswith("its value is ") == told and (not told or 0 < float(found.split()[3]) < 1)


def test_limits_are_followed_farther_where_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-8, and to 1e-12 where that tells more; not for a loss whose optima are not proven."""
    seen: list[int] = []

    def optima(self: Subject, bandit: ea.Bandit, lams: Any) -> Optima:
        seen.append(len(lams))
        k = np.arange(len(lams))
        away = np.where(k < 8, 0.1 + 0.05 * (-1.0) ** k, 0.1 * 0.1 ** (k - 8.0))  # to and fro, and then it falls
        first = 0.7 - away[:, None] / 2
        return optima_at(np.stack([first, 1 - first], axis=-1), lams)

    one = subject(ea.EXPO(1.0))
    assert one.certified
    monkeypatch.setattr(Subject, "optima", optima)
    found = limits.follow(one, ONE, "zero", TARGET)
    assert seen == [9, 13] and found.reached[0] and len(found.distance) == 13
    assert limits.follow(one, ONE, "zero", TARGET).reached[0] and seen == [9, 13], "what was solved is remembered"
    slow = subject(ea.SPPO(1.0))
    slow.__dict__["certified"] = False
    seen.clear()
    assert not limits.follow(slow, ONE, "zero", TARGET).reached[0] and seen == [6]
    assert not limits.follow(slow, ONE, "zero", TARGET, far=True).reached[0] and seen == [6, 9]


def test_elsewhere_takes_four_decades_too() -> None:
    for late, elsewhere in ((3, False), (2, True)):
        steps = 0.02 * 0.3 ** np.arange(8.0)
        steps[late + 1] = steps[late]
        away = 0.3 + np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
        assert followed(away).elsewhere[0] == elsewhere


def test_excess_of_preservation_and_path() -> None:
    """1-norm from pi* and falls of TV, less the bounds: by hand, and nan where there is no optimum."""
    bandit = ea.Bandit([[0.5, 0.5]], [[0.5, 0.5]])
    found = optima_at([[[0.6, 0.4]], [[0.5, 0.5]]], [1.0, 10.0], bound=[[0.01], [np.nan]])
    assert preservation._excess(found, bandit)[:, 0] == pytest.approx([0.2 - 0.01 - 1e-10, -1e-6 - 1e-10], rel=1e-9)
    assert np.isnan(preservation._excess(replace(found, status=np.full((2, 1), "no_minimiser", object)), bandit)).all()
    fall = monotone_path._excess(found, bandit)
    assert fall[0, 0] == pytest.approx(0.1 - 1e-9 - 0.01 - 1e-7, rel=1e-9)
    assert np.isnan(monotone_path._excess(replace(found, status=np.full((2, 1), "not_unique", object)), bandit)).all()


@pytest.mark.parametrize("distance", improvement.DISTANCES)
def test_errors_of_optima_are_within_the_slack(distance: str) -> None:
    """Policies that are off by a 1-norm bound have distances from pi* that are off by no more than is allowed, and
    the allowance is not a thousand times too large."""
    rng = np.random.default_rng(0)
    d = improvement.DISTANCES[distance][0]
    sharp = 0.0
    for bound in (1e-2, 1e-4, 1e-7):
        policies, optimal = (
            rng.dirichlet(np.ones(3), (1, 400)) * 0.97 + 0.01,
            rng.dirichlet(np.ones(3), 400) * 0.97 + 0.01,
        )
        bandit = ea.Bandit(optimal, optimal)
        noise = rng.normal(size=(1, 400, 3))
        noise -= noise.mean(axis=2, keepdims=True)
        noise *= bound / np.abs(noise).sum(axis=2, keepdims=True)
        off = optima_at(np.maximum(policies + noise, 1e-12), [1.0], bound)
        change = np.abs(d(off.log_policies, np.log(optimal)) - d(np.log(policies), np.log(optimal)))
        allowed = improvement.slack(off, bandit)
        assert (change <= allowed).all()
        sharp = max(sharp, (change / allowed).max())
    assert sharp > 1e-2
    unknown = improvement.slack(optima_at(policies, [1.0], np.nan), bandit)
    assert np.allclose(unknown, improvement.slack(optima_at(policies, [1.0], 1e-7), bandit)) and (unknown > 1e-9).all()


def test_improvement_is_measured_against_the_reference() -> None:
    bandit = ea.Bandit([[0.5, 0.5], [0.6, 0.4], [0.6003, 0.3997]], [[0.6, 0.4]] * 3)
    found = optima_at([[[0.8, 0.2]] * 3], [1.0])
    excess = improvement.measure(improvement.tv).excess(found, bandit)[0]
    assert excess[0] == pytest.approx(0.1, abs=1e-8) and np.isnan(excess[1:]).all()
    closer = improvement.measure(improvement.tv).excess(optima_at([[[0.59, 0.41]] * 3], [1.0]), bandit)[0, 0]
    assert closer == pytest.approx(-0.09, abs=1e-8)
    assert improvement.measure(improvement.tv).admits(bandit).tolist() == [True, False, False]


def test_references_near_the_optimum_are_near_it() -> None:
    drawn = near_optimal(subject(ea.EXPO(1.0)), 200)
    assert [(b.n, len(b.reference)) for b in drawn] == [(2, 200), (3, 200)]
    for bandit in drawn:
        apart = np.log(bandit.reference / pi_star(bandit))
        reach = np.ptp(apart, axis=1)
        assert reach.max() <= 0.6 and reach.min() < 0.006
        assert (reach > 0.06).mean() == pytest.approx(1 / 3, abs=0.15)
    kinds = hard(subject(ea.EXPO(1.0)), 5)
    assert [b.n for b in kinds] == [4, 4] and all(len(b.reference) == 5 for b in kinds)


def test_gradients_at_the_reference_by_hand() -> None:
    """Of DPO at pi_ref = pi* = (p, 1 - p): lam (1 - 2p)/2 each way, by parts that add up to lam/2 both ways and a bit;
    none of EXPO's, wherever the reference is and whatever lambda."""
    p = np.array([0.6, 0.9, 0.5])
    bandit = ea.Bandit(np.stack([p, 1 - p], axis=1), np.stack([p, 1 - p], axis=1))
    for lam in (1e-4, 1.0, 1e3):
        gradient, size = first_step._slopes(DPO, bandit, lam, np.log(bandit.reference))
        assert gradient == pytest.approx(
            np.stack([-(2 * p - 1), 2 * p - 1], axis=1) * lam / 2, rel=1e-9, abs=1e-12 * lam
        )
        assert (size >= lam * (1 - 1e-9)).all() and (lam == 1e3 or (size <= lam * (1.0 + lam * 0.05)).all())
        found = first_step.relative_gradient(DPO, bandit, lam)
        if lam == 1.0:
            example = first_step.judge(DPO).counterexample
            assert example is not None
            (best, _), (told, _) = example.numbers["optimal"][:2], example.numbers["gradient"][:2]
            n = len(example.numbers["optimal"])
            assert n > 2 or told == pytest.approx(-example.numbers["lam"][0] * (2 * best - 1) / 2, rel=1e-6)
        if lam == 1e-4:
            assert found == pytest.approx(np.abs(2 * p - 1) / 2, rel=2e-3)
        assert (found <= 0.5).all() and found[2] < 1e-11
        assert (first_step.relative_gradient(EXPO, bandit, lam) < 1e-11).all()


@pytest.mark.parametrize(("size", "decision"), [(0.0, HOLDS), (3e-14, CANNOT_TELL), (1e-6, FAILS)])
def test_a_first_step_that_is_neither_zero_nor_not_zero(size: float, decision: str) -> None:
    """EXPO plus a small pull, which is large beside parts that nearly vanish, as of pairs that one side always wins."""
    loss = own(lambda lam: LOGISTIC(H) + size * terms.Linear(-1.0)(H), ea.divergences.ForwardKL())
    found = first_step.judge(subject(loss))
    assert found.decision == decision
    seen = found.evidence["largest gradient, relative to its parts"]
    assert {HOLDS: seen <= 1e-11, CANNOT_TELL: 1e-11 < seen <= 1e-9, FAILS: seen > 1e-9}[decision]


def test_data_sets_are_all_of_them() -> None:
    """Multisets of ordered pairs: C(k + m - 1, m) of m comparisons over k pairs, few first."""
    for n, most in ((2, 4), (3, 3)):
        found = list(existence.data_sets(n, most))
        k = n * (n - 1)
        assert len(found) == sum(math.comb(k + m - 1, m) for m in range(1, most + 1))
        totals = [x.sum() for x in found]
        assert totals == sorted(totals) and totals[0] == 1 and totals[-1] == most
        assert len({x.tobytes() for x in found}) == len(found) and all((np.diag(x) == 0).all() for x in found)


def test_masses_of_components() -> None:
    q = np.zeros((5, 5))
    for i, j in ((0, 3), (1, 4)):
        q[i, j] = q[j, i] = 1.0
    policies = np.array([[0.1, 0.2, 0.3, 0.15, 0.25], [0.3, 0.1, 0.1, 0.4, 0.1]])
    found = masses(ea.Bandit(policies, policies, q), policies)
    assert np.allclose(np.sort(found, axis=1), np.sort([[0.25, 0.45, 0.3], [0.7, 0.2, 0.1]], axis=1))


@pytest.mark.parametrize(
    ("power", "scale", "bound", "decision", "told"),
    [
        (0.5, 1.0, 1e-12, HOLDS, "as the number of pairs to the power -0.50"),
        (0.41, 1.0, 1e-12, HOLDS, "-0.41"),
        (0.39, 1.0, 1e-12, CANNOT_TELL, "the rate is not clear"),
        (0.5, 1.0, np.nan, CANNOT_TELL, "the optima are not proven"),
        (0.5, 60.0, 1e-12, CANNOT_TELL, "the rate is not clear"),
        (0.5, 12.0, 1e-12, HOLDS, "-0.50"),
        (0.7, 1.0, 1e-12, HOLDS, "faster than the root"),
        (9.0, 1.0, 1e-12, HOLDS, "from few pairs on"),
        (0.05, 0.1, 1e-12, FAILS, "stays away"),
        (0.0, 0.009, 1e-12, CANNOT_TELL, "not clear"),
    ],
)
def test_consistency_by_optima_that_come_nearer_at_a_rate(
    power: float, scale: float, bound: float, decision: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optima on samples of N pairs that are scale N^-power from the population's."""
    whole = np.array([0.6, 0.3, 0.1])

    def optima(self: Subject, bandit: ea.Bandit, lams: Any) -> Optima:
        count = np.ones(1) if bandit.optimal is not None else bandit.counts.sum(axis=(1, 2))  # type: ignore[union-attr]
        away = 0.0 * count if bandit.optimal is not None else np.minimum(scale * count**-power, 0.55)
        policies = whole + away[:, None] / 2 * np.array([1.0, -1.0, 0.0])
        return optima_at(np.stack([policies] * len(lams)), lams, bound)

    monkeypatch.setattr(Subject, "optima", optima)
    found = consistency.judge(EXPO)
    assert found.decision == decision and told in found.summary, found.summary
    assert found.summary.startswith("the rate") == (power == 0.0)
    if decision != FAILS and power < 1 and scale == 1:
        assert found.evidence["λ = 0.1: rate (power of the number of pairs)"] == pytest.approx(-power, abs=1e-9)
        assert found.evidence["λ = 1: root mean square distance at 10,000 pairs"] == pytest.approx(
            1e4**-power, rel=1e-6
        )


def test_samples_have_as_many_comparisons_as_asked_for() -> None:
    counts = consistency.draw(np.random.default_rng(0), consistency.POPULATION, 10_000, 50)
    assert counts.shape == (50, 3, 3) and (counts.sum(axis=(1, 2)) == 10_000).all()
    expected = consistency.POPULATION.wins[0] / consistency.POPULATION.wins.sum() * 10_000
    assert np.abs(counts.mean(axis=0) - expected).max() < 30


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


def verdict_example() -> Any:
    from expo_analysis.desiderata.verdict import Counterexample

    return Counterexample("", {}, "")


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


# ------------------------------------------------------------------------------------------------------ gradient weight


def test_weights_by_closed_forms() -> None:
    """DPO's is lam sigma(-lam h), IPO's 2 |h - 1/(2 lam)|, with an even reference."""
    h = np.array([-40.0, -1.0, 0.0, 0.7, 30.0])
    for lam in (0.1, 1.0):
        assert gradient_weight.weights(DPO, lam, h) == pytest.approx(lam * expit(-lam * h), rel=1e-9)
        assert gradient_weight.weights(subject(ea.IPO(1.0)), lam, h) == pytest.approx(2 * np.abs(h - 0.5 / lam))


@pytest.mark.parametrize(
    ("psi", "kind"),
    [
        (lambda m: (1 + m**2) ** (1.25 / 2), "bounded"),
        (lambda m: (1 + m**2) ** (1.28 / 2), "unbounded"),
        (lambda m: -np.log(2) + 0 * m + terms.Logistic(0.011, 1.0).value(m), "bounded"),
        (lambda m: terms.Logistic(0.009, 1.0).value(m), "fades"),
        (lambda m: 0 * m, "nothing"),
    ],
)
def test_growth_and_fading_on_both_sides_of_their_thresholds(psi: Any, kind: str) -> None:
    """Slopes in proportion to m^0.25 grow by 1.19 from one distance to twice that, to m^0.28 by 1.21."""
    loss = own(lambda lam: terms.Stated(psi)(lam * HBAR))
    for lam in (1.0, 0.1):
        assert gradient_weight.behaviour(subject(loss), lam)[0] == kind
    turned = own(lambda lam: terms.Stated(psi)(-1.0 * (lam * HBAR)))
    expected = {"fades": "bounded"}.get(kind, kind)
    assert gradient_weight.behaviour(subject(turned), 1.0)[0] in (expected, "fades" if kind == "bounded" else expected)


def test_weights_are_told_at_both_ends_and_at_0() -> None:
    found = gradient_weight.judge(DPO)
    for lam in gradient_weight.LAMS:
        told = [found.evidence[f"λ = {lam:g}: weight at {name}"] for name in ("-30/λ", "0", "30/λ")]
        assert told == pytest.approx([lam * expit(30.0), lam / 2, lam * expit(-30.0)], rel=1e-9)


def test_weights_that_grow_are_shown_at_margins_that_double() -> None:
    found = gradient_weight.judge(subject(ea.IPO(1.0))).counterexample
    assert found is not None
    margins, lam = found.numbers["margins"], found.numbers["lam"]
    assert np.abs(margins) == pytest.approx(np.array([30.0, 60.0, 120.0]) / lam) and len(set(np.sign(margins))) == 1
    assert found.numbers["weights"] == pytest.approx(2 * np.abs(np.array(margins) - 0.5 / lam))
    fades = gradient_weight.judge(subject(own(lambda lam: terms.Logistic(0.0, 1.0)(lam * HBAR)))).counterexample
    assert fades is not None and fades.numbers["margins"][0] == pytest.approx(-30.0 / fades.numbers["lam"])
    assert fades.numbers["weights"][0] < 0.01 * fades.numbers["weights"][1]


def test_what_slopes_say_of_weights() -> None:
    for psi, kind in (
        (LOGISTIC, "bounded"),
        (terms.Square(), "unbounded"),
        (terms.Exponential(), "unbounded"),
        (terms.Logistic(0.0, 1.0), "fades"),
        (terms.Sigmoid(), "fades"),  # not convex, and its slope's limits are what they are
        (terms.SquaredSigmoid(), "fades"),
        (terms.Modulated(0.05), ""),  # not convex: limits do not say that nothing between them is larger
        (terms.Stated(lambda m: m**4), ""),
    ):
        assert gradient_weight._by_slopes(subject(own(lambda lam, p=psi: p(lam * HBAR))), 1.0) == kind
    margins = np.linspace(-2, 2, 5)
    assert gradient_weight._relative(margins, np.array([4.0, 2.0, 2.0, 1.0, 0.0])).tolist() == [2.0, 1.0, 1.0, 0.5, 0.0]
    assert gradient_weight._relative(margins, np.array([4.0, 2.0, 0.0, 1.0, 3.0])).tolist() == [2.0, 1.0, 0.0, 0.5, 1.5]
    assert np.isnan(gradient_weight._relative(margins, np.zeros(5))).all()


U_W, U_L = statistics.log_u_w, statistics.log_u_l
POWERED = statistics.powered(0.25)


@pytest.mark.parametrize(
    ("made", "left", "right"),
    [
        (lambda lam: LOGISTIC(lam * U_W) + LOGISTIC(-1.0 * (lam * U_L)), -1.0, 0.0),
        (lambda lam: 3.0 * LOGISTIC(lam * U_W) + LOGISTIC(2.0 * (lam * U_L)), -3.0, 2.0),
        (lambda lam: terms.Logistic(0.8, 0.1)(-1.0 * (lam * U_W)) + LOGISTIC(lam * U_W - 0.5 * U_L), -1.1, 0.0),
        (lambda lam: terms.Sigmoid()(lam * U_W) + terms.Linear(-2.0)(U_L), 0.0, 2.0),
        (lambda lam: terms.Exponential()(lam * U_L) + LOGISTIC(lam * U_W), -1.0, np.inf),
        (lambda lam: SQUARED(lam * U_W - 5.0) + LOGISTIC(lam * U_W), -np.inf, 0.0),
        (lambda lam: SQUARED(lam * U_W) - SQUARED(0.5 * (lam * U_W)), np.nan, 0.0),
        (lambda lam: LOGISTIC(lam * POWERED), -np.inf, np.nan),
        (lambda lam: LOGISTIC(lam * U_W - 2.0 * (lam * U_L)), -1.0, 0.0),
    ],
)
def test_limits_of_slopes_of_single_scores_are_seen_far_out(made: Any, left: float, right: float) -> None:
    """By hand, and beside slopes of the loss itself at log-ratios of 40 to 640, to which they tend or grow."""
    one = subject(own(made))
    found = gradient_weight._limits(facts_of(one.at(1.0)))
    assert found == pytest.approx((left, right), nan_ok=True)
    far = 40.0 * 2.0 ** np.arange(5)
    for end, sign in zip(found, (-1.0, 1.0), strict=True):
        h = torch.tensor(sign * far, dtype=torch.float64, requires_grad=True)
        logs = torch.nn.functional.logsigmoid(torch.stack([h, -h]))
        even = torch.full_like(h, np.log(0.5))
        (slope,) = torch.autograd.grad(one.at(1.0).pair_loss(logs[0], logs[1], even, even).sum(), h)
        if np.isfinite(end):
            assert slope[-1].item() == pytest.approx(end, abs=1e-9)
        elif np.isinf(end):
            assert (np.diff(np.abs(slope.numpy())) > 0).all() and np.sign(slope[-1].item()) == np.sign(end)


def test_what_fades_or_grows_is_proven_by_the_limits() -> None:
    for made, told in (
        (lambda lam: terms.Sigmoid()(-1.0 * (lam * U_W)) + terms.Sigmoid()(lam * U_L), "fades"),
        (lambda lam: SQUARED(lam * U_L + 0.5), "unbounded"),
        (lambda lam: LOGISTIC(lam * POWERED), "unbounded"),
        (
            lambda lam: LOGISTIC(lam * U_W) + LOGISTIC(-1.0 * (lam * U_L)),
            "",
        ),  # not convex in h: it may be large between
        (lambda lam: SQUARED(lam * U_W) - SQUARED(0.5 * (lam * U_W)), ""),
        (lambda lam: LOGISTIC(lam * U_W + terms.linked(ea.divergences.JensenShannon())), ""),
    ):
        assert gradient_weight._by_slopes(subject(own(made)), 1.0) == told
    for loss in (ea.KTO(1.0), ea.APODown(1.0), ea.SPPO(1.0), ea.CalDPO(1.0), ea.QRPO(1.0), ea.AlphaPO(1.0)):
        found = gradient_weight.judge(subject(loss))
        assert (found.decision, found.basis) == (FAILS, PROVEN), loss


# --------------------------------------------------------------------------------------------------- ordinary problems


def test_sizes_that_count() -> None:
    assert middle(np.array([np.nan, 1.0, 3.0])) == 2.0 and math.isnan(middle(np.array([np.nan])))
    found = measured("TV", np.array([0.1, 0.2, 0.3, np.nan]), least=0.15)
    assert (found.share, found.typical, found.worst) == (2 / 3, 0.25, 0.3)


def test_rounder_problems_of_one_prompt() -> None:
    """As round as what is asked of them allows: one digit, two, three, or as they are."""
    bandit = ea.Bandit([[0.1234567, 0.8765433]] * 2, [[0.3, 0.7], [0.4567891, 0.5432109]])
    for digits in (1, 2, 3):
        found = tidy(EXPO, bandit, 1, lambda one, d=digits: bool(abs(one.reference[0, 0] - 0.1234567) < 0.6 * 10.0**-d))
        assert found.reference[0, 0] == pytest.approx(round(0.1234567, digits), abs=1e-12)
        assert found.reference.sum() == pytest.approx(1.0, abs=1e-15) and found.optimal is not None
    kept = tidy(EXPO, bandit, 1, lambda one: False)
    assert np.array_equal(kept.reference, bandit.reference[1:]) and np.array_equal(pi_star(kept), pi_star(bandit)[1:])


def test_what_is_believed_of_an_optimum() -> None:
    """A proven bound, or a policy that no grid beats."""
    one = ea.Bandit([[0.5, 0.5]], [[0.7, 0.3]])
    best = subject(ea.DiscoPOP(1.0)).optima(one, [1.0])
    assert np.isnan(best.bound).all() and believable(subject(ea.DiscoPOP(1.0)), one, best)
    turned = replace(best, log_policies=best.log_policies[..., ::-1])
    assert not believable(subject(ea.DiscoPOP(1.0)), one, turned)
    assert believable(subject(ea.DiscoPOP(1.0)), one, replace(turned, bound=np.zeros((1, 1))))
    five = ea.Bandit([[0.2] * 5], [[0.2] * 5])
    assert not believable(EXPO, five, optima_at([[[0.2] * 5]], [1.0], np.nan)), "nothing was looked at"


def test_a_bandit_of_one_prompt_by_itself() -> None:
    """A population, or counts with rewards and without, less the first axis."""
    population = ordinary_problems.alone(ea.Bandit([[0.4, 0.6]], [[0.7, 0.3]]))
    assert population.prompts is None and population.reference.tolist() == [0.4, 0.6]
    for rewards in (None, [[0.5, -0.5]]):
        given = ea.Bandit.from_counts([[0.4, 0.6]], [[[0, 3], [1, 0]]], rewards=rewards)
        found = ordinary_problems.alone(given)
        assert found.reference.tolist() == [0.4, 0.6] and found.counts is not None
        assert found.counts.tolist() == [[0, 3], [1, 0]]
        assert (found.rewards is None) == (rewards is None) and (
            rewards is None or found.rewards.tolist() == rewards[0]
        )


def test_ordinary_problems_are_what_they_are_said_to_be() -> None:
    for loss, count in ((ea.EXPO(1.0), 40), (ea.SPPO(1.0), 8)):
        one = subject(loss)
        assert ordinary_problems.count(one) == count and f"{count} ordinary problems" in ordinary_problems.described(
            one
        )
    bandit, optima = ordinary_problems.ordinary(EXPO)
    assert bandit.reference.shape == (40, 4) and optima.lams.tolist() == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert np.ptp(bandit.pairs[:, ~np.eye(4, dtype=bool)]) < 1e-12
    same, _ = ordinary_problems.ordinary(EXPO, preserved=True)
    assert np.array_equal(same.reference, same.optimal)


def test_flipped_labels_and_gains() -> None:
    bandit = ea.Bandit([[0.5, 0.5]], [[0.8, 0.2]])
    counts = noisy(EXPO, bandit, 0.25).wins[0]
    assert counts[0, 1] / counts.sum() == pytest.approx(0.75 * 0.8 + 0.25 * 0.2)
    gain = nearer(bandit, optima_at([[[0.7, 0.3]], [[0.1, 0.9]]], [1.0, 2.0]))[:, 0]
    kl = [
        sum(p * np.log(p / q) for p, q in zip(x, (0.8, 0.2), strict=True)) for x in ((0.5, 0.5), (0.7, 0.3), (0.1, 0.9))
    ]
    assert gain == pytest.approx([kl[0] - kl[1], kl[0] - kl[2]])
    assert np.isnan(nearer(bandit, optima_at([[[0.7, 0.3]]], [1.0], status="not_unique"))).all()


# ---------------------------------------------------------------------------------------------------------- constraints


def test_one_parameter_by_scipy() -> None:
    """The best w of EXPO, RLHF and the preferences alone on random classes, with weight decay and without."""
    drawn = constraint_robustness.classes_of(EXPO, 8)
    assert drawn.count == 8 and drawn.decay.tolist() == [0.0, 0.1] * 4
    outcomes = constraint_robustness.compare(EXPO, drawn)
    rlhf = ea.RLHF(1.0)
    for k, (place, lam) in itertools.product(range(8), enumerate(constraint_robustness.LAMS)):
        reference, optimal = drawn.bandit.reference[2 * k : 2 * k + 2], pi_star(drawn.bandit)[2 * k : 2 * k + 2]
        bandit, decay = ea.Bandit(reference, optimal), drawn.decay[k]

        def value(w: float, loss: Any, held: float, b: Any = bandit, r: Any = reference, j: int = k) -> float:
            logs = log_softmax(np.log(r) + w * drawn.features[j, :, :, 0], axis=1)
            return float(ea.risk(loss, b, logs).mean() + held / 2 * w**2)

        bests = [
            (ea.EXPO(lam), decay, outcomes.w[place, k]),
            (rlhf.with_lam(lam), decay, outcomes.w_rlhf[place, k]),
            (ea.BradleyTerry(1.0), 0.0, outcomes.w_fit[place, k]),
        ]
        for loss, held, found in bests:
            if not np.isfinite(found):
                continue
            best = minimize_scalar(value, bracket=(found - 0.5, found + 0.6), args=(loss, held), tol=1e-10)
            assert value(found, loss, held) <= best.fun + 1e-9
        w, w_rlhf, w_fit = (x[place, k] for x in (outcomes.w, outcomes.w_rlhf, outcomes.w_fit))
        if np.isfinite([w, w_rlhf, w_fit]).all():
            lost = value(w, rlhf.with_lam(lam), decay) - value(w_rlhf, rlhf.with_lam(lam), decay)
            assert outcomes.regret[place, k] == pytest.approx(max(lost, 0.0), abs=1e-9)
            beyond = max(min(w_fit, 0.0) - w, w - max(w_fit, 0.0), 0.0)
            assert outcomes.outside[place, k] == pytest.approx(beyond, abs=1e-12)


@pytest.mark.parametrize(
    ("regret", "outside", "decision"),
    [
        (0.9e-6, 1.0, HOLDS),
        (1.1e-6, 0.9e-5, HOLDS),
        (0.1, 0.9e-5, HOLDS),
        (0.1, 1.1e-5, CANNOT_TELL),
        (0.9e-3, 1.0, CANNOT_TELL),
        (1.1e-3, 0.9e-2, CANNOT_TELL),
        (1.1e-3, 1.1e-2, FAILS),
    ],
)
def test_verdicts_on_constraints(regret: float, outside: float, decision: str) -> None:
    """One class of many has such a regret at one lambda, and is so far outside of both ends."""

    def compare(one: Subject, classes: Any) -> constraint_robustness.Outcomes:
        shape = (len(constraint_robustness.LAMS), classes.count)
        at = np.zeros(shape)
        at[1, 3] = 1.0
        true = np.ones(shape, bool)
        return constraint_robustness.Outcomes(
            0.5 + at, 0.5 + 0 * at, 1.0 + 0 * at, regret * at, outside * at, true, true
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraint_robustness, "compare", compare)
        found = constraint_robustness.judge(DPO)
    assert found.decision == decision, found.summary
    assert found.evidence["largest regret in RLHF's own objective (nats)"] == pytest.approx(regret)
    assert found.evidence["largest distance outside of [π_ref, best fit] (in w)"] == pytest.approx(outside)
    if found.counterexample is not None:
        assert found.counterexample.numbers["lam"] == constraint_robustness.LAMS[1] and found.basis == PROVEN


def test_classes_are_extreme_and_alike_by_turns() -> None:
    """Every other class has probabilities of pi* below 0.05 or so; in every fourth both prompts are one."""
    drawn = constraint_robustness.classes_of(EXPO, 400)
    optimal = pi_star(drawn.bandit).reshape(-1, 2, 2, 3)[:, 0]
    least = optimal.min(axis=(1, 2))
    assert np.median(least[1::2]) < 0.03 < 0.1 < np.median(least[2::2]) and (least > 0).all()
    reference, features = drawn.bandit.reference.reshape(-1, 2, 2, 3)[:, 0], drawn.features.reshape(-1, 2, 2, 3)[:, 0]
    same = [np.array_equal(x[0], x[1]) for x in reference]
    assert all(same[3::4]) and np.mean(np.delete(same, np.arange(3, len(same), 4))) < 0.1
    assert set(np.unique(features)) <= {-1.0, 0.0, 1.0} and (np.ptp(features, axis=2) > 0).all()


def test_auxiliary_variables_have_a_restricted_optimum_that_is_proven() -> None:
    one = subject(ea.AuxDPO(1.0))
    drawn = constraint_robustness.classes_of(one, 4)
    assert (drawn.decay == 0).all() and drawn.count >= 4
    w, proven = drawn.minimise(ea.AuxDPO(np.full(drawn.count, 0.3)))
    assert proven.mean() >= 0.5 and np.isfinite(w).all()


def test_rlhf_is_judged_to_improve_and_regret_is_of_some_classes() -> None:
    found = restricted_improvement.judge(subject(ea.RLHF(1.0)))
    assert found.decision == HOLDS and found.evidence["share of random classes with less E[r*] than the reference"] == 0
    lost = restricted_improvement.regret(EXPO)
    assert lost.shape == (20,) and (lost[np.isfinite(lost)] >= 0).all() and np.isfinite(lost).sum() > 15


def test_existence_is_not_proven_by_optima_that_are_not() -> None:
    found = existence.judge(subject(ea.EXO(1.0)))
    assert found.decision == CANNOT_TELL and found.evidence["with a proven minimiser"] < found.evidence["problems"]
    sure = existence.judge(EXPO)
    assert sure.decision == HOLDS and sure.evidence["with a proven minimiser"] == sure.evidence["problems"]
    assert sure.evidence["without one"] == 0


def test_masses_that_move_are_shown_where_no_lower_policy_is_known() -> None:
    """And a search for an example ends with the first."""
    pairs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0] * 3])
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.3, 0.2, 0.5], pairs)
    spo = subject(ea.SPO(1.0))
    best = spo.optima(ea.Bandit(bandit.reference[None], pi_star(bandit)[None], pairs[None]), [1.0]).log_policies[0, 0]
    assert conservation._moved(spo, bandit, 1.0, best, False) is not None
    assert conservation._moved(spo, bandit, 1.0, np.log([0.2, 0.2, 0.6]), False) is None, "there are lower ones"
    assert conservation._moved(spo, bandit, 1.0, np.log([0.2, 0.2, 0.6]), True) is not None
    calls = []
    shown = conservation._moved
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conservation, "_moved", lambda *given: calls.append(given) or shown(*given))
        assert conservation.judge(spo).decision == FAILS
    assert len(calls) == 1


@dataclass(frozen=True)
class Floor(ea.PairObjective):
    """DPO, and what it costs if the pair has less mass than e^-1, or more than e^-0.3: flat between, or on one side."""

    side: float = -1.0
    name = "floor"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        margin = self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l)
        mass = torch.logaddexp(logp_w, logp_l)
        beyond = (-1.2 - mass) if self.side < 0 else (mass + 0.25)
        return -ea.numerics.log_sigmoid(margin) + beyond.clip(min=0) ** 2


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_what_is_flat_on_one_side_only_has_no_other_minimiser_shown(side: float) -> None:
    """A third of a nat either way changes nothing, and three nats one way do."""
    pairs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0] * 3])
    bandit = ea.Bandit([0.25, 0.25, 0.5], [0.25, 0.25, 0.5], pairs)
    even = np.log([0.25, 0.25, 0.5])
    assert flatness.other_minimiser(subject(ea.EXO(1.0)), bandit, 1.0, even) is not None
    assert flatness.other_minimiser(subject(Floor(1.0, side)), bandit, 1.0, even) is None


def test_who_stands_for_rlhf() -> None:
    plain = constraint_robustness.twin(ea.DPO(2.0))
    assert isinstance(plain, ea.RLHF) and plain.lam == 2.0 and plain.regulariser.name == "reverse_kl"
    assert constraint_robustness.twin(ea.FDPO(2.0, "jensen_shannon")).regulariser.name == "jensen_shannon"
    own_rlhf = ea.RLHF(1.0, "forward_kl")
    assert constraint_robustness.twin(own_rlhf) is own_rlhf
    assert isinstance(constraint_robustness.preferences_alone(ea.DPO(1.0), 1.0), ea.BradleyTerry)
    alone = constraint_robustness.preferences_alone(ea.SPO(1.0), 0.3)
    x = np.log(np.random.default_rng(0).dirichlet(np.ones(2), 9)).T
    assert alone.loss(x[0], x[1], x[0], x[1]) == pytest.approx(-np.log(expit(x[0] - x[1])))


def test_rewards_lost_over_restricted_classes() -> None:
    """By the policy that is found: E_ref[r*] - E_pi[r*]; random classes are what they are said to be."""
    drawn = restricted_improvement.classes_of(EXPO)
    assert len(drawn.lam) == 80 and sorted(set(drawn.lam)) == [0.1, 1.0]
    assert drawn.bandit.reference.min() >= 0.01 - 1e-12
    assert np.allclose(drawn.bandit.reference * 100, np.round(drawn.bandit.reference * 100))
    assert (np.ptp(drawn.feature, axis=1) > 0).all() and set(np.unique(drawn.feature)) <= {-1.0, 0.0, 1.0}
    some = drawn.some(np.array([3, 50]))
    found = some.solve(ea.EXPO(1.0))
    policies = np.exp(found.log_policy[:, 0])
    expected = ((some.bandit.reference - policies) * np.log(pi_star(some.bandit))).sum(axis=1)
    assert some.lost(found) == pytest.approx(expected) and np.array_equal(some.lam, drawn.lam[[3, 50]])
    assert len(restricted_improvement.classes_of(subject(ea.SPPO(1.0))).lam) == 20


# --------------------------------------------------------------------------------------------------------- conditioning


@pytest.mark.parametrize(("step", "known"), [(0.9e-3, True), (1.1e-3, False)])
def test_a_point_that_newton_would_leave_is_no_minimum(step: float, known: bool) -> None:
    from expo_analysis.desiderata.questions.curvature import Expansion

    turned = np.linalg.qr(np.column_stack([np.ones(3), [1, -1, 0], [1, 1, -2]]))[0]
    hessian = (turned @ np.diag([0.0, 0.5, 2.0]) @ turned.T)[None]
    gradient = (turned @ [0.0, 0.5 * step, 0.0])[None]
    found = conditioning.condition(Expansion(np.zeros(1), gradient, hessian), np.ones(1, bool))
    assert np.isfinite(found[0]) == known and (not known or found[0] == pytest.approx(4.0))


@pytest.mark.parametrize(
    ("least", "slope", "ratio"), [(1e-14, 1e-10, 5e15), (1e-14, 1e-8, None), (1e-12, 1e-10, 1e12), (1e-11, 1e-10, None)]
)
def test_curvatures_that_cannot_be_resolved_are_counted_as_an_ulp(least: float, slope: float, ratio: Any) -> None:
    """Along a direction that is all but flat Newton's step says nothing, as long as the slope itself is rounding."""
    from expo_analysis.desiderata.questions.curvature import Expansion

    turned = np.linalg.qr(np.column_stack([np.ones(3), [1, -1, 0], [1, 1, -2]]))[0]
    hessian = (turned @ np.diag([0.0, least, 1.0]) @ turned.T)[None]
    found = conditioning.condition(
        Expansion(np.zeros(1), (turned @ [0.0, slope, 0.0])[None], hessian), np.ones(1, bool)
    )
    if least == 1e-14:  # below what eigenvalues are known to
        assert (np.isnan(found[0])) == (ratio is None) and (ratio is None or found[0] > 1e13)
    else:
        assert np.isnan(found[0]), "a step of a hundred, with a slope that is there"


@pytest.mark.parametrize(("ratio", "decision"), [(99.0, HOLDS), (101.0, FAILS)])
def test_well_conditioned_is_up_to_a_hundred(ratio: float, decision: str) -> None:
    """All ordinary problems have this ratio at one lambda and 4 at the others."""
    lams = list(ordinary_problems.LAMS)

    def ratios(local: Any, unique: Any) -> np.ndarray:
        calls.append(0)
        return np.full(40, ratio if len(calls) == 2 else 4.0)

    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditioning, "condition", ratios)
        patch.setattr(conditioning, "_shown", lambda *given: verdict_example())
        found = conditioning.judge(DPO)
    assert found.decision == decision and found.evidence[f"median at λ = {lams[1]:g}"] == ratio
    assert found.evidence["median ratio of curvatures"] == 4.0 and found.answer == "4"
    assert found.evidence["largest"] == ratio and found.evidence["of these on a kink"] == 0
