"""``expo-analysis simulate``, with a simulation that takes no time; and `simulate`, which it calls."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from expo_analysis import simulations
from expo_analysis.cli import app
from expo_analysis.results import Result
from expo_analysis.simulations import SIMULATIONS, Simulation, simulate


def run(full: bool, progress: Any) -> dict[str, pd.DataFrame]:
    progress(0.5)
    progress(1.0)
    frame = pd.DataFrame({"loss": ["dpo", "expo"], "steps": [1, 100 if full else 10], "kl": [0.1, np.nan]})
    return {"tiny": frame, "tiny_more": frame[["kl"]]}


def show(tables: dict[str, pd.DataFrame]) -> Result:
    return Result("Tiny", tables, ("Words.",), Figure(figsize=(1, 1)))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulations, "SIMULATIONS", {"tiny": Simulation("How small?", run, show)})
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


FILES = ["tiny.csv", "tiny_more.csv", "tiny.png", "tiny.pdf"]


def test_without_a_name_it_lists_what_there_is() -> None:
    result = invoke()
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(r"tiny +How small\?\n", result.stdout)
    assert json.loads(invoke("--json").stdout) == {"simulations": {"tiny": "How small?"}}
    assert not list(Path().iterdir())


def test_it_writes_its_files_and_prints_their_names(tmp_path: Path) -> None:
    result = invoke("tiny", "-o", tmp_path / "new" / "place")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(tmp_path / "new" / "place" / name) for name in FILES]
    assert "100%" in result.stderr
    table = pd.read_csv(tmp_path / "new" / "place" / "tiny.csv")
    pd.testing.assert_frame_equal(table, run(False, print)["tiny"])
    assert (tmp_path / "new" / "place" / "tiny.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_place_is_figures_and_full_is_passed_on() -> None:
    assert invoke("tiny", "--full").stdout.splitlines() == [f"figures/{name}" for name in FILES]
    assert pd.read_csv("figures/tiny.csv")["steps"].tolist() == [1, 100]


@pytest.mark.parametrize("full", [False, True])
def test_json_is_one_document_of_the_tables(tmp_path: Path, full: bool) -> None:
    result = invoke("tiny", "-o", tmp_path, "--json", *["--full"] * full)
    assert result.exit_code == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(result.stdout, parse_constant=refuse)
    assert document == {
        "simulation": "tiny",
        "full": full,
        "files": [str(tmp_path / name) for name in FILES],
        "tables": {
            "tiny": [
                {"loss": "dpo", "steps": 1, "kl": 0.1},
                {"loss": "expo", "steps": 100 if full else 10, "kl": None},
            ],
            "tiny_more": [{"kl": 0.1}, {"kl": None}],
        },
    }


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (["small"], r"name must be one of \['tiny'\], got 'small'"),
        (["tiny", "-o", tmp_path / "file"], "directory must be a directory or a new name"),
    ):
        result = invoke(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(rf"Error: .*{message}.*\n", result.stderr), result.stderr
    assert invoke("tiny", "--fast").exit_code == 2


def test_the_function_does_the_same(tmp_path: Path) -> None:
    progress: list[float] = []
    written = simulate("tiny", tmp_path / "made", full=True, progress=progress.append)
    assert written == [tmp_path / "made" / name for name in FILES]
    assert progress == [0.5, 1.0]
    assert pd.read_csv(written[0])["steps"].tolist() == [1, 100]
    with pytest.raises(ValueError, match=r"name must be one of \['tiny'\], got 'large'"):
        simulate("large", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="directory must be a directory or a new name"):
        simulate("tiny", tmp_path / "file")


def test_help_shows_examples_that_are_there() -> None:
    """SIMULATIONS as imported above is the package's own."""
    text = invoke("--help").stdout
    named = re.findall(r"^ +expo-analysis simulate (\w+)", text, flags=re.MULTILINE)
    assert named and "section5" in named
    assert set(named) <= {*SIMULATIONS, "displacement"}


def test_simulations_have_names_and_questions_of_one_line() -> None:
    for name, simulation in SIMULATIONS.items():
        assert re.fullmatch(r"[a-z_0-9]+", name)
        assert simulation.question.strip() and "\n" not in simulation.question and len(simulation.question) < 160
