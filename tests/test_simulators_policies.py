"""Policies: what parameters mean, and what an autoregressive policy must keep to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import expo_analysis as ea
from expo_analysis.simulators import (
    Adam,
    LogLinear,
    NGram,
    Policy,
    PromptedTransformer,
    Tabular,
    Training,
    Transformer,
    fit_texts,
    train,
)
from expo_analysis.testing import strategies as own

RNG = np.random.default_rng(0)
POLICY = RNG.dirichlet(np.full(27, 2.0), 2)
SEQUENTIAL: dict[str, Any] = {
    "independent tokens": NGram(3, 3, 2, order=1, initial_policy=POLICY),
    "bigram": NGram(3, 3, 2, order=2, initial_policy=POLICY),
    "full order": NGram(3, 3, 2, initial_policy=POLICY),
    "transformer": Transformer(3, 3, 2, width=8, heads=2, layers=2, seed=1, sharpness=4.0),
}
EVERY: dict[str, Policy] = {
    **SEQUENTIAL,
    "tabular": Tabular(POLICY),
    "log-linear": LogLinear(POLICY, RNG.normal(size=(2, 27, 5))),
}
each = pytest.mark.parametrize("policy", EVERY.values(), ids=EVERY)
each_sequential = pytest.mark.parametrize("policy", SEQUENTIAL.values(), ids=SEQUENTIAL)


def parameters(policy: Policy, *lead: int, scale: float = 0.5) -> Tensor:
    start = policy.start()
    noise = torch.from_numpy(np.random.default_rng(3).normal(size=(*lead, len(start))))
    return start + scale * noise


@each
def test_log_policies_are_normalised(policy: Policy) -> None:
    log_policy = policy.log_policy(parameters(policy, 4, 3))
    assert log_policy.shape == (4, 3, policy.prompts, policy.n) and log_policy.dtype == torch.float64
    torch.testing.assert_close(log_policy.exp().sum(-1), torch.ones(4, 3, 2, dtype=torch.float64), rtol=0, atol=1e-12)


@each
def test_rows_of_parameters_are_policies_of_their_own(policy: Policy) -> None:
    rows = parameters(policy, 2, 3)
    together = policy.log_policy(rows)
    for k, s in itertools.product(range(2), range(3)):
        torch.testing.assert_close(together[k, s], policy.log_policy(rows[k, s]), rtol=0, atol=1e-12)


@each
def test_log_probs_of_some_are_taken_from_those_of_all(policy: Policy) -> None:
    rows = parameters(policy, 2, 3)
    response = torch.from_numpy(np.random.default_rng(1).integers(0, 54, size=(2, 3, 11)))
    every = policy.log_policy(rows).flatten(-2)
    torch.testing.assert_close(policy.log_probs(rows, response), every.gather(-1, response), rtol=0, atol=1e-12)


@each
def test_initial_is_the_policy_at_the_start(policy: Policy) -> None:
    assert policy.initial().shape == (2, 27)
    np.testing.assert_allclose(policy.initial(), policy.log_policy(policy.start()).exp(), rtol=1e-14)


@each
def test_gradients_are_those_of_finite_differences(policy: Policy) -> None:
    """Through `log_probs`, which training differentiates."""
    point, response = parameters(policy), torch.tensor([0, 5, 26, 30, 53])
    direction = torch.from_numpy(np.random.default_rng(2).normal(size=len(point)))
    slope = torch.func.jvp(lambda at: policy.log_probs(at, response), (point,), (direction,))[1]
    step = 1e-6
    ahead, behind = (policy.log_probs(point + sign * step * direction, response) for sign in (1, -1))
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------------------ tabular, log-linear


def test_tabular_starts_where_it_is_told() -> None:
    np.testing.assert_allclose(Tabular(POLICY).initial(), POLICY, rtol=1e-14)
    np.testing.assert_allclose(Tabular([0.25, 0.75]).initial(), [[0.25, 0.75]], rtol=1e-15)


def test_log_linear_is_its_formula() -> None:
    features, base = RNG.normal(size=(2, 4, 3)), RNG.dirichlet(np.ones(4), 2)
    w = np.array([0.3, -2.0, 1.0])
    expected = base * np.exp(features @ w)
    policy = LogLinear(base, features)
    found = policy.log_policy(torch.from_numpy(w)).exp().numpy()
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(policy.initial(), base, rtol=1e-14)
    one = LogLinear(base[0], features[0])
    np.testing.assert_allclose(one.log_policy(torch.from_numpy(w)).exp()[0], found[0], rtol=1e-13)


# ------------------------------------------------------------------------------------------------ autoregressive


@each_sequential
def test_sequences_are_numbered_in_lexicographic_order(policy: Any) -> None:
    listed = [tuple(row) for row in policy.sequences.tolist()]
    assert listed == list(itertools.product(range(3), repeat=3))
    torch.testing.assert_close(policy._tokens(torch.arange(54)), torch.tensor(2 * listed))


@each_sequential
def test_later_tokens_do_not_change_earlier_distributions(policy: Any) -> None:
    """Position t may see the tokens before t only; changing token t changes what follows (order permitting)."""
    point = parameters(policy)
    logp = policy.token_logp(point, torch.arange(54)).reshape(2, 3, 3, 3, 3, 3)  # prompt, tokens, position, V
    for prompt in range(2):
        first, second = logp[prompt, :, :, :, 0], logp[prompt, :, :, :, 1]
        torch.testing.assert_close(first, first[:1, :1, :1].expand(3, 3, 3, 3), rtol=0, atol=1e-13)
        torch.testing.assert_close(second, second[:, :1, :1].expand(3, 3, 3, 3), rtol=0, atol=1e-13)
        third = logp[prompt, :, :, :, 2]
        torch.testing.assert_close(third, third[:, :, :1].expand(3, 3, 3, 3), rtol=0, atol=1e-13)
        sees_last = float((third[0, 0, 0] - third[0, 1, 0]).abs().max()) > 1e-3
        sees_first = float((third[0, 0, 0] - third[1, 0, 0]).abs().max()) > 1e-3
        order = getattr(policy, "order", 3)
        assert (sees_last, sees_first) == (order >= 2, order >= 3)
    assert (logp[0] - logp[1]).abs().max() > 1e-3  # prompts differ


@each_sequential
def test_the_chain_rule_of_the_forward_kl(policy: Any) -> None:
    """KL(pi_ref || pi) = E_{y ~ pi_ref} sum_t KL(pi_ref(.|y_<t) || pi(.|y_<t)), by enumeration."""
    log_reference = torch.from_numpy(np.log(POLICY))
    point = parameters(policy, 2)
    every = torch.arange(54).expand(2, -1)
    logp, along = (
        found.unflatten(-1, (2, 27))
        for found in policy.log_probs_and_kl(point, policy.conditionals(log_reference), every)
    )
    torch.testing.assert_close(logp, policy.log_policy(point), rtol=0, atol=1e-14)
    assert (along > -1e-14).all()
    exact = (log_reference.exp() * (log_reference - policy.log_policy(point))).sum(-1)
    torch.testing.assert_close((log_reference.exp() * along).sum(-1), exact, rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(data=st.data())
def test_an_ngram_of_full_order_reaches_every_distribution(data: st.DataObject) -> None:
    vocabulary, length = data.draw(st.sampled_from([(2, 1), (2, 3), (3, 2), (5, 1), (2, 4)]))
    policy = np.stack([data.draw(own.policies(vocabulary**length)) for _ in range(2)])
    found = NGram(vocabulary, length, 2, initial_policy=policy).initial()
    np.testing.assert_allclose(found, policy, rtol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_a_lower_order_keeps_the_conditionals_of_its_runs(order: int) -> None:
    """The table holds P(token | run) with positions weighted as the policy visits them; at the start, exactly."""
    policy = NGram(3, 3, 2, order=order, initial_policy=POLICY)
    sequences = policy.sequences
    for prompt in range(2):
        logp = policy.token_logp(policy.start(), torch.arange(27) + 27 * prompt).exp().numpy()
        if order == 1:  # one row: frequencies of tokens over all positions
            share = np.array([(POLICY[prompt][:, None] * (sequences == v)).sum() / 3 for v in range(3)])
            np.testing.assert_allclose(logp, np.broadcast_to(share, logp.shape), rtol=1e-12)
            continue
        begin = np.array([POLICY[prompt][sequences[:, 0] == v].sum() for v in range(3)])
        np.testing.assert_allclose(logp[:, 0], np.broadcast_to(begin, (27, 3)), rtol=1e-12)
        moves = np.zeros((3, 3))
        for t in (1, 2):
            np.add.at(moves, (sequences[:, t - 1], sequences[:, t]), POLICY[prompt])
        moves /= moves.sum(axis=1, keepdims=True)
        for t in (1, 2):
            np.testing.assert_allclose(logp[:, t], moves[sequences[:, t - 1]], rtol=1e-12)


def test_without_a_policy_an_ngram_is_uniform() -> None:
    np.testing.assert_allclose(NGram(3, 2, order=1).initial(), np.full((1, 9), 1 / 9), rtol=1e-14)


def test_transformers() -> None:
    """Sharpness spreads them out, seeds make them differ, and the global random state is left alone."""
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    flat, one, same, other, sharp = (
        Transformer(4, 3, seed=seed, sharpness=sharpness).initial()[0]
        for seed, sharpness in ((0, 1e-3), (0, 1.0), (0, 1.0), (1, 1.0), (0, 8.0))
    )
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-4
    entropy = [-(p * np.log(p)).sum() for p in (flat, one, sharp)]
    assert entropy[0] > entropy[1] > entropy[2] + 0.1
    assert flat.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_trained_on_tokens_an_ngram_of_full_order_ends_at_the_tabular_optimum(lam: float) -> None:
    rng = np.random.default_rng(5)
    reference, optimal = rng.dirichlet(np.full(8, 3.0), (2, 1))
    bandit = ea.Bandit(reference, optimal)
    policy = NGram(2, 3, initial_policy=reference)
    setting = Training(Adam(0.05), epochs=1500, schedule="cosine", records=2)
    trained = train([ea.EXPO(lam), ea.IPO(lam)], policy, bandit, setting)
    for k, objective in enumerate((ea.EXPO(lam), ea.IPO(lam))):
        assert np.abs(trained.final[k, 0] - ea.solve(objective, bandit).policy).sum() < 1e-8


# ------------------------------------------------------------------------------------- prompts that are texts

TEXTS = np.array([[0, 2], [1, 2], [1, 3], [0, 3]])


def prompted(**changes: Any) -> PromptedTransformer:
    return PromptedTransformer(3, 3, TEXTS, 4, **{"width": 8, "seed": 1} | changes)


def test_the_tree_of_prefixes_gives_what_each_response_gives_by_itself() -> None:
    """The tree is masked and placed by hand: a node that sees a cousin, or stands elsewhere, changes its numbers."""
    model = prompted()
    rows = parameters(model, 2, scale=0.3)
    every = model.log_policy(rows)
    assert every.shape == (2, 4, 27) and every.dtype == torch.float64
    torch.testing.assert_close(every.exp().sum(-1), torch.ones(2, 4, dtype=torch.float64), rtol=0, atol=1e-12)
    for start in range(0, 108, 5):  # few at a time, so that `log_probs` takes them one by one
        response = torch.arange(start, min(start + 5, 108)).expand(2, -1)
        alone = model.log_probs(rows, response)
        torch.testing.assert_close(alone, every.flatten(-2).gather(-1, response), rtol=0, atol=2e-5)
    torch.testing.assert_close(model.log_policy(rows[1]), every[1], rtol=0, atol=2e-5)


def test_its_gradient_is_that_of_finite_differences_to_single_precision() -> None:
    model = prompted()
    point, response = parameters(model, scale=0.3), torch.tensor([0, 5, 26, 30, 100])
    direction = torch.from_numpy(np.random.default_rng(2).normal(size=len(point)))
    slope = torch.func.jvp(lambda at: model.log_probs(at, response), (point,), (direction,))[1]
    ahead, behind = (model.log_probs(point + sign * 1e-2 * direction, response) for sign in (1, -1))
    torch.testing.assert_close(slope, (ahead - behind) / 2e-2, rtol=2e-2, atol=2e-2)


def test_prompts_with_the_same_words_are_one_prompt_and_the_order_of_words_counts() -> None:
    model = PromptedTransformer(3, 2, [[0, 1], [1, 0], [0, 1]], 2, width=8)
    first, second, third = model.initial()
    np.testing.assert_array_equal(first, third)
    assert np.abs(first - second).max() > 1e-3


def test_token_wise_kl_from_itself_is_zero_and_from_another_that_of_the_enumeration() -> None:
    """E_ref of the token-wise KL along a response is KL(pi_ref || pi), by the chain rule."""
    model = prompted()
    reference, point = model.log_policy(model.start()), parameters(model, scale=0.3)
    table = model.conditionals(reference)
    for prompt in range(4):
        every = torch.arange(prompt * 27, prompt * 27 + 27)
        parts = [model.log_probs_and_kl(point, table, every[k : k + 9])[1] for k in (0, 9, 18)]
        own, other = reference[prompt], model.log_policy(point)[prompt]
        assert (own.exp() * torch.cat(parts)).sum() == pytest.approx(float((own.exp() * (own - other)).sum()), abs=1e-5)
        at_start = model.log_probs_and_kl(model.start(), table, every[:9])[1]
        assert at_start.abs().max() < 1e-5


def test_texts_are_learned_until_the_policy_is_their_distribution() -> None:
    truth = np.random.default_rng(4).dirichlet(np.full(27, 0.5), 4)
    model = prompted(width=16)

    def missing(weights: Tensor) -> float:
        log_policy = model.log_policy(weights).numpy()
        return float((truth * (np.log(truth) - log_policy)).sum(axis=1).mean())

    learned = fit_texts(model, truth, steps=400, batch=128, lr=1e-2, seed=3)
    assert missing(learned) < 0.05 < 0.5 < missing(model.start())
    again = fit_texts(model, truth, steps=20, batch=16, seed=3)
    torch.testing.assert_close(again, fit_texts(model, truth, steps=20, batch=16, seed=3), rtol=0, atol=0)
    assert (again - fit_texts(model, truth, steps=20, batch=16, seed=4)).abs().max() > 1e-4
    start = prompted(width=16, weights=learned)
    np.testing.assert_allclose(start.initial(), model.log_policy(learned).exp(), rtol=1e-12)


def test_what_is_learned_of_some_prompts_carries_over_to_others_that_share_their_words() -> None:
    """Words are read: with a token of its own for each prompt the fourth would not move towards the third."""
    model = PromptedTransformer(2, 1, TEXTS, 4, width=16)
    before = model.initial()[:, 0]
    bandit = ea.Bandit(model.initial(), np.tile([0.05, 0.95], (4, 1)), prompt_weights=[1, 1, 1, 0])
    end = train(ea.EXPO(0.01), model, bandit, Training(Adam(1e-2), epochs=60, records=2)).final[0, 0, :, 0]
    assert (end[:3] < 0.15).all() and end[3] < before[3] - 0.2


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tabular([0.5, 0.6]), "initial_policy must sum to one"),
        (lambda: Tabular([[0.5, 0.5], [1.0, 0.0]]), "initial_policy must hold positive finite probabilities"),
        (lambda: Tabular("uniform"), "initial_policy must be an array of numbers"),
        (lambda: LogLinear([0.5, 0.6], np.ones((2, 1))), "base must sum to one"),
        (lambda: LogLinear([0.5, 0.5], np.ones((3, 1))), r"features must be finite, of shape \(1, 2, 'd'\)"),
        (lambda: LogLinear([0.5, 0.5], [[1.0], [np.nan]]), "features must be finite"),
        (lambda: LogLinear([0.5, 0.5], [["a"], ["b"]]), "features must be an array of numbers"),
        (lambda: NGram(1, 2), "vocabulary must be a whole number of at least 2, got 1"),
        (lambda: NGram(2, 0), "length must be a whole number of at least 1"),
        (lambda: NGram(2, 2, 0), "prompts must be a whole number of at least 1"),
        (lambda: NGram(2.0, 2), "vocabulary must be a whole number"),  # type: ignore[arg-type]
        (lambda: NGram(10, 6), "must not exceed 100000"),
        (lambda: NGram(2, 2, order=0), "order must be a whole number of at least 1, got 0"),
        (lambda: NGram(2, 2, order=3), "order must be at most the length 2, got 3"),
        (lambda: NGram(2, 2, initial_policy=[0.5, 0.5]), r"initial_policy must have shape \(1, 4\), got \(1, 2\)"),
        (lambda: NGram(2, 1, initial_policy=[0.5, 0.6]), "initial_policy must sum to one"),
        (lambda: Transformer(2, 2, width=6, heads=4), "heads must divide width 6, got 4"),
        (lambda: Transformer(2, 2, heads=0), "heads must be a whole number of at least 1"),
        (lambda: Transformer(2, 2, layers=0), "layers must be"),
        (lambda: Transformer(2, 2, seed=-1), "seed must be a whole number of at least 0"),
        (lambda: Transformer(2, 2, sharpness=-1.0), "sharpness must be a finite number above 0"),
        (lambda: prompted(width=6, heads=4), "heads must divide width 6, got 4"),
        (lambda: prompted(layers=0), "layers must be a whole number of at least 1, got 0"),
        (lambda: prompted(seed=-1), "seed must be a whole number of at least 0"),
        (lambda: prompted(weights=torch.zeros(3)), r"weights must be \d+ finite numbers, got shape \(3,\)"),
        (lambda: PromptedTransformer(3, 2, [[0, 4]], 4), "texts must be from 0 to 3, got 4"),
        (
            lambda: PromptedTransformer(3, 2, [[0.5]], 4),
            r"texts must be whole numbers of shape .*, got float",
        ),
        (lambda: PromptedTransformer(3, 2, [0, 1], 4), r"texts must be whole numbers of shape .*, got int"),
        (lambda: PromptedTransformer(3, 9, [[0, 1]], 0), "words must be a whole number of at least 1, got 0"),
        (lambda: fit_texts(prompted(), np.ones((4, 9)) / 9), r"truth must have shape \(4, 27\), got \(4, 9\)"),
        (lambda: fit_texts(prompted(), np.ones((4, 27)) / 27, lr=0.0), "lr must be a finite number above 0"),
        (lambda: fit_texts(prompted(), np.ones((4, 27)) / 27, steps=0), "steps must be a whole number of at least 1"),
    ],
)
def test_bad_policies_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_tangent_transformer_has_the_networks_values_and_slopes_and_is_linear() -> None:
    model = PromptedTransformer(3, 2, [[0, 1], [1, 1]], 2, width=8, seed=3)
    tangent = model.tangent()
    start, prompt, tokens = model.start(), torch.tensor([0, 1, 1]), torch.tensor([[0, 2], [1, 1], [2, 0]])
    rng = torch.Generator().manual_seed(0)
    way = torch.randn(2, len(start), generator=rng, dtype=torch.float64) / 10

    def logits(policy: PromptedTransformer, parameters: torch.Tensor) -> torch.Tensor:
        lead = parameters.shape[:-1]
        return policy.token_logits(parameters, prompt.expand(*lead, -1), tokens.expand(*lead, -1, -1))

    at_start = logits(model, start)
    torch.testing.assert_close(logits(tangent, start), at_start)
    jacobian = torch.autograd.functional.jacobian(lambda own: logits(model, own), start)
    moved = logits(tangent, start + way)
    torch.testing.assert_close(moved, at_start + torch.einsum("btvp,sp->sbtv", jacobian, way), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        logits(tangent, start + 3 * way) - at_start, 3 * (moved - at_start), atol=1e-5, rtol=1e-4
    )
    assert (logits(model, start + way) - moved).abs().max() > 1e-2  # the network itself is not
    every = torch.arange(tangent.prompts * tangent.n).expand(2, -1)
    torch.testing.assert_close(
        tangent.log_policy(start + way).flatten(-2), super(PromptedTransformer, tangent).log_probs(start + way, every),
        atol=1e-5, rtol=1e-5,
    )  # fmt: skip
