"""Numbers as they are written: what is only rounding error, or the last step of an iteration, is rounded away.

Another processor gives other last bits, and training hands them on from step to step. A number is therefore written
with so many digits that its last bits have no say in them. Rounding to a unit u puts a number of noise d on the other
side of a boundary with probability 2d/u, so that a table of N numbers is the same on another processor, but for a
chance of at most 2/`MARGIN` (much less, as most numbers are far less noisy than the worst), with

    u = MARGIN N d,        `surviving` digits = -log10 u.

d is a bound on what other last bits of every operation change, relative to a number: `SOLVED` of what is solved for,
`TRAINED` of what is trained. ``tests/other_processor.py`` measures it; a study that exceeds it amplifies rounding, and
is to be mended (Adam at a constant rate, say, goes on for ever in steps that rounding decides). One that repeats
somebody else's training cannot be: it has a ``NOISE`` of its own, and fewer digits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

DECIMALS, DIGITS = 10, 8
"""Of what iterations reach, at most: to so many decimals, and significant digits."""
SOLVED, TRAINED = 1e-14, 1.5e-12
"""Bounds on the noise that other last bits make, relative to a number."""
MARGIN = 20.0
"""By how much rounding is coarser than noise, for each number of a table."""


def surviving(noise: float, numbers: int) -> int:
    """The digits that all numbers of a table keep on every processor, all but certainly.

    Example:
        >>> surviving(1.5e-12, 2000), surviving(1e-14, 2000)
        (7, 9)
    """
    return math.floor(-math.log10(MARGIN * max(numbers, 1) * noise))


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


def all_rounded(
    tables: dict[str, pd.DataFrame], trained: Iterable[str] = (), noise: float = TRAINED
) -> dict[str, pd.DataFrame]:
    """`rounded` for tables by name, to the digits that survive; ``trained`` names those that training of so much
    ``noise`` made."""
    return {name: _surviving(table, noise if name in trained else SOLVED) for name, table in tables.items()}


def _surviving(table: pd.DataFrame, noise: float) -> pd.DataFrame:
    return rounded(table, digits=min(DIGITS, surviving(noise, table.select_dtypes("float").size)))
