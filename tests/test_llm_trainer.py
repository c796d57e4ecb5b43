"""The trainer's loss on sequences, by hand; what it holds in memory; and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, batch_of, flat_gradient, loss_and_gradient, make, token_distributions

from expo_analysis.llm import NonFiniteLoss, PreferenceConfig  # isort: skip
from peft import LoraConfig  # isort: skip
from expo_analysis.llm.training.head import Way  # isort: skip
from transformers import CohereConfig, CohereForCausalLM  # isort: skip

# -------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
@pytest.mark.parametrize("estimator", ["own_responses", "reference_samples", "token_kl", "token_kl on samples"])
def test_expo_by_hand(estimator: str, aggregation: str, tmp_path: Path) -> None:
    """From the model's plain logits: softplus(-h) + lam times each estimator's definition."""
    on_samples = estimator == "token_kl on samples"
    name = "token_kl" if on_samples else estimator
    reference = tiny.llama(1) if name == "token_kl" else None
    trainer = make(
        ea.EXPO(LAM),
        tmp_path,
        data=tiny.pairs(8, samples=3),
        ref_model=reference,
        regulariser_estimator=name,
        token_prefixes="reference_samples" if on_samples else "responses",
        aggregation=aggregation,
        token_chunk_size=7,
    )
    batch = batch_of(trainer)
    loss, gradient = loss_and_gradient(trainer, batch)

    trainer.model.zero_grad()
    logp, of_tokens, mask = token_distributions(trainer.model, batch)
    lengths = mask.sum(1) if aggregation == "mean" else torch.ones(len(mask))
    w, y = ((of_tokens * mask).sum(1) / lengths).chunk(2)
    expected = torch.nn.functional.softplus(y - w)
    samples = token_distributions(trainer.model, batch, "sample_") if "sample_input_ids" in batch else None
    if name == "own_responses":
        expected = expected - LAM * (w + y) / 2
        assert samples is None
    else:
        if name == "reference_samples" or on_samples:
            assert samples is not None
            logp, of_tokens, mask = samples
            lengths = mask.sum(1) if aggregation == "mean" else torch.ones(len(mask))
        if name == "token_kl":
            ref = token_distributions(reference, batch, "sample_" if on_samples else "")[0].detach()
            terms = (ref.exp() * (ref - logp)).sum(-1)
        else:
            terms = -of_tokens
        rows = (terms * mask).sum(1) / lengths
        by_pair = rows.view(len(w), 3) if samples is not None else rows.view(2, len(w)).T
        expected = expected + LAM * by_pair.mean(1)
    expected.mean().backward()
    assert loss == pytest.approx(expected.mean().item(), rel=1e-5)
    torch.testing.assert_close(gradient, flat_gradient(trainer.model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", [ea.SPO(LAM), ea.ExplicitPO(LAM, divergence="jensen_shannon")])
def test_other_divergences_are_summed_over_tokens(objective: ea.PairObjective, tmp_path: Path) -> None:
    reference = tiny.llama(1)
    trainer = make(objective, tmp_path, ref_model=reference)
    assert trainer.estimator == "token_divergence"
    batch = batch_of(trainer)
    loss, _ = loss_and_gradient(trainer, batch)
    logp, of_tokens, mask = token_distributions(trainer.model, batch)
    ref = token_distributions(reference, batch)[0]
    w, y = (of_tokens * mask).sum(1).chunk(2)
    divergence = (objective.regulariser(logp, ref) * mask).sum(1).view(2, -1).mean(0)
    expected = torch.nn.functional.softplus(y - w) + LAM * divergence
    assert loss == pytest.approx(expected.mean().item(), rel=1e-5)


def test_a_batch_does_not_depend_on_its_padding_or_chunks(tmp_path: Path) -> None:
    data = tiny.pairs(4, samples=2)
    found = []
    for chunk, multiple in ((1, None), (1000, 16)):
        trainer = make(
            ea.EXPO(LAM),
            tmp_path,
            data=data,
            ref_model=tiny.llama(1),
            regulariser_estimator="token_kl",
            token_prefixes="reference_samples",
            token_chunk_size=chunk,
            pad_to_multiple_of=multiple,
        )
        found.append(loss_and_gradient(trainer, batch_of(trainer)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_an_incomplete_last_step_is_the_mean_over_its_pairs(tmp_path: Path) -> None:
    """Micro-batches of 2, 2 and 1 pairs move the weights as one batch of 5 does."""
    moved = []
    for size, accumulation in ((5, 1), (2, 4)):
        trainer = make(
            ea.DPO(LAM),
            tmp_path,
            data=tiny.pairs(5),
            ref_model=tiny.llama(1),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=1,
            optim="sgd",
            max_grad_norm=0.0,
            learning_rate=0.1,
        )
        trainer.train()
        assert trainer.state.global_step == 1
        moved.append((trainer.state.log_history[0]["loss"], trainer.model.lm_head.weight.detach()))
    assert moved[0][0] == pytest.approx(moved[1][0], rel=1e-5)
    torch.testing.assert_close(moved[0][1], moved[1][1], rtol=1e-5, atol=1e-7)


def test_evaluation_is_the_mean_over_all_pairs(tmp_path: Path) -> None:
    data, reference = tiny.pairs(7, seed=3), tiny.llama(1)
    given = {"eval_dataset": data, "per_device_eval_batch_size": 3, "aggregation": "sum"}
    trainer = make(ea.IPO(LAM), tmp_path, ref_model=reference, **given)
    measured = trainer.evaluate()
    whole = trainer.data_collator(list(trainer.eval_dataset))
    sums = []
    for model in (trainer.model, reference):
        _, of_tokens, mask = token_distributions(model, whole)
        sums += (of_tokens * mask).sum(1).chunk(2)
    expected = ea.IPO(LAM).loss(*sums)
    assert measured["eval_loss"] == pytest.approx(expected.mean().item(), rel=1e-5)
    assert {"eval_rewards/margins", "eval_kl_estimate/reference_policy", "eval_mass/chosen"} <= set(measured)


# ------------------------------------------------------------------------------------------------- the reference


@pytest.fixture
def no_second_model(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Counts the models that are made, and fails where TRL would load one."""
    made: list[Any] = []
    build = tiny.LlamaForCausalLM.__init__

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        build(self, *args, **kwargs)

    monkeypatch.setattr(tiny.LlamaForCausalLM, "__init__", counted)
    return made


@pytest.mark.parametrize("estimator", ["own_responses", "reference_samples"])
@pytest.mark.parametrize("by_name", [False, True], ids=["instance", "folder"])
def test_expo_loads_no_reference(estimator: str, by_name: bool, no_second_model: Any, tmp_path: Path) -> None:
    model: Any = tiny.llama(0)
    if by_name:
        model.save_pretrained(tmp_path / "model")
        tiny.tokenizer().save_pretrained(tmp_path / "model")
        model = str(tmp_path / "model")
        no_second_model.clear()
    trainer = make(
        ea.EXPO(LAM), tmp_path, model=model, data=tiny.pairs(8, samples=2), regulariser_estimator=estimator, max_steps=2
    )
    trainer.train()
    assert trainer.ref_model is None
    assert len(no_second_model) == 1


def test_with_an_adapter_the_reference_is_the_model_without_it(tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    trainer = make(ea.EXPO(LAM), tmp_path, peft_config=lora, regulariser_estimator="token_kl")
    assert trainer.ref_model is None
    batch = batch_of(trainer)
    loss, _ = loss_and_gradient(trainer, batch)
    logp, of_tokens, mask = token_distributions(trainer.model, batch)
    with trainer.model.disable_adapter():
        ref = token_distributions(trainer.model, batch)[0]
    w, y = (of_tokens * mask).sum(1).chunk(2)
    divergence = ((ref.exp() * (ref - logp)).sum(-1) * mask).sum(1).view(2, -1).mean(0)
    assert divergence.min() > 1e-4
    expected = torch.nn.functional.softplus(y - w) + LAM * divergence
    assert loss == pytest.approx(expected.mean().item(), rel=1e-5)


def test_a_model_that_scales_its_logits(tmp_path: Path) -> None:
    """Token by token too, it is compared as it is."""

    def cohere(seed: int) -> Any:
        plain = tiny.llama(0).config
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        torch.manual_seed(seed)
        return CohereForCausalLM(
            CohereConfig(logit_scale=3.0, pad_token_id=plain.pad_token_id, **{n: getattr(plain, n) for n in names})
        )

    reference = cohere(1)
    trainer = make(ea.EXPO(LAM), tmp_path, model=cohere(0), ref_model=reference)
    batch = batch_of(trainer)
    loss, gradient = loss_and_gradient(trainer, batch)
    assert trainer.engine.ways["policy"] == Way("weight", scale=3.0)
    trainer.model.zero_grad()
    logp, of_tokens, mask = token_distributions(trainer.model, batch)
    ref = token_distributions(reference, batch)[0].detach()
    w, y = (of_tokens * mask).sum(1).chunk(2)
    divergence = ((ref.exp() * (ref - logp)).sum(-1) * mask).sum(1).view(2, -1).mean(0)
    expected = (torch.nn.functional.softplus(y - w) + LAM * divergence).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient, flat_gradient(trainer.model), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------- metrics


def test_metrics_by_hand(tmp_path: Path) -> None:
    reference = tiny.llama(1)
    trainer = make(ea.DPO(LAM), tmp_path, ref_model=reference, max_steps=1, learning_rate=0.0)
    batch = batch_of(trainer)
    trainer.model.train()
    trainer.compute_loss(trainer.model, batch)
    found = trainer.means(trainer.sums)
    sums = []
    for model in (trainer.model, reference):
        _, of_tokens, mask = token_distributions(model, batch)
        sums.append((of_tokens * mask).sum(1).detach())
    moved = (sums[0] - sums[1]).view(2, -1)
    ratio, tokens = moved.exp(), mask.sum().item()
    assert found["mass/chosen"] == pytest.approx(moved[0].mean().item(), rel=1e-4)
    assert found["mass/both_fell"] == pytest.approx((moved < 0).all(0).double().mean().item())
    assert found["rewards/rejected"] == pytest.approx(LAM * moved[1].mean().item(), rel=1e-4)
    assert found["kl_estimate/reference_policy"] == pytest.approx(-moved.mean().item(), rel=1e-4)
    assert found["kl_estimate/reference_policy_per_token"] == pytest.approx(-moved.sum().item() / tokens, rel=1e-4)
    reverse = ratio * moved - ratio + 1
    assert found["kl_estimate/policy_reference"] == pytest.approx(reverse.mean().item(), rel=1e-3)
    assert found["kl_estimate/policy_reference_per_token"] == pytest.approx(reverse.sum().item() / tokens, rel=1e-3)


def test_metrics_of_whole_distributions(tmp_path: Path) -> None:
    reference = tiny.llama(1)
    trainer = make(ea.EXPO(LAM), tmp_path, ref_model=reference, regulariser_estimator="token_kl")
    batch = batch_of(trainer)
    trainer.model.train()
    trainer.compute_loss(trainer.model, batch)
    found = trainer.means(trainer.sums)
    logp, _, mask = token_distributions(trainer.model, batch)
    ref = token_distributions(reference, batch)[0]
    for name, a, b in (("reference_policy", ref, logp), ("policy_reference", logp, ref)):
        total = ((a.exp() * (a - b)).sum(-1) * mask).sum().item()
        assert found[f"kl/{name}"] == pytest.approx(total / len(mask), rel=1e-4)
        assert found[f"kl/{name}_per_token"] == pytest.approx(total / mask.sum().item(), rel=1e-4)
    assert found["loss/regulariser"] == pytest.approx(found["kl/reference_policy"], rel=1e-5)


def test_without_a_reference_there_are_no_metrics_of_it(tmp_path: Path) -> None:
    """Unless its log-probabilities were precomputed, which needs no second model."""
    for precomputed in (False, True):
        own = {"regulariser_estimator": "own_responses", "max_steps": 2}
        trainer = make(ea.EXPO(LAM), tmp_path, precompute_ref_log_probs=precomputed, **own)
        trainer.train()
        logged = trainer.state.log_history[0]
        assert trainer.ref_model is None
        assert ("kl_estimate/reference_policy" in logged) == ("mass/chosen" in logged) == precomputed
    assert abs(logged["mass/chosen"]) < 1e-4  # nothing has moved before the first step
    assert logged["rewards/chosen"] == pytest.approx(LAM * logged["logps/chosen"])


FIRST_STEP = {
    "expo": (ea.EXPO(LAM), {"regulariser_estimator": "token_kl"}, True),
    "regression_expo": (ea.RegressionEXPO(LAM), {}, True),
    "dpo": (ea.DPO(LAM), {}, False),
    "ipo": (ea.IPO(LAM), {}, False),
}


@pytest.mark.parametrize("name", FIRST_STEP)
def test_first_step_on_what_is_already_optimal(name: str, tmp_path: Path) -> None:
    """Under labels by the reference itself EXPO has nothing to learn at the start; DPO and IPO do. [ours]"""
    objective, given, is_zero = FIRST_STEP[name]
    model = tiny.llama(0)
    trainer = make(
        objective,
        tmp_path,
        model=model,
        ref_model=tiny.llama(0),
        optimal_dataset=tiny.pairs(6, seed=5),
        max_steps=1,
        aggregation="mean",  # sums are so far apart that labels are nearly certain
        **given,
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    norm = trainer.first_step_gradient_norm(trainer._optimal.rows)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert norm < 1e-6 if is_zero else norm > 1e-2
    trainer.train()
    assert trainer.state.log_history[0]["optimal/grad_norm"] == pytest.approx(norm, abs=1e-6)


# -------------------------------------------------------------------------------------------------- what it leaves


def test_checkpoint_card_and_tensorboard(tmp_path: Path) -> None:
    trainer = make(
        ea.EXPO(LAM),
        tmp_path / "run",
        max_steps=2,
        save_strategy="steps",
        save_steps=2,
        report_to="tensorboard",
        project="x",
    )
    trainer.train()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "2506.07492" in card and "expo-analysis" in card
    assert (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").exists()
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))
    again = make(ea.EXPO(LAM), tmp_path / "other", model=str(tmp_path / "run" / "checkpoint-2"))
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key


# ---------------------------------------------------------------------------------------------------- bad input


def spoilt() -> Any:
    model = tiny.llama(0)
    with torch.no_grad():
        model.model.embed_tokens.weight[3 + tiny.WORDS.index("w7")] = float("inf")
    return model


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    """At the rows that are to blame, and before the weights are touched."""
    data = tiny.Dataset.from_dict(
        {"prompt": ["w1 "] * 4, "chosen": ["w2", "w3", "w4 w7 w2", "w5"], "rejected": ["w3", "w4", "w5", "w6"]}
    )
    trainer = make(ea.EXPO(LAM), tmp_path, model=spoilt(), data=data, max_steps=3)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    with pytest.raises(
        NonFiniteLoss,
        match=r"not finite after step 0, at train_dataset: row 2 of the data set as it was given: nan \(chosen",
    ):
        trainer.train()
    assert all(torch.equal(before[key], value) for key, value in trainer.model.state_dict().items())


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "rlhf": (ea.RLHF(LAM), {}, "objective must be a loss of pairs.*RLHF has a reward"),
    "aux_dpo": (
        ea.AuxDPO(LAM),
        {},
        "objective must have no variables beside the model's, got AuxDPO",
    ),
    "name": ("dpo", {}, "objective must be a loss of pairs.*got 'dpo'"),
    "lambdas": (ea.DPO(np.array([0.1, 0.2])), {}, "objective must have one number as lam"),
    "beta": (ea.DPO(LAM), {"beta": 0.4}, "beta must be the objective's lam, 0.3, or not be set; got 0.4"),
    "twice": (ea.DPO(LAM), {"objective": "ipo"}, "objective must be given once"),
    "estimator without use": (ea.DPO(LAM), {"regulariser_estimator": "token_kl"}, "not used by DPO"),
    "estimator of another": (ea.SPO(LAM), {"regulariser_estimator": "token_kl"}, "'token_divergence' is accepted"),
    "prefixes without use": (
        ea.EXPO(LAM),
        {"token_prefixes": "reference_samples", "regulariser_estimator": "own_responses"},
        "token_prefixes is not used by",
    ),
    "reference without use": (
        ea.EXPO(LAM),
        {"ref_model": "model", "regulariser_estimator": "own_responses"},
        r"ref_model is not used by EXPO\(lam=0.3\) with the estimator",
    ),
    "precomputed distributions": (
        ea.EXPO(LAM),
        {"regulariser_estimator": "token_kl", "precompute_ref_log_probs": True},
        "precompute_ref_log_probs is not used by the estimator token_kl",
    ),
    "sync": (
        ea.EXPO(LAM),
        {"sync_ref_model": True, "regulariser_estimator": "own_responses"},
        "sync_ref_model is not used by EXPO",
    ),
    "sync and stored": (
        ea.DPO(LAM),
        {"sync_ref_model": True, "precompute_ref_log_probs": True},
        "sync_ref_model is not used with precompute_ref_log_probs",
    ),
    "vocabulary": (ea.DPO(LAM), {"ref_model": "larger"}, "ref_model must have the model's vocabulary of 43 tokens"),
    "samples": (ea.EXPO(LAM), {"regulariser_estimator": "reference_samples"}, "must have the column 'reference_samp"),
    "no evaluation data": (ea.DPO(LAM), {"eval_dataset": {}}, "eval_dataset must have a data set, but it is empty"),
}


@pytest.mark.parametrize(("objective", "given", "message"), BAD.values(), ids=BAD)
def test_bad_arguments(objective: Any, given: dict[str, Any], message: str, tmp_path: Path) -> None:
    if "ref_model" in given:
        given = given | {"ref_model": tiny.llama(1, vocabulary=43 if given["ref_model"] == "model" else 50)}
    with pytest.raises((TypeError, ValueError), match=message):
        make(objective, tmp_path, **given)


def test_a_tokenizer_with_more_tokens_than_the_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="processing_class must have at most the model's 43 tokens, but it has 45"):
        make(ea.EXPO(LAM), tmp_path, processing_class=tiny.tokenizer([*tiny.WORDS, "more", "evenmore"]))


BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "aggregation": ({"aggregation": "max"}, "aggregation must be one of .*got 'max'"),
    "estimator": ({"regulariser_estimator": "exact"}, "regulariser_estimator must be one of .*got 'exact'"),
    "prefixes": ({"token_prefixes": "all"}, "token_prefixes must be one of"),
    "bad rows": ({"on_bad_rows": "skip"}, "on_bad_rows must be one of"),
    "chunk": ({"token_chunk_size": 0}, "token_chunk_size must be a positive integer, got 0"),
    "beta": ({"beta": -1.0}, "beta must be a finite number above 0, got -1.0"),
    "objective": ({"objective": "expoo"}, "objective must be one of .*got 'expoo'"),
    "rlhf": ({"objective": "rlhf"}, "RLHF has a reward"),
    "qpo": ({"objective": "qpo"}, "pass QPO"),
    "option": ({"objective": "dpo", "objective_options": {"tau": 1}}, "tau is not an option of 'dpo'"),
    "options alone": ({"objective_options": {"tau": 1}}, "which is not set"),
    "not json": ({"objective": "dpo", "objective_options": "x=1"}, "objective_options must be a JSON object"),
    "no mapping": ({"objective": "dpo", "objective_options": "[1]"}, "objective_options must be a mapping"),
}


@pytest.mark.parametrize(("given", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        PreferenceConfig(**tiny.settings(tmp_path, **given))


def test_the_config_names_the_objective(tmp_path: Path) -> None:
    options = '{"label_smoothing": 0.1}'
    trainer = make(None, tmp_path, objective="dpo", beta=0.2, objective_options=options, ref_model=tiny.llama(1))
    assert trainer.objective == ea.DPO(0.2, label_smoothing=0.1)
    assert make(None, tmp_path).objective == ea.EXPO(0.1)


def test_data_that_nothing_would_be_learned_from(tmp_path: Path) -> None:
    data = tiny.pairs(4)
    for given, error, message in (
        (
            {"data": {"train": data, "test": data}},
            TypeError,
            "train_dataset must be one data set, got several; give one of 't",
        ),
        (
            {"optimal_dataset": {"a": data}},
            TypeError,
            "optimal_dataset must be one data set, got several; give one of 'a'$",
        ),
        (
            {"data": data.add_column("weight", [0] * 4)},
            ValueError,
            "must have a row whose weight is not 0: nothing would",
        ),
        (
            {"data": data, "dataloader_drop_last": True, "per_device_train_batch_size": 5},
            ValueError,
            "the 5 rows of a ba",
        ),
    ):
        with pytest.raises(error, match=message):
            make(ea.DPO(LAM), tmp_path, **given)
    make(ea.DPO(LAM), tmp_path, data=data.add_column("weight", [0, 0, 0, 1]))
    make(ea.DPO(LAM), tmp_path, data=data, dataloader_drop_last=True, per_device_train_batch_size=4)


def test_evaluations_leave_out_no_rows_of_a_last_batch(tmp_path: Path) -> None:
    """`dataloader_drop_last` is of training: with it an evaluation of few rows would have no metric at all."""
    for rows in (3, 6):
        given = {"eval_dataset": tiny.pairs(rows, seed=3), "per_device_eval_batch_size": 4}
        whole, dropping = (make(ea.DPO(LAM), tmp_path, dataloader_drop_last=drop, **given) for drop in (False, True))
        expected, found = whole.evaluate(), dropping.evaluate()
        for name in ("eval_loss", "eval_rewards/margins", "eval_logps/chosen"):
            assert found[name] == expected[name]
        predicted = dropping.predict(tiny.pairs(rows, seed=3))
        assert len(predicted.label_ids) == rows and predicted.metrics["test_loss"] == expected["eval_loss"]
        assert dropping.args.dataloader_drop_last  # as training goes on with it
        assert len(dropping.get_train_dataloader()) == 2
    assert len(make(ea.DPO(LAM), tmp_path, data=tiny.pairs(7), dataloader_drop_last=True).get_train_dataloader()) == 1
