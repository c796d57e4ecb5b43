"""Times and accuracies, measured in one run: the fast solvers take turns, so that a busy moment hits all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from expo_analysis._progress import Progress, silent

from . import numpy_newton, optimistix_newton, ours, scipy_bfgs
from .problems import Floats, Problems, softmax

OURS = "expo_analysis"
OPTIMISTIX = "optimistix"
NUMPY = "numpy Newton"
SCIPY = "scipy BFGS"

FAST = {OURS: ours.prepare, NUMPY: numpy_newton.prepare, OPTIMISTIX: optimistix_newton.prepare}


@dataclass(frozen=True)
class Row:
    """One solver on one set of problems.

    seconds, fastest: median and minimum over the calls after the first. first: the first call, with whatever it
    compiles or loads. repeated: whether there was more than one. solved: share of problems that the solver itself
    calls solved. distance: largest 1-norm distance to our policies. residual: see `Problems.residual`.
    """

    solver: str
    n: int
    count: int
    lam: float
    seconds: float
    fastest: float
    first: float
    repeated: bool
    solved: float
    distance: float
    residual: float


def compare(
    n: int,
    count: int,
    lam: float,
    repeats: int,
    with_scipy: bool,
    progress: Progress = silent,
) -> list[Row]:
    """All solvers on the same random problems, ours first.

    Args:
        progress: called with how many of its calls (of its problems, for scipy) a solver has done, of how many, and
            the solver's name as the task.
    """
    problems = Problems.random(n, count, lam)
    runs = {name: prepare(problems) for name, prepare in FAST.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    answers: dict[str, tuple[Floats, float]] = {}
    for turn in range(1 + repeats):
        for name, run in runs.items():
            before = time.perf_counter()
            answers[name] = run()
            times[name].append(time.perf_counter() - before)
            progress(turn + 1, 1 + repeats, task=name)
    if with_scipy:
        theta, share, seconds = scipy_bfgs.solve(problems, partial(progress, task=SCIPY))
        answers[SCIPY], times[SCIPY] = (theta, share), [seconds]

    policies = {name: softmax(theta) for name, (theta, _) in answers.items()}
    return [
        Row(
            solver=name,
            n=n,
            count=count,
            lam=lam,
            seconds=float(np.median(times[name][1:] or times[name])),
            fastest=min(times[name][1:] or times[name]),
            first=times[name][0],
            repeated=len(times[name]) > 1,
            solved=answers[name][1],
            distance=float(np.abs(policy - policies[OURS]).sum(axis=-1).max()),
            residual=problems.residual(policy),
        )
        for name, policy in policies.items()
    ]
