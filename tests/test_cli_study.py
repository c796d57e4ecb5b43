"""``expo-analysis study`` and its older names, with a study that takes no time."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import expo_analysis.studies as room
from expo_analysis.cli import app
from expo_analysis.studies import STUDIES, find_studies

TINY = {
    "__init__.py": """
from ..study import Study

STUDY = Study(__name__, "How small?", 1000, ("tiny", "tiny_more"), seconds=0.1)
""",
    "numbers.py": """
from dataclasses import dataclass

import pandas as pd

from ..settings import Settings as StudySettings


@dataclass(frozen=True)
class Settings(StudySettings):
    steps: int = 10
    sizes: tuple[int, ...] = (1, 2)
    rate: float = 0.5
    fast: bool = False


FULL = Settings(steps=100)


def run(settings, progress):
    progress(0.5)
    progress(1.0)
    frame = pd.DataFrame({"loss": ["dpo", "expo"], "steps": [1, settings.steps], "kl": [settings.rate, None]})
    return {"tiny": frame, "tiny_more": frame[["kl"]]}
""",
    "figure.py": """
from matplotlib.figure import Figure


def draw(tables):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot(tables["tiny"]["steps"])
    return figure
""",
    "words.py": """
def facts(tables):
    return {"steps": tables["tiny"]["steps"].max()}
""",
    "words.md.j2": """
## Tiny

{{ picture() }}

It took {{ steps|f("05") }} steps.

{{ files() }}
""",
}
"""What CONTRIBUTING says that a study is: one folder."""

FILES = ["tiny.csv", "tiny_more.csv", "tiny.png", "tiny.pdf"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder beside those of the package, and nothing else; with it alone in the registry."""
    folder = tmp_path / "more" / "tiny"
    folder.mkdir(parents=True)
    for name, content in TINY.items():
        (folder / name).write_text(content)
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path / "more")])
    importlib.invalidate_caches()
    studies = find_studies(room.__path__)
    assert list(studies) == [*STUDIES, "tiny"]
    only = MappingProxyType({"tiny": studies["tiny"]})
    monkeypatch.setattr(room, "STUDIES", only)
    monkeypatch.setattr(importlib.import_module("expo_analysis.studies.reproduce"), "STUDIES", only)
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in importlib.sys.modules if name.startswith("expo_analysis.studies.tiny")]:
        del importlib.sys.modules[name]


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("command", [["study", "run"], ["simulate"]], ids=" ".join)
def test_it_writes_its_files_and_prints_their_names(tmp_path: Path, command: list[str]) -> None:
    result = invoke(*command, "tiny", "-o", tmp_path / "new" / "place")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "new" / "place" / name) for name in FILES]
    assert "tiny" in result.stderr and "100%" in result.stderr
    table = pd.read_csv(tmp_path / "new" / "place" / "tiny.csv")
    assert table["steps"].tolist() == [1, 10] and table["kl"].isna().tolist() == [False, True]
    assert (tmp_path / "new" / "place" / "tiny.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_place_is_figures_and_full_is_passed_on() -> None:
    assert invoke("simulate", "tiny", "--full").stdout.splitlines() == [f"figures/{name}" for name in FILES]
    assert pd.read_csv("figures/tiny.csv")["steps"].tolist() == [1, 100]


def test_settings_are_read_as_what_they_are(tmp_path: Path) -> None:
    changes = ["--set", "steps=7", "--set", "sizes=3, 4", "--set", "rate=0.25", "--set", "fast=true"]
    found = json.loads(invoke("study", "run", "tiny", *changes, "--json").stdout)["studies"]["tiny"]
    assert found["settings"] == {"steps": 7, "sizes": [3, 4], "rate": 0.25, "fast": True}
    assert found["files"] == [f"figures/{name}" for name in FILES]
    assert found["tables"] == {
        "tiny": [{"loss": "dpo", "steps": 1, "kl": 0.25}, {"loss": "expo", "steps": 7, "kl": None}],
        "tiny_more": [{"kl": 0.25}, {"kl": None}],
    }


def test_redrawing_runs_nothing_and_writes_the_same_bytes(tmp_path: Path) -> None:
    invoke("study", "run", "tiny", "--set", "steps=7", "-o", tmp_path / "old")
    before = {name: (tmp_path / "old" / name).read_bytes() for name in FILES}
    (tmp_path / "old" / "tiny.png").unlink()
    result = invoke("study", "run", "tiny", "--redraw", "-o", tmp_path / "old", "--json")
    assert json.loads(result.stdout)["studies"]["tiny"]["settings"] is None
    assert {name: (tmp_path / "old" / name).read_bytes() for name in FILES} == before


def test_all_write_a_page_that_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own, which find only what is in the package."""
    studies = MappingProxyType({name: STUDIES[name] for name in ("convergence", "authors_final")})
    monkeypatch.setattr(room, "STUDIES", studies)
    monkeypatch.setattr(importlib.import_module("expo_analysis.studies.reproduce"), "STUDIES", studies)
    result = invoke("study", "run", "--all", "-o", tmp_path / "all")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / "all" / "README.md")
    text = (tmp_path / "all" / "README.md").read_text()
    assert text.startswith("# The paper's two controlled experiments")
    assert text.index("## Convergence rates") < text.index("## Where the authors' script stopped")
    for name in studies:
        assert re.search(rf"\d s  {name} is done", result.stderr)
    assert "done ━" in result.stderr


@pytest.mark.parametrize("full", [False, True])
def test_json_of_the_older_name_is_what_it_was(tmp_path: Path, full: bool) -> None:
    result = invoke("simulate", "tiny", "-o", tmp_path, "--json", *["--full"] * full)
    assert result.exit_code == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(result.stdout, parse_constant=refuse)
    steps = 100 if full else 10
    assert document == {
        "simulation": "tiny",
        "full": full,
        "files": [str(tmp_path / name) for name in FILES],
        "tables": {
            "tiny": [{"loss": "dpo", "steps": 1, "kl": 0.5}, {"loss": "expo", "steps": steps, "kl": None}],
            "tiny_more": [{"kl": 0.5}, {"kl": None}],
        },
    }


def test_they_are_listed() -> None:
    for command in (["study", "list"], ["simulate"]):
        assert re.fullmatch(r"tiny +0\.1 s  How small\?\n", invoke(*command).stdout)
    listed = {"question": "How small?", "seconds": 0.1, "tables": ["tiny", "tiny_more"], "kept": False}
    assert json.loads(invoke("study", "list", "--json").stdout) == {"studies": {"tiny": listed}}
    assert json.loads(invoke("simulate", "--json").stdout) == {"simulations": {"tiny": "How small?"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "run", "tinny"], r"name must be one of \['tiny'\], got 'tinny'; did you mean 'tiny'\?"),
        (["simulate", "large"], r"name must be one of \['tiny'\], got 'large'"),
        (["study", "run"], "give names of studies, or --all"),
        (["study", "run", "tiny", "--all"], "give names of studies, or --all"),
        (["study", "run", "tiny", "-o", "file"], "directory must be a directory or a new name"),
        (["study", "run", "tiny", "--set", "stops=3"], "'stops' is no setting; did you mean 'steps'"),
        (["study", "run", "tiny", "--set", "steps"], "a setting must be written as NAME=VALUE, got 'steps'"),
        (["study", "run", "tiny", "--set", "steps=0"], "steps must be a whole number of at least 1, got 0"),
        (["study", "run", "tiny", "--set", "steps=many"], "steps must be a whole number, got 'many'"),
        (["study", "run", "tiny", "--set", "sizes=1,x"], "sizes must be a whole number, got 'x'"),
        (["study", "run", "tiny", "--set", "rate=-1"], "rate must be"),
        (["study", "run", "tiny", "--set", "fast=maybe"], "fast must be true or false, got 'maybe'"),
        (["study", "run", "--all", "--set", "steps=3"], "--set changes a setting of one study"),
        (["study", "run", "--all", "--redraw"], "--redraw runs nothing: leave out --all"),
        (["study", "run", "tiny", "--redraw"], r"figures must have tiny\.csv, tiny_more\.csv to draw from"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    Path("file").write_text("")
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(rf"^Error: .*{message}.*\n\Z", result.stderr), result.stderr


def test_help_shows_examples_that_are_there() -> None:
    """STUDIES as imported above is the package's own."""
    for command in (["simulate"], ["study", "run"]):
        text = invoke(*command, "--help").stdout
        named = re.findall(rf"^ +expo-analysis {' '.join(command)} (\w+)", text, flags=re.MULTILINE)
        assert named and set(named) <= set(STUDIES)
    settings = STUDIES["finite_data"].settings()
    for name in re.findall(r"--set ([a-z_]+)=", invoke("study", "run", "--help").stdout):
        assert hasattr(settings, name)
