"""``expo-analysis study``: every study is run, drawn and listed in one way.

``reproduce`` and ``simulate`` are older names of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from .._errors import did_you_mean
from .._files import writable
from .command import Command
from .errors import bad_input, language_models

if TYPE_CHECKING:
    from ..studies import Shown, Study

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Studies: numbers, a picture and words, one each.")

Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write; made if missing.")]
Full = Annotated[
    bool, typer.Option("--full", help="As many steps, seeds and settings as are worth waiting for: minutes and more.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of file names.")]


@app.command("list", cls=Command)
def list_studies(as_json: AsJson = False) -> None:
    """Name the studies, each with its question and the seconds that it takes on one core.

    \b
    Example:
      expo-analysis study list

    \b
    --json prints {"studies": {NAME: {"question": ..., "seconds": ..., "tables": [...], "kept": ...}}}; what is kept
    takes so long that --all shows the tables that are there, and does not run it.
    """
    from ..studies import STUDIES

    if as_json:
        studies = {
            name: {"question": one.question, "seconds": one.seconds, "tables": one.tables, "kept": one.kept}
            for name, one in STUDIES.items()
        }
        typer.echo(json.dumps({"studies": studies}, indent=2, ensure_ascii=False))
        return
    width = max(map(len, STUDIES))
    for name, study in STUDIES.items():
        typer.echo(f"{name:{width}} {study.seconds:5g} s  {study.question}")


@app.command(cls=Command)
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Which; study list names them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, and a README.md that shows them.")] = False,
    full: Full = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SETTING=VALUE", help="Change a setting of the one study named; repeatable."),
    ] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Run nothing: draw from the tables that are there.")] = False,
    output: Output = Path("figures"),
    as_json: AsJson = False,
) -> None:
    """Run studies: write their numbers as CSV files and their pictures as PNG and PDF.

    \b
    Examples:
      expo-analysis study run fusion
      expo-analysis study run finite_data --set data_sets=20 --set sizes=100,1000 --json
      expo-analysis study run section5 displacement --redraw --output figures
      expo-analysis study run --all

    \b
    --json prints {"studies": {NAME: {"settings": {...}, "files": [...], "tables": {TABLE: [{COLUMN: VALUE, ...}]}}}};
    what is not known is null, and so are the settings where nothing was run.
    """
    with bad_input():
        _check(names, every, changes, redraw)
        writable(output)
    if every:
        run_everything(output, full)
        return
    done: dict[str, Any] = {}
    for name in names or ():
        settings, shown, files = run_one(name, full, changes or [], redraw, output)
        done[name] = {"settings": settings, "files": list(map(str, files)), "tables": records(shown)}
        if not as_json:
            typer.echo("\n".join(map(str, files)))
    if as_json:
        typer.echo(json.dumps({"studies": done}, allow_nan=False, ensure_ascii=False))


def _check(names: list[str] | None, every: bool, changes: list[str] | None, redraw: bool) -> None:
    """What goes together, before anything is run."""
    if bool(names) == every:
        raise ValueError("give names of studies, or --all; expo-analysis study list names them")
    for name in names or ():
        find(name)
    if changes and len(names or ()) != 1:
        raise ValueError("--set changes a setting of one study: name that one alone")
    if redraw and (every or changes):
        raise ValueError(f"--redraw runs nothing: leave out {'--all' if every else '--set'}")


def find(name: str) -> Study:
    """A study by its name.

    Raises:
        ValueError: there is none, with what there is.
    """
    from ..studies import STUDIES

    if name not in STUDIES:
        raise ValueError(f"name must be one of {list(STUDIES)}, got {name!r}{did_you_mean(name, STUDIES)}")
    return STUDIES[name]


def run_one(
    name: str, full: bool, changes: list[str], redraw: bool, output: Path
) -> tuple[dict[str, Any] | None, Shown, list[Path]]:
    """The settings of a run, what it showed, and the files that it wrote."""
    from dataclasses import asdict

    from ..studies.settings import changed, read_changes

    study = find(name)
    if redraw:
        with bad_input():
            tables = study.read(output)
            if tables is None:
                raise ValueError(
                    f"{output} must have {', '.join(f'{table}.csv' for table in study.tables)} to draw from"
                )
            shown = study.show(tables)
        return None, shown, shown.write(output)
    with bad_input():
        settings = changed(study.settings(full), read_changes(changes))
    with (
        bar(name) as progress,
        bad_input(lambda error: study.kept and isinstance(error, ValueError | OSError)),  # of a model, or its folder
        language_models(),
    ):
        tables = study.run(settings, progress)
    shown = study.show(tables)
    return asdict(settings), shown, shown.write(output)


def run_everything(output: Path, full: bool) -> None:
    """All studies, and the names of what they wrote."""
    from ..studies import STUDIES
    from ..studies.reproduce import reproduce

    with bad_input():  # before an hour's work, and not after it
        for study in STUDIES.values():
            if study.kept:
                study.read(output)
    with bar("starting") as progress:
        written = reproduce(output, progress, full=full)
    for path in written:
        typer.echo(path)


def records(shown: Shown) -> dict[str, Any]:
    """Tables as JSON has them; what is not known is null."""
    return {name: json.loads(table.to_json(orient="records")) for name, table in shown.tables.items()}


class Bar:
    """Progress on standard error: a bar that says what is being done, and a line for each task that is done."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.task, self.begun = progress, progress.add_task(name, total=1.0), monotonic()
        self.done: set[str] = set()

    def __call__(self, done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        if not task:
            self.progress.update(self.task, completed=done / total, description=what or None)
        elif done >= total and task not in self.done:
            self.done.add(task)
            self.progress.console.print(f"{monotonic() - self.begun:5.0f} s  {task} is done", highlight=False)


@contextmanager
def bar(name: str) -> Iterator[Bar]:
    """A bar while work goes on."""
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress, name)
