"""How fast exact optima come to pi* and to pi_ref."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import linregress

from ... import paper
from ..._progress import Progress, silent
from ...paper import LOSSES
from ..settings import Settings as StudySettings
from ..shared import exact, solved

FITTED = {"optimal": (1e-6, 1e-3), "reference": (1e3, 1e6)}
"""The stretch of lambda on which the slope towards each end is fitted."""


@dataclass(frozen=True)
class Settings(StudySettings):
    """per_decade: lambdas, from 1e-6 to 1e6."""

    per_decade: int = 20


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """``convergence``: 1-norm distances of exact optima on the population from pi* and from pi_ref, by lambda.

    ``convergence_slopes``: their slopes d log distance / d log lambda, by least squares on the stretches of `FITTED`.
    """
    experiment = paper.interpolation()
    lams = 10.0 ** (np.arange(-6 * settings.per_decade, 6 * settings.per_decade + 1) / settings.per_decade)
    parts = []
    for k, loss in enumerate(LOSSES):
        found = solved(loss, experiment.population, lams).policies
        distances = {
            f"from_{name}": np.abs(found - getattr(experiment, name)).sum(axis=-1) for name in ("optimal", "reference")
        }
        parts.append(pd.DataFrame({"loss": loss, "lam": lams, **distances}))
        progress((k + 1) / len(LOSSES))
    table = exact(pd.concat(parts, ignore_index=True))
    return {"convergence": table, "convergence_slopes": slopes(table)}


def slopes(convergence: pd.DataFrame) -> pd.DataFrame:
    """``convergence_slopes``."""
    rows = []
    for target, (low, high) in FITTED.items():
        near = convergence[convergence["lam"].between(low * 0.999, high * 1.001)]
        for loss, path in near.groupby("loss", sort=False):
            fit = linregress(np.log(path["lam"]), np.log(path[f"from_{target}"]))
            rows.append({"loss": loss, "target": target, "lam_min": low, "lam_max": high, "slope": fit.slope})
    return exact(pd.DataFrame(rows))
