"""The report card among the results: a table that an audit leaves in a folder, its picture and the words beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from . import plots
from ._files import made
from .desiderata.report.layout import CONSTRUCTED, OFTEN, SELDOM, weight
from .desiderata.report.wording import SIGNS
from .desiderata.verdict import DESIDERATA, EVIDENCE, FAILS, HOLDS, PROVEN, Decision
from .results import Result, write_result

__all__ = ["read_report_card", "report_card", "write_report_card"]

REPORT_CARD = "report_card"
"""File name of the losses' verdicts, which only an audit can make."""

REPORT_COLUMNS = [
    *("loss", "desideratum", "verdict", "basis", "rule", "answer"),
    *("severity", "severity_unit", "severity_share", "severity_typical", "severity_worst"),
    *("summary", "version", "date", "effort", "seed", "call"),
]

NEEDED = ["loss", "desideratum", "verdict", "summary"]
"""Columns that a report_card.csv cannot do without: those of the first versions."""

NUMBERS = ["severity_share", "severity_typical", "severity_worst"]

BOTH = (HOLDS, FAILS)
"""Decisions that are proven or found by search."""


def report_card(table: pd.DataFrame) -> Result:
    """The section of figures/README.md: what was found how often, and the picture of all verdicts."""
    full = table.reindex(columns=REPORT_COLUMNS)  # older tables have fewer columns
    share, size = full["severity_share"], full["severity_typical"]
    how = np.array([weight(*one) for one in zip(share, size, strict=True)])
    fails = (full["verdict"] == FAILS).to_numpy()

    def count(decision: Decision) -> str:
        chosen = full[full["verdict"] == decision]
        bases = chosen["basis"].value_counts()
        proven, searched = bases.get(PROVEN, 0), bases.get(EVIDENCE, 0)
        rests = f" ({proven} proven, {searched} by search)" if decision in BOTH and proven + searched else ""
        return f"{len(chosen)} {SIGNS[decision]} {decision}{rests}"

    often, seldom, constructed = (int(np.sum(fails & (how == one))) for one in (OFTEN, SELDOM, CONSTRUCTED))
    weights = (
        f"""{often} of the failures are common and large: they show on a tenth of ordinary problems or more, by 0.01 or
        more. {seldom} are rarer, smaller or were not measured, and {constructed} show on problems made for them only.
        The legend says in which units, and what is ordinary."""
        if share.notna().any()
        else ""
    )
    calls = [call for call in dict.fromkeys(full["call"].dropna()) if call]
    by = calls[0] if len(calls) == 1 else "ea.audit"
    return Result(
        "Report card",
        {REPORT_CARD: table},
        (
            f"""{full["loss"].nunique()} losses, judged on {full["desideratum"].nunique()} desiderata by
            `{by}` **[ours]**: {", ".join(map(count, SIGNS))}. {weights}""",
            """The CSV has each verdict's reason in a sentence, the theorem that it rests on, its size, and the version,
            date, effort and seed of the audit; `expo-analysis audit LOSS` shows under which conditions it was found,
            the evidence, and a counterexample with code for what fails.""",
        ),
        plots.report_table(table),
    )


def write_report_card(frame: pd.DataFrame, directory: Path) -> list[Path]:
    """Write report_card.csv, .png and .pdf, for `reproduce` to show; the same verdicts give the same bytes.

    Args:
        frame: that of `ReportCards.to_frame`.
        directory: made if it does not exist.

    Returns:
        The files written.
    """
    return write_result(made(directory), report_card(frame[REPORT_COLUMNS]))


def read_report_card(directory: Path) -> pd.DataFrame | None:
    """The table that `write_report_card` wrote, None where there is none.

    Raises:
        ValueError: the file is something else.
    """
    path = Path(directory) / f"{REPORT_CARD}.csv"
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are among them
        raise ValueError(f"{path}: not a table: {error}") from None
    missing = set(NEEDED) - set(table)
    unknown = sorted(set(map(str, table)) - set(REPORT_COLUMNS))
    if missing or unknown or table.empty:
        wrong = f"; {unknown[0]!r} is none of them" if unknown else ""
        raise ValueError(
            f"{path}: must have the columns {', '.join(NEEDED)} and a row per verdict, and may have "
            f"{', '.join(column for column in REPORT_COLUMNS if column not in NEEDED)}{wrong}"
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
