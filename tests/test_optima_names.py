"""Solvers and judges of losses know no loss by its name: what they do follows from what a loss is made of."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import expo_analysis as ea
from expo_analysis.losses.base import Objective, PairObjective, RewardObjective

OPTIMA = Path(ea.__file__).parent / "optima"
MODULES = sorted(path for path in OPTIMA.rglob("*.py"))
BASES = {Objective, PairObjective, RewardObjective}
"""What an objective can be for a solver: a loss of pairs, or a reward."""

CLASSES = {cls.__name__ for cls in ea.CATALOGUE.values()}


def named_losses(tree: ast.AST) -> set[str]:
    """Classes, keys and modules of losses that code speaks of: as attributes, imports, or strings of their own."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found |= {node.attr} & CLASSES
        elif isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)} & {"catalogue", "compat"}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("expo_analysis")}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} & set(ea.CATALOGUE)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(OPTIMA)))
def test_no_method_and_no_structure_names_a_loss(path: Path) -> None:
    parts = path.relative_to(OPTIMA).with_suffix("").parts
    module = importlib.import_module(".".join(["expo_analysis.optima", *(p for p in parts if p != "__init__")]))
    classes = {x for x in vars(module).values() if isinstance(x, type) and issubclass(x, Objective)}
    classes -= {x for x in classes if x.__module__.startswith("expo_analysis.optima.")}  # a solver's own
    assert classes <= BASES
    assert not named_losses(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "if type(o) is losses.DPO: pass",
        "from ..losses.catalogue import dpo",
        "from ...losses.compat import QuasiconvexObjective",
        "import expo_analysis",
        "if o.name == 'dpo': pass",
        "def f():\n    from ..losses.catalogue.expo import EXPO",
    ],
)
def test_the_check_sees_every_way_of_naming(line: str) -> None:
    assert named_losses(ast.parse(line))


def test_functions_are_short() -> None:
    """60 lines at most, docstring not counted; and files say one thing."""
    for room in (OPTIMA, OPTIMA.parent / "losses"):
        for path in room.rglob("*.py"):
            tree = ast.parse(path.read_text())
            assert len(path.read_text().splitlines()) <= 400, path
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    doc = node.body[0] if ast.get_docstring(node) else None
                    lines = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)  # type: ignore[operator]
                    assert lines <= 60, f"{path.name}: {node.name} has {lines} lines"


SOLVED_WITHOUT_TORCH = """
import sys
import numpy as np
import expo_analysis as ea
population = ea.Bandit([0.4, 0.3, 0.2, 0.1], [0.1, 0.3, 0.2, 0.4])
counts = ea.Bandit.from_counts([0.4, 0.35, 0.25], [[0, 3, 1], [2, 0, 1], [1, 2, 0]])
losses = (ea.DPO, ea.IPO, ea.EXPO, ea.BradleyTerry, ea.SimPO, ea.CPO, ea.RPO, ea.SFT, ea.SLiC, ea.Hinge, ea.FDPO)
for make in (*losses, ea.RLHF):
    for bandit in (population, counts):
        assert ea.solve(make(0.7), bandit).status in ("optimal", "not_unique"), make
        assert "torch" not in sys.modules, make
"""


def test_losses_of_the_catalogue_are_solved_without_torch() -> None:
    subprocess.run([sys.executable, "-c", inspect.cleandoc(SOLVED_WITHOUT_TORCH)], check=True)
