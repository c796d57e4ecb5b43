"""What the README promises a stranger: a file of ten lines, in an environment that has nothing but ``[testing]``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MODULE = """\
import torch
import torch.nn.functional as F


class MyLoss(torch.nn.Module):
    def __init__(self, beta=0.1):
        super().__init__()
        self.beta = beta

    def forward(self, chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):
        return -F.logsigmoid(self.beta * (chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps))
"""


def file_in(page: str) -> str:
    """The file of tests that a page shows."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return next(
        block for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S) if "def test_" in block
    )


def test_the_file_in_the_readme_has_at_most_ten_lines() -> None:
    text = file_in("README.md")
    assert len(text.splitlines()) <= 10 and "def my_loss(" in text
    assert text == file_in("docs/ci.md")


def clean() -> dict[str, str]:
    """An environment without anything that points to this repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "VIRTUAL"))}
    return kept | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of tests, a loss, and an environment of its own, which has no matplotlib any more."""
    folder = tmp_path_factory.mktemp("stranger")
    source = folder / "source"  # a copy: building leaves files behind
    leave = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "expo_analysis", source / "expo_analysis", ignore=leave)
    for name in ("README.md", "LICENSE", "setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    (folder / "work").mkdir()
    (folder / "work" / "test_my_loss.py").write_text(file_in("README.md"), encoding="utf-8")
    (folder / "work" / "my_loss.py").write_text(MODULE, encoding="utf-8")
    venv.create(folder / "env", with_pip=True)
    pip(folder, "install", "-c", str(ROOT / "constraints.txt"), f"{folder / 'source'}[testing]")
    pip(folder, "uninstall", "-y", "matplotlib", "mpltern")
    return folder


def pip(folder: Path, *words: str) -> None:
    run(folder, "-m", "pip", "--quiet", "--disable-pip-version-check", *words, at=folder)


def run(folder: Path, *words: str, at: Path | None = None, code: int = 0) -> str:
    """What the environment's python prints."""
    python = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ran = subprocess.run(
        [python, *words], cwd=at or folder / "work", env=clean(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_it_has_nothing_that_is_not_needed(stranger: Path) -> None:
    code = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    names = ["trl", "transformers", "matplotlib", "mpltern", "jax", "cvxpy"]
    assert run(stranger, "-c", code.format(names)).strip() == "[]"


@pytest.mark.slow
def test_the_file_in_the_readme_passes(stranger: Path) -> None:
    assert "1 passed" in run(stranger, "-m", "pytest", "-p", "no:cacheprovider")


@pytest.mark.slow
def test_the_plugin_asks_its_questions(stranger: Path) -> None:
    asked = ["--preference-loss", "my_loss.py:MyLoss", "--preference-questions", "sound,first_step,consistency"]
    told = run(stranger, "-m", "pytest", "-p", "no:cacheprovider", *asked, code=1)
    assert "first_step fails: the first step leaves a reference that is already" in told
    assert re.search(r"1 failed, \d passed", told), told


@pytest.mark.slow
def test_with_two_workers(stranger: Path) -> None:
    pip(stranger, "install", "-c", str(ROOT / "constraints.txt"), "pytest-xdist")
    asked = ["--preference-loss", "my_loss.py:MyLoss", "--preference-questions", "sound,first_step"]
    told = run(stranger, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", *asked, code=1)
    assert "1 failed, 2 passed" in told and "2 workers" in told


@pytest.mark.slow
def test_the_command_line_works_too(stranger: Path) -> None:
    words = ["audit", "my_loss.py:MyLoss", "--quick", "--only", "first_step", "--junit", "card.xml", "--badge", "b.svg"]
    assert "no first step from π*: fails" in run(stranger, "-m", "expo_analysis", *words)
    assert (stranger / "work" / "card.xml").is_file() and (stranger / "work" / "b.svg").is_file()
