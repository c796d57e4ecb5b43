"""Whole judges on optima that are given to them: which shares, medians and thresholds make which verdict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import expo_analysis as ea
from expo_analysis.desiderata.ordinary import LAMS
from expo_analysis.desiderata.questions import (
    calibration,
    existence,
    label_noise,
    restricted_improvement,
    uniqueness,
)
from expo_analysis.desiderata.subject import Optima, Subject
from expo_analysis.desiderata.verdict import (
    CANNOT_TELL,
    EVIDENCE,
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    PROVEN,
    Counterexample,
)

from .judged import optima_at, subject

EXAMPLE = Counterexample("", {}, "")
PLACES = np.arange(100)
HUNDRED = ea.Bandit(np.full((100, 2), 0.5), np.tile([0.8, 0.2], (100, 1)))


def hundred(first: Any, single: float = 1.0, bounded: float = 1.0) -> Optima:
    """Optima of a hundred problems of two responses, the same at every lambda, such shares of them single and with
    a bound."""
    first = np.broadcast_to(np.asarray(first, dtype=float), (100,))
    policies = np.stack([np.stack([first, 1 - first], axis=-1)] * len(LAMS))
    status = np.where(100 * single > PLACES, "optimal", "not_unique").astype(object)
    return optima_at(policies, LAMS, np.where(100 * bounded > PLACES, 1e-14, np.nan), status)


# -------------------------------------------------------------------------------------------------------- label noise


def noise_judged(
    clean: Any, noisy: dict[float, Any], single: float = 1.0, shown: Any = (EXAMPLE, True), noisy_single: float = 1.0
) -> Any:
    """The verdict where optima of clean labels, and of each share of flips, have so much on the better response."""
    by_share = {round(0.8 * (1 - 2 * flips) + flips, 9): x for flips, x in noisy.items()}

    def optima(self: Subject, bandit: ea.Bandit, lams: Any) -> Optima:
        counts = bandit.counts
        assert counts is not None
        share = counts[0, 0, 1] / counts[0].sum()
        return hundred(by_share[round(float(share), 9)], noisy_single)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_noise, "ordinary", lambda one, responses=4: (HUNDRED, hundred(clean, single)))
        patch.setattr(Subject, "optima", optima)
        patch.setattr(label_noise, "best_shown", lambda attempts: shown)
        return label_noise.judge(subject(ea.DPO(1.0)))


def test_noise_that_does_no_harm_and_noise_that_does() -> None:
    """Harm is to be farther than pi_ref, of problems that clean labels improve; told is how far 20% move."""
    mild = noise_judged(0.7, {0.1: 0.65, 0.2: 0.6, 0.4: 0.5})
    assert (mild.decision, mild.answer) == (HOLDS, "0.1 TV at 20%")
    assert mild.evidence["share of problems that clean labels improve"] == 1.0
    assert mild.evidence["20% flips: TV from the optimum of clean labels, median"] == pytest.approx(0.1)
    harmed = np.where(PLACES < 25, 0.4, 0.6)
    found = noise_judged(0.7, {0.1: 0.65, 0.2: 0.6, 0.4: harmed})
    assert (found.decision, found.basis) == (FAILS, PROVEN) and "first seen at 40% flips" in found.summary
    assert found.evidence["40% flips: share of what clean labels improve that is worse than π_ref"] == 0.25
    assert found.evidence["20% flips: share of what clean labels improve that is worse than π_ref"] == 0.0
    size = found.severity
    harm = 0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2)
    worse = 0.4 * np.log(0.4 / 0.8) + 0.6 * np.log(0.6 / 0.2)
    assert (size.unit, size.share) == ("nats", pytest.approx(0.25 / 3)) and size.worst == pytest.approx(worse - harm)
    early = noise_judged(0.7, {0.1: 0.65, 0.2: harmed, 0.4: harmed}, shown=(EXAMPLE, False))
    assert early.basis == EVIDENCE and "first seen at 20% flips" in early.summary
    assert noise_judged(0.7, {0.1: 0.6, 0.2: 0.6, 0.4: harmed}, shown=(None, False)).decision == CANNOT_TELL


def test_what_clean_labels_do_not_improve_is_not_blamed_on_noise() -> None:
    """A tenth of the problems is improved; only these count."""
    clean = np.where(PLACES < 10, 0.7, 0.4)
    fine = np.where(PLACES < 10, 0.6, 0.2)
    found = noise_judged(clean, {0.1: fine, 0.2: fine, 0.4: fine})
    assert found.decision == HOLDS and found.evidence["share of problems that clean labels improve"] == 0.1
    none = noise_judged(0.4, {0.1: 0.3, 0.2: 0.3, 0.4: 0.3})
    assert none.decision == NOT_APPLICABLE and "clean labels improve nothing" in none.summary
    assert noise_judged(0.7, {x: 0.7 for x in (0.1, 0.2, 0.4)}, single=0.0).decision == NOT_APPLICABLE


def test_an_optimum_that_labels_do_not_move() -> None:
    same = noise_judged(0.7, {x: 0.7 for x in (0.1, 0.2, 0.4)})
    assert (same.decision, same.answer) == (HOLDS, "unmoved") and "does not depend on who won" in same.summary
    slight = noise_judged(0.7, {0.1: 0.7, 0.2: 0.7, 0.4: 0.7 + 1e-8})
    assert slight.answer == "0 TV at 20%" and "does not depend" not in slight.summary


@pytest.mark.parametrize(("share", "decision"), [(0.5, HOLDS), (0.49, CANNOT_TELL)])
def test_half_of_the_optima_must_be_there_with_noise(share: float, decision: str) -> None:
    assert noise_judged(0.7, {x: 0.6 for x in (0.1, 0.2, 0.4)}, noisy_single=share).decision == decision


# -------------------------------------------------------------------------------------------------------- calibration


def calibrated(
    first: Any, single: float = 1.0, bounded: float = 1.0, shown: Any = (EXAMPLE, True), loss: Any = ea.EXPO
) -> Any:
    """The verdict on EXPO, whose model is pi_w/(pi_w + pi_l), where pi* is (.8, .2)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "ordinary", lambda one, responses=4: (HUNDRED, hundred(first, single, bounded)))
        patch.setattr(calibration, "best_shown", lambda attempts: shown)
        return calibration.judge(subject(loss(1.0)))


def test_a_model_that_is_right_or_off() -> None:
    right = calibrated(0.8)
    assert (right.decision, right.answer) == (HOLDS, "exact") and right.evidence["largest"] < 1e-15
    off = calibrated(np.where(PLACES < 40, 0.6, 0.7))
    assert (off.decision, off.basis, off.answer) == (FAILS, PROVEN, "0.1")
    assert off.evidence["expected calibration error, median"] == pytest.approx(0.1)
    assert off.evidence["largest"] == pytest.approx(0.2) and off.severity.share == 1.0
    assert off.severity.worst == pytest.approx(0.2) and off.severity.typical == pytest.approx(0.1)
    assert calibrated(0.7, shown=(EXAMPLE, False)).basis == EVIDENCE
    assert calibrated(0.7, shown=(None, False)).decision == CANNOT_TELL
    assert calibrated(0.8, single=0.0).decision == NOT_APPLICABLE


@pytest.mark.parametrize(
    ("single", "bounded", "off", "decision"),
    [
        (0.9, 1.0, 0.0, HOLDS),
        (0.89, 1.0, 0.0, CANNOT_TELL),
        (1.0, 0.9, 0.0, HOLDS),
        (1.0, 0.89, 0.0, CANNOT_TELL),
        (0.95, 0.95, 0.0, HOLDS),
        (1.0, 0.95, 5e-7, HOLDS),
    ],
)
def test_as_many_optima_as_it_takes_to_call_a_model_right(
    single: float, bounded: float, off: float, decision: str
) -> None:
    """``off`` is of the last problems, which have no bound, and may be off by what solvers leave."""
    found = calibrated(np.where(PLACES < 95, 0.8, 0.8 + off), single, bounded)
    assert found.decision == decision


def test_the_implicit_reward_counts_by_lambda() -> None:
    """DPO's own model is sigma(lam log u_w/u_l): by hand at every lambda, where the optimum is (.7, .3)."""
    off = calibrated(0.7, loss=ea.DPO)
    for lam in LAMS:
        error = abs(expit(lam * np.log(7 / 3)) - 0.8)
        assert off.evidence[f"median at λ = {lam:g}"] == pytest.approx(error)
    right = calibration.least_error(
        subject(ea.DPO(1.0)), ea.Bandit([[0.5, 0.5]], [[0.8, 0.2]]), 1.0, np.array([[0.7, 0.3]]), 0.02
    )
    assert right == pytest.approx(0.8 - 0.72)


# ------------------------------------------------------------------------------------------------- restricted rewards


def rewarded(
    gains: Any, example: Any = (0.1, 0.1, 0.1), status: Any = "optimal", bound: float = 1e-12, lowest: bool = True
) -> Any:
    """The verdict where optima of twenty random classes have gained so much of the best response's probability, and
    those of the published example as much as is said."""
    with pytest.MonkeyPatch.context() as patch:
        one = subject(ea.BCO(1.0))
        bandit = ea.Bandit(np.tile([0.4, 0.4, 0.2], (20, 1)), np.tile([0.7, 0.2, 0.1], (20, 1)))
        feature = np.tile([1.0, -1.0, 0.0], (20, 1))
        drawn = restricted_improvement.Classes(bandit, feature, np.repeat([0.1, 1.0], 10))

        def solved(count: int, change: Any, statuses: Any) -> Any:
            reference = np.tile([0.4, 0.4, 0.2] if count == 20 else [1 / 3] * 3, (count, 1))
            best, worst = (0, 1) if count == 20 else (1, 2)
            policies = reference.copy()
            policies[:, best] += change
            policies[:, worst] -= change
            return SimpleNamespace(
                log_policy=np.log(policies)[:, None],
                status=np.broadcast_to(np.array(statuses, object), (count,))[:, None],
                bound=np.full((count, 1), bound),
            )

        patch.setattr(
            restricted_improvement.Classes, "solve", lambda self, loss: solved(3, np.array(example), "optimal")
        )
        found = drawn, solved(20, np.broadcast_to(gains, (20,)), status)
        patch.setattr(restricted_improvement, "random_classes", lambda given: found)
        patch.setattr(restricted_improvement, "_is_lowest", lambda *given: lowest)
        patch.setattr(restricted_improvement, "_shown", lambda *given: (EXAMPLE, True))
        return restricted_improvement.judge(one)


def test_rewards_are_gained_or_lost() -> None:
    """A tenth of probability from the second best to the best is worth log(.7/.2)/10 nats, on the example 2/10."""
    good = rewarded(0.1)
    assert (good.decision, good.answer) == (HOLDS, "never less reward")
    gains = good.evidence["E[r*] less that of the reference, on the example, at λ = 1, 0.1, 10"]
    assert gains == pytest.approx([0.2] * 3)
    assert good.evidence["largest loss of E[r*] (nats)"] == pytest.approx(-0.1 * np.log(3.5))
    bad = rewarded(np.where(np.arange(20) < 5, -0.1, 0.1))
    assert (bad.decision, bad.basis, bad.answer) == (FAILS, PROVEN, "less reward on 25%")
    assert bad.severity.share == 0.25 and bad.severity.worst == pytest.approx(0.1 * np.log(3.5))
    published = rewarded(0.1, (0.1, -0.1, 0.1))
    assert published.decision == FAILS and published.answer == "less reward on 0%"
    assert published.severity.worst == pytest.approx(0.2) and published.severity.share == 0.0
    assert rewarded(-0.1, lowest=False).decision == HOLDS, "that policy is not the optimum"


def test_losses_of_rewards_beyond_what_bounds_add() -> None:
    """A bound b allows b max |log pi*| of E[r*]."""
    lost = 0.1 * np.log(3.5)
    edge = lost / -np.log(0.1)
    assert rewarded(-0.1, bound=0.9 * edge).decision == FAILS
    assert rewarded(-0.1, bound=1.1 * edge).decision == HOLDS


@pytest.mark.parametrize(
    ("still", "missing", "decision"),
    [
        (11, 0, HOLDS),
        (12, 0, NOT_APPLICABLE),
        (0, 2, HOLDS),
        (0, 3, CANNOT_TELL),
        (0, 11, CANNOT_TELL),
        (0, 12, NOT_APPLICABLE),
    ],
)
def test_too_few_classes_move_or_have_an_optimum(still: int, missing: int, decision: str) -> None:
    """Of 23 in all: half must move, half must have an optimum to ask, and nine tenths to be sure."""
    places = np.arange(20)
    found = rewarded(
        np.where(places < still, 0.0, 0.1), status=np.where(places < missing, "no_minimiser", "optimal").astype(object)
    )
    assert found.decision == decision, found.summary
    assert found.evidence["with one optimum"] == 23 - missing and found.evidence["classes and lambdas"] == 23


# -------------------------------------------------------------------------------------------- existence, uniqueness


def test_every_data_set_must_have_a_minimiser_that_is_proven() -> None:
    """Statuses as they would come from the solver: one that is missing, and one that is not proven."""
    for status, bound, decision, told in (
        ("optimal", 1e-12, HOLDS, "has a minimiser"),
        ("optimal", np.nan, CANNOT_TELL, "are not proven"),
        ("no_minimiser", np.nan, CANNOT_TELL, "seem to be missing"),
    ):

        def optima(self: Subject, bandit: ea.Bandit, lams: Any, s: str = status, b: float = bound) -> Optima:
            shape = (len(lams), len(bandit.reference), bandit.n)
            statuses = np.full(shape[:2], "optimal", object)
            bounds = np.full(shape[:2], 1e-12)
            statuses[-1, -1], bounds[-1, -1] = s, b
            return optima_at(np.full(shape, 1 / bandit.n), lams, bounds, statuses)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Subject, "optima", optima)
            patch.setattr(existence, "_counterexample", lambda *given: None)
            for effort, count in ((1.0, 7 * (2 * 14 + 83)), (0.1, 3 * (2 * 9 + 27))):
                found = existence.judge(subject(ea.EXPO(1.0), effort))
                assert found.decision == decision and told in found.summary
                assert found.evidence["problems"] == count and f"{count} problems" in found.conditions
                wrong = 2 if status != "optimal" or np.isnan(bound) else 0  # one of two responses, one of three
                assert found.evidence["with a proven minimiser"] == count - wrong
                assert found.evidence["without one"] == (wrong if status == "no_minimiser" else 0)


def test_several_minimisers_are_looked_for_where_the_solver_says_so() -> None:
    """Every status on five graphs; what is not proven to be one minimiser leaves the question open."""
    three_of_each, two_at_each = 5 * 3, 5 * 6 * 2  # suspects, and any where optima have no bounds
    for status, bound, decision, looked in (
        ("optimal", 1e-12, HOLDS, 0),
        ("optimal", np.nan, CANNOT_TELL, two_at_each),
        ("not_unique", 1e-12, CANNOT_TELL, three_of_each),
        ("not_unique", np.nan, CANNOT_TELL, three_of_each + two_at_each),
    ):

        def optima(self: Subject, bandit: ea.Bandit, lams: Any, s: str = status, b: float = bound) -> Optima:
            shape = (len(lams), len(bandit.reference), bandit.n)
            return optima_at(np.full(shape, 1 / bandit.n), lams, b, s)

        asked: list[float] = []

        def other(one: Subject, bandit: ea.Bandit, lam: float, policy: Any, a: Any = asked) -> None:
            a.append(lam)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Subject, "optima", optima)
            patch.setattr(uniqueness, "other_minimiser", other)
            found = uniqueness.judge(subject(ea.EXPO(1.0)))
        assert found.decision == decision
        assert len(asked) == looked
        assert found.evidence["with one proven minimiser"] == found.evidence["problems"] * (decision == HOLDS)
        assert "λ from 1e-05 to 100000" in found.conditions and found.evidence["problems"] == 5 * 6 * 5
