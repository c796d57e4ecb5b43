"""``expo-analysis simulate``: an older name of ``expo-analysis study run NAME``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .._files import writable
from .errors import bad_input
from .output import report_files
from .study import AsJson, Full, Output, find, list_studies, run_one


def simulate(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which study; none lists them.")] = None,
    full: Full = False,
    output: Output = Path("figures"),
    as_json: AsJson = False,
) -> None:
    """Run one study: write its tables as CSV files and its figure as PNG and PDF.

    The same as expo-analysis study run NAME, and without NAME as expo-analysis study list.

    \b
    Examples:
      expo-analysis simulate
      expo-analysis simulate section5 --output figures
      expo-analysis simulate displacement --full --json

    \b
    --json prints {"simulation": NAME, "full": ..., "files": [...], "tables": {TABLE: [{COLUMN: VALUE, ...}, ...]}};
    what is not known is null. Without NAME it prints {"simulations": {NAME: QUESTION, ...}}.
    """
    from ..studies import STUDIES

    if name is None:
        if as_json:
            questions = {key: study.question for key, study in STUDIES.items()}
            typer.echo(json.dumps({"simulations": questions}, indent=2, ensure_ascii=False))
        else:
            list_studies()
        return
    with bad_input():
        find(name)
        writable(output)
    _, shown, written = run_one(name, full, [], False, output)
    report_files(written, shown.tables, as_json, simulation=name, full=full)
