"""Where the authors' script stopped beside the exact optimum of what it minimises, for every recorded run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ... import paper
from ..._progress import Progress, silent
from ...divergences import kl
from ..settings import Settings as StudySettings
from ..shared import RESPONSES, exact, recorded_log_policy, solved


@dataclass(frozen=True)
class Settings(StudySettings):
    """There is nothing to change: the runs are recorded."""


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """``authors_final``: one row per run and prompt.

    What the script minimises is the loss on the pairs as it weighs them, EXPO at a third of the published lambda. Both
    policies, their 1-norm distance, and KL(pi* || pi) of both, in nats.
    """
    parts = []
    for name in ("interpolation", "preservation"):
        experiment: paper.Experiment = getattr(paper, name)()
        for end in experiment.ends:
            lam = experiment.own_lam(end.loss, [end.published_lam])
            path = solved(end.loss, experiment.data_as_trained, lam)
            stopped, best = np.atleast_2d(end.policy), np.atleast_2d(path.policies[0])
            log_optimal = np.atleast_2d(np.log(experiment.optimal))
            rows = pd.DataFrame(
                {
                    "experiment": name,
                    "prompt": paper.PROMPTS if len(stopped) > 1 else "only",
                    "loss": end.loss,
                    "published_lam": end.published_lam,
                    "lam": lam[0],
                    **{f"stopped_{y}": column for y, column in zip(RESPONSES, stopped.T, strict=True)},
                    **{f"exact_{y}": column for y, column in zip(RESPONSES, best.T, strict=True)},
                    "distance": np.abs(stopped - best).sum(axis=-1),
                    "kl_stopped": kl(log_optimal, np.atleast_2d(recorded_log_policy(end))),
                    "kl_exact": kl(log_optimal, np.atleast_2d(path.log_policies[0])),
                    "kl_stopped_at_least": (stopped == 0).any(axis=-1),
                }
            )
            parts.append(rows)
    progress(1.0)
    return {"authors_final": exact(pd.concat(parts, ignore_index=True))}
