"""The command and its recipes: what is read, what is refused, and what a training leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app

from . import llm_models as tiny

from expo_analysis.llm import finetune  # isort: skip (needs the environment of llm_models)

RECIPE = {
    "objective": "expo",
    "beta": 0.3,
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 2,
    "report_to": "none",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.llama(0).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def write(folder: Path, trained: Path, data: Any = None, **given: Any) -> list[str]:
    """The arguments of a recipe in a file, with data of its own."""
    (tiny.pairs(12) if data is None else data).to_json(folder / "pairs.jsonl")
    recipe = RECIPE | {
        "model": str(trained),
        "dataset_name": str(folder / "pairs.jsonl"),
        "output_dir": str(folder / "out"),
    }
    path = folder / "recipe.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in (recipe | given).items()))
    return ["--config", str(path)]


def test_a_recipe_from_the_command_line(model: Path, tmp_path: Path) -> None:
    """Flags override it; the table is on standard output; model, card, checkpoints and summary are in the folder."""
    arguments = write(tmp_path, model, test_split_size=0.25, eval_strategy="steps", eval_steps=2)
    done = CliRunner().invoke(app, ["finetune", *arguments, "--objective", "dpo", "--beta", "0.5"])
    assert done.exit_code == 0, done.output
    assert "DPO(lam=0.5" in done.stdout and "rewards/accuracies" in done.stdout
    assert "reference model in memory: yes" in done.stdout
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert {"model.safetensors", "README.md", "checkpoint-2", "checkpoint-3", "summary.json"} <= names
    summary = json.loads((out / "summary.json").read_text())
    assert summary["finished"] and summary["steps"] == 3 and summary["rows"] == 9
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    evaluations = [entry for entry in history if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluations] == [2, 3]
    assert summary["metrics"]["loss"] == {
        "first": next(entry for entry in history if "loss" in entry)["loss"],
        "last": [entry for entry in history if "loss" in entry][-1]["loss"],
        "evaluation": evaluations[-1]["eval_loss"],
    }


def test_json_is_all_there_is_on_standard_output(model: Path, tmp_path: Path) -> None:
    """As ``python -m expo_analysis.llm.finetune``, which is what accelerate launches."""
    command = [sys.executable, "-m", "expo_analysis.llm.finetune", *write(tmp_path, model), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["objective"] == "EXPO(lam=0.3)" and not summary["reference_in_memory"]


def test_peft_and_estimators_by_flags(model: Path, tmp_path: Path) -> None:
    data = tiny.pairs(8)
    flags = [
        "--use_peft",
        "--lora_r",
        "2",
        "--lora_target_modules",
        "q_proj",
        "v_proj",
        "--regulariser_estimator",
        "token_kl",
    ]
    recipe, trainer, checkpoint = finetune.set_up([*write(tmp_path, model, data), *flags])
    assert checkpoint is None and recipe.script.model == str(model)
    assert type(trainer.model).__name__ == "PeftModelForCausalLM"
    assert trainer.objective == ea.EXPO(0.3) and trainer.estimator == "token_kl" and trainer.ref_model is None


def test_the_gradient_on_what_is_optimal(model: Path, tmp_path: Path) -> None:
    tiny.pairs(4, seed=9).to_json(tmp_path / "optimal.jsonl")
    arguments = write(tmp_path, model, optimal_dataset=str(tmp_path / "optimal.jsonl"), max_steps=1)
    assert finetune.main([*arguments, "--json"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["metrics"]["optimal/grad_norm"]["first"] > 0


@pytest.mark.parametrize("form", ["csv", "parquet", "folder", "mixture"])
def test_data_of_other_forms(form: str, model: Path, tmp_path: Path) -> None:
    data = tiny.pairs(5)
    arguments = write(tmp_path, model, data)
    name = tmp_path / f"data.{form}"
    if form == "folder":
        data.save_to_disk(name)
    elif form != "mixture":
        getattr(data, f"to_{form}")(name)
    if form == "mixture":
        mixture = [{"path": "json", "data_files": str(tmp_path / "pairs.jsonl")}]
        arguments = write(tmp_path, model, data, dataset_name=None, datasets=mixture)
    else:
        arguments += ["--dataset_name", str(name)]
    train, test = finetune.load_pairs(finetune.parse(arguments), print)
    assert test is None and train["chosen"][:] == data["chosen"][:]


def test_an_interrupted_training_stands_in_the_way_of_another(model: Path, tmp_path: Path) -> None:
    arguments = write(tmp_path, model)
    (tmp_path / "out" / "checkpoint-2").mkdir(parents=True)
    lines: list[str] = []
    with pytest.raises(ValueError, match="has checkpoints already: give --resume, or --overwrite"):
        finetune.where_to_start(finetune.parse(arguments), lines.append)
    assert finetune.where_to_start(finetune.parse([*arguments, "--overwrite"]), lines.append) is None
    assert finetune.where_to_start(finetune.parse([*arguments, "--resume"]), lines.append) is None
    assert lines[0].startswith("not resumed from checkpoint-2: its trainer_state.json is missing")


BAD: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "key": ({"xyzzy": 0.1}, [], r"recipe\.yaml has 'xyzzy', which is no option$"),
    "key, nearly": (
        {"learning_rat": 0.1},
        [],
        r"recipe\.yaml has 'learning_rat', which is no option; did you mean 'learning_rate'\?$",
    ),
    "flag": (
        {},
        ["--objectiv", "dpo"],
        r"the command line has 'objectiv', which is no option; did you mean 'objective'\?$",
    ),
    "word": ({}, ["dpo"], "the command line has 'dpo', which is no option$"),
    "objective": ({"objective": "dpoo"}, [], r"objective must be one of .*got 'dpoo'; did you mean 'dpo'\?$"),
    "objective's file": ({"objective": "nowhere.py:Mine"}, [], "nowhere.py: No such file or directory$"),
    "two names of lambda": ({"lam": 1.0}, [], "give lam or beta, not both: they are two names of one setting$"),
    "two flags of lambda": ({}, ["--lam", "1", "--beta=1"], "give lam or beta, not both"),
    "number": ({}, ["--beta", "much"], "argument --beta/--lam: invalid float value: 'much'"),
    "buffers": ({"ignore_bias_buffers": True}, [], "ignore_bias_buffers is not used here: "),
    "configuration of a file": ({"dataset_config": "x"}, [], "dataset_config is not used for files and folders"),
    "configuration of a mixture": (
        {"dataset_config": "x", "dataset_name": None, "datasets": [{"path": "json"}]},
        [],
        "dataset_config is not used beside datasets",
    ),
    "adapter's setting": ({"lora_r": 4}, [], "lora_r is not used without use_peft; got 4$"),
    "quantisation's setting": ({}, ["--use_bnb_nested_quant"], "use_bnb_nested_quant is not used without load_in_4bit"),
    "beta": ({"beta": -1.0}, [], "beta must be a finite number above 0"),
    "model": ({}, ["--model_name_or_path", "other"], "model must be given, once"),
    "no data": ({"dataset_name": None}, [], r"^give data \(--dataset_name: .*\), or a recipe that names them"),
    "no model": ({"model": None}, [], r"^give a model \(--model: .*\), or a recipe that names them"),
    "data twice": ({"datasets": [{"path": "json"}]}, [], "dataset_name is not used beside datasets"),
    "no file": ({"dataset_name": "missing.jsonl"}, [], "missing.jsonl: No such file"),
    "no folder": ({"model": "./nowhere"}, [], r"model './nowhere': there is no such folder$"),
    "split": (
        {"dataset_train_split": "training"},
        [],
        r"dataset_train_split must be one of \['train'\], got",
    ),
    "no evaluation": ({"eval_strategy": "epoch"}, [], "the data have no split 'test'; set test_split_size"),
    "test size": ({"test_split_size": 1.5}, [], "test_split_size must be a number between 0 and 1, got 1.5"),
    "rows": ({"max_train_rows": 0}, [], "max_train_rows must be a whole number of at least 1, got 0"),
    "preparation": ({"preparation": "shp"}, [], "preparation must be one of"),
    "both": ({}, ["--resume", "--overwrite"], "give resume or overwrite, not both"),
    "checkpoint": ({"resume_from_checkpoint": "x"}, [], "resume takes the newest complete checkpoint"),
    "streaming and a split": (
        {"dataset_streaming": True, "test_split_size": 0.5},
        [],
        "test_split_size is not used for",
    ),
    "streaming, prepared": (
        {"dataset_streaming": True, "preparation": "hh"},
        [],
        "preparation is not used for streams",
    ),
    "columns": ({"columns": "prompt"}, [], "columns must be like 'prompt=question,chosen=answer'"),
    "column": ({"columns": "prompt=promt"}, [], "pairs.jsonl must have the column 'promt', which is to be prompt"),
    "configuration": ({"dataset_config": "x"}, [], "dataset_config is not used for files and folders; got 'x'"),
}


@pytest.mark.parametrize(("given", "flags", "message"), BAD.values(), ids=BAD)
def test_bad_recipes(given: dict[str, Any], flags: list[str], message: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        finetune.set_up([*write(tmp_path, model, tiny.pairs(4), **given), *flags])
    assert "\n" not in str(caught.value)


def test_bad_input_is_one_line_and_code_2(model: Path, tmp_path: Path) -> None:
    data = tiny.Dataset.from_list([{"prompt": "w1 ", "chosen": "w2", "rejected": "w3"}] * 2 + [BLANK])
    done = CliRunner().invoke(app, ["finetune", *write(tmp_path, model, data)])
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        f"Error: train_dataset has rows that cannot be trained on: {tmp_path / 'pairs.jsonl'}: row 2 (line 3), chosen:"
    )
    done = CliRunner().invoke(app, ["finetune", "--config", "nowhere.yaml"])
    assert done.exit_code == 2 and "or one of the recipes ['hh_pythia_2.8b'" in done.stderr


BLANK = {"prompt": "w1 ", "chosen": "", "rejected": "w2"}


def test_options_are_listed() -> None:
    done = CliRunner().invoke(app, ["finetune", "--list_options"])
    assert done.exit_code == 0
    for option in ("--regulariser_estimator", "--lora_r", "--test_split_size", "--resume", "--learning_rate"):
        assert option in done.stdout


RECIPES = sorted(finetune.RECIPES.glob("*.yaml"))


def test_the_papers_recipes_and_ours_are_shipped() -> None:
    names = {path.stem for path in RECIPES}
    assert names == {"smollm2_sentiment", "hh_pythia_2.8b", "imdb_gpt2_large", "ultrafeedback_llama3_8b"}


def test_a_recipe_is_found_beside_what_it_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output has the recipe's name; a file of the user's goes before."""
    monkeypatch.chdir(tmp_path)
    output = Path(finetune.parse(["--config", "smollm2_sentiment"]).config.output_dir)
    output.mkdir()
    assert output == Path("smollm2_sentiment")
    assert finetune.parse(["--config", "smollm2_sentiment"]).config.beta == 0.1
    output.rmdir()
    output.write_text("output_dir: other\nuse_cpu: true\nbf16: false\nmodel: m\ndataset_name: d\n")
    assert finetune.parse(["--config", "smollm2_sentiment"]).config.output_dir == "other"


@pytest.mark.parametrize("objective", ["expo", "dpo", "ipo"])
@pytest.mark.parametrize("path", [path for path in RECIPES if "preparation:" not in path.read_text()])
def test_a_recipe_serves_any_loss_by_a_flag(path: Path, objective: str, model: Path, tmp_path: Path) -> None:
    """As the help has it, with a tiny model and tiny data."""
    tiny.pairs(24).to_json(tmp_path / "pairs.jsonl")
    flags = {
        **{"config": path.stem, "objective": objective, "output_dir": str(tmp_path / "out"), "model": str(model)},
        **{"dataset_name": str(tmp_path / "pairs.jsonl"), "report_to": "none", "eval_strategy": "no", "bf16": "false"},
        **{"gradient_checkpointing": "false", "dtype": "float32"},
    }
    arguments = [word for name, value in flags.items() for word in (f"--{name}", value)]
    _, trainer, _ = finetune.set_up([*arguments, "--use_cpu"])
    assert trainer.objective.name == objective
    assert trainer.estimator == ("own_responses" if objective == "expo" else None)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read(path: Path) -> None:
    """Every key is known and every value valid; on this machine in float32, whatever they ask of a GPU."""
    recipe = finetune.parse(["--config", path.stem, "--bf16", "false", "--use_cpu"])
    assert recipe.config.make_objective() == ea.EXPO(recipe.config.beta)
    assert recipe.script.model and recipe.script.dataset_name
    text = path.read_text()
    assert "Expected memory" in text or "GB" in text
    assert recipe.config.regulariser_estimator is None  # or --objective dpo would be refused
