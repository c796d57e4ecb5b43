"""`python -m benchmarks`: run everything, print the tables, keep them in benchmarks/RESULTS.md."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

RESULTS = Path(__file__).with_name("RESULTS.md")
NEEDED = ("jax", "optimistix")


def main(
    quick: Annotated[bool, typer.Option(help="A tenth of the problems and few repeats; writes no file.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where to write the Markdown report.")] = None,
) -> None:
    """Compare this package with scipy's BFGS and optimistix' Newton on the same random EXPO problems.

    Example: python -m benchmarks --quick
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        typer.echo(
            f"{' and '.join(missing)} must be installed: pip install -c constraints.txt -e '.[bench]' (or: make bench)",
            err=True,
        )
        raise typer.Exit(2)
    from . import measure, report

    share, repeats = (10, 3) if quick else (1, 9)
    # title: (n, problems, lambda, whether scipy takes part)
    groups = {
        "Four responses, λ = 0.1": [(4, 20_000, 0.1, True)],
        "λ = 0.01": [(4, 20_000, 0.01, False)],
        "λ = 10": [(4, 20_000, 10.0, False)],
        "How cost grows with the number of responses, λ = 0.1": [
            (n, count, 0.1, False) for n, count in ((4, 20_000), (32, 1_000), (256, 10))
        ],
    }
    load = os.getloadavg()[0]
    console = Console()
    console.width = max(console.width, report.WIDTH)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tables: dict[str, list[measure.Row]] = {}
    for title, cases in groups.items():
        tables[title] = []
        for n, full, lam, with_scipy in cases:
            with Progress(*columns, console=console, transient=True) as progress:
                tables[title] += measure.compare(
                    n, max(full // share, 2), lam, repeats, with_scipy, _advance(progress, f"n = {n}, λ = {lam:g}")
                )
        console.print(report.table(title, tables[title]))
    target = output or (None if quick else RESULTS)
    if target is not None:
        target.write_text(report.markdown(tables, "python -m benchmarks" + " --quick" * quick, load), encoding="utf-8")
        console.print(f"Written to {target}")


def _advance(progress: Progress, label: str) -> Callable[[str, int, int], None]:
    """A callback (solver, done, total) that gives each solver a bar of its own."""
    tasks: dict[str, TaskID] = {}

    def advance(solver: str, done: int, total: int) -> None:
        if solver not in tasks:
            tasks[solver] = progress.add_task(f"{label}: {solver}", total=total)
        progress.advance(tasks[solver], done)

    return advance


if __name__ == "__main__":
    typer.run(main)
