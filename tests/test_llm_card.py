"""What a training leaves beside its weights: the model card, tags, and what a checkpoint belongs to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, make, saved

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip
from expo_analysis.llm.training.identity import IDENTITY_FILE  # isort: skip
from peft import LoraConfig  # isort: skip
from transformers import LlamaForCausalLM  # isort: skip

LORA: dict[str, Any] = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}


def card_of(loss: Any, folder: Path, **given: Any) -> tuple[str, Any]:
    trainer = make(loss, folder, max_steps=1, **given)
    trainer.train()
    trainer.save_model()
    card = ModelCard.load(folder / "README.md")
    assert "None" not in card.content and "nan" not in card.content
    return card.content, card.data


def test_a_card_says_what_was_done(tmp_path: Path) -> None:
    text, data = card_of(ea.EXPO(LAM), tmp_path / "mine", ref_model=tiny.llama(1), seed=3)
    assert data.tags == ["expo-analysis", "preference-optimization", "expo"]
    assert data.library_name == "transformers" and data.base_model is None
    for words in (
        "# mine",
        "A LlamaForCausalLM, fine-tuned on preferences by expo-analysis",
        "| loss | `EXPO(lam=0.3)` |",
        "| λ | 0.3 (expo) |",
        "| from tokens to responses | sum (expo) |",
        "| regulariser | token_kl: it leaves the reference alone",
        "| reference | another model, given to the trainer |",
        "| data | train_dataset, 8 pairs, fingerprint `",
        "| training | 1 steps, learning rate 0.001 (constant), 4 pairs a step, seed 3 |",
        "expo-analysis 0.1.0, transformers",
        "2506.07492",
    ):
        assert words in text, words


CARDS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "dpo": (ea.DPO(LAM), {}, ("dpo",), ("`DPO(lam=0.3", "the model before training")),
    "ipo": (ea.IPO(LAM), {"precompute_ref_log_probs": True}, ("ipo",), ("mean (ipo)", "computed before training")),
    "own": (
        ea.EXPO(LAM), {"regulariser_estimator": "own_responses"}, ("expo",), ("own_responses: it raises the likel",),
    ),
    "lora": (ea.DPO(LAM), {"peft_config": LoraConfig(**LORA)}, ("dpo", "lora"), ("the model without the adapter",)),
    "weighted": (
        ea.DPO(LAM), {"ld_alpha": 0.5, "use_weighting": True}, ("dpo",),
        ("beyond the shared length | 0.5 |", "pairs weighted by | the policy's probability"),
    ),
    "mixture": (
        [(0.8, ea.DPO(LAM)), (1.0, ea.SFT(LAM))], {}, ("dpo", "sft"), ("`0.8 DPO(lam=0.3", "0.3 (dpo), 0.3 (sft)"),
    ),
    "cpo": (ea.CPO(LAM), {}, ("cpo",), ("sum (preference of cpo), mean (likelihood of cpo)",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_cards_of_every_kind(name: str, tmp_path: Path) -> None:
    loss, given, tags, words = CARDS[name]
    text, data = card_of(loss, tmp_path, **given)
    assert {"expo-analysis", *tags} <= set(data.tags)
    for part in words:
        assert part in text, part
    assert ("2506.07492" in text) == (name == "own")
    assert data.library_name == ("peft" if name == "lora" else "transformers")


def test_tags_are_in_the_model_too(tmp_path: Path) -> None:
    for given in ({}, {"peft_config": LoraConfig(**LORA)}):
        trainer = make(ea.DPO(LAM), tmp_path, **given)
        assert {"expo-analysis", "dpo"} <= set(trainer.model.model_tags)


def test_a_card_under_a_name_of_ones_own(tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path)
    trainer.create_model_card(model_name="Mine", dataset_name="pairs", tags="more", language="en", license="mit")
    card = ModelCard.load(tmp_path / "README.md")
    assert "# Mine" in card.content and "| data | pairs, 8 pairs" in card.content and "more" in card.data.tags
    assert card.data.language == "en" and card.data.license == "mit"


def test_a_model_of_the_hub_is_linked(tmp_path: Path) -> None:
    model = tiny.llama(0)
    model.config._name_or_path = "org/base"
    trainer = make(ea.DPO(LAM), tmp_path, model=model)
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "org/base" and "[org/base](https://huggingface.co/org/base)" in card.content


# --------------------------------------------------------------------------------------------- whose a checkpoint is


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of DPO, with a checkpoint after two."""
    folder = tmp_path_factory.mktemp("begun")
    resumable(folder, ea.DPO(LAM)).train()
    assert json.loads((folder / "checkpoint-2" / IDENTITY_FILE).read_text())["objective"].startswith("DPO(lam=0.3")
    return folder


def resumable(folder: Path, loss: Any, **given: Any) -> PreferenceTrainer:
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2} | given
    return make(loss, folder, **settings)


OTHERS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "loss": (ea.IPO(LAM), {}, r"its objective is DPO\(lam=0.3.*\), and here it is IPO\(lam=0.3\)"),
    "lambda": (ea.DPO(0.5), {}, r"its objective is DPO\(lam=0.3.*\), and here it is DPO\(lam=0.5"),
    "aggregation": (ea.DPO(LAM), {"aggregation": "mean"}, r"its aggregation is \['sum'\], and here it is \['mean'\]"),
    "estimator": (
        ea.EXPO(LAM), {"regulariser_estimator": "own_responses"},
        "its estimator of the regulariser is None, and here it is own_responses",
    ),
    "weighting": (ea.DPO(LAM), {"ld_alpha": 0.5}, "its ld_alpha is"),
    "seed": (ea.DPO(LAM), {"seed": 7}, "its seed is 0, and here it is 7"),
    "data": (ea.DPO(LAM), {"data": tiny.pairs(8, seed=1)}, "its training data, tokenizer or max_length is another one"),
    "length": (ea.DPO(LAM), {"max_length": 9}, "its training data, tokenizer or max_length is another one"),
    "model": (ea.DPO(LAM), {"model": tiny.llama(1)}, "its initial model is another one"),
    "adapter": (ea.DPO(LAM), {"peft_config": LoraConfig(**LORA)}, "it has no adapter, and here there is one"),
    "reference": (ea.DPO(LAM), {"ref_model": tiny.llama(0)}, "its reference is copy, and here it is given"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_training_is_refused(name: str, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun / "checkpoint-2", tmp_path / "checkpoint-2")
    loss, given, message = OTHERS[name]
    trainer = resumable(tmp_path, loss, **given)
    with pytest.raises(ValueError, match=f"checkpoint-2' belongs to another training: .*{message}"):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match=message):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_checkpoint_of_this_training_goes_on(how: str, tmp_path: Path) -> None:
    """From the same initial model, and ends with the same losses and counts of tokens."""
    given = {"peft_config": LoraConfig(**LORA)} if how == "lora" else {}
    whole = resumable(tmp_path / "whole", ea.DPO(LAM), **given)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "again" / "checkpoint-2")
    again = resumable(tmp_path / "again", ea.DPO(LAM), **given)
    again.train(resume_from_checkpoint=True)
    times = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss")
    logs = [
        [{k: v for k, v in entry.items() if k not in times} for entry in trainer.state.log_history]
        for trainer in (whole, again)
    ]
    assert logs[0] == logs[1]


def test_a_checkpoint_knows_the_reference_that_was_given(tmp_path: Path) -> None:
    resumable(tmp_path, ea.DPO(LAM), ref_model=tiny.llama(1), max_steps=2).train()
    with pytest.raises(ValueError, match="belongs to another training: its reference model is another one"):
        resumable(tmp_path, ea.DPO(LAM), ref_model=tiny.llama(2)).train(resume_from_checkpoint=True)
    again = resumable(tmp_path, ea.DPO(LAM), ref_model=tiny.llama(1))
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4


def test_a_reference_that_has_moved_is_in_no_checkpoint(tmp_path: Path) -> None:
    """Before it has moved a training goes on; after that it would silently go on beside the first one."""
    for every, goes_on in ((3, True), (2, False)):
        folder = tmp_path / str(every)
        moving = {"sync_ref_model": True, "ref_model_sync_steps": every}
        resumable(folder, ea.DPO(LAM), max_steps=2, **moving).train()
        again = resumable(folder, ea.DPO(LAM), **moving)
        if goes_on:
            again.train(resume_from_checkpoint=True)
            assert again.state.global_step == 4
        else:
            with pytest.raises(
                ValueError, match="with sync_ref_model cannot be resumed after step 2: its reference has"
            ):
                again.train(resume_from_checkpoint=True)


def test_a_checkpoint_that_says_nothing_goes_on(begun: Path, tmp_path: Path) -> None:
    """Of an earlier version."""
    shutil.copytree(begun / "checkpoint-2", tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-2" / IDENTITY_FILE).unlink()
    trainer = resumable(tmp_path, ea.DPO(LAM))
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 4


def test_what_was_trained_is_not_taken_for_the_initial_model(begun: Path, tmp_path: Path) -> None:
    """A checkpoint given as the model and resumed from at once: its reference would be another one."""
    shutil.copytree(begun / "checkpoint-2", tmp_path / "checkpoint-2")
    trainer = resumable(tmp_path, ea.DPO(LAM), model=LlamaForCausalLM.from_pretrained(tmp_path / "checkpoint-2"))
    with pytest.raises(ValueError, match="its initial model is another one"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_can_be_loaded_by_its_folder(begun: Path, tmp_path: Path) -> None:
    args = PreferenceConfig(**tiny.settings(tmp_path))
    again = PreferenceTrainer(str(begun / "checkpoint-2"), ea.DPO(LAM), args, train_dataset=tiny.pairs(4))
    assert type(again.model) is LlamaForCausalLM
    assert saved(tmp_path / "again", again.model)
