"""The sweep's tables; what trains and measures, in `all_runs`, is loaded only when it runs."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pandas as pd

from ..._progress import Progress, silent
from .sweep import SCALES
from .sweep import Sweep as Settings

FULL = SCALES["large"]
"""For a GPU."""


def run(
    settings: Settings, progress: Progress = silent, *, folder: Path = Path("lm_runs"), workers: int = 1
) -> dict[str, pd.DataFrame]:
    """``lm_frontier`` and ``lm_preservation`` (a row a run), ``lm_displacement`` and ``lm_settings``.

    Args:
        folder: what was sampled and what runs found: a sweep that was stopped resumes there.
        workers: how many runs are done at a time; they share the cores.

    Raises:
        ImportError: what language models need is not installed.
        ValueError: the folder has a sweep with other settings.
    """
    from .all_runs import run_sweep

    return run_sweep(settings, folder, workers=workers, progress=progress)


def read(path: Path | BytesIO) -> pd.DataFrame:
    """A table that an earlier run wrote; an estimator that is empty is none."""
    return pd.read_csv(path, keep_default_na=False)
