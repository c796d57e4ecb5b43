"""Accuracy of rewards and of the rewards that policies imply: by hand, by loops, and what must not change it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import expo_analysis as ea

RNG = np.random.default_rng(0)


def population(prompts: int = 5, n: int = 4) -> ea.Bandit:
    rng = np.random.default_rng(1)
    reference, optimal = rng.dirichlet(np.ones(n), (2, prompts))
    pairs = np.triu(rng.random((prompts, n, n)), 1)
    return ea.Bandit(reference, optimal, pairs + np.swapaxes(pairs, 1, 2), rng.random(prompts))


def by_loops(reward: np.ndarray, bandit: ea.Bandit) -> float:
    """Over prompts and unordered pairs: p* of the side that the reward chooses, from pi* itself."""
    total = 0.0
    assert bandit.optimal is not None
    for x, rho in enumerate(bandit.prompt_weights):
        for i in range(bandit.n):
            for j in range(i):
                p = bandit.optimal[x, i] / (bandit.optimal[x, i] + bandit.optimal[x, j])
                chosen = p if reward[x, i] > reward[x, j] else 1 - p if reward[x, i] < reward[x, j] else 0.5
                total += rho * 2 * bandit.pairs[x, i, j] * chosen
    return total


def test_by_hand() -> None:
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    by_pair = {(0, 1): 2 / 3, (0, 2): 6 / 7, (1, 2): 3 / 4}
    assert ea.reward_accuracy([3, 2, 1], bandit) == pytest.approx(sum(by_pair.values()) / 3, abs=1e-15)
    tied = (by_pair[0, 1] + by_pair[0, 2] + 0.5) / 3
    assert ea.reward_accuracy([1, 0, 0], bandit) == pytest.approx(tied, abs=1e-15)
    assert ea.reward_accuracy([0, 0, 0], bandit) == 0.5


def test_by_loops_on_uneven_pairs_and_prompts() -> None:
    bandit = population()
    rewards = RNG.integers(0, 3, (20, 5, 4)).astype(float)  # with ties
    together = ea.reward_accuracy(rewards, bandit)
    assert together.shape == (20,)
    for reward, accuracy in zip(rewards, together, strict=True):
        np.testing.assert_allclose(accuracy, by_loops(reward, bandit), rtol=1e-14)
        assert ea.reward_accuracy(reward, bandit) == pytest.approx(accuracy, rel=1e-14)


def test_counts_are_pairs_that_were_ranked_rightly() -> None:
    counts = RNG.integers(0, 4, (3, 4, 4)) * (1 - np.eye(4, dtype=int))
    counts[1] = 0  # a prompt without comparisons says nothing
    bandit = ea.Bandit.from_counts([[0.25] * 4] * 3, counts)
    reward = RNG.standard_normal((3, 4))
    right = sum(counts[x, i, j] for x in range(3) for i in range(4) for j in range(4) if reward[x, i] > reward[x, j])
    assert ea.reward_accuracy(reward, bandit) == pytest.approx(right / counts.sum(), rel=1e-14)
    even = ea.Bandit.from_counts([[0.25] * 4] * 3, counts, prompt_weights=[1, 1, 1])
    each = [ea.reward_accuracy(reward[x], ea.Bandit.from_counts([0.25] * 4, counts[x])) for x in (0, 2)]
    assert ea.reward_accuracy(reward, even) == pytest.approx(np.mean(each), rel=1e-14)


def test_nothing_beats_the_true_reward() -> None:
    bandit = population(1)
    most = ea.reward_accuracy(np.log(bandit.optimal), bandit)
    others = [ea.reward_accuracy(np.array([order], dtype=float), bandit) for order in permutations(range(4))]
    assert most == pytest.approx(max(others), abs=1e-15)
    assert most == pytest.approx(np.maximum(bandit.wins, np.swapaxes(bandit.wins, 1, 2)).sum() / 2, abs=1e-15)


def test_what_does_not_change_it_and_what_turns_it_round() -> None:
    bandit = population()
    reward = RNG.standard_normal((5, 4))
    accuracy = ea.reward_accuracy(reward, bandit)
    for same in (3 * reward, np.exp(reward), reward + RNG.standard_normal((5, 1))):
        assert ea.reward_accuracy(same, bandit) == accuracy
    assert ea.reward_accuracy(-reward, bandit) == pytest.approx(1 - accuracy, abs=1e-14)
    order = [2, 0, 3, 1]
    moved = ea.Bandit(
        bandit.reference[:, order], bandit.optimal[:, order], bandit.pairs[:, order][:, :, order], bandit.prompt_weights
    )
    assert ea.reward_accuracy(reward[:, order], moved) == pytest.approx(accuracy, rel=1e-14)


def test_the_reward_of_a_policy() -> None:
    """log pi/pi_ref is the reward that pi_ref was tilted by, whatever beta and the normaliser; log pi adds pi_ref's."""
    bandit = population()
    reward = RNG.standard_normal((5, 4))
    for beta in (0.1, 10.0):
        logits = np.log(bandit.reference) + reward / beta
        log_policy = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        assert ea.implicit_reward_accuracy(log_policy, bandit) == ea.reward_accuracy(reward, bandit)
        own = ea.implicit_reward_accuracy(log_policy, bandit, relative=False)
        assert own == ea.reward_accuracy(reward + beta * np.log(bandit.reference), bandit)
    best = ea.solve(ea.DPO(0.5), bandit)
    assert ea.implicit_reward_accuracy(best.log_policy, bandit) == ea.reward_accuracy(np.log(bandit.optimal), bandit)


def test_limits_have_responses_of_no_probability() -> None:
    """Separable: DPO's limit is all on the first; the two that are left tie."""
    bandit = ea.Bandit.from_counts([0.2, 0.3, 0.5], [[0, 2, 2], [0, 0, 1], [0, 1, 0]])
    limit = np.array([0.0, -np.inf, -np.inf])
    assert ea.implicit_reward_accuracy(limit, bandit) == pytest.approx((2 + 2 + 1) / 6)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ([1.0, 2.0], r"reward must have shape \(\.\.\., 3\), got \(2,\)"),
        (1.0, "reward must have shape"),
        ([1.0, np.nan, 0.0], "reward must hold finite numbers or -inf, got nan at index 1"),
        ([1.0, np.inf, 0.0], "reward must hold finite numbers or -inf, got inf at index 1"),
        (["a", "b", "c"], "reward must be an array of numbers"),
    ],
)
def test_bad_rewards_are_named(reward: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ea.reward_accuracy(reward, ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1]))


def test_bad_policies_and_bandits_are_named() -> None:
    with pytest.raises(ValueError, match=r"log_policy must have shape \(\.\.\., 5, 4\), got \(4,\)"):
        ea.implicit_reward_accuracy(np.zeros(4), population())
    counts = np.zeros((2, 2, 2))
    counts[0, 0, 1] = 1
    silent = ea.Bandit.from_counts([[0.5, 0.5]] * 2, counts, prompt_weights=[0, 1])
    with pytest.raises(ValueError, match="bandit must have a comparison on a prompt of positive weight"):
        ea.reward_accuracy(np.zeros((2, 2)), silent)
