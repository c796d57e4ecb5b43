"""Functions that tests send to fresh processes, in a module that these load quickly: no pytest, no torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np


def drawn(seed: int, *, progress: Any) -> bytes:
    """What depends on every bit of its random numbers."""
    progress(0.5, what="drawing")
    return np.random.default_rng(seed).normal(size=50).cumsum().tobytes()


def slowly(seed: int, *, progress: Any) -> bytes:
    time.sleep(0.2)
    return drawn(seed, progress=progress)


def refuses(seed: int, *, progress: Any) -> int:
    if seed == 3:
        raise ValueError("no third one")
    return seed


def dies_once(seed: int, folder: str, *, progress: Any) -> bytes:
    mark = Path(folder) / str(seed)
    if seed % 4 == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return drawn(seed, progress=progress)


def dies(seed: int, *, progress: Any) -> int:
    if seed == 2:
        os._exit(1)
    return seed


def evaluated(loss: Any) -> tuple[str, float, float]:
    """Of a loss with an option: its class, the option, and what it gives for one pair."""
    return type(loss).__name__, loss.extra.sharpness, float(loss.loss(np.array([-1.0]), np.array([-4.0]))[0])
