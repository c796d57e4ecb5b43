"""The tests notice mistakes: each planted one makes the test named for it fail, by an assertion."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and of its tests, so that nothing is imported from here."""
    for folder in ("expo_analysis", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(copy: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """The tests, by pytest, in the copy; without the plugins that it would load for itself, which takes time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{t}" for t in tests)]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)


def once(folder: Path, mutant: Mutant) -> Path:
    """The file that a mutant changes, where it has the mutant's line exactly once."""
    path = folder / "expo_analysis" / mutant.file
    assert path.read_text().count(mutant.old) == 1, f"{mutant.old!r} must occur exactly once in {mutant.file}"
    return path


def plant(copy: Path, mutant: Mutant) -> None:
    path = once(copy, mutant)
    path.write_text(path.read_text().replace(mutant.old, mutant.new))
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


@pytest.mark.slow
def test_without_mutants_every_named_test_passes(copy: Path) -> None:
    tests = sorted({mutant.test for mutant in MUTANTS})
    done = run(copy, *tests)
    assert done.returncode == 0, done.stdout
    assert f"{len(tests)} passed" in done.stdout


FAST = MUTANTS[:1]
"""Each takes a process of its own: one on every run, all of them among the slow tests."""


def cases() -> list[Any]:
    return [pytest.param(m, id=m.name, marks=[] if m in FAST else pytest.mark.slow) for m in MUTANTS]


@pytest.mark.parametrize("mutant", cases())
def test_mutant_is_caught(mutant: Mutant, copy: Path) -> None:
    plant(copy, mutant)
    done = run(copy, mutant.test)
    assert done.returncode == 1, f"{mutant.test} let it pass:\n{done.stdout}\n{done.stderr}"
    assert re.search(r"^E +(AssertionError|assert )", done.stdout, re.MULTILINE), done.stdout


def test_every_mutant_applies() -> None:
    """Most are planted by the slow tests only, and code moves."""
    for mutant in MUTANTS:
        once(ROOT, mutant)


def test_a_mutant_that_no_longer_applies_is_noticed(copy: Path) -> None:
    with pytest.raises(AssertionError, match="must occur exactly once"):
        plant(copy, Mutant("gone", "losses/catalogue/dpo.py", "no such line", "", ""))
