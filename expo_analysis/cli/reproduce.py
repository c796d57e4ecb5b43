"""``expo-analysis reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from .errors import bad_input
from .output import writable


def reproduce(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write; made if missing.")
    ] = Path("figures"),
    full: Annotated[
        bool, typer.Option("--full", help="Simulate at full length: many more steps and seeds, in minutes.")
    ] = False,
) -> None:
    """Draw every figure beside the numbers it shows: the paper's experiments solved exactly, and the simulations.

    The report card of all losses takes minutes to compute: it is shown where audit --figure has written it.

    \b
    Example:
      expo-analysis reproduce --output figures
    """
    from ..reproduce import read_report_card
    from ..reproduce import reproduce as run

    with bad_input():
        writable(output)
        read_report_card(output)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("starting", total=1.0)

        def report(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
            progress.update(bar, description=what, completed=done / total)

        written = run(output, report, full=full)
    for path in written:
        typer.echo(path)
