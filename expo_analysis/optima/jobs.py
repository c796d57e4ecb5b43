"""Many prompts shared among threads: numpy and the kernel in C leave Python to the others while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from ..bandit import Bandit
from ..bandit.paired import Comparisons

Item = TypeVar("Item")
Result = TypeVar("Result")


def jobs_of(n_jobs: Any, bandit: Bandit | Comparisons, features: Any) -> int:
    """How many threads ``n_jobs`` asks for.

    Raises:
        ValueError: it is no number of threads, or is not used.
    """
    whole = isinstance(n_jobs, int) and not isinstance(n_jobs, bool)
    if not whole or not (n_jobs >= 1 or n_jobs == -1):
        raise ValueError(f"n_jobs must be a number of threads, or -1 for one on each core, got {n_jobs!r}")
    if n_jobs != 1 and (features is not None or isinstance(bandit, Comparisons)):
        raise ValueError(f"n_jobs is for prompts of a Bandit over all policies, and not used here; got {n_jobs}")
    return (os.cpu_count() or 1) if n_jobs == -1 else n_jobs


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """What a function gives of each item, in their order.

    Example:
        >>> list(in_threads(abs, [-1, 2, -3], jobs=2))
        [1, 2, 3]
    """
    if jobs == 1 or len(items) < 2:
        yield from map(function, items)
        return
    context = copy_context()  # in which numpy keeps what it says of errors
    with ThreadPoolExecutor(min(jobs, len(items))) as pool:
        yield from pool.map(lambda item: context.copy().run(function, item), items)
