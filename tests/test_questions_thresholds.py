"""Judges whose optima, bounds and enclosures are given to them: what is proven, what is counted, what is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.desiderata import severity
from expo_analysis.desiderata.falsify import lowest
from expo_analysis.desiderata.falsify.problems import pi_star
from expo_analysis.desiderata.ordinary import LAMS
from expo_analysis.desiderata.questions import (
    conservation,
    constraint_robustness,
    first_step,
    flatness,
    label_noise,
    local_minima,
    pair_dependence,
    small_lambda,
)
from expo_analysis.desiderata.subject import Optima, Subject
from expo_analysis.desiderata.verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, Counterexample, Verdict
from expo_analysis.optima import Certificate, Status

from .judged import DPO, EXPO, optima_at, subject

# -------------------------------------------------------------------------------------------------------- label noise

NOISY = ea.Bandit([[0.5, 0.5]], [[0.8, 0.2]])


def shown_with(bound: float, clean: float = 0.7, other: float = 0.4, cap: Any = None) -> tuple[Any, bool, list[float]]:
    """label_noise's example where the optimum has so much on the first response, of clean labels and of noisy ones, and
    where all minimisers are said to be within ``bound``."""
    asked: list[float] = []

    def optima(self: Subject, bandit: ea.Bandit, lams: Any) -> Optima:
        first = clean if bandit.optimal is not None else other
        return optima_at([[[first, 1 - first]]], lams)

    def reach(one: Subject, bandit: ea.Bandit, found: Optima, target: float) -> float:
        asked.append(target)
        return bound

    size = np.zeros((len(label_noise.FLIPS), len(LAMS), 1))
    size[1, 2, 0] = 0.5  # 20% of flips, at lambda = 0.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "optima", optima)
        patch.setattr(label_noise, "error_bound", reach)
        patch.setattr(label_noise, "believable", lambda *given: True)
        example, proven = label_noise._shown(subject(ea.EXPO(1.0)), NOISY, size)
    return example, proven, asked


def kl_to_best(first: float) -> float:
    p, best = np.array([first, 1 - first]), np.array([0.8, 0.2])
    return float((p * np.log(p / best)).sum())


def test_what_noise_costs_is_told_and_proven_if_errors_are_smaller() -> None:
    """Of two responses: gain and harm by hand, the error that is asked for a hundredth of the smaller, and a proof as
    long as what such errors can add is below both."""
    gain, harm = kl_to_best(0.5) - kl_to_best(0.7), kl_to_best(0.4) - kl_to_best(0.5)
    example, proven, asked = shown_with(1e-12)
    assert proven and (example.numbers["flips"], example.numbers["lam"]) == (0.2, 0.1)
    assert (example.numbers["gain"], example.numbers["harm"]) == (pytest.approx(gain), pytest.approx(harm))
    assert asked == pytest.approx([min(gain, harm) / 100] * 2)
    assert f"{harm:.3g} nats farther" in example.statement and f"{gain:.3g} nats nearer" in example.statement
    bounds = np.geomspace(1e-3, 0.5, 400)
    added = np.array([label_noise._added(NOISY, x) for x in bounds])
    last = int(np.flatnonzero(added < min(gain, harm))[-1])
    assert shown_with(bounds[last])[1] and not shown_with(bounds[last + 1])[1]
    assert not shown_with(np.inf)[1]


def test_either_error_can_undo_the_claim() -> None:
    """A gain that is smaller than what errors add, beside a harm that is larger, and the other way round."""
    for clean, other in ((0.502, 0.2), (0.75, 0.499)):
        gain, harm = kl_to_best(0.5) - kl_to_best(clean), kl_to_best(other) - kl_to_best(0.5)
        bound = 2e-3
        added = label_noise._added(NOISY, bound)
        assert (gain < added < harm) or (harm < added < gain)
        assert not shown_with(bound, clean, other)[1] and shown_with(1e-9, clean, other)[1]


def test_rounder_problems_must_show_both_gain_and_harm() -> None:
    """A ten-thousandth of a nat each; else numbers stay as they are."""
    seen = []

    def tidy(one: Subject, bandit: ea.Bandit, prompt: int, fails: Any) -> ea.Bandit:
        seen.append(fails(bandit))
        return bandit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_noise, "tidy", tidy)
        for clean, other, shows in (
            (0.7, 0.4, True), (0.4, 0.4, False), (0.7, 0.7, False), (0.5, 0.4, False), (0.7, 0.5, False),
            (0.5001, 0.4999, True), (0.50004, 0.4, False), (0.7, 0.49996, False),
        ):  # fmt: skip
            shown_with(1e-12, clean, other)
            assert seen.pop() == shows, (clean, other)


# ------------------------------------------------------------------------------------------------------- conservation


def test_masses_are_certified_by_an_enclosure_that_none_of_them_keeps() -> None:
    """The pair had 0.4 and has 0.55: minimisers within less than 0.15 of there do not have 0.4, and half of that is
    asked for. Not of four responses, nor in a light audit, nor of nothing."""
    one = ea.Bandit([0.3, 0.1, 0.6], [0.2, 0.3, 0.5], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    asked: list[float] = []

    def certified(reach: float | None, effort: float = 0.1, policy: Any = (0.3, 0.25, 0.45), bandit: Any = one) -> bool:
        def enclose(own: Subject, given: ea.Bandit, lam: float, log_policy: Any, target: float) -> Any:
            asked.append(target)
            return None if reach is None else SimpleNamespace(reach=reach)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conservation, "enclose_minimisers", enclose)
            return conservation._certified(subject(ea.SPO(1.0), effort), bandit, 1.0, np.log(policy))

    assert certified(0.149) and not certified(0.151) and not certified(None)
    assert asked == pytest.approx([0.075] * 3)
    assert certified(0.149, conservation.LIGHT) and not certified(0.149, 0.99 * conservation.LIGHT)
    assert not certified(0.0, policy=(0.2, 0.2, 0.6)), "nothing has moved"
    pairs = np.zeros((4, 4))
    pairs[0, 1] = pairs[1, 0] = 1.0
    four = ea.Bandit([0.2, 0.1, 0.3, 0.4], [0.25] * 4, pairs)
    assert not certified(0.0, policy=(0.3, 0.3, 0.2, 0.2), bandit=four) and len(asked) == 4


def test_open_masses_are_as_far_away_as_they_can_be() -> None:
    """TV between masses: by hand where the optimum is one; all but the least mass where it is open; nan for none."""
    pairs = np.zeros((4, 4))
    pairs[[0, 1, 2, 3], [1, 0, 3, 2]] = 1.0
    reference = np.array([[0.1, 0.2, 0.3, 0.4]] * 3)
    bandit = ea.Bandit(reference, reference, pairs)
    policies = np.stack([[[0.3, 0.2, 0.25, 0.25], [0.3, 0.2, 0.25, 0.25], [0.25] * 4]])
    found = optima_at(policies, [1.0], status=[["optimal", "not_unique", "no_minimiser"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(severity, "_apart", lambda one: (bandit, found))
        size = severity._conservation(EXPO, Verdict("conservation", CANNOT_TELL, "", "", {}))
    assert size.unit == "TV" and size.share == 1.0
    assert sorted((size.typical, size.worst)) == pytest.approx([(0.2 + 0.7) / 2, 0.7])


def test_graphs_have_the_components_that_their_names_say() -> None:
    sizes = {
        "a response in no pair": ([1, 2], 1),
        "two components": ([2, 2], 2),
        "two components and a response in no pair": ([1, 2, 2], 2),
        "a connected chain": ([4], 3),
        "all pairs": ([3], 3),
    }
    assert set(flatness.GRAPHS) == set(sizes)
    for name, bandit, _ in flatness.on_graphs(subject(ea.EXPO(1.0))):
        components, pairs = sizes[name]
        assert sorted(np.bincount(bandit.components[0]).tolist()) == components
        assert (np.triu(bandit.pairs[0]) > 0).sum() == pairs
    chain = dict((name, bandit) for name, bandit, _ in flatness.on_graphs(subject(ea.EXPO(1.0))))["a connected chain"]
    assert (chain.pairs[0] > 0).sum(axis=1).max() == 2, "a chain, and no star"


def test_grids_of_four_responses_have_three_axes() -> None:
    centre = np.log([0.1, 0.2, 0.3, 0.4])
    points = lowest.grid(centre)
    apart = points[:, :3] - points[:, 3:] - (centre[:3] - centre[3])
    assert len(points) == 41**3 and all(len(np.unique(np.round(x, 9))) == 41 for x in apart.T)
    assert np.abs(points - centre).sum(axis=1).min() < 1e-12


# ----------------------------------------------------------------------------------------------------- pair dependence


@pytest.mark.parametrize(
    ("single", "bounded_even", "bounded_uneven", "moved", "decision", "told"),
    [
        (1.0, 1.0, 1.0, 0.0, HOLDS, "no"),
        (0.9, 1.0, 1.0, 0.0, HOLDS, "no"),
        (0.89, 1.0, 1.0, 0.0, CANNOT_TELL, "not seen"),
        (1.0, 0.91, 1.0, 0.0, HOLDS, "no"),
        (1.0, 0.9, 1.0, 0.0, CANNOT_TELL, "not seen"),
        (1.0, 1.0, 0.9, 0.0, CANNOT_TELL, "not seen"),
        (0.5, 0.5, 0.5, 0.0, CANNOT_TELL, "not seen"),
        (1.0, 1.0, 1.0, 2e-8, CANNOT_TELL, "not seen"),
        (0.0, 1.0, 1.0, 0.0, CANNOT_TELL, ""),
    ],
)
def test_pairs_matter_or_do_not(
    single: float, bounded_even: float, bounded_uneven: float, moved: float, decision: str, told: str
) -> None:
    """A hundred problems at every lambda, of which such shares have single optima and bounds; the first moves, and no
    example is to be had."""
    places = np.arange(100)

    def found(one: float, bounded: float, away: float) -> Optima:
        first = 0.5 + away * (places == 0)
        policies = np.stack([np.stack([first, 1 - first], axis=-1)] * len(LAMS))
        status = np.where(places < 100 * one, "optimal", "not_unique").astype(object)
        return optima_at(policies, LAMS, np.where(places < 100 * bounded, 1e-14, np.nan), status)

    even, uneven = found(1.0, bounded_even, 0.0), found(single, bounded_uneven, moved)
    bandit = ea.Bandit(np.full((100, 2), 0.5), np.full((100, 2), 0.5))
    one = subject(ea.DPO(1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_dependence, "ordinary", lambda own, responses: (bandit, even))
        patch.setattr(pair_dependence, "_pairs", lambda own, responses: bandit.pairs)
        patch.setattr(Subject, "optima", lambda self, given, lams: uneven)
        patch.setattr(pair_dependence, "best_shown", lambda attempts: (None, False))
        verdict = pair_dependence.judge(one)
    assert (verdict.decision, verdict.answer) == (decision, told), verdict.summary
    if single:
        assert verdict.evidence["optima compared"] == round(100 * single) * len(LAMS)
        assert verdict.evidence["largest"] == pytest.approx(moved, abs=1e-16)
        assert (verdict.summary == "the policies found are not the optima") == (moved > 0)


def test_an_optimum_without_a_bound_may_be_off_by_a_ten_thousandth() -> None:
    """Half of a 1-norm is TV: 1e-14 of each with bounds, 1e-4 of each without, and 1e-8 in any case."""
    bandit = ea.Bandit(np.full((1, 2), 0.5), np.full((1, 2), 0.5))
    for bound, own in ((1e-3, 1e-3), (np.nan, 1e-4)):
        even = optima_at([[[0.5, 0.5]]] * len(LAMS), LAMS, bound)
        uneven = optima_at([[[0.7, 0.3]]] * len(LAMS), LAMS, bound)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pair_dependence, "ordinary", lambda one, responses, x=even: (bandit, x))
            patch.setattr(pair_dependence, "_pairs", lambda one, responses: bandit.pairs)
            patch.setattr(Subject, "optima", lambda self, given, lams, x=uneven: x)
            *_, size, seen = pair_dependence._compared(subject(ea.DPO(1.0)), 2)
        assert size == pytest.approx(np.full((len(LAMS), 1), 0.2))
        assert seen == pytest.approx(np.full((len(LAMS), 1), 0.2 - own - 1e-8), abs=1e-12)


# --------------------------------------------------------------------------------------------------------- constraints


def test_no_minimiser_is_proven_by_a_theorem_and_a_minimiser_by_its_bound() -> None:
    cases = [
        (Status.OPTIMAL, Certificate.NONE, 0.9e-6, 2.0, True),
        (Status.OPTIMAL, Certificate.NONE, 1.1e-6, 2.0, False),
        (Status.OPTIMAL, Certificate.THEOREM, np.inf, 2.0, False),
        (Status.NO_MINIMISER, Certificate.THEOREM, np.inf, np.inf, True),
        (Status.NO_MINIMISER, Certificate.NONE, np.inf, np.inf, False),
        (Status.FAILED, Certificate.NONE, np.inf, np.nan, False),
    ]
    status, certificate, bound = (np.array([[case[k]] for case in cases]) for k in range(3))
    found = SimpleNamespace(
        status=status,
        certificate=certificate,
        weight_bounds=bound.astype(float),
        weights=np.full((len(cases), 1), 2.0),
        direction=np.full((len(cases), 1), 1.0),
    )
    drawn = constraint_robustness.classes_of(EXPO, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraint_robustness, "restricted_optima", lambda *given: found)
        w, proven = drawn.minimise(ea.DPO(1.0))
        found.direction[:] = -1.0
        back, _ = drawn.minimise(ea.DPO(1.0))
    assert np.array_equal(w, [case[3] for case in cases], equal_nan=True)
    assert proven.tolist() == [case[4] for case in cases]
    assert np.array_equal(back, [-np.inf if np.isinf(case[3]) else case[3] for case in cases], equal_nan=True)


def test_how_far_outside_of_both_ends() -> None:
    """By optima on either side of 0 and of the best fit, and between; what is infinite is not measured."""
    w = np.array([-0.4, 0.2, 0.5, 0.9, -0.9, -0.2, 0.3, np.inf, 0.7])
    fit = np.array([0.5, 0.5, 0.5, 0.5, -0.5, -0.5, -0.5, 1.0, np.inf])
    outside = np.array([0.4, 0.0, 0.0, 0.4, 0.4, 0.0, 0.3, np.nan, 0.0])
    count = len(w) * len(constraint_robustness.LAMS)
    drawn = constraint_robustness.classes_of(DPO, 40)
    parts = drawn.bandit.reference[: 2 * len(w)], pi_star(drawn.bandit)[: 2 * len(w)]
    some = constraint_robustness.Classes(ea.Bandit(*parts), drawn.features[: len(w)], np.zeros(len(w)))

    def minimise(self: Any, objective: Any, decay: Any = None) -> Any:
        told = {ea.BradleyTerry: fit, ea.RLHF: np.full(len(w), 0.1)}.get(type(objective), w)
        return np.tile(told, count // len(w)), np.ones(count, bool)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraint_robustness.Classes, "minimise", minimise)
        found = constraint_robustness.compare(DPO, some)
    assert found.w.shape == found.outside.shape == (len(constraint_robustness.LAMS), len(w))
    assert np.allclose(found.outside, outside, rtol=0, atol=1e-12, equal_nan=True) and found.proven.all()
    assert np.isnan(found.regret[:, 7]).all() and (np.delete(found.regret, 7, axis=1) >= 0).all()
    assert not found.resolved[:, 7].any(), "nothing is lower at infinity than somewhere"


# ---------------------------------------------------------------------------------------------- first step, lambda -> 0


def test_the_parts_of_ipos_gradient_by_hand() -> None:
    """Slopes 2 (h - 1/(2 lam)) each way, of the winner and of the loser, and a hundredth of the curvature 2 times what
    rounds: 1 - log pi of each."""
    p, q, lam = np.array([0.7, 0.3]), np.array([0.2, 0.8]), 0.5
    bandit = ea.Bandit([q], [p])
    log_policy = np.log([[0.4, 0.6]])
    hbar = float(log_policy[0, 0] - log_policy[0, 1] - np.log(q[0] / q[1]))
    expected, rounding = 0.0, 0.02 * (2 - log_policy.sum())
    for share, margin in ((0.7, hbar), (0.3, -hbar)):
        expected += share * (2 * abs(2 * (margin - 0.5 / lam)) + rounding)
    gradient, size = first_step._slopes(subject(ea.IPO(1.0)), bandit, lam, log_policy)
    slope = 0.7 * 2 * (hbar - 0.5 / lam) - 0.3 * 2 * (-hbar - 0.5 / lam)
    assert size == pytest.approx([expected]) and gradient == pytest.approx(np.array([[slope, -slope]]))
    explicit, parts = first_step._slopes(EXPO, bandit, lam, log_policy)
    h = float(log_policy[0, 0] - log_policy[0, 1])
    pull = (1 / (1 + np.exp(-h)) - 0.7) + lam * (0.4 - 0.2)
    assert explicit == pytest.approx(np.array([[pull, -pull]]))
    bend = 0.01 * np.exp(-h) / (1 + np.exp(-h)) ** 2 * (2 - log_policy.sum())
    both = sum(2 * s / (1 + np.exp(m)) for s, m in ((0.7, h), (0.3, -h)))
    assert parts == pytest.approx([both + bend + 2 * lam + lam * 2 * (0.4 - 0.2)])


def test_slopes_that_do_not_bend_in_their_own_response_count_as_they_are() -> None:
    """Of log pi_w log pi_l: the slope of each is the other, a straight line in its own."""
    loss = ea.from_function(lambda logp_w, logp_l, ref_logp_w, ref_logp_l, lam: lam * logp_w * logp_l)
    bandit, log_policy = ea.Bandit([[0.5, 0.5]], [[0.7, 0.3]]), np.log([[0.4, 0.6]])
    gradient, size = first_step._slopes(subject(loss), bandit, 2.0, log_policy)
    own = 2.0 * log_policy[0, ::-1]
    assert size == pytest.approx([np.abs(own).sum()])
    assert gradient[0] == pytest.approx(own - np.exp(log_policy[0]) * own.sum())


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([], ""),
        (["no minimiser", "no minimiser"], "nothing: there is no minimiser"),
        (["a", "a"], "a"),
        (["a", "b", "a"], "a, or b"),
        (["b", "a", "c"], "b, or a"),
        (["no minimiser", "a"], "no minimiser, or a"),
        (
            ["the shares of surplus wins (wins less losses, where positive)", "the point mass on π*'s mode"],
            "the winners, each in proportion to its wins less its losses",
        ),
        (
            ["the point mass on π*'s mode", "a point mass that is not always on π*'s mode"],
            "a point mass, mostly on π*'s mode",
        ),
    ],
)
def test_where_lambda_to_zero_leads_in_words(seen: list[str], told: str) -> None:
    """By what each group of problems is seen to tend to; those that tend to pi* say nothing."""
    places = iter(seen)
    away = SimpleNamespace(elsewhere=np.array([False, True]))
    home = SimpleNamespace(elsewhere=np.array([False, False]))
    approaches = iter([away] * len(seen) + [home])
    bandit = ea.Bandit([[0.5, 0.5]], [[0.5, 0.5]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_lambda, "limit_problems", lambda one, count: [bandit] * (len(seen) + 1))
        patch.setattr(small_lambda, "follow", lambda *given: next(approaches))
        patch.setattr(small_lambda, "describe_limit", lambda approach: next(places))
        assert small_lambda.limits(DPO) == told


@pytest.mark.parametrize(
    ("strong", "weak", "decision", "basis"),
    [
        ((FAILS, "proven"), (FAILS, "proven"), FAILS, "proven"),
        ((FAILS, "proven"), (FAILS, "evidence"), FAILS, "evidence"),
        ((FAILS, "evidence"), (FAILS, "proven"), FAILS, "evidence"),
        ((FAILS, "proven"), (NOT_APPLICABLE, ""), FAILS, "proven"),
        ((FAILS, "proven"), (CANNOT_TELL, ""), CANNOT_TELL, ""),
        ((CANNOT_TELL, ""), (FAILS, "proven"), CANNOT_TELL, ""),
        ((NOT_APPLICABLE, ""), (NOT_APPLICABLE, ""), NOT_APPLICABLE, ""),
        ((FAILS, "proven"), (HOLDS, "proven"), HOLDS, "proven"),
        ((HOLDS, "evidence"), (FAILS, "proven"), HOLDS, "evidence"),
    ],
)
def test_two_criteria_together(strong: Any, weak: Any, decision: str, basis: str) -> None:
    one = subject(ea.DPO(1.0))
    keys = tuple(small_lambda.TARGETS)
    for key, (said, proven) in zip(keys, (strong, weak), strict=True):
        example = Counterexample(key, {}, "") if said == FAILS else None
        one.verdicts[key] = Verdict(key, said, f"of {key}", f"by {key}", {}, example, proven, "r" if proven else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_lambda, "limits", lambda given: "somewhere")
        found = small_lambda.judge(one)
    assert (found.decision, found.basis or "") == (decision, basis)
    if decision == FAILS:
        assert found.summary.endswith("but to somewhere") and found.answer == "somewhere"
        assert found.conditions == f"by {keys[1] if weak[0] == FAILS else keys[0]}"
        assert (found.rule == "r") == (basis == "proven")
    if decision == CANNOT_TELL:
        assert found.conditions == f"by {keys[0] if strong[0] == CANNOT_TELL else keys[1]}"


# ------------------------------------------------------------------------------------------------------- local minima


def curve_of(heights: Any) -> Any:
    """A curve through such values at 0, 1, 2 ..., with slopes that are 0 at the tops and bottoms of even sides."""
    value = np.asarray(heights, dtype=float)
    t = np.arange(len(value), dtype=float)
    return t, value, np.gradient(value)


def test_ends_count_by_their_very_last_step() -> None:
    """A curve that is open at an end has a trap there, whatever its neighbours do, and none where it turns up again."""
    inner = [3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.0]
    t, value, slope = curve_of([*inner, 3.0, 2.0])
    found = local_minima.trap(t, value, slope)
    assert found is not None and (found.at, found.ridge, found.best) == (11.0, 8.0, 3.0) and found.away
    assert found.values == (2.0, 5.0, 0.0)
    mirrored = local_minima.trap(t, value[::-1], -slope[::-1])
    assert mirrored is not None and (mirrored.at, mirrored.ridge, mirrored.best) == (0.0, 3.0, 8.0) and mirrored.away
    slope[-1] = 1.0  # it turns in the last step, which is a minimum
    turned = local_minima.trap(t, value, slope)
    assert turned is not None and (turned.at, turned.values) == (found.at, found.values)


def test_what_is_lowest_at_an_open_end_is_no_minimum_to_miss() -> None:
    for end, trapped in ((-0.5, False), (0.5, True)):
        heights = [3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0, end]
        for way in (1, -1):
            t, value, slope = curve_of(heights[::way])
            assert (local_minima.trap(t, value, slope) is not None) == trapped


def test_a_curve_that_turns_in_its_last_step_has_its_minimum_there() -> None:
    """And what was lowest before is the trap, at whichever end."""
    heights = np.array([3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0, -0.5])
    t, value, slope = curve_of(heights)
    slope[-1] = 1.0
    for turned in (False, True):
        found = local_minima.trap(t, value[::-1], -slope[::-1]) if turned else local_minima.trap(t, value, slope)
        assert found is not None and found.values == (0.0, 4.0, -0.5) and not found.away
        assert (found.at, found.best) == ((8.0, 0.0) if turned else (3.0, 11.0))


def test_nine_points_are_too_few() -> None:
    heights = [3.0, 2.0, 0.0, 2.0, 3.0, 4.0, 3.0, 1.0, 3.0, 4.0]
    for count, seen in ((10, True), (9, False)):
        t, value, slope = curve_of(heights)
        value = np.where(np.arange(10) < count, value, np.nan)
        assert (local_minima.trap(t, value, slope) is not None) == seen


def test_the_deepest_trap_that_is_a_minimum_comes_first() -> None:
    """Of depths 1 and 2 beside a lowest point, and an open end that is deeper than both."""
    heights = [9.0, 4.0, 3.0, 4.0, 3.0, 0.0, 5.0, 3.0, 6.0, 5.5, 0.4, 0.3]
    t, value, slope = curve_of(heights)
    slope[[1, 2, 3, 4, 6, 7]] = [-1.0, -0.1, 1.0, -1.0, 1.0, -0.1]
    slope[[5, 8]] = [0.1, 1.0]
    found = local_minima.trap(t, value, slope)
    assert found is not None and found.at == 7.0 and found.values == (3.0, 5.0, 0.0) and not found.away
