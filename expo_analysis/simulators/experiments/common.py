"""What experiments share: the losses that the paper compares, and how numbers are rounded before they are written."""

from __future__ import annotations

import pandas as pd

from ...losses import DPO, EXPO, FDPO, IPO, PairObjective, RegressionEXPO

LOSSES: dict[str, PairObjective] = {
    objective.name: objective for objective in (DPO(1.0), IPO(1.0), FDPO(1.0), EXPO(1.0), RegressionEXPO(1.0))
}
"""By name in the catalogue; lambda is set by the experiment."""

DECIMALS, DIGITS = 10, 8


def significant(x: float, digits: int) -> float:
    """To so many significant digits."""
    return float(f"{x:.{digits}g}")


def rounded(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Numbers to 10 decimals and 8 significant digits: what is below is the last steps of iterations."""

    def number(x: float) -> float:
        return significant(round(x, DECIMALS) + 0.0, DIGITS)  # + 0.0 turns -0 into 0

    def every(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{str(column): table[column].map(number) for column in table.select_dtypes("float")})

    return {name: every(table) for name, table in tables.items()}
