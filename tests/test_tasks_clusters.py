"""Tasks on executors of other packages, each with two workers of this machine, one of which is killed on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from expo_analysis import tasks

from .test_tasks import HERE, MANY, drawn

pytestmark = pytest.mark.slow


def kills_its_worker_once(seed: int, folder: str, *, progress: Any) -> bytes:
    mark = Path(folder) / str(seed)
    if seed in (2, 7) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return drawn(seed, progress=progress)


@pytest.fixture
def dask() -> Iterator[Executor]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor(retries=0)


@pytest.fixture
def ray() -> Iterator[Executor]:
    found = pytest.importorskip("ray")

    class Ray(Executor):
        """As docs/cluster.md has it."""

        def submit(self, f: Any, /, *given: Any, **named: Any) -> Future[Any]:
            future: Future[Any] = found.remote(f).options(max_retries=0).remote(*given, **named).future()
            return future

    found.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield Ray()
    found.shutdown()


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_the_same_bits_also_where_workers_are_killed(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    executor = request.getfixturevalue(name)
    assert tasks.run(drawn, MANY, executor=executor) == HERE
    some = {one: (k, str(tmp_path)) for one, (k,) in MANY.items()}
    assert tasks.run(kills_its_worker_once, some, executor=executor, keep=tmp_path / "kept") == HERE
    assert {path.name for path in tmp_path.iterdir()} == {"2", "7", "kept"}
