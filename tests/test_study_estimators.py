"""Autoregressive policies, and the estimators of EXPO's regulariser: bias, variance, and the optima that they have."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, xlogy

from expo_analysis import DPO, EXPO, Bandit, solve
from expo_analysis.figures import faults
from expo_analysis.simulators import SGD, Adam, NGram, Pairs, Tabular, Training, Transformer, draw_pairs, train
from expo_analysis.simulators.autoregressive import Autoregressive
from expo_analysis.studies import STUDIES
from expo_analysis.studies.estimators.numbers import (
    ESTIMATORS,
    LAM,
    LENGTH,
    VOCABULARY,
    bias_and_variance,
    converged,
    designs,
    imbalance,
    masses,
    moments,
    optimum,
    paths,
    statistics,
    table,
    world,
)

from .other_processor import half_a_unit

Floats = NDArray[np.float64]


def random_policy(seed: int, n: int, prompts: int = 1, spread: float = 1.0) -> Floats:
    policy = np.exp(spread * np.random.default_rng(seed).normal(size=(prompts, n)))
    return policy / policy.sum(axis=1, keepdims=True)


def kl(p: Floats, q: Floats) -> Floats:
    return (xlogy(p, p) - xlogy(p, q)).sum(axis=-1)


def moved(model: Autoregressive, seed: int, size: float = 0.5) -> torch.Tensor:
    """Parameters away from the start."""
    start = model.start()
    return start + size * torch.from_numpy(np.random.default_rng(seed).normal(size=len(start)))


MODELS = (
    NGram(3, 3, prompts=2),
    NGram(3, 4, order=2, initial_policy=random_policy(0, 81)),
    NGram(2, 1),
    Transformer(3, 3, prompts=2, seed=1),
    Transformer(2, 4, width=8, heads=1, layers=2, seed=2),
)


@pytest.fixture(params=MODELS, ids=lambda model: f"{type(model).__name__}-{model.vocabulary}-{model.length}")
def model(request: pytest.FixtureRequest) -> Autoregressive:
    return request.param


# --- policies over sequences ------------------------------------------------------------------------------------------


def test_probabilities_of_all_sequences_sum_to_one(model: Autoregressive) -> None:
    policy = torch.exp(model.log_policy(torch.stack([moved(model, seed, 1.5) for seed in range(3)])))
    assert policy.shape == (3, model.prompts, model.vocabulary**model.length)
    assert abs(policy.sum(dim=-1) - 1).max() < 1e-12
    assert policy.std() > 0.01  # and it is no uniform distribution


def test_a_token_depends_on_what_stands_before_it_only(model: Autoregressive) -> None:
    """By the marginals of prefixes, which a model that looked ahead would not reproduce."""
    theta = moved(model, 3)
    policy = model.log_policy(theta).exp()
    every = torch.arange(model.prompts * model.n)
    taken = model.token_logp(theta, every).gather(
        -1, torch.from_numpy(np.tile(model.sequences, (model.prompts, 1)))[..., None]
    )
    upto = taken[..., 0].cumsum(dim=-1).exp()
    for t in range(model.length):
        prefix = policy.reshape(model.prompts, model.vocabulary ** (t + 1), -1).sum(dim=-1)
        expected = prefix.repeat_interleave(model.vocabulary ** (model.length - t - 1), dim=-1).reshape(-1)
        assert abs(upto[:, t] - expected).max() < 1e-12


def test_prompts_and_settings_do_not_mix() -> None:
    model = Transformer(3, 2, prompts=3, seed=4)
    rows = torch.stack([moved(model, seed) for seed in range(4)]).unflatten(0, (2, 2))
    together = model.log_policy(rows)
    for at in np.ndindex(2, 2):
        assert abs(together[at] - model.log_policy(rows[at])).max() < 1e-12
    assert abs(together[0, 0, 0] - together[0, 0, 1]).max() > 0.01


def test_an_ngram_keeps_the_conditionals_of_its_order() -> None:
    policy = random_policy(1, 27, prompts=2)
    assert abs(NGram(3, 3, 2, initial_policy=policy).initial() - policy).max() < 1e-14
    unigram = NGram(3, 3, 2, order=1, initial_policy=policy).initial().reshape(2, 3, 3, 3)
    tokens = np.indices((3, 3, 3))
    for x in range(2):
        share = np.array([(policy[x].reshape(3, 3, 3) * (tokens == v).sum(axis=0)).sum() / 3 for v in range(3)])
        assert np.allclose(unigram[x], share[:, None, None] * share[:, None] * share, rtol=0, atol=1e-14)


@pytest.mark.parametrize("wrong", [np.full(27, 0.05), np.r_[0.0, np.full(26, 1 / 26)], np.full(9, 1 / 9)])
def test_an_ngram_refuses_what_is_no_policy(wrong: Floats) -> None:
    with pytest.raises(ValueError, match="initial_policy"):
        NGram(3, 3, initial_policy=wrong)


@pytest.mark.parametrize("wrong", [{"heads": 0}, {"width": 3.0}, {"layers": 0}, {"heads": 3}, {"sharpness": 0.0}])
def test_a_transformer_refuses_what_it_cannot_build(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Transformer(3, 2, **wrong)


# --- the chain rule ---------------------------------------------------------------------------------------------------


def test_the_kl_is_the_expected_token_kl_along_the_reference(model: Autoregressive) -> None:
    """KL(pi_ref || pi) = E_{y ~ pi_ref} sum_t KL(pi_ref(.|y_<t) || pi(.|y_<t)), by enumeration, for any pi_ref."""
    for seed in range(3):
        theta = moved(model, seed)
        reference = random_policy(10 + seed, model.n, model.prompts, 2.0)
        conditionals = model.conditionals(torch.from_numpy(np.log(reference)))
        every = torch.arange(model.prompts * model.n)
        logp, along = model.log_probs_and_kl(theta, conditionals, every)
        expected = (reference * along.numpy().reshape(reference.shape)).sum(axis=1)
        policy = model.log_policy(theta).exp().numpy()
        assert np.abs(expected - kl(reference, policy)).max() < 1e-10
        assert abs(logp.exp().numpy().reshape(policy.shape) - policy).max() < 1e-14
        assert along.min() > -1e-12


def test_conditionals_are_those_of_the_model_itself(model: Autoregressive) -> None:
    theta = moved(model, 5)
    _, own = model.log_probs_and_kl(theta, model.conditionals(model.log_policy(theta)), torch.arange(model.n))
    assert abs(own).max() < 1e-12


# --- unbiased where they should be ------------------------------------------------------------------------------------


def kept_marginal(marginal: Floats) -> Floats:
    """A pair distribution a_i a_j, i != j, whose responses have a given distribution (none above 1/2)."""
    a = marginal.copy()
    for _ in range(2000):
        a *= marginal / (a * (a.sum() - a))
        a /= np.sqrt((a * (a.sum() - a)).sum())
    pairs = np.outer(a, a) * (1 - np.eye(len(a)))
    assert np.abs(pairs.sum(axis=1) - marginal).max() < 1e-12
    return pairs


@pytest.mark.parametrize(
    ("name", "pairs", "unbiased"),
    [
        ("reference_samples", "uniform", True),
        ("token_kl", "uniform", True),
        ("own_responses", "kept", True),
        ("token_kl_own", "kept", True),
        ("own_responses", "uniform", False),
        ("token_kl_own", "uniform", False),
        ("own_responses", "reference", False),
    ],
)
@pytest.mark.slow
def test_a_step_of_training_moves_by_the_right_gradient_on_average(name: str, pairs: str, unbiased: bool) -> None:
    """Many data sets of one pair, one small step of SGD on each: its mean against that with the exact regulariser."""
    sets, lr, lam = 4000, 1e-6, 10.0
    reference = random_policy(1, 4, prompts=2, spread=0.6)
    q: Any = np.stack([kept_marginal(row) for row in reference]) if pairs == "kept" else pairs
    bandit = Bandit(reference, random_policy(2, 4, prompts=2), pairs=q)
    model = NGram(2, 2, prompts=2, initial_policy=random_policy(3, 4, prompts=2))  # it does not start at pi_ref
    data = draw_pairs(bandit, 1, sets, seed=4)

    def moves(how: dict[str, Any]) -> Floats:
        run = train(EXPO(lam), model, data, Training(SGD(lr), epochs=1, batch=1, records=2, **how))
        return (run.log_final[0] - np.log(model.initial())).reshape(sets, -1) / (lr * lam)

    difference = moves(ESTIMATORS[name]) - moves(ESTIMATORS["exact"])
    z = difference.mean(axis=0) / (difference.std(axis=0, ddof=1) / np.sqrt(sets))
    assert (np.abs(z).max() < 4.0) == unbiased, z  # 8 numbers: one in 2,000 seeds is beyond 4 by chance
    assert np.abs(z).max() < 4.0 or np.abs(z).max() > 6.0


def test_moments_are_sums_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    joint = rng.random((5, 5))
    joint = (joint + joint.T) / (joint + joint.T).sum()
    s = rng.normal(size=(5, 3))
    both = (s[:, None] + s) / 2
    mean = np.einsum("ij,ijd->d", joint, both)
    found, variance = moments(s, joint)
    assert np.allclose(found, mean, rtol=0, atol=1e-14)
    assert variance == pytest.approx(np.einsum("ij,ijd->", joint, (both - mean) ** 2), abs=1e-14)


@pytest.fixture(scope="module")
def biases() -> pd.DataFrame:
    return bias_and_variance(world()[1], 4000).set_index(["estimator", "design", "policy", "quantity"]).sort_index()


def test_biases_in_the_table(biases: pd.DataFrame) -> None:
    for name in ("reference_samples", "token_kl"):
        assert biases.loc[name, "bias"].max() < 1e-14
    # throwing equal pairs away is a small bias, comparing a part of the sequences a large one
    small = biases.loc[("own_responses", "reference"), "bias"]
    large = biases.loc[("own_responses", "part"), "bias"]
    assert small.min() > 1e-3
    assert (large > 5 * small).all()
    assert (biases.loc[("token_kl_own", "part", "reference"), ["bias", "sd"]] < 1e-14).all(axis=None)
    assert biases.loc[("token_kl_own", "part", "trained"), "bias"].min() > 1e-3


def test_drawn_pairs_agree_with_the_table(biases: pd.DataFrame) -> None:
    noisy = biases[biases["sd_along"] > 1e-9]
    error = (noisy["drawn_high"] - noisy["drawn_low"]) / (2 * 1.96)
    assert len(noisy) == 15
    assert (np.abs(noisy["drawn"] - noisy["expectation"]) < 4 * error).all()
    assert np.allclose(error * np.sqrt(4000), noisy["sd_along"], rtol=0.1)


def test_the_bias_of_thrown_away_pairs_is_that_of_the_marginal() -> None:
    """Responses of pairs drawn from pi_ref, equal ones again, are distributed in proportion to pi_ref (1 - pi_ref)."""
    bandit = world()[1]
    marginal = bandit.reference * (1 - bandit.reference)
    marginal /= marginal.sum()
    assert np.allclose(bandit.pairs.sum(axis=1), marginal, rtol=0, atol=1e-15)
    policy = solve(EXPO(LAM), bandit).policy
    model = table(policy)
    gradient = statistics(model, model.start(), bandit.reference)["likelihood"][1]
    bias = np.linalg.norm(marginal @ gradient - bandit.reference @ gradient)
    found = bias_and_variance(bandit, 10).set_index(["estimator", "design", "policy", "quantity"])
    assert bias == pytest.approx(found.loc[("own_responses", "reference", "trained", "gradient"), "bias"], rel=1e-10)


# --- variance: what Rao-Blackwell gives, and what it does not ---------------------------------------------------------


def variances(model: Autoregressive, reference: Floats, theta: torch.Tensor | None = None) -> dict[str, Floats]:
    """Of one sample: value and gradient of log(pi_ref/pi) and of the token KL, over pi_ref."""
    found = statistics(model, model.start() if theta is None else theta, reference)
    found["likelihood"] = (found["likelihood"][0] + np.log(reference), found["likelihood"][1])

    def variance(s: Floats) -> Floats:
        return np.asarray(reference @ (s - reference @ s) ** 2)

    return {f"{name} {what}": variance(s) for name, both in found.items() for what, s in zip("vg", both, strict=True)}


@pytest.mark.parametrize("seed", range(12))
def test_in_a_table_of_prefixes_no_coordinate_of_the_gradient_gets_noisier(seed: int) -> None:
    vocabulary, length = [(3, 3), (2, 4), (4, 2)][seed % 3]
    n = vocabulary**length
    reference, policy = random_policy(seed, n, spread=2.0)[0], random_policy(seed + 100, n, spread=2.0)[0]
    if seed > 5:  # where the value is worst: all mass that moves goes to one sequence
        policy = (reference + policy.max() * np.eye(n)[reference.argmin()]) / (1 + policy.max())
    found = variances(NGram(vocabulary, length, initial_policy=policy), reference)
    assert (found["token_kl g"] <= found["likelihood g"] + 1e-15).all()
    assert found["likelihood g"].sum() > 1e-3


def test_the_value_can_get_noisier() -> None:
    """Half the mass goes to the sequence 10: log(pi_ref/pi) is log 2 on the others; the token KL depends on y_1."""
    reference = np.array([0.25, 0.25, 0.001, 0.499])
    policy = (reference + np.eye(4)[2]) / 2
    found = variances(NGram(2, 2, initial_policy=policy), reference)
    q = policy[2] / policy[2:].sum()
    second = 0.002 * np.log(0.002 / q) + 0.998 * np.log(0.998 / (1 - q))  # after 1; after 0 it is 0
    assert found["token_kl v"] == pytest.approx(second**2 / 4, rel=1e-12)
    ratio = np.array([np.log(2), np.log(0.001 / policy[2])])
    assert found["likelihood v"] == pytest.approx(0.999 * 0.001 * (ratio[0] - ratio[1]) ** 2, rel=1e-12)
    assert found["token_kl v"] > 2 * found["likelihood v"]


def test_the_gradient_can_get_noisier_with_shared_parameters() -> None:
    """A Markov chain over two tokens that pi_ref leaves at once and pi keeps returning to."""

    def chain(stay: float) -> Floats:
        start, step = np.array([0.999, 0.001]), np.array([[stay, 1 - stay], [0.01, 0.99]])
        return np.asarray((start[:, None, None] * step[:, :, None] * step[None]).reshape(-1))

    reference = chain(0.05)
    shared = variances(NGram(2, 3, order=2, initial_policy=chain(0.9)), reference)
    assert shared["token_kl g"].sum() > 2 * shared["likelihood g"].sum()
    apart = variances(NGram(2, 3, initial_policy=chain(0.9)), reference)  # the same policies, a row for every prefix
    assert (apart["token_kl g"] <= apart["likelihood g"] + 1e-15).all()


def test_near_the_reference_the_token_kl_is_of_a_smaller_order() -> None:
    model, bandit = world()
    direction = moved(model, 1, 1.0) - model.start()
    rows = [variances(model, bandit.reference, model.start() + step * direction) for step in (1e-3, 1e-2)]
    value, gradient = (
        [float((r[f"token_kl {x}"].sum() / r[f"likelihood {x}"].sum()) ** 0.5) for r in rows] for x in "vg"
    )
    for near, far in (value, gradient):
        assert far / near == pytest.approx(10, rel=0.15)  # sd in proportion to the step: one order less
        assert far < 0.05


def test_paths_show_both_sides() -> None:
    frame = paths(*world()).set_index("path")
    assert frame.loc["one_sequence", "value"].max() > 2
    assert frame.loc["optimal", "value"].max() < 1
    assert frame.drop(index="weights")["gradient"].max() < 1


# --- the optima that they really have ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "reached"), [(3, True), (1, False)])
def test_the_autoregressive_optimum_is_the_tabular_one_if_the_model_can_express_it(order: int, reached: bool) -> None:
    bandit = Bandit(random_policy(1, 8)[0], random_policy(2, 8)[0], pairs="reference")
    exact = solve(EXPO(0.5), bandit)
    model = NGram(2, 3, order=order, initial_policy=bandit.reference)
    run = train(EXPO(0.5), model, bandit, Training(Adam(0.1), epochs=800, schedule="cosine", records=2))
    gap = np.abs(run.final[0, 0, 0] - exact.policy).max()
    assert gap < 1e-10 if reached else gap > 0.01
    assert run.values[0, 0, -1] >= exact.value - 1e-12
    assert (run.values[0, 0, -1] < exact.value + 1e-10) == reached


def test_a_transformer_reaches_the_tabular_optimum() -> None:
    model = Transformer(2, 3, width=16, sharpness=2.0, seed=1)
    bandit = Bandit(model.initial()[0], random_policy(2, 8)[0], pairs="reference")
    exact = solve(EXPO(0.5), bandit).policy
    run = train(EXPO(0.5), model, bandit, Training(Adam(5e-3), epochs=800, schedule="cosine", records=2))
    assert np.abs(model.initial()[0] - exact).max() > 0.05
    assert np.abs(run.final[0, 0, 0] - exact).max() < 1e-5


def test_own_responses_lead_to_expo_towards_their_own_distribution() -> None:
    bandit = world()[1]
    goal = optimum("own_responses", bandit)[0]
    assert np.abs(goal - converged("own_responses", bandit)[0]).max() < 1e-9
    assert 1e-3 < np.abs(goal - solve(EXPO(LAM), bandit).policy).sum() / 2 < 0.01
    part = designs(bandit)["part"]
    goal, end = optimum("own_responses", part)[0], converged("own_responses", part)[0]
    seen = part.pairs.sum(axis=1) > 0
    assert (goal[~seen] == 0).all()
    assert end[~seen].sum() < 2e-3 < 0.5 < part.reference[~seen].sum()
    assert np.abs(goal - end)[seen].max() < 1e-3


def conditional_risk(theta: Floats, bandit: Bandit, lam: float) -> tuple[float, Floats]:
    """EXPO with the token KL along own responses, from the definition, in logits of every prefix's next tokens."""
    sizes = [VOCABULARY**t for t in range(LENGTH)]
    parameters = torch.from_numpy(theta).requires_grad_()
    log_policy, risk = torch.zeros(1, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    reference, marginal = bandit.reference, bandit.pairs.sum(axis=1)
    for size, part in zip(sizes, parameters.split([VOCABULARY * size for size in sizes]), strict=True):
        logp = part.reshape(size, VOCABULARY).log_softmax(dim=-1)
        mass = reference.reshape(size, VOCABULARY, -1).sum(axis=2)
        kept = torch.from_numpy(mass / mass.sum(axis=1, keepdims=True))
        weight = torch.from_numpy(marginal.reshape(size, -1).sum(axis=1))
        risk = risk + lam * (weight * (kept * (kept.log() - logp)).sum(dim=1)).sum()
        log_policy = (log_policy[:, None] + logp).reshape(-1)
    h = log_policy[:, None] - log_policy
    total = risk + (torch.from_numpy(bandit.wins) * torch.nn.functional.softplus(-h)).sum()
    (gradient,) = torch.autograd.grad(total, parameters)
    return total.item(), gradient.numpy()


def policy_of(theta: Floats) -> Floats:
    log_policy, at = np.zeros(1), 0
    for t in range(LENGTH):
        size = VOCABULARY**t
        logp = log_softmax(theta[at : at + VOCABULARY * size].reshape(size, VOCABULARY), axis=1)
        log_policy, at = (log_policy[:, None] + logp).reshape(-1), at + VOCABULARY * size
    return np.exp(log_policy)


def test_the_token_kl_along_own_responses_has_the_optimum_it_is_said_to_have() -> None:
    """Against BFGS on the definition from several starts; and the factors of tokens never seen."""
    bandit = designs(world()[1])["part"]
    goal = optimum("token_kl_own", bandit)[0]
    seen = bandit.pairs.sum(axis=1) > 0
    size = VOCABULARY * (VOCABULARY**LENGTH - 1) // (VOCABULARY - 1)
    for seed in range(4):
        start = np.random.default_rng(seed).normal(size=size)
        found = minimize(conditional_risk, start, (bandit, LAM), jac=True, method="BFGS", options={"gtol": 1e-9})
        policy = policy_of(found.x)
        assert np.abs(found.jac).max() < 1e-6
        assert np.abs((policy - goal)[seen]).max() < 1e-5  # elsewhere it is free below prefixes that are never seen
    assert imbalance(goal, bandit) < 1e-9
    assert imbalance(solve(EXPO(LAM), bandit).policy, bandit) > 1e-3  # which is not EXPO's optimum

    def prefix(y: Floats, t: int) -> Floats:
        return y.reshape(VOCABULARY**t, -1).sum(axis=1)

    factors = 0
    for t in range(LENGTH):
        m, own, kept = (prefix(y, t) for y in (bandit.pairs.sum(axis=1), goal, bandit.reference))
        seen_next, own_next, kept_next = (
            prefix(y, t + 1).reshape(-1, VOCABULARY) for y in (seen, goal, bandit.reference)
        )
        ratio = (own_next / own[:, None]) / (kept_next / kept[:, None])
        for c in np.flatnonzero(m > 0):
            never = ratio[c][seen_next[c] == 0]
            if never.size:
                factors += 1
                assert np.ptp(never) < 1e-8  # one factor for all that was never seen after c
                assert t > 0 or np.abs(never - 1).max() < 1e-8
        assert np.abs(ratio[m == 0] - 1).max(initial=0) < 1e-12  # nothing moves below prefixes that are never seen
    assert factors > 2


def test_it_lets_compared_responses_lose_mass_and_expo_does_not() -> None:
    bandit = designs(world()[1])["part"]
    before = masses(bandit.reference, bandit.wins)["unseen"]
    after = {name: masses(optimum(name, bandit)[0], bandit.wins)["unseen"] for name in ("exact", "token_kl_own")}
    assert after["exact"] == pytest.approx(before, abs=1e-12)
    assert after["token_kl_own"] > before + 0.02


def test_with_the_reference_for_marginal_both_have_expos_optimum() -> None:
    bandit = world()[1]
    kept = Bandit(bandit.reference, bandit.optimal, pairs=kept_marginal(bandit.reference))
    exact = solve(EXPO(LAM), kept).policy
    assert imbalance(exact, kept) < 1e-9
    for name in ("own_responses", "token_kl_own"):
        assert np.abs(optimum(name, kept)[0] - exact).max() < 1e-8


def test_the_token_kl_preserves_whatever_its_prefixes_and_the_likelihood_does_not() -> None:
    bandit = designs(world()[1])["part"]
    good = Bandit(bandit.reference, bandit.reference, pairs=bandit.pairs)
    assert np.abs(optimum("token_kl_own", good)[0] - good.reference).max() < 1e-10
    assert np.abs(optimum("own_responses", good)[0] - good.reference).sum() / 2 > 0.3


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_minibatches_end_at_the_optimum_of_their_estimator(name: str) -> None:
    """And not at that of another, on each of several data sets."""
    bandit = world()[1]
    pairs = draw_pairs(bandit, 20, 4, seed=1, design="reference")
    goals = optimum(name, pairs)
    training = Training(Adam(0.02), epochs=300, batch=10, schedule="linear", records=2, **ESTIMATORS[name])
    ends = train(EXPO(LAM), table(bandit.reference), pairs, training).final[0, :, 0]
    wrong = optimum("own_responses" if name != "own_responses" else "exact", pairs)
    assert np.abs(ends - goals).sum(axis=1).max() / 2 < 0.04
    assert np.abs(ends - wrong).sum(axis=1).min() / 2 > 0.08


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"estimator": "mine"}, "estimator"),
        ({"estimator": "token_kl"}, "batch"),
        ({"estimator": "reference_samples"}, "batch"),
        ({"samples": 2}, "samples"),
        ({"estimator": "own_responses", "samples": 2}, "samples"),
        ({"estimator": "token_kl", "prefixes": "own_responses", "samples": 2}, "samples"),
        ({"estimator": "reference_samples", "batch": 5, "samples": 0}, "samples"),
        ({"prefixes": "own_responses"}, "prefixes"),
        ({"estimator": "token_kl", "prefixes": "mine"}, "prefixes"),
    ],
)
def test_settings_that_would_not_be_used_are_refused(how: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} "):
        Training(**how)


def test_estimators_are_refused_where_they_estimate_nothing() -> None:
    bandit = world()[1]
    own = Training(estimator="own_responses", epochs=1)
    with pytest.raises(ValueError, match="estimator"):
        train(DPO(1.0), table(bandit.reference), bandit, own)
    tokens = dataclasses.replace(own, estimator="token_kl", prefixes="own_responses")
    with pytest.raises(TypeError, match="token_kl"):
        train(EXPO(1.0), Tabular(bandit.reference), bandit, tokens)


def test_full_gradients_of_all_pairs_equal_one_batch_of_them() -> None:
    bandit = world()[1]
    pairs = draw_pairs(bandit, 12, 3, seed=2)
    for name in ("own_responses", "token_kl_own"):
        one, whole = (
            train(
                EXPO(LAM),
                table(bandit.reference),
                pairs,
                Training(Adam(0.1), epochs=20, batch=batch, shuffle=False, records=2, **ESTIMATORS[name]),
            )
            for batch in (12, None)
        )
        assert np.abs(one.final - whole.final).max() < 1e-12
        assert np.abs(one.final - bandit.reference).max() > 0.05


def test_samples_of_the_reference_have_its_distribution() -> None:
    """One step of SGD with the likelihood of samples moves by their counts, from which those are read off."""
    reference = random_policy(5, 9, prompts=2)
    prompt = np.repeat([0, 1], 10_000)
    pairs = Pairs(reference, np.zeros_like(prompt), np.ones_like(prompt), prompt)
    lam, lr = 1e3, 1e-9
    for how in ({"estimator": "reference_samples"}, {"estimator": "reference_samples", "samples": 3}):
        run = train(EXPO(lam), Tabular(np.full((2, 9), 1 / 9)), pairs, Training(SGD(lr), epochs=1, batch=20_000, **how))
        moved = np.exp(run.log_final[0, 0]) * 9 - 1  # lr lam (share of the samples / 2 - 1 / 18), up to preferences
        share = 2 * (moved / (lr * lam) + 1 / 18)
        error = np.sqrt(reference * (1 - reference) / (10_000 * how.get("samples", 1)))
        assert (np.abs(share - reference)[:, 2:] < 4.5 * error[:, 2:] + 1e-3).all()
        assert (np.abs(share - 1 / 9) > 0.02).any()


# --- the experiment ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_experiment_says_what_its_tables_hold() -> None:
    done: list[float] = []
    tables = STUDIES["estimators"].run(progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)
    steps, optima = tables["estimators_steps"], tables["estimators_optima"]
    assert set(steps["estimator"]) == set(ESTIMATORS)
    assert np.allclose(steps[["chosen", "rejected", "unseen"]].sum(axis=1), 1, rtol=0, atol=3.01 * half_a_unit(steps))
    last = steps[steps["step"] == steps.groupby("world")["step"].transform("max")]
    distance = last.groupby(["world", "estimator"])["distance"].mean()
    assert distance["table"].max() < 0.04
    assert distance["transformer"].max() < 0.15
    assert distance["table", "token_kl"] < distance["table", "reference_samples"] / 2  # less noise
    drawn = optima[optima["data"] == "pairs"].set_index("estimator")
    assert (drawn.loc["own_responses", "unseen"] == 0).all()
    assert np.allclose(drawn.loc["exact", "unseen"], drawn.loc["exact", "unseen_reference"], rtol=0, atol=1e-9)
    assert np.abs(drawn.loc["token_kl_own", "unseen"] - drawn.loc["token_kl_own", "unseen_reference"]).min() > 1e-3
    result = STUDIES["estimators"].show(tables)
    assert "nan" not in result.text
    # another world would be told of in other words
    other = dict(tables)
    other["estimators_optima"] = optima.assign(unseen=0.123)
    assert STUDIES["estimators"].say(other, result.figures) != result.text
    assert all(faults(figure) == [] for figure in result.figures.values())
