"""Statistics and sums of terms are written with ordinary arithmetic: their values are those of the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.data import Data, evaluate, reference_log_ratio
from expo_analysis.losses.facts import Facts, bend, is_affine, is_likelihood, of_link, of_log_ratio
from expo_analysis.losses.psi import Exponential, Hinge, Linear, Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import (
    Statistic,
    h,
    hbar,
    is_number,
    linked,
    log_odds,
    log_pi_l,
    log_pi_t,
    log_pi_w,
    log_u_l,
    log_u_t,
    log_u_w,
    of_even_lengths,
    of_means,
    per_token,
    powered,
    shortfall_w,
)
from expo_analysis.losses.terms import Sum

RNG = np.random.default_rng(0)
NAMES = ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l", "logp_t", "ref_logp_t")
DATUM = {name: -RNG.exponential(1.5, 40) for name in NAMES} | {
    "length_w": RNG.integers(1, 9, 40).astype(float),
    "length_l": RNG.integers(1, 9, 40).astype(float),
}
W, L, RW, RL, T, RT = (DATUM[name] for name in NAMES)
GAP = RW - RL

WRITTEN: dict[str, tuple[Statistic, np.ndarray]] = {
    "h": (h, W - L),
    "hbar": (hbar, W - L - GAP),
    "third": (log_pi_t - 2.0 * log_u_t, T - 2 * (T - RT)),
    "divided": (hbar / 4.0, (W - L - GAP) / 4),
    "divided and moved": ((h - 3.0) / 0.5, (W - L - 3) / 0.5),
    "turned over": (-(0.5 * (h - 1.5) - 0.25), -(0.5 * (W - L - 1.5) - 0.25)),
    "from a number": (2.0 - 3.0 * h, 2 - 3 * (W - L)),
    "from a number at scale 1": (2.0 - h, 2 - (W - L)),
    "added number": (0.3 * h + 1.0, 0.3 * (W - L) + 1),
    "number first": (1.0 + h, 1 + (W - L)),
    "twice scaled": (2.0 * (3.0 * (h - 1.0) - 2.0), 2 * (3 * (W - L - 1) - 2)),
    "moved twice": ((h - 1.0) - 0.5, W - L - 1.5),
    "scaled and moved twice": ((2.0 * h - 1.0) + 0.25, 2 * (W - L) - 0.75),
    "sum of ones moved by 1": ((log_pi_w - 1.0) - (log_pi_l - 3.0), W - L + 2),
    "sum of moved ones": (2.0 * (log_pi_w - 1.0) + 0.5 * (log_pi_l + 3.0), 2 * (W - 1) + 0.5 * (L + 3)),
    "difference": (2.0 * log_u_w - 3.0 * (log_u_l - 0.5), 2 * (W - RW) - 3 * (L - RL - 0.5)),
    "what cancels": (log_pi_w + log_pi_l - log_pi_w, L),
    "data": (h - reference_log_ratio, W - L - GAP),
    "data times": (reference_log_ratio * h - 2.0 * reference_log_ratio, GAP * (W - L) - 2 * GAP),
    "data twice": ((h - reference_log_ratio) - reference_log_ratio, W - L - 2 * GAP),
    "odds": (log_odds, (W - np.log1p(-np.exp(W))) - (L - np.log1p(-np.exp(L)))),
    "shortfall": (hbar + 2.0 * shortfall_w, W - L - GAP + 2 * np.minimum(W - RW, 0)),
    "powered": (powered(0.5), 2 * (1 - np.exp(-0.5 * W)) - 2 * (1 - np.exp(-0.5 * L))),
    "powered below": (powered(-2.0), (np.exp(2 * W) - np.exp(2 * L)) / 2),
    "not powered": (powered(0.0), W - L),
    "linked": (linked(ea.ChiSquare()), 2 * np.exp(W - RW) - 2 * np.exp(L - RL)),
    "per token": (per_token(2.0 * log_u_w), 2 * (W - RW) / DATUM["length_w"]),
    "means": (of_means(per_token(0.5 * hbar)), 0.5 * (W - L - GAP)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_statistics_are_what_is_written(name: str) -> None:
    statistic, exact = WRITTEN[name]
    np.testing.assert_allclose(statistic.value(DATUM), exact, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose((-statistic).value(DATUM), -exact, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose((statistic / 3.0 - 1.0).value(DATUM), exact / 3 - 1, rtol=1e-12, atol=1e-13)
    read = {key: np.full(40, np.nan) if key not in statistic.reads else x for key, x in DATUM.items()}
    np.testing.assert_array_equal(statistic.value(read), statistic.value(DATUM))
    for key in statistic.reads:  # and nothing that it does not need
        with pytest.raises(KeyError):
            statistic.value({other: x for other, x in DATUM.items() if other != key})


@pytest.mark.parametrize("name", WRITTEN)
def test_atoms_state_their_derivatives(name: str) -> None:
    """In log pi of each slot, against differences."""
    statistic, e = WRITTEN[name][0], 1e-5
    for coefficient, atom in statistic.parts:
        assert coefficient != 0
        first, second = atom.derivatives_of(DATUM)
        key = f"logp_{atom.slot}"
        ends = [atom.of({**DATUM, key: DATUM[key] + sign * e}) for sign in (-1, 0, 1)]
        # not at the kink of a shortfall, nor where log-odds have no end
        near = (np.abs(DATUM[key] - DATUM[f"ref_{key}"]) > 1e-3) & (DATUM[key] < -0.05)
        np.testing.assert_allclose(((ends[2] - ends[0]) / (2 * e) - first)[near], 0, atol=1e-6 * np.abs(first).max())
        bends = (ends[2] - 2 * ends[1] + ends[0]) / e**2
        np.testing.assert_allclose((bends - second)[near], 0, atol=1e-4 * (1 + np.abs(second).max()))


def test_sums_of_terms_are_what_is_written() -> None:
    logistic, square = np.logaddexp(0, -(W - L)), (0.5 * (W - L)) ** 2
    two = 2.0 * Logistic()(h) - 0.5 * Square()(0.5 * h)
    np.testing.assert_allclose(two.value(DATUM), 2 * logistic - 0.5 * square)
    np.testing.assert_allclose((two / 4.0).value(DATUM), (2 * logistic - 0.5 * square) / 4)
    np.testing.assert_allclose((3.0 * two * 2.0).value(DATUM), 6 * (2 * logistic - 0.5 * square))
    weighed = Logistic()(h) * reference_log_ratio + Square()(0.5 * h)
    np.testing.assert_allclose(weighed.value(DATUM), GAP * logistic + square)
    assert weighed.reads == {"logp_w", "logp_l", "ref_logp_w", "ref_logp_l"}
    assert len((Logistic()(h) + 0.0 * Square()(h)).terms) == 1
    nothing = 0.0 * Logistic()(h) + 0.0 * Square()(h)
    assert len(nothing.terms) == 1 and (nothing.value(DATUM) == 0).all()
    for wrong in (lambda: two + 1.0, lambda: two - 1.0, lambda: h * h, lambda: h - h, lambda: 2.0 * h + GAP * log_pi_w):
        with pytest.raises((TypeError, ValueError)):
            wrong()
    data = 2.0 - (1.0 + reference_log_ratio) / 4.0 * reference_log_ratio - 1.0 / (-reference_log_ratio)
    np.testing.assert_allclose(data(DATUM), 2 - (1 + GAP) / 4 * GAP + 1 / GAP)
    np.testing.assert_allclose((reference_log_ratio - 1.0 + 2.0 * reference_log_ratio)(DATUM), 3 * GAP - 1)
    assert data.reads == {"ref_logp_w", "ref_logp_l"} and evaluate(3.0, DATUM) == 3.0


def test_logistic_terms_of_one_statistic_are_one() -> None:
    """Their sum is the same, and there is one of them where statistics are equal or opposite, else all."""
    for terms, count in (
        (Logistic()(h) + 2.0 * Logistic(0.5, 0.25)(h), 1),
        (3.0 * Logistic(0.9, 0.1)(0.7 * hbar) + 2.0 * Logistic(0.5)(-(0.7 * hbar)), 1),
        (Logistic()(h - 1.0) + Logistic()(h - 1.0), 1),
        (Logistic()(2.0 * h - 1.0) + Logistic()(-(2.0 * h - 1.0)), 2),
        (Logistic()(h - 1.0) + Logistic()(h - 2.0), 2),
        (Logistic()(h) + Logistic()(0.5 * h), 2),
        (Logistic()(h) + Logistic()(hbar), 2),
        (Logistic()(h) + Square()(h), 2),
        (Logistic()(h) + Linear(0.0)(hbar), 1),
        (Logistic()(h) + Square()(h) + 3.0 * Logistic()(-h), 2),
    ):
        merged = terms.merged
        assert len(merged.terms) == count, str(terms)
        np.testing.assert_allclose(merged.value(DATUM), terms.value(DATUM), rtol=1e-12)
    zero = (0.0 * Square()(h)).merged
    assert len(zero.terms) == 1 and isinstance(zero.terms[0].psi, Linear) and (zero.value(DATUM) == 0).all()


def test_lengths_that_are_even_are_constants() -> None:
    """A length that all responses have divides; lengths that differ stay; relative atoms only at one token."""
    four = {**DATUM, "length_w": np.full(40, 4.0), "length_l": np.full(40, 4.0)}
    one = {**DATUM, "length_w": np.ones(40), "length_l": np.ones(40)}
    uneven = {**four, "length_l": np.append(np.full(39, 4.0), 5.0)}
    for statistic in (per_token(0.5 * h), per_token(h) - 1.0, per_token(0.3 * hbar), per_token(powered(0.5))):
        plain = all(atom.atom.plain for _, atom in statistic.parts)
        for datum, even in ((one, True), (four, plain), (uneven, False), (DATUM, False)):
            found = of_even_lengths(statistic, datum)
            np.testing.assert_allclose(found.value(datum), statistic.value(datum), rtol=1e-12)
            assert (found is statistic) != even
        without = {key: x for key, x in DATUM.items() if not key.startswith("length")}
        np.testing.assert_allclose(
            of_even_lengths(statistic, without).value(without), of_means(statistic).value(without)
        )
    assert of_even_lengths(h, four) is h


def test_what_a_statistic_is_seen_to_be() -> None:
    """The coefficient of a log-ratio, the divergence of a link, its bend: by table."""
    js, chi = ea.JensenShannon(), ea.ChiSquare()
    for statistic, ratio in (
        (h, 1.0),
        (hbar, 1.0),
        (0.3 * log_pi_w - 0.3 * log_u_l, 0.3),
        (-2.0 * log_pi_w + 2.0 * log_pi_l, -2.0),
        (log_pi_w, None),
        (log_pi_w - 2.0 * log_pi_l, None),
        (log_odds, None),
        (hbar + shortfall_w, None),
        (log_pi_w - log_pi_t, None),
        (linked(js), None),
    ):
        assert of_log_ratio(statistic) == ratio, str(statistic)
        assert is_affine(statistic) == (ratio is not None or statistic.parts == (log_pi_w - log_pi_t).parts)
    for statistic, link in (
        (hbar, ea.ReverseKL()),
        (h, None),
        (log_pi_w - log_u_l, None),
        (linked(js), js),
        (linked(js) + linked(chi), None),
        (Statistic((linked(js).parts[0],)), None),
    ):
        assert of_link(statistic) == link
    for statistic, kind in (
        (h, "affine"),
        (log_pi_w, "concave"),
        (-1.0 * (log_pi_w - 0.0), "convex"),
        (-log_pi_w, "convex"),
        (2.0 * log_pi_w - log_pi_l, "concave"),
        (log_pi_w - 2.0 * log_pi_l, "convex"),
        (hbar + shortfall_w, "concave"),
        (h - shortfall_w, "convex"),
        (log_pi_w - shortfall_w, "unknown"),
        (shortfall_w - log_pi_w, "unknown"),
        (log_odds, "unknown"),
        (powered(0.5), "unknown"),
    ):
        assert bend(statistic, statistic.scale) == kind, str(statistic)
        forward = bend(statistic, 2.0)
        assert bend(statistic, -2.0) == {"concave": "convex", "convex": "concave"}.get(forward, forward)
        assert bend(statistic, np.array([1.0, -1.0])) == (kind if kind == "affine" else "unknown")
    assert is_likelihood(Linear(-1.0), log_pi_w) and is_likelihood(Linear(2.0), log_pi_w + log_u_l)
    for psi, statistic in ((Linear(-1.0), h), (Square(), log_pi_w), (Linear(-1.0), log_odds), (Linear(-1.0), log_pi_t)):
        assert not is_likelihood(psi, statistic)
    assert is_number(1, 1.0) and is_number(0.0, 0) and not is_number(np.ones(1), 1) and not is_number(2.0, 1)


def test_facts_by_table() -> None:
    """Link, likelihood, generality, slopes, bounds and closed forms of sums that have more than one kind of term."""
    js, chi = ea.JensenShannon(), ea.ChiSquare()

    def facts(terms: Sum, regulariser: Any = None) -> Facts:
        return Facts(terms, regulariser)

    assert facts(Logistic()(linked(js))).link == js and facts(Logistic()(linked(js)), chi).link is None
    assert facts(Logistic()(linked(js)) + Square()(linked(js))).link == js
    assert facts(Logistic()(linked(js)) + Square()(linked(chi))).link is None
    both = facts(Logistic()(2.0 * h) + 0.5 * Linear(-3.0)(2.0 * log_pi_w + log_pi_l))
    assert both.likelihood == {"w": 3.0, "l": 1.5} and not both.general
    twice = facts(Linear(-1.0)(log_pi_w) + 2.0 * Linear(-1.0)(log_u_w))
    assert twice.likelihood == {"w": 3.0} and twice.closed_form
    rising = facts(Logistic()(h) + Linear(1.0)(log_pi_w))
    assert rising.likelihood == {} and rising.general
    assert facts(Logistic()(h) + Square()(log_pi_w)).general and not facts(Logistic()(h)).general
    # slopes in the log-ratio: weight times scale, turned where the scale is negative
    left, right = facts(3.0 * Logistic(0.8, 0.2)(2.0 * h) + 0.5 * Hinge()(-4.0 * h)).slopes
    np.testing.assert_allclose([left, right], [-3 * 2 * 0.8, 3 * 2 * 0.2 + 0.5 * 4])
    assert facts(Exponential()(h) + Square()(h)).slopes == (-np.inf, np.inf)
    assert facts(0.0 * Square()(h) + Logistic()(h)).slopes == (-1.0, 0.0)
    assert facts(Logistic()(log_odds)).slopes is None and facts(Exponential()(h) - Exponential()(h)).slopes is None
    # the slowest rate counts; hinges are straight, and what is turned over nears its lines on the other side
    assert facts(Logistic()(2.0 * h) + Logistic()(0.5 * h)).decay == (0.5, 0.5)
    assert facts(Exponential()(3.0 * h) + Hinge()(h)).decay == (0.0, 3.0)
    assert facts(Exponential()(-3.0 * h)).decay == (3.0, 0.0) and facts(Hinge()(h)).decay == (np.inf, np.inf)
    assert facts(Logistic()(log_odds)).decay is None
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert facts(2.0 * Logistic(0.9, 0.1)(h) + 3.0 * Sigmoid()(h)).lower_bound == pytest.approx(2 * entropy)
    assert facts(Logistic()(h) - Sigmoid()(h)).lower_bound is None
    # M: the largest of terms, psi's own times scale and positive coefficients; 1 for lines in log-probabilities
    assert facts(Logistic()(3.0 * h) + Logistic()(0.5 * h)).self_concordance == 3.0
    assert facts(Logistic()(0.5 * h) + Linear(-2.0)(log_pi_w)).self_concordance == 1.0
    assert (
        facts(Square()(7.0 * h)).self_concordance == 0.0 and facts(Square()(h), ea.ForwardKL()).self_concordance == 1.0
    )
    assert facts(Hinge()(h)).self_concordance is None and facts(Logistic()(h), js).self_concordance is None
    assert facts(Logistic()(2.5 * linked(js))).score_concordance == 2.5
    assert facts(Logistic()(linked(js)), chi).score_concordance is None
    # the population's optimum in closed form: logistic and exponential of one statistic, squares, likelihoods
    assert facts(Logistic()(0.3 * hbar)).log_odds_scale == pytest.approx(0.3)
    assert facts(Exponential()(0.3 * h)).log_odds_scale == pytest.approx(0.6)
    assert facts(Exponential()(0.5 * h) + 2.0 * Logistic()(1.0 * h)).log_odds_scale == 1.0
    for terms in (
        Exponential()(h) + Logistic()(h),
        Logistic()(h) + Logistic()(hbar),
        Logistic()(h - 1.0),
        Logistic()(0.5 * h - 1.0),
        -1.0 * Logistic()(h),
        Logistic()(h) * reference_log_ratio,
        Logistic(reference_log_ratio)(h),
        Logistic()(reference_log_ratio * h),
        Logistic()(h) + Linear(-1.0)(log_pi_w),
        Logistic()(log_u_w - log_pi_l),
        Hinge()(h),
    ):
        assert facts(terms).log_odds_scale is None, str(terms)
    for terms, regulariser, closed in (
        (Logistic()(h), None, True),
        (Logistic()(h), js, False),
        (Square()(h - 0.5), None, True),
        (Square()(h) + Square()(0.5 * h - 1.0), None, True),
        (Square()(h) + Logistic()(h), None, False),
        (Logistic()(linked(js)), None, True),
        (Logistic()(linked(chi)), None, False),
        (Linear(-1.0)(log_pi_w), None, True),
        (Logistic()(h) + Linear(-1.0)(log_pi_w), None, False),
    ):
        assert facts(terms, regulariser).closed_form == closed, str(terms)
    assert facts(Square()(h)).needs_reference is False and facts(Square()(hbar)).needs_reference is True
    assert facts(Square()(h) * reference_log_ratio).needs_reference
    assert not facts(Logistic()(h) + Sigmoid()(h)).convex and not facts(-1.0 * Logistic()(h)).convex
    assert facts(Logistic()(h), ea.ForwardKL()).convex and not facts(Logistic()(h), ea.ReverseKL()).convex
    assert facts(Exponential()(log_pi_w)).convex and not facts(Exponential()(-log_pi_w)).convex
    assert not facts(Square()(log_pi_w)).convex and facts(Linear(-1.0)(log_pi_w)).convex
    assert not facts(Linear(1.0)(log_pi_w)).convex and facts(Linear(1.0)(-log_pi_w)).convex


@dataclass(frozen=True)
class WithLengths(ea.PairObjective):
    """A bare formula that reads lengths, and is flat where h > 1 at a length of one."""

    name = "with_lengths"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any, length_w: Any) -> Any:
        short = length_w - (logp_w - logp_l) + 0.0 * ref_logp_w
        return (abs(short) + short) ** 2 / 4 + 0.0 * abs(short) / length_w

    def ratio_slopes(self) -> tuple[float, float]:
        return -np.inf, 0.0


def test_a_formula_of_lengths_is_seen_at_one_token() -> None:
    assert WithLengths(1.0).facts.decay == (0.0, np.inf)
    assert WithLengths(1.0).data == ("length_w",)


def test_the_least_of_a_convex_psi_is_told_where_its_minimum_is_outside() -> None:
    """At the nearer end of an interval, to all digits."""
    for psi, minimum in ((Square(), 0.0), (Logistic(0.7, 0.3), np.log(7 / 3)), (Logistic(0.2, 0.8), np.log(1 / 4))):
        low = np.array([-4.0, -3.0, minimum + 0.1, minimum + 1.5])
        high = np.array([minimum - 1.0, minimum - 0.05, minimum + 0.3, 40.0])
        ends = np.where(high < minimum, high, low)
        np.testing.assert_array_equal(psi.least(low, high), psi.value(ends))
        inside = psi.least(np.array([minimum - 0.1]), np.array([minimum + 0.2]))
        np.testing.assert_array_equal(inside, psi.lower_bound)
    half = Linear(0.5)
    np.testing.assert_array_equal(half.least(np.array([-2.0, -np.inf]), np.array([1.0, 1.0])), [-1.0, -np.inf])
    np.testing.assert_array_equal(Linear(-0.5).least(np.array([-2.0, 0.0]), np.array([1.0, np.inf])), [-0.5, -np.inf])


OPTIONS = [
    *[(ea.KTO, name, 0.0, False, None, False) for name in ("desirable_weight", "undesirable_weight")],
    (ea.KTO, "reference_point", 0.0, True, None, False),
    (ea.DiscoPOP, "tau", 0.0, False, None, False),
    (ea.SPO, "alpha", 0.0, False, None, False),
    (ea.EXO, "label_smoothing", 0.0, False, 0.5, False),
    (ea.DPO, "label_smoothing", 0.0, True, 0.5, False),
    (ea.AOT, "label_smoothing", 0.0, True, 0.5, False),
    (ea.PessimisticDPO, "beta", 0.0, False, None, False),
    (ea.DPOShift, "shift", 0.0, False, 1.0, True),
    (ea.CalDPO, "strength", 0.0, False, None, False),
    (ea.SimPO, "gamma", 0.0, True, None, False),
    (ea.AlphaPO, "gamma", 0.0, True, None, False),
    *[(cls, "alpha", 0.0, False, None, False) for cls in (ea.CPO, ea.RPO, ea.ODPO)],
    (ea.DPOP, "penalty", 0.0, False, None, False),
    (ea.RewardAwarePO, "eta", 0.0, False, None, False),
    *[(ea.MADPO, name, 0.0, False, None, False) for name in ("tau", "rate")],
    (ea.MADPO, "most", 1.0, False, None, False),
    (ea.MADPO, "least", 0.0, False, 1.0, False),
]


@pytest.mark.parametrize(("cls", "name", "low", "low_too", "high", "high_too"), OPTIONS)
def test_the_ends_of_options(
    cls: Any, name: str, low: float, low_too: bool, high: float | None, high_too: bool
) -> None:
    """What lies just outside is refused by the option's name, what lies just inside is taken, ends as told."""
    ends = [(low, -1.0, low_too)] + ([] if high is None else [(high, 1.0, high_too)])
    for end, outward, included in ends:
        assert getattr(cls(0.5, **{name: end - 1e-3 * outward}), name) == end - 1e-3 * outward
        for value in (end + 1e-3 * outward, *([] if included else [end])):
            with pytest.raises(ValueError, match=name):
                cls(0.5, **{name: value})
        if included:
            assert getattr(cls(0.5, **{name: end}), name) == end
    if high is None:
        assert getattr(cls(0.5, **{name: 1e6}), name) == 1e6
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=name):
            cls(0.5, **{name: value})


DEFAULTS: dict[Any, dict[str, Any]] = {
    ea.AOT: {"label_smoothing": 0.0, "unpaired": False},
    ea.AlphaPO: {"alpha": 0.25, "gamma": 0.1},
    ea.BCO: {"reference_point": 0.0},
    ea.CPO: {"alpha": 1.0},
    ea.CalDPO: {"strength": 0.5},
    ea.DPO: {"label_smoothing": 0.0, "robust": False},
    ea.DPOP: {"penalty": 50.0},
    ea.DPOShift: {"shift": 0.75},
    ea.DiscoPOP: {"tau": 0.05},
    ea.EXO: {"label_smoothing": 1e-3},
    ea.KTO: {"desirable_weight": 1.0, "undesirable_weight": 1.0, "reference_point": 0.0},
    ea.MADPO: {"tau": 2.0, "most": 2.0, "least": 0.5, "rate": 1.0},
    ea.ODPO: {"alpha": 1.0, "scale": "linear"},
    ea.PessimisticDPO: {"beta": 0.1},
    ea.RPO: {"alpha": 1.0},
    ea.RewardAwarePO: {"distance": "backward_kl", "eta": 1.0},
    ea.SLiC: {"margin": 1.0},
    ea.SPO: {"alpha": 1.0},
    ea.SimPO: {"gamma": 0.5},
    ea.TPO: {"alpha": 1.0},
    ea.WRPO: {"alpha": 0.1},
    ea.ExplicitPO: {"divergence": "forward_kl"},
    ea.FDPO: {"divergence": "jensen_shannon"},
    ea.RLHF: {"divergence": "reverse_kl"},
    ea.QRPO: {"partition": "continuous"},
    ea.RegressionEXPO: {"criterion": "squared_error"},
}


@pytest.mark.parametrize("cls", DEFAULTS, ids=lambda cls: cls.__name__)
def test_defaults_of_losses(cls: Any) -> None:
    """Those of the papers and of TRL, which whoever leaves an option out means."""
    one = cls(0.5)
    for name, default in DEFAULTS[cls].items():
        assert getattr(one, name) == default or str(default) in str(getattr(one, name)).lower()
    assert one == cls(0.5, **DEFAULTS[cls]) and one.lam == 0.5


def test_the_references_log_ratio_is_written_with_its_sign() -> None:
    backward = Data(lambda datum: datum["ref_logp_l"] - datum["ref_logp_w"], frozenset({"ref_logp_l", "ref_logp_w"}))
    assert str(h - reference_log_ratio) == "h - h_ref"
    assert str(h - backward) == "h + h_ref"
    assert str(h - 0.5 * backward) == "h + h_ref/2"
