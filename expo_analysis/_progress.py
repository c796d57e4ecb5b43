"""How long work tells how far it is: one way, for everything that takes a ``progress``."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a caller hands to long work, to be called as the work goes on.

    Work passes what it knows: ``progress(done)`` with the fraction done, from 0 to 1; ``progress(done, total)`` with
    numbers of steps; and by name, where there are several things to do, ``what`` is being done now, and of which
    ``task``, where several go on side by side and each has a ``done`` and a ``total`` of its own. ``done`` never falls
    within a task. What the callback returns is not used.

    Example:
        >>> def show(done, total=1.0, *, what="", task=""):
        ...     print(f"{task or what}: {done / total:.0%}")
        >>> show(3, 4, what="training")
        training: 75%
    """

    def __call__(self, done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> object: ...


def silent(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
    """Nobody is told."""


def part(progress: Progress, start: float, stop: float) -> Progress:
    """For a part of the work: its progress from 0 to 1 is that of the whole from ``start`` to ``stop``.

    Example:
        >>> half = part(lambda done, total=1.0, *, what="", task="": print(done), 0.5, 1.0)
        >>> half(1, 2)
        0.75
    """

    def report(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> object:
        return progress(start + (stop - start) * done / total, what=what, task=task)

    return report
