"""What is said where data leave w open over log-linear policies, where nothing can be maximised, and of last steps."""

from __future__ import annotations

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima.restricted import newton
from expo_analysis.optima.solution import Certificate

THIRD = np.full(3, 1 / 3)


def counts(*wins: tuple[int, int, int, int]) -> np.ndarray:
    """(prompt, winner, loser, times) on two prompts of three responses."""
    found = np.zeros((2, 3, 3))
    for prompt, winner, loser, times in wins:
        found[prompt, winner, loser] = times
    return found


def test_directions_that_only_responses_without_comparisons_see() -> None:
    """On prompt 1 response 2 is in no pair: w_1 moves it alone, is open, and 0 as the least. w_0 is seen on both."""
    bandit = ea.Bandit.from_counts([THIRD, THIRD], counts((0, 0, 1, 3), (0, 1, 0, 1), (1, 1, 0, 2), (1, 0, 1, 1)))
    features = np.zeros((2, 3, 2))
    features[:, 0, 0], features[1, 2, 1] = [1.0, -1.0], 2.0
    found = ea.solve(ea.DPO(0.5), bandit, features=features)
    assert found.status.tolist() == ["optimal", "not_unique"]
    assert found.certificate.tolist() == [Certificate.ERROR_BOUND, Certificate.THEOREM]
    text = "the minimiser; 1 directions of w are open, and w has the least norm; on prompts [1] policies vary with them"
    assert found.message.tolist() == [text, text]
    wins, m = np.array([3 / 4, 2 / 3]), 0.5 * found.weights[0]  # of what w_0 raises: 0 on prompt 0, 1 on prompt 1
    slopes = (1 - wins) / (1 + np.exp(-m)) - wins / (1 + np.exp(m))
    assert bandit.prompt_weights @ slopes == pytest.approx(0, abs=1e-12)
    assert found.weights[1] == 0
    # the same on one prompt
    alone = ea.Bandit.from_counts(THIRD, counts((0, 0, 1, 3), (0, 1, 0, 1))[0])
    one = ea.solve(ea.DPO(0.5), alone, features=[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert one.status == "not_unique" and one.weights[1] == 0
    assert one.message.endswith("; 1 directions of w are open, and w has the least norm; the policy varies with them")
    assert one.weights[0] == pytest.approx(np.log(3) / 0.5)
    # a direction that moves no policy leaves none open; neither does one that nothing sees while decay holds it
    twice = ea.solve(ea.DPO(0.5), alone, features=[[1.0, 3.0, 5.0], [0.0, 0.0, 5.0], [0.0, 0.0, 5.0]])
    assert twice.status == "optimal" and twice.certificate == Certificate.ERROR_BOUND
    assert twice.message == "the minimiser; 2 directions of w are open, and w has the least norm"
    np.testing.assert_allclose(twice.weights, np.log(3) / 0.5 * np.array([0.1, 0.3, 0.0]), atol=1e-12)
    held = ea.solve(ea.DPO(0.5), bandit, features=features, decay=0.1)
    assert held.status.tolist() == ["optimal"] * 2 and held.message.tolist() == ["the minimiser"] * 2


def test_directions_in_which_hinges_are_level() -> None:
    """lam hbar = w_0 on prompt 0 and w_1 on prompt 1, with hinges at 1: a tie is level in between, a win beyond."""
    features = np.zeros((2, 3, 2))
    features[0, 0, 0] = features[1, 0, 1] = 1.0
    start = (
        "the loss is least for many w, {}; the one of least norm is returned, and on prompts [1] policies vary with w"
    )
    two = counts((0, 0, 1, 3), (0, 1, 0, 1))
    tie, lone = (two + counts(*wins) for wins in (((1, 0, 1, 2), (1, 1, 0, 2)), ((1, 0, 1, 2),)))
    for wins, how, least in ((tie, "within bounds", 0.0), (lone, "some of them without bound", 1.0)):
        bandit = ea.Bandit.from_counts([THIRD, THIRD], wins)
        found = ea.solve(ea.Hinge(1.0), bandit, features=features)
        assert found.status.tolist() == ["optimal", "not_unique"]
        assert found.message.tolist() == [start.format(how)] * 2
        np.testing.assert_allclose(found.weights, [1.0, least], atol=1e-7)
        assert (found.certificate == Certificate.CONDITIONS).all() and np.isnan(found.weight_bounds).all()
    unique = ea.solve(ea.Hinge(1.0), ea.Bandit.from_counts([THIRD, THIRD], two + two[::-1]), features=features)
    assert unique.status.tolist() == ["optimal"] * 2 and (unique.certificate == Certificate.ERROR_BOUND).all()
    assert (np.abs(unique.weights - 1.0) <= unique.weight_bounds).all()
    np.testing.assert_allclose(unique.weights, [1.0, 1.0], atol=1e-9)
    assert (unique.iterations >= 0).all()


def test_a_reward_that_has_no_fit_is_not_maximised() -> None:
    """Prompt 1 is separable: its Bradley-Terry fit is infinite, and no policy is called the best for it."""
    wins = counts((0, 0, 1, 3), (0, 1, 0, 1), (0, 1, 2, 1), (0, 2, 1, 1), (1, 0, 1, 2), (1, 1, 2, 2))
    features = np.random.default_rng(0).standard_normal((2, 3, 2))
    found = ea.solve(ea.RLHF(0.5), ea.Bandit.from_counts([THIRD, THIRD], wins), features=features)
    assert found.status.tolist() == ["failed"] * 2 and (found.certificate == Certificate.NONE).all()
    text = "there is no reward to maximise: the comparisons of prompts [1] have no finite, unique fit"
    assert found.message.tolist() == [text] * 2
    weightless = ea.Bandit.from_counts([THIRD, THIRD], wins, prompt_weights=[1.0, 0.0])
    there = ea.solve(ea.RLHF(0.5), weightless, features=features)
    assert "failed" not in there.status.tolist()


def test_running_out_of_steps_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one step of Newton's method a program still tells that there is a minimiser, or that there is none."""
    monkeypatch.setattr(newton, "MAX_STEPS", 1)
    wins = counts((0, 0, 1, 10**6), (0, 1, 0, 1), (1, 0, 1, 10**5), (1, 1, 0, 1))
    features = np.zeros((2, 3, 1))
    features[:, 0, 0] = 1.0
    bandit = ea.Bandit.from_counts([THIRD, THIRD], wins)
    short = ea.solve(ea.DPO(5.0), bandit, features=features)
    assert short.status.tolist() == ["failed"] * 2 and (short.iterations == 1).all()
    text = "a minimiser exists, but Newton's method ran out of steps; w is its last iterate"
    assert short.message[0].startswith(text)
    none = ea.solve(ea.DPO(5.0), ea.Bandit.from_counts([THIRD, THIRD], np.triu(wins)), features=features)
    assert none.status.tolist() == ["no_minimiser"] * 2
    np.testing.assert_array_equal(none.direction, [1.0])
    np.testing.assert_allclose(none.policy, [[1.0, 0.0, 0.0]] * 2)
