"""What a statistician asks of optima on counts: intervals, samples, likelihood ratios, a lambda; written forms."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import integrate, special, stats
from scipy.special import expit, gammaln

import expo_analysis as ea
from expo_analysis.optima import choose, resampling
from expo_analysis.optima.intervals import MOST, critical_value

from .test_inference import rows_of
from .test_sparse import drawn

# ------------------------------------------------------------------------------------------------------------ intervals


def test_intervals_are_estimates_and_their_errors() -> None:
    games = drawn(6, 300, 0, reference="uniform", least=1.0)
    names = games.responses
    assert names is not None
    fit = ea.solve(ea.BradleyTerry(1.0), games)
    design, won = rows_of(games)
    theirs = sm.Logit(won, design).fit(disp=0, tol=1e-14).conf_int(alpha=0.1)
    own = fit.conf_int(0.1, names[1:], names[0], kind="model")
    assert np.allclose(own, theirs, rtol=1e-7)
    around = fit.conf_int()
    score = fit.log_policy - fit.log_policy.mean()
    assert np.allclose(around.mean(axis=1), score) and (np.diff(around) > 0).all()


@pytest.mark.parametrize("k", [2, 5])
def test_the_largest_of_several(k: int) -> None:
    """Independent: Sidak's. All one: a single one's. Between: what scipy integrates over the cube."""
    one = -stats.norm.ppf(0.025)
    assert critical_value(4 * np.ones((k, k)), 0.05) == pytest.approx(one, abs=0.03)
    sidak = -stats.norm.ppf((1 - 0.95 ** (1 / k)) / 2)
    assert critical_value(np.diag(np.arange(1.0, k + 1)), 0.05) == pytest.approx(sidak, abs=0.03)
    between = np.diag(np.arange(1.0, k + 1)) + 2.0
    found, scale = critical_value(between, 0.05), np.sqrt(np.diag(between))
    inside = stats.multivariate_normal(cov=between, seed=1).cdf(found * scale, lower_limit=-found * scale)
    assert one < found < sidak and inside == pytest.approx(0.95, abs=0.004)


def test_of_very_many_it_is_sidaks_and_what_is_known_is_left_out() -> None:
    many = np.eye(MOST + 1)
    assert critical_value(many, 0.05) == pytest.approx(-stats.norm.ppf((1 - 0.95 ** (1 / (MOST + 1))) / 2))
    known = np.diag([1.0, 0.0])
    assert critical_value(np.zeros((2, 2)), 0.05) == pytest.approx(-stats.norm.ppf(0.025))  # of none: that of one
    assert critical_value(known, 0.05) == pytest.approx(-stats.norm.ppf(0.025))
    games = drawn(4, 60, 0, least=1.0)
    fit = ea.solve(ea.BradleyTerry(1.0), games)
    one, every = fit.conf_int(), fit.conf_int(simultaneous=True)
    assert (every[:, 0] < one[:, 0]).all() and (every[:, 1] > one[:, 1]).all()
    assert np.ptp(fit.conf_int(against=games.responses[0])[0]) < 1e-9  # type: ignore[index]
    with pytest.raises(ValueError, match=r"alpha must be a number in \(0, 1\), got 1.5"):
        fit.conf_int(1.5)


# ------------------------------------------------------------------------------------------------------------ bootstrap


def battles(n: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, ea.Comparisons]:
    """Scores up to 1.5 from 0, so that nobody wins all, and battles of all pairs at random."""
    score = rng.uniform(-1.5, 1.5, n)
    one = rng.integers(0, n, size)
    other = (one + rng.integers(1, n, size)) % n
    won = rng.random(size) < expit(score[one] - score[other])
    return score, ea.Comparisons(np.where(won, one, other), np.where(won, other, one), reference=np.full(n, 1 / n))


def test_samples_are_drawn_from_what_was_seen_and_solved_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    _, games = battles(5, 400, np.random.default_rng(0))
    fit = ea.solve(ea.EXPO(0.01), games)
    found = ea.bootstrap(fit, 60, rng=3)
    assert found.bootstrap_distribution.shape == (5, 60) and found.log_policies.shape == (60, 5)
    monkeypatch.setattr(resampling, "FEW", 1)
    assert np.abs(ea.bootstrap(fit, 60, rng=3).log_policies - found.log_policies).max() < 1e-10
    rng, shares = np.random.default_rng(3), games.weight / games.weight.sum()
    assert ea.bootstrap(fit, 60, rng=rng).standard_error.shape == (5,)
    drawn_first = np.random.default_rng(3).multinomial(400, shares, 60)[0]
    first = ea.solve(ea.EXPO(0.01), ea.Comparisons(games.winner, games.loser, drawn_first, reference=games.reference))
    assert np.abs(first.log_policy - found.log_policies[0]).max() < 1e-10
    model = np.sqrt(np.diag(fit.covariance()))
    assert np.allclose(found.standard_error, model, rtol=0.35)


def test_ends_of_each_method_are_what_it_says() -> None:
    _, games = battles(4, 300, np.random.default_rng(1))
    fit = ea.solve(ea.BradleyTerry(1.0), games)
    made: Any = {
        method: ea.bootstrap(fit, 99, 0.9, method, responses=[1, 3], against=0, rng=0)
        for method in ("percentile", "basic", "normal")
    }
    ordered = np.sort(made["percentile"].bootstrap_distribution, axis=1)  # of 99 the fifth and the 95th
    low, high = made["percentile"].confidence_interval
    assert np.allclose(low, ordered[:, 4], rtol=1e-12) and np.allclose(high, ordered[:, 94], rtol=1e-12)
    estimate = fit.log_policy[[1, 3]] - fit.log_policy[0]
    assert np.allclose(made["basic"].confidence_interval.low, 2 * estimate - high)
    assert np.allclose(made["basic"].confidence_interval.high, 2 * estimate - low)
    reach = stats.t.ppf(0.95, 98) * made["normal"].standard_error
    assert np.allclose(made["normal"].confidence_interval, [estimate - reach, estimate + reach])


def test_what_cannot_be_resampled() -> None:
    _, games = battles(3, 200, np.random.default_rng(0))
    fit = ea.solve(ea.BradleyTerry(1.0), games)
    for arguments, message in (
        (dict(method="bca"), "method must be one of"),
        (dict(n_resamples=38), "n_resamples must be a whole number of at least 39"),
        (dict(confidence_level=1.0), "confidence_level must be a number"),
        (dict(rng="seed"), "rng must be a numpy Generator"),
        (dict(responses=[7]), "must be a position from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.bootstrap(fit, **arguments)  # type: ignore[arg-type]
    rare = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons([0, 1], [1, 0], [30, 1]))
    with pytest.raises(ValueError, match=r"BradleyTerry, has no single optimum .* EXPO has one on all data"):
        ea.bootstrap(rare, rng=0)
    lost = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons([0], [1]))
    with pytest.raises(ValueError, match="solution must be the one optimum, proven; it is no_minimiser"):
        ea.bootstrap(lost)
    with pytest.raises(ValueError, match="must be of Comparisons, or of a Bandit of counts"):
        ea.bootstrap(ea.solve(ea.EXPO(1.0), ea.Bandit([0.5, 0.5], [0.6, 0.4])))


@pytest.mark.slow
def test_bootstrap_intervals_cover() -> None:
    """95% intervals of 100 samples, on 2,000 data sets of 400 battles: between 93% and 97% of log-ratios are inside."""
    rng, hit = np.random.default_rng(0), {method: 0 for method in resampling.METHODS}
    for _ in range(2_000):
        score, games = battles(4, 400, rng)
        fit, truth = ea.solve(ea.BradleyTerry(1.0), games), score - score.mean()
        found = ea.bootstrap(fit, rng=rng)
        for method in hit:
            estimate = fit.log_policy - fit.log_policy.mean()
            low, high = resampling.ends(found.bootstrap_distribution.T, estimate, found.standard_error, 0.025, method)
            hit[method] += np.count_nonzero((low <= truth) & (truth <= high))
    print({method: float(count / 8_000) for method, count in hit.items()})
    assert all(0.93 < count / 8_000 < 0.97 for count in hit.values())


# ---------------------------------------------------------------------------------------------------- likelihood ratios


def test_likelihood_ratios_as_statsmodels_has_them() -> None:
    games = drawn(6, 400, 1, reference="uniform", least=1.0)
    bandit = games.bandit()
    strength = np.random.default_rng(0).normal(size=(6, 2))
    design, won = rows_of(games)
    rows = np.column_stack([design @ strength[1:, k] + (-design.sum(axis=1)) * strength[0, k] for k in (0, 1)])
    full, part = sm.Logit(won, design).fit(disp=0, tol=1e-14), sm.Logit(won, rows).fit(disp=0, tol=1e-14)
    fit = ea.solve(ea.BradleyTerry(1.0), bandit)
    statistic, pvalue, df = fit.compare_lr_test(ea.solve(ea.BradleyTerry(1.0), bandit, features=strength))
    wanted = 2 * (full.llf - part.llf)
    assert df == 3 and statistic == pytest.approx(wanted, rel=1e-7)
    assert pvalue == pytest.approx(stats.chi2.sf(wanted, 3), rel=1e-6, abs=0.0)
    equal = ea.solve(ea.BradleyTerry(1.0), games).compare_lr_test(np.full(6, 1 / 6))
    assert equal.df == 5 and equal.statistic == pytest.approx(2 * (full.llf - len(won) * np.log(0.5)), rel=1e-9)
    tilted = ea.solve(ea.DPO(0.5), games).compare_lr_test(games.reference)  # DPO at its reference: all are equal
    assert tilted.statistic == pytest.approx(equal.statistic, rel=1e-9)


def test_p_values_are_uniform_where_the_restriction_is_true() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        one = rng.integers(0, 4, 500)
        other = (one + rng.integers(1, 4, 500)) % 4
        fit = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons(one, other))  # all are equally strong
        found.append(fit.compare_lr_test(np.full(4, 0.25)).pvalue)
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_what_is_no_likelihood_ratio() -> None:
    games = drawn(4, 60, 0, reference="uniform", least=1.0)
    bandit = games.bandit()
    fit = ea.solve(ea.BradleyTerry(1.0), bandit)
    part = ea.solve(ea.BradleyTerry(1.0), bandit, features=np.arange(4.0)[:, None])
    held = ea.solve(ea.BradleyTerry(1.0), bandit, features=np.arange(4.0)[:, None], decay=1.0)
    other = ea.solve(ea.BradleyTerry(1.0), drawn(4, 60, 1, reference="uniform", least=1.0).bandit())
    for full, restricted, message in (
        (ea.solve(ea.IPO(1.0), games), np.full(4, 0.25), "for likelihoods, such as BradleyTerry, not for IPO"),
        (ea.solve(ea.EXPO(1.0), games), np.full(4, 0.25), "for likelihoods, such as BradleyTerry, not for EXPO"),
        (fit, fit, "restricted must be an optimum over restricted policies"),
        (fit, held, "restricted must be an optimum without decay"),
        (other, part, "restricted must be of the same loss, on the same comparisons"),
        (part, part, "self must be an optimum over all policies"),
        (fit, [0.5, 0.5], "restricted must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            full.compare_lr_test(restricted)
    with pytest.raises(ValueError, match="df must be a whole number of at least 1"):
        fit.compare_lr_test(part, df=0)


# ------------------------------------------------------------------------------------------------------------- a lambda


def test_cross_validation_by_hand() -> None:
    _, games = battles(4, 100, np.random.default_rng(0))
    lams = [0.01, 0.1, 1.0]
    for data in (games, games.bandit()):
        found = ea.choose_lambda(ea.EXPO(1.0), data, lams, folds=3, rng=5)
        counts = games.weight if isinstance(data, ea.Comparisons) else data.counts
        held = choose._dealt(counts if data is games else counts[None], 3, np.random.default_rng(5))
        assert np.allclose(held.sum(axis=0), counts) and (held >= 0).all()
        for k, lam in enumerate(lams):
            score = 0.0
            for own in held:
                table = np.zeros((4, 4))
                if data is games:
                    table[games.winner, games.loser] = own
                else:
                    table = own[0]
                rest = ea.Bandit.from_counts("uniform", games.bandit().counts - table)
                log_policy = ea.solve(ea.EXPO(lam), rest).log_policy
                score -= (table * np.log(expit(log_policy[:, None] - log_policy))).sum()
            assert found.scores[k] == pytest.approx(score, rel=1e-9)
        assert found.lam == pytest.approx(
            np.exp(found.weights @ np.log(lams))
        ) and found.weights.sum() == pytest.approx(1)
        assert found.solution.objective == ea.EXPO(found.lam)


def test_cross_validation_of_several_prompts() -> None:
    """Each prompt's comparisons are dealt by themselves, and their surprises add up."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 20, (3, 3, 3)) * (1.0 - np.eye(3))
    found = ea.choose_lambda(ea.EXPO(1.0), ea.Bandit.from_counts(np.full((3, 3), 1 / 3), counts), [0.1, 1.0], folds=2)
    held = choose._dealt(counts, 2, np.random.default_rng(0))
    for k, lam in enumerate((0.1, 1.0)):
        score = 0.0
        for x in range(3):
            for own in held[:, x]:
                log_policy = ea.solve(ea.EXPO(lam), ea.Bandit.from_counts("uniform", counts[x] - own)).log_policy
                score -= (own * np.log(expit(log_policy[:, None] - log_policy))).sum()
        assert found.scores[k] == pytest.approx(score, rel=1e-9)


def of_ties_alone(sparse: bool) -> Any:
    ties = np.array([[0, 5, 3, 1], [5, 0, 2, 4], [3, 2, 0, 6], [1, 4, 6, 0]]) * 1.0
    if sparse:
        return ea.Comparisons.from_counts(np.zeros((4, 4)), ties=ties)
    return ea.Bandit.from_counts("uniform", np.zeros((4, 4)), ties=ties)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_tie_is_in_one_fold(sparse: bool) -> None:
    """Where all tied, all stay equal whatever is left out, and every lambda is as good: N log 2.

    Halves of ties dealt one by one made wins of them, and of 21 ties scores up to a sixth higher.
    """
    found = ea.choose_lambda(ea.EXPO(1.0), of_ties_alone(sparse))
    np.testing.assert_allclose(found.scores, 21 * np.log(2), rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_folds_have_whole_comparisons_and_all_of_them(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    counts = np.array([[0, 3, 0.5], [1, 0, 2], [4, 0, 0]])
    ties = np.array([[0, 2, 1], [2, 0, 0.25], [1, 0.25, 0]])
    dense = ea.Bandit.from_counts("uniform", counts, ties=ties)
    data = ea.Comparisons.from_counts(counts, ties=ties) if sparse else dense
    for _ in range(20):
        held = choose._held(data, 4, rng)
        if sparse:
            table = np.zeros((4, 3, 3))
            table[:, data.winner, data.loser] = held
            held = table[:, None]
        np.testing.assert_allclose(held.sum(axis=0), dense.counts[None], rtol=1e-15)
        # twice a fold's wins less losses is a whole number but for what is left of 0.5: halves stand together
        apart = held[:, 0] - held[:, 0].swapaxes(1, 2)
        assert set(np.unique(np.abs(apart) % 1)) <= {0.0, 0.5} and (np.abs(apart[:, 0, 1]) % 1 == 0).all()


@pytest.mark.parametrize("strength", [20.0, 100.0])
def test_the_marginal_likelihood_is_the_integral(strength: float) -> None:
    """Two responses: over the log-odds, with the Dirichlet prior whole; Laplace's error falls with its strength."""
    won, lost, reference = 30.0, 18.0, np.array([0.6, 0.4])
    bandit = ea.Bandit.from_counts(reference, [[0, won], [lost, 0]])
    lam = strength / (won + lost)
    found = ea.choose_lambda(ea.EXPO(1.0), bandit, [lam], "marginal_likelihood")
    a = strength * reference
    constant = gammaln(a).sum() - gammaln(a.sum())

    def density(x: float) -> float:
        return math.exp((won + a[0]) * math.log(expit(x)) + (lost + a[1]) * math.log(expit(-x)) - constant + 30)

    whole = integrate.quad(density, -8, 8, epsabs=1e-14)[0]
    assert -found.scores[0] == pytest.approx(math.log(whole) - 30, abs=0.6 / strength)


def test_many_prompts_share_a_lambda_and_silent_ones_say_nothing() -> None:
    rng = np.random.default_rng(0)
    counts = np.stack([battles(3, 60, rng)[1].bandit().counts for _ in range(6)])
    alone = ea.choose_lambda(ea.EXPO(1.0), ea.Bandit.from_counts("uniform", counts), [0.01, 0.1], "marginal_likelihood")
    each = [
        ea.choose_lambda(ea.EXPO(1.0), ea.Bandit.from_counts("uniform", one), [0.01, 0.1], "marginal_likelihood").scores
        for one in counts
    ]
    assert np.allclose(alone.scores, np.sum(each, axis=0))
    silent = np.concatenate([counts, np.zeros((1, 3, 3))])
    again = ea.choose_lambda(ea.EXPO(1.0), ea.Bandit.from_counts("uniform", silent), [0.01, 0.1], "marginal_likelihood")
    assert np.allclose(again.scores, alone.scores)


@pytest.mark.parametrize(
    "objective", [ea.DPO(1.0), ea.IPO(1.0), ea.ExplicitPO(1.0, "chi_square")], ids=lambda o: o.name
)
def test_other_losses_by_cross_validation(objective: Any) -> None:
    _, games = battles(3, 300, np.random.default_rng(2))
    found = ea.choose_lambda(objective, games.bandit(), folds=4)
    assert found.lams.shape == (25,) and found.solution.status in ("optimal", "best_found")
    assert found.lams[0] <= found.lam <= found.lams[-1]


def test_what_has_no_lambda_to_choose() -> None:
    _, games = battles(3, 200, np.random.default_rng(0))
    stated = ea.Bandit([0.5, 0.5], [0.6, 0.4])
    for arguments, message in (
        ((ea.EXPO(1.0), stated), "data must be counts of pairs"),
        ((ea.RLHF(1.0), games), "objective must be a loss of pairs, got RLHF"),
        ((ea.EXPO(1.0), games, [0.0]), "lams must have shape"),
        ((ea.EXPO(1.0), games, None, "aic"), "method must be one of"),
        ((ea.IPO(1.0), games.bandit(), [1.0], "marginal_likelihood"), "is for EXPO, not for IPO"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.choose_lambda(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="folds must be a whole number of at least 2"):
        ea.choose_lambda(ea.EXPO(1.0), games, folds=1)
    with pytest.raises(TypeError, match="data must be a Bandit or Comparisons"):
        ea.choose_lambda(ea.EXPO(1.0), [1, 2])  # type: ignore[arg-type]
    rare = ea.Bandit.from_counts("uniform", [[0, 9], [1, 0]])  # whose only win of 1 is left out once
    with pytest.raises(ValueError, match="gives probability 0 to what was left out: DPO has no optimum"):
        ea.choose_lambda(ea.DPO(1.0), rare)


def of_known_truth(near: bool, size: int, prompts: int, rng: np.random.Generator) -> tuple[np.ndarray, ea.Bandit]:
    """pi* of normal scores over six responses, and ``size`` comparisons of each prompt; a reference that is pi* with
    scores off by 0.3, or one that has nothing to do with it.
    """
    score = rng.normal(size=(prompts, 6))
    other = score + 0.3 * rng.normal(size=(prompts, 6)) if near else rng.normal(size=(prompts, 6))
    truth = special.softmax(score, axis=1)
    wins = truth[:, :, None] / (truth[:, :, None] + truth[:, None]) * (1 - np.eye(6))
    shares = (wins / wins.sum(axis=(1, 2), keepdims=True)).reshape(prompts, -1)
    counts = rng.multinomial(size, shares).reshape(wins.shape)
    return truth, ea.Bandit.from_counts(special.softmax(other, axis=1), counts)


def ratio_to_the_best(near: bool, size: int, prompts: int, data_sets: int, method: str) -> float:
    """Mean total variation from pi* at the lambda that is chosen on each data set, over that at the one lambda that is
    best for all of them in hindsight.
    """
    rng, chosen, every = np.random.default_rng(size), [], []
    for _ in range(data_sets):
        truth, bandit = of_known_truth(near, size, prompts, rng)
        found = ea.choose_lambda(ea.EXPO(1.0), bandit, method=method)
        path = ea.solve_path(ea.EXPO(1.0), bandit, found.lams)
        every.append(np.abs(path.policies - truth).sum(axis=-1).mean(axis=-1))
        chosen.append(np.abs(found.solution.policy - truth).sum(axis=-1).mean())
    return float(np.mean(chosen) / np.mean(every, axis=0).min())


@pytest.mark.slow
@pytest.mark.parametrize("method", choose.METHODS)
@pytest.mark.parametrize(("prompts", "data_sets"), [(16, 12), (1, 60)])
def test_chosen_lambdas_are_near_the_best(method: str, prompts: int, data_sets: int) -> None:
    """Within 5% on average over sizes and references, where 16 prompts share a lambda, and for one prompt alone."""
    sizes = (30, 100, 300, 1_000, 3_000, 10_000)
    found = {
        (near, size): ratio_to_the_best(near, size, prompts, data_sets, method)
        for near in (True, False)
        for size in sizes
    }
    print({("near" if near else "far", size): round(ratio, 3) for (near, size), ratio in found.items()})
    print("mean", np.mean(list(found.values())))
    assert np.mean(list(found.values())) < 1.05


# -------------------------------------------------------------------------------------------------------- written forms


def same(one: Any, other: Any) -> bool:
    return bool(
        np.array_equal(np.asarray(one, dtype=object), np.asarray(other, dtype=object))
        or np.allclose(np.asarray(one, dtype=float), np.asarray(other, dtype=float), rtol=0, atol=0, equal_nan=True)
    )


def test_solutions_are_written_and_read_again() -> None:
    tiny = ea.Bandit([0.5, 0.5 - 1e-12, 1e-12], [0.9, 0.1 - 1e-13, 1e-13])
    counts = ea.Bandit.from_counts([0.4, 0.6], [[0, 3], [0, 0]])
    prompts = ea.Bandit([[0.5, 0.5], [0.2, 0.8]], [[0.5, 0.5], [0.6, 0.4]])
    for bandit, objective, features in (
        (tiny, ea.DPO(1e-3), None),
        (counts, ea.DPO(1.0), None),
        (prompts, ea.FDPO(0.5, "jensen_shannon"), None),
        (prompts, ea.EXPO(0.5), [[1.0], [0.0]]),
    ):
        wanted = ea.solve(objective, bandit, features=features)
        found = ea.Solution.from_dict(json.loads(json.dumps(wanted.to_dict(), allow_nan=False)), bandit)
        assert found.objective == wanted.objective and found.bandit is bandit
        for name in ("policy", "log_policy", "value", "status", "certificate", "message", "error_bound", "iterations"):
            assert same(getattr(found, name), getattr(wanted, name)), name
        assert repr(found) == repr(wanted) and found.to_frame().equals(wanted.to_frame())
        assert type(np.ravel(found.status)[0]) is type(np.ravel(wanted.status)[0])
        if features is not None:
            assert same(found.weights, wanted.weights) and same(found.weight_bounds, wanted.weight_bounds)


def test_what_was_written_by_something_else_is_refused() -> None:
    bandit = ea.Bandit([0.4, 0.6], [0.3, 0.7])
    values = ea.solve(ea.EXPO(1.0), bandit).to_dict()
    for change, message in (
        ({"extra": 1}, "they have extra, too"),
        ({"policy": [1.0]}, r"values must be of policies of shape \(2,\), got \(1,\)"),
        ({"objective": "mine"}, "objective must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.Solution.from_dict({**values, **change}, bandit)
    del values["status"]
    with pytest.raises(ValueError, match="they lack status"):
        ea.Solution.from_dict(values, bandit)
    values["status"], values["objective"] = "optimal", "mine"
    assert ea.Solution.from_dict(values, bandit, objective=ea.EXPO(1.0)).objective == ea.EXPO(1.0)


def test_parts_of_a_path_are_paths() -> None:
    bandit = ea.Bandit([0.4, 0.6], [0.3, 0.7])
    path = ea.solve_path(ea.EXPO(1.0), bandit, [0.01, 0.1, 1.0, 10.0])
    for part, wanted in ((path[1:3], [0.1, 1.0]), (path[[3, 0]], [10.0, 0.01]), (path[path.lams < 0.5], [0.01, 0.1])):
        assert type(part) is ea.SolutionPath and part.lams.tolist() == wanted
        for k, lam in enumerate(wanted):
            alone = path[path.lams.tolist().index(lam)]
            assert (part[k].policy == alone.policy).all() and part[k].error_bound == alone.error_bound
            assert part[k].objective == alone.objective and part[k].status is alone.status
    assert len(path[:0]) == 0 and path[-1].objective.lam == 10.0 and path[np.int64(1)].objective.lam == 0.1
    assert [one.objective.lam for one in path] == path.lams.tolist()
    held = ea.solve_path(ea.EXPO(1.0), bandit, [0.1, 1.0], features=[[1.0], [0.0]])
    assert held[1:][0].weights == held[1].weights


def test_printed_forms_are_short() -> None:
    few, many = ea.Bandit([0.4, 0.6], [0.3, 0.7]), ea.Bandit(np.full(50, 0.02), np.full(50, 0.02))
    line = repr(ea.solve(ea.EXPO(1.0), few))
    assert line.startswith("<Solution: EXPO(lam=1.0), 2 responses: optimal, error bound ") and "policy [0.35" in line
    lost = ea.solve(ea.BradleyTerry(1.0), ea.Bandit.from_counts("uniform", [[0, 1], [0, 0]], responses=["<a>", "b"]))
    assert repr(lost) == "<Solution: BradleyTerry(lam=1.0), 2 responses: no_minimiser, no error bound, policy [1, 0]>"
    page = lost._repr_html_()
    assert "&lt;a&gt;" in page and page.count("<tr>") == 3 and "<a>" not in page
    large = ea.solve(ea.EXPO(1.0), many)
    assert len(repr(large)) < 120 and large._repr_html_().count("<tr>") == 12 and "and 40 more" in large._repr_html_()
    path = ea.solve_path(ea.EXPO(1.0), ea.Bandit([[0.4, 0.6]] * 3, [[0.3, 0.7]] * 3), [0.1, 1.0])
    assert repr(path).startswith(
        "<SolutionPath: EXPO at 2 lambdas from 0.1 to 1, 3 prompts, 2 responses: optimal, error"
    )
    assert "<th>prompt</th>" in path[0]._repr_html_()
