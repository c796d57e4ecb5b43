"""Samples of a language model: from its own distribution, with its own log-probabilities, the same in any batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from . import llm_architectures
from . import llm_models as tiny

from expo_analysis.llm.data import sampling  # isort: skip
from expo_analysis.llm.data.estimates import expected_reward  # isort: skip
from expo_analysis.llm.data.sampling import Sampling, draw, rng  # isort: skip

WORDS = tiny.WORDS[:6]
EOS = 1


def model(seed: int = 0, **settings: Any) -> Any:
    """Nine tokens, of which the second ends a response; logits spread far enough for rare and common tokens."""
    return tiny.llama(seed, len(WORDS) + 3, initializer_range=0.35, **settings).eval()


def next_token(policy: Any, ids: list[int], temperature: float = 1.0) -> np.ndarray:
    with torch.no_grad():
        logits = policy(torch.tensor([ids])).logits[0, -1].double()
    return (logits / temperature).softmax(dim=0).numpy()


def first_tokens(policy: Any, settings: Sampling, count: int = 4000) -> np.ndarray:
    """How often each token came first, after prompts of two lengths in one batch; those after [3, 4] are counted."""
    prompts = [[3, 4], [5, 6, 7, 8, 3]] * (count // 2)
    drawn = draw(policy, prompts, [(0, k) for k in range(count)], settings, [EOS])
    return np.bincount([one.ids[0] for one in drawn[::2]], minlength=9)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """The p-value; tokens expected fewer than five times are counted together."""
    expected = probabilities * counts.sum()
    rare = expected < 5
    seen, wanted = list(counts[~rare]), list(expected[~rare])
    assert not counts[probabilities == 0].any()
    if expected[rare].sum() > 0:
        seen, wanted = [*seen, counts[rare].sum()], [*wanted, expected[rare].sum()]
    return float(stats.chisquare(seen, np.array(wanted) * sum(seen) / sum(wanted)).pvalue)


# -------------------------------------------------------------------------------------------------------- distribution


def test_first_tokens_have_the_models_own_probabilities() -> None:
    policy = model()
    counts = first_tokens(policy, Sampling(1))
    assert chi_square(counts, next_token(policy, [3, 4])) > 1e-3
    assert chi_square(counts, next_token(policy, [3, 4], 1.25)) < 1e-6  # it would see a wrong temperature


def test_later_tokens_follow_from_those_before() -> None:
    policy = model()
    drawn = draw(policy, [[3, 4]] * 4000, [(1, k) for k in range(4000)], Sampling(3), [EOS])
    exact: dict[tuple[int, ...], float] = {}
    first = next_token(policy, [3, 4])
    for a in range(9):
        if a == EOS:
            exact[(a,)] = first[a]
            continue
        second = next_token(policy, [3, 4, a])
        exact |= {(a, b): first[a] * second[b] for b in range(9)}
    seen = dict.fromkeys(exact, 0)
    for one in drawn:
        seen[tuple(one.ids[:2])] += 1  # a response that ended has no second token
    assert math.isclose(sum(exact.values()), 1, abs_tol=1e-6)
    assert chi_square(np.array(list(seen.values())), np.array(list(exact.values()))) > 1e-3


def test_generation_defaults_do_not_creep_in() -> None:
    """What a model's generation_config asks for, and transformers' own top_k = 50, changes nothing."""
    settings = Sampling(6)
    prompts, rows = [[3, 4]] * 40, [(0, k) for k in range(40)]
    plain = draw(model(), prompts, rows, settings, [EOS])
    policy = model()
    own = tiny.GenerationConfig(
        do_sample=True,
        temperature=0.2,
        top_k=1,
        top_p=0.3,
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
        min_new_tokens=5,
        suppress_tokens=[3, 4],
        max_length=4,
        forced_eos_token_id=EOS,
        eos_token_id=EOS,
    )
    policy.generation_config = own
    assert draw(policy, prompts, rows, settings, [EOS]) == plain
    assert policy.generation_config is own  # and it is given back


def test_two_prompts_of_the_same_tokens_have_responses_of_their_own() -> None:
    policy, count = model(), 30
    first, second = (
        [one.ids for one in draw(policy, [[3]] * count, [(x, k) for k in range(count)], Sampling(6), [EOS])]
        for x in (0, 1)
    )
    assert first != second


def test_more_than_fifty_tokens_can_be_drawn() -> None:
    """The rarest of 103 nearly equal tokens are drawn too: top_k = 50 would leave 53 out."""
    policy = tiny.llama(0, 103, initializer_range=0.01).eval()
    drawn = draw(policy, [[3]] * 3000, [(0, k) for k in range(3000)], Sampling(1), [EOS])
    assert len({one.ids[0] for one in drawn}) == 103


def test_temperature_and_nucleus() -> None:
    policy = model()
    counts = first_tokens(policy, Sampling(1, temperature=2.0))
    assert chi_square(counts, next_token(policy, [3, 4], 2.0)) > 1e-3
    exact = next_token(policy, [3, 4])
    kept = np.cumsum(np.sort(exact)[::-1]) - np.sort(exact)[::-1] < 0.8
    least = np.sort(exact)[::-1][kept].min()
    truncated = np.where(exact >= least, exact, 0)
    counts = first_tokens(policy, Sampling(1, top_p=0.8))
    assert 1 < kept.sum() < 9 and not counts[truncated == 0].any()
    assert chi_square(counts, truncated / truncated.sum()) > 1e-3


def test_without_a_nucleus_the_last_token_can_be_drawn() -> None:
    """Though all others, rounded, have a probability of 1 or more: none is left out by rounding."""
    exceeded = []
    for count in range(1, 60):
        scores = torch.tensor([[0.0] * count + [-17.0]])
        draw_one = sampling.InverseTransform(torch.tensor([[1 - 2.0**-53]], dtype=torch.float64))
        assert draw_one(torch.zeros(1, 1, dtype=torch.long), scores).argmax().item() == count
        exceeded.append(scores.log_softmax(dim=-1).exp()[0, :-1].double().sum().item() >= 1)
    assert any(exceeded)


def test_nucleus_by_hand() -> None:
    given = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    for top_p, kept in ((0.4, [1]), (0.41, [1, 3]), (0.7, [1, 3]), (0.75, [1, 2, 3]), (1.0, [0, 1, 2, 3])):
        found = sampling.nucleus(given.double(), top_p - 1e-12)
        assert found.nonzero()[:, 1].tolist() == kept


def test_inversion_at_its_ends() -> None:
    p = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).double()
    uniforms = [0.0, 0.25 - 1e-12, 0.25, 0.5, 1 - 2**-53]
    found = sampling.invert(p.expand(5, 5), torch.tensor(uniforms, dtype=torch.float64))
    assert found[:, 0].tolist() == [1, 1, 3, 3, 3]
    # in float32 the sum of a million tiny probabilities beside a large one would stand still
    many = torch.cat([torch.tensor([0.5]), torch.full((1_000_000,), 5e-7)])[None]
    place = sampling.invert(many, torch.tensor([0.75], dtype=torch.float64)).item()
    assert abs(place - 500_000) < 100


# --------------------------------------------------------------------------------------------------- log-probabilities


def test_log_probabilities_are_those_of_a_forward_pass() -> None:
    """At temperature 1 whatever the sampling, in batches of uneven prompts, the end token included."""
    policy = model()
    prompts = [[3], [4, 5, 6, 7], [8, 8]] * 10
    for settings in (Sampling(7), Sampling(7, temperature=1.7, top_p=0.9)):
        drawn = draw(policy, prompts, [(0, k) for k in range(30)], settings, [EOS])
        assert {one.finished for one in drawn} == {True, False}
        for prompt, one in zip(prompts, drawn, strict=True):
            expected = sum(math.log(next_token(policy, prompt + one.ids[:t])[y]) for t, y in enumerate(one.ids))
            assert abs(one.logp - expected) < 1e-4
            assert one.finished == (one.ids[-1] == EOS) and EOS not in one.ids[:-1]
            assert len(one.ids) == 7 or one.finished
        again = sampling.response_logps(policy, prompts, [one.ids for one in drawn], batch_size=4)
        assert np.abs(again - [one.logp for one in drawn]).max() < 1e-4


def test_dropout_is_off_while_sampling() -> None:
    prompts, rows = [[3, 4]] * 20, [(0, k) for k in range(20)]
    noisy = model(attention_dropout=0.9).train()
    assert draw(noisy, prompts, rows, Sampling(5), [EOS]) == draw(model(), prompts, rows, Sampling(5), [EOS])
    assert noisy.training


# ----------------------------------------------------------------------------------------------------------- repetition


def test_a_response_does_not_depend_on_its_batch() -> None:
    policy = model()
    prompts = [[3], [4, 5, 6, 7], [8, 8], [3, 3]] * 5
    rows = [(place % 4, place // 4) for place in range(20)]
    whole = draw(policy, prompts, rows, Sampling(8), [EOS])
    for size in (1, 3, 7):
        parts = [
            draw(policy, prompts[s : s + size], rows[s : s + size], Sampling(8), [EOS]) for s in range(0, 20, size)
        ]
        assert [one.ids for part in parts for one in part] == [one.ids for one in whole]
    shorter = draw(policy, prompts, rows, Sampling(3), [EOS])  # and a longer one begins with the shorter
    assert all(long.ids[:3] == short.ids for long, short in zip(whole, shorter, strict=True))


def test_seeds_and_rows_have_random_numbers_of_their_own() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (0,), (0, 0, 0)]
    assert len({rng(seed, *key).random() for seed in (0, 1) for key in keys}) == 2 * len(keys)
    policy, rows = model(), [(0, k) for k in range(30)]
    first, second = (draw(policy, [[3]] * 30, rows, Sampling(6, seed=seed), [EOS]) for seed in (0, 1))
    assert first != second == draw(policy, [[3]] * 30, rows, Sampling(6, seed=1), [EOS])


def test_every_end_token_ends_a_response() -> None:
    policy = model()
    policy.generation_config.eos_token_id = [1, 5]
    ends = sampling.end_tokens(policy, tiny.tokenizer(WORDS))
    assert ends == [1, 5]
    drawn = draw(policy, [[3]] * 200, [(0, k) for k in range(200)], Sampling(6), ends)
    assert {one.ids[-1] for one in drawn if one.finished} == {1, 5}
    assert not any(token in ends for one in drawn for token in one.ids[:-1])


def test_nothing_is_computed_after_all_have_ended() -> None:
    """Where every token ends a response, one forward pass is enough for all."""
    passes: list[int] = []
    policy = model()
    policy.register_forward_hook(lambda *given: passes.append(1))
    draws, rows = sampling.Sampler(policy, Sampling(6), list(range(9))), [(0, k) for k in range(4)]
    draws([[3]] * 4, rows)  # each response of the first batch is compared with a pass of its own
    assert len(passes) == 5
    drawn = draws([[3]] * 4, rows)
    assert len(passes) == 6 and all(one.finished and len(one.ids) == 1 for one in drawn)
    assert all(len(one.ids) == 6 and not one.finished for one in draw(policy, [[3]], [(0, 0)], Sampling(6), []))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", 2.5),
        ("temperature", 0.0),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("seed", -1),
    ],
)
def test_bad_settings(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {value}"):
        Sampling(**{name: value})


# ---------------------------------------------------------------------------------------------------------- divergences


def exact_kl(p: Any, q: Any, ids: list[int], steps: int) -> float:
    """KL(p ‖ q) of responses of up to ``steps`` tokens, summed over all of them."""
    first, other = next_token(p, ids), next_token(q, ids)
    total = float((first * np.log(first / other)).sum())
    if steps > 1:
        total += sum(first[a] * exact_kl(p, q, [*ids, a], steps - 1) for a in range(9) if a != EOS)
    return total


def test_one_token_divergences_have_no_error() -> None:
    policy, reference, prompt = model(1), model(0), [3, 4]
    found = sampling.compare(policy, reference, [prompt] * 3, [[5], [6], [EOS]])
    assert np.allclose(found.kl, exact_kl(reference, policy, prompt, 1), rtol=1e-4)
    assert np.allclose(found.reverse_kl, exact_kl(policy, reference, prompt, 1), rtol=1e-4)
    assert np.allclose(found.logp, np.log(next_token(policy, prompt))[[5, 6, EOS]], atol=1e-4)
    assert np.allclose(found.ref_logp, np.log(next_token(reference, prompt))[[5, 6, EOS]], atol=1e-4)


def test_models_of_two_vocabularies_are_not_compared() -> None:
    with pytest.raises(ValueError, match="reference must have the model's vocabulary of 9 tokens, got 12"):
        sampling.compare(model(), tiny.llama(0, 12).eval(), [[3]], [[4]])


def test_standard_errors() -> None:
    found = expected_reward([[1.0, 3.0], [5.0, 5.0]])
    assert found.mean == 3.5 and math.isclose(found.standard_error, math.sqrt(2 / 2) / 2)
    assert math.isnan(expected_reward([[1.0], [2.0]]).standard_error)
    with pytest.raises(ValueError, match=r"values must be finite and of shape \(prompts, responses\)"):
        expected_reward([1.0, 2.0])
    for bad in (math.nan, math.inf):  # one bad value among good ones
        with pytest.raises(ValueError, match="values must be finite"):
            expected_reward([[1.0, 2.0], [bad, 3.0]])


def test_a_model_without_a_distribution_is_named_and_not_sampled_from() -> None:
    model = tiny.llama(0).eval()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(
        sampling.NotFinite, match="the model's logits are not finite after 0 tokens of a response: look at"
    ):
        sampling.draw(model, [[3, 4]], [(0, 0)], sampling.Sampling(4), [1])


# ------------------------------------------------------------------------------------------- families of architectures

UNEVEN = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [4]]


def off(policy: Any, draws: Any = None) -> float:
    """By how many nats log-probabilities of draws differ from those of forward passes over one response each."""
    drawn = (draws or sampling.Sampler(policy, Sampling(12, seed=1), [EOS]))(UNEVEN, [(0, 0), (1, 0), (2, 0)])
    gaps = [
        one.logp - sampling.response_logps(policy, [ids], [one.ids])[0] for ids, one in zip(UNEVEN, drawn, strict=True)
    ]
    return float(np.abs(gaps).max())


@pytest.mark.parametrize(
    ("name", "way"),
    [("LlamaForCausalLM", 0), ("RwkvForCausalLM", 1), ("RobertaForCausalLM", 2), ("TrOCRForCausalLM", 1)],
)
def test_what_is_drawn_is_the_models_own(name: str, way: int) -> None:
    """Though padding, or states that are kept, change what some families predict: at any temperature."""
    policy = llm_architectures.build(name)
    for settings in (Sampling(12, seed=1), Sampling(12, temperature=1.5, top_p=0.9, seed=2)):
        draws = sampling.Sampler(policy, settings, [EOS])
        assert off(policy, draws) < 1e-3 and draws.way == way
    for slower in range(way):  # the ways before are those that differ
        draws.way, draws._compared = slower, (99, 99)  # as if it had been compared
        assert off(policy, draws=draws) > 0.05


def test_all_ways_draw_the_same() -> None:
    policy, rows = model(), [(0, 0), (1, 0), (2, 0)]
    found = []
    for way in range(len(sampling.WAYS)):
        draws = sampling.Sampler(policy, Sampling(8, temperature=1.3, top_p=0.95), [EOS])
        draws.way = way
        found.append(draws([[3, 4, 5], [6], [7, 8]], rows))
        assert draws.way == way
    assert [[one.ids for one in each] for each in found] == [[one.ids for one in found[0]]] * len(found)
    assert {one.finished for one in found[0]} == {True, False}


def test_padding_that_comes_later_is_compared_too() -> None:
    """A batch without padding comes first, as in `sample_missing`, which sorts prompts by their lengths."""
    policy = llm_architectures.build("RwkvForCausalLM")
    draws = sampling.Sampler(policy, Sampling(12, seed=1), [EOS])
    draws([[5, 6]], [(0, 0)])
    assert draws.way == 0
    assert off(policy, draws=draws) < 1e-3 and draws.way == 1


def test_a_model_that_is_not_itself_is_named_and_not_sampled_from() -> None:
    """Its logits depend on how many rows a batch has, which no way of sampling can mend."""
    policy, calls = tiny.llama(0).eval(), []

    def change(module: Any, given: Any, output: Any) -> None:
        calls.append(1)
        output.logits = output.logits + torch.linspace(0, len(calls) % 7, output.logits.shape[-1])

    policy.register_forward_hook(change)
    with pytest.raises(
        sampling.NotItself, match=r"^model LlamaForCausalLM cannot be sampled from: .* than rounding does$"
    ):
        off(policy)


def runs(name: str, dtype: torch.dtype) -> Any:
    """The architecture in this precision; None where it does not run in it. In float64 rounding has no say."""
    try:
        policy = llm_architectures.build(name).to(dtype)
        found = policy(input_ids=torch.tensor([[3, 4]]), attention_mask=torch.ones(1, 2).long(), use_cache=False)
    except Exception:  # of any library that an architecture needs
        return None
    return policy if torch.isfinite(found.logits).all() else None


def test_a_network_that_amplifies_rounding_is_no_other_model() -> None:
    """HRM's loops make a rounding of float32 thousands of times as large; in float64 its draws are its own."""
    chaotic, calm = (llm_architectures.build(name) for name in ("HrmTextForCausalLM", "LlamaForCausalLM"))
    given = UNEVEN, [[3, 4, 5, 6] * 3] * 3, 1
    moved = []
    for policy in (chaotic, calm):
        exact = sampling.response_logps(policy, *given)
        with sampling.embeddings_off_by(policy, torch.finfo(torch.float32).eps):
            moved.append(np.abs(sampling.response_logps(policy, *given) - exact).max())
        assert (sampling.response_logps(policy, *given) == exact).all()  # it is over
    assert moved[0] > 1e-4 > 2e-5 > moved[1] > 0
    for dtype, exact_to in ((torch.float32, 0.1), (torch.float64, 1e-5)):
        draws = sampling.Sampler(chaotic.to(dtype), Sampling(12, seed=1), [EOS])
        assert off(chaotic, draws) < exact_to and draws.way == 0


@pytest.mark.slow
def test_every_architecture_draws_its_own_or_is_refused() -> None:
    ways: dict[int, list[str]] = {0: [], 1: [], 2: []}
    refused = []
    for name in llm_architectures.names():
        policy = runs(name, torch.float64) or runs(name, torch.float32)
        if policy is None:
            continue
        draws = sampling.Sampler(policy, Sampling(12, seed=1), [EOS])
        try:
            assert off(policy, draws=draws) < 5e-3, name
        except sampling.NotItself:
            refused.append(name)
            continue
        except IndexError:  # its own forward pass takes fewer tokens than it predicts
            continue
        ways[draws.way].append(name)
    assert len(ways[0]) > 100 and len(refused) <= 3, (ways, refused)
    assert {"RwkvForCausalLM", "Zamba2ForCausalLM"} <= {*ways[1], *ways[2]}
    assert {"RobertaForCausalLM", "XLMRobertaForCausalLM", "CamembertForCausalLM"} <= set(ways[2])
