"""The experiment on RPO's three distances: what its tables must show."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit

import expo_analysis as ea
from expo_analysis.studies import STUDIES

experiment = import_module("expo_analysis.studies.reward_aware.numbers")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "LAMS", np.array([0.01, 0.3, 1.0]))
        patch.setattr(experiment, "NOISE", (0.0, 2.0))
        noise = experiment.noise_table(2, data=10)
        return {
            "reward_aware": noise,
            "reward_aware_restricted": experiment.restricted_table(),
            "reward_aware_shared": experiment.shared_table(),
        }


def test_one_optimum_over_all_policies(tables: dict[str, pd.DataFrame]) -> None:
    assert tables["reward_aware_shared"]["tv_optimum"].max() < 1e-12
    silent = tables["reward_aware"][tables["reward_aware"]["noise"] == 0]
    assert silent["tv_optimum"].max() < 1e-12


def test_noise_moves_the_backward_kl_alone_beyond_the_mean(tables: dict[str, pd.DataFrame]) -> None:
    """Squared and forward KL rest at the mean of the rewards; the backward KL at a zero of its own gradient."""
    rows = tables["reward_aware"].set_index(["distance", "noise", "seed"])
    for seed in range(2):
        noise = np.random.default_rng([17, seed]).normal(size=(10, 3))
        rewards = experiment.REWARD + 2.0 * noise
        mean = experiment.tilted(rewards.mean(axis=0), experiment.LAM)
        for distance in ("squared", "forward_kl"):
            own = rows.loc[(distance, 2.0, seed), ["y0", "y1", "y2"]].to_numpy(float)
            np.testing.assert_allclose(own, mean, atol=1e-7)
        policy = rows.loc[("backward_kl", 2.0, seed), ["y0", "y1", "y2"]].to_numpy(float)
        x = np.log(policy / experiment.REFERENCE)
        # the stationarity of sum_x sum_ij KL(sigma(r_xi - r_xj) || sigma(x_i - x_j))
        pull = expit(x[:, None] - x) - expit(rewards[:, :, None] - rewards[:, None]).mean(axis=0)
        np.testing.assert_allclose(pull.sum(axis=1), 0, atol=1e-7)


def test_restricted_optima_by_a_search_of_one_number(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["reward_aware_restricted"].set_index(["loss", "lam"])
    bandit = experiment.bandit_of(experiment.REWARD)
    for distance in ("squared", "backward_kl"):
        loss = ea.RewardAwarePO(0.3, distance)

        def value(w: float, loss: ea.RewardAwarePO = loss) -> float:
            theta = np.log(experiment.REFERENCE) + w * experiment.FEATURE[:, 0]
            return float(ea.risk(loss, bandit, theta - np.logaddexp.reduce(theta)))

        w = minimize_scalar(value, bracket=(-5, 5), options={"xtol": 1e-12}).x
        theta = np.log(experiment.REFERENCE) + w * experiment.FEATURE[:, 0]
        expected = np.exp(theta - np.logaddexp.reduce(theta))
        np.testing.assert_allclose(rows.loc[(distance, 0.3), ["y0", "y1", "y2"]].to_numpy(float), expected, atol=1e-6)
    assert rows.loc[("rlhf", 0.01), "expected_reward"] > rows.loc[("squared", 0.01), "expected_reward"] + 0.1


def test_words_and_picture(tables: dict[str, pd.DataFrame]) -> None:
    result = STUDIES["reward_aware"].show(tables)
    assert "backward KL" in result.text and [len(figure.axes) for figure in result.figures.values()] == [1, 1]
