"""The exact policies of `interpolation`, as points."""

from __future__ import annotations

import pandas as pd

from ... import paper
from ..._progress import Progress, silent
from ..interpolation.numbers import Settings
from ..interpolation.numbers import run as interpolation
from ..shared import RESPONSES, exact

__all__ = ["Settings", "run"]


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """``simplex``: a row per exact policy of `interpolation`, then pi* ("optimal") and pi_ref ("reference")."""
    experiment = paper.interpolation()
    long = interpolation(settings, progress)["interpolation"].query("source == 'exact'")
    paths = long.pivot(index=["loss", "lam"], columns="response", values="policy").reset_index()
    ends = pd.DataFrame([experiment.optimal, experiment.reference], columns=RESPONSES)
    table = pd.concat([paths, ends.assign(loss=["optimal", "reference"])], ignore_index=True)
    return {"simplex": exact(table)}
