"""What a simulation is to those who run it: a question, an experiment that answers it, a section that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from .._progress import Progress, silent
from ..results import Result

Run = Callable[[bool, Progress], dict[str, pd.DataFrame]]


@dataclass(frozen=True)
class Simulation:
    """question: in one line. run: from ``full`` and progress (0 to 1) to tables; show: from tables to a section."""

    question: str
    run: Run
    show: Callable[[dict[str, pd.DataFrame]], Result]

    def result(self, full: bool = False, progress: Progress = silent) -> Result:
        """Run it, and show what came out."""
        return self.show(self.run(full, progress))
