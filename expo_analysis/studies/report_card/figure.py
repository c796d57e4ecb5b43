"""The picture: a table of signs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...plots import report_table


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return report_table(tables["report_card"])
