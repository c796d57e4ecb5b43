"""What is told of statistics and rewards far out, of rounding in the logits, and of which losses are understood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.divergences import Alpha, ChiSquare, ForwardKL, JensenShannon, MixedChiSquare, ReverseKL
from expo_analysis.losses.psi import Exponential, Hinge, Linear, Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import (
    Shortfall,
    Statistic,
    h,
    hbar,
    linked,
    log_odds,
    log_pi_l,
    log_pi_w,
    log_u_l,
    log_u_w,
)
from expo_analysis.optima.laplacian import incidence
from expo_analysis.optima.restricted import restricted_optima
from expo_analysis.optima.restricted.kinks import understood
from expo_analysis.optima.restricted.tails import Tail, held, statistic_range

from . import problems
from .own_losses import own
from .test_optima_parts import Bare, BareOfEnds

N, PROMPTS = 4, 3


def drawn(objective: ea.Objective, seed: int, decay: float = 0.0, d: int = 1) -> tuple[ea.Bandit, Any]:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(PROMPTS, 3.0))
    bandit = ea.Bandit(*rng.dirichlet(np.full(N, 2.0), (2, PROMPTS)), prompt_weights=weights)
    return bandit, problems.restricted_family(objective, bandit, rng.standard_normal((PROMPTS, N, d)), decay)


STATISTICS: dict[str, Statistic] = {
    "hbar": 0.7 * hbar - 0.3,
    "turned over": -2.0 * h + 0.4,
    "of one": 1.5 * (log_pi_w - 0.2) - 0.1,
    "of the loser": -0.6 * log_u_l,
    "uneven": 2.0 * log_u_w - log_pi_l,
    "log-odds": 0.8 * log_odds - 1.0,
    "log-odds, turned over": -1.2 * log_odds,
    "alpha": 0.9 * linked(Alpha(0.4)),
    "alpha, turned over": -1.1 * linked(Alpha(0.4)) + 0.2,
    "alpha above 1": 0.5 * linked(Alpha(1.6)),
    "jensen-shannon": -(linked(JensenShannon())),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_ranges_of_statistics_over_a_tail(name: str) -> None:
    """No value on it is outside; an end is infinite where values run there; far out what settles is told exactly."""
    statistic, settled = STATISTICS[name], 0
    for seed in range(3):
        _, family = drawn(own(lambda lam: Square()(statistic)), seed)
        problem, f = family.cells.problem, family.directions[0, :, :, 0].T.copy()
        f[np.argsort(f[:, 0])[-2], 0] = f[:, 0].max()  # on one prompt two responses stay
        for start in (0.0, 1.0, 60.0):
            tail = Tail(family.base, f, np.full(PROMPTS, start))
            low, high = statistic_range(problem, statistic, tail)
            values = []
            for t in start + np.concatenate([[0.0], np.geomspace(1e-2, 300.0, 60)]):
                x = family.base + f * t
                log_policy = x - np.logaddexp.reduce(x, axis=0)
                ends = {f"logp_{s}": log_policy[e] for s, e in problem.edges.by_slot.items()}
                with np.errstate(all="ignore"):
                    values.append(np.broadcast_to(statistic.value({**problem.datum, **ends}), low.shape))
            array = np.array(values)
            size = 1e-11 * (1 + np.abs(np.where(np.isfinite(array), array, 0.0)))
            assert (array >= low - size).all() and (array <= high + size).all()
            last = array[-1]
            if start == 60.0:
                still = np.isfinite(last) & (np.abs(last - array[0]) < 1e-9) & (np.abs(last) < 50)
                np.testing.assert_allclose(low[still], last[still], atol=1e-6)
                np.testing.assert_allclose(high[still], last[still], atol=1e-6)
                settled += int(still.sum())
    assert settled > 0


KEEP = [ReverseKL(), JensenShannon(), MixedChiSquare(), Alpha(0.5), Alpha(0.2)]
LOSE = [ChiSquare(), ForwardKL(), Alpha(1.5)]


def test_pairs_without_weight_hold_nothing_up() -> None:
    """On the first prompt 0 and 1, which move apart slowly, are not compared; on the second they move apart fast."""
    wins = np.zeros((2, 3, 3))
    wins[0, 0, 2] = wins[1, 0, 1] = 1
    bandit = ea.Bandit.from_counts(np.full((2, 3), 1 / 3), wins)
    rise = np.array([[[0.0], [-1.0], [-3.0]], [[0.0], [-3.0], [-3.0]]])
    for step, kept in ((0.5, True), (0.3, False)):
        family = problems.restricted_family(
            own(lambda lam, step=step: Logistic()(step * h), ReverseKL()), bandit, rise, 0.0
        )
        f = np.take_along_axis(rise[:, :, 0].T, family.cells.responses, 0)
        assert held(family.cells, f) == kept


def test_what_a_divergence_keeps() -> None:
    """Those with f'(0+) = -inf hold rewards; others nothing. Losses: at rates of at least (1 - a) g, downwards."""
    f = np.array([[0.0], [-1.0], [-3.0]])  # g = 1
    three = ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2])
    one_way = ea.Bandit.from_counts([0.2, 0.3, 0.5], [[0, 2, 3], [0, 0, 1], [0, 0, 0]])
    other_way = ea.Bandit.from_counts([0.2, 0.3, 0.5], [[0, 0, 0], [2, 0, 0], [3, 1, 0]])

    def holds(objective: ea.Objective, bandit: ea.Bandit = three, rise: np.ndarray = f) -> bool:
        family = problems.restricted_family(objective, bandit, rise[None], 0.0)
        order = family.cells.responses
        return held(family.cells, np.take_along_axis(rise, order, 0))

    named = {"reverse_kl": True, "jensen_shannon": True, "mixed_chi_square": True, "chi_square": False}
    for name, kept in named.items():
        assert holds(ea.RLHF(0.3, name)) == kept
    for alpha, kept in ((0.5, True), (0.2, True), (1.5, False)):
        assert holds(ea.RLHF(0.3, "alpha", alpha=alpha)) == kept
    for divergence in KEEP:
        a = divergence.alpha if isinstance(divergence, Alpha) else 0.0
        for step in (0.2, 0.45, 0.55, 0.9, 1.1, 3.0):  # the slowest pair, 0 and 1, is 1 apart
            objective = own(lambda lam, step=step: Logistic()(step * h), divergence)
            assert holds(objective) == (step >= 1 - a), (divergence, step)
            assert holds(own(lambda lam, step=step: Logistic()(step * h) + Sigmoid()(0.1 * h), divergence)) == (
                1 - a <= 0.1
            )
        equal = own(lambda lam, a=a: Logistic()((1 - a) * h), divergence)  # the one order, but for the factor t
        assert holds(equal) == (a == 0)
        # e^-m has a straight line on neither side: where it rises without end there is no such rate
        rising = own(lambda lam: Exponential()(3.0 * h), divergence)
        assert holds(rising, one_way) and not holds(rising, other_way) and not holds(rising)
        # hinges have nothing left from some margin on; squares never end
        assert holds(own(lambda lam: 0.3 * Hinge()(0.01 * h), divergence))
        assert not holds(own(lambda lam: Square()(3.0 * h), divergence))
        # no lower bound; more than log-ratios; nothing that falls
        assert not holds(own(lambda lam: Logistic()(3.0 * h) + Linear(-1.0)(h), divergence))
        assert not holds(own(lambda lam: Logistic()(3.0 * h) + Linear(-1.0)(log_pi_w), divergence))
        assert not holds(own(lambda lam: Logistic()(3.0 * h), divergence), rise=np.zeros((3, 1)))
    for divergence in LOSE:
        assert not holds(own(lambda lam: Logistic()(3.0 * h), divergence))


class OwnKL(ForwardKL):
    """KL(pi_ref || pi) by another name, which is taken for no cross-entropy."""


CELLS: dict[str, ea.Objective] = {
    "dpo": ea.DPO(0.7),
    "ipo": ea.IPO(0.6),
    "cpo": ea.objective("cpo", 0.7),
    "expo": ea.EXPO(0.4),
    "own divergence": ea.ExplicitPO(0.4, OwnKL()),
    "own divergence, likelihood": own(lambda lam: Logistic()(h) + 0.3 * Linear(-1.0)(log_pi_w), OwnKL()),
    "two": own(lambda lam: Logistic()(2.0 * h) + Square()(0.4 * hbar - 0.2) + 0.3 * Linear(-1.0)(log_pi_w)),
}


@pytest.mark.parametrize("name", CELLS)
def test_what_an_error_of_the_logits_makes_of_the_gradient(name: str) -> None:
    """Logits that are off by e move it by 2 e bend along pairs and 2 e own_bend at responses, at most, and by as much.

    No error at a response goes unseen where there are no pairs: a cross-entropy has T pi, T its weight.
    """
    largest = 0.0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        _, family = drawn(CELLS[name], seed)
        cells, x = family.cells, family.base + rng.standard_normal(family.base.shape)
        assert cells.certifiable
        told, e = cells.errors(x), 1e-6
        np.testing.assert_allclose(told.gradient, cells.expand(x).gradient, atol=1e-14)
        assert (told.weights <= cells.expand(x).curvature).all()
        np.testing.assert_allclose(told.weights, cells.expand(x).curvature, atol=1e-10)
        most = np.abs(incidence(N)) @ (2 * e * told.bend) + 2 * e * told.own_bend
        for _ in range(40):
            moved = cells.expand(x + e * rng.choice([-1.0, 1.0], x.shape)).gradient - cells.expand(x).gradient
            assert (np.abs(moved) <= most * (1 + 1e-4) + 1e-15).all()
            largest = max(largest, (np.abs(moved) / most).max())
        problem = cells.problem
        if problem.target is not None and problem.divergence is None:
            policy = np.exp(x - np.logaddexp.reduce(x, axis=0))
            np.testing.assert_allclose(told.own_bend, policy * problem.target.sum(axis=0), rtol=1e-12)
        for errors in (told.currents, told.at_responses):
            assert (errors >= 0).all() and (errors < 1e-12).all()
    assert largest > 0.25


@pytest.mark.parametrize("kind", [Bare, BareOfEnds])
def test_weights_of_a_formula_are_its_curvature_less_rounding(kind: type[Bare]) -> None:
    for seed in range(3):
        _, family = drawn(kind(0.7), seed)
        cells, x = family.cells, family.base + np.random.default_rng(seed).standard_normal(family.base.shape)
        assert cells.certifiable
        told, curvature = cells.errors(x), cells.expand(x).curvature
        np.testing.assert_array_less(told.weights, curvature)
        np.testing.assert_allclose(told.weights, curvature, rtol=2e-6, atol=1e-11)
        np.testing.assert_allclose(told.gradient, drawn(kind.of, seed)[1].cells.expand(x).gradient, atol=1e-11)


def test_which_kinks_are_understood() -> None:
    """Convex, with kinks of a kind that is known, beside parts of known self-concordance."""
    known = [
        ea.Hinge(0.6),
        ea.SLiC(0.6),
        ea.DPOP(0.6, penalty=2.0),
        own(lambda lam: Hinge(0.2)(2.0 * hbar) + Logistic()(h) + 0.3 * Linear(-1.0)(log_pi_w)),
    ]
    unknown = [
        ea.DPO(0.6),
        ea.RLHF(0.6),
        ea.objective("orpo", 0.6),
        own(lambda lam: Hinge()(h) + Sigmoid()(h)),
        own(lambda lam: Hinge()(log_pi_w)),
        own(lambda lam: Hinge()(h) + -0.5 * Square()(h)),
        own(lambda lam: Logistic()(hbar + Statistic(((2.0, Shortfall("l")),)))),
    ]
    for objectives, understood_ in ((known, True), (unknown, False)):
        for objective in objectives:
            assert understood(drawn(objective, 0)[1]) == understood_, objective


@pytest.mark.parametrize(
    "shape", [(3, 4, 1), (1, 3, 5, 1), (1, 3, 3, 1), (2, 3, 4, 1), (3, 2, 4, 1), (1, 3, 4, 1, 1), (1, 4, 3, 1)]
)
def test_batches_of_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    bandit, _ = drawn(ea.DPO(0.5), 0)
    message = r"features must have shape \(B, P, 4, d\) with B P = 3, got"
    with pytest.raises(ValueError, match=message):
        restricted_optima(ea.DPO(0.5), bandit, np.ones(shape))
    good = np.random.default_rng(0).standard_normal((1, 3, 4, 1))
    for decay in (-1.0, np.inf, np.nan, [0.1, 0.2], [[0.1]]):
        with pytest.raises(ValueError, match="decay must be finite, not negative, and one number or 1; got"):
            restricted_optima(ea.DPO(0.5), bandit, good, decay)
    for decay in (0.0, 0.2, [0.2]):
        assert (restricted_optima(ea.DPO(0.5), bandit, good, decay).status == "optimal").all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_stays_constant_is_told_to_the_rounding_of_all_that_it_is_a_sum_of(sign: float) -> None:
    """Of one response that has all mass, +-log pi = 0 is told from b, f t and the largest f t, of millions each."""
    base, f, start = np.array([[3e6], [0.0]]), np.array([[1e6], [-1e6]]), np.array([7.0])
    low, high = Tail(base, f, start).ranges(sign * f[0], sign * base[0], sign, slice(None))
    slack = 1e-13 * (3e6 + 7e6 + 7e6)
    assert low == pytest.approx(-slack, rel=1e-12) and high == pytest.approx(slack, rel=1e-12)
