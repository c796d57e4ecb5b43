"""Searches and proofs in parts: nothing is lost on the way, budgets are kept, and verdicts follow what was found."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata import decide as decide_module
from expo_analysis.desiderata.decide import decide, reconsidered
from expo_analysis.desiderata.falsify import certify, search
from expo_analysis.desiderata.falsify.cases import Case, Measure, bandit_code, batch, case_code
from expo_analysis.desiderata.falsify.certify import Enclosure, certified, enclose_minimisers, is_lower
from expo_analysis.desiderata.falsify.intervals.jets import Boxes
from expo_analysis.desiderata.falsify.problems import FAMILIES, counted, join, pi_star, rewards_written, single
from expo_analysis.desiderata.falsify.runaway import Fall, finite_at_zero, runs_away
from expo_analysis.desiderata.falsify.search import Hunt, confirm, hunt
from expo_analysis.desiderata.falsify.shrink import shrink, spanned, usable
from expo_analysis.desiderata.rules import Conclusion, Rule
from expo_analysis.desiderata.subject import Optima, Subject, Unclaimed
from expo_analysis.desiderata.verdict import (
    CANNOT_TELL,
    EVIDENCE,
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    PROVEN,
    Counterexample,
    Severity,
    Verdict,
)
from expo_analysis.losses.statistics import linked, powered

from .judged import EXPO, optima_at, subject
from .test_falsify_certify import TwoWells, well
from .test_falsify_search import by_lambda, sized

# ---------------------------------------------------------------------------------------------------- branch and bound


@dataclass(frozen=True)
class Level(ea.PairObjective):
    """A loss that is the same everywhere: no box may be dropped."""

    name = "level"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return 0.0 * (logp_w - logp_l) + 1.0


def holds_all(boxes: Boxes, policies: np.ndarray) -> bool:
    """Whether each policy (count, n) lies in some box, by its order and its gaps."""
    order = np.argsort(-policies, axis=1, kind="stable")
    gaps = -np.diff(np.log(np.take_along_axis(policies, order, axis=1)), axis=1)
    for rank, gap in zip(order, gaps, strict=True):
        same = (boxes.order == rank[:, None]).all(axis=0)
        inside = ((boxes.low <= gap[:, None] + 1e-12) & (gap[:, None] <= boxes.high + 1e-12)).all(axis=0)
        if not (same & inside).any():
            return False
    return True


@pytest.mark.parametrize("n", [2, 3, 4])
def test_boxes_are_all_policies_and_stay_so(n: int) -> None:
    """At the start and after every cut, until the boxes that may be looked at are spent, and not more of them."""
    rng = np.random.default_rng(n)
    policies = rng.dirichlet(np.full(n, 0.2), 60) * (1 - 1e-12) + 1e-12 / n
    bandit = ea.Bandit(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)))
    share = 0.1
    found = Enclosure(Level(1.0), bandit, np.log(policies[0]), share)
    first = math.factorial(n) * 2 ** (n - 1)
    assert found.spent == first == found.boxes.size and holds_all(found.boxes, policies)
    assert not found.refine(1e-9) and found.spent <= certify.MOST[n] * share < found.spent + 8 * found.boxes.size
    assert holds_all(found.boxes, policies) and found.boxes.size > 2 * first and found.upper == pytest.approx(1.0)
    assert (found.least <= 1.0).all() and (found.least > 1 - 1e-9).all()
    low, high = found.boxes.policies
    here = policies[0][:, None]
    away = np.maximum(np.abs(low - here), np.abs(high - here)).sum(axis=0)
    assert (
        np.allclose(found.radius, away, rtol=1e-9)
        and (found.radius >= away).all()
        and found.reach == found.radius.max()
    )


def test_a_search_that_reaches_its_target_says_so_and_keeps_what_it_has() -> None:
    loss = TwoWells(1.0, 0.1)
    one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    near = well(loss, -1.0)
    found = Enclosure(loss, one_win, near)
    spent = [found.spent]
    for target in (0.3, 1e-2, 1e-5):
        assert found.refine(target) and found.reach <= target
        spent.append(found.spent)
    assert spent == sorted(spent) and spent[-1] < certify.MOST[2]
    low, high = found.boxes.policies
    here = np.exp(near)[:, None]
    away = np.maximum(np.abs(low - here), np.abs(high - here)).sum(axis=0)
    assert np.allclose(found.radius, away, rtol=1e-6, atol=1e-13), "of old boxes and new ones alike"
    again = found.spent
    assert found.refine(1e-4) and found.spent == again, "there is nothing left to do"
    assert holds_all(found.boxes, np.exp(near)[None])
    value = float(ea.risk(loss, one_win, near))
    assert value <= found.upper <= value + 1e-12 and (found.least <= value).all()


def test_halves_are_the_whole() -> None:
    """Cut across one axis: in the middle, and an infinite one at four times where it begins, or at 1."""
    low, high = np.array([[0.0, 2.0, 0.1], [1.0, 0.5, 0.0]]), np.array([[3.0, np.inf, np.inf], [2.0, 0.7, 1.0]])
    boxes = Boxes(low, high, np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]]))
    halves, turn = certify._halved(boxes, np.array([0, 0, 0]))
    assert halves.size == 6 and turn.tolist() == [1] * 6
    assert halves.low[0].tolist() == [0.0, 2.0, 0.1, 1.5, 8.0, 1.0]
    assert halves.high[0].tolist() == [1.5, 8.0, 1.0, 3.0, np.inf, np.inf]
    assert np.array_equal(halves.low[1], np.tile(low[1], 2)) and np.array_equal(halves.high[1], np.tile(high[1], 2))
    assert np.array_equal(halves.order, np.tile(boxes.order, (1, 2)))
    back, turn = certify._halved(boxes, np.array([1, 1, 1]))
    assert turn.tolist() == [0] * 6 and back.high[1, 0] == 1.5 == back.low[1, 3]
    both = certify._joined(boxes, halves)
    assert both.size == 9 and np.array_equal(both.low[:, :3], low)


def test_the_box_of_one_policy() -> None:
    for policy in ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.25] * 4):
        box = certify._point(np.log(policy))
        low, high = box.policies
        assert (low[:, 0] <= policy).all() and (policy <= high[:, 0]).all() and (high - low).max() < 1e-14
    assert (certify._point(np.log([0.5, 0.5])).high == 0).all(), "equal probabilities have a gap of exactly 0"


def test_one_value_is_proven_lower_beyond_rounding() -> None:
    one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    there, here = np.log([0.3, 0.7]), np.log([0.5, 0.5])
    dpo = subject(ea.DPO(1.0))
    assert is_lower(dpo, one_win, 1.0, here, there) and not is_lower(dpo, one_win, 1.0, there, here)
    for step, lower in ((1e-9, True), (1e-14, False), (0.0, False)):
        beside = np.log([0.5 - step, 0.5 + step])
        assert is_lower(dpo, one_win, 1.0, here, beside) == lower


def test_where_there_is_no_minimiser_nothing_is_enclosed_but_the_boundary() -> None:
    """Of one win DPO falls all the way: what is left goes to the vertex, and no policy inside is called the minimum."""
    one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    assert enclose_minimisers(subject(ea.DPO(1.0)), one_win, 1.0, np.log([0.9, 0.1]), target=1e-3) is None
    far = enclose_minimisers(subject(ea.DPO(1.0)), one_win, 1.0, np.array([0.0, -800.0]), target=1e-3)
    assert far is not None and (far.boxes.policies[1][1] < 1e-3).all()


def test_as_much_is_certain_as_it_takes() -> None:
    """Of an excess at least half is proven where that can be had, and nothing where the optimum is not the optimum."""
    loss = ea.DiscoPOP(1.0)
    case = Case(np.array([0.5, 0.5]), np.array([0.6, 0.4]), None, (1.0,))
    one = subject(loss)
    optima = one.optima(batch([case]), case.lams)

    def excess(found: Optima, bandit: ea.Bandit) -> np.ndarray:
        return np.where(np.isfinite(found.bound), 0.2 - found.bound, 0.2)

    sure, how = certified(one, Measure(excess), case, optima)
    assert 0.1 <= sure <= 0.2 and "every minimiser is within" in how and "boxes" in how
    tiny, how = certified(one, Measure(lambda found, bandit: excess(found, bandit) - 0.2 + 1e-6), case, optima)
    assert 0.5e-6 <= tiny <= 1e-6 and how
    nothing, how = certified(one, Measure(lambda found, bandit: excess(found, bandit) - 0.2), case, optima)
    assert how == "" and math.isnan(nothing)
    missing = replace(optima, status=np.full((1, 1), "no_minimiser", object))
    assert certified(one, Measure(excess), case, missing)[1] == ""


# ---------------------------------------------------------------------------------------------------------- the search


class Recorded:
    """A subject's optima, recorded and not computed: the reference is the optimum of everything."""

    def __init__(self, bound: float = 1e-12) -> None:
        self.calls: list[tuple[int, int, tuple[float, ...]]] = []
        self.bound = bound

    def optima(self, one: Subject, bandit: ea.Bandit, lams: Any) -> Optima:
        if len(lams) == len(GRID):  # whether optima are certified is asked at two
            self.calls.append((len(bandit.reference), bandit.n, tuple(np.round(lams, 12).tolist())))
        return optima_at(np.stack([bandit.reference] * len(lams)), lams, self.bound)


def recorded(patch: pytest.MonkeyPatch, bound: float = 1e-12) -> Recorded:
    found = Recorded(bound)
    patch.setattr(Subject, "optima", lambda self, bandit, lams: found.optima(self, bandit, lams))
    return found


GRID = np.array([0.1, 1.0, 10.0])


def test_how_many_problems_a_search_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times the count in equal parts of each family, three times of two responses; groups of a hundred at least,
    half of them with the lambdas of the grid, and half with lambdas around these."""
    seen = recorded(monkeypatch)
    nothing = Measure(lambda optima, bandit: np.full((len(optima.lams), len(bandit.reference)), -0.25))
    one = replace(EXPO, remembered={})
    found = hunt(one, "count", nothing, GRID, {2: 100, 3: 180})
    kinds = sum(family.pairs is None for family in FAMILIES.values())
    assert found.problems == 300 // kinds * kinds + 900 and found.case is None and found.conclusive
    assert found.optima == 3 * found.problems == found.proven and found.worst == -0.25
    by_n = {n: sum(size for size, m, _ in seen.calls if m == n) for n in (2, 3)}
    assert by_n == {2: 300 // kinds * kinds, 3: 900} and len(seen.calls) == kinds + len(FAMILIES)
    on_grid = [lams == tuple(GRID) for _, _, lams in seen.calls]
    assert 0.3 < np.mean(on_grid) < 0.7
    before = len(seen.calls)
    hunt(one, "count", nothing, GRID, {3: 180})
    assert len(seen.calls) == before, "the same problems are solved once"
    hunt(one, "count", nothing, GRID, {3: 800})
    sizes = [size for size, _, _ in seen.calls[before:]]
    assert set(sizes) <= {111, 112} and sum(sizes) == 9 * 445 and len(sizes) == 9 * 4


def test_a_slow_loss_has_all_families_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = subject(ea.SPPO(1.0))
    assert not slow.fast and not slow.certified
    seen = recorded(monkeypatch, bound=np.nan)
    found = hunt(slow, "slow", by_lambda(1e9, 2e9), GRID, {3: 18})
    assert [call[:2] for call in seen.calls] == [(90, 3)] and not found.conclusive and found.proven == 0


def test_what_is_found_is_the_worst_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that depend on the problem: the largest is looked into first; what cannot be confirmed is kept apart."""
    recorded(monkeypatch)

    def size(optima: Optima, bandit: ea.Bandit) -> np.ndarray:
        return np.ones((len(optima.lams), 1)) * bandit.reference.max(axis=1)[None] - 0.9

    tried: list[float] = []

    def note(one: Subject, measure: Measure, case: Case) -> tuple[float, str]:
        tried.append(float(case.reference.max()))
        return 0.05, ""

    monkeypatch.setattr(search, "confirm", note)
    monkeypatch.setattr(search, "shrink", lambda one, measure, case: case)
    found = hunt(replace(EXPO, remembered={}), "worst", Measure(size), GRID, {3: 90})
    assert found.case is not None and found.confirmed == "" and found.excess == pytest.approx(max(tried) - 0.9)
    assert tried[::2] == sorted(tried[::2], reverse=True) and len(tried) > 4
    monkeypatch.setattr(search, "confirm", lambda one, measure, case: (0.05, "proven to be"))
    sure = hunt(replace(EXPO, remembered={}), "worst", Measure(size), GRID, {3: 90})
    assert sure.is_proven and sure.excess == 0.05 and sure.case is not None
    assert sure.case.reference.max() == pytest.approx(max(tried)), "the first that is confirmed is the worst"


def test_a_proof_is_preferred_to_a_larger_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence of 0.05 first, a proof of 0.02 then; and what is worse by less comes no more."""
    recorded(monkeypatch)
    answers = iter([(0.05, "the lowest of many"), (0.02, "proven to be"), (9.0, "the lowest of many")])
    monkeypatch.setattr(search, "confirm", lambda one, measure, case: next(answers))
    monkeypatch.setattr(search, "shrink", lambda one, measure, case: case)
    size = Measure(lambda optima, bandit: np.full((3, len(bandit.reference)), 0.5))
    found = hunt(replace(EXPO, remembered={}), "proof", size, GRID, {3: 90})
    assert found.is_proven and found.excess == 0.02 and next(answers)[0] == 9.0


def test_searches_end_at_the_first_violation_that_is_not_small(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded(monkeypatch)
    for size, last in ((0.9e-3, 4), (1.1e-3, 2)):
        seen.calls.clear()
        found = hunt(
            replace(EXPO, remembered={}),
            f"{size}",
            sized({2: size, 3: -1.0, 4: -1.0}),
            GRID,
            dict.fromkeys((2, 3, 4), 9),
        )
        assert found.case is not None and max(n for _, n, _ in seen.calls) == last


def test_hunts_are_ranked_by_proof_and_then_by_size() -> None:
    def one(how: str, excess: float) -> Hunt:
        return Hunt(1, 1, 1, 0.0, None, excess, how)

    ordered = [one("", 9.0), one("the lowest", 1.0), one("the lowest", 2.0), one("proven", 0.1), one("certified", 0.2)]
    ranks = [search._rank(x) for x in ordered[1:]]
    assert ranks == sorted(ranks) and not one("the lowest", 1.0).is_proven and one("certified by", 1.0).is_proven
    assert Hunt(1, 10, 9, 0.0, None, 0.0, "").conclusive and not Hunt(1, 100, 89, 0.0, None, 0.0, "").conclusive


@pytest.mark.parametrize(("low", "high", "lam"), [(0.01, 100.0, 1.0), (0.05, 0.5, 0.1), (5.0, 50.0, 10.0)])
def test_an_ordinary_lambda_is_preferred(low: float, high: float, lam: float) -> None:
    case = Case(np.array([0.5, 0.5]), np.array([0.6, 0.4]), None, (math.sqrt(low * high) * 1.2345,))
    assert shrink(EXPO, by_lambda(low, high), case).lams == (lam,)
    odd = Case(np.array([0.5, 0.5]), np.array([0.6, 0.4]), None, (0.0234567,))
    assert shrink(EXPO, by_lambda(0.015, 0.03), odd).lams == (0.02,), "else a round one near it"


def test_flags_over_neighbouring_lambdas() -> None:
    flags = np.array([[True, True], [True, False], [True, True], [False, True]])
    assert spanned(flags, 1).tolist() == flags.tolist()
    assert spanned(flags, 2).tolist() == [[True, False], [True, False], [False, True]]
    assert spanned(flags, 4).tolist() == [[False, False]]


def test_an_excess_counts_where_its_premises_and_bounds_are() -> None:
    bandit = ea.Bandit([[0.5, 0.5], [0.6, 0.4]], [[0.5, 0.5], [0.5, 0.5]])
    found = optima_at(np.full((2, 2, 2), 0.5), [1.0, 2.0], bound=[[1e-9, np.nan], [1e-9, 1e-9]])
    same = Measure(lambda optima, b: np.full((2, 2), 0.3), admits=lambda b: b.reference[:, 0] == 0.5)
    assert usable(EXPO, same, found, bandit).tolist() == [[0.3, -np.inf], [0.3, -np.inf]]
    pair = Measure(lambda optima, b: np.full((1, 2), 0.3), span=2)
    assert usable(EXPO, pair, found, bandit).tolist() == [[0.3, -np.inf]]
    slow = subject(ea.SPPO(1.0))
    assert usable(slow, pair, found, bandit).tolist() == [[0.3, 0.3]], "of which no bound is known anywhere"


def test_a_value_refutes_without_an_optimum() -> None:
    """pi* against another policy: where a lower value is shown, the optimum need not be proven."""
    case = Case(np.array([0.6, 0.4]), np.array([0.6, 0.4]), None, (1.0,))
    loss = ea.DiscoPOP(1.0)
    said = Measure(lambda optima, bandit: np.full((1, 1), 0.2), preserved=True, refuted=lambda *given: "it is lower")
    excess, how = confirm(subject(loss), said, case)
    assert excess == 0.2 and how == "certified by interval arithmetic: it is lower"
    assert confirm(EXPO, Measure(lambda optima, bandit: np.zeros((1, 1))), case) == (0.0, "")
    assert confirm(EXPO, Measure(lambda optima, bandit: np.full((1, 1), 0.2)), case)[1].startswith(
        "proven to be within"
    )


def test_falls_in_words() -> None:
    for far, told in ((-2e6, "no lower bound"), (-0.5e6, "towards -5e+05"), (0.25, "towards 0.25, which no policy")):
        assert told in Fall([1.0, 0.0], [0.0, 1.0], [2.0, 1.0], far).towards
    assert "towards" in Fall([1.0], [0.0], [0.0, -1e9], -2e9).towards, "it fell by twice as much, far out, and no more"
    assert "no lower bound" in Fall([1.0], [0.0], [0.0, -1e5], -1.1e6).towards


def test_a_fall_has_the_values_that_it_tells() -> None:
    one_win = ea.Bandit.from_counts([0.2, 0.8], [[0, 3], [0, 0]])
    for loss, lam in ((ea.DPO(0.1), 0.1), (ea.NCA(1.0), 1.0), (ea.DPO(30.0), 30.0)):
        fall = runs_away(subject(loss), one_win, lam)
        if fall is None:
            continue
        assert len(fall.tilts) == len(fall.values) >= 5 and fall.tilts[0] == 0.0 and (np.diff(fall.tilts) > 0).all()
        theta = np.log(one_win.reference) + np.outer(fall.tilts, fall.direction)
        values = ea.risk(loss, one_win, torch.tensor(theta).log_softmax(-1)).numpy()
        assert values == pytest.approx(fall.values, rel=1e-12) and (np.diff(fall.values) < 0).all()
        assert fall.far <= fall.values[-1]


def test_margins_that_are_finite_at_probability_zero() -> None:
    for statistic, finite in (
        (linked(ea.divergences.ChiSquare()), True),
        (linked(ea.divergences.ReverseKL()), False),
        (powered(-0.5), True),
        (powered(0.5), False),
        (powered(0.0), False),
        (ea.terms.hbar, False),
    ):
        assert {finite_at_zero(atom) for _, atom in statistic.parts} == {finite}


def test_bandits_are_joined_and_taken_apart() -> None:
    rng = np.random.default_rng(0)
    drawn = [FAMILIES["uneven"].draw(rng, count, 3) for count in (2, 3)]
    both = join(drawn)
    assert len(both.reference) == 5 and join(drawn[:1]) is drawn[0]
    last = single(both, 4)
    assert np.array_equal(last.reference, drawn[1].reference[2]) and np.allclose(last.pairs, drawn[1].pairs[2])
    for loss, rewards in ((ea.DPO(1.0), False), (ea.REBEL(1.0), True)):
        made = counted(loss, [0.5, 0.3, 0.2], np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]))
        assert (made.rewards is not None) == rewards == bool(rewards_written(made))
        if rewards:
            assert made.rewards is not None and made.rewards.tolist() == [0.0, -1.0, -2.0]
    even, uneven = Case.of(drawn[0], 0, (1.0,)), Case.of(FAMILIES["moderate"].draw(rng, 2, 3), 1, (2.0,))
    assert even.pairs is not None and uneven.pairs is None


def test_cases_as_python() -> None:
    """What is printed makes the same bandit, and solves it at each lambda."""
    pairs = np.array([[0.0, 1.0, 0.25], [1.0, 0.0, 0.0], [0.25, 0.0, 0.0]])
    for given in (None, pairs):
        case = Case(np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), given, (0.5, 2.0))
        scope: dict[str, Any] = {}
        exec(case_code(EXPO, case, ["answer = [s.policy for s in solutions]"]), scope)
        assert np.allclose(scope["bandit"].pairs, case.bandit.pairs)
        for lam, policy in zip(case.lams, scope["answer"], strict=True):
            assert np.allclose(policy, ea.solve(ea.EXPO(lam), case.bandit).policy)
        assert np.allclose(scope["bandit"].reference, case.reference) and np.allclose(
            scope["bandit"].optimal, case.optimal
        )
        exec("import expo_analysis as ea\n" + bandit_code(case.bandit), scope)
        assert np.allclose(scope["bandit"].pairs, case.bandit.pairs)


# -------------------------------------------------------------------------------------------------------- one verdict

EXAMPLE, OTHER = Counterexample("an example", {}, ""), Counterexample("another", {}, "")


def ruled(patch: pytest.MonkeyPatch, conclusion: Conclusion | None) -> None:
    rule = Rule("a_rule", "preservation", "It is so.", lambda known: conclusion)
    patch.setattr(decide_module, "RULES", (rule,))
    patch.setattr(decide_module, "severity", lambda key, one, verdict: Severity("TV", 0.5, 0.1, 0.2))


def looked(decision: Any, example: Counterexample | None = None, basis: Any = "", **more: Any) -> Verdict:
    return Verdict("preservation", decision, "a search", "problems", {"n": 1}, example, basis, **more)


@pytest.mark.parametrize(
    ("conclusion", "search_says", "decision", "basis", "example", "effort"),
    [
        (None, looked(HOLDS), HOLDS, EVIDENCE, None, 1.0),
        (None, looked(FAILS, EXAMPLE, PROVEN), FAILS, PROVEN, EXAMPLE, 1.0),
        (None, looked(CANNOT_TELL), CANNOT_TELL, "", None, 1.0),
        (Conclusion(HOLDS, "a theorem"), looked(HOLDS), HOLDS, PROVEN, None, 0.1),
        (Conclusion(HOLDS, "a theorem"), looked(CANNOT_TELL), HOLDS, PROVEN, None, 0.1),
        (Conclusion(HOLDS, "a theorem"), looked(FAILS, EXAMPLE), CANNOT_TELL, "", EXAMPLE, 0.1),
        (Conclusion(FAILS, "a theorem"), looked(FAILS, EXAMPLE), FAILS, PROVEN, EXAMPLE, 1.0),
        (Conclusion(FAILS, "a theorem"), looked(CANNOT_TELL), CANNOT_TELL, "", None, 1.0),
        (Conclusion(FAILS, "a theorem"), looked(HOLDS), CANNOT_TELL, "", None, 1.0),
        (Conclusion(FAILS, "a theorem", OTHER), looked(CANNOT_TELL), FAILS, PROVEN, OTHER, 0.1),
        (Conclusion(FAILS, "a theorem", OTHER), looked(FAILS, EXAMPLE), FAILS, PROVEN, EXAMPLE, 0.1),
        (Conclusion(FAILS, "a theorem", OTHER, settled=True), looked(HOLDS), FAILS, PROVEN, OTHER, 0.1),
        (Conclusion(FAILS, "a theorem", OTHER, settled=True), looked(FAILS, EXAMPLE), FAILS, PROVEN, OTHER, 0.1),
    ],
)
def test_theorems_and_searches_together(
    conclusion: Any, search_says: Verdict, decision: str, basis: str, example: Any, effort: float
) -> None:
    efforts = []

    def judge(one: Subject) -> Verdict:
        efforts.append(one.effort)
        return search_says

    with pytest.MonkeyPatch.context() as patch:
        ruled(patch, conclusion)
        found = decide("preservation", judge, subject(ea.EXPO(1.0), 1.0), {})
    assert (found.decision, found.basis, found.counterexample) == (decision, basis, example)
    assert efforts == [pytest.approx(effort)]
    assert (found.severity is None) == (decision == HOLDS)
    if conclusion is not None and decision != CANNOT_TELL:
        assert found.rule == "a_rule" and found.conditions == "proven: It is so. Looked at as well: problems"
        assert found.evidence == {"n": 1}


@pytest.mark.parametrize(
    ("by_rule", "by_search", "told"), [("A", "B", "A"), ("", "B", "B"), ("A", "", "A"), ("", "", "")]
)
def test_a_theorems_answer_comes_before_a_searchs(by_rule: str, by_search: str, told: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ruled(patch, Conclusion(HOLDS, "a theorem", answer=by_rule))
        found = decide("preservation", lambda one: looked(HOLDS, answer=by_search), EXPO, {})
    assert found.answer == told and found.summary == "a theorem"


def test_what_does_not_apply_is_not_searched() -> None:
    def judge(one: Subject) -> Verdict:
        raise AssertionError("it is not asked")

    with pytest.MonkeyPatch.context() as patch:
        ruled(patch, Conclusion(NOT_APPLICABLE, "no question", answer="none"))
        found = decide("preservation", judge, EXPO, {})
        assert (found.decision, found.basis, found.rule, found.answer) == (NOT_APPLICABLE, PROVEN, "a_rule", "none")
        assert found.severity is None and found.summary == "no question" and found.conditions == "It is so."


def test_a_severity_that_is_measured_is_kept() -> None:
    own = Severity("nats", 0.1, 0.2, 0.3)
    with pytest.MonkeyPatch.context() as patch:
        ruled(patch, None)
        kept = decide("preservation", lambda one: looked(FAILS, EXAMPLE, EVIDENCE, severity=own), EXPO, {})
        assert kept.severity is own and kept.basis == EVIDENCE
        assert decide("preservation", lambda one: looked(NOT_APPLICABLE), EXPO, {}).severity is None


def test_what_could_not_be_told_is_told_by_what_the_others_imply() -> None:
    """Again and again, until nothing follows any more; not where a failure has no example, nor what is decided, nor
    from what was not proven."""

    def follows(known: Any) -> Conclusion | None:
        return Conclusion(HOLDS, "it follows") if known.is_("first_step", HOLDS) else None

    def next_one(known: Any) -> Conclusion | None:
        return Conclusion(HOLDS, "it follows, too") if known.is_("preservation", HOLDS) else None

    rules = (
        Rule("second", "improvement", "B.", next_one),
        Rule("first", "preservation", "A.", follows),
        Rule("bare", "existence", "C.", lambda known: Conclusion(FAILS, "without an example")),
        Rule("shown", "uniqueness", "D.", lambda known: Conclusion(FAILS, "with one", EXAMPLE)),
        Rule("never", "first_step", "E.", lambda known: Conclusion(FAILS, "no", EXAMPLE)),
    )
    size = Severity("TV", 0.5, 0.1, 0.2)
    open_ = {
        key: replace(looked(CANNOT_TELL, severity=size), desideratum=key)
        for key in ("improvement", "preservation", "existence", "uniqueness")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decide_module, "RULES", rules)
        found = reconsidered(EXPO, {**open_, "first_step": looked(HOLDS, basis=PROVEN)})
        searched = reconsidered(EXPO, {**open_, "first_step": looked(HOLDS, basis=EVIDENCE)})
    assert [searched[key].decision for key in ("improvement", "preservation")] == [CANNOT_TELL] * 2, "from a search"
    told = {key: (verdict.decision, verdict.rule) for key, verdict in found.items()}
    assert told == {
        "improvement": (HOLDS, "second"),
        "preservation": (HOLDS, "first"),
        "existence": (CANNOT_TELL, ""),
        "uniqueness": (FAILS, "shown"),
        "first_step": (HOLDS, ""),
    }
    assert found["preservation"].evidence == {"n": 1} and found["preservation"].severity is size


# --------------------------------------------------------------------------------------------------------- the subject


def test_how_many_problems_a_loss_gets() -> None:
    fast = subject(ea.EXPO(1.0), 0.5)
    assert fast.speed == 1.0 and [fast.count(x) for x in (100, 7, 3)] == [50, 4, 4] and fast.count(3, least=1) == 2
    slow = subject(ea.SPPO(1.0), 10.0)
    assert 0 < slow.speed <= 0.02 and slow.count(100, least=1) == max(1, round(1000 * slow.speed))
    for loss, quick in ((ea.DPO(1.0), True), (ea.FDPO(1.0), True), (ea.SPO(1.0), False), (ea.EXO(1.0), False)):
        assert subject(loss).fast == quick, loss
    assert EXPO.certified and not slow.certified


def test_random_numbers_are_those_of_their_purpose_and_seed() -> None:
    draws = [
        Subject(ea.EXPO(1.0), seed=seed).rng(purpose).random()
        for seed, purpose in itertools.product((0, 1), ("a", "b"))
    ]
    assert len(set(draws)) == 4 and Subject(ea.EXPO(1.0)).rng("a").random() == draws[0]


def test_values_and_gradients_of_a_subject() -> None:
    bandit = ea.Bandit([0.4, 0.6], [0.7, 0.3])
    logs = np.log([[0.5, 0.5], [0.2, 0.8]])
    assert np.allclose(EXPO.value(bandit, 0.3, logs), ea.risk(ea.EXPO(0.3), bandit, logs))
    step = 1e-6
    for k in range(2):
        move = step * np.eye(2)[k]
        ends = [ea.risk(ea.EXPO(0.3), bandit, torch.tensor(logs + s * move).log_softmax(-1)).numpy() for s in (1, -1)]
        assert EXPO.gradient(bandit, 0.3, logs)[:, k] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


def test_optima_that_exist_and_those_that_are_the_only_ones() -> None:
    status = np.array([["optimal", "best_found", "not_unique", "no_minimiser", "failed"]], object)
    found = replace(optima_at(np.full((1, 5, 2), 0.5), [1.0]), status=status)
    assert found.exists.tolist() == [[True, True, True, False, False]]
    assert found.single.tolist() == [[True, True, False, False, False]]
    assert found.problems([1, 3]).status.tolist() == [["best_found", "no_minimiser"]]
    assert found.lambdas([0]).lams.tolist() == [1.0]


@dataclass(frozen=True)
class OneAtATime(ea.PairObjective):
    """EXPO's preferences, by an ``if`` on lambda, with data or without."""

    name = "one at a time"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        factor = 2.0 if self.lam > 1 else 1.0
        return -factor * self.lam * ea.numerics.log_sigmoid(logp_w - logp_l)


def test_lambdas_one_at_a_time_come_back_in_their_order() -> None:
    rng = np.random.default_rng(0)
    given = [torch.tensor(-rng.exponential(1.0, (3, 5))) for _ in range(4)]
    lams = np.array([2.0, 0.5, 2.0, 0.1, 3.0])
    found = Unclaimed(1.0, OneAtATime(1.0), True).with_lam(lams).pair_loss(*given)
    for k, lam in enumerate(lams):
        alone = OneAtATime(float(lam)).pair_loss(*(x[:, k] for x in given))
        torch.testing.assert_close(found[:, k], alone)
    assert (
        Unclaimed(1.0, ea.EXPO(1.0)).claims == ea.losses.base.NOTHING
        and pi_star(ea.Bandit([0.5, 0.5], [0.3, 0.7]))[0] == 0.3
    )
