"""Distance of the optima from pi* and from pi_ref against lambda, on log-log axes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...figures.kinds.convergence import draw as draw_panels
from ...figures.style import looks_in, size_of

TITLE = "Convergence: how fast the optimum reaches its two ends"


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return convergence(tables["convergence"], tables["convergence_slopes"])


def convergence(frame: pd.DataFrame, slopes: pd.DataFrame) -> Figure:
    """Two panels, pi* and pi_ref; the fitted slopes stand in the key, and the stretch they are fitted to is grey.

    Args:
        frame: columns ``loss``, ``lam``, ``from_optimal`` and ``from_reference`` (1-norm distances).
        slopes: columns ``loss``, ``target`` ("optimal" or "reference"), ``lam_min``, ``lam_max`` and ``slope``.
    """
    return draw_panels(frame, slopes, looks_in(frame), size_of("page"), TITLE)
