"""The experiment on on-policy pairs: what its tables must show, and that words and picture follow from them."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.on_policy import nash_policy, regularised_nash, xpo_cut
from expo_analysis.studies import STUDIES

experiment = import_module("expo_analysis.studies.on_policy.numbers")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "LAMS", np.array([0.1, 1.0]))
        patch.setattr(experiment, "SIZES", (2, 5))
        points = experiment.points_table(1)
        xpo = experiment.xpo_table(40)
    return {"on_policy": points, "on_policy_rounds": experiment.rounds_table(), "on_policy_xpo": xpo}


def test_fixed_points_are_those_that_theory_names(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["on_policy"].set_index(["population", "loss", "pairs", "lam"])
    for lam in (0.1, 1.0):
        ipo = rows.loc[("cycle", "ipo", "own", lam), ["y0", "y1", "y2"]].to_numpy(dtype=float)
        np.testing.assert_allclose(ipo, regularised_nash(experiment.CYCLE, experiment.REFERENCE, lam), atol=1e-9)
        own, uniform = (rows.loc[("bradley_terry", "dpo", pairs, lam), "y0":"y2"] for pairs in ("own", "uniform"))
        np.testing.assert_allclose(own.to_numpy(float), uniform.to_numpy(float), atol=1e-11)
    expo = rows.xs("expo", level="loss").xs("own", level="pairs")
    assert (expo.loc["bradley_terry", "tv_optimal"] < np.abs(experiment.REFERENCE - experiment.OPTIMAL).sum() / 2).all()


def test_rounds(tables: dict[str, pd.DataFrame]) -> None:
    rounds = tables["on_policy_rounds"].set_index(["method", "step"]).sort_index()
    last = experiment.ROUNDS
    nash = nash_policy(experiment.CYCLE).policy
    for method in rounds.index.get_level_values(0).unique():
        np.testing.assert_allclose(rounds.loc[(method, 0), "y0":"y2"].to_numpy(float), experiment.REFERENCE, atol=1e-12)
    mean = rounds.loc[("sppo", slice(None)), "y0":"y2"].to_numpy(float).mean(axis=0)
    np.testing.assert_allclose(rounds.loc[("sppo_mean", last), "y0":"y2"].to_numpy(float), mean, atol=1e-12)
    assert rounds.loc[("sppo_mean", last), "tv_nash"] == pytest.approx(np.abs(mean - nash).sum() / 2)
    point = ea.on_policy.fixed_points(ea.EXPO(0.3), experiment.populations()["cycle"], 1)[0]
    np.testing.assert_allclose(rounds.loc[("online_expo", last), "y0":"y2"].to_numpy(float), point.policy, atol=1e-9)


def test_shares_of_problems(tables: dict[str, pd.DataFrame]) -> None:
    xpo = tables["on_policy_xpo"]
    by_ratio = xpo.groupby(["n", "pairs"])["exists"]
    assert (by_ratio.diff().dropna() <= 0).all()  # the larger alpha, the fewer
    two = xpo[(xpo["n"] == 2) & (xpo["pairs"] == "uniform")]
    rng = np.random.default_rng([11, 2])
    limits = []
    for _ in range(40):  # with two responses: the one that goes loses p of its comparisons
        reference, optimal = np.maximum(rng.dirichlet(np.ones(2), 2), 1e-9)
        limits.append((optimal / reference).min())
    np.testing.assert_allclose(two["exists"], [np.mean(np.array(limits) > r) for r in two["ratio"]])
    cut = xpo_cut([[0, 0.3], [0.7, 0]], [0.5, 0.5], 1.0, 1.0)
    assert cut.limit == pytest.approx(0.6) and cut.members.tolist() == [True, False]


def test_words_follow_the_tables(tables: dict[str, pd.DataFrame]) -> None:
    result = STUDIES["on_policy"].show(tables)
    changed = {name: table.copy() for name, table in tables.items()}
    at = (changed["on_policy"]["population"] == "cycle") & (changed["on_policy"]["loss"] == "expo")
    changed["on_policy"].loc[at, "worst_win_rate"] = 0.123
    assert "0.123" in STUDIES["on_policy"].say(changed, result.figures) and "0.123" not in result.text
    assert [len(figure.axes) for figure in result.figures.values()] == [2, 1, 2]
