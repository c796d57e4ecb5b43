"""Tasks: the same results wherever they run, after kills too; what is kept is not computed again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis import tasks

from .called import dies, dies_once, drawn, refuses, slowly

ROOT = Path(__file__).parents[1]
MANY = {f"task {k}": (k,) for k in range(12)}


HERE = tasks.run(drawn, MANY, executor=ThreadPoolExecutor(1))


class Flaky(Executor):
    """Somebody's executor, of which every third task is lost the first times."""

    def __init__(self, times: int) -> None:
        self.times, self.count = times, 0

    def submit(self, f: Any, /, *given: Any, **named: Any) -> Future[Any]:
        self.count += 1
        future: Future[Any] = Future()
        if self.count % 3 == 0 and self.times > 0:
            self.times -= 1
            future.set_exception(CancelledError() if self.times % 2 else OSError("the worker is gone"))
        else:
            future.set_result(f(*given, **named))
        return future


@pytest.mark.parametrize("executor", [ThreadPoolExecutor(3), Flaky(4), None], ids=["threads", "flaky", "processes"])
def test_the_same_wherever_they_run(executor: Any) -> None:
    told: list[tuple[float, float, str]] = []

    def tell(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        told.append((done, total, task))

    found = tasks.run(drawn, MANY, executor=executor, workers=2, progress=tell)
    assert found == HERE and list(found) == list(MANY)
    assert [done for done, _, task in told if not task] == list(range(13))
    assert {(1.0, 1.0, name) for name in MANY} <= set(told)
    assert executor is not None or (0.5, 1.0, "task 7") in told


def test_tasks_that_are_killed_are_run_again(tmp_path: Path) -> None:
    found = tasks.run(dies_once, {name: (k, str(tmp_path)) for name, (k,) in MANY.items()}, workers=2)
    assert found == HERE and len(list(tmp_path.iterdir())) == 3


def test_one_that_kills_its_process_is_named_and_takes_nothing_with_it() -> None:
    some = {f"task {k}": (k,) for k in range(4)}
    with pytest.raises(tasks.Lost, match="task 2: the process that computed it ended 2 times: BrokenProcessPool"):
        tasks.run(dies, some, workers=2, attempts=2)
    found = tasks.run(dies, some, workers=2, attempts=2, failed=lambda name, error: f"{name}: {type(error).__name__}")
    assert found == {"task 0": 0, "task 1": 1, "task 2": "task 2: Lost", "task 3": 3}
    with pytest.raises(tasks.Lost, match="ended 3 times: OSError: the worker is gone"):
        tasks.run(refuses, {"one": (1,)}, executor=Always(), attempts=3)


class Always(Executor):
    def submit(self, f: Any, /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(OSError("the worker is gone"))
        return future


def test_what_raises_is_raised_or_made_a_result(tmp_path: Path) -> None:
    some = {f"task {k}": (k,) for k in range(5)}
    for executor in (ThreadPoolExecutor(1), None):
        with pytest.raises(ValueError, match="no third one"):
            tasks.run(refuses, some, executor=executor)
    kept = tasks.run(refuses, some, executor=ThreadPoolExecutor(1), keep=tmp_path, failed=lambda name, error: None)
    assert kept["task 3"] is None and len(list(tmp_path.iterdir())) == 4, "what failed is not kept"
    with pytest.raises(Exception, match="pickle"):
        tasks.run(lambda x, *, progress: x, {"one": (1,)})
    for wrong in ({"workers": 0}, {"attempts": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1, got 0"):
            tasks.run(refuses, some, **wrong)  # type: ignore[arg-type]


def test_what_is_kept_is_not_computed_again_unless_its_settings_differ(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(k: int, *, progress: Any) -> int:
        calls.append(k)
        return k

    def run(names: range, settings: Any) -> dict[str, int]:
        some = {f"a/b: {k}": (k,) for k in names}
        return tasks.run(counted, some, executor=ThreadPoolExecutor(1), keep=tmp_path, settings=settings)

    assert run(range(3), "") == run(range(3), "") and calls == [0, 1, 2]
    run(range(5), "")
    assert calls == [0, 1, 2, 3, 4]
    run(range(2), {"a/b: 0": "new"})
    assert calls == [0, 1, 2, 3, 4, 0]


SCRIPT = """
import sys, time
from expo_analysis import tasks
from tests.called import slowly
if __name__ == "__main__":
    tasks.run(slowly, {f"task {k}": (k,) for k in range(12)}, workers=2, keep=sys.argv[1])
"""


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_goes_on_where_it_was(tmp_path: Path) -> None:
    """The run itself and its workers, without warning; then the same bits as undisturbed."""
    script, kept = tmp_path / "script.py", tmp_path / "kept"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    rng = np.random.default_rng(0)
    for _ in range(10):
        started = subprocess.Popen([sys.executable, script, kept], env=environment, start_new_session=True)
        time.sleep(rng.uniform(3.0, 8.0))
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert tasks.run(slowly, MANY, workers=2, keep=kept) == HERE


def test_cards_are_kept(tmp_path: Path) -> None:
    losses = {"dpo": ea.DPO(1.0)}
    settings: dict[str, Any] = {"effort": 0.01, "only": "first_step", "keep": tmp_path}
    with ThreadPoolExecutor(1) as threads:
        first = ea.audit_many(losses, executor=threads, **settings)
        again = ea.audit_many({**losses, "mine": ea.DPO(1.0, label_smoothing=0.1)}, executor=threads, **settings)
    assert [again[name].seconds for name in losses] == [first[name].seconds for name in losses]
    assert len(list(tmp_path.iterdir())) == 2
