"""Where the mass goes: conservation at EXPO's optimum, of logits under gradients, and where it fails."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, log_softmax, logit

from expo_analysis import DPO, EXPO, IPO, Bandit, solve
from expo_analysis.optima import restricted_optima
from expo_analysis.simulators import SGD, Adam, LogLinear, Tabular, Training, draw_pairs, train
from expo_analysis.studies import STUDIES
from expo_analysis.studies.displacement.numbers import (
    COMPARED,
    OPTIMAL,
    REFERENCE,
    compared,
    flow_limit,
    optima,
    worlds,
)

from .other_processor import half_a_unit

pytestmark = pytest.mark.slow

MODULE = importlib.import_module("expo_analysis.studies.displacement.numbers")
EXAMPLE = Bandit(REFERENCE, OPTIMAL, compared(5, COMPARED))
WORKED = [0.24516129, 0.15483871, 0.27874016, 0.17125984, 0.15]


@pytest.fixture(scope="module")
def tables():
    """The experiment with a shorter transformer, and without the many worlds that a test of their own covers."""
    small = worlds()
    decoder = small["transformer"]
    small["transformer"] = MODULE.World(decoder.policy, decoder.bandit, decoder.lam, Training(Adam(3e-3), 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "worlds", lambda steps: small)
        patch.setattr(MODULE, "optima", lambda count: optima(20))
        return MODULE.run(MODULE.Settings())


def test_training_reaches_the_worked_example_and_conserves_every_component():
    for optimiser in (SGD(0.2), Adam(0.01)):
        run = train(EXPO(0.3), Tabular(REFERENCE), EXAMPLE, Training(optimiser, epochs=5000, log_spaced=True))
        final = run.final[0, 0, 0]
        np.testing.assert_allclose(final, WORKED, atol=1e-8)
        np.testing.assert_allclose(final, solve(EXPO(0.3), EXAMPLE).policy, atol=1e-8)
        components = [final[[0, 1]].sum(), final[[2, 3]].sum(), final[4]]
        np.testing.assert_allclose(components, [0.4, 0.45, 0.15], atol=1e-9)
        # on the way it is not conserved
        assert np.abs(run.policies[0, 0, :, 0, 4] - 0.15).max() > 1e-4


@pytest.mark.parametrize("optimiser", [SGD(0.3), SGD(0.1, momentum=0.9), Adam(0.02)])
@pytest.mark.parametrize("batch", [None, 7])
def test_losses_of_log_ratios_keep_the_sum_of_a_pairs_logits_and_the_logits_of_the_unseen(optimiser, batch):
    """But for rounding, also in noisy batches: relative to the unseen one the two logits of a pair move oppositely."""
    data = EXAMPLE if batch is None else draw_pairs(EXAMPLE, 50, seed=3)
    training = Training(optimiser, epochs=40, batch=batch)
    run = train([DPO(0.3), IPO(0.3), EXPO(0.3)], Tabular(REFERENCE), data, training)
    # policies tell logits up to their common shift; the unseen response's logit is log 0.15 if it does not move
    theta = run.log_final[:, 0, 0] - run.log_final[:, 0, 0, 4:] + np.log(REFERENCE[4])
    start = np.log(REFERENCE)
    moved = theta - start
    assert np.abs(moved[:2, :4]).min() > 1e-3
    for winner, loser in COMPARED:
        np.testing.assert_allclose(moved[:2, winner] + moved[:2, loser], 0.0, atol=1e-9)
        assert abs(moved[2, winner] + moved[2, loser]) > 1e-3  # EXPO's regulariser moves all


@pytest.mark.parametrize(
    ("cls", "target"), [(DPO, lambda p, lam: logit(p) / lam), (IPO, lambda p, lam: (p - 0.5) / lam)]
)
@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_unseen_mass_is_what_gradient_descent_is_to_make_of_it(cls, target, lam):
    """A pair weighs 2 exp(mean logit) cosh(delta / 2) against the unseen: by hand, by code, by training."""
    objective = cls(lam)
    weights = REFERENCE.copy()
    for i, j in COMPARED:
        centre = np.sqrt(REFERENCE[i] * REFERENCE[j])
        delta = np.log(REFERENCE[i] / REFERENCE[j]) + target(OPTIMAL[i] / (OPTIMAL[i] + OPTIMAL[j]), lam)
        weights[i], weights[j] = centre * np.exp(delta / 2), centre * np.exp(-delta / 2)
        assert np.isclose(weights[i] + weights[j], 2 * centre * np.cosh(delta / 2))
    expected = weights / weights.sum()
    solution = solve(objective, EXAMPLE)
    assert solution.status == "not_unique"
    np.testing.assert_allclose(flow_limit(solution.policy, EXAMPLE), expected, atol=1e-12)
    run = train(objective, Tabular(REFERENCE), EXAMPLE, Training(SGD(0.5), epochs=4000 if cls is DPO else 300))
    np.testing.assert_allclose(run.final[0, 0, 0], expected, atol=1e-8)
    assert abs(expected[4] - REFERENCE[4]) > 1e-3  # and the unseen mass did change
    np.testing.assert_allclose(run.mass("unseen")[0, 0, -1, 0], expected[4], atol=1e-8)


def test_the_limit_on_a_graph_with_larger_components():
    rng = np.random.default_rng(0)
    reference, optimal = rng.dirichlet(np.full(6, 3.0), 2)
    bandit = Bandit(reference, optimal, compared(6, ((0, 1), (1, 2), (3, 4))))
    for objective in (DPO(1.0), IPO(1.0)):
        run = train(objective, Tabular(reference), bandit, Training(SGD(0.5), epochs=6000))
        limit = flow_limit(solve(objective, bandit).policy, bandit)
        np.testing.assert_allclose(run.final[0, 0, 0], limit, atol=1e-7)
        # another minimiser of the same problem has the same limit
        other = solve(objective, bandit).policy * np.array([1, 1, 1, 5, 5, 0.1])
        np.testing.assert_allclose(flow_limit(other / other.sum(), bandit), limit, atol=1e-12)


def test_with_one_pair_and_one_logit_each_the_chosen_never_falls():
    """Its probability rises with delta: tabular policies know no displacement under DPO."""
    rng = np.random.default_rng(1)
    reference, optimal = rng.dirichlet(np.full(5, 2.0), (2, 30))
    optimal[:, :2] = np.sort(optimal[:, :2], axis=1)[:, ::-1]
    ahead = optimal[:, 0] / optimal[:, :2].sum(axis=1) > 0.5
    run = train(
        DPO(0.1), Tabular(reference), Bandit(reference, optimal, compared(5, ((0, 1),))), Training(SGD(30.0), 500)
    )
    policies = run.policies[0, 0]
    assert ahead.all()
    assert (np.diff(policies[..., 0], axis=0) > -1e-12).all() and (np.diff(policies[..., 1], axis=0) < 1e-12).all()


def test_one_shared_feature_displaces_both_and_expo_bounds_it():
    """Features 0 (chosen), -1 (rejected), 2 (unseen): what raises the chosen over the rejected raises the unseen."""
    reference, prefer = np.full(3, 1 / 3), np.array([0.4, 0.1, 0.5])
    bandit = Bandit(reference, prefer, compared(3, ((0, 1),)))
    policy = LogLinear(reference, np.array([[0.0], [-1.0], [2.0]]))
    run = train([DPO(0.1), IPO(0.1), EXPO(0.1)], policy, bandit, Training(Adam(0.02), epochs=3000))
    w = logit(0.8) / 0.1
    np.testing.assert_allclose(run.log_final[0, 0, 0], log_softmax(np.array([0.0, -w, 2 * w])), atol=1e-3)
    dpo, ipo, expo = run.final[:, 0, 0]
    for final in (dpo, ipo, expo):
        assert (final[:2] < reference[:2]).all()
    assert dpo[0] < 1e-10 and expo[0] > 0.1
    # EXPO: (0 + 1)(sigma(w) - 0.8) + lam sum_y f_y (pi_y - ref_y) = 0
    w = -run.log_final[2, 0, 0, 1] + run.log_final[2, 0, 0, 0]
    np.testing.assert_allclose(expit(w) - 0.8 + 0.1 * (np.array([0.0, -1.0, 2.0]) @ (expo - reference)), 0, atol=1e-8)


def test_displacement_grows_with_similarity_and_is_least_for_expo():
    frame = optima(60)
    assert (frame["share_converged"] > 0.99).all()
    at = {loss: own.sort_values("similarity") for loss, own in frame[frame["lam"] == 0.1].groupby("loss")}
    for loss in ("dpo", "ipo", "expo"):
        assert at[loss]["share_displaced"].iloc[-1] > at[loss]["share_displaced"].iloc[0] + 0.1
    for column in ("share_displaced", "mass_lost"):
        values = pd.DataFrame({loss: own[column].to_numpy() for loss, own in at.items()})
        assert (values["expo"] < values["ipo"]).all() and (values["ipo"] < values["dpo"]).all()
    assert at["expo"]["share_displaced"].max() > 0.3  # it does not prevent it


def test_restricted_optima_are_where_training_ends():
    """Of DPO's and IPO's many minimisers in feature space it is the one that gradients from the start lead to."""
    world = worlds()["features"]
    reference = np.asarray(world.bandit.reference)[:4]
    features = np.asarray(world.policy.features)[:4, :, :8]
    bandit = Bandit(reference, np.asarray(world.bandit.optimal)[:4], np.asarray(world.bandit.pairs)[:4])
    run = train([IPO(0.3), EXPO(0.3)], LogLinear(reference, features), bandit, Training(SGD(0.5), epochs=8000))
    for k, objective in enumerate(run.objectives):
        found = restricted_optima(objective, bandit, features[None])
        np.testing.assert_allclose(run.final[k, 0], np.exp(found.log_policy[0]), atol=1e-5)


def test_the_tables_say_what_the_theory_says(tables):
    steps, ends = tables["displacement"], tables["displacement_ends"].set_index(["world", "loss", "kind"]).sort_index()
    last = steps.groupby(["world", "loss"]).last()
    for world in ("population", "one_sided"):
        for loss in ("dpo", "ipo", "expo"):
            for kind in ("chosen", "rejected", "unseen"):
                end = ends.loc[(world, loss, kind)]
                if end["status"] != "no_minimiser":
                    np.testing.assert_allclose(last.loc[(world, loss), kind], end["end"], atol=1e-7)
                    assert end["lowest"] <= end["end"] <= end["highest"]
    assert set(ends.loc[("one_sided", "dpo")]["status"]) == {"no_minimiser"}
    assert last.loc[("one_sided", "dpo"), "unseen"] < 1e-3
    np.testing.assert_allclose(last.loc[("one_sided", "expo"), "unseen"], 0.15, atol=1e-7)
    assert (ends.xs("dpo", level="loss").loc["population"]["highest"] > 0.1).all()
    np.testing.assert_allclose(steps[["chosen", "rejected", "unseen"]].sum(axis=1), 1.0, atol=3.01 * half_a_unit(steps))
    shared = last.loc["features"]["share_displaced"]
    assert shared["dpo"] > 0.6 > shared["expo"] > 0


def test_the_words_are_made_of_the_tables(tables):
    result = STUDIES["displacement"].show(tables)
    text = " ".join(result.text.split())
    assert "nan" not in text
    last = tables["displacement"].groupby(["world", "loss"]).last()["share_displaced"]
    assert f"with shared features DPO {last['features', 'dpo']:.0%}, IPO" in text
    assert [len(figure.axes) for figure in result.figures.values()] == [6, 6, 3]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_transformer_displaces_under_dpo_and_returns_under_expo(seed):
    decoder = MODULE.Transformer(3, 2, 24, width=8, sharpness=3.0, seed=seed)
    reference = decoder.initial()
    winner, loser = np.arange(24) % 3 * 3, np.arange(24) % 3 * 3 + 1 + np.arange(24) // 12
    bandit = Bandit(reference, *MODULE.preferring(reference, winner, loser))
    run = train([DPO(0.1), EXPO(0.1)], decoder, bandit, Training(Adam(3e-3), epochs=600))
    masses = np.stack([run.mass("chosen"), run.mass("rejected")])[:, :, 0]
    displaced = (masses[:, :, -1] < masses[:, :, 0]).all(axis=0).mean(axis=-1)
    assert displaced[0] > 0.25 and displaced[1] < displaced[0] / 2
    drift = np.abs(masses.sum(axis=0)[:, -1] - masses.sum(axis=0)[:, 0]).mean(axis=-1)
    assert drift[1] < drift[0] / 3  # the mass of the pair
