"""What a trainer and a recipe are given that is nearly right: taken for what is meant, or refused in one sentence."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from . import llm_models as tiny

import expo_analysis as ea  # isort: skip
from peft import LoraConfig  # isort: skip
from trl import DPOConfig  # isort: skip
from expo_analysis.llm import finetune, recipe  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.training import PreferenceConfig, PreferenceTrainer  # isort: skip

BASE = {"use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "max_steps": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("given")
    for name, seed in (("model", 0), ("other", 1)):
        tiny.llama(seed).save_pretrained(made / name)
        tiny.tokenizer().save_pretrained(made / name)
    tiny.pairs(8).to_json(made / "pairs.jsonl")
    return made


def trainer(folder: Path, model: Any = None, settings: dict[str, Any] | None = None, **given: Any) -> PreferenceTrainer:
    args = PreferenceConfig(str(folder / "out"), **BASE | (settings or {}))
    given = {"train_dataset": tiny.pairs(8), "processing_class": tiny.tokenizer()} | given
    return PreferenceTrainer(tiny.llama() if model is None else model, ea.DPO(0.1), args, **given)


def test_a_reference_by_name_is_loaded_as_the_policy_is(folder: Path) -> None:
    found = trainer(folder, str(folder / "model"), ref_model=str(folder / "other"))
    other = tiny.llama(1).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in found.ref_model.state_dict().items())
    assert not found.ref_model.training and not any(p.requires_grad for p in found.ref_model.parameters())
    by_object = trainer(folder, str(folder / "model"), ref_model=tiny.llama(1))
    assert found.train().training_loss == by_object.train().training_loss
    same = trainer(folder, str(folder / "model"), ref_model=str(folder / "model"))
    assert same.ref_model is not same.model
    bfloat = trainer(
        folder, str(folder / "model"), {"model_init_kwargs": {"dtype": "bfloat16"}}, ref_model=str(folder / "other")
    )
    assert bfloat.ref_model.dtype == torch.bfloat16
    with pytest.raises(ValueError, match=r"neither config\.json nor adapter_config\.json"):
        (folder / "empty").mkdir()
        trainer(folder, ref_model=str(folder / "empty"))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another reference": ({"ref_model": 3}, "ref_model must be a model, or the name or folder of one, got int"),
    "another model": ({"model": 3}, "model must be a model, or the name or folder of one, got int"),
    "model_init": ({"model_init": tiny.llama}, r"model_init is not used here, where .*: give model=f\(\)"),
    "grouped": (
        {"settings": {"train_sampling_strategy": "group_by_length"}},
        "train_sampling_strategy must be 'random' or 'sequential', got 'group_by_length': a row has several responses",
    ),
    "rebalanced": ({"settings": {"train_sampling_strategy": "batch_rebalance"}}, "got 'batch_rebalance'"),
    "a logger without its package": (
        {"settings": {"report_to": "dvclive"}},
        "report_to 'dvclive': its package is not installed; install it, or set report_to to none",
    ),
    "an unknown logger": ({"settings": {"report_to": ["wanbd"]}}, "got 'wanbd'; did you mean 'wandb'?"),
    "a stream without an end": (
        {"train_dataset": tiny.pairs(8).to_iterable_dataset(), "settings": {"max_steps": -1}},
        r"max_steps must be set for a stream \(dataset_streaming\), whose rows are not counted beforehand",
    ),
    "an adapter of nothing": (
        {"peft_config": LoraConfig(target_modules=["q_porj", "nope"])},
        r"lora_target_modules \(target_modules of peft_config\): the model has no module 'nope', 'q_porj'; its linear",
    ),
    "an adapter by a pattern": ({"peft_config": LoraConfig(target_modules=".*nope")}, "the model has no module '.*nop"),
    "an adapter beside nothing": (
        {"peft_config": LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_haed"])},
        r"lora_modules_to_save .*no module 'lm_haed'; its linear modules are called .*; did you mean 'lm_head'\?$",
    ),
    "float16": (
        {"settings": {"fp16": True}},
        "fp16 is not used on a CPU, which would compute in float32: leave it out",
    ),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(given: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        trainer(folder, **given)


def test_a_search_over_settings_is_refused_in_a_sentence(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"hyperparameter_search is not used here, .*: make a trainer for each setting"
    ):
        trainer(folder).hyperparameter_search(n_trials=1)


def test_no_model_beside_a_function_that_makes_one(folder: Path) -> None:
    args = PreferenceConfig(str(folder / "out"), **BASE)
    for more, message in (
        ({"model_init": tiny.llama}, "model_init is not used"),
        ({}, "model must be a model, .*NoneT"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            PreferenceTrainer(None, ea.DPO(0.1), args, train_dataset=tiny.pairs(8), **more)


def test_modules_of_an_adapter_that_are_not_there_are_told_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A list may serve several families of models."""
    given = {"target_modules": ["q_proj", "query_key_value"], "modules_to_save": None}
    found = trainer(folder, peft_config=LoraConfig(**given))
    assert any("q_proj.lora_A" in name for name, _ in found.model.named_parameters())
    said = [r.message for r in caplog.records if "no module" in r.message]
    assert len(said) == 1 and "has no module 'query_key_value'; its linear modules are called down_proj, " in said[0]
    caplog.clear()
    for targets in ("all-linear", ["self_attn.q_proj"], r".*\.v_proj"):
        trainer(folder, peft_config=LoraConfig(target_modules=targets))
    assert not [r for r in caplog.records if "no module" in r.message]


def test_sequential_rows_are_not_shuffled(folder: Path) -> None:
    found = trainer(folder, settings={"train_sampling_strategy": "sequential"})
    first = next(iter(found.get_train_dataloader()))
    assert first["rows"].tolist() == list(range(8))


def test_rows_beyond_the_positions_of_a_rotary_model(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    short = tiny.llama(max_position_embeddings=8)
    longest = 4 + 6 + 1  # a prompt's words, a response's, and the end
    lengths = [len(row["prompt"].split()) + 7 for row in tiny.pairs(8)]
    assert max(lengths) <= longest
    trainer(folder, short)
    said = [r.message for r in caplog.records if "max_position_embeddings" in r.message]
    assert said == [
        f"train_dataset: its longest row has {max(lengths)} tokens, and the model was made for 8 "
        "(max_position_embeddings); max_length=8 would cut such rows"
    ]
    caplog.clear()
    trainer(folder, short, {"max_length": 8})
    trainer(folder, tiny.llama(max_position_embeddings=max(lengths)))
    assert not [r for r in caplog.records if "max_position_embeddings" in r.message]


KINDS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "sft": ({"loss_type": "sft"}, 2, True),
    "mpo": ({"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, 2, True),
    "sft, one batch a step": ({"loss_type": "sft"}, 1, False),
    "dpo": ({}, 2, False),
}


@pytest.mark.parametrize(("given", "count", "told"), KINDS.values(), ids=KINDS)
def test_where_accumulation_is_not_trls(
    given: dict[str, Any], count: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = DPOConfig(str(tmp_path), bf16=False, use_cpu=True, gradient_accumulation_steps=count, **given)
    PreferenceConfig.from_trl(config)
    said = [r.message for r in caplog.records if "over all tokens of a whole step" in r.message]
    assert len(said) == told


# -------------------------------------------------------------------------------------------------------------- recipes


def words(folder: Path, *more: str, twice: bool = False) -> list[str]:
    own = {"model": folder / "model", "dataset_name": folder / "pairs.jsonl", "output_dir": folder / "run"}
    settings = {**own, "objective": "dpo", "use_cpu": "true", "bf16": "false", "max_steps": "1", "save_strategy": "no"}
    usual = [*itertools.chain(*((f"--{name}", str(value)) for name, value in settings.items()))]
    return [*usual, *more] if twice else tiny.flags(usual, *more)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["q_proj"], ["q_proj"]),
        (["q_proj", "v_proj"], ["q_proj", "v_proj"]),
        (["self_attn.q_proj"], ["self_attn.q_proj"]),
        (["all-linear"], "all-linear"),
        ([r".*\.q_proj"], r".*\.q_proj"),
    ],
)
def test_modules_of_lora(given: list[str], expected: Any, folder: Path) -> None:
    """A list of one is a list; all-linear and patterns are PEFT's."""
    parsed = recipe.parse(words(folder, "--use_peft", "--lora_target_modules", *given))
    assert parsed.model.lora_target_modules == expected
    trained = finetune.make_trainer(parsed, print).model
    adapted = {name.split(".")[-2] for name, _ in trained.named_modules() if name.endswith(".lora_A")}
    everything = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert adapted == (everything if given == ["all-linear"] else {name.split(".")[-1] for name in given})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max_steps=3", "--max_steps", "4"], "give --max_steps once, got '1' and '3' and '4'"),
        (["--max_steps", "1", "--max-steps", "4"], "give --max_steps once, got '1' and '4'"),
        (["--lam", "1", "--lam", "1", "--lam=2"], "give --lam once, got '1' and '2'"),
        (["--objective", "ipo", "expo"], "give --objective once, got 'dpo' and 'ipo expo'"),
        (["--resume", "--resume", "false"], "give --resume once, got 'true' and 'false'"),
        (["--no_disable_dropout", "--disable_dropout"], "give --no_disable_dropout once, got 'false' and 'true'"),
        (["--config=a.yaml", "--config", "b.yaml"], "give --config once, got 'a.yaml' and 'b.yaml'"),
    ],
)
def test_a_setting_that_is_given_two_values_is_refused(folder: Path, more: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        recipe.parse(words(folder, *more, twice=True))


def test_a_setting_that_is_given_one_value_twice_has_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 7\n")
    more = ["--config", str(tmp_path / "a.yaml")] * 2 + ["--max-steps=1", "--resume", "--resume"]
    parsed = recipe.parse(words(folder, *more, twice=True))
    assert parsed.config.seed == 7 and parsed.config.max_steps == 1 and parsed.script.resume


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--objective", "dop"], "Error: did you mean 'dpo'? objective must be one of ['a_star_po', "),
        (
            ["--test_split_size", "5", "--eval_strategy", "epoch"],
            "test_split_size must be a number between 0 and 1, got 5.0: it is the share of the training data that is",
        ),
        (["--fp16", "true"], "Error: fp16 is not used on a CPU"),
    ],
)
def test_what_the_command_says(more: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune.main(words(folder, *more)) == 2
    assert message in capsys.readouterr().err
