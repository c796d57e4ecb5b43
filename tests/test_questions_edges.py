"""The judges on numbers that are given to them: both sides of each threshold, and parts against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.falsify.cases import Case
from expo_analysis.desiderata.falsify.lowest import AXES, REACH, grid
from expo_analysis.desiderata.falsify.problems import pi_star
from expo_analysis.desiderata.falsify.search import Hunt
from expo_analysis.desiderata.falsify.shrink import _round_policy, _rounded_lambda, _rounder, _without
from expo_analysis.desiderata.questions import (
    at_limit,
    consistency,
    existence,
    first_step,
    improvement,
    limits,
    monotone_path,
    preservation,
    reference_limit,
    strong_interpolation,
    weak_interpolation,
)
from expo_analysis.desiderata.questions.conservation import masses
from expo_analysis.desiderata.questions.first_look import hard, near_optimal
from expo_analysis.desiderata.questions.outcome import case_numbers, from_hunt
from expo_analysis.desiderata.subject import Optima, Subject
from expo_analysis.desiderata.verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, PROVEN

from .judged import DPO, EXPO, LOGISTIC, H, optima_at, subject
from .own_losses import own

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
    """Where these keep the mode from the top: a step up from 0.001 that saturates is less than two that do not."""
    one = subject(ea.IPO(1.0))

    def known(optimal: list[float], moved: float = 0.0) -> str:
        n = len(optimal)
        path = np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
        bandit = ea.Bandit(np.full((1, n), 1 / n), [optimal], path[None])
        best = one.optima(bandit, [1.0, 0.3])
        best = replace(best, log_policies=best.log_policies + moved * np.eye(n)[1])
        return weak_interpolation._known(one, Case.of(bandit, 0, (1.0, 0.3)), best)

    assert known([0.59, 0.001, 0.02, 0.389]).startswith("on a path each pair sits")
    assert known([0.59, 0.001, 0.02, 0.389], moved=0.1) == ""
    assert known([0.5, 0.3, 0.2]) == "", "the mode is on top"


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
