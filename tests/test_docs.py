"""The code in the documents runs, and what it says is so."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import math
import re
from pathlib import Path
from types import ModuleType

import pytest
import trl

import expo_analysis as ea
from expo_analysis.losses.trl import TRL_LOSSES, TRL_SMOOTHED

ROOT = Path(__file__).parents[1]


def _python_blocks(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), flags=re.M | re.S)


PAGES = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
RUN_ELSEWHERE = {"docs/figures.md", "docs/leaderboards.md", "docs/llm.md", "docs/howto/expo.md"}
"""Whose Python runs in test_figures_command.py and test_llm_docs.py, with what it needs."""


@pytest.mark.parametrize("document", [page for page in PAGES if page not in RUN_ELSEWHERE and _python_blocks(page)])
def test_code_blocks_run(document: str) -> None:
    blocks = _python_blocks(document)
    scope: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, document, "exec"), scope)
    for name, function in scope.items():  # what they show as tests are run, too
        if name.startswith("test_") and not hasattr(function, "pytestmark"):
            function()  # type: ignore[operator]


@pytest.mark.parametrize("document", [*PAGES, "figures/README.md", "benchmarks/RESULTS.md"])
def test_links_and_named_files_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (folder / target).exists(), target
    for name in re.findall(r"`(tests?_\w+\.py)`", text):
        assert (ROOT / "tests" / name).exists(), name


def _sources() -> dict[str, str]:
    """Python that people copy, by where it stands: documents, examples and notebooks."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    found = {path.name: "\n".join(_python_blocks(str(path.relative_to(ROOT)))) for path in documents}
    found |= {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("examples/*.py")}
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
        found[path.name] = "\n".join(line for line in lines if not line.startswith("%"))  # a magic is no Python
    return found


def test_nothing_that_people_copy_needs_a_private_name() -> None:
    """No module and no name with an underscore is imported from the package, or taken from it."""
    sources = _sources()
    assert {"CONTRIBUTING.md", "README.md", "desiderata.md", "exponential.py", "01_losses.ipynb"} <= set(sources)
    for where, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("expo_analysis"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [
                    part for alias in node.names if alias.name.startswith("expo") for part in alias.name.split(".")
                ]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ea":
                names = [node.attr]
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            assert not private, f"{where} uses {private}"


def _catalogue_rows() -> dict[str, list[str]]:
    """Cells of the table of losses, by name."""
    text = (ROOT / "docs/losses.md").read_text(encoding="utf-8").split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, flags=re.M)
    return {name: [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)] for name, cells in rows}


def _losses_table(name: str = "losses_table") -> ModuleType:
    """The program that writes the table of losses, or another one."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_losses_is_written_from_the_terms() -> None:
    """`make docs` writes it anew; the file has what it would write."""
    losses_table = _losses_table()
    _, found, _ = losses_table.in_file()
    assert found == losses_table.table()


def test_the_page_of_theorems_is_written_from_the_rules() -> None:
    table = _losses_table("rules_table")
    assert table.FILE.read_text(encoding="utf-8") == table.page()


def test_the_page_of_trls_options_is_written_from_their_translation() -> None:
    """Of the release of TRL that the page is about."""
    table = _losses_table("trl_table")
    found = table.FILE.read_text(encoding="utf-8")
    if f"TRL {'.'.join(trl.__version__.split('.')[:2])}'s" not in found:
        pytest.skip(f"the page is about another release than TRL {trl.__version__}")
    assert found == table.page()


def test_every_loss_has_its_row() -> None:
    """Once, in the order of the catalogue; and the README counts them."""
    assert list(_catalogue_rows()) == list(ea.CATALOGUE)
    assert f"The catalogue has {len(ea.CATALOGUE)} objectives" in (ROOT / "README.md").read_text(encoding="utf-8")


SELF_CONCORDANCE = {
    **{"–": None, "0": 0.0, "1": 1.0, "λ": 2.0, "max(1, λ)": 2.0},
    "1 + λ + √(λ(1 - shift))/2": 3 + math.sqrt(2 * 0.25) / 2,
}
"""What the table says M is, at lambda = 2."""


@pytest.mark.parametrize("name", ea.CATALOGUE)
def test_the_table_of_losses_is_the_code(name: str) -> None:
    heading, _, in_trl, reads, convex, m, _ = _catalogue_rows()[name]
    cls = ea.CATALOGUE[name]
    kind, *options = [part.strip(" `") for part in heading.split(",")]
    assert kind == cls.__name__
    assert options == [field.name for field in dataclasses.fields(cls) if field.name != "lam"]
    objective = cls(2.0, psi=abs, mu=abs) if cls is ea.QPO else cls(2.0)
    claims = objective.claims
    assert convex == ("yes" if claims.convex else "no")
    assert SELF_CONCORDANCE[m] == claims.self_concordance
    if reads == "all":  # a loss may read the reference and the policy's log-ratio, as regression EXPO does
        assert claims.needs_reference
    else:
        expected = {"ratio": (True, True), "own ratio": (False, True), "policy": (False, False)}[reads]
        assert (claims.needs_reference, claims.log_ratio_only) == expected
    for loss_type in re.findall(r"`(\w+)`", in_trl.split(" with ")[0]):
        smoothing = 0.1 if loss_type in TRL_SMOOTHED else 0.0
        divergence = "js_divergence" if name == "fdpo" else "reverse_kl"
        assert ea.from_trl(loss_type, 1.0, divergence, label_smoothing=smoothing).name == name


def test_every_loss_type_of_trl_is_in_the_table() -> None:
    named = {loss for cells in _catalogue_rows().values() for loss in re.findall(r"`(\w+)`", cells[2])}
    assert named - {"f_divergence_type"} == set(TRL_LOSSES)


def test_adding_a_loss_takes_ten_lines() -> None:
    """As CONTRIBUTING promises: class body and decorator, without imports, blank lines and the docstring."""
    block = _python_blocks("CONTRIBUTING.md")[0]
    left_out = ("from", "import", '"""')
    lines = [line for line in block.splitlines() if line.strip() and not line.strip().startswith(left_out)]
    assert len(lines) <= 10


def test_the_example_of_a_loss_is_the_one_that_is_explained() -> None:
    block = _python_blocks("CONTRIBUTING.md")[0]
    assert block[block.index("@dataclass") :] in (ROOT / "examples" / "exponential.py").read_text(encoding="utf-8")


def test_the_two_examples_of_a_loss_are_one() -> None:
    """In terms and as a formula: the same values, the same optimum, the same proof."""
    spec = importlib.util.spec_from_file_location("exponential", ROOT / "examples" / "exponential.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    in_terms, formula = module.Exponential(0.5), module.ExponentialFormula(0.5)
    assert in_terms.is_made_of_terms and not formula.is_made_of_terms
    assert dataclasses.replace(in_terms.claims, closed_form=False) == formula.claims  # of pi*, its log-odds are known
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    first, second = (ea.solve(objective, bandit) for objective in (in_terms, formula))
    assert abs(first.policy - second.policy).sum() <= first.error_bound + second.error_bound < 1e-11


def test_every_desideratum_has_its_row() -> None:
    """Once, in the order of the report card, and each is told by the paper's or by our name."""
    text = (ROOT / "docs/desiderata.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` (\*\*\[(?:paper|ours)\]\*\*)", text, flags=re.M)
    assert [name for name, _ in rows] == list(ea.DESIDERATA)
