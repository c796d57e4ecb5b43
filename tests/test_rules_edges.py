"""What theorems read off formulas, both ways: neither more than numbers show, nor less, for formulas of one or two
terms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.rules.asked import _steady, weighted_slope_convex
from expo_analysis.desiderata.rules.boxes import SingleScores, _logs, _slope
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.margins import contents, score
from expo_analysis.desiderata.rules.scores import Link, UnitTerm, link_of, rises
from expo_analysis.desiderata.rules.shapes import Shape
from expo_analysis.desiderata.rules.wells import POINTS, log_policies
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import HOLDS
from expo_analysis.losses.psi import BernoulliKL, Modulated, Sigmoid, SquaredSigmoid
from expo_analysis.losses.statistics import linked, log_pi_l, log_pi_w, log_u_l, log_u_w, shortfall_w

from .own_losses import own

H, HBAR = terms.h, terms.hbar
LOGISTIC, SMOOTHED, SQUARE, HINGE = terms.Logistic(), terms.Logistic(0.7, 0.3), terms.Square(), terms.Hinge(1.0)
EXPONENTIAL, LINE = terms.Exponential(), terms.Linear(-1.0)

# ------------------------------------------------------------------------------------------------------------- shapes

PSIS: dict[str, Any] = {
    "logistic": LOGISTIC,
    "smoothed": SMOOTHED,
    "square": SQUARE,
    "hinge": HINGE,
    "exponential": EXPONENTIAL,
    "line down": LINE,
    "line up": terms.Linear(2.0),
    "sigmoid": Sigmoid(),
}
STATISTICS: dict[str, Callable[[Any], Any]] = {
    "hbar": lambda lam: lam * HBAR,
    "minus hbar": lambda lam: -1.0 * (lam * HBAR),
    "h and 1/lam": lambda lam: H - 0.5 / lam,
    "winner": lambda lam: lam * log_u_w,
    "loser": lambda lam: -1.0 * (lam * log_pi_l),
    "uneven": lambda lam: lam * (log_u_w - 0.3 * log_u_l),
    "sum": lambda lam: 0.5 * (log_pi_w + log_pi_l),
    "with a shortfall": lambda lam: lam * (HBAR + 2.0 * shortfall_w),
}
WEIGHTS: dict[str, Callable[[Any], Any]] = {"1": lambda lam: 1.0, "1/lam": lambda lam: 1 / lam, "-1": lambda lam: -1.0}


def made(psi: str, statistic: str, weight: str = "1") -> ea.PairObjective:
    return own(lambda lam: WEIGHTS[weight](lam) * PSIS[psi](STATISTICS[statistic](lam)))


LEVELS = -np.array([0.02, 0.3, 0.9, 1.7, 4.0, 9.0, 14.0])


@cache
def slopes_of(psi: str, statistic: str, weight: str) -> dict[str, np.ndarray]:
    """Slopes along the moves that theorems speak of, at many log-probabilities, for two lambdas; by torch."""
    x = np.array([(a, b) for a in LEVELS for b in LEVELS if np.exp(a) + np.exp(b) < 1])
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("win", "loser", "winner", "both")}
    for lam in (0.4, 2.0):
        loss = made(psi, statistic, weight).with_lam(lam)
        w, lose = (torch.tensor(x[:, k], requires_grad=True) for k in (0, 1))
        reference = torch.full_like(w, -1.1), torch.full_like(w, -0.6)
        value = loss.pair_loss(w, lose, *(r.detach() for r in reference))
        dw, dl = torch.autograd.grad(value.sum(), (w, lose), allow_unused=True)
        dw, dl = (np.zeros(len(x)) if d is None else d.numpy() for d in (dw, dl))
        p, q = np.exp(x[:, 0]), np.exp(x[:, 1])
        for name, slope in (("win", dw / p - dl / q), ("loser", dl), ("winner", dw), ("both", dw + dl)):
            found[name].append(slope)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def one_sided(psi: str, statistic: str) -> bool:
    """Whether a psi is seen on one side only, as log-probabilities are below 0: that is not read."""
    return (psi, statistic) == ("square", "loser") or (statistic == "sum" and psi in ("smoothed", "square", "hinge"))


@pytest.mark.parametrize("psi", PSIS)
def test_one_term_rises_and_falls_as_it_is_said_to(psi: str) -> None:
    """Each way, wherever numbers have one strict sign; a flat stretch (a hinge's) is none, nor is a shortfall's."""
    for statistic, weight in itertools.product(STATISTICS, WEIGHTS):
        shape, seen = Shape(made(psi, statistic, weight)), slopes_of(psi, statistic, weight)
        down, up = ({k: bool((sign * s < 0).all()) for k, s in seen.items()} for sign in (1, -1))
        cancels = (np.abs(seen["both"]) <= 1e-9 * (1 + np.abs(seen["winner"]))).all()
        told = [shape.falls_with_each_win, shape.wants_the_loser_lower, shape.wants_the_winner_higher, shape.along_both]
        true = [down["win"], up["loser"], down["winner"], 0 if cancels else up["both"] - down["both"]]
        assert told == ([False, False, False, 0] if one_sided(psi, statistic) else true), (psi, statistic, weight)
        assert shape.of_log_ratios == (cancels and "shortfall" not in statistic), (psi, statistic, weight)


STRICT = {("logistic", x) for x in ("winner", "loser", "uneven", "sum")}
STRICT |= {("exponential", x) for x in ("winner", "loser", "uneven", "sum")}
"""A psi that strictly falls, or rises, of a statistic whose coefficients do not add up to 0; lines see below."""


@pytest.mark.parametrize("statistic", STATISTICS)
def test_one_term_is_convex_and_bounded_as_it_is_said_to_be(statistic: str) -> None:
    """In the logits of three responses, by random chords at two lambdas; bounded, by log-ratios of thousands."""
    rng = np.random.default_rng(0)
    pairs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0] * 3])
    bandit = ea.Bandit([0.3, 0.5, 0.2], [0.8, 0.1, 0.1], pairs)
    ends = rng.normal(size=(2, 4000, 3)) * 10 ** rng.uniform(-1, 1, (4000, 1))
    far = rng.normal(size=(4000, 3)) * 10 ** rng.uniform(0, 3.5, (4000, 1))
    for psi, weight in itertools.product(PSIS, WEIGHTS):
        shape, what = Shape(made(psi, statistic, weight)), (psi, statistic, weight)
        sag, least, size = [], np.inf, []
        for lam in (0.4, 2.0):
            loss = made(psi, statistic, weight).with_lam(lam)
            one, other, middle, out = (
                ea.risk(loss, bandit, torch.tensor(x).log_softmax(-1)).numpy() for x in (*ends, ends.mean(axis=0), far)
            )
            sag.append((one + other) / 2 - middle)
            size.append(1e-13 * (1 + np.abs(one) + np.abs(other)))
            least = min(least, out.min())
        gap, noise = np.concatenate(sag), np.concatenate(size)
        convex, bounded = bool((gap >= -noise).all()), least > -10
        if weight == "-1" or one_sided(psi, statistic):  # of these nothing is read, which is no mistake
            assert not (shape.convex and not convex) and not (shape.bounded_below and not bounded), what
            continue
        assert shape.convex == convex, what
        assert shape.bounded_below == (bounded and (psi, statistic) != ("line up", "loser")), what
        assert not shape.strictly_convex or (gap > noise).mean() > 0.9, what
        lines = (psi == "line down" and statistic in ("winner", "uneven", "sum")) or (psi, statistic) == (
            "line up",
            "loser",
        )
        assert shape.strictly_convex == (((psi, statistic) in STRICT and convex) or lines), what


def test_parts_without_lambda_are_bounded_below_as_their_values_are() -> None:
    """By numbers over log-probabilities down to -1000: an increasing line of log pi is not, a falling one is."""
    x = -np.concatenate([[1e-9], np.geomspace(1e-3, 1e3, 40)])
    w, lose = (y.ravel() for y in np.meshgrid(x, x))
    inside = np.exp(w) + np.exp(lose) < 1
    known = {
        "h": H,
        "hbar": HBAR,
        "winner": log_pi_w,
        "loser": log_pi_l,
        "turned": -1.0 * log_pi_w,
        "relative": log_u_w,
    }
    for (name, statistic), (psi, made_of) in itertools.product(known.items(), PSIS.items()):
        loss = own(lambda lam, p=made_of, s=statistic: p(1.0 * s))
        values = loss.pair_loss(w[inside], lose[inside], np.full(inside.sum(), -1.1), np.full(inside.sum(), -0.6))
        told = Formula(loss).is_bounded_below
        assert not (told and values.min() < -30), (name, psi)
        if (psi, name) in (("line down", "winner"), ("line down", "loser"), ("logistic", "h"), ("square", "relative")):
            assert told, (name, psi)
        if psi.startswith("line") and name in ("h", "hbar", "relative"):
            assert not told, (name, psi)


def test_slopes_that_are_stated_tell_a_strict_way() -> None:
    """Slopes from 1 to 3 rise everywhere, from 0 to 2 not strictly as far as is known; and turned over they fall."""
    steep = terms.Stated(lambda m: 2 * m + (1 + m**2) ** 0.5, slopes=(1.0, 3.0), convex=True)
    level = terms.Stated(lambda m: m + (1 + m**2) ** 0.5, slopes=(0.0, 2.0), convex=True)
    falls = terms.Stated(lambda m: (1 + m**2) ** 0.5 - 2 * m, slopes=(-3.0, -1.0), convex=True)
    for psi, way, strict in ((steep, 1, True), (level, 1, False), (falls, -1, True)):
        for sign in (1.0, -1.0):
            shape = Shape(own(lambda lam, p=psi, s=sign: p(s * (lam * HBAR))))
            assert shape.falls_with_each_win == (strict and way * sign < 0), (way, sign)
            assert shape.wants_the_loser_lower == (strict and way * sign < 0)
        alone = Shape(own(lambda lam, p=psi: p(lam * log_u_w)))
        assert alone.along_both == way * strict and alone.wants_the_winner_higher == (strict and way < 0)


def test_what_a_likelihood_and_pieces_are() -> None:
    for psi, weight in itertools.product(PSIS, WEIGHTS):
        assert Shape(made(psi, "hbar", weight)).polyhedral == (
            psi in ("hinge", "line down", "line up") and weight != "-1"
        )
        assert Shape(made(psi, "hbar", weight)).psis_convex == (psi != "sigmoid" and weight != "-1")
        wells = psi in ("smoothed", "square") and weight != "-1"
        for statistic in ("hbar", "minus hbar", "h and 1/lam"):
            assert Shape(made(psi, statistic, weight)).has_wells == wells, (psi, statistic, weight)
    assert Shape(own(lambda lam: BernoulliKL(1.0)(lam * HBAR))).has_wells
    for target, known in ((0.0, False), (0.3, True), (1.0, False)):
        assert Shape(own(lambda lam, t=target: SquaredSigmoid(t, 1 - t)(lam * HBAR))).has_wells == known


def test_a_proof_is_shown_where_the_first_lambda_is_too_large_to_see_it() -> None:
    """Sigmoids of 400 are 1 at lambda = 1, and what falls there is seen at a hundredth of that."""

    def steep(lam: Any) -> Any:
        return Sigmoid()(lam * (400.0 - log_u_w)) + Sigmoid()(lam * (log_u_l - 400.0))

    one = Subject(own(steep), *written(own(steep)))
    found = first(RULES, "reference_limit", Known(one, {}))
    assert Shape(own(steep)).is_a_difference and found is not None
    assert found[0].name == "no_optimum_on_any_population" and found[1].counterexample is not None
    assert found[1].counterexample.numbers["lam"] == 0.01


def test_minima_are_enclosed_at_the_first_lambda_that_has_one() -> None:
    """Winners want lam log u = 10, and losers -10, which is 2 and -2 where one wins 3 times of 5: at lambda = 1 that
    is more than all mass, and not at 3."""

    def wanted(lam: Any) -> Any:
        return SQUARE(lam * log_u_w - 10.0) + SQUARE(lam * log_u_l + 10.0)

    one = Subject(own(wanted), *written(own(wanted)))
    for about, rule in (("conservation", "a_minimum_elsewhere"), ("uniqueness", "two_unseen_share_what_is_left")):
        (chosen,) = (x for x in RULES if (x.name, x.about) == (rule, about))
        found = chosen.conclude(Known(one, {}))
        assert found is not None and found.counterexample is not None
        assert about == "uniqueness" or found.counterexample.numbers["lam"] == 3.0
    (none,) = (x for x in RULES if x.name == "no_stationary_policy")
    found = none.conclude(Known(one, {}))
    assert found is not None and found.counterexample is not None and found.counterexample.numbers["lam"] == 1.0


def test_what_is_least_somewhere_where_both_win() -> None:
    """A well, or a bounded loss that grows on one side: turned over it grows on the other. Bounded waves have none of
    that, nor has what reads more than log-ratios."""
    both: dict[str, tuple[Callable[[Any], Any], bool]] = {
        "well": (lambda lam: SMOOTHED(lam * HBAR), True),
        "falls": (lambda lam: LOGISTIC(lam * HBAR), True),
        "turned": (lambda lam: LOGISTIC(-1.0 * (lam * HBAR)), True),
        "bounded": (lambda lam: Sigmoid()(lam * HBAR), False),
        "no bound": (lambda lam: LINE(lam * HBAR), False),
        "a bounded part more": (lambda lam: LOGISTIC(lam * HBAR) + Sigmoid()(lam * HBAR), True),
        "weighs nothing": (lambda lam: 0.0 * LOGISTIC(lam * HBAR) + Sigmoid()(lam * HBAR), False),
        "of one": (lambda lam: LOGISTIC(lam * log_u_w), False),
    }
    for name, (formula, attained) in both.items():
        assert Shape(own(formula)).attained_both_ways == attained, name


def test_two_terms_have_a_well_together() -> None:
    """One falls to the right, the other to the left: together they have a well; alone neither, nor with a line that
    outweighs them at an end."""
    left, right = (lambda lam: LOGISTIC(lam * HBAR)), (lambda lam: LOGISTIC(-1.0 * (lam * HBAR)))
    assert Shape(own(lambda lam: left(lam) + 0.1 * right(lam))).has_wells
    back = terms.Logistic(0.0, 1.0)
    assert Shape(own(lambda lam: back(-1.0 * (lam * HBAR)) + back(lam * HBAR))).has_wells
    assert not Shape(own(left)).has_wells and not Shape(own(right)).has_wells
    assert not Shape(own(lambda lam: left(lam) + EXPONENTIAL(lam * HBAR))).has_wells
    assert not Shape(own(lambda lam: left(lam) + LINE(HBAR) + right(lam))).has_wells
    assert Shape(own(lambda lam: HINGE(lam * HBAR) + HINGE(-1.0 * (lam * HBAR)))).has_wells


def test_what_tends_to_zero_without_getting_there() -> None:
    for psi, yes in ((EXPONENTIAL, True), (Modulated(0.5), True), (LOGISTIC, False), (SQUARE, False)):
        assert Shape(own(lambda lam, p=psi: p(lam * HBAR))).approaches_zero == yes, psi
        assert not Shape(own(lambda lam, p=psi: p(-1.0 * (lam * HBAR)))).approaches_zero
        assert not Shape(own(lambda lam, p=psi: p(lam * log_u_w))).approaches_zero
        assert not Shape(own(lambda lam, p=psi: -1.0 * p(lam * HBAR))).approaches_zero


def test_differences_of_single_scores() -> None:
    """G(x_l) - G(x_w): by weights of both signs, or by sigmoids that are turned over; anything else is none."""
    sig, wide = Sigmoid(), terms.Linear(-1.0)
    differences: dict[str, Callable[[Any], Any]] = {
        "turned": lambda lam: sig(lam * (0.3 - log_u_w)) + sig(lam * (log_u_l - 0.3)),
        "by weights": lambda lam: -2.0 * sig(lam * (log_u_w - 0.3)) + 2.0 * sig(lam * (log_u_l - 0.3)),
        "lines": lambda lam: wide(log_pi_w) - wide(log_pi_l),
    }
    others: dict[str, Callable[[Any], Any]] = {
        "another weight": lambda lam: sig(lam * (-1.0 * log_u_w)) + 2.0 * sig(lam * log_u_l),
        "another offset": lambda lam: sig(lam * (0.3 - log_u_w)) + sig(lam * (log_u_l - 0.4)),
        "the same offset": lambda lam: sig(lam * (0.3 - log_u_w)) + sig(lam * (log_u_l + 0.3)),
        "another scale": lambda lam: sig(lam * (-1.0 * log_u_w)) + sig(lam * (2.0 * log_u_l)),
        "another score": lambda lam: sig(lam * (-1.0 * log_u_w)) + sig(lam * log_pi_l),
        "not turned": lambda lam: sig(lam * log_u_w) + sig(lam * log_u_l),
        "the winner twice": lambda lam: sig(lam * (-1.0 * log_u_w)) + sig(lam * log_u_w),
        "three": lambda lam: sig(lam * (-1.0 * log_u_w)) + sig(lam * log_u_l) + sig(lam * HBAR),
        "upside down": lambda lam: sig(lam * log_u_w) + sig(lam * (-1.0 * log_u_l)),
        "other psis": lambda lam: -1.0 * sig(lam * log_u_w) + LOGISTIC(-1.0 * (lam * log_u_l)),
    }
    for name, formula in differences.items():
        assert Shape(own(formula)).is_a_difference, name
        x = np.random.default_rng(0).uniform(-3, -0.7, (2, 50))
        loss, reference = own(formula).with_lam(0.7), np.full(50, -1.0)
        both = loss.loss(x[0], x[1], reference, reference) + loss.loss(x[1], x[0], reference, reference)
        assert np.ptp(both) < 1e-12, name
    for name, formula in others.items():
        assert not Shape(own(formula)).is_a_difference, name


def test_one_number_of_two_scores() -> None:
    """c (s(w) - s(l)) of one s, in as many terms as one likes."""
    yes: dict[str, Callable[[Any], Any]] = {
        "scores": lambda lam: SMOOTHED(lam * terms.powered(0.5)),
        "two terms": lambda lam: LOGISTIC(lam * terms.log_odds) + SQUARE(2.0 * lam * terms.log_odds - 1.0),
        "turned": lambda lam: LOGISTIC(-2.0 * (lam * terms.log_odds)),
    }
    no: dict[str, Callable[[Any], Any]] = {
        "two scores": lambda lam: LOGISTIC(lam * terms.log_odds) + LOGISTIC(lam * HBAR),
        "uneven": lambda lam: LOGISTIC(lam * (log_u_w - 0.5 * log_u_l)),
        "winner": lambda lam: LOGISTIC(lam * log_u_w),
        "two kinds": lambda lam: LOGISTIC(lam * (log_pi_w - log_u_l)),
    }
    assert all(Shape(own(formula)).of_one_number for formula in yes.values())
    for name, formula in no.items():
        assert Shape(own(formula)).of_one_number == (name == "two kinds"), name


def test_shortfalls_can_but_raise_a_loss_if_they_do() -> None:
    for c, yes in ((2.0, True), (-2.0, False)):
        shape = Shape(own(lambda lam, k=c: LOGISTIC(lam * (HBAR + k * shortfall_w))))
        assert shape.only_shortfalls_beside_it == yes and not shape.of_one_number
    turned = Shape(own(lambda lam: LOGISTIC(-1.0 * (lam * (HBAR + 2.0 * shortfall_w)))))
    rising = Shape(own(lambda lam: SQUARE(lam * (HBAR + 2.0 * shortfall_w))))
    assert not turned.only_shortfalls_beside_it and not rising.only_shortfalls_beside_it
    assert Shape(own(lambda lam: SQUARE(lam * HBAR) + LOGISTIC(lam * (HBAR + shortfall_w)))).only_shortfalls_beside_it


# ------------------------------------------------------------------------------------------------------------- scores

UNIT_PSIS = (LOGISTIC, SMOOTHED, SQUARE, HINGE, EXPONENTIAL, LINE, terms.Logistic(-0.5, 1.0), Sigmoid())


def random_terms(count: int) -> list[list[UnitTerm]]:
    rng, found = np.random.default_rng(1), []
    for _ in range(count):
        size = int(rng.integers(1, 3))
        picks = rng.choice(len(UNIT_PSIS), size)
        found.append(
            [
                UnitTerm(UNIT_PSIS[k], *(float(x) for x in (w, a, b, c, d)))
                for k, w, a, b, c, d in zip(
                    picks,
                    rng.choice([1.0, 0.5, -1.0], size, p=[0.6, 0.3, 0.1]),
                    *(rng.choice([0.0, 1.0, -1.0, 2.0, -0.4], size) for _ in range(2)),
                    rng.choice([0.0, 0.0, 1.5, -0.5], size),
                    rng.choice([0.0, 0.3, -1.0], size),
                    strict=True,
                )
            ]
        )
    return found


def test_terms_of_scores_far_out() -> None:
    """weight rho(ell(a, b)) is the limit of psi(ell(t a, t b) - offset) weight/t."""
    for term in (term for together in random_terms(60) for term in together):
        for a, b in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.6, -0.8), (-0.8, 0.6), (0.6, 0.8)):
            found, t = term.far(a, b), 1e6
            with np.errstate(over="ignore"):
                near, there = (float(term.value(np.array(s * a), np.array(s * b))[0]) / s for s in (t / 100, t))
            if np.isinf(found):
                assert there * found > 0 and (abs(there) > 1e200 or abs(there) > 10 * abs(near)), (term, a, b)
            elif not np.isnan(found):
                assert there == pytest.approx(found, abs=1e-4), (term, a, b)
        x, y = np.random.default_rng(2).normal(size=(2, 20))
        shorts = term.short * np.minimum(x, 0.0)
        assert np.allclose(term.margin(x, y), term.winner * x + term.loser * y + shorts)
        shifted = np.allclose(term.margin(x + 1.7, y + 1.7), term.margin(x, y))
        assert term.is_difference == (shifted and term.short == 0)


def test_a_loss_rises_if_it_does_in_all_directions() -> None:
    """Along a fine circle of (a, b): R >= 0, and R(a, b) + R(b, a) > 0 where a and b have not one sign."""
    seen = {True: 0, False: 0}
    for together in random_terms(250):
        turns = [np.arctan2(-t.winner - t.short * (a < 0), t.loser) for t in together for a in (1.0, -1.0)]  # ell = 0
        turns = [*turns, *(np.pi / 2 - x for x in turns), 0.0, np.pi / 2]
        circle = np.array([*np.linspace(0, 2 * np.pi, 360)[:-1] + 1e-3, *turns, *(x + np.pi for x in turns)])
        with np.errstate(invalid="ignore"):
            one, other = (
                np.array([sum(t.far(*ends) for t in together) for ends in zip(*order, strict=True)])
                for order in ((np.cos(circle), np.sin(circle)), (np.sin(circle), np.cos(circle)))
            )
        apart = np.cos(circle) * np.sin(circle) <= 0
        clear = bool((one >= -1e-9).all() and (one + other)[apart].min() > 1e-6)
        # what numbers on a circle do not tell: whether it is above 0 on an axis itself
        on_axes = [sum(t.far(*ray) + t.far(*ray[::-1]) for t in together) for ray in ((1, 0), (-1, 0))]
        expected = clear and min(on_axes) > 1e-9
        assert rises(together) == expected, together
        seen[expected] += 1
    assert min(seen.values()) > 20


def test_scores_of_policies() -> None:
    log_policy, log_reference = np.log([[0.5, 0.3, 0.2]]), np.log([0.2, 0.2, 0.6])
    assert np.allclose(score(Link("log", False, -np.inf), log_policy, log_reference), log_policy)
    for alpha in (0.5, -0.5, 2.0):
        found = score(Link(("powered", alpha), False, -np.inf), log_policy, log_reference)
        assert np.allclose(found, (1 - np.exp(log_policy) ** -alpha) / alpha)
    kl = ea.divergences.ReverseKL()
    found = score(Link(kl, True, -np.inf), log_policy, log_reference)
    assert np.ptp(found - (log_policy - log_reference)) < 1e-12


def test_scores_have_the_limits_that_they_are_said_to_have() -> None:
    """Where pi tends to 0: (1 - pi^-alpha)/alpha to 1/alpha for alpha < 0, and without end else; f'(u) to f'(0)."""
    for statistic, lowest, relative in (
        (terms.powered(-0.5), -2.0, False),
        (terms.powered(0.5), -np.inf, False),
        (terms.powered(-2.0), -0.5, False),
        (HBAR, -np.inf, True),
        (H, -np.inf, False),
        (linked(ea.divergences.ChiSquare()), ea.divergences.ChiSquare().mu_at_zero, True),
    ):
        found = {link_of(atom) for _, atom in statistic.parts}
        (link,) = found
        assert link is not None and (link.lowest, link.relative) == (lowest, relative)
        if np.isfinite(lowest):
            assert score(link, np.array([-200.0]), np.array([0.0]))[0] == pytest.approx(lowest)
    assert Formula(own(lambda lam: LOGISTIC(lam * terms.powered(0.5)))).is_of_scores
    assert not Formula(own(lambda lam: LOGISTIC(lam * terms.powered(-0.5)))).is_of_scores


@pytest.mark.parametrize("odds", [0.05, 1.0, 3.0])
def test_pairs_are_content_where_their_risk_is_least(odds: float) -> None:
    """By a dense look at p psi(x) + (1 - p) psi(-x), near and far: smoothed labels want a finite difference."""
    p = 1 / (1 + np.exp(-odds))
    share = 0.7 * p + 0.3 * (1 - p)
    for scale in (0.01, 1.0, 20.0):
        (found,) = contents(Formula(own(lambda lam, s=scale: SMOOTHED(s * lam * HBAR))), np.array([odds]))
        assert found == pytest.approx(np.log(share / (1 - share)) / scale, rel=1e-4, abs=1e-6)
    (none,) = contents(Formula(own(lambda lam: LINE(lam * HBAR))), np.array([odds]))
    assert np.isnan(none)


# ----------------------------------------------------------------------------------------------------- boxes and wells


def test_slopes_at_the_ends_of_boxes() -> None:
    for psi in (LOGISTIC, SMOOTHED, SQUARE, EXPONENTIAL):
        m = np.array([-np.inf, -3.0, 0.0, 0.7, np.inf])
        found = _slope(psi, m)
        assert psi.slopes is not None
        assert (found[0], found[-1]) == (psi.slopes[0], psi.slopes[1])
        assert np.allclose(found[1:-1], psi.derivatives(m[1:-1])[0])
    s = np.array([0.0, 0.5, 0.9, 1.0])
    assert np.allclose(_logs(s), [0.0, -1.0, -9.0, -np.inf])


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_single_scores_by_their_closed_form(share: float) -> None:
    """-log pi_w of each winner: at total mass m the least risk is where the shares are those of wins."""
    counts = [[0, share, 0], [1 - share, 0, 0], [0, 0, 0]]
    scores = SingleScores.of(ea.SFT(1.0), ea.Bandit.from_counts([0.4, 0.4, 0.2], counts), 1.0)
    assert scores is not None
    for total in (1.0, 0.3):
        assert scores.lowest(total) == pytest.approx([total * share, total * (1 - share)], abs=2e-3)
    assert scores.minimum_inside() is None and scores.none_stationary()
    below, above = scores.gradient(np.array([[-2.0, -3.0]]), np.array([[-1.0, -0.5]]))
    assert below[0] == pytest.approx([-share, share - 1]) and above[0] == pytest.approx([-share, share - 1])


def test_scores_one_by_one_are_not_read_off_what_is_not_convex() -> None:
    """A weight below 0, a wave, an atom that is no log-probability, slopes that are not known: nothing is said."""
    counts = [[0, 0.6, 0], [0.4, 0, 0], [0, 0, 0]]
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], counts)
    for formula, known in (
        (lambda lam: SQUARE(lam * log_u_w - 1.0) + 0.5 * LOGISTIC(lam * HBAR), True),
        (lambda lam: SQUARE(lam * log_u_w - 1.0) - 0.5 * LOGISTIC(lam * HBAR), False),
        (lambda lam: Sigmoid()(lam * log_u_w), False),
        (lambda lam: SQUARE(lam * terms.log_odds), False),
        (lambda lam: terms.Stated(lambda m: m**2, convex=True)(lam * HBAR), False),
        (lambda lam: terms.Stated(lambda m: m**2, slopes=(-np.inf, np.inf), convex=True)(lam * HBAR), True),
    ):
        found = SingleScores.of(own(formula), bandit, 0.7)
        assert (found is not None) == known
        if found is not None:
            x = np.array([-0.9, -1.3])
            value = float(ea.risk(own(formula).with_lam(0.7), bandit, np.append(x, np.log1p(-np.exp(x).sum()))))
            assert found._value(x) == pytest.approx(value)
            step = [(found._value(x + 1e-6 * e) - found._value(x - 1e-6 * e)) / 2e-6 for e in np.eye(2)]
            assert found._gradient(x) == pytest.approx(step, abs=1e-7)


def test_curves_of_two_responses_are_looked_at_from_end_to_end() -> None:
    logs = log_policies(np.array([0.0, 2.0, -800.0]))
    assert np.allclose(np.exp(logs).sum(axis=1), 1.0) and np.allclose(logs[:, 0] - logs[:, 1], [0.0, 2.0, -800.0])
    assert POINTS[0] == -40.0 and POINTS[-1] == 40.0 and POINTS[len(POINTS) // 2] == 0.0


# --------------------------------------------------------------------------------------------------------------- asked


@pytest.mark.parametrize(
    ("flipped", "steady"), [(0.0, True), (1.0, True), (9.9, True), (10.0, True), (10.1, False), (100.0, False)]
)
def test_a_weight_is_steady_up_to_ten_to_one(flipped: float, steady: bool) -> None:
    assert _steady(own(lambda lam: terms.Logistic(1.0, flipped)(lam * HBAR)).facts) == steady
    assert not _steady(own(lambda lam: terms.Logistic(0.0, 1.0)(lam * HBAR)).facts), "it is 0 at -infinity"
    assert not _steady(own(lambda lam: SQUARE(lam * HBAR)).facts) and not _steady(own(lambda lam: LINE(log_pi_w)).facts)


ASKED = {
    "local_minima": "every_minimum_is_lowest",
    "pair_dependence": "pairs_agree",
    "calibration": "the_model_is_the_minimum",
    "gradient_weight": "slopes_bound_the_weight",
    "displacement": "someone_in_every_pair_gains",
}


@pytest.mark.parametrize(
    ("objective", "holds"),
    [
        (ea.DPO(1.0), "local_minima pair_dependence calibration gradient_weight"),
        (ea.EXPO(1.0), "local_minima gradient_weight displacement"),
        (ea.SPO(1.0), "gradient_weight displacement"),
        (ea.RLHF(1.0), "local_minima pair_dependence calibration"),
        (ea.FDPO(1.0), "local_minima pair_dependence calibration"),
        (ea.FDPO(1.0, "chi_square"), "local_minima"),
        (ea.RLHF(1.0, "chi_square"), "local_minima pair_dependence"),
        (ea.IPO(1.0), "local_minima"),
        (ea.Hinge(1.0), "local_minima gradient_weight"),
        (ea.DPO(1.0, label_smoothing=0.1), "local_minima gradient_weight"),
        (ea.SFT(1.0), "local_minima"),
        (ea.NCA(1.0), ""),
        (ea.ExplicitPO(1.0, "alpha", alpha=2.0), "local_minima gradient_weight"),
        (ea.ExplicitPO(1.0, "alpha", alpha=0.5), "gradient_weight displacement"),
        (own(lambda lam: 0.5 * EXPONENTIAL(lam * HBAR)), "local_minima pair_dependence"),
    ],
    ids=repr,
)
def test_what_theorems_answer_of_the_questions_beside_the_twelve(objective: Any, holds: str) -> None:
    known = Known(Subject(objective, *written(objective)), {})
    for key, rule in ASKED.items():
        found = first(tuple(x for x in RULES if x.name == rule), key, known)
        assert (found is not None) == (key in holds.split()), key
        assert found is None or found[1].decision == HOLDS


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 1.01, 2.0])
def test_u_f_prime_is_convex_up_to_alpha_1(alpha: float) -> None:
    assert weighted_slope_convex(ea.divergences.Alpha(alpha)) == (alpha <= 1)
    assert not weighted_slope_convex(ea.divergences.ChiSquare())
