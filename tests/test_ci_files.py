"""The GitHub Action and the pre-commit hooks: that they can be read, and that what they run runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from expo_analysis.desiderata.verdict import DESIDERATA

ROOT = Path(__file__).parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
AUDIT = ACTION["runs"]["steps"][1]

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def test_the_action_hands_on_every_input_and_nothing_else() -> None:
    assert ACTION["runs"]["using"] == "composite" and ACTION["name"] and ACTION["description"]
    assert all(step["shell"] == "bash" for step in ACTION["runs"]["steps"])
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(ACTION["runs"])))
    assert used == set(ACTION["inputs"])
    assert all(given["description"].endswith(".") for given in ACTION["inputs"].values())
    assert [name for name, given in ACTION["inputs"].items() if given.get("required")] == ["losses"]
    for name in AUDIT["env"]:
        assert f"${name}" in AUDIT["run"]
    assert "${{" not in AUDIT["run"]  # an input is no part of the script


def run_action(folder: Path, program: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The step as a runner runs it, with a program in the place of expo-analysis."""
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    command = binaries / "expo-analysis"
    command.write_text(f"#!/usr/bin/env bash\n{program}\n", encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    values = {name: given.get("default", "") for name, given in ACTION["inputs"].items()} | inputs
    pattern = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")
    environment = {name: pattern.sub(lambda m: values[m[1]], text) for name, text in AUDIT["env"].items()}
    environment |= {"GITHUB_OUTPUT": str(folder / "output"), "PATH": f"{binaries}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", AUDIT["run"]]  # as GitHub's runners do
    return subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@bash
def test_inputs_become_options(tmp_path: Path) -> None:
    given = {"losses": "a.py:f  dpo", "require": "existence", "beta-name": "$(touch pwned)", "badge": "a b.svg"}
    ran = run_action(tmp_path, 'printf "%s\\n" "$@"', **given)
    assert ran.returncode == 0, ran.stderr
    words = (tmp_path / "report_card.json").read_text(encoding="utf-8").splitlines()
    options = ["--require", "existence", "--beta-name", "$(touch pwned)", "--effort", "0.1", "--badge", "a b.svg"]
    assert words == ["audit", "a.py:f", "dpo", *options, "--json"]
    assert not (tmp_path / "pwned").exists()
    assert (tmp_path / "output").read_text(encoding="utf-8") == "card=report_card.json\n"


@bash
def test_the_exit_code_is_the_audits_and_the_card_may_be_the_baseline(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("before", encoding="utf-8")
    given = {"losses": "dpo", "baseline": "card.json", "card": "card.json"}
    ran = run_action(tmp_path, "cat card.json; exit 1", **given)  # reads the baseline while its output is written
    assert ran.returncode == 1
    assert (tmp_path / "card.json").read_text(encoding="utf-8") == "before"
    ran = run_action(tmp_path, "exit 2", **given)
    assert ran.returncode == 2 and (tmp_path / "card.json").read_text(encoding="utf-8") == "before"


@bash
@pytest.mark.slow
def test_the_action_audits(tmp_path: Path) -> None:
    program = f'exec {sys.executable} -m expo_analysis "$@"'
    given = {"losses": "dpo", "only": "preservation,first_step", "junit": "card.xml", "sarif": "card.sarif"}
    ran = run_action(tmp_path, program, **given, badge="card.svg")
    assert ran.returncode == 0, ran.stderr
    card = json.loads((tmp_path / "report_card.json").read_text(encoding="utf-8"))
    assert set(card["losses"]["dpo"]) == {"preservation", "first_step"}
    assert all((tmp_path / name).is_file() for name in ("card.xml", "card.sarif", "card.svg"))
    again = run_action(tmp_path, program, **given, baseline="report_card.json", require="preservation")
    assert again.returncode == 1 and "required, but not held: dpo, preservation: fails" in again.stderr


def test_hooks_name_what_there_is() -> None:
    assert [hook["id"] for hook in HOOKS] == ["preference-loss", "preference-loss-installed"]
    for hook in HOOKS:
        assert hook["entry"] == "expo-analysis audit" and not hook["pass_filenames"]
        assert hook["language"] in ("python", "system")
    example = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    [required] = re.findall(r'--require, "([\w,]+)"', example)
    assert set(required.split(",")) <= set(DESIDERATA)


def test_pre_commit_reads_the_hooks() -> None:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    assert [hook["id"] for hook in clientlib.load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))]


PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


@bash
@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    """One after the other, in a folder that has the loss of the page."""
    [loss, *_] = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    (tmp_path / "my_loss.py").write_text(loss, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    lines = re.findall(r"^\$ expo-analysis ((?:.+\\\n)*.+)$", PAGE, flags=re.M)
    assert len(lines) == 3
    for line in lines:
        command = f"{sys.executable} -m expo_analysis {line}"
        ran = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"card.json", "card.xml", "card.sarif", "card.svg"}
    required = {word for words in re.findall(r'require(?::|,) "?([\w,]+)', PAGE) for word in words.split(",")}
    command = [sys.executable, "-m", "expo_analysis", "audit", "my_loss.py:my_loss", "--quick", "--require"]
    command += [",".join(sorted(required)), "--only", ",".join(sorted(required))]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert required and ran.returncode == 0, ran.stderr  # the workflow and the hook are green with the page's loss


def test_the_options_and_questions_of_the_page_exist() -> None:
    from typer.testing import CliRunner

    from expo_analysis.cli import app
    from expo_analysis.testing import INVARIANCES

    known = "".join(CliRunner().invoke(app, [name, "--help"]).stdout for name in ("audit", "diff"))
    own = {"--preference-loss", "--preference-questions"}  # pytest's
    for option in set(re.findall(r"(?<![\w-])--[a-z][\w-]+", PAGE)) - own:
        assert option in known, option
    for names in re.findall(r"--(?:only|require),? ([\w,]+)", PAGE):
        assert set(names.split(",")) <= set(DESIDERATA)
    shown = re.findall(r"assert_invariant\(my_loss, ([^)]*)\)", PAGE)
    assert {name.strip(' "') for names in shown for name in names.split(",")} <= set(INVARIANCES)
