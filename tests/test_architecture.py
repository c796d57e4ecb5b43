"""The rooms of the package and the direction of the arrows between them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import expo_analysis

from . import mutation

PACKAGE = Path(expo_analysis.__file__).parent

LAYERS = (
    {"_types", "_progress", "_rounding", "_files", "_frozen", "_json", "_lazy", "_threads", "data", "own_file"},
    {"numerics", "_autograd", "_effects", "_errors", "_symbols"},
    {"_checks", "_child", "_watch", "tasks"},
    {"_array", "bandit", "divergences"},
    {"losses", "bandit_files", "accuracy"},
    {"optima", "adapters", "bandit_io", "own_loss", "paper", "terms"},
    {"on_policy"},
    {"simulators", "llm"},
    {"desiderata"},
    {"testing"},
    {"census", "differences"},
    {"figures"},
    {"diagnosis", "explorer", "studies"},
    {"cli"},
    {"__main__"},
)
"""Each room may import from the layers above it in this list, and from itself; not from its neighbours in a layer."""

LEVEL = {room: level for level, layer in enumerate(LAYERS) for room in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_name(path: Path) -> tuple[str, ...]:
    """("optima", "newton") for optima/newton.py, ("optima",) for optima/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(source: str, package: tuple[str, ...]) -> set[str]:
    """Every name that a module of ``package`` imports, absolute, wherever in the file the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = [*base, *([node.module] if node.module else [])]
            found |= {".".join([*stem, alias.name]) for alias in node.names}
    return found


@cache
def imported_by(path: Path) -> set[str]:
    return imported(path.read_text(), ("expo_analysis", *path.relative_to(PACKAGE).parts[:-1]))


def rooms(names: set[str]) -> set[str]:
    """Rooms of this package that names are imported from; "" stands for the package's own __init__."""
    own = {f"{name}.".split(".")[1] for name in names if name.split(".")[0] == "expo_analysis"}
    return {room if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file() else "" for room in own}


def test_every_room_has_its_place() -> None:
    unknown = {module_name(path)[0] for path in MODULES} - set(LEVEL)
    assert not unknown, f"say in LAYERS where {sorted(unknown)} stand"


@pytest.mark.parametrize("room", sorted({module_name(path)[0] for path in MODULES}))
def test_imports_follow_the_arrows(room: str) -> None:
    for path in (path for path in MODULES if module_name(path)[0] == room):
        used = rooms(imported_by(path))
        for other in used - {room, ""}:
            assert LEVEL[other] < LEVEL[room], f"{path}: {room} must not import from {other}"
        if room not in ("cli", "__main__"):  # the command line may ask for __version__
            assert "" not in used, f"{path} must import from its rooms, not from the package that imports it"


@pytest.mark.parametrize(
    ("line", "room"),
    [
        ("from ..optima import solve", "optima"),
        ("from ..optima.newton import newton", "optima"),
        ("from .. import optima", "optima"),
        ("import expo_analysis.optima.newton as n", "optima"),
        ("from expo_analysis.optima import solve", "optima"),
        ("from .base import Claims", "losses"),
        ("from . import base", "losses"),
        ("from .. import __version__", ""),
        ("import expo_analysis", ""),
    ],
)
def test_the_check_sees_every_way_of_importing(line: str, room: str) -> None:
    assert rooms(imported(f"def f():\n    {line}\n", ("expo_analysis", "losses"))) == {room}


ONLY_IN = {
    "matplotlib": {"figures", "studies"},
    "mpltern": {"figures"},
    "typer": {"cli"},
    "accelerate": {"llm"},
    "gguf": {"llm"},
    "peft": {"llm"},
    "safetensors": {"llm"},
    "transformers": {"llm", "studies"},
    "trl": {"llm"},
    "datasets": {"llm", "studies"},
    "vaderSentiment": {"llm"},
}


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_in_their_rooms(library: str) -> None:
    users = {
        module_name(path)[0] for path in MODULES if any(name.split(".")[0] == library for name in imported_by(path))
    }
    assert users <= ONLY_IN[library]


def test_language_models_data_stand_below_their_training() -> None:
    """What reads, checks and makes data knows nothing of trainers, of TRL, or of commands."""
    for path in (PACKAGE / "llm" / "data").glob("*.py"):
        used = imported_by(path)
        own = {name for name in used if name.startswith("expo_analysis.llm")}
        assert all(name.startswith("expo_analysis.llm.data") for name in own), path.name
        assert not {name for name in used if name.split(".")[0] == "trl"}, path.name


SHORT = {"llm": (300, 60), "cli": (300, 60), "figures": (300, 60), "losses": (399, 59), "optima": (399, 59)}
"""Rooms whose files and functions are held to a length that can be read at once: lines of a file, and of a function."""


@pytest.mark.parametrize("room", SHORT)
def test_files_and_functions_are_short(room: str) -> None:
    """Functions of commands, whose docstring is their help, without it."""
    of_file, of_function = SHORT[room]
    for path in (PACKAGE / room).rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= of_file, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                told = node.body[0] if room in ("cli", "figures") and ast.get_docstring(node) is not None else None
                words = 0 if told is None or told.end_lineno is None else told.end_lineno - told.lineno + 1
                assert node.end_lineno - node.lineno + 1 - words <= of_function, f"{path}: {node.name}"


COMPARATORS = {"RLHF", "BradleyTerry"}
"""What a loss may be compared with; a judge may make these, but not ask whether the loss is one of them."""


def named_losses(source: str, folder: tuple[str, ...] = ()) -> set[str]:
    """Losses of the catalogue that code singles out: classes that it names, and names and types that it asks for."""
    classes = {cls.__name__ for cls in expo_analysis.CATALOGUE.values()}
    tree = ast.parse(source)
    names = imported(source, ("expo_analysis", "desiderata", *folder))
    psis = {name.rpartition(".")[2] for name in names if ".losses.psi." in name}  # some have a loss's name
    found = {name.rpartition(".")[2] for name in names if ".losses" in name} - psis
    classes -= psis
    found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found &= classes - COMPARATORS
    for node in ast.walk(tree):
        asks = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass")
        if asks or isinstance(node, ast.Compare | ast.match_case):
            parts = list(ast.walk(node))
            found |= classes & {getattr(part, "id", getattr(part, "attr", "")) for part in parts}
            found |= set(expo_analysis.CATALOGUE) & {p.value for p in parts if isinstance(p, ast.Constant)}
    return found


THEOREMS_OF_ONE = {"existence": {"AStarPO", "QRPO"}, "regressed": {"AStarPO", "QRPO"}}
"""Rules whose theorem is of a loss that no terms tell: its goals are computed from all responses at once."""

JUDGES = sorted((PACKAGE / "desiderata").rglob("*.py"))


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: str(path.relative_to(PACKAGE / "desiderata")))
def test_no_desideratum_knows_a_loss_by_its_class_or_name(path: Path) -> None:
    found = named_losses(path.read_text(), path.relative_to(PACKAGE / "desiderata").parts[:-1])
    assert found == (THEOREMS_OF_ONE.get(path.stem, set()) if path.parent.name == "rules" else set())


@pytest.mark.parametrize(
    "code",
    [
        "from ..losses import DPO",
        "from ..losses.catalogue.expo import EXPO",
        "isinstance(objective, RLHF)",
        "isinstance(objective, losses.RLHF | losses.BradleyTerry)",
        "known = type(objective) is BradleyTerry",
        "known = objective.name in ('expo', 'ipo')",
        "match objective:\n    case RLHF():\n        pass",
        "from ..losses import Hinge",
        "from ..losses.psi import Linear\nfound = losses.Hinge",
    ],
)
def test_a_judge_that_singles_out_a_loss_is_noticed(code: str) -> None:
    assert named_losses(code)
    assert named_losses(code.replace("..losses", "...losses"), ("rules",))
    assert not named_losses("from ..losses.psi import Hinge\nfalls = type(psi) is Hinge")
    assert not named_losses("from ..losses import RLHF\nbest = RLHF(1.0)\nodd = x == 'expose'")


def test_equivalent_mutants_are_of_lines_that_exist() -> None:
    for (file, old, new), reason in mutation.equivalent().items():
        lines = [line.strip() for line in (mutation.ROOT / file).read_text().splitlines()]
        assert old in lines and new != old and reason, (file, old)
