"""The verdicts of an audit of every loss, which take so long that `reproduce` shows those that are there."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd

from ..._files import made
from ..._progress import Progress, silent
from ...desiderata.report.wording import SIGNS
from ...desiderata.verdict import DESIDERATA
from ..settings import Settings as StudySettings

COLUMNS = [
    *("loss", "desideratum", "verdict", "basis", "rule", "answer"),
    *("severity", "severity_unit", "severity_share", "severity_typical", "severity_worst"),
    *("summary", "version", "date", "effort", "seed", "call"),
]

NEEDED = ["loss", "desideratum", "verdict", "summary"]
"""Columns that a report_card.csv cannot do without: those of the first versions."""

NUMBERS = ["severity_share", "severity_typical", "severity_worst"]


@dataclass(frozen=True)
class Settings(StudySettings):
    """effort: as in `audit`; 1 tries as many problems as a verdict should rest on."""

    effort: float = 1.0


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """``report_card``: a row per question, and loss of the catalogue that needs nothing but lambda."""
    from ...desiderata import audit_many
    from ...losses.catalogue import of_lambda_alone

    cards = audit_many(of_lambda_alone(1.0), effort=settings.effort, progress=progress)
    return of(cards.to_frame())


def of(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table of `ReportCards.to_frame`; the same verdicts give the same bytes."""
    return {"report_card": frame[COLUMNS]}


def write_report_card(frame: pd.DataFrame, directory: Path) -> list[Path]:
    """Write report_card.csv, .png and .pdf, for `reproduce` to show.

    Args:
        frame: that of `ReportCards.to_frame`.
        directory: made if it does not exist.

    Returns:
        The files written.
    """
    from . import STUDY

    return STUDY.show(of(frame)).write(made(directory))


def read(path: Path | BytesIO) -> pd.DataFrame:
    """The table that an earlier run wrote.

    Raises:
        ValueError: the file is something else.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are among them
        raise ValueError(f"{path}: not a table: {error}") from None
    missing = set(NEEDED) - set(table)
    unknown = sorted(set(map(str, table)) - set(COLUMNS))
    if missing or unknown or table.empty:
        wrong = f"; {unknown[0]!r} is none of them" if unknown else ""
        optional = ", ".join(column for column in COLUMNS if column not in NEEDED)
        raise ValueError(
            f"{path}: must have the columns {', '.join(NEEDED)} and a row per verdict, and may have {optional}{wrong}"
        )
    for column in NUMBERS:
        if column in table:
            numbers = pd.to_numeric(table[column], errors="coerce")
            if (bad := table[column][numbers.isna() & (table[column] != "")]).size:
                raise ValueError(f"{path}: {column} must be a number or empty, got {bad.iloc[0]!r}")
            table[column] = numbers
    for column, known in (("verdict", set(SIGNS)), ("desideratum", set(DESIDERATA))):
        strange = sorted(set(table[column]) - known)
        if strange:
            raise ValueError(f"{path}: unknown {column} {strange[0]!r}")
    return table
