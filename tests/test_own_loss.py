"""A user's own loss by FILE.py:NAME, and the Python that rebuilds it in another process."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.own_file import load_file
from expo_analysis.own_loss import make_loss

from .elsewhere import run_elsewhere

ROOT = Path(__file__).parents[1]

MINE = """\
from dataclasses import dataclass
from beside import Sharp, square
import expo_analysis as ea

def cube(x):
    return x**3

@dataclass(frozen=True)
class Options:
    sharpness: float = 1.0

@dataclass(frozen=True)
class Mine(ea.PairObjective):
    inner: object = Options()
    outer: object = Sharp(2.0)
    apply: object = square
    name = "mine"
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return self.apply(self.lam * self.outer.by * self.inner.sharpness - logp_w + logp_l)

@dataclass(frozen=True)
class Nameless(ea.PairObjective):
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return -logp_w

mine = Mine(0.7, inner=Options(3.0))
smoothed = ea.DPO(0.3, label_smoothing=0.2)
"""

BESIDE = """\
from dataclasses import dataclass

@dataclass(frozen=True)
class Sharp:
    by: float

def square(x):
    return x**2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "losses").mkdir()
    for name in ("my_losses", "numpy", "my-losses 2"):
        (tmp_path / "losses" / f"{name}.py").write_text(MINE.replace("beside", f"beside_{tmp_path.name}"))
    (tmp_path / "losses" / f"beside_{tmp_path.name}.py").write_text(BESIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_class_takes_lambda_and_options(folder: Path) -> None:
    mine = make_loss("losses/my_losses.py:Mine", 0.5)
    assert (mine.name, mine.lam) == ("mine", 0.5)
    assert make_loss("losses/my_losses.py:Mine").lam == 1.0
    assert make_loss("losses/my_losses.py:Mine", default=0.2).lam == 0.2
    assert mine.loss(np.array([-1.0]), np.array([-3.0]), *2 * [np.array([-1.0])])[0] == (0.5 * 2 - 2) ** 2
    given = make_loss("losses/my_losses.py:Mine", 0.5, outer=mine.inner)
    assert given.outer is mine.inner


def test_an_instance_keeps_what_is_not_asked_for(folder: Path) -> None:
    assert make_loss("losses/my_losses.py:mine").lam == 0.7
    assert make_loss("losses/my_losses.py:mine", default=0.2).lam == 0.7
    changed = make_loss("losses/my_losses.py:mine", 0.1)
    assert (changed.lam, changed.inner.sharpness) == (0.1, 3.0)
    assert make_loss("losses/my_losses.py:smoothed", 2.0) == ea.DPO(2.0, label_smoothing=0.2)
    assert make_loss("losses/my_losses.py:smoothed", robust=True) == ea.DPO(0.3, label_smoothing=0.2, robust=True)


def test_a_class_without_a_name_is_called_by_its_own(folder: Path) -> None:
    assert make_loss("losses/my_losses.py:Nameless").name == "Nameless"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "losses/my_losses.py:yours",
            {},
            r"it has no class or function 'yours'; its losses: Mine, Nameless, mine, smoothed$",
        ),
        (
            "losses/my_losses.py:mine",
            {"beta": 1},
            r"beta is not an option of .*accepted: \['inner', 'outer', 'apply'\]",
        ),
        (
            "losses/my_losses.py:smoothed",
            {"label_smoothing": 2},
            r"smoothed: it cannot be made: ValueError: label_smoo",
        ),
        ("losses/my_losses.py", {}, r"must be followed by a colon .* as losses/my_losses\.py:MyLoss$"),
        ("exppo", {}, r"^did you mean 'expo'\? objective must be one of .*got 'exppo'$"),
        ("DPO", {}, r"^did you mean 'dpo'\? .*got 'DPO'$"),
        ("xyzzy", {}, r"got 'xyzzy'$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, text: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make_loss(text, **options)
    assert "\n" not in str(caught.value)


def test_the_python_written_for_it_runs_in_a_fresh_process_in_any_folder(folder: Path) -> None:
    """With its options: a dataclass and a function of the file, and those of a module beside it."""
    point = "np.array([-1.0]), np.array([-3.0]), np.array([-1.0]), np.array([-1.0])"
    codes, expected = {}, []
    for file, name in (("my_losses", "Mine"), ("numpy", "mine"), ("my-losses 2", "Mine")):
        module = load_file(f"losses/{file}.py")
        beside = sys.modules[f"beside_{folder.name}"]
        loss = make_loss(f"losses/{file}.py:{name}", 0.5, outer=beside.Sharp(4.0), apply=module.cube)
        expression, imports = written(loss)
        codes[file] = f"{imports}\nlam = 0.5\nprint({expression}.loss({point})[0])"
        expected.append(loss.loss(*(np.array([x]) for x in (-1.0, -3.0, -1.0, -1.0)))[0])
    assert [float(line) for line in run_elsewhere(codes, folder).splitlines()] == expected


def test_a_class_that_cannot_be_imported_is_asked_for() -> None:
    @dataclass(frozen=True)
    class Local(ea.DPO):
        pass

    expression, imports = written(Local(1.0))
    assert expression == "Local(lam)"
    assert imports.splitlines()[-1].startswith("# Put the definition of Local here")


def test_it_is_sent_to_other_processes(folder: Path) -> None:
    for name in ("Mine", "mine", "smoothed"):
        loss = make_loss(f"losses/my_losses.py:{name}", 0.4)
        assert pickle.loads(pickle.dumps(loss)) == loss


def test_counterexamples_of_the_example_run_in_a_fresh_process(folder: Path) -> None:
    """Each by itself, in another folder, as the report promises."""
    card = ea.audit(make_loss(f"{ROOT}/examples/exponential.py:Exponential"), effort=0.02)
    found = {
        key: verdict.counterexample for key, verdict in card.verdicts.items() if verdict.counterexample is not None
    }
    assert len(found) >= 4
    assert "-- this was" not in run_elsewhere({key: example.code for key, example in found.items()}, folder)
