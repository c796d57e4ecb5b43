"""`python -m benchmarks`: run everything, or one part, print the tables, keep them in benchmarks/RESULTS.md."""

from __future__ import annotations

import os
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from expo_analysis._progress import Progress

RESULTS = Path(__file__).with_name("RESULTS.md")
NEEDED = ("jax", "optimistix")
STEPS = 9
"""Timed steps of each way to train a language model."""


class Part(Enum):
    BANDITS = "bandits"
    OWN_LOSSES = "own-losses"
    BATTLES = "battles"
    PROMPTS = "prompts"
    LANGUAGE_MODELS = "language-models"


def main(
    quick: Annotated[
        bool, typer.Option(help="A tenth of the problems, a tiny language model, few repeats; writes no file.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="The Markdown report; what it has of other parts stays there.")
    ] = None,
    only: Annotated[
        Part | None, typer.Option(help="Run this part, and leave the others as they are in the report.")
    ] = None,
) -> None:
    """Compare this package with scipy's BFGS, optimistix' Newton and one in numpy on random EXPO problems, with a torch
    loop, and with TRL's DPOTrainer on SmolLM2; its own losses with the same ones as a user writes them; and fits of
    battles among many players with those of choix, scikit-learn and others. Measure a million prompts.

    Example: python -m benchmarks --quick
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        typer.echo(
            f"{' and '.join(missing)} must be installed: pip install -c constraints.txt -e '.[bench]' (or: make bench)",
            err=True,
        )
        raise typer.Exit(2)
    from . import language_model, report

    command = "python -m benchmarks" + " --quick" * quick + (f" --only {only.value}" if only else "")
    target = output or (None if quick else RESULTS)
    console = Console()
    console.width = max(console.width, report.WIDTH)

    def keep(part: str) -> None:
        if target is not None:
            before = target.read_text(encoding="utf-8") if target.exists() else ""
            target.write_text(report.with_part(before, part), encoding="utf-8")
            console.print(f"Written to {target}")

    if only in (None, Part.BANDITS):
        keep(_bandits(quick, command, console))
    if only in (None, Part.OWN_LOSSES):
        keep(_own_losses(quick, command, console))
    if only in (None, Part.BATTLES):
        keep(_battles(quick, command, console))
    if only in (None, Part.PROMPTS):
        keep(_prompts(quick, command, console))
    if only in (None, Part.LANGUAGE_MODELS):
        model = language_model.TINY if quick else language_model.SMOLLM2
        lacking = language_model.missing(model)
        if lacking is None:
            keep(_language_models(model, 2 if quick else STEPS, command, console))
        else:
            typer.echo(f"No steps of language models: {lacking}", err=True)
            if only is not None:
                raise typer.Exit(2)


def _bandits(quick: bool, command: str, console: Console) -> str:
    """The part of the report on bandits, its tables printed as they come."""
    from . import measure, report

    share, repeats = (10, 3) if quick else (1, 9)
    # title: (n, problems, lambda, whether scipy takes part)
    groups = {
        "Four responses, λ = 0.1": [(4, 20_000, 0.1, True)],
        "λ = 0.01": [(4, 20_000, 0.01, False)],
        "λ = 10": [(4, 20_000, 10.0, False)],
        "How cost grows with the number of responses, λ = 0.1": [
            (n, count, 0.1, False)
            for n, count in (
                (4, 20_000),
                (8, 5_000),
                (16, 2_000),
                (32, 1_000),
                (64, 200),
                (128, 40),
                (256, 10),
                (512, 3),
            )
        ],
    }
    load = os.getloadavg()[0]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tables: dict[str, list[measure.Row]] = {}
    for title, cases in groups.items():
        tables[title] = []
        for n, full, lam, with_scipy in cases:
            with Bars(*columns, console=console, transient=True) as bars:
                tables[title] += measure.compare(
                    n, max(full // share, 2), lam, repeats, with_scipy, _bar_each(bars, f"n = {n}, λ = {lam:g}")
                )
        console.print(report.table(title, tables[title]))
    return report.markdown(tables, command, load, _training(quick, console))


def _own_losses(quick: bool, command: str, console: Console) -> str:
    """The part of the report on losses that a user writes from terms."""
    from . import own_losses, report

    load = os.getloadavg()[0]
    lines = own_losses.lines(own_losses.compare(2 if quick else 15, 10 if quick else 1))
    console.print(report.lines_table("Losses of one's own", lines))
    return report.own_losses_markdown(lines, command, load)


def _battles(quick: bool, command: str, console: Console) -> str:
    """The part of the report on battles among many players."""
    from . import battles, report

    load = os.getloadavg()[0]
    share = 100 if quick else 1
    fits = battles.lines(battles.compare(1_000 // (10 if quick else 1), 1_000_000 // share, 1 if quick else 3))
    console.print(report.lines_table("1,000 players, 1,000,000 battles", fits))
    sizes = [(1_000, 10_000), (10_000, 50_000), (100_000, 500_000), (1_000_000, 10_000_000)]
    runs = [battles.growth(loss, *size) for loss in battles.LOSSES for size in sizes[: 2 if quick else None]]
    grown = battles.growth_lines(runs)
    console.print(report.lines_table("How cost grows", grown))
    return report.battles_markdown(fits, grown, command, load)


def _prompts(quick: bool, command: str, console: Console) -> str:
    """The part of the report on many prompts of few comparisons."""
    from . import prompts, report

    load = os.getloadavg()[0]
    lines = prompts.lines([prompts.measure(loss, 1_000_000 // (100 if quick else 1)) for loss in prompts.LOSSES])
    console.print(report.lines_table("Prompts of four responses and six comparisons", lines))
    return report.prompts_markdown(lines, command, load)


def _language_models(model: str, repeats: int, command: str, console: Console) -> str:
    """The part of the report on language models."""
    from . import language_model, report

    load = os.getloadavg()[0]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    groups = {}
    for title, names in language_model.GROUPS.items():
        with Bars(*columns, console=console, transient=True) as bars:
            advance = _on_bar(bars, bars.add_task(title, total=repeats + language_model.WARM_UP))
            groups[title] = language_model.compare(names, model, repeats, advance)
        console.print(report.lines_table(title, language_model.lines(groups[title])))
    ratios = language_model.pair_lines(list(groups.values()))
    console.print(report.lines_table("Step time and memory, two by two", ratios))
    return report.language_model_markdown(groups, model, command, load)


def _training(quick: bool, console: Console) -> dict[str, Any]:
    """Tables of training by their titles, printed as they come."""
    from . import report, training

    shorter, turns, chunk = (20, 2, 50) if quick else (1, 3, 300)
    tables: dict[str, Any] = {}

    def show(title: str, lines: report.Lines) -> None:
        tables[title] = lines
        console.print(report.lines_table(title, lines))

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    sweeps = []
    with Bars(*columns, console=console, transient=True) as bars:
        for loss in training.LOSSES:
            task = bars.add_task(f"preservation sweep: {loss}", total=turns)
            advance = _on_bar(bars, task)
            sweeps.append(training.sweep(loss, turns, chunk, True, shorter, advance))
    show("Training: the preservation sweep against a plain torch loop", report.sweep_lines(sweeps))
    steps, most = (200, 100) if quick else (2_000, 1_000)
    groups = {
        "How the cost of training grows with the number of data sets": [
            (sets, 3, steps) for sets in (1, 10, 100, 1_000) if sets <= most
        ],
        "with the number of responses": [(10, n, steps) for n in (3, 10, 30, 100)],
        "with the number of steps": [(10, 3, k * steps) for k in (1, 2, 4, 8)],
    }
    for title, cases in groups.items():
        show(title, report.growth_lines([training.growth(*case) for case in cases]))
    return tables


def _on_bar(bars: Bars, bar: TaskID) -> Progress:
    """Progress that is shown on one bar."""

    def show(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        bars.update(bar, completed=done, total=total)

    return show


def _bar_each(bars: Bars, label: str) -> Progress:
    """Progress that gives each task, a solver, a bar of its own."""
    own: dict[str, Progress] = {}

    def show(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        if task not in own:
            own[task] = _on_bar(bars, bars.add_task(f"{label}: {task}", total=total))
        own[task](done, total)

    return show


if __name__ == "__main__":
    typer.run(main)
