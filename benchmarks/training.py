"""Training many settings at once by `train`, against one setting after the other by a plain torch loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis import paper
from expo_analysis._progress import Progress, silent
from expo_analysis.simulators import Adam, Tabular, Training, draw_pairs, train
from expo_analysis.studies.section5.numbers import CLIP, EPOCHS, LAMS, LOSSES, RATES, pairs

from .plain_torch import Loop

NAME = "preservation"
"""The experiment of the paper whose sweep is timed."""


@dataclass(frozen=True)
class Sweep:
    """One loss over all lambdas of the preservation sweep, with the authors' steps for each setting.

    ours: seconds that `train` took for all settings, median over turns. steps: of one setting. timed: steps of each
        setting that the plain loop was timed for.
    step_seconds: seconds the loop took for one step, mean over settings, median over turns.
    distance: largest difference of a probability at lambda = 1 after all steps by both; nan where the loop was not run
        to the end.
    """

    loss: str
    settings: int
    steps: int
    timed: int
    ours: float
    step_seconds: float
    distance: float

    @property
    def plain(self) -> float:
        """Seconds that the plain loop would take for all steps of all settings."""
        return self.step_seconds * self.steps * self.settings


def sweep(loss: str, turns: int, chunk: int, full: bool, shorter: int = 1, progress: Progress = silent) -> Sweep:
    """Time both on one loss, ``turns`` times in turn: `train` once, then some steps of the plain loop of each setting.

    Args:
        chunk: how many steps of the plain loop, in each turn and for each setting.
        full: whether the loop at lambda = 1 goes on to the end, to compare results.
        shorter: divides the authors' epochs.
    """
    experiment: paper.Experiment = getattr(paper, NAME)()
    lams = experiment.own_lam(loss, LAMS[NAME])
    objectives = [LOSSES[loss](float(lam)) for lam in lams]
    epochs = max(1, EPOCHS[NAME][loss] // shorter)
    steps = epochs * -(-len(experiment.winner) // experiment.batch)
    settings = Training(
        Adam(RATES[loss]), epochs=epochs, batch=experiment.batch, shuffle=False, clip_norm=CLIP, records=2
    )
    data = pairs(experiment)
    given: Any = (experiment.reference, experiment.prompt, experiment.winner, experiment.loser)
    loops = [Loop(objective, *given, experiment.batch, RATES[loss], CLIP) for objective in objectives]
    chunk = min(chunk, steps // turns)
    ours, plain = [], []
    for turn in range(turns):
        before = time.perf_counter()
        trained = train(objectives, Tabular(experiment.reference), data, settings)
        ours.append(time.perf_counter() - before)
        plain.append(sum(loop.run(chunk) for loop in loops) / (chunk * len(loops)))
        progress(turn + 1, turns)
    distance = np.nan
    if full:
        middle = int(np.abs(np.log(LAMS[NAME])).argmin())
        loops[middle].run(steps - turns * chunk)
        distance = float(np.abs(loops[middle].result() - trained.final[middle, 0]).max())
    step_seconds = float(np.median(plain))
    return Sweep(loss, len(lams), steps, turns * chunk, float(np.median(ours)), step_seconds, distance)


@dataclass(frozen=True)
class Growth:
    """`train` on EXPO: seconds for so many data sets, responses and steps."""

    data_sets: int
    n: int
    steps: int
    seconds: float


def growth(data_sets: int, n: int, steps: int, batch: int = 20, pairs_each: int = 200) -> Growth:
    """EXPO at one lambda on data sets of 200 comparisons, in batches of 20."""
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)))
    data = draw_pairs(bandit, pairs_each, data_sets)
    epochs = max(1, steps * batch // pairs_each)
    settings = Training(Adam(1e-3), epochs=epochs, batch=batch, records=2)
    before = time.perf_counter()
    trained = train(ea.EXPO(0.1), Tabular(bandit.reference), data, settings)
    seconds = time.perf_counter() - before
    assert np.isfinite(trained.final).all()
    return Growth(data_sets, n, int(trained.steps[-1]), seconds)
