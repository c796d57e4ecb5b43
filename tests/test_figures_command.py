"""``expo-analysis figures``, and the gallery of docs/figures.md."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app
from expo_analysis.figures.check import faults
from expo_analysis.studies.language_model.figure import METHODS, lm_frontier

from .cards import card

ROOT = Path(__file__).parents[1]


def run(*arguments: str):
    return CliRunner().invoke(app, ["figures", *arguments])


def test_the_command_draws_a_loss_of_a_file_beside_others(tmp_path):
    own = f"{ROOT / 'examples' / 'exponential.py'}:Exponential"
    common = ("--lam", "0.1:10:5", "--kind", "convergence,interpolation", "-o", str(tmp_path))
    done = run(own, "dpo", *common, "--format", "svg", "--format", "pdf", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    names = [f"{kind}.{ending}" for kind in ("interpolation", "convergence") for ending in ("pdf", "svg")]
    assert [Path(path).name for path in told["files"]] == names
    assert told["losses"] == {"exponential": "exponential", "DPO": "dpo"} and told["width"] == "column"
    assert ">exponential<" in (tmp_path / "interpolation.svg").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_bandit_and_a_width_are_taken(tmp_path):
    wins = str(ROOT / "examples" / "wins.json")
    done = run("expo", "--bandit", wins, "--kind", "training", "--lam", "0.5", "--width", "5.5", "-o", str(tmp_path))
    assert done.exit_code == 0 and done.stdout.split() == [str(tmp_path / f"training.{e}") for e in ("pdf", "png")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dpo", "dpo"], "DPO is given twice"),
        (["dpoo"], "did you mean"),
        (["dpo", "--kind", "simplx"], "did you mean 'simplex'?"),
        (["dpo", "--width", "wide"], "width must be one of"),
        (["dpo", "--format", "jpg"], "format must be among pdf, png, svg"),
        (["dpo", "--lam", "1"], "lam must be several numbers"),
        (["dpo", "--pairs", "uniform"], "pairs is not used without"),
        (["dpo", "expo", "--option", "label_smoothing=0.1"], "--option belongs to one loss"),
        (["dpo", "--bandit", "nowhere.csv"], "nowhere.csv: No such file or directory"),
        (["nowhere.py:Loss"], "nowhere.py: No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_drawn(tmp_path, arguments, words):
    done = run(*arguments, "-o", str(tmp_path / "new"))
    assert done.exit_code == 2 and done.stdout == ""
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.p*"))


def gallery():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gallery_is_drawn_by_the_code_beside_it(monkeypatch):
    """With made-up verdicts, fewer steps, and half as many lambdas to choose from: the pictures show as much."""
    drawing = importlib.import_module("expo_analysis.figures.kinds.report_card")

    def audit(objective, *, name, only, **settings):
        made = card(name, "expo" if name == "expo" else "dpo")
        return dataclasses.replace(made, verdicts={key: made.verdicts[key] for key in only})

    monkeypatch.setattr(drawing, "audit", audit)
    monkeypatch.setitem(ea.figures.training.__kwdefaults__, "steps", 300)
    choose = importlib.import_module("expo_analysis.optima.choose")
    monkeypatch.setattr(choose, "STRENGTHS", choose.STRENGTHS[::2])
    module = gallery()
    found = dict(picture for page in module.PAGES for picture in module.pictures(page))
    assert len(found) == 11
    for name, figure in found.items():
        assert faults(figure) == [], name
        assert (ROOT / "docs" / name).is_file()
    assert {path.name for path in (ROOT / "docs" / "gallery").iterdir()} == {Path(name).name for name in found}


@pytest.mark.slow
def test_the_commands_of_the_gallery_run(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ expo-analysis (.*)$", text, flags=re.M)
    assert len(commands) == 2
    for k, command in enumerate(commands):
        done = CliRunner().invoke(app, [*shlex.split(command), "-o", str(tmp_path / str(k))])
        assert done.exit_code == 0 and list((tmp_path / str(k)).iterdir()), done.output


def test_the_frontier_has_a_legible_panel_for_each_method():
    rows = [
        {"loss": loss, "estimator": estimator, "lam": lam, "reverse_kl": 0.5 + k / (1 + lam), "gain": 0.02 * k - 0.03}
        for k, (loss, estimator) in enumerate(METHODS)
        for lam in (0.03, 0.3, 3.0)
    ]
    frame = pd.DataFrame(rows).assign(reverse_kl_standard_error=0.05, gain_standard_error=0.02)
    figure = lm_frontier(frame)
    assert faults(figure, [look.label for look in METHODS.values()]) == []
    assert len(figure.axes) == len(METHODS) and figure.get_size_inches()[0] == pytest.approx(6.9)
    for axes, ((loss, estimator), look) in zip(figure.axes, METHODS.items(), strict=True):
        runs = frame[(frame["loss"] == loss) & (frame["estimator"] == estimator)]
        path = next(line for line in axes.get_lines() if list(line.get_xdata()) == list(runs["reverse_kl"]))
        assert list(path.get_ydata()) == list(runs["gain"]) and path.get_color() == look.colour
        sizes = [line.get_markersize() for line in axes.get_lines() if len(line.get_xdata()) == 1]
        assert sizes == sorted(sizes) and len(set(sizes)) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [rf"$\lambda$ = {x}" for x in (0.03, 0.3, 3)]


def test_every_kind_is_public():
    for name in ("interpolation", "simplex", "preservation", "convergence", "training", "report_card", "faults"):
        assert callable(getattr(ea.figures, name)) and "Example" in getattr(ea.figures, name).__doc__
