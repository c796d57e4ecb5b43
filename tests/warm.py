"""pytest, run many times by processes that need not load torch, transformers and their like each time.

``multiprocessing``'s fork server loads the libraries once; each run is a fork of it, in a tree of its choice, whose
package and tests it loads afresh. What takes too much processor time is ended together with all processes that it
started; the clock would count what else the machine does.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from .preloaded import LISTED

OPTIONS = ("-q", "-m", "not slow", "-p", "no:cacheprovider")
OURS = {"expo_analysis", "tests"}
ENDED = 1000
IDLE = 10.0  # by so many times may a run's seconds on the clock exceed its processor time, before it counts as hung
LIST_OF_LIBRARIES = """
import pytest, sys
pytest.main(["--collect-only", *sys.argv[1:]])
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
print("\\nlibraries", *(name for name, file in files.items() if "site-packages" in file))
"""


@dataclass(frozen=True)
class Outcome:
    """pytest's exit status (None: it ran out of time; `ENDED`: a test ended the process before pytest did; negative: a
    signal), the tests that failed, and its output."""

    status: int | None
    failed: list[str] = field(default_factory=list)
    output: str = ""


def environment(tree: Path) -> dict[str, str]:
    """That of tests in a tree: it comes first on the path, and there is one thread."""
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


class Warm:
    """A fork server that has loaded what the tests load, less the package and the tests."""

    def __init__(self, tree: Path, tests: Sequence[str]) -> None:
        command = [sys.executable, "-W", "ignore", "-c", LIST_OF_LIBRARIES, *OPTIONS, *tests]
        done = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True)
        names = done.stdout.rpartition("libraries")[2].split()
        if done.returncode or not names:
            raise RuntimeError(f"the tests cannot be loaded:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        self.names = {line for line in done.stdout.splitlines() if "::" in line}  # of the tests that there are
        os.environ["OMP_NUM_THREADS"] = "1"  # as the server starts
        self._context = multiprocessing.get_context("forkserver")
        listed = tree / "warm_libraries.txt"
        listed.write_text("\n".join(name for name in names if name.split(".")[0] not in OURS))
        os.environ[LISTED] = str(listed)
        self._context.set_forkserver_preload(["tests.preloaded", "tests.frozen"])
        if (first := self.pytest(tree, sorted(self.names)[:1], "--collect-only")).status != 0:
            raise RuntimeError(f"the forks do not run:\n{first.output}")

    def pytest(self, tree: Path, tests: Sequence[str], *options: str, seconds: float | None = None) -> Outcome:
        """Run the tests in the tree, and end them after so many seconds of processor time (ten times as many on the
        clock, for what waits for ever)."""
        listed, failed, output, done = (tree / f"warm_{name}.txt" for name in ("tests", "failed", "output", "done"))
        listed.write_text("\n".join(tests))
        failed.write_text("")
        done.unlink(missing_ok=True)
        process = self._context.Process(target=_run, args=(tree, listed, failed, output, done, options))
        process.start()
        _wait(process, seconds)
        status = process.exitcode
        if status is not None and status >= 0 and not done.exists():
            status = ENDED
        _end_all(process.pid)
        process.join()
        return Outcome(status, failed.read_text().splitlines(), output.read_text() if output.exists() else "")


class _Failures:
    """A plugin that writes the name of each test that fails, and of each file that cannot be loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_collectreport(self, report: Any) -> None:
        self.pytest_runtest_logreport(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            with self.file.open("a") as stream:
                stream.write(report.nodeid + "\n")


def _run(tree: Path, listed: Path, failed: Path, output: Path, done: Path, options: Sequence[str]) -> None:
    """The forked process."""
    os.setsid()
    with output.open("w") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    os.chdir(tree)
    os.environ.update(environment(tree))
    sys.dont_write_bytecode = True
    sys.argv = ["pytest"]
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in ("", str(Path(__file__).parents[1])))]
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        import pytest

        # Asserts of plugins that are loaded already are not rewritten, which matters to nobody.
        plain = ["-p", "no:xdist", "-p", "no:cov", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        status = int(pytest.main([*OPTIONS, *plain, *options, f"@{listed}"], plugins=[_Failures(failed)]))
    except BaseException:
        traceback.print_exc()
        status = 3
    done.touch()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait(process: BaseProcess, seconds: float | None) -> None:
    """Until the process has ended, or has had its seconds."""
    if seconds is None:
        return process.join()
    end = time.monotonic() + IDLE * seconds
    while process.is_alive() and time.monotonic() < end and _processor_time(process.pid) < seconds:
        process.join(0.2)
    return None


def _processor_time(pid: int | None) -> float:
    """The seconds of a process, of its children that have ended, and of those that live."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        for one in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += sum(one.cpu_times()[:4])
    return total


def _end_all(group: int | None) -> None:
    """End a process and what it started; nothing if all have ended."""
    if group is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
