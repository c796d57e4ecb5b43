"""Exact optima on the population, and where the authors' script stopped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ... import paper
from ..._progress import Progress, silent
from ...paper import LOSSES
from ..settings import Settings as StudySettings
from ..shared import DECIMALS, RESPONSES, exact, policies, solved


@dataclass(frozen=True)
class Settings(StudySettings):
    """per_decade: lambdas, from 1e-5 to 1e3."""

    per_decade: int = 20


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """``interpolation``: one row per source ("exact" or "script"), loss, lambda and response.

    The policy, pi*, pi_ref, and for exact policies the proven bound on their 1-norm error.
    """
    experiment = paper.interpolation()
    lams = 10.0 ** (np.arange(-5 * settings.per_decade, 3 * settings.per_decade + 1) / settings.per_decade)
    parts = []
    for k, loss in enumerate(LOSSES):
        path = solved(loss, experiment.population, lams)
        bound = np.ceil(path.error_bound * 10.0**DECIMALS) / 10.0**DECIMALS  # a bound is rounded up
        rows = policies(loss, lams, path.policies)
        parts.append(rows.assign(source="exact", error_bound=np.repeat(bound, len(RESPONSES))))
        progress((k + 1) / len(LOSSES))
    for end in experiment.ends:
        lam = experiment.own_lam(end.loss, [end.published_lam])
        parts.append(policies(end.loss, lam, end.policy[None]).assign(source="script", error_bound=np.nan))
    table = pd.concat(parts, ignore_index=True)
    for name in ("optimal", "reference"):
        table[name] = table["response"].map(dict(zip(RESPONSES, getattr(experiment, name), strict=True)))
    columns = ["source", "loss", "lam", "response", "policy", "optimal", "reference", "error_bound"]
    return {"interpolation": exact(table[columns])}
