"""Error to pi* against the number of comparisons: asymptotic theory, counts of data sets, picture and words."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom, norm

import expo_analysis as ea
from expo_analysis._rounding import rounded
from expo_analysis.figures.style import LOOKS
from expo_analysis.losses import BradleyTerry
from expo_analysis.simulators import Asymptotics, asymptotics
from expo_analysis.studies import STUDIES

pytestmark = pytest.mark.slow

experiment = import_module("expo_analysis.studies.finite_data.numbers")

OPTIMAL, REFERENCE = np.array([0.6, 0.3, 0.1]), np.array([0.4, 0.4, 0.2])
POPULATION = ea.Bandit(REFERENCE, OPTIMAL)
IMPLICIT, EXPLICIT = ["dpo", "ipo", "fdpo"], ["expo", "regression_expo"]


@pytest.fixture(scope="module")
def tables():
    return experiment.run(experiment.Settings())


@pytest.fixture(scope="module")
def errors(tables):
    return tables["finite_data"].set_index(["reference", "loss", "choice", "measure", "pairs"]).sort_index()


def standard_error(rows):
    return (rows["high"] - rows["low"]) / (2 * 1.96)


# --------------------------------------------------------------------------------------------- asymptotics


def sampled(objective, size, data_sets, seed=0):
    """Exact optima on data sets drawn from the population."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(size, POPULATION.wins.reshape(-1), size=data_sets).reshape(-1, 3, 3)
    return ea.solve(objective, ea.Bandit.from_counts(np.tile(REFERENCE, (data_sets, 1)), counts)).policy


@pytest.mark.parametrize(
    "objective",
    [
        ea.DPO(1.0),
        ea.DPO(1.0, label_smoothing=0.2),
        ea.IPO(0.5),
        ea.FDPO(2.0),
        ea.EXPO(0.1),
        ea.EXPO(2.0),
        ea.RegressionEXPO(0.3),
        ea.RegressionEXPO(0.3, criterion="cross_entropy"),
    ],
    ids=str,
)
def test_covariance_is_that_of_exact_optima_on_large_data_sets(objective):
    size, data_sets = 50_000, 2000
    theory = asymptotics(objective, POPULATION)
    policies = sampled(objective, size, data_sets)
    cov = theory.covariance
    spread = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / data_sets)
    assert (np.abs(size * np.cov(policies.T) - cov) < 5 * spread).all()
    tv = np.abs(policies - OPTIMAL).sum(axis=1) / 2
    assert abs(tv.mean() - theory.mean_tv(OPTIMAL, size)) < 5 * tv.std() / np.sqrt(data_sets) + 1e-5


@pytest.mark.parametrize("lam", [1e-3, 0.3, 5.0])
def test_two_responses_have_closed_forms(lam):
    p, r = 0.7, 0.4
    bandit = ea.Bandit([r, 1 - r], [p, 1 - p])
    sign = np.array([[1.0, -1.0], [-1.0, 1.0]])
    # EXPO's optimum is (share of wins + lam pi_ref)/(1 + lam)
    assert_allclose(
        asymptotics(ea.EXPO(lam), bandit).covariance, sign * p * (1 - p) / (1 + lam) ** 2, rtol=1e-9, atol=0
    )
    # IPO's log-ratio is log(r/(1 - r)) + (2 share - 1)/(2 lam)
    ipo = asymptotics(ea.IPO(lam), bandit)
    slope = ipo.policy.prod() / lam
    assert_allclose(ipo.covariance, sign * p * (1 - p) * slope**2, rtol=1e-8, atol=1e-300)


def test_likelihood_has_the_inverse_fisher_information():
    q = np.array([[0, 3, 1], [3, 0, 1], [1, 1, 0]], dtype=float)
    bandit = ea.Bandit(REFERENCE, OPTIMAL, pairs=q)
    p = bandit.preference
    weight = 2 * bandit.pairs * p * (1 - p)
    information = np.diag(weight.sum(axis=1)) - weight
    jacobian = np.diag(OPTIMAL) - np.outer(OPTIMAL, OPTIMAL)
    expected = jacobian @ np.linalg.pinv(information) @ jacobian
    found = asymptotics(BradleyTerry(1.0), bandit).covariance
    assert_allclose(found, expected, rtol=1e-9)
    # by Cramer and Rao the smallest: the fit by squared error, consistent too as lambda -> 0, has no smaller one
    other = asymptotics(ea.RegressionEXPO(1e-9), bandit).covariance
    assert np.linalg.eigvalsh(other - found).min() > -1e-6
    assert np.trace(other) > 1.001 * np.trace(found)


def test_mean_tv_is_the_integral_over_a_normal():
    covariance = np.array([[0.4, -0.3, -0.1], [-0.3, 0.5, -0.2], [-0.1, -0.2, 0.3]])
    theory = Asymptotics(np.array([0.5, 0.3, 0.2]), covariance)
    target = np.array([0.45, 0.3, 0.25])
    for size in (10, 1000):
        expected = 0.0
        for mean, variance in zip(theory.policy - target, np.diag(covariance), strict=True):
            s = np.sqrt(variance / size)
            ends = (mean - 12 * s, mean + 12 * s)
            expected += quad(lambda x, m=mean, s=s: abs(x) * norm.pdf(x, m, s), *ends, points=[0])[0]
        assert_allclose(theory.mean_tv(target, size), expected / 2, rtol=1e-7)
    assert theory.mean_tv(target, [10, 1000]).shape == (2,)


def test_asymptotics_refuses_what_has_no_such_limit():
    with pytest.raises(ValueError, match="bandit must be a population"):
        asymptotics(ea.EXPO(1.0), ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [2, 0]]))
    with pytest.raises(ValueError, match="one prompt"):
        asymptotics(ea.EXPO(1.0), ea.Bandit([[0.5, 0.5]] * 2, [[0.5, 0.5]] * 2))
    with pytest.raises(TypeError, match="objective must be a loss of pairs"):
        asymptotics(ea.RLHF(1.0), POPULATION)
    separable = ea.Bandit.from_preferences([0.5, 0.5], [[0.5, 1], [0, 0.5]])
    with pytest.raises(ValueError, match="bandit must have one minimiser of dpo: no minimiser"):
        asymptotics(ea.DPO(1.0), separable)


def test_best_lambda_is_of_order_one_over_n():
    """On two responses EXPO's mean squared error is exactly (v/N + lam^2 b^2)/(1 + lam)^2, lowest at v/(N b^2)."""
    p, r = 0.7, 0.4
    for size in (20, 80):
        wins = np.arange(size + 1)
        counts = np.zeros((size + 1, 2, 2))
        counts[:, 0, 1], counts[:, 1, 0] = wins, size - wins
        data = ea.Bandit.from_counts(np.tile([r, 1 - r], (size + 1, 1)), counts)
        best = p * (1 - p) / (size * (r - p) ** 2)
        lams = best * np.array([0.9, 1.0, 1.1])
        share = ea.solve_path(ea.EXPO(1.0), data, lams).policies[:, :, 0]
        mse = ((share - p) ** 2) @ binom.pmf(wins, size, p)
        assert_allclose(mse, (p * (1 - p) / size + lams**2 * (r - p) ** 2) / (1 + lams) ** 2, rtol=1e-9)
        assert mse.argmin() == 1


# --------------------------------------------------------------------------------------------- how errors are summed up


def test_best_lambda_comes_from_the_other_half():
    over_a, over_b = np.array([1.0, 2.0]), np.array([4.0, 3.0])  # two lambdas: the first is best on a, the second on b
    errors = np.hstack([np.tile(over_a[:, None], 3), np.tile(over_b[:, None], 3)])
    values, best = experiment.chosen(errors, np.mean)
    assert best.tolist() == [0, 1]
    assert values.tolist() == [2.0, 2.0, 2.0, 4.0, 4.0, 4.0]


def test_range_of_lambda_that_is_as_good_is_interpolated():
    lams = np.geomspace(1e-3, 10, 9)
    errors = 1 + lams**2 / 10  # 1.1 times the lowest at lambda = 1, nearly
    assert_allclose(experiment.as_good_up_to(lams, errors), 1, rtol=0.1)
    assert experiment.as_good_up_to(lams[::-1], errors[::-1]) == 1e-3
    assert np.isnan(experiment.as_good_up_to(lams, errors * np.nan))


def test_median_interval_covers_the_median():
    rng = np.random.default_rng(0)
    hits = sum(
        low <= np.log(2) <= high
        for _, low, high in (experiment.median_interval(rng.exponential(size=100)) for _ in range(2000))
    )
    assert hits / 2000 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_data_sets_without_a_minimiser_are_those_that_ford_named(errors):
    """Ford 1957: the likelihood has a maximum if and only if the graph of wins is strongly connected."""
    found = errors.xs(("far", "best", "tv"), level=("reference", "choice", "measure"))
    for size in experiment.SIZES:
        counts = experiment.counts(size, experiment.Settings().data_sets)
        assert (counts.sum(axis=(1, 2)) == size).all()
        expected = sum(connected_components(c > 0, connection="strong")[0] > 1 for c in counts)
        for loss in ("dpo", "fdpo"):
            assert found.loc[(loss, size), "no_minimiser"] == expected
        for loss in ("ipo", *EXPLICIT):
            assert found.loc[(loss, size), "no_minimiser"] == 0
    assert found.loc[("dpo", 10), "no_minimiser"] > 0
    kl = errors.xs(("dpo", "kl"), level=("loss", "measure"))
    assert (kl["infinite"] == kl["no_minimiser"]).all()


def test_rlhf_on_win_counts_needs_no_line_of_its_own():
    data = ea.Bandit.from_counts(np.tile(REFERENCE, (20, 1)), experiment.counts(32, 20))
    for lam in (0.5, 2.0):
        assert_allclose(ea.solve(ea.RLHF(lam), data).policy, ea.solve(ea.DPO(lam), data).policy, atol=1e-9)


# --------------------------------------------------------------------------------------------- the tables


@pytest.mark.parametrize("reference", ["far", "near"])
def test_large_data_sets_have_the_error_that_the_delta_method_predicts(errors, reference):
    fixed = errors.xs((reference, "fixed", "tv"), level=("reference", "choice", "measure"))
    large = fixed[fixed.index.get_level_values("pairs") >= 10_000]
    assert len(large) == 3 * 5 and large["predicted"].notna().all()
    assert (np.abs(large["error"] - large["predicted"]) < 4.5 * standard_error(large)).all()
    best = errors.xs((reference, "best", "tv"), level=("reference", "choice", "measure")).loc[EXPLICIT]
    large = best[best.index.get_level_values("pairs") >= 1000]
    assert (np.abs(large["error"] - large["predicted"]) < 4.5 * standard_error(large)).all()


def test_explicit_losses_are_efficient_and_implicit_ones_level_off(tables, errors):
    rates = tables["finite_data_rates"].set_index(["reference", "loss", "choice", "measure"])
    for loss in EXPLICIT:
        rate = rates.loc[("far", loss, "best", "tv")]
        assert abs(rate["slope"] + 0.5) < 4 * rate["standard_error"] < 0.1
    efficient = tables["finite_data_efficient"].set_index("pairs")["error"]
    most = efficient.index[-1]
    for reference in ("far", "near"):
        for loss in EXPLICIT:
            row = errors.loc[(reference, loss, "best", "tv", most)]
            assert abs(row["error"] - efficient[most]) < 4.5 * standard_error(row)
        for loss in IMPLICIT:
            rate = rates.loc[(reference, loss, "best", "tv")]
            level, row = rate["population_error"], errors.loc[(reference, loss, "best", "tv", most)]
            assert abs(rate["slope"]) < 0.06
            assert level - 4.5 * standard_error(row) < row["error"] < 1.15 * level
            assert row["error"] > 5 * errors.loc[(reference, "expo", "best", "tv", most), "error"]


def test_lambda_may_be_as_large_as_the_root_of_one_over_n(errors):
    """Where EXPO's bias, of order lambda, meets its noise, of order N^(-1/2): by theory, and on the data sets."""
    far = errors.xs(("far", "expo", "best", "tv"), level=("reference", "loss", "choice", "measure"))
    far = far[far.index >= 1000]
    for column, tolerance in (("predicted_lam_high", 0.1), ("lam_high", 0.2)):
        slope = np.polyfit(np.log(far.index), np.log(far[column]), 1)[0]
        assert abs(slope + 0.5) < tolerance


def test_population_errors_are_the_lowest_that_a_search_finds(tables):
    found = tables["finite_data_population"].set_index(["reference", "loss", "choice", "measure"])["error"]
    lams = np.geomspace(0.1, 10, 4001)
    for loss in IMPLICIT:
        path = ea.solve_path(experiment.LOSSES[loss], POPULATION, lams)
        tv = np.abs(path.policies - OPTIMAL).sum(axis=1) / 2
        assert_allclose(found["far", loss, "best", "tv"], tv.min(), rtol=0.01)
        # the near reference is sharper than pi*, and these losses only sharpen: nothing is nearer than pi_ref itself
        assert found["near", loss, "best", "tv"] >= 0.02
        assert found["near, flatter", loss, "best", "tv"] < 0.005


def test_training_ends_at_the_optimum_wherever_that_is(tables):
    ends = tables["finite_data_ends"].set_index(["reference", "loss", "pairs", "end"])
    size = experiment.TRAINED_PAIRS
    for reference in ("far", "near"):
        for loss in experiment.Settings().trained:
            last, optimum = (ends.loc[(reference, loss, size, end)] for end in ("last", "optimum"))
            assert abs(last["error"] - optimum["error"]) < 0.25 * standard_error(optimum) + 2e-3
    far = ends["error"]["far"]
    assert far["dpo", size, "validation"] > 5 * far["dpo", size, "nearest"]
    assert far["expo", size, "last"] < far["expo", size, "validation"]


def test_same_numbers_on_every_run(tables):
    again = rounded(experiment._optima("far", "expo", experiment.Settings().data_sets))
    own = tables["finite_data"].query("reference == 'far' and loss == 'expo'")
    assert_allclose(again["error"], own["error"], rtol=1e-7)


# --------------------------------------------------------------------------------------------- picture and words


@pytest.fixture(scope="module")
def figures(tables):
    return STUDIES["finite_data"].draw(tables)


def test_pictures_draw_the_tables(tables, figures):
    errors = tables["finite_data"].query("measure == 'tv'")
    panels = {
        ("finite_data", "error"): errors.query("choice == 'best'"),
        ("finite_data_fixed", "error"): errors.query("choice == 'fixed'"),
        ("finite_data_lambda", "lam"): errors.query("choice == 'best'"),
        ("finite_data_training", "error"): tables["finite_data_training"].query(f"pairs == {experiment.TRAINED_PAIRS}"),
    }
    for (picture, value), rows in panels.items():
        for axes, reference in zip(figures[picture].axes, ("far", "near"), strict=True):
            low, high = axes.get_ylim()
            for loss, own in rows[rows["reference"] == reference].groupby("loss"):
                drawn = [line for line in axes.lines if line.get_color() == LOOKS[loss].colour]
                assert any(np.array_equal(line.get_ydata(), own[value]) for line in drawn), (picture, loss)
                assert low < own[value].min() and own[value].max() < high
    [axes] = figures["finite_data_ends"].axes
    ends = tables["finite_data_ends"].query(f"reference == 'far' and pairs == {experiment.TRAINED_PAIRS}")
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    assert sorted(drawn) == sorted(ends["error"]) and len(axes.get_xticks()) == ends["end"].nunique()


def test_words_follow_the_tables(tables, figures):
    words = " ".join(STUDIES["finite_data"].say(tables, figures).split())
    assert "nan" not in words
    rate = tables["finite_data_rates"].query("reference == 'far' and loss == 'expo' and choice == 'best'").iloc[0]
    assert f"{rate['slope']:.2f} ± {rate['standard_error']:.2f}".replace("-", "−") in words
    none = tables["finite_data"].query("loss == 'dpo' and pairs == 10")["no_minimiser"].iloc[0]
    assert f"with N = 10, {none} are separable" in words
