"""``python -m tests.recheck card.json``: every failure of a report card, in two processes."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mpmath as mp
from rich.progress import track

from ..definitions import digits
from . import optima, others
from .risks import AXES, CARD

LIMITS = ("reference_limit", "strong_interpolation", "weak_interpolation", "small_lambda")
NEEDS_GRID = {*LIMITS, "preservation", "improvement", "monotone_path", "uniqueness", "conservation", "label_noise",
              "pair_dependence", "calibration", "conditioning"}  # fmt: skip
CHECKS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    **dict.fromkeys(LIMITS, optima.limit),
    "preservation": optima.preservation, "first_step": optima.first_step, "improvement": optima.improvement,
    "monotone_path": optima.monotone_path, "uniqueness": optima.uniqueness, "conservation": optima.conservation,
    "existence": optima.existence, "label_noise": optima.label_noise, "pair_dependence": optima.pair_dependence,
    "calibration": optima.calibration, "conditioning": optima.conditioning,
    "restricted_improvement": others.restricted_improvement, "constraint_robustness": others.constraint_robustness,
    "displacement": others.displacement, "local_minima": others.local_minima,
    "gradient_weight": others.gradient_weight,
}  # fmt: skip
"""By question; each says what is wrong, "" where nothing is, and "skipped" where it does not look."""

UNDECIDED = ("skipped", "too long")
LIMIT = 60.0
"""Seconds for a counterexample."""


def recheck(name: str, question: str, numbers: Mapping[str, Any]) -> str:
    """What is wrong with a counterexample: empty where nothing is, "skipped" where it is not looked at."""
    if question not in CHECKS or (name != "rlhf" and name not in CARD):
        return "skipped"
    if question in NEEDS_GRID and len(numbers["reference"]) not in AXES:
        return "skipped"
    with digits:
        mp.mp.dps = 30
        return CHECKS[question](name, numbers)


def in_time(name: str, question: str, numbers: Mapping[str, Any]) -> str:
    """`recheck`, or "too long" after `LIMIT` seconds of processor time."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        return recheck(name, question, numbers)
    except TimeoutError:
        return "too long"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(path: str) -> int:
    """Print what is wrong, and how many counterexamples of each question were looked at."""
    card = json.loads(Path(path).read_text(encoding="utf-8"))
    cells = [
        (name, key, v["counterexample"]["numbers"])
        for name, own in card.get("losses", card).items()
        for key, v in own.items()
        if isinstance(v, dict) and v["verdict"] == "fails"
    ]
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(in_time, *zip(*cells, strict=True))
        for (name, key, _), wrong in zip(cells, track(found, total=len(cells), description="cells"), strict=True):
            counts[key][wrong if wrong in UNDECIDED else "wrong" if wrong else "right"] += 1
            if wrong and wrong not in UNDECIDED:
                print(f"{name}, {key}: {wrong}", flush=True)
    for key, own in counts.items():
        print(f"{key}: {dict(own)}")
    total = sum(counts.values(), Counter())
    print(dict(total))
    return int(total["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
