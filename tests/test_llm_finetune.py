"""The command and its recipes: what is read, what is refused, and what a training leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app

from . import llm_models as tiny

from transformers import TrainingArguments  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import DataReport  # isort: skip
from expo_analysis.llm import finetune, recipe, recipe_file, summary  # isort: skip
from expo_analysis.llm.progress import FROM_STEP, LogEnds  # isort: skip
from expo_analysis.llm.training import PreferenceConfig  # isort: skip

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


@pytest.mark.slow
def test_json_is_all_there_is_on_standard_output(model: Path, tmp_path: Path) -> None:
    """As ``python -m expo_analysis.llm.finetune``, which is what accelerate launches."""
    command = [sys.executable, "-m", "expo_analysis.llm.finetune", *write(tmp_path, model), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["objective"] == "EXPO(lam=0.3)" and found["estimator"] == "token_kl"


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
    parsed, trainer, checkpoint = finetune.set_up([*write(tmp_path, model, data), *flags])
    assert checkpoint is None and parsed.script.model == str(model)
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
    "objective": (
        {"objective": "dpoo"},
        [],
        r"did you mean 'dpo'\? objective must be one of .*got 'dpoo'",
    ),
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
    "batch size": (
        {"per_device_train_batch_size": 0},
        [],
        "per_device_train_batch_size must be a whole number of at lea",
    ),
    "accumulation": ({"gradient_accumulation_steps": 0}, [], "gradient_accumulation_steps must be a whole number of"),
    "revision of a folder": ({}, ["--model_revision", "v2"], "model_revision is not used for folders; got 'v2'$"),
    "adapter's setting": ({"lora_r": 4}, [], "lora_r is not used without use_peft; got 4$"),
    "quantisation's setting": ({}, ["--use_bnb_nested_quant"], "use_bnb_nested_quant is not used without load_in_4bit"),
    "no steps": ({"max_steps": 0}, [], "max_steps must be a whole number of at least 1, got 0"),
    "fewer steps": ({"max_steps": -5}, [], "max_steps must be a whole number of at least 1, got -5"),
    "growth": ({"weight_decay": -1.0}, [], "weight_decay must be a finite number of at least 0, got -1.0"),
    "clipping": ({"max_grad_norm": -1.0}, [], "max_grad_norm must be a finite number of at least 0, got -1.0"),
    "no full batch": (
        {"dataloader_drop_last": True, "per_device_train_batch_size": 13},
        [],
        "train_dataset must have at least the 13 rows of a batch, as dataloader_drop_last leaves .*; it has 4$",
    ),
    "beta": ({"beta": -1.0}, [], "^beta must be a finite number above 0"),
    "lam": ({}, ["--lam", "-1"], "^lam must be a finite number above 0"),
    "lam=": ({}, ["--lam=-1"], "^lam must be a finite number above 0"),
    "TRL's loss": (
        {},
        ["--loss_type", "ipo"],
        "has 'loss_type', which is no option; TRL calls it so, and here it is --objective ipo$",
    ),
    "TRL's loss, by its own name": ({}, ["--loss_type=sigmoid"], "here it is --objective dpo$"),
    "TRL's loss in the file": ({"loss_type": "hinge"}, [], r"which is no option; .* here it is objective: hinge$"),
    "TRL's smoothing": (
        {},
        ["--label_smoothing", "0.1"],
        r"here it is --objective_options '\{\"label_smoothing\": \.\.\.\}'$",
    ),
    "TRL's losses": ({"loss_type": ["sigmoid", "bco_pair"]}, [], "here it is objective: dpo bco$"),
    "a mixture of one": (
        {"datasets": "a.jsonl", "dataset_name": None},
        [],
        r"recipe\.yaml: datasets must be a list of data sets, each with a path; got 'a\.jsonl'$",
    ),
    "key of a mixture": (
        {"datasets": [{"path": "a"}, {"path": "b", "colums": ["c"]}], "dataset_name": None},
        [],
        r"recipe\.yaml: data set 1 of datasets has 'colums', which is none of .*; did you mean 'columns'\?$",
    ),
    "no path of a mixture": (
        {"datasets": [{"name": "x"}], "dataset_name": None},
        [],
        r"data set 0 of datasets must have a path; it has \['name'\]$",
    ),
    "task": (
        {},
        ["--use_peft", "--lora_task_type", "SEQ_CLS"],
        "^lora_task_type must be 'CAUSAL_LM', .* got 'SEQ_CLS'$",
    ),
    "metric": (
        {"eval_strategy": "steps", "test_split_size": 0.5, "metric_for_best_model": "rewards/acuracies"},
        [],
        "^metric_for_best_model must be a metric .*; got 'rewards/acuracies'; did you mean 'rewards/accuracies'",
    ),
    "metric of no evaluation": (
        {},
        ["--metric_for_best_model", "loss"],
        "is not used without an evaluation: set eval_s",
    ),
    "model": ({}, ["--model_name_or_path", "other"], "model must be given, once"),
    "no data": ({"dataset_name": None}, [], r"^give data \(--dataset_name: .*\), or a recipe that names them"),
    "no model": ({"model": None}, [], r"^give a model \(--model: .*\), or a recipe that names them"),
    "data twice": ({"datasets": [{"path": "json"}]}, [], "dataset_name is not used beside datasets"),
    "no file": ({"dataset_name": "missing.jsonl"}, [], "missing.jsonl: No such file"),
    "no folder": ({"model": "./nowhere"}, [], r"model './nowhere': there is no such folder$"),
    "split": (
        {"dataset_train_split": "training"},
        [],
        r"dataset_train_split must be one of \['train'\], got 'training'; did you mean 'train'\?$",
    ),
    "no evaluation": ({"eval_strategy": "epoch"}, [], "the data have no split 'test'; set test_split_size"),
    "test size": ({"test_split_size": 1.5}, [], "test_split_size must be a number between 0 and 1, got 1.5"),
    "rows": ({"max_train_rows": 0}, [], "max_train_rows must be a whole number of at least 1, got 0"),
    "preparation": ({"preparation": "shp"}, [], "preparation must be one of"),
    "rate": ({"learning_rate": 0}, [], "learning_rate must be a finite number above 0"),
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
}


@pytest.mark.parametrize(("given", "flags", "message"), BAD.values(), ids=BAD)
def test_bad_recipes(given: dict[str, Any], flags: list[str], message: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        finetune.set_up([*write(tmp_path, model, tiny.pairs(4), **given), *flags])
    assert "\n" not in str(caught.value)


def test_lambda_is_called_what_the_user_called_it(model: Path, tmp_path: Path) -> None:
    path = Path(write(tmp_path, model)[1])
    path.write_text(path.read_text().replace("beta: 0.3", "lam: -1.0"))
    with pytest.raises(ValueError, match=r"^lam must be a finite number above 0"):
        finetune.parse(["--config", str(path)])
    with pytest.raises(ValueError, match=r"^beta must be a finite number above 0"):
        finetune.parse(["--config", str(path), "--beta", "-2"])


def test_a_number_of_too_many_digits_in_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"seed: {'7' * 5000}\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml: it is no YAML that can be read: ") as caught:
        finetune.parse(["--config", str(tmp_path / "recipe.yaml")])
    assert len(str(caught.value)) < 300


def test_bad_input_is_one_line_and_code_2(model: Path, tmp_path: Path) -> None:
    data = tiny.Dataset.from_list([{"prompt": "w1 ", "chosen": "w2", "rejected": "w3"}] * 2 + [BLANK])
    done = CliRunner().invoke(app, ["finetune", *write(tmp_path, model, data)])
    assert done.exit_code == 2 and done.stdout == ""
    where = f"{tmp_path / 'pairs.jsonl'}: row 2 (line 3), chosen: it is empty"
    assert done.stderr.splitlines()[-1].startswith(f"Error: train_dataset has rows that cannot be trained on: {where}")
    done = CliRunner().invoke(app, ["finetune", "--config", "nowhere.yaml"])
    assert done.exit_code == 2 and "or one of the recipes ['hh_pythia_2.8b'" in done.stderr


BLANK = {"prompt": "w1 ", "chosen": "", "rejected": "w2"}


def test_options_are_listed_with_our_own_first() -> None:
    """Every setting once, those that are refused only by name."""
    done = CliRunner().invoke(app, ["finetune", "--list_options"])
    assert done.exit_code == 0
    listed = re.findall(r"^  --(\w+)", done.stdout, flags=re.M)
    usable = {name for name in listed if not name.startswith("no_")}
    assert {"regulariser_estimator", "lora_r", "test_split_size", "resume", "learning_rate", "columns"} <= usable
    assert usable.isdisjoint(recipe.REFUSED)
    refused = done.stdout[done.stdout.index("that are refused") :]
    assert all(name in refused for name in recipe.REFUSED)
    ours = [*OWN, "objective", "beta", "regulariser_estimator", "on_bad_rows"]
    assert max(listed.index(name) for name in ours) < min(
        listed.index(name) for name in ("lora_r", "weight_decay", "datasets", "dataset_config")
    )
    assert listed[0] == "model" and len(set(listed)) == len(listed)
    as_one_line = " ".join(done.stdout.split())
    assert all(" ".join(said.split()) in as_one_line for name, said in recipe.HELP.items() if name in usable)
    assert usable & recipe.HELP.keys()


OWN = [field.name for field in dataclasses.fields(recipe.FinetuneArguments)]
OWN = [name for name in OWN if name not in {field.name for field in dataclasses.fields(recipe.ScriptArguments)}]


def test_help_names_every_setting_of_our_own() -> None:
    text = CliRunner().invoke(app, ["finetune", "--help"]).stdout
    config = {field.name for field in dataclasses.fields(PreferenceConfig)}
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    changed = {name for name in PreferenceConfig.__annotations__ if name in inherited}
    for name in [*OWN, *(config - inherited), *changed, "lam", "dataset_name", "output_dir"]:
        assert re.search(rf"--{name}\b", text), name
    named = set(re.findall(r"--(\w+)", text)) - {"config", "list_options", "lam", "help", "SETTING"}
    launch = {"config_file", "num_processes", "multi_gpu"}
    assert named - launch <= recipe.Parser().known


@pytest.mark.parametrize("lam", [["--lam", "0.7"], ["--beta", "0.7"], {"lam": 0.7}, {"beta": 0.7}], ids=str)
def test_lambda_has_two_names(lam: Any, model: Path, tmp_path: Path) -> None:
    flags, given = (lam, {"beta": None}) if isinstance(lam, list) else ([], {"beta": None} | lam)
    arguments = write(tmp_path, model, tiny.pairs(2), **given)
    path = Path(arguments[1])
    path.write_text(path.read_text().replace("beta: null\n", ""))
    assert finetune.parse([*arguments, *flags]).config.make_objective() == ea.EXPO(0.7)


def test_a_loss_of_ones_own(model: Path, tmp_path: Path) -> None:
    """A class and an instance, trained; the boosting loss is named in the summary."""
    shutil.copy(Path(__file__).parents[1] / "examples" / "exponential.py", tmp_path / "mine.py")
    with (tmp_path / "mine.py").open("a") as file:
        file.write("\nhard = Exponential(3.0)\n")
    arguments = write(tmp_path, model, tiny.pairs(4), max_steps=1)
    path = Path(arguments[1])
    path.write_text(path.read_text().replace("beta: 0.3\n", ""))
    for name, flags, lam in (("hard", [], 3.0), ("hard", ["--lam", "2"], 2.0), ("Exponential", [], 0.1)):
        flags = ["--objective", f"{tmp_path}/mine.py:{name}", "--overwrite", *flags]
        assert finetune.main([*arguments, *flags, "--json"]) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["objective"] == f"Exponential(lam={lam})"
        assert summary["metrics"]["loss"]["first"] == pytest.approx(1.0, abs=1e-6)  # exp(-lam 0)


def test_what_fails_before_the_first_step_is_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss of one's own that raises, and what a library refuses only when training begins; not what fails later."""
    (tmp_path / "mine.py").write_text(
        "import expo_analysis as ea\n\nclass Broken(ea.PairObjective):\n    name = 'broken'\n"
        "    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):\n        return {}['margin']\n"
    )
    arguments = write(tmp_path, model, tiny.pairs(4))
    assert finetune.main([*arguments, "--objective", f"{tmp_path}/mine.py:Broken"]) == 2
    assert "Error: mine.py, line 6: KeyError: 'margin'" in capsys.readouterr().err.splitlines()
    assert finetune.main([*arguments, "--adam_beta1", "2", "--overwrite"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "Error: Invalid beta parameter at index 0: 2.0"
    steps = []

    def late(self: Any, *args: Any, **kwargs: Any) -> None:
        steps.append(self.state.global_step)
        if self.state.global_step:
            raise ValueError("a fault of ours")
        return compute(self, *args, **kwargs)

    compute = finetune.PreferenceTrainer.compute_loss
    monkeypatch.setattr(finetune.PreferenceTrainer, "compute_loss", late)
    with pytest.raises(ValueError, match="a fault of ours"):
        finetune.main([*arguments, "--overwrite"])
    assert steps == [0, 1]


BROKEN = {
    "not a mapping": ("- a\n- b\n", r"recipe\.yaml: a recipe must be settings, NAME: VALUE, one on a line; got list$"),
    "empty": ("", r"recipe\.yaml: a recipe must be settings, .*; got nothing$"),
    "no YAML": ("model: m\nobjective: [expo\nbeta: 1\n", r"recipe\.yaml, line 3: it is no YAML that can be read: "),
    "colons": (
        "model: m\nbeta: 1: 2\n",
        r"recipe\.yaml, line 2: it is no YAML .*: mapping values are not allowed here$",
    ),
    "tabs": ("model: m\n\tbeta: 1\n", r"recipe\.yaml, line 2: it is no YAML that can be read: found character '\\t'"),
    "twice": (
        "beta: 1\nmodel: m\nbeta: 2\n",
        r"recipe\.yaml, line 3: it is no YAML .*: 'beta' is given a second time$",
    ),
    "environment": ("env: 3\n", r"recipe\.yaml: env must be variables of the environment, NAME: VALUE, got 3$"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_recipe_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    done = CliRunner().invoke(app, ["finetune", "--config", str(tmp_path / "recipe.yaml")])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert re.search(message, done.stderr.strip())


def test_a_recipe_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes("output_dir: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"recipe\.yaml: it is no YAML that can be read: 'utf-8' codec"):
        recipe_file.read_recipe(tmp_path / "recipe.yaml")


def test_a_bare_no_is_no_strategy(tmp_path: Path) -> None:
    """In YAML 1.1 it is false, which transformers would not know."""
    (tmp_path / "recipe.yaml").write_text("save_strategy: no\neval_strategy: off\nbf16: no\n")
    assert recipe_file.read_recipe(tmp_path / "recipe.yaml") == {
        "save_strategy": "no",
        "eval_strategy": "no",
        "bf16": False,
    }


def test_the_environment_of_a_recipe(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPO_TEST", raising=False)
    finetune.parse(write(tmp_path, model, tiny.pairs(2), env={"EXPO_TEST": 3}))
    assert os.environ.pop("EXPO_TEST") == "3"


def test_what_the_trainer_says_is_said_once(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rows that are left out, for one: by the trainer's log, and not by the command again."""
    data = tiny.Dataset.from_list([*tiny.pairs(4), BLANK])
    assert finetune.main([*write(tmp_path, model, data, max_steps=1), "--on_bad_rows", "drop"]) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    assert len(said) == 1 and said[0].startswith("train_dataset: ") and "RANK" not in said[0]


def test_model_and_data_are_missing() -> None:
    done = CliRunner().invoke(app, ["finetune"])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("Error: give a model (--model: ") and " and data (--dataset_name: " in done.stderr
    done = CliRunner().invoke(app, ["finetune", "--model", "m"])
    assert done.stderr.startswith("Error: give data (--dataset_name: ")


DAMAGE = {
    "config": ("config.json", "{", "config.json"),
    "weights": ("model.safetensors", "nothing", "[Hh]eader|safetensors"),
    "tokenizer": ("tokenizer.json", "nothing", ""),
    "template": ("chat_template.jinja", "{% for %}", ""),
}


@pytest.mark.parametrize(("file", "content", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_model_is_one_line(file: str, content: str, message: str, model: Path, tmp_path: Path) -> None:
    """Loaders have exceptions of their own, and raise others'."""
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / file).write_text(content)
    arguments = write(tmp_path, tmp_path / "model", tiny.pairs(4, chat=True))
    done = CliRunner().invoke(app, ["finetune", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and re.search(message, last)
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------------------- summary


def test_the_summary_is_of_the_first_and_the_last_step(model: Path, tmp_path: Path) -> None:
    """Not of the log's averages, which with logging_steps=10 would be of all five steps, or of none."""
    found = {}
    for every in (1, 10):
        given = {
            "max_steps": 5,
            "logging_steps": every,
            "save_strategy": "no",
            "output_dir": str(tmp_path / f"{every}"),
        }
        done = CliRunner().invoke(app, ["finetune", *write(tmp_path, model, **given)])
        assert done.exit_code == 0, done.output
        assert re.search(r"metric +step 1 +step 5", done.stdout)
        found[every] = json.loads((tmp_path / f"{every}" / "summary.json").read_text())
        assert found[every]["steps_shown"] == {"first": [1, 1], "last": [5, 5], "evaluation": None}
    history = json.loads((tmp_path / "1" / "trainer_state.json").read_text())["log_history"]
    steps = {entry["step"]: entry for entry in history if "loss" in entry}
    assert found[10]["metrics"] == found[1]["metrics"]
    for name, row in found[1]["metrics"].items():
        assert row["first"] == steps[1][name] and row["last"] == steps[5][name], name


def test_a_log_entry_says_which_steps_it_is_of() -> None:
    """Also after a checkpoint: what was not logged before it is in no entry."""
    state = SimpleNamespace(global_step=0, max_steps=30, log_history=[], is_world_process_zero=True)
    control, log = SimpleNamespace(should_log=False), LogEnds()
    log.on_train_begin(None, state, control)
    forced = []
    for step in range(1, 31):
        state.global_step, control.should_log = step, step % 10 == 0
        log.on_step_end(None, state, control)
        if control.should_log:
            forced.append(step)
            state.log_history.append({"loss": 0.0, "step": step})
            log.on_log(None, state, control)
    assert forced == [1, 10, 20, 29, 30]
    assert [entry[FROM_STEP] for entry in state.log_history] == [1, 2, 11, 21, 30]
    state.global_step, state.log_history = 25, []
    log.on_train_begin(None, state, control)
    state.global_step = 29
    state.log_history.append({"loss": 0.0, "step": 29})
    log.on_log(None, state, control)
    assert state.log_history[0][FROM_STEP] == 26
    state.log_history.append({"eval_loss": 0.0, "step": 29})
    log.on_log(None, state, control)
    assert FROM_STEP not in state.log_history[1]


def test_columns_say_what_they_are_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a training was stopped between two entries, the last is a mean; an evaluation has its step."""
    entries = [{"loss": 1.0, "step": 1, FROM_STEP: 1}, {"loss": 0.5, "step": 17, FROM_STEP: 11}]
    entries.append({"eval_loss": 0.7, "step": 10})
    state = SimpleNamespace(log_history=entries, global_step=17, max_steps=30)
    trainer = SimpleNamespace(
        **{"state": state, "objective": ea.DPO(0.1), "estimator": None, "ref_model": None, "train_dataset": [1, 2]},
        **{
            "accelerator": SimpleNamespace(num_processes=1),
            "data_reports": {"train_dataset": DataReport("train_dataset", rows=2)},
            "args": SimpleNamespace(output_dir="o"),
        },
    )
    found = summary.summarise(trainer, 3.14159, False)
    assert found["seconds"] == 3.1 and found["finished"] is False and found["rows"] == 2
    assert found["steps_shown"] == {"first": [1, 1], "last": [11, 17], "evaluation": [10, 10]}
    summary.print_summary(found)
    shown = capsys.readouterr().out
    assert re.search(r"metric +step 1 +mean of steps 11–17 +evaluation after step 10", shown)
    assert re.search(r"loss +1 +0\.5 +0\.7", shown)
    trainer.state.log_history = []
    empty = summary.summarise(trainer, 0.0, False)
    assert empty["metrics"] == {} and empty["steps_shown"]["last"] is None
    summary.print_summary(empty)


def test_seconds_are_those_of_the_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1000.0, 1012.34])
    monkeypatch.setattr(finetune, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert finetune.main([*write(tmp_path, model, tiny.pairs(4), max_steps=1), "--json"]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["seconds"] == 12.3


@pytest.mark.parametrize(("platform", "peak"), [("linux", 3 * 1024), ("darwin", 3)])
def test_peak_memory_has_the_units_of_the_system(
    platform: str, peak: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=3))
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(summary.sys, "platform", platform)
    monkeypatch.setattr(summary, "STATUS", tmp_path / "none")
    assert summary.peak_memory() == peak


def test_peak_memory_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)  # so it is on Windows
    monkeypatch.setattr(summary, "STATUS", tmp_path / "none")
    assert summary.peak_memory() is None


@pytest.mark.skipif(not summary.STATUS.exists(), reason="only Linux says what one process has had")
@pytest.mark.slow
def test_peak_memory_is_not_that_of_the_process_that_started_it() -> None:
    """Linux' getrusage is: a child of one that had much would seem to have had as much."""
    program = (
        "import subprocess, sys\n"
        "had = bytearray(900 * 2**20)\n"
        "had[::4096] = b'x' * len(had[::4096])\n"
        "child = 'from expo_analysis.llm.summary import peak_memory; print(peak_memory())'\n"
        "print(subprocess.run([sys.executable, '-c', child], capture_output=True, text=True, check=True).stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 900 * 2**20


def test_peak_memory_is_about_right() -> None:
    import psutil

    now = psutil.Process().memory_info().rss
    assert 0.5 * now < summary.peak_memory() < 100 * now


# --------------------------------------------------------------------------------------------------------- the package


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
    assert trainer.estimator == ("token_kl" if objective == "expo" else None)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read(path: Path) -> None:
    """Every key is known and every value valid; on this machine in float32, whatever they ask of a GPU."""
    recipe = finetune.parse(["--config", path.stem, "--bf16", "false", "--use_cpu"])
    assert recipe.config.make_objective() == ea.EXPO(recipe.config.beta)
    assert recipe.script.model and recipe.script.dataset_name
    text = path.read_text()
    assert "Expected memory" in text or "GB" in text
    assert recipe.config.regulariser_estimator is None  # or --objective dpo would be refused
