"""Losses with auxiliary variables: AuxDPO over restricted policies, against minimisation over all its variables."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize

import expo_analysis as ea
from expo_analysis.optima import stepped_optima
from expo_analysis.simulators import LogLinear, Tabular, Training, train

SIZES = [(1, 3, 1), (2, 4, 2), (3, 3, 5)]


def problem(prompts: int, n: int, d: int) -> tuple[ea.Bandit, np.ndarray]:
    rng = np.random.default_rng([prompts, n, d])
    reference, optimal = rng.dirichlet(np.ones(n), (2, prompts))
    return ea.Bandit(reference, optimal, prompt_weights=rng.dirichlet(np.ones(prompts))), rng.normal(
        size=(prompts, n, d)
    )


def null_space_of_the_first_step(bandit: ea.Bandit, features: np.ndarray, base: np.ndarray) -> np.ndarray:
    """delta whose reward moves no policy of the class to first order: sum of s_x pi_0 (F - E F) delta = 0."""
    start = np.exp(base - np.logaddexp.reduce(base, axis=1)[:, None])
    centred = features - (start[..., None] * features).sum(axis=1, keepdims=True)
    columns = np.atleast_1d(bandit.prompt_weights)[:, None, None] * start[..., None] * centred
    return null_space(columns.reshape(-1, features.shape[-1]).T)


@pytest.mark.parametrize("own_base", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_minimised_over_all_variables(size: tuple[int, int, int], own_base: bool) -> None:
    """The definition itself: w and delta together, by a method that knows nothing of natural gradients."""
    lam, (bandit, features) = 0.7, problem(*size)
    prompts, n, d = size
    base = np.log(bandit.reference)
    if own_base:
        base = base + np.random.default_rng(5).normal(size=base.shape) / 2
    free = null_space_of_the_first_step(bandit, features, base)
    share = bandit.wins / bandit.wins.sum(axis=(1, 2), keepdims=True) * bandit.prompt_weights[:, None, None]

    def risk(variables: np.ndarray) -> tuple[float, np.ndarray]:
        w, z = variables[:d], variables[d:]
        ratio = base + features @ w - np.log(bandit.reference) + (free @ z).reshape(prompts, n)
        margin = lam * (ratio[:, :, None] - ratio[:, None, :])
        slope = -lam * share / (1 + np.exp(margin))
        by_response = (slope.sum(axis=2) - slope.sum(axis=1)).reshape(-1)
        gradient = np.concatenate([features.reshape(-1, d).T @ by_response, free.T @ by_response])
        return float((share * np.logaddexp(0, -margin)).sum()), gradient

    start = np.zeros(d + free.shape[1])
    options = {"gtol": 1e-13, "maxiter": 10_000}
    least = minimize(risk, start, jac=True, method="BFGS", options=options)
    found = ea.solve(ea.AuxDPO(lam), bandit, features=features, base=base if own_base else None)
    np.testing.assert_allclose(found.weights, least.x[:d], atol=2e-6 * (1 + np.abs(found.weights).max()))
    assert found.total == pytest.approx(least.fun, abs=1e-12)
    assert (np.asarray(found.status) == "optimal").all()


@pytest.mark.parametrize("size", SIZES)
def test_the_closed_form_in_50_digits(size: tuple[int, int, int]) -> None:
    """Of a population g = log(pi*)/lam: least squares of the reward on the features; bounds hold, and are not loose."""
    lam, (bandit, features) = 0.3, problem(*size)
    prompts, n, d = size
    found = ea.solve(ea.AuxDPO(lam), bandit, features=features)
    exact = np.vectorize(mp.mpf)

    def centred(values: np.ndarray, p: list[mp.mpf]) -> list[mp.mpf]:
        mean = mp.fdot(p, values)
        return [value - mean for value in values]

    with mp.workdps(50):
        reference, optimal, F = (exact(x) for x in (bandit.reference, bandit.optimal, features))
        M, b = mp.zeros(d), mp.zeros(d, 1)
        for x, share in enumerate(exact(bandit.prompt_weights)):
            p = [v / mp.fsum(reference[x]) for v in reference[x]]
            goal = centred([mp.log(v) for v in optimal[x]], p)
            columns = [centred(F[x, :, k], p) for k in range(d)]
            for i in range(d):
                weighted = [share * q * c for q, c in zip(p, columns[i], strict=True)]
                b[i] += mp.fdot(weighted, goal)
                for j in range(d):
                    M[i, j] += mp.fdot(weighted, columns[j])
        w = mp.lu_solve(M, b) / lam
        error = [float(abs(found.weights[k] - w[k])) for k in range(d)]
        for x in range(prompts):
            theta = [mp.log(reference[x, y]) + mp.fdot(F[x, y], w) for y in range(n)]
            total = mp.fsum(mp.exp(t) for t in theta)
            off = mp.fsum(abs(mp.exp(t) / total - mp.mpf(v)) for t, v in zip(theta, found.policy[x], strict=True))
            assert off <= found.error_bound[x] < 1e-9
    assert (np.array(error) <= found.weight_bounds).all()
    assert (found.weight_bounds < 1e-9 * (1 + np.abs(found.weights))).all()


def test_features_that_hold_all_policies() -> None:
    """There it is DPO, whose w is that of its policy."""
    bandit, _ = problem(2, 3, 1)
    features = np.kron(np.eye(2), np.eye(3)).reshape(2, 3, 6)
    found, over_all = ea.solve(ea.AuxDPO(0.5), bandit, features=features), ea.solve(ea.DPO(0.5), bandit)
    np.testing.assert_allclose(found.policy, over_all.policy, atol=1e-13)
    np.testing.assert_array_equal(ea.solve(ea.AuxDPO(0.5), bandit).policy, over_all.policy)


def test_it_goes_where_rlhf_goes_at_first() -> None:
    """lam w tends to that of RLHF as 1/lam, on a problem where DPO's does not tend to it."""
    bandit, features = problem(2, 4, 2)
    at = (1e2, 1e4)
    apart = {}
    for loss in (ea.AuxDPO, ea.DPO):
        pairs = [[lam * ea.solve(one(lam), bandit, features=features).weights for one in (loss, ea.RLHF)] for lam in at]
        apart[loss] = [np.abs(own - rlhf).max() for own, rlhf in pairs]
    assert apart[ea.AuxDPO][1] < apart[ea.AuxDPO][0] / 50 < 1e-2
    assert min(apart[ea.DPO]) > 0.1


def test_a_batch_is_its_problems() -> None:
    """Two problems of two prompts, each at its own lambda."""
    (first, f), (second, g) = problem(2, 4, 2), problem(2, 4, 3)
    shares = np.concatenate([first.prompt_weights, 3 * second.prompt_weights])
    both = ea.Bandit(
        np.concatenate([first.reference, second.reference]),
        np.concatenate([first.optimal, second.optimal]),
        prompt_weights=shares / shares.sum(),
    )
    lams = np.array([0.5, 2.0])
    found = stepped_optima(ea.AuxDPO(1.0).with_lam(lams), both, np.stack([f, g[..., :2]]))
    for k, (bandit, features) in enumerate([(first, f), (second, g[..., :2])]):
        alone = ea.solve(ea.AuxDPO(lams[k]), bandit, features=features)
        for name, value in (("weights", alone.weights), ("log_policy", alone.log_policy), ("total", alone.total)):
            np.testing.assert_allclose(getattr(found, name)[k], value, rtol=1e-12, atol=1e-13)


def test_no_minimiser_over_all_policies() -> None:
    """Where DPO has none, w runs away with it: nan, and the reason."""
    bandit = ea.Bandit.from_counts([0.4, 0.3, 0.3], [[0, 3, 0], [0, 0, 2], [0, 0, 0]])
    found = ea.solve(ea.AuxDPO(1.0), bandit, features=[[1.0], [0.0], [-1.0]])
    assert found.status == "no_minimiser"
    assert np.isnan(found.weights).all()
    assert np.isnan(found.policy).all()


def test_refused() -> None:
    """Each in one sentence that names the argument."""
    bandit, features = problem(2, 4, 2)
    loss = ea.AuxDPO(1.0)
    with pytest.raises(ValueError, match=r"decay must be 0 for AuxDPO, .* have none, got 0\.1"):
        ea.solve(loss, bandit, features=features, decay=0.1)
    with pytest.raises(ValueError, match="method must be 'auto' for AuxDPO over restricted policies, got 'newton'"):
        ea.solve(loss, bandit, "newton", features=features)
    idle = ea.Bandit(bandit.reference, bandit.optimal, prompt_weights=[1.0, 0.0])
    with pytest.raises(ValueError, match="prompt_weights of the bandit must be positive for AuxDPO"):
        ea.solve(loss, idle, features=features)
    with pytest.raises(TypeError, match=r"policy must be Tabular for AuxDPO.*got LogLinear"):
        train(loss, LogLinear(bandit.reference, features), bandit, Training(epochs=1))
    trained = train([loss, ea.DPO(1.0)], Tabular(bandit.reference), bandit, Training(epochs=3))
    np.testing.assert_array_equal(*trained.log_final[:, 0])


def test_three_responses_on_which_losses_of_pairs_reverse() -> None:
    """w = Cov(F, r)/Var(F)/lam = -1/2, however uneven the pairs, where DPO may reverse them."""
    reward, features = np.array([1.0, 2.0, 0.0]), np.array([[1.0], [-1.0], [0.0]])
    optimal = np.exp(reward) / np.exp(reward).sum()
    for weight in (0.1, 0.98):
        other = (1 - weight) / 2
        pairs = np.array([[0, other, weight], [other, 0, other], [weight, other, 0]])
        found = ea.solve(ea.AuxDPO(1.0), ea.Bandit(np.full(3, 1 / 3), optimal, pairs), features=features)
        np.testing.assert_allclose(found.weights, [-0.5], atol=1e-12)
    expected = (np.exp(-0.5) + 2 * np.exp(0.5)) / (np.exp(-0.5) + np.exp(0.5) + 1)
    assert found.policy @ reward == pytest.approx(expected, abs=1e-12)
    assert round(expected, 4) == 1.1993


def test_every_field_of_a_batch() -> None:
    """Three problems of two prompts, four responses, three parameters: bounds, verdicts and values are those alone."""
    rng = np.random.default_rng(6)
    reference, optimal = rng.dirichlet(np.ones(4), (2, 6))
    shares, features = rng.dirichlet(np.ones(6)), rng.normal(size=(3, 2, 4, 3))
    lams = np.array([2.0, 0.5, 2.0])
    both = ea.Bandit(reference, optimal, prompt_weights=shares)
    found = stepped_optima(ea.AuxDPO(1.0).with_lam(lams), both, features)
    assert found.weights.shape == (3, 3) and found.log_policy.shape == (3, 2, 4)
    for k in range(3):
        rows = slice(2 * k, 2 * k + 2)
        own = ea.Bandit(reference[rows], optimal[rows], prompt_weights=shares[rows] / shares[rows].sum())
        alone = ea.solve(ea.AuxDPO(lams[k]), own, features=features[k])
        for name, other in (
            ("weights", "weights"),
            ("weight_bounds", "weight_bounds"),
            ("log_policy", "log_policy"),
            ("value", "value"),
            ("total", "total"),
            ("bound", "error_bound"),
        ):
            np.testing.assert_allclose(getattr(found, name)[k], getattr(alone, other), rtol=1e-9, atol=1e-16)
        assert found.status[k].tolist() == alone.status.tolist()
        assert found.certificate[k].tolist() == alone.certificate.tolist() and found.message[k] == alone.message[0]
        assert found.steps[k] == alone.iterations.max()
        assert alone.total == pytest.approx(alone.value @ np.asarray(own.prompt_weights), rel=1e-13)
        np.testing.assert_allclose(np.exp(alone.log_policy), alone.policy, rtol=1e-14)
    assert np.isnan(found.direction).all() and found.direction.shape == (3, 3) and (found.agreeing == 1).all()
    with pytest.raises(ValueError, match="features must have shape"):
        stepped_optima(ea.AuxDPO(1.0), both, features[:2])
    path = ea.solve_path(ea.AuxDPO(1.0), own, [0.5, 1.0, 2.0], features=features[2])
    for k, lam in enumerate((0.5, 1.0, 2.0)):
        alone = ea.solve(ea.AuxDPO(lam), own, features=features[2])
        np.testing.assert_allclose(path[k].weights, alone.weights, rtol=1e-12)
        np.testing.assert_allclose(path[k].weight_bounds, alone.weight_bounds, rtol=1e-9)
        np.testing.assert_allclose(path[k].error_bound, alone.error_bound, rtol=1e-9)
        assert path[k].total == pytest.approx(alone.total, rel=1e-13)
