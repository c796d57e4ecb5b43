"""The paper's interpolation experiment: policy against lambda, one panel for each loss."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...figures.kinds.interpolation import draw as draw_panels
from ...figures.kinds.interpolation import numbered_name
from ...figures.style import looks_in, size_of

STOPPED = "where the authors' script stopped, on their 213 pairs (EXPO: at λ/3, to mean the same objective)"

TITLE = r"Interpolation: the exact optimum from $\lambda \to 0$ (left) to $\lambda \to \infty$ (right), population"

NOTE = r"TV: distance of the optimum at the smallest $\lambda$ from $\pi^*$ (total variation)."


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return interpolation(tables["interpolation"])


def interpolation(frame: pd.DataFrame) -> Figure:
    """Small multiples of policy against lambda, with pi* marked on the left and pi_ref on the right; a page wide.

    Args:
        frame: columns ``source`` ("exact" or "script"), ``loss``, ``lam``, ``response`` ("y1" to "y3"), ``policy``,
            ``optimal`` and ``reference``; one row per point. Any loss, see `figures.looks.look_of`.
    """
    names = {key: numbered_name(key) for key in sorted(frame["response"].unique())}
    script = STOPPED if (frame["source"] == "script").any() else ""
    return draw_panels(frame, looks_in(frame), size_of("page"), TITLE, names, [NOTE], script)
