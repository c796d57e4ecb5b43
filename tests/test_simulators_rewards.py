"""Training, drawing and fixed points of losses that read rewards or lengths, against their exact optima."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.on_policy import fixed_points
from expo_analysis.simulators import SGD, Adam, Pairs, Tabular, Training, draw_pairs, train
from expo_analysis.simulators.asymptotics import asymptotics

RNG = np.random.default_rng(7)
REFERENCE, OPTIMAL = RNG.dirichlet(np.full(3, 4.0), 2), RNG.dirichlet(np.full(3, 4.0), 2)
REWARDS, LENGTHS = RNG.normal(size=(2, 3)), np.array([[1.0, 3.0, 8.0], [2.0, 2.0, 5.0]])
POPULATION = ea.Bandit(REFERENCE, OPTIMAL, prompt_weights=[0.5, 0.5], rewards=REWARDS, lengths=LENGTHS)
COUNTED = ea.Bandit.from_counts(
    REFERENCE, RNG.integers(1, 9, (2, 3, 3)) * (1 - np.eye(3, dtype=int)), rewards=REWARDS, lengths=LENGTHS
)
TABULAR = Tabular(REFERENCE)
COSINE = Training(Adam(0.05), epochs=1500, schedule="cosine", records=2)

READ_REWARDS = {
    "rpo": lambda lam: ea.RewardAwarePO(lam, eta=0.5),
    "rpo squared": lambda lam: ea.RewardAwarePO(lam, "squared"),
    "rebel": ea.REBEL,
    "distillation": ea.RewardDistillation,
    "odpo": ea.ODPO,
    "madpo": ea.MADPO,
}
each = pytest.mark.parametrize("make", READ_REWARDS.values(), ids=READ_REWARDS)


@pytest.mark.parametrize("bandit", [POPULATION, COUNTED], ids=["population", "counts"])
@each
def test_training_reaches_the_optimum(make: Any, bandit: ea.Bandit) -> None:
    """With full gradients, two lambdas at once, prompts of which each has its own rewards."""
    objectives = [make(0.6), make(2.0)]
    trained = train(objectives, TABULAR, bandit, COSINE)
    for k, objective in enumerate(objectives):
        found = ea.solve(objective, bandit)
        assert (np.asarray(found.status) == "optimal").all()
        np.testing.assert_allclose(trained.final[k, 0], found.policy, atol=1e-9)
        assert trained.values[k, 0, -1] == pytest.approx(np.asarray(found.value) @ bandit.prompt_weights, abs=1e-12)


@each
def test_pairs_carry_rewards(make: Any) -> None:
    """All pairs of a data set at once: the optimum on its counts, with the rewards of the population it is from."""
    pairs = draw_pairs(POPULATION, 400, 2, seed=3)
    np.testing.assert_array_equal(pairs.rewards, REWARDS)
    np.testing.assert_array_equal(pairs.lengths, LENGTHS)
    trained = train(make(1.0), TABULAR, pairs, COSINE)
    for k in range(2):
        bandit = pairs.bandit(k)
        np.testing.assert_array_equal(bandit.rewards, REWARDS)
        np.testing.assert_allclose(trained.final[0, k], ea.solve(make(1.0), bandit).policy, atol=1e-9)


def test_a_step_on_a_batch_by_hand() -> None:
    """One step of SGD on two pairs of different prompts: REBEL's gradient, 2 (hbar - (r_w - r_l)/lam) (e_w - e_l)."""
    pairs = Pairs(REFERENCE, [0, 2], [1, 1], [0, 1], rewards=REWARDS)
    lam, rate = 0.5, 0.1
    start = np.roll(REFERENCE, 1, axis=1)
    trained = train(ea.REBEL(lam), Tabular(start), pairs, Training(SGD(rate), epochs=1, batch=2, records=2))
    logits = np.log(start)
    for winner, loser, prompt in ((0, 1, 0), (2, 1, 1)):
        ratio = np.log(start[prompt] / REFERENCE[prompt])
        miss = ratio[winner] - ratio[loser] - (REWARDS[prompt, winner] - REWARDS[prompt, loser]) / lam
        logits[prompt, winner] -= rate * 2 * miss / 2  # the mean of two pairs
        logits[prompt, loser] += rate * 2 * miss / 2
    expected = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(trained.final[0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("make", [ea.SimPO, ea.LengthNormalisedDPO, ea.ORPO, ea.SimPER], ids=lambda make: make.name)
def test_a_step_with_lengths(make: Any) -> None:
    """Along the gradient of the risk with these lengths, which is not the one without."""
    pairs = draw_pairs(POPULATION, 60, seed=4)
    step = Training(SGD(1e-6), epochs=1, records=2)
    begun = np.roll(REFERENCE, 1, axis=1)
    start = Tabular(begun)
    with_lengths, without = (train(make(2.0), start, p, step) for p in (pairs, _without_lengths(pairs)))
    fell = [float(np.diff(t.values[0, 0])[0]) for t in (with_lengths, without)]
    bandit = pairs.bandit()
    first = np.asarray(ea.risk(make(2.0), bandit, np.log(begun))) @ bandit.prompt_weights
    assert with_lengths.values[0, 0, 0] == pytest.approx(first, rel=1e-12)
    assert fell[0] < 0 and abs(fell[0] / fell[1] - 1) > 0.1


def _without_lengths(pairs: Pairs) -> Pairs:
    return Pairs(pairs.reference, pairs.winner, pairs.loser, pairs.prompt, pairs.size, pairs.optimal)


def test_pairs_without_rewards_have_those_of_pi_star() -> None:
    plain = ea.Bandit(REFERENCE, OPTIMAL, prompt_weights=[0.5, 0.5])
    pairs = draw_pairs(plain, 50, seed=1)
    assert pairs.rewards is None and pairs.lengths is None
    stated = draw_pairs(ea.Bandit(REFERENCE, OPTIMAL, prompt_weights=[0.5, 0.5], rewards=np.log(OPTIMAL)), 50, seed=1)
    first, second = (train(ea.REBEL(1.0), TABULAR, p, replace(COSINE, epochs=50)) for p in (pairs, stated))
    np.testing.assert_allclose(first.final, second.final, rtol=1e-12)


def test_rlhf_is_trained_on_the_rewards_of_the_data() -> None:
    """Of a bandit and of pairs; a reward that is given wins."""
    expected = REFERENCE * np.exp(REWARDS)
    expected /= expected.sum(axis=1, keepdims=True)
    for data in (POPULATION, COUNTED, draw_pairs(POPULATION, 20)):
        trained = train(ea.RLHF(1.0), TABULAR, data, COSINE)
        np.testing.assert_allclose(trained.final[0, 0], expected, atol=1e-10)
    nothing = train(ea.RLHF(1.0), TABULAR, COUNTED, COSINE, reward=np.zeros(3))
    np.testing.assert_allclose(nothing.final[0, 0], REFERENCE, atol=1e-10)


# ---------------------------------------------------------------------------------------------------- large samples


def test_a_regression_on_known_rewards_has_no_noise() -> None:
    """Every comparison's gradient vanishes at the optimum, so that samples have the population's; ODPO's have not."""
    bandit = ea.Bandit(REFERENCE[0], OPTIMAL[0], rewards=REWARDS[0])
    for make in (ea.REBEL, ea.RewardDistillation, ea.RewardAwarePO):
        assert np.abs(asymptotics(make(0.7), bandit).covariance).max() < 1e-20
    odpo, dpo = (asymptotics(make(0.7), bandit).covariance for make in (ea.ODPO, ea.DPO))
    assert np.linalg.eigvalsh(odpo)[-1] > 1e-3 and np.abs(odpo - dpo).max() > 1e-3


def test_the_covariance_of_odpo_is_seen_in_samples() -> None:
    bandit = ea.Bandit(REFERENCE[0], OPTIMAL[0], rewards=REWARDS[0])
    size, sets = 4000, 400
    pairs = draw_pairs(bandit, size, sets, seed=5)
    stacked = ea.Bandit.from_counts(np.tile(REFERENCE[0], (sets, 1)), pairs.counts[:, 0], rewards=REWARDS[0])
    policies = ea.solve(ea.ODPO(0.7), stacked).policy
    found = np.cov(policies.T) * size
    exact = asymptotics(ea.ODPO(0.7), bandit).covariance
    # the relative standard error of a variance from 400 samples is sqrt(2/400) = 0.07
    assert np.abs(found - exact).max() < 0.3 * np.abs(exact).max()


# ---------------------------------------------------------------------------------------------------- on policy


CYCLE = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])


def test_regressions_do_not_mind_who_draws() -> None:
    """Whatever is preferred, and by whomever pairs are drawn: pi_ref exp(r/lam), and it is stable."""
    bandit = ea.Bandit.from_preferences(REFERENCE[0], CYCLE, rewards=REWARDS[0])
    expected = REFERENCE[0] * np.exp(REWARDS[0] / 0.8)
    for make in (ea.REBEL, ea.RewardDistillation, ea.RewardAwarePO):
        (point,) = fixed_points(make(0.8), bandit, starts=2)
        np.testing.assert_allclose(point.policy, expected / expected.sum(), atol=1e-11)
        assert point.stable


@pytest.mark.parametrize("make", [ea.ODPO, ea.MADPO], ids=lambda make: make.name)
def test_a_fixed_point_is_the_optimum_of_its_own_weights(make: Any) -> None:
    """And training on the policy's own pairs ends there."""
    bandit = ea.Bandit.from_preferences(REFERENCE[0], CYCLE, rewards=REWARDS[0])
    (point,) = fixed_points(make(0.8), bandit, starts=2)
    pairs = (point.weights + point.weights.T) / 2
    again = ea.Bandit.from_preferences(REFERENCE[0], CYCLE, pairs, rewards=REWARDS[0])
    np.testing.assert_allclose(point.policy, ea.solve(make(0.8), again).policy, atol=1e-9)
    assert np.abs(point.policy - ea.solve(make(0.8), bandit).policy).max() > 1e-4  # not that of even pairs
    run = train(make(0.8), Tabular(REFERENCE[0]), bandit, Training(SGD(0.5), epochs=6000, on_policy=True))
    np.testing.assert_allclose(np.exp(run.log_final[0, 0, 0]), point.policy, atol=1e-8)


def test_fixed_points_with_lengths() -> None:
    bandit = ea.Bandit.from_preferences(REFERENCE[0], CYCLE, lengths=[2.0, 2.0, 2.0])
    plain = ea.Bandit.from_preferences(REFERENCE[0], CYCLE)
    (with_lengths,), (without,) = (
        fixed_points(ea.LengthNormalisedDPO(1.6), bandit, starts=1),
        fixed_points(ea.DPO(0.8), plain, starts=1),
    )
    np.testing.assert_allclose(with_lengths.policy, without.policy, atol=1e-10)


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": [1.0, 2.0]}, r"rewards must have shape \(3,\) or \(2, 3\), got \(2,\)"),
        ({"rewards": [[1.0, 2.0, math.inf]] * 2}, "rewards must be finite, or nan where one is not known, got inf"),
        ({"lengths": [[1.0, 2.0, 0.0]] * 2}, "lengths must be positive and finite, got 0"),
        ({"lengths": [[1.0, 2.0, math.nan]] * 2}, "lengths must be positive and finite, got nan"),
    ],
)
def test_bad_rewards_and_lengths_of_pairs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs(REFERENCE, [0, 2], [1, 1], [0, 1], **changes)


def test_data_that_training_cannot_use() -> None:
    bare = Pairs(REFERENCE, [0, 2], [1, 1], [0, 1])
    unknown = Pairs(REFERENCE, [0, 2], [1, 1], [0, 1], rewards=[[0.0, 1.0, 2.0], [0.0, math.nan, 1.0]])
    short = Training(epochs=2)
    for data, message in (
        (bare, r"^bandit must state rewards, which REBEL reads: Bandit\(\.\.\., rewards=\[\.\.\.\]\)$"),
        (unknown, r"^bandit must have a reward for every response, but that at \(1, 1\) is not known$"),
    ):
        with pytest.raises(ValueError, match=message):
            train(ea.REBEL(1.0), TABULAR, data, short)
    log = ea.ODPO(1.0, scale="log")
    reversed_pair = Pairs(REFERENCE, [0, 2], [1, 1], [0, 1], rewards=[[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    message = "it is nan where response 2 beats 1 on prompt 1, with reward_l = 3 and reward_w = 1$"
    with pytest.raises(ValueError, match=message):
        train(log, TABULAR, reversed_pair, short)
    with pytest.raises(ValueError, match=r"it is nan where response .* beats .*, with reward_l"):
        fixed_points(log, ea.Bandit(REFERENCE[0], OPTIMAL[0], rewards=REWARDS[0]))
