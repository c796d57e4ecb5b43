"""Losses of one's own that only seem to meet the premises of a theorem, each with what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.rules.given import given
from expo_analysis.desiderata.rules.in_lambda import InLambda
from expo_analysis.desiderata.rules.masses import open_reward
from expo_analysis.desiderata.rules.shapes import Shape
from expo_analysis.desiderata.rules.signs import Sign
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import EVIDENCE, FAILS, HOLDS, PROVEN, Counterexample, Decision, Verdict
from expo_analysis.divergences import Alpha, ChiSquare, Divergence, ForwardKL, ReverseKL, mu_is_slope
from expo_analysis.losses import Claims, RewardObjective
from expo_analysis.losses.data import Data
from expo_analysis.losses.statistics import Atom, Linked, Statistic, linked
from expo_analysis.numerics import exp, log_sigmoid, namespace
from expo_analysis.terms import (
    Linear,
    Logistic,
    Square,
    Stated,
    h,
    hbar,
    log_pi_l,
    log_pi_w,
    log_u_l,
    log_u_w,
    powered,
)

GRID = np.sinh(np.linspace(-8.0, 8.0, 16001))
"""log pi_0/pi_1 of two responses, out to 1490."""


@dataclass(frozen=True)
class Own(ea.PairObjective):
    """Terms by a function of lambda."""

    made: Callable[[Any], Any]
    divergence: Any = None
    name = "own"

    @property
    def terms(self) -> Any:
        return self.made(self.lam)

    @property
    def regulariser(self) -> Any:
        return self.divergence


def rule(objective: Any, key: str, **verdicts: Verdict) -> str:
    """The name of the rule that decides, "" for none."""
    found = first(RULES, key, Known(Subject(objective, "loss", "loss = ...", effort=0.05), verdicts))
    return "" if found is None else found[0].name


def least(objective: Any, bandit: ea.Bandit) -> float:
    """pi_0 of the best policy of two responses on the grid."""
    logs = np.stack([-np.logaddexp(0.0, -GRID), -np.logaddexp(0.0, GRID)], axis=1)
    return float(np.exp(logs[np.argmin(ea.risk(objective, bandit, logs)), 0]))


# -------------------------------------------------------------------------------- what lambda does, seen by a symbol


def steeper_far_out(lam: Any) -> Any:
    """-log sigma(h), and beyond h = 6 lam^2 times a square."""

    def psi(m: Any) -> Any:
        far = (m - 6).clip(0, None)
        return -log_sigmoid(m) + (lam**2 * far**2 if bool((m > 6).any()) else 0.0)

    return Stated(psi, lower_bound=0.0)(h)


def capped(lam: Any) -> Any:
    """DPO with lambda up to 1e13, where it is a number or an array."""
    if isinstance(lam, float | np.ndarray):
        lam = np.minimum(lam, 1e13)
    elif isinstance(lam, torch.Tensor):
        lam = lam.clamp(max=1e13)
    return Logistic()(lam * hbar)


def turned_over(lam: Any) -> Any:
    """A likelihood whose sign another one takes for what is no number."""
    sign = 1.0 if isinstance(lam, float | np.ndarray | torch.Tensor) else -1.0
    return sign * Linear()(log_pi_w) + Logistic()(h)


def test_margins_far_out_are_looked_at() -> None:
    loss, bandit = Own(1.0, steeper_far_out, ForwardKL()), ea.Bandit([0.9999, 0.0001], [0.5, 0.5])
    assert abs(least(loss.with_lam(1e6), bandit) - 0.9999) > 1e-3  # h is 6 there, and not 9.2
    assert rule(loss, "reference_limit") == ""
    assert rule(Own(1.0, lambda lam: Logistic()(h), ForwardKL()), "reference_limit") == "two_terms_at_infinity"


def test_what_a_symbol_tells_of_a_formula_is_what_numbers_tell() -> None:
    bandit = ea.Bandit([0.3, 0.7], [0.6, 0.4])
    one, other = (float(ea.risk(Own(lam, capped), bandit, np.log([0.31, 0.69]))) for lam in (1e13, 1e15))
    assert one == other  # lambda -> infinity leads nowhere
    assert rule(Own(1.0, capped), "reference_limit") == ""
    assert rule(Own(1.0, lambda lam: Logistic()(lam * hbar)), "reference_limit") == "scores_stay_bounded"
    assert Shape(Own(1.0, turned_over)).parts is None
    assert Shape(Own(1.0, lambda lam: Linear()(log_pi_w) + Logistic()(h))).parts is not None


def test_symbols_are_in_no_table() -> None:
    """A table answers what it does not know with a default, which is no constant."""
    for symbol in (given("ref_logp_w"), InLambda.itself(), Sign(1)):
        with pytest.raises(TypeError):
            {0.5: 1.0}.get(symbol, 0.0)  # type: ignore[call-overload]

    table = {float(np.log(0.5)): 300.0}

    def offset(datum: Any) -> Any:
        known = datum["ref_logp_w"]
        numbers = known.detach().numpy() if isinstance(known, torch.Tensor) else known
        found = np.vectorize(lambda x: table.get(x, 0.0), otypes=[object])(numbers)
        return torch.tensor(found.astype(float)) if isinstance(known, torch.Tensor) else found.astype(float)

    loss = Own(1.0, lambda lam: Logistic()(lam * hbar - Data(offset, frozenset({"ref_logp_w"}))))
    bandit = ea.Bandit([0.5, 0.25, 0.25], [0.396, 0.594, 0.01], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    better, worse = ([0.032, 0.918, 0.05], [0.9495, 0.0005, 0.05])  # lam hbar is -0.4 and 0.7
    values = [float(ea.risk(loss.with_lam(0.1), bandit, np.log(p))) for p in (worse, better)]
    assert values[0] < values[1]  # the worse response is wanted
    assert rule(loss, "weak_interpolation") == rule(loss, "reference_limit") == ""


def test_a_reference_that_is_read_at_other_lambdas_is_read() -> None:
    def beyond(lam: Any) -> Any:
        return Logistic()(h) + max(lam - 1, 0.0) * Square()(hbar)

    loss, bandit = Own(1.0, beyond), ea.Bandit([0.3, 0.7], [0.6, 0.4])
    assert abs(least(loss.with_lam(1e6), bandit) - 0.3) < 1e-2
    assert rule(loss, "reference_limit") == ""
    assert rule(Own(1.0, lambda lam: Logistic()(lam * h)), "reference_limit") == "no_reference"


@dataclass(frozen=True)
class Between(ea.PairObjective):
    """Convex, and says so, but for lambdas from 2 to 8, for which it does not."""

    name = "between"

    def pair_loss(self, w: Any, l: Any, rw: Any, rl: Any) -> Any:  # noqa: E741
        return -log_sigmoid(w - l) - 8 * exp(-((w - l - 3) ** 2)) * ((self.lam > 2) & (self.lam < 8))

    @property
    def claims(self) -> Claims:
        outside = (np.asarray(self.lam) <= 2) | (np.asarray(self.lam) >= 8)
        return Claims(bool(np.all(outside)), False, False, True)


@dataclass(frozen=True)
class Everywhere(ea.PairObjective):
    """A bare formula that is convex, and says so."""

    name = "everywhere"
    claims = Claims(True, False, False, True)

    def pair_loss(self, w: Any, l: Any, rw: Any, rl: Any) -> Any:  # noqa: E741
        return -log_sigmoid(w - l)


def test_what_is_claimed_of_some_lambdas_is_not_said_of_all() -> None:
    bandit = ea.Bandit([0.5, 0.5], [0.3, 0.7])
    values = [float(ea.risk(Between(5.0), bandit, np.log([p, 1 - p]))) for p in (0.3, 0.75, 0.95)]
    assert values[1] > max(values[0], values[2])  # a ridge
    assert rule(Between(1.0), "local_minima") == ""
    assert rule(Everywhere(1.0), "local_minima") == "every_minimum_is_lowest"


# --------------------------------------------------------------------------------------------------- psis and scores


def level(m: Any) -> Any:
    """-log sigma, level from 6 to 7 and from -7 to -6: every pair is content at its log-odds, and elsewhere too."""
    return -log_sigmoid(m) + log_sigmoid(m.clip(6, 7)) + log_sigmoid(m.clip(-7, -6))


LEVEL = Stated(level, slopes=(-1.0, 0.0), log_odds_scale=1.0, lower_bound=-100.0)
CONSTANT = Stated(lambda m: 0.0 * m, slopes=(0.0, 0.0), convex=True, log_odds_scale=1.0, lower_bound=0.0)


def test_margins_are_log_odds_where_nothing_else_is_as_good() -> None:
    optimal = np.array([1.0, np.exp(-6.5)]) / (1 + np.exp(-6.5))
    bandit, elsewhere = ea.Bandit([0.5, 0.5], optimal), np.array([1.0, np.exp(-6.1)]) / (1 + np.exp(-6.1))
    loss = Own(1e-8, lambda lam: LEVEL(h), ForwardKL())
    values = [float(ea.risk(loss, bandit, np.log(p))) for p in (optimal, elsewhere)]
    assert values[1] < values[0]  # at lambda = 1e-8 as at all others: the preferences are as good, and pi_ref is nearer
    explicit, implicit = Own(1.0, lambda lam: LEVEL(h), ForwardKL()), Own(1.0, lambda lam: LEVEL(lam * hbar))
    assert rule(explicit, "strong_interpolation") == rule(implicit, "weak_interpolation") == ""
    assert rule(implicit, "pair_dependence") == ""
    for psi, scale in ((LEVEL, None), (CONSTANT, None), (Logistic(), 1.0)):
        assert Own(1.0, lambda lam, psi=psi: psi(h)).facts.log_odds_scale == scale
    assert rule(Own(1.0, lambda lam: CONSTANT(lam * hbar)), "weak_interpolation") == ""


@dataclass(frozen=True)
class LevelMu(Divergence):
    """mu is level where |log u| < 1e-4."""

    name: ClassVar[str] = "level_mu"
    width: ClassVar[float] = 1e-4

    def f(self, u: Any) -> Any:
        return u * namespace(u).log(u)

    def mu(self, log_u: Any) -> Any:
        return log_u - log_u.clip(-self.width, self.width)

    def descend(self, log_u: Any, gap: Any) -> Any:
        goal = self.mu(log_u) - gap
        return goal + self.width * namespace(log_u).sign(goal)

    def terms(self, log_policy: Any, log_reference: Any) -> Any:
        return exp(log_policy) * (log_policy - log_reference)


def test_scores_of_another_divergence_may_be_level_somewhere() -> None:
    loss, bandit = Own(1.0, lambda lam: Logistic()(lam * linked(LevelMu()))), ea.Bandit([0.3, 0.7], [0.6, 0.4])
    logs = np.log([[0.3, 0.7], [0.30002, 0.69998]])
    assert np.ptp(ea.risk(loss.with_lam(1e9), bandit, logs)) == 0.0  # nothing brings it to pi_ref
    for key in ("reference_limit", "weak_interpolation", "pair_dependence", "calibration", "local_minima"):
        assert rule(loss, key) == ""
    known = Own(1.0, lambda lam: Logistic()(lam * linked(Alpha(0.5))))
    assert rule(known, "reference_limit") == "scores_stay_bounded"


def test_scores_that_are_finite_where_a_probability_is_0_have_their_optimum_there() -> None:
    u_w, u_l = (Statistic(((1.0, Linked(slot, ChiSquare())),)) for slot in ("w", "l"))
    loss, bandit = Own(1.0, lambda lam: Linear()(u_w) - 1.0 * Linear()(u_l)), ea.Bandit([0.5, 0.5], [0.6, 0.4])
    with np.errstate(divide="ignore"):
        values = ea.risk(loss, bandit, np.log([[1.0, 0.0], [0.999, 0.001], [0.5, 0.5]]))
    assert (np.diff(values) > 0).all()
    assert rule(loss, "improvement") == rule(loss, "consistency") == ""
    assert rule(loss, "existence") == "finite_on_the_boundary"
    infinite = Own(1.0, lambda lam: Linear()(log_u_w) - 1.0 * Linear()(log_u_l))
    assert rule(infinite, "improvement") == "no_optimum_on_any_population"


@dataclass(frozen=True)
class Share(Atom):
    """pi itself."""

    plain: ClassVar[bool] = False
    curvature: ClassVar[str] = "unknown"

    def value(self, logp: Any, ref_logp: Any) -> Any:
        return exp(logp)


@dataclass(frozen=True)
class Rest(Share):
    """log(1 - pi), which is finite at 0, and not at 1."""

    def value(self, logp: Any, ref_logp: Any) -> Any:
        return namespace(logp).log1p(-exp(logp))


def test_scores_of_one_s_own_are_finite_where_their_values_are() -> None:
    own = Statistic(((1.0, Share("w")), (-1.0, Share("l"))))
    one, other = (Own(2.0, lambda lam, m=m: Logistic()(lam * m)) for m in (own, powered(-1.0)))
    pairs = np.log([[0.6, 0.2], [0.3, 0.7]])
    np.testing.assert_allclose(one.loss(*pairs), other.loss(*pairs), atol=1e-12)  # one loss in other words
    assert rule(one, "existence") == "" and rule(other, "existence") == "finite_on_the_boundary"
    without_end = Own(1.0, lambda lam: Linear(1.0)(Statistic(((1.0, Rest("w")),))))  # -inf as pi_w tends to 1
    assert rule(without_end, "existence") == ""


def test_what_is_level_may_near_its_line_at_any_rate() -> None:
    """A rate that is stated of a hinge says how fast at least; only a curvature that is nowhere 0 is strict."""

    def short(m: Any) -> Any:
        return (-8 - m).clip(0, None)

    told: dict[str, Any] = {"slopes": (-1.0, 0.0), "convex": True, "lower_bound": 0.0, "decay": (1.0, 1.0)}
    loss = Own(1.0, lambda lam: Stated(short, **told)(log_pi_w))
    values = ea.risk(loss, ea.Bandit([0.5, 0.5], [0.6, 0.4]), np.log([[0.5, 0.5], [0.4, 0.6], [0.9, 0.1]]))
    assert (values == 0).all()
    assert rule(loss, "uniqueness") != "strictly_convex"
    strict = Own(1.0, lambda lam: Stated(lambda m: -log_sigmoid(m), **told, self_concordance=1.0)(log_pi_w))
    assert rule(strict, "uniqueness") == "strictly_convex"


def test_a_coefficient_is_small_beside_others_only() -> None:
    def made(unit: float) -> Any:
        return lambda lam: Logistic()(h) + 3.0 * Square()((unit * log_pi_w + unit * log_pi_l) / unit + 5.0)

    for unit in (1e-16, 1.0):
        loss = Own(1.0, made(unit), ForwardKL())
        theta = np.outer([-0.3, 0.0, 0.3], [1.0, -1.0, 0.0])
        logs = theta - np.logaddexp.reduce(theta, axis=1)[:, None]
        left, middle, right = loss.loss(logs[:, 0], logs[:, 1])
        assert middle > (left + right) / 2
        assert not Shape(loss).convex and rule(loss, "uniqueness") != "strictly_convex"


# ------------------------------------------------------------------------------------------- rewards and divergences


@dataclass(frozen=True)
class Entropy(ReverseKL):
    """sum pi log pi: least at the uniform policy, and not at pi_ref."""

    name: ClassVar[str] = "entropy"

    def terms(self, log_policy: Any, log_reference: Any) -> Any:
        return exp(log_policy) * log_policy

    def _sum(self, log_policy: Any, log_reference: Any) -> Any:
        return namespace(log_policy).sum(self.terms(log_policy, log_reference), axis=-1)


@dataclass(frozen=True)
class OwnReward(RewardObjective):
    """An expected reward with a divergence by a function of lambda."""

    made: Callable[[Any], Any]
    name = "own_reward"

    @property
    def regulariser(self) -> Any:
        return self.made(self.lam)


LIMITS = ("reference_limit", "strong_interpolation", "weak_interpolation")


def test_a_reward_with_another_term_is_no_rlhf() -> None:
    loss, bandit = OwnReward(100.0, lambda lam: Entropy()), ea.Bandit([0.1, 0.9], [0.6, 0.4])
    assert abs(least(loss, bandit) - 0.5) < 0.01  # and not near pi_ref
    assert not mu_is_slope(Entropy()) and all(map(mu_is_slope, (ReverseKL(), Alpha(0.3))))
    with pytest.raises(TypeError, match=r"regulariser of OwnReward must have terms pi_ref f\(u\)"):
        ea.solve(loss, bandit)
    card = ea.audit(loss, only=["reference_limit"], time_limit=60.0)
    assert card.verdicts["reference_limit"].decision not in (HOLDS, FAILS) and "Entropy" in card.remarks[0]
    for key in (*LIMITS, "restricted_improvement", "calibration", "local_minima"):
        assert rule(loss, key) == ""
        assert rule(ea.RLHF(1.0), key) != ""


def test_a_divergence_that_lambda_chooses_is_not_one_divergence() -> None:
    """alpha = 1/lam: mu(u) = r/lam + const makes u tend to 1 as lambda -> 0."""
    loss = OwnReward(1.0, lambda lam: Alpha(1 / lam) if isinstance(lam, float) else Alpha(1.0))
    bandit = ea.Bandit([0.3, 0.7], [0.6, 0.4])
    assert abs(least(loss.with_lam(0.003), bandit) - 0.3) < 0.05
    assert all(rule(loss, key) == "" for key in LIMITS)


@pytest.mark.parametrize("alpha", [2.0, 1000.0])
def test_two_optima_of_one_likelihood_are_as_far_apart_as_is_said(alpha: float) -> None:
    loss = ea.RLHF(1.0, divergence="alpha", alpha=alpha)
    example = open_reward(Known(Subject(loss, *written(loss)), {}))
    assert example is not None
    exec(example.code, {})


# ------------------------------------------------------------------------------------------------- premises, and scope


def verdict(decision: Decision, basis: str) -> Verdict:
    example = Counterexample("", {}, "") if decision == FAILS else None
    return Verdict("", decision, "", "", counterexample=example, basis=basis)


def test_what_follows_from_a_search_is_not_proven() -> None:
    loss = ea.RegressionEXPO(1.0)
    for basis, name in ((EVIDENCE, ""), (PROVEN, "one_limit_only")):
        assert rule(loss, "weak_interpolation", strong_interpolation=verdict(HOLDS, basis)) == name
    for basis, name in ((EVIDENCE, ""), (PROVEN, "a_detour_from_the_reference")):
        known = {"first_step": verdict(FAILS, PROVEN), "reference_limit": verdict(HOLDS, basis)}
        assert rule(loss, "monotone_path", **known) == name


def test_both_of_a_pair_may_lose_to_a_third_that_one_is_compared_with() -> None:
    """What is said of pairs is of those that nobody else is compared with."""
    path = ea.Bandit([1 / 3] * 3, [0.1, 0.1, 0.8], [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert (ea.solve(ea.EXPO(0.1), path).policy[:2] < 0.2).all()
    found = first(RULES, "displacement", Known(Subject(ea.EXPO(1.0), "ea.EXPO(lam)"), {}))
    assert found is not None and "nobody else is compared with" in found[1].summary
