"""The theorems behind the report card: what they read off a formula, and attempts to refute them with numbers.

Every rule is tried on losses of this file's own making that meet its premises, on problems at random; and premises are
dropped one at a time, with an example of what goes wrong without them.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.falsify.search import Case
from expo_analysis.desiderata.rules import RULES, Known, first, lambda_scores
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.in_lambda import InLambda
from expo_analysis.desiderata.rules.lambda_scores import prefers_a_loser_below, stays_near
from expo_analysis.desiderata.rules.margins import content_bounds, contents, fits_rewards, paths_against, sit_at_minima
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import FAILS, HOLDS, PROVEN, Counterexample, Verdict
from expo_analysis.losses.psi import BernoulliKL, Sigmoid
from expo_analysis.losses.statistics import linked, log_pi_w, log_u_l, log_u_w, shortfall_w
from expo_analysis.numerics import exp, sigmoid

from .own_losses import own

LOGISTIC, SQUARE, HINGE, EXPONENTIAL = terms.Logistic(), terms.Square(), terms.Hinge(1.0), terms.Exponential()
H, HBAR = terms.h, terms.hbar
HALF = terms.Logistic(0.5, 0.5)


def subject(objective, effort=0.1):
    return Subject(objective, *written(objective), effort=effort)


def concluded(key, objective, **verdicts):
    """The name of the rule that decides, and what it says; None where none does."""
    example = Counterexample("", {}, "")
    examples = {name: example if decision == FAILS else None for name, decision in verdicts.items()}
    known = {n: Verdict(n, d, "", "", counterexample=examples[n], basis=PROVEN) for n, d in verdicts.items()}
    found = first(RULES, key, Known(subject(objective), known))
    return None if found is None else (found[0].name, found[1].decision)


def problems(rng, count, n, tree=False):
    """Bandits of one prompt with all pairs compared, or those of a path."""
    for _ in range(count):
        pairs = np.zeros((n, n))
        for i, j in itertools.combinations(range(n), 2):
            pairs[i, j] = pairs[j, i] = float(j == i + 1) if tree else rng.uniform(0.1, 1.0)
        yield ea.Bandit(rng.dirichlet(np.full(n, 2.0)), rng.dirichlet(np.full(n, 2.0)), pairs)


def distance(p, q):
    return np.abs(p - q).sum() / 2


# ------------------------------------------------------------------------------------------------------ what is read


def test_lambda_remembers_what_was_done_with_it():
    lam, rng = InLambda.itself(), np.random.default_rng(0)
    made = {
        "0.5 / lam": (0.5 / lam, lambda x: 0.5 / x),
        "lam/(1 + lam)": (lam / (1 + lam), lambda x: x / (1 + x)),
        "3 - lam**2 * 2": (3 - lam**2 * 2, lambda x: 3 - 2 * x**2),
        "-(lam - 2)/(lam * lam)": (-(lam - 2) / (lam * lam), lambda x: -(x - 2) / x**2),
        "np.float64(2) * lam": (np.float64(2) * lam, lambda x: 2 * x),
    }
    for name, (found, expected) in made.items():
        for x in rng.uniform(0.1, 5.0, 3):
            at = sum(float(c) * x**k for k, c in enumerate(found.top)) / sum(
                float(c) * x**k for k, c in enumerate(found.bottom)
            )
            assert at == pytest.approx(expected(x), rel=1e-12), name
    assert (lam * (2 / lam)).constant == 2.0 and (lam / (1 + lam)).constant is None
    assert (3 * lam * lam / lam).per_lambda == 3.0 and (lam + 1).per_lambda is None
    assert [(lam - 1).sign, (lam + 1).sign, (-2 / lam).sign] == [0, 1, -1]
    limits = [x.limit(end) for x in (lam / (1 + 2 * lam), 1 / lam) for end in ("zero", "infinity")]
    assert [None if x is None else x.constant for x in limits] == [0.0, 0.5, None, 0.0]


@pytest.mark.parametrize(
    "use",
    [
        lambda lam: 1.0 if lam > 10 else 2.0,
        lambda lam: 1.0 if lam else 2.0,
        lambda lam: 1.0 if lam == 1 else 2.0,
        lambda lam: np.log(lam),
        lambda lam: np.minimum(lam, 3.0),
        lambda lam: float(lam),
        lambda lam: max(lam, 1.0),
        lambda lam: lam**0.5,
        lambda lam: np.array([1.0, 2.0]) * lam,
    ],
)
def test_nothing_is_read_off_code_that_looks_at_lambda(use):
    """Whatever is no quotient of polynomials raises, so that a loss made with it is not taken for another."""
    with pytest.raises((TypeError, KeyError)):
        use(InLambda.itself())
    formula = Formula(own(lambda lam: LOGISTIC(use(lam) * HBAR)))
    assert formula.parts is None and not formula.is_of_scores and not formula.is_fixed


def test_a_psi_that_holds_lambda_in_itself_is_no_psi_of_scores():
    def made(lam):
        return terms.Stated(lambda m: (m - 1.0) ** 2 * lam, slopes=(-np.inf, np.inf), convex=True)(lam * HBAR)

    assert Formula(own(made)).parts is None


SCORES = {
    "DPO": lambda lam: LOGISTIC(lam * HBAR),
    "IPO": lambda lam: SQUARE(HBAR - 0.5 / lam),
    "REBEL": lambda lam: SQUARE(HBAR - terms.reward_gap / lam),
    "hinge of hbar at 1/lam": lambda lam: terms.Hinge(1 / lam)(HBAR),
    "lam in a weight": lambda lam: lam * LOGISTIC(lam * HBAR),
    "two terms apart": lambda lam: LOGISTIC(lam * log_u_w) + 0.5 * SQUARE(lam * log_u_l + 1.0),
    "added before scaled": lambda lam: LOGISTIC(lam * log_u_w - lam * log_u_l),
    "own log-ratio": lambda lam: LOGISTIC(lam * H - 0.5),
    "another link": lambda lam: LOGISTIC(2 * lam * linked(ea.divergences.JensenShannon())),
}
NOT_SCORES = {
    "offset in lam": lambda lam: LOGISTIC(lam * HBAR - lam),
    "no lam": lambda lam: LOGISTIC(HBAR),
    "lam squared": lambda lam: LOGISTIC(lam**2 * HBAR),
    "two powers": lambda lam: LOGISTIC(lam * HBAR) + SQUARE(HBAR),
    "two scores": lambda lam: LOGISTIC(lam * HBAR) + LOGISTIC(lam * H),
    "hinge at 1 of hbar": lambda lam: HINGE(HBAR),
    "reads the reference's ratio": lambda lam: LOGISTIC(lam * HBAR - lam * terms.reference_log_ratio),
}


@pytest.mark.parametrize("name", [*SCORES, *NOT_SCORES])
def test_what_reads_lambda_times_scores(name):
    """Told from the formula, and checked with numbers: at x = lam log u the loss is the same but for a factor."""
    made = {**SCORES, **NOT_SCORES}[name]
    formula = Formula(own(made))
    assert formula.is_of_scores == (name in SCORES)
    if name == "another link" or not formula.is_of_scores:
        return
    rng = np.random.default_rng(1)
    x_w, x_l = rng.normal(size=(2, 6))
    own_reference = 0.0 if formula.link.relative else -np.inf
    values = []
    for lam in (0.1, 1.0, 7.0):
        objective = own(made).with_lam(lam)
        data = {"reward_w": np.ones(6), "reward_l": np.zeros(6)} if objective.data else {}
        reference = np.full((2, 6), -1.0) if own_reference == 0.0 else np.zeros((2, 6))
        values.append(objective.loss(x_w / lam + reference[0], x_l / lam + reference[1], *reference, **data))
    ratios = np.array(values) / values[0]
    assert np.allclose(ratios, ratios[:, :1], rtol=1e-9)


# ---------------------------------------------------------------------------------------------------------- limits

NEAR = {
    "convex": lambda lam: terms.Logistic(0.7, 0.3)(lam * HBAR),
    "kinked": lambda lam: HINGE(lam * HBAR),
    "squares apart": lambda lam: SQUARE(lam * log_u_w - 1.0) + SQUARE(lam * log_u_l + 2.0),
    "loser counts less": lambda lam: LOGISTIC(lam * (log_u_w - 0.3 * log_u_l)),
    "loser counts more": lambda lam: LOGISTIC(lam * (log_u_w - 3.0 * log_u_l)),
    "held by a shortfall": lambda lam: LOGISTIC(lam * (HBAR + 2.0 * shortfall_w)),
    "bounded, by gaps": lambda lam: BernoulliKL(2.0)(lam * HBAR),
    "another link": lambda lam: SQUARE(lam * linked(ea.divergences.ChiSquare()) - 1.0),
    "a likelihood more": lambda lam: LOGISTIC(lam * HBAR) + terms.Linear(-1.0)(log_pi_w),
}
NOT_NEAR = {
    "flat far out": lambda lam: Sigmoid()(-(lam * log_u_w)) + Sigmoid()(lam * log_u_l),
    "falls on one side": lambda lam: terms.Logistic(1.5, -0.5)(lam * HBAR),
    "rises in the sum alone": lambda lam: SQUARE(lam * (log_u_w + log_u_l)),
    "winner alone, one side": lambda lam: LOGISTIC(lam * log_u_w),
    "no reference": lambda lam: LOGISTIC(lam * H),
    "a likelihood that falls": lambda lam: LOGISTIC(lam * HBAR) + terms.Linear(1.0)(log_pi_w),
}


@pytest.mark.parametrize("name", NEAR)
def test_scores_that_rise_stay_bounded(name):
    """lam times the scores of optima has one size from lambda = 30 to 3e5, on random problems."""
    objective = own(NEAR[name])
    assert concluded("reference_limit", objective) == ("scores_stay_bounded", HOLDS)
    rng = np.random.default_rng(2)
    for bandit in (*problems(rng, 2, 2), *problems(rng, 1, 3, tree=True)):
        sizes = []
        for lam in (30.0, 3e3, 3e5):
            policy = ea.solve(objective.with_lam(lam), bandit).policy
            sizes.append(lam * np.abs(np.log(policy / bandit.reference)).max())
        assert sizes[2] <= 1.5 * sizes[0] + 1e-3, (name, sizes)


@pytest.mark.parametrize("name", NOT_NEAR)
def test_scores_that_do_not_rise_are_not_said_to_stay(name):
    assert not stays_near(Formula(own(NOT_NEAR[name])))


def test_without_a_rise_the_reference_is_not_reached():
    """The premises are needed: two that are dropped, with optima that go elsewhere."""
    bandit = ea.Bandit([0.5, 0.5], [0.8, 0.2])
    for name in ("flat far out", "falls on one side"):
        assert ea.solve(own(NOT_NEAR[name]).with_lam(1e3), bandit).status == "no_minimiser", name
    policy = ea.solve(own(NOT_NEAR["no reference"]).with_lam(1e4), ea.Bandit([0.9, 0.1], [0.8, 0.2])).policy
    assert distance(policy, [0.5, 0.5]) < 1e-3


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("REBEL", "added before scaled")])
def test_scores_know_no_lambda(name):
    """As lambda falls, policies at scores (0, -e) are better than all that are near pi*, by a gap that stays."""
    objective = own(SCORES[name])
    assert prefers_a_loser_below(Formula(objective))
    assert concluded("strong_interpolation", objective)[1] == FAILS
    optimal, gaps = np.array([0.99, 0.01]), []
    bandit = ea.Bandit([0.3, 0.7], optimal)
    for lam in (1e-2, 1e-4):
        best = ea.solve(objective.with_lam(lam), bandit)
        near = optimal * np.exp(np.array([[0.1, -0.1], [0.0, 0.0], [-0.1, 0.1]]))
        values = ea.risk(objective.with_lam(lam), bandit, np.log(near / near.sum(axis=-1, keepdims=True)))
        gaps.append((values.min() - best.value) / abs(values.min()))
    assert min(gaps) > 1e-3


@pytest.mark.parametrize("penalty", [0.2, 0.4, 1.2, 5.0, 50.0])
def test_a_kink_keeps_the_reference(penalty):
    """Two even responses, of which one wins 0.6 of the time: what keeps it is (1 - p) (1 + penalty/2) > p."""
    objective, bandit = ea.DPOP(1.0, penalty=penalty), ea.Bandit([0.5, 0.5], [0.6, 0.4])
    path = ea.solve_path(objective, bandit, np.geomspace(1e-4, 1e4, 17))
    log_odds = path.log_policies[:, 0] - path.log_policies[:, 1]
    kept = 0.4 * (1 + penalty / 2) > 0.6
    assert (concluded("weak_interpolation", objective) == ("a_kink_keeps_the_reference", FAILS)) == kept
    assert (np.abs(log_odds) < lambda_scores.NEAR).all() if kept else log_odds[0] > 10


def test_without_a_kink_in_the_scores_nothing_keeps_the_reference():
    """Kinks of psi, slopes that are 0 at the reference, scores without one, and losses that bend over."""
    for objective in (
        ea.DPO(1.0),
        ea.Hinge(1.0),
        ea.SimPO(1.0),
        ea.SLiC(1.0),
        ea.EXO(1.0),
        own(lambda lam: SQUARE(lam * HBAR)),
    ):
        found = concluded("weak_interpolation", objective)
        assert found is None or found[0] != "a_kink_keeps_the_reference", objective.name


def test_with_a_term_that_does_not_see_lambda_pi_star_is_reached():
    """EXPO is no loss of lambda times scores, nor is one with lambda in front: the rule must not speak of them."""
    assert not prefers_a_loser_below(Formula(ea.EXPO(1.0)))
    added = own(lambda lam: LOGISTIC(H) + SQUARE(lam * HBAR))
    assert not prefers_a_loser_below(Formula(added))
    bandit = ea.Bandit([0.3, 0.7], [0.6, 0.4])
    assert distance(ea.solve(added.with_lam(1e-4), bandit).policy, bandit.optimal) < 1e-6


# --------------------------------------------------------------------------------------------------------- margins


BT = {
    "logistic": lambda lam: 2.0 * LOGISTIC(0.3 * lam * HBAR),
    "exponential": lambda lam: EXPONENTIAL(lam * HBAR),
    "both": lambda lam: EXPONENTIAL(0.5 * lam * HBAR) + LOGISTIC(lam * HBAR),
    "own": lambda lam: LOGISTIC(lam * H),
    "another link": lambda lam: EXPONENTIAL(lam * linked(ea.divergences.ForwardKL())),
}
NOT_BT = {
    "squares": lambda lam: SQUARE(lam * HBAR - 0.5),
    "smoothed": lambda lam: terms.Logistic(0.9, 0.1)(lam * HBAR),
    "with a margin": lambda lam: LOGISTIC(lam * H - 0.5),
    "hinge": lambda lam: HINGE(lam * HBAR),
    "upside down": lambda lam: LOGISTIC(-1.0 * (lam * HBAR)),
    "two scales": lambda lam: LOGISTIC(lam * HBAR) + LOGISTIC(2.0 * lam * HBAR),
}


@pytest.mark.parametrize("name", BT)
def test_margins_that_are_log_odds_lead_to_the_mode(name):
    objective = own(BT[name])
    assert concluded("weak_interpolation", objective)[1] == HOLDS
    assert concluded("strong_interpolation", objective) == ("one_limit_only", FAILS)
    odds = np.array([0.3, 1.0, 2.5])
    found = contents(Formula(objective), odds)
    assert np.allclose(found / odds, found[0] / odds[0], rtol=1e-6) and found[0] > 0, "in proportion to log-odds"
    assert paths_against(Formula(objective)) is None
    rng = np.random.default_rng(3)
    for bandit in problems(rng, 3, 4, tree=True):
        policy = ea.solve(objective.with_lam(1e-3), bandit).policy
        assert policy.argmax() == bandit.optimal.argmax() and policy.max() > 0.999 - 0.5 * (name == "another link")


@pytest.mark.parametrize("name", NOT_BT)
def test_margins_that_do_not_add_up_lead_elsewhere_on_some_path(name):
    """The paths that are made from the loss's own margins, solved: the mode ends with nothing."""
    objective = own(NOT_BT[name])
    assert concluded("weak_interpolation", objective) == ("margins_add_up_on_trees", FAILS)
    found = paths_against(Formula(objective))
    policies = ea.solve(objective.with_lam(1e-4), found).policy
    assert (policies.argmax(axis=1) != found.optimal.argmax(axis=1)).all()
    assert (policies[np.arange(len(policies)), found.optimal.argmax(axis=1)] < 1e-3).all()


def test_contents_are_the_minima_of_pairs():
    """IPO's target is (p - q)/2, and EXO's c (p - q), as derived by hand."""
    odds = np.array([0.2, 1.3, 3.0])
    lead = np.tanh(odds / 2)
    assert np.allclose(contents(Formula(ea.IPO(0.3)), odds), lead / 2, atol=1e-6)
    eps = 0.01
    assert np.allclose(contents(Formula(ea.EXO(0.3, eps)), odds), np.log((1 - eps) / eps) * lead, atol=1e-6)


def test_bounds_of_contents_hold_them():
    odds, lead = 1.3, np.tanh(0.65)
    for objective, least in ((ea.IPO(0.3), lead / 2), (ea.EXO(0.3, 0.01), np.log(99) * lead), (ea.Hinge(0.3), 1.0)):
        low, high = content_bounds(subject(objective), odds)
        assert low <= least <= high and high - low < 1e-3
        back = content_bounds(subject(objective), -odds)
        assert back == pytest.approx((-high, -low), abs=1e-9)


SPIKE, TURN = 3.3017, 1e4


@pytest.mark.parametrize("where", ["nowhere", "between points of the grid", "beyond its end"])
def test_margins_seen_on_a_grid_are_no_proof(where):
    """Squares of m - 1/2, saturating, with a deep narrow well at 3.3017, or a turn at 10,000, where all pairs sit."""

    def psi(m):
        short = (m - 0.5) ** 2
        value = 1 - exp(-short)
        if where == "between points of the grid":
            value = value - 5.0 * exp(-(((m - SPIKE) / 1e-4) ** 2))
        if where == "beyond its end":
            value = value - 5.0 * sigmoid(m - TURN)
        return value

    objective = own(lambda lam: terms.Stated(psi)(lam * HBAR))
    odds = np.array([0.3, 1.0, 2.5])
    seen = contents(Formula(objective), odds)
    assert (seen < 0.6).all(), "the grid sees the square's well"
    won = 1 / (1 + np.exp(-odds))
    for at in {"nowhere": [], "between points of the grid": [SPIKE], "beyond its end": [2 * TURN]}[where]:
        risks = [won * psi(m) + (1 - won) * psi(-m) for m in (np.full(3, at), seen)]
        assert (risks[0] < risks[1] - 1).all(), "and no pair is content there"
    found = concluded("weak_interpolation", objective)
    if where == "nowhere":
        assert found == ("margins_add_up_on_trees", FAILS)
    else:
        assert found is None
        bounds = [content_bounds(subject(objective), float(x)) for x in odds]
        assert all(b is None or b[1] > 3 for b in bounds)


def test_pairs_of_a_path_are_seen_to_sit_at_their_minima():
    """A certificate for optima of losses that have no error bound: any other policy has none."""
    for objective in (ea.EXO(1.0), ea.AlphaPO(1.0), ea.with_divergence(ea.IPO(1.0), "jensen_shannon")):
        looked = subject(objective)
        bandit = paths_against(Formula(objective))
        one = ea.Bandit(bandit.reference[:1], bandit.optimal[:1], bandit.pairs[:1])
        optima = looked.optima(one, [1.0, 0.3])
        case = Case.of(one, 0, (1.0, 0.3))
        assert sit_at_minima(looked, case, optima)
        moved = optima.log_policies + np.array([0.0, 0.02, 0.0, 0.0])
        assert not sit_at_minima(looked, case, dataclasses.replace(optima, log_policies=moved))


def test_the_second_best_response_of_simpo():
    """The case by which the card was once found wrong."""
    pairs = np.zeros((4, 4))
    for i, j in ((0, 2), (2, 3), (3, 1)):
        pairs[i, j] = pairs[j, i] = 1
    bandit = ea.Bandit([0.25] * 4, [0.46, 0.40, 0.03, 0.11], pairs)
    steps = [np.log(bandit.optimal[i] / bandit.optimal[j]) for i, j in ((0, 2), (2, 3), (3, 1))]
    behind = (np.sign(steps) * contents(Formula(ea.SimPO(1.0)), np.abs(steps))).sum()
    assert behind == pytest.approx(-0.0652, abs=1e-4)
    assert ea.solve(ea.SimPO(1e-3), bandit).policy[1] > 0.999999


def test_rewards_are_fitted_where_pairs_are_content_at_their_difference():
    fitted = {
        "squares": lambda lam: SQUARE(2.0 * lam * HBAR - 3.0 * terms.reward_gap),
        "offset": lambda lam: LOGISTIC(lam * HBAR - 0.5 * terms.reward_gap),
    }
    for name, made in fitted.items():
        objective = own(made)
        assert fits_rewards(Formula(objective)) and concluded("weak_interpolation", objective)[1] == HOLDS, name
        for bandit in problems(np.random.default_rng(4), 2, 4, tree=True):
            log_ratio = np.log(ea.solve(objective.with_lam(0.5), bandit).policy / bandit.reference)
            assert np.ptp(0.5 * log_ratio - 1.5 * np.log(bandit.optimal)) < 1e-6, name
    for made in (
        lambda lam: SQUARE(lam * HBAR - terms.reward_gap - 0.1),
        lambda lam: SQUARE(lam * HBAR + terms.reward_gap),
        lambda lam: LOGISTIC(lam * HBAR) * terms.reward_gap.map(np.exp),
    ):
        assert not fits_rewards(Formula(own(made)))


def test_the_two_criteria_exclude_each_other():
    bare = ea.QPO(1.0, psi=lambda m, lam: torch.nn.functional.softplus(-lam * m), mu=torch.log)
    assert concluded("weak_interpolation", bare) is None
    assert concluded("weak_interpolation", bare, strong_interpolation=HOLDS) == ("one_limit_only", FAILS)
    assert concluded("strong_interpolation", bare, weak_interpolation=HOLDS) == ("one_limit_only", FAILS)
