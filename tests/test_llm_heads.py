"""The head: on any architecture its numbers are those of the model's own logits, a chunk of tokens at a time."""

from __future__ import annotations

import copy
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import expo_analysis as ea
from expo_analysis.divergences import DIVERGENCES, Alpha

from . import llm_architectures, llm_memory
from . import llm_models as tiny
from .llm_trainers import LAM, batch_of, flat_gradient, loss_and_gradient, make, saved, token_distributions

from expo_analysis.llm import causality  # isort: skip
from expo_analysis.llm.models import load_model  # isort: skip
from expo_analysis.llm.training import checks, chunks, head  # isort: skip
from expo_analysis.llm.training.chunks import token_scores  # isort: skip
from expo_analysis.llm.training.scores import Head, Reference, head_logits, measure  # isort: skip
from expo_analysis.llm.training.regulariser import TokenDivergence  # isort: skip
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig  # isort: skip
from transformers import LlamaForCausalLM, MixtralForCausalLM  # isort: skip

# ------------------------------------------------------------------------------------------------------- in chunks

EVERY = [*(Alpha(0.5) if name == "alpha" else kind() for name, kind in DIVERGENCES.items()), None]


@pytest.mark.parametrize("divergence", EVERY, ids=lambda d: "none" if d is None else d.name)
@pytest.mark.parametrize(("scale", "cap", "bias"), [(1.0, None, False), (0.5, 2.0, True), (3.0, None, True)])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_chunks_are_the_whole(divergence: Any, scale: float, cap: float | None, bias: bool, count: int) -> None:
    """Values and gradients, in float64, in chunks of four; against autograd on all logits at once."""
    torch.manual_seed(count)
    hidden, words = 6, 11
    states, weight = (torch.randn(n, hidden, dtype=torch.float64, requires_grad=True) for n in (count, words))
    offset = torch.randn(words, dtype=torch.float64, requires_grad=True) if bias else None
    targets = torch.randint(0, words, (count,))
    own = Head(weight, offset, scale, cap)
    reference, beside = None, None
    if divergence is not None:
        other = Head(torch.randn(words, hidden, dtype=torch.float64), None, scale, cap)
        reference = Reference(torch.randn(count, hidden, dtype=torch.float64), other)
        beside = TokenDivergence(divergence)
    found = token_scores(states, own, targets, reference, beside, size=4)
    ref_logits = None if reference is None else reference.part(slice(None))
    expected = measure(head_logits(states, own), targets, ref_logits, beside)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    slopes = [torch.randn(count, dtype=torch.float64) for _ in range(2)]
    leaves = [x for x in (states, weight, offset) if x is not None]

    def gradients(scores: Any) -> Any:
        total = (scores[0] * slopes[0]).sum()
        return torch.autograd.grad(total + ((scores[-1] * slopes[1]).sum() if beside else 0), leaves)

    for mine, theirs in zip(gradients(found), gradients(expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_scores_by_hand() -> None:
    """Of one token over three words with probabilities 1/2, 1/4, 1/4, beside the uniform distribution."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).double().log() + 7.0
    own, uniform = Head(torch.eye(3).double()), Reference(logits=torch.zeros(1, 3).double())
    found = token_scores(logits, own, torch.tensor([1]), uniform, TokenDivergence(ea.ForwardKL()))
    log2, log3 = torch.tensor([2.0, 3.0]).double().log()
    entropy = 1.5 * log2
    expected = [-2 * log2, entropy, logits.mean(), False, torch.tensor(3 / 8).double().log()]
    expected += [log3 - entropy, (5 * log2 / 3) - log3]  # KL(p, uniform), KL(uniform, p)
    for mine, theirs in zip(found, expected, strict=True):
        assert float(mine) == pytest.approx(float(theirs), abs=1e-12)


def test_equal_distributions_have_no_divergence_at_all() -> None:
    torch.manual_seed(0)
    states, own = torch.randn(9, 6), Head(torch.randn(50, 6))
    beside = TokenDivergence(ea.ForwardKL())
    found = token_scores(states, own, torch.zeros(9, dtype=torch.long), Reference(states, own), beside, size=4)
    assert float(found[-1].abs().max()) == float(found[-2].abs().max()) == 0.0


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_only_what_is_trained_has_a_gradient(kind: str) -> None:
    states, weight, bias = torch.randn(5, 3, requires_grad=True), torch.randn(7, 3), torch.randn(7)
    trained = (weight if kind == "weight" else bias).requires_grad_()
    token_scores(states, Head(weight, bias), torch.zeros(5, dtype=torch.long))[0].sum().backward()
    logits = torch.nn.functional.linear(states, weight, bias)
    expected = torch.autograd.grad(logits.log_softmax(-1)[:, 0].sum(), [states, trained])
    torch.testing.assert_close((states.grad, trained.grad), expected)
    assert (weight.grad is None) == (kind == "bias")


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_low_precision_is_that_of_the_product_only(low: torch.dtype) -> None:
    """Logits are rounded as the model rounds them; softmax and sums are in float32."""
    torch.manual_seed(0)
    states, weight = torch.randn(6, 8), torch.randn(40, 8)
    with torch.autocast("cpu", low):
        found = token_scores(states, Head(weight), torch.arange(6), size=4)[0]
    logits = (states.to(low) @ weight.to(low).T).float()
    torch.testing.assert_close(found, logits.log_softmax(-1)[torch.arange(6), torch.arange(6)])
    assert found.dtype == torch.float32


def test_gradients_can_be_asked_for_twice() -> None:
    """The blocks that the first backward pass has written over are not read again."""
    states, weight = torch.randn(5, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    total = token_scores(states, Head(weight), torch.zeros(5, dtype=torch.long), size=2)[0].sum()
    first = torch.autograd.grad(total, [states, weight], retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(total, [states, weight]), first)


# --------------------------------------------------------------------------------------------------- architectures


def rows_of(model: Any) -> dict[str, torch.Tensor]:
    """Two responses of unequal lengths after prompts of unequal lengths, padded on the right."""
    torch.manual_seed(1)
    ids = torch.randint(3, llm_architectures.VOCABULARY, (2, 12))
    attention, counted = torch.ones_like(ids), torch.zeros_like(ids)
    counted[0, 4:], counted[1, 6:10] = 1, 1
    attention[1, 10:], ids[1, 10:] = 0, 0
    return {"input_ids": ids, "attention_mask": attention, "completion_mask": counted}


def check_architecture(name: str) -> str:
    """The way to its logits; raises where log-probabilities or divergences are not those of its own logits."""
    model, reference = (llm_architectures.build(name, seed) for seed in (0, 1))
    rows = rows_of(model)
    try:
        with torch.no_grad():
            logits = [each(**checks.arguments_of(rows)).logits.double() for each in (model, reference)]
    except Exception as error:
        raise llm_architectures.NotSmall(f"its forward pass: {type(error).__name__}: {error}") from None
    logp, ref = (each[:, :-1].log_softmax(-1) for each in logits)
    mask = rows["completion_mask"][:, 1:] == 1
    found: list[Any] = []
    for each in (model, reference):
        head.add_scores(each)
        found.append(checks.choose_way(each, each, rows, lambda tensor: tensor, 1.2e-7))
    labels, arguments = checks.labels_of(rows), checks.arguments_of(rows)
    with torch.no_grad():
        beside = reference(**arguments, labels=labels, ask=head.Ask(found[1], as_reference=True))
        ask = head.Ask(found[0], 5, reference=beside, divergence=TokenDivergence(ea.ForwardKL()))
        scores = model(**arguments, labels=labels, ask=ask)
    expected = {
        "log_probs": logp.gather(-1, rows["input_ids"][:, 1:, None])[..., 0],
        "entropy": -(logp.exp() * logp).sum(-1),
        "divergence": (ref.exp() * (ref - logp)).sum(-1),
        "reverse_kl": (logp.exp() * (logp - ref)).sum(-1),
    }
    for score, values in expected.items():
        gap = (scores[score].double() - values)[mask].abs().max()
        assert gap < 1e-3, f"{name}: {score} is off by {gap:.2g} nats"
        assert not scores[score][~mask].any()
    return str(found[0].kind)


TWELVE = {
    **{"LlamaForCausalLM": "weight", "Gemma2ForCausalLM": "weight", "GraniteForCausalLM": "weight"},
    **{"CohereForCausalLM": "weight", "GPT2LMHeadModel": "weight", "OPTForCausalLM": "weight"},
    **{"MambaForCausalLM": "weight", "MiniCPM3ForCausalLM": "weight", "xLSTMForCausalLM": "weight"},
    **{"DoryForCausalLM": "module", "ModernBertDecoderForCausalLM": "logits", "Llama4ForCausalLM": "logits"},
}
"""One of a kind: plain, capped, divided, multiplied, absolute positions, projected states, none of attention, a
multiplier, a cap of another name, a head with parameters of its own, a head of several layers, no plain body."""


@pytest.mark.parametrize("name", TWELVE)
def test_twelve_architectures(name: str) -> None:
    if name not in llm_architectures.names():
        pytest.skip("this transformers does not have it")
    assert check_architecture(name) == TWELVE[name]


@pytest.mark.slow
def test_every_architecture() -> None:
    """Right to 1e-3, or refused by name; those that are not made small are listed in the output of pytest -s."""
    ways: dict[str, list[str]] = {}
    for name in llm_architectures.names():
        try:
            way = check_architecture(name)
        except llm_architectures.NotSmall as error:
            way = "not made"
            print(f"{name}: {str(error)[:150]}")
        except ValueError as error:
            assert re.search(
                f"model {name} (gives other log-probabilities|predicts tokens from later ones)", str(error)
            )
            way = "refused"
        ways.setdefault(way, []).append(name)
    print({way: len(found) for way, found in ways.items()}, ways.get("refused"), ways.get("module"), ways.get("logits"))
    assert set(ways.get("refused", [])) <= {"CpmAntForCausalLM", "XLNetLMHeadModel"}  # which read prompts both ways
    made = sum(len(found) for way, found in ways.items() if way != "not made")
    assert made >= 0.85 * len(llm_architectures.names())


FAMILIES = ("BertLMHeadModel", "RobertaForCausalLM", "ElectraForCausalLM", "XLMWithLMHeadModel")


@pytest.mark.parametrize(
    ("name", "small"),
    [
        *((name, False) for name in FAMILIES),
        (FAMILIES[0], True),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in FAMILIES[1:]),  # small weights are small weights
    ],
)
def test_a_model_that_sees_later_tokens_is_refused(name: str, small: bool, tmp_path: Path) -> None:
    """As models of encoders' families do unless they are told not to: their numbers look like any others."""
    told, both_ways = (llm_architectures.build(name, **how) for how in ({}, {"is_decoder": False, "causal": False}))
    with torch.no_grad():
        for parameter in both_ways.parameters():  # as it is before any training
            if parameter.ndim > 1 and small:
                parameter.mul_(0.02 / float(parameter.std()))
    assert check_architecture(name) in ("weight", "module", "logits")
    causality.check_reads_forward(told)
    message = f"model {name} predicts tokens from later ones too: another last token changes log-probabilities before"
    with pytest.raises(ValueError, match=message):
        causality.check_reads_forward(both_ways)
    both_ways.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=message):  # evaluate, preferences and all that samples load so
        load_model(str(tmp_path / "model"))
    for objective in (ea.SimPO(0.1), ea.DPO(0.1), ea.EXPO(0.1)):
        with pytest.raises(ValueError, match=message):
            make(objective, tmp_path, model=both_ways).train()
    with pytest.raises(ValueError, match=message):
        make(ea.DPO(0.1), tmp_path, model=llm_architectures.build(name), ref_model=both_ways).train()


class Ahead(LlamaForCausalLM):
    """Sees one token ahead, a little."""

    amount = 0.01

    def forward(self, input_ids: Any = None, **kwargs: Any) -> Any:
        outputs = super().forward(input_ids=input_ids, **kwargs)
        ahead = self.model.embed_tokens(input_ids[:, 1:]) @ self.lm_head.weight.T
        outputs.logits = torch.cat([outputs.logits[:, :-1] + self.amount * ahead, outputs.logits[:, -1:]], dim=1)
        return outputs


@pytest.mark.parametrize(
    ("amount", "dtype"), [(0.01, "float32"), (1.0, "bfloat16"), (0.0, "bfloat16"), (0.0, "float32")]
)
def test_any_way_of_seeing_ahead_is_found(amount: float, dtype: str) -> None:
    model = Ahead(tiny.llama(0).config).to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    model.amount = amount
    rows = rows_of(model)
    changed, last = causality.with_another_end(rows["input_ids"], rows["attention_mask"])
    assert last.tolist() == [[11], [9]]  # the last of each, and not what pads it
    assert (changed != rows["input_ids"]).nonzero().tolist() == [[0, 11], [1, 9]]
    head.add_scores(model)
    if amount == 0:
        causality.check_reads_forward(model)
        checks.choose_way(model, model, rows, lambda tensor: tensor, torch.finfo(model.dtype).eps)
        return
    with pytest.raises(ValueError, match="model Ahead predicts tokens from later ones too"):
        causality.check_reads_forward(model)
    with pytest.raises(ValueError, match="model Ahead predicts tokens from later ones too"):
        checks.choose_way(model, model, rows, lambda tensor: tensor, torch.finfo(model.dtype).eps)


def test_leaks_by_hand() -> None:
    """Logits of -inf are equal; a little is allowed of what the token changes at its own place, and of rounding."""
    inf = torch.inf
    old = torch.tensor([[[9.0, 9.0], [0.0, -inf], [0.0, 1.0]]])  # a virtual token, and two of the row
    changed, last = causality.with_another_end(torch.tensor([[3, 4]]), torch.tensor([[1, 1]]))
    assert changed.tolist() == [[3, 3]] and last.tolist() == [[1]]
    new = old.flip(-1) + 2.0
    new[:, 1] = old[:, 1]
    gap, limit = causality.leak(old, new, last, 2, 0.25)
    assert gap.tolist() == [0.0] and limit.tolist() == pytest.approx([4 * 0.25 * 9 + causality.SHARE * 1.0])
    assert causality.leak(old, old.flip(-1), last, 2, 0.0)[0].tolist() == [inf]
    changed, last = causality.with_another_end(torch.tensor([[3, 4], [5, 6]]), torch.tensor([[1, 1], [1, 1]]))
    assert changed.tolist() == [[3, 3], [5, 5]]  # by a token of its own row
    changed, last = causality.with_another_end(torch.tensor([[3, 4]]), torch.tensor([[1, 0]]))
    assert changed.tolist() == [[3, 4]] and last.tolist() == [[0]]  # nothing comes before it, and nothing can leak
    assert causality.leak(old, old.flip(-1), last, 2, 0.0)[0].tolist() == [0.0]


def test_products_in_less_than_float32_are_known() -> None:
    """torch's objects take no monkeypatch."""
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    assert causality.of_products() == 0.0
    try:
        for name, dtype in (("tf32", torch.float16), ("bf16", torch.bfloat16)):
            matmul.fp32_precision = name
            assert causality.of_products() == torch.finfo(dtype).eps
    finally:
        matmul.fp32_precision = before
    assert causality.of_products() == 0.0


def test_a_model_that_cannot_be_scored_is_refused_by_name() -> None:
    """Whose forward pass is another one every time."""

    class Random(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            outputs = super().forward(*args, **kwargs)
            outputs.logits = outputs.logits + torch.randn_like(outputs.logits)
            return outputs

    torch.manual_seed(0)
    model = Random(tiny.llama(0).config)
    head.add_scores(model)
    with pytest.raises(ValueError, match=r"model Random gives other log-probabilities .* than model\(\.\.\.\)\.logits"):
        checks.choose_way(model, model, rows_of(model), lambda tensor: tensor, 1.2e-7)


class Doubled(LlamaForCausalLM):
    """A head whose forward pass is twice a matrix product, under no name that a list could know."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super().forward(*args, **kwargs)
        outputs.logits = 2 * outputs.logits
        return outputs


@pytest.mark.parametrize("estimator", ["own_responses", "token_kl"])
def test_training_goes_by_the_models_own_logits(estimator: str, tmp_path: Path) -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(Doubled(tiny.llama(seed).config))
    given = {"regulariser_estimator": estimator, "ref_model": models[1] if estimator == "token_kl" else None}
    trainer = make(ea.EXPO(LAM), tmp_path, model=models[0], **given)
    batch = batch_of(trainer)
    loss, gradient = loss_and_gradient(trainer, batch)
    assert trainer.engine.ways["policy"] == head.LOGITS
    trainer.model.zero_grad()
    logp, of_tokens, mask = token_distributions(trainer.model, batch)
    w, y = (of_tokens * mask).sum(1).chunk(2)
    expected = torch.nn.functional.softplus(y - w) - (LAM * (w + y) / 2 if estimator == "own_responses" else 0)
    if estimator == "token_kl":
        ref = token_distributions(models[1], batch)[0].detach()
        expected = expected + LAM * (((ref.exp() * (ref - logp)).sum(-1) * mask).sum(1)).view(2, -1).mean(0)
    expected.mean().backward()
    assert loss == pytest.approx(expected.mean().item(), rel=1e-5)
    torch.testing.assert_close(gradient, flat_gradient(trainer.model), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------------------------- adapters

LORA: dict[str, Any] = {"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
ADAPTERS: dict[str, Any] = {
    "lora": LoraConfig(**LORA),
    "lora on the head": LoraConfig(**LORA | {"target_modules": ["q_proj", "lm_head"]}),
    "lora on embeddings": LoraConfig(**LORA | {"target_modules": ["embed_tokens"]}),
    "all biases": LoraConfig(**LORA, bias="all"),
    "head saved": LoraConfig(**LORA, modules_to_save=["lm_head"]),
    "head and embeddings saved": LoraConfig(**LORA, modules_to_save=["lm_head", "embed_tokens"]),
    "trainable tokens": LoraConfig(**LORA, trainable_token_indices=list(range(3, 10))),
    "ia3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "prompt": PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "prefix": PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
}


CHANGE_THE_HEAD = {name for name in ADAPTERS if "head" in name or "token" in name or "embeddings" in name}


@pytest.mark.parametrize(
    ("name", "tied"),
    [
        pytest.param(
            *(name, tied),
            id=f"{name}-{'tied' if tied else 'untied'}",
            # a head that no adapter touches is the same matrix, tied or not
            marks=pytest.mark.slow if tied and name not in CHANGE_THE_HEAD else (),
        )
        for name in ADAPTERS
        for tied in (False, True)
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_adapters_of_every_kind(name: str, tied: bool, tmp_path: Path) -> None:
    """Policy, reference and KL after some steps, against plain forward passes; heads under an adapter too."""
    base = LlamaForCausalLM.from_pretrained(saved(tmp_path / "base", tiny.llama(0, tie_word_embeddings=tied)))
    given = {"peft_config": copy.deepcopy(ADAPTERS[name]), "max_steps": 4, "learning_rate": 5e-2}
    trainer = make(ea.EXPO(LAM), tmp_path / "out", model=base, **given)
    batch = batch_of(trainer)
    trainer.train()
    trainer.model.eval()
    plain = LlamaForCausalLM.from_pretrained(tmp_path / "base").eval()
    with torch.no_grad():
        result = trainer.engine.losses(trainer.model, batch, at_start=False)
        logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        logp = logits[:, -batch["input_ids"].shape[1] :][:, :-1].double().log_softmax(-1)
        ref, _, mask = token_distributions(plain, batch)
    of_tokens = logp.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    torch.testing.assert_close(result.logps["policy"].double(), (of_tokens * mask).sum(1), rtol=0, atol=1e-4)
    kl = ((ref.exp() * (ref - logp)).sum(-1) * mask).sum(1).view(2, -1).mean(0)
    torch.testing.assert_close(result.regulariser.double(), kl, rtol=1e-4, atol=1e-4)
    assert kl.mean() > 1e-4  # it moved


# ------------------------------------------------------------------------------------------------- the patched model


def test_a_copy_of_a_trained_model_answers_for_itself(tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path, max_steps=1)
    trainer.train()
    copied = copy.deepcopy(trainer.model)
    with torch.no_grad():
        copied.lm_head.weight.zero_()
        ids = torch.tensor([[5, 6, 7]])
        assert copied(input_ids=ids).logits.abs().sum() == 0
        assert trainer.model(input_ids=ids).logits.abs().sum() > 0


def test_plain_forward_passes_and_generation_are_as_before(tmp_path: Path) -> None:
    model, ids = tiny.llama(0), torch.tensor([[5, 6, 7]])
    labels = torch.tensor([[-100, 6, 7]])
    before = model(input_ids=ids, labels=labels)
    drawn = model.generate(input_ids=ids, max_new_tokens=4, do_sample=False)
    trainer = make(ea.DPO(LAM), tmp_path, model=model)
    after = trainer.model(input_ids=ids, labels=labels)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.loss, after.loss)
    assert torch.equal(trainer.model.generate(input_ids=ids, max_new_tokens=4, do_sample=False), drawn)
    with pytest.raises(ValueError, match="strange"):  # `generate` still knows which arguments there are
        trainer.model.generate(input_ids=ids, max_new_tokens=1, strange=1)


def test_a_model_that_is_placed_part_by_part(tmp_path: Path) -> None:
    """accelerate's hooks stand in the forward pass of every part; the head goes through them."""
    from accelerate import dispatch_model

    parts = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head"]
    model = dispatch_model(tiny.llama(0), {part: "cpu" for part in parts}, force_hooks=True)
    trainer = make(ea.EXPO(LAM), tmp_path, model=model, ref_model=tiny.llama(1))
    loss, gradient = loss_and_gradient(trainer, batch_of(trainer))
    assert trainer.engine.ways["policy"].kind == "module"
    plain = make(ea.EXPO(LAM), tmp_path, ref_model=tiny.llama(1))
    expected, expected_gradient = loss_and_gradient(plain, batch_of(plain))
    assert loss == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [ea.DPO(LAM), ea.EXPO(LAM)], ids=["dpo", "expo"])
@pytest.mark.parametrize("given", [True, False], ids=["reference given", "derived"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_compiled_models(loss: Any, given: bool, tmp_path: Path) -> None:
    found = []
    for compiled in (True, False):
        settings = {"torch_compile": True, "torch_compile_backend": "eager"} if compiled else {}
        reference = {"ref_model": tiny.llama(1)} if given else {}
        trainer = make(loss, tmp_path, max_steps=3, **settings, **reference)
        trainer.train()
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


# ---------------------------------------------------------------------------------------------------------- memory


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize("estimator", ["own_responses", "token_kl"])
def test_the_largest_tensor_does_not_grow_with_length(estimator: str, tmp_path: Path) -> None:
    """At four times the length it stays what it is: the logits of a chunk."""
    vocabulary, chunk = 2000, 8
    reference = {"ref_model": tiny.llama(1, vocabulary=vocabulary)} if estimator == "token_kl" else {}
    largest = []
    for longest in (12, 48):
        trainer = make(
            ea.EXPO(LAM),
            tmp_path,
            model=tiny.llama(0, vocabulary=vocabulary),
            data=tiny.pairs(4, longest=longest),
            regulariser_estimator=estimator,
            token_chunk_size=chunk,
            **reference,
        )
        batch = batch_of(trainer)
        trainer.model.train()
        trainer.compute_loss(trainer.model, batch)  # the first batch is compared with the model's own logits
        with Largest() as seen:
            trainer.compute_loss(trainer.model, batch).backward()
        largest.append(seen.elements)
    weights = vocabulary * 16
    assert largest == [max(chunk * vocabulary, weights)] * 2


@pytest.mark.slow
def test_resident_memory_does_not_grow_with_the_number_of_tokens() -> None:
    """Token-wise KL over 32,000 words, in processes of their own: what the operating system sees at the peak."""
    found = {}
    for tokens in (512, 2048):
        command = [sys.executable, "-m", "tests.llm_memory", str(tokens), "64"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        found[tokens] = float(done.stdout.split()[-1])  # libraries may talk before
    of_all_logits = 2048 * llm_memory.VOCABULARY * 4 / 2**20  # MiB: one N x V of float32
    assert found[2048] - found[512] < 0.2 * of_all_logits
    assert found[2048] < of_all_logits


def test_saved_whole_a_model_is_loaded_by_its_class(tmp_path: Path) -> None:
    """`save_pretrained` and state dicts know nothing of the patch."""
    trainer = make(ea.DPO(LAM), tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    again = LlamaForCausalLM.from_pretrained(tmp_path / "saved")
    file = io.BytesIO()
    torch.save(trainer.model.state_dict(), file)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


# ------------------------------------------------------------------------------------------------------ router's loss


class WithoutAChoice(MixtralForCausalLM):
    """Of a forward pass that always makes all logits."""

    def forward(self, input_ids: torch.Tensor, output_router_logits: bool = False) -> Any:
        return super().forward(input_ids, output_router_logits=output_router_logits)


@pytest.mark.parametrize(("kind", "positions"), [(MixtralForCausalLM, 1), (WithoutAChoice, 5)])
def test_a_routers_loss_needs_the_logits_of_one_position_only(kind: Any, positions: int) -> None:
    """Which is what the model is asked for where it can be; states and loss are those of the whole pass."""
    torch.manual_seed(0)
    model = kind(llm_architectures.build("MixtralForCausalLM").config).eval()
    ids = torch.arange(3, 13).view(2, 5)
    whole = MixtralForCausalLM.forward(model, ids, output_router_logits=True, output_hidden_states=True)
    made = []
    handle = model.lm_head.register_forward_hook(lambda module, given, output: made.append(output.shape[1]))
    states, aux_loss = head._states_and_aux(model, model.forward, ids)
    handle.remove()
    assert made == [positions]
    torch.testing.assert_close(states, whole.hidden_states[-1])
    torch.testing.assert_close(aux_loss, whole.aux_loss)


def test_the_last_chunk_of_a_head_is_not_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its probabilities are kept for the backward pass, which computes those of the others anew."""
    counts: list[int] = []
    softmax = chunks._softmax
    monkeypatch.setattr(chunks, "_softmax", lambda *given: counts.append(len(given[0])) or softmax(*given))
    states, weight = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    found = token_scores(states, Head(weight), torch.arange(7), size=3)
    assert counts == [1, 3, 3]
    found[0].sum().backward()
    assert counts == [1, 3, 3, 3, 1]
