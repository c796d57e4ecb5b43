"""Pairs that the policy draws: Nash policies, where training rests, and when XPO has a minimiser."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.optimize import minimize

import expo_analysis as ea
from expo_analysis.on_policy import (
    fixed_points,
    nash_md,
    nash_policy,
    regularised_nash,
    sppo,
    xpo_cut,
)
from expo_analysis.on_policy.xpo import _by_program, _enumerated
from expo_analysis.optima.chain import expo_chain
from expo_analysis.simulators import SGD, Tabular, Training, train

CYCLE = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])
REFERENCE = np.array([0.5, 0.3, 0.2])


def random_preferences(rng: np.random.Generator, n: int) -> np.ndarray:
    above = np.triu(rng.random((n, n)), 1)
    return above + np.tril(1 - above.T, -1) + 0.5 * np.eye(n)


# ------------------------------------------------------------------------------------------------------- Nash policies


def by_supports(p: np.ndarray) -> np.ndarray:
    """The Nash policy of a game in general position, by trying supports: a second method, without a linear program."""
    n = len(p)
    for size in range(1, n + 1):
        for support in map(list, itertools.combinations(range(n), size)):
            rows = np.vstack([(p[np.ix_(support, support)] - 0.5).T, np.ones(size)])
            inside = np.linalg.lstsq(rows, np.r_[np.zeros(size), 1.0], rcond=None)[0]
            policy = np.zeros(n)
            policy[support] = inside
            if (policy >= -1e-12).all() and abs(policy.sum() - 1) < 1e-9 and (policy @ p >= 0.5 - 1e-12).all():
                return policy
    raise AssertionError("every game has a Nash policy")


def test_nash_policies_by_a_second_method() -> None:
    rng = np.random.default_rng(0)
    mixed = 0
    for _ in range(60):
        p = random_preferences(rng, int(rng.integers(2, 7)))
        found = nash_policy(p)
        assert found.unique  # almost surely
        np.testing.assert_allclose(found.policy, by_supports(p), atol=1e-10)
        assert found.worst_win_rate >= 0.5 - 1e-10
        mixed += (found.policy > 1e-6).sum() > 1
    assert mixed > 20


def test_many_nash_policies() -> None:
    found = nash_policy(np.full((3, 3), 0.5))
    assert not found.unique
    np.testing.assert_allclose([found.low, found.high], [[0] * 3, [1] * 3], atol=1e-9)
    assert found.worst_win_rate == pytest.approx(0.5)


@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1, 0.01])
def test_the_regularised_game(tau: float) -> None:
    policy = regularised_nash(CYCLE, REFERENCE, tau)
    log_ratio = np.log(policy / REFERENCE) - CYCLE @ policy / tau
    assert np.ptp(log_ratio) <= 1e-9 / tau

    # no policy does better against it, by a general optimiser on the player's own payoff
    def loss(theta: np.ndarray) -> float:
        pi = np.exp(theta - theta.max())
        pi /= pi.sum()
        return float(-pi @ CYCLE @ policy + tau * (pi * np.log(pi / REFERENCE)).sum())

    best = minimize(loss, np.zeros(3), tol=1e-14).fun
    assert loss(np.log(policy)) <= best + 1e-10


def test_the_regularised_game_tends_to_the_game() -> None:
    nash = nash_policy(CYCLE).policy
    gaps = [np.abs(regularised_nash(CYCLE, REFERENCE, tau) - nash).max() for tau in (0.1, 0.01, 0.001)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 5e-3


def test_sppo_circles_and_its_mean_does_not() -> None:
    nash = nash_policy(CYCLE).policy
    policies = sppo(CYCLE, REFERENCE, 0.05, 20_000)
    np.testing.assert_allclose(policies.mean(axis=0), nash, atol=0.01)
    assert np.abs(policies[-1] - nash).max() > 0.1
    logs = np.log(policies[1] / policies[0])
    assert np.ptp(logs - 0.05 * CYCLE @ policies[0]) < 1e-14


def test_nash_md_rests_near_the_regularised_equilibrium() -> None:
    wanted = regularised_nash(CYCLE, REFERENCE, 0.5)
    off = []
    for eta in (0.2, 0.1, 0.05):
        last = nash_md(CYCLE, REFERENCE, 0.5, eta, 4000)[-1]
        mixture = last ** (1 - eta / 2) * REFERENCE ** (eta / 2)
        mixture /= mixture.sum()
        assert np.ptp(np.log(last / REFERENCE) - CYCLE @ mixture / 0.5) < 1e-9  # what the docstring says of its rest
        off.append(np.abs(last - wanted).max())
    assert off[0] > off[1] > off[2] > 1e-6
    assert off[2] < 0.6 * off[1]  # in proportion to eta


# -------------------------------------------------------------------------------------------------------- fixed points


def test_losses_that_reproduce_preferences_do_not_mind_who_draws() -> None:
    bandit = ea.Bandit(REFERENCE, [0.2, 0.2, 0.6])
    for objective in (ea.DPO(0.7), ea.FDPO(0.7, ea.divergences.JensenShannon())):
        (point,) = fixed_points(objective, bandit)
        np.testing.assert_allclose(point.policy, ea.solve(objective, bandit).policy, atol=1e-12)
        assert point.stable


@pytest.mark.parametrize("lam", [2.0, 0.3, 0.05])
def test_online_ipo_rests_at_the_regularised_equilibrium(lam: float) -> None:
    rng = np.random.default_rng(3)
    for n in (2, 3, 5):
        p, reference = random_preferences(rng, n), rng.dirichlet(np.ones(n))
        (point,) = fixed_points(ea.IPO(lam), ea.Bandit.from_preferences(reference, p), starts=3)
        np.testing.assert_allclose(point.policy, regularised_nash(p, reference, lam), rtol=1e-8, atol=1e-14)


def test_online_expo_rests_where_its_chain_leads() -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        n = int(rng.integers(2, 6))
        reference, optimal = np.maximum(rng.dirichlet(np.ones(n), 2), 1e-4)
        bandit = ea.Bandit(reference / reference.sum(), optimal / optimal.sum())
        lam = float(10 ** rng.uniform(-2, 1))
        points = fixed_points(ea.EXPO(lam), bandit, starts=3)
        assert len(points) == 1  # in every example seen; that it is so in general is open
        policy, weights = points[0].policy, points[0].weights
        pairs = (weights + weights.T) / 2  # w_ij = 2 q_ij p_ij, and p_ij + p_ji = 1
        chain = expo_chain(policy, bandit.optimal, pairs, lam)
        np.testing.assert_allclose(chain.kernel @ bandit.reference, policy, atol=1e-11)
        assert np.abs(policy - bandit.optimal).sum() <= np.abs(bandit.reference - bandit.optimal).sum() + 1e-12


def test_a_fixed_point_is_the_optimum_of_its_own_weights() -> None:
    bandit = ea.Bandit.from_preferences(REFERENCE, CYCLE)
    for objective in (ea.EXPO(0.1), ea.IPO(0.5), ea.DPO(0.5)):
        (point,) = fixed_points(objective, bandit, starts=3)
        pairs = (point.weights + point.weights.T) / 2
        again = ea.solve(objective, ea.Bandit.from_preferences(REFERENCE, CYCLE, pairs))
        np.testing.assert_allclose(point.policy, again.policy, atol=1e-9)
        assert np.abs(point.policy - ea.solve(objective, bandit).policy).max() > 1e-3  # and not that of uniform pairs


def test_training_ends_there() -> None:
    bandit = ea.Bandit.from_preferences(REFERENCE, CYCLE)
    objectives = [ea.EXPO(0.3), ea.IPO(1.0), ea.DPO(0.8)]
    run = train(objectives, Tabular(REFERENCE), bandit, Training(SGD(0.5), epochs=3000, on_policy=True))
    for k, objective in enumerate(objectives):
        (point,) = fixed_points(objective, bandit, starts=1)
        np.testing.assert_allclose(np.exp(run.log_final[k, 0, 0]), point.policy, atol=1e-9)


def test_training_on_several_prompts_is_training_on_each() -> None:
    both = ea.Bandit.from_preferences([REFERENCE, REFERENCE[::-1]], [CYCLE, CYCLE.T], prompt_weights=[0.5, 0.5])
    settings = Training(SGD(0.5), epochs=50, on_policy=True)
    together = train(ea.EXPO(0.3), Tabular(both.reference), both, settings).log_final[0, 0]
    for x in range(2):
        alone = ea.Bandit.from_preferences(both.reference[x], both.preference[x])
        # half of the gradient each, hence half of the rate
        own = train(ea.EXPO(0.3), Tabular(alone.reference), alone, Training(SGD(0.25), epochs=50, on_policy=True))
        np.testing.assert_allclose(together[x], own.log_final[0, 0, 0], atol=1e-13)


# ----------------------------------------------------------------------------------------------------------------- XPO


def recession(wins: np.ndarray, reference: np.ndarray, alpha: float, beta: float, inside: np.ndarray) -> float:
    """lim f(t s)/t along -1 on S: what the theorem's R is there, from XPO's formula itself, in 60 digits."""
    with mp.workdps(60):
        t = mpf(10) ** 12
        x = [mp.log(mpf(float(r))) - (t if s else 0) for r, s in zip(reference, inside, strict=True)]
        logs = mp.log(sum(mp.exp(v) for v in x))
        value = alpha * sum(float(r) * (v - logs) for r, v in zip(reference, x, strict=True))
        for i, j in itertools.permutations(range(len(x)), 2):
            hbar = (x[i] - x[j]) - mp.log(mpf(float(reference[i])) / mpf(float(reference[j])))
            value += float(wins[i, j]) * mp.log1p(mp.exp(-beta * hbar))
        return float(value / t)


def test_the_cut_is_xpos_slope_along_it() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        n = int(rng.integers(2, 6))
        wins, reference = rng.random((n, n)) * (rng.random((n, n)) < 0.8), rng.dirichlet(np.ones(n))
        np.fill_diagonal(wins, 0)
        alpha, beta = 10 ** rng.uniform(-1, 1, 2)
        cut = xpo_cut(wins, reference, alpha, beta)
        slope = recession(wins, reference, alpha, beta, cut.members)
        wanted = beta * cut.ratio * reference[cut.members].sum() - alpha * reference[cut.members].sum()
        assert slope == pytest.approx(wanted, abs=1e-9)
        assert cut.exists == (wanted > 0)


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_subsets_by_a_linear_program(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(10):
        wins, reference = rng.random((n, n)) * (rng.random((n, n)) < 0.5), rng.dirichlet(np.ones(n))
        np.fill_diagonal(wins, 0)
        one, other = _enumerated(wins, reference), _by_program(wins, reference)
        ratios = [wins[np.ix_(s, ~s)].sum() / reference[s].sum() for s in (one, other)]
        assert ratios[1] == pytest.approx(ratios[0], rel=1e-9, abs=1e-12)


def descended(wins: np.ndarray, reference: np.ndarray, alpha: float, start: np.ndarray) -> float:
    """The range of log-ratios to the reference at which a descent of XPO's formula from ``start`` ends."""
    i, j = np.nonzero(wins)

    def value(d: np.ndarray) -> tuple[float, np.ndarray]:
        top = d.max()
        odds = reference * np.exp(d - top)
        policy = odds / odds.sum()
        m = d[i] - d[j]
        slope = -wins[i, j] / (1 + np.exp(np.clip(m, -700, 700)))
        gradient = alpha * (reference - policy)
        np.add.at(gradient, i, slope)
        np.add.at(gradient, j, -slope)
        loss = (wins[i, j] * np.logaddexp(0, -m)).sum() + alpha * (reference @ d - top - np.log(odds.sum()))
        return float(loss), gradient

    box = [(-1000.0, 1000.0)] * len(start)
    return float(np.ptp(minimize(value, start, jac=True, method="L-BFGS-B", bounds=box, options={"maxiter": 2000}).x))


def test_descents_return_where_the_cut_says_so() -> None:
    """A search knows nothing of cuts: begun far along the worst one it returns, or runs on where there is no minimiser.

    Begun at the reference it may stay there either way: XPO can have a local minimum and no minimum.
    """
    rng = np.random.default_rng(6)
    for _ in range(60):
        n = int(rng.integers(2, 6))
        wins, reference = rng.random((n, n)), rng.dirichlet(np.full(n, 2.0))
        np.fill_diagonal(wins, 0)
        cut = xpo_cut(wins, reference, 1.0, 1.0)
        start = -40.0 * cut.members
        assert descended(wins, reference, 0.5 * cut.limit, start) < 30
        assert descended(wins, reference, 2.0 * cut.limit, start) > 50
    wins = np.ones((3, 3)) - np.eye(3)
    cut = xpo_cut(wins, [1 / 3] * 3, 1.0, 1.0)
    assert descended(wins, np.full(3, 1 / 3), 1.2 * cut.limit, np.zeros(3)) < 1e-6


@pytest.mark.slow
def test_the_criterion_on_100_000_problems() -> None:
    """R(d) >= 0 in random directions exactly where every cut allows it; the worst cut is a direction that shows it."""
    rng = np.random.default_rng(7)
    for _ in range(100_000):
        n = int(rng.integers(2, 7))
        wins = rng.random((n, n)) * (rng.random((n, n)) < rng.uniform(0.3, 1))
        np.fill_diagonal(wins, 0)
        reference = rng.dirichlet(np.ones(n))
        alpha = float(10 ** rng.uniform(-1, 1))
        cut = xpo_cut(wins, reference, alpha, 1.0)
        s = rng.exponential(size=(40, n)) * (rng.random((40, n)) < 0.7)
        s -= s.min(axis=1, keepdims=True)
        s = np.vstack([s, cut.members])
        slopes = (wins * np.maximum(s[:, :, None] - s[:, None, :], 0)).sum(axis=(1, 2)) - alpha * s @ reference
        if cut.exists:
            assert (slopes >= -1e-12).all()
        else:
            assert slopes[-1] <= 1e-12


# ----------------------------------------------------------------------------------------------------------- bad input

BANDIT = ea.Bandit(REFERENCE, REFERENCE)
COUNTS = ea.Bandit.from_counts(REFERENCE, np.ones((3, 3)) - np.eye(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nash_policy([[0.5, 0.9], [0.2, 0.5]]), "preference must hold probabilities with"),
        (lambda: nash_policy([[0.5, 1.2], [-0.2, 0.5]]), "preference must hold probabilities with"),
        (lambda: nash_policy([0.5, 0.5]), r"preference must have shape \(n, n\)"),
        (lambda: regularised_nash(CYCLE, [0.5, 0.5], 1.0), "reference must have shape"),
        (lambda: regularised_nash(CYCLE, REFERENCE, 0.0), "tau must be"),
        (lambda: sppo(CYCLE, [0.5, 0.5], 1.0, 3), "start must have shape"),
        (lambda: sppo(CYCLE, REFERENCE, 1.0, -1), "rounds must be"),
        (lambda: nash_md(CYCLE, REFERENCE, 2.0, 1.0, 3), "eta must be"),
        (lambda: fixed_points(ea.RLHF(1.0), BANDIT), "objective must be a loss of pairs"),
        (lambda: fixed_points(ea.AOT(1.0), BANDIT), "objective must be a loss of single pairs: AOT couples"),
        (lambda: fixed_points(ea.DPO(1.0), COUNTS), "bandit must state preferences"),
        (lambda: fixed_points(ea.DPO(1.0), ea.Bandit([REFERENCE] * 2, [REFERENCE] * 2)), "bandit must hold one prompt"),
        (lambda: xpo_cut([[0, 1], [1, 0]], REFERENCE, 1, 1), "wins must have shape"),
        (lambda: xpo_cut([[0, -1], [1, 0]], [0.5, 0.5], 1, 1), "wins must be non-negative"),
        (lambda: xpo_cut([[0, 1], [1, 0]], [0.5, 0.5], 0, 1), "alpha must be"),
        (lambda: train(ea.DPO(1.0), Tabular(REFERENCE), COUNTS, Training(on_policy=True)), "data must be a Bandit"),
        (lambda: Training(on_policy=True, batch=4), "on_policy is for full gradients"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()  # type: ignore[operator]
