"""``expo-analysis reproduce``: an older name of ``expo-analysis study run --all``."""

from __future__ import annotations

from pathlib import Path

from .._files import writable
from .errors import bad_input
from .study import Full, Output, run_everything


def reproduce(output: Output = Path("figures"), full: Full = False) -> None:
    """Run all studies: draw every figure beside the numbers it shows, and write a README.md that shows them.

    The same as expo-analysis study run --all. The report card of all losses and the sweep over a language model take
    so long that the tables are shown which audit --figure and study run language_model have written.

    \b
    Example:
      expo-analysis reproduce --output figures
    """
    with bad_input():
        writable(output)
    run_everything(output, full)
