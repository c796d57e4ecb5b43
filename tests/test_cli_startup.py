"""Help, version and completion are quick: nothing that computes is imported for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import expo_analysis
from expo_analysis.cli import app

COMMANDS = sorted(typer.main.get_group(app).commands)
HEAVY = {"torch", "pandas", "matplotlib", "scipy", "transformers", "datasets", "trl", "numpy"}

PROGRAM = f"""
import json, sys, types
# the commands alone, whatever the package's own __init__ imports
package = types.ModuleType("expo_analysis")
package.__path__, package.__version__ = [{str(Path(expo_analysis.__file__).parent)!r}], "0"
sys.modules["expo_analysis"] = package
from expo_analysis.cli import app
for arguments in json.loads(sys.argv[1]):
    try:
        app(arguments, prog_name="expo-analysis")
    except SystemExit as done:
        assert not done.code, done.code
    print("imported after", *arguments, sorted({HEAVY!r} & set(sys.modules)))
"""


def test_what_computes_is_not_imported() -> None:
    """One after the other in one process: the first that imports something is the first with a name in its line."""
    each = [["--help"], ["--version"], *([command, "-h"] for command in COMMANDS), ["recipes", "ddp"]]
    command = [sys.executable, "-c", PROGRAM, json.dumps(each)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("imported after")]
    assert told == [f"imported after {' '.join(arguments)} []" for arguments in each]


WITHOUT = """
import contextlib, io, json, sys
sys.modules["datasets"] = None  # as if it were not installed
from expo_analysis.cli import main
told = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["expo-analysis", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            told.append([end.code, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""

NEED_DATASETS = [
    ["preferences", "--prompts", "sentiment", "-o", "x.jsonl"],
    ["finetune", "--model", "m", "--dataset_name", "d"],
    ["evaluate", "m", "--data", "d"],
    ["predict", "--model", "m", "--dataset_name", "d", "--objective", "dpo"],
    ["experiment"],
]


def test_what_is_not_installed_is_said_once(tmp_path: Path) -> None:
    """In one line, with how it is installed; by each command, one after the other in one process."""
    command = [sys.executable, "-c", WITHOUT, json.dumps(NEED_DATASETS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    for arguments, (code, out, err) in zip(NEED_DATASETS, json.loads(done.stdout), strict=True):
        assert (code, out) == (2, "") and "Traceback" not in err, arguments
        assert err.count("\n") == 1 and "datasets" in err and err.count("pip install") == 1, arguments
        assert err.endswith(": pip install '.[llm]' in the folder of the repository\n"), arguments


def test_completion_names_the_commands() -> None:
    environment = {"_EXPO_ANALYSIS_COMPLETE": "complete_bash", "COMP_WORDS": "expo-analysis re", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], prog_name="expo-analysis", env=environment)
    assert done.stdout.split() == ["recipes", "reproduce"]


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_short_help_is_help(arguments: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*arguments, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == 0 and short.stdout == long.stdout and short.stdout.startswith("Usage: ")


def test_usage_names_the_command_as_it_is_installed() -> None:
    """`python -m expo_analysis` too: it is the name that examples and error messages have."""
    done = subprocess.run([sys.executable, "-m", "expo_analysis", "-h"], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("Usage: expo-analysis [OPTIONS] COMMAND")
