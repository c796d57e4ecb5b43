"""What `import expo_analysis` gives: names when they are asked for, and nothing heavy before."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis import losses
from expo_analysis._lazy import attach

ROOT = Path(__file__).parents[1]

FACE = {
    *("Bandit", "read_bandit", "solve", "solve_path", "Solution", "SolutionPath", "audit", "audit_many", "ReportCard"),
    *("risk", "implicit_reward_accuracy", "objective", "CATALOGUE", "DPO", "IPO", "EXPO", "RLHF"),
    *("losses", "terms", "divergences", "numerics", "simulators", "paper", "llm"),
}
"""The names of the docstring."""

FORMER = {
    *("AOT", "BCO", "CATALOGUE", "CPO", "DESIDERATA", "DPO", "DPOP", "EXO", "EXPO", "FDPO", "IPO", "KTO", "NCA"),
    *("ORPO", "QPO", "RLHF", "RPO", "SFT", "SPO", "SPPO", "APODown", "APOZero", "Alpha", "Bandit", "BradleyTerry"),
    *("ChiPO", "ChiSquare", "Claims", "DiscoPOP", "Divergence", "ExplicitPO", "ForwardKL", "Hinge", "JensenShannon"),
    *("MarginObjective", "MixedChiSquare", "Objective", "PairObjective", "Path", "QuasiconvexObjective"),
    *("RegressionEXPO", "ReportCard", "ReportCards", "ReverseKL", "SLiC", "SimPO", "Solution", "Verdict", "audit"),
    *("audit_many", "from_trl", "objective", "risk", "solve", "solve_path", "with_divergence"),
}
"""What was imported from here before the names were looked up lazily."""


def fresh(program: str) -> str:
    """What a program prints in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


LOADED = (
    "import sys; before = set(sys.modules); import expo_analysis;"
    "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
)


def test_importing_the_package_loads_nothing_but_itself() -> None:
    """No torch, no pandas, no matplotlib, no numpy: nothing that is not Python's own."""
    assert fresh(LOADED) == "expo_analysis"


def test_importing_the_package_takes_less_than_a_tenth_of_a_second_of_cpu() -> None:
    """The least of three tries: half a second is what it may take on any machine, numpy alone takes 0.1 s."""
    program = "import time; start = time.process_time(); import expo_analysis; print(time.process_time() - start)"
    assert min(float(fresh(program)) for _ in range(3)) < 0.1


@pytest.mark.parametrize(
    ("use", "absent"),
    [
        ("ea.numerics.exp(0.0)", {"torch", "scipy", "pandas", "matplotlib"}),
        ("ea.ForwardKL()", {"torch", "scipy", "pandas", "matplotlib"}),
        ("ea.Bandit([0.5, 0.5], [0.7, 0.3]).wins", {"torch", "scipy", "pandas", "matplotlib"}),
        ("ea.read_bandit", {"torch", "matplotlib"}),
        ("ea.DPO(0.1), ea.solve, ea.audit", {"matplotlib", "jinja2", "transformers", "trl"}),
    ],
)
def test_names_bring_what_they_need_and_no_more(use: str, absent: set[str]) -> None:
    found = fresh(f"import sys, expo_analysis as ea; {use}; print(*{absent!r} & set(sys.modules))")
    assert found == ""


def test_all_names_are_there() -> None:
    assert set(ea.__all__) >= FORMER | (FACE - {"llm"})
    assert set(dir(ea)) >= set(ea.__all__) | {"llm", "__version__"}
    assert len(ea.__all__) == len(set(ea.__all__))
    for name in ea.__all__:
        assert getattr(ea, name).__doc__, name


def test_the_docstring_names_the_face() -> None:
    assert ea.__doc__ is not None
    words = set(ea.__doc__.replace("`", " ").replace(",", " ").replace(".", " ").split())
    assert words >= FACE


def test_a_loss_of_the_catalogue_needs_no_line_here() -> None:
    """Whatever `losses` exports is a name of the package; the stub says so with a star."""
    assert set(ea.__all__) >= set(losses.__all__)
    for name in losses.__all__:
        assert getattr(ea, name) is getattr(losses, name)
    stub = ast.parse((ROOT / "expo_analysis" / "__init__.pyi").read_text())
    listed = {alias.name for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not listed & set(losses.__all__)


def test_a_star_gives_all_names() -> None:
    scope: dict[str, Any] = {}
    exec("from expo_analysis import *", scope)
    assert set(scope) - {"__builtins__"} == set(ea.__all__)


def test_namespaces_are_modules_and_the_path_has_its_better_name() -> None:
    for name in ("losses", "divergences", "numerics", "simulators", "paper", "optima", "bandit"):
        assert isinstance(getattr(ea, name), ModuleType) and getattr(ea, name).__name__ == f"expo_analysis.{name}"
    assert ea.SolutionPath is ea.Path
    path = ea.solve_path(ea.DPO(1.0), ea.Bandit([0.5, 0.5], [0.7, 0.3]), [1.0])
    assert isinstance(path, ea.SolutionPath)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'expo_analysis' has no attribute 'DOP'") as caught:
        _ = ea.DOP
    assert (caught.value.name, caught.value.obj) == ("DOP", ea)  # from which Python suggests DPO
    with pytest.raises(ImportError, match="cannot import name 'DOP'"):
        exec("from expo_analysis import DOP")
    assert not hasattr(ea, "__wrapped__")


def test_a_value_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a package made for it, with each of the three forms; private names never search the rooms."""
    package = tmp_path / "made_for_it"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom expo_analysis._lazy import attach\n"
        "__getattr__, __dir__ = attach(__name__, Path(__file__).with_suffix('.pyi'), not_in_all={'heavy'})\n"
    )
    (package / "__init__.pyi").write_text(
        "from . import heavy as heavy\nfrom .one import first as other\nfrom .many import *\n"
    )
    (package / "heavy.py").write_text("raise ImportError('needs more')\n")
    (package / "one.py").write_text("first = 1\n")
    (package / "many.py").write_text("__all__ = ['found']\nfound, hidden = 2, 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = __import__("made_for_it")
    assert not hasattr(made, "_private") and "made_for_it.many" not in sys.modules
    assert made.other == 1 and made.__dict__["other"] == 1
    assert "made_for_it.many" not in sys.modules  # a name of its own needs no search
    assert made.found == 2 and not hasattr(made, "hidden") and not hasattr(made, "first")
    assert made.__all__ == ["found", "other"]
    assert set(dir(made)) >= {"found", "other", "heavy"}
    with pytest.raises(ImportError, match="needs more"):
        _ = made.heavy
    assert made.one.first == 1  # any module of the package


def test_type_checkers_see_the_names(tmp_path: Path) -> None:
    """mypy takes them from the stub: known ones with their types, unknown ones as errors."""
    source = tmp_path / "use.py"
    source.write_text(
        "import expo_analysis as ea\nreveal_type(ea.DPO(0.1))\nreveal_type(ea.solve)\nreveal_type(ea.numerics.exp)\n"
        "ea.DOP\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(source)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = [line.partition("use.py:")[2] for line in done.stdout.splitlines() if "use.py:" in line]
    assert "expo_analysis.losses.catalogue.dpo.DPO" in found[0]
    assert "-> expo_analysis.optima.solution.Solution" in found[1]
    assert "def (x: Any) -> Any" in found[2]
    assert 'Module has no attribute "DOP"' in found[3] and len(found) == 4


def test_the_stub_is_installed_too() -> None:
    """The package reads it when it is imported."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert {"py.typed", "*.pyi"} <= set(config["options.package_data"]["expo_analysis"].split())


def test_the_version_stands_once() -> None:
    """In the package; the distribution and the command line take it from there."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: expo_analysis.__version__"
    citation = (ROOT / "CITATION.cff").read_text()
    assert ea.__version__ not in citation


def test_the_line_length_stands_once() -> None:
    assert "max_line_length" not in (ROOT / ".editorconfig").read_text()


def test_attach_is_not_confused_by_other_lines(tmp_path: Path) -> None:
    stub = tmp_path / "stub.pyi"
    stub.write_text("import numpy as np\nfrom typing import Any\nfrom .numerics import exp as exp\nversion: str\n")
    getattr_, _ = attach("expo_analysis", stub)
    assert getattr_("exp")(np.zeros(1)) == 1
    assert getattr_("__all__") == ["exp"]
