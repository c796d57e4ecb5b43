"""The paths of the losses through the probability simplex."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...figures.kinds.interpolation import numbered_name
from ...figures.kinds.simplex import MARKED, Path, draw_triangle
from ...figures.style import END_POINTS, looks_in, size_of

RESPONSES = ["y1", "y2", "y3"]

TITLE = (
    r"The same optima in the simplex, from $\pi_{\mathrm{ref}}$ ($\lambda \to \infty$) to where $\lambda \to 0$ leads"
)


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return simplex(tables["simplex"])


def simplex(frame: pd.DataFrame) -> Figure:
    """Paths through the part of the simplex where all of them are; a page wide.

    Args:
        frame: columns ``loss``, ``lam``, ``y1``, ``y2`` and ``y3``, one row per policy; besides the losses, one row
            called "optimal" and one called "reference", where they are known.
    """
    paths = []
    for loss, look in looks_in(frame).items():
        rows = frame[frame["loss"] == loss]
        corners = rows[RESPONSES].to_numpy(dtype=float)
        marked = rows["lam"].isin(MARKED).to_numpy()
        paths.append(Path(look, corners, np.isfinite(corners).all(axis=1), corners[marked]))
    ends = {name: frame.loc[frame["loss"] == name, RESPONSES] for name in END_POINTS}
    known = {name: rows.to_numpy(dtype=float)[0] for name, rows in ends.items() if len(rows)}
    note = rf"Marks on a path: $\lambda$ = {', then '.join(f'{lam:g}' for lam in MARKED)}."
    return draw_triangle(paths, known, [numbered_name(y) for y in RESPONSES], size_of("page"), TITLE, [note])
