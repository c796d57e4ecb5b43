"""Tasks that know nothing of one another: here, in processes, on a cluster; and on from where they were after a kill.

Searches, audits of many losses, bootstraps and sweeps are a function called with many arguments. `run` calls it on any
`concurrent.futures.Executor`: processes of this machine, dask.distributed's ``Client.get_executor()``, mpi4py's
``MPIPoolExecutor``, Ray through six lines of docs/cluster.md. What is found does not depend on the executor or on the
number of workers, as each call depends on its arguments only, and the order is that of the tasks.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import pickle
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ._files import from_home, replace, writable
from ._progress import Progress, silent
from .own_file import in_words

ATTEMPTS = 5
"""How often a task may be lost with the process that computed it, until it is taken for the cause."""

LOOK = 0.2
"""Seconds between two looks at how far tasks are."""


class Lost(RuntimeError):
    """A task whose process ended each time that it was tried. The cause is what the executor says."""


def run(
    function: Callable[..., Any],
    tasks: Mapping[str, tuple[Any, ...]],
    *,
    executor: Executor | None = None,
    workers: int = 1,
    keep: str | Path | None = None,
    settings: str | Mapping[str, str] = "",
    progress: Progress = silent,
    failed: Callable[[str, BaseException], Any] | None = None,
    attempts: int = ATTEMPTS,
    prepare: Callable[..., None] | None = None,
    prepared_with: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """``function(*arguments, progress=...)`` for every task, in the order of ``tasks``.

    Args:
        function: can be sent to another process: a module has it by its name.
        tasks: arguments by a name that is told in progress and errors. Those that take longest come best first.
        executor: where they run; it stays open. By default ``workers`` fresh processes of this machine, in which a task
            that ends its process takes nothing with it.
        keep: a folder where each result is written as soon as it is there, as a pickle; what is there already is not
            computed again. Only give a folder that is yours, as a pickle can run any code.
        settings: what the results depend on beside the tasks' names, of all or by task: a result that was kept with
            others is not used.
        progress: called with the number of tasks done; and with a task's own fraction, in processes of this machine.
        failed: makes a result of a task that raised an exception, or was `Lost`; by default the exception is raised.
        attempts: how often a task may be lost with the process that computed it, until it is taken for the cause.
        prepare: called first in each process of this machine, with ``prepared_with``.

    Raises:
        ValueError: ``workers`` or ``attempts`` is below 1. What the function raises, and Lost, where there is no
            ``failed``.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from expo_analysis import tasks
        >>> def double(x, *, progress):
        ...     return 2 * x
        >>> with ThreadPoolExecutor(2) as threads:
        ...     tasks.run(double, {"one": (1,), "two": (2,)}, executor=threads)
        {'one': 2, 'two': 4}
    """
    for what, count in (("workers", workers), ("attempts", attempts)):
        if count < 1:
            raise ValueError(f"{what} must be at least 1, got {count!r}")
    folder = None if keep is None else Kept(writable(from_home(keep)), settings)
    found = {} if folder is None else folder.read(tasks)
    left = {name: arguments for name, arguments in tasks.items() if name not in found}
    progress(len(found), len(tasks))
    if left:
        place = _Given(executor) if executor is not None else _Processes(workers, progress, prepare, prepared_with)
        with place:
            for name, answer in _answers(place, function, left, attempts):
                if answer.error is not None and failed is None:
                    raise answer.error
                found[name] = answer.value if answer.error is None else failed(name, answer.error)  # type: ignore[misc]
                if folder is not None and answer.error is None:
                    folder.write(name, answer.value)
                progress(1.0, what="done", task=name)
                progress(len(found), len(tasks))
    return {name: found[name] for name in tasks}


@dataclass(frozen=True)
class Kept:
    """A folder of results, each written whole or not at all."""

    folder: Path
    settings: str | Mapping[str, str]

    def file(self, name: str) -> Path:
        """Where a task's result is: readable, and different for names or settings that differ."""
        settings = self.settings if isinstance(self.settings, str) else self.settings.get(name, "")
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:60]
        return self.folder / f"{readable}-{hashlib.sha256(repr((name, settings)).encode()).hexdigest()[:16]}.pickle"

    def read(self, names: Iterable[str]) -> dict[str, Any]:
        """The results that are there, by task."""
        return {name: pickle.loads(self.file(name).read_bytes()) for name in names if self.file(name).exists()}

    def write(self, name: str, result: Any) -> None:
        """Keep a result."""
        replace(self.file(name), pickle.dumps(result))


def _answers(
    place: _Place, function: Callable[..., Any], tasks: Mapping[str, tuple[Any, ...]], attempts: int
) -> Iterator[tuple[str, _Answer]]:
    """What tasks came to, as they end."""
    tried = dict.fromkeys(tasks, 0)
    waiting = deque(tasks)
    while waiting or place.running:
        while waiting and place.has_room():
            name = waiting.popleft()
            place.submit(name, tried[name], function, tasks[name])
        for name, answer in place.ended():
            if isinstance(answer, _Answer):
                yield name, answer
                continue
            tried[name] += 1
            if tried[name] < attempts:
                waiting.append(name)
                continue
            times = "" if attempts == 1 else f" {attempts} times"
            lost = Lost(f"{name}: the process that computed it ended{times}: {in_words(answer)}")
            lost.__cause__ = answer
            yield name, _Answer(error=lost)


@dataclass(frozen=True)
class _Answer:
    """What a call came to, as it travels: an exception of the function is not one of the executor."""

    value: Any = None
    error: BaseException | None = None


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], name: str = "", channel: Any = None) -> _Answer:
    """Runs where the task runs."""

    def tell(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        if channel is not None:
            with contextlib.suppress(Exception):  # whoever listened is gone
                channel.put((name, what, done / total))

    try:
        return _Answer(function(*arguments, progress=tell))
    except Exception as error:
        with contextlib.suppress(Exception):
            if type(pickle.loads(pickle.dumps(error))) is type(error):
                return _Answer(error=error)
        return _Answer(error=RuntimeError(in_words(error)))  # one that cannot travel


@dataclass
class _Place:
    """Where tasks run."""

    running: dict[Future[_Answer], str] = field(default_factory=dict, init=False)

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *raised: object) -> None:
        for future in self.running:
            future.cancel()

    def has_room(self) -> bool:
        return True

    def submit(self, name: str, attempt: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        raise NotImplementedError

    def ended(self) -> list[tuple[str, _Answer | BaseException]]:
        """Tasks that ended by now: their answers, or why there is none."""
        done, _ = wait(self.running, timeout=LOOK, return_when=FIRST_COMPLETED)
        found: list[tuple[str, _Answer | BaseException]] = []
        for future in done:
            name = self.running.pop(future)
            try:
                found.append((name, future.result()))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # of the executor, CancelledError among them: what computed it is gone
                found.append((name, error))
        return found


class _Given(_Place):
    """Somebody's executor."""

    def __init__(self, executor: Executor) -> None:
        super().__init__()
        self.executor = executor

    def submit(self, name: str, attempt: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.running[self.executor.submit(_call, function, arguments)] = name


class _Processes(_Place):
    """Fresh processes of this machine: a pool of them for all, and one to itself for each task that was lost.

    A pool that breaks loses all that it runs. So it is never given more than it can run at once, and what was lost
    runs alone from then on: what ends its process again has nothing to take with it.
    """

    def __init__(
        self, workers: int, progress: Progress, prepare: Callable[..., None] | None, prepared_with: tuple[Any, ...]
    ) -> None:
        super().__init__()
        self.workers, self.progress = workers, progress
        self.prepare, self.prepared_with = prepare, prepared_with
        self.context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads
        self.manager = self.context.Manager()
        self.channel = self.manager.Queue()
        self.shared: ProcessPoolExecutor | None = None
        self.pools: dict[str, ProcessPoolExecutor] = {}

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        for pool in {*self.pools.values(), *([] if self.shared is None else [self.shared])}:
            pool.shutdown(wait=raised[0] is None, cancel_futures=True)
        self.manager.shutdown()

    def _made(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers, mp_context=self.context, initializer=self.prepare, initargs=self.prepared_with
        )

    def has_room(self) -> bool:
        return len(self.running) < self.workers

    def submit(self, name: str, attempt: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        call = partial(_call, function, arguments, name, self.channel)
        if attempt:
            pool = self._made(1)
            future = pool.submit(call)
        else:
            pool = self.shared = self.shared or self._made(self.workers)
            try:
                future = pool.submit(call)
            except BrokenExecutor:  # since the last task ended
                pool = self.shared = self._made(self.workers)
                future = pool.submit(call)
        self.pools[name], self.running[future] = pool, name

    def ended(self) -> list[tuple[str, _Answer | BaseException]]:
        found = super().ended()
        with contextlib.suppress(OSError, EOFError):  # where the queue's own process was killed, nothing is told
            while not self.channel.empty():
                name, what, fraction = self.channel.get()
                self.progress(fraction, what=what, task=name)
        for name, answer in found:
            pool = self.pools.pop(name)
            if pool is not self.shared:
                pool.shutdown(wait=False)
            elif isinstance(answer, BrokenExecutor):
                self.shared = None  # the next task gets a new one
        gone = (_Answer, BrokenExecutor)  # any other exception: it, or its result, cannot be sent to another process
        return [(name, answer if isinstance(answer, gone) else _Answer(error=answer)) for name, answer in found]
