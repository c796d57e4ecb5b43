"""The picture, which can be drawn of any losses."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...plots import convergence


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return convergence(tables["convergence"], tables["convergence_slopes"])
