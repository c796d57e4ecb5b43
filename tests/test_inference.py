"""Covariances of estimated log-ratios: by hand, as statsmodels has them, and as repeated samples scatter."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import statsmodels.api as sm

import expo_analysis as ea
from expo_analysis.optima import inference

from .test_sparse import drawn


def test_two_responses_by_hand() -> None:
    """log(30/10) has the variance 1/30 + 1/10, by the model and by the sandwich."""
    found = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons(["a", "b"], ["b", "a"], [30, 10]))
    for kind in ("model", "sandwich"):
        assert found.covariance(["a"], against="b", kind=kind) == pytest.approx(np.array([[1 / 30 + 1 / 10]]))
    # to the mean of both each is half as far
    assert np.allclose(found.covariance(), np.array([[1, -1], [-1, 1]]) * (1 / 30 + 1 / 10) / 4)


def rows_of(games: ea.Comparisons) -> tuple[np.ndarray, np.ndarray]:
    """A comparison in each row: a design against response 0, and who won (the one with the larger index)."""
    times = games.weight.astype(int)
    winner, loser = np.repeat(games.winner, times), np.repeat(games.loser, times)
    high, low = np.maximum(winner, loser), np.minimum(winner, loser)
    design = np.zeros((len(winner), games.n))
    design[np.arange(len(winner)), high], design[np.arange(len(winner)), low] = 1.0, -1.0
    return design[:, 1:], (winner == high).astype(float)


@pytest.mark.parametrize(("kind", "theirs"), [("model", "nonrobust"), ("sandwich", "HC0")])
def test_as_a_logistic_regression(kind: str, theirs: Any) -> None:
    games = drawn(6, 300, 0, reference="uniform", least=1.0)
    design, won = rows_of(games)
    fit = sm.Logit(won, design).fit(disp=0, tol=1e-14, cov_type=theirs)
    found = ea.solve(ea.BradleyTerry(1.0), games)
    own = found.covariance(games.responses[1:], against=games.responses[0], kind=kind)
    assert np.allclose(own, fit.cov_params(), rtol=1e-7)
    dense = ea.solve(ea.BradleyTerry(1.0), games.bandit())
    assert np.allclose(dense.covariance(games.responses[1:], games.responses[0], kind), own, rtol=1e-9)
    # DPO's log-ratios are those of Bradley-Terry, stretched by 1/lam
    tilted = ea.solve(ea.DPO(0.5), games)
    assert np.allclose(tilted.covariance(games.responses[1:], games.responses[0], kind), 4 * own, rtol=1e-7)


@pytest.mark.parametrize("objective", [ea.BradleyTerry(1.0), ea.EXPO(0.05), ea.IPO(0.5)], ids=lambda o: o.name)
def test_repeated_samples_scatter_so(objective: Any) -> None:
    """120 samples of 600 battles: variances of log-ratios to the mean, within what so few samples tell."""
    rng = np.random.default_rng(0)
    score, n, size, count = np.array([0.0, 0.5, 1.0, -0.5]), 4, 600, 120
    scatter, told = [], []
    for _ in range(count):
        one = rng.integers(0, n, size)
        other = (one + rng.integers(1, n, size)) % n
        won = rng.random(size) < 1 / (1 + np.exp(score[other] - score[one]))
        games = ea.Comparisons(np.where(won, one, other), np.where(won, other, one))
        found = ea.solve(objective, games)
        scatter.append(found.log_policy - found.log_policy.mean())
        told.append(np.diag(found.covariance()))
    ratio = np.mean(told, axis=0) / np.var(scatter, axis=0)
    assert (np.abs(ratio - 1) < 0.3).all()


def test_thousands_by_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    from expo_analysis.optima import inference

    games = drawn(60, 400, 3, least=1.0)
    found = ea.solve(ea.EXPO(0.1), games)
    wanted = found.covariance(games.responses[:3])
    monkeypatch.setattr(inference, "DENSE", 1)
    assert np.allclose(found.covariance(games.responses[:3]), wanted, rtol=1e-7)


def test_what_has_no_covariance() -> None:
    games = drawn(4, 30, least=0.5)
    found = ea.solve(ea.BradleyTerry(1.0), games)
    for arguments, message in (
        (dict(kind="bayes"), "kind must be one of"),
        (dict(responses=["nobody"]), "must be one of the names of responses, got 'nobody'"),
        (dict(against=4), "must be one of the names"),
    ):
        with pytest.raises(ValueError, match=message):
            found.covariance(**arguments)
    with pytest.raises(ValueError, match="kind 'model' is for likelihoods, such as BradleyTerry, not for IPO"):
        ea.solve(ea.IPO(1.0), games).covariance(kind="model")
    apart = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons([0, 1, 2, 3], [1, 0, 3, 2]))
    with pytest.raises(ValueError, match=r"that all hang together, or of any beside .*; it is not_unique"):
        apart.covariance()
    with pytest.raises(ValueError, match="of Comparisons, or of a Bandit of counts"):
        ea.solve(ea.EXPO(1.0), ea.Bandit([0.5, 0.5], [0.6, 0.4])).covariance()
    numbered = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons([0, 1], [1, 0]))
    for outside in (2, -1):
        with pytest.raises(ValueError, match=f"must be a position from 0 to 1, got {outside}"):
            numbered.covariance([outside])


def islands(seed: int) -> ea.Comparisons:
    """Three, two and three responses that met, and one that met nobody; a tie among them."""
    rng = np.random.default_rng(seed)
    ends = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [5, 6], [6, 7]])
    one, other = np.concatenate([ends, ends[:, ::-1]]).T
    tie = np.arange(12) == 4
    return ea.Comparisons(
        one, other, rng.integers(2, 20, 12), tie=tie, reference=rng.dirichlet(np.ones(9)), responses=range(9)
    )


def by_hand(games: ea.Comparisons, log_policy: np.ndarray, lam: float) -> np.ndarray:
    """H^-1 J H^-1 / N of all logits together but the last one, the never compared, in 60 digits."""
    n, total = games.n, float(games.weight.sum())
    with mpmath.workdps(60):
        x = [mpmath.mpf(float(v)) for v in log_policy]
        sigma = [[1 / (1 + mpmath.exp(-(x[i] - x[j]))) for j in range(n)] for i in range(n)]
        policy = [mpmath.exp(v) for v in x]
        policy = [p / mpmath.fsum(policy) for p in policy]
        hessian = mpmath.matrix(n, n)
        spread, mean = mpmath.matrix(n, n), mpmath.matrix(n, 1)
        tied = np.zeros(len(games.weight)) if games.tied is None else games.tied
        for i, j, weight, half in zip(games.winner.tolist(), games.loser.tolist(), games.weight, tied, strict=True):
            w, h = mpmath.mpf(float(weight)) / total, mpmath.mpf(float(half)) / total
            bend, lost, won = sigma[i][j] * sigma[j][i], sigma[j][i], sigma[i][j]
            square = (w - h) * lost**2 + h * ((won - lost) / 2) ** 2  # a half of a tie is half of one comparison
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                hessian[a, b] += sign * w * bend
                spread[a, b] += sign * square
            mean[i, 0] -= w * lost
            mean[j, 0] += w * lost
        for i in range(n):
            for j in range(n):
                hessian[i, j] += lam * ((policy[i] if i == j else 0) - policy[i] * policy[j])
        free = n - 1
        inverse = hessian[:free, :free] ** -1
        spread = spread[:free, :free] - mean[:free, :] * mean[:free, :].T
        found = inverse * spread * inverse.T / total
        return np.array([[float(found[i, j]) for j in range(free)] for i in range(free)])


@pytest.mark.parametrize("lam", [1.0, 0.01, 1e-6])
def test_components_that_never_met_are_told_apart_by_their_masses(lam: float) -> None:
    """As all logits together have it: what holds masses must be in H, or what is between components is wrong."""
    games = islands(0)
    found = ea.solve(ea.EXPO(lam), games)
    own = found.covariance(range(8), against=8)
    np.testing.assert_allclose(own, by_hand(games, found.log_policy, lam), rtol=1e-7, atol=1e-9 * own.max())
    # against who met nobody, whose probability is known, a component's mass is known: sum pi_i d log pi_i = 0
    policy = found.policy
    for component in (slice(0, 3), slice(3, 5), slice(5, 8)):
        assert np.abs(policy[component] @ own[component]).max() < 1e-10 * own.max()
    dense = ea.solve(ea.EXPO(lam), games.bandit())
    np.testing.assert_allclose(dense.covariance(range(8), against=8), own, rtol=1e-6, atol=1e-9 * own.max())


def test_components_of_many_and_what_follows_from_covariances(monkeypatch: pytest.MonkeyPatch) -> None:
    games = islands(1)
    found = ea.solve(ea.EXPO(0.1), games)
    own = found.covariance()
    whole = found.covariance(range(8), against=8)
    contrast = np.eye(9)[:, :8] - np.ones((9, 8)) / 9
    np.testing.assert_allclose(own, contrast @ whole @ contrast.T, rtol=1e-9, atol=1e-13)
    table = found.ranking()
    assert np.isfinite(table[["standard_error", "low_all", "high_all"]].to_numpy()).all()
    # two that nobody met are as the reference says, for certain
    lone = ea.Comparisons([0, 1], [1, 0], [3, 4], reference=[0.4, 0.3, 0.2, 0.1], responses=range(4))
    assert ea.solve(ea.EXPO(0.1), lone).covariance([2], against=3) == pytest.approx(0.0, abs=1e-15)
    monkeypatch.setattr(inference, "DENSE", 1)
    np.testing.assert_allclose(found.covariance(), own, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_samples_of_less_than_one_comparison_are_refused(share: float) -> None:
    games = ea.Comparisons(["anna", "bob"], ["bob", "anna"], [0.75 * share, 0.25 * share])
    with pytest.raises(ValueError, match=f"one comparison or more, got weights that sum to {share:g}"):
        ea.bootstrap(ea.solve(ea.BradleyTerry(1.0), games), rng=0)
