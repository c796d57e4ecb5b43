"""The reference is the model as it is given, in evaluation mode, and nothing that is stored goes for another one."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, batch_of, first_log, logps_of, make, saved

from expo_analysis.llm import NotTheReference, PreferenceConfig, PreferenceTrainer  # isort: skip
from expo_analysis.llm.training import precomputed  # isort: skip
from peft import LoraConfig, PeftModel, get_peft_model  # isort: skip
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM  # isort: skip

LOG2 = pytest.approx(math.log(2), abs=1e-6)
STILL = {"max_steps": 2, "learning_rate": 0.0}
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is taken from what other tests have stored."""
    monkeypatch.setattr(precomputed, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def resized() -> tuple[Any, Any, Any]:
    """A model whose vocabulary has grown in memory, a tokenizer with the new token, and data that use it."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<sep>"]})
    model = tiny.llama(0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = {"prompt": ["w1 <sep> ", "w2 <sep> "], "chosen": ["w3", "w4"], "rejected": ["w5", "w6"]}
    return model, tokenizer, tiny.Dataset.from_dict(rows)


@pytest.mark.parametrize("how", ["copy", "precomputed", "token_kl"])
@pytest.mark.parametrize("model", ["from a config", "resized", "changed in memory"])
def test_the_reference_is_the_model_in_memory(model: str, how: str, tmp_path: Path) -> None:
    """Never what lies on disk under its name: it may have another vocabulary, other weights, or not exist."""
    tokenizer, data = tiny.tokenizer(), tiny.pairs(4)
    if model == "resized":
        policy, tokenizer, data = resized()
        policy.config._name_or_path = saved(tmp_path / "smaller")
    elif model == "changed in memory":
        policy = LlamaForCausalLM.from_pretrained(saved(tmp_path / "before"))
        with torch.no_grad():
            policy.lm_head.weight.mul_(1.5)
    else:
        policy = tiny.llama(0)
    loss = ea.EXPO(LAM) if how == "token_kl" else ea.DPO(LAM)
    given = {"precompute_ref_log_probs": how == "precomputed", "processing_class": tokenizer}
    trainer = make(loss, tmp_path / "out", model=policy, data=data, **given, **STILL)
    trainer.train()
    log = first_log(trainer)
    assert abs(log["mass/chosen"] if how != "token_kl" else log["kl/reference_policy"]) < 1e-5
    if how != "token_kl":
        assert log["loss"] == LOG2
    assert (trainer.ref_model is None) == (how == "precomputed")


def test_a_copy_stays_behind(tmp_path: Path) -> None:
    """The reference does not move with the policy, and shares what is not trained."""
    model = tiny.llama(0)
    model.model.embed_tokens.weight.requires_grad_(False)
    trainer = make(ea.DPO(LAM), tmp_path, model=model, max_steps=3, learning_rate=1e-2)
    before = logps_of(model, batch := batch_of(trainer))
    trainer.train()
    assert trainer.ref_model.model.embed_tokens.weight is model.model.embed_tokens.weight
    assert not any(parameter.requires_grad for parameter in trainer.ref_model.parameters())
    torch.testing.assert_close(
        trainer.engine.ref_logps(trainer.model, batch).double().view(2, -1), before, rtol=0, atol=1e-5
    )
    assert (logps_of(trainer.model, batch) - before).abs().max() > 0.1


@pytest.mark.parametrize("init", ["pissa", "olora", True])
@pytest.mark.parametrize("given", ["config", "model"])
def test_an_adapter_that_changes_the_weights_beneath(init: Any, given: str, tmp_path: Path) -> None:
    """PiSSA and OLoRA split the weights in two: without the adapter the model is another one."""
    lora = LoraConfig(**LORA, init_lora_weights=init)
    model = tiny.llama(0)
    before = copy.deepcopy(model)
    settings: dict[str, Any] = {"peft_config": lora} if given == "config" else {}
    policy = model if given == "config" else get_peft_model(model, lora)
    trainer = make(ea.DPO(LAM), tmp_path, model=policy, max_steps=3, learning_rate=3e-2, **settings)
    assert trainer.engine.reference.kind == ("adapter off" if init is True and given == "config" else "first adapter")
    batch = batch_of(trainer)
    trainer.train()
    assert first_log(trainer)["loss"] == LOG2
    found = trainer.engine.ref_logps(trainer.model, batch).double().view(2, -1)
    torch.testing.assert_close(found, logps_of(before, batch), rtol=0, atol=1e-4)
    assert (logps_of(trainer.model, batch) - found).abs().max() > 0.01


@pytest.mark.parametrize("how", ["dpo", "precomputed", "token_kl"])
def test_an_adapter_that_was_trained_before_is_its_own_reference(how: str, tmp_path: Path) -> None:
    base = tiny.llama(0)
    adapted = get_peft_model(base, LoraConfig(**LORA, init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    before = PeftModel.from_pretrained(tiny.llama(0), tmp_path / "adapter").eval()
    policy = PeftModel.from_pretrained(tiny.llama(0), tmp_path / "adapter", is_trainable=True)
    loss = ea.EXPO(LAM) if how == "token_kl" else ea.DPO(LAM)
    given = {"precompute_ref_log_probs": how == "precomputed", "max_steps": 3, "learning_rate": 3e-2}
    trainer = make(loss, tmp_path / "out", model=policy, **given)
    batch = batch_of(trainer)
    trainer.train()
    if how == "token_kl":
        assert first_log(trainer)["kl/reference_policy"] < 1e-6
    else:
        found = trainer.engine.ref_logps(trainer.model, batch).double().view(2, -1)
        torch.testing.assert_close(found, logps_of(before, batch), rtol=0, atol=1e-4)
        assert first_log(trainer)["loss"] == LOG2
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert trained and all(".default" in name for name in trained)


def gpt2(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    probabilities = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
    config = GPT2Config(
        vocab_size=len(tiny.WORDS) + 3, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3,
        bos_token_id=1, eos_token_id=1, pad_token_id=0, **probabilities,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


@pytest.mark.parametrize("how", ["copy", "adapter off", "token_kl", "precomputed"])
def test_the_reference_has_no_dropout(how: str, tmp_path: Path) -> None:
    """Even where the policy keeps its own."""
    loss = ea.EXPO(LAM) if how == "token_kl" else ea.DPO(LAM)
    lora = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    given: dict[str, Any] = {"peft_config": lora} if how == "adapter off" else {}
    model = gpt2()
    before = copy.deepcopy(model)
    given |= {"disable_dropout": False, "precompute_ref_log_probs": how == "precomputed"}
    trainer = make(loss, tmp_path, model=model, **given, **STILL)
    batch = batch_of(trainer)
    trainer.model.train()
    if how == "token_kl":
        reference = trainer.engine._reference_states(trainer.model, batch)
        ref = reference.part(slice(None)).log_softmax(-1)
        before.eval()
        logits = before(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        torch.testing.assert_close(ref, logits[batch["completion_mask"][:, 1:] == 1].log_softmax(-1))
    else:
        found = trainer.engine.ref_logps(trainer.model, batch).double().view(2, -1)
        torch.testing.assert_close(found, logps_of(before, batch), rtol=0, atol=1e-5)
    assert trainer.model.training  # and the policy is left as it was
    policy = [trainer.engine.losses(trainer.model, batch, at_start=False).logps["policy"] for _ in range(2)]
    assert (policy[0] - policy[1]).abs().max() > 0.1  # it has dropout


def test_dropout_that_layers_keep_as_a_number_is_switched_off(tmp_path: Path) -> None:
    """OPT's modules have a float, and no module of dropout."""
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=len(tiny.WORDS) + 3, hidden_size=16, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16, dropout=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=1,
        init_std=0.3,
    )  # fmt: skip
    trainer = make(ea.DPO(LAM), tmp_path, model=OPTForCausalLM(config), **STILL)
    batch = batch_of(trainer)
    trainer.model.train()
    policy = [trainer.engine.losses(trainer.model, batch, at_start=False).logps["policy"] for _ in range(2)]
    assert torch.equal(*policy)


# ------------------------------------------------------------------------------------------------------- what is stored


def with_columns(data: Any) -> Any:
    numbers = {"ref_chosen_logps": [-1.0] * len(data), "ref_rejected_logps": [-2.0] * len(data)}
    for name, values in numbers.items():
        data = data.add_column(name, values)
    return data


def test_log_probabilities_in_the_data_are_read_only_if_asked_for(tmp_path: Path) -> None:
    data = with_columns(tiny.pairs(4))
    trainer = make(ea.DPO(LAM), tmp_path, data=data, ref_model=tiny.llama(0), **STILL)
    trainer.train()
    assert first_log(trainer)["loss"] == LOG2
    asked = make(ea.DPO(LAM), tmp_path, data=data, use_ref_columns=True, **STILL)
    assert asked.ref_model is None
    asked.train()
    moved = logps_of(tiny.llama(0), batch_of(trainer)) - torch.tensor([[-1.0], [-2.0]])
    expected = -torch.nn.functional.logsigmoid(LAM * (moved[0] - moved[1])).mean()
    assert first_log(asked)["loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("adapter", [False, True])
def test_how_far_columns_are_from_the_model_is_said(
    adapter: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stale ones cannot be told from another model's, so that nothing is refused; once, at the first step."""
    data, given = tiny.pairs(8), {"peft_config": LoraConfig(**LORA)} if adapter else {}
    first = make(ea.DPO(LAM), tmp_path, data=data, precompute_ref_log_probs=True, **STILL)
    own = first.train_dataset
    stored = {name: own[name][:] for name in ("ref_chosen_logps", "ref_rejected_logps")}
    for shift, expected in (
        (0.0, "are the model's own log-probabilities before the first step, to "),
        (1.5, "by up to 1.5 na"),
    ):
        moved = data
        for name, values in stored.items():
            moved = moved.add_column(name, [value - shift * (name == "ref_rejected_logps") for value in values])
        caplog.clear()
        make(ea.DPO(LAM), tmp_path, data=moved, use_ref_columns=True, max_steps=2, **given).train()
        lines = [
            line for line in caplog.messages if line.startswith("the columns ref_chosen_logps, ref_rejected_logps")
        ]
        assert len(lines) == 1 and expected in lines[0] and ("stale" in lines[0]) == (shift > 0)


def test_columns_of_an_earlier_run_are_computed_anew(tmp_path: Path) -> None:
    """The training data of a precomputing trainer, given to another one with other weights."""
    first = make(ea.DPO(LAM), tmp_path, precompute_ref_log_probs=True, model=tiny.llama(0), **STILL)
    second = make(
        ea.DPO(LAM), tmp_path, precompute_ref_log_probs=True, model=tiny.llama(1), data=first.train_dataset, **STILL
    )
    second.train()
    assert first_log(second)["loss"] == LOG2
    assert set(second.train_dataset.column_names) >= {"ref_chosen_logps", "ref_rejected_logps"}


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "objective": {"objective": ea.IPO(0.7, )},
    "precision": {"bf16": True},
    "weights": {"model": 1},
    "a single weight": {"model": "nudged"},
    "length": {"max_length": 5},
    "data": {"data": 3},
    "order of the data": {"data": "reversed"},
    "tokens beyond the shared length": {"ld_alpha": 0.5},
    "batch size": {"precompute_ref_batch_size": 3},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_cache_belongs_to_all_that_it_depends_on(
    change: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Computed again exactly where something has changed that the numbers depend on; and right either way."""

    def run(objective: Any = None, model: Any = 0, data: Any = 0, **given: Any) -> PreferenceTrainer:
        policy = tiny.llama(0 if model == "nudged" else model)
        if model == "nudged":
            with torch.no_grad():
                policy.lm_head.weight[7, 3] += 1e-3
        rows = tiny.pairs(6, seed=0 if data == "reversed" else data)
        rows = rows.select(range(5, -1, -1)) if data == "reversed" else rows
        settings = {"precompute_ref_log_probs": True, **STILL} | given
        return make(objective or ea.DPO(LAM), tmp_path / "out", model=policy, data=rows, **settings)

    run()
    assert len(list(own_cache.glob("*.npy"))) == 1
    changed = run(**CHANGES[change])
    again = change in ("nothing", "objective")
    assert len(list(own_cache.glob("*.npy"))) == (1 if again else 2)
    changed.train()  # compares what is stored with the model
    assert abs(first_log(changed)["rewards/chosen"]) / LAM < (0.2 if change == "precision" else 1e-4)


def test_a_cache_of_other_numbers_is_noticed_at_the_start(own_cache: Path, tmp_path: Path) -> None:
    """Whatever the reason: the first step compares."""
    make(ea.DPO(LAM), tmp_path, precompute_ref_log_probs=True, **STILL)
    (file,) = own_cache.glob("*.npy")
    np.save(file, np.load(file) + 0.05)
    stale = make(ea.DPO(LAM), tmp_path, precompute_ref_log_probs=True, **STILL)
    with pytest.raises(NotTheReference, match=r"stored log-probabilities of the reference are off by 0\.05 nats"):
        stale.train()


def test_precomputed_references_of_another_model(tmp_path: Path) -> None:
    reference = tiny.llama(1)
    trainer = make(ea.DPO(LAM), tmp_path, ref_model=reference, precompute_ref_log_probs=True, **STILL)
    trainer.train()
    batch = batch_of(trainer)
    expected = ea.DPO(LAM).loss(*logps_of(tiny.llama(0), batch), *logps_of(tiny.llama(1), batch)).mean()
    with torch.no_grad():
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_float64_is_stored_in_float64(tmp_path: Path) -> None:
    model = tiny.llama(0).double()
    trainer = make(ea.DPO(LAM), tmp_path, model=model, precompute_ref_log_probs=True, **STILL)
    batch = batch_of(trainer)
    found = trainer.engine.ref_logps(trainer.model, batch).view(2, -1)
    torch.testing.assert_close(found, logps_of(tiny.llama(0).double(), batch), rtol=0, atol=1e-12)


def test_data_that_come_after_training_have_no_stored_reference(tmp_path: Path) -> None:
    """Where the reference was the model before training; with an adapter it can still be had."""
    trainer = make(ea.DPO(LAM), tmp_path, precompute_ref_log_probs=True, max_steps=1)
    assert trainer.evaluate(tiny.pairs(3, seed=4))["eval_loss"] == LOG2
    trainer.train()
    with pytest.raises(ValueError, match="eval_dataset has no log-probabilities of the reference, which was the model"):
        trainer.evaluate(tiny.pairs(3, seed=4))
    adapted = make(ea.DPO(LAM), tmp_path, precompute_ref_log_probs=True, max_steps=1, peft_config=LoraConfig(**LORA))
    adapted.train()
    assert adapted.evaluate(tiny.pairs(3, seed=4))["eval_mass/chosen"] != 0


# ------------------------------------------------------------------------------------------------- checked at the start


def test_a_model_that_changed_after_its_reference_was_taken(tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path, **STILL)
    with torch.no_grad():
        trainer.model.lm_head.weight.mul_(1.01)
    with pytest.raises(NotTheReference, match="the model is not its reference before the first step: a log-ratio is"):
        trainer.train()


def test_a_given_reference_may_be_another_model(tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1), **STILL)
    trainer.train()
    assert first_log(trainer)["loss"] != LOG2


def test_the_tokenizer_is_of_the_same_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything that is loaded by the model's name is: configuration, weights, tokenizer."""
    from expo_analysis.llm.training import modelling

    seen: list[tuple[str, Any]] = []
    inside: list[str] = []  # what these load themselves is their business

    def watch(kind: Any, label: str) -> None:
        original = kind.from_pretrained

        def watched(name: Any, *args: Any, **kwargs: Any) -> Any:
            revision = kwargs.pop("revision", None)
            if not inside:
                seen.append((label, revision))
            inside.append(label)
            try:
                return original(name, *args, **kwargs)
            finally:
                inside.pop()

        monkeypatch.setattr(kind, "from_pretrained", watched)

    for name in ("AutoConfig", "AutoProcessor", "AutoTokenizer"):
        watch(getattr(modelling, name), name)
    watch(LlamaForCausalLM, "model")
    args = PreferenceConfig(**tiny.settings(tmp_path / "out", model_init_kwargs={"revision": "v2"}))
    PreferenceTrainer(saved(tmp_path / "model"), ea.DPO(LAM), args, train_dataset=tiny.pairs(4))
    assert {"model", "AutoConfig"} <= {kind for kind, _ in seen}
    assert {"AutoProcessor", "AutoTokenizer"} & {kind for kind, _ in seen}
    assert {revision for _, revision in seen} == {"v2"}


def test_the_reference_moves_where_it_is_asked_to(tmp_path: Path) -> None:
    """TR-DPO: (1 - a) reference + a policy, in the weights, every few steps."""
    given = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.25}
    trainer = make(ea.DPO(LAM), tmp_path, max_steps=3, learning_rate=1e-2, optim="sgd", **given)
    start = trainer.ref_model.lm_head.weight.clone()
    after: list[torch.Tensor] = []

    class Watch(tiny.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            if state.global_step == 2:
                after.append(model.lm_head.weight.detach().clone())

    trainer.add_callback(Watch)
    trainer.train()
    torch.testing.assert_close(trainer.ref_model.lm_head.weight, 0.75 * start + 0.25 * after[0])


def test_the_gradient_on_what_is_optimal_needs_no_stored_reference(tmp_path: Path) -> None:
    """Before training the model answers for itself; with columns of the data it has none."""
    given = {"optimal_dataset": tiny.pairs(4, seed=5), "max_steps": 1}
    norms = []
    for stored in (False, True):
        trainer = make(ea.DPO(LAM), tmp_path, precompute_ref_log_probs=stored, **given)
        trainer.train()
        norms.append(trainer.optimal_gradient_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-5) and norms[0] > 0
    asked = make(ea.DPO(LAM), tmp_path, data=with_columns(tiny.pairs(4)), use_ref_columns=True, max_steps=1)
    with pytest.raises(ValueError, match=r"the data must have the columns \['ref_chosen_logps', 'ref_rej"):
        asked.first_step_gradient_norm(make(ea.DPO(LAM), tmp_path, **given)._optimal.rows)


@pytest.mark.parametrize("given", [False, True])
def test_deepspeed_prepares_a_model_that_is_its_own_reference(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its log-probabilities are computed; a reference that is given is a model of its own."""
    from expo_analysis.llm.training import precomputed

    prepared: list[Any] = []
    trainer = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1) if given else None)
    monkeypatch.setattr(precomputed, "prepare", lambda model, accelerator: prepared.append(model) or model)
    monkeypatch.setattr(trainer, "is_deepspeed_enabled", True)
    monkeypatch.setattr(trainer.engine.reference, "model", trainer.engine.reference.model if given else None)
    monkeypatch.setattr(trainer.engine, "live_ref_logps", lambda model, batch: torch.zeros(2, len(batch["rows"])))
    precomputed.precompute(trainer, trainer.data, 4)
    assert prepared == ([] if given else [trainer.model])
