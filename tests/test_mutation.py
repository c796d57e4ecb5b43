"""The drawing of mutants, on a package of a few lines: what is a mutant, which tests run, what counts as killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from . import mutation

pytestmark = pytest.mark.slow  # with cosmic-ray and coverage, which `make test-slow` installs

SOURCE = '''"""A sum."""
from __future__ import annotations

START: int | float = 1


def total(a: int | str, b: int = 2) -> int | None:
    """More than - the + of it."""
    if a > 10:
        return never(a)
    return START + a - b
'''
TESTS = """import pytest

from room import total


@pytest.fixture(scope="module")
def one():
    return total(1)


def test_first(one):
    assert one == 0


def test_second(one):
    assert total(3, 4) < 1
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path = tmp_path / "tree"
    (tmp_path / "tests").mkdir(parents=True)
    (tmp_path / "room.py").write_text(SOURCE)
    (tmp_path / "tests" / "test_room.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow: no"]\n')
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    return tmp_path


def test_draws_are_reproducible_and_without_replacement(tree: Path) -> None:
    file = [Path("room.py")]
    every = mutation.draw(tree, file, 1000, 3)
    assert every == mutation.draw(tree, file, 1000, 3)
    assert every[:3] == mutation.draw(tree, file, 3, 3)
    # 1, 2, the condition, >, 10, + and -: the annotations' | and the words of the docstring are no places
    assert sorted(mutant.line for mutant in every) == [4, 7, 9, 9, 9, 11, 11]
    assert all(
        mutant.old != mutant.new and SOURCE.splitlines()[mutant.line - 1].strip() == mutant.old for mutant in every
    )


def test_verdicts(tree: Path) -> None:
    coverage = mutation.measure(tree, ["room"], ["tests"], 1)
    assert coverage.lines["room.py"][11] == ["tests/test_room.py", "tests/test_room.py::test_second"]
    verdicts = {}
    for mutant in mutation.draw(tree, [Path("room.py")], 1000, 0):
        verdicts.setdefault(mutant.line, set()).add(mutation.verdict(tree, mutant, coverage))
    assert verdicts[4] == verdicts[7] == verdicts[11] == {"killed"}  # lines 4 and 7 run at import only
    assert "survived" in verdicts[9]  # no test asks for more than 10, so that 10 may be 9 or 11
    assert (tree / "room.py").read_text() == SOURCE
    nowhere = mutation.Mutant("room.py", 10, "NumberReplacer", 0, "", "")
    assert mutation.verdict(tree, nowhere, mutation.Coverage({}, {}, {})) == "not covered"


def test_tests_that_fail_as_they_are_are_refused(tree: Path) -> None:
    (tree / "tests" / "test_room.py").write_text("def test_false():\n    assert False\n")
    with pytest.raises(RuntimeError, match="fail as they are"):
        mutation.measure(tree, ["room"], ["tests"], 1)


def test_equivalent_ones_are_of_lines_that_exist() -> None:
    for (file, old, new), reason in mutation.equivalent().items():
        lines = [line.strip() for line in (mutation.ROOT / file).read_text().splitlines()]
        assert old in lines and new != old and reason, (file, old)


def test_the_copy_holds_what_git_would_add(tree: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    (tree / ".gitignore").write_text("*.log\n")
    (tree / "left.log").write_text("")
    copy = mutation.copy_of_the_tree(tmp_path / "copy")
    assert sorted(p.name for p in copy.rglob("*") if p.is_file()) == [
        ".gitignore",
        "pyproject.toml",
        "room.py",
        "test_room.py",
    ]
