"""Divergence from pi* on a prompt whose reference is good and on one whose reference is bad, for one lambda."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ... import paper
from ..._progress import Progress, silent
from ...paper import LOSSES
from ..settings import Settings as StudySettings
from ..shared import divergences, exact, recorded_log_policy, solved


@dataclass(frozen=True)
class Settings(StudySettings):
    """per_unit: lambdas, evenly spaced in log lambda from -5 to 5."""

    per_unit: int = 10


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """``preservation``: one row per source, data ("population" or "pairs"), prompt, loss and published log lambda.

    The package's own lambda, KL(pi* || pi) and KL(pi || pi*) in nats, and whether the former is only a lower bound,
    because the recorded policy has a probability rounded to 0 (which is then taken at its greatest, half a unit of the
    last decimal); of exact optima the solver's status.
    """
    experiment = paper.preservation()
    log_lams = np.arange(-5 * settings.per_unit, 5 * settings.per_unit + 1) / settings.per_unit
    jobs = [
        (data, bandit, loss)
        for data, bandit in (("population", experiment.population), ("pairs", experiment.data))
        for loss in LOSSES
    ]
    parts = []
    for k, (data, bandit, loss) in enumerate(jobs):
        lams = experiment.own_lam(loss, np.exp(log_lams))
        path = solved(loss, bandit, lams)
        rows = divergences(loss, log_lams, lams, path.log_policies)
        parts.append(rows.assign(source="exact", data=data, at_least=False, status=path.status.reshape(-1)))
        progress((k + 1) / len(jobs))
    for end in experiment.ends:
        log_lam, lam = np.log([end.published_lam]).round(12), experiment.own_lam(end.loss, [end.published_lam])
        rows = divergences(end.loss, log_lam, lam, recorded_log_policy(end)[None])
        parts.append(rows.assign(source="script", data="pairs", at_least=(end.policy == 0).any(axis=-1), status=""))
    table = pd.concat(parts, ignore_index=True)
    keys = ["source", "data", "prompt", "loss", "log_lam", "lam"]
    return {"preservation": exact(table[[*keys, "kl_optimal_policy", "kl_policy_optimal", "at_least", "status"]])}
