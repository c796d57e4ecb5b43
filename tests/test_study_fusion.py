"""The experiment on weighted-reward fusion: what its tables must show."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.studies import STUDIES

experiment = import_module("expo_analysis.studies.fusion.numbers")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "MASSES", np.geomspace(1e-8, 1e-1, 7))
        paths = pd.concat([experiment.path_of(alpha, 2000) for alpha in experiment.ALPHAS], ignore_index=True)
        return {"fusion": paths, "fusion_held": experiment.held_table(), "fusion_status": experiment.status_table()}


def test_without_a_regulariser_there_is_no_minimiser(tables: dict[str, pd.DataFrame]) -> None:
    """The loss at a ray along the source's logit falls without end for a > 0, and is level at a = 0."""
    status = tables["fusion_status"].set_index("alpha")["status"]
    assert status.to_dict() == {0.0: "not_unique", 0.03: "no_minimiser", 0.1: "no_minimiser", 0.3: "no_minimiser"}
    bandit = experiment.bandit_of(1e-4)
    theta = np.log(bandit.reference) + np.linspace(0, 300, 30)[:, None] * np.eye(4)[experiment.SOURCE]
    rays = theta - np.logaddexp.reduce(theta, axis=1, keepdims=True)
    assert (np.diff(ea.risk(ea.WRPO(0.1, 0.1), bandit, rays)) < 0).all()
    np.testing.assert_allclose(np.ptp(ea.risk(ea.WRPO(0.1, 0.0), bandit, rays)), 0, atol=1e-12)


def test_descent_follows_the_risk(tables: dict[str, pd.DataFrame]) -> None:
    """One step of the table's own gradient is that of `risk` by differences."""
    bandit, loss = experiment.bandit_of(experiment.START), ea.WRPO(experiment.BETA, 0.3)
    log_reference = np.log(bandit.reference)

    def value(theta: np.ndarray) -> float:
        return float(ea.risk(loss, bandit, theta - np.logaddexp.reduce(theta)))

    slope = [(value(log_reference + 1e-5 * e) - value(log_reference - 1e-5 * e)) / 2e-5 for e in np.eye(4)]
    theta = log_reference - experiment.RATE * np.array(slope)
    step = tables["fusion"].set_index(["alpha", "step"]).loc[(0.3, 1), ["source", "better", "worse", "other"]]
    np.testing.assert_allclose(step.to_numpy(float), np.exp(theta - np.logaddexp.reduce(theta)), rtol=1e-8)


def test_with_a_regulariser_a_decides(tables: dict[str, pd.DataFrame]) -> None:
    held = tables["fusion_held"]
    assert set(held["status"]) == {"optimal"}
    mass = held.pivot(index="reference_mass", columns="alpha", values="source")
    np.testing.assert_allclose(mass[0.0], mass.index, rtol=1e-6)  # in no datum: it keeps its mass
    assert (mass.diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    # stationarity in the source's logit: lam (pi - pi_ref) = beta a sum_e weight sigma(-margin)
    row = held[(held["alpha"] == 0.1) & (held["reference_mass"] == held["reference_mass"].min())].iloc[0]
    policy = row[["source", "better", "worse", "other"]].to_numpy(float)
    log_u = np.log(policy / experiment.bandit_of(row["reference_mass"]).reference)
    margins = np.array([0.1 * log_u[0] + 0.9 * log_u[1] - log_u[2], 0.1 * log_u[0] + 0.9 * log_u[2] - log_u[1]])
    pull = np.array([0.7, 0.3]) / (1 + np.exp(experiment.BETA * margins))
    expected = experiment.BETA * 0.1 * pull.sum() / experiment.LAM
    assert policy[0] - row["reference_mass"] == pytest.approx(expected, rel=1e-6)


def test_words_and_picture(tables: dict[str, pd.DataFrame]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expo_analysis.studies.fusion.words.MASSES", np.geomspace(1e-8, 1e-1, 7))
        result = STUDIES["fusion"].show(tables)
    assert "no minimiser" in result.text and len(result.figure.axes) == 2
