"""Which mistakes would the tests not notice? Mutants are drawn at random, and the tests that cover them are run.

    python -m tests.mutation expo_analysis/losses expo_analysis/optima --draw 200 --seed 7

``make mutants ROOMS="losses optima" DRAW=200 SEED=7`` is the same. How it goes:

1. The fast tests run once, with coverage, in a copy of the working tree: this tells which tests run each line, and how
   much processor time each takes. What is kept by ``--coverage`` is completed by the files that have new tests. A line
   that runs in a fixture belongs to all tests of the fixture's file; a line that runs at import only (a default, a
   table, a decorator) belongs to all tests that run anything of its file, and to those of ``ALL_FILES``, which look at
   the classes of every file.
2. Places are drawn uniformly, without replacement, from all places in the rooms where one of cosmic-ray's operators
   in ``OPERATORS`` applies, and for each place one of those that apply: + - * / for one another, * for ``**``, ``&``
   for ``|``, a comparison for another, a number plus or minus 1, ``not`` put before a condition, ``and`` for ``or``,
   ``True`` for ``False``, a sign or ``not`` removed, ``break`` for ``continue``, a loop of no round, and the reverse
   of these. What would crash at once (``>>`` of floats, a dataclass without its decorator) is left out, as killing
   it says nothing. A change of annotations only, or code that does not compile, is no mutant.
3. Each mutant is planted in a copy, and its tests run until one fails or they have taken longer than three times their
   usual processor time and a minute. Then it is killed, if the test that failed (or all, if it was time) passes without
   it, now or once before, and also if the tests' modules can no longer be loaded; otherwise, and where a test ended the
   process, its verdict is ``unclear``.
   One case of each test comes before further cases, and short ones before long ones; ``--limit`` runs only the first so
   many seconds of the tests. A mutant that no test fails survives. The libraries are loaded once (warm.py), as that
   takes longer than most tests.
4. The score is killed / (drawn - equivalent). Equivalent ones, which change nothing that a user could see, are set
   aside by name in equivalent_mutants.toml, or as one of the kinds that it names, each with its reason.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from rich.progress import track

from .warm import ENDED, OPTIONS, Warm, environment

ROOT = Path(__file__).parents[1]
ARITHMETIC = "Add|Sub|Mul|Div"
COMPARISON = "Lt|LtE|Gt|GtE|Eq|NotEq"
OPERATORS = re.compile(
    rf"ReplaceBinaryOperator_(({ARITHMETIC})_({ARITHMETIC})|Pow_Mul|FloorDiv_Mul|Mod_FloorDiv|Bit(And|Or|Xor)_Bit(And|Or))"
    rf"|ReplaceComparisonOperator_(({COMPARISON})_({COMPARISON})|Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_(Delete_(USub|Invert|Not))|AddNot|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr"
    r"|ReplaceOrWithAnd|ReplaceBreakWithContinue|ReplaceContinueWithBreak|NumberReplacer|ZeroIterationForLoop"
)
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
ALL_FILES = "tests/test_values.py"
PATIENCE = 60.0  # seconds of processor time


@dataclass(frozen=True)
class Mutant:
    """One change of one file: cosmic-ray's ``operator`` at its ``occurrence`` turns line ``old`` into ``new``."""

    file: str
    line: int
    operator: str
    occurrence: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.operator})\n    - {self.old}\n    + {self.new}"


@dataclass(frozen=True)
class Coverage:
    """The tests that run each line of each file, those of a whole file, the seconds of processor time that each test
    takes with its fixtures, the tests that fail as they are, which kill nothing, and those that look at all files."""

    lines: dict[str, dict[int, list[str]]]
    files: dict[str, list[str]]
    seconds: dict[str, float]
    failing: list[str] = field(default_factory=list)
    of_all: list[str] = field(default_factory=list)

    def tests(self, mutant: Mutant, limit: float = math.inf) -> list[str]:
        """The tests of the mutant's line (of its file if the line runs at import only), up to so many seconds of them:
        those that look at all files first, then one case of each test, short ones before long ones, and those of
        a file that take about the same time together, as they may share a fixture."""
        of_file = [*self.files.get(mutant.file, []), *self.of_all]
        found = self.lines.get(mutant.file, {}).get(mutant.line) or of_file
        cases: Counter[str] = Counter()
        order = []
        for test in sorted(set(found) - set(self.failing), key=self.time):
            function = test.split("[")[0]
            octave = math.ceil(math.log2(max(self.time(test), 0.1)))
            order.append((test not in self.of_all, cases[function], octave, test.split("::")[0], test))
            cases[function] += 1
        tests = [test for *_, test in sorted(order)]
        total = [0.0, *accumulate(self.time(test) for test in tests)]
        return [test for test, before in zip(tests, total, strict=False) if before < limit]

    def joined(self, other: Coverage) -> Coverage:
        """Both, where the other one is of tests that ran later."""
        lines = {
            file: {
                line: sorted({*self.lines.get(file, {}).get(line, []), *other.lines.get(file, {}).get(line, [])})
                for line in {*self.lines.get(file, {}), *other.lines.get(file, {})}
            }
            for file in {*self.lines, *other.lines}
        }
        files = {
            file: sorted({*self.files.get(file, []), *other.files.get(file, [])})
            for file in {*self.files, *other.files}
        }
        failing = sorted({*(set(self.failing) - set(other.seconds)), *other.failing})
        return Coverage(lines, files, self.seconds | other.seconds, failing)

    def among(self, names: set[str]) -> Coverage:
        """What is left of it if only these tests are there: it may have been kept from an earlier time."""
        files = {name.split("::")[0] for name in names}
        lines = {
            file: {line: [test for test in tests if test in names or test in files] for line, tests in by.items()}
            for file, by in self.lines.items()
        }
        whole = {file: [test for test in tests if test in names or test in files] for file, tests in self.files.items()}
        of_all = sorted(name for name in names if name.startswith(f"{ALL_FILES}::"))
        return replace(self, lines=lines, files=whole, of_all=of_all)

    def time(self, test: str) -> float:
        """The seconds that a test takes, or all tests of a file."""
        if "::" in test:
            return self.seconds.get(test, 0.0)
        return sum(seconds for name, seconds in self.seconds.items() if name.split("::")[0] == test)


# --- places ---------------------------------------------------------------------------------------------------------


@cache
def operators() -> dict[str, Any]:
    """cosmic-ray's operators that are drawn, by name."""
    from cosmic_ray.plugins import get_operator, operator_names

    names = {name: name.removeprefix("core/") for name in operator_names()}
    return {short: get_operator(name)() for name, short in names.items() if OPERATORS.fullmatch(short)}


def without_annotations(source: str) -> str:
    """The syntax of the code less its annotations and its lines' numbers; ValueError or SyntaxError if it is none."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(tree)


def places(file: Path) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """The (operator, occurrence) that apply at each (line, column) of the file."""
    from cosmic_ray.ast import ast_nodes, get_ast

    tree = get_ast(file.read_text())
    found = defaultdict(list)
    for name, operator in operators().items():
        positions = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(positions):
            found[start].append((name, occurrence))
    return dict(found)


def mutated(file: Path, operator: str, occurrence: int) -> str | None:
    """The file's text after the mutation; None where it is no mutant (see the module's rule 2)."""
    from cosmic_ray.mutating import mutate_code

    source = file.read_text()
    text: str | None = mutate_code(source, operators()[operator], occurrence)
    try:
        changed = text is not None and without_annotations(text) != without_annotations(source)
        compile(text or "", str(file), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    return text if changed else None


def draw(root: Path, files: Sequence[Path], count: int, seed: int) -> list[Mutant]:
    """``count`` mutants of the files, in the order in which they were drawn; fewer where there are fewer places."""
    chance = random.Random(seed)
    every = [(file, spot, kinds) for file in files for spot, kinds in sorted(places(root / file).items())]
    chance.shuffle(every)
    chosen: list[Mutant] = []
    for file, (line, _), kinds in every:
        if len(chosen) == count:
            break
        chance.shuffle(kinds)
        for operator, occurrence in kinds:
            if (text := mutated(root / file, operator, occurrence)) is not None:
                before, after = (root / file).read_text().splitlines(), text.splitlines()
                where = next(
                    (k for k, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), line - 1
                )
                lines = (side[where].strip() if where < len(side) else "" for side in (before, after))
                chosen.append(Mutant(str(file), where + 1, operator, occurrence, *lines))
                break
    return chosen


def equivalent() -> dict[tuple[str, str, str], str]:
    """The reasons of the mutants that change nothing, by (file, old line, new line)."""
    stated = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    return {(one["file"], one["old"], one["new"]): one["reason"] for one in stated}


def kinds() -> list[tuple[re.Pattern[str], re.Pattern[str], str, str]]:
    """(file, old, new, reason) of kinds of mutants that change nothing wherever they are: what ``old`` matches becomes
    ``new``, in files whose names have a match of ``file``, and the rest of the line stays."""
    stated = tomllib.loads(EQUIVALENT.read_text())["kind"]
    return [(re.compile(one.get("file", "")), re.compile(one["old"]), one["new"], one["reason"]) for one in stated]


def of_a_kind(mutant: Mutant) -> bool:
    """Whether a mutant is one of `kinds`."""
    old = mutant.old
    return any(
        old[: match.start()] + match.expand(new) + old[match.end() :] == mutant.new
        for file, pattern, new, _ in kinds()
        if file.search(mutant.file)
        for match in pattern.finditer(old)
    )


# --- tests ----------------------------------------------------------------------------------------------------------


def copy_of_the_tree(target: Path) -> Path:
    """A copy of the files that git knows or would add, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def measure(tree: Path, rooms: Sequence[str], tests: Sequence[str], workers: int) -> Coverage:
    """Run the tests once with coverage; RuntimeError if they do not run to their end."""
    report = tree / "durations.xml"
    shutil.copy2(Path(__file__).with_name("cpu_seconds.py"), tree)
    cover = [f"--cov={Path(room).parent if room.endswith('.py') else room}" for room in rooms]
    command = [
        sys.executable, "-m", "pytest", *OPTIONS, *tests, "-n", str(workers), *cover, "--cov-context=test",
        "--cov-report=", f"--junitxml={report}", "-p", "cpu_seconds",
    ]  # fmt: skip
    settings = environment(tree) | {"WITHOUT_COPIES": "1"}
    done = subprocess.run(command, cwd=tree, env=settings, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the tests do not run to their end:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    coverage = read_coverage(tree, report)
    if coverage.failing:
        print(f"tests that fail as they are kill nothing:\n{done.stdout[-6000:]}", flush=True)
    return coverage


def read_coverage(tree: Path, report: Path) -> Coverage:
    """What coverage and pytest wrote of one run."""
    from xml.etree import ElementTree

    from coverage import CoverageData

    seconds = {}
    failing = []
    for case in ElementTree.parse(report).iter("testcase"):
        node = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        cpu = case.find("properties/property[@name='cpu']")
        seconds[node] = float(case.get("time", 0) if cpu is None else cpu.get("value", 0))
        if any(case.find(kind) is not None for kind in ("failure", "error")):
            failing.append(node)
    data = CoverageData(str(tree / ".coverage"))
    data.read()
    lines: dict[str, dict[int, list[str]]] = {}
    files: dict[str, list[str]] = {}
    for name in data.measured_files():
        file = str(Path(name).relative_to(tree))
        by_line = data.contexts_by_lineno(name)
        lines[file] = {line: sorted(set(_nodes(contexts))) for line, contexts in by_line.items()}
        files[file] = sorted({node for nodes in lines[file].values() for node in nodes})
    return Coverage(lines, files, seconds, failing)


def _nodes(contexts: Sequence[str]) -> Iterator[str]:
    """pytest's arguments for coverage's contexts: the test, or its whole file if the line ran in a fixture."""
    for context in filter(None, contexts):
        node, phase = context.rsplit("|", 1)
        yield node if phase == "run" else node.split("::")[0]


def verdict(
    warm: Warm,
    tree: Path,
    mutant: Mutant,
    coverage: Coverage,
    limit: float = math.inf,
    passed: set[str] | None = None,
) -> str:
    """``killed``, ``killed by time``, ``survived``, ``not covered`` or ``unclear``, after the tests ran in the copy.

    passed: the tests that have been seen to pass without any mutant, to which those are added that are seen now.
    """
    passed = set() if passed is None else passed
    tests = coverage.tests(mutant, limit)
    if not tests:
        return "not covered"
    path = tree / mutant.file
    source = path.read_text()
    text = mutated(path, mutant.operator, mutant.occurrence)
    assert text is not None
    modules = sorted({test.split("::")[0] for test in tests})
    options = ["-x", "--tb=no", *(f"--deselect={test}" for test in coverage.failing)]
    seconds = PATIENCE + 3 * sum(coverage.time(test) for test in tests)
    try:
        path.write_text(text)
        planted = warm.pytest(tree, tests, *options, seconds=seconds)
        loaded = True
        if planted.status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            loaded = warm.pytest(tree, modules, "--collect-only", seconds=seconds).status == 0
            if loaded:  # what a mutant calls differently is asked for by its function
                tests = list(dict.fromkeys(test.split("[")[0] for test in tests))
                planted = warm.pytest(tree, tests, *options, seconds=seconds)
    finally:
        path.write_text(source)
    if planted.status == 0:
        return "survived"
    if planted.status == ENDED:
        return "unclear"
    by_time = planted.status is None
    # What fails without the mutant says nothing, nor does a test that is not found though its module can be loaded.
    lost = planted.status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
    known = [test if test in coverage.seconds else test.split("[")[0] for test in planted.failed] or tests[:1]
    if by_time or not passed.issuperset(known):
        without = warm.pytest(tree, tests if by_time else known, *options, seconds=seconds)
        if without.status != 0:
            return "unclear"
        passed.update(known)
    if loaded and lost:
        return "unclear"
    return "killed by time" if by_time else "killed"


def examine(
    warm: Warm, trees: Sequence[Path], mutants: Sequence[Mutant], coverage: Coverage, limit: float = math.inf
) -> list[str]:
    """The verdict of each mutant; one worker a copy of the tree."""
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)
    passed: set[str] = set()

    def one(mutant: Mutant) -> str:
        tree = free.get()
        try:
            found = verdict(warm, tree, mutant, coverage, limit, passed)
        finally:
            free.put(tree)
        print(f"{found}: {mutant}", flush=True)
        return found

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(track(pool.map(one, mutants), "mutants", total=len(mutants)))


# --- the command ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 1 if a mutant survived that is not known to be equivalent."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.split("\n")[0])
    parser.add_argument("rooms", nargs="+", help="files or folders, such as expo_analysis/losses")
    parser.add_argument("--draw", type=int, default=200, help="number of mutants (200)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the draw (a new one each time)")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="files of tests that may kill (all)")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds of tests a mutant (all)")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--coverage", type=Path, help="JSON file that keeps what step 1 found, for the next draw")
    parser.add_argument("--output", type=Path, help="JSON file for the verdicts")
    given = parser.parse_args(arguments)
    files = [f for room in given.rooms for f in ([Path(room)] if room.endswith(".py") else sorted(_modules(room)))]
    with tempfile.TemporaryDirectory() as folder:
        trees = [copy_of_the_tree(Path(folder) / str(k)) for k in range(given.workers)]
        warm = Warm(trees[0], given.tests)
        coverage = _coverage(given, trees[0], warm.names)
        mutants = draw(trees[0], files, given.draw, given.seed)
        known = equivalent()
        aside = [m for m in mutants if (m.file, m.old, m.new) in known or of_a_kind(m)]
        mutants = [m for m in mutants if m not in aside]
        verdicts = []
        if mutants:
            verdicts = examine(warm, trees, mutants, coverage.among(warm.names), given.limit)
    return report(given, mutants, verdicts, len(aside))


def _modules(room: str) -> Iterator[Path]:
    return (path.relative_to(ROOT) for path in (ROOT / room).rglob("*.py"))


def _coverage(given: argparse.Namespace, tree: Path, names: set[str]) -> Coverage:
    """What the tests run: what is kept of an earlier time, and the files that have tests which it does not know."""
    coverage = Coverage({}, {}, {})
    if given.coverage and given.coverage.exists():
        kept = json.loads(given.coverage.read_text())
        lines = {file: {int(line): tests for line, tests in by.items()} for file, by in kept["lines"].items()}
        coverage = Coverage(lines, kept["files"], kept["seconds"], kept["failing"])
    if new := names - set(coverage.seconds):
        tests = sorted({name.split("::")[0] for name in new}) if coverage.seconds else given.tests
        print(f"running {' '.join(tests)} once, with coverage", flush=True)
        coverage = coverage.joined(measure(tree, given.rooms, tests, given.workers))
        if given.coverage:
            given.coverage.write_text(json.dumps(asdict(coverage)))
    return coverage


def report(given: argparse.Namespace, mutants: Sequence[Mutant], verdicts: Sequence[str], aside: int) -> int:
    """Print the survivors and the score, and write the verdicts."""
    alive = [(m, v) for m, v in zip(mutants, verdicts, strict=True) if not v.startswith("killed")]
    for mutant, result in alive:
        print(f"{result}: {mutant}")
    killed = len(mutants) - len(alive)
    share = killed / len(mutants) if mutants else 1.0
    print(f"seed {given.seed}: {killed} of {len(mutants)} killed ({share:.1%}); {aside} equivalent ones set aside")
    if given.output:
        rows = [asdict(m) | {"verdict": v} for m, v in zip(mutants, verdicts, strict=True)]
        given.output.write_text(json.dumps({"seed": given.seed, "equivalent": aside, "mutants": rows}, indent=1))
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main())
