"""What theorems conclude, and attempts to refute it: two terms, EXPO's improvement, limits, shared mass, the questions.

Every rule is tried on losses of this file's own making that meet its premises, on problems at random; and premises are
dropped one at a time, with an example of what goes wrong without them.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.decide import decide
from expo_analysis.desiderata.questions import JUDGES, at_limit, first_step, strong_interpolation
from expo_analysis.desiderata.questions.limits import Approach, limit_problems
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.limit_formula import goes_elsewhere, shuns_point_masses
from expo_analysis.desiderata.rules.shares import shares
from expo_analysis.desiderata.verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, PROVEN
from expo_analysis.losses.psi import Sigmoid
from expo_analysis.losses.statistics import log_u_l, log_u_w

from .own_losses import own
from .test_rules import EXPONENTIAL, HALF, HBAR, HINGE, LOGISTIC, SQUARE, H, concluded, distance, problems, subject

# ------------------------------------------------------------------------------------------------------- two terms

DIVERGENCES = (ea.divergences.ForwardKL(), ea.divergences.ReverseKL(), ea.divergences.Alpha(0.5))


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda d: d.name)
def test_two_terms(divergence):
    """The reference at large lambda for any loss that is bounded below; pi* at small lambda, and where it is the
    reference, for one whose pairs are content at their log-odds."""
    rng = np.random.default_rng(5)
    bounded = own(lambda lam: HINGE(H) + Sigmoid()(log_u_w), divergence)
    assert concluded("reference_limit", bounded) == ("two_terms_at_infinity", HOLDS)
    explicit = own(lambda lam: 0.7 * EXPONENTIAL(0.5 * H) + LOGISTIC(H), divergence)
    for key in ("reference_limit", "strong_interpolation", "preservation", "first_step"):
        assert concluded(key, explicit)[1] == HOLDS
    for bandit in problems(rng, 2, 3, tree=True):
        assert distance(ea.solve(bounded.with_lam(1e4), bandit).policy, bandit.reference) < 1e-3
        assert distance(ea.solve(explicit.with_lam(1e4), bandit).policy, bandit.reference) < 1e-3
        assert distance(ea.solve(explicit.with_lam(1e-5), bandit).policy, bandit.optimal) < 1e-3
        same = ea.Bandit(bandit.optimal, bandit.optimal, bandit.pairs)
        assert distance(ea.solve(explicit.with_lam(0.3), same).policy, bandit.optimal) < 1e-6


def test_two_terms_need_their_premises():
    for made in (lambda lam: LOGISTIC(0.5 * H), lambda lam: HINGE(H), lambda lam: LOGISTIC(HBAR)):
        objective = own(made, ea.divergences.ForwardKL())
        assert not Formula(objective).is_explicit and concluded("preservation", objective) is None
        same = ea.Bandit([0.7, 0.3], [0.7, 0.3])
        assert distance(ea.solve(objective.with_lam(0.3), same).policy, same.optimal) > 1e-3
    endless = own(lambda lam: terms.Linear(-50.0)(H), ea.divergences.ChiSquare())
    assert concluded("reference_limit", endless) is None
    one = ea.Bandit([0.5, 0.5], [0.9, 0.1])
    values = [float(ea.risk(endless.with_lam(10.0), one, np.array([-np.exp(-x), -x]))) for x in (1.0, 1e3)]
    assert values[1] < values[0] - 1e3, "no divergence that is finite at the boundary holds it"
    moving = own(lambda lam: LOGISTIC(H) + 1.0 * LOGISTIC(lam * HBAR), ea.divergences.ForwardKL())
    assert concluded("reference_limit", moving) is None


class Twisted(ea.divergences.ForwardKL):
    """A divergence of somebody's own, of which nothing is known."""


def test_nothing_is_known_of_a_divergence_of_ones_own():
    assert concluded("preservation", own(lambda lam: LOGISTIC(H), Twisted())) is None


# ------------------------------------------------------------------------------------------------------------- EXPO

F_DIVERGENCES = {
    "TV": lambda p, q: np.abs(p - q).sum() / 2,
    "KL": lambda p, q: (p * np.log(p / q)).sum(),
    "KL, other way": lambda p, q: (q * np.log(q / p)).sum(),
    "chi-square": lambda p, q: ((p - q) ** 2 / q).sum(),
    "chi-square, other way": lambda p, q: ((p - q) ** 2 / p).sum(),
    "Hellinger": lambda p, q: ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
    "hockey stick": lambda p, q: np.maximum(p - 1.7 * q, 0).sum(),
}
CHAINS = {
    "logistic": lambda lam: 3.0 * LOGISTIC(H),
    "exponential": lambda lam: EXPONENTIAL(0.5 * H),
    "both": lambda lam: 0.1 * LOGISTIC(H) + EXPONENTIAL(0.5 * H),
}


@pytest.mark.parametrize("name", CHAINS)
def test_improvement_in_every_divergence(name):
    objective = own(CHAINS[name], ea.divergences.ForwardKL())
    assert concluded("improvement", objective) == ("chain_to_optimum", HOLDS)
    rng = np.random.default_rng(6)
    n, count = 4, 60
    pairs = 10.0 ** rng.uniform(-3, 0, (count, n, n))
    pairs = pairs + pairs.swapaxes(1, 2)
    pairs[:, range(n), range(n)] = 0.0
    pairs[::3, 0, 1:], pairs[::3, 1:, 0] = 0.0, 0.0  # a response that nothing is compared with
    reference, optimal = (0.9 * rng.dirichlet(np.full(n, 0.5), count) + 0.1 / n for _ in range(2))
    reference[::2] = optimal[::2] * np.exp(rng.normal(size=(count, n))[::2])
    bandit = ea.Bandit(reference / reference.sum(axis=1, keepdims=True), optimal, pairs)
    for lam in (0.01, 1.0, 30.0):
        policies = ea.solve(objective.with_lam(lam), bandit).policy
        for of, divergence in F_DIVERGENCES.items():
            for r, p, q in zip(bandit.reference, policies, bandit.optimal, strict=True):
                assert divergence(p, q) <= divergence(r, q) * (1 + 1e-9) + 1e-9, (name, of, lam)


def test_the_chain_needs_its_premises():
    """Another divergence, another margin, a loss that is not convex: no rule, and each of them fails somewhere."""
    ends = {
        "reverse KL": (ea.SPO(0.1), [0.02, 0.76, 0.22], [0.63, 0.01, 0.36], [[0, 0, 1], [0, 0, 0.001], [1, 0.001, 0]]),
        "margin": (ea.SLiC(1.0), [0.61, 0.39], [0.6, 0.4], "uniform"),
        "reads the reference": (ea.PessimisticDPO(1.0, beta=1.0), [0.61, 0.39], [0.6, 0.4], "uniform"),
    }
    for name, (objective, reference, optimal, pairs) in ends.items():
        assert not Formula(objective).is_expo, name
        assert concluded("improvement", objective) != ("chain_to_optimum", HOLDS), name
        bandit = ea.Bandit(reference, optimal, pairs)
        policy = ea.solve(objective, bandit).policy
        kl = F_DIVERGENCES["KL"]
        assert kl(policy, bandit.optimal) > kl(bandit.reference, bandit.optimal) + 1e-3, name


# ------------------------------------------------------------------------------------------------- limits of formulas


@pytest.mark.parametrize(
    "objective",
    [ea.RPO(1.0), ea.PessimisticDPO(1.0), ea.SLiC(1.0), ea.SFT(1.0), ea.ORPO(1.0), ea.CPO(1.0), ea.SPO(1.0, alpha=0.5)],
    ids=lambda o: o.name,
)
def test_a_formula_that_is_lower_elsewhere_is_followed_there(objective):
    assert goes_elsewhere(Formula(objective), "zero") is not None and shuns_point_masses(Formula(objective))
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    policy = ea.solve(objective.with_lam(1e-6), bandit).policy
    assert distance(policy, bandit.optimal) > 1e-2 and policy.max() < 1 - 1e-4


def test_formulas_that_are_least_at_pi_star_are_not_lower_elsewhere():
    for objective in (ea.EXPO(1.0), ea.SPO(1.0), ea.RegressionEXPO(1.0), ea.DPO(1.0), ea.IPO(1.0), ea.RLHF(1.0)):
        assert not goes_elsewhere(Formula(objective), "zero"), objective
        assert not goes_elsewhere(Formula(objective), "infinity"), objective
    for objective in (ea.DPO(1.0), ea.BCO(1.0), ea.SimPER(1.0), ea.RegressionEXPO(1.0)):
        assert not shuns_point_masses(Formula(objective)), objective


def test_calibrated_dpo_does_not_return_to_the_reference():
    assert concluded("reference_limit", ea.CalDPO(1.0)) == ("limit_is_lower_elsewhere", FAILS)
    bandit = ea.Bandit([0.5, 0.5], [0.8, 0.2])
    assert distance(ea.solve(ea.CalDPO(1e6), bandit).policy, bandit.reference) > 1e-2


# ------------------------------------------------------------------------------------------------- mass by slopes

SHARED = {
    "BCO": ea.BCO(1.0, reference_point=0.3),
    "PRO": ea.PRO(1.0),
    "DPO-Shift": ea.DPOShift(1.0),
    "squares and a margin": own(
        lambda lam: SQUARE(lam * log_u_w - 1.0) + SQUARE(lam * log_u_l + 1.0) + HALF(lam * HBAR)
    ),
    "Cal-DPO": ea.CalDPO(1.0),
    "squares that outweigh a margin": own(
        lambda lam: SQUARE(log_u_w - 1.0 / lam) + SQUARE(log_u_l + 1.0 / lam) + 3.0 * HALF(2.0 * HBAR)
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_mass_is_shared_by_slopes(name):
    """The limit as lambda falls is computed without an optimum, and optima tend to it, from any reference."""
    objective, optimal = SHARED[name], np.array([0.5, 0.4, 0.1])
    limit = shares(Formula(objective), optimal)
    assert limit is not None and np.sort(limit)[-2] > 0.1
    assert concluded("weak_interpolation", objective) == ("mass_is_shared_by_slopes", FAILS)
    for reference in ([0.2, 0.3, 0.5], [0.6, 0.1, 0.3]):
        policy = ea.solve(objective.with_lam(1e-5), ea.Bandit(reference, optimal)).policy
        assert distance(policy, limit) < 1e-3


def test_mass_is_not_shared_where_premises_fail():
    """Differences alone have no slope in the sum; sigmoids are not convex; a kink has no slope."""
    beside = [  # as large as the squares, larger than they, or without a bound on its slope
        own(lambda lam: SQUARE(lam * log_u_w - 1.0) + SQUARE(lam * log_u_l + 1.0) + HALF(HBAR)),
        own(lambda lam: SQUARE(log_u_w - 1.0 / lam) + SQUARE(log_u_l + 1.0 / lam) + HALF(HBAR) * (1.0 / lam)),
        own(lambda lam: SQUARE(log_u_w - 1.0 / lam) + SQUARE(log_u_l + 1.0 / lam) + EXPONENTIAL(HBAR)),
    ]
    for objective in (ea.DPO(1.0), ea.APODown(1.0), ea.DPOP(1.0), ea.EXPO(1.0), ea.Hinge(1.0), *beside):
        assert shares(Formula(objective), np.array([0.5, 0.4, 0.1])) is None, objective


def test_calibrated_dpo_has_the_limit_of_sppo():
    optimal = np.array([0.5, 0.4, 0.1])
    limits = [shares(Formula(loss), optimal) for loss in (ea.CalDPO(1.0), ea.CalDPO(1.0, strength=7.0), ea.SPPO(1.0))]
    np.testing.assert_allclose(limits[1:], limits[:1] * 2, atol=1e-9)
    wins = optimal[:, None] / (optimal[:, None] + optimal) * (1 - np.eye(3))
    surplus = np.maximum(wins.sum(axis=1) - wins.sum(axis=0), 0)
    np.testing.assert_allclose(limits[0], surplus / surplus.sum(), atol=1e-9)
    assert concluded("strong_interpolation", ea.CalDPO(1.0)) == ("mass_is_shared_by_slopes", FAILS)


@pytest.mark.parametrize("objective", [ea.QRPO(1.0), ea.QRPO(1.0, "exact"), ea.AStarPO(1.0)], ids=repr)
def test_goals_lead_to_the_best_reward_and_to_the_reference(objective):
    assert concluded("reference_limit", objective) == ("goals_stay_bounded", HOLDS)
    assert concluded("weak_interpolation", objective) == ("goals_are_below_the_best", HOLDS)
    assert concluded("weak_interpolation", ea.AStarPO(1.0, beta=0.5)) is None
    for bandit in problems(np.random.default_rng(8), 2, 3):
        assert distance(ea.solve(objective.with_lam(1e4), bandit).policy, bandit.reference) < 1e-3
        assert ea.solve(objective.with_lam(1e-3), bandit).policy[bandit.optimal.argmax()] > 0.999


# ------------------------------------------------------------------------------------------- what verdicts imply


def test_what_follows_from_the_first_step():
    dpo = ea.QPO(1.0, psi=lambda m, lam: torch.nn.functional.softplus(-lam * m), mu=torch.log)
    assert concluded("preservation", dpo) is None and concluded("improvement", dpo, preservation=FAILS) is None
    assert concluded("preservation", dpo, first_step=FAILS) == ("a_step_is_no_minimum", FAILS)
    assert concluded("improvement", dpo, first_step=FAILS) == ("closed_minimisers", FAILS)
    assert concluded("monotone_path", dpo, first_step=FAILS) is None
    assert concluded("monotone_path", dpo, first_step=FAILS, reference_limit=HOLDS)[1] == FAILS


def test_references_near_pi_star_are_left():
    """The theorem says that some are, whatever the loss; here they are found, in all three distances' first."""
    for objective in (ea.Hinge(1.0), ea.SLiC(1.0), ea.BCO(1.0)):
        found = decide("improvement", JUDGES["improvement"], subject(objective), {})
        numbers = found.counterexample.numbers
        gap = np.abs(np.subtract(numbers["reference"], numbers["optimal"])).sum()
        assert found.decision == FAILS and 1e-3 < gap < 1.0, "pi_ref = pi* is no case of improvement"


def test_vacuous_questions():
    assert concluded("reference_limit", ea.SFT(1.0)) == ("no_reference", NOT_APPLICABLE)
    assert concluded("monotone_path", ea.SFT(1.0)) == ("no_lambda", NOT_APPLICABLE)
    assert concluded("reference_limit", own(lambda lam: LOGISTIC(H))) == ("no_reference", NOT_APPLICABLE)
    assert concluded("monotone_path", own(lambda lam: SQUARE(HBAR - 1.0))) == ("no_lambda", NOT_APPLICABLE)
    assert concluded("reference_limit", own(lambda lam: SQUARE(HBAR - 1.0))) is not NOT_APPLICABLE
    for objective in (ea.EXPO(1.0), ea.DPO(1.0), ea.QRPO(1.0)):
        assert concluded("reference_limit", objective) != ("no_reference", NOT_APPLICABLE)
        assert concluded("monotone_path", objective) != ("no_lambda", NOT_APPLICABLE)


def test_a_false_statement_is_told_and_decides_nothing():
    """A psi that states margins which it has not: the rule believes it, and the search does not."""

    def half(m):
        return ea.numerics.softplus(-m / 2)

    states = terms.Stated(half, slopes=(-0.5, 0.0), convex=True, self_concordance=0.5, log_odds_scale=1.0)
    false = own(lambda lam: states(H), ea.divergences.ForwardKL())
    assert concluded("preservation", false) == ("two_terms_preserve", HOLDS)
    found = decide("preservation", JUDGES["preservation"], subject(false), {})
    assert found.decision == CANNOT_TELL and "may be false" in found.summary


# ---------------------------------------------------------------------------------------------------- the questions


def kinked(lam):
    """EXPO's loss with an exact penalty lam |hbar|: it preserves, and torch's slope at the kink is anything."""
    return LOGISTIC(H) + terms.Stated(abs, slopes=(-1.0, 1.0), convex=True, lower_bound=0.0)(lam * HBAR)


def test_zero_within_a_kink_is_no_step():
    rng = np.random.default_rng(7)
    for n, lam in itertools.product((2, 3), (0.01, 1.0, 1e4)):
        same = rng.dirichlet(np.ones(n), 10)
        assert (first_step.relative_gradient(subject(own(kinked)), ea.Bandit(same, same), lam) < 1e-11).all()
        left = first_step.relative_gradient(subject(ea.Hinge(1.0)), ea.Bandit(same, same), lam)
        assert ((left > 1e-9) & (left <= 1)).all()
    at_rest = ea.Bandit([[0.4, 0.6]], [[0.4, 0.6]])
    assert first_step.relative_gradient(subject(ea.DPOP(1.0)), at_rest, 1.0)[0] == 0.0, "the optimum is (.4, .6)"


def test_a_kink_that_is_left_shows_a_lower_value_beside_it():
    found = first_step.judge(subject(ea.DPOP(1.0)))
    assert (found.decision, found.basis) == (FAILS, PROVEN)
    assert 0 < found.evidence["largest gradient, relative to its parts"] <= 1
    numbers = found.counterexample.numbers
    assert max(numbers["optimal"]) > 0.9, "only one-sided pairs leave the kink"
    exec(found.counterexample.code, {})
    with pytest.raises(AssertionError):
        exec(found.counterexample.code.replace("values[1] < values[0]", "values[1] > values[0]"), {})


@pytest.mark.parametrize("objective", [ea.DPO(1.0), ea.SLiC(1.0), ea.RLHF(1.0), ea.SPPO(1.0)], ids=lambda o: o.name)
def test_a_gradient_is_at_most_all_of_its_parts(objective):
    found = first_step.judge(subject(objective))
    assert found.decision == FAILS and 1e-9 < found.evidence["largest gradient, relative to its parts"] <= 1
    exec(found.counterexample.code, {})


def test_a_limit_that_nothing_reached_is_not_said_to_be_reached(monkeypatch):
    """The summary counts: it once said "the optima found tend to it where decided" whatever happened."""

    def nothing(subject, bandit, end, target, far=False):
        optima = subject.optima(bandit, [1.0])
        count = len(bandit.reference)
        no, one = np.zeros(count, dtype=bool), np.ones((1, count))
        return Approach(bandit, optima, no, no, one, one[0] * np.nan, ~no)

    monkeypatch.setattr(at_limit, "follow", nothing)
    found = strong_interpolation.judge(subject(ea.EXPO(1.0)))
    count = found.evidence["problems"]
    assert found.decision == CANNOT_TELL and found.summary.endswith(
        f"on 0 of {count} problems; the others are undecided"
    )


def test_limits_are_followed_on_paths():
    drawn = limit_problems(subject(ea.SimPO(1.0)), 20)
    compared = [(b.pairs > 0).sum(axis=(1, 2)) / 2 for b in drawn]
    assert sum((edges == b.n - 1).all() for b, edges in zip(drawn, compared, strict=True) if b.n > 3) >= 1


def test_the_policy_of_the_strong_criterion_s_example_is_better_than_pi_star():
    """Where optima are missing, values tell: the code of the example runs, and its opposite does not."""
    (rule, found) = first(RULES, "strong_interpolation", Known(subject(ea.APODown(1.0)), {}))
    assert rule.name == "scores_know_no_lambda"
    exec(found.counterexample.code, {})
    with pytest.raises(AssertionError):
        exec(found.counterexample.code.replace("values[0] < values[1]", "values[1] < values[0]"), {})
