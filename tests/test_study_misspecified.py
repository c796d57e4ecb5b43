"""Preferences that are not Bradley-Terry: what the losses can see of them, their limits, noise, orders, win rates."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog
from scipy.special import expit, logit

import expo_analysis as ea
from expo_analysis.figures.style import LOOKS
from expo_analysis.losses import BradleyTerry
from expo_analysis.simulators import asymptotics
from expo_analysis.studies import STUDIES
from expo_analysis.studies.misspecified.figure import draw

experiment = import_module("expo_analysis.studies.misspecified.numbers")

OPTIMAL, REFERENCE = np.array([0.6, 0.3, 0.1]), np.array([0.4, 0.4, 0.2])
LOSSES = [ea.DPO(0.7), ea.IPO(0.7), ea.FDPO(0.7), ea.EXPO(0.7), BradleyTerry(1.0)]


@pytest.fixture(scope="module")
def tables():
    """With fewer data sets and problems than are committed."""
    return experiment.run(experiment.Settings(data_sets=40, problems=120))


def random_problems(problems, n=4, seed=0, low=0.2):
    """References (problems, n), preferences in [low, 1 - low] and uneven pairs (problems, n, n)."""
    rng = np.random.default_rng(seed)
    reference = rng.dirichlet(np.ones(n), size=problems) * 0.9 + 0.1 / n
    above, below = np.triu_indices(n, 1)
    preference, pairs = np.full((problems, n, n), 0.5), np.zeros((problems, n, n))
    stated = rng.uniform(low, 1 - low, size=(problems, len(above)))
    preference[:, above, below], preference[:, below, above] = stated, 1 - stated
    pairs[:, above, below] = pairs[:, below, above] = rng.uniform(0.2, 1.0, size=stated.shape)
    return reference, preference, pairs


def noisy(preference, rate):
    return (1 - 2 * rate) * preference + rate


# --------------------------------------------------------------------------------------------- circulations


def test_circulations_are_invisible_to_all_but_the_squared_error():
    reference, preference, pairs = random_problems(200)
    flow = np.zeros((4, 4))
    for cycle, strength in (((0, 1, 2), 0.03), ((0, 2, 3), -0.02), ((0, 3, 1), 0.01)):
        for i, j in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            flow[i, j] += strength
            flow[j, i] -= strength
    assert_allclose(flow.sum(axis=1), 0, atol=1e-15)
    off = ~np.eye(4, dtype=bool)
    other = preference.copy()
    other[:, off] += flow[off] / pairs[:, off]
    assert np.abs(other - preference).max() > 0.1
    first, second = (ea.Bandit.from_preferences(reference, p, pairs) for p in (preference, other))
    for objective in LOSSES:
        assert_allclose(ea.solve(objective, first).policy, ea.solve(objective, second).policy, atol=1e-9)
    squared = [ea.solve(ea.RegressionEXPO(0.7), bandit).policy for bandit in (first, second)]
    assert np.median(np.abs(squared[0] - squared[1]).sum(axis=1)) > 1e-3


def test_a_cycle_of_some_strength_is_noise_of_that_strength(tables):
    columns = ["y0", "y1", "y2"]
    policies = tables["misspecified"].pivot(index=["loss", "strength"], columns="preferences", values=columns)
    gap = sum((policies[y]["noise"] - policies[y]["cycle"]).abs() for y in columns)
    for loss in ("dpo", "ipo", "fdpo", "expo", "fit"):
        assert gap[loss].max() < 1e-8
    assert gap["regression_expo"].max() > 0.02


# --------------------------------------------------------------------------------------------- limits


def test_three_points_under_any_preferences_with_what_is_left_over():
    reference, preference, pairs = random_problems(300, low=0.02)
    bandit = ea.Bandit.from_preferences(reference, preference, pairs)
    fit = ea.solve(BradleyTerry(1.0), bandit).policy
    lams = np.array([0.01, 0.3, 5.0])
    policies = ea.solve_path(ea.EXPO(1.0), bandit, lams).policies

    def kl(p, q):
        return (p * np.log(p / q)).sum(axis=-1)

    def ratios(policy):
        return np.log(policy)[..., :, None] - np.log(policy)[..., None, :]

    slack = kl(reference, fit) - kl(reference, policies) - kl(policies, fit)
    h, h_fit = ratios(policies), ratios(fit)
    left = (bandit.pairs * (expit(h_fit) - expit(h)) * (h_fit - h)).sum(axis=(-1, -2)) / lams[:, None]
    assert_allclose(slack, left, rtol=1e-6, atol=1e-11)
    assert slack.min() > -1e-11 and slack.max() > 0.01


def test_limits_in_the_tables(tables):
    paths = tables["misspecified_path"].set_index(["preferences", "loss", "lam"]).sort_index()
    for kind in experiment.KINDS:
        low = paths.loc[(kind, "expo")].iloc[:5]
        assert_allclose(np.polyfit(np.log(low.index), np.log(low["tv_fit"]), 1)[0], 1, atol=0.01)
        for loss in ("dpo", "ipo", "fdpo"):
            assert paths.loc[(kind, loss)].iloc[0]["y0"] > 1 - 1e-9  # y1 leads in wins in all three
        for loss in experiment.LOSSES:
            assert_allclose(paths.loc[(kind, loss)].iloc[-1][["y0", "y1", "y2"]].astype(float), REFERENCE, atol=2e-3)
    expo = tables["misspecified_path"].query("loss == 'expo'")
    assert expo["slack"].min() > 0


def test_an_annotator_who_never_errs(tables):
    rows = tables["misspecified"].query("preferences == 'order' and strength == 1").set_index("loss")
    assert rows.loc[["dpo", "fdpo", "fit"], "status"].eq("no_minimiser").all()
    assert rows.loc[["ipo", "expo"], "status"].eq("optimal").all()
    assert rows.loc["regression_expo", "status"] == "best_found"  # not convex: a search
    assert rows.loc["expo", ["y0", "y1", "y2"]].min() > 0


# --------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_noise_on_two_responses_is_a_pull_to_uniform(rate):
    reference, optimal, lam = np.array([0.2, 0.8]), np.array([0.7, 0.3]), 0.4
    clean = ea.Bandit(reference, optimal)
    bandit = ea.Bandit.from_preferences(reference, noisy(clean.preference, rate))
    limit = (1 - 2 * rate) * optimal + rate
    assert_allclose(ea.solve(ea.EXPO(lam), bandit).policy, (limit + lam * reference) / (1 + lam), atol=1e-12)
    assert_allclose(np.abs(limit - optimal).sum() / 2, rate * abs(1 - 2 * optimal[0]))
    # the same as a uniform reference without noise, at lambda = 2 rate / (1 - 2 rate)
    uniform = ea.solve(ea.EXPO(2 * rate / (1 - 2 * rate)), ea.Bandit([0.5, 0.5], optimal))
    assert_allclose(uniform.policy, limit, atol=1e-12)


def test_noise_for_ipo_is_another_lambda():
    reference, preference, pairs = random_problems(50)
    rate, lam = 0.2, 0.3
    flipped = ea.solve(ea.IPO(lam), ea.Bandit.from_preferences(reference, noisy(preference, rate), pairs))
    clean = ea.solve(ea.IPO(lam / (1 - 2 * rate)), ea.Bandit.from_preferences(reference, preference, pairs))
    assert_allclose(flipped.policy, clean.policy, atol=1e-10)


def test_robust_dpo_undoes_noise_and_conservative_dpo_adds_as_much():
    reference, preference, pairs = random_problems(50)
    rate, lam = 0.2, 0.5

    def policy(rate, **options):
        bandit = ea.Bandit.from_preferences(reference, noisy(preference, rate), pairs)
        return ea.solve(ea.DPO(lam, **options), bandit).policy

    assert_allclose(policy(rate, label_smoothing=rate, robust=True), policy(0), atol=1e-9)
    twice = 2 * rate * (1 - rate)  # flipped once, but not twice
    assert_allclose(policy(rate, label_smoothing=rate), policy(twice), atol=1e-9)


def test_errors_of_corrected_losses_on_samples_are_those_of_the_delta_method(tables):
    clean = ea.solve(ea.DPO(experiment.CORRECTED_LAM), ea.Bandit(REFERENCE, OPTIMAL)).policy
    truth = ea.Bandit(REFERENCE, OPTIMAL).preference
    population = ea.Bandit.from_preferences(REFERENCE, noisy(truth, experiment.NOISE))
    rows = tables["misspecified_corrections"].set_index(["loss", "pairs"])
    for loss in experiment.CORRECTIONS:
        theory = asymptotics(experiment.corrected(loss, experiment.NOISE), population)
        for size in (10_000, 100_000):
            row = rows.loc[(loss, size)]
            spread = (row["high"] - row["low"]) / (2 * 1.96)
            assert abs(row["error"] - theory.mean_tv(clean, size)) < 4.5 * spread
    few = min(experiment.SIZES)
    assert rows.loc[("robust_dpo", few), "no_minimiser"] > rows.loc[("dpo", few), "no_minimiser"]
    assert rows.loc[("robust_dpo", few), "error"] > rows.loc[("dpo", few), "error"]


def test_robust_dpo_told_too_much_has_no_minimiser(tables):
    """In the margins of y3 against the rest the corrected wins are negative, and the loss falls without end."""
    row = tables["misspecified_corrections"].query("assumed > 0 and noise == 0 and loss == 'robust_dpo'").iloc[0]
    assert row["no_minimiser"] == 1
    bandit, objective = ea.Bandit(REFERENCE, OPTIMAL), experiment.corrected("robust_dpo", experiment.NOISE)
    log_policies = np.log(REFERENCE) + np.outer([0.0, 100.0, 1000.0, 2000.0, 3000.0], [0.0, 0.0, -1.0])
    log_policies -= np.log(np.exp(log_policies).sum(axis=1, keepdims=True))
    risks = ea.risk(objective, bandit, log_policies)
    falls = np.diff(risks)
    assert (falls < 0).all()
    assert_allclose(falls[-1], falls[-2], rtol=1e-9)  # in the end in proportion to the logit


# --------------------------------------------------------------------------------------------- orders


def test_uniform_pairs_rank_by_mean_win_rates():
    _, preference, _ = random_problems(300, n=5, low=0.0)
    bandit = ea.Bandit.from_preferences(np.full((300, 5), 0.2), preference)
    borda = preference.mean(axis=2).argsort(axis=1)
    for objective in (BradleyTerry(1.0), ea.IPO(5.0)):
        assert (ea.solve(objective, bandit).policy.argsort(axis=1) == borda).all()


def test_ipo_on_uneven_pairs_misses_the_best_of_bradley_terry_preferences():
    """y1 beats y4 by 5 in log-odds, y2 beats y3 by 2 and y3 beats y4 by 2: y1 leads y2 by 1. IPO adds up 2p - 1."""
    log_odds = np.array([5.0, 4.0, 2.0, 0.0])
    optimal = np.exp(log_odds) / np.exp(log_odds).sum()
    q = np.zeros((4, 4))
    for i, j in ((0, 3), (1, 2), (2, 3)):
        q[i, j] = q[j, i] = 1.0
    bandit = ea.Bandit(np.full(4, 0.25), optimal, pairs=q)
    margin = 2 * bandit.preference - 1
    assert margin[1, 2] + margin[2, 3] > margin[0, 3]
    assert ea.solve(ea.IPO(1.0), bandit).policy.argmax() == 1
    for objective in (BradleyTerry(1.0), ea.EXPO(1e-6), ea.DPO(1.0)):
        assert ea.solve(objective, bandit).policy.argmax() == 0
    # noise on the labels makes the likelihood's fit add up what is no longer log-odds, and its best is wrong too
    rate = 0.2
    noise = ea.Bandit.from_preferences(np.full(4, 0.25), noisy(bandit.preference, rate), pairs=q)
    fitted = logit(noisy(bandit.preference, rate))
    assert fitted[1, 2] + fitted[2, 3] > fitted[0, 3]
    assert ea.solve(ea.EXPO(1e-6), noise).policy.argmax() == 1


def test_three_responses_are_too_few_for_that():
    """With three, IPO weighs the direct pair against the sum of two margins of the same sign."""
    rng = np.random.default_rng(0)
    optimal = rng.dirichlet(np.ones(3), size=2000)
    _, _, pairs = random_problems(2000, n=3)
    policy = ea.solve(ea.IPO(1.0), ea.Bandit(np.full((2000, 3), 1 / 3), optimal, pairs=pairs**4)).policy
    assert (policy.argsort(axis=1) == optimal.argsort(axis=1)).all()


def test_table_of_orders(tables):
    rows = tables["misspecified_orders"].set_index(["preferences", "pairs", "fit"])
    for kind in ("bradley_terry", "noisy", "any"):
        assert rows.loc[(kind, "uniform", "likelihood"), "not_borda"] == 0
        assert rows.loc[(kind, "uniform", "ipo"), "not_borda"] == 0
        assert rows.loc[(kind, "uneven", "ipo"), "not_borda"] > 0
    assert rows.loc[("any", "uniform", "squared_error"), "not_borda"] > 0.05
    assert rows.loc[("bradley_terry", "uneven", "likelihood"), "wrong_best"] == 0
    assert rows.loc[("noisy", "uneven", "likelihood"), "wrong_best"] > 0
    assert rows.loc[("bradley_terry", "uneven", "ipo"), "wrong_best"] > 0


# --------------------------------------------------------------------------------------------- win rates


def test_no_policy_is_sure_of_more_than_half(tables):
    everything = tables["misspecified"]
    assert everything["worst_win_rate"].max() <= 0.5 + 1e-9
    # the value of the game, by linear programming: max t with sum_i pi_i p_ij >= t
    for kind, strength in (("noise", 0.4), ("cycle", 0.4), ("cycle", 0.8), ("cycle", 1.0)):
        p = experiment.mixed(kind, np.array([strength]))[0]
        game = linprog(
            [0, 0, 0, -1.0],
            A_ub=np.c_[-p.T, np.ones(3)],
            b_ub=np.zeros(3),
            A_eq=[[1, 1, 1, 0.0]],
            b_eq=[1],
            bounds=[(0, None)] * 3 + [(None, None)],
        )
        assert_allclose(-game.fun, 0.5, atol=1e-9)
        if strength == 1.0:
            assert_allclose(game.x[:3], 1 / 3, atol=1e-9)
        if (kind, strength) == ("cycle", 0.4):
            assert_allclose(game.x[:3], [1, 0, 0], atol=1e-9)  # y1 still beats both others
    worst = everything.set_index(["preferences", "strength", "loss"])["worst_win_rate"]
    assert worst["noise", 0.0, "dpo"] > worst["noise", 0.0, "expo"]
    assert worst["cycle", 0.8, "dpo"] < worst["cycle", 0.8, "expo"]


def test_win_rates_by_hand():
    log_policy = np.log([[0.5, 0.25, 0.25]])
    row = experiment.described(
        "order", np.array([1.0]), "ipo", 1.0, log_policy, np.array(["optimal"]), log_policy
    ).iloc[0]
    # against y1: 0.5 * 1/2; against y2: 0.5 + 0.25/2; against y3: 0.75 + 0.25/2
    assert row["worst_win_rate"] == 0.25
    assert_allclose(row["win_rate_reference"], 0.4 * 0.25 + 0.4 * 0.625 + 0.2 * 0.875)
    assert_allclose(row["tv_optimal"], 0.15)
    assert row["tv_fit"] == 0 and abs(row["slack"]) < 1e-12


# --------------------------------------------------------------------------------------------- picture and words


@pytest.fixture(scope="module")
def figures(tables):
    return draw(tables)


def test_picture_draws_the_tables(tables, figures):
    ends, paths = tables["misspecified"], tables["misspecified_path"]
    shown = (ends, "tv_optimal"), (paths, "tv_fit"), (ends, "worst_win_rate")
    for figure in figures.values():
        assert len(figure.axes) == 3 and all(axes.get_title() and axes.get_xlabel() for axes in figure.axes)
        assert figure.axes[0].get_ylabel()
    for (frame, value), figure in zip(shown, figures.values(), strict=False):
        for axes, kind in zip(figure.axes, experiment.KINDS, strict=True):
            for loss in experiment.LOSSES:
                own = frame[(frame["preferences"] == kind) & (frame["loss"] == loss)][value]
                drawn = [line for line in axes.lines if line.get_color() == LOOKS[loss].colour]
                assert any(np.array_equal(line.get_ydata(), own) for line in drawn)
                low, high = axes.get_ylim()
                assert low <= own.min() and own.max() <= high


def test_words_follow_the_tables(tables, figures):
    words = " ".join(STUDIES["misspecified"].say(tables, figures).split())
    assert "nan" not in words and "no λ undoes it" in words
    rows = tables["misspecified"].set_index(["preferences", "strength", "loss"])
    assert f"{rows.loc[('noise', 0.2, 'fit'), 'tv_optimal']:.3f} in TV with 10% of the labels flipped" in words
    # a table in which a larger lambda undoes noise changes the sentence
    changed = {name: table.copy() for name, table in tables.items()}
    path = changed["misspecified_path"]
    at = (path["preferences"] == "noise") & (path["loss"] == "expo") & (path["lam"] == 1.0)
    path.loc[at, "tv_optimal"] = 0.0
    assert "at the best λ, 1, TV from π\\* is 0.000" in " ".join(STUDIES["misspecified"].say(changed, figures).split())
