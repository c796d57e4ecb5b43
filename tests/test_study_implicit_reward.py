"""The experiment on implicit rewards: the identity by other means, accuracies by loops, and what tokens change."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

import expo_analysis as ea
from expo_analysis.accuracy import reward_accuracy
from expo_analysis.studies import STUDIES

experiment: Any = import_module("expo_analysis.studies.implicit_reward.numbers")


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, Any]]:
    return {reward: experiment.worlds(6, reward) for reward in experiment.REWARDS}


def differences(training: Any, data: Any, world: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every comparison of a world: phi_w - phi_l, log pi_ref,w/pi_ref,l, and its share."""
    counts = data.counts.reshape(*training.reward.shape, experiment.N)[world]
    x, i, j = np.nonzero(counts)
    phi, log_reference = training.features[world], training.log_reference[world]
    return phi[x, i] - phi[x, j], log_reference[x, i] - log_reference[x, j], counts[x, i, j] / counts.sum()


def fit(psi: Any, size: int) -> np.ndarray:
    found = minimize(psi, np.zeros(size), method="BFGS", options={"gtol": 1e-9})
    return np.asarray(found.x)


def test_the_reward_model_and_dpo_by_another_optimiser(drawn: dict[str, Any]) -> None:
    """Both from their own definitions, and the weight decay that makes them one: c for DPO, c/beta^2 for the other."""
    training = drawn["quadratic"]["training"]
    data = experiment.draw_counts(training, 200)
    for decay, beta in ((0.0, 0.5), (0.02, 0.5), (0.02, 3.0)):
        explicit = experiment.fitted_reward(training, data, decay / beta**2)
        dpo = ea.optima.restricted_optima(ea.DPO(beta), data, training.features, decay)
        np.testing.assert_allclose(beta * dpo.weights, explicit, atol=1e-9)
        d, _, share = differences(training, data, 3)

        def likelihood(
            w: np.ndarray, d: np.ndarray = d, share: np.ndarray = share, c: float = decay / beta**2
        ) -> float:
            return float(share @ np.logaddexp(0, -d @ w) + c / 2 * w @ w)

        np.testing.assert_allclose(explicit[3], fit(likelihood, experiment.D), atol=1e-5)


def test_other_losses_by_another_optimiser(drawn: dict[str, Any]) -> None:
    training = drawn["linear"]["training"]
    data = experiment.draw_counts(training, 200)
    explicit = experiment.fitted_reward(training, data)
    d, ref, share = differences(training, data, 2)
    ipo = np.linalg.lstsq(np.sqrt(share)[:, None] * d, np.sqrt(share) * 0.5 / 0.1, rcond=None)[0]
    np.testing.assert_allclose(experiment.fitted(ea.IPO(0.1), training, data, explicit).weights[2], ipo, atol=1e-8)

    def simpo(w: np.ndarray) -> float:
        return float(share @ np.logaddexp(0, 0.5 - 0.3 * (ref + d @ w)))

    def smoothed(w: np.ndarray) -> float:
        m = 0.3 * d @ w
        return float(share @ (0.9 * np.logaddexp(0, -m) + 0.1 * np.logaddexp(0, m)))

    def expo(w: np.ndarray) -> float:
        """Every prompt counts as its comparisons do, in the regulariser as well."""
        logits = training.log_reference[2] + training.features[2] @ w
        log_policy = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        prompts = data.counts.reshape(6, -1, 16)[2].sum(axis=1) / 200
        held = prompts @ -(np.exp(training.log_reference[2]) * log_policy).sum(axis=1)
        return float(share @ np.logaddexp(0, -(ref + d @ w)) + 0.3 * held)

    for loss, objective in (
        (ea.SimPO(0.3), simpo),
        (experiment.made("conservative_dpo", 0.3), smoothed),
        (ea.EXPO(0.3), expo),
    ):
        found = experiment.fitted(loss, training, data, explicit).weights[2]
        np.testing.assert_allclose(found, fit(objective, experiment.D), atol=2e-5 * max(1, np.abs(found).max()))


def test_searches_from_the_reward_model_reach_what_many_starts_reach(drawn: dict[str, Any]) -> None:
    training = drawn["linear"]["training"].first(2)
    data = experiment.draw_counts(training, 400)
    explicit = experiment.fitted_reward(training, data)
    rng = np.random.default_rng(0)
    for name in ("fdpo", "chi_po", "spo", "sppo"):
        loss = ea.objective(name, 1.0)
        found = experiment.fitted(loss, training, data, explicit)
        starts = [explicit + 3 * rng.standard_normal(explicit.shape) for _ in range(6)]
        other = ea.optima.restricted_optima(loss, data, training.features, starts=starts)
        assert (found.total <= other.total + 1e-9).all(), name


@pytest.mark.parametrize("reward", ["linear", "quadratic"])
def test_worlds_are_what_they_are_said_to_be(reward: str, drawn: dict[str, Any]) -> None:
    found = drawn[reward]
    spread = {name: found[name].features.std(axis=2, ddof=1).mean(axis=(0, 1)) for name in found}
    np.testing.assert_allclose(spread["training"], spread["none"], rtol=0.1)
    assert spread["none"][0] > 4 * spread["none"][-1] and spread["prompts"][-1] > spread["none"][-1] * 3
    assert spread["responses"][-1] > 2 * spread["none"][-1]
    r = found["training"].reward
    gaps = r[..., :, None] - r[..., None, :]
    i, j = np.triu_indices(experiment.N, 1)
    np.testing.assert_allclose(np.sqrt((gaps[..., i, j] ** 2).mean(axis=(1, 2))), experiment.MARGIN, rtol=1e-10)
    for name, one in found.items():  # what least squares on the features leaves of the reward
        x, y = (a - a.mean(axis=2, keepdims=True) for a in (one.features, one.reward))
        each = zip(x.reshape(6, -1, experiment.D), y.reshape(6, -1), strict=True)
        share = np.array([np.linalg.lstsq(a, b, rcond=None)[1][0] / (b**2).sum() for a, b in each])
        assert (share < 1e-20).all() if reward == "linear" else (share > 0.02).all()
        assert reward == "linear" or name != "training" or share.mean() > 0.25
    same = experiment.draw_counts(found["training"].first(2), 100).counts
    np.testing.assert_array_equal(experiment.draw_counts(found["training"], 100).counts[: len(same)], same)
    assert same.sum() == 200


def test_accuracies_by_sampling_labels(drawn: dict[str, Any]) -> None:
    """What is exact here is the mean of what labels drawn by p* give."""
    one = experiment.Evaluation(drawn["linear"]["prompts"].first(1))
    rng = np.random.default_rng(0)
    w = rng.standard_normal((1, experiment.D))
    r, phi = one.prompts.reward[0], one.prompts.features[0]
    x, i, j = (rng.integers(0, k, 400_000) for k in (experiment.HELD_OUT, experiment.N, experiment.N))
    x, i, j = (k[i != j] for k in (x, i, j))
    won = rng.random(len(x)) < 1 / (1 + np.exp(r[x, j] - r[x, i]))
    right = ((phi[x, i] - phi[x, j]) @ w[0] > 0) == won
    error = 5 * right.std() / np.sqrt(len(x))
    assert one.explicit(w)[0] == pytest.approx(right.mean(), abs=error)
    assert one.implicit(w)[0] == one.explicit(w)[0]  # pi_ref exp(w . phi) implies w . phi

    scores = one.prompts.log_reference[0] + phi @ w[0]
    own = (scores[x, i] > scores[x, j]) == won
    assert one.implicit(w, relative=False)[0] == pytest.approx(own.mean(), abs=error)


def test_accuracies_of_all_worlds_are_those_of_each(drawn: dict[str, Any]) -> None:
    """By the package's own functions, a world at a time; equal rewards among them."""
    prompts = drawn["linear"]["prompts"].first(5)
    one = experiment.Evaluation(prompts)
    w = np.random.default_rng(1).standard_normal((4, experiment.D))
    logp = prompts.first(4).log_policy(w)
    tied = prompts.reward.round(0)
    for k in range(4):
        bandit = prompts.bandit(k)
        for relative in (True, False):
            expected = ea.implicit_reward_accuracy(logp[k], bandit, relative=relative)
            assert one.implicit(w, relative)[k] == pytest.approx(expected, abs=1e-14)
        assert one.rewards(tied)[k] == pytest.approx(reward_accuracy(tied[k], bandit), abs=1e-14)


def tokens() -> Any:
    return experiment.sequences(np.random.default_rng(1), 5, np.zeros(experiment.D))


def test_policies_over_tokens() -> None:
    """Normalised after every prefix, hence altogether; the gradient by differences; near pi_ref centred features."""
    own = tokens()
    w = np.random.default_rng(2).standard_normal(experiment.D)
    ratio, gradient = own.log_ratio(w)
    np.testing.assert_allclose(np.exp(own.log_reference + ratio).sum(axis=1), 1, rtol=1e-13)
    first = softmax(own.log_first + own.first @ w, axis=1)
    second = softmax(own.log_second + own.second @ w, axis=2)
    np.testing.assert_allclose(
        np.exp(own.log_reference + ratio), (first[..., None] * second).reshape(5, -1), rtol=1e-12
    )
    for k in range(experiment.D):
        step = 1e-6 * np.eye(experiment.D)[k]
        slope = (own.log_ratio(w + step)[0] - own.log_ratio(w - step)[0]) / 2e-6
        np.testing.assert_allclose(gradient[..., k], slope, atol=1e-7)
    np.testing.assert_allclose(own.log_ratio(1e-7 * w)[0] / 1e-7, own.centred @ w, atol=1e-5)
    reference = np.exp(own.log_reference)
    np.testing.assert_allclose(np.einsum("pn,pnd->pd", reference, own.centred), 0, atol=1e-13)
    assert np.abs(own.centred - own.features + own.features.mean(axis=1, keepdims=True)).max() > 0.1


def test_fits_over_tokens_are_stationary_and_no_higher_than_where_they_began() -> None:
    own = tokens()
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 3, (5, 9, 9)).astype(float)
    counts[:, np.arange(9), np.arange(9)] = 0

    def loss(w: np.ndarray) -> float:
        ratio = own.log_ratio(w)[0]
        margin = 2.0 * (ratio[:, :, None] - ratio[:, None, :])
        return float((counts * np.logaddexp(0, -margin)).sum() / counts.sum())

    start = rng.standard_normal(experiment.D)
    w = experiment.token_fit(own, counts, 2.0, [start, np.zeros(experiment.D)])
    assert loss(w) < min(loss(start), np.log(2))
    slopes = [(loss(w + e) - loss(w - e)) / 2e-5 for e in 1e-5 * np.eye(experiment.D)]
    np.testing.assert_allclose(slopes, 0, atol=1e-6)


@pytest.mark.slow
def test_tokens_put_each_reward_ahead_where_the_truth_is_its_own() -> None:
    table = experiment.tokens_table(8).set_index(["truth", "shift", "loss", "lam"])
    for shift in ("none", "prompts"):
        for lam in experiment.TOKEN_LAMS[1:]:
            assert table.loc[("explicit", shift, "dpo", lam), "gap_high"] < 0
            assert table.loc[("implicit", shift, "dpo", lam), "gap_low"] > 0
        for truth in experiment.CLASSES:
            assert table.loc[(truth, shift, "best", 1.0), "gap_low"] > 0


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "HELD_OUT", 60)
        return experiment.run(experiment.Settings(worlds=16))


@pytest.mark.slow
def test_tables(tables: dict[str, pd.DataFrame]) -> None:
    losses, sizes, decay, _ = tables.values()
    dpo = losses[losses["loss"] == "dpo"]
    assert len(dpo) == 12 and (dpo["largest_gap"] == 0).all()
    for _, own in losses[losses["worlds"] == 16].groupby(["reward", "shift"]):  # the same worlds
        best = own.loc[own["loss"] == "best", "accuracy"].item()
        assert len(own) > 20 and (own["accuracy"] <= best).all()
    same = losses[losses["loss"].isin(["dpo", "ipo", "conservative_dpo", "hinge", "sft"])]
    assert (same.groupby(["reward", "shift", "loss"])["accuracy"].agg(np.ptp) < 1e-3).all()  # lambda is a unit there
    linear = sizes[(sizes["reward"] == "linear") & (sizes["loss"] == "explicit") & (sizes["shift"] == "none")]
    assert linear["accuracy"].iloc[-1] > linear["accuracy"].iloc[0]
    held = decay.set_index(["reward", "shift", "loss", "lam", "decay"])["accuracy"].sort_index()
    ratio = experiment.DECAYS[1] / experiment.DECAYS[0]
    steps = round(np.log(100) / np.log(ratio))
    np.testing.assert_allclose(ratio**steps, 100)
    for (reward, shift), _ in decay.groupby(["reward", "shift"]):
        explicit, low, high = (
            held[reward, shift, *key].to_numpy() for key in (("explicit", 1.0), ("dpo", 0.1), ("dpo", 10.0))
        )
        np.testing.assert_allclose(low[:-steps], explicit[steps:], atol=1e-9)
        np.testing.assert_allclose(high[steps:], explicit[:-steps], atol=1e-9)


@pytest.mark.slow
def test_words_follow_the_tables(tables: dict[str, pd.DataFrame]) -> None:
    shown = STUDIES["implicit_reward"].show(tables)
    text = " ".join(shown.text.split())
    assert "nan" not in text and "**[paper]**" in text and "at any shift and λ, is 0." in text
    changed = {name: table.copy() for name, table in tables.items()}
    at = changed["implicit_reward"]
    at.loc[at["loss"] == "dpo", "largest_gap"] = 0.5
    at.loc[(at["loss"] == "nca") & (at["reward"] == "quadratic"), "gap_low"] = 0.1
    other = " ".join(STUDIES["implicit_reward"].say(changed, shown.figures).split())
    assert (
        "at any shift and λ, is 0.5." in other and "NCA" in other.split("by more than chance, are:")[1].split("With")[0]
    )
    assert [len(figure.axes) for figure in shown.figures.values()] == [2, 3, 1, 2]
