"""The code of every counterexample runs in a fresh interpreter, from another folder, whatever the loss is made of."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.code import audit_call, written
from expo_analysis.desiderata.questions import first_step
from expo_analysis.desiderata.subject import Subject, Unclaimed
from expo_analysis.desiderata.verdict import FAILS
from expo_analysis.own_file import load_file
from expo_analysis.own_loss import make_loss

from .elsewhere import run_elsewhere

LOSSES = """\
import enum, functools, pathlib
from dataclasses import dataclass, field
from typing import Any
import numpy as np
import torch
from torch.nn.functional import softplus
import expo_analysis as ea
{beside}

class Kind(enum.Enum):
    HARD = "hard"

@dataclass(frozen=True)
class Options:
    sharpness: float = 1.0
    def apply(self, margin):
        return ea.numerics.softplus(-self.sharpness * margin)

def logistic(margin, sharpness=1.0):
    return ea.numerics.softplus(-sharpness * margin)

@dataclass(frozen=True)
class Plain(ea.PairObjective):
    "A logistic loss."
    options: Any = Options()
    function: Any = logistic
    more: Any = ()
    name = "plain"
    cache: Any = field(init=False, default=None)
    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "cache", len(self.name))
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        margin = self.lam * (logp_w - ref_logp_w - logp_l + ref_logp_l)
        return self.function(self.options.sharpness * margin)

class Outer:
    @dataclass(frozen=True)
    class Inner(Plain):
        name = "inner"
    @staticmethod
    def static(margin):
        return logistic(margin)

@dataclass(frozen=True)
class Boastful(Plain):
    name = "boastful"
    @property
    def claims(self):
        return ea.Claims(convex=True, closed_form=True, needs_reference=False, log_ratio_only=True)

def make():
    @dataclass(frozen=True)
    class Local(Plain):
        name = "local"
    return Local(1.0, options=Options(2.0))

def trl_style(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1, shift=0.0):
    margin = beta * (chosen_logps - ref_chosen_logps - rejected_logps + ref_rejected_logps)
    return softplus(-margin) + shift

made = make()
nameless = ea.QPO(1.0, psi=lambda margin, lam: softplus(-lam * margin), mu=torch.log)
"""

BESIDE = """\
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Sharp:
    sharpness: float
    steps: object = None

def helper(margin):
    return margin.clip(-30, 30) ** 2 - margin
"""


@dataclass(frozen=True)
class Holder(ea.IPO):
    """A loss with a part of any kind."""

    part: object = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    unique = folder.name.replace("-", "_")
    (folder / f"beside_{unique}.py").write_text(BESIDE)
    (folder / "my-losses 1.py").write_text(LOSSES.format(beside=f"from beside_{unique} import Sharp, helper"))
    package = folder / "project" / f"pack_{unique}" / "inner"
    package.mkdir(parents=True)
    for where in (package, package.parent):
        (where / "__init__.py").write_text("")
    (package.parent / "near.py").write_text(BESIDE)
    (package / "losses.py").write_text(LOSSES.format(beside="from ..near import Sharp, helper"))
    return folder


@pytest.fixture(scope="module")
def own(folder):
    """Losses of one's own, by what is special about them."""
    path = [*sys.path]
    file = folder / "my-losses 1.py"
    module = load_file(file)
    unique = folder.name.replace("-", "_")
    beside = sys.modules[f"beside_{unique}"]
    package = folder / "project" / f"pack_{unique}" / "inner" / "losses.py"
    sys.path.append(str(folder / "project"))
    imported = importlib.import_module(f"pack_{unique}.inner.losses")
    sharp = beside.Sharp(0.5, steps=np.array([1.0, np.nan]))
    more = (
        *(1.5, np.inf, None, "it's", b"b", {"a": [1, {2}]}, (3,), np.float32(0.1), Path("a/b"), torch.float32),
        *(module.Kind.HARD, torch.tensor([1.0, np.nan]), module.Options, np.arange(3), frozenset()),
    )
    losses = {
        "a class of a file": make_loss(f"{file}:Plain"),
        "a dataclass with options": make_loss(f"{file}:Plain", options=module.Options(0.5)),
        "a class of a module beside it, with numbers": make_loss(f"{file}:Plain", options=sharp),
        "a function of a module beside it": make_loss(f"{file}:Plain", function=beside.helper),
        "a static method": make_loss(f"{file}:Plain", function=module.Outer.static),
        "a bound method": make_loss(f"{file}:Plain", function=module.Options(2.0).apply),
        "a partial function": make_loss(
            f"{file}:Plain", function=module.functools.partial(module.logistic, sharpness=2.0)
        ),
        "values of every kind": make_loss(f"{file}:Plain", more=more),
        "a class inside of a class": module.Outer.Inner(1.0),
        "a loss without its claims": make_loss(f"{file}:Boastful"),
        "an instance whose class has no name": make_loss(f"{file}:made"),
        "an instance with functions that have no names": make_loss(f"{file}:nameless"),
        "a file of a package": make_loss(f"{package}:Plain"),
        "a module of a package": imported.Plain(1.0, options=imported.Sharp(2.0)),
        "a function of a file": make_loss(f"{file}:trl_style"),
        "a function with an option": ea.from_function(module.trl_style, 1.0, shift=0.5),
    }
    yield losses
    sys.path[:] = path


def codes_of(card: ea.ReportCard) -> dict[str, str]:
    failed = {key: verdict for key, verdict in card.verdicts.items() if verdict.decision == FAILS}
    return {f"{card.name}: {key}": verdict.counterexample.code for key, verdict in failed.items()}


def rebuilt(loss: ea.losses.Objective) -> str:
    """A program that asserts that a loss is built again with all its options, as they are shown; nan is one of them."""
    expression, imports = written(loss)
    fields = [field.name for field in dataclasses.fields(loss) if field.name not in ("lam", "cache", "call")]
    values = [str(getattr(loss, field)) for field in fields if not callable(getattr(loss, field))]
    shown = f"[str(getattr(x, f)) for f in {fields} if not callable(getattr(x, f))]"
    lines = [imports, f"lam = 0.25\nx = {expression}\nassert x.lam == 0.25\nassert {shown} == {values!r}", "print(x)"]
    return "\n".join(lines)


def test_counterexamples_of_own_losses_run_anywhere(own, folder):
    """Of one question, asked directly (the slow test asks all of them, as an audit does), and options to all digits."""
    codes = {}
    for name, loss in own.items():
        judged = Unclaimed(1.0, loss) if "claims" in name else loss
        codes[name] = first_step.judge(Subject(judged, *written(judged), effort=0.02)).counterexample.code
        codes[f"{name}, rebuilt"] = rebuilt(loss)
    assert "Unclaimed(lam, Boastful(lam))" in codes["a loss without its claims"]
    assert "made.with_lam(lam)" in codes["an instance whose class has no name"]
    printed = run_elsewhere(codes, folder)
    assert "-- this was" not in printed, printed
    assert len(printed.splitlines()) >= len(codes)  # each prints what it found


@pytest.mark.slow
def test_every_counterexample_of_own_losses_runs_anywhere(own, folder):
    """One of them judged by everything, and all of them by what ends in code of different kinds."""
    codes = {}
    for name, loss in own.items():
        only = None if name == "a class of a file" else ["first_step", "existence", "conservation"]
        codes |= codes_of(ea.audit(loss, name=name, effort=0.02, only=only))
    assert len(codes) > 2 * len(own)
    printed = run_elsewhere(codes, folder)
    assert "-- this was" not in printed, printed


@pytest.mark.slow
def test_every_counterexample_of_the_report_card_runs_anywhere(tmp_path):
    codes = {}
    for name, cls in ea.CATALOGUE.items():
        if name != "qpo":
            codes |= codes_of(ea.audit(cls(1.0), name=name, effort=0.1))
    assert len(codes) > 4 * len(ea.CATALOGUE)
    printed = run_elsewhere(codes, tmp_path)
    assert "-- this was" not in printed, printed


# ---------------------------------------------------------------------------------------------- what must be asked for


def notebook_class():
    """A class as a notebook has it: of the module ``__main__``."""

    @dataclass(frozen=True)
    class Mine(ea.DPO):
        name = "mine"

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    return Mine


def test_a_class_of_a_notebook_is_asked_for_and_runs_where_it_is_defined(capsys):
    Mine = notebook_class()
    [code] = codes_of(ea.audit(Mine(1.0), effort=0.02, only="first_step")).values()
    asked = [line for line in code.splitlines() if "Mine" in line]
    assert asked[0] == (
        "# Put the definition of Mine here: it was defined in a script, a notebook or a function, and nothing can "
        "import it."
    )
    with pytest.raises(NameError, match="Mine"):
        exec(code, {})
    exec(code, {"Mine": Mine})  # pasted into its notebook it runs, and leaves the class what it was
    assert capsys.readouterr().out


def test_functions_without_names_are_asked_for_under_names_of_their_own():
    expression, imports = written(Holder(1.0, [lambda x: x, lambda x: -x]))
    assert expression == "Holder(lam, part=[part, part_2])"
    asked = [line for line in imports.splitlines() if line.startswith("# Put the definition of ")]
    assert [line.split()[5] for line in asked] == ["part", "part_2"]
    assert "part here: the function of line" in asked[0] and "test_code.py, which has no name" in asked[0]


def test_an_object_that_is_no_dataclass_is_asked_for():
    expression, imports = written(Holder(1.0, {"x": object()}))
    assert expression == "Holder(lam, part={'x': part})"
    assert "# Put the definition of part here: an object of the type object, for which there is no Python." in imports


def test_a_class_that_another_has_replaced_is_not_imported_by_its_name(folder):
    class Kind(enum.Enum):
        SOFT = "soft"

    module = load_file(folder / "my-losses 1.py")
    Kind.__module__, Kind.__qualname__ = module.__name__, "Kind"
    expression, imports = written(Holder(1.0, Kind.SOFT))
    assert expression == "Holder(lam, part=Kind['SOFT'])"
    assert "# Put the definition of Kind here" in imports


def test_the_call_of_an_audit_is_written_whatever_a_loss_does():
    @dataclass(frozen=True)
    class Hostile(ea.DPO):
        @property
        def label_smoothing(self):
            raise RuntimeError("no")

    assert audit_call(ea.DPO(0.5), 1.0, 0, tuple(ea.DESIDERATA)) == "ea.audit(ea.DPO(0.5))"
    hostile = object.__new__(Hostile)
    object.__setattr__(hostile, "lam", 1.0)
    options = "effort=0.5, seed=2, only=['existence'], time_limit=3.0"
    assert audit_call(hostile, 0.5, 2, ("existence",), 3.0) == f"ea.audit(Hostile(...), {options})"
