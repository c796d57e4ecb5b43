"""Premises hold at all data and lambdas, not at those that were looked at: what rules once took for proven.

Each example is a loss of which a rule concluded what numbers refute: the test shows the numbers, and that no rule says
so any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.given import Given, any_datum, as_given
from expo_analysis.desiderata.rules.in_lambda import InLambda
from expo_analysis.desiderata.rules.signs import Sign, Unknown
from expo_analysis.desiderata.subject import Subject
from expo_analysis.divergences import Alpha, ChiSquare, Divergence, ForwardKL, JensenShannon, ReverseKL
from expo_analysis.losses.data import Data
from expo_analysis.losses.psi import Sigmoid, TargetKL
from expo_analysis.losses.statistics import linked, log_u_l, log_u_w
from expo_analysis.numerics import exp, expm1, namespace, sigmoid

from .own_losses import own

LOGISTIC, SQUARE, H, HBAR = terms.Logistic(), terms.Square(), terms.h, terms.hbar
GAP, RATIO, REWARD = terms.reward_gap, terms.reference_log_ratio, terms.reward_w
LIMITS = ("reference_limit", "strong_interpolation", "weak_interpolation")


def concluded(key: str, objective: Any) -> tuple[str, str] | None:
    found = first(RULES, key, Known(Subject(objective, *written(objective), effort=0.1), {}))
    return None if found is None else (found[0].name, found[1].decision)


def clipped(gap: Any) -> Any:
    return np.clip(gap, -3.5, 3.5)


TWO = ea.Bandit([0.55, 0.45], [0.6, 0.4])
PATH = np.diag([1.0, 1.0, 1.0], 1) + np.diag([1.0, 1.0, 1.0], -1)
NOT_FITTED = {
    "a margin of the reference's": (lambda lam: LOGISTIC(lam * HBAR + RATIO), ea.Bandit([0.6, 0.4], [0.55, 0.45])),
    "the reference beside the gap": (
        lambda lam: SQUARE(lam * HBAR - (GAP + RATIO)),
        ea.Bandit([0.3, 0.7], [0.6, 0.4]),
    ),
    "the winner's reward alone": (
        lambda lam: SQUARE(lam * HBAR - REWARD),
        ea.Bandit([0.5, 0.5], [0.6, 0.4], rewards=[-3.0, -1.0]),
    ),
    "a clipped gap": (
        lambda lam: SQUARE(lam * HBAR - GAP.map(clipped)),
        ea.Bandit([0.25] * 4, [0.44, 0.05, 0.005, 0.505], PATH),
    ),
}


@pytest.mark.parametrize("name", NOT_FITTED)
def test_what_is_no_multiple_of_the_gap_is_no_fit_of_rewards(name: str) -> None:
    made, bandit = NOT_FITTED[name]
    loss = own(made)
    assert [concluded(key, loss) for key in LIMITS[1:]] == [None, None]
    if name != "the winner's reward alone":
        mode = int(np.argmax(bandit.optimal))
        assert ea.solve(loss.with_lam(1e-3), bandit).policy[mode] < 1e-6


def test_pairs_are_not_content_at_the_gap_where_the_loser_is_forgotten() -> None:
    """(lam hbar - r_w)^2 is least at p r_w - (1 - p) r_l: rewards are 2 and 2.1, and the worse wins more."""
    rewards = np.array([2.1, 2.0])
    bandit = ea.Bandit([0.5, 0.5], [0.45, 0.55], rewards=rewards)
    policy = ea.solve(own(lambda lam: SQUARE(lam * HBAR - REWARD)).with_lam(0.01), bandit).policy
    assert 0.45 * 2.1 - 0.55 * 2.0 < 0 and policy[0] < 1e-6


FITTED = {
    "squares": (lambda lam: SQUARE(2.0 * lam * HBAR - 3.0 * GAP), 1.5),
    "a quotient": (lambda lam: SQUARE(HBAR - 0.5 * (terms.reward_w - terms.reward_l) / lam), 0.5),
    "an offset": (lambda lam: LOGISTIC(lam * HBAR - 0.5 * GAP), 1.5),
    "a target": (lambda lam: TargetKL(0.25 * GAP + 0.5 * GAP)(lam * HBAR), 0.75),
    "a positive weight": (lambda lam: SQUARE(lam * HBAR - GAP) * (0.5 + RATIO.map(sigmoid)), 1.0),
}


@pytest.mark.parametrize("name", FITTED)
def test_multiples_of_the_gap_are_fitted(name: str) -> None:
    made, eta = FITTED[name]
    loss = own(made)
    assert concluded("weak_interpolation", loss) == ("rewards_are_fitted", "holds")
    bandit = ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.2, 0.3])
    log_ratio = 0.5 * np.log(ea.solve(loss.with_lam(0.5), bandit).policy / bandit.reference)
    assert np.ptp(log_ratio - eta * np.log(bandit.optimal)) < 1e-6


OTHER_SIGNS = {
    "reverse KL": own(lambda lam: (4.0 + RATIO) * LOGISTIC(H), ReverseKL()),
    "scores": own(lambda lam: (4.0 + RATIO) * LOGISTIC(lam * HBAR)),
    "rewards": own(lambda lam: (9.0 + GAP) * LOGISTIC(lam * HBAR)),
    "a bare function": own(lambda lam: GAP.map(lambda x: 1.0 + 0.0 * x) * LOGISTIC(lam * HBAR)),
    "another of a known name": own(lambda lam: GAP.map(sigmoid_of_a_kind) * LOGISTIC(lam * HBAR)),
    "beside a term without it": own(lambda lam: SQUARE(lam * HBAR) + RATIO * LOGISTIC(lam * HBAR)),
}


def sigmoid_of_a_kind(x: Any) -> Any:
    return 5 + x


sigmoid_of_a_kind.__name__ = "sigmoid"


@pytest.mark.parametrize("name", OTHER_SIGNS)
def test_signs_of_weights_hold_at_all_data_or_nothing_is_said(name: str) -> None:
    loss = OTHER_SIGNS[name]
    assert Formula(loss).parts is None
    found = {key: concluded(key, loss) for key in (*LIMITS, "existence", "local_minima", "consistency")}
    assert not any(verdict is not None and verdict[1] == "holds" for verdict in found.values()), found


def test_what_moves_with_lambda_at_large_gaps_alone_is_seen_to_move() -> None:
    for shift in (lambda lam: lam * GAP.map(lambda x: np.maximum(abs(x) - 5, 0)), lambda lam: lam * RATIO):
        formula = Formula(own(lambda lam, shift=shift: SQUARE(H - shift(lam)), ForwardKL()))  # type: ignore[misc]
        assert not formula.is_fixed
    assert Formula(own(lambda lam: SQUARE(H - RATIO), ForwardKL())).is_fixed


def test_a_weight_that_the_reference_turns_negative_leaves_no_optimum() -> None:
    """4 + log(0.002/0.998) = -2.2: the value falls without end, while the divergence is bounded."""
    bandit, loss = ea.Bandit([0.002, 0.998], [0.5, 0.5]), OTHER_SIGNS["reverse KL"]
    far = [np.array([-t, np.log1p(-np.exp(-t))]) for t in (50.0, 500.0, 5e4)]
    values = [float(ea.risk(loss.with_lam(100.0), bandit, x)) for x in far]
    other = [float(ea.risk(loss.with_lam(100.0), bandit, x[::-1].copy())) for x in far]
    assert min(values[-1], other[-1]) < -1e4 and (np.diff(values) < 0).all() | (np.diff(other) < 0).all()


POSITIVE_WEIGHTS = {
    "exp": lambda: GAP.map(np.exp),
    "ours": lambda: GAP.map(exp),
    "1 + exp": lambda: 1.0 + (-2.0 * RATIO).map(exp),
    "a product": lambda: GAP.map(sigmoid) * RATIO.map(sigmoid),
    "a quotient": lambda: 1.0 / (1.0 + GAP.map(exp)),
    "minus a log-probability": lambda: -1.0 * Data(lambda d: d["ref_logp_w"], frozenset({"ref_logp_w"})),
}


@pytest.mark.parametrize("name", POSITIVE_WEIGHTS)
def test_what_is_positive_by_construction_is(name: str) -> None:
    weight = POSITIVE_WEIGHTS[name]()
    loss = own(lambda lam: weight * LOGISTIC(lam * HBAR))
    assert concluded("reference_limit", loss) == ("scores_stay_bounded", "holds")
    assert concluded("local_minima", loss) == ("every_minimum_is_lowest", "holds")
    if name not in ("exp", "ours"):  # which underflow
        assert concluded("gradient_weight", loss) == ("slopes_bound_the_weight", "holds")
    assert concluded("weak_interpolation", loss) != ("rewards_are_fitted", "holds")


def test_terms_of_single_responses_with_a_shift_of_the_pair_are_no_difference() -> None:
    loss = own(lambda lam: Sigmoid()(lam * log_u_l - RATIO) - 1.0 * Sigmoid()(lam * log_u_w - RATIO))
    names = {(concluded(key, loss) or ("",))[0] for key in ("reference_limit", "uniqueness", "consistency")}
    assert "no_optimum_on_any_population" not in names


def test_what_is_given_remembers_what_was_made_of_it() -> None:
    lam = InLambda.itself()
    gap = as_given(GAP)
    assert isinstance(gap, Given) and gap.gap_coefficient == 1.0 and gap.of_gap and gap.sign is None
    made: dict[str, tuple[Any, int | None, float | None, bool]] = {
        "eta/lam": (GAP * 3.0 / lam, None, 3.0, True),
        "plus": (GAP + 1.0, None, None, True),
        "reward": (REWARD, None, None, False),
        "ratio": (RATIO, None, None, False),
        "of the gap": (GAP.map(clipped), None, None, True),
        "square of exp": (GAP.map(exp) * GAP.map(exp), 1, None, True),
        "negative": (-GAP.map(exp), 1, None, True),
        "sum": (1.0 + RATIO.map(sigmoid), 1, None, False),
        "difference": (1.0 - RATIO.map(sigmoid), None, None, False),
    }
    for name, (value, sign, coefficient, of_gap) in made.items():
        found = as_given(value)
        assert isinstance(found, Given), name
        own_coefficient = found.gap_coefficient
        if own_coefficient is not None and name == "eta/lam":
            own_coefficient *= (found.factor * lam).constant or 0.0
        assert (found.sign, own_coefficient, found.of_gap) == (sign, coefficient, of_gap), name
    assert as_given(-GAP.map(exp)).factor.constant == -1.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "use",
    [
        lambda d: 1.0 if d["reward_w"] > 0 else 2.0,
        lambda d: 1.0 if d["reward_w"] == 0 else 2.0,
        lambda d: 1.0 if d["reward_w"] else 2.0,
        lambda d: float(d["reward_w"]),
        lambda d: np.where(d["reward_w"] > 0, 1.0, 2.0),
        lambda d: np.clip(d["reward_w"], 0, 1),
        lambda d: 1.0 / d["reward_w"],
        lambda d: d["reward_w"] + InLambda.itself() * d["reward_l"],
        lambda d: np.exp(InLambda.itself() * d["reward_l"]),
    ],
)
def test_code_that_looks_at_data_is_not_followed(use: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        use(any_datum())


def test_signs_are_equal_where_they_tell() -> None:
    assert Sign(1) != 0 and Sign(0) == 0 and Sign(-1) != 1.0
    for sign in (Sign(1), Sign(None)):
        with pytest.raises(Unknown):
            bool(sign == 1.0)


# --------------------------------------------------------------------------------------------- the simplex's boundary


def waves(m: Any) -> Any:
    return namespace(m).cos(m) + exp(-m)


def test_chi_square_does_not_hold_what_has_no_value_at_the_boundary() -> None:
    bandit = ea.Bandit.from_counts([1 / 3] * 3, [[0, 1, 0], [1, 0, 0], [4, 4, 0]])
    loss = ea.ExplicitPO(0.02, divergence="chi_square")
    steps = [0.1, 1e-2, 1e-4, 1e-6, 1e-9]
    values = [float(ea.risk(loss, bandit, np.log([x, x, 1 - 2 * x]))) for x in steps]
    limit = 0.2 * np.log(2) + 0.02 * 2
    rng = np.random.default_rng(0)
    others = np.log(rng.dirichlet([0.3, 0.3, 1.0], 2000).clip(1e-300))
    assert (np.diff(values) < 0).all() and values[-1] == pytest.approx(limit, abs=1e-8)
    assert all(float(ea.risk(loss, bandit, x - np.logaddexp.reduce(x))) > limit for x in others)
    for weight in (1.0, 0.3):
        other = own(lambda lam, w=weight: w * LOGISTIC(H), ChiSquare())  # type: ignore[misc]
        assert concluded("existence", other) == ("no_value_at_the_vertex", "fails")
    (found,) = [rule for rule in RULES if rule.name == "no_value_at_the_vertex"]
    shown = found.conclude(Known(Subject(loss, *written(loss)), {}))
    assert shown is not None and shown.counterexample is not None
    exec(shown.counterexample.code, {})
    oscillates = own(lambda lam: terms.Stated(waves, lower_bound=-1.0)(H), ChiSquare())
    assert concluded("existence", oscillates) is None


@pytest.mark.parametrize(
    ("loss", "holds"),
    [
        (own(lambda lam: LOGISTIC(H), ForwardKL()), True),
        (own(lambda lam: LOGISTIC(H), ReverseKL()), True),
        (own(lambda lam: LOGISTIC(H), JensenShannon()), True),
        (own(lambda lam: LOGISTIC(0.9 * H), ReverseKL()), False),
        (own(lambda lam: LOGISTIC(0.6 * H), Alpha(0.5)), True),
        (own(lambda lam: LOGISTIC(lam * H), ReverseKL()), False),
        (own(lambda lam: terms.Stated(waves, lower_bound=-1.0)(H), ForwardKL()), True),
        (own(lambda lam: terms.Stated(waves, lower_bound=-1.0)(H), ReverseKL()), False),
    ],
)
def test_a_divergence_holds_what_is_less_steep(loss: Any, holds: bool) -> None:
    assert (concluded("existence", loss) == ("a_divergence_holds", "holds")) == holds


class Cubic(Divergence):
    """f(u) = u^3 - 3u + 2, f' = 3u^2 - 3: scores are finite at 0, and no straight lines."""

    name, mu_at_zero, slope_at_one = "cubic", -3.0, 0.0

    def f(self, u: Any) -> Any:
        return u**3 - 3 * u + 2

    def mu(self, log_u: Any) -> Any:
        return 3 * expm1(2 * log_u)

    def descend(self, log_u: Any, gap: Any) -> Any:
        xp, square = namespace(log_u), exp(2 * log_u) - gap / 3
        return xp.where(square > 0, xp.log(xp.where(square > 0, square, 1.0)) / 2, -xp.inf)

    def terms(self, log_policy: Any, log_reference: Any) -> Any:
        return exp(log_reference) * self.f(exp(log_policy - log_reference))


def test_a_vertex_may_be_a_trap_where_scores_are_finite() -> None:
    """At the third vertex every way out rises at first, and the first one is lower."""
    loss = own(lambda lam: LOGISTIC(lam * linked(Cubic()))).with_lam(0.05)
    pairs = np.array([[0.0, 1.0, 0.05], [1.0, 0.0, 1.0], [0.05, 1.0, 0.0]])
    bandit = ea.Bandit([1 / 3] * 3, [0.5, 0.08, 0.42], pairs)

    def value(policy: Any) -> float:
        return float(ea.risk(loss, bandit, np.log(np.maximum(policy, 1e-300))))

    vertices, rng = np.eye(3), np.random.default_rng(0)
    trap = value(vertices[2])
    for e in (1e-3, 1e-2, 3e-2):
        assert all(value((1 - e) * vertices[2] + e * p) > trap for p in rng.dirichlet(np.ones(3), 50) * [1, 1, 0])
    assert value(vertices[0]) < trap - 0.01
    assert concluded("local_minima", loss) is None and concluded("consistency", loss) is None
    for kept in (ea.FDPO(1.0, divergence="chi_square"), ea.FDPO(1.0), ea.DPO(1.0)):
        assert concluded("local_minima", kept) == ("every_minimum_is_lowest", "holds")


def test_weights_that_are_negative_between_two_lambdas_are_seen() -> None:
    """(lam - 0.05)(lam - 0.5) is positive at 0.01 and at 1."""
    loss = own(lambda lam: (lam - 0.05) * (lam - 0.5) * LOGISTIC(HBAR))
    assert concluded("local_minima", loss) is None and concluded("gradient_weight", loss) is None
    assert concluded("pair_dependence", loss) is None and concluded("calibration", loss) is None
