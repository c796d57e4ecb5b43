"""The command line: one command a file, each of which parses, calls and prints.

Help, version and completion are to be quick: what computes is imported by a command when it runs, and not before.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from .. import __version__
from . import (
    audit,
    census,
    diagnose,
    diff,
    evaluate,
    experiment,
    explore,
    figures,
    finetune,
    losses,
    predict,
    preferences,
    rank,
    recipes,
    reproduce,
    simulate,
    solve,
    study,
)
from .command import Command

__all__ = ["app", "main"]

# Plain help keeps the examples as they are written; plain tracebacks are what a report of a fault needs.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=Command)(audit.audit)
app.command(cls=Command)(census.census)
app.command(cls=Command)(diagnose.diagnose)
app.command(cls=Command)(diff.diff)
app.command(cls=Command)(evaluate.evaluate)
app.command(cls=Command)(experiment.experiment)
app.command(cls=Command)(figures.figures)
app.command(cls=Command)(explore.explore)
app.command(context_settings=finetune.SETTINGS)(finetune.finetune)  # which has a parser of its own
app.command(cls=Command)(losses.losses)
app.command(cls=Command)(predict.predict)
app.command(cls=Command)(preferences.preferences)
app.command(cls=Command)(rank.rank)
app.command(cls=Command)(recipes.recipes)
app.command(cls=Command)(reproduce.reproduce)
app.command(cls=Command)(simulate.simulate)
app.command(cls=Command)(solve.solve)
app.add_typer(study.app, name="study")


def main() -> None:
    """Run the command line and exit: 0 done, 1 a fault or a closed pipe, 2 bad input, 130 interrupted."""
    try:
        app(prog_name="expo-analysis")
    except SystemExit as end:
        others = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
        if others and isinstance(end.code, int | None):  # threads of somebody's loss: nobody waits for them
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)
        raise


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"expo-analysis {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """What preference losses really do: exact optima on small problems, report cards, and figures."""
