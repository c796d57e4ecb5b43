"""The experiment on reversal: thresholds against closed forms, classes against grids, and theorems on all of them."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

import expo_analysis as ea
from expo_analysis.studies import STUDIES

experiment: Any = import_module("expo_analysis.studies.restricted_reversal.numbers")
A, B = 1 / (1 + np.exp(-1)) - 0.5, 1 / (1 + np.exp(-2)) - 0.5
MARGINS = (2 * A + B) / (4 * A + B)


def test_the_share_at_which_losses_of_margins_turn() -> None:
    """Slopes at t = 0 of the three pairs: A against (1 - a)/2 (2A + B); neither the loss nor lambda is there."""
    a = brentq(lambda a: a * A - (1 - a) / 2 * (2 * A + B), 0, 1)
    assert pytest.approx(a, abs=1e-12) == MARGINS
    for loss in (ea.DPO(0.1), ea.IPO(3.0), ea.EXPO(0.01), ea.EXPO(100.0), ea.ChiPO(1.0), ea.SLiC(1.0)):
        low, high = experiment.reversing(loss)
        assert (abs(low - MARGINS) < experiment.RESOLUTION, high) == (True, 1.0), loss


@pytest.mark.parametrize("lam", [0.1, 1.0, 10.0])
def test_likelihoods_turn_where_the_slopes_of_winner_and_loser_say(lam: float) -> None:
    """-log sigma(lam h) - log pi_w: c_w = lam/2 + 1, c_l = lam/2; sum_i f_i (c_w W_i - c_l L_i) = 0 at the share."""

    def slope(a: float, winner: float, loser: float) -> float:
        b, p = (1 - a) / 2, lambda x: 1 / (1 + np.exp(-x))
        won = a * p(1) + b * p(-1) - b * (p(1) + p(2))  # W_1 - W_2
        lost = a * p(-1) + b * p(1) - b * (p(-1) + p(-2))
        return float(winner * won - loser * lost)

    for loss, winner, loser in ((ea.CPO(lam), lam / 2 + 1, lam / 2), (ea.SFT(lam), 1.0, 0.0), (ea.DPO(lam), 1.0, 1.0)):
        expected = brentq(slope, 1e-6, 1 - 1e-6, args=(winner, loser))
        np.testing.assert_allclose(experiment.reversing(loss), [expected, 1.0], atol=experiment.RESOLUTION)


def test_losses_that_do_not_turn_once() -> None:
    assert np.isnan(experiment.reversing(ea.RLHF(1.0))).all()
    assert np.isnan(experiment.reversing(ea.DPOP(1.0))).all()  # its kink holds it at pi_ref
    low, high = experiment.reversing(ea.APODown(10.0))  # global minima, proven, on both sides of where it turns back
    assert low == 0 and 0 < high < 1
    for weight, sign in ((high - 1e-3, 1), (high + 1e-3, -1)):
        found = experiment.example(np.array([weight])).optima(ea.APODown(10.0), proven=True)
        assert found.status[0, 0] == "optimal" and np.sign(found.weights[0, 0]) == sign
    low, _ = experiment.reversing(ea.DiscoPOP(1.0))  # a jump between two minima of equal value
    ends = [experiment.example(np.array([w])).optima(ea.DiscoPOP(1.0), proven=True) for w in (low - 1e-5, low + 1e-5)]
    assert ends[0].weights[0, 0] < -0.1 < 0.1 < ends[1].weights[0, 0]
    np.testing.assert_allclose(ends[0].total, ends[1].total, atol=1e-4)


def test_an_interval_that_is_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "example_reverses", lambda loss, weight: np.sin(30 * weight) > 0)
    with pytest.raises(RuntimeError, match="more than one interval"):
        experiment.reversing(ea.DPO(1.0))


def grid_optimum(loss: Any, classes: Any, b: int) -> float:
    """t of the lowest value of the loss's own risk on a grid, refined."""
    bandit = ea.Bandit(classes.reference[b], classes.optimal[b], classes.pairs[b])
    low, high = -60.0, 60.0
    for _ in range(6):
        t = np.linspace(low, high, 3001)
        logits = np.log(classes.reference[b]) + t[:, None] * classes.feature[b]
        log_policy = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        best = int(np.argmin(ea.risk(loss, bandit, log_policy)))
        step = t[1] - t[0]
        low, high = t[best] - 10 * step, t[best] + 10 * step
    return float(t[best])


@pytest.mark.parametrize("name", ["rlhf", "dpo", "expo", "fdpo", "chi_po", "discopop", "orpo", "sppo", "slic"])
def test_classes_against_a_grid(name: str) -> None:
    loss = ea.objective(name, 1.0)
    for pairs in experiment.PAIRS:
        classes = experiment.random_classes(4, pairs)
        found = experiment.judged(classes, loss)
        for b in range(4):
            t = grid_optimum(loss, classes, b)
            reference, reward, f = classes.reference[b], np.log(classes.optimal[b]), classes.feature[b]
            policy = reference * np.exp(t * f)
            policy /= policy.sum()
            covariance = np.cov(f, reward, aweights=reference, ddof=0)[0, 1]
            win = sum(
                policy[i] * reference[j] / (1 + np.exp(reward[j] - reward[i])) for i in range(4) for j in range(4)
            )
            kl = np.sum(policy * (np.log(policy) - reward)), np.sum(reference * (np.log(reference) - reward))
            expected = {
                "reverses": t * covariance < 0,
                "less_reward": policy @ reward < reference @ reward,
                "farther": kl[0] > kl[1],
                "outvoted": win < 0.5,
            }
            assert {key: bool(found[key][b]) for key in expected} == expected


@pytest.fixture(scope="module")
def classes() -> dict[str, Any]:
    return {pairs: experiment.random_classes(1000, pairs) for pairs in experiment.PAIRS}


def test_convex_losses_of_the_relative_margin_reverse_on_the_same_problems(classes: dict[str, Any]) -> None:
    """Those of the sign of sum_ij q_ij (p*_ij - p*_ji)(f_i - f_j), whatever psi and lambda; EXPO's by its own sign."""
    for own in classes.values():
        q = own.bandit.pairs
        reference, p = own.reference, own.bandit.preference
        f = own.feature[:, :, None] - own.feature[:, None, :]
        stated = reference[:, :, None] / (reference[:, :, None] + reference[:, None, :])
        relative = (q * (2 * p - 1) * f).sum(axis=(1, 2)) * own.slope() < 0
        by_itself = (q * (p - stated) * f).sum(axis=(1, 2)) * own.slope() < 0
        for lam in (0.1, 1.0, 10.0):
            for loss in (ea.DPO(lam), ea.IPO(lam)):
                np.testing.assert_array_equal(experiment.judged(own, loss)["reverses"], relative)
            np.testing.assert_array_equal(experiment.judged(own, ea.EXPO(lam))["reverses"], by_itself)
        np.testing.assert_array_equal(experiment.judged(own, ea.BradleyTerry(1.0))["reverses"], by_itself)
        few = own.first(30)
        np.testing.assert_array_equal(experiment.judged(few, ea.Hinge(1.0))["reverses"], relative[:30])


def test_what_theorems_forbid_does_not_occur(classes: dict[str, Any]) -> None:
    for own in classes.values():
        rlhf = experiment.judged(own.first(200), ea.RLHF(1.0))
        assert not rlhf["less_reward"].any() and not rlhf["less_reward_free"].any()
        expo = experiment.judged(own, ea.EXPO(1.0))
        assert not expo["farther_free"].any() and expo["farther"].any() and expo["less_reward_free"].any()
        assert not experiment.judged(own, ea.DPO(1.0))["less_reward_free"].any()


def test_units_of_the_feature_and_labels_do_not_matter(classes: dict[str, Any]) -> None:
    own, order = classes["uneven"].first(200), [2, 0, 3, 1]
    scaled = replace(own, feature=-3 * own.feature + 5)
    relabelled = replace(
        own,
        reference=own.reference[:, order],
        optimal=own.optimal[:, order],
        feature=own.feature[:, order],
        pairs=own.pairs[:, order][:, :, order],
    )
    for loss in (ea.DPO(1.0), ea.EXPO(1.0), ea.ChiPO(1.0)):
        expected = experiment.judged(own, loss)
        for same in (scaled, relabelled):
            found = experiment.judged(same, loss)
            for column in ("reverses", "less_reward", "farther", "outvoted"):
                np.testing.assert_array_equal(found[column], expected[column])


def test_searches_find_what_is_proven(classes: dict[str, Any]) -> None:
    """Losses that are not convex: the searches of the experiment against branch and bound."""
    own = classes["uneven"].first(12)
    for name in ("rlhf", "fdpo", "chi_po", "discopop", "exo", "sppo"):
        loss = ea.objective(name, 1.0)
        searched, proven = own.optima(loss), own.optima(loss, proven=True)
        settled = proven.status[:, 0] == "optimal"
        assert settled.mean() > 0.8
        np.testing.assert_allclose(searched.log_policy[settled], proven.log_policy[settled], atol=1e-6)


FEW = ("rlhf", "dpo", "ipo", "expo", "spo", "chi_po", "discopop", "dpop", "rpo", "sft", "cpo", "orpo", "apo_down")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "LOSSES", FEW)
        patch.setattr(experiment, "RESOLUTION", 1e-3)
        patch.setattr(experiment, "LAMS", np.array([0.1, 1.0, 10.0]))
        patch.setattr(experiment, "WEIGHTS", np.array([0.3, 0.98]))
        return experiment.run(experiment.Settings(classes=60, kinked=3, searched=10))


@pytest.mark.slow
def test_tables(tables: dict[str, pd.DataFrame]) -> None:
    paths, thresholds, found = tables.values()
    assert list(dict.fromkeys(thresholds["loss"])) == list(FEW)
    assert set(experiment.LOSSES) == set(ea.CATALOGUE) - {"qpo", "aot", "explicit_po"}
    last = thresholds.set_index(["loss", "lam"])["reward"]
    exact = {"dpo": (0.9999, 0.8463, 0.9711), "ipo": (0.9067, 0.9374, 0.9930), "expo": (0.8560, 0.9308, 0.9897)}
    for loss, rewards in exact.items():
        np.testing.assert_allclose(last[loss], rewards, atol=5.001e-5)
        np.testing.assert_allclose(
            paths[(paths["loss"] == loss) & (paths["weight"] == 0.98)]["reward"][:3], rewards, atol=5.001e-5
        )
    assert (found.groupby(["pairs", "loss"]).size().isin((1, 3))).all()
    again = experiment.judged(experiment.random_classes(60, "uneven"), ea.EXPO(0.1))["farther"].mean()
    assert found.set_index(["pairs", "loss", "lam"]).loc[("uneven", "expo", 0.1), "farther"] == pytest.approx(again)


@pytest.mark.slow
def test_words_follow_the_tables(tables: dict[str, pd.DataFrame]) -> None:
    text = STUDIES["restricted_reversal"].show(tables).text
    common = tables["restricted_reversal_thresholds"].set_index(["loss", "lam"]).loc[("dpo", 1.0), "low"]
    assert "nan" not in text and f"{common:.4f} = (2A + B)/(4A + B)" in text and "**[ours]**" in text
    changed = {name: table.copy() for name, table in tables.items()}
    at = changed["restricted_reversal_classes"]
    at.loc[(at["loss"] == "expo") & (at["pairs"] == "uniform"), "less_reward"] = 0.1234
    assert "12.3%" in STUDIES["restricted_reversal"].show(changed).text and "12.3%" not in text
    figures = STUDIES["restricted_reversal"].show(tables).figures
    assert [len(figure.axes) for figure in figures.values()] == [2, 1, 2]
