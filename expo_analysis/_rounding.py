"""Numbers as they are written: what is only rounding error, or the last step of an iteration, is rounded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DECIMALS, DIGITS = 10, 8
"""Of what iterations reach: to so many decimals, and significant digits."""


def significant(x: float, digits: int) -> float:
    """A number to so many significant digits.

    Example:
        >>> significant(0.0123456, 3)
        0.0123
    """
    return float(f"{x:.{digits}g}")


def rounded(table: pd.DataFrame, decimals: int = DECIMALS, digits: int | None = DIGITS) -> pd.DataFrame:
    """A table whose floats have so many decimals, and if ``digits`` is given significant digits; -0 becomes 0."""
    columns = {}
    for name in table.select_dtypes("float"):
        column = table[name].round(decimals) + 0.0  # + 0.0 turns -0 into 0
        columns[str(name)] = column if digits is None else column.map(lambda x: significant(x, digits))
    return table.assign(**columns)


def all_rounded(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """`rounded`, for tables by name."""
    return {name: rounded(table) for name, table in tables.items()}
