"""Adapters: what is trained, what is frozen, what has dropout; and a reference that does not move with any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import make

from peft import LoraConfig, PeftModel, get_peft_model  # isort: skip
from expo_analysis.llm.training.identity import fingerprint  # isort: skip


def lora(**given: Any) -> LoraConfig:
    return LoraConfig(**{"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"} | given)


def losses_of(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_sets_have_one_fingerprint_in_every_process() -> None:
    """PEFT keeps target_modules as a set, which Python orders anew in every process: it counts as what is sorted."""
    modules = [f"{name}_proj" for name in "abcdefgh"]
    for kind in (set, frozenset):
        assert fingerprint({"modules": kind(reversed(modules))}) == fingerprint({"modules": modules})
    assert fingerprint({"modules": set(modules[1:])}) != fingerprint({"modules": set(modules)})
    assert lora(target_modules=modules).to_dict()["target_modules"] == set(modules)


@pytest.mark.parametrize("given", [{"bias": "all"}, {"bias": "lora_only"}, {"bias": "all", "init_lora_weights": False}])
def test_biases_that_are_trained_do_not_move_the_reference(given: dict[str, Any], tmp_path: Path) -> None:
    """The losses are those with stored log-probabilities, and with a reference that is given."""
    found = []
    for k, more in enumerate(
        ({}, {"precompute_ref_log_probs": True}, {"ref_model": tiny.llama(0, attention_bias=True)})
    ):
        trainer = make(
            ea.DPO(0.1), tmp_path / str(k), model=tiny.llama(0, attention_bias=True), peft_config=lora(**given),
            max_steps=4, learning_rate=1e-2, **more,
        )  # fmt: skip
        found.append(losses_of(trainer))
    assert found[0] == pytest.approx(found[1], abs=1e-6) and found[0] == pytest.approx(found[2], abs=1e-6)
    assert found[0][-1] < found[0][0] - 0.02


@pytest.mark.parametrize("disable", [True, False])
def test_dropout_of_an_adapter_is_switched_off_too(disable: bool, tmp_path: Path) -> None:
    trainer = make(ea.DPO(0.1), tmp_path, peft_config=lora(lora_dropout=0.25), disable_dropout=disable)
    rates = {module.p for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == ({0.0} if disable else {0.25})


def test_what_is_frozen_of_an_adapter_stays_so(tmp_path: Path) -> None:
    model = get_peft_model(tiny.llama(0), lora(init_lora_weights=False))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses_of(make(ea.DPO(0.1), tmp_path, model=model, max_steps=2, learning_rate=1e-2))
    moved = {
        name for name, parameter in model.named_parameters() if name in before and not parameter.equal(before[name])
    }
    assert moved == {name for name in before if "lora_B" in name}


def test_one_model_with_an_adapter_in_two_trainers(tmp_path: Path) -> None:
    """Each has the model as it was given as its reference, so that it begins at log 2."""
    model = get_peft_model(tiny.llama(0), lora(init_lora_weights=False))
    first = make(ea.DPO(0.1), tmp_path / "a", model=model, max_steps=2, learning_rate=1e-2)
    start = first.evaluate(tiny.pairs(4, seed=3))["eval_loss"]
    assert losses_of(first)[0] == pytest.approx(0.693147, abs=1e-5)
    ended = first.evaluate(tiny.pairs(4, seed=3))["eval_loss"]
    second = make(ea.DPO(0.3), tmp_path / "b", model=model, max_steps=2, learning_rate=1e-2)
    assert first.evaluate(tiny.pairs(4, seed=3))["eval_loss"] == pytest.approx(ended, abs=1e-6) != start
    assert losses_of(second)[0] == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize("loss", [ea.DPO(0.1), ea.SimPO(0.1)])
def test_an_adapter_that_was_loaded_frozen_is_trained(
    loss: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    get_peft_model(tiny.llama(0), lora(init_lora_weights=False)).save_pretrained(tmp_path / "adapter")
    model = PeftModel.from_pretrained(tiny.llama(0), tmp_path / "adapter")
    losses = losses_of(make(loss, tmp_path / "out", model=model, max_steps=3, learning_rate=1e-2))
    assert losses[-1] != losses[0] and "loaded frozen, and is trained" in caplog.text
