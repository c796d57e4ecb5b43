"""Settings that are not read are told of, none of the others is, and what is said of them is so."""

from __future__ import annotations

import dataclasses
import logging
import re
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from . import llm_models as tiny

import expo_analysis as ea  # isort: skip
from trl import DPOConfig  # isort: skip
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer, finetune, recipe  # isort: skip
from expo_analysis.llm.training import checks, unused  # isort: skip

FIELDS = {field.name for field in dataclasses.fields(PreferenceConfig)}
USUAL = {"use_cpu": True, "bf16": False, "report_to": "none", "max_steps": 2, "learning_rate": 0.01}


def config(**settings: Any) -> PreferenceConfig:
    return PreferenceConfig("out", **USUAL | settings)


def lines(args: Any, **given: bool) -> list[str]:
    return list(unused.unused(unused.Given(args, **given)))


EVALUATED = {"eval_strategy": "steps", "eval_steps": 1}
KNOWN: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    # what is not read, what is said, and the settings under which it is read; none where nothing reads it
    ({"label_names": ["labels"]}, "label_names has no effect here", {}),
    ({"length_column_name": "size"}, "length_column_name has no effect here", {}),
    ({"include_for_metrics": ["inputs"]}, "include_for_metrics has no effect here", {}),
    ({"average_tokens_across_devices": False}, "average_tokens_across_devices has no effect here", {}),
    ({"use_cache": True}, "use_cache has no effect while training", {}),
    (
        {"hub_model_id": "me/mine", "hub_revision": "main"},
        "hub_model_id, hub_revision have no effect while training without push_to_hub",
        {"push_to_hub": True},
    ),
    ({"hub_strategy": "end"}, "hub_strategy has no effect while training without push_to_hub", {"push_to_hub": True}),
    ({"run_name": "mine"}, "run_name has no effect without a logger in report_to", {"report_to": ["tensorboard"]}),
    ({"project": "mine"}, "project has no effect without 'trackio' in report_to", {"report_to": ["trackio"]}),
    (
        {"greater_is_better": True},
        "greater_is_better has no effect without metric_for_best_model",
        {"metric_for_best_model": "rewards/margins", **EVALUATED},
    ),
    (
        {"metric_for_best_model": "rewards/margins"},
        "metric_for_best_model has no effect without an evaluation while training: set eval_strategy",
        EVALUATED,
    ),
    ({"eval_steps": 5}, "eval_steps has no effect unless eval_strategy is 'steps'", {"eval_strategy": "steps"}),
    (
        {"save_steps": 5, "save_strategy": "epoch"},
        "save_steps has no effect unless save_strategy is 'steps'",
        {"save_strategy": "steps"},
    ),
    (
        {"logging_steps": 5, "logging_strategy": "epoch"},
        "logging_steps has no effect unless logging_strategy is 'steps'",
        {"logging_strategy": "steps"},
    ),
    (
        {"save_total_limit": 3, "save_only_model": True, "save_strategy": "no"},
        "save_total_limit, save_only_model have no effect without checkpoints: save_strategy is 'no'",
        {"save_strategy": "steps"},
    ),
    ({"num_train_epochs": 2}, "num_train_epochs has no effect beside max_steps", {"max_steps": -1}),
    (
        {"warmup_steps": 2, "lr_scheduler_type": "constant"},
        "warmup_steps has no effect under a lr_scheduler_type without a warm-up (constant_with_warmup has one)",
        {"lr_scheduler_type": "constant_with_warmup"},
    ),
    (
        {"lr_scheduler_kwargs": {"power": 2.0}, "lr_scheduler_type": "constant"},
        "lr_scheduler_kwargs has no effect under a lr_scheduler_type that takes none",
        {"lr_scheduler_type": "polynomial"},
    ),
    ({"liger_kernel_config": {"rope": True}}, "liger_kernel_config has no effect without use_liger_kernel", {}),
    (
        {"gradient_checkpointing": False, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        "checkpointing_kwargs has no effect without gradient_checkpointing",
        {"gradient_checkpointing": True},
    ),
    (
        {"precompute_ref_batch_size": 4},
        "precompute_ref_batch_size has no effect without precompute_ref_log_probs",
        {"precompute_ref_log_probs": True},
    ),
    (
        {"ref_model_mixup_alpha": 0.5, "ref_model_sync_steps": 1},
        "ref_model_mixup_alpha, ref_model_sync_steps have no effect without sync_ref_model",
        {"sync_ref_model": True},
    ),
    (
        {"adam_beta1": 0.5, "adam_epsilon": 0.1, "optim": "sgd"},
        "adam_beta1, adam_epsilon have no effect on the optimiser sgd",
        {"optim": "adamw_torch"},
    ),
    ({"optim_args": "a=1"}, "optim_args has no effect on the optimiser adamw_torch", {}),
    (
        {"accelerator_config": {"dispatch_batches": True}},
        "dispatch_batches of accelerator_config has no effect here",
        {},
    ),
]


@pytest.mark.parametrize(("settings", "message", "read_by"), KNOWN, ids=[message[:40] for _, message, _ in KNOWN])
def test_what_is_not_read_is_told_of(settings: dict[str, Any], message: str, read_by: dict[str, Any]) -> None:
    if not set(settings) <= FIELDS:
        pytest.skip("this transformers does not have it")
    (line,) = lines(config(**settings))
    assert message in line
    if read_by:
        assert not lines(config(**settings | read_by))


def test_every_rule_is_tried() -> None:
    tried = {name for settings, _, _ in KNOWN for name in settings}
    for names, _, _ in unused.RULES:
        assert tried & set(names.split()) or names in ("batch_eval_metrics", "model_init_kwargs", "pad_to_multiple_of")


def test_what_the_trainer_is_given_counts_too() -> None:
    args = config(model_init_kwargs={"dtype": "float32"}, pad_to_multiple_of=8, batch_eval_metrics=True)
    assert lines(args) == ["batch_eval_metrics has no effect without compute_metrics"]
    assert lines(args, in_memory=True, metrics=True, collator=True) == [
        "model_init_kwargs has no effect on a model that is in memory already",
        "pad_to_multiple_of has no effect on a collator of one's own",
    ]
    fused = SimpleNamespace(**vars(config()), __dataclass_fields__={})
    fused.use_liger_kernel, fused.liger_kernel_config = True, {"fused_linear_cross_entropy": True}
    assert lines(fused) == [
        "fused_linear_cross_entropy of liger_kernel_config has no effect here, where no loss is a cross-entropy"
    ]

    assert not lines(config(model_init_kwargs={"dtype": "float32"}, pad_to_multiple_of=8))
    fused.use_liger_kernel = False
    assert lines(fused) == []
    assert lines(config(liger_kernel_config={"fused_linear_cross_entropy": True})) == [
        "liger_kernel_config has no effect without use_liger_kernel"
    ]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"model": "a"}, ["batch_eval_metrics"]),
        ({"model": object()}, ["batch_eval_metrics", "model_init_kwargs"]),
        ({"model": object(), "ref_model": "a"}, ["batch_eval_metrics"]),
        ({"model": object(), "ref_model": object()}, ["batch_eval_metrics", "model_init_kwargs"]),
        ({"model": "a", "compute_metrics": print}, []),
        ({"model": "a", "data_collator": print}, ["batch_eval_metrics", "pad_to_multiple_of"]),
    ],
)
def test_what_the_trainer_is_given_is_told_of(
    given: dict[str, Any], names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    args = config(model_init_kwargs={"dtype": "float32"}, pad_to_multiple_of=8, batch_eval_metrics=True)
    with caplog.at_level(logging.WARNING, "expo_analysis.llm"):
        unused.tell_of_unused(args, **given)
    assert [record.getMessage().split()[0] for record in caplog.records] == names


def test_an_optimiser_that_cannot_be_made_is_left_to_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: Any) -> None:
        raise ImportError("no such package")

    assert lines(config(adam_beta1=0.5, optim="sgd"))
    monkeypatch.setattr(unused.Trainer, "get_optimizer_cls_and_kwargs", missing)
    assert not lines(config(adam_beta1=0.5, optim="sgd"))


def test_nothing_is_said_of_defaults_and_recipes(tmp_path: Path) -> None:
    """Neither of ours nor of TRL's, nor of what is shipped."""
    theirs = DPOConfig("out", use_cpu=True, bf16=False)
    assert not lines(PreferenceConfig("out")) and not lines(PreferenceConfig.from_trl(theirs))
    for name in finetune.RECIPES.glob("*.yaml"):
        parsed = recipe.parse(["--config", str(name), "--bf16", "false", "--dataset_name", "x.jsonl"])
        said: list[str] = []
        finetune.tell_of_unused(parsed, said.append)
        assert not said and not lines(parsed.config), name


WITHOUT_EFFECT: dict[str, dict[str, Any]] = {
    "label_names": {"label_names": ["labels"]},
    "length_column_name": {"length_column_name": "prompt"},
    "average_tokens_across_devices": {"average_tokens_across_devices": False},
    "use_cache": {"use_cache": True},
    "greater_is_better": {"greater_is_better": True},
    "num_train_epochs": {"num_train_epochs": 7.0},
    "warmup_steps": {"warmup_steps": 2, "lr_scheduler_type": "constant"},
    "lr_scheduler_kwargs": {"lr_scheduler_kwargs": {"power": 2.0}, "lr_scheduler_type": "constant"},
    "adam_beta1": {"adam_beta1": 0.1, "adam_beta2": 0.1, "adam_epsilon": 0.1, "optim": "sgd"},
    "optim_args": {"optim_args": "momentum=0.5"},
    "dispatch_batches": {"accelerator_config": {"dispatch_batches": True}},
}


def trained(folder: Path, **settings: Any) -> tuple[list[float], torch.Tensor]:
    made = {**USUAL, "save_strategy": "no", "logging_steps": 1, "per_device_train_batch_size": 2, **settings}
    args = PreferenceConfig(str(folder), **made)
    trainer = PreferenceTrainer(
        tiny.llama(), ea.DPO(0.1), args, train_dataset=tiny.pairs(8), processing_class=tiny.tokenizer()
    )
    trainer.train()
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], weights


@cache
def plainly(*settings: tuple[str, str]) -> tuple[list[float], torch.Tensor]:
    """A training that most of these are compared with, once for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        return trained(Path(folder), **dict(settings))


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_is_said_to_have_no_effect_has_none(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same losses and weights, bit by bit; and the line stands in the log."""
    settings = WITHOUT_EFFECT[name]
    if not set(settings) <= FIELDS:
        pytest.skip("this transformers does not have it")
    with caplog.at_level(logging.WARNING, "expo_analysis.llm"):
        losses, weights = trained(tmp_path, **settings)
    assert [r for r in caplog.records if re.search(f"{name}.* ha(s|ve) no effect", r.getMessage())]
    expected = plainly(*(one for one in settings.items() if one[0] in ("lr_scheduler_type", "optim")))
    assert losses == expected[0] and torch.equal(weights, expected[1])


WARM_UPS: list[tuple[dict[str, Any], str]] = [
    # the settings, what is said of them; nothing where a step has the rate that was asked for
    (
        {"max_steps": 1, "warmup_steps": 0.1},
        "warmup_steps comes to 1, of 1 in all, so that the learning rate is 0, which changes nothing",
    ),
    ({"max_steps": 1, "warmup_steps": 1, "lr_scheduler_type": "cosine"}, "is 0, which changes nothing"),
    (
        {"max_steps": 4, "warmup_steps": 10},
        "warmup_steps comes to 10, of 4 in all, so that the learning rate is at most 0.3 of",
    ),
    ({"max_steps": 3, "warmup_steps": 3}, "at most 0.67 of the one that was set"),
    ({"max_steps": 3, "warmup_steps": 2}, ""),
    ({"max_steps": 1, "warmup_steps": 1, "lr_scheduler_type": "constant"}, ""),
    ({"max_steps": 1}, ""),
]


@pytest.mark.parametrize(("settings", "line"), WARM_UPS)
def test_a_warm_up_that_leaves_no_step(
    settings: dict[str, Any], line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of; and where nothing is said to change, nothing does."""
    with caplog.at_level(logging.WARNING, "expo_analysis.llm"):
        _, weights = trained(tmp_path, **settings)
    assert line in caplog.text and ("warmup_steps comes to" in caplog.text) == bool(line)
    start = torch.cat([parameter.detach().flatten() for parameter in tiny.llama().parameters()])
    assert torch.equal(weights, start) == ("changes nothing" in line)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--do_eval", "true"], "do_eval, do_predict have no effect here: eval_strategy says when to evaluate"),
        (["--do_predict", "true"], "do_eval, do_predict have no effect here"),
        (["--dataset_test_split", "held_out"], "dataset_test_split has no effect without an evaluation"),
        (["--test_split_size", "0.5"], "test_split_size only takes rows from the training data without an evaluation"),
        (["--hub_model_id", "me/mine"], "hub_model_id has no effect while training without push_to_hub"),
        (["--do_eval", "true", "--eval_strategy", "epoch", "--test_split_size", "0.5"], ""),
    ],
)
def test_what_the_command_says(flags: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.llama().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.pairs(8).to_json(tmp_path / "pairs.jsonl")
    given = {"model": tmp_path / "model", "dataset_name": tmp_path / "pairs.jsonl", "output_dir": tmp_path / "out"}
    given |= {"objective": "dpo", "use_cpu": "true", "max_steps": "1", "save_strategy": "no"}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    assert finetune.main([*words, *flags]) == 0
    err = capsys.readouterr().err
    assert line in err and ("no effect" in err or "only takes" in err) == bool(line)


# --------------------------------------------------------------------------------- what is read, or refused, instead


def test_metrics_may_be_computed_batch_by_batch(tmp_path: Path) -> None:
    """transformers asks compute_metrics for an argument of its own, and calls it after every batch."""
    seen: list[tuple[int, bool]] = []

    def metrics(prediction: Any, compute_result: bool) -> dict[str, float]:
        margins = prediction.predictions["policy_chosen_logps"] - prediction.predictions["policy_rejected_logps"]
        seen.append((len(prediction.label_ids), compute_result))
        return {"margin": float(np.asarray(margins).mean())}

    args = PreferenceConfig(str(tmp_path), **USUAL, batch_eval_metrics=True, per_device_eval_batch_size=3)
    trainer = PreferenceTrainer(
        tiny.llama(),
        ea.DPO(0.1),
        args,
        train_dataset=tiny.pairs(8),
        eval_dataset=tiny.pairs(7, seed=1),
        processing_class=tiny.tokenizer(),
        compute_metrics=metrics,
    )
    assert "eval_margin" in trainer.evaluate()
    assert seen == [(3, False), (3, False), (1, True)]


def test_a_function_that_computes_losses_is_refused(tmp_path: Path) -> None:
    args = PreferenceConfig(str(tmp_path), **USUAL)
    with pytest.raises(ValueError, match="compute_loss_func is not used here: the loss is the objective's"):
        PreferenceTrainer(
            tiny.llama(),
            ea.DPO(0.1),
            args,
            train_dataset=tiny.pairs(8),
            processing_class=tiny.tokenizer(),
            compute_loss_func=lambda *given: 0.0,
        )


@pytest.mark.parametrize("name", ["cp_size", "sp_size"])
def test_sequences_in_parts_are_refused(name: str) -> None:
    for parallelism in (None, SimpleNamespace(), SimpleNamespace(**{name: 1}), SimpleNamespace(**{name: None})):
        checks.check_whole_sequences(SimpleNamespace(parallelism_config=parallelism))
    parallelism = SimpleNamespace(tp_size=2, **{name: 2})
    with pytest.raises(ValueError, match=f"parallelism_config must leave sequences whole, with {name}=1; got {name}=2"):
        checks.check_whole_sequences(SimpleNamespace(parallelism_config=parallelism))
