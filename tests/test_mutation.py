"""The drawing of mutants, on a package of a few lines: what is a mutant, which tests run, what counts as killed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from . import mutation
from .warm import Warm

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
    warm = Warm(tree, ["tests"])
    verdicts = {}
    for mutant in mutation.draw(tree, [Path("room.py")], 1000, 0):
        verdicts.setdefault(mutant.line, set()).add(mutation.verdict(warm, tree, mutant, coverage))
    assert verdicts[4] == verdicts[7] == verdicts[11] == {"killed"}  # lines 4 and 7 run at import only
    assert "survived" in verdicts[9]  # no test asks for more than 10, so that 10 may be 9 or 11
    assert (tree / "room.py").read_text() == SOURCE
    nowhere = mutation.Mutant("room.py", 10, "NumberReplacer", 0, "", "")
    assert mutation.verdict(warm, tree, nowhere, mutation.Coverage({}, {}, {})) == "not covered"


def test_what_a_test_ended_says_nothing(tree: Path) -> None:
    """A process that is gone with exit status 0 has not passed all tests: those after it may have failed."""
    (tree / "tests" / "test_room.py").write_text(
        "import os\n\nfrom room import total\n\n\ndef test_one():\n    if total(1) != 0:\n        os._exit(0)\n"
    )
    mutant = next(m for m in mutation.draw(tree, [Path("room.py")], 1000, 0) if "START - a" in m.new)
    coverage = mutation.measure(tree, ["room.py"], ["tests"], 1)
    assert mutation.verdict(Warm(tree, ["tests"]), tree, mutant, coverage) == "unclear"


def test_a_file_that_cannot_be_loaded_with_a_mutant_has_failed(tree: Path) -> None:
    """And one that cannot be loaded at all says nothing."""
    source = "START = 1\n\nif START > 1:\n    raise ValueError(START)\n"
    (tree / "room.py").write_text(source)
    file = tree / "tests" / "test_room.py"
    file.write_text("from room import START\n\n\ndef test_start():\n    assert START < 3\n")
    warm = Warm(tree, ["tests"])
    tests = ["tests/test_room.py::test_start"]
    coverage = mutation.Coverage({}, {"room.py": tests}, {tests[0]: 0.1})
    raised = next(one for one in mutation.draw(tree, [Path("room.py")], 1000, 0) if one.line == 1)
    assert mutation.verdict(warm, tree, replace(raised, occurrence=0), coverage) == "killed"
    file.write_text("import none_of_this_name\n\n\ndef test_start():\n    pass\n")
    assert mutation.verdict(warm, tree, replace(raised, occurrence=0), coverage) == "unclear"


def test_what_cannot_be_loaded_is_killed_and_what_has_another_name_is_asked_by_its_function(tree: Path) -> None:
    (tree / "room.py").write_text("SHARE = 4 / 2\nNAME = 2\n\n\ndef half(a):\n    return a / SHARE\n")
    (tree / "tests" / "test_room.py").write_text(
        "import pytest\n\nimport room\n\nROOM = 1 / (room.SHARE - 2 == 0)\n\n\n"
        "@pytest.mark.parametrize('name', [room.NAME])\ndef test_half(name):\n    assert room.half(2) == 1\n"
    )
    coverage = mutation.measure(tree, ["room"], ["tests"], 1)
    warm = Warm(tree, ["tests"])
    found = {(m.line, m.new): m for m in mutation.draw(tree, [Path("room.py")], 1000, 0)}
    verdicts = {key: mutation.verdict(warm, tree, mutant, coverage) for key, mutant in found.items()}
    assert {verdict for (line, _), verdict in verdicts.items() if line == 1} == {"killed"}
    assert {verdict for (line, _), verdict in verdicts.items() if line == 2} == {"survived"}
    assert {verdict for (line, _), verdict in verdicts.items() if line == 6} == {"killed"}


def test_what_fails_as_it_is_kills_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tree / "tests" / "test_room.py"
    file.write_text("from room import total\n\n\ndef test_false():\n    assert total(1) != total(1)\n")
    coverage = mutation.measure(tree, ["room"], ["tests"], 1)
    assert coverage.failing == ["tests/test_room.py::test_false"]
    mutant = next(one for one in mutation.draw(tree, [Path("room.py")], 1000, 0) if one.line == 11)
    warm = Warm(tree, ["tests"])
    assert mutation.verdict(warm, tree, mutant, coverage) == "not covered"
    unaware = replace(coverage, failing=[])
    assert mutation.verdict(warm, tree, mutant, unaware) == "unclear"
    # and so is what runs out of time without the mutant as well
    file.write_text("def test_false():\n    while True:\n        pass\n")
    monkeypatch.setattr(mutation, "PATIENCE", 2.0)
    assert mutation.verdict(warm, tree, mutant, unaware) == "unclear"


def test_a_mutant_that_never_ends_is_killed_with_the_processes_that_it_started(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tree / "started"
    (tree / "tests" / "test_room.py").write_text(f"""import subprocess
from pathlib import Path

from room import total


def test_total():
    if total(3, 4) != 0:
        child = subprocess.Popen(["sleep", "1000"])
        Path({str(started)!r}).write_text(str(child.pid))
        child.wait()
""")
    monkeypatch.setattr("tests.warm.IDLE", 1.0)
    coverage = mutation.Coverage({"room.py": {11: ["tests/test_room.py::test_total"]}}, {}, {})
    mutant = next(one for one in mutation.draw(tree, [Path("room.py")], 1000, 0) if one.line == 11)
    monkeypatch.setattr(mutation, "PATIENCE", 5.0)
    assert mutation.verdict(Warm(tree, ["tests"]), tree, mutant, coverage) == "killed by time"
    # A zombie has no command line left.
    command = Path("/proc", started.read_text(), "cmdline")
    assert not command.exists() or not command.read_bytes()


def test_order_and_limit() -> None:
    seconds = {"a.py::one[1]": 1.0, "a.py::one[2]": 1.5, "b.py::two": 0.1, "b.py::three": 3.0, "a.py::four": 0.2}
    seconds |= {"c.py::five": 5.0, "c.py::six": 4.0}
    tests = ["a.py::one[1]", "a.py::one[2]", "b.py::two", "b.py::three", "a.py::four", "c.py"]
    coverage = mutation.Coverage({"room.py": {9: tests}}, {}, seconds)
    mutant = mutation.Mutant("room.py", 9, "NumberReplacer", 0, "", "")
    every = ["b.py::two", "a.py::four", "a.py::one[1]", "b.py::three", "c.py", "a.py::one[2]"]
    assert coverage.tests(mutant) == every  # the second case of one comes last, a whole file takes 9 s
    assert coverage.among({"b.py::two", "c.py::six"}).tests(mutant) == ["b.py::two", "c.py"]
    all_files = f"{mutation.ALL_FILES}::seven"
    default = replace(mutant, line=2)
    assert coverage.tests(default) == [] and coverage.among({all_files}).tests(default) == [all_files]
    assert coverage.tests(mutant, limit=1.0) == every[:3] and coverage.tests(mutant, limit=2.0) == every[:4]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("y = x.reshape(len(x), -1).sum(axis=-1)", "y = x.reshape(len(x), - 2).sum(axis=-1)", True),
        ("y = x.reshape(len(x), -1).sum(axis=-1)", "y = x.reshape(len(x), -1).sum(axis=- 2)", False),
        ("y = x.reshape(len(x), -1)", "y = x.reshape(len(x), - 0)", False),
        ("for a, b in zip(x, y, strict=True):", "for a, b in zip(x, y, strict=False):", True),
        ("f(zip(x, y, strict=True), other=True)", "f(zip(x, y, strict=True), other=False)", False),
    ],
)
def test_kinds_that_change_nothing(old: str, new: str, same: bool) -> None:
    assert mutation.of_a_kind(mutation.Mutant("room.py", 1, "NumberReplacer", 0, old, new)) == same
    first, last = "w = family.basis[0] @ z", "w = family.basis[ -1] @ z"  # of one problem, in some files
    for file in ("restricted/line.py", "restricted/search.py"):
        one = mutation.Mutant(f"expo_analysis/optima/{file}", 1, "NumberReplacer", 0, first, last)
        assert mutation.of_a_kind(one) == ("line" in file)
    assert all(reason for *_, reason in mutation.kinds())


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
