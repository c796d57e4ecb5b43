"""A training that goes on from a checkpoint has all of the weights that were saved, whatever they are called there."""

from __future__ import annotations

import copy
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import expo_analysis as ea

from . import llm_architectures
from . import llm_models as tiny
from .llm_models import LlamaForCausalLM
from .llm_trainers import LAM, make

RENAMED = ("GPTNeoXForCausalLM", "MixtralForCausalLM", "Qwen3MoeForCausalLM", "LlamaForCausalLM")
"""All but the last save weights under other names than they have, or in other parts."""

GIVEN = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def whole_and_resumed(model: Any, folder: Path, **given: Any) -> tuple[list[float], list[float], Any, Any]:
    """The losses of four steps, those of two and two more, and both models."""
    given = GIVEN | given
    other, half = copy.deepcopy(model), folder / f"checkpoint-{given['save_steps']}"
    whole = make(ea.DPO(LAM), folder, model=model, **given)
    whole.train()
    resumed = make(ea.DPO(LAM), folder, model=other, **given)
    resumed.train(resume_from_checkpoint=str(half))
    return losses(whole), losses(resumed), whole.model, resumed.model


def same_weights(one: Any, other: Any) -> bool:
    found = other.state_dict()
    return all(torch.equal(tensor, found[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("name", RENAMED)
def test_a_resumed_training_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    """To the last digit, in its losses and in its weights."""
    whole, resumed, one, other = whole_and_resumed(llm_architectures.build(name), tmp_path)
    assert resumed == whole and len(whole) == 4
    assert same_weights(one, other)


@pytest.mark.parametrize("name", ["GPTNeoXForCausalLM", "MixtralForCausalLM"])
def test_the_best_model_is_that_of_its_evaluation(name: str, tmp_path: Path) -> None:
    """And not one whose weights are of two steps: it is evaluated as it was at its step."""
    each = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "logps/chosen", "greater_is_better": False}
    trainer = make(
        ea.SFT(1.0),  # which raises that metric with every step, so that the first is the best
        tmp_path,
        model=llm_architectures.build(name),
        eval_dataset=tiny.pairs(4),
        learning_rate=1e-2,
        **each,
        **best,
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
    assert trainer.evaluate()["eval_logps/chosen"] == trainer.state.best_metric
    assert same_weights(trainer.model, type(trainer.model).from_pretrained(tmp_path / "checkpoint-1"))


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "LlamaForCausalLM"])
def test_weights_in_several_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = llm_architectures.build(name)
    save = type(model).save_pretrained
    monkeypatch.setattr(type(model), "save_pretrained", lambda *a, **k: save(*a, **k | {"max_shard_size": "10KB"}))
    whole, resumed, one, other = whole_and_resumed(model, tmp_path)
    assert len(list((tmp_path / "checkpoint-2").glob("model-*.safetensors"))) > 1
    assert resumed == whole and same_weights(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_other_types_keep_every_digit(dtype: torch.dtype, tmp_path: Path) -> None:
    model = llm_architectures.build("MixtralForCausalLM").to(dtype)
    model.lm_head.to(torch.float64)  # mixed, where the others have fewer digits
    model.lm_head.weight.data += 1e-12
    trainer = make(ea.SFT(1.0), tmp_path, model=model)
    trainer.save_model(str(tmp_path / "saved"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    trainer._load_from_checkpoint(str(tmp_path / "saved"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(before[name].dtype == tensor.dtype for name, tensor in model.state_dict().items())


def without(file: Path, lost: str) -> None:
    found = {name: tensor for name, tensor in load_file(file).items() if name != lost}
    save_file(found, file, metadata={"format": "pt"})


class Wants(LlamaForCausalLM):
    """A model that is more than its configuration says: `from_pretrained` cannot make it."""

    def __init__(self, config: Any, scale: float) -> None:
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.tensor([scale]))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found = super().forward(*args, **kwargs)
        found.logits = found.logits * self.scale
        return found


def added_to(model: Any) -> Any:
    """A model with a parameter that its class has not."""
    model.model.norm.more = torch.nn.Parameter(torch.ones(3))
    return model


ODD = {
    "of a class that wants more": lambda: Wants(tiny.llama().config, 0.5),
    "with a parameter more": lambda: added_to(tiny.llama()),
    "with tied weights": lambda: tiny.llama(tie_word_embeddings=True),
    "with tied weights and a parameter more": lambda: added_to(tiny.llama(tie_word_embeddings=True)),
}


@pytest.mark.parametrize("build", ODD.values(), ids=ODD)
def test_models_that_are_more_than_their_class(build: Any, tmp_path: Path) -> None:
    whole, resumed, one, other = whole_and_resumed(build(), tmp_path)
    assert resumed == whole and same_weights(one, other)
    without(tmp_path / "checkpoint-2" / "model.safetensors", "model.norm.weight")
    with pytest.raises(ValueError, match=r"lacks? model\.norm\.weight of (Wants|Llama)"):
        make(ea.DPO(LAM), tmp_path, model=build(), **GIVEN).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_renamed_weights_beside_a_parameter_more_are_refused(tmp_path: Path) -> None:
    """Of such a model `from_pretrained` makes no other one, and by their own names not all of its weights are there."""
    model = llm_architectures.build("GPTNeoXForCausalLM")
    model.more = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=r"lacks lm_head\.weight of GPTNeoXForCausalLM: these would be those that the"):
        whole_and_resumed(model, tmp_path)


# ------------------------------------------------------------------------------------------ what a checkpoint must have


def test_what_goes_on_has_an_optimiser_and_a_schedule(tmp_path: Path) -> None:
    """transformers would begin both afresh, and say nothing."""
    make(ea.DPO(LAM), tmp_path, **GIVEN | {"save_only_model": True}).train()
    again = make(ea.DPO(LAM), tmp_path, **GIVEN)
    what = r"checkpoint-2' cannot be resumed from: the optimiser's state is missing\. To begin another training with"
    with pytest.raises(ValueError, match=what):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    with pytest.raises(ValueError, match=r"checkpoint-3' cannot be resumed from: there is no such folder"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    with pytest.raises(ValueError, match=r"resume_from_checkpoint=True: output_dir '.*' has no complete checkpoint"):
        again.train(resume_from_checkpoint=True)


def test_true_is_the_newest_checkpoint_that_is_complete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = make(ea.DPO(LAM), tmp_path, **GIVEN)
    whole.train()
    (tmp_path / "checkpoint-4" / "scheduler.pt").unlink()
    again = make(ea.DPO(LAM), tmp_path, **GIVEN)
    again.train(resume_from_checkpoint=True)
    assert "not resumed from checkpoint-4: the schedule's state is missing" in caplog.text
    assert losses(again) == losses(whole)


def test_a_loss_of_ones_own_is_known_by_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(Twice(LAM), tmp_path, **GIVEN).train()
    make(Twice(LAM), tmp_path, **GIVEN).train(resume_from_checkpoint=True)
    source = inspect.getsource(Twice).replace("2 *", "3 *")
    monkeypatch.setattr(inspect, "getsource", lambda kind: source)  # as when the file was changed
    with pytest.raises(ValueError, match="belongs to another training: its code of the loss is another one"):
        make(Twice(LAM), tmp_path, **GIVEN).train(resume_from_checkpoint=True)


class Twice(ea.DPO):
    """A loss of one's own."""

    def loss(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * super().loss(*args, **kwargs)


# --------------------------------------------------------------------------------------------------- all architectures


@pytest.mark.slow
def test_every_architecture_is_restored(tmp_path: Path) -> None:
    """All weights of all that are made, to the last bit; those that save them otherwise are trained too."""
    trainer, made, otherwise = make(ea.SFT(1.0), tmp_path / "other"), 0, 0
    for name in llm_architectures.names():
        for folder in ("saved", "trained"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        try:
            trainer.model = model = llm_architectures.build(name)
            model.save_pretrained(tmp_path / "saved")
        except Exception as error:  # what cannot be saved is not restored either
            print(f"{name}: {str(error)[:150]}")
            continue
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        trainer._load_from_checkpoint(str(tmp_path / "saved"))
        assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items()), name
        made += 1
        if not load_file(tmp_path / "saved" / "model.safetensors").keys() <= before.keys():
            otherwise += 1
            try:
                whole, resumed, one, other = whole_and_resumed(model, tmp_path / "trained", max_steps=2, save_steps=1)
            except Exception as error:  # what cannot be trained is not resumed either
                assert not (tmp_path / "trained" / "checkpoint-1").exists(), f"{name}: {error}"
                print(f"{name}: {str(error)[:150]}")
            else:
                assert resumed == whole and same_weights(one, other), name
    assert made >= 0.85 * len(llm_architectures.names()) and otherwise >= 30
