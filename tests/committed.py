"""What the committed tables of a study give: drawn once by each process, for all tests that look at it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from expo_analysis.studies import STUDIES, Shown

FOLDER = Path(__file__).parents[1] / "figures"


@cache
def committed(name: str) -> Shown:
    """Tables, pictures and words of the study of this name."""
    tables = STUDIES[name].read(FOLDER)
    assert tables is not None
    return STUDIES[name].show(tables)
