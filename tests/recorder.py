"""A callback for progress that remembers what it was told."""

from __future__ import annotations


class Recorder:
    """fractions, what, task: of every call, in order."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.what: list[str] = []
        self.task: list[str] = []

    def __call__(self, done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        self.fractions.append(done / total)
        self.what.append(what)
        self.task.append(task)
