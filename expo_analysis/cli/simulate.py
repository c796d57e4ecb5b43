"""``expo-analysis simulate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from .._errors import did_you_mean
from .._files import writable
from .._progress import fraction_to
from .errors import bad_input
from .output import report_files


def simulate(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which simulation; none lists them.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="As many steps, seeds and settings as are worth waiting for: minutes.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write; made if missing.")
    ] = Path("figures"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of file names.")] = False,
) -> None:
    """Train small policies, and show beside the exact optima where training ends.

    Writes the simulation's tables as CSV files and its figure as PNG and PDF.

    \b
    Examples:
      expo-analysis simulate
      expo-analysis simulate section5 --output figures
      expo-analysis simulate displacement --full --json

    \b
    --json prints {"simulation": NAME, "full": ..., "files": [...], "tables": {TABLE: [{COLUMN: VALUE, ...}, ...]}};
    what is not known is null. Without NAME it prints {"simulations": {NAME: QUESTION, ...}}.
    """
    from ..results import write_result
    from ..simulations import SIMULATIONS

    if name is None:
        questions = {key: simulation.question for key, simulation in SIMULATIONS.items()}
        if as_json:
            typer.echo(json.dumps({"simulations": questions}, indent=2, ensure_ascii=False))
        else:
            width = max(map(len, questions))
            for key, question in questions.items():
                typer.echo(f"{key:{width}} {question}")
        return
    with bad_input():
        if name not in SIMULATIONS:
            raise ValueError(f"name must be one of {list(SIMULATIONS)}, got {name!r}{did_you_mean(name, SIMULATIONS)}")
        writable(output)
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=1.0)
        result = SIMULATIONS[name].result(full, fraction_to(lambda done: progress.update(task, completed=done)))
    written = write_result(output, result)
    report_files(written, result.tables, as_json, simulation=name, full=full)
