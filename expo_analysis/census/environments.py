"""Throw-away environments: one package each, above one that has this package and what it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import venv
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from .. import adapters
from ..adapters import Package

SOURCE = Path(adapters.__file__).parents[2]
"""The folder that this package is imported from."""

PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install")


class Failed(RuntimeError):
    """A step of making an environment failed; says with what."""


def make_base(folder: Path) -> Path:
    """An environment with the requirements of this package, in the versions that are installed here.

    One that is there already and complete stays as it is.

    Returns:
        Its folder of packages, which others stand on.
    """
    complete = folder / "complete"
    if not complete.exists():
        _pip(_new(folder), *_requirements())
        complete.touch()
    return _packages_of(folder)


def make_environment(package: Package, folder: Path, base: Path) -> Path:
    """An environment with one package, without what it asks for beside what its losses need; returns its python."""
    python = _new(folder)
    (_packages_of(folder) / "base.pth").write_text(f"{base}\n")
    if package.needs:
        _pip(python, *package.needs)
    _pip(python, "--no-deps", "--ignore-requires-python", f"{package.name}=={package.pinned}", *package.alone)
    return python


def run(python: Path, package: str, seconds: float = 3600.0) -> list[dict[str, Any]]:
    """The rows of a package, computed in its environment."""
    done = _call([str(python), "-m", "expo_analysis", "census", package, "--json"], seconds)
    found: list[dict[str, Any]] = json.loads(done)["rows"]
    return found


def run_script(python: Path, text: str) -> str:
    """What a script prints in an environment."""
    return _call([str(python), "-c", text], 300.0)


def _requirements() -> list[str]:
    """What this package and its testing extra require, as they are installed."""
    found = []
    for line in requires("expo-analysis") or []:
        name = re.match(r"[\w.-]+", line)
        if name is not None and ("extra ==" not in line or "testing" in line):
            with suppress(PackageNotFoundError):
                found.append(f"{name[0]}=={version(name[0]).partition('+')[0]}")
    return found


def _new(folder: Path) -> Path:
    venv.create(folder, with_pip=True, clear=True)
    return folder / "bin" / "python"


def _packages_of(folder: Path) -> Path:
    return next((folder / "lib").glob("python*")) / "site-packages"


def _pip(python: Path, *arguments: str) -> None:
    _call([str(python), *PIP, *arguments], 1800.0)


def _call(command: list[str], seconds: float) -> str:
    """Standard output of a command.

    Raises:
        Failed: it ended otherwise than with 0, or was too slow; with the last line that it wrote.
    """
    own = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=own, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"it took longer than {seconds:g} seconds") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("ERROR", "error")) or "Error" in line]
        raise Failed((told or lines or ["it failed without a word"])[-1])
    return done.stdout
