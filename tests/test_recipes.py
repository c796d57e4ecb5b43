"""What is shipped beside the code: recipes, accelerate files, the Slurm example, and what their comments say."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from expo_analysis.cli import app
from expo_analysis.cli.recipes import FOLDER, files

from . import llm_models as tiny

from expo_analysis.llm.recipe_file import RECIPES  # isort: skip (needs the environment of llm_models)
from accelerate.commands.config.config_args import load_config_from_file  # isort: skip

ROOT = Path(__file__).parents[1]
ACCELERATE = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}
SLURM = ROOT / "examples" / "slurm" / "finetune.sbatch"


def test_commands_and_trainer_agree_where_they_are() -> None:
    assert FOLDER == RECIPES and set(ACCELERATE) <= set(files())
    assert {path.name for path in files().values()} == {
        path.name for folder in (RECIPES, RECIPES / "accelerate") for path in folder.glob("*.yaml")
    }


def test_they_are_in_the_package() -> None:
    """As setuptools is told."""
    patterns = (ROOT / "setup.cfg").read_text().split("[options.package_data]")[1].split("[")[0].split()
    for path in files().values():
        relative = path.relative_to(ROOT / "expo_analysis")
        assert any(relative.match(pattern) and len(relative.parts) == pattern.count("/") + 1 for pattern in patterns)


@pytest.mark.parametrize("name", ACCELERATE)
def test_accelerate_reads_its_files(name: str) -> None:
    """None of its keys is unknown; whether to compute in bfloat16, and on how many GPUs, is left to others."""
    config = load_config_from_file(str(files()[name]))
    assert config.distributed_type.value == ACCELERATE[name]
    assert config.mixed_precision == "no" and config.num_processes == -1 and config.num_machines == 1
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    if name.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])
        assert config.deepspeed_config.get("zero3_save_16bit_model", name == "zero2")


@pytest.mark.parametrize("name", ACCELERATE)
def test_what_its_settings_become(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate ignores settings that it does not know; all of ours are arguments of its launcher."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    arguments = ["--config_file", str(files()[name]), "--num_processes", "4", "script.py"]
    parser = launch_command_parser()
    parsed, config, _ = _validate_launch_command(parser.parse_args(arguments))
    assert parsed.num_processes == 4
    assert (parsed.multi_gpu, parsed.use_fsdp, parsed.use_deepspeed) == (
        name == "ddp",
        name == "fsdp2",
        name.startswith("zero"),
    )
    known = set(vars(parser.parse_args(["script.py"])))
    for group in (config.fsdp_config, config.deepspeed_config):
        assert {key for key in group if key not in known} == set()


def test_the_command_lists_them_and_prints_paths() -> None:
    listed = CliRunner().invoke(app, ["recipes"]).stdout
    for name, path in files().items():
        assert re.search(rf"^{re.escape(name)} +\S", listed, flags=re.M)
        assert CliRunner().invoke(app, ["recipes", name]).stdout == f"{path}\n"
    done = CliRunner().invoke(app, ["recipes", "fsdp"])
    assert (done.exit_code, done.stdout) == (2, "") and "got 'fsdp'; did you mean 'fsdp2'?" in done.stderr


def commands(path: Path) -> list[list[str]]:
    """The commands in a file's comments, as a shell reads them."""
    text = "\n".join(re.sub(r"^# ?", "", line) for line in path.read_text().splitlines() if line.startswith("#"))
    text = re.sub(r"\\\n\s*", "", text)
    starts = ("expo-analysis ", "accelerate ", "python ", "pip ", "sbatch ")
    return [shlex.split(line, comments=True) for line in map(str.strip, text.splitlines()) if line.startswith(starts)]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_the_comments_of_a_recipe_name_is_there(path: Path) -> None:
    """Commands, their options, recipes, accelerate files and modules."""
    found = commands(path)
    assert any("finetune" in " ".join(command) for command in found)
    for command in found:
        text = " ".join(command)
        for name in re.findall(r"recipes (\w+)", text):
            assert name in files()
        if "--config" in command:
            assert command[command.index("--config") + 1] in files()
        if "-m" in command:
            module = command[command.index("-m") + 1].replace(".", "/")
            assert (ROOT / f"{module}.py").is_file()
        if command[0] == "expo-analysis" and command[1] != "finetune":
            options = CliRunner().invoke(app, [command[1], "--help"]).stdout
            assert {word for word in command if word.startswith("--")} <= set(re.findall(r"--[\w-]+", options))
        if command[0] == "python" and "-c" in command:
            for module in re.findall(r"expo_analysis[\w.]*", command[command.index("-c") + 1]):
                __import__(module)
    words = path.read_text()
    for name in re.findall(r"`recipes (\w+)`", words):
        assert name in files()
    assert "fsdp2.yaml" not in words and "zero3.yaml" not in words
    if "preparation:" not in words:
        assert yaml.safe_load(words)["test_split_size"] and yaml.safe_load(words)["eval_strategy"] != "no"


def test_documents_name_the_files() -> None:
    text = (ROOT / "docs" / "llm.md").read_text()
    for name in ACCELERATE:
        assert f"recipes {name}" in text or f"`{name}`" in text, name
    assert "examples/slurm" in text
    for path in (ROOT / "README.md", ROOT / "docs" / "llm.md", ROOT / "expo_analysis" / "cli" / "finetune.py"):
        for name in re.findall(r"expo-analysis recipes (\w+)\)", path.read_text()):
            assert name in files()


def test_the_slurm_script_is_one() -> None:
    assert subprocess.run(["bash", "-n", str(SLURM)], check=False).returncode == 0
    text = SLURM.read_text()
    assert text.startswith("#!/bin/bash\n")
    directives = re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, flags=re.M)
    assert ("signal", "B:TERM@300") in directives and ("requeue", "") in directives
    before = text[: text.rindex("#SBATCH")]
    assert all(line.startswith("#") or not line for line in before.splitlines())  # Slurm stops at the first command


@pytest.mark.slow
def test_the_slurm_script_saves_and_asks_to_be_queued_again(tmp_path: Path) -> None:
    """With a stand-in for Slurm's command, on CPUs: two processes stop after the same step."""
    tiny.llama(0).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.pairs(24).to_json(tmp_path / "pairs.jsonl")
    recipe = {
        **{"model": "model", "dataset_name": "pairs.jsonl", "objective": "dpo", "output_dir": "out", "use_cpu": True},
        **{"bf16": False, "report_to": "none", "max_steps": 5000, "disable_tqdm": True, "save_strategy": "no"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "bin").mkdir()
    for name, content in (
        ("scontrol", 'echo "$@" > requeued'),
        ("expo-analysis", f'exec {sys.executable} -m expo_analysis "$@"'),
        ("accelerate", f'exec {sys.executable} -m accelerate.commands.accelerate_cli "$@"'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {
        **{"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_ID": "7"},
        **{"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    }
    job = subprocess.Popen(["bash", str(SLURM), "recipe.yaml"], cwd=tmp_path, env=environment)
    for _ in range(600):
        if (tmp_path / "out" / "run.json").is_file():
            break
        assert job.poll() is None
        time.sleep(0.5)
    time.sleep(5)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=120) != 0
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    summary = yaml.safe_load((tmp_path / "out" / "summary.json").read_text())
    assert summary["finished"] is False and summary["processes"] == 2
    assert (tmp_path / "out" / f"checkpoint-{summary['steps']}" / "trainer_state.json").is_file()
